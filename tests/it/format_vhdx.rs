//! VHDX images against qemu-img, against libvhdi, against hostile bytes, and against themselves.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use amikit::internals::digest::crc32c;
use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::field;
use amikit::internals::format;
use amikit::internals::format::Format;
use amikit::internals::format::ImageRequest;
use amikit::internals::format::OpenedImage;
use amikit::internals::units::ExtentKind;
use amikit::internals::volume::ReadVolume;
use amikit::internals::work::Unwatched;

use crate::common;
use crate::common::Random;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn vhdx() -> &'static Format {
    format::by_name("vhdx").unwrap()
}

fn open(path: &Path) -> Result<OpenedImage, Error> {
    format::open(&ImageRequest::of(path), &Unwatched)
}

fn qemu_img(args: &[&str], paths: &[&Path]) -> Vec<u8> {
    common::run_tool(Command::new("qemu-img").args(args).args(paths))
}

/// Converts an image to raw by qemu-img and returns the bytes.
fn qemu_reads(path: &Path) -> Vec<u8> {
    let raw = path.with_extension("qemu.raw");
    let _ = fs::remove_file(&raw);
    qemu_img(&["convert", "-f", "vhdx", "-O", "raw"], &[path, &raw]);
    fs::read(raw).unwrap()
}

// --- qemu-img ------------------------------------------------------------------------------------

#[test]
fn what_qemu_img_writes_reads_as_it_reads_it() {
    if !common::installed("qemu-img") {
        return;
    }
    let dir = common::scratch();
    let [raw, image] = ["a.raw", "a.vhdx"].map(|name| dir.path().join(name));
    for seed in 0..common::sample(64) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let unit = if seed % 3 == 0 { 1 } else { 512 };
        let size = unit * (1 + random.below((9 << 20) / unit));
        common::write_dense(&common::random_volume(size, &mut random), &raw);
        let subformat = if seed % 4 == 0 { "fixed" } else { "dynamic" };
        let block = 1 << random.below(if subformat == "fixed" { 4 } else { 9 });
        let zero = if seed % 2 == 0 { "on" } else { "off" };
        let log = 1 + random.below(3);
        let options = format!(
            "subformat={subformat},block_size={block}M,block_state_zero={zero},log_size={log}M"
        );
        println!("{options}");
        let _ = fs::remove_file(&image);
        qemu_img(&["convert", "-f", "raw", "-O", "vhdx", "-o", &options], &[&raw, &image]);
        let ours = open(&image).unwrap();
        assert_eq!(ours.format.name, "vhdx");
        let theirs = qemu_reads(&image);
        assert!(common::bytes_of(&ours.volume) == theirs);
        let plain = fs::read(&raw).unwrap();
        assert!(theirs[..plain.len()] == plain);
        // A block without data is as the image was made; qemu-img's map says data of all.
        let absent = if zero == "on" { ExtentKind::Zero } else { ExtentKind::Hole };
        let mut at = 0;
        while subformat == "dynamic" && at < theirs.len() {
            let end = theirs.len().min(at + block * MIB);
            let extent = ours.volume.extent_at(at as u64).unwrap();
            if extent.kind == ExtentKind::Data {
                assert!(theirs[at..end].iter().any(|byte| *byte != 0), "byte {at}");
            } else {
                assert_eq!(extent.kind, absent);
            }
            at = end;
        }
    }
}

#[test]
fn what_we_write_reads_the_same_for_qemu_img() {
    if !common::installed("qemu-img") {
        return;
    }
    let dir = common::scratch();
    let image = dir.path().join("a.vhdx");
    for seed in 100..100 + common::sample(64) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let unit = [1, 512, 4096][seed as usize % 3];
        let size = unit * (1 + random.below((9 << 20) / unit));
        let source = common::random_volume(size, &mut random);
        let mut padded = common::bytes_of(&source);
        padded.resize(padded.len().next_multiple_of(512), 0);
        common::write_unsynced(&source, &image, common::writer("vhdx"), 1 + seed as usize % 3);
        qemu_img(&["check", "-q", "-f", "vhdx"], &[&image]);
        assert!(qemu_reads(&image) == padded);
    }
}

/// What another tool wrote into our image is read back too.
#[test]
fn qemu_io_writes_into_an_image_of_ours() {
    if !common::installed("qemu-io") {
        return;
    }
    let dir = common::scratch();
    let image = dir.path().join("a.vhdx");
    let mut random = Random::with_seed(1);
    let source = common::random_volume(9 << 20, &mut random);
    common::write_unsynced(&source, &image, common::writer("vhdx"), 2);
    let mut expected = common::bytes_of(&source);
    let mut command = Command::new("qemu-io");
    command.args(["-f", "vhdx"]);
    for _ in 0..20 {
        let start = random.below(8 << 11) as usize * 512;
        let len = 512 * (1 + random.below(2000)) as usize;
        let byte = random.next() as u8;
        let end = expected.len().min(start + len);
        expected[start..end].fill(byte);
        command.arg("-c").arg(format!("write -P {byte} {start} {}", end - start));
    }
    common::run_tool(command.arg(&image));
    let opened = open(&image).unwrap();
    assert!(common::bytes_of(&opened.volume) == expected);
    qemu_img(&["check", "-q", "-f", "vhdx"], &[&image]);
}

// --- libvhdi -------------------------------------------------------------------------------------

#[test]
fn libvhdi_reads_what_we_write() {
    let dir = common::scratch();
    let image = dir.path().join("a.vhdx");
    for seed in 200..212 {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let source = common::random_volume(512 * (1 + random.below(16 << 10)), &mut random);
        common::write_unsynced(&source, &image, common::writer("vhdx"), 2);
        let Some(theirs) = common::libvhdi_reads(&image) else { return };
        assert!(theirs == common::bytes_of(&source));
    }
}

// --- hostile bytes -------------------------------------------------------------------------------

/// A small image of ours with blocks of every state, in a file that is written over in place.
struct Small {
    sound: Vec<u8>,
    bytes: Vec<u8>,
    file: File,
    path: std::path::PathBuf,
}

impl Small {
    fn new(dir: &Path) -> Self {
        let path = dir.join("a.vhdx");
        // The last block, which the volume has only a part of, must be stored.
        let source = (0..100)
            .map(|seed| common::random_volume((7 << 20) + 1024, &mut Random::with_seed(seed)))
            .find(|volume| volume.extent_at(7 << 20).unwrap().kind == ExtentKind::Data)
            .unwrap();
        common::write_unsynced(&source, &path, common::writer("vhdx"), 1);
        let sound = fs::read(&path).unwrap();
        let image = open(&path).unwrap();
        let bytes = common::bytes_of(&image.volume);
        let file = File::options().write(true).open(&path).unwrap();
        Self { sound, bytes, file, path }
    }

    /// Opens the image with some bytes changed and, if `seal` says so, with its sums right.
    fn with(&self, changes: &[(usize, u8)], seal: bool) -> Result<OpenedImage, Error> {
        for &(at, byte) in changes {
            self.file.write_all_at(&[byte], at as u64).unwrap();
        }
        let mut sums = Vec::new();
        if seal {
            // Both headers, and the region table's copy as the table itself.
            let mut tables = self.sound[..320 * KIB].to_vec();
            for &(at, byte) in changes.iter().filter(|change| change.0 < 256 * KIB) {
                tables[at] = byte;
            }
            tables.copy_within(192 * KIB..256 * KIB, 256 * KIB);
            for (at, len) in
                [(64, 4), (128, 4), (192, 64), (256, 64)].map(|(at, len)| (at * KIB, len * KIB))
            {
                field::put_u32_le(&mut tables, at + 4, 0);
                let sum = crc32c(&tables[at..][..len]);
                field::put_u32_le(&mut tables, at + 4, sum);
                sums.push((at, tables[at..][..4096].to_vec()));
            }
        }
        for (at, bytes) in &sums {
            self.file.write_all_at(bytes, *at as u64).unwrap();
        }
        let opened = open(&self.path);
        if let Ok(image) = &opened {
            let size = image.volume.size();
            assert!(size <= 64 << 40);
            let mut buf = vec![0; size.min(64 << 10) as usize];
            image.volume.read_at(0, &mut buf).unwrap();
            image.volume.read_at(size - buf.len() as u64, &mut buf).unwrap();
        }
        for (at, bytes) in &sums {
            self.file.write_all_at(&self.sound[*at..][..bytes.len()], *at as u64).unwrap();
        }
        for &(at, _) in changes {
            self.file.write_all_at(&self.sound[at..=at], at as u64).unwrap();
        }
        opened
    }
}

/// Where the metadata stands that is not padding.
fn places() -> impl Iterator<Item = usize> {
    let heads = (0..8).chain(64 * KIB..64 * KIB + 96).chain(128 * KIB..128 * KIB + 96);
    let tables = (192 * KIB..192 * KIB + 100).chain(2 * MIB..2 * MIB + 200);
    let items = 2 * MIB + 64 * KIB..2 * MIB + 64 * KIB + 60;
    heads.chain(tables).chain(items).chain(3 * MIB..3 * MIB + 80)
}

#[test]
fn no_byte_of_the_metadata_does_harm() {
    let dir = common::scratch();
    let small = Small::new(dir.path());
    let extents = common::extents_of(&open(&small.path).unwrap().volume);
    let (mut refused, mut same) = (0, 0);
    for at in places() {
        for byte in [0, 1, 0x7f, 0xff] {
            if small.sound[at] == byte {
                continue;
            }
            match small.with(&[(at, byte)], false) {
                Ok(_) => same += 1,
                Err(e) => {
                    assert_ne!(e.kind(), Kind::Io, "byte {at}: {e}");
                    refused += 1;
                }
            }
            // Headers and region tables have a second copy: as long as that is sound, so is all.
            if (64 * KIB..MIB).contains(&at) {
                let image = small.with(&[(at, byte)], false).unwrap();
                assert_eq!(common::extents_of(&image.volume), extents, "byte {at}");
                let _ = small.with(&[(at, byte)], true);
            }
        }
    }
    // Sums are checked of two copies, and most of an id may be anything.
    assert!(refused > 400 && same > 400, "{refused} refused, {same} read");
    assert!(common::bytes_of(&open(&small.path).unwrap().volume) == small.bytes);
}

#[test]
fn no_cut_image_is_taken_for_a_whole_one() {
    let dir = common::scratch();
    let small = Small::new(dir.path());
    let end = small.sound.len();
    // The last block ends behind the volume, and only what the volume has of it must be there.
    let needed = end - MIB + 1024;
    let mut lens: Vec<usize> = (5 * MIB..needed).step_by(16_411).chain([needed - 1]).collect();
    lens.extend((1..5 * MIB).step_by(4001));
    lens.extend(places());
    lens.sort_unstable();
    // From the longest on, so that nothing is ever written again.
    for len in lens.into_iter().rev().filter(|len| *len != 0) {
        small.file.set_len(len as u64).unwrap();
        let request = ImageRequest { format: Some(vhdx()), ..ImageRequest::of(&small.path) };
        let error = format::open(&request, &Unwatched).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{len} bytes: {error}");
    }
    small.file.set_len(needed as u64).unwrap();
    small.file.write_all_at(&small.sound[..needed], 0).unwrap();
    assert!(common::bytes_of(&open(&small.path).unwrap().volume) == small.bytes);
}

#[test]
fn random_damage_never_panics() {
    let dir = common::scratch();
    let small = Small::new(dir.path());
    let places: Vec<usize> = places().collect();
    for seed in 0..common::sample(2000) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let changes: Vec<(usize, u8)> = (0..=random.below(4))
            .map(|_| {
                let place = random.below(places.len() as u64) as usize;
                (places[place], random.next() as u8)
            })
            .collect();
        let _ = small.with(&changes, random.below(3) != 0);
    }
}

// --- round trips ---------------------------------------------------------------------------------

/// The state that a block of the volume must have in an image: the slow twin of the writer.
fn state_of(volume: &dyn ReadVolume, start: u64, bytes: &[u8]) -> ExtentKind {
    let end = start + bytes.len() as u64;
    let extent = volume.extent_at(start).unwrap();
    if extent.kind == ExtentKind::Hole && extent.range.end >= end.min(volume.size()) {
        ExtentKind::Hole
    } else if bytes.iter().all(|byte| *byte == 0) {
        ExtentKind::Zero
    } else {
        ExtentKind::Data
    }
}

#[test]
fn volumes_come_back_with_their_bytes_and_states() {
    let dir = common::scratch();
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    for seed in 300..300 + common::sample(60) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let unit = [1, 512, 4096][seed as usize % 3];
        let size = unit * (1 + random.below((10 << 20) / unit));
        let source = common::random_volume(size, &mut random);
        let mut bytes = common::bytes_of(&source);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        common::write_unsynced(&source, &one, common::writer("vhdx"), 1);
        common::write_unsynced(&source, &two, common::writer("vhdx"), 3);
        assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
        let image = open(&one).unwrap();
        assert!(common::bytes_of(&image.volume) == bytes);
        for (block, bytes) in bytes.chunks(MIB).enumerate() {
            let start = (block * MIB) as u64;
            let found = image.volume.extent_at(start).unwrap().kind;
            assert_eq!(found, state_of(&source, start, bytes), "block {block}");
        }
        // What was read back is written to the same bytes again.
        common::write_unsynced(&image.volume, &two, common::writer("vhdx"), 2);
        assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
    }
}

#[test]
fn an_image_is_committed_whole() {
    let dir = common::scratch();
    let path = dir.path().join("a.vhdx");
    let source = common::random_volume((3 << 20) + 5, &mut Random::with_seed(5));
    common::write_image(&source, &path, common::writer("vhdx"), 2);
    let mut bytes = common::bytes_of(&source);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    assert!(common::bytes_of(&open(&path).unwrap().volume) == bytes);
}

#[test]
fn the_largest_volume_is_written_and_read() {
    let dir = common::scratch();
    let image = dir.path().join("big.vhdx");
    let mut map = amikit::internals::volume::RunMap::default();
    map.push((64 << 40) - 512, amikit::internals::volume::Place::Hole);
    map.push(512, amikit::internals::volume::Place::Fill(*b"word"));
    let source = amikit::internals::volume::Volume::new(map, Vec::new()).unwrap();
    common::write_unsynced(&source, &image, common::writer("vhdx"), 2);
    let opened = open(&image).unwrap();
    assert_eq!(opened.volume.size(), 64 << 40);
    let mut word = [0; 4];
    opened.volume.read_at((64 << 40) - 4, &mut word).unwrap();
    assert_eq!(&word, b"word");
    let extents = common::extents_of(&opened.volume);
    assert_eq!(extents.len(), 2);
    assert_eq!(extents[0], (0, (64 << 40) - (64 << 20), "hole".to_owned()));
    if common::installed("qemu-img") {
        qemu_img(&["check", "-q", "-f", "vhdx"], &[&image]);
    }
}
