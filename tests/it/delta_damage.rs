//! A flipped bit of a thin bundle is found, and never becomes wrong bytes of an image.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use amikit::internals::bundle::Bundle;
use amikit::internals::digest::Digest;
use amikit::internals::error::Result;
use amikit::internals::format;
use amikit::internals::ops;
use amikit::internals::ops::ImageRequest;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::work::Unwatched;

use crate::common::Model;
use crate::common::Random;
use crate::common::check_raw;
use crate::common::copy_tree;
use crate::common::keeps_holes;
use crate::common::names;
use crate::common::quick_folder;
use crate::common::rounds;
use crate::common::run_well;
use crate::common::sample;
use crate::common::threads;
use crate::common::tree;
use crate::delta_pairs::check_changed;

/// A small thin bundle with everything in it: patches with and without literals, a whole chunk, blocks
/// that only the base has, zeros and holes.
struct Subject {
    folder: tempfile::TempDir,
    old: Model,
    new: Model,
    digest: Digest,
}

impl Subject {
    fn new() -> Self {
        let folder = quick_folder();
        let mut random = Random::with_seed(77);
        let pages: Vec<Vec<u8>> = (0..6)
            .map(|_| {
                (0..64).flat_map(|_| random.next().to_le_bytes()).collect::<Vec<u8>>().repeat(8)
            })
            .collect();
        let block = |order: &[usize]| -> Vec<u8> {
            order.iter().flat_map(|number| pages[*number].clone()).collect()
        };
        let text = |shift: usize| -> Vec<u8> {
            (shift..shift + 60_000).map(|at| u8::try_from(at * at / 97 % 251).unwrap()).collect()
        };
        let old = [Some(block(&[0, 1, 2])), Some(text(0)), Some(Vec::new()), Some(block(&[3]))];
        let new = [
            Some(block(&[0, 1, 2])),
            // Literals against a prefix; copies only; whole; zeros; a hole; only the base has it.
            Some([&text(0)[..30_000], b"inserted", &text(0)[30_000..]].concat()),
            Some(block(&[2, 3, 0])),
            Some(random.bytes(3000)),
            Some(Vec::new()),
            None,
            Some(block(&[3])),
        ];
        let (old, new) = (Model::of(&old, 0), Model::of(&new, 6000));
        let here = folder.path();
        old.write(&here.join("old.raw"));
        new.write(&here.join("new.raw"));
        run_well(here, "pack old.raw -o old.ami --name old");
        for form in ["thin.ami", "thin.tar"] {
            run_well(here, &format!("pack new.raw --base old.ami --thin -o {form} --name new"));
        }
        let digest = Bundle::open(&here.join("thin.ami")).unwrap().digest();
        Self { folder, old, new, digest }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn base(&self, number: usize) -> ops::VolumeRequest {
        ops::VolumeRequest::new(&self.at(["old.ami", "old.raw"][number % 2]))
    }

    fn verify(&self, bundle: &Path, number: usize) -> Result<ops::VerifyReport> {
        let request = ops::VerifyRequest {
            trust: None,
            bundle: bundle.to_owned(),
            quick: false,
            base: Some(self.base(number)),
            against: Vec::new(),
            threads: threads(1),
        };
        ops::verify(&request, &Unwatched)
    }

    fn unpack(&self, bundle: &Path, number: usize) -> Result<ops::UnpackReport> {
        let request = ops::UnpackRequest {
            trust: None,
            level: None,
            max_size: None,
            bundle: bundle.to_owned(),
            device: None,
            output: self.at("out.raw"),
            format: format::writer_by_name("raw").unwrap(),
            base: Some(self.base(number)),
            threads: threads(1),
        };
        ops::unpack(&request, &Unwatched)
    }

    fn apply(&self, bundle: &Path, old: &str, to: ops::ApplyTo) -> Result<ops::ApplyReport> {
        let raw = format::by_name("raw").unwrap();
        let request = ops::ApplyRequest {
            trust: None,
            bundle: bundle.to_owned(),
            device: None,
            old: ImageRequest { format: Some(raw), ..ImageRequest::of(&self.at(old)) },
            to,
            threads: threads(1),
        };
        ops::apply(&request, &Unwatched)
    }

    /// Uses a damaged bundle in all ways. Returns whether the damage was found; if not, the bundle
    /// must be the same one in everything that counts.
    fn check(&self, bundle: &Path, number: usize, context: &str) -> bool {
        let found = match self.verify(bundle, number) {
            Err(_) => true,
            Ok(report) if !report.sound => true,
            Ok(report) => {
                assert_eq!(report.digest, self.digest, "{context}: another bundle is called sound");
                assert!(report.missing.is_none(), "{context}");
                false
            }
        };
        match self.unpack(bundle, number) {
            Err(_) => assert!(found, "{context}: sound, and cannot be unpacked"),
            Ok(_) => check_raw(&self.at("out.raw"), &self.new),
        }
        let _ = fs::remove_file(self.at("out.raw"));
        let in_place = number.is_multiple_of(4);
        let (old, to) = if in_place {
            self.old.write(&self.at("changed.raw"));
            ("changed.raw", ops::ApplyTo::InPlace)
        } else {
            ("old.raw", ops::ApplyTo::Output(self.at("applied.raw")))
        };
        let applied = self.apply(bundle, old, to);
        match (&applied, in_place) {
            (Ok(_), true) => check_changed(&self.at("changed.raw"), &self.new, context),
            (Ok(_), false) => check_changed(&self.at("applied.raw"), &self.new, context),
            (Err(_), true) => check_changed(&self.at("changed.raw"), &self.old, context),
            (Err(_), false) => assert!(!self.at("applied.raw").exists(), "{context}"),
        }
        assert!(applied.is_ok() || found, "{context}: sound, and cannot be applied");
        for name in ["applied.raw", "changed.raw"] {
            let _ = fs::remove_file(self.at(name));
        }
        assert!(
            names(self.folder.path()).iter().all(|name| !name.contains("journal")),
            "{context}"
        );
        found
    }
}

/// What each blob of the bundle is, by its path.
fn kinds(bundle: &Path) -> BTreeMap<PathBuf, String> {
    let open = Bundle::open(bundle).unwrap();
    let mut kinds = BTreeMap::new();
    let mut name = |digest: Digest, what: &str| {
        kinds.insert(PathBuf::from(format!("blobs/sha256/{digest}")), what.to_owned());
    };
    name(open.config().digest, "config");
    name(open.digest(), "OCI manifest");
    for pack in open.packs() {
        name(pack.blob.digest, "pack");
    }
    for base in open.bases() {
        name(base.blob.digest, "manifest of the base");
    }
    for snapshot in open.snapshots() {
        name(snapshot.blob.digest, "manifest");
    }
    kinds
}

#[test]
fn a_flipped_bit_of_any_blob_is_found_and_never_applied() {
    let mut random = Random::new("a_flipped_bit_of_any_blob");
    let subject = Subject::new();
    if !keeps_holes(subject.folder.path()) {
        return;
    }
    let bundle = subject.at("thin.ami");
    assert!(!subject.check(&bundle, 0, "nothing flipped"));
    let kinds = kinds(&bundle);
    let files = tree(&bundle);
    let copy = subject.at("copy.ami");
    copy_tree(&bundle, &copy);
    let seen: BTreeSet<&String> = kinds.values().collect();
    assert_eq!(seen.len(), 5, "all kinds: {seen:?}");
    let count = rounds(sample(160)).div_ceil(files.len());
    let (mut flips, mut harmless) = (0, 0);
    for (name, bytes) in &files {
        let kind = kinds.get(name);
        for number in 0..count {
            let place = random.index(bytes.len());
            let bit = 1 << random.below(8);
            let mut flipped = bytes.clone();
            flipped[place] ^= bit;
            fs::write(copy.join(name), &flipped).unwrap();
            let what = kind.map_or_else(|| name.display().to_string(), Clone::clone);
            let context = format!("{what}: byte {place} ^ {bit:#x}");
            let found = subject.check(&copy, number, &context);
            // Every blob is under its digest. The index is not: a name of the AMI in it, for one, is
            // for people, and blanks are nobody's; what it leads to is the same bundle.
            assert!(found || kind.is_none(), "{context}: not found");
            harmless += u32::from(!found);
            flips += 1;
        }
        fs::write(copy.join(name), bytes).unwrap();
    }
    println!(
        "{flips} flips, {harmless} of them in what does not matter of the index or the layout"
    );
}

#[test]
fn a_flipped_bit_of_an_archive_is_found_or_does_not_matter() {
    let mut random = Random::new("a_flipped_bit_of_an_archive");
    let subject = Subject::new();
    if !keeps_holes(subject.folder.path()) {
        return;
    }
    let bytes = fs::read(subject.at("thin.tar")).unwrap();
    let copy = subject.at("copy.tar");
    let mut harmless = 0;
    let count = rounds(60);
    for number in 0..count {
        let place = random.index(bytes.len());
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << random.below(8);
        fs::write(&copy, &flipped).unwrap();
        let found = subject.check(&copy, number, &format!("thin.tar: byte {place}"));
        harmless += u32::from(!found);
    }
    println!("{count} flips, {harmless} of them in what no reader of an archive looks at");
}

#[test]
fn a_thin_bundle_that_lacks_or_swaps_a_blob_is_refused() {
    let subject = Subject::new();
    let bundle = subject.at("thin.ami");
    let copy = subject.at("copy.ami");
    copy_tree(&bundle, &copy);
    for (name, kind) in kinds(&bundle) {
        let path = copy.join(&name);
        // The packs of the base are not there to begin with.
        let Ok(bytes) = fs::read(&path) else { continue };
        fs::remove_file(&path).unwrap();
        assert!(subject.check(&copy, 0, &format!("without {kind}")), "without {kind}");
        assert!(subject.check(&copy, 1, &format!("without {kind}")), "without {kind}");
        for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..len]).unwrap();
            let context = format!("{kind} cut to {len} bytes");
            assert!(subject.check(&copy, len, &context), "{context}");
        }
        fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
        assert!(subject.check(&copy, 0, &kind), "{kind}, longer by a byte");
        fs::write(&path, bytes).unwrap();
    }
    assert!(!subject.check(&copy, 0, "all is back"));
}

/// A base that was the right one when it was opened, and then is not.
#[test]
fn a_damaged_base_is_found_when_its_bytes_are_used() {
    let mut random = Random::new("a_damaged_base_is_found");
    let subject = Subject::new();
    let base = subject.at("old.ami");
    let files = tree(&base);
    for (name, bytes) in &files {
        for _ in 0..rounds(12).div_ceil(4) {
            let place = random.index(bytes.len());
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << random.below(8);
            fs::write(base.join(name), &flipped).unwrap();
            let context = format!("{}: byte {place}", name.display());
            if subject.unpack(&subject.at("thin.ami"), 0).is_ok() {
                check_raw(&subject.at("out.raw"), &subject.new);
                fs::remove_file(subject.at("out.raw")).unwrap();
            }
            let report = subject.verify(&subject.at("thin.ami"), 0);
            let sound = report.is_ok_and(|report| report.sound);
            let unpacks = subject.unpack(&subject.at("thin.ami"), 0).is_ok();
            let _ = fs::remove_file(subject.at("out.raw"));
            assert_eq!(sound, unpacks, "{context}: what verify says and unpack does");
        }
        fs::write(base.join(name), bytes).unwrap();
    }
    assert_eq!(subject.old.bytes.len(), 4 * BLOCK_LEN);
}
