//! Images that e2fsprogs makes, and what must be found in them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::guest::FileKind;
use crate::guest::Guest;
use crate::guest::samples::MIB;
use crate::guest::samples::Mounted;
use crate::guest::samples::assert_same;
use crate::guest::samples::by_partclone;
use crate::guest::samples::by_the_system;
use crate::guest::samples::by_us;
use crate::guest::samples::content;
use crate::guest::samples::free_ranges;
use crate::guest::samples::have;
use crate::guest::samples::mutants;
use crate::guest::samples::noise;
use crate::guest::samples::run;
use crate::guest::samples::step;
use crate::guest::samples::text;
use crate::guest::samples::volume;

/// Features, one by one and with the block sizes that matter to them: arguments of `mke2fs`.
const KINDS: &[(u64, &str)] = &[
    (48, "-t ext2 -b 1024"),
    (48, "-t ext2 -r 0 -b 1024"),
    (48, "-t ext2 -b 4096"),
    (48, "-t ext2 -b 1024 -O ^sparse_super,^resize_inode"),
    (64, "-t ext3 -b 2048"),
    (96, "-t ext3 -b 65536"),
    (48, "-t ext4 -b 1024"),
    (64, "-t ext4 -b 4096"),
    (96, "-t ext4 -b 8192"),
    (200, "-t ext4 -b 65536"),
    (64, "-t ext4 -I 128"),
    (64, "-t ext4 -O inline_data -I 512"),
    (64, "-t ext4 -O ea_inode"),
    (200, "-t ext4 -b 1024 -O meta_bg,^resize_inode"),
    (64, "-t ext4 -b 1024 -O sparse_super2,^resize_inode"),
    (64, "-t ext4 -b 1024 -G 1"),
    (64, "-t ext4 -b 1024 -g 1024"),
    (64, "-t ext4 -O ^flex_bg,^64bit"),
    (64, "-t ext4 -O orphan_file"),
    (200, "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg"),
    (64, "-t ext4 -O metadata_csum_seed,quota,project,large_dir,fast_commit"),
    (64, "-t ext4 -O mmp,casefold,verity,encrypt,stable_inodes"),
    (64, "-t ext4 -O ^has_journal,^extent,^64bit"),
    (64, "-t ext4 -O ^filetype"),
    (64, "-t ext4 -b 1024 -O ^filetype,inline_data -I 256"),
    (37, "-t ext4 -b 1024"),
];

/// Kinds that `partclone` does not read.
const CLUSTERS: &[(u64, &str)] =
    &[(64, "-t ext4 -O bigalloc"), (64, "-t ext4 -b 1024 -O bigalloc -C 16384")];

/// A folder with files of every length that matters, links, holes and names of all kinds.
fn files(folder: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let mut all = BTreeMap::new();
    let mut put = |name: &[u8], content: Vec<u8>| {
        fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), &content).unwrap();
        all.insert(name.to_vec(), content);
    };
    for (seed, len) in
        [0, 1, 59, 60, 61, 140, 200, 1023, 1024, 4097, 70_000].into_iter().enumerate()
    {
        put(format!("len-{len}").as_bytes(), noise(len, seed));
    }
    put(b"a\nb\x1b[31m", b"1".to_vec());
    put(b"\xff\xfe not UTF-8", b"2".to_vec());
    // It ends in data: e2fsprogs 1.47.0 forgets a hole at the end of a file where data may be inline.
    let mut sparse = vec![0; 1_405_000];
    for at in (0..1_405_000).step_by(200_000) {
        sparse[at..at + 5000].copy_from_slice(&noise(5000, at));
    }
    {
        use std::os::unix::fs::FileExt;
        let file = fs::File::create(folder.join("sparse")).unwrap();
        file.set_len(1_405_000).unwrap();
        for at in (0..1_405_000_usize).step_by(200_000) {
            file.write_all_at(&sparse[at..at + 5000], at.try_into().unwrap()).unwrap();
        }
    }
    all.insert(b"sparse".to_vec(), sparse);
    for len in [5, 59, 60, 300] {
        let target = "t".repeat(len);
        std::os::unix::fs::symlink(&target, folder.join(format!("link-{len}"))).unwrap();
        all.insert(format!("link-{len}").into_bytes(), target.into_bytes());
    }
    fs::create_dir(folder.join("many")).unwrap();
    for number in 0..300 {
        fs::write(
            folder.join(format!("many/with-a-longer-name-{number:04}")),
            noise(number * 9, 3),
        )
        .unwrap();
    }
    all
}

/// Makes an image of the files, deletes a third of the folder `many`, and makes hash trees of large folders.
fn make(folder: &Path, mib: u64, kind: &str) -> Option<Vec<u8>> {
    let image = folder.with_extension("img");
    let _ = fs::remove_file(&image);
    fs::File::create(&image).unwrap().set_len(mib * MIB).unwrap();
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F"]).args(kind.split(' ')).arg("-d").arg(folder).arg(&image);
    let made = mke2fs.output().unwrap();
    if !made.status.success() {
        println!("skipped: {kind}: {}", String::from_utf8_lossy(&made.stderr).trim());
        return None;
    }
    let commands = folder.with_extension("cmd");
    let mut text = Vec::new();
    for number in (0..300).step_by(3) {
        writeln!(text, "rm many/with-a-longer-name-{number:04}").unwrap();
    }
    fs::write(&commands, text).unwrap();
    Command::new("debugfs").args(["-w", "-f"]).arg(&commands).arg(&image).output().unwrap();
    Command::new("e2fsck").arg("-fyD").arg(&image).output().unwrap();
    Some(fs::read(&image).unwrap())
}

#[test]
fn every_kind_is_proven_as_partclone_says_and_its_files_are_what_was_put_in() {
    if !have(&["mke2fs", "debugfs"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let folder = scratch.path().join("files");
    fs::create_dir(&folder).unwrap();
    let files = files(&folder);
    let mut made = 0;
    let clustered = CLUSTERS.iter().map(|it| (it, false));
    let kinds = KINDS.iter().map(|it| (it, true)).chain(clustered);
    for ((mib, kind), known_to_partclone) in kinds.step_by(step()) {
        let Some(bytes) = make(&folder, *mib, kind) else { continue };
        made += 1;
        let volume = volume(bytes);
        let guest = Guest::open(&volume).unwrap();
        let owners = guest.owners().unwrap();
        assert_eq!(owners.parts[0].refusals, Vec::<String>::new(), "{kind}");
        let mut end = 0;
        for (range, part, _) in owners.within(0..mib * MIB) {
            assert_eq!((range.start, part), (end, Some(0)), "{kind}");
            end = range.end;
        }
        assert_eq!(end, mib * MIB, "{kind}");
        let system = guest.parts[0].system().unwrap();
        let mut found = BTreeMap::new();
        let mut many = 0;
        for entry in system.entries(system.root()).unwrap() {
            let node = system.node(entry.id).unwrap();
            match node.kind {
                FileKind::Regular | FileKind::Symlink => {
                    found.insert(entry.name, content(system, entry.id));
                }
                FileKind::Directory => many = many.max(system.entries(entry.id).unwrap().len()),
                _ => {}
            }
        }
        let names = |map: &BTreeMap<Vec<u8>, Vec<u8>>| map.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&files), "{kind}");
        for (name, content) in &files {
            let name_shown = name.escape_ascii();
            assert!(found[name] == *content, "{kind}: {name_shown}: {}", found[name].len());
        }
        assert_eq!(many, 200, "{kind}");
        if known_to_partclone && have(&["partclone.extfs"]) {
            let theirs = by_partclone("partclone.extfs", &folder.with_extension("img"));
            assert_eq!(free_ranges(&guest), theirs, "{kind}");
        }
    }
    assert!(made > KINDS.len() / (2 * step()), "{made} images were made");
}

/// What is damaged is refused, or changes nothing that is left out.
/// Times to the nanosecond, where inodes have room for that, before 1970 and behind 2038.
#[test]
fn files_and_their_times_are_as_a_mount_shows_them() {
    if !have(&["mke2fs", "mount", "touch"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, at) = (scratch.path().join("image"), scratch.path().join("mnt"));
    for kind in ["-t ext4", "-t ext4 -I 128", "-t ext4 -I 1024 -b 1024", "-t ext2"] {
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let arguments: Vec<&str> = ["-q", "-F"].into_iter().chain(kind.split(' ')).collect();
        assert!(run("mke2fs", &[&arguments[..], &[text(&image)]].concat()), "{kind}");
        {
            let Some(mounted) = Mounted::new("ext4", "", &image, &at) else { return };
            for (name, time) in [
                ("old", "1903-02-03T04:05:06.123456789Z"),
                ("now", "2026-02-03T04:05:06.000000001Z"),
                ("new", "2037-12-31T23:59:59.999999999Z"),
                ("far", "2200-02-03T04:05:06.5Z"),
            ] {
                let path = mounted.0.join(name);
                fs::write(&path, name).unwrap();
                assert!(run("touch", &["-d", time, text(&path)]), "{kind}");
            }
        }
        let copy = scratch.path().join("copy");
        fs::copy(&image, &copy).unwrap();
        let Some(mounted) = Mounted::new("ext4", "", &copy, &at) else { return };
        let whole = volume(fs::read(&image).unwrap());
        let guest = Guest::open(&whole).unwrap();
        let ours = by_us(guest.parts[0].system().unwrap());
        assert_same(&ours, &by_the_system(&mounted.0), kind);
        let is_fine = !kind.contains("128");
        assert_eq!(ours[&b"new"[..]].modified.1 > 0, is_fine, "{kind}");
        assert_eq!(ours[&b"new"[..]].created.is_some(), is_fine, "{kind}");
    }
}

#[test]
fn mutants_of_metadata_are_refused_or_right() {
    if !have(&["mke2fs"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let folder = scratch.path().join("files");
    fs::create_dir(&folder).unwrap();
    files(&folder);
    for kind in ["-t ext4 -b 1024 -O inline_data", "-t ext3 -b 1024"] {
        if let Some(bytes) = make(&folder, 24, kind) {
            mutants(bytes, 150, kind);
        }
    }
}

/// A block that waits in the journal is read instead of the one that it will replace.
#[test]
fn a_journal_is_replayed_in_memory() {
    if !have(&["mke2fs", "debugfs"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let folder = scratch.path().join("files");
    fs::create_dir(&folder).unwrap();
    files(&folder);
    for kind in ["-t ext4 -b 1024", "-t ext3 -b 4096", "-t ext4 -O ^64bit,^metadata_csum"] {
        let Some(_) = make(&folder, 64, kind) else { continue };
        let image = folder.with_extension("img");
        // Block 0 of the image's root directory, with one name changed, goes through the journal.
        let dump = scratch.path().join("block");
        let out = Command::new("debugfs").args(["-R", "blocks /"]).arg(&image).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let block = text.split_whitespace().next().unwrap().to_owned();
        let bytes = fs::read(&image).unwrap();
        let volume_before = volume(bytes.clone());
        let guest = Guest::open(&volume_before).unwrap();
        let block_len =
            usize::try_from(guest.parts[0].system().unwrap().about().block_len).unwrap();
        let start = block.parse::<usize>().unwrap() * block_len;
        let mut changed = bytes[start..start + block_len].to_vec();
        let at = changed.windows(5).position(|it| it == b"len-1").unwrap();
        changed[at..at + 3].copy_from_slice(b"new");
        fs::File::create(&dump).unwrap().write_all(&changed).unwrap();
        let commands = folder.with_extension("cmd");
        let dump = dump.display();
        fs::write(&commands, format!("jo\njw -b {block} {dump}\njc\n")).unwrap();
        let wrote = Command::new("debugfs").args(["-w", "-f"]).arg(&commands).arg(&image).output();
        assert!(wrote.unwrap().status.success());
        let dirty = volume(fs::read(&image).unwrap());
        let guest = Guest::open(&dirty).unwrap();
        let system = guest.parts[0].system().unwrap();
        assert!(system.about().replayed, "{kind}: {:?}", system.about());
        let mut raw = vec![0; block_len];
        system.read(start.try_into().unwrap(), &mut raw).unwrap();
        assert!(raw == changed, "{kind}");
        assert!(!guest.owners().unwrap().parts[0].refusals.is_empty());
    }
}
