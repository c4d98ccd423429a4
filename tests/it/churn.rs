//! Two builds that differ in one knob: `churn` names that one, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::installed;
use crate::common::run;
use crate::common::stderr;

/// Tells whether a tool is missing, and says so.
fn missing(tools: &[&str]) -> bool {
    !tools.iter().all(|tool| installed(tool))
}

/// Runs `churn`; returns the causes and the real differences by name.
fn churn(here: &Path, old: &str, new: &str) -> (BTreeSet<String>, BTreeSet<String>, Value) {
    let output = run(here, &format!("churn {old} {new} --json"));
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    let code = i32::from(report["equal"] != true);
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    let causes = report["causes"].as_array().unwrap();
    let causes = causes.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    let real = report["real"].as_array().unwrap();
    let name = |it: &Value| it["path"].as_str().or(it["what"].as_str()).unwrap().to_owned();
    let real = real.iter().map(name).collect();
    (causes, real, report)
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|it| (*it).to_owned()).collect()
}

/// The knobs of mke2fs.
#[derive(Clone, Copy)]
struct Knobs {
    uuid: &'static str,
    seed: &'static str,
    time: &'static str,
    features: &'static str,
}

const KNOBS: Knobs = Knobs {
    uuid: "6e6c3f2a-0000-4000-8000-000000000001",
    seed: "6e6c3f2a-0000-4000-8000-000000000002",
    time: "1700000000",
    features: "^dir_nlink",
};

/// Sets the time of all files of a folder.
fn touch(folder: &Path, time: &str) {
    let mut touch = Command::new("find");
    touch.arg(folder).args(["-depth", "-exec", "touch", "-h", "-d", time, "{}", ";"]);
    assert!(touch.status().unwrap().success());
}

fn tree(here: &Path) -> std::path::PathBuf {
    let root = here.join("root");
    for folder in ["etc", "var/log", "usr/bin", "many"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("etc/machine-id"), "00000000000000000000000000000001\n").unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    fs::write(root.join("usr/bin/program"), vec![7; 50_000]).unwrap();
    for number in 0..60_usize {
        fs::write(root.join(format!("many/file-{number}")), vec![1; number.strict_mul(100)])
            .unwrap();
    }
    touch(&root, "2020-01-01T00:00:00Z");
    read_all(&root);
    root
}

/// Reads everything once: after that the system leaves the times of reading alone for a day.
fn read_all(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { read_all(&path) } else { drop(fs::read(&path).unwrap()) }
    }
}

/// Writes content into a file without changing its time.
fn rewrite(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).unwrap();
    let mut touch = Command::new("touch");
    assert!(touch.args(["-m", "-d", "2020-01-01T00:00:00Z"]).arg(path).status().unwrap().success());
    fs::read(path).unwrap();
}

fn mke2fs(root: &Path, image: &Path, knobs: Knobs) {
    let _ = fs::remove_file(image);
    fs::File::create(image).unwrap().set_len(16 << 20).unwrap();
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-U", knobs.uuid, "-O", knobs.features]);
    mke2fs.arg("-E").arg(format!("hash_seed={},lazy_itable_init=0", knobs.seed));
    mke2fs.arg("-d").arg(root).arg(image);
    mke2fs.env("E2FSPROGS_FAKE_TIME", knobs.time).env("SOURCE_DATE_EPOCH", knobs.time);
    let output = mke2fs.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Changes one byte of a copy.
fn patched(here: &Path, name: &str, at: u64) {
    fs::copy(here.join("old.raw"), here.join(name)).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(here.join(name)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x11], at).unwrap();
}

#[test]
fn each_knob_of_ext4_is_named_and_nothing_else() {
    if missing(&["mke2fs", "find", "touch"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let root = tree(here);
    let (old, new) = (here.join("old.raw"), here.join("new.raw"));
    mke2fs(&root, &old, KNOBS);
    mke2fs(&root, &new, KNOBS);
    let (causes, real, report) = churn(here, "old.raw", "new.raw");
    assert_eq!((causes, real), (set(&[]), set(&[])), "two identical builds");
    assert_eq!(report["equal"], true);
    let other = "6e6c3f2a-0000-4000-8000-0000000000ff";
    for (knobs, cause) in [
        (Knobs { uuid: other, ..KNOBS }, "ext-uuid"),
        (Knobs { seed: other, ..KNOBS }, "ext-hash-seed"),
        (Knobs { time: "1700009999", ..KNOBS }, "ext-times"),
    ] {
        mke2fs(&root, &new, knobs);
        let (causes, real, report) = churn(here, "old.raw", "new.raw");
        assert_eq!((causes, real), (set(&[cause]), set(&[])), "{report:#}");
        assert_eq!(report["explained_blocks"], report["changed_blocks"]);
    }
    touch(&root.join("many"), "2021-02-03T04:05:06Z");
    read_all(&root);
    mke2fs(&root, &new, KNOBS);
    let (causes, real, report) = churn(here, "old.raw", "new.raw");
    assert_eq!((causes, real), (set(&["file-times"]), set(&[])), "{report:#}");
}

#[test]
fn files_that_differ_are_generated_or_real() {
    if missing(&["mke2fs", "find", "touch"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let root = tree(here);
    mke2fs(&root, &here.join("old.raw"), KNOBS);
    let rebuild = || {
        mke2fs(&root, &here.join("new.raw"), KNOBS);
        churn(here, "old.raw", "new.raw")
    };
    rewrite(&root.join("etc/machine-id"), "00000000000000000000000000000002\n");
    let (causes, real, report) = rebuild();
    assert_eq!((causes, real), (set(&["file-machine-id"]), set(&[])), "{report:#}");
    rewrite(&root.join("etc/passwd"), "root:x:0:0::/root:/bin/no\n");
    let (causes, real, report) = rebuild();
    let expected = (set(&["file-machine-id"]), set(&["/etc/passwd"]));
    assert_eq!((causes, real), expected, "{report:#}");
    assert!(report["explained_pages"].as_u64() < report["changed_pages"].as_u64());
    // A file that is new is real, and so is what the file system records of it.
    fs::write(root.join("usr/bin/new"), vec![9; 9000]).unwrap();
    let (causes, real, report) = rebuild();
    assert!(real.contains("/usr/bin/new") && real.contains("/usr/bin"), "{report:#}");
    let follows: BTreeSet<String> = listed(&report["follows"], "what");
    assert!(follows.contains("allocator") || follows.contains("descriptors"), "{report:#}");
    assert!(real.is_disjoint(&follows), "{report:#}");
    // A directory says which names differ.
    let real_at = |path: &str| {
        let all = report["real"].as_array().unwrap();
        all.iter().find(|it| it["path"] == path).unwrap().clone()
    };
    assert_eq!(listed(&real_at("/usr/bin")["added"], "path"), set(&["/usr/bin/new"]));
    assert!(real_at("/usr/bin").get("removed").is_none(), "{report:#}");
    assert!(causes.contains("file-machine-id"), "{report:#}");
    // More was written because there is more.
    assert!(!causes.contains("ext-mounts"), "{report:#}");
    let text = run(here, "churn old.raw new.raw");
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("    added /usr/bin/new: ") && text.contains("    fix: "), "{text}");
    assert!(text.contains("        new: /usr/bin/new\n"), "{text}");
    assert!(
        text.contains(
            "what follows from them, records of where other files lie and what is free:\n"
        ),
        "{text}"
    );
}

/// Returns one member of each object of a list.
fn listed(list: &Value, member: &str) -> BTreeSet<String> {
    let all = list.as_array().into_iter().flatten();
    all.map(|it| it[member].as_str().unwrap().to_owned()).collect()
}

/// Pages that no cause explains have a real file in them, or say where files lie, by the names of these.
#[test]
fn records_of_places_follow_and_name_their_files() {
    if missing(&["mke2fs", "find", "touch"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let root = tree(here);
    mke2fs(&root, &here.join("old.raw"), KNOBS);
    // In front of all others: what comes behind moves, and gets other numbers.
    fs::create_dir(root.join("a-first")).unwrap();
    fs::write(root.join("a-first/new"), vec![3; 300_000]).unwrap();
    fs::remove_file(root.join("many/file-7")).unwrap();
    touch(&root.join("a-first"), "2020-01-01T00:00:00Z");
    touch(&root.join("many"), "2020-01-01T00:00:00Z");
    touch(&root, "2020-01-01T00:00:00Z");
    read_all(&root);
    mke2fs(&root, &here.join("new.raw"), KNOBS);
    let (_, real, report) = churn(here, "old.raw", "new.raw");
    let expected = ["/", "/a-first", "/a-first/new", "/many", "/many/file-7"];
    assert!(real.is_subset(&set(&expected)), "{report:#}");
    let pages = |member: &str| report[member].as_u64().unwrap();
    let sum = pages("explained_pages") + pages("real_pages") + pages("following_pages");
    assert_eq!(sum, pages("changed_pages"), "{report:#}");
    let follows = report["follows"].as_array().unwrap();
    let inodes = follows.iter().find(|it| it["what"] == "inodes").unwrap();
    let with_records = listed(&inodes["files"], "path");
    // Every one that is the same and has another number or lies elsewhere, and none that really differs.
    let numbers = |image: &str| -> std::collections::BTreeMap<String, (String, String)> {
        let stat = |path: &str| {
            let mut debugfs = Command::new("debugfs");
            debugfs.args(["-R", &format!("stat {path}"), image]).current_dir(here);
            let text = String::from_utf8(debugfs.output().unwrap().stdout).unwrap();
            let number = text.split("Inode: ").nth(1).unwrap().split(' ').next().unwrap();
            let blocks = text.split("EXTENTS:").nth(1).unwrap_or_default().trim();
            (number.to_owned(), blocks.to_owned())
        };
        let names = (0..60).map(|number| format!("/many/file-{number}"));
        let names = names.chain(["/usr/bin/program", "/etc/passwd"].map(str::to_owned));
        names.filter(|it| it != "/many/file-7").map(|it| (it.clone(), stat(&it))).collect()
    };
    let (before, after) = (numbers("old.raw"), numbers("new.raw"));
    let moved: BTreeSet<String> =
        before.iter().filter(|(path, at)| after[*path] != **at).map(|(it, _)| it.clone()).collect();
    assert!(moved.len() > 10, "{moved:?}");
    let real_pages = |path: &str| {
        let all = report["real"].as_array().unwrap();
        all.iter().any(|it| it["path"] == path)
    };
    for path in &moved {
        assert!(with_records.contains(path), "{path} is not among {with_records:?}: {report:#}");
        assert!(!real_pages(path), "{path}");
    }
    for path in before.keys().filter(|it| !moved.contains(*it)) {
        assert!(!with_records.contains(path), "{path}: {report:#}");
    }
}

/// A file of an initramfs: its name, mode, time, number, and how many names it has.
struct Early<'a>(&'a str, u32, u32, u32, u32, &'a [u8]);

fn cpio(files: &[Early<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let end = Early("TRAILER!!!", 0, 0, 0, 1, b"");
    for Early(name, mode, time, number, links, content) in files.iter().chain([&end]) {
        let len = u32::try_from(content.len()).unwrap();
        let name_len = u32::try_from(name.len().strict_add(1)).unwrap();
        bytes.extend(b"070701");
        for field in [*number, *mode, 0, 0, *links, *time, len, 0, 1, 0, 0, name_len, 0] {
            bytes.extend(format!("{field:08x}").bytes());
        }
        bytes.extend(name.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let level = flate2::Compression::new(level);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// An initramfs that was made again says nothing; one that unpacks to something else is real, and says what.
#[test]
fn an_initramfs_is_a_cause_only_if_it_unpacks_to_the_same() {
    if missing(&["mke2fs", "find", "touch"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let root = tree(here);
    fs::create_dir_all(root.join("boot")).unwrap();
    let early =
        cpio(&[Early("kernel/x86/microcode/AuthenticAMD.bin", 0o100_644, 1, 1, 1, b"code")]);
    let (module, shell) = (vec![7; 90_000], vec![8; 5000]);
    let init = Early("init", 0o100_755, 5, 2, 1, b"#!/bin/sh\n");
    let nvme = Early("lib/nvme.ko", 0o100_644, 5, 3, 1, &module);
    let links =
        [Early("bin/sh", 0o100_755, 5, 4, 2, b""), Early("bin/ash", 0o100_755, 5, 4, 2, &shell)];
    let [one, other] = links;
    let whole = [&early[..], &gzip(&cpio(&[init, nvme, one, other]), 6)].concat();
    let path = root.join("boot/initrd.img-1");
    fs::write(&path, &whole).unwrap();
    touch(&root.join("boot"), "2020-01-01T00:00:00Z");
    read_all(&root);
    mke2fs(&root, &here.join("old.raw"), KNOBS);
    let rebuild = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        touch(&root.join("boot"), "2020-01-01T00:00:00Z");
        read_all(&root);
        mke2fs(&root, &here.join("new.raw"), KNOBS);
        churn(here, "old.raw", "new.raw")
    };
    // Other times, numbers and an other order; the content stands at the last name of a file.
    let again = |init: &[u8], mode: u32, more: Option<&str>| {
        let mut files = vec![
            Early("./bin/ash", 0o100_755, 9, 70, 2, b""),
            Early("./bin/sh", 0o100_755, 9, 70, 2, &shell),
            Early("./lib/nvme.ko", mode, 9, 71, 1, &module),
            Early("./init", 0o100_755, 9, 72, 1, init),
        ];
        files.extend(more.map(|name| Early(name, 0o100_644, 9, 73, 1, b"new")));
        cpio(&files)
    };
    let sound = again(b"#!/bin/sh\n", 0o100_644, None);
    for level in [1, 9] {
        let (causes, real, report) = rebuild(&[&early[..], &gzip(&sound, level)].concat());
        // It has another length, so that the next file lies elsewhere.
        assert!(causes.contains("file-initramfs") && real.is_empty(), "{report:#}");
        assert_eq!(report["explained_pages"], report["changed_pages"], "{report:#}");
    }
    let path_of = "/boot/initrd.img-1";
    let packed = |plain: &[u8]| [&early[..], &gzip(plain, 6)].concat();
    for (bytes, inside) in [
        (packed(&again(b"#!/bin/no\n", 0o100_644, None)), &[("init", "changed")][..]),
        (packed(&again(b"#!/bin/sh\n", 0o100_600, None)), &[("lib/nvme.ko", "metadata")]),
        (packed(&again(b"#!/bin/sh\n", 0o100_644, Some("x"))), &[("x", "added")]),
        (gzip(&sound, 6), &[("kernel/x86/microcode/AuthenticAMD.bin", "removed")]),
    ] {
        let (causes, real, report) = rebuild(&bytes);
        assert!(real.contains(path_of) && !causes.contains("file-initramfs"), "{report:#}");
        let all = report["real"].as_array().unwrap();
        let found = all.iter().find(|it| it["path"] == path_of).unwrap();
        let found: Vec<(&str, &str)> = found["inside"]
            .as_array()
            .unwrap_or_else(|| panic!("{report:#}"))
            .iter()
            .map(|it| (it["path"].as_str().unwrap(), it["what"].as_str().unwrap()))
            .collect();
        assert_eq!(found, inside, "{report:#}");
    }
    let text = String::from_utf8(run(here, "churn old.raw new.raw").stdout).unwrap();
    let line = "        inside: kernel/x86/microcode/AuthenticAMD.bin\n";
    assert!(text.contains("        files in it differ\n") && text.contains(line), "{text}");
    // What a kernel without that decompressor cannot start with, and what cannot be unpacked at all.
    for (bytes, note) in [
        ([&early[..], &sound].concat(), "it is packed as plain, not as plain and gzip"),
        (whole[..whole.len() - 9].to_vec(), "it cannot be unpacked"),
        ([&early[..], b"new"].concat(), "it cannot be unpacked"),
    ] {
        let (causes, real, report) = rebuild(&bytes);
        assert!(real.contains(path_of) && !causes.contains("file-initramfs"), "{report:#}");
        assert!(report.to_string().contains(note), "{report:#}");
    }
}

/// A file that a program writes again: its path, its content, what the program makes of that, what nobody but a person writes, and
/// the cause.
struct Generated(&'static str, Vec<u8>, Vec<u8>, Vec<u8>, &'static str);

fn generated() -> Vec<Generated> {
    let key = |byte: u8| {
        use base64::Engine as _;
        let blob = [&b"\0\0\0\x0bssh-ed25519\0\0\0\x20"[..], &[byte; 32]].concat();
        format!(
            "ssh-ed25519 {} root@build-{byte}\n",
            base64::engine::general_purpose::STANDARD.encode(blob)
        )
        .into_bytes()
    };
    let bytecode = |time: u8, code: u8| {
        [&[0xa7, 0x0d, 0x0d, 0x0a, 0, 0, 0, 0, time, 0, 0, 0, 4, 0, 0, 0][..], &[code; 90]].concat()
    };
    let id = |digit: u8| [&[digit; 32][..], b"\n"].concat();
    vec![
        Generated("etc/machine-id", id(b'1'), id(b'2'), b"mine\n".to_vec(), "file-machine-id"),
        Generated(
            "etc/ssh/ssh_host_ed25519_key.pub",
            key(1),
            key(2),
            b"Port 22\n".to_vec(),
            "file-host-keys",
        ),
        Generated("usr/lib/a.pyc", bytecode(1, 1), bytecode(2, 1), bytecode(2, 2), "file-bytecode"),
        Generated(
            "etc/passwd-",
            b"a:x:0:0::/:/b\n".to_vec(),
            b"b:x:0:0::/:/b\n".to_vec(),
            b"hello\n".to_vec(),
            "file-backup",
        ),
        Generated(
            "var/lib/apt/extended_states",
            b"Package: a\nAuto-Installed: 1\n\nPackage: b\n".to_vec(),
            b"Package: b\n\nPackage: a\nAuto-Installed: 1\n".to_vec(),
            b"Package: a\n\nPackage: b\nAuto-Installed: 1\n".to_vec(),
            "file-package-lists",
        ),
        // Whatever stands there is a program's own, and what lies beside it is not.
        Generated("var/log/a.log", b"one\n".to_vec(), b"two\n".to_vec(), Vec::new(), "file-log"),
        Generated(
            "var/lib/systemd/random-seed",
            vec![1; 32],
            vec![2; 32],
            Vec::new(),
            "file-random-seed",
        ),
        Generated(
            "var/lib/cloud/instances/i-1/obj.pkl",
            vec![1; 90],
            vec![2; 90],
            Vec::new(),
            "file-cloud-init",
        ),
        Generated("var/cache/man/index.db", vec![1; 90], vec![2; 90], Vec::new(), "file-index"),
    ]
}

/// Files that programs write again: each is a cause for what they write, and real for what somebody else does.
#[test]
fn a_generated_file_is_a_cause_only_for_what_its_program_writes() {
    if missing(&["mke2fs", "find", "touch", "chmod"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let root = tree(here);
    let all = generated();
    // Somebody else's, beside them.
    let beside = ["var/lib/cloud/scripts/per-boot/a.sh", "srv/random-seed", "var/lib/rpm/macros"];
    let old = all.iter().map(|Generated(path, old, ..)| (*path, &old[..]));
    for (path, content) in old.chain(beside.iter().map(|path| (*path, &b"old"[..]))) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let rebuild = |image: &str| mke2fs(&root, &here.join(image), KNOBS);
    let settle = || {
        touch(&root, "2020-01-01T00:00:00Z");
        read_all(&root);
        rebuild("old.raw");
    };
    settle();
    let put = |path: &str, content: &[u8]| rewrite(&root.join(path), content);
    for Generated(path, old, program, somebody, cause) in &all {
        put(path, program);
        rebuild("new.raw");
        let (causes, real, report) = churn(here, "old.raw", "new.raw");
        // Those that were written back were read since.
        let may_be = set(&[*cause, "ext-times"]);
        assert!(causes.contains(*cause) && causes.is_subset(&may_be), "{path}: {report:#}");
        assert_eq!(real, set(&[]), "{path}: {report:#}");
        // The content alone is what a program writes.
        let mut chmod = Command::new("chmod");
        assert!(chmod.arg("0640").arg(root.join(path)).status().unwrap().success());
        rebuild("new.raw");
        let (_, real, report) = churn(here, "old.raw", "new.raw");
        let whole = format!("/{path}");
        assert_eq!(real, set(&[&whole]), "{path}: {report:#}");
        assert!(report.to_string().contains("permissions or attributes differ too"), "{report:#}");
        let mut chmod = Command::new("chmod");
        assert!(chmod.arg("0644").arg(root.join(path)).status().unwrap().success());
        if !somebody.is_empty() {
            put(path, somebody);
            rebuild("new.raw");
            let (causes, real, report) = churn(here, "old.raw", "new.raw");
            assert_eq!(real, set(&[&whole]), "{path}: {report:#}");
            assert!(!causes.contains(*cause), "{path}: {report:#}");
            let note = format!("more differs in it than {cause} explains");
            assert!(report.to_string().contains(&note), "{report:#}");
        }
        put(path, old);
    }
    for path in beside {
        put(path, b"new");
        rebuild("new.raw");
        let (causes, real, report) = churn(here, "old.raw", "new.raw");
        assert!(causes.is_subset(&set(&["ext-times"])), "{report:#}");
        assert_eq!(real, set(&[&format!("/{path}")]), "{report:#}");
        put(path, b"old");
    }
    // A manual that differs is in the index.
    fs::create_dir_all(root.join("usr/share/man/man1")).unwrap();
    put("usr/share/man/man1/a.1", b"one");
    settle();
    put("usr/share/man/man1/a.1", b"two");
    put("var/cache/man/index.db", &[3; 90]);
    rebuild("new.raw");
    let (causes, real, report) = churn(here, "old.raw", "new.raw");
    let expected = set(&["/usr/share/man/man1/a.1", "/var/cache/man/index.db"]);
    assert_eq!(real, expected, "{report:#}");
    assert!(!causes.contains("file-index"), "{report:#}");
}

/// A name that a program makes is no real difference of the folder that it is in.
#[test]
fn a_folder_that_differs_by_generated_names_alone_is_not_real() {
    if missing(&["mke2fs", "find", "touch"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let root = tree(here);
    mke2fs(&root, &here.join("old.raw"), KNOBS);
    let rebuild = || {
        touch(&root, "2020-01-01T00:00:00Z");
        read_all(&root);
        mke2fs(&root, &here.join("new.raw"), KNOBS);
        churn(here, "old.raw", "new.raw")
    };
    // A journal has a folder with the id of the machine.
    fs::create_dir_all(root.join("var/log/journal/0123")).unwrap();
    fs::write(root.join("var/log/journal/0123/system.journal"), "x").unwrap();
    let (causes, real, report) = rebuild();
    assert!(causes.contains("file-log") && real.is_empty(), "{report:#}");
    assert_eq!(report["explained_pages"], report["changed_pages"], "{report:#}");
    fs::write(root.join("var/mine"), "x").unwrap();
    let (_, real, report) = rebuild();
    assert!(real.contains("/var") && real.contains("/var/mine"), "{report:#}");
    assert!(!real.contains("/var/log"), "{report:#}");
}

/// What a name calls generated is real where something real made it.
#[test]
fn what_follows_a_real_difference_is_no_cause() {
    if missing(&["mke2fs", "find", "touch"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let root = tree(here);
    fs::create_dir_all(root.join("boot")).unwrap();
    fs::create_dir_all(root.join("usr/lib/__pycache__")).unwrap();
    let program = root.join("usr/lib/a.py");
    let bytecode = root.join("usr/lib/__pycache__/a.cpython-311.pyc");
    let icons = root.join("usr/share/icons/plain");
    fs::create_dir_all(icons.join("48x48")).unwrap();
    let (icon, index) = (icons.join("48x48/a.png"), icons.join("icon-theme.cache"));
    for path in [&program, &icon, &index] {
        fs::write(path, "old").unwrap();
    }
    let initramfs = |time| {
        let file = Early("init", 0o100_755, time, 1, 1, b"#!/bin/sh\n");
        gzip(&cpio(&[file]), 6)
    };
    // Made of that program: its time and its size.
    let compiled = |time: u32, size: u32| {
        let head = [0xa7, 0x0d, 0x0d, 0x0a, 0, 0, 0, 0];
        [&head[..], &time.to_le_bytes(), &size.to_le_bytes(), &[7; 60]].concat()
    };
    let time = 1_577_836_800;
    fs::write(&bytecode, compiled(time, 3)).unwrap();
    fs::write(root.join("boot/initrd.img-1"), initramfs(1)).unwrap();
    // A database of rpm that cannot be read says nothing of what is installed.
    fs::create_dir_all(root.join("var/lib/rpm")).unwrap();
    let database = root.join("var/lib/rpm/rpmdb.sqlite");
    fs::write(&database, "old").unwrap();
    touch(&root, "2020-01-01T00:00:00Z");
    read_all(&root);
    mke2fs(&root, &here.join("old.raw"), KNOBS);
    let rebuild = || {
        mke2fs(&root, &here.join("new.raw"), KNOBS);
        churn(here, "old.raw", "new.raw")
    };
    rewrite(&bytecode, compiled(time + 9, 3));
    rewrite(&root.join("boot/initrd.img-1"), initramfs(2));
    let (causes, real, report) = rebuild();
    let expected = (set(&["file-bytecode", "file-initramfs"]), set(&[]));
    assert_eq!((causes, real), expected, "{report:#}");
    rewrite(&index, "new");
    rewrite(&database, "new");
    let (causes, real, report) = rebuild();
    assert!(causes.contains("file-index"), "{report:#}");
    assert_eq!(real, set(&["/var/lib/rpm/rpmdb.sqlite"]), "{report:#}");
    rewrite(&icon, "new");
    let (causes, real, report) = rebuild();
    assert!(!causes.contains("file-index"), "{report:#}");
    let index = "/usr/share/icons/plain/icon-theme.cache";
    assert!(real.contains(index) && real.contains("/usr/share/icons/plain/48x48/a.png"));
    rewrite(&program, "two");
    rewrite(&root.join("boot/initrd.img-2"), "another kernel's");
    let (causes, real, report) = rebuild();
    let expected =
        ["/usr/lib/a.py", "/usr/lib/__pycache__/a.cpython-311.pyc", "/boot/initrd.img-2"];
    assert!(expected.iter().all(|path| real.contains(*path)), "{report:#}");
    assert!(causes.contains("file-initramfs") && !causes.contains("file-bytecode"), "{report:#}");
    // What only one build has was made of its program, or it was not.
    rewrite(&program, "old");
    for (second, expected) in [(compiled(time, 3), true), (compiled(time, 4), false)] {
        let path = root.join("usr/lib/__pycache__/a.cpython-312.pyc");
        rewrite(&path, second);
        touch(&root.join("usr/lib"), "2020-01-01T00:00:00Z");
        let (_, real, report) = rebuild();
        let path = "/usr/lib/__pycache__/a.cpython-312.pyc";
        assert_eq!(!real.contains(path), expected, "{report:#}");
    }
}

/// Bytes of a file system without checksums, changed one at a time.
#[test]
fn each_byte_of_ext4_with_a_cause_is_named() {
    if missing(&["mke2fs", "find", "touch"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let root = tree(here);
    let knobs = Knobs { features: "^metadata_csum,^resize_inode", ..KNOBS };
    mke2fs(&root, &here.join("old.raw"), knobs);
    let image = fs::read(here.join("old.raw")).unwrap();
    let u32_at = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    let block_len = 1024_u64 << u32_at(1024 + 0x18);
    let inode_len = u64::from(u32_at(1024 + 0x58) & 0xffff);
    let descriptors = usize::try_from(block_len.max(2048)).unwrap();
    let table = u64::from(u32_at(descriptors + 8)) * block_len;
    // The journal's superblock begins with its magic number.
    let journal = image
        .chunks(1024)
        .position(|it| it.starts_with(&[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4]))
        .map(|at| u64::try_from(at).unwrap() * 1024)
        .unwrap();
    let last = u64::try_from(image.len()).unwrap() - 100;
    for (at, cause) in [
        (1024 + 0x34, "ext-mounts"),
        (1024 + 0x88, "ext-mounts"),
        (1024 + 0x178, "ext-mounts"),
        (1024 + 0x2c, "ext-times"),
        (table + 11 * inode_len + 0x64, "ext-generation"),
        (table + 12 * inode_len + 0x90, "ext-times"),
        (journal + 0x18, "ext-journal"),
        (journal + 5000, "ext-journal"),
        (last, "free-litter"),
    ] {
        patched(here, "new.raw", at);
        let (causes, real, report) = churn(here, "old.raw", "new.raw");
        assert_eq!((causes, real), (set(&[cause]), set(&[])), "{cause} at {at}: {report:#}");
    }
    // A label is real.
    patched(here, "new.raw", 1024 + 0x78);
    let (causes, real, _) = churn(here, "old.raw", "new.raw");
    assert_eq!((causes, real), (set(&[]), set(&["superblock"])));
}

/// Makes a file system and writes files of the folder to it, one after the other.
fn write_in_order(here: &Path, image: &str, order: &[&str]) {
    let empty = here.join("empty");
    fs::create_dir_all(&empty).unwrap();
    touch(&empty, "2020-01-01T00:00:00Z");
    mke2fs(&empty, &here.join(image), KNOBS);
    let commands: Vec<_> = order.iter().map(|name| format!("write {name} {name}")).collect();
    fs::write(here.join("commands"), commands.join("\n")).unwrap();
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-w", "-f", "commands", image]).current_dir(here);
    assert!(debugfs.output().unwrap().status.success());
}

/// The same files, written in another order.
#[test]
fn another_order_is_not_a_real_difference() {
    if missing(&["mke2fs", "debugfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let names = ["a", "b", "c", "d"];
    for (number, name) in names.iter().enumerate() {
        let byte = u8::try_from(number).unwrap();
        fs::write(here.join(name), vec![byte; 9000 + number * 5000]).unwrap();
    }
    let build = |image: &str, order: &[&str]| write_in_order(here, image, order);
    build("old.raw", &names);
    build("new.raw", &["d", "b", "a", "c"]);
    let (causes, real, report) = churn(here, "old.raw", "new.raw");
    assert_eq!(real, set(&[]), "{report:#}");
    assert!(causes.contains("allocation-order"), "{report:#}");
    assert!(causes.is_subset(&set(&["allocation-order", "ext-times", "file-times"])), "{causes:?}");
}

/// A file that begins a block further on covers most of the place where it was: that is its content, not litter.
#[test]
fn a_file_that_moved_by_less_than_its_length_is_no_litter() {
    if missing(&["mke2fs", "debugfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let blocks = (0..40_u8).flat_map(|byte| vec![byte + 1; 4096]);
    fs::write(here.join("long"), blocks.collect::<Vec<u8>>()).unwrap();
    fs::write(here.join("short"), vec![99; 4096]).unwrap();
    let build = |image: &str, order: &[&str]| write_in_order(here, image, order);
    build("old.raw", &["long", "short"]);
    build("new.raw", &["short", "long"]);
    let (causes, real, report) = churn(here, "old.raw", "new.raw");
    assert_eq!(real, set(&[]), "{report:#}");
    assert!(causes.contains("allocation-order") && !causes.contains("free-litter"), "{report:#}");
    // Where another file is real, what it pushed aside still is no litter.
    fs::write(here.join("added"), vec![98; 4096]).unwrap();
    build("new.raw", &["added", "long", "short"]);
    let (causes, real, report) = churn(here, "old.raw", "new.raw");
    assert!(real.contains("/added") && !real.contains("/long"), "{report:#}");
    assert!(causes.contains("allocation-order") && !causes.contains("free-litter"), "{report:#}");
    // What lies behind the end of a file is litter.
    fs::write(here.join("odd"), vec![97; 5000]).unwrap();
    build("old.raw", &["odd"]);
    let at = fs::read(here.join("old.raw")).unwrap();
    let at = at.windows(5000).position(|it| it.iter().all(|byte| *byte == 97)).unwrap();
    patched(here, "new.raw", u64::try_from(at + 5500).unwrap());
    let (causes, real, report) = churn(here, "old.raw", "new.raw");
    assert_eq!((causes, real), (set(&["free-litter"]), set(&[])), "{report:#}");
}

/// Content that cannot be read is real where a page of it differs, and no reason to give up on the other files.
#[test]
fn content_that_cannot_be_read_is_not_called_the_same() {
    if missing(&["mke2fs", "debugfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let root = tree(here);
    fs::write(root.join("secret"), vec![55; 9000]).unwrap();
    touch(&root, "2020-01-01T00:00:00Z");
    read_all(&root);
    let knobs = Knobs { features: "^dir_nlink,encrypt", ..KNOBS };
    mke2fs(&root, &here.join("old.raw"), knobs);
    // Marked as encrypted: what stands in its blocks is all that can be known.
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-w", "-R", "set_inode_field /secret flags 0x80800", "old.raw"]);
    assert!(debugfs.current_dir(here).output().unwrap().status.success());
    let image = fs::read(here.join("old.raw")).unwrap();
    let at = image.windows(9000).position(|it| it.iter().all(|byte| *byte == 55)).unwrap();
    patched(here, "new.raw", u64::try_from(at + 5).unwrap());
    let (causes, real, report) = churn(here, "old.raw", "new.raw");
    assert_eq!((causes, real), (set(&[]), set(&["/secret"])), "{report:#}");
    let output = run(here, "diff --files old.raw new.raw --json");
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(
        lines.lines().any(|it| it.contains(r#""/secret""#) && it.contains(r#""changed""#)),
        "{lines}"
    );
    // Where no page of it differs, it is what it was.
    patched(here, "new.raw", 1024 + 0x2c);
    let (_, real, report) = churn(here, "old.raw", "new.raw");
    assert!(!real.contains("/secret"), "{report:#}");
}

/// A volume that was cut off says so, and why nothing is explained.
#[test]
fn a_cut_volume_is_named() {
    if missing(&["mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    mke2fs(&tree(here), &here.join("old.raw"), KNOBS);
    fs::copy(here.join("old.raw"), here.join("new.raw")).unwrap();
    let file = fs::OpenOptions::new().write(true).open(here.join("new.raw")).unwrap();
    file.set_len(12 << 20).unwrap();
    drop(file);
    let output = run(here, "churn old.raw new.raw");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("new.raw: the volume has 12 MiB, the old one 16 MiB"), "{text}");
    let note =
        "ext at byte 0 of the new volume is not looked into: it is larger than its partition";
    assert!(stderr(&output).contains(note), "{}", stderr(&output));
}

/// What makes an image of zeros another one.
type Change = Box<dyn Fn(&mut [u8])>;

/// A program, its arguments for either image, and the causes that may be named: the first has to be.
type Case = (&'static str, Vec<String>, Vec<String>, &'static [&'static str]);

#[test]
fn other_formats_name_their_knobs() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let make = |name: &str, program: &str, arguments: &[&str]| {
        let path = here.join(name);
        let _ = fs::remove_file(&path);
        fs::File::create(&path).unwrap().set_len(320 << 20).unwrap();
        let mut command = Command::new(program);
        let made = command.args(arguments).arg(&path).env("SOURCE_DATE_EPOCH", "1700000000");
        made.output().is_ok_and(|output| output.status.success())
    };
    let (one, other) =
        ("6e6c3f2a-0000-4000-8000-000000000001", "6e6c3f2a-0000-4000-8000-000000000002");
    let uuid = |it: &str| format!("uuid={it}");
    let knobs: [Case; 3] = [
        ("mkswap", vec!["-U".into(), one.into()], vec!["-U".into(), other.into()], &["swap-uuid"]),
        (
            "mkfs.fat",
            vec!["-i".into(), "11112222".into()],
            vec!["-i".into(), "33334444".into()],
            &["fat-serial"],
        ),
        (
            "mkfs.xfs",
            vec!["-q".into(), "-m".into(), uuid(one)],
            vec!["-q".into(), "-m".into(), uuid(other)],
            &["xfs-uuid", "xfs-times", "xfs-generation"],
        ),
    ];
    for (program, before, after, expected) in knobs {
        let run = |name: &str, arguments: &[String]| {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            installed(program) && make(name, program, &arguments)
        };
        if !run("old.raw", &before) || !run("new.raw", &after) {
            println!("skipped: {program} does not run");
            continue;
        }
        let (causes, real, report) = churn(here, "old.raw", "new.raw");
        assert_eq!(real, set(&[]), "{program}: {report:#}");
        assert!(causes.contains(expected[0]), "{program}: {report:#}");
        assert!(causes.is_subset(&set(expected)), "{program}: {report:#}");
    }
}

#[test]
fn identities_of_disks_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let table = |name: &str, script: &str| {
        let path = here.join(name);
        let _ = fs::remove_file(&path);
        fs::File::create(&path).unwrap().set_len(8 << 20).unwrap();
        let mut sfdisk = Command::new("sfdisk");
        sfdisk.arg("-q").arg(&path).stdin(std::process::Stdio::piped());
        let Ok(mut child) = sfdisk.spawn() else { return false };
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, script.as_bytes()).unwrap();
        drop(input);
        child.wait().unwrap().success()
    };
    let gpt = |disk: &str, part: &str| {
        format!(
            "label: gpt\nlabel-id: 6e6c3f2a-0000-4000-8000-0000000000{disk}\nstart=2048, size=4096, uuid=6e6c3f2a-0000-4000-8000-0000000001{part}\n"
        )
    };
    let mbr = |id: &str| format!("label: dos\nlabel-id: {id}\nstart=2048, size=4096, type=83\n");
    for (before, after, cause) in [
        (gpt("01", "01"), gpt("02", "01"), "gpt-disk-guid"),
        (gpt("01", "01"), gpt("01", "02"), "gpt-partition-guid"),
        (mbr("0x11111111"), mbr("0x22222222"), "mbr-signature"),
    ] {
        if !table("old.raw", &before) || !table("new.raw", &after) {
            println!("skipped: sfdisk does not run");
            return;
        }
        let (causes, real, report) = churn(here, "old.raw", "new.raw");
        assert_eq!((causes, real), (set(&[cause]), set(&[])), "{report:#}");
    }
}

/// Formats without a tool here, as far as their identities are concerned.
#[test]
fn identities_that_are_made_by_hand_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let build = |name: &str, change: &dyn Fn(&mut [u8])| {
        let mut bytes = vec![0; 1 << 20];
        change(&mut bytes);
        fs::write(here.join(name), bytes).unwrap();
    };
    let put = |bytes: &mut [u8], at: usize, what: &[u8]| {
        bytes[at..at + what.len()].copy_from_slice(what);
    };
    let luks = |uuid: u8| {
        move |bytes: &mut [u8]| {
            put(bytes, 0, b"LUKS\xba\xbe\0\x02");
            put(bytes, 168, &[uuid; 36]);
            bytes[70_000..90_000].fill(uuid);
        }
    };
    let verity = |salt: u8| {
        move |bytes: &mut [u8]| {
            put(bytes, 0, b"verity\0\0\x01");
            put(bytes, 88, &[salt; 32]);
            bytes[4096..20_000].fill(salt);
        }
    };
    let btrfs = |uuid: u8| {
        move |bytes: &mut [u8]| {
            put(bytes, 65_536, &[uuid ^ 1; 32]);
            put(bytes, 65_536 + 32, &[uuid; 16]);
            put(bytes, 65_536 + 64, b"_BHRfS_M");
            put(bytes, 131_072, &[uuid ^ 1; 32]);
            put(bytes, 131_072 + 32, &[uuid; 16]);
            put(bytes, 131_072 + 64, &[uuid; 16]);
        }
    };
    let changes: [(&str, [Change; 2]); 3] = [
        ("luks-uuid", [Box::new(luks(1)), Box::new(luks(2))]),
        ("verity-salt", [Box::new(verity(1)), Box::new(verity(2))]),
        ("btrfs-uuid", [Box::new(btrfs(4)), Box::new(btrfs(8))]),
    ];
    for (cause, [before, after]) in &changes {
        build("old.raw", before);
        build("new.raw", after);
        let (causes, real, report) = churn(here, "old.raw", "new.raw --input-format raw");
        assert_eq!((causes, real), (set(&[cause]), set(&[])), "{report:#}");
    }
    // Hashes of other data, under the same salt.
    build("old.raw", &verity(1));
    build("new.raw", &|bytes| {
        verity(1)(bytes);
        bytes[5000] = 9;
    });
    let (causes, real, report) = churn(here, "old.raw", "new.raw");
    assert_eq!((causes, real), (set(&[]), set(&["unknown"])), "{report:#}");
}

/// Times and places in directories of FAT.
#[test]
fn times_of_fat_are_named() {
    if !installed("mkfs.fat") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let old = here.join("old.raw");
    fs::File::create(&old).unwrap().set_len(4 << 20).unwrap();
    let mut fat = Command::new("mkfs.fat");
    let made = fat.args(["-n", "KNOBS", "-i", "11112222"]).arg(&old).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let image = fs::read(&old).unwrap();
    let entry = b"KNOBS      \x08";
    let at = image.windows(12).rposition(|it| it == entry).unwrap();
    patched(here, "new.raw", u64::try_from(at).unwrap() + 22);
    let (causes, real, report) = churn(here, "old.raw", "new.raw");
    assert_eq!((causes, real), (set(&["fat-times"]), set(&[])), "{report:#}");
}

/// Makes a group of two logical volumes, the first in two pieces around the other, and puts a file system into it.
fn on_lvm(here: &Path, image: &str, system: &Path) -> bool {
    let path = here.join(image);
    let _ = fs::remove_file(&path);
    fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let made = Command::new("losetup").args(["-f", "--show"]).arg(&path).output().unwrap();
    let device = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    if device.is_empty() {
        return false;
    }
    let lvm = |line: &str| {
        let only = format!("devices {{ filter=[\"a|^{device}$|\",\"r|.*|\"] }}");
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["-q", "--driverloaded", "n", "--config", &only]);
        command.output().unwrap().status.success()
    };
    let made = lvm(&format!("pvcreate {device}"))
        && lvm(&format!("vgcreate churn-test {device}"))
        && lvm("lvcreate -an -Zn -Wn -n root -L 8M churn-test")
        && lvm("lvcreate -an -Zn -Wn -n other -L 8M churn-test")
        && lvm("lvextend -L +8M churn-test/root");
    Command::new("losetup").args(["-d", &device]).status().unwrap();
    let bytes = fs::read(system).unwrap();
    let disk = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let (one, other) = bytes.split_at(8 << 20);
    disk.write_all_at(one, 1 << 20).unwrap();
    disk.write_all_at(other, 17 << 20).unwrap();
    made
}

/// Fields are where they are in the file system, wherever its pieces lie.
#[test]
fn a_file_system_on_a_logical_volume_is_explained_as_any_other() {
    if missing(&["mke2fs", "find", "touch", "losetup", "lvcreate"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let root = tree(here);
    let plain = here.join("plain.raw");
    mke2fs(&root, &plain, KNOBS);
    if !on_lvm(here, "old.raw", &plain) {
        println!("skipped: there is no device for LVM2");
        return;
    }
    let other = "6e6c3f2a-0000-4000-8000-0000000000ff";
    for (knobs, cause) in [
        (Knobs { uuid: other, ..KNOBS }, "ext-uuid"),
        (Knobs { time: "1700009999", ..KNOBS }, "ext-times"),
    ] {
        mke2fs(&root, &plain, knobs);
        // The same group: what was drawn for that is another cause.
        fs::copy(here.join("old.raw"), here.join("new.raw")).unwrap();
        let disk = fs::OpenOptions::new().write(true).open(here.join("new.raw")).unwrap();
        let bytes = fs::read(&plain).unwrap();
        disk.write_all_at(&bytes[..8 << 20], 1 << 20).unwrap();
        disk.write_all_at(&bytes[8 << 20..], 17 << 20).unwrap();
        drop(disk);
        let (causes, real, report) = churn(here, "old.raw", "new.raw");
        assert_eq!((causes, real), (set(&[cause]), set(&[])), "{report:#}");
    }
}

/// Files of a system in a subvolume have the paths that they have in the system.
#[test]
fn files_in_subvolumes_have_the_paths_of_the_guest() {
    if missing(&["mkfs.btrfs", "mount", "btrfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let at = here.join("mnt");
    fs::create_dir(&at).unwrap();
    let uuid = "6e6c3f2a-0000-4000-8000-0000000000bb";
    fs::File::create(here.join("old.raw")).unwrap().set_len(200 << 20).unwrap();
    let runs = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(here).output().unwrap().status.success()
    };
    assert!(runs("mkfs.btrfs", &["-q", "-U", uuid, "old.raw"]));
    let mount = |image: &str| runs("mount", &["-o", "loop", image, "mnt"]);
    if !mount("old.raw") {
        println!("skipped: this system does not mount Btrfs");
        return;
    }
    let write = |path: &str, content: &[u8]| {
        let path = at.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    assert!(runs("btrfs", &["subvolume", "create", "mnt/@"]));
    assert!(runs("btrfs", &["subvolume", "create", "mnt/@home"]));
    let table =
        format!("UUID={uuid} / btrfs subvol=@ 0 0\nUUID={uuid} /home btrfs subvol=@home 0 0\n");
    write("@/etc/fstab", table.as_bytes());
    fs::create_dir(at.join("@/home")).unwrap();
    for (path, byte) in [("@/usr/bin/program", 1), ("@home/ann/notes", 2), ("@/var/log/a.log", 3)] {
        write(path, &vec![byte; 20_000]);
    }
    write("spare/left", &vec![4; 20_000]);
    assert!(runs("umount", &["mnt"]));
    fs::copy(here.join("old.raw"), here.join("new.raw")).unwrap();
    assert!(mount("new.raw"));
    for (path, byte) in [("@/usr/bin/program", 5), ("@home/ann/notes", 6), ("@/var/log/a.log", 7)] {
        write(path, &vec![byte; 20_000]);
    }
    write("spare/left", &vec![8; 20_000]);
    assert!(runs("umount", &["mnt"]));
    let (causes, real, report) = churn(here, "old.raw", "new.raw");
    for path in ["/usr/bin/program", "/home/ann/notes", "/spare/left"] {
        assert!(real.contains(path), "{path}: {report:#}");
    }
    assert!(causes.contains("file-log"), "{report:#}");
    assert!(!real.iter().any(|it| it.contains('@') || it.contains("log")), "{report:#}");
}
