//! Images that share blocks with each other: what lies at one place is equal, and is not read.

use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use crate::common::Disk;
use crate::common::Random;
use crate::common::SHARING;
use crate::common::installed;
use crate::common::run;
use crate::common::run_tool;
use crate::common::step;

/// 32 MiB and a bit, so that the last block is short, with a hole.
const LEN: u64 = (32 << 20) + 4096;

fn image(path: &Path, random: &mut Random) {
    let file = File::create(path).unwrap();
    file.set_len(LEN).unwrap();
    for mib in (0..32).filter(|mib| *mib != 5 && *mib != 6) {
        file.write_all_at(&random.bytes(1 << 20), mib << 20).unwrap();
    }
    file.write_all_at(&random.bytes(4096), 32 << 20).unwrap();
    file.sync_all().unwrap();
}

fn copy(how: &str, from: &Path, to: &Path) {
    let sparse = if how == "never" { "--sparse=always" } else { "--sparse=auto" };
    run_tool(Command::new("cp").args([&format!("--reflink={how}"), sparse]).args([from, to]));
}

/// Returns what `diff` and `compare` say of two images, without their names.
fn said(here: &Path, old: &str, new: &str) -> [String; 2] {
    ["diff", "compare --states"].map(|verb| {
        let output = run(here, &format!("{verb} {old} {new} --json"));
        assert!(matches!(output.status.code(), Some(0 | 1)), "{verb}: {output:?}");
        String::from_utf8(output.stdout).unwrap().replace(new, "NEW").replace([' ', '\n'], "")
    })
}

/// Returns how many bytes a run reads of `old.raw` and the other image; none where that cannot be counted.
fn bytes_read(here: &Path, line: &str) -> Option<u64> {
    if !installed("strace") {
        return None;
    }
    let log = here.join("strace.log");
    Command::new("strace")
        .args(["-f", "-qq", "-y", "-e", "trace=pread64,preadv", "-o"])
        .arg(&log)
        .arg(env!("CARGO_BIN_EXE_amikit"))
        .args(line.split_whitespace())
        .current_dir(here)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = fs::read_to_string(&log).unwrap();
    fs::remove_file(log).unwrap();
    if text.is_empty() {
        println!("skipped: strace cannot trace here");
        return None;
    }
    let len =
        |line: &str| line.rsplit_once("= ").and_then(|(_, len)| len.trim().parse::<u64>().ok());
    Some(text.lines().filter(|line| line.contains(".raw>")).filter_map(len).sum())
}

/// What happens to a copy, by name.
type Change = (&'static str, fn(&File, &mut Random));

const CHANGES: [Change; 7] = [
    ("nothing", |_, _| {}),
    ("a byte in the middle of a block", |file, _| file.write_all_at(b"x", 777_777).unwrap()),
    ("the last byte", |file, _| file.write_all_at(b"x", LEN - 1).unwrap()),
    ("blocks here and there", |file, random| {
        for block in [0, 3, 4, 9, 30, 63] {
            file.write_all_at(&random.bytes(4096), (block << 19) + 8192).unwrap();
        }
    }),
    ("zeros where data was", |file, _| file.write_all_at(&[0; 1 << 20], 8 << 20).unwrap()),
    ("data where a hole was", |file, random| {
        file.write_all_at(&random.bytes(100_000), 5 << 20).unwrap();
    }),
    ("more behind the end", |file, _| file.set_len(LEN + 1_000_000).unwrap()),
];

#[test]
fn what_is_said_of_a_copy_that_shares_is_what_is_said_of_one_that_does_not() {
    for (program, arguments) in SHARING {
        let Some(disk) = Disk::of(program, arguments, "loop") else { continue };
        let here = disk.path();
        let mut random = Random::with_seed(21);
        image(&here.join("old.raw"), &mut random);
        for (what, change) in CHANGES.iter().step_by(step()) {
            for (how, name) in [("always", "shared.raw"), ("never", "apart.raw")] {
                copy(how, &here.join("old.raw"), &here.join(name));
                let file = File::options().write(true).open(here.join(name)).unwrap();
                // Both copies get the same bytes; what waits in the page cache has no place yet.
                change(&file, &mut Random::with_seed(22));
            }
            let (shared, apart) =
                (said(&here, "old.raw", "shared.raw"), said(&here, "old.raw", "apart.raw"));
            assert_eq!(shared, apart, "{program}: {what}");
            let back = said(&here, "shared.raw", "old.raw")[0].contains("\"equal\":true");
            assert_eq!(back, *what == "nothing", "{program}: {what}");
            for name in ["shared.raw", "apart.raw"] {
                fs::remove_file(here.join(name)).unwrap();
            }
        }
    }
}

#[test]
fn what_is_shared_is_not_read() {
    for (program, arguments) in SHARING {
        let Some(disk) = Disk::of(program, arguments, "loop") else { continue };
        let here = disk.path();
        image(&here.join("old.raw"), &mut Random::with_seed(23));
        copy("always", &here.join("old.raw"), &here.join("new.raw"));
        let file = File::options().write(true).open(here.join("new.raw")).unwrap();
        for block in [2_u64, 20, 40] {
            file.write_all_at(b"changed", block << 19).unwrap();
        }
        drop(file);
        for verb in ["diff", "compare"] {
            let Some(read) = bytes_read(&here, &format!("{verb} old.raw new.raw")) else { return };
            assert!(read < 12 << 20, "{program}: {verb} read {read} bytes of two images of {LEN}");
        }
    }
}

/// Where an address does not say where the bytes stand as they are read, they are read.
#[test]
fn extents_that_are_packed_or_were_never_written_are_not_taken_for_the_same() {
    if let Some(disk) = Disk::of("mkfs.btrfs", &["-q"], "loop,compress-force=zstd") {
        let here = disk.path();
        // Bytes that pack well: each extent of 128 KiB takes a block or two.
        let line: Vec<u8> = (0..=255).collect();
        fs::write(here.join("old.raw"), line.repeat(16_384)).unwrap();
        copy("always", &here.join("old.raw"), &here.join("new.raw"));
        let file = File::options().write(true).open(here.join("new.raw")).unwrap();
        file.write_all_at(b"changed", 70_000).unwrap();
        drop(file);
        let said = said(&here, "old.raw", "new.raw");
        assert!(said[1].contains("\"start_bytes\":69632,\"end_bytes\":70144"), "{said:?}");
    }
    if let Some(disk) = Disk::sharing() {
        let here = disk.path();
        let file = File::create(here.join("old.raw")).unwrap();
        let none = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, none, 0, 4 << 20).unwrap();
        file.write_all_at(b"written", 1 << 20).unwrap();
        drop(file);
        copy("always", &here.join("old.raw"), &here.join("new.raw"));
        let file = File::options().write(true).open(here.join("new.raw")).unwrap();
        file.write_all_at(b"others!", 3 << 20).unwrap();
        drop(file);
        let said = said(&here, "old.raw", "new.raw");
        let content: Vec<_> = said[1].split('{').filter(|it| it.contains("content")).collect();
        assert_eq!(content.len(), 1, "{said:?}");
        assert!(
            content[0].starts_with("\"start_bytes\":3145728,\"end_bytes\":3146240"),
            "{said:?}"
        );
    }
}
