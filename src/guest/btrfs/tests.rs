//! Images that btrfs-progs and the kernel make, and what must be found in them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::XattrFlags;
use rustix::fs::setxattr;
use tempfile::TempDir;

use crate::guest::Guest;
use crate::guest::Owner;
use crate::guest::PartName;
use crate::guest::Tree;
use crate::guest::samples::MIB;
use crate::guest::samples::Mounted;
use crate::guest::samples::Seen;
use crate::guest::samples::assert_same;
use crate::guest::samples::assert_same_attributes;
use crate::guest::samples::by_the_system;
use crate::guest::samples::by_us;
use crate::guest::samples::fill;
use crate::guest::samples::free_ranges;
use crate::guest::samples::have;
use crate::guest::samples::mutants;
use crate::guest::samples::noise;
use crate::guest::samples::run;
use crate::guest::samples::sealed_mutants;
use crate::guest::samples::step;
use crate::guest::samples::text;
use crate::guest::samples::volume;

/// Features and profiles, one by one: arguments of `mkfs.btrfs`.
const KINDS: &[&str] = &[
    "",
    "-m single -d single",
    "-m dup -d dup",
    "-M",
    "-n 4096",
    "-n 65536",
    "-O ^no-holes",
    "-R ^free-space-tree",
    "-O ^skinny-metadata,^extref",
    "-O block-group-tree",
    "--csum xxhash",
    "--csum sha256",
    "--csum blake2",
    "-L a-label -U 01234567-89ab-cdef-0123-456789abcdef",
];

fn make(image: &Path, mib: u64, kind: &str, folder: Option<&Path>) -> bool {
    fs::File::create(image).unwrap().set_len(mib * MIB).unwrap();
    let mut arguments = vec!["-q", "-f"];
    arguments.extend(kind.split_whitespace());
    if let Some(folder) = folder {
        arguments.extend(["--rootdir", text(folder)]);
    }
    arguments.push(text(image));
    run("mkfs.btrfs", &arguments)
}

/// A folder with files, and where an image may be.
fn scratch() -> (TempDir, PathBuf, PathBuf) {
    let scratch = TempDir::new().unwrap();
    let folder = scratch.path().join("files");
    fs::create_dir(&folder).unwrap();
    fill(&folder);
    let image = scratch.path().join("image");
    (scratch, folder, image)
}

/// Overwrites what is free, and asks `btrfs check` whether it is missed.
fn assert_free_is_not_missed(image: &Path, guest: &Guest<'_>, what: &str) {
    let copy = image.with_extension("free");
    fs::copy(image, &copy).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&copy).unwrap();
    let free = free_ranges(guest);
    assert!(!free.is_empty(), "{what}");
    let litter = noise(64 << 10, 9);
    for (start, end) in free {
        // Each piece of free space is touched at both ends.
        let len = usize::try_from(end - start).unwrap().min(litter.len());
        file.write_all_at(&litter[..len], start).unwrap();
        file.write_all_at(&litter[..len], end - u64::try_from(len).unwrap()).unwrap();
    }
    assert!(run("btrfs", &["check", "--check-data-csum", text(&copy)]), "{what}");
}

#[test]
fn every_kind_is_proven_and_its_files_are_what_was_put_in() {
    if !have(&["mkfs.btrfs"]) {
        return;
    }
    let (_scratch, folder, image) = scratch();
    // A second name is a second file to `mkfs.btrfs`.
    fs::remove_file(folder.join("few/linked")).unwrap();
    let theirs = by_the_system(&folder);
    let mut made = 0;
    for kind in KINDS.iter().step_by(step()) {
        if !make(&image, 300, kind, Some(&folder)) {
            continue;
        }
        made += 1;
        let volume = volume(fs::read(&image).unwrap());
        let guest = Guest::open(&volume).unwrap();
        let owners = guest.owners().unwrap();
        assert_eq!(owners.parts[0].refusals, Vec::<String>::new(), "{kind}");
        let system = guest.parts[0].system().unwrap();
        // Times are when the image was made.
        let without = |all: std::collections::BTreeMap<Vec<u8>, Seen>| {
            all.into_iter().map(|(name, seen)| (name, seen.timeless())).collect()
        };
        assert_same(&without(by_us(system)), &without(theirs.clone()), kind);
        assert_free_is_not_missed(&image, &guest, kind);
    }
    assert!(made > KINDS.len() / (2 * step()), "{made} images were made");
}

/// Each kind of checksum is compared, and one that nobody knows is named.
#[test]
fn a_wrong_checksum_of_each_kind_is_found() {
    if !have(&["mkfs.btrfs"]) {
        return;
    }
    let (_scratch, folder, image) = scratch();
    for kind in ["--csum crc32c", "--csum xxhash", "--csum sha256", "--csum blake2"] {
        if !make(&image, 120, kind, Some(&folder)) {
            continue;
        }
        let bytes = fs::read(&image).unwrap();
        let refusals = |bytes: Vec<u8>| {
            let volume = volume(bytes);
            let owners = Guest::open(&volume).unwrap().owners().unwrap();
            owners.parts[0].refusals.clone()
        };
        assert_eq!(refusals(bytes.clone()), Vec::<String>::new(), "{kind}");
        // A byte of the superblock that says nothing, and the ends of its checksum.
        let sum_len = match kind.rsplit(' ').next() {
            Some("crc32c") => 4,
            Some("xxhash") => 8,
            _ => 32,
        };
        for at in [0xfff, 0, sum_len - 1] {
            let mut damaged = bytes.clone();
            damaged[0x1_0000 + at] ^= 1;
            let found = refusals(damaged);
            assert!(found[0].contains("checksum of its superblock"), "{kind}, {at}: {found:?}");
        }
        let mut unknown = bytes;
        unknown[0x1_00c4] = 9;
        let found = refusals(unknown);
        assert!(found[0].contains("of an unknown kind"), "{kind}: {found:?}");
    }
}

/// Works on a file system: subvolumes and snapshots of them, files that are compressed, cut, shared and deleted,
/// attributes of all lengths.
fn age(root: &Path, rounds: usize) {
    for round in 0..rounds {
        let folder = root.join(format!("round-{round}"));
        assert!(run("btrfs", &["-q", "subvolume", "create", text(&folder)]));
        fill(&folder);
        assert!(run("btrfs", &["-q", "subvolume", "create", text(&folder.join("nested"))]));
        fs::write(folder.join("nested/file"), noise(9000, round)).unwrap();
        let text_like: Vec<u8> = noise(400_000, 3).iter().map(|byte| b'a' + byte % 5).collect();
        fs::write(folder.join("text"), &text_like).unwrap();
        fs::write(folder.join("short-text"), vec![b'x'; 1500]).unwrap();
        rustix::fs::sync();
        let snapshot = root.join(format!("snapshot-{round}"));
        assert!(run("btrfs", &["-q", "subvolume", "snapshot", text(&folder), text(&snapshot)]));
        for number in (0..900).step_by(3) {
            fs::remove_file(folder.join(format!("many/with-a-longer-name-{number:04}"))).unwrap();
        }
        run("cp", &["--reflink=auto", text(&folder.join("text")), text(&folder.join("shared"))]);
        for (name, at) in [("shared", 100_000), ("len-700000", 300_000)] {
            let file = fs::OpenOptions::new().write(true).open(folder.join(name)).unwrap();
            file.write_all_at(&noise(9000, 6), at).unwrap();
        }
        let file = fs::File::create(folder.join("reserved")).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 300_000).unwrap();
        file.write_all_at(&noise(5000, 7), 100_000).unwrap();
        for len in [1, 200, 3000, 12_000] {
            let path = folder.join(format!("attributes-{len}"));
            fs::write(&path, b"x").unwrap();
            for name in ["user.a", "trusted.b", "security.c"] {
                match setxattr(&path, name, &noise(len, 1), XattrFlags::empty()) {
                    // Nodes of 4 KiB hold no longer attribute.
                    Err(rustix::io::Errno::NOSPC) if len > 3000 => {}
                    done => done.unwrap(),
                }
            }
        }
        fs::rename(folder.join("len-4097"), folder.join("some/renamed")).unwrap();
        rustix::fs::sync();
    }
    run("mknod", &[text(&root.join("device")), "b", "259", "70000"]);
    run("mkfifo", &[text(&root.join("pipe"))]);
}

#[test]
fn an_old_file_system_is_as_a_mount_shows_it() {
    if !have(&["mkfs.btrfs", "btrfs", "mount"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, at) = (scratch.path().join("image"), scratch.path().join("mnt"));
    let copy = scratch.path().join("copy");
    let kinds = [
        ("", ",compress-force=zstd"),
        ("-n 4096 -m single", ",compress-force=zlib:9"),
        ("-O ^no-holes", ",compress-force=lzo"),
        ("-R ^free-space-tree", ",space_cache=v1,nodatacow"),
    ];
    for (kind, options) in kinds.into_iter().step_by(step().div_ceil(2)) {
        if !make(&image, 200, kind, None) {
            continue;
        }
        {
            let Some(mounted) = Mounted::new("btrfs", options, &image, &at) else { return };
            age(&mounted.0, 2);
        }
        let bytes = volume(fs::read(&image).unwrap());
        let guest = Guest::open(&bytes).unwrap();
        assert_eq!(guest.owners().unwrap().parts[0].refusals, Vec::<String>::new(), "{kind}");
        assert_free_is_not_missed(&image, &guest, kind);
        fs::copy(&image, &copy).unwrap();
        let Some(mounted) = Mounted::new("btrfs", "", &copy, &at) else { return };
        let system = guest.parts[0].system().unwrap();
        // The time of a directory that stands for a subvolume in a snapshot is stored nowhere.
        let timeless = |mut all: std::collections::BTreeMap<Vec<u8>, Seen>| {
            for (name, seen) in &mut all {
                let is_one = name.starts_with(b"snapshot") && name.ends_with(b"nested");
                if is_one {
                    *seen = seen.clone().timeless();
                }
            }
            all
        };
        assert_same(&timeless(by_us(system)), &timeless(by_the_system(&mounted.0)), kind);
        assert_same_attributes(system, &mounted.0, "attributes", kind);
    }
}

/// The root of a system may be any subvolume, and its table mounts others beside it.
#[test]
fn a_system_is_found_in_the_subvolume_that_it_is_in() {
    if !have(&["mkfs.btrfs", "btrfs", "mount"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, at) = (scratch.path().join("image"), scratch.path().join("mnt"));
    if !make(&image, 120, "-U 01234567-89ab-cdef-0123-456789abcdef", None) {
        return;
    }
    {
        let Some(mounted) = Mounted::new("btrfs", "", &image, &at) else { return };
        let root = &mounted.0;
        for name in ["@other", "@", "@home", "@log"] {
            assert!(run("btrfs", &["-q", "subvolume", "create", text(&root.join(name))]));
        }
        fs::create_dir_all(root.join("@/etc")).unwrap();
        fs::create_dir_all(root.join("@/var/log")).unwrap();
        fs::create_dir(root.join("@/home")).unwrap();
        fs::write(root.join("@/etc/os-release"), "ID=test\n").unwrap();
        let number = String::from_utf8(
            std::process::Command::new("btrfs")
                .args(["inspect-internal", "rootid", text(&root.join("@log"))])
                .output()
                .unwrap()
                .stdout,
        );
        let number = number.unwrap().trim().to_owned();
        let uuid = "UUID=01234567-89ab-cdef-0123-456789abcdef";
        let table = format!(
            "{uuid} / btrfs subvol=@ 0 0\n{uuid} /home btrfs rw,subvol=/@home 0 0\n\
             {uuid} /var/log btrfs subvolid={number} 0 0\n{uuid} /etc btrfs subvol=@none 0 0\n"
        );
        fs::write(root.join("@/etc/fstab"), table).unwrap();
        fs::write(root.join("@home/user"), "of home").unwrap();
        fs::write(root.join("@log/boot"), "of log").unwrap();
    }
    let show = |wanted: Option<&PartName>, path: &str| {
        let bytes = volume(fs::read(&image).unwrap());
        let guest = Guest::open(&bytes).unwrap();
        let tree = Tree::open(&guest, wanted).unwrap();
        tree.try_find(path.as_bytes()).unwrap().map(|spot| tree.text(spot).unwrap())
    };
    assert_eq!(show(None, "/home/user").unwrap(), b"of home");
    assert_eq!(show(None, "/var/log/boot").unwrap(), b"of log");
    assert_eq!(show(None, "/etc/os-release").unwrap(), b"ID=test\n");
    assert_eq!(show(None, "/@home/user"), None);
    {
        let Some(mounted) = Mounted::new("btrfs", "", &image, &at) else { return };
        let log = mounted.0.join("@log");
        assert!(run("btrfs", &["subvolume", "set-default", text(&log)]));
    }
    let bytes = volume(fs::read(&image).unwrap());
    let guest = Guest::open(&bytes).unwrap();
    let system = guest.parts[0].system().unwrap();
    assert_eq!(by_us(system).keys().collect::<Vec<_>>(), [&b"boot".to_vec()]);
    assert_eq!(show(None, "/var/log/boot").unwrap(), b"of log");
}

/// What was written since the last commit waits in a log that is not replayed: all is kept.
#[test]
fn a_file_system_in_use_keeps_its_free_blocks() {
    if !have(&["mkfs.btrfs", "btrfs", "mount"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, at) = (scratch.path().join("image"), scratch.path().join("mnt"));
    if !make(&image, 120, "", None) {
        return;
    }
    let Some(mounted) = Mounted::new("btrfs", ",commit=300", &image, &at) else { return };
    fs::write(mounted.0.join("first"), "1").unwrap();
    rustix::fs::sync();
    let file = fs::File::create(mounted.0.join("second")).unwrap();
    file.write_all_at(&noise(90_000, 1), 0).unwrap();
    file.sync_all().unwrap();
    let bytes = volume(fs::read(&image).unwrap());
    let guest = Guest::open(&bytes).unwrap();
    let refusals = &guest.owners().unwrap().parts[0].refusals;
    assert!(refusals.iter().any(|it| it.contains("not replayed")), "{refusals:?}");
    assert!(by_us(guest.parts[0].system().unwrap()).contains_key(&b"first"[..]));
}

#[test]
fn mutants_of_metadata_are_refused_or_right() {
    if !have(&["mkfs.btrfs"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let folder = scratch.path().join("files");
    fs::create_dir(&folder).unwrap();
    for number in 0..150 {
        fs::write(folder.join(format!("name-{number}")), noise(number * 90, number)).unwrap();
    }
    let image = scratch.path().join("image");
    for kind in ["-M", "-m single -d single -n 4096 -R ^free-space-tree"] {
        if make(&image, 64, kind, Some(&folder)) {
            let bytes = fs::read(&image).unwrap();
            let node_len = if kind.contains("-n 4096") { 4096 } else { 16_384 };
            mutants(bytes.clone(), 150, kind);
            // With a checksum that is right, what nodes say is believed until something contradicts it.
            let seal = |bytes: &mut [u8], at: usize| {
                let is_superblock = (65_536..65_536 + 4096).contains(&at);
                let len = if is_superblock { 4096 } else { node_len };
                let start = at / len * len;
                if !bytes.is_empty() {
                    let sum = crate::digest::crc32c(&bytes[start + 32..start + len]);
                    bytes[start..start + 4].copy_from_slice(&sum.to_le_bytes());
                }
                start..start + 4
            };
            sealed_mutants(bytes, 300, kind, Some(&seal));
        }
    }
}

/// Both derivations are held to each other: what one of them gets wrong is seen.
#[test]
fn every_byte_of_a_file_system_has_one_owner() {
    if !have(&["mkfs.btrfs"]) {
        return;
    }
    let (_scratch, folder, image) = scratch();
    if !make(&image, 120, "-m dup", Some(&folder)) {
        return;
    }
    let bytes = volume(fs::read(&image).unwrap());
    let guest = Guest::open(&bytes).unwrap();
    let owners = guest.owners().unwrap();
    let mut end = 0;
    let mut files = 0;
    for (range, _, owner) in owners.within(0..u64::MAX) {
        assert_eq!(range.start, end);
        end = range.end;
        files += if matches!(owner, Owner::File(_)) { range.end - range.start } else { 0 };
    }
    assert_eq!(end, 120 * MIB);
    assert!(files > MIB, "{files}");
}
