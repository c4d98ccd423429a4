//! Outputs take the place of what they may replace, and of nothing else (case B-3).
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;

use crate::common::copy_tree;
use crate::common::fixture;
use crate::common::names;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::tree;

/// A folder with two images, a bundle of the first, and a thin one of the second.
fn scene() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("old.raw"), vec![1; 700_000]).unwrap();
    fs::write(here.join("new.raw"), vec![2; 700_000]).unwrap();
    run_well(here, "pack old.raw -o old.ami --name old");
    run_well(here, "pack new.raw --base old.ami --thin -o thin.ami --name new");
    run_well(here, "init");
    fs::copy(fixture("images/disk.simg"), here.join("root.raw")).unwrap();
    folder
}

/// Every command that makes a bundle, to be called `out`.
const MAKERS: [&str; 5] = [
    "pack new.raw -o out --name new",
    "complete thin.ami --base old.ami -o out",
    "rebase thin.ami --base old.ami --onto old.ami -o out",
    "merge thin.ami thin2.ami -o out",
    "build ami.toml -o out",
];

/// Something that stands under an output's name, and what it is.
fn refused(here: &Path, what: &str, make: &dyn Fn(&Path)) {
    for line in MAKERS {
        let out = here.join("out");
        make(&out);
        let before = (tree(&out), names(here));
        let text = run_badly(here, line, 2);
        assert!(text.contains("it already exists"), "{what}: {line}: {text}");
        assert_eq!(text.lines().count(), 1, "{what}: {line}: {text}");
        assert!((tree(&out), names(here)) == before, "{what}: {line}: it was touched");
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn b3_a_folder_is_replaced_only_if_it_is_a_bundle_and_nothing_else() {
    let folder = scene();
    let here = folder.path();
    fs::write(here.join("newer.raw"), vec![3; 700_000]).unwrap();
    run_well(here, "pack new.raw -o new.ami --name new");
    run_well(here, "pack newer.raw --base new.ami --thin -o thin2.ami --name newer");
    let bundle = here.join("old.ami");
    let with = |name: &'static str, text: &'static str| {
        let bundle = bundle.clone();
        move |out: &Path| {
            copy_tree(&bundle, out);
            let path = out.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    };
    refused(here, "files with the names of a layout", &|out| {
        fs::create_dir(out).unwrap();
        for name in ["oci-layout", "index.json", "thesis.txt"] {
            fs::write(out.join(name), "").unwrap();
        }
    });
    refused(here, "an image of another program", &|out| {
        fs::create_dir_all(out.join("blobs/sha256")).unwrap();
        fs::write(out.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        fs::write(out.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    });
    refused(here, "a file beside a bundle", &with("thesis.txt", "mine"));
    refused(here, "a file among the blobs", &with("blobs/sha256/notes", "mine"));
    refused(here, "a blob that is not the bundle's", &{
        with("blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "")
    });
    refused(here, "blobs of another algorithm", &with("blobs/sha512/ab", "mine"));
    refused(here, "a folder inside", &with("work/a/b/thesis.txt", "mine"));
    refused(here, "an empty folder inside", &|out| {
        copy_tree(&bundle, out);
        fs::create_dir(out.join("mine")).unwrap();
    });
    refused(here, "a link inside", &|out| {
        copy_tree(&bundle, out);
        std::os::unix::fs::symlink("../../old.raw", out.join("blobs/mine")).unwrap();
    });
    refused(here, "a link in the place of the blobs", &|out| {
        copy_tree(&bundle, out);
        let _ = fs::remove_dir_all(here.join("blobs"));
        fs::rename(out.join("blobs"), here.join("blobs")).unwrap();
        std::os::unix::fs::symlink("../blobs", out.join("blobs")).unwrap();
    });
}

#[test]
fn b3_a_layout_of_several_amis_or_with_referrers_is_never_replaced() {
    let folder = scene();
    let here = folder.path();
    let bundle = here.join("old.ami");
    let index = fs::read_to_string(bundle.join("index.json")).unwrap();
    let (head, tail) = index.rsplit_once("  ]").unwrap();
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (what, kind) in [
        ("another AMI", "application/vnd.amikit.ami.v1+json"),
        ("a signature", "application/vnd.example.signature"),
    ] {
        let entry = format!(
            r#",{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":0,"artifactType":"{kind}"}}"#
        );
        let out = here.join("out");
        copy_tree(&bundle, &out);
        fs::write(out.join("index.json"), format!("{head}{entry}  ]{tail}")).unwrap();
        let before = tree(&out);
        let text = run_badly(here, "pack new.raw -o out --name new", 2);
        assert!(text.contains("it already exists"), "{what}: {text}");
        assert!(tree(&out) == before, "{what}: it was touched");
        fs::remove_dir_all(&out).unwrap();
    }
}

/// What may be replaced still is: a bundle of ours, whole or thin.
#[test]
fn b3_a_bundle_is_replaced_by_a_bundle() {
    let folder = scene();
    let here = folder.path();
    for line in ["pack new.raw -o old.ami --name new", "pack old.raw -o thin.ami --name old"] {
        run_well(here, line);
    }
    run_well(here, "verify old.ami");
    run_well(here, "verify old.ami --against new.raw");
    assert_eq!(names(here), ["ami.toml", "new.raw", "old.ami", "old.raw", "root.raw", "thin.ami"]);
}
