//! Any damage to a bundle is found, every damaged block is named, and nothing sound is accused.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use amikit::internals::bundle::Bundle;
use amikit::internals::digest::Digest;
use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::format;
use amikit::internals::io::Input;
use amikit::internals::manifest::Manifest;
use amikit::internals::ops;
use amikit::internals::ops::VerifyReport;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::work::Unwatched;

use crate::common::Model;
use crate::common::Random;
use crate::common::copy_tree;
use crate::common::names;
use crate::common::pack_request;
use crate::common::rounds;
use crate::common::run;
use crate::common::sample;
use crate::common::threads;
use crate::common::tree;
use crate::common::verify;

/// Where a chunk is stored and which blocks hold it.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    blob: PathBuf,
    offset: u64,
    len: u64,
    /// First block and number of blocks, ascending.
    blocks: Vec<(u32, u32)>,
}

/// A bundle of a small volume, and what is known of it.
pub(crate) struct Subject {
    folder: tempfile::TempDir,
    model: Model,
    chunks: BTreeMap<Digest, Chunk>,
}

impl Subject {
    /// Packs twenty blocks: chunks of a few KiB when stored, some held by several blocks, zeros, a
    /// hole and an odd tail; in several packs.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random::with_seed(1);
        let plain: Vec<Vec<u8>> = (0..12).map(|_| random.bytes(4000)).collect();
        let order = [0, 1, 2, 2, 2, 3, 12, 13, 4, 5, 1, 6, 7, 13, 8, 9, 0, 10, 12, 11];
        let blocks: Vec<_> = order
            .iter()
            .map(|number| match number {
                12 => Some(Vec::new()),
                13 => None,
                number => Some(plain[*number].clone()),
            })
            .collect();
        let model = Model::of(&blocks, 5001);
        model.write(&folder.path().join("in.raw"));
        let subject = Self { folder, model, chunks: BTreeMap::new() };
        for form in ["b.ami", "b.tar"] {
            let mut request = pack_request(&subject.at("in.raw"), &subject.at(form));
            request.options.pack_size = 20_000;
            // Groups of two chunks: damage hits both.
            request.options.groups.size = 1 << 20;
            ops::pack(&request, &Unwatched).unwrap();
        }
        subject.with_chunks(&plain)
    }

    fn with_chunks(mut self, plain: &[Vec<u8>]) -> Self {
        let bundle = Bundle::open(&self.at("b.ami")).unwrap();
        assert!(bundle.packs().len() >= 3, "several packs");
        for blob in bundle.packs() {
            let pack = bundle.pack(&blob.blob).unwrap();
            for number in 0..pack.chunk_count() {
                let entry = pack.entry(number).unwrap();
                let content = plain.iter().find(|it| digest_of(it) == entry.id).unwrap();
                let mut block = content.clone();
                block.resize(BLOCK_LEN, 0);
                let chunk = Chunk {
                    blob: PathBuf::from(format!("blobs/sha256/{}", blob.blob.digest)),
                    offset: pack.group_of(&entry).offset,
                    len: u64::from(pack.group_of(&entry).len),
                    blocks: self.model.places_of(&block),
                };
                assert!(!chunk.blocks.is_empty());
                self.chunks.insert(entry.id, chunk);
            }
        }
        assert_eq!(self.chunks.len(), 12);
        let most = self.chunks.keys().map(|id| self.group_of(id).len()).max();
        assert_eq!(most, Some(2), "groups of several chunks");
        self
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the chunks that are compressed together with a chunk, itself among them.
    fn group_of(&self, id: &Digest) -> BTreeSet<Digest> {
        let place = |chunk: &Chunk| (chunk.blob.clone(), chunk.offset);
        let own = place(&self.chunks[id]);
        self.chunks.iter().filter(|(_, it)| place(it) == own).map(|(id, _)| *id).collect()
    }

    /// Returns a fresh copy of the bundle to be damaged.
    pub(crate) fn copy(&self) -> PathBuf {
        let path = self.at("copy.ami");
        let _ = fs::remove_dir_all(&path);
        copy_tree(&self.at("b.ami"), &path);
        path
    }

    /// Holds what a report says of chunks to the ones that are damaged.
    fn check_named(&self, report: &VerifyReport, damaged: &BTreeSet<Digest>, context: &str) {
        assert!(!report.sound, "{context}: nothing was found");
        let named: BTreeSet<Digest> = report.damage.iter().filter_map(|it| it.chunk).collect();
        assert_eq!(&named, damaged, "{context}: named and damaged chunks");
        for damage in &report.damage {
            let Some(id) = damage.chunk else {
                assert!(damage.blocks.is_empty(), "{context}: {damage:?}");
                continue;
            };
            let found: Vec<_> = damage
                .blocks
                .iter()
                .map(|it| {
                    assert_eq!(it.device, "/dev/xvda");
                    let start = u64::from(it.first_block) * 524_288;
                    let end = start + u64::from(it.block_count) * 524_288;
                    let end = end.min(self.model.size());
                    assert_eq!((it.start_bytes, it.end_bytes), (start, end), "{context}");
                    (it.first_block, it.block_count)
                })
                .collect();
            assert_eq!(found, self.chunks[&id].blocks, "{context}: blocks of {id}");
        }
    }

    /// Unpacks a damaged bundle over an old file: it fails, and the old file stays.
    fn check_unpack_refuses(&self, bundle: &Path, context: &str) {
        let folder = self.at("out");
        fs::create_dir_all(&folder).unwrap();
        let output = folder.join("out.raw");
        fs::write(&output, b"the old image").unwrap();
        let request = ops::UnpackRequest {
            trust: None,
            base: None,
            bundle: bundle.to_owned(),
            device: None,
            output: output.clone(),
            format: format::writer_by_name("raw").unwrap(),
            level: None,
            max_size: None,
            threads: threads(2),
        };
        let error = match ops::unpack(&request, &Unwatched) {
            Ok(report) => panic!("{context}: unpacked all the same: {report:?}"),
            Err(error) => error,
        };
        let kinds = [Kind::Corrupt, Kind::Mismatch, Kind::Unsupported, Kind::Limit];
        assert!(kinds.contains(&error.kind()), "{context}: {error}");
        assert_eq!(fs::read(&output).unwrap(), b"the old image", "{context}");
        assert_eq!(names(&folder), ["out.raw"], "{context}: something was left behind");
    }
}

fn digest_of(content: &[u8]) -> Digest {
    let mut block = content.to_vec();
    block.resize(BLOCK_LEN, 0);
    amikit::internals::digest::sha256(&block)
}

/// Flips one bit of a file.
pub(crate) fn flip(path: &Path, byte: u64, bit: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut found = [0];
    file.read_exact_at(&mut found, byte).unwrap();
    file.write_all_at(&[found[0] ^ 1 << bit], byte).unwrap();
}

pub(crate) fn found(result: &Result<VerifyReport, Error>) -> bool {
    result.as_ref().map_or(true, |report| !report.sound)
}

#[test]
fn a_sound_bundle_is_accused_of_nothing() {
    let subject = Subject::new();
    for form in ["b.ami", "b.tar"] {
        for quick in [false, true] {
            let report = verify(&subject.at(form), quick).unwrap();
            assert!(report.sound && report.damage.is_empty(), "{report:?}");
            assert_eq!(report.chunks, 12);
        }
    }
}

#[test]
fn any_flipped_bit_of_a_blob_is_found_and_unpack_refuses_it() {
    let mut random = Random::new("any_flipped_bit_of_a_blob");
    let subject = Subject::new();
    let bundle = subject.copy();
    let files: Vec<(PathBuf, Vec<u8>)> =
        tree(&bundle).into_iter().filter(|(name, _)| name != Path::new("index.json")).collect();
    for trial in 0..rounds(sample(420)) {
        let (name, bytes) = &files[random.index(files.len())];
        let (byte, bit) = (random.index(bytes.len()), random.index(8));
        let context = format!("trial {trial}: {} byte {byte} bit {bit}", name.display());
        let path = bundle.join(name);
        let (byte, bit) = (u64::try_from(byte).unwrap(), u8::try_from(bit).unwrap());
        flip(&path, byte, bit);
        assert!(found(&verify(&bundle, false)), "{context}: not found");
        assert!(found(&verify(&bundle, true)), "{context}: not found by --quick");
        if trial % 4 == 0 {
            subject.check_unpack_refuses(&bundle, &context);
        }
        if trial % 40 == 0 {
            let output = run(&subject.at(""), "verify copy.ami");
            let code = output.status.code().unwrap();
            assert!([1, 4, 5, 6, 7].contains(&code), "{context}: exit {code}");
        }
        flip(&path, byte, bit);
    }
    assert!(verify(&bundle, false).unwrap().sound);
}

#[test]
fn a_flip_in_a_stored_group_names_its_chunks_and_their_blocks() {
    let mut random = Random::new("a_flip_in_a_stored_chunk");
    let subject = Subject::new();
    let bundle = subject.copy();
    let among = rounds(4 * subject.chunks.len()).div_ceil(subject.chunks.len());
    for (id, chunk) in &subject.chunks {
        let random_places = (2..among).map(|_| random.below(chunk.len));
        let places: Vec<u64> = [0, chunk.len - 1].into_iter().chain(random_places).collect();
        for place in places {
            let bit = u8::try_from(random.below(8)).unwrap();
            let path = bundle.join(&chunk.blob);
            flip(&path, chunk.offset + place, bit);
            for quick in [false, true] {
                let context = format!("chunk {id} byte {place} bit {bit}, quick {quick}");
                let report = verify(&bundle, quick).unwrap();
                subject.check_named(&report, &subject.group_of(id), &context);
            }
            flip(&path, chunk.offset + place, bit);
        }
    }
}

#[test]
fn all_damaged_chunks_are_named_at_once_and_no_sound_one() {
    let mut random = Random::new("all_damaged_chunks_are_named");
    let subject = Subject::new();
    let ids: Vec<Digest> = subject.chunks.keys().copied().collect();
    for _ in 0..25 {
        let bundle = subject.copy();
        let mut damaged: BTreeSet<Digest> = BTreeSet::new();
        for id in &ids {
            if random.below(3) == 0 && !damaged.contains(id) {
                let chunk = &subject.chunks[id];
                flip(&bundle.join(&chunk.blob), chunk.offset + random.below(chunk.len), 3);
                damaged.extend(subject.group_of(id));
            }
        }
        if damaged.is_empty() {
            assert!(verify(&bundle, false).unwrap().sound);
            continue;
        }
        for quick in [false, true] {
            let report = verify(&bundle, quick).unwrap();
            subject.check_named(&report, &damaged, &format!("quick {quick}"));
        }
        subject.check_unpack_refuses(&bundle, "several chunks");
    }
}

#[test]
fn a_flip_anywhere_in_the_one_file_form_is_found_or_changes_no_file_of_the_bundle() {
    let mut random = Random::new("a_flip_in_the_one_file_form");
    let subject = Subject::new();
    let copy = subject.at("copy.tar");
    let whole = fs::read(subject.at("b.tar")).unwrap();
    fs::write(&copy, &whole).unwrap();
    // Documents at the end, whose bytes stand for themselves, are another test.
    let index = find_bytes(&whole, b"index.json\0");
    for trial in 0..200 {
        let byte = u64::try_from(random.index(index)).unwrap();
        let bit = u8::try_from(random.below(8)).unwrap();
        flip(&copy, byte, bit);
        let result = verify(&copy, trial % 2 == 0);
        assert!(found(&result) || is_padding(&whole, byte), "byte {byte} bit {bit}: {result:?}");
        flip(&copy, byte, bit);
    }
}

/// Tells whether a byte of an archive stands behind the end of its member.
fn is_padding(archive: &[u8], byte: u64) -> bool {
    members(archive).iter().any(|member| (member.end..member.next).contains(&byte))
}

pub(crate) struct TarMember {
    start: u64,
    pub(crate) end: u64,
    next: u64,
}

/// Lists an archive's members: where each header starts, its bytes end, and the next one starts.
pub(crate) fn members(archive: &[u8]) -> Vec<TarMember> {
    let mut members = Vec::new();
    let mut at = 0;
    while archive[at] != 0 {
        let size = std::str::from_utf8(&archive[at + 124..at + 135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        let end = at + 512 + size;
        let next = end.next_multiple_of(512);
        let place = |it: usize| u64::try_from(it).unwrap();
        members.push(TarMember { start: place(at), end: place(end), next: place(next) });
        at = next;
    }
    members
}

fn find_bytes(whole: &[u8], part: &[u8]) -> usize {
    whole.windows(part.len()).position(|it| it == part).unwrap()
}

#[test]
fn a_lost_cut_swapped_or_longer_blob_is_found() {
    let subject = Subject::new();
    let blobs: Vec<PathBuf> = tree(&subject.at("b.ami")).into_keys().collect();
    for name in blobs.iter().filter(|name| name.starts_with("blobs")) {
        type Change = (&'static str, fn(&Path));
        let changes: &[Change] = &[
            ("removed", |path| fs::remove_file(path).unwrap()),
            ("emptied", |path| fs::write(path, "").unwrap()),
            ("cut by a byte", |path| {
                let file = OpenOptions::new().write(true).open(path).unwrap();
                file.set_len(file.metadata().unwrap().len() - 1).unwrap();
            }),
            ("with a byte more", |path| {
                let file = OpenOptions::new().write(true).open(path).unwrap();
                file.set_len(file.metadata().unwrap().len() + 1).unwrap();
            }),
            ("zeroed", |path| {
                let len = fs::metadata(path).unwrap().len();
                fs::write(path, vec![0; usize::try_from(len).unwrap()]).unwrap();
            }),
            ("a link to the same bytes", |path| {
                let moved = path.with_extension("moved");
                fs::rename(path, &moved).unwrap();
                symlink(moved, path).unwrap();
            }),
            ("a folder", |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            }),
        ];
        for (what, change) in changes {
            let bundle = subject.copy();
            change(&bundle.join(name));
            let context = format!("{} {what}", name.display());
            assert!(found(&verify(&bundle, false)), "{context}: not found");
            assert!(found(&verify(&bundle, true)), "{context}: not found by --quick");
            subject.check_unpack_refuses(&bundle, &context);
        }
    }
    // Two blobs under each other's names.
    let blobs: Vec<_> = blobs.iter().filter(|name| name.starts_with("blobs")).collect();
    for (one, other) in blobs.iter().zip(&blobs[1..]) {
        let bundle = subject.copy();
        let (one, other) = (bundle.join(one), bundle.join(other));
        fs::rename(&one, bundle.join("between")).unwrap();
        fs::rename(&other, &one).unwrap();
        fs::rename(bundle.join("between"), &other).unwrap();
        assert!(found(&verify(&bundle, true)), "swapped");
        // Chunks are found by their ids: packs of one length lose none when they change names.
        let len = |path: &Path| fs::metadata(path).unwrap().len();
        if len(&one) != len(&other) {
            subject.check_unpack_refuses(&bundle, "swapped");
        }
    }
}

#[test]
fn chunks_that_a_lost_pack_held_are_named_with_their_blocks() {
    let subject = Subject::new();
    let blobs: BTreeSet<&PathBuf> = subject.chunks.values().map(|chunk| &chunk.blob).collect();
    for blob in blobs {
        let bundle = subject.copy();
        fs::remove_file(bundle.join(blob)).unwrap();
        let lost = subject.chunks.iter().filter(|(_, chunk)| &chunk.blob == blob);
        let lost: BTreeSet<Digest> = lost.map(|(id, _)| *id).collect();
        let report = verify(&bundle, false).unwrap();
        subject.check_named(&report, &lost, "a lost pack");
        let packs: Vec<_> = report.damage.iter().filter(|it| it.what == "pack").collect();
        assert_eq!(packs.len(), 1, "a lost pack is said once: {packs:?}");
        let name = blob.file_name().unwrap().to_str().unwrap();
        assert!(packs[0].error.contains(name), "{packs:?}");
    }
}

#[test]
fn every_prefix_of_a_metadata_file_is_refused() {
    let subject = Subject::new();
    let bundle = Bundle::open(&subject.at("b.ami")).unwrap();
    let blob = |digest: Digest| subject.at("b.ami/blobs/sha256").join(digest.hex());
    let path = subject.at("prefix");

    let bytes = fs::read(blob(bundle.snapshots()[0].blob.digest)).unwrap();
    for_each_prefix(&path, &bytes, 0, |len| {
        assert!(Manifest::open(&Input::open(&path).unwrap()).is_err(), "manifest of {len} bytes");
    });
    // Inspect must not take one for a raw image once its magic is there.
    for len in [8, 15, 16, 100, 4095, 4096, bytes.len() - 1] {
        fs::write(&path, &bytes[..len]).unwrap();
        let request = ops::ImageRequest::of(&path);
        let result = ops::inspect(&request.clone().into(), None, &Unwatched);
        assert!(result.is_err(), "manifest of {len} bytes: {result:?}");
    }

    let pack = bundle.packs()[0].blob.digest;
    let bytes = fs::read(blob(pack)).unwrap();
    let tail = bytes.len() - 1000;
    for_each_prefix(&path, &bytes, tail, |len| {
        let result = ops::inspect(&ops::ImageRequest::of(&path).into(), None, &Unwatched);
        assert!(result.is_err(), "pack of {len} bytes: {result:?}");
    });

    for name in ["index.json", "oci-layout"] {
        let copy = subject.copy();
        let bytes = fs::read(copy.join(name)).unwrap();
        // The newline at the end is no part of the document.
        let whole = bytes.trim_ascii_end();
        for_each_prefix(&copy.join(name), whole, 0, |len| {
            assert!(Bundle::open(&copy).is_err(), "{name} of {len} bytes");
        });
    }
    for digest in [bundle.digest(), bundle.config().digest] {
        let copy = subject.copy();
        let path = copy.join("blobs/sha256").join(digest.hex());
        let bytes = fs::read(&path).unwrap();
        for_each_prefix(&path, &bytes, 0, |len| {
            assert!(Bundle::open(&copy).is_err(), "document of {len} bytes");
        });
    }
}

/// Cuts a file to each length from the longest on down to `shortest`.
fn for_each_prefix(path: &Path, bytes: &[u8], shortest: usize, check: impl Fn(usize)) {
    fs::write(path, bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    for len in (shortest..bytes.len()).rev() {
        file.set_len(u64::try_from(len).unwrap()).unwrap();
        check(len);
    }
}

#[test]
fn an_archive_cut_at_any_member_is_refused() {
    let subject = Subject::new();
    let bytes = fs::read(subject.at("b.tar")).unwrap();
    let path = subject.at("cut.tar");
    for member in members(&bytes) {
        for edge in [member.start, member.start + 512, member.end, member.next] {
            for len in [edge.saturating_sub(1), edge, edge + 1] {
                let len = usize::try_from(len).unwrap();
                fs::write(&path, &bytes[..len]).unwrap();
                assert!(found(&verify(&path, true)), "{len} of {} bytes", bytes.len());
                subject.check_unpack_refuses(&path, &format!("an archive of {len} bytes"));
            }
        }
    }
}
