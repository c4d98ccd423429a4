//! Inside a volume, through the program: listing, copying out, archives, and what `inspect` says.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::amikit;
use crate::common::injected;
use crate::common::installed;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_tool;
use crate::common::run_well;
use crate::common::sample;
use crate::common::stderr;

/// Says why a test is skipped where a tool is missing.
fn missing(tools: &[&str]) -> bool {
    !tools.iter().all(|tool| installed(tool))
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
}

/// Whatever is looked for inside a volume and is not there is named, with what there is instead.
#[test]
fn what_is_not_inside_is_named() {
    if missing(&["mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    root_image(here);
    let says = |line: &str, code: i32, says: &str| {
        let output = run(here, line);
        assert_eq!(output.status.code(), Some(code), "{line}: {}", stderr(&output));
        let text = stderr(&output);
        assert_eq!(
            text.lines().next_back().unwrap(),
            format!("amikit: error: root.raw: {says}"),
            "{line}"
        );
    };
    for command in ["cat", "ls", "ls -R", "tar"] {
        let line = |path: &str| format!("{command} root.raw {path}");
        for (path, what) in [
            (
                "/etc/nothing",
                "/etc/nothing: there is no such file in /etc; use `amikit ls` to see what /etc has",
            ),
            ("nothing", "nothing: there is no such file in /; use `amikit ls` to see what / has"),
            (
                "/etc/shadwo",
                "/etc/shadwo: there is no such file in /etc; the nearest name there is shadow",
            ),
            (
                "/ETC/shadow",
                "/ETC/shadow: there is no /ETC, where it leads; the nearest name there is etc",
            ),
            (
                "/outside",
                "/outside: there is no /etc/hosts, where it leads; use `amikit ls` to see what /etc has",
            ),
            ("/loop", "/loop: over 40 symbolic links lead there, the last is /loop"),
            ("/etc/shadow/x", "/etc/shadow/x: /etc/shadow is a file, expected a directory"),
        ] {
            says(&line(path), 2, what);
        }
        for (part, name) in [("7", "partition 7"), ("vg/root", "logical volume vg/root")] {
            says(
                &format!("{command} root.raw / --partition {part}"),
                2,
                &format!("there is no {name}; it has ext4"),
            );
        }
    }
    let is_folder =
        "/etc is a directory, expected a regular file; use `amikit ls` to see what it has";
    says("cat root.raw /etc", 2, is_folder);
    says("packages root.raw --partition 2", 2, "there is no partition 2; it has ext4");
    let output = amikit().args(["cat", "root.raw", ""]).current_dir(here).output().unwrap();
    assert!(stderr(&output).contains(": / is a directory"), "{}", stderr(&output));
    let output = run(here, "packages root.raw");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b""[..]));
    assert!(stderr(&output).contains("no package is listed"), "{}", stderr(&output));
    // What cannot be read says why.
    fs::copy(here.join("root.raw"), here.join("cut.raw")).unwrap();
    let file = fs::OpenOptions::new().write(true).open(here.join("cut.raw")).unwrap();
    file.set_len(20 << 20).unwrap();
    drop(file);
    let text = stderr(&run(here, "ls cut.raw"));
    assert!(text.contains("it has ext: it is larger than its partition"), "{text}");
    // A file that is there and damaged is named by its path, too.
    fs::write(here.join("commands"), "clri etc/systemd\n").unwrap();
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-w", "-f", "commands", "root.raw"]).current_dir(here);
    assert!(debugfs.output().unwrap().status.success());
    for line in
        ["cat root.raw /etc/systemd/a.service", "ls root.raw /etc/systemd", "tar root.raw /etc"]
    {
        let output = run(here, line);
        assert_eq!(output.status.code(), Some(4), "{line}");
        assert!(stderr(&output).contains("root.raw: /etc/systemd"), "{line}: {}", stderr(&output));
    }
}

/// What is left of a volume does not stand for all of it: if the root may be in what cannot be read, no other part is taken for it.
#[test]
fn a_part_that_is_left_is_not_taken_for_the_root() {
    if missing(&["mke2fs", "mkfs.fat", "mmd", "sfdisk"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    root_image(here);
    let root = fs::read(here.join("root.raw")).unwrap();
    fs::File::create(here.join("esp.raw")).unwrap().set_len(4 << 20).unwrap();
    run_tool(Command::new("mkfs.fat").arg(here.join("esp.raw")));
    run_tool(Command::new("mmd").arg("-i").arg(here.join("esp.raw")).arg("::EFI"));
    let esp = fs::read(here.join("esp.raw")).unwrap();
    for label in ["gpt", "dos"] {
        let disk = here.join("disk.raw");
        fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
        let script = format!("label: {label}\nstart=2048, size=8192\nstart=10240, size=112640\n");
        fs::write(here.join("script"), script).unwrap();
        let mut sfdisk = Command::new("sfdisk");
        sfdisk.arg("-q").arg(&disk).stdin(fs::File::open(here.join("script")).unwrap());
        assert!(sfdisk.status().unwrap().success());
        let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
        let put = |bytes: &[u8], at: u64| {
            std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).unwrap();
        };
        put(&esp, 1 << 20);
        put(&root, 5 << 20);
        drop(file);
        assert_eq!(run_well(here, "ls disk.raw -R"), run_well(here, "ls root.raw -R"), "{label}");
        fs::copy(&disk, here.join("cut.raw")).unwrap();
        let cut = fs::OpenOptions::new().write(true).open(here.join("cut.raw")).unwrap();
        cut.set_len(30 << 20).unwrap();
        drop(cut);
        // The number of inodes of the file system, which is not that of its groups then.
        fs::copy(&disk, here.join("broken.raw")).unwrap();
        let broken = fs::OpenOptions::new().write(true).open(here.join("broken.raw")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&broken, &[0xff; 4], (5 << 20) + 1024 + 40)
            .unwrap();
        drop(broken);
        for (name, lost) in [("cut.raw", "2 is not inside the volume"), ("broken.raw", "2 (ext")] {
            for verb in ["ls NAME /", "cat NAME /EFI/x", "tar NAME", "packages NAME"] {
                let said = run_badly(here, &verb.replace("NAME", name), 2);
                assert!(said.contains(lost), "{label}: {verb}: {said}");
                assert!(
                    said.contains("name the partition that is meant"),
                    "{label}: {verb}: {said}"
                );
            }
            assert_eq!(run_well(here, &format!("ls {name} --partition 1")), "EFI\n");
            // Where the volume is shown and not its files, nothing is mounted.
            let parts = report(here, &format!("inspect {name}"));
            let parts = parts["guest"]["partitions"].as_array().unwrap();
            assert!(parts.iter().all(|it| it["mounted_at"].is_null()), "{parts:?}");
            let allow = "--allow partition-table";
            run_well(here, &format!("pack {name} -o {name}.ami --name left {allow}"));
            let said = run(here, &format!("export {name}.ami -o {name}.tables --inside"));
            assert!(stderr(&said).contains("was not looked into"), "{}", stderr(&said));
            assert!(!here.join(format!("{name}.tables/files")).read_dir().unwrap().any(|_| true));
            fs::remove_dir_all(here.join(format!("{name}.ami"))).unwrap();
            fs::remove_dir_all(here.join(format!("{name}.tables"))).unwrap();
        }
    }
}

/// Of two systems on one volume the first is shown, and it is said that there is another.
#[test]
fn a_second_system_is_named() {
    if missing(&["mke2fs", "sfdisk"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    root_image(here);
    let root = fs::read(here.join("root.raw")).unwrap();
    let disk = here.join("disk.raw");
    fs::File::create(&disk).unwrap().set_len(80 << 20).unwrap();
    let script = "label: gpt\nstart=2048, size=65536\nstart=67584, size=65536\n";
    fs::write(here.join("script"), script).unwrap();
    let mut sfdisk = Command::new("sfdisk");
    sfdisk.arg("-q").arg(&disk).stdin(fs::File::open(here.join("script")).unwrap());
    assert!(sfdisk.status().unwrap().success());
    let put = |at: u64| {
        let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &root, at).unwrap();
    };
    put(1 << 20);
    let before = report(here, "inspect disk.raw");
    assert!(!before.to_string().contains("other_system"), "{before:#}");
    let said = run(here, "lint disk.raw");
    assert!(!stderr(&said).contains("a system of its own"), "{}", stderr(&said));
    put(33 << 20);
    let shown = report(here, "inspect disk.raw");
    let parts = shown["guest"]["partitions"].as_array().unwrap();
    assert!(parts[0]["other_system"].is_null(), "{shown:#}");
    assert_eq!(parts[1]["other_system"], "Test 7", "{shown:#}");
    let text = run_well(here, "inspect disk.raw");
    assert!(text.contains("  partition 2: a system of its own, Test 7\n"), "{text}");
    let said = run(here, "lint disk.raw");
    let note =
        "partition 2 holds a system of its own, in which only secrets are looked for (Test 7)";
    assert!(stderr(&said).contains(note), "{}", stderr(&said));
}

/// Logical partitions lie in an extended one, as `sfdisk` counts them.
#[test]
fn logical_partitions_are_looked_into() {
    if missing(&["mke2fs", "sfdisk"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    root_image(here);
    let inner = fs::read(here.join("root.raw")).unwrap();
    fs::File::create(here.join("disk.raw")).unwrap().set_len(96 << 20).unwrap();
    let script = "label: dos\nsize=8MiB, type=83\ntype=5\nsize=4MiB, type=83\nsize=40MiB, type=83\n\
                  size=8MiB, type=82\n";
    fs::write(here.join("script"), script).unwrap();
    let sfdisk = |arguments: &[&str]| {
        let mut sfdisk = Command::new("sfdisk");
        sfdisk.args(arguments).arg("disk.raw").current_dir(here);
        let output = sfdisk.stdin(fs::File::open(here.join("script")).unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let theirs = || -> Vec<(String, u64, u64, String)> {
        let table: Value = serde_json::from_slice(&sfdisk(&["--json"])).unwrap();
        let rows = table["partitiontable"]["partitions"].as_array().unwrap();
        let rows = rows.iter().filter(|row| row["type"] != "5").map(|row| {
            let number = row["node"].as_str().unwrap().trim_start_matches("disk.raw").to_owned();
            let bytes = |key: &str| row[key].as_u64().unwrap() * 512;
            (number, bytes("start"), bytes("size"), row["type"].to_string())
        });
        rows.collect()
    };
    let ours = || -> Vec<(String, u64, u64)> {
        let report = report(here, "inspect disk.raw");
        let parts = report["guest"]["partitions"].as_array().unwrap().iter().map(|part| {
            let bytes = |key: &str| part[key].as_u64().unwrap();
            (part["number"].to_string(), bytes("start_bytes"), bytes("size_bytes"))
        });
        parts.collect()
    };
    let same = |what: &str| {
        let expected: Vec<_> = theirs().into_iter().map(|(a, b, c, _)| (a, b, c)).collect();
        assert_eq!(ours(), expected, "{what}");
        expected
    };
    sfdisk(&["-q"]);
    let parts = same("as it was made");
    assert_eq!(parts.iter().map(|it| &it.0[..]).collect::<Vec<_>>(), ["1", "5", "6", "7"]);
    let file = fs::OpenOptions::new().write(true).open(here.join("disk.raw")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &inner, parts[2].1).unwrap();
    drop(file);
    let files = run_well(here, "ls root.raw -lR --digests");
    assert_eq!(run_well(here, "ls disk.raw -lR --digests"), files);
    assert_eq!(run_well(here, "ls disk.raw -lR --digests --partition 6"), files);
    let output = run(here, "ls disk.raw --partition 2");
    assert!(
        stderr(&output).contains("there is no partition 2; it has 6 (ext4)"),
        "{}",
        stderr(&output)
    );
    run_well(here, "convert disk.raw free.raw --free hole");
    assert_eq!(run_well(here, "ls free.raw -lR --digests"), files);
    // The numbers of those behind one that is taken away go down.
    let mut sfdisk = Command::new("sfdisk");
    let status = sfdisk.args(["-q", "--delete", "disk.raw", "5"]).current_dir(here).status();
    assert!(status.unwrap().success());
    same("with one taken away");
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

/// Content that this version cannot read, here marked as encrypted, is named and does not keep the other files back.
#[test]
fn a_file_that_cannot_be_read_is_left_out_and_named() {
    if missing(&["mke2fs", "debugfs", "tar"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    root_image(here);
    for command in ["feature encrypt", "set_inode_field setuid flags 0x80800"] {
        let mut debugfs = Command::new("debugfs");
        debugfs.args(["-w", "-R", command, "root.raw"]).current_dir(here);
        assert!(debugfs.output().unwrap().status.success());
    }
    let output = run(here, "tar root.raw");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    // Both names of it, and the first one is named.
    let note = "left out 2: files that cannot be read, /setuid: ";
    assert!(stderr(&output).contains(note), "{}", stderr(&output));
    assert!(stderr(&output).contains("it is encrypted being the first"), "{}", stderr(&output));
    fs::write(here.join("out.tar"), &output.stdout).unwrap();
    let mut tar = Command::new("tar");
    let listed = tar.args(["-tf", "out.tar"]).current_dir(here).output().unwrap();
    assert!(listed.status.success());
    let names = String::from_utf8(listed.stdout).unwrap();
    assert!(names.contains("\nsparse\n") && names.contains("\nusr/lib/os-release\n"), "{names}");
    assert!(!names.contains("setuid") && !names.contains("twin"), "{names}");
    // Asked for by its name, it is an error.
    for line in ["tar root.raw setuid", "cat root.raw setuid"] {
        let output = run(here, line);
        assert_eq!(output.status.code(), Some(5), "{line}: {}", stderr(&output));
        assert!(stderr(&output).contains("it is encrypted"), "{}", stderr(&output));
    }
    let output = run(here, "ls root.raw --digests");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("twin (not read: ") && !text.contains("damaged"), "{text}");
    // A difference elsewhere is told all the same.
    fs::copy(here.join("root.raw"), here.join("new.raw")).unwrap();
    fs::write(here.join("more"), vec![9; 9000]).unwrap();
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-w", "-R", "write more more", "new.raw"]).current_dir(here);
    assert!(debugfs.output().unwrap().status.success());
    let output = run(here, "diff root.raw new.raw --files");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(String::from_utf8(output.stdout).unwrap().contains("added  /more\n"));
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

/// Fills most of an image's free space, and deletes that again: free blocks that hold something.
fn with_litter(here: &Path) {
    root_image(here);
    let litter: Vec<u8> =
        (0..6_000_000_u32).map(|at| u8::try_from(at % 251).unwrap() | 1).collect();
    fs::write(here.join("litter"), litter).unwrap();
    fs::write(here.join("commands"), "write litter litter\nrm litter\n").unwrap();
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-w", "-f", "commands", "root.raw"]).current_dir(here);
    assert!(debugfs.output().unwrap().status.success());
}

fn fsck(here: &Path, image: &str) {
    let output = Command::new("e2fsck").args(["-fn", image]).current_dir(here).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn report(here: &Path, line: &str) -> Value {
    serde_json::from_str(&run_well(here, &format!("{line} --json"))).unwrap()
}

#[test]
fn free_blocks_are_left_out_and_the_files_stay() {
    if missing(&["mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    with_litter(here);
    let files = run_well(here, "ls root.raw -lR --digests");
    let stale = |image: &str| {
        let report = report(here, &format!("inspect {image} --read"));
        report["guest"]["partitions"][0]["stale_bytes"].as_u64().unwrap()
    };
    assert!(stale("root.raw") > 5_000_000);
    for policy in ["hole", "zero"] {
        let image = format!("{policy}.raw");
        run_well(here, &format!("convert root.raw {image} --free {policy}"));
        fsck(here, &image);
        assert_eq!(stale(&image), 0);
        assert_eq!(run_well(here, &format!("ls {image} -lR --digests")), files);
    }
}

/// A snapshot without free blocks stands for the image that it was made of, wherever both meet.
#[test]
fn an_image_meets_its_snapshot_as_it_was_packed() {
    if missing(&["mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    with_litter(here);
    run_well(here, "pack root.raw -o plain.ami --name root");
    for policy in ["hole", "zero"] {
        let bundle = format!("{policy}.ami");
        let packed =
            report(here, &format!("pack root.raw -o {bundle} --name root --free {policy}"));
        assert_eq!(packed["volumes"][0]["free"], format!("{policy}/1"));
        let inspected = report(here, &format!("inspect {bundle}"));
        assert_eq!(inspected["snapshots"][0]["free"], format!("{policy}/1"));
        run_well(here, &format!("verify {bundle} --against root.raw"));
        run_well(here, &format!("compare {bundle} root.raw"));
        run_well(here, &format!("diff root.raw {bundle}"));
        run_well(here, &format!("snapshot root.raw -o {policy}.snap --free {policy}"));
        run_well(here, &format!("diff {policy}.snap {bundle}"));
    }
    let data = |bundle: &str| {
        report(here, &format!("inspect {bundle}"))["snapshots"][0]["blocks"]["data"]
            .as_u64()
            .unwrap()
    };
    assert!(data("hole.ami") + 8 < data("plain.ami"));
    assert_eq!(data("hole.ami"), data("zero.ami"));

    // Over a base without free blocks, from the image that still has them.
    fs::copy(here.join("root.raw"), here.join("new.raw")).unwrap();
    fs::write(here.join("more"), vec![9; 300_000]).unwrap();
    fs::write(here.join("commands"), "write more more\n").unwrap();
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-w", "-f", "commands", "new.raw"]).current_dir(here);
    assert!(debugfs.output().unwrap().status.success());
    run_well(here, "pack new.raw --free hole --base hole.ami --thin -o thin.ami --name new");
    run_well(here, "apply thin.ami --to root.raw -o applied.raw");
    run_well(here, "convert new.raw expected.raw --free hole");
    run_well(here, "compare applied.raw expected.raw");
    run_well(here, "diff applied.raw expected.raw");
    run_well(here, "verify thin.ami --base root.raw");
    let files = run_well(here, "ls new.raw -lR --digests");
    assert_eq!(run_well(here, "ls thin.ami -lR --digests --base root.raw"), files);
}

/// An image becomes the new one where it stands, whether it is what the bundle was packed against or still has the blocks
/// that this leaves out.
#[test]
fn an_image_with_and_without_its_free_blocks_is_changed_in_place() {
    if missing(&["mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    with_litter(here);
    fs::copy(here.join("root.raw"), here.join("new.raw")).unwrap();
    fs::write(here.join("more"), vec![9; 300_000]).unwrap();
    fs::write(here.join("commands"), "write more more\n").unwrap();
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-w", "-f", "commands", "new.raw"]).current_dir(here);
    assert!(debugfs.output().unwrap().status.success());
    let littered = fs::read(here.join("root.raw")).unwrap();
    for policy in ["hole", "zero"] {
        for new in ["new.raw", "new.raw --free hole"] {
            run_well(here, &format!("pack root.raw --free {policy} -o old.ami --name old"));
            run_well(here, &format!("pack {new} --base old.ami --thin -o thin.ami --name new"));
            run_well(here, "unpack old.ami -o bare.raw");
            run_well(here, "unpack thin.ami --base root.raw -o expected.raw");
            let expected = fs::read(here.join("expected.raw")).unwrap();
            // By hand each old image is tried with a half of the others.
            let every = sample(5) == 5;
            for old in ["root.raw", "bare.raw"] {
                if !every && (policy == "hole") ^ (new == "new.raw") ^ (old == "root.raw") {
                    continue;
                }
                let context = format!("{policy}, {new}, {old}");
                let was = fs::read(here.join(old)).unwrap();
                fs::copy(here.join(old), here.join("image.raw")).unwrap();
                let line = "apply thin.ami --to image.raw --in-place";
                let done = report(here, line);
                assert_eq!(done["how"], "in-place", "{context}");
                assert!(fs::read(here.join("image.raw")).unwrap() == expected, "{context}");
                fsck(here, "image.raw");
                assert_eq!(report(here, line)["how"], "unchanged", "{context}");

                // Stopped when all is written, it can be undone: what the free blocks held is there again.
                fs::copy(here.join(old), here.join("image.raw")).unwrap();
                let how = "error=EIO:when=1+";
                let Some((output, _)) = injected(here, "unlink", how, line) else { continue };
                assert!(!output.status.success(), "{context}");
                run_well(here, "apply --to image.raw --undo");
                assert!(fs::read(here.join("image.raw")).unwrap() == was, "{context}");
                let Some((output, _)) = injected(here, "unlink", how, line) else { continue };
                assert!(!output.status.success(), "{context}");
                let finished = report(here, line);
                assert_eq!(finished["how"], "resumed", "{context}");
                assert_eq!(finished["changed_blocks"], done["changed_blocks"], "{context}");
                assert!(fs::read(here.join("image.raw")).unwrap() == expected, "{context}");
            }
        }
    }
    // Another image is neither.
    let mut other = littered;
    other[20 << 20] ^= 1;
    let at = other.windows(5).position(|it| it == b"hello").unwrap_or(1 << 20);
    other[at] ^= 1;
    fs::write(here.join("image.raw"), other).unwrap();
    let output = run(here, "apply thin.ami --to image.raw --in-place");
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
}

/// What is said of an image, and what makes it so.
type Trap<'a> = (&'a str, Box<dyn Fn(&mut Vec<u8>) + 'a>);

/// Whatever speaks against leaving anything out is named, and then nothing is.
#[test]
fn what_must_be_kept_is_kept_and_named() {
    if missing(&["mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    with_litter(here);
    let sound = fs::read(here.join("root.raw")).unwrap();
    let debugfs = |commands: &str| {
        fs::write(here.join("commands"), commands).unwrap();
        let mut debugfs = Command::new("debugfs");
        debugfs.args(["-w", "-f", "commands", "trap.raw"]).current_dir(here);
        debugfs.output().unwrap();
    };
    fs::write(here.join("grub.cfg"), "linux /vmlinuz root=/dev/dm-0 roothash=00\n").unwrap();
    fs::write(here.join("veritytab"), "root /dev/a /dev/b 00\n").unwrap();
    let with = |commands: &'static str| Box::new(move |_: &mut Vec<u8>| debugfs(commands));
    let traps: Vec<Trap<'_>> = vec![
        ("not unmounted cleanly", with("set_super_value state 0\n")),
        ("has errors", with("set_super_value state 3\n")),
        ("deleted while open", with("set_super_value last_orphan 12\n")),
        ("features 0x4000 may change", with("feature shared_blocks\n")),
        ("are marked used and belong to nothing", with("setb 30000\n")),
        ("are marked free", with("freeb 100 50\n")),
        ("roothash=", with("mkdir boot\nmkdir boot/grub\nwrite grub.cfg boot/grub/grub.cfg\n")),
        ("veritytab", with("write veritytab etc/veritytab\n")),
        (
            "superblock of hashes",
            Box::new(|bytes| {
                let end = bytes.len();
                bytes.resize(end + (1 << 20), 0);
                bytes[end + 8192..][..8].copy_from_slice(b"verity\0\0");
            }),
        ),
        ("checksum", Box::new(|bytes| bytes[1024 + 0x3fc] ^= 1)),
    ];
    for (says, spoil) in traps {
        let mut bytes = sound.clone();
        fs::write(here.join("trap.raw"), &bytes).unwrap();
        spoil(&mut bytes);
        if bytes != sound {
            fs::write(here.join("trap.raw"), &bytes).unwrap();
        }
        let report = report(here, "convert trap.raw kept.raw --free hole");
        let notes = report["notes"].to_string();
        assert!(notes.contains(says), "{says}: {notes}");
        let (kept, trap) = (fs::read(here.join("kept.raw")), fs::read(here.join("trap.raw")));
        assert!(kept.unwrap() == trap.unwrap(), "{says}");
    }
}

/// Every page that differs has an owner before and now, and files are named.
#[test]
fn a_difference_is_told_by_files() {
    if missing(&["mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    root_image(here);
    fs::copy(here.join("root.raw"), here.join("new.raw")).unwrap();
    fs::write(here.join("more"), vec![9; 300_000]).unwrap();
    let status =
        |version| format!("Package: p\nStatus: install ok installed\nVersion: {version}\n");
    fs::write(here.join("status"), status(2)).unwrap();
    let commands = "write more more\nrm etc/systemd/a.service\nset_inode_field twin mode 0100600\n\
                    mkdir var\nmkdir var/lib\nmkdir var/lib/dpkg\nwrite status var/lib/dpkg/status\n";
    fs::write(here.join("commands"), commands).unwrap();
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-w", "-f", "commands", "new.raw"]).current_dir(here);
    assert!(debugfs.output().unwrap().status.success());
    let output = run(here, "diff root.raw new.raw --files --json");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let entries = lines(&String::from_utf8(output.stdout).unwrap());
    let of = |kind: &'static str| entries.iter().filter(move |it| it["entry"] == kind);
    let change = |path: &str| {
        let file = of("file").find(|it| it["path"] == path);
        file.map(|it| it["change"].as_str().unwrap().to_owned())
    };
    assert_eq!(change("/more").as_deref(), Some("added"));
    assert_eq!(change("/etc/systemd/a.service").as_deref(), Some("removed"));
    assert_eq!(change("/twin").as_deref(), Some("metadata"));
    // Blocks of 1 KiB share pages: a neighbour may be rewritten, and none is changed or moved.
    assert_eq!(
        of("file").filter(|it| it["change"] == "changed" || it["change"] == "moved").count(),
        0
    );
    let sum = of("sum").next().unwrap();
    for key in ["changed_bytes", "old_changed_bytes"] {
        let classes: u64 = of("class").map(|it| it[key].as_u64().unwrap()).sum();
        assert_eq!(Some(classes), sum["changed_bytes"].as_u64(), "{key}");
    }
    let more = of("file").find(|it| it["path"] == "/more").unwrap();
    assert!(more["changed_bytes"].as_u64().unwrap() >= 300_000);
    let package = of("package").next().unwrap();
    assert_eq!((&package["change"], &package["new_version"]), (&"added".into(), &"2".into()));
    assert_eq!(run_well(here, "packages new.raw"), "p 2\n");
    let text = run(here, "diff root.raw new.raw --files");
    assert!(String::from_utf8(text.stdout).unwrap().contains("added  /more\n"));
    run_well(here, "diff root.raw root.raw --files");
}
