//! `docs/compatibility.md`: it has every format with a version of its own, and every stored file is still read.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use amikit::internals::delta::PageIndex;
use amikit::internals::digest::Digest;
use amikit::internals::io::Input;
use amikit::internals::pack::Patch;

use crate::common;
use crate::common::fixture;
use crate::common::run;
use crate::common::run_badly;
use crate::common::stderr;
use crate::common::tree;

/// How a stored file is read again.
enum Read {
    /// By a command, `{}` being the file and `GOLDEN` the folder of it.
    Command(&'static str),
    /// A folder in an archive, which a command reads, as above. Other commands write the same one, `NEW`, today; `KEY` is
    /// the key of `fixtures/signature`, for its owner alone.
    Folder(&'static str, &'static [&'static str]),
    /// What a command prints of other stored files, which no command of this program reads.
    Printed(&'static str),
    /// By a unit test, since only a build with `network` reads it.
    Unit,
    /// A page index, which names the snapshot that it is of.
    Index,
    /// A patched chunk without its pack.
    Patch,
}

/// Every file of `fixtures/golden`. One of a version that is no longer written stays, with its row.
const GOLDEN: &[(&str, Read)] = &[
    ("bundle.plan.jsonl", Read::Printed("plan GOLDEN/bundle.tar --json")),
    ("bundle.tar", Read::Command("verify {}")),
    ("frames.raw.zst", Read::Command("compare {} {}")),
    ("page.amx", Read::Index),
    ("page.patch", Read::Patch),
    ("page.pax.tar", Read::Command("compare {} {}")),
    ("recipe.toml", Read::Command("lint {}")),
    (
        "signed.tar",
        Read::Folder(
            "verify {} --signers GOLDEN/../signature/signers",
            &[
                "complete GOLDEN/thin.tar --base GOLDEN/bundle.tar -o NEW",
                "sign NEW --key KEY --counter 3",
            ],
        ),
    ),
    (
        "store.tar",
        Read::Folder("store verify {}", &["store init NEW", "store add NEW GOLDEN/bundle.tar"]),
    ),
    (
        "tables.tar",
        // That the AMI is there already is read from the tables.
        Read::Folder(
            "export GOLDEN/bundle.tar -o {}",
            &["export GOLDEN/bundle.tar -o NEW --format csv"],
        ),
    ),
    ("thin.tar", Read::Command("verify {} --base GOLDEN/bundle.tar")),
    ("three-blocks.0.part", Read::Command("join {} GOLDEN/three-blocks.1.part -o a.snap")),
    ("three-blocks.1.part", Read::Command("join GOLDEN/three-blocks.0.part {} -o b.snap")),
    ("three-blocks.snap", Read::Command("inspect {}")),
    ("two-chunks.pack", Read::Command("inspect {}")),
    ("upload.2.journal", Read::Unit),
    ("upload.3.journal", Read::Unit),
    ("upload.journal", Read::Unit),
    ("two-disks.ova", Read::Command("map {}:image-disk2.vmdk")),
];

/// Where the root digest of a page index stands.
const ROOT_AT: usize = 24;

#[test]
fn every_stored_file_is_read() {
    let here = tempfile::tempdir().unwrap();
    let mut left: Vec<_> = fs::read_dir(fixture("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let golden = fixture("golden").display().to_string();
    fs::copy(fixture("signature/test-signer"), here.path().join("key")).unwrap();
    fs::set_permissions(here.path().join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let well = |line: &str, path: &Path| {
        let line = line.replace("{}", path.to_str().unwrap()).replace("GOLDEN", &golden);
        let output = run(here.path(), &line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
    };
    for (name, read) in GOLDEN {
        let path = fixture("golden").join(name);
        match read {
            Read::Command(line) => well(line, &path),
            Read::Folder(line, made) => {
                let unpack = Command::new("tar").arg("-xf").arg(&path).current_dir(&here).status();
                assert!(unpack.unwrap().success(), "{name}");
                let folder = here.path().join(name.trim_end_matches(".tar"));
                let then = tree(&folder);
                well(line, &folder);
                assert!(tree(&folder) == then, "{name} was changed by reading it");
                let new = here.path().join(format!("{name}.new"));
                for line in *made {
                    well(&line.replace("NEW", new.to_str().unwrap()).replace("KEY", "key"), &new);
                }
                assert!(tree(&new) == then, "{name} is not what is written today");
            }
            Read::Printed(line) => {
                let output = run(here.path(), &line.replace("GOLDEN", &golden));
                assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
                if std::env::var_os("BLESS").is_some() {
                    fs::write(&path, &output.stdout).unwrap();
                }
                assert!(output.stdout == fs::read(&path).unwrap(), "{line}; meant? BLESS=1");
            }
            Read::Unit => assert!(path.exists(), "{name}"),
            Read::Index => {
                let bytes = fs::read(&path).unwrap();
                let root = Digest(bytes[ROOT_AT..][..32].try_into().unwrap());
                let index = PageIndex::open(&Input::memory(name, bytes), root).unwrap();
                assert!(!index.is_empty());
            }
            Read::Patch => {
                let bytes = fs::read(&path).unwrap();
                assert!(Patch::parse(&bytes).unwrap().base_pages().count() > 0);
            }
        }
        left.retain(|it| it != name);
    }
    assert!(left.is_empty(), "how are these read? {left:?}");
    // Two parts are the whole, however old they are.
    let whole = fs::read(fixture("golden/three-blocks.snap")).unwrap();
    for joined in ["a.snap", "b.snap"] {
        assert!(fs::read(here.path().join(joined)).unwrap() == whole, "{joined}");
    }
}

/// The version is looked at before anything that a later one may have changed.
#[test]
fn a_newer_version_is_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, at, version) in [("three-blocks.snap", 8, 2), ("two-chunks.pack", 16, 3)] {
        let mut bytes = fs::read(fixture("golden").join(name)).unwrap();
        bytes[at] += 1;
        assert_eq!(bytes[at], version, "{name}");
        fs::write(folder.path().join(name), bytes).unwrap();
        let text = run_badly(folder.path(), &format!("inspect {name}"), 5);
        assert!(text.contains(&format!("version is {version}")), "{name}: {text}");
    }
    // A newer one may have members beside its number that this one does not know.
    for (name, text) in [
        ("store/amikit-store.json", r#"{"version":2,"new":[]}"#),
        ("tables/amikit-tables.json", r#"{"version":2,"format":"csv","new":[]}"#),
    ] {
        let path = folder.path().join(name);
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::rename(folder.path().join("oci-layout"), folder.path().join("store/oci-layout")).unwrap();
    fs::write(folder.path().join("store/index.json"), r#"{"schemaVersion":2,"manifests":[]}"#)
        .unwrap();
    let bundle = fixture("golden/bundle.tar").display().to_string();
    let text = run_badly(folder.path(), "store list store", 5);
    assert!(text.contains('2'), "{text}");
    let text = run_badly(folder.path(), &format!("export {bundle} -o tables --format csv"), 5);
    assert!(text.contains('2'), "{text}");
    let recipe = fs::read_to_string(fixture("golden/recipe.toml")).unwrap();
    let newer = recipe.replacen("version = 1", "version = 2\nnew = []", 1);
    fs::write(folder.path().join("ami.toml"), newer).unwrap();
    for line in ["lint ami.toml", "build ami.toml -o a.ami"] {
        let text = run_badly(folder.path(), line, 5);
        assert!(text.contains("version is 2, expected 1"), "{line}: {text}");
    }
    let mut part = fs::read(fixture("golden/three-blocks.0.part")).unwrap();
    part[8] = 2;
    fs::write(folder.path().join("new.part"), part).unwrap();
    for line in ["inspect new.part", "join new.part -o a.snap"] {
        let text = run_badly(folder.path(), line, 5);
        assert!(text.contains("version 2, expected 1"), "{line}: {text}");
    }
}

/// A file of ours is known by what it is, and never taken for a raw image.
#[test]
fn no_stored_file_is_taken_for_a_disk() {
    let here = tempfile::tempdir().unwrap();
    let part = fixture("golden/three-blocks.0.part");
    let (part, blocks) = (part.display(), "blocks 0 to 0 of a volume of 1.50 MiB");
    let output = run(here.path(), &format!("inspect {part}"));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(blocks) && said.contains("kind=snapshot"), "{said}");
    for name in ["page.amx", "three-blocks.0.part", "three-blocks.snap", "two-chunks.pack"] {
        let path = fixture("golden").join(name).display().to_string();
        for line in ["snapshot FILE -o a.snap", "pack FILE -o out.ami", "compare FILE FILE"] {
            let output = run(here.path(), &line.replace("FILE", &path));
            let (code, text) = (output.status.code(), stderr(&output));
            assert!(matches!(code, Some(2 | 5)), "{line} of {name}: {text}");
            assert!(text.contains(" it is "), "{line} of {name}: {text}");
        }
        fs::write(here.path().join("a.tar"), common::archive(&[(name, &fs::read(&path).unwrap())]))
            .unwrap();
        run_badly(here.path(), "snapshot a.tar -o a.snap", 5);
    }
}

/// Each document whose title has a version has a row with the same one.
#[test]
fn the_page_has_every_version() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = fs::read_to_string(docs.join("compatibility.md")).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(docs.join("formats")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let title = text.lines().next().unwrap().trim_start_matches("# ");
        let Some((name, version)) = title.split_once(", version ") else { continue };
        if !version.bytes().all(|byte| byte.is_ascii_digit())
            || name.ends_with(')')
            || name.contains("images")
        {
            continue; // The version of a format that is not ours.
        }
        let file = path.file_name().unwrap().to_str().unwrap();
        let row = format!("| [{name}](formats/{file}) | {version} |");
        assert!(page.contains(&row), "no row {row:?}");
        count += 1;
    }
    let rows = page.lines().filter(|line| line.contains("](formats/") && line.starts_with("| ["));
    assert_eq!(rows.count(), count, "a row too many");
    assert!(count >= 10);
}
