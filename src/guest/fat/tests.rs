//! Images that dosfstools and mtools make, and what must be found in them.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::guest::Bytes;
use crate::guest::Guest;
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
    command.arg("-i").arg(image).args(arguments).env("MTOOLS_SKIP_CHECK", "1");
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
