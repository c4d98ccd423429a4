//! Inside a volume, through the program: listing, copying out, archives, and what `inspect` says.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::amikit;
use crate::common::run;
use crate::common::run_well;
use crate::common::stderr;

/// Says why a test is skipped where a tool is missing.
fn missing(tools: &[&str]) -> bool {
    let missing = tools.iter().find(|tool| Command::new(tool).arg("--version").output().is_err());
    if let Some(tool) = missing {
        println!("skipped: {tool} is not installed");
    }
    missing.is_some()
}

/// Makes an ext4 image of a root file system: links in and out of it, hostile names, holes.
fn root_image(here: &Path) {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::FileExt;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::fs::symlink;
    let root = here.join("root");
    fs::create_dir_all(root.join("etc/systemd")).unwrap();
    fs::create_dir_all(root.join("usr/lib")).unwrap();
    fs::write(root.join("usr/lib/os-release"), "ID=test\nVERSION_ID=7\nPRETTY_NAME=\"Test 7\"\n")
        .unwrap();
    symlink("../usr/lib/os-release", root.join("etc/os-release")).unwrap();
    symlink("/etc/hosts", root.join("outside")).unwrap();
    symlink("../../../../../../etc/shadow", root.join("etc/climb")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    fs::write(root.join("etc/shadow"), "the guest's\n").unwrap();
    fs::write(root.join("etc/systemd/a.service"), "x").unwrap();
    fs::write(root.join("etc/systemd/b.socket"), "y").unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"bad\xff\n\x1b[2J")), "z").unwrap();
    let setuid = root.join("setuid");
    fs::write(&setuid, "s").unwrap();
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(&setuid, root.join("twin")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.write_all_at(&[7; 5000], 1 << 20).unwrap();
    let image = here.join("root.raw");
    fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-L", "root", "-d"]).arg(&root).arg(&image);
    assert!(mke2fs.status().unwrap().success());
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn files_are_listed_with_names_that_cannot_move_the_cursor() {
    if missing(&["mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    root_image(here);
    let text = run_well(here, "ls root.raw -lR");
    assert!(!text.contains('\x1b') && text.contains("/bad\\xff\\n\\u{1b}[2J\n"), "{text}");
    assert!(text.contains("-rwsr-xr-x   2"), "{text}");
    assert!(text.contains("/etc/os-release -> ../usr/lib/os-release\n"), "{text}");
    assert_eq!(run_well(here, "ls root.raw -R --name *.service"), "/etc/systemd/a.service\n");
    assert_eq!(run_well(here, "ls root.raw /etc/systemd"), "a.service\nb.socket\n");
    let json = lines(&run_well(here, "ls root.raw -R --digests --json"));
    let find = |path: &str| json.iter().find(|file| file["path"] == path).unwrap();
    let bad = json.iter().find(|file| file["path_bytes"].is_string()).unwrap();
    assert_eq!(bad["path_bytes"], "L2JhZP8KG1sySg==");
    assert_eq!(bad["path"], "/bad\\xff\\n\\u{1b}[2J");
    assert_eq!(find("/setuid")["inode"], find("/twin")["inode"]);
    assert_eq!(find("/sparse")["size_bytes"], 3 << 20);
    let hosts = find("/etc/systemd/a.service");
    let x = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    assert_eq!(hosts["digest"], x);
}

#[test]
fn links_stay_inside_the_guest_and_only_files_are_printed() {
    if missing(&["mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    root_image(here);
    assert_eq!(run_well(here, "cat root.raw /etc/climb"), "the guest's\n");
    assert_eq!(run_well(here, "cat root.raw ../../etc/./shadow"), "the guest's\n");
    assert!(run_well(here, "cat root.raw /etc/os-release").starts_with("ID=test\n"));
    for (path, says) in [
        ("/outside", "there is no such file"),
        ("/loop", "40 symbolic links"),
        ("/etc", "is a directory, expected a regular file"),
        ("/etc/shadow/x", "not a directory"),
    ] {
        let output = run(here, &format!("cat root.raw {path}"));
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(stderr(&output).contains(says), "{path}: {}", stderr(&output));
    }
}

#[test]
fn an_archive_unpacks_to_what_was_put_in() {
    if missing(&["mke2fs", "tar"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    root_image(here);
    for (line, mode) in [("tar root.raw", "755"), ("tar root.raw --all", "4755")] {
        let output = run(here, line);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        fs::write(here.join("out.tar"), &output.stdout).unwrap();
        let out = here.join("out");
        let _ = fs::remove_dir_all(&out);
        fs::create_dir(&out).unwrap();
        let mut tar = Command::new("tar");
        let status = tar.args(["-xpf", "out.tar", "-C", "out"]).current_dir(here).status().unwrap();
        assert!(status.success());
        for path in ["sparse", "etc/systemd/a.service", "setuid", "usr/lib/os-release"] {
            let (made, put) =
                (fs::read(out.join(path)).unwrap(), fs::read(here.join("root").join(path)));
            assert!(made == put.unwrap(), "{path}");
        }
        let (one, other) =
            (out.join("setuid").metadata().unwrap(), out.join("twin").metadata().unwrap());
        assert_eq!(one.ino(), other.ino());
        assert_eq!(format!("{:o}", one.mode() & 0o7777), mode);
        assert!(out.join("sparse").metadata().unwrap().blocks() < 100);
    }
}

/// What comes through a pipe or out of a bundle is what is in the image.
#[test]
fn every_way_to_a_volume_shows_the_same_files() {
    if missing(&["mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    root_image(here);
    let expected = run_well(here, "ls root.raw -lR --digests");
    run_well(here, "pack root.raw -o root.ami --name root");
    assert_eq!(run_well(here, "ls root.ami -lR --digests"), expected);
    let mut piped = amikit();
    piped.current_dir(here).args(["ls", "-", "-lR", "--digests"]);
    let output = piped.stdin(fs::File::open(here.join("root.raw")).unwrap()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn inspect_shows_file_systems_and_the_system() {
    if missing(&["mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    root_image(here);
    let report: Value = serde_json::from_str(&run_well(here, "inspect root.raw --json")).unwrap();
    let guest = &report["guest"];
    assert_eq!(guest["os"]["id"], "test");
    let part = &guest["partitions"][0];
    assert_eq!((&part["file_system"], &part["label"]), (&"ext4".into(), &"root".into()));
    assert_eq!((&part["trusted"], &part["mounted_at"]), (&true.into(), &"/".into()));
    let bytes = |key: &str| part[key].as_u64().unwrap();
    assert_eq!(bytes("used_bytes") + bytes("free_bytes"), 32 << 20);
    assert_eq!(bytes("conflict_bytes") + bytes("gap_bytes"), 0);
}
