//! Hundreds of generated images against qemu-img: what it writes we read to the byte and to the extent, and
//! what we write it finds sound and equal.
//!
//! `ORACLE_IMAGES` sets how many images are made, `SEED` the first seed.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;

use amikit::internals::format;
use amikit::internals::format::Format;
use amikit::internals::format::ImageRequest;
use amikit::internals::format::WRITERS;
use amikit::internals::format::gate::Gate;
use amikit::internals::units::ExtentKind;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::Volume;
use amikit::internals::volume::extents;
use amikit::internals::work::Unwatched;

use crate::common;
use crate::common::Random;

/// Images where nobody says how many.
const IMAGES: u64 = 300;

/// What qemu-img calls a format, and what it tells of one.
#[derive(Clone, Copy)]
struct Theirs {
    name: &'static str,
    rows: &'static [&'static str],
    tells_zeros: bool,
    sector_sized: bool,
}

const THEIRS: &[Theirs] = &[
    Theirs {
        name: "qcow2",
        rows: &["qcow2", "qcow2-zstd", "qcow2-zlib"],
        tells_zeros: true,
        sector_sized: true,
    },
    Theirs { name: "vmdk", rows: &["vmdk", "vmdk-sparse"], tells_zeros: false, sector_sized: true },
    Theirs { name: "vpc", rows: &["vhd", "vhd-fixed"], tells_zeros: false, sector_sized: true },
    Theirs { name: "vhdx", rows: &["vhdx"], tells_zeros: false, sector_sized: true },
    Theirs { name: "raw", rows: &["raw"], tells_zeros: false, sector_sized: false },
];

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len() as u64) as usize]
}

/// Options of `qemu-img convert` for one image of a format.
fn options(theirs: Theirs, random: &mut Random) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    let mut add = |text: &str| options.push(text.to_owned());
    match theirs.name {
        "qcow2" => {
            let size = pick(random, &[512, 4096, 65_536, 262_144, 2_097_152]);
            let version = pick(random, &["0.10", "1.1", "1.1"]);
            let mut all = format!("cluster_size={size},compat={version}");
            if version == "1.1" {
                if size >= 16_384 && random.below(4) == 0 {
                    all += ",extended_l2=on";
                }
                if random.below(2) == 0 && size >= 4096 {
                    all += ",compression_type=zstd";
                }
                if random.below(4) == 0 {
                    all += ",lazy_refcounts=on";
                }
            }
            add("-o");
            add(&all);
            if random.below(2) == 0 {
                add("-c");
            }
        }
        "vmdk" => {
            let kind = pick(random, &["monolithicSparse", "streamOptimized", "monolithicFlat"]);
            add("-o");
            let zeroed = random.below(2) == 0 && kind == "monolithicSparse";
            add(&format!("subformat={kind}{}", if zeroed { ",zeroed_grain=on" } else { "" }));
        }
        "vpc" => {
            let kind = pick(random, &["dynamic", "dynamic", "fixed"]);
            let force = pick(random, &["on", "off"]);
            add("-o");
            add(&format!("subformat={kind},force_size={force}"));
        }
        "vhdx" => {
            let kind = pick(random, &["dynamic", "dynamic", "fixed"]);
            let block = pick(random, &[1, 2, 8, 32]);
            add("-o");
            add(&format!("subformat={kind},block_size={}", block << 20));
        }
        _ => {
            // Zeros that are not looked for are written.
            add("-S");
            add(pick(random, &["0", "4k"]));
        }
    }
    options
}

fn qemu_img(args: &[&str], paths: &[&Path]) -> Vec<u8> {
    common::run_tool(Command::new("qemu-img").args(args).args(paths))
}

/// Extents as qemu-img tells them: data, zero or hole, or only whether they are data.
fn their_extents(image: &Path, theirs: Theirs, size: u64) -> Vec<(u64, u64, &'static str)> {
    let told = qemu_img(&["map", "--output=json", "-f", theirs.name], &[image]);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&told).unwrap();
    let mut found = Vec::new();
    for row in rows {
        let is = |name: &str| row[name].as_bool().unwrap();
        let kind = match (is("data"), is("present"), theirs.tells_zeros) {
            (true, _, _) => "data",
            (false, true, true) => "zero",
            (false, false, true) => "hole",
            (false, _, false) => "nothing",
        };
        let (start, len) = (row["start"].as_u64().unwrap(), row["length"].as_u64().unwrap());
        push(&mut found, start, len.min(size.saturating_sub(start)), kind);
    }
    found
}

fn our_extents(volume: &Volume, theirs: Theirs) -> Vec<(u64, u64, &'static str)> {
    let mut found = Vec::new();
    for extent in extents(volume) {
        let extent = extent.unwrap();
        let kind = match (extent.kind, theirs.tells_zeros) {
            (ExtentKind::Data, _) => "data",
            (ExtentKind::Zero, true) => "zero",
            (ExtentKind::Hole, true) => "hole",
            (_, false) => "nothing",
        };
        push(&mut found, extent.range.start, extent.len(), kind);
    }
    found
}

fn push(found: &mut Vec<(u64, u64, &'static str)>, start: u64, len: u64, kind: &'static str) {
    match found.last_mut() {
        Some(last) if last.2 == kind => last.1 += len,
        _ if len > 0 => found.push((start, len, kind)),
        _ => {}
    }
}

fn open(path: &Path, row: &'static Format) -> Volume {
    let request = ImageRequest {
        format: Some(row),
        gate: Gate { beside: true, parents: Vec::new() },
        ..ImageRequest::of(path)
    };
    format::open(&request, &Unwatched).unwrap_or_else(|e| panic!("{}: {e}", path.display())).volume
}

/// Size of a volume: small and large, sectors and odd ones.
fn random_size(random: &mut Random, sector_sized: bool) -> u64 {
    let most = 1 << (12 + random.below(12));
    let size = 1 + random.below(most);
    if sector_sized { size.next_multiple_of(512) } else { size }
}

/// One image there and back.
fn there_and_back(seed: u64, here: &Path) {
    let mut random = Random::with_seed(seed);
    let theirs = pick(&mut random, THEIRS);
    let size = random_size(&mut random, theirs.sector_sized);
    let (source, image, back) =
        (here.join("source.raw"), here.join("image"), here.join("back.raw"));
    common::random_file(&source, size, &mut random);
    let options = options(theirs, &mut random);
    let mut args = vec!["convert", "-f", "raw", "-O", theirs.name];
    args.extend(options.iter().map(String::as_str));
    let context = format!("seed {seed}: {size} bytes, {args:?}");
    qemu_img(&args, &[&source, &image]);
    let chain = theirs.name == "qcow2" && random.below(3) == 0;
    let image = if chain { lay_over(&image, size, here, &mut random) } else { image };

    let volume = open(&image, format::by_name(theirs.rows[0]).unwrap());
    qemu_img(&["convert", "-f", theirs.name, "-O", "raw"], &[&image, &back]);
    let expected = fs::read(&back).unwrap();
    let found = common::bytes_of(&volume);
    // qemu-img counts in sectors, and fills up the last one.
    assert!(found.len() <= expected.len(), "{context}: {} bytes", found.len());
    assert!(expected.len() - found.len() < 512, "{context}: {} bytes", found.len());
    assert!(found[..] == expected[..found.len()], "{context}: bytes");
    // Of raw, flat and fixed images we tell the file system's holes and qemu-img does not, of VHDX it
    // knows no map at all, and that of a chain speaks of what lies where.
    let is_flat = options.iter().any(|it| it.contains("Flat") || it.contains("fixed"));
    if matches!(theirs.name, "qcow2" | "vmdk" | "vpc") && !is_flat && !chain {
        let (ours, told) =
            (our_extents(&volume, theirs), their_extents(&image, theirs, volume.size()));
        assert_eq!(ours, told, "{context}: map");
    }

    let row = common::writer(pick(&mut random, theirs.rows));
    let ours = here.join("ours");
    common::write_unsynced(&volume, &ours, row, 1 + random.below(3) as usize);
    if matches!(theirs.name, "qcow2" | "vmdk" | "vhdx") {
        qemu_img(&["check", "-q", "-f", theirs.name], &[&ours]);
    }
    let compare = ["compare", "-q", "-f", theirs.name, "-F", "raw"];
    qemu_img(&compare, &[&ours, &back]);
    let again = open(&ours, row.format);
    assert!(common::bytes_of(&again)[..found.len()] == found[..], "{context}: {}", row.name);
}

/// Lays an image or two with some writes over another, and returns the top one.
fn lay_over(image: &Path, size: u64, here: &Path, random: &mut Random) -> std::path::PathBuf {
    let mut below = image.to_owned();
    for layer in 0..=random.below(2) {
        let top = here.join(format!("layer{layer}"));
        // Chains may grow and shrink.
        let size = match random.below(3) {
            0 => size + 512 * random.below(500),
            1 => (size - 512 * random.below(size / 512)).max(512),
            _ => size,
        };
        let cluster = format!("cluster_size={}", pick(random, &[512, 4096, 65_536]));
        let name = below.file_name().unwrap().to_str().unwrap().to_owned();
        common::run_tool(
            Command::new("qemu-img")
                .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-o", &cluster, "-b", &name])
                .arg(&top)
                .arg(size.to_string())
                .current_dir(here),
        );
        let mut command = Command::new("qemu-io");
        for _ in 0..random.below(6) {
            let at = 512 * random.below(size / 512);
            let len = (512 * (1 + random.below(200))).min(size - at);
            let verb = pick(random, &["write -P 7", "write -z", "discard", "write -P 9"]);
            command.args(["-c", &format!("{verb} {at} {len}")]);
        }
        common::run_tool(command.args(["-c", "quit", "-f", "qcow2"]).arg(&top));
        below = top;
    }
    below
}

#[test]
fn hundreds_of_images_go_there_and_back() {
    if !["qemu-img", "qemu-io"].iter().all(|tool| common::installed(tool)) {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (images, first) =
        (number("ORACLE_IMAGES").unwrap_or(common::sample(IMAGES)), number("SEED").unwrap_or(0));
    println!("{images} images from SEED={first} on");
    let next = AtomicU64::new(first);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from).min(8) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + images {
                        return;
                    }
                    let dir = common::scratch();
                    println!("seed {seed}");
                    there_and_back(seed, dir.path());
                }
            });
        }
    });
}

/// Every row that writes and has a name at qemu-img is held against it.
#[test]
fn no_row_is_forgotten() {
    for format in WRITERS {
        let known = THEIRS.iter().any(|theirs| theirs.rows.contains(&format.name));
        assert!(
            known || matches!(format.name, "android-sparse" | "raw-zstd" | "ova"),
            "{}",
            format.name
        );
    }
}
