//! A base that is not the right one is refused before anything is written.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;

use crate::common::Random;
use crate::common::names;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::stderr;
use crate::common::tree;
use crate::delta_pairs::Happens;
use crate::delta_pairs::pair;
use crate::delta_pairs::write_pair;

/// A folder with a pair, its bundles and deltas, and others that do not belong to it.
fn scene() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut random = Random::with_seed(21);
    let (old, new) = pair(&mut random, 4, Happens::BytesInserted);
    write_pair(here, &old, &new);
    run_well(here, "pack new.raw --base old.ami --thin -o thin.ami --name new");
    run_well(here, "pack new.raw --base old.raw --thin -o thin-image.ami --name new");
    run_well(here, "pack new.raw -o new.ami --name new");
    run_well(here, "snapshot new.raw -o new.snap");
    let mut changed = old.clone();
    let place = changed.bytes.iter().rposition(|byte| *byte != 0).unwrap();
    changed.bytes[place] ^= 0x10;
    changed.settle().write(&here.join("changed.raw"));
    run_well(here, "pack changed.raw -o changed.ami --name old");
    fs::write(here.join("text.txt"), b"hello").unwrap();
    fs::write(here.join("empty.raw"), b"").unwrap();
    folder
}

/// All files with their bytes.
fn state(here: &Path) -> (Vec<String>, usize) {
    let bytes = tree(here);
    (names(here), bytes.values().map(Vec::len).sum())
}

#[test]
fn a_wrong_base_is_refused_before_anything_is_written() {
    let folder = scene();
    let here = folder.path();
    let before = state(here);
    let old = fs::read(here.join("changed.raw")).unwrap();
    // The command, its exit code, and what the message must say.
    for (line, code, said) in [
        ("unpack thin.ami -o out.raw", 2, "--base"),
        ("unpack thin.ami --base changed.ami -o out.raw", 7, "expected sha256:"),
        ("unpack thin.ami --base changed.raw -o out.raw", 7, "expected sha256:"),
        ("unpack thin.ami --base new.raw -o out.raw", 7, "expected sha256:"),
        ("unpack thin.ami --base new.ami -o out.raw", 7, "expected sha256:"),
        ("unpack thin.ami --base thin.ami -o out.raw", 7, "expected sha256:"),
        ("unpack new.ami --base old.ami -o out.raw", 2, "omit --base"),
        ("unpack thin.ami --base gone.raw -o out.raw", 3, "gone.raw"),
        ("verify thin.ami --base changed.ami", 7, "expected sha256:"),
        ("verify thin.ami --base changed.raw", 7, "expected sha256:"),
        ("verify new.ami --base old.ami", 2, "omit --base"),
        ("apply thin.ami --to changed.raw -o out.raw", 7, "expected sha256:"),
        ("apply thin.ami --to changed.raw --in-place", 7, "the snapshot sha256:"),
        ("apply thin-image.ami --to changed.raw --in-place", 7, "the snapshot sha256:"),
        ("apply thin.ami --to text.txt --in-place", 7, "the snapshot sha256:"),
        ("apply new.ami --to old.raw --in-place", 2, "unpack"),
        ("apply new.ami --to old.raw -o out.raw", 2, "needs no base"),
        ("apply thin.ami --to gone.raw --in-place", 3, "gone.raw"),
        ("complete thin.ami --base changed.ami -o out.ami", 7, "expected sha256:"),
        ("complete thin.ami --base new.ami -o out.ami", 7, "expected sha256:"),
        ("complete thin.ami --base thin.ami -o out.ami", 7, "expected sha256:"),
        ("complete thin-image.ami --base old.ami -o out.ami", 5, "rebase"),
        ("complete new.ami --base old.ami -o out.ami", 2, "needs no base"),
        ("pack new.raw --base thin.ami -o out.ami --name test", 2, "complete"),
        ("pack new.raw --base thin.ami --thin -o out.ami --name test", 2, "complete"),
        ("pack new.raw --base old.raw -o out.ami --name test", 2, "--thin"),
        (
            "pack new.raw --base old.raw --base-manifest new.snap --thin -o out.ami --name test",
            7,
            "expected",
        ),
        (
            "pack new.raw --base changed.raw --base-manifest old.snap --thin -o out.ami --name test",
            7,
            "expected",
        ),
        (
            "pack new.raw --base old.ami --base-manifest old.snap -o out.ami --name test",
            2,
            "--base-manifest",
        ),
        ("pack new.raw --base gone.ami -o out.ami --name test", 3, "gone.ami"),
        ("merge thin.ami new.ami -o out.ami", 7, "packed against no base"),
        ("merge new.ami thin.ami -o out.ami", 7, "is packed against the snapshot"),
        ("merge thin.ami thin.ami -o out.ami", 7, "is packed against the snapshot"),
        ("rebase thin.ami --onto new.ami --thin -o out.ami", 2, "--base"),
        ("rebase thin.ami --base new.ami --onto new.ami -o out.ami", 7, "expected sha256:"),
        ("rebase thin.ami --base old.ami --onto new.raw -o out.ami", 2, "--thin"),
        ("rebase thin.ami --base old.ami --onto thin.ami -o out.ami", 2, "complete"),
    ] {
        let text = run_badly(here, line, code);
        assert!(text.contains(said), "{line}: {text}");
        assert_eq!(text.lines().count(), 1, "{line}: {text}");
        assert!(text.starts_with("amikit: error: "), "{line}: {text}");
        assert_eq!(state(here), before, "{line}: something was written");
    }
    assert!(fs::read(here.join("changed.raw")).unwrap() == old);
    let line = "pack new.raw --base old.ami --zeros hole -o out.ami --name test";
    let text = run_badly(here, line, 2);
    assert!(text.contains("omit --zeros"), "{text}");
    assert_eq!(state(here), before, "{line}: something was written");
}

#[test]
fn options_that_make_no_sense_are_refused_as_usage() {
    let folder = scene();
    let here = folder.path();
    let before = state(here);
    for line in [
        "pack new.raw --thin -o out.ami --name test",
        "pack new.raw --base-index i.amx -o out.ami --name test",
        "pack new.raw --base-manifest old.snap -o out.ami --name test",
        "apply thin.ami --to old.raw",
        "apply thin.ami --to old.raw -o out.raw --in-place",
        "apply thin.ami -o out.raw",
        "complete thin.ami -o out.ami",
        "complete thin.ami --base old.ami",
        "merge thin.ami -o out.ami",
        "rebase thin.ami -o out.ami",
        "diff old.raw",
        "diff old.raw new.raw --format other",
    ] {
        let output = run(here, line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", stderr(&output));
        assert_eq!(state(here), before, "{line}");
    }
    for command in ["diff", "apply", "complete", "merge", "rebase"] {
        let help = run_well(here, &format!("{command} --help"));
        assert!(help.contains("Example") && help.contains(&format!("amikit {command} ")), "{help}");
        assert!(help.contains("--json"), "{command}");
    }
}

/// A bundle that has the base's manifest, and packs that are not the base's: not the one to complete
/// with, although the root digest is right.
#[test]
fn a_base_that_was_packed_otherwise_serves_to_read_and_not_to_complete() {
    let folder = scene();
    let here = folder.path();
    run_well(here, "pack old.raw -o other.ami --name other --level 19");
    run_well(here, "verify thin.ami --base other.ami");
    run_well(here, "unpack thin.ami --base other.ami -o out.raw");
    assert!(fs::read(here.join("out.raw")).unwrap() == fs::read(here.join("new.raw")).unwrap());
    let text = run_badly(here, "complete thin.ami --base other.ami -o out.ami", 2);
    assert!(text.contains("is in neither bundle") && text.lines().count() == 1, "{text}");
    assert!(!here.join("out.ami").exists());
}
