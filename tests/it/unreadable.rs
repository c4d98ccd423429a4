//! What may not be read, or is not there any more, is a refusal of the system and not damage; and nothing
//! outside a bundle's folder is read for it.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

use amikit::internals::bundle::Bundle;
use amikit::internals::digest::Digest;
use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::layout::InInputs;
use amikit::internals::layout::Name;
use amikit::internals::ops;
use amikit::internals::work::Unwatched;

use crate::common;
use crate::common::Calls;
use crate::common::Far;
use crate::common::FarStore;
use crate::common::Random;
use crate::common::fail_at_each_call;
use crate::common::stderr;
use crate::common::threads;
use crate::common::verify;

/// A folder with a bundle of some packs, in both forms.
struct Subject {
    folder: tempfile::TempDir,
}

impl Subject {
    fn new() -> Self {
        let subject = Self { folder: common::quick_folder() };
        subject.fill(3);
        subject.pack("b.ami");
        subject.pack("b.ami.tar");
        // Another user looks at it too.
        fs::set_permissions(subject.folder.path(), Permissions::from_mode(0o755)).unwrap();
        subject
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fill(&self, seed: u64) {
        fs::write(self.at("image"), Random::with_seed(seed).bytes(3 << 20)).unwrap();
    }

    fn pack(&self, name: &str) {
        let mut request = common::pack_request(&self.at("image"), &self.at(name));
        request.options.pack_size = 1 << 20;
        request.options.groups.size = 512 << 10;
        ops::pack(&request, &Unwatched).unwrap();
    }

    /// Puts the bundle's files behind calls; `calls` says behind which.
    fn inputs(&self, calls: impl Fn(Name) -> Arc<Calls>) -> InInputs {
        let mut store = InInputs::new(Path::new("far"));
        for (path, bytes) in common::tree(&self.at("b.ami")) {
            let name = match path.to_str().unwrap() {
                "oci-layout" => Name::Layout,
                "index.json" => Name::Index,
                blob => Name::Blob(Digest::from_hex(&blob["blobs/sha256/".len()..]).unwrap()),
            };
            store.insert(name, Far::input(&format!("far/{name}"), &bytes, &calls(name)));
        }
        store
    }
}

fn look(bundle: &Bundle, quick: bool) -> Result<ops::VerifyReport, Error> {
    ops::verify_opened(bundle, quick, threads(1), &Unwatched)
}

// --- B-5 -----------------------------------------------------------------------------------------

#[test]
fn a_failure_at_any_call_of_verify_accuses_nothing() {
    let subject = Subject::new();
    // An error of the storage where there is none of the run.
    let told = |report: ops::VerifyReport| {
        assert_eq!((&report.damage[..], report.sound), (&[][..], report.unreadable.is_empty()));
        let refused = report.unreadable.first().map(|it| it.error.clone());
        refused.map_or(Ok(()), |text| Err(Error::new(Kind::Io, text)))
    };
    for quick in [false, true] {
        fail_at_each_call("inputs", 2000, |calls| {
            let store = subject.inputs(|_| Arc::clone(calls));
            look(&Bundle::open_in(Arc::new(store), None)?, quick).and_then(told)
        });
        fail_at_each_call("store", 2000, |calls| {
            let store = subject.inputs(|_| Calls::all_well());
            let store = FarStore { store, calls: Arc::clone(calls) };
            look(&Bundle::open_in(Arc::new(store), None)?, quick).and_then(told)
        });
    }
}

#[test]
fn chunks_of_a_pack_that_cannot_be_read_are_listed_apart_with_their_blocks() {
    let subject = Subject::new();
    let bundle = Bundle::open(&subject.at("b.ami")).unwrap();
    let (packs, snapshot) = (bundle.packs(), &bundle.snapshots()[0]);
    assert!(packs.len() > 1, "{} packs", packs.len());
    for (hidden, lost) in [
        (packs[0].blob.digest, bundle.pack(&packs[0].blob).unwrap().chunk_count()),
        (snapshot.blob.digest, 0),
    ] {
        let store = subject.inputs(|name| match name {
            Name::Blob(digest) if digest == hidden => Calls::all_fail(),
            _ => Calls::all_well(),
        });
        let report = look(&Bundle::open_in(Arc::new(store), None).unwrap(), false).unwrap();
        assert_eq!((&report.damage[..], report.sound), (&[][..], false));
        let chunks = report.unreadable.iter().filter(|it| it.chunk.is_some());
        assert_eq!(u32::try_from(chunks.clone().count()).unwrap(), lost);
        assert!(chunks.clone().all(|it| !it.blocks.is_empty()), "{report:?}");
        assert!(report.unreadable.len() > chunks.count(), "{report:?}");
    }
}

/// What is damaged is reported beside what cannot be read.
#[test]
fn damage_is_found_although_something_else_cannot_be_read() {
    let subject = Subject::new();
    let bundle = Bundle::open(&subject.at("b.ami")).unwrap();
    let [hidden, damaged] = [0, 1].map(|number| bundle.packs()[number].blob.digest);
    let path = subject.at(&format!("b.ami/blobs/sha256/{damaged}"));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let store = subject.inputs(|name| match name {
        Name::Blob(digest) if digest == hidden => Calls::all_fail(),
        _ => Calls::all_well(),
    });
    let report = look(&Bundle::open_in(Arc::new(store), None).unwrap(), false).unwrap();
    assert!(!report.sound && !report.damage.is_empty() && !report.unreadable.is_empty());
    let chunks: Vec<_> = report.damage.iter().filter_map(|it| it.chunk).collect();
    assert_eq!(chunks.len(), 1, "{:?}", report.damage);
}

/// Runs the program as a user who is not root, below a limit of open files.
fn run_limited(folder: &Path, files: usize, line: &str) -> Output {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_amikit")]).args(line.split_whitespace());
    command.current_dir(folder).stdin(Stdio::null());
    if common::is_root() {
        command.uid(65_534).gid(65_534);
    }
    command.output().unwrap()
}

#[test]
fn a_run_without_file_descriptors_ends_as_a_failure_of_the_system() {
    let subject = Subject::new();
    let mut refused = 0;
    for files in 3..24 {
        for line in
            ["verify b.ami", "verify b.ami.tar --quick", "inspect b.ami", "inspect b.ami.tar"]
        {
            let output = run_limited(subject.folder.path(), files, line);
            let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
            match output.status.code() {
                Some(0) => {}
                Some(3) => refused += 1,
                // Before the program runs, the shell or the loader may fail.
                Some(126 | 127) => {
                    assert!(!text.contains("amikit: error: "), "{line}, {files}: {text}");
                }
                code => panic!("{line} with {files} files: {code:?}: {text}"),
            }
            assert!(!text.contains("NOT intact") && !text.contains("no intact"), "{line}: {text}");
        }
    }
    assert!(refused > 3, "{refused} runs were refused");
}

#[test]
fn a_bundle_that_may_not_be_read_is_still_one() {
    let subject = Subject::new();
    let forbid = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o0)).unwrap();
    let pack = Bundle::open(&subject.at("b.ami")).unwrap().packs()[0].blob.digest;
    forbid(&subject.at(&format!("b.ami/blobs/sha256/{pack}")));
    forbid(&subject.at("b.ami.tar"));
    let verified = run_limited(subject.folder.path(), 100, "verify b.ami");
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(3), "{text}{}", stderr(&verified));
    assert!(text.contains("unreadable: pack: ") && text.contains("not verified: "), "{text}");
    let unpacked = run_limited(subject.folder.path(), 100, "unpack b.ami -o /dev/null/x");
    assert_ne!(unpacked.status.code(), Some(4), "{}", stderr(&unpacked));
    for line in ["verify b.ami.tar", "inspect b.ami.tar", "lint b.ami.tar", "map b.ami.tar"] {
        let output = run_limited(subject.folder.path(), 100, line);
        assert_eq!(output.status.code(), Some(3), "{line}: {}", stderr(&output));
        assert!(stderr(&output).contains("Permission denied"), "{line}: {}", stderr(&output));
    }
}

// --- B-7 -----------------------------------------------------------------------------------------

#[test]
fn a_bundle_that_is_replaced_while_it_is_open_is_not_called_damaged() {
    let subject = Subject::new();
    let open = || Bundle::open(&subject.at("b.ami")).unwrap();
    let (before, pack) = (open(), open().packs()[0].blob.clone());
    let manifest = before.manifest(&before.snapshots()[0]).unwrap();
    subject.fill(4);
    subject.pack("b.ami");
    // What is open stays readable, what is not is gone with its folder, and nothing of the new one is taken.
    assert_ne!(manifest.root(), open().snapshots()[0].root);
    manifest.verify().unwrap();
    for error in [before.pack(&pack).unwrap_err(), before.snapshot(None).unwrap_err()] {
        assert!(error.kind() == Kind::Io && error.to_string().contains("replaced"), "{error}");
    }
    let report = look(&before, true).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(report.damage, []);
    assert!(!report.sound);
    // A blob that lacks while the folder is where it was is damage, as ever.
    fs::remove_file(subject.at(&format!("b.ami/blobs/sha256/{}", open().packs()[0].blob.digest)))
        .unwrap();
    assert!(!verify(&subject.at("b.ami"), true).unwrap().damage.is_empty());
}

#[test]
fn readers_beside_a_writer_of_the_same_bundle_accuse_nothing() {
    let subject = Subject::new();
    let done = AtomicBool::new(false);
    let rounds = common::rounds(25);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut sound, mut refused) = (0, 0);
                    while !done.load(Ordering::Relaxed) {
                        match verify(&subject.at("b.ami"), true) {
                            Ok(report) => {
                                assert_eq!(report.damage, []);
                                if report.sound { sound += 1 } else { refused += 1 }
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), Kind::Io, "{error}");
                                refused += 1;
                            }
                        }
                    }
                    (sound, refused)
                })
            })
            .collect();
        for _ in 0..rounds {
            subject.pack("b.ami");
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            let (sound, refused) = reader.join().unwrap();
            println!("{sound} sound, {refused} refused");
            assert!(sound > 0);
        }
    });
}

// --- B-17 ----------------------------------------------------------------------------------------

#[test]
fn no_part_of_the_path_to_a_blob_may_be_a_link() {
    let subject = Subject::new();
    let pack = Bundle::open(&subject.at("b.ami")).unwrap().packs()[0].blob.digest;
    let blob = format!("blobs/sha256/{pack}");
    for linked in ["blobs", "blobs/sha256", &blob, "oci-layout", "index.json"] {
        let (there, here) = (subject.at("there"), subject.at("b.ami").join(linked));
        fs::rename(&here, &there).unwrap();
        symlink(&there, &here).unwrap();
        let error = verify(&subject.at("b.ami"), true).map_or_else(
            |error| (error.kind(), error.to_string()),
            |report| (Kind::Corrupt, report.damage[0].error.clone()),
        );
        assert!(error.0 == Kind::Corrupt && error.1.contains("link"), "{linked}: {error:?}");
        fs::remove_file(&here).unwrap();
        fs::rename(&there, &here).unwrap();
    }
    assert!(verify(&subject.at("b.ami"), true).unwrap().sound);
    // The bundle itself is what the user names, by whatever path.
    symlink(subject.at("b.ami"), subject.at("link.ami")).unwrap();
    assert!(verify(&subject.at("link.ami"), true).unwrap().sound);
}
