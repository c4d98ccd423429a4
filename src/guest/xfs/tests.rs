//! Images that xfsprogs and the kernel make, and what must be found in them.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::XattrFlags;
use rustix::fs::setxattr;
use tempfile::TempDir;

use crate::guest::Guest;
use crate::guest::Metadata;
use crate::guest::Owner;
use crate::guest::samples::MIB;
use crate::guest::samples::Mounted;
use crate::guest::samples::assert_same;
use crate::guest::samples::assert_same_attributes;
use crate::guest::samples::by_partclone;
use crate::guest::samples::by_the_system;
use crate::guest::samples::by_us;
use crate::guest::samples::fill;
use crate::guest::samples::free_ranges;
use crate::guest::samples::have;
use crate::guest::samples::mutants;
use crate::guest::samples::mutants_of;
use crate::guest::samples::noise;
use crate::guest::samples::run;
use crate::guest::samples::shared_volume;
use crate::guest::samples::step;
use crate::guest::samples::text;
use crate::guest::samples::volume;

/// Features, one by one and with the block sizes that matter to them: arguments of `mkfs.xfs`.
const KINDS: &[&str] = &[
    "",
    "-b size=1024",
    "-b size=2048 -n size=8192",
    "-b size=8192",
    "-b size=65536",
    "-n size=65536",
    "-i size=2048",
    "-i sparse=0",
    "-i nrext64=1",
    "-m bigtime=0,inobtcount=0",
    "-m finobt=0,inobtcount=0",
    "-m reflink=0",
    "-m rmapbt=1",
    "-s size=4096",
    "-d agcount=9",
    "-d su=64k,sw=2",
    "-l su=256k",
    "-L a-label -m uuid=01234567-89ab-cdef-0123-456789abcdef",
    "-m crc=0 -n ftype=0",
    "-m crc=0 -n ftype=1",
    "-m crc=0 -b size=512 -i size=256 -n ftype=0",
    "-m crc=0 -i attr=1 -l version=1",
    "-m crc=0 -l lazy-count=0",
];

/// An access control list as the system call takes it: owner, user 1000, group, mask, others.
const ACL: &str = "system.posix_acl_access";
const LIST: &[u8] = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x07\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";

/// Writes a description of a folder as `mkfs.xfs` takes it, and returns which files it names.
fn prototype(folder: &Path, to: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    fn of(folder: &Path, lines: &mut String) {
        use std::fmt::Write;
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
        names.sort();
        for path in names {
            let name = path.file_name().unwrap().to_str().unwrap();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                writeln!(lines, "{name} d--755 0 0").unwrap();
                of(&path, lines);
                writeln!(lines, "$").unwrap();
            } else if meta.is_symlink() {
                // Links in blocks of their own are left out: mkfs.xfs 6.1 writes them without their header.
                if meta.len() > 300 {
                    fs::remove_file(&path).unwrap();
                    continue;
                }
                writeln!(lines, "{name} l--777 0 0 {}", text(&fs::read_link(&path).unwrap()))
                    .unwrap();
            } else {
                writeln!(lines, "{name} ---644 7 8 {}", text(&path)).unwrap();
            }
        }
    }
    let mut lines = "/stand/diag\n0 0\nd--755 0 0\n".to_owned();
    of(folder, &mut lines);
    fs::write(to, lines + "$\n").unwrap();
    by_the_system(folder).into_iter().map(|(name, seen)| (name, seen.content)).collect()
}

fn make(image: &Path, mib: u64, kind: &str, prototype: Option<&Path>) -> bool {
    let _ = fs::remove_file(image);
    fs::File::create(image).unwrap().set_len(mib * MIB).unwrap();
    // Since version 6.0 a file system below 300 MiB is made for tests only.
    let mut arguments = vec!["-q", "-f", "--unsupported"];
    arguments.extend(kind.split_whitespace());
    if let Some(prototype) = prototype {
        arguments.extend(["-p", text(prototype)]);
    }
    arguments.push(text(image));
    run("mkfs.xfs", &arguments)
}

/// A folder with files, and where its description is.
fn scratch() -> (TempDir, PathBuf, PathBuf) {
    let scratch = TempDir::new().unwrap();
    let folder = scratch.path().join("files");
    fs::create_dir(&folder).unwrap();
    fill(&folder);
    // A description holds neither links to one file nor spaces.
    let proto = scratch.path().join("proto");
    (scratch, folder, proto)
}

/// Compares what is free: `partclone` calls the allocator's own list of blocks unused.
fn assert_free_as_partclone(image: &Path, guest: &Guest<'_>, what: &str) {
    let owners = guest.owners().unwrap();
    assert_eq!(owners.parts[0].refusals, Vec::<String>::new(), "{what}");
    let theirs = by_partclone("partclone.xfs", image);
    assert!(!theirs.is_empty(), "{what}");
    let mut unused = 0;
    for (start, end) in &theirs {
        for (range, _, owner) in owners.within(*start..*end) {
            let kept = owner == Owner::Metadata(Metadata::Allocator);
            assert!(owner == Owner::Free || kept, "{what}: {owner} at {}", range.start);
            unused += if kept { 0 } else { range.end - range.start };
        }
    }
    let ours: u64 = free_ranges(guest).iter().map(|(start, end)| end - start).sum();
    assert_eq!(ours, unused, "{what}");
}

#[test]
fn every_kind_is_proven_and_its_files_are_what_was_put_in() {
    if !have(&["mkfs.xfs"]) {
        return;
    }
    let (scratch, folder, proto) = scratch();
    let files = prototype(&folder, &proto);
    let image = scratch.path().join("image");
    let mut made = 0;
    for kind in KINDS.iter().step_by(step()) {
        // Blocks of 64 KiB need more room.
        let mib = if kind.contains("=65536") { 320 } else { 96 };
        if !make(&image, mib, kind, Some(&proto)) {
            continue;
        }
        made += 1;
        let volume = volume(fs::read(&image).unwrap());
        let guest = Guest::open(&volume).unwrap();
        let owners = guest.owners().unwrap();
        assert_eq!(owners.parts[0].refusals, Vec::<String>::new(), "{kind}");
        let system = guest.parts[0].system().unwrap();
        assert!(!system.about().replayed, "{kind}");
        let found = by_us(system);
        let names = found.keys().collect::<Vec<_>>();
        assert_eq!(names, files.keys().collect::<Vec<_>>(), "{kind}");
        for (name, seen) in &found {
            let shown = name.escape_ascii();
            assert!(seen.content == files[name], "{kind}: {shown}");
            if seen.kind == "file" {
                assert_eq!((seen.mode, seen.owner), (0o644, (7, 8)), "{kind}: {shown}");
            }
        }
        if have(&["partclone.xfs"]) && !kind.contains("size=65536 ") {
            assert_free_as_partclone(&image, &guest, kind);
        }
    }
    assert!(made > KINDS.len() / (2 * step()), "{made} images were made");
}

#[test]
fn mutants_of_metadata_are_refused_or_right() {
    if !have(&["mkfs.xfs"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let folder = scratch.path().join("files");
    fs::create_dir(&folder).unwrap();
    fs::create_dir(folder.join("many")).unwrap();
    for number in 0..200 {
        let name = format!("many/name-{number}");
        fs::write(folder.join(name), noise(number * 9, number)).unwrap();
    }
    let proto = scratch.path().join("proto");
    prototype(&folder, &proto);
    let image = scratch.path().join("image");
    for kind in ["-m rmapbt=1 -d agcount=2", "-m crc=0 -d agcount=2 -n ftype=0"] {
        if make(&image, 40, kind, Some(&proto)) {
            mutants(fs::read(&image).unwrap(), 150, kind);
        }
    }
}

/// Works on a file system until it is old: many files, a third deleted, holes, extents in pieces, attributes of
/// all lengths, shared blocks, directories that grow and shrink.
fn age(root: &Path, rounds: usize) {
    use std::os::unix::fs::FileExt;
    for round in 0..rounds {
        let folder = root.join(format!("round-{round}"));
        fs::create_dir(&folder).unwrap();
        fill(&folder);
        for number in (0..900).step_by(3) {
            fs::remove_file(folder.join(format!("many/with-a-longer-name-{number:04}"))).unwrap();
        }
        // Two files that grow in turn: neither has many blocks together.
        let files: Vec<_> = ["one", "other"]
            .map(|name| fs::File::create(folder.join(name)).unwrap())
            .into_iter()
            .collect();
        for step in 0..200_u64 {
            for file in &files {
                file.write_all_at(&noise(3000, 5), step * 8192).unwrap();
                file.sync_data().unwrap();
            }
        }
        run(
            "cp",
            &["--reflink=auto", text(&folder.join("len-700000")), text(&folder.join("shared"))],
        );
        let file = fs::OpenOptions::new().write(true).open(folder.join("shared")).unwrap();
        file.write_all_at(&noise(9000, 6), 100_000).unwrap();
        for len in [1, 200, 3000, 60_000] {
            let path = folder.join(format!("attributes-{len}"));
            fs::write(&path, b"x").unwrap();
            for name in ["user.a", "trusted.b", "security.c"] {
                setxattr(&path, name, &noise(len, 1), XattrFlags::empty()).unwrap();
            }
            setxattr(&path, ACL, LIST, XattrFlags::empty()).unwrap();
        }
        let path = folder.join("attributes-many");
        fs::write(&path, b"x").unwrap();
        for number in 0..300 {
            let name = format!("user.name-{number}");
            setxattr(&path, &name, &noise(number, 1), XattrFlags::empty()).unwrap();
        }
        if round > 0 {
            fs::remove_dir_all(root.join(format!("round-{}/some", round - 1))).unwrap();
        }
    }
    run("mknod", &[text(&root.join("device")), "b", "259", "70000"]);
    run("mkfifo", &[text(&root.join("pipe"))]);
}

/// Compares all that a mount shows with what is read from the image.
fn assert_as_mounted(image: &Path, root: &Path, what: &str, is_dirty: bool) {
    let volume = volume(fs::read(image).unwrap());
    let guest = Guest::open(&volume).unwrap();
    let system = guest.parts[0].system().expect(what);
    assert_eq!(system.about().replayed, is_dirty, "{what}");
    assert_same(&by_us(system), &by_the_system(root), what);
    assert_same_attributes(system, root, "attributes", what);
}

#[test]
fn an_old_file_system_is_as_a_mount_shows_it() {
    if !have(&["mkfs.xfs", "mount"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, at) = (scratch.path().join("image"), scratch.path().join("mnt"));
    let kinds = ["-m rmapbt=1", "-b size=1024 -i nrext64=1", "-n size=16384 -m bigtime=0"];
    for kind in kinds.into_iter().step_by(step()) {
        if !make(&image, 128, kind, None) {
            continue;
        }
        {
            let Some(mounted) = Mounted::new("xfs", "", &image, &at) else { return };
            age(&mounted.0, 2);
        }
        {
            let guest_volume = volume(fs::read(&image).unwrap());
            let guest = Guest::open(&guest_volume).unwrap();
            assert_eq!(guest.owners().unwrap().parts[0].refusals, Vec::<String>::new(), "{kind}");
            if have(&["partclone.xfs"]) {
                assert_free_as_partclone(&image, &guest, kind);
            }
        }
        let copy = scratch.path().join("copy");
        fs::copy(&image, &copy).unwrap();
        let Some(mounted) = Mounted::new("xfs", "", &copy, &at) else { return };
        assert_as_mounted(&image, &mounted.0, kind, false);
    }
}

/// A machine that stops, with all that it has logged on the disk or not: the files are what a mount shows.
#[test]
fn a_log_is_replayed_in_memory_as_the_kernel_does_it() {
    if !have(&["mkfs.xfs", "mount", "xfs_io"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, at) = (scratch.path().join("image"), scratch.path().join("mnt"));
    let copy = scratch.path().join("copy");
    let kinds = ["", "-b size=1024 -i nrext64=1", "-l su=256k", "-i sparse=0 -m rmapbt=1"];
    for (kind, rounds) in kinds.into_iter().zip([1, 2, 1, 3]).step_by(step()) {
        if !make(&image, 128, kind, None) {
            continue;
        }
        {
            let Some(mounted) = Mounted::new("xfs", "", &image, &at) else { return };
            age(&mounted.0, rounds);
            run("xfs_io", &["-x", "-c", "shutdown -f", text(&mounted.0)]);
        }
        fs::copy(&image, &copy).unwrap();
        let Some(mounted) = Mounted::new("xfs", "", &copy, &at) else { return };
        assert_as_mounted(&image, &mounted.0, kind, true);
        let volume = volume(fs::read(&image).unwrap());
        let guest = Guest::open(&volume).unwrap();
        let owners = guest.owners().unwrap();
        let refusals = &owners.parts[0].refusals;
        assert!(refusals.iter().any(|it| it.contains("cleanly")), "{kind}: {refusals:?}");
        let logs = owners.within(0..u64::MAX).filter(|(_, _, owner)| *owner == Owner::Journal);
        let log = logs.map(|(range, ..)| range).next().unwrap();
        drop(guest);
        assert_no_gap_hides_a_mount(fs::read(&image).unwrap(), log, kind);
        mutants_of(fs::read(&image).unwrap(), Owner::Journal, 40, kind);
    }
}

/// A sector in the middle of the log that is as if never written does not bring the unmount before the last mount back:
/// what is on the disk is of later.
fn assert_no_gap_hides_a_mount(mut bytes: Vec<u8>, log: Range<u64>, kind: &str) {
    let places = (log.start..log.end).step_by(512).map(|at| usize::try_from(at).unwrap());
    let written: Vec<usize> = places.filter(|at| bytes[*at..][..4] != [0; 4]).collect();
    assert!(written.len() > 200, "{kind}: {} sectors", written.len());
    // The first one, and others all over.
    for at in written.iter().step_by(written.len() / 41).copied() {
        let was: [u8; 4] = bytes[at..][..4].try_into().unwrap();
        bytes[at..][..4].fill(0);
        let shared = Arc::new(bytes);
        {
            let volume = shared_volume(&shared);
            let guest = Guest::open(&volume).unwrap();
            let refusals = &guest.owners().unwrap().parts[0].refusals;
            assert!(!refusals.is_empty(), "{kind}: the sector at {at}");
        }
        bytes = Arc::into_inner(shared).unwrap();
        bytes[at..][..4].copy_from_slice(&was);
    }
}
