//! VHD images against qemu-img, against libvhdi, against hostile bytes, and against themselves.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use amikit::internals::error::Advice;
use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::field;
use amikit::internals::format;
use amikit::internals::format::Format;
use amikit::internals::format::ImageRequest;
use amikit::internals::format::OpenedImage;
use amikit::internals::format::gate::Gate;
use amikit::internals::format::vhd::layout::DiskType;
use amikit::internals::format::vhd::layout::Footer;
use amikit::internals::format::vhd::layout::Header;
use amikit::internals::format::vhd::layout::Parent;
use amikit::internals::units::ExtentKind;
use amikit::internals::volume::Place;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::RunMap;
use amikit::internals::volume::Volume;
use amikit::internals::work::Unwatched;

use crate::common;
use crate::common::Random;

const SECTOR: usize = 512;

fn named(name: &str) -> &'static Format {
    format::by_name(name).unwrap()
}

fn open(path: &Path) -> Result<OpenedImage, Error> {
    format::open(&ImageRequest::of(path), &Unwatched)
}

fn open_forced(path: &Path) -> Result<OpenedImage, Error> {
    format::open(&ImageRequest { force: true, ..ImageRequest::of(path) }, &Unwatched)
}

/// Sets bytes of a footer or header and makes its checksum, at byte `sum_at` of it, right.
fn set(bytes: &mut [u8], sum_at: usize, at: usize, new: &[u8]) {
    field::put_bytes(bytes, at, new);
    field::put_u32_be(bytes, sum_at, 0);
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    field::put_u32_be(bytes, sum_at, !sum);
}

// --- qemu-img ------------------------------------------------------------------------------------

fn qemu_img(args: &[&str], paths: &[&Path]) -> Vec<u8> {
    common::run_tool(Command::new("qemu-img").args(args).args(paths))
}

/// Converts an image to raw by qemu-img and returns the bytes.
fn qemu_reads(path: &Path) -> Vec<u8> {
    let raw = path.with_extension("qemu.raw");
    let _ = fs::remove_file(&raw);
    qemu_img(&["convert", "-f", "vpc", "-O", "raw"], &[path, &raw]);
    fs::read(raw).unwrap()
}

/// Extents as `qemu-img map` tells them, joined, with its zeros as holes.
fn qemu_extents(path: &Path, size: u64) -> Vec<(u64, u64, String)> {
    let told = qemu_img(&["map", "--output=json", "-f", "vpc"], &[path]);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&told).unwrap();
    let mut extents: Vec<(u64, u64, String)> = Vec::new();
    for row in rows {
        let start = row["start"].as_u64().unwrap();
        let len = row["length"].as_u64().unwrap().min(size - start);
        let kind = if row["data"].as_bool().unwrap() { "data" } else { "hole" };
        match extents.last_mut() {
            Some(last) if last.2 == kind => last.1 += len,
            _ => extents.push((start, len, kind.to_owned())),
        }
    }
    extents
}

#[test]
fn what_qemu_img_writes_reads_as_it_reads_it() {
    if !common::installed("qemu-img") {
        return;
    }
    let dir = common::scratch();
    let [raw, image] = ["a.raw", "a.vhd"].map(|name| dir.path().join(name));
    for seed in 0..common::sample(64) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let unit = if seed % 3 == 0 { 1 } else { 512 };
        let size = unit * (1 + random.below((7 << 20) / unit));
        common::write_dense(&common::random_volume(size, &mut random), &raw);
        let subformat = if seed % 2 == 0 { "dynamic" } else { "fixed" };
        let force = if seed % 4 < 2 { "on" } else { "off" };
        let options = format!("subformat={subformat},force_size={force}");
        let _ = fs::remove_file(&image);
        qemu_img(&["convert", "-f", "raw", "-O", "vpc", "-o", &options], &[&raw, &image]);
        let ours = open(&image).unwrap();
        assert_eq!(ours.format.name, "vhd");
        let theirs = qemu_reads(&image);
        assert!(common::bytes_of(&ours.volume) == theirs, "{options}");
        let plain = fs::read(&raw).unwrap();
        assert!(theirs[..plain.len()] == plain);
        let size = ours.volume.size();
        if subformat == "dynamic" {
            // Of a fixed image it says that all is data, whatever holes the file has.
            assert_eq!(common::extents_of(&ours.volume), qemu_extents(&image, size), "{options}");
        }
    }
}

#[test]
fn what_we_write_reads_the_same_for_qemu_img() {
    if !common::installed("qemu-img") {
        return;
    }
    let dir = common::scratch();
    for seed in 100..100 + common::sample(64) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let unit = [1, 512, 4096][seed as usize % 3];
        let size = unit * (1 + random.below((9 << 20) / unit));
        let source = common::random_volume(size, &mut random);
        let mut padded = common::bytes_of(&source);
        padded.resize(padded.len().next_multiple_of(SECTOR), 0);
        for name in ["vhd", "vhd-fixed"] {
            let image = dir.path().join(name);
            common::write_unsynced(&source, &image, common::writer(name), 1 + seed as usize % 3);
            assert!(qemu_reads(&image) == padded, "{name}");
            let ours = open(&image).unwrap();
            assert_eq!(ours.format.name, "vhd");
            assert!(common::bytes_of(&ours.volume) == padded, "{name}");
            if name == "vhd" {
                // It does not look at bitmaps, so blocks are all that it tells holes by.
                for (start, len, kind) in qemu_extents(&image, ours.volume.size()) {
                    let extent = ours.volume.extent_at(start).unwrap();
                    assert!(kind != "hole" || extent.kind == ExtentKind::Hole);
                    assert!(kind != "hole" || extent.range.end >= start + len);
                }
            }
        }
    }
}

/// Each creator and some geometries; a raw size that none of them describes.
#[test]
fn the_size_is_the_one_that_qemu_img_shows() {
    if !common::installed("qemu-img") {
        return;
    }
    let dir = common::scratch();
    let path = dir.path().join("a.vhd");
    let size = 40_000 * 512;
    let fixed = Footer::new(u64::MAX, size, DiskType::Fixed, [1; 16]);
    let creators = [
        *b"vpc ", *b"qemu", *b"qem2", *b"win ", *b"d2v ", *b"tap\0", *b"CTXS", *b"wa\0\0",
        *b"vbox", *b"vs  ", [0; 4], *b"amik", [0xff; 4],
    ];
    let geometries = [[0, 39, 32, 32], [0xff, 0xff, 16, 255], [0, 10, 4, 17], [0, 0, 0, 0]];
    for creator in creators {
        for geometry in geometries {
            let mut footer = fixed.encode();
            set(&mut footer, 64, 28, &creator);
            set(&mut footer, 64, 56, &geometry);
            let file = File::create(&path).unwrap();
            file.set_len(size).unwrap();
            file.write_all_at(&footer, size).unwrap();
            let told = qemu_img(&["info", "--output=json", "-f", "vpc"], &[&path]);
            let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
            let ours = open(&path).map(|image| image.volume.size());
            // An empty volume is none to us.
            let ours = ours.unwrap_or_else(|e| {
                assert_eq!(e.kind(), Kind::Invalid);
                0
            });
            assert_eq!(Some(ours), told["virtual-size"].as_u64(), "{creator:?} {geometry:?}");
        }
    }
}

// --- images of our own making --------------------------------------------------------------------

/// A dynamic or differencing image as a model: what it is made of, and the bytes it must give.
struct Model {
    disk_type: DiskType,
    block_len: usize,
    id: u8,
    parent: Parent,
    /// Each sector of the volume, where it is present.
    sectors: Vec<Option<[u8; SECTOR]>>,
    /// Whether the block is there although no sector of it is.
    there: Vec<bool>,
}

impl Model {
    fn random(random: &mut Random, disk_type: DiskType, sectors: usize, id: u8) -> Self {
        let block_len = 4096 << random.below(6);
        let blocks = (sectors * SECTOR).div_ceil(block_len);
        let there: Vec<_> = (0..blocks).map(|_| random.below(3) != 0).collect();
        let mut present = false;
        let mut own = Vec::new();
        for sector in 0..sectors {
            if random.below(6) == 0 {
                present = !present;
            }
            let mut bytes = [0; SECTOR];
            if random.below(4) != 0 {
                random.fill(&mut bytes);
            }
            let there = there[sector * SECTOR / block_len];
            own.push((present && there).then_some(bytes));
        }
        Self { disk_type, block_len, id, parent: Parent::default(), sectors: own, there }
    }

    /// The image: blocks in any order, gaps between them, bytes behind the table.
    fn encode(&self, random: &mut Random, all_bits: bool) -> Vec<u8> {
        let size = (self.sectors.len() * SECTOR) as u64;
        let header_at = 512 * (1 + random.below(4));
        let footer = Footer::new(header_at, size, self.disk_type, [self.id; 16]);
        let table_at = header_at + 1024 + 512 * random.below(4);
        let blocks = self.there.len();
        let entry_count = blocks as u32 + random.below(300) as u32;
        let block_len = self.block_len as u32;
        let header = Header { table_at, entry_count, block_len, parent: Parent::default() };
        let mut header = header.encode();
        set(&mut header, 36, 40, &self.parent.id);
        let name: Vec<u8> = self.parent.name.encode_utf16().flat_map(u16::to_be_bytes).collect();
        set(&mut header, 36, 64, &name);

        let mut bytes = footer.encode().to_vec();
        bytes.resize(header_at as usize, 0xee);
        bytes.extend(header);
        bytes.resize(table_at as usize, 0xee);
        bytes.resize((table_at as usize + 4 * entry_count as usize).next_multiple_of(512), 0xff);
        let mut order: Vec<usize> = (0..blocks).filter(|block| self.there[*block]).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, random.below(at as u64 + 1) as usize);
        }
        let per_block = self.block_len / SECTOR;
        for block in order {
            bytes.resize(bytes.len() + 512 * random.below(3) as usize, 0xee);
            let at = bytes.len();
            field::put_u32_be(&mut bytes, table_at as usize + 4 * block, (at / 512) as u32);
            let bitmap_len = per_block.div_ceil(8).next_multiple_of(512);
            bytes.resize(at + bitmap_len + self.block_len, 0);
            for number in 0..per_block {
                let sector = self.sectors.get(block * per_block + number).copied().flatten();
                if let Some(sector) = sector {
                    let to = at + bitmap_len + number * SECTOR;
                    bytes[to..][..SECTOR].copy_from_slice(&sector);
                }
                if sector.is_some() || all_bits {
                    bytes[at + number / 8] |= 0x80 >> (number % 8);
                }
            }
        }
        bytes.extend(footer.encode());
        bytes
    }

    /// The volume's bytes over those of a parent.
    fn over(&self, below: &[u8]) -> Vec<u8> {
        let mut bytes = below.to_vec();
        bytes.resize(self.sectors.len() * SECTOR, 0);
        for (sector, to) in self.sectors.iter().zip(bytes.chunks_mut(SECTOR)) {
            if let Some(sector) = sector {
                to.copy_from_slice(sector);
            }
        }
        bytes
    }
}

#[test]
fn dynamic_images_of_any_shape_read_as_their_model_and_as_qemu_img_has_them() {
    let dir = common::scratch();
    let scratch = Scratch::new(dir.path());
    let path = &scratch.path;
    let has_qemu = common::installed("qemu-img");
    for seed in 0..common::sample(300) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let sectors = 1 + random.below(1000) as usize;
        let model = Model::random(&mut random, DiskType::Dynamic, sectors, 1);
        scratch.put(&model.encode(&mut random, seed % 3 == 0));
        let image = open(path).unwrap();
        let bytes = common::bytes_of(&image.volume);
        assert!(bytes == model.over(&[]));
        if has_qemu && seed < 60 {
            let theirs = qemu_reads(path);
            assert!(theirs == bytes);
        }
        if seed % 3 != 0 {
            // Each page of a block that is absent is a hole, and nothing that is present is.
            let mut at = 0;
            for page in model.sectors.chunks(8) {
                let extent = image.volume.extent_at(at).unwrap();
                let absent = page.iter().all(Option::is_none);
                assert_eq!(extent.kind == ExtentKind::Hole, absent, "byte {at}");
                at += 4096;
            }
        }
    }
}

#[test]
fn differencing_images_lie_over_their_parents() {
    let dir = common::scratch();
    let paths: Vec<PathBuf> = (0..4).map(|depth| dir.path().join(format!("{depth}.vhd"))).collect();
    for seed in 0..common::sample(150) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let sectors = 1 + random.below(600) as usize;
        let depth = 1 + random.below(3) as usize;
        let mut below = Vec::new();
        for level in (0..=depth).rev() {
            let disk_type = if level == depth { DiskType::Dynamic } else { DiskType::Differencing };
            // A parent may be shorter than its child, or longer.
            let sectors = if random.below(4) == 0 { sectors + 9 } else { sectors };
            let mut model = Model::random(&mut random, disk_type, sectors, level as u8 + 1);
            if level < depth {
                let name = ["", "C:\\images\\", ".\\", "/srv/"][random.below(4) as usize];
                let name = format!("{name}{}.vhd", level + 1);
                model.parent = Parent { id: [level as u8 + 2; 16], name };
            }
            let _ = fs::remove_file(&paths[level]);
            fs::write(&paths[level], model.encode(&mut random, false)).unwrap();
            below = model.over(&below);
        }
        let named = Gate { beside: false, parents: paths[1..=depth].to_vec() };
        for gate in [Gate { beside: true, parents: Vec::new() }, named] {
            let request = ImageRequest { gate, ..ImageRequest::of(&paths[0]) };
            let image = format::open(&request, &Unwatched).unwrap();
            assert!(common::bytes_of(&image.volume) == below);
        }
        let closed = open(&paths[0]).unwrap_err();
        assert_eq!(closed.kind(), Kind::Unsupported);
        assert!(closed.to_string().contains("names the parent \"1.vhd\""), "{closed}");
        // Another image, sound in itself.
        let gate = Gate { beside: false, parents: vec![paths[0].clone()] };
        let wrong = format::open(&ImageRequest { gate, ..ImageRequest::of(&paths[0]) }, &Unwatched);
        let wrong = wrong.unwrap_err();
        assert_eq!(wrong.kind(), Kind::Invalid, "{wrong}");
    }
}

#[test]
fn a_parent_may_be_a_fixed_image() {
    let dir = common::scratch();
    let [top, base] = ["top.vhd", "base.vhd"].map(|name| dir.path().join(name));
    let mut random = Random::with_seed(1);
    let mut model = Model::random(&mut random, DiskType::Differencing, 100, 1);
    model.parent = Parent { id: [2; 16], name: "base.vhd".into() };
    fs::write(&top, model.encode(&mut random, false)).unwrap();
    let mut below = vec![0; 100 * SECTOR];
    random.fill(&mut below);
    let size = below.len() as u64;
    let footer = Footer::new(u64::MAX, size, DiskType::Fixed, [2; 16]);
    fs::write(&base, [&below[..], &footer.encode()].concat()).unwrap();
    let gate = Gate { beside: true, parents: Vec::new() };
    let image = format::open(&ImageRequest { gate, ..ImageRequest::of(&top) }, &Unwatched).unwrap();
    assert!(common::bytes_of(&image.volume) == model.over(&below));
}

/// Names that lead out of the folder stay unopened, whatever is there.
#[test]
fn no_name_of_a_parent_leads_anywhere_else() {
    let dir = common::scratch();
    let path = dir.path().join("top.vhd");
    let mut random = Random::with_seed(2);
    let mut model = Model::random(&mut random, DiskType::Differencing, 10, 1);
    for name in ["..", "C:\\..", "/etc/", "", "nbd://host/x:y", "a\\.."] {
        model.parent = Parent { id: [2; 16], name: name.into() };
        fs::write(&path, model.encode(&mut random, false)).unwrap();
        let gate = Gate { beside: true, parents: Vec::new() };
        let error = format::open(&ImageRequest { gate, ..ImageRequest::of(&path) }, &Unwatched)
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{name}: {error}");
    }
}

// --- libvhdi -------------------------------------------------------------------------------------

#[test]
fn libvhdi_reads_what_we_write() {
    let dir = common::scratch();
    for seed in 200..212 {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let source = common::random_volume(512 * (1 + random.below(16 << 10)), &mut random);
        for name in ["vhd", "vhd-fixed"] {
            let image = dir.path().join(name);
            common::write_unsynced(&source, &image, common::writer(name), 2);
            let Some(theirs) = common::libvhdi_reads(&image) else { return };
            assert!(theirs == common::bytes_of(&source), "{name}");
        }
    }
}

// --- hostile bytes -------------------------------------------------------------------------------

/// A small dynamic image with every kind of block.
fn small_image() -> (Model, Vec<u8>) {
    let mut random = Random::with_seed(7);
    let mut model = Model::random(&mut random, DiskType::Dynamic, 40, 1);
    while model.block_len != 4096 || !model.there.contains(&false) {
        model = Model::random(&mut random, DiskType::Dynamic, 40, 1);
    }
    let bytes = model.encode(&mut random, false);
    (model, bytes)
}

/// A file that is written over in place: cutting one first makes some file systems write it out.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn new(dir: &Path) -> Self {
        let path = dir.join("a.vhd");
        Self { file: File::create(&path).unwrap(), path }
    }

    fn put(&self, bytes: &[u8]) {
        self.file.write_all_at(bytes, 0).unwrap();
        self.file.set_len(bytes.len() as u64).unwrap();
    }
}

fn read_ends(image: &OpenedImage) {
    let size = image.volume.size();
    assert!(size <= 2040 << 30);
    let mut buf = vec![0; size.min(64 << 10) as usize];
    image.volume.read_at(0, &mut buf).unwrap();
    image.volume.read_at(size - buf.len() as u64, &mut buf).unwrap();
}

#[test]
fn no_byte_of_the_metadata_does_harm() {
    let dir = common::scratch();
    let scratch = Scratch::new(dir.path());
    let path = &scratch.path;
    let (model, sound) = small_image();
    let end = sound.len() - 512;
    let header_at = field::u64_be(&sound, 16) as usize;
    let table_at = field::u64_be(&sound, header_at + 16) as usize;
    let mut refused = 0;
    let places = (0..512).chain(header_at..header_at + 1024).chain(table_at..table_at + 40);
    for at in places.step_by(common::step()) {
        for byte in [0, 1, 0x7f, 0xff] {
            if sound[at] == byte {
                continue;
            }
            let mut bytes = sound.clone();
            // As it is, and with all checksums made right and both footers the same.
            bytes[at] = byte;
            scratch.put(&bytes);
            match open(path) {
                Ok(image) => assert!(common::bytes_of(&image.volume) == model.over(&[])),
                Err(_) => refused += 1,
            }
            let _ = open_forced(path).map(|image| read_ends(&image));
            if at < header_at + 1024 {
                let (sum_at, start, len) =
                    if at < 512 { (64, 0, 512) } else { (36, header_at, 1024) };
                set(&mut bytes[start..][..len], sum_at, at - start, &[byte]);
                if at < 512 {
                    bytes.copy_within(..512, end);
                }
                scratch.put(&bytes);
                let _ = open(path).map(|image| read_ends(&image));
                let _ = open_forced(path).map(|image| read_ends(&image));
            }
        }
    }
    assert!(refused * common::step() > 4000, "{refused} refused");
}

#[test]
fn no_cut_image_is_taken_for_a_whole_one() {
    let dir = common::scratch();
    let path = dir.path().join("a.vhd");
    let (_, sound) = small_image();
    fs::write(&path, &sound).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    open(&path).unwrap();
    // One byte less is a footer of 511 bytes, and nothing is lost.
    for len in (1..sound.len() - 1).rev().step_by(common::step()) {
        file.set_len(len as u64).unwrap();
        let cut = format::open(
            &ImageRequest { format: Some(named("vhd")), ..ImageRequest::of(&path) },
            &Unwatched,
        );
        assert_eq!(cut.map(|_| ()).unwrap_err().kind(), Kind::Corrupt, "{len} bytes");
        let _ = open_forced(&path).map(|image| read_ends(&image));
    }
}

#[test]
fn random_damage_never_panics() {
    let dir = common::scratch();
    let scratch = Scratch::new(dir.path());
    let path = &scratch.path;
    let (_, sound) = small_image();
    let end = sound.len() - 512;
    let header_at = field::u64_be(&sound, 16) as usize;
    for seed in 0..common::sample(3000) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let mut bytes = sound.clone();
        for _ in 0..=random.below(4) {
            let at = match random.below(3) {
                0 => random.below(96),
                1 => header_at as u64 + random.below(80),
                _ => random.below(bytes.len() as u64),
            };
            bytes[at as usize] = random.next() as u8;
        }
        if random.below(4) != 0 {
            set(&mut bytes[..512], 64, 511, &[0]);
            set(&mut bytes[header_at..][..1024], 36, 1023, &[0]);
            bytes.copy_within(..512, end);
        }
        scratch.put(&bytes);
        let _ = open(path).map(|image| read_ends(&image));
        let _ = open_forced(path).map(|image| read_ends(&image));
    }
}

#[test]
fn a_damaged_footer_does_not_make_an_image_raw() {
    let dir = common::scratch();
    let path = dir.path().join("a.vhd");
    let footer = Footer::new(u64::MAX, 1024, DiskType::Fixed, [0; 16]);
    let mut bytes = [&[7; 1024][..], &footer.encode()].concat();
    bytes[1024 + 200] = 1;
    fs::write(&path, &bytes).unwrap();
    let error = open(&path).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    let raw = Some("raw");
    assert!(
        matches!(error.advice(), Some(Advice::NameFormat { format, .. }) if *format == raw),
        "{error}"
    );
    let raw = ImageRequest { format: Some(named("raw")), ..ImageRequest::of(&path) };
    assert_eq!(format::open(&raw, &Unwatched).unwrap().volume.size(), 1536);
    // A file that is shorter than its volume.
    fs::write(&path, [&[7; 512][..], &footer.encode()].concat()).unwrap();
    let error = open(&path).unwrap_err();
    assert!(error.to_string().contains("512 bytes before the footer, expected 1024"), "{error}");
}

// --- round trips ---------------------------------------------------------------------------------

#[test]
fn volumes_come_back_with_their_bytes_and_states() {
    let dir = common::scratch();
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    for seed in 300..300 + common::sample(60) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let unit = [1, 512, 4096][seed as usize % 3];
        let size = unit * (1 + random.below((9 << 20) / unit));
        let source = common::random_volume(size, &mut random);
        let mut bytes = common::bytes_of(&source);
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        common::write_unsynced(&source, &one, common::writer("vhd"), 1);
        common::write_unsynced(&source, &two, common::writer("vhd"), 3);
        assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
        let image = open(&one).unwrap();
        assert!(common::bytes_of(&image.volume) == bytes);
        let expected = common::page_states(&source);
        let found = common::page_states(&image.volume);
        for (page, (expected, found)) in expected.into_iter().zip(found).enumerate() {
            // Extents may meet inside a page; one that is a hole by half is zeros.
            assert_eq!(found, expected, "page {page}");
        }
    }
}

#[test]
fn raw_to_fixed_and_back_keeps_bytes_and_states() {
    let dir = common::scratch();
    let [raw, image, again] = ["a.raw", "a.vhd", "again.raw"].map(|name| dir.path().join(name));
    for seed in 400..412 {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let unit = [1, 512, 4096][seed as usize % 3];
        common::random_file(&raw, unit * (1 + random.below((4 << 20) / unit)), &mut random);
        let source = open(&raw).unwrap();
        let mut bytes = common::bytes_of(&source.volume);
        let mut states = common::page_states(&source.volume);
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        common::write_image(&source.volume, &image, common::writer("vhd-fixed"), 3);
        let fixed = open(&image).unwrap();
        assert!(common::bytes_of(&fixed.volume) == bytes);
        let mut found = common::page_states(&fixed.volume);
        if !bytes.len().is_multiple_of(4096) {
            // The footer shares the last page of the file, which is then not a hole.
            found.pop();
            states.pop();
        }
        assert_eq!(states, found);
        common::write_image(&fixed.volume, &again, common::writer("raw"), 2);
        assert!(fs::read(&again).unwrap() == bytes);
    }
}

#[test]
fn written_zeros_stay_written() {
    let dir = common::scratch();
    let path = dir.path().join("a.vhd");
    let mut map = RunMap::default();
    for (len, place) in [(3 << 20, Place::Zero), (6 << 20, Place::Hole), (700, Place::Zero)] {
        map.push(len, place);
    }
    let volume = Volume::new(map, Vec::new()).unwrap();
    common::write_image(&volume, &path, common::writer("vhd"), 2);
    let image = open(&path).unwrap();
    let kib = |start: u64, len: u64, kind: &str| (start << 10, len << 10, kind.to_owned());
    let extents = common::extents_of(&image.volume);
    assert_eq!(
        extents,
        [kib(0, 3 << 10, "data"), kib(3 << 10, 6 << 10, "hole"), kib(9 << 10, 1, "data"),]
    );
    assert!(common::bytes_of(&image.volume).iter().all(|byte| *byte == 0));
}

#[test]
fn the_largest_volume_is_written_and_a_larger_one_refused() {
    let dir = common::scratch();
    let [raw, image] = ["big.raw", "big.vhd"].map(|name| dir.path().join(name));
    let file = File::create(&raw).unwrap();
    file.set_len(2040 << 30).unwrap();
    file.write_all_at(b"somewhere", (2040 << 30) - 512).unwrap();
    file.sync_all().unwrap();
    let source = open(&raw).unwrap();
    common::write_image(&source.volume, &image, common::writer("vhd"), 2);
    assert!(fs::metadata(&image).unwrap().len() < 8 << 20);
    let opened = open(&image).unwrap();
    assert_eq!(opened.volume.size(), 2040 << 30);
    let mut word = [0; 9];
    opened.volume.read_at((2040 << 30) - 512, &mut word).unwrap();
    assert_eq!(&word, b"somewhere");
    if common::installed("qemu-img") {
        let told = qemu_img(&["info", "--output=json", "-f", "vpc"], &[&image]);
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["virtual-size"].as_u64(), Some(2040 << 30));
    }
}
