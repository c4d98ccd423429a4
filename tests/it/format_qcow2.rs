//! qcow2 against qemu-img, against hostile bytes and against itself.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use std::fmt::Write as _;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use amikit::internals::error::Advice;
use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::format;
use amikit::internals::format::Format;
use amikit::internals::format::ImageRequest;
use amikit::internals::format::OpenedImage;
use amikit::internals::format::WriteOptions;
use amikit::internals::format::gate::Gate;
use amikit::internals::io::Target;
use amikit::internals::units::ExtentKind;
use amikit::internals::units::MAX_VOLUME_SIZE;
use amikit::internals::volume::Place;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::RunMap;
use amikit::internals::volume::Volume;
use amikit::internals::work::Unwatched;

use crate::common;
use crate::common::Random;

const ROWS: [&str; 3] = ["qcow2", "qcow2-zstd", "qcow2-zlib"];

/// Bytes of a cluster that we write.
const CLUSTER: u64 = 64 << 10;

fn named(name: &str) -> &'static Format {
    format::by_name(name).unwrap()
}

fn open(path: &Path) -> Result<OpenedImage, Error> {
    format::open(&ImageRequest::of(path), &Unwatched)
}

fn open_with(path: &Path, gate: Gate) -> Result<OpenedImage, Error> {
    format::open(&ImageRequest { gate, ..ImageRequest::of(path) }, &Unwatched)
}

fn beside() -> Gate {
    Gate { beside: true, parents: Vec::new() }
}

fn force(path: &Path) -> Result<OpenedImage, Error> {
    format::open(&ImageRequest { force: true, ..ImageRequest::of(path) }, &Unwatched)
}

fn qemu_img() -> bool {
    common::installed("qemu-img") && common::installed("qemu-io")
}

/// The bytes that qemu-img reads out of an image.
fn their_bytes(image: &Path, dir: &Path) -> Vec<u8> {
    let raw = dir.join("theirs.raw");
    common::run_tool(
        Command::new("qemu-img").args(["convert", "-f", "qcow2", "-O", "raw"]).arg(image).arg(&raw),
    );
    fs::read(raw).unwrap()
}

/// The states that qemu-img tells; `None` where it looks into the file's own holes.
fn their_extents(image: &Path) -> Vec<(u64, u64, String)> {
    let told = common::run_tool(
        Command::new("qemu-img").args(["map", "--output=json", "-f", "qcow2"]).arg(image),
    );
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&told).unwrap();
    let mut extents: Vec<(u64, u64, String)> = Vec::new();
    for row in rows {
        let is = |name: &str| row[name].as_bool().unwrap();
        // Data that is zero too is a cluster in a hole of the file.
        let kind = match (is("data"), is("present")) {
            (true, _) => "data",
            (false, true) => "zero",
            (false, false) => "hole",
        };
        let len = row["length"].as_u64().unwrap();
        match extents.last_mut() {
            Some(last) if last.2 == kind => last.1 += len,
            _ => extents.push((row["start"].as_u64().unwrap(), len, kind.to_owned())),
        }
    }
    extents
}

fn check(image: &Path) {
    common::run_tool(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(image));
}

fn create(args: &[&str], image: &Path, size: u64) {
    common::run_tool(
        Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .args(args)
            .arg(image)
            .arg(size.to_string()),
    );
}

fn qemu_io(image: &Path, commands: &[&str]) {
    let mut command = Command::new("qemu-io");
    for one in commands {
        command.args(["-c", one]);
    }
    common::run_tool(command.args(["-f", "qcow2"]).arg(image));
}

/// Writes data, zeros and holes at random places.
fn scribble(image: &Path, size: u64, random: &mut Random) {
    let mut commands = Vec::new();
    for _ in 0..=random.below(12) {
        let sectors = size / 512;
        let start = random.below(sectors);
        let len = 1 + random.below((sectors - start).min(256));
        let (start, len) = (start * 512, len * 512);
        commands.push(match random.below(6) {
            0 => format!("write -z {start} {len}"),
            1 => format!("write -zu {start} {len}"),
            2 => format!("discard {start} {len}"),
            _ => format!("write -P {} {start} {len}", random.below(256)),
        });
    }
    qemu_io(image, &commands.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Options of an image, drawn so that each kind comes.
fn random_options(random: &mut Random) -> (String, bool) {
    let bits = 9 + random.below(13);
    let mut options = format!("cluster_size={}", 1_u64 << bits);
    let old = random.below(5) == 0;
    if old {
        options += ",compat=0.10";
    } else {
        options += ",compat=1.1";
        options += [",compression_type=zlib", ",compression_type=zstd"][random.below(2) as usize];
        if random.below(3) == 0 {
            write!(options, ",refcount_bits={}", 1 << random.below(7)).unwrap();
        }
        if bits >= 14 && random.below(2) == 0 {
            options += ",extended_l2=on";
        }
    }
    (options, old)
}

// --- what qemu-img makes -------------------------------------------------------------------------

#[test]
fn images_of_qemu_img_read_as_it_reads_them() {
    if !qemu_img() {
        return;
    }
    let dir = common::scratch();
    let [raw, image] = ["a.raw", "a.qcow2"].map(|name| dir.path().join(name));
    for seed in 0..common::sample(70) {
        let mut random = Random::with_seed(seed);
        let (options, old) = random_options(&mut random);
        println!("seed {seed}: {options}");
        let size = 1 + random.below(3 << 20);
        common::random_file(&raw, size, &mut random);
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", "qcow2", "-o", &options]);
        if random.below(3) > 0 {
            convert.arg("-c");
        }
        common::run_tool(convert.arg(&raw).arg(&image));
        if random.below(2) == 0 && !options.contains("refcount_bits") {
            scribble(&image, size.next_multiple_of(512), &mut random);
        }
        let ours = open(&image).unwrap();
        assert_eq!(ours.format.name, "qcow2");
        assert!(common::bytes_of(&ours.volume) == their_bytes(&image, dir.path()), "seed {seed}");
        // Version 2 has no zero clusters, and qemu-img tells what it discards in its own way.
        if !old {
            assert_eq!(common::extents_of(&ours.volume), their_extents(&image), "seed {seed}");
        }
    }
}

#[test]
fn preallocated_and_extended_images_read_as_they_are() {
    if !qemu_img() {
        return;
    }
    let dir = common::scratch();
    let image = dir.path().join("a.qcow2");
    for how in ["off", "metadata", "falloc", "full"] {
        for size in [1 << 20, 1_000_448, 512] {
            create(&["-o", &format!("preallocation={how}")], &image, size);
            let ours = open(&image).unwrap();
            let kind = if how == "off" { "hole" } else { "data" };
            assert_eq!(common::extents_of(&ours.volume), [(0, size, kind.to_owned())]);
            assert!(common::bytes_of(&ours.volume).iter().all(|byte| *byte == 0));
            // Zeros over clusters that are there stay there as zero clusters.
            qemu_io(&image, &["write -z 0 512"]);
            assert_eq!(common::extents_of(&open(&image).unwrap().volume), their_extents(&image));
        }
    }
    create(&["-o", "extended_l2=on"], &image, 1 << 20);
    qemu_io(&image, &["write -P 3 4k 2k", "write -z 20k 8k"]);
    let kib = |start: u64, len: u64, kind: &str| (start << 10, len << 10, kind.to_owned());
    let expected = [
        kib(0, 4, "hole"),
        kib(4, 2, "data"),
        kib(6, 14, "hole"),
        kib(20, 8, "zero"),
        kib(28, 996, "hole"),
    ];
    assert_eq!(common::extents_of(&open(&image).unwrap().volume), expected);
}

#[test]
fn the_active_state_of_an_image_with_snapshots_is_read() {
    if !qemu_img() {
        return;
    }
    let dir = common::scratch();
    let image = dir.path().join("a.qcow2");
    create(&[], &image, 1 << 20);
    qemu_io(&image, &["write -P 1 0 512k"]);
    common::run_tool(Command::new("qemu-img").args(["snapshot", "-c", "then"]).arg(&image));
    qemu_io(&image, &["write -P 2 64k 64k"]);
    let volume = open(&image).unwrap().volume;
    assert!(common::bytes_of(&volume) == their_bytes(&image, dir.path()));
}

#[test]
fn chains_read_as_qemu_img_reads_them() {
    if !qemu_img() {
        return;
    }
    let dir = common::scratch();
    for seed in 0..common::sample(25) {
        let mut random = Random::with_seed(seed);
        let mut below: Option<(String, &str)> = None;
        let mut files = Vec::new();
        for number in 0..2 + random.below(3) {
            let name = format!("{seed}-{number}");
            let path = dir.path().join(&name);
            let size = 512 * (1 + random.below(2000));
            if number == 0 && random.below(2) == 0 {
                // A raw file at the bottom may have any length.
                common::random_file(&path, size - random.below(512), &mut random);
                below = Some((name, "raw"));
            } else {
                let (options, old) = random_options(&mut random);
                println!("seed {seed}, {number}: {options}");
                let mut args = vec!["-o", &options];
                if let Some((name, format)) = &below {
                    args.extend(["-b", name, "-F", format]);
                }
                create(&args, &path, size);
                if !old && !options.contains("refcount_bits") {
                    scribble(&path, size, &mut random);
                } else {
                    qemu_io(&path, &["write -P 7 0 512"]);
                }
                below = Some((name, "qcow2"));
            }
            files.push(path);
        }
        let top = files.last().unwrap();
        let ours = open_with(top, beside()).unwrap();
        assert!(common::bytes_of(&ours.volume) == their_bytes(top, dir.path()), "seed {seed}");
        // The user can name each file, wherever it lies.
        let parents: Vec<PathBuf> = files.iter().rev().skip(1).cloned().collect();
        let named = open_with(top, Gate { beside: false, parents }).unwrap();
        assert!(common::bytes_of(&named.volume) == common::bytes_of(&ours.volume));
        assert_eq!(open(top).unwrap_err().kind(), Kind::Unsupported);
    }
}

// --- backing files -------------------------------------------------------------------------------

#[test]
fn a_backing_file_without_a_magic_is_raw_only_if_the_image_says_so() {
    if !qemu_img() {
        return;
    }
    let dir = common::scratch();
    let [top, base] = ["top", "base"].map(|name| dir.path().join(name));
    fs::write(&base, [7; 4096]).unwrap();
    create(&["-u", "-b", "base", "-F", "raw"], &top, 4096);
    let text = || open_with(&top, beside()).unwrap_err().to_string();
    assert_eq!(common::bytes_of(&open_with(&top, beside()).unwrap().volume), [7; 4096]);

    let bytes = fs::read(&top).unwrap();
    let at = bytes.windows(4).position(|four| four == [0xe2, 0x79, 0x2a, 0xca]).unwrap();
    let put = |at: usize, new: &[u8]| {
        let file = OpenOptions::new().write(true).open(&top).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file.write_all_at(new, at as u64).unwrap();
    };
    put(at + 8, b"abc");
    assert!(text().contains("expected raw or qcow2") && text().contains("\"abc\""), "{}", text());
    put(at, &[1]);
    assert!(text().contains("does not name the format of its backing file"), "{}", text());
    // With a magic it is what that says.
    create(&[], &base, 8192);
    qemu_io(&base, &["write -P 9 0 8192"]);
    assert_eq!(common::bytes_of(&open_with(&top, beside()).unwrap().volume), [9; 4096]);
    // And named raw it is raw, whatever it looks like.
    put(at, &[0xe2]);
    let raw = common::bytes_of(&open_with(&top, beside()).unwrap().volume);
    assert_eq!(raw, fs::read(&base).unwrap()[..4096]);
    fs::write(&base, b"").unwrap();
    assert_eq!(common::bytes_of(&open_with(&top, beside()).unwrap().volume), [0; 4096]);
    put(at + 8, b"qcow2");
    assert!(open_with(&top, beside()).is_err());
}

#[test]
fn a_chain_that_comes_back_is_refused() {
    if !qemu_img() {
        return;
    }
    let dir = common::scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    create(&["-u", "-b", "b", "-F", "qcow2"], &a, 4096);
    create(&["-u", "-b", "a", "-F", "qcow2"], &b, 4096);
    let error = open_with(&a, beside()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("already in the chain"), "{error}");
    create(&["-u", "-b", "/etc/passwd", "-F", "raw"], &a, 4096);
    let error = open_with(&a, beside()).unwrap_err();
    assert!(error.to_string().contains("plain name"), "{error}");
}

#[test]
fn a_marked_image_is_read_only_by_force() {
    let dir = common::scratch();
    let path = dir.path().join("a");
    let Small { bytes, .. } = small(true);
    for (bit, kind) in [(1, Kind::Unsupported), (2, Kind::Corrupt)] {
        let mut marked = bytes.clone();
        marked[79] |= bit;
        fs::write(&path, &marked).unwrap();
        let error = open(&path).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(matches!(error.advice(), Some(Advice::Force { .. })), "{error}");
        force(&path).unwrap();
    }
}

// --- hostile bytes -------------------------------------------------------------------------------

/// A small image that we made, its volume and where its last table ends.
struct Small {
    bytes: Vec<u8>,
    volume: Vec<u8>,
    /// Byte of the first L2 table.
    table: usize,
}

/// Data, holes and zeros in ten clusters, some of the data packed if asked for.
fn small(packed: bool) -> Small {
    let mut map = RunMap::default();
    map.push(CLUSTER, Place::Fill(*b"wxyz"));
    map.push(CLUSTER, Place::Hole);
    map.push(2 * CLUSTER, Place::Zero);
    map.push(CLUSTER, Place::Stored { source: 0, offset: 0 });
    map.push(5 * CLUSTER - 512, Place::Fill(*b"abcd"));
    let mut noise = vec![0; CLUSTER as usize];
    Random::with_seed(1).fill(&mut noise);
    let volume = Volume::new(map, vec![Arc::new(noise).into()]).unwrap();
    let dir = common::scratch();
    let path = dir.path().join("small");
    common::write_image(&volume, &path, common::writer(ROWS[usize::from(packed)]), 1);
    let bytes = fs::read(&path).unwrap();
    let l1 = u64::from_be_bytes(*bytes[2 * CLUSTER as usize..].first_chunk().unwrap());
    let table = (l1 & !(1 << 63)) as usize;
    Small { bytes, volume: common::bytes_of(&volume), table }
}

/// Opens an image that may be anything and reads a part of it.
fn try_to_read(path: &Path) {
    let Ok(image) = force(path) else { return };
    let size = image.volume.size();
    assert!(size <= MAX_VOLUME_SIZE);
    let mut buf = vec![0; size.min(256 << 10) as usize];
    let _ = image.volume.read_at(0, &mut buf);
    let _ = image.volume.read_at(size - buf.len() as u64, &mut buf);
}

#[test]
fn no_byte_of_the_metadata_does_harm() {
    let dir = common::scratch();
    let path = dir.path().join("image");
    for packed in [false, true] {
        let Small { bytes, volume, table } = small(packed);
        fs::write(&path, &bytes).unwrap();
        assert!(common::bytes_of(&open(&path).unwrap().volume) == volume);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let l1 = 2 * CLUSTER as usize;
        for at in (0..120).chain(l1..l1 + 8).chain(table..table + 88) {
            for byte in [0, 1, 0x7f, 0xff] {
                file.write_all_at(&[byte], at as u64).unwrap();
                try_to_read(&path);
            }
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
        assert!(common::bytes_of(&open(&path).unwrap().volume) == volume);
    }
}

#[test]
fn no_cut_image_is_taken_for_a_whole_one() {
    let dir = common::scratch();
    let path = dir.path().join("image");
    for packed in [false, true] {
        let Small { bytes, table, .. } = small(packed);
        fs::write(&path, &bytes).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        // The refcount block behind the L2 table is not read.
        let end = table + CLUSTER as usize;
        let l1 = 2 * CLUSTER as usize;
        let near = |at: usize| at - 9..at + 9;
        let cuts = (1..130).chain(near(l1)).chain(l1..l1 + 20).chain(near(table)).chain(near(end));
        for len in cuts {
            file.set_len(len as u64).unwrap();
            file.write_all_at(&bytes[..len], 0).unwrap();
            let opened = format::open(
                &ImageRequest { format: Some(named("qcow2")), ..ImageRequest::of(&path) },
                &Unwatched,
            );
            let kind = opened.map(|_| ()).map_err(|e| e.kind());
            let expected = if len < end { Err(Kind::Corrupt) } else { Ok(()) };
            assert_eq!(kind, expected, "{len} bytes");
        }
    }
}

#[test]
fn random_damage_never_panics() {
    let dir = common::scratch();
    let path = dir.path().join("image");
    let images = [small(false), small(true)];
    fs::write(&path, b"").unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for seed in 0..common::sample(1500) {
        let mut random = Random::with_seed(seed);
        let Small { bytes, table, .. } = &images[random.below(2) as usize];
        if seed % 50 == 0 {
            file.set_len(bytes.len() as u64).unwrap();
        }
        let mut hurt = bytes.clone();
        for _ in 0..=random.below(4) {
            let start =
                [0, 2 * CLUSTER as usize, *table, 3 * CLUSTER as usize][random.below(4) as usize];
            hurt[start + random.below(112) as usize] = random.next() as u8;
        }
        file.write_all_at(&hurt, 0).unwrap();
        // The seed of a panic is the last one printed.
        println!("seed {seed}");
        let _ = open(&path);
        try_to_read(&path);
    }
}

/// A header of an image in clusters of `1 << bits` bytes, with its L1 table in cluster 1.
fn header(bits: u32, size: u64, l1_entries: u32) -> Vec<u8> {
    let mut bytes = vec![0; 112];
    bytes[..4].copy_from_slice(b"QFI\xfb");
    bytes[7] = 3;
    bytes[20..24].copy_from_slice(&bits.to_be_bytes());
    bytes[24..32].copy_from_slice(&size.to_be_bytes());
    bytes[36..40].copy_from_slice(&l1_entries.to_be_bytes());
    bytes[40..48].copy_from_slice(&(1_u64 << bits).to_be_bytes());
    bytes[99] = 4;
    bytes[103] = 112;
    bytes
}

#[test]
fn bombs_are_refused_at_once() {
    let dir = common::scratch();
    let path = dir.path().join("bomb");
    let refused = |file: &File, kind: Kind, word: &str| {
        file.sync_all().unwrap();
        let begun = Instant::now();
        let error = open(&path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{word}: {:?}", begun.elapsed());
    };
    let fresh = || File::create(&path).unwrap();
    // 2 MiB clusters of 64 TiB, each entry one packed cluster: 2^25 runs of a few tables.
    let file = fresh();
    let tables = 24_u64;
    file.write_all_at(&header(21, tables << 39, tables as u32), 0).unwrap();
    let entries = (1_u64 << 62 | 512).to_be_bytes().repeat(1 << 18);
    for table in 0..tables {
        let at = (2 + table) << 21;
        file.write_all_at(&at.to_be_bytes(), (1 << 21) + table * 8).unwrap();
        file.write_all_at(&entries, at).unwrap();
    }
    refused(&file, Kind::Limit, "runs");
    // One table, named by each L1 entry.
    let file = fresh();
    file.write_all_at(&header(16, 8 << 40, 16_384), 0).unwrap();
    let table = (16_u64 << 16).to_be_bytes();
    file.write_all_at(&table.repeat(16_384), 1 << 16).unwrap();
    file.set_len(17 << 16).unwrap();
    refused(&file, Kind::Corrupt, "two L1 entries");
    // A sparse file with more tables than anybody wants to walk.
    let file = fresh();
    let tables: Vec<u8> =
        (0..65_536_u64).flat_map(|number| ((16 + number) << 16).to_be_bytes()).collect();
    file.write_all_at(&header(16, 32 << 40, 65_536), 0).unwrap();
    file.write_all_at(&tables, 1 << 16).unwrap();
    file.set_len(65_552 << 16).unwrap();
    refused(&file, Kind::Limit, "L2 tables have");
    // Half as many are walked, by hand a tenth of that: they are all hole.
    let walked = if common::sample(5) == 5 { 32_768_u32 } else { 3_200 };
    file.write_all_at(&header(16, u64::from(walked) << 29, walked), 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(common::extents_of(&open(&path).unwrap().volume).len(), 1);
    // An L1 table that is not there.
    let file = fresh();
    file.write_all_at(&header(21, 1 << 40, 4 << 20), 0).unwrap();
    refused(&file, Kind::Corrupt, "L1 table ends");
    file.write_all_at(&header(9, 64 << 40, 4 << 20), 0).unwrap();
    refused(&file, Kind::Corrupt, "L1 table has");
    file.write_all_at(&header(21, (64 << 40) + 512, 4 << 20), 0).unwrap();
    refused(&file, Kind::Limit, "64 TiB");
    file.write_all_at(&header(16, 0, 1), 0).unwrap();
    refused(&file, Kind::Invalid, "empty");
}

// --- what we write -------------------------------------------------------------------------------

/// States of clusters as we write them: a hole if all of it is, zero if its bytes are, else data.
fn cluster_states(volume: &dyn ReadVolume) -> Vec<ExtentKind> {
    let pages = common::page_states(volume);
    pages
        .chunks(CLUSTER as usize / 4096)
        .map(|pages| {
            if pages.contains(&ExtentKind::Data) {
                ExtentKind::Data
            } else if pages.contains(&ExtentKind::Zero) {
                ExtentKind::Zero
            } else {
                ExtentKind::Hole
            }
        })
        .collect()
}

/// States of clusters by a list of extents that are whole clusters.
fn listed(extents: &[(u64, u64, String)]) -> Vec<ExtentKind> {
    let mut states = Vec::new();
    for (start, len, kind) in extents {
        assert_eq!(start % CLUSTER, 0);
        let kind = [ExtentKind::Data, ExtentKind::Zero, ExtentKind::Hole]
            .into_iter()
            .find(|known| known.name() == kind)
            .unwrap();
        states.extend(std::iter::repeat_n(kind, len.div_ceil(CLUSTER) as usize));
    }
    states
}

#[test]
fn what_we_write_comes_back_and_qemu_img_agrees() {
    let with_qemu = qemu_img();
    let dir = common::scratch();
    let [raw, image, other] = ["a.raw", "a.qcow2", "b.qcow2"].map(|name| dir.path().join(name));
    for seed in 0..common::sample(66) {
        let row = ROWS[seed as usize % 3];
        println!("seed {seed}: {row}");
        let mut random = Random::with_seed(seed);
        let size = 512 * (1 + random.below(8 << 11));
        common::random_file(&raw, size, &mut random);
        let volume = open(&raw).unwrap().volume;
        let (bytes, states) = (common::bytes_of(&volume), cluster_states(&volume));
        common::write_image(&volume, &image, common::writer(row), 2);

        let ours = open(&image).unwrap();
        assert_eq!(ours.format.name, "qcow2");
        assert!(common::bytes_of(&ours.volume) == bytes, "seed {seed}");
        assert_eq!(listed(&common::extents_of(&ours.volume)), states, "seed {seed}");

        // The same again, from the image itself and on one thread.
        common::write_image(&ours.volume, &other, common::writer(row), 1);
        assert!(fs::read(&image).unwrap() == fs::read(&other).unwrap(), "seed {seed}");
        if with_qemu {
            check(&image);
            assert!(their_bytes(&image, dir.path()) == bytes, "seed {seed}");
            assert_eq!(listed(&their_extents(&image)), states, "seed {seed}");
        }
    }
}

#[test]
fn a_length_that_qcow2_cannot_say_is_filled_up() {
    let dir = common::scratch();
    let path = common::expand(&common::entry("tail-odd.raw.zst"), dir.path());
    let volume = open(&path).unwrap().volume;
    let mut bytes = common::bytes_of(&volume);
    assert!(!bytes.len().is_multiple_of(512));
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    for row in ROWS {
        let image = dir.path().join(row);
        common::write_image(&volume, &image, common::writer(row), 2);
        assert!(common::bytes_of(&open(&image).unwrap().volume) == bytes, "{row}");
        if common::installed("qemu-img") {
            check(&image);
            assert!(their_bytes(&image, dir.path()) == bytes, "{row}");
        }
    }
}

#[test]
fn a_level_changes_the_bytes_and_a_wrong_one_is_refused() {
    let dir = common::scratch();
    let path = common::expand(&common::entry("dup-blocks.raw.zst"), dir.path());
    let image = open(&path).unwrap();
    for row in &ROWS[1..] {
        let write = |level| {
            let out = dir.path().join("out");
            let target = Target::open(&out).unwrap();
            let threads = NonZero::<usize>::MIN;
            let options = WriteOptions { threads, watch: &Unwatched, level, zeros_as_data: false };
            common::writer(row).write(&[&image.volume], &target, &options)?;
            target.commit()?;
            assert!(common::bytes_of(&open(&out).unwrap().volume) == fs::read(&path).unwrap());
            Ok::<_, Error>(())
        };
        for level in [None, Some(1), Some(9)] {
            write(level).unwrap();
        }
        assert_eq!(write(Some(23)).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn the_largest_volume_takes_no_time_and_no_space() {
    let dir = common::scratch();
    let image = dir.path().join("big");
    let mut map = RunMap::default();
    map.push(40 << 40, Place::Hole);
    map.push(CLUSTER, Place::Fill(*b"wxyz"));
    map.push(1 << 40, Place::Zero);
    map.push(MAX_VOLUME_SIZE - map.size(), Place::Hole);
    let volume = Volume::new(map, Vec::new()).unwrap();
    common::write_image(&volume, &image, common::writer("qcow2-zstd"), 2);
    // 16 million zero clusters take 8 bytes each, and holes none.
    assert!(fs::metadata(&image).unwrap().len() < 140 << 20);
    let ours = open(&image).unwrap().volume;
    assert_eq!(common::extents_of(&ours), common::extents_of(&volume));
    if qemu_img() {
        check(&image);
    }
}
