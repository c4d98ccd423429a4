//! Every format against its fixtures, against hostile bytes, against itself and against the tools
//! that others use.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
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
use amikit::internals::format::OpenedImage;
use amikit::internals::format::sidecar;
use amikit::internals::units::MAX_VOLUME_SIZE;
use amikit::internals::volume::ReadVolume;
use amikit::internals::work::Unwatched;

use crate::common;
use crate::common::Entry;
use crate::common::Random;

fn named(name: &str) -> &'static Format {
    format::by_name(name).unwrap()
}

fn open_as(
    path: &Path,
    parts: &[PathBuf],
    format: Option<&'static Format>,
    extents: Option<&Path>,
) -> Result<OpenedImage, Error> {
    format::open(
        &ImageRequest {
            path: path.to_owned(),
            parts: parts.to_vec(),
            format,
            extents: extents.map(Path::to_owned),
            ..ImageRequest::default()
        },
        &Unwatched,
    )
}

fn open(path: &Path) -> Result<OpenedImage, Error> {
    open_as(path, &[], None, None)
}

fn open_sparse(path: &Path) -> Result<OpenedImage, Error> {
    open_as(path, &[], Some(named("android-sparse")), None)
}

// --- fixtures ------------------------------------------------------------------------------------

/// Opens an entry as a user would: no format named, the sidecar beside the image.
fn open_entry(entry: &Entry, dir: &Path) -> Result<OpenedImage, Error> {
    if let Some(image) = &entry.sidecar_of {
        let image = common::expand(&common::entry(image), dir);
        let sidecar = common::images().join(&entry.file);
        return open_as(&image, &[], None, Some(&sidecar));
    }
    let path = common::expand(entry, dir);
    let parts: Vec<PathBuf> =
        entry.of.iter().skip(1).map(|part| common::images().join(part)).collect();
    open_as(&path, &parts, None, None)
}

#[test]
fn each_fixture_gives_its_volume_or_its_refusal() {
    let dir = common::scratch();
    for entry in common::entries() {
        let file = &entry.file;
        let opened = open_entry(&entry, dir.path());
        if let Some(refused) = &entry.refused {
            let error = opened.map(|_| ()).expect_err(file);
            let text = error.to_string().to_lowercase();
            assert_eq!(error.kind().name(), refused, "{file}: {text}");
            let contains = entry.contains.as_ref().unwrap();
            assert!(text.contains(contains), "{file}: {text} lacks {contains:?}");
            continue;
        }
        let image = opened.unwrap_or_else(|e| panic!("{file}: {e}"));
        if entry.sidecar_of.is_none() {
            assert_eq!(Some(image.format.name), entry.format.as_deref(), "{file}");
        }
        assert_eq!(Some(image.volume.size()), entry.size, "{file}");
        assert_eq!(Some(common::sha256_of(&image.volume)), entry.sha256, "{file}");
        assert_eq!(common::extents_of(&image.volume), entry.extents, "{file}");
        image.volume.check_unchanged().unwrap();
    }
}

#[test]
fn a_sidecar_gives_states_to_a_copy_without_holes() {
    let dir = common::scratch();
    for entry in common::entries().iter().filter(|entry| entry.sidecar_of.is_some()) {
        if entry.refused.is_some() {
            continue;
        }
        let image = common::entry(entry.sidecar_of.as_ref().unwrap());
        let holed = common::expand(&image, dir.path());
        let dense = dir.path().join("dense");
        fs::write(&dense, fs::read(holed).unwrap()).unwrap();
        let plain = open(&dense).unwrap();
        assert_eq!(common::extents_of(&plain.volume).len(), 1);
        let sidecar = common::images().join(&entry.file);
        let opened = open_as(&dense, &[], None, Some(&sidecar)).unwrap();
        assert_eq!(common::extents_of(&opened.volume), entry.extents, "{}", entry.file);
        assert_eq!(Some(common::sha256_of(&opened.volume)), entry.sha256);
        assert_eq!(opened.notes.len(), usize::from(entry.file.contains("1.3")));
    }
}

#[test]
fn a_sidecar_of_another_image_is_refused() {
    let dir = common::scratch();
    let image = common::expand(&common::entry("dup-blocks.raw.zst"), dir.path());
    let changed = |offset: u64, byte: u8| {
        let path = dir.path().join("changed");
        fs::copy(&image, &path).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[byte], offset).unwrap();
        path
    };
    for sidecar in ["dup-blocks.bmap", "dup-blocks-1.3.bmap", "dup-blocks.map.json"] {
        let sidecar = common::images().join(sidecar);
        let error = |path: &Path| {
            let error = open_as(path, &[], None, Some(&sidecar)).unwrap_err();
            (error.kind(), error.to_string())
        };
        // A byte where the sidecar has nothing: it would be lost.
        let (kind, text) = error(&changed(600_000, 1));
        assert_eq!(kind, Kind::Mismatch, "{text}");
        assert!(text.contains("not all zeros") && text.contains("589824..655360"), "{text}");
        let (_, text) = error(&common::expand(&common::entry("tail-odd.raw.zst"), dir.path()));
        assert!(text.contains("1049810"), "{text}");
    }
    // A byte where the sidecar has a digest.
    let sidecar = common::images().join("dup-blocks.bmap");
    let error = open_as(&changed(10, 0), &[], None, Some(&sidecar)).unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    assert!(error.to_string().contains("SHA-256 of bytes 0..524288"), "{error}");
}

#[test]
fn what_the_user_calls_raw_is_raw() {
    let dir = common::scratch();
    for file in ["x-qcow2.img.zst", "x-iso-qcow2.img.zst", "x-vhd.img", "all-kinds.simg"] {
        let path = common::expand(&common::entry(file), dir.path());
        let image = open_as(&path, &[], Some(named("raw")), None).unwrap();
        assert_eq!(image.format.name, "raw");
        assert_eq!(common::bytes_of(&image.volume), fs::read(&path).unwrap());
    }
}

#[test]
fn parts_must_be_of_one_set() {
    let sparse = |name: &str| common::images().join(name);
    let refused = |first: &str, part: &str| {
        let error = open_as(&sparse(first), &[sparse(part)], None, None).unwrap_err();
        assert_eq!(error.path(), Some(&*sparse(part)));
        (error.kind(), error.to_string())
    };
    let (kind, text) = refused("split.0.simg", "blk-1024.simg");
    assert!(kind == Kind::Invalid && text.contains("block size"), "{text}");
    let (kind, text) = refused("split.0.simg", "all-kinds.simg");
    assert!(kind == Kind::Invalid && text.contains("block count"), "{text}");
    let (kind, text) = refused("split.0.simg", "x-cut-data.simg");
    assert!(kind == Kind::Corrupt && text.contains("chunk"), "{text}");
    let dir = common::scratch();
    let raw = common::expand(&common::entry("all-hole.raw.zst"), dir.path());
    let error = open_as(&raw, std::slice::from_ref(&raw), None, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
}

#[test]
fn a_later_part_lies_over_an_earlier_one() {
    let name = |number| common::images().join(format!("split.{number}.simg"));
    let whole = open_as(&name(0), &[name(1), name(2)], None, None).unwrap();
    // The same set over itself, and in another order: the parts do not overlap.
    for order in [[2, 1, 0], [1, 0, 2]] {
        let parts = order.map(name);
        let image = open_as(&parts[0], &parts[1..], None, None).unwrap();
        assert_eq!(common::extents_of(&image.volume), common::extents_of(&whole.volume));
        assert_eq!(common::sha256_of(&image.volume), common::sha256_of(&whole.volume));
    }
    let part = open(&name(1)).unwrap();
    assert_ne!(common::extents_of(&part.volume), common::extents_of(&whole.volume));
    assert_eq!(part.volume.size(), whole.volume.size());
}

#[test]
fn what_a_later_part_stores_wins_and_what_it_skips_stays() {
    let dir = common::scratch();
    // Two pages of data, a hole, a page of zeros; and over it a fill of the second page alone.
    let below = common::images().join("minor-7.simg");
    let mut bytes = fs::read(&below).unwrap()[..28].to_vec();
    bytes[20] = 3;
    bytes.extend(*b"\xc3\xca\0\0\x01\0\0\0\x0c\0\0\0");
    bytes.extend(*b"\xc2\xca\0\0\x01\0\0\0\x10\0\0\0over");
    bytes.extend(*b"\xc3\xca\0\0\x02\0\0\0\x0c\0\0\0");
    let over = dir.path().join("over.simg");
    fs::write(&over, bytes).unwrap();

    let alone = open(&below).unwrap().volume;
    let read = |first: &Path, part: &Path| {
        let image = open_as(first, &[part.to_owned()], None, None).unwrap();
        assert_eq!(common::page_states(&image.volume), common::page_states(&alone));
        common::bytes_of(&image.volume)
    };
    let mut expected = common::bytes_of(&alone);
    assert_eq!(read(&over, &below), expected);
    expected[4096..8192].copy_from_slice(&b"over".repeat(1024));
    assert_eq!(read(&below, &over), expected);
}

// --- hostile bytes -------------------------------------------------------------------------------

/// A sound image of at most 64 KiB: its bytes, where each header starts, where the last chunk ends.
struct Small {
    name: String,
    bytes: Vec<u8>,
    headers: Vec<usize>,
    end: usize,
}

fn small_images() -> Vec<Small> {
    let le = |bytes: &[u8], at: usize, len: usize| {
        bytes[at..at + len].iter().rev().fold(0_usize, |all, byte| all << 8 | usize::from(*byte))
    };
    let mut found = Vec::new();
    for entry in common::entries() {
        let sparse = entry.format.as_deref() == Some("android-sparse");
        let bytes = fs::read(common::images().join(&entry.file)).unwrap();
        if !sparse || bytes.len() > 64 << 10 {
            continue;
        }
        let (mut end, mut headers) = (le(&bytes, 8, 2), vec![0]);
        for _ in 0..le(&bytes, 20, 4) {
            headers.push(end);
            end += le(&bytes, end + 8, 4);
        }
        found.push(Small { name: entry.file, bytes, headers, end });
    }
    assert!(found.len() >= 7, "the small ones are {}", found.len());
    found
}

#[test]
fn no_byte_of_a_header_does_harm() {
    let dir = common::scratch();
    let path = dir.path().join("image");
    for Small { name, bytes, headers, .. } in small_images() {
        fs::write(&path, &bytes).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        for (number, start) in headers.into_iter().enumerate() {
            for at in start..start + if number == 0 { 28 } else { 12 } {
                for byte in [0, 1, 0x7f, 0xff] {
                    file.write_all_at(&[byte], at as u64).unwrap();
                    let Ok(image) = open_sparse(&path) else { continue };
                    let size = image.volume.size();
                    assert!(size <= MAX_VOLUME_SIZE, "{name}: byte {at} is {byte:#x}");
                    let mut buf = vec![0; size.min(64 << 10) as usize];
                    let _ = image.volume.read_at(0, &mut buf);
                    let _ = image.volume.read_at(size - buf.len() as u64, &mut buf);
                }
                file.write_all_at(&bytes[at..=at], at as u64).unwrap();
            }
        }
        open_sparse(&path).unwrap();
    }
}

#[test]
fn no_cut_image_is_taken_for_a_whole_one() {
    let dir = common::scratch();
    let path = dir.path().join("image");
    for Small { name, bytes, end, .. } in small_images() {
        fs::write(&path, &bytes).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        for len in (0..=bytes.len()).rev() {
            file.set_len(len as u64).unwrap();
            let opened = open_sparse(&path).map(|_| ()).map_err(|e| e.kind());
            let expected = match len {
                0 => Err(Kind::Invalid),
                len if len < end => Err(Kind::Corrupt),
                _ => Ok(()),
            };
            assert_eq!(opened, expected, "{name}: {len} bytes");
        }
    }
}

#[test]
fn random_damage_never_panics() {
    let dir = common::scratch();
    let path = dir.path().join("image");
    for seed in 0..common::sample(2000) {
        let mut random = Random::with_seed(seed);
        let small = small_images();
        let Small { mut bytes, headers, .. } =
            small.into_iter().nth(random.below(7) as usize).unwrap();
        for _ in 0..=random.below(4) {
            let header = headers[random.below(headers.len() as u64) as usize];
            let at = header + random.below(12) as usize;
            bytes[at] = random.next() as u8;
        }
        fs::write(&path, &bytes).unwrap();
        // The seed of a panic is the last one printed.
        println!("seed {seed}");
        let _ = open(&path);
        let _ = open_sparse(&path);
    }
}

// --- round trips ---------------------------------------------------------------------------------

#[test]
fn raw_to_android_sparse_and_back_keeps_bytes_and_states() {
    let dir = common::scratch();
    let [first, sparse, again, other] =
        ["first.raw", "one.simg", "again.raw", "other.simg"].map(|name| dir.path().join(name));
    for seed in 0..common::sample(200) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let unit = if seed % 4 == 0 { 1024 } else { 4096 };
        let size = unit * (1 + random.below((6 << 20) / unit));
        common::random_file(&first, size, &mut random);

        let raw = open(&first).unwrap();
        let bytes = common::bytes_of(&raw.volume);
        assert_eq!(bytes, fs::read(&first).unwrap());
        let states = common::page_states(&raw.volume);

        common::write_image(&raw.volume, &sparse, common::writer("android-sparse"), 2);
        let image = open(&sparse).unwrap();
        assert_eq!(image.format.name, "android-sparse");
        assert!(bytes == common::bytes_of(&image.volume), "seed {seed}");
        assert_eq!(states, common::page_states(&image.volume), "seed {seed}");

        common::write_image(&image.volume, &again, common::writer("raw"), 2);
        let back = open(&again).unwrap();
        assert!(bytes == common::bytes_of(&back.volume), "seed {seed}");
        assert_eq!(states, common::page_states(&back.volume), "seed {seed}");

        common::write_image(&back.volume, &other, common::writer("android-sparse"), 1);
        assert!(fs::read(&sparse).unwrap() == fs::read(&other).unwrap(), "seed {seed}");
    }
}

#[test]
fn a_length_that_android_sparse_cannot_say_is_filled_up() {
    let dir = common::scratch();
    let path = common::expand(&common::entry("tail-odd.raw.zst"), dir.path());
    let image = open(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let out = dir.path().join("out");
    common::write_image(&image.volume, &out, common::writer("raw"), 3);
    assert!(fs::read(&out).unwrap() == bytes);
    assert!(!bytes.len().is_multiple_of(1024));
    bytes.resize(bytes.len().next_multiple_of(1024), 0);
    common::write_image(&image.volume, &out, common::writer("android-sparse"), 3);
    assert!(common::bytes_of(&open(&out).unwrap().volume) == bytes);
    if common::installed("simg2img") {
        let theirs = dir.path().join("theirs.raw");
        common::run_tool(Command::new("simg2img").arg(&out).arg(&theirs));
        assert!(fs::read(&theirs).unwrap() == bytes);
    }
}

#[test]
fn a_sparse_terabyte_takes_no_time_and_no_space() {
    let dir = common::scratch();
    let path = dir.path().join("big.raw");
    let file = File::create(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    file.write_all_at(b"somewhere", 700 << 30).unwrap();
    file.sync_all().unwrap();
    let raw = open(&path).unwrap();
    let sparse = dir.path().join("big.simg");
    common::write_image(&raw.volume, &sparse, common::writer("android-sparse"), 2);
    assert!(fs::metadata(&sparse).unwrap().len() < 1 << 20);
    let image = open(&sparse).unwrap();
    let again = dir.path().join("again.raw");
    common::write_image(&image.volume, &again, common::writer("raw"), 2);
    assert_eq!(common::extents_of(&open(&again).unwrap().volume).len(), 3);
    let mut word = [0; 9];
    image.volume.read_at(700 << 30, &mut word).unwrap();
    assert_eq!(&word, b"somewhere");
}

#[test]
fn sidecars_that_we_write_give_the_states_back() {
    let dir = common::scratch();
    let [raw, dense, bmap, map] =
        ["a.raw", "dense.raw", "a.bmap", "a.map.json"].map(|name| dir.path().join(name));
    for seed in 1000..1000 + common::sample(20) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let size = 1 + random.below(4 << 20);
        common::random_file(&raw, size, &mut random);
        fs::write(&dense, fs::read(&raw).unwrap()).unwrap();
        let image = open(&raw).unwrap();
        write_sidecars(&image, &bmap, &map);
        for sidecar in [&bmap, &map] {
            let again = open_as(&dense, &[], None, Some(sidecar)).unwrap();
            assert_eq!(again.notes, Vec::<String>::new());
            let states = common::page_states(&again.volume);
            assert_eq!(states, common::page_states(&image.volume), "{}", sidecar.display());
        }
    }
}

fn write_sidecars(image: &OpenedImage, bmap: &Path, map: &Path) {
    let threads = NonZero::new(2).unwrap();
    let mut out = File::create(bmap).unwrap();
    sidecar::write_bmap(&image.volume, &mut out, &Unwatched, threads).unwrap();
    let mut out = File::create(map).unwrap();
    sidecar::write_qemu_map(&image.volume, image.holes, &mut out).unwrap();
}

// --- foreign tools -------------------------------------------------------------------------------

/// Runs `test` over a few random raw images whose size is a multiple of `unit`.
fn with_random_images(unit: u64, mut test: impl FnMut(&Path, &Path)) {
    for seed in 2000..2012 {
        println!("seed {seed}");
        let dir = common::scratch();
        let path = dir.path().join("random.raw");
        let mut random = Random::with_seed(seed);
        let size = unit * (1 + random.below((4 << 20) / unit));
        common::random_file(&path, size, &mut random);
        test(&path, dir.path());
    }
}

#[test]
fn simg2img_makes_of_our_image_what_we_do() {
    if !common::installed("simg2img") {
        return;
    }
    for unit in [4096, 1024] {
        with_random_images(unit, |path, dir| {
            let (sparse, expanded) = (dir.join("ours.simg"), dir.join("theirs.raw"));
            common::write_image(
                &open(path).unwrap().volume,
                &sparse,
                common::writer("android-sparse"),
                2,
            );
            common::run_tool(Command::new("simg2img").arg(&sparse).arg(&expanded));
            assert!(fs::read(path).unwrap() == fs::read(&expanded).unwrap());
        });
    }
}

#[test]
fn img2simg_makes_an_image_that_we_read() {
    if !common::installed("img2simg") {
        return;
    }
    with_random_images(4096, |path, dir| {
        let sparse = dir.join("theirs.simg");
        common::run_tool(Command::new("img2simg").arg(path).arg(&sparse));
        let image = open(&sparse).unwrap();
        assert_eq!(image.format.name, "android-sparse");
        assert!(common::bytes_of(&image.volume) == fs::read(path).unwrap());
    });
}

#[test]
fn qemu_img_tells_the_extents_that_we_tell() {
    if !common::installed("qemu-img") {
        return;
    }
    for unit in [512, 1] {
        with_random_images(unit, |path, dir| {
            let mut command = Command::new("qemu-img");
            command.args(["map", "--output=json", "-f", "raw"]).arg(path);
            let theirs = common::run_tool(&mut command);
            let image = open(path).unwrap();
            let mut ours = Vec::new();
            sidecar::write_qemu_map(&image.volume, image.holes, &mut ours).unwrap();
            let size = image.volume.size();
            if size.is_multiple_of(512) {
                let text = |bytes| String::from_utf8(bytes).unwrap();
                assert_eq!(text(ours), text(theirs.clone()));
            } else {
                // They tell the rest of the last sector as zeros, part of a row or one of its own.
                assert_eq!(rows(&ours, size), rows(&theirs, size));
            }
            let sidecar = dir.join("theirs.map.json");
            fs::write(&sidecar, theirs).unwrap();
            let again = open_as(path, &[], None, Some(&sidecar)).unwrap();
            assert_eq!(
                common::extents_of(&again.volume),
                common::extents_of(&image.volume),
                "the sidecar changes nothing"
            );
        });
    }
}

/// Rows of a list of extents, cut at the volume's end.
fn rows(text: &[u8], size: u64) -> Vec<serde_json::Value> {
    let mut rows: Vec<serde_json::Value> = serde_json::from_slice(text).unwrap();
    rows.retain(|row| row["start"].as_u64().unwrap() < size);
    let last = rows.last_mut().unwrap();
    let rest = size - last["start"].as_u64().unwrap();
    last["length"] = rest.min(last["length"].as_u64().unwrap()).into();
    rows
}

#[test]
fn a_map_of_qcow2_gives_its_states_to_the_raw_copy() {
    if !common::installed("qemu-img") || !common::installed("qemu-io") {
        return;
    }
    let dir = common::scratch();
    let [qcow2, raw, map] = ["a.qcow2", "a.raw", "a.map.json"].map(|name| dir.path().join(name));
    common::run_tool(
        Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&qcow2).arg("4M"),
    );
    let mut command = Command::new("qemu-io");
    for write in
        ["write -P 5 0 64k", "write -z 1M 128k", "write -P 0 2M 128k", "write -P 3 3M 128k"]
    {
        command.args(["-c", write]);
    }
    common::run_tool(command.arg(&qcow2));
    let mut command = Command::new("qemu-img");
    fs::write(&map, common::run_tool(command.args(["map", "--output=json"]).arg(&qcow2))).unwrap();
    common::run_tool(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(&qcow2).arg(&raw));
    let image = open_as(&raw, &[], None, Some(&map)).unwrap();
    let kib = |start: u64, len: u64, kind: &str| (start << 10, len << 10, kind.to_owned());
    let told = common::extents_of(&image.volume);
    assert_eq!(told[..3], [kib(0, 64, "data"), kib(64, 960, "hole"), kib(1024, 128, "zero")]);
    // Written zeros of the copy may have become a hole; the map says that they were written.
    let pages = common::page_states(&image.volume);
    assert!(pages[512..544].iter().all(|state| state.name() == "zero"));
    assert!(pages[544..768].iter().all(|state| state.name() == "hole"));
    assert!(pages[768..800].iter().all(|state| state.name() == "data"));
}

#[test]
fn bmaptool_and_we_read_each_others_maps() {
    if !common::installed("bmaptool") {
        return;
    }
    for unit in [4096, 1].into_iter().step_by(common::step()) {
        with_random_images(unit, |path, dir| {
            let image = open(path).unwrap();
            let [theirs, ours, map, copy] =
                ["theirs.bmap", "ours.bmap", "map", "copy.raw"].map(|name| dir.join(name));
            write_sidecars(&image, &ours, &map);
            let mut copying = Command::new("bmaptool");
            copying.args(["-q", "copy", "--bmap"]).arg(&ours).arg(path).arg(&copy);
            common::run_tool(&mut copying);
            assert!(fs::read(path).unwrap() == fs::read(&copy).unwrap());

            let mapped = |path: &Path| match sidecar::read(path).unwrap() {
                sidecar::Sidecar::Bmap(bmap) => bmap.ranges().flatten().count(),
                sidecar::Sidecar::QemuMap(_) => panic!("not a bmap"),
            };
            let mut creating = Command::new("bmaptool");
            creating.args(["-q", "create", "-o"]).arg(&theirs).arg(path);
            let done = creating.output().unwrap();
            if !done.status.success() {
                // A file that is all hole gives no map.
                assert_eq!(mapped(&ours), 0, "{}", String::from_utf8_lossy(&done.stderr));
                return;
            }
            assert_eq!(mapped(&ours), mapped(&theirs));
            let again = open_as(path, &[], None, Some(&theirs)).unwrap();
            assert_eq!(common::page_states(&again.volume), common::page_states(&image.volume));
        });
    }
}

#[test]
fn bmaptool_checks_the_digests_that_we_write() {
    if !common::installed("bmaptool") {
        return;
    }
    let dir = common::scratch();
    let path = common::expand(&common::entry("dup-blocks.raw.zst"), dir.path());
    let [bmap, map, copy] = ["a.bmap", "map", "copy.raw"].map(|name| dir.path().join(name));
    write_sidecars(&open(&path).unwrap(), &bmap, &map);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"other", 1 << 20).unwrap();
    let mut copying = Command::new("bmaptool");
    let told = copying.args(["-q", "copy", "--bmap"]).arg(&bmap).arg(&path).arg(&copy).output();
    assert!(!told.unwrap().status.success());
}
