//! Compressed raw images, disks in tar archives and OVAs: against the tools that make them, against
//! themselves, and against damage.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use std::fs;
use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::format;
use amikit::internals::format::Format;
use amikit::internals::format::ImageRequest;
use amikit::internals::format::Opened;
use amikit::internals::format::WriteOptions;
use amikit::internals::format::compressed_raw::layout::Frame;
use amikit::internals::format::compressed_raw::layout::encode;
use amikit::internals::format::ova::write_all;
use amikit::internals::io::Target;
use amikit::internals::tar::layout;
use amikit::internals::units::ExtentKind;
use amikit::internals::volume::Place;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::RunMap;
use amikit::internals::volume::Volume;
use amikit::internals::work::Unwatched;

use crate::common;
use crate::common::Random;
use crate::common::archive;

fn named(name: &str) -> &'static Format {
    format::by_name(name).unwrap()
}

fn open(path: &Path) -> Result<Volume, Error> {
    format::open(&ImageRequest::named(path), &Unwatched).map(|image| image.volume)
}

/// Compares with `fixtures/golden/<name>`; with `BLESS=1` in the environment, stores it.
fn check_golden(name: &str, path: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden").join(name);
    let actual = fs::read(path).unwrap();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&golden, &actual).unwrap();
    }
    assert!(actual == fs::read(golden).unwrap(), "{name} differs; meant? BLESS=1");
}

// --- compressed raw ------------------------------------------------------------------------------

/// Reads an image in order.
fn read_in_order(path: &Path, format: Option<&'static Format>) -> Result<Vec<u8>, Error> {
    let request = ImageRequest { format, ..ImageRequest::named(path) };
    let Opened::Stream(mut opened) = format::open_in_order(&request, &Unwatched)? else {
        panic!("{} can be read at any place", path.display());
    };
    let (mut all, mut piece) = (Vec::new(), vec![0; 300_000]);
    loop {
        let len = opened.stream.read_full(&mut piece, &Unwatched)?;
        all.extend_from_slice(&piece[..len]);
        if len < piece.len() {
            return Ok(all);
        }
    }
}

/// Bytes that compress a little, with zeros among them.
fn some_bytes(len: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for piece in bytes.chunks_mut(5000).step_by(2) {
        random.fill(piece);
        let half = piece.len() / 2;
        piece[half..].fill(b'x');
    }
    bytes
}

/// Runs a tool on a file and stores what it prints.
fn pack(tool: &str, arguments: &[&str], from: &Path, to: &Path) -> bool {
    if !common::installed(tool) {
        return false;
    }
    let mut command = Command::new(tool);
    let done = command.args(arguments).stdin(File::open(from).unwrap()).output().unwrap();
    assert!(done.status.success(), "{command:?}");
    fs::write(to, done.stdout).unwrap();
    true
}

const TOOLS: &[(&str, &[&str], &str)] = &[
    ("gzip", &["-c"], "raw-gzip"),
    ("gzip", &["-1", "-c"], "raw-gzip"),
    ("bzip2", &["-c"], "raw-bzip2"),
    ("bzip2", &["-1", "-c"], "raw-bzip2"),
    ("xz", &["-c", "-0"], "raw-xz"),
    ("xz", &["-c", "-9"], "raw-xz"),
    ("xz", &["-c", "--check=sha256", "--block-size=100KiB", "-T2"], "raw-xz"),
    ("xz", &["-c", "--x86", "--lzma2"], "raw-xz"),
    ("zstd", &["-c", "-q"], "raw-zstd"),
    ("zstd", &["-c", "-q", "--long=26", "-T2"], "raw-zstd"),
    ("zstd", &["-c", "-q", "--no-check"], "raw-zstd"),
];

#[test]
fn what_each_tool_packs_comes_out_in_order_once_and_twice() {
    let dir = common::scratch();
    let (raw, packed) = (dir.path().join("raw"), dir.path().join("packed"));
    for seed in (0..6).step_by(common::step()) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let len = 1 + random.below(1 << 21) as usize;
        let bytes = some_bytes(len, &mut random);
        fs::write(&raw, &bytes).unwrap();
        for (tool, arguments, row) in TOOLS {
            if !pack(tool, arguments, &raw, &packed) {
                continue;
            }
            let context = format!("{tool} {arguments:?}");
            assert!(read_in_order(&packed, None).unwrap() == bytes, "{context}");
            assert!(common::bytes_of(&open(&packed).unwrap()) == bytes, "{context}");
            let twice = [fs::read(&packed).unwrap(), fs::read(&packed).unwrap()].concat();
            fs::write(&packed, twice).unwrap();
            let found = read_in_order(&packed, Some(named(row))).unwrap();
            assert!(found == [&bytes[..], &bytes[..]].concat(), "{context}, twice");
        }
    }
}

#[test]
fn a_stream_that_is_cut_or_goes_on_with_something_else_is_refused_with_the_place() {
    let dir = common::scratch();
    let (raw, packed) = (dir.path().join("raw"), dir.path().join("packed"));
    let mut random = Random::with_seed(7);
    let plain = some_bytes(30_000, &mut random);
    fs::write(&raw, &plain).unwrap();
    for (tool, arguments, row) in TOOLS {
        if !pack(tool, arguments, &raw, &packed) {
            continue;
        }
        let whole = fs::read(&packed).unwrap();
        let read = |bytes: &[u8]| {
            fs::write(&packed, bytes).unwrap();
            read_in_order(&packed, Some(named(row)))
        };
        for _ in 0..60 {
            let len = 1 + random.below(whole.len() as u64 - 1) as usize;
            let error = read(&whole[..len]).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{tool}: {error}");
            assert_eq!(error.offset(), Some(len as u64), "{tool}: {error}");
        }
        for behind in [&b"x"[..], b"garbage that is longer than any header", &whole[..5]] {
            let error = read(&[&whole[..], behind].concat()).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{tool}: {error}");
            assert!(error.offset().is_some(), "{tool}: {error}");
        }
        // A flipped bit: each format has a checksum, but for zstd without.
        for _ in 0..60 {
            let mut bytes = whole.clone();
            let bit = random.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = read(&bytes);
            // Times and names in gzip's header, and the bits that fill up the last byte of gzip and
            // bzip2, are nobody's business.
            let bits = ["gzip", "bzip2"].contains(tool);
            let harmless = bits && found.as_ref().is_ok_and(|found| *found == plain);
            let unchecked = arguments.contains(&"--no-check");
            assert!(found.is_err() || harmless || unchecked, "{tool} {arguments:?}: bit {bit}");
        }
    }
}

#[test]
fn zeros_behind_a_stream_are_padding_where_its_tool_says_so() {
    let dir = common::scratch();
    let (raw, packed) = (dir.path().join("raw"), dir.path().join("packed"));
    let bytes = some_bytes(10_000, &mut Random::with_seed(1));
    fs::write(&raw, &bytes).unwrap();
    for (tool, zeros, is_padding) in [("gzip", 513, true), ("xz", 512, true), ("xz", 513, false)] {
        if pack(tool, &["-c"], &raw, &packed) {
            let padded = [fs::read(&packed).unwrap(), vec![0; zeros]].concat();
            fs::write(&packed, padded).unwrap();
            let found = read_in_order(&packed, None);
            assert_eq!(found.is_ok(), is_padding, "{tool} and {zeros} zeros");
            assert!(found.is_err() || found.unwrap() == bytes);
        }
    }
}

#[test]
fn a_stream_that_refers_back_too_far_is_over_a_limit() {
    let dir = common::scratch();
    let (raw, packed) = (dir.path().join("raw"), dir.path().join("packed"));
    fs::write(&raw, some_bytes(10_000, &mut Random::with_seed(1))).unwrap();
    for (tool, arguments) in [
        ("xz", &["-c", "--lzma2=dict=192MiB,mf=hc3"][..]),
        ("zstd", &["-c", "-q", "--long=28"][..]),
    ] {
        if pack(tool, arguments, &raw, &packed) {
            let error = read_in_order(&packed, None).unwrap_err();
            assert_eq!(error.kind(), Kind::Limit, "{tool}: {error}");
        }
    }
}

#[test]
fn an_image_of_another_format_inside_is_not_taken_for_raw() {
    let dir = common::scratch();
    let (raw, packed) = (dir.path().join("raw"), dir.path().join("packed"));
    fs::write(&raw, [&b"QFI\xfb"[..], &[0; 5000]].concat()).unwrap();
    if !pack("gzip", &["-c"], &raw, &packed) {
        return;
    }
    let error = read_in_order(&packed, None).unwrap_err();
    assert!(error.to_string().contains("version is 0, expected 2 or 3"), "{error}");
    assert_eq!(read_in_order(&packed, Some(named("raw-gzip"))).unwrap().len(), 5004);
}

#[test]
fn raw_zstd_keeps_every_byte_for_us_and_for_zstd_at_any_number_of_threads() {
    let dir = common::scratch();
    let path = dir.path().join("packed");
    for seed in 0..12 {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let size = 1 + random.below(9 << 20);
        let volume = common::random_volume(size, &mut random);
        common::write_unsynced(&volume, &path, common::writer("raw-zstd"), 1);
        let first = fs::read(&path).unwrap();
        for threads in [2, 3, 7] {
            common::write_unsynced(&volume, &path, common::writer("raw-zstd"), threads);
            assert!(fs::read(&path).unwrap() == first, "{threads} threads");
        }
        let again = open(&path).unwrap();
        assert_eq!(common::sha256_of(&again), common::sha256_of(&volume));
        for _ in 0..20 {
            let at = random.below(size);
            let len = (1 + random.below(100_000)).min(size - at) as usize;
            let (mut one, mut other) = (vec![1; len], vec![2; len]);
            volume.read_at(at, &mut one).unwrap();
            again.read_at(at, &mut other).unwrap();
            assert!(one == other, "{len} bytes at {at}");
        }
        if common::installed("zstd") {
            let plain = common::run_tool(Command::new("zstd").arg("-dcq").arg(&path));
            assert!(plain == common::bytes_of(&volume));
        }
    }
}

#[test]
fn a_stored_file_of_frames_never_changes_by_accident() {
    let dir = common::scratch();
    let path = dir.path().join("packed");
    let mut map = RunMap::default();
    map.push(3 << 20, Place::Fill(*b"abcd"));
    map.push((2 << 20) + 5, Place::Hole);
    let volume = Volume::new(map, Vec::new()).unwrap();
    common::write_unsynced(&volume, &path, common::writer("raw-zstd"), 2);
    check_golden("frames.raw.zst", &path);
}

/// Frames of these bytes and their table, which `change` may spoil.
fn frames(pieces: &[Vec<u8>], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let (mut bytes, mut frames) = (Vec::new(), Vec::new());
    for piece in pieces {
        let packed = zstd::bulk::compress(piece, 1).unwrap();
        frames.push(Frame { packed_len: packed.len() as u32, plain_len: piece.len() as u32 });
        bytes.extend(packed);
    }
    let mut table = encode(&frames);
    change(&mut table);
    bytes.extend(table);
    bytes
}

#[test]
fn frames_of_any_length_are_read_and_long_ones_in_order() {
    let dir = common::scratch();
    let path = dir.path().join("packed");
    let mut random = Random::with_seed(3);
    let pieces: Vec<_> = (0..40)
        .map(|number| {
            let len = if number % 9 == 0 { 0 } else { 1 + random.below(70_000) as usize };
            some_bytes(len, &mut random)
        })
        .collect();
    fs::write(&path, frames(&pieces, |_| ())).unwrap();
    assert!(common::bytes_of(&open(&path).unwrap()) == pieces.concat());
    // Checksums in the entries are stepped over.
    let with_checksums = frames(&pieces, |table| {
        let entries = table.len() - 17;
        let mut wide: Vec<u8> = table[..8].to_vec();
        for entry in table[8..8 + entries].chunks(8) {
            wide.extend(entry);
            wide.extend([1, 2, 3, 4]);
        }
        wide.extend(&table[8 + entries..]);
        let len = (wide.len() - 8) as u32;
        wide[4..8].copy_from_slice(&len.to_le_bytes());
        let descriptor = wide.len() - 5;
        wide[descriptor] = 0x80;
        *table = wide;
    });
    fs::write(&path, with_checksums).unwrap();
    assert!(common::bytes_of(&open(&path).unwrap()) == pieces.concat());
    let long = vec![some_bytes(100, &mut random), vec![7; (2 << 20) + 1]];
    fs::write(&path, frames(&long, |_| ())).unwrap();
    assert!(read_in_order(&path, None).unwrap() == long.concat());
    assert!(common::bytes_of(&open(&path).unwrap()) == long.concat());
}

#[test]
fn a_table_that_is_not_that_of_its_file_is_refused() {
    let dir = common::scratch();
    let path = dir.path().join("packed");
    let pieces = vec![vec![1; 5000], vec![2; 5000]];
    let refused = |bytes: Vec<u8>, kind: Kind, text: &str| {
        fs::write(&path, bytes).unwrap();
        let error = open(&path)
            .and_then(|volume| volume.read_at(0, &mut vec![0; volume.size() as usize]))
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    };
    let spoilt = |at: usize, byte: u8| frames(&pieces, |table| table[at] = byte);
    refused(spoilt(8, 99), Kind::Corrupt, "frames of the seek table");
    refused(spoilt(4, 0), Kind::Corrupt, "has another length");
    refused(spoilt(27, 1), Kind::Corrupt, "expected a part of the file");
    refused(spoilt(28, 4), Kind::Unsupported, "descriptor");
    // Another plain length: the frame does not hold it.
    refused(spoilt(12, 0x89), Kind::Corrupt, "hold 5000 bytes, expected 5001");
    refused(spoilt(12, 0x87), Kind::Corrupt, "");
    let mut damaged = frames(&pieces, |_| ());
    damaged[4] ^= 8;
    refused(damaged, Kind::Corrupt, "at byte 0");
}

// --- tar -----------------------------------------------------------------------------------------

const FORMS: &[&[&str]] = &[
    &["--format=gnu", "--sparse"],
    &["--format=pax", "--sparse", "--sparse-version=0.0"],
    &["--format=pax", "--sparse", "--sparse-version=0.1"],
    &["--format=pax", "--sparse", "--sparse-version=1.0"],
];

fn tar(folder: &Path, form: &[&str], archive: &str, files: &[&str]) -> PathBuf {
    let path = folder.join(archive);
    common::run_tool(
        Command::new("tar").current_dir(folder).args(form).arg("-cf").arg(&path).args(files),
    );
    path
}

#[test]
fn sparse_members_of_every_form_keep_bytes_and_holes() {
    if !common::installed("tar") {
        return;
    }
    let dir = common::scratch();
    for seed in 0..12 {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let name = if seed % 3 == 0 { "d".repeat(150) } else { "disk.raw".to_owned() };
        let size = 1 + random.below(6 << 20);
        common::random_file(&dir.path().join(&name), size, &mut random);
        let expected = open(&dir.path().join(&name)).unwrap();
        for form in FORMS {
            let archive = tar(dir.path(), form, "disk.tar", &[&name]);
            let found = open(&archive).unwrap();
            assert_eq!(found.size(), size, "{form:?}");
            assert!(common::bytes_of(&found) == common::bytes_of(&expected), "{form:?}");
            let states = (common::page_states(&found), common::page_states(&expected));
            // tar looks at the bytes too, and takes what is zeros for a hole.
            for (page, (found, expected)) in states.0.iter().zip(&states.1).enumerate() {
                let same = found == expected
                    || *found == ExtentKind::Hole && *expected == ExtentKind::Zero
                    || *found == ExtentKind::Zero && *expected == ExtentKind::Hole;
                assert!(same, "{form:?}: page {page} is {found}, expected {expected}");
            }
        }
    }
}

#[test]
fn a_member_of_many_gibibytes_is_read_in_every_form() {
    if !common::installed("tar") {
        return;
    }
    let dir = common::scratch();
    let file = File::create(dir.path().join("disk.raw")).unwrap();
    let size = (9 << 30) + 12_345;
    for number in 0..100_u64 {
        file.write_all_at(b"data", number * (89 << 20)).unwrap();
    }
    file.set_len(size).unwrap();
    for form in FORMS {
        let archive = tar(dir.path(), form, "disk.tar", &["disk.raw"]);
        let volume = open(&archive).unwrap();
        assert_eq!(volume.size(), size, "{form:?}");
        for number in 0..100_u64 {
            let mut found = [0; 5];
            volume.read_at(number * (89 << 20), &mut found).unwrap();
            assert_eq!(&found, b"data\0", "{form:?}");
        }
    }
}

#[test]
fn a_member_is_chosen_by_its_name_and_may_be_an_image_of_any_format() {
    if !common::installed("tar") {
        return;
    }
    let dir = common::scratch();
    let here = dir.path();
    let mut random = Random::with_seed(5);
    let volume = common::random_volume(3 << 20, &mut random);
    fs::create_dir(here.join("sub")).unwrap();
    common::write_unsynced(&volume, &here.join("sub/a.qcow2"), common::writer("qcow2"), 2);
    common::write_unsynced(&volume, &here.join("b.vmdk"), common::writer("vmdk"), 2);
    fs::write(here.join("notes"), "no disk").unwrap();
    std::os::unix::fs::symlink("notes", here.join("link")).unwrap();
    let archive = tar(here, &[], "all.tar", &["./sub", "b.vmdk", "notes", "link"]);
    let text = |name: &str| PathBuf::from(format!("{}:{name}", archive.display()));
    for name in ["sub/a.qcow2", "b.vmdk"] {
        let found = open(&text(name)).unwrap();
        assert_eq!(common::sha256_of(&found), common::sha256_of(&volume), "{name}");
    }
    let error = open(&archive).unwrap_err();
    assert!(error.kind() == Kind::Invalid && error.to_string().contains("b.vmdk"), "{error}");
    assert_eq!(open(&text("c")).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(open(&text("link")).unwrap_err().kind(), Kind::Invalid);
    let nested = tar(here, &[], "nested.tar", &["all.tar"]);
    assert_eq!(open(&nested).unwrap_err().kind(), Kind::Unsupported);
    // A file of just that name comes first.
    fs::copy(here.join("b.vmdk"), text("b.vmdk")).unwrap();
    assert_eq!(common::sha256_of(&open(&text("b.vmdk")).unwrap()), common::sha256_of(&volume));
}

/// The worked example of `docs/formats/tar-sparse.md`.
fn page_archive() -> Vec<u8> {
    let records = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n21 GNU.sparse.name=d\n\
                   29 GNU.sparse.realsize=12288\n";
    let mut head = layout::encode("PaxHeaders.0/d", records.len() as u64);
    head[156] = b'x';
    head[148..156].fill(b' ');
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = head.to_vec();
    bytes.extend(records.as_bytes());
    bytes.resize(1024, 0);
    bytes.extend(layout::encode("GNUSparseFile.0/d", 512 + 4096));
    bytes.extend(b"2\n4096\n4096\n12288\n0\n");
    bytes.resize(2048, 0);
    bytes.extend([b'p'; 4096]);
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn the_worked_example_of_a_sparse_member_is_read() {
    let dir = common::scratch();
    let path = dir.path().join("page.tar");
    fs::write(&path, page_archive()).unwrap();
    check_golden("page.pax.tar", &path);
    let volume = open(&path).unwrap();
    assert_eq!(
        common::extents_of(&volume),
        [(0, 4096, "hole".into()), (4096, 4096, "data".into()), (8192, 4096, "hole".into())]
    );
    assert!(common::bytes_of(&volume)[4096..8192].iter().all(|byte| *byte == b'p'));
    if common::installed("tar") {
        common::run_tool(Command::new("tar").current_dir(dir.path()).args(["-xf", "page.tar"]));
        assert!(fs::read(dir.path().join("d")).unwrap() == common::bytes_of(&volume));
    }
}

#[test]
fn an_archive_that_is_cut_or_lies_about_its_map_is_refused() {
    let dir = common::scratch();
    let path = dir.path().join("page.tar");
    let whole = page_archive();
    let kind = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        open(&path).map(|_| ()).map_err(|e| e.kind())
    };
    for len in (512..whole.len()).step_by(97) {
        // Behind the data, half a record is none of zeros.
        let is_whole = len == 2048 + 4096 || len >= 2048 + 4096 + 512;
        let expected = if is_whole { Ok(()) } else { Err(Kind::Corrupt) };
        assert_eq!(kind(&whole[..len]), expected, "{len} bytes");
    }
    let maps: [(&[u8], Result<(), Kind>); 8] = [
        (b"1\n4096\n4096\n", Ok(())),
        (b"1\n4096\n4095\n", Err(Kind::Corrupt)),
        (b"2\n4096\n4096\n0\n0\n", Err(Kind::Corrupt)),
        (b"1\n12288\n4096\n", Err(Kind::Corrupt)),
        (b"1\n18446744073709551615\n4096\n", Err(Kind::Corrupt)),
        (b"1\nx\n4096\n", Err(Kind::Corrupt)),
        (b"99999999999999999999999\n", Err(Kind::Corrupt)),
        (b"9\n", Err(Kind::Corrupt)),
    ];
    for (map, expected) in maps {
        let mut bytes = whole.clone();
        bytes[1536..2048].fill(0);
        bytes[1536..1536 + map.len()].copy_from_slice(map);
        assert_eq!(kind(&bytes), expected, "{}", String::from_utf8_lossy(map));
    }
}

// --- OVA -----------------------------------------------------------------------------------------

fn write_ova(volumes: &[&dyn ReadVolume], path: &Path, threads: usize) {
    let target = Target::open(path).unwrap();
    let threads = NonZero::new(threads).unwrap();
    let options = WriteOptions { threads, watch: &Unwatched, level: None, zeros_as_data: false };
    write_all(volumes, &target, &options).unwrap();
    target.commit().unwrap();
}

fn disk(archive: &Path, name: &str) -> PathBuf {
    PathBuf::from(format!("{}:{name}", archive.display()))
}

#[test]
fn an_ova_of_two_disks_never_changes_by_accident_and_reads_back() {
    let dir = common::scratch();
    let path = dir.path().join("two.ova");
    let mut one = RunMap::default();
    one.push(512, Place::Fill(*b"boot"));
    one.push((1 << 20) - 512, Place::Hole);
    let mut other = RunMap::default();
    other.push(64 << 10, Place::Hole);
    let [one, other] = [one, other].map(|map| Volume::new(map, Vec::new()).unwrap());
    write_ova(&[&one, &other], &path, 2);
    check_golden("two-disks.ova", &path);
    let names = format::disks(&ImageRequest::named(&path)).unwrap();
    assert_eq!(names, ["image-disk1.vmdk", "image-disk2.vmdk"]);
    for (name, volume) in names.iter().zip([&one, &other]) {
        let found = open(&disk(&path, name)).unwrap();
        assert_eq!(common::sha256_of(&found), common::sha256_of(volume));
        assert_eq!(found.size(), volume.size());
    }
    let error = open(&path).unwrap_err();
    assert!(error.kind() == Kind::Invalid && error.to_string().contains("disk2"), "{error}");
}

#[test]
fn what_is_written_is_what_tar_sha256sum_and_qemu_read() {
    if !["tar", "sha256sum", "qemu-img"].iter().all(|tool| common::installed(tool)) {
        return;
    }
    let dir = common::scratch();
    let here = dir.path();
    for seed in 0..6 {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let volumes: Vec<_> = (0..=(seed % 3))
            .map(|_| common::random_volume(512 * (1 + random.below(8000)), &mut random))
            .collect();
        let volumes: Vec<&dyn ReadVolume> =
            volumes.iter().map(|it| -> &dyn ReadVolume { it }).collect();
        write_ova(&volumes, &here.join("a.ova"), 1);
        write_ova(&volumes, &here.join("b.ova"), 3);
        assert!(fs::read(here.join("a.ova")).unwrap() == fs::read(here.join("b.ova")).unwrap());
        common::run_tool(Command::new("tar").current_dir(here).args(["-xf", "a.ova"]));
        for line in fs::read_to_string(here.join("image.mf")).unwrap().lines() {
            let (name, expected) = line.strip_prefix("SHA256(").unwrap().split_once(")= ").unwrap();
            let found = common::run_tool(Command::new("sha256sum").current_dir(here).arg(name));
            assert!(String::from_utf8(found).unwrap().starts_with(expected), "{line}");
        }
        for (number, volume) in volumes.iter().enumerate() {
            let name = format!("image-disk{}.vmdk", number + 1);
            let raw = here.join("disk.raw");
            common::write_dense(*volume, &raw);
            common::run_tool(
                Command::new("qemu-img").current_dir(here).args(["check", "-q", &name]),
            );
            common::run_tool(
                Command::new("qemu-img").current_dir(here).args(["compare", &name, "disk.raw"]),
            );
        }
    }
}

fn ovf(file: &str, disk: &str) -> String {
    format!(
        "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' xmlns:ovf='x'><References>\
         <File ovf:id='f' {file}/></References><DiskSection>\
         <Disk ovf:diskId='d' ovf:capacity='1048576' {disk}/></DiskSection></Envelope>"
    )
}

#[test]
fn what_an_archive_says_of_its_files_is_held_against_them() {
    let dir = common::scratch();
    let path = dir.path().join("a.ova");
    let vmdk = dir.path().join("d.vmdk");
    let volume = common::random_volume(1 << 20, &mut Random::with_seed(2));
    common::write_unsynced(&volume, &vmdk, common::writer("vmdk"), 1);
    let vmdk = fs::read(&vmdk).unwrap();
    let kind = |files: &[(&str, &[u8])]| {
        fs::write(&path, archive(files)).unwrap();
        open(&path).map(|volume| volume.size()).map_err(|e| (e.kind(), e.to_string()))
    };
    let refused = |found: Result<u64, (Kind, String)>, expected: Kind, part: &str| {
        let (kind, text) = found.unwrap_err();
        assert_eq!(kind, expected, "{text}");
        assert!(text.contains(part), "{text} lacks {part:?}");
    };
    let sound = ovf("ovf:href='d.vmdk'", "ovf:fileRef='f'");
    let (sound, size) = (sound.as_bytes(), Ok(1 << 20));
    assert_eq!(kind(&[("a.ovf", sound), ("d.vmdk", &vmdk)]), size);
    let hash = |bytes: &[u8], algorithm| {
        let mut hasher = amikit::internals::digest::Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish_hex()
    };
    for (name, algorithm) in [
        ("SHA1", amikit::internals::digest::Algorithm::Sha1),
        ("SHA256", amikit::internals::digest::Algorithm::Sha256),
    ] {
        let (of_ovf, of_disk) = (hash(sound, algorithm), hash(&vmdk, algorithm));
        let mf = format!("{name}(a.ovf)= {of_ovf}\n{name}(d.vmdk)= {of_disk}\n");
        assert_eq!(kind(&[("a.ovf", sound), ("a.mf", mf.as_bytes()), ("d.vmdk", &vmdk)]), size);
        // The manifest may stand at the end.
        assert_eq!(kind(&[("a.ovf", sound), ("d.vmdk", &vmdk), ("a.mf", mf.as_bytes())]), size);
        let mut damaged = vmdk.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let found = kind(&[("a.ovf", sound), ("a.mf", mf.as_bytes()), ("d.vmdk", &damaged)]);
        refused(found, Kind::Mismatch, "a.ova:d.vmdk");
        let other = [sound, b"\n"].concat();
        let found = kind(&[("a.ovf", &other), ("a.mf", mf.as_bytes()), ("d.vmdk", &vmdk)]);
        refused(found, Kind::Mismatch, "a.ova:a.ovf");
        let short = format!("{name}(a.ovf)= {of_ovf}\n");
        let found = kind(&[("a.ovf", sound), ("a.mf", short.as_bytes()), ("d.vmdk", &vmdk)]);
        refused(found, Kind::Corrupt, "does not name it");
    }
    for href in ["/etc/passwd", "../d.vmdk", "http://x/d.vmdk", "e.vmdk", ""] {
        let text = ovf(&format!("ovf:href='{href}'"), "ovf:fileRef='f'");
        let found = kind(&[("a.ovf", text.as_bytes()), ("d.vmdk", &vmdk)]);
        refused(found, Kind::Corrupt, "which is not in the archive");
    }
    let empty = ovf("ovf:href='d.vmdk'", "");
    assert_eq!(kind(&[("a.ovf", empty.as_bytes())]), size);
    refused(
        kind(&[("a.ovf", sound), ("d.vmdk", &[0xd1; 4096])]),
        Kind::Unsupported,
        "format is unknown",
    );
    let gz = [&b"\x1f\x8b\x08"[..], &[0; 600]].concat();
    refused(kind(&[("a.ovf", sound), ("d.vmdk", &gz)]), Kind::Corrupt, "expected none");
    refused(
        kind(&[("a.ovf", sound), ("b.ovf", sound)]),
        Kind::Corrupt,
        "several .ovf files or none",
    );
    refused(kind(&[("a.ovf", b"no xml")]), Kind::Corrupt, "Envelope");
    // A disk whose text names a file: it is not opened, though it is there.
    let flat = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
                createType=\"monolithicFlat\"\nRW 8 FLAT \"d-flat.vmdk\" 0\n";
    fs::write(dir.path().join("d-flat.vmdk"), [0; 4096]).unwrap();
    let mut request = ImageRequest::named(&path);
    request.gate.beside = true;
    fs::write(&path, archive(&[("a.ovf", sound), ("d.vmdk", flat.as_bytes())])).unwrap();
    let error = format::open(&request, &Unwatched).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
}

#[test]
fn all_disks_of_an_archive_become_the_volumes_of_a_bundle() {
    let dir = common::scratch();
    let here = dir.path();
    let volumes: Vec<_> =
        (0..3).map(|seed| common::random_volume(1 << 20, &mut Random::with_seed(seed))).collect();
    let borrowed: Vec<&dyn ReadVolume> =
        volumes.iter().map(|it| -> &dyn ReadVolume { it }).collect();
    write_ova(&borrowed, &here.join("in.ova"), 1);
    let amikit = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amikit"));
        common::run_tool(command.current_dir(here).args(line.split_whitespace()))
    };
    common::write_dense(&volumes[0], &here.join("extra.raw"));
    amikit("pack in.ova --map /dev/sdf=extra.raw -o out.ami --name test");
    // `/dev/sdf` is taken.
    for (device, number) in [("/dev/xvda", 1), ("/dev/sdg", 2), ("/dev/sdh", 3)] {
        amikit(&format!("verify out.ami --against {device}=in.ova:image-disk{number}.vmdk"));
    }
    amikit("unpack out.ami -o again.ova --format ova");
    let names = format::disks(&ImageRequest::named(&here.join("again.ova"))).unwrap();
    assert_eq!(names.len(), 4);
    let root = open(&disk(&here.join("again.ova"), &names[0])).unwrap();
    assert_eq!(common::sha256_of(&root), common::sha256_of(&volumes[0]));
}
