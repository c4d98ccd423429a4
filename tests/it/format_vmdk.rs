//! VMDK against qemu-img, against hostile bytes and against itself.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::format;
use amikit::internals::format::Format;
use amikit::internals::format::ImageRequest;
use amikit::internals::format::OpenedImage;
use amikit::internals::format::gate::Gate;
use amikit::internals::units::ExtentKind;
use amikit::internals::units::MAX_VOLUME_SIZE;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::extents;
use amikit::internals::work::Unwatched;
use serde::Deserialize;

use crate::common;
use crate::common::Random;

const GRAIN: u64 = 64 << 10;

const ROWS: [&str; 2] = ["vmdk", "vmdk-sparse"];

fn named(name: &str) -> &'static Format {
    format::by_name(name).unwrap()
}

fn open_with(path: &Path, gate: Gate) -> Result<OpenedImage, Error> {
    format::open(&ImageRequest { gate, ..ImageRequest::of(path) }, &Unwatched)
}

/// Opens an image that may name files beside it.
fn open(path: &Path) -> Result<OpenedImage, Error> {
    open_with(path, Gate { beside: true, parents: Vec::new() })
}

fn open_vmdk(path: &Path) -> Result<OpenedImage, Error> {
    let gate = Gate { beside: true, parents: Vec::new() };
    format::open(
        &ImageRequest { gate, format: Some(named("vmdk")), ..ImageRequest::of(path) },
        &Unwatched,
    )
}

#[track_caller]
fn refused(opened: Result<OpenedImage, Error>) -> (Kind, String) {
    let error = opened.map(|image| image.volume.size()).unwrap_err();
    (error.kind(), format!("{error}; {:?}", error.advice()))
}

/// Makes a raw file of whole sectors.
fn random_raw(path: &Path, random: &mut Random, most: u64) {
    let unit = [512, 4096, GRAIN][random.below(3) as usize];
    common::random_file(path, unit * (1 + random.below(most / unit)), random);
}

fn qemu_img(words: &[&str], paths: &[&Path]) -> Vec<u8> {
    common::run_tool(Command::new("qemu-img").args(words).args(paths))
}

fn qemu_bytes(path: &Path, dir: &Path) -> Vec<u8> {
    let raw = dir.join("as-qemu-has-it.raw");
    qemu_img(&["convert", "-f", "vmdk", "-O", "raw"], &[path, &raw]);
    fs::read(raw).unwrap()
}

#[derive(Deserialize)]
struct MapRow {
    start: u64,
    length: u64,
    present: bool,
    zero: bool,
    data: bool,
}

/// The states of a disk's sectors in runs, as qemu-img tells them.
fn qemu_states(path: &Path) -> Vec<(u64, u64, ExtentKind)> {
    let json = qemu_img(&["map", "--output=json", "-f", "vmdk"], &[path]);
    let rows: Vec<MapRow> = serde_json::from_slice(&json).unwrap();
    joined(rows.into_iter().map(|row| {
        let kind = match row {
            MapRow { present: false, .. } => ExtentKind::Hole,
            MapRow { zero: true, data: false, .. } => ExtentKind::Zero,
            _ => ExtentKind::Data,
        };
        (row.start, row.start + row.length, kind)
    }))
}

fn our_states(volume: &dyn ReadVolume) -> Vec<(u64, u64, ExtentKind)> {
    joined(extents(volume).map(|extent| {
        let extent = extent.unwrap();
        (extent.range.start, extent.range.end, extent.kind)
    }))
}

fn joined(runs: impl Iterator<Item = (u64, u64, ExtentKind)>) -> Vec<(u64, u64, ExtentKind)> {
    let mut all: Vec<(u64, u64, ExtentKind)> = Vec::new();
    for run in runs {
        match all.last_mut() {
            Some(last) if last.2 == run.2 => last.1 = run.1,
            _ => all.push(run),
        }
    }
    all
}

/// The state of each grain of a volume: a hole if all of it is, zero if its bytes are.
fn grain_states(volume: &dyn ReadVolume) -> Vec<ExtentKind> {
    let (mut states, mut at) = (Vec::new(), 0);
    while at < volume.size() {
        let end = volume.size().min(at + GRAIN);
        let extent = volume.extent_at(at).unwrap();
        let mut bytes = vec![1; (end - at) as usize];
        volume.read_at(at, &mut bytes).unwrap();
        states.push(if extent.kind == ExtentKind::Hole && extent.range.end >= end {
            ExtentKind::Hole
        } else if bytes.iter().all(|byte| *byte == 0) {
            ExtentKind::Zero
        } else {
            ExtentKind::Data
        });
        at = end;
    }
    states
}

// --- against qemu-img ----------------------------------------------------------------------------

#[test]
fn disks_that_qemu_img_converts_read_as_it_reads_them() {
    if !common::installed("qemu-img") {
        return;
    }
    let kinds = [
        "streamOptimized",
        "monolithicSparse",
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
    ];
    for seed in 0..common::sample(50) {
        println!("seed {seed}");
        let dir = common::scratch();
        let mut random = Random::with_seed(seed);
        let [raw, disk] = ["a.raw", "a.vmdk"].map(|name| dir.path().join(name));
        random_raw(&raw, &mut random, 3 << 20);
        let kind = kinds[seed as usize % 5];
        let option = format!("subformat={kind}");
        qemu_img(&["convert", "-f", "raw", "-O", "vmdk", "-o", &option], &[&raw, &disk]);
        let image = open(&disk).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(image.format.name, "vmdk");
        let bytes = common::bytes_of(&image.volume);
        assert!(bytes == fs::read(&raw).unwrap(), "{kind}");
        assert!(bytes == qemu_bytes(&disk, dir.path()), "{kind}");
        if !kind.ends_with("Flat") {
            assert_eq!(our_states(&image.volume), qemu_states(&disk), "{kind}");
        }
        image.volume.check_unchanged().unwrap();
    }
}

/// Disks as machines leave them: written here and there, with zeros, over a parent.
#[test]
fn disks_that_qemu_io_wrote_read_as_qemu_img_reads_them() {
    if !common::installed("qemu-img") || !common::installed("qemu-io") {
        return;
    }
    for seed in 100..100 + common::sample(30) {
        println!("seed {seed}");
        let dir = common::scratch();
        let mut random = Random::with_seed(seed);
        let sectors = 1 + random.below(8000);
        let size = (sectors * 512).to_string();
        let mut links = vec![dir.path().join("0.vmdk")];
        let zeros = if random.below(2) == 0 { "zeroed_grain=on" } else { "zeroed_grain=off" };
        qemu_img(&["create", "-q", "-f", "vmdk", "-o", zeros], &[&links[0], Path::new(&size)]);
        for number in 0..=random.below(3) {
            if number > 0 {
                let parent = format!("{}.vmdk", number - 1);
                let link = dir.path().join(format!("{number}.vmdk"));
                let words = ["create", "-q", "-f", "vmdk", "-F", "vmdk", "-o", zeros, "-b"];
                common::run_tool(
                    Command::new("qemu-img")
                        .args(words)
                        .arg(&parent)
                        .arg(&link)
                        .current_dir(dir.path()),
                );
                links.push(link);
            }
            let mut io = Command::new("qemu-io");
            io.args(["-f", "vmdk"]).current_dir(dir.path());
            for _ in 0..=random.below(5) {
                let start = random.below(sectors);
                let most = (sectors - start).min(if random.below(3) == 0 { 600 } else { 40 });
                let len = (1 + random.below(most)) * 512;
                let start = start * 512;
                let command = match random.below(3) {
                    0 => format!("write -z {start} {len}"),
                    1 => format!("write -P 0 {start} {len}"),
                    _ => format!("write -P {} {start} {len}", 1 + random.below(255)),
                };
                io.args(["-c", &command]);
            }
            common::run_tool(io.arg(links.last().unwrap()));
        }
        let disk = links.last().unwrap();
        let image = open(disk).unwrap_or_else(|e| panic!("{e}"));
        let expected = qemu_bytes(disk, dir.path());
        assert!(common::bytes_of(&image.volume) == expected);
        if links.len() == 1 {
            assert_eq!(our_states(&image.volume), qemu_states(disk));
        }
        // The same with every name given by the user.
        let parents = links.iter().rev().skip(1).cloned().collect();
        let image = open_with(disk, Gate { beside: false, parents }).unwrap();
        assert!(common::bytes_of(&image.volume) == expected);
        if links.len() > 1 {
            let (kind, text) = refused(open_with(disk, Gate::default()));
            assert_eq!(kind, Kind::Unsupported);
            assert!(text.contains("NameBacking"), "{text}");
        }
    }
}

#[test]
fn disks_that_we_write_read_as_ours_everywhere() {
    let has_qemu = common::installed("qemu-img");
    let dir = common::scratch();
    let [raw, disk, other] = ["a.raw", "a.vmdk", "b.vmdk"].map(|name| dir.path().join(name));
    for seed in 200..200 + common::sample(40) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        random_raw(&raw, &mut random, 4 << 20);
        let volume = open(&raw).unwrap().volume;
        let bytes = fs::read(&raw).unwrap();
        for row in ROWS {
            common::write_image(&volume, &disk, common::writer(row), 1);
            common::write_image(&volume, &other, common::writer(row), 3);
            assert!(fs::read(&disk).unwrap() == fs::read(&other).unwrap(), "{row}");
            let image = open(&disk).unwrap();
            assert!(bytes == common::bytes_of(&image.volume), "{row}");
            assert_eq!(grain_states(&volume), grain_states(&image.volume), "{row}");
            // What was read is written the same again.
            common::write_image(&image.volume, &other, common::writer(row), 2);
            assert!(fs::read(&disk).unwrap() == fs::read(&other).unwrap(), "{row}");
            if has_qemu {
                qemu_img(&["check", "-q", "-f", "vmdk"], &[&disk]);
                assert!(bytes == qemu_bytes(&disk, dir.path()), "{row}");
                assert_eq!(our_states(&image.volume), qemu_states(&disk), "{row}");
            }
        }
    }
}

#[test]
fn both_kinds_turn_into_each_other() {
    let dir = common::scratch();
    let [raw, one, two, three] =
        ["a.raw", "1.vmdk", "2.vmdk", "3.vmdk"].map(|name| dir.path().join(name));
    for seed in 300..300 + common::sample(40) {
        println!("seed {seed}");
        random_raw(&raw, &mut Random::with_seed(seed), 6 << 20);
        let volume = open(&raw).unwrap().volume;
        let states = grain_states(&volume);
        common::write_image(&volume, &one, common::writer("vmdk-sparse"), 2);
        common::write_image(&open(&one).unwrap().volume, &two, common::writer("vmdk"), 2);
        common::write_image(&open(&two).unwrap().volume, &three, common::writer("vmdk-sparse"), 2);
        assert!(fs::read(&one).unwrap() == fs::read(&three).unwrap());
        assert_eq!(states, grain_states(&open(&three).unwrap().volume));
    }
}

#[test]
fn a_length_that_no_vmdk_can_say_is_filled_up() {
    let dir = common::scratch();
    let [raw, out, theirs] = ["a.raw", "a.vmdk", "b.raw"].map(|name| dir.path().join(name));
    fs::write(&raw, vec![7; 513]).unwrap();
    let volume = open(&raw).unwrap().volume;
    let mut bytes = vec![7; 513];
    bytes.resize(1024, 0);
    for row in ROWS {
        common::write_image(&volume, &out, common::writer(row), 2);
        assert!(common::bytes_of(&open(&out).unwrap().volume) == bytes, "{row}");
        if common::installed("qemu-img") {
            let mut command = Command::new("qemu-img");
            command.args(["convert", "-f", "vmdk", "-O", "raw"]).arg(&out).arg(&theirs);
            common::run_tool(&mut command);
            assert!(fs::read(&theirs).unwrap() == bytes, "{row}");
        }
    }
}

#[test]
fn a_sparse_terabyte_takes_no_time_and_no_space() {
    let dir = common::scratch();
    let raw = dir.path().join("big.raw");
    let file = File::create(&raw).unwrap();
    file.set_len(1 << 40).unwrap();
    file.write_all_at(b"somewhere", 700 << 30).unwrap();
    file.sync_all().unwrap();
    let volume = open(&raw).unwrap().volume;
    for row in ROWS.into_iter().step_by(common::step()) {
        let disk = dir.path().join(row);
        common::write_image(&volume, &disk, common::writer(row), 2);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&disk).unwrap());
        assert!(blocks * 512 < 2 << 20, "{row}");
        let image = open(&disk).unwrap();
        assert_eq!(our_states(&image.volume).len(), 3);
        let mut word = [0; 9];
        image.volume.read_at(700 << 30, &mut word).unwrap();
        assert_eq!(&word, b"somewhere");
        // It looks at each grain, for seconds.
        if common::step() == 1 && common::installed("qemu-img") {
            assert_eq!(our_states(&image.volume), qemu_states(&disk), "{row}");
        }
    }
}

#[test]
fn streams_have_the_shape_that_the_specification_gives_them() {
    let dir = common::scratch();
    let [raw, disk] = ["a.raw", "a.vmdk"].map(|name| dir.path().join(name));
    let file = File::create(&raw).unwrap();
    file.set_len(70 << 20).unwrap();
    // The first and the third table have a grain each, the second none.
    file.write_all_at(&[7; 100], 3 * GRAIN).unwrap();
    file.write_all_at(&[9; 100], (70 << 20) - 100).unwrap();
    file.sync_all().unwrap();
    common::write_image(&open(&raw).unwrap().volume, &disk, common::writer("vmdk"), 2);
    let bytes = fs::read(&disk).unwrap();
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!((u32_at(4), u32_at(8)), (3, 0x0003_0001));
    assert_eq!(u64_at(56), u64::MAX);
    // Walks the markers from the first grain on.
    let (mut sector, mut seen) = (u64_at(64), Vec::new());
    loop {
        let at = sector as usize * 512;
        let (value, size, kind) = (u64_at(at), u32_at(at + 8), u32_at(at + 12));
        if size != 0 {
            seen.push(('g', value / 128));
            sector += (12 + u64::from(size)).div_ceil(512);
            continue;
        }
        seen.push((['e', 't', 'd', 'f'][kind as usize], value));
        sector += 1 + value;
        if kind == 0 {
            break;
        }
    }
    assert_eq!(sector as usize * 512, bytes.len());
    let expected = [('g', 3), ('t', 4), ('g', 1119), ('t', 4), ('d', 1), ('f', 1), ('e', 0)];
    assert_eq!(seen, expected);
}

// --- files that are named ------------------------------------------------------------------------

/// A text of one disk.
fn text(create_type: &str, extents: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=5f1a7e05\nparentCID=ffffffff\n\
         createType=\"{create_type}\"\n{extents}"
    )
}

#[test]
fn extents_are_joined_in_order_and_opened_only_on_request() {
    let dir = common::scratch();
    let disk = dir.path().join("a.vmdk");
    let flat = dir.path().join("flat");
    fs::write(&flat, [[1; 512], [2; 512], [3; 512]].concat()).unwrap();
    let lines = "RW 2 FLAT \"flat\" 1\nRW 3 ZERO\nRDONLY 1 FLAT \"flat\" 0\n";
    fs::write(&disk, text("twoGbMaxExtentFlat", lines)).unwrap();
    let image = open(&disk).unwrap();
    let expected = [[2; 512], [3; 512], [0; 512], [0; 512], [0; 512], [1; 512]].concat();
    assert_eq!(common::bytes_of(&image.volume), expected);
    assert_eq!(image.volume.extent_at(1024).unwrap().kind, ExtentKind::Zero);

    let (kind, told) = refused(open_with(&disk, Gate::default()));
    assert_eq!(kind, Kind::Unsupported);
    assert!(told.contains("\"flat\"") && told.contains("NameBacking"), "{told}");
    // Given by the user, in order; too few are refused.
    let other = dir.path().join("other");
    fs::write(&other, [9; 1536]).unwrap();
    let parents = vec![other.clone(), flat.clone()];
    let image = open_with(&disk, Gate { beside: false, parents }).unwrap();
    let bytes = common::bytes_of(&image.volume);
    assert_eq!((bytes[0], bytes[1023], bytes[2560]), (9, 9, 1));
    let gate = Gate { beside: false, parents: vec![other] };
    assert_eq!(refused(open_with(&disk, gate)).0, Kind::Unsupported);
    // The file and the text are both held to what they were.
    let image = open(&disk).unwrap();
    fs::write(&disk, text("vmfs", lines)).unwrap();
    assert!(image.volume.check_unchanged().is_err());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let dir = common::scratch();
    let disk = dir.path().join("a.vmdk");
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
    for name in ["/etc/passwd", "../a", "a\\b", "link", ".", "..", "", "nbd:x", "json:{}"] {
        fs::write(&disk, text("monolithicFlat", &format!("RW 1 FLAT \"{name}\" 0\n"))).unwrap();
        let (kind, told) = refused(open(&disk));
        assert_eq!(kind, Kind::Unsupported, "{name}: {told}");
    }
    for hint in ["/etc/passwd", "../a", "C:\\a", "link", ""] {
        let parent = format!("CID=1\nparentCID=2\nparentFileNameHint=\"{hint}\"\n");
        let lines = text("monolithicFlat", "RW 1 ZERO\n")
            .replace("CID=5f1a7e05\nparentCID=ffffffff\n", &parent);
        fs::write(&disk, lines).unwrap();
        let (kind, told) = refused(open(&disk));
        assert_eq!(kind, Kind::Unsupported, "{hint}: {told}");
    }
}

#[test]
fn extents_are_held_against_their_files() {
    let dir = common::scratch();
    let [raw, disk, sparse] = ["a.raw", "a.vmdk", "s.vmdk"].map(|name| dir.path().join(name));
    fs::write(&raw, vec![7; 4096]).unwrap();
    let volume = open(&raw).unwrap().volume;
    common::write_image(&volume, &sparse, common::writer("vmdk-sparse"), 1);
    let tell = |create_type: &str, lines: &str| {
        fs::write(&disk, text(create_type, lines)).unwrap();
        open(&disk)
    };
    let whole = tell("twoGbMaxExtentSparse", "RW 8 SPARSE \"s.vmdk\"\nRW 8 SPARSE \"s.vmdk\"\n");
    assert_eq!(common::bytes_of(&whole.unwrap().volume), vec![7; 8192]);
    for (create_type, lines, kind, part) in [
        (
            "twoGbMaxExtentSparse",
            "RW 9 SPARSE \"s.vmdk\"\n",
            Kind::Corrupt,
            "9 sectors, expected 8",
        ),
        ("twoGbMaxExtentSparse", "RW 8 SPARSE \"a.raw\"\n", Kind::Corrupt, "magic is"),
        (
            "monolithicFlat",
            "RW 9 FLAT \"a.raw\" 0\n",
            Kind::Corrupt,
            "the extent ends at byte 4608",
        ),
        (
            "monolithicFlat",
            "RW 8 FLAT \"a.raw\" 1\n",
            Kind::Corrupt,
            "the extent ends at byte 4608",
        ),
        ("monolithicFlat", "RW 8 FLAT \"none\" 0\n", Kind::Io, "none"),
        ("seSparse", "RW 8 SESPARSE \"s\"\n", Kind::Unsupported, "createType is seSparse"),
        ("fullDevice", "RW 8 FLAT \"/dev/sda\" 0\n", Kind::Unsupported, "createType is fullDevice"),
        ("vmfs", "RW 137438953472 ZERO\nRW 1 ZERO\n", Kind::Limit, "64 TiB"),
        ("monolithicFlat", "NOACCESS 8 FLAT \"a.raw\" 0\n", Kind::Unsupported, "NOACCESS"),
    ] {
        let (found, told) = refused(tell(create_type, lines));
        assert_eq!(found, kind, "{told}");
        assert!(told.contains(part), "{told}");
    }
    let (kind, told) = refused(tell("vmfs", &"#".repeat(1 << 20)));
    assert_eq!(kind, Kind::Limit, "{told}");
    // Packed extents are read, each from its own start.
    common::write_image(&volume, &sparse, common::writer("vmdk"), 1);
    let lines = "RW 8 ZERO\nRW 8 SPARSE \"s.vmdk\"\nRW 8 SPARSE \"s.vmdk\"\n";
    let bytes = common::bytes_of(&tell("twoGbMaxExtentSparse", lines).unwrap().volume);
    assert_eq!((&bytes[..4096], &bytes[4096..]), (&[0; 4096][..], &[7; 8192][..]));
}

#[test]
fn a_parent_must_be_the_one_that_it_was() {
    let dir = common::scratch();
    let [raw, base, delta] = ["a.raw", "base.vmdk", "delta.vmdk"].map(|name| dir.path().join(name));
    fs::write(&raw, vec![7; 4096]).unwrap();
    let volume = open(&raw).unwrap().volume;
    common::write_image(&volume, &base, common::writer("vmdk"), 1);
    let cid = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&bytes[512..1024]).into_owned();
        text.lines().find_map(|line| line.strip_prefix("CID=").map(str::to_owned)).unwrap()
    };
    let write = |cid: &str, hint: &str| {
        let parent = format!("CID=1\nparentCID={cid}\n{hint}");
        let lines = text("twoGbMaxExtentSparse", "RW 16 SPARSE \"s.vmdk\"\n")
            .replace("CID=5f1a7e05\nparentCID=ffffffff\n", &parent);
        fs::write(&delta, lines).unwrap();
    };
    // 16 sectors, of which no grain is there.
    let hole = dir.path().join("hole.raw");
    File::create(&hole).unwrap().set_len(8192).unwrap();
    let holes = open(&hole).unwrap().volume;
    common::write_image(&holes, &dir.path().join("s.vmdk"), common::writer("vmdk-sparse"), 1);
    let hint = "parentFileNameHint=\"base.vmdk\"\n";
    write(&cid(&base), hint);
    let image = open(&delta).unwrap();
    let bytes = common::bytes_of(&image.volume);
    assert_eq!((&bytes[..4096], &bytes[4096..]), (&[7; 4096][..], &[0; 4096][..]));
    assert_eq!(image.volume.extent_at(4096).unwrap().kind, ExtentKind::Hole);

    write("12345678", hint);
    let (kind, told) = refused(open(&delta));
    assert_eq!(kind, Kind::Mismatch);
    assert!(told.contains("expected 12345678"), "{told}");
    write("12345678", "parentFileNameHint=\"a.raw\"\n");
    assert_eq!(refused(open(&delta)).0, Kind::Corrupt);
    // A disk that names itself ends at the deepest chain.
    write("1", "parentFileNameHint=\"delta.vmdk\"\n");
    let (kind, told) = refused(open(&delta));
    assert_eq!(kind, Kind::Limit, "{told}");
}

// --- hostile bytes -------------------------------------------------------------------------------

/// Small disks of each kind, and how far their metadata goes.
fn small_disks(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let raw = dir.join("small.raw");
    let file = File::create(&raw).unwrap();
    file.set_len(4 * GRAIN).unwrap();
    file.write_all_at(&[7; 5000], 0).unwrap();
    file.write_all_at(&vec![0; GRAIN as usize], GRAIN).unwrap();
    file.write_all_at(&vec![9; GRAIN as usize], 3 * GRAIN).unwrap();
    file.sync_all().unwrap();
    let volume = open(&raw).unwrap().volume;
    ROWS.iter()
        .map(|row| {
            let path = dir.join(row);
            common::write_image(&volume, &path, common::writer(row), 1);
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect()
}

/// Opens and reads what can be opened.
fn probe_it(path: &Path) {
    let Ok(image) = open_vmdk(path) else { return };
    let size = image.volume.size();
    assert!(size <= MAX_VOLUME_SIZE);
    let mut buf = vec![0; size.min(GRAIN) as usize];
    let _ = image.volume.read_at(0, &mut buf);
    let _ = image.volume.read_at(size - buf.len() as u64, &mut buf);
}

#[test]
fn no_byte_of_the_metadata_does_harm() {
    let dir = common::scratch();
    for (path, bytes) in small_disks(dir.path()) {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let descriptor_end = 512 + bytes[512..].iter().position(|byte| *byte == 0).unwrap();
        // All that is not the middle: header, descriptor, tables, grains' markers, footer.
        let places = (0..79)
            .chain(512..descriptor_end)
            .chain(21 * 512..21 * 512 + 64)
            .chain(128 * 512..128 * 512 + 64)
            .chain(bytes.len() - 9 * 512..bytes.len());
        for at in places.step_by(common::step()) {
            for byte in [0, 1, 0x7f, 0xff] {
                file.write_all_at(&[byte], at as u64).unwrap();
                probe_it(&path);
            }
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
        assert!(fs::read(&path).unwrap() == bytes);
        open(&path).unwrap();
    }
}

#[test]
fn no_cut_disk_is_taken_for_a_whole_one() {
    let dir = common::scratch();
    for (path, bytes) in small_disks(dir.path()) {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let end = bytes.len();
        for len in (0..end)
            .rev()
            .filter(|len| *len <= 66_000 || end - len < 5000 || len % 97 == 0)
            .step_by(common::step())
        {
            file.set_len(len as u64).unwrap();
            let (kind, told) = refused(open_vmdk(&path));
            let expected = if len == 0 { Kind::Invalid } else { Kind::Corrupt };
            assert_eq!(kind, expected, "{len} bytes: {told}");
        }
    }
}

#[test]
fn random_damage_never_panics() {
    let dir = common::scratch();
    let disks = small_disks(dir.path());
    for seed in 0..common::sample(3000) {
        // The seed of a panic is the last one printed.
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let (path, bytes) = &disks[random.below(2) as usize];
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let mut changed = Vec::new();
        for _ in 0..=random.below(4) {
            let at = match random.below(3) {
                0 => random.below(80),
                1 => 21 * 512 + random.below(12 * 512),
                _ => bytes.len() as u64 - 1 - random.below(10 * 512),
            };
            changed.push(at);
            file.write_all_at(&[random.next() as u8], at).unwrap();
        }
        probe_it(path);
        for at in changed {
            file.write_all_at(&bytes[at as usize..][..1], at).unwrap();
        }
    }
}

#[test]
fn a_packed_grain_stands_for_one_place_and_is_whole() {
    let dir = common::scratch();
    let (path, bytes) = small_disks(dir.path()).swap_remove(0);
    let table = bytes.len() - 5 * 512 - 4 * 512;
    let entry = |bytes: &[u8], index: usize| {
        u32::from_le_bytes(bytes[table + 4 * index..][..4].try_into().unwrap())
    };
    assert!(entry(&bytes, 0) == 128 && entry(&bytes, 2) == 0 && entry(&bytes, 3) > 128);
    let read = |bytes: &[u8], offset: u64| {
        fs::write(&path, bytes).unwrap();
        let image = open(&path).unwrap();
        let mut buf = [0; 512];
        let read = image.volume.read_at(offset, &mut buf).map(|()| buf[0]);
        read.map_err(|e| (e.kind(), e.to_string()))
    };
    assert_eq!(read(&bytes, 0).unwrap(), 7);
    // The last grain's entry copied to the hole: another place.
    let mut shared = bytes.clone();
    shared.copy_within(table + 12..table + 16, table + 8);
    assert_eq!(read(&shared, 3 * GRAIN).unwrap(), 9);
    let (kind, told) = read(&shared, 2 * GRAIN).unwrap_err();
    assert!(kind == Kind::Corrupt && told.contains("for sector 384, expected 256"), "{told}");
    let marker = 128 * 512;
    for (len, part) in [
        (0_u32, "0 bytes, expected 1 to 131072"),
        (131_073, "131073 bytes, expected 1 to 131072"),
        (9, "not a valid zlib stream"),
    ] {
        let mut changed = bytes.clone();
        changed[marker + 8..marker + 12].copy_from_slice(&len.to_le_bytes());
        let (kind, told) = read(&changed, 0).unwrap_err();
        assert!(kind == Kind::Corrupt && told.contains(part), "{told}");
    }
    let mut flipped = bytes.clone();
    flipped[marker + 20] ^= 4;
    assert_eq!(read(&flipped, 0).unwrap_err().0, Kind::Corrupt);
}

#[test]
fn what_a_disk_says_of_itself_is_believed() {
    let dir = common::scratch();
    for (path, bytes) in small_disks(dir.path()) {
        let mut unclean = bytes.clone();
        unclean[72] = 1;
        if unclean[56] == 0xff {
            let footer = bytes.len() - 1024;
            unclean[footer + 72] = 1;
        }
        fs::write(&path, unclean).unwrap();
        let (kind, told) = refused(open(&path));
        assert_eq!(kind, Kind::Unsupported);
        assert!(told.contains("Force"), "{told}");
        format::open(&ImageRequest { force: true, ..ImageRequest::of(&path) }, &Unwatched).unwrap();
        // A part of a larger disk has no descriptor.
        let mut part = bytes.clone();
        part[512..21 * 512].fill(0);
        fs::write(&path, part).unwrap();
        let (kind, told) = refused(open(&path));
        assert_eq!(kind, Kind::Unsupported);
        assert!(told.contains("extent of a larger disk"), "{told}");
        // The descriptor's sectors are the header's.
        let text = String::from_utf8_lossy(&bytes[512..1536]).replace("RW 512 ", "RW 513 ");
        let mut other = bytes.clone();
        other[512..1536].copy_from_slice(&text.as_bytes()[..1024]);
        fs::write(&path, other).unwrap();
        let (kind, told) = refused(open(&path));
        assert_eq!(kind, Kind::Corrupt);
        assert!(told.contains("513 sectors, expected 512"), "{told}");
    }
}

#[test]
fn both_magics_are_known_and_cowd_is_refused_by_name() {
    let dir = common::scratch();
    let path = dir.path().join("a");
    fs::write(&path, b"COWD and what follows").unwrap();
    assert!(refused(open(&path)).1.contains("cowd"));
    for start in ["KDMV", "# Disk DescriptorFile\n"] {
        fs::write(&path, start).unwrap();
        let (kind, told) = refused(open(&path));
        assert_eq!(kind, Kind::Corrupt, "{told}");
    }
}
