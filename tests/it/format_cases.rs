//! Images that people have, and what must become of each: kinds of files that are not disks, archives of
//! every maker, names in every spelling.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use amikit::internals::digest::Algorithm;
use amikit::internals::digest::Hasher;
use amikit::internals::error::Advice;
use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::format;
use amikit::internals::format::ImageRequest;
use amikit::internals::format::OpenedImage;
use amikit::internals::format::WRITERS;
use amikit::internals::tar::layout;
use amikit::internals::volume::ReadVolume;
use amikit::internals::work::Unwatched;

use crate::common;
use crate::common::Random;
use crate::common::archive;

fn open(path: &Path) -> Result<OpenedImage, Error> {
    format::open(&ImageRequest::named(path), &Unwatched)
}

fn open_as(path: &Path, name: &str) -> Result<OpenedImage, Error> {
    let format = Some(format::by_name(name).unwrap());
    format::open(&ImageRequest { format, ..ImageRequest::named(path) }, &Unwatched)
}

fn member(archive: &Path, name: &str) -> PathBuf {
    PathBuf::from(format!("{}:{name}", archive.display()))
}

fn tar(folder: &Path, arguments: &[&str]) {
    common::run_tool(Command::new("tar").current_dir(folder).args(arguments));
}

fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish_hex()
}

// --- F-1 -----------------------------------------------------------------------------------------

#[test]
fn a_file_is_the_same_volume_however_an_archive_stores_its_holes() {
    if !common::installed("tar") {
        return;
    }
    let dir = common::scratch();
    let here = dir.path();
    let volume = common::random_volume(3 << 20, &mut Random::with_seed(11));
    for writer in WRITERS.iter().filter(|writer| !writer.takes_many()) {
        common::write_unsynced(&volume, &here.join("image"), writer, 2);
        // Holes of the file, so that tar stores it as sparse: behind a page of zeros in each case.
        let bytes = fs::read(here.join("image")).unwrap();
        fs::remove_file(here.join("image")).unwrap();
        common::write_with_holes(&here.join("image"), &bytes);
        let expected = open(&here.join("image")).unwrap();
        for form in ["--format=gnu", "--format=pax", "--format=gnu -S", "--format=pax -S"] {
            let mut arguments: Vec<&str> = form.split(' ').collect();
            arguments.extend(["-cf", "a.tar", "image"]);
            tar(here, &arguments);
            let found = open(&here.join("a.tar")).unwrap();
            let name = writer.name;
            assert_eq!(found.volume.size(), expected.volume.size(), "{name}, {form}");
            assert!(
                common::bytes_of(&found.volume) == common::bytes_of(&expected.volume),
                "{name}, {form}"
            );
            if !writer.is_plain() && writer.name != "vhd-fixed" && writer.name != "raw-zstd" {
                let states = common::extents_of(&found.volume);
                assert_eq!(states, common::extents_of(&expected.volume), "{name}, {form}");
            }
            tar(here, &["-czf", "a.tar.gz", "image"]);
            let packed = open(&here.join("a.tar.gz")).unwrap();
            assert_eq!(packed.volume.size(), expected.volume.size(), "{name}, {form}");
        }
    }
}

#[test]
fn what_is_refused_is_refused_out_of_a_sparse_member_too() {
    if !common::installed("tar") {
        return;
    }
    let dir = common::scratch();
    let here = dir.path();
    let mut vdi = vec![0; 1 << 20];
    vdi[64..68].copy_from_slice(&0xbeda_107f_u32.to_le_bytes());
    common::write_with_holes(&here.join("d.raw"), &vdi);
    for form in ["--format=gnu", "-S"] {
        tar(here, &[form, "-cf", "a.tar", "d.raw"]);
        let error = open(&here.join("a.tar")).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("vdi"), "{form}: {error}");
        // The user may know better, and is heard.
        let raw = open_as(&member(&here.join("a.tar"), "d.raw"), "raw").unwrap();
        assert_eq!(raw.volume.size(), 1 << 20, "{form}");
    }
}

#[test]
fn a_named_format_is_that_of_the_file_inside() {
    if !common::installed("tar") {
        return;
    }
    let dir = common::scratch();
    let here = dir.path();
    let volume = common::random_volume(1 << 20, &mut Random::with_seed(12));
    common::write_unsynced(&volume, &here.join("d"), common::writer("vhd-fixed"), 1);
    for arguments in ["-cf a.tar d", "-Scf a.tar d", "-czf a.tar d"] {
        tar(here, &arguments.split(' ').collect::<Vec<_>>());
        for path in [here.join("a.tar"), member(&here.join("a.tar"), "./d")] {
            assert_eq!(open_as(&path, "vhd").unwrap().volume.size(), 1 << 20, "{arguments}");
            assert_eq!(open_as(&path, "tar").unwrap().volume.size(), 1 << 20, "{arguments}");
            assert_eq!(open_as(&path, "qcow2").unwrap_err().kind(), Kind::Corrupt, "{arguments}");
        }
        let raw = open_as(&member(&here.join("a.tar"), "d"), "raw").unwrap();
        assert_eq!(raw.volume.size(), (1 << 20) + 512, "{arguments}");
    }
}

// --- F-2 -----------------------------------------------------------------------------------------

/// Writes a file of 64 KiB that begins like this.
fn begins(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    file.resize(64 << 10, 0);
    file
}

/// Files of kinds that `file` knows and that people give the name of an image.
#[allow(clippy::too_many_lines, reason = "a table: a row for each kind of file")]
fn foreign_files() -> Vec<(&'static str, Vec<u8>)> {
    let at = |offset: usize, bytes: &[u8]| {
        let mut file = vec![0; 64 << 10];
        file[offset..][..bytes.len()].copy_from_slice(bytes);
        file
    };
    let mut kernel = begins(b"MZ");
    kernel[510..518].copy_from_slice(b"\x55\xaaHdrS\x0f\x02");
    let mut program = begins(b"MZ\x90");
    program[0x3c] = 0x80;
    program[0x80..0x84].copy_from_slice(b"PE\0\0");
    let mut dump = begins(&1_u32.to_le_bytes());
    dump[24..28].copy_from_slice(&60_012_u32.to_le_bytes());
    let mut binary = begins(&[0xc7, 0x71]);
    binary[20] = 5;
    let manifest = "<?xml version='1.0'?><manifest><version>2007-10-10</version></manifest>";
    let zlib = {
        let level = flate2::Compression::default();
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
        std::io::Write::write_all(&mut encoder, &vec![7; 100_000]).unwrap();
        encoder.finish().unwrap()
    };
    vec![
        ("qed", begins(b"QED\0")),
        ("ffu", at(0, b" \0\0\0SignedImage ")),
        ("ubi", begins(b"UBI#\x01\0\0\0\0\0\0\0\0\0\0\0")),
        ("warc", begins(b"WARC/1.0\r\nWARC-Type: resource\r\n")),
        ("uuencode", begins(b"begin 644 disk.raw\nM")),
        ("hyper-v guest state", begins(b"GUESTRTS")),
        ("cowd", begins(b"COWD")),
        ("vdi", at(64, b"\x7f\x10\xda\xbe")),
        ("parallels", begins(b"WithoutFreeSpace")),
        ("bochs", begins(b"Bochs Virtual HD Image")),
        ("cloop", begins(b"#!/bin/sh\n#V2.0 Format\n")),
        ("dmg", at((64 << 10) - 512, b"koly\0\0\0\x04")),
        ("apple sparse image", begins(b"sprs\0\0\0\x03")),
        ("overlaybd", begins(b"LSMT\0\x01\x02")),
        ("rbd-diff", begins(b"rbd diff v1\n")),
        ("vma", begins(b"VMA\0")),
        ("ewf", begins(b"EVF\t\r\n\xff\0")),
        ("aff", begins(b"AFF10\r\n\0")),
        ("partclone", begins(b"partclone-image")),
        ("ntfsclone", begins(b"\0ntfsclone-image")),
        ("partimage", begins(b"PaRtImAgE-VoLuMe")),
        ("fsarchiver", begins(b"FsA0")),
        ("ghost", begins(b"\xfe\xef\x01\x01")),
        ("acronis", begins(b"\xce\x24\xb9\xa2\x20\0\0\0")),
        ("ext2 image", at(4, b"Ext2 Image 1.0")),
        ("wim", begins(b"MSWIM\0\0\0")),
        ("luks", begins(b"LUKS\xba\xbe\0\x02")),
        ("iso9660", at(32_769, b"CD001")),
        ("udf", at(32_769, b"BEA01")),
        ("nero cd", at((64 << 10) - 12, b"NER5\0\0\0\0")),
        ("compressed cd", begins(b"CISO")),
        ("btrfs stream", begins(b"btrfs-stream\0\x01")),
        ("zfs stream", at(8, b"\xac\xcb\xba\xf5\x02\0\0\0")),
        ("xfs dump", begins(b"xFSdump0")),
        ("dump", dump),
        ("zchunk", begins(b"\0ZCK1")),
        ("casync index", begins(b"0\0\0\0\0\0\0\0\xf9\x9f\x12\x7b\x9c\x4d\x82\x96")),
        ("compress", begins(b"\x1f\x9d\x90")),
        ("pack", begins(b"\x1f\x1e\0\0\x10")),
        ("freeze", begins(b"\x1f\x9f")),
        ("lzh stream", begins(b"\x1f\xa0")),
        ("gzip of another method", begins(b"\x1f\x8b\x02\0")),
        ("lz4", begins(b"\x04\x22\x4d\x18")),
        ("lz4", begins(b"\x02\x21\x4c\x18")),
        ("lzma", begins(b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff")),
        ("lzip", begins(b"LZIP\x01")),
        ("lzop", begins(b"\x89LZO\0\r\n\x1a\n")),
        ("lrzip", begins(b"LRZI\0\x06")),
        ("snappy", begins(b"\xff\x06\0\0sNaPpY")),
        ("zstd before version 0.8", begins(b"\x27\xb5\x2f\xfd")),
        ("zstd dictionary", begins(b"\x37\xa4\x30\xec")),
        ("zlib", zlib),
        ("7z", begins(b"7z\xbc\xaf\x27\x1c")),
        ("zip", begins(b"PK\x03\x04")),
        ("zip", begins(b"PK\x05\x06")),
        ("rar", begins(b"Rar!\x1a\x07\x01\0")),
        ("cpio", begins(b"070701")),
        ("cpio", binary),
        ("ar", begins(b"!<arch>\ndebian-binary")),
        ("rpm", begins(b"\xed\xab\xee\xdb\x03")),
        ("cab", begins(b"MSCF\0\0\0\0")),
        ("xar", begins(b"xar!\0\x1c")),
        ("arj", begins(b"\x60\xea\x2b\0\x22\x0b\x01")),
        ("lha", begins(b"\x24\x66-lh5-")),
        ("zoo", at(20, b"\xdc\xa7\xc4\xfd")),
        ("ace", at(7, b"**ACE**")),
        ("flatpak", begins(b"flatpak\0\x01\0\x89\xe5")),
        ("appledouble", begins(b"\0\x05\x16\x07\0\x02")),
        ("ole2", begins(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")),
        ("git bundle", begins(b"# v2 git bundle\n")),
        ("git pack", begins(b"PACK\0\0\0\x02")),
        ("sqlite", begins(b"SQLite format 3\0")),
        ("android update", begins(b"CrAU\0\0\0\0")),
        ("android boot image", begins(b"ANDROID!")),
        ("elf", begins(b"\x7fELF\x02\x01\x01")),
        ("linux kernel", kernel),
        ("windows program", program),
        ("mach-o", begins(b"\xcf\xfa\xed\xfe")),
        ("webassembly", begins(b"\0asm\x01")),
        ("u-boot image", begins(b"\x27\x05\x19\x56")),
        ("device tree", begins(b"\xd0\x0d\xfe\xed")),
        ("uefi firmware", at(0x28, b"_FVH")),
        ("qemu state", begins(b"QEVM\0\0\0\x03")),
        ("libvirt state", begins(b"LibvirtQemudSave")),
        ("virtualbox state", begins(b"\x7fVirtualBox SavedState V2.0\n")),
        ("vmware state", begins(b"\xd2\xbe\xd2\xbe")),
        ("vmware nvram", begins(b"MRVN")),
        ("memory dump", begins(b"PAGEDU64")),
        ("pgp", begins(b"\x8c\x0d\x04\x09\x03")),
        ("pgp", begins(b"-----BEGIN PGP MESSAGE-----\n")),
        ("age", begins(b"age-encryption.org/v1\n")),
        ("openssl", begins(b"Salted__")),
        ("ansible vault", begins(b"$ANSIBLE_VAULT;1.1;AES256\n")),
        ("git lfs pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec()),
        ("git annex pointer", b"/annex/objects/SHA256E-s1--0.raw\n".to_vec()),
        ("torrent", b"d8:announce3:x:0e".to_vec()),
        ("zsync", begins(b"zsync: 0.6.2\n")),
        ("pdf", begins(b"%PDF-1.7\n%\xe2\xe3")),
        ("png", begins(b"\x89PNG\r\n\x1a\n")),
        ("jpeg", begins(b"\xff\xd8\xff\xe0")),
        ("mp4", at(4, b"ftypisom")),
        ("instance-store manifest", manifest.as_bytes().to_vec()),
        ("xml", b"\xef\xbb\xbf<?xml version='1.0'?><domain/>".to_vec()),
        ("html", begins(b"\n <!DOCTYPE html><html><body>404")),
        ("html", begins(b"<HTML>")),
        ("script", begins(b"#!/bin/sh\nexit 0\n")),
        ("pem", b"-----BEGIN CERTIFICATE-----\n".to_vec()),
        ("text", b"404 page not found\n".to_vec()),
        ("text", b"{\"format\": \"raw\"}".to_vec()),
        ("text", b"\xff\xfea\0\r\0\n\0".to_vec()),
        ("text", "da39a3ee  disk.raw\n".repeat(5000).into_bytes()),
    ]
}

#[test]
fn what_says_that_it_is_something_else_is_refused_by_name() {
    let dir = common::scratch();
    let here = dir.path();
    let files = foreign_files();
    let mut names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
    names.dedup();
    assert!(names.len() >= 60, "{} kinds", names.len());
    for (number, (name, bytes)) in files.iter().enumerate() {
        let path = here.join(format!("{number}.raw"));
        fs::write(&path, bytes).unwrap();
        let packed = here.join(format!("{number}.raw.zst"));
        fs::write(&packed, zstd::bulk::compress(bytes, 1).unwrap()).unwrap();
        let inside = here.join(format!("{number}.tar"));
        fs::write(&inside, archive(&[("disk.raw", bytes)])).unwrap();
        for path in [&path, &packed, &inside] {
            let error = open(path).unwrap_err();
            assert_eq!(error.kind(), Kind::Unsupported, "{name}: {error}");
            assert!(error.to_string().contains(&format!("format {name},")), "{name}: {error}");
            assert!(error.advice().is_some(), "{name}");
        }
        // The user may know better.
        let raw = open_as(&path, "raw").unwrap();
        assert_eq!(raw.volume.size(), bytes.len() as u64, "{name}");
    }
}

/// The command line says so, and what to do.
#[test]
fn a_file_that_is_not_a_disk_is_not_packed() {
    let dir = common::scratch();
    let here = dir.path();
    fs::write(here.join("disk.img"), "<!DOCTYPE html><title>Not found</title>").unwrap();
    let line = common::run_badly(here, "pack disk.img -o a.ami --name test", 5);
    assert!(line.contains("html") && line.contains("fetch the image"), "{line}");
    common::run_badly(here, "convert disk.img out.qcow2", 5);
    let piped = "snapshot - -o out.snap";
    let output = common::amikit()
        .current_dir(here)
        .args(piped.split(' '))
        .stdin(fs::File::open(here.join("disk.img")).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", common::stderr(&output));
}

#[test]
fn archives_of_before_posix_are_known_by_their_checksums() {
    if !common::installed("tar") {
        return;
    }
    let dir = common::scratch();
    let here = dir.path();
    let volume = common::random_volume(1 << 20, &mut Random::with_seed(13));
    common::write_unsynced(&volume, &here.join("d.qcow2"), common::writer("qcow2"), 1);
    fs::create_dir(here.join("folder")).unwrap();
    let mut lines = vec![
        "tar --format=v7 -cf a.tar d.qcow2",
        "tar --format=v7 -cf a.tar folder d.qcow2",
        "tar --format=oldgnu -cf a.tar folder d.qcow2",
        "tar --format=gnu -V LABEL -cf a.tar d.qcow2",
        "tar --format=gnu -V LABEL -czf a.tar d.qcow2",
        "tar --format=v7 -czf a.tar d.qcow2",
    ];
    if common::installed("bsdtar") {
        lines
            .extend(["bsdtar --format=v7tar -cf a.tar folder d.qcow2", "bsdtar -cf a.tar d.qcow2"]);
    }
    for line in lines {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap());
        common::run_tool(command.current_dir(here).args(words));
        for found in [open(&here.join("a.tar")), open_as(&here.join("a.tar"), "tar")] {
            let found = found.unwrap_or_else(|e| panic!("{line}: {e}"));
            assert_eq!(found.volume.size(), 1 << 20, "{line}");
        }
    }
}

// --- F-3 -----------------------------------------------------------------------------------------

#[test]
fn frames_that_are_skipped_may_stand_before_a_sound_one() {
    let dir = common::scratch();
    let path = dir.path().join("disk.raw.zst");
    let plain: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let frame = zstd::bulk::compress(&plain, 3).unwrap();
    let skipped = |len: usize| {
        let head = [0x184d_2a53_u32.to_le_bytes(), (len as u32).to_le_bytes()].concat();
        [head, vec![0x28; len]].concat()
    };
    for lens in [&[0][..], &[3, 4], &[5; 300], &[100_000, 7]] {
        let front: Vec<u8> = lens.iter().flat_map(|len| skipped(*len)).collect();
        fs::write(&path, [&front[..], &frame].concat()).unwrap();
        let found = open(&path).unwrap();
        assert!(common::bytes_of(&found.volume) == plain, "{lens:?}");
        // Nothing but them, or a cut one, is not a disk.
        fs::write(&path, &front).unwrap();
        assert_eq!(open(&path).unwrap_err().kind(), Kind::Invalid, "{lens:?}");
        fs::write(&path, &front[..front.len() - 1]).unwrap();
        assert_eq!(open(&path).unwrap_err().kind(), Kind::Corrupt, "{lens:?}");
    }
}

// --- F-4 -----------------------------------------------------------------------------------------

/// Lists the files of an archive as Python does: name and size of each.
fn python_lists(path: &Path) -> Option<Vec<(String, u64)>> {
    let script = "import sys, tarfile\n\
                  for it in tarfile.open(sys.argv[1], 'r:'):\n \
                  if it.isfile(): print(it.size, it.name)";
    listed(Command::new("python3").args(["-c", script]).arg(path), |line| {
        let (size, name) = line.split_once(' ')?;
        Some((name.to_owned(), size.parse().ok()?))
    })
}

/// Lists them as GNU tar or bsdtar does.
fn tar_lists(program: &str, path: &Path) -> Option<Vec<(String, u64)>> {
    listed(Command::new(program).arg("-tvf").arg(path), |line| {
        let words: Vec<_> = line.split_whitespace().collect();
        // A contiguous file is one to all readers.
        let is_file = words[0].starts_with(['-', 'C']);
        // GNU tar has owner and group in one word.
        let size = if program == "tar" { words.get(2)? } else { words.get(4)? };
        is_file.then(|| Some(((*words.last()?).to_owned(), size.parse().ok()?)))?
    })
}

/// Runs a lister; `None` if it finds fault with the archive.
fn listed(
    command: &mut Command,
    parse: impl Fn(&str) -> Option<(String, u64)>,
) -> Option<Vec<(String, u64)>> {
    let output = command.env("LC_ALL", "C").output().unwrap();
    if !output.status.success() || !output.stderr.is_empty() {
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).lines().filter_map(parse).collect())
}

/// What we read, all readers read so: an archive holds one thing.
#[test]
fn a_field_is_taken_only_as_all_readers_take_it() {
    let tools = ["tar", "bsdtar", "python3"];
    let tools: Vec<_> = tools.into_iter().filter(|it| common::installed(it)).collect();
    let dir = common::quick_folder();
    let path = dir.path().join("a.tar");
    let mut random = Random::new("tar fields");
    let (mut taken, rounds) = (0, common::rounds(60));
    // The case that was found, then others like it.
    let first = (124, b"\0\0\0\x000001000\0".to_vec());
    let rest = (1..rounds).map(|_| {
        let (at, len) = [(124, 12), (124, 12), (148, 8), (156, 1)][random.below(4) as usize];
        let alphabet = b"\0\0\0  00011277\t8-x\x80\xff";
        let mut field: Vec<u8> =
            (0..len).map(|_| alphabet[random.below(alphabet.len() as u64) as usize]).collect();
        if random.below(2) == 0 && len == 12 {
            // Mostly sound: one or two bytes are not.
            field = b"00000001000\0".to_vec();
            for _ in 0..=random.below(2) {
                field[random.below(12) as usize] =
                    alphabet[random.below(alphabet.len() as u64) as usize];
            }
        }
        (at, field)
    });
    for (at, field) in [first].into_iter().chain(rest.collect::<Vec<_>>()) {
        let mut bytes = archive(&[("a", &[1; 512]), ("b", &[2; 1024])]);
        bytes[at..][..field.len()].copy_from_slice(&field);
        if at != 148 {
            layout::seal(bytes.first_chunk_mut().unwrap());
        }
        fs::write(&path, &bytes).unwrap();
        let Ok(members) = amikit::internals::tar::members(&bytes) else { continue };
        taken += 1;
        let ours: Vec<_> = members.iter().map(|it| (it.name.clone(), it.size())).collect();
        for tool in &tools {
            let theirs = match *tool {
                "python3" => python_lists(&path),
                tool => tar_lists(tool, &path),
            };
            assert_eq!(theirs.as_ref(), Some(&ours), "{tool}: {field:?} at {at}");
        }
    }
    println!("{taken} of {rounds} are read");
    let zero = {
        let mut bytes = archive(&[("a", &[1; 512])]);
        bytes[124..136].copy_from_slice(b"\0\0\0\x000001000\0");
        layout::seal(bytes.first_chunk_mut().unwrap());
        bytes
    };
    // The 512 bytes are not a header.
    assert!(amikit::internals::tar::members(&zero).is_err());
}

// --- F-5, F-12 -----------------------------------------------------------------------------------

#[test]
fn a_descriptor_in_any_encoding_is_read_and_so_is_what_others_add() {
    let dir = common::scratch();
    let path = dir.path().join("d.vmdk");
    let volume = common::random_volume(1 << 20, &mut Random::with_seed(14));
    common::write_unsynced(&volume, &path, common::writer("vmdk-sparse"), 1);
    let sound = fs::read(&path).unwrap();
    let text = |change: &dyn Fn(&str) -> Vec<u8>| {
        let mut bytes = sound.clone();
        let end = 512 + bytes[512..].iter().position(|byte| *byte == 0).unwrap();
        let found = String::from_utf8(bytes[512..end].to_vec()).unwrap();
        let changed = change(&found);
        bytes[512..512 + changed.len()].copy_from_slice(&changed);
        fs::write(&path, bytes).unwrap();
        let image = open(&path).unwrap();
        assert!(common::bytes_of(&image.volume) == common::bytes_of(&volume));
    };
    for (encoding, name) in [
        ("windows-1252", &b"caf\xe9"[..]),
        ("GBK", b"\xb4\xc5\xc5\xcc"),
        ("Shift_JIS", b"\x83\x5c\x83\x66"),
        ("UTF-8", b"\xff\xfe"),
    ] {
        text(&|found| {
            let head = format!("version=1\nencoding=\"{encoding}\"\n# ");
            let found = found.replace("version=1\n", &head).into_bytes();
            let at = found.windows(2).position(|it| it == b"# ").unwrap();
            let at = at + found[at + 2..].windows(2).position(|it| it == b"# ").unwrap() + 4;
            let with = [&found[..at], name, b"\nddb.comment = \"", name, b"\"\n", &found[at..]];
            let with = with.concat();
            let disk = with.windows(9).position(|it| it == b"disk.vmdk").unwrap();
            [&with[..disk], name, &with[disk + 4..]].concat()
        });
    }
    text(&|found| found.replace("disk.vmdk\"", "disk.vmdk\" 0 uuid 1").into_bytes());
    text(&|found| found.replace("disk.vmdk\"", "../x/disk.vmdk\"").into_bytes());
    text(&|found| format!("{found}parentFileNameHint=\"\"\n").into_bytes());
}

// --- F-6 -----------------------------------------------------------------------------------------

fn ovf(href: &str) -> Vec<u8> {
    format!(
        "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' xmlns:ovf='x'><References>\
         <File ovf:id='f' ovf:href='{href}'/></References><DiskSection>\
         <Disk ovf:diskId='d' ovf:capacity='1048576' ovf:fileRef='f'/></DiskSection></Envelope>"
    )
    .into_bytes()
}

/// A small streamOptimized disk.
fn vmdk(seed: u64) -> Vec<u8> {
    let dir = common::scratch();
    let path = dir.path().join("d.vmdk");
    let volume = common::random_volume(1 << 20, &mut Random::with_seed(seed));
    common::write_unsynced(&volume, &path, common::writer("vmdk"), 1);
    fs::read(path).unwrap()
}

#[test]
fn names_in_an_archive_have_one_form_on_both_sides() {
    let dir = common::scratch();
    let path = dir.path().join("a.ova");
    let disk = vmdk(15);
    let manifest = |descriptor: &[u8], names: [&str; 2]| {
        let lines = names.map(|name| {
            let bytes = if name.ends_with("ovf") { descriptor } else { &disk };
            format!("SHA256({name})= {}\n", sha256(bytes))
        });
        lines.concat().into_bytes()
    };
    // Prefix of the members, reference in the descriptor, member of the disk, names in the digests.
    let cases = [
        ("./", "d.vmdk", "d.vmdk", ["x.ovf", "d.vmdk"]),
        ("./", "./d.vmdk", "d.vmdk", ["./x.ovf", "./d.vmdk"]),
        ("", "./d.vmdk", "d.vmdk", ["x.ovf", "d.vmdk"]),
        ("box/", "d.vmdk", "d.vmdk", ["x.ovf", "d.vmdk"]),
        ("./box/", "./d.vmdk", "d.vmdk", ["./x.ovf", "d.vmdk"]),
        ("", "my%20disk.vmdk", "my disk.vmdk", ["x.ovf", "my disk.vmdk"]),
        ("", "disks/d.vmdk", "disks/d.vmdk", ["x.ovf", "disks/d.vmdk"]),
        ("", "100%.vmdk", "100%.vmdk", ["x.ovf", "100%.vmdk"]),
    ];
    for (prefix, href, name, digests) in cases {
        let descriptor = ovf(href);
        let digests = manifest(&descriptor, digests);
        let full = |name: &str| format!("{prefix}{name}");
        let (ovf_name, mf_name, disk_name) = (full("x.ovf"), full("x.mf"), full(name));
        let mut files: Vec<(&str, &[u8])> =
            vec![(&ovf_name, &descriptor), (&mf_name, &digests), (&disk_name, &disk)];
        for turn in 0..3 {
            fs::write(&path, archive(&files)).unwrap();
            let context = format!("{prefix:?} {href:?} turn {turn}");
            let image = open(&path).unwrap_or_else(|e| panic!("{context}: {e}"));
            assert_eq!(image.volume.size(), 1 << 20, "{context}");
            let names = format::disks(&ImageRequest::named(&path)).unwrap();
            assert_eq!(names.len(), 1, "{context}");
            for chosen in [&names[0], &disk_name, &format!("./{disk_name}")] {
                open(&member(&path, chosen)).unwrap_or_else(|e| panic!("{context}: {e}"));
            }
            // The digests are looked at, wherever the descriptor stands and however the disk is named.
            let mut damaged = files.clone();
            let mut other = disk.clone();
            *other.last_mut().unwrap() ^= 1;
            damaged.iter_mut().filter(|it| it.0 == disk_name).for_each(|it| it.1 = &other);
            fs::write(&path, archive(&damaged)).unwrap();
            for chosen in [path.clone(), member(&path, &disk_name)] {
                assert_eq!(open(&chosen).unwrap_err().kind(), Kind::Mismatch, "{context}");
            }
            files.rotate_left(1);
        }
    }
}

#[test]
fn a_folder_or_the_shadow_of_a_file_may_come_first() {
    let dir = common::scratch();
    let path = dir.path().join("a.ova");
    let (disk, descriptor) = (vmdk(16), ovf("d.vmdk"));
    let shadow = [&b"\0\x05\x16\x07"[..], &[0; 100]].concat();
    let files: [(&str, &[u8]); 4] = [
        ("./._x.ovf", &shadow),
        ("./x.ovf", &descriptor),
        ("./._d.vmdk", &shadow),
        ("./d.vmdk", &disk),
    ];
    let mut folder = layout::encode("./", 0);
    folder[156] = b'5';
    layout::seal(&mut folder);
    fs::write(&path, [&folder[..], &archive(&files)].concat()).unwrap();
    let image = open(&path).unwrap();
    assert_eq!((image.format.name, image.volume.size()), ("ova", 1 << 20));
    // A disk and its shadow are one file.
    fs::write(&path, archive(&[("._d.vmdk", &shadow), ("d.vmdk", &disk)])).unwrap();
    assert_eq!(open(&path).unwrap().volume.size(), 1 << 20);
}

#[test]
fn a_member_is_found_as_the_listing_shows_it() {
    let dir = common::scratch();
    let path = dir.path().join("t.tar");
    fs::write(&path, archive(&[("./a.raw", &[0xd1; 512]), ("sub//b.raw", &[0xd2; 1024])])).unwrap();
    let error = open(&path).unwrap_err();
    assert!(error.to_string().contains("\"./a.raw\""), "{error}");
    let Some(Advice::NameMember { example }) = error.advice() else { panic!("{error}") };
    assert_eq!(open(Path::new(example)).unwrap().volume.size(), 512);
    for (name, size) in [
        ("./a.raw", 512),
        ("a.raw", 512),
        ("/a.raw", 512),
        ("sub//b.raw", 1024),
        ("sub/b.raw", 1024),
        ("./sub/b.raw", 1024),
    ] {
        assert_eq!(open(&member(&path, name)).unwrap().volume.size(), size, "{name}");
    }
    assert!(open(&member(&path, "b.raw")).is_err());
    // A name that is not text is a name.
    let mut bytes = archive(&[("a.raw", &[0xd1; 512])]);
    bytes[..3].copy_from_slice(b"\xe9.r");
    layout::seal(bytes.first_chunk_mut().unwrap());
    fs::write(&path, bytes).unwrap();
    assert_eq!(open(&path).unwrap().volume.size(), 512);
    assert_eq!(open(&member(&path, "\\351.raw")).unwrap().volume.size(), 512);
}

// --- F-8 -----------------------------------------------------------------------------------------

#[test]
fn digests_are_read_in_every_spelling_and_never_passed_over() {
    let dir = common::scratch();
    let path = dir.path().join("a.ova");
    let (disk, descriptor) = (vmdk(17), ovf("d.vmdk"));
    let (of_ovf, of_disk) = (sha256(&descriptor), sha256(&disk));
    let other = "0".repeat(64);
    let opened = |mf_name: &str, lines: &str| {
        let files: [(&str, &[u8]); 3] =
            [("x.ovf", &descriptor), (mf_name, lines.as_bytes()), ("d.vmdk", &disk)];
        fs::write(&path, archive(&files)).unwrap();
        open(&path).map(|image| image.volume.size()).map_err(|e| (e.kind(), e.to_string()))
    };
    for line in [
        "SHA256(NAME)= HEX\n",
        "SHA256 (NAME) = HEX\n",
        "SHA2-256(NAME)= HEX\n",
        "SHA-256(NAME)= HEX\r\n",
        "sha256(NAME)=HEX\n",
        "HEX  NAME\n",
        "HEX *./NAME\n",
    ] {
        let lines = |disk: &str| {
            let of = |name: &str, hex: &str| line.replace("NAME", name).replace("HEX", hex);
            of("x.ovf", &of_ovf) + &of("d.vmdk", disk)
        };
        // A name that is not the descriptor's counts where there is no other.
        for mf_name in ["x.mf", "X.MF", "manifest.mf"] {
            assert_eq!(opened(mf_name, &lines(&of_disk)), Ok(1 << 20), "{line}");
            let (kind, text) = opened(mf_name, &lines(&other)).unwrap_err();
            assert_eq!(kind, Kind::Mismatch, "{mf_name}, {line}: {text}");
        }
    }
    let (kind, text) =
        opened("x.mf", &format!("SHA256(x.ovf)= {of_ovf}\nMD5(d.vmdk)= 00\n")).unwrap_err();
    assert_eq!(kind, Kind::Unsupported);
    assert!(
        text.contains("MD5") && text.contains("SHA-256 or") || text.contains("SHA-512"),
        "{text}"
    );
}
