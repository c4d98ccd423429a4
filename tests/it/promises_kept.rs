//! Cases B-4 to B-17, each by its kind: what outputs keep, replace and refuse, and what is said.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use amikit::internals::units::BLOCK_LEN;
use rustix::net::AddressFamily;
use rustix::net::RecvFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::recv;
use rustix::net::socketpair;

use crate::common::Random;
use crate::common::amikit;
use crate::common::fixture;
use crate::common::installed;
use crate::common::is_root;
use crate::common::names;
use crate::common::quick_folder;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::stderr;
use crate::common::tree;
use crate::faults::shell;

/// Images with a hole, one of them a copy without it, bundles of them, and what else commands take.
fn scene() -> tempfile::TempDir {
    let folder = quick_folder();
    let here = folder.path();
    let mut old = Random::with_seed(7).bytes(4 * BLOCK_LEN);
    old[BLOCK_LEN..3 * BLOCK_LEN].fill(0);
    let mut new = old.clone();
    new[100..200].fill(7);
    for (name, bytes) in [("old.raw", &old), ("new.raw", &new)] {
        let file = fs::File::create(here.join(name)).unwrap();
        file.set_len(u64::try_from(bytes.len()).unwrap()).unwrap();
        file.write_all_at(&bytes[..BLOCK_LEN], 0).unwrap();
        let end = u64::try_from(3 * BLOCK_LEN).unwrap();
        file.write_all_at(&bytes[3 * BLOCK_LEN..], end).unwrap();
    }
    fs::write(here.join("full.raw"), &old).unwrap();
    run_well(here, "pack old.raw -o old.ami --name old");
    run_well(here, "pack new.raw -o new.ami --name new");
    run_well(here, "pack new.raw --base old.raw --thin -o thin.ami --name new");
    folder
}

fn keys(here: &Path) {
    for (from, to) in
        [("test-user.key", "user.key"), ("test-user.crt", "user.crt"), ("test-ec2.crt", "ec2.crt")]
    {
        fs::copy(fixture("instance-store").join(from), here.join(to)).unwrap();
    }
    fs::set_permissions(here.join("user.key"), fs::Permissions::from_mode(0o600)).unwrap();
    run_well(
        here,
        "instance-store bundle new.raw -o is --key user.key --cert user.crt --ec2-cert ec2.crt \
         --user 123456789012 --arch x86_64 --name disk",
    );
}

/// Runs a command with calls that fail; `None` where nothing can be traced.
fn injected(here: &Path, inject: &str, line: &str) -> Option<Output> {
    if !installed("strace") {
        return None;
    }
    let (call, _) = inject.split_once(':').unwrap();
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={inject}"), env!("CARGO_BIN_EXE_amikit")])
        .args(line.split_whitespace())
        .current_dir(here)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let traced = !stderr(&output).contains("ptrace");
    if !traced {
        println!("skipped: strace cannot trace here: {}", stderr(&output));
    }
    traced.then_some(output)
}

/// Each kind of output, as a command that writes it, and its name.
const WRITERS: [(&str, &str); 5] = [
    ("unpack new.ami -o out.raw", "out.raw"),
    ("convert new.raw out.qcow2", "out.qcow2"),
    ("snapshot new.raw -o out.snap", "out.snap"),
    ("pack new.raw -o out.tar --name new", "out.tar"),
    ("plan new.ami -o out.plan", "out.plan"),
];

/// A file system that says nothing of links, or whose looks fail for ever, ends a run soon.
#[test]
fn b4_no_loop_is_endless() {
    let folder = scene();
    for call in ["flock:error=EAGAIN:when=1+", "flock:error=EIO:when=1+"] {
        for (line, name) in WRITERS {
            let Some(output) = injected(folder.path(), call, line) else { return };
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 3)), "{call}: {line}: {code:?} {}", stderr(&output));
            let _ = fs::remove_file(folder.path().join(name));
        }
    }
}

#[test]
fn b10_the_same_bytes_with_other_holes_are_the_same_volume() {
    let folder = scene();
    let here = folder.path();
    let new = fs::read(here.join("new.raw")).unwrap();
    run_well(here, "snapshot old.raw -o old.snap");
    for line in [
        "apply thin.ami --to full.raw -o out.raw",
        "unpack thin.ami --base full.raw -o out.raw",
        "convert thin.ami out.raw --base full.raw --format raw",
        "verify thin.ami --base full.raw",
        "verify old.ami --against full.raw",
        "rebase thin.ami --base full.raw --onto old.ami -o out.ami",
        "pack new.raw --base full.raw --base-manifest old.snap --thin -o out.ami --name new",
    ] {
        let output = run(here, line);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{line}: {text}");
        assert!(text.contains("note: ") && text.contains("are holes where"), "{line}: {text}");
        if line.contains("out.raw") {
            assert!(fs::read(here.join("out.raw")).unwrap() == new, "{line}");
            // A new image has the holes of the snapshot, whatever the old one had.
            run_well(here, "compare out.raw new.raw --states");
        }
        if line.contains("out.ami") {
            run_well(here, "unpack out.ami --base old.raw -o out.raw");
            assert!(fs::read(here.join("out.raw")).unwrap() == new, "{line}");
        }
    }
    // One other byte is another image, in all of them.
    let mut other = fs::read(here.join("full.raw")).unwrap();
    other[5] ^= 1;
    fs::write(here.join("full.raw"), other).unwrap();
    run_badly(here, "apply thin.ami --to full.raw -o out.raw", 7);
    run_badly(here, "unpack thin.ami --base full.raw -o out.raw", 7);
    assert_eq!(run(here, "verify old.ami --against full.raw").status.code(), Some(1));
}

#[test]
fn b11_a_link_is_followed_to_its_file_and_refused_where_it_leads_to_none() {
    let folder = scene();
    let here = folder.path();
    fs::create_dir(here.join("far")).unwrap();
    for (line, name) in WRITERS {
        run_well(here, line);
        let made = fs::read(here.join(name)).unwrap();
        fs::remove_file(here.join(name)).unwrap();
        fs::write(here.join("far/file"), "old").unwrap();
        symlink("far/file", here.join(name)).unwrap();
        run_well(here, line);
        assert!(here.join(name).is_symlink(), "{line}");
        assert!(fs::read(here.join("far/file")).unwrap() == made, "{line}");
        assert_eq!(names(&here.join("far")), ["file"], "{line}");
        for to in ["/proc/self/fd/1", "/dev/null", "/dev/stdout", "missing", "far"] {
            fs::remove_file(here.join(name)).unwrap();
            symlink(to, here.join(name)).unwrap();
            let text = run_badly(here, line, 2);
            assert!(text.contains(name), "{line}: {text}");
            assert_eq!(fs::read_link(here.join(name)).unwrap(), Path::new(to), "{line}");
        }
        fs::remove_file(here.join(name)).unwrap();
    }
    symlink("old.ami", here.join("link.ami")).unwrap();
    run_well(here, "pack new.raw -o link.ami --name new");
    assert!(here.join("link.ami").is_symlink());
    run_well(here, "verify old.ami --against new.raw");
}

#[test]
fn b11_the_mode_and_the_owner_of_what_is_replaced_are_kept() {
    let folder = scene();
    let here = folder.path();
    let root = is_root();
    for (line, name) in WRITERS {
        let path = here.join(name);
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if root {
            std::os::unix::fs::chown(&path, Some(1234), Some(2345)).unwrap();
        }
        run_well(here, line);
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.mode() & 0o777, 0o600, "{line}");
        assert!(!root || (meta.uid(), meta.gid()) == (1234, 2345), "{line}");
    }
    let path = here.join("old.ami");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    run_well(here, "pack new.raw -o old.ami --name new");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn b11_what_is_decrypted_is_its_owners_alone() {
    let folder = scene();
    let here = folder.path();
    keys(here);
    for format in ["raw", "qcow2"] {
        for old in [false, true] {
            if old {
                fs::set_permissions(here.join("out.raw"), fs::Permissions::from_mode(0o644))
                    .unwrap();
            }
            let line =
                "instance-store unbundle is/disk.manifest.xml -o out.raw --key user.key --format";
            run_well(here, &format!("{line} {format}"));
            let mode = fs::metadata(here.join("out.raw")).unwrap().mode() & 0o777;
            assert_eq!(mode, 0o600, "{format} {old}");
        }
        fs::remove_file(here.join("out.raw")).unwrap();
    }
    // Neither the manifest nor a part is replaced by what is made of them.
    for name in ["disk.manifest.xml", "disk.part.0"] {
        let before = tree(&here.join("is"));
        let line = "instance-store unbundle is/disk.manifest.xml --key user.key --format raw -o";
        run_badly(here, &format!("{line} is/{name}"), 2);
        assert!(tree(&here.join("is")) == before, "{name}");
    }
}

#[test]
fn b11_no_output_lies_inside_what_it_is_made_of() {
    let folder = scene();
    let here = folder.path();
    symlink("new.ami", here.join("link")).unwrap();
    let before = tree(&here.join("new.ami"));
    let thin = tree(&here.join("thin.ami"));
    for line in [
        "unpack new.ami -o new.ami/index.json",
        "unpack new.ami -o new.ami/out.raw",
        "unpack new.ami -o link/out.raw",
        "unpack thin.ami --base old.raw -o thin.ami/out.raw",
        "convert new.ami new.ami/out.qcow2",
        "convert new.ami:/dev/xvda new.ami/out.qcow2",
        "snapshot new.ami -o new.ami/out.snap",
        "plan new.ami -o new.ami/out.plan",
        "apply thin.ami --to old.raw -o thin.ami/out.raw",
        "pack new.ami -o new.ami/out.ami --name new",
        "pack new.raw --base new.ami --thin -o new.ami/blobs/out.ami --name new",
        "rebase new.ami --onto old.ami -o new.ami/out.ami",
        "complete thin.ami --base new.ami -o new.ami/out.ami",
    ] {
        let text = run_badly(here, line, 2);
        assert!(text.contains("lies inside"), "{line}: {text}");
        assert!(tree(&here.join("new.ami")) == before, "{line}");
        assert!(tree(&here.join("thin.ami")) == thin, "{line}");
    }
}

#[test]
fn b14_what_could_not_be_removed_is_named_and_strangers_are_too() {
    let folder = scene();
    let here = folder.path();
    for line in ["pack new.raw -o old.ami --name new", "pack old.raw -o old.ami --name old --json"]
    {
        let Some(output) = injected(here, "unlinkat:error=EIO:when=1+", line) else { return };
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{line}: {text}");
        let left: Vec<_> = names(here).into_iter().filter(|it| it.starts_with('.')).collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(text.contains(&left[0]) && text.contains("could not be removed"), "{line}: {text}");
        assert!(!line.ends_with("json") || text.contains("amikit.note.v1"), "{text}");
        // The next run removes it.
        run_well(here, "pack old.raw -o old.ami --name old");
        assert!(names(here).iter().all(|it| !it.starts_with('.')), "{line}");
    }
    fs::write(here.join("old.ami/blobs/sha256/notes"), "mine").unwrap();
    let output = run(here, "verify old.ami");
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("blobs/sha256/notes"), "{}", stderr(&output));
}

#[test]
fn b17_a_closed_standard_output_is_a_failure_before_anything_is_done() {
    let folder = scene();
    let here = folder.path();
    let before = names(here);
    for line in [
        "verify new.ami",
        "inspect new.ami --json",
        "map new.raw",
        "map new.raw --bmap",
        "pack new.raw -o out.ami --name new",
        "unpack new.ami -o out.raw",
        "compare old.raw new.raw",
        "plan new.ami",
        "completions bash",
        "schema recipe",
        "--help",
        "pack --help",
        "--version",
    ] {
        let output = shell(here, &format!("\"$0\" {line} >&-"));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{line}: {text}");
        assert!(text.contains("standard output") && text.lines().count() == 1, "{line}: {text}");
        // A null device is a place to write to, however it was opened.
        assert_eq!(shell(here, &format!("\"$0\" {line} >/dev/null")).status.code(), {
            Some(i32::from(line.starts_with("compare")))
        });
        assert_ne!(shell(here, &format!("\"$0\" {line} 1<>/dev/null")).status.code(), Some(3));
        for made in ["out.raw", "out.ami"] {
            let _ = fs::remove_file(here.join(made));
            let _ = fs::remove_dir_all(here.join(made));
        }
    }
    assert_eq!(names(here), before);
}

#[test]
fn b17_a_folder_is_replaced_where_the_system_cannot_exchange_names() {
    let folder = scene();
    let here = folder.path();
    for error in ["EINVAL", "ENOSYS"] {
        for line in ["pack new.raw -o out.ami --name new", "pack old.raw -o out.ami --name old"] {
            let inject = format!("renameat2:error={error}");
            let Some(output) = injected(here, &inject, line) else { return };
            assert_eq!(output.status.code(), Some(0), "{error}: {line}: {}", stderr(&output));
        }
        run_well(here, "verify out.ami --against old.raw");
        assert!(names(here).iter().all(|name| !name.starts_with('.')), "{:?}", names(here));
    }
}

#[test]
fn b17_few_bytes_do_not_become_terabytes_unasked() {
    let folder = scene();
    let here = folder.path();
    // 28 bytes of header and 16 of one chunk: a word that fills 1 TiB.
    let blocks = u32::try_from((1_u64 << 40) / (1 << 20)).unwrap();
    let mut sparse = Vec::new();
    for word in [0xed26_ff3a_u32, 1, 0x000c_001c, 1 << 20, blocks, 1, 0] {
        sparse.extend(word.to_le_bytes());
    }
    for word in [0xcac2, blocks, 16, 0x0101_0101] {
        sparse.extend(word.to_le_bytes());
    }
    fs::write(here.join("few.simg"), sparse).unwrap();
    let text = run_badly(here, "convert few.simg out.raw", 3);
    assert!(text.contains("No space left: 1 TiB must be written"), "{text}");
    for line in [
        "convert few.simg out.raw",
        "convert few.simg out.qcow2",
        "pack few.simg -o out.ami --name few",
        "snapshot few.simg -o out.snap",
        "map few.simg",
        "compare few.simg few.simg",
    ] {
        let text = run_badly(here, &format!("{line} --max-size 64GiB"), 6);
        assert!(text.contains("--max-size"), "{line}: {text}");
    }
    run_well(here, "map few.simg --max-size 1TiB");
    // What comes in order is stopped where it passes the limit.
    let zipped = shell(here, "head -c 3000000 /dev/zero | gzip > zeros.raw.gz");
    assert!(zipped.status.success());
    for line in
        ["convert zeros.raw.gz out.raw", "snapshot zeros.raw.gz -o out.snap", "map zeros.raw.gz"]
    {
        let text = run_badly(here, &format!("{line} --max-size 1MiB"), 6);
        assert!(text.contains("--max-size"), "{line}: {text}");
        run_well(here, &format!("{line} --max-size 3MiB"));
    }
    run_badly(here, "unpack new.ami -o out.raw --max-size 1MiB", 6);
}

#[test]
fn b17_a_path_is_on_one_line_wherever_it_is_printed() {
    let folder = scene();
    let here = folder.path();
    let evil = "a\u{1b}[31m\nb";
    for (from, to) in [("new.raw", "raw"), ("new.ami", "ami"), ("thin.ami", "thin")] {
        fs::rename(here.join(from), here.join(format!("{evil}.{to}"))).unwrap();
    }
    let at = |suffix: &str| format!("{evil}.{suffix}");
    let (raw, ami, thin) = (at("raw"), at("ami"), at("thin"));
    let (qcow2, out, tar) = (at("qcow2"), at("out"), at("tar"));
    let lines: Vec<Vec<&str>> = vec![
        vec!["inspect", &raw],
        vec!["inspect", &ami],
        vec!["verify", &ami],
        vec!["verify", &ami, "--against", &raw],
        vec!["snapshot", &raw, "-o", &out],
        vec!["convert", &raw, &qcow2],
        vec!["convert", &raw, &raw],
        vec!["unpack", &ami, "-o", &out],
        vec!["pack", &raw, "-o", &tar, "--name", "x"],
        vec!["apply", &thin, "--to", "full.raw", "-o", &out],
        vec!["compare", &raw, "old.raw"],
        vec!["diff", &ami, &raw],
        vec!["lint", &ami],
        vec!["plan", &ami, "-o", &out],
        vec!["map", &raw, "--max-size", "1"],
        vec!["verify", &raw],
        vec!["unpack", &thin, "-o", &out],
        vec!["inspect", evil],
        vec!["inspect", "new.raw", evil],
    ];
    for line in lines {
        let output = amikit().args(&line).current_dir(here).output().unwrap();
        let printed = [&output.stdout[..], &output.stderr].concat();
        let text = String::from_utf8_lossy(&printed);
        assert!(!text.contains('\u{1b}'), "{line:?}: {text:?}");
        assert!(!text.contains("[31m\n"), "{line:?}: {text:?}");
    }
}

/// Others may write to the same place, so a line of standard error is written in one go.
#[test]
fn each_line_on_standard_error_is_one_write() {
    let folder = scene();
    fs::write(folder.path().join("text"), "no disk\n").unwrap();
    for line in [
        "inspect none.raw",
        "inspect none.raw --json",
        "map text --json",
        "diff old.raw none.raw",
        "pack old.raw -o old.ami --name x",
        "import text -o x.toml",
    ] {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let child = amikit()
            .args(line.split(' '))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(theirs)
            .spawn();
        child.unwrap().wait().unwrap();
        let mut said = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let (len, _) = recv(&ours, &mut buffer, RecvFlags::empty()).unwrap();
            if len == 0 {
                break;
            }
            said.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
        }
        assert!(!said.is_empty() || line.starts_with("pack"), "{line}");
        assert!(said.iter().all(|it| it.ends_with('\n')), "{line}: {said:?}");
    }
}
