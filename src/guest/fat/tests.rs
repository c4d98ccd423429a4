//! Images that dosfstools and mtools make, and what must be found in them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::guest::Bytes;
use crate::guest::Guest;
use crate::guest::samples::Seen;
use crate::guest::samples::by_partclone;
use crate::guest::samples::by_the_system;
use crate::guest::samples::by_us;
use crate::guest::samples::free_ranges;
use crate::guest::samples::have;
use crate::guest::samples::mutants;
use crate::guest::samples::noise;
use crate::guest::samples::volume;

/// MiB, and the arguments of `mkfs.fat`.
const KINDS: &[(u64, &str)] = &[
    (2, "-F 12"),
    (16, "-F 16"),
    (16, "-F 16 -f 1 -s 2"),
    (64, "-F 32 -s 1"),
    (64, "-F 32 -s 1 -R 64"),
    (64, "-F 16 -S 4096 -s 1"),
];

fn runs(program: &str, arguments: &[&str], image: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).arg(image).env("MTOOLS_SKIP_CHECK", "1");
    command.output().is_ok_and(|output| output.status.success())
}

fn mtools(program: &str, image: &Path, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.arg("-i").arg(image).args(arguments);
    // FAT has local times, and mtools reads and writes names in the character set of the locale.
    command.env("MTOOLS_SKIP_CHECK", "1").env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn have_tools() -> bool {
    let tools = ["mkfs.fat", "mcopy"];
    let found = tools.iter().all(|tool| Command::new(tool).arg("--help").output().is_ok());
    if !found {
        println!("skipped: dosfstools or mtools are not installed");
    }
    found
}

/// Makes an image with directories, a file that is there twice, and one that was deleted.
fn make(image: &Path, (mib, kind): (u64, &str), long: &Path) {
    let _ = fs::remove_file(image);
    fs::File::create(image).unwrap().set_len(mib << 20).unwrap();
    let arguments: Vec<_> = kind.split(' ').chain(["-n", "ESP", "-i", "12ab34cd"]).collect();
    assert!(runs("mkfs.fat", &arguments, image), "{kind}");
    let long = long.to_str().unwrap();
    mtools("mmd", image, &["::EFI", "::EFI/BOOT"]);
    mtools("mcopy", image, &[long, "::EFI/BOOT/"]);
    mtools("mcopy", image, &[long, "::GONE.BIN"]);
    mtools("mcopy", image, &[long, "::second"]);
    mtools("mdel", image, &["::GONE.BIN"]);
}

/// What is damaged is refused, or calls nothing free that is not.
#[test]
fn mutants_of_metadata_are_refused_or_right() {
    if !have_tools() {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, long) = (scratch.path().join("image"), scratch.path().join("a longer name"));
    fs::write(&long, noise(70_001, 1)).unwrap();
    for kind in [(2, "-F 12"), (16, "-F 16 -f 1 -s 2"), (64, "-F 32 -s 1")] {
        make(&image, kind, &long);
        mutants(fs::read(&image).unwrap(), 100, kind.1);
    }
}

/// FAT32 with fewer clusters than Microsoft's paper allows, as EFI system partitions of cloud images have it; mtools
/// cannot fill it, so it is cut off a larger one.
#[test]
fn few_clusters_are_fat32_all_the_same() {
    if !have_tools() {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, long) = (scratch.path().join("image"), scratch.path().join("a longer name"));
    fs::write(&long, noise(70_001, 1)).unwrap();
    make(&image, (64, "-F 32 -s 1"), &long);
    let whole = fs::read(&image).unwrap();
    for sectors in [65_536_u32, 20_000, 5000] {
        let mut bytes = whole[..usize::try_from(sectors).unwrap() * 512].to_vec();
        // Both copies of the boot sector.
        for sector in [0, 6] {
            crate::field::put_u32_le(&mut bytes, sector * 512 + 32, sectors);
        }
        let volume = volume(bytes);
        let guest = Guest::open(&volume).unwrap();
        let owners = guest.owners().unwrap();
        assert_eq!(owners.parts[0].refusals, Vec::<String>::new(), "{sectors}");
        let system = guest.parts[0].system().unwrap();
        assert_eq!(system.about().label, b"ESP", "{sectors}");
        assert_eq!(system.about().uuid.as_deref(), Some("12AB-34CD"), "{sectors}");
        let names = system.entries(system.root()).unwrap().into_iter().map(|it| it.name);
        assert_eq!(names.collect::<Vec<_>>(), [&b"EFI"[..], b"second"], "{sectors}");
    }
}

#[test]
fn every_width_is_proven_and_its_files_are_what_was_put_in() {
    if !have_tools() {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let long = scratch.path().join("a long name, naïve and more.config");
    let content: Vec<u8> = (0..70_001_usize).map(|at| u8::try_from(at % 253).unwrap()).collect();
    fs::write(&long, &content).unwrap();
    let image = scratch.path().join("image");
    for (mib, kind) in KINDS {
        make(&image, (*mib, kind), &long);
        let volume = volume(fs::read(&image).unwrap());
        let guest = Guest::open(&volume).unwrap();
        let owners = guest.owners().unwrap();
        assert_eq!(owners.parts[0].refusals, Vec::<String>::new(), "{kind}");
        let system = guest.parts[0].system().unwrap();
        let about = system.about();
        assert_eq!((about.name, &about.label[..]), ("vfat", &b"ESP"[..]), "{kind}");
        assert_eq!(about.uuid.as_deref(), Some("12AB-34CD"));
        let proof = owners.parts[0].proof.as_ref().unwrap();
        assert_eq!(proof.free_bytes, about.free_bytes, "{kind}");
        let named = |folder, name: &str| {
            let entries = system.entries(folder).unwrap();
            entries.iter().find(|it| it.name == name.as_bytes()).map(|it| it.id)
        };
        let boot = named(named(system.root(), "EFI").unwrap(), "BOOT").unwrap();
        let file = named(boot, "a long name, naïve and more.config").unwrap();
        assert_eq!(named(system.root(), "GONE.BIN"), None);
        let mut read = vec![0; 70_001];
        for piece in system.content(file).unwrap().pieces {
            let Bytes::At(offset) = piece.bytes else { panic!("nothing is inline") };
            let start = usize::try_from(piece.start).unwrap();
            let end = start + usize::try_from(piece.len).unwrap();
            system.read(offset, &mut read[start..end]).unwrap();
        }
        assert!(read == content, "{kind}");
    }
}

/// Fills it with directories and files of many lengths and names, deletes a third, and fills the gaps again.
fn age(image: &Path, folder: &Path) {
    fs::create_dir_all(folder.join("EFI/debian")).unwrap();
    fs::create_dir_all(folder.join("some folder/deeper/deepest")).unwrap();
    fs::create_dir_all(folder.join("empty")).unwrap();
    for (seed, len) in [0, 1, 511, 512, 513, 4097, 20_000, 70_001].into_iter().enumerate() {
        fs::write(folder.join(format!("EFI/debian/LEN{len}.BIN")), noise(len, seed)).unwrap();
        let name = format!("some folder/deeper/A long name of {len}, na\u{ef}ve.config");
        fs::write(folder.join(name), noise(len, seed + 50)).unwrap();
    }
    for number in 0..90 {
        fs::write(folder.join(format!("some folder/n{number}")), noise(number * 40, 5)).unwrap();
    }
    fs::write(folder.join("read-only.txt"), b"x").unwrap();
    let copy = |names: &[&str]| {
        for name in names {
            let from = folder.join(name);
            mtools("mcopy", image, &["-s", "-m", "-Q", "-o", from.to_str().unwrap(), "::"]);
        }
    };
    copy(&["EFI", "some folder", "empty"]);
    for number in (0..90).step_by(3) {
        let name = format!("some folder/n{number}");
        mtools("mdel", image, &[&format!("::{name}")]);
        fs::remove_file(folder.join(name)).unwrap();
    }
    for number in 0..20 {
        fs::write(folder.join(format!("again{number}")), noise(number * 700, 8)).unwrap();
        copy(&[&format!("again{number}")]);
    }
    copy(&["read-only.txt"]);
    mtools("mattrib", image, &["+r", "::read-only.txt"]);
}

/// Returns how many bytes fsck.fat calls free.
fn free_by_fsck(image: &Path) -> u64 {
    let output = Command::new("fsck.fat").args(["-n", "-v"]).arg(image).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |text: &str| -> u64 { text.trim().parse().unwrap() };
    let lines = || text.lines();
    let len = lines().find_map(|it| it.trim().strip_suffix("bytes per cluster")).map(number);
    let counts = lines().find_map(|it| it.strip_suffix(" clusters")?.rsplit_once(' ')).unwrap().1;
    let (used, all) = counts.split_once('/').unwrap();
    (number(all) - number(used)) * len.unwrap()
}

/// Free clusters are those of partclone and as many as fsck.fat counts; names, lengths, times to two seconds, and contents are those that mtools copies
/// out; and what is free is not missed.
#[test]
fn an_aged_one_is_what_other_programs_say() {
    if !have_tools() || !have(&["partclone.fat", "fsck.fat"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let image = scratch.path().join("image");
    for (number, (mib, kind)) in KINDS.iter().enumerate() {
        let _ = fs::remove_file(&image);
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        assert!(runs("mkfs.fat", &kind.split(' ').collect::<Vec<_>>(), &image), "{kind}");
        age(&image, &scratch.path().join(format!("in-{number}")));
        let bytes = fs::read(&image).unwrap();
        let whole = volume(bytes.clone());
        let guest = Guest::open(&whole).unwrap();
        let owners = guest.owners().unwrap();
        assert_eq!(owners.parts[0].refusals, Vec::<String>::new(), "{kind}");
        let free = free_ranges(&guest);
        let proof = owners.parts[0].proof.as_ref().unwrap();
        assert_eq!(proof.free_bytes, free_by_fsck(&image), "{kind}");
        // partclone takes entries of 12 bits for whole bytes, and knows sectors of 512 bytes alone.
        if !kind.contains("-F 12") && !kind.contains("-S 4096") {
            assert_eq!(free, by_partclone("partclone.fat", &image), "{kind}");
        }
        let out = scratch.path().join(format!("out-{number}"));
        fs::create_dir(&out).unwrap();
        let all = ["::EFI", "::some folder", "::empty", "::again*", "::read-only.txt"];
        let arguments = [&["-s", "-m", "-n"][..], &all, &[out.to_str().unwrap()]].concat();
        mtools("mcopy", &image, &arguments);
        let short = |all: BTreeMap<Vec<u8>, Seen>, is_ours: bool| -> BTreeMap<Vec<u8>, _> {
            let all = all.into_iter().map(|(name, it)| {
                // Folders get the time at which they were copied; modes are not copied.
                let is_file = it.kind == "file";
                let time = if is_file { it.modified.0 / 2 } else { 0 };
                let mode = if is_ours && is_file { it.mode } else { 0 };
                (name, (it.kind, it.size, time, mode, it.content))
            });
            all.collect()
        };
        let mut ours = short(by_us(guest.parts[0].system().unwrap()), true);
        let modes: BTreeSet<_> = ours.iter().filter(|(_, it)| it.3 == 0o555).collect();
        let names: Vec<_> = modes.into_iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, [b"read-only.txt"], "{kind}");
        for it in ours.values_mut() {
            it.3 = 0;
        }
        let theirs = short(by_the_system(&out), false);
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{kind}");
        assert!(ours.len() > 100, "{kind}: {}", ours.len());
        for (name, seen) in &theirs {
            let facts = |it: &(&'static str, u64, i64, u32, Vec<u8>)| (it.0, it.1, it.2);
            assert_eq!(facts(&ours[name]), facts(seen), "{kind}: {}", name.escape_ascii());
            assert!(ours[name].4 == seen.4, "{kind}: content of {}", name.escape_ascii());
        }
        // Litter in all that is free, and nobody misses it.
        let mut litter = bytes;
        for (start, end) in free {
            let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
            litter[range].fill(0xa5);
        }
        fs::write(&image, &litter).unwrap();
        assert!(runs("fsck.fat", &["-n"], &image), "{kind}");
        let whole = volume(litter);
        let guest = Guest::open(&whole).unwrap();
        let again = short(by_us(guest.parts[0].system().unwrap()), false);
        assert!(again.iter().all(|(name, it)| it.4 == ours[name].4), "{kind}");
    }
}

/// Creation is kept to ten milliseconds, above steps of two seconds.
#[test]
fn times_of_creation_are_what_another_program_says() {
    if !have_tools() || !have(&["7z"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, file) = (scratch.path().join("image"), scratch.path().join("file"));
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    assert!(runs("mkfs.fat", &["-F", "12"], &image));
    fs::write(&file, "x").unwrap();
    let cases = [(0_u8, 0), (1, 10), (99, 990), (100, 1000), (155, 1550), (199, 1990)];
    for (hundredths, _) in cases {
        mtools("mcopy", &image, &[file.to_str().unwrap(), &format!("::T{hundredths}")]);
    }
    let mut bytes = fs::read(&image).unwrap();
    for (hundredths, _) in cases {
        let name = format!("{:<11}", format!("T{hundredths}"));
        let at = bytes.windows(11).position(|it| it == name.as_bytes()).unwrap();
        bytes[at + 13] = hundredths;
        // 2020-02-03, 04:05:06.
        bytes[at + 14..at + 18].copy_from_slice(&[0xa3, 0x20, 0x43, 0x50]);
    }
    fs::write(&image, &bytes).unwrap();
    let output = Command::new("7z").args(["l", "-slt"]).arg(&image).env("TZ", "UTC").output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let whole = volume(bytes);
    let guest = Guest::open(&whole).unwrap();
    let ours = by_us(guest.parts[0].system().unwrap());
    for (hundredths, milliseconds) in cases {
        let name = format!("T{hundredths}");
        let (seconds, nanoseconds) = ours[name.as_bytes()].created.unwrap();
        let since = (seconds - 1_580_702_706) * 1000 + nanoseconds / 1_000_000;
        assert_eq!(since, milliseconds, "{name}");
        // Older versions of it show whole seconds.
        let block = text.split("\n\n").find(|it| it.contains(&format!("Path = {name}\n"))).unwrap();
        let line = block.lines().find_map(|it| it.strip_prefix("Created = ")).unwrap();
        let (whole, part) = line.split_once('.').unwrap_or((line, ""));
        assert_eq!(whole, format!("2020-02-03 04:05:{:02}", 6 + milliseconds / 1000), "{name}");
        let shown = format!("{:03}", milliseconds % 1000);
        assert!(shown.starts_with(part), "{name}: {line}");
    }
}
