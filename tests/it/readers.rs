//! What we write, other readers read: the table of `docs/formats/readers.md`, as far as its readers are
//! installed.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;
use std::process::Command;

use amikit::internals::format;
use amikit::internals::format::ImageRequest;
use amikit::internals::units::ExtentKind;
use amikit::internals::volume::extents;
use amikit::internals::work::Unwatched;

use crate::common;
use crate::common::Random;

/// How a reader takes the images of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    All,
    /// If zeros are stored as data: else it gives other bytes for them.
    ZerosAsData,
}
use Takes::All;
use Takes::ZerosAsData;

/// The writers whose images a reader takes.
type Reads = &'static [(&'static str, Takes)];

const QEMU_IMG: Reads = &[
    ("qcow2", All),
    ("qcow2-zstd", All),
    ("qcow2-zlib", All),
    ("vmdk", All),
    ("vmdk-sparse", All),
    ("vhd", All),
    ("vhd-fixed", All),
    ("vhdx", All),
];

const SEVEN_ZIP: Reads = &[
    ("qcow2", All),
    ("qcow2-zlib", All),
    ("vmdk", All),
    ("vmdk-sparse", All),
    ("vhd", All),
    ("vhd-fixed", All),
    ("vhdx", All),
];

const DISSECT: Reads = QEMU_IMG;

const LIBYAL: Reads = &[
    ("qcow2", ZerosAsData),
    ("qcow2-zlib", ZerosAsData),
    ("vmdk", All),
    ("vmdk-sparse", ZerosAsData),
    ("vhd", All),
    ("vhd-fixed", All),
    ("vhdx", All),
];

/// What a file of a format is called where the name matters; that of a VMDK's file stands in it.
fn file_name(writer: &str) -> &'static str {
    match writer {
        "qcow2" | "qcow2-zstd" | "qcow2-zlib" => "disk.qcow2",
        "vmdk" | "vmdk-sparse" => "disk.vmdk",
        "vhdx" => "disk.vhdx",
        _ => "disk.vhd",
    }
}

/// Makes a volume in all three states, with text that repeats itself near and far, and noise.
fn source(here: &Path) -> Vec<u8> {
    let mut random = Random::with_seed(1604);
    let mut bytes = vec![0; 12 << 20];
    let words: Vec<Vec<u8>> = (0..300).map(|_| random.bytes(37)).collect();
    for (at, len) in [(0, 700_000), (5 << 20, 300_000), ((12 << 20) - 4096, 4096)] {
        let text = std::iter::repeat_with(|| words[random.index(words.len())].clone());
        let text: Vec<u8> = text.take(len / 37 + 1).flatten().take(len).collect();
        bytes[at..at + len].copy_from_slice(&text);
    }
    random.fill(&mut bytes[2 << 20..3 << 20]);
    random.fill(&mut bytes[(7 << 20) + 1000..][..5000]);
    common::write_with_holes(&here.join("dense.raw"), &bytes);
    // Zeros that were written: a qcow2 image knows them, whatever the file system makes of them.
    let map = format!(
        "[{{\"start\":0,\"length\":{0},\"depth\":0,\"present\":true,\"zero\":false,\"data\":true}},\
         {{\"start\":{0},\"length\":{1},\"depth\":0,\"present\":true,\"zero\":true,\"data\":false}},\
         {{\"start\":{2},\"length\":{1},\"depth\":0,\"present\":false,\"zero\":true,\"data\":false}},\
         {{\"start\":{3},\"length\":{1},\"depth\":0,\"present\":true,\"zero\":false,\"data\":true}}]",
        9 << 20,
        1 << 20,
        10 << 20,
        11 << 20
    );
    fs::write(here.join("map.json"), map).unwrap();
    common::run_well(here, "convert dense.raw source.qcow2 --extents map.json");
    let opened = format::open(&ImageRequest::of(&here.join("source.qcow2")), &Unwatched).unwrap();
    for kind in [ExtentKind::Data, ExtentKind::Zero, ExtentKind::Hole] {
        assert!(extents(&opened.volume).any(|it| it.unwrap().kind == kind), "{kind}");
    }
    bytes
}

/// Writes an image as each reader wants it, has it read, and compares the bytes.
fn check(reads: Reads, read: &dyn Fn(&Path, &str) -> Option<Vec<u8>>) {
    let dir = common::scratch();
    let here = dir.path();
    let expected = source(here);
    for (writer, takes) in reads {
        let zeros: &[&str] = if *takes == All { &["keep", "data"] } else { &["data"] };
        for zeros in zeros {
            let name = file_name(writer);
            let line = format!("convert source.qcow2 {name} --format {writer} --zeros {zeros}");
            common::run_well(here, &line);
            if let Some(found) = read(here, name) {
                assert!(found == expected, "{writer} with zeros as {zeros}: {} bytes", found.len());
            }
            fs::remove_file(here.join(name)).unwrap();
        }
    }
}

/// Finds a Python that has a module.
fn python(module: &str) -> Option<String> {
    let named = std::env::var("AMIKIT_READERS_PYTHON").ok();
    let pythons = named.into_iter().chain(["python3", "/usr/bin/python3"].map(str::to_owned));
    let has = |python: &String| {
        let tried = Command::new(python).args(["-c", &format!("import {module}")]).output();
        tried.is_ok_and(|done| done.status.success())
    };
    let found = pythons.into_iter().find(has);
    if found.is_none() {
        println!("skipped: no Python has {module}");
    }
    found
}

/// Runs a script that prints the bytes of the disk in a file.
fn run(python: &str, script: &str, here: &Path, name: &str) -> Vec<u8> {
    common::run_tool(Command::new(python).args(["-c", script, name]).current_dir(here))
}

#[test]
fn qemu_img_reads_what_we_write() {
    if !common::installed("qemu-img") {
        return;
    }
    check(QEMU_IMG, &|here, name| {
        let out = here.join("back.raw");
        // It knows a fixed VHD only by being told.
        let format = name.rsplit_once('.').map(|(_, suffix)| suffix.replace("vhd", "vpc")).unwrap();
        let format = format.replace("vpcx", "vhdx");
        let mut command = Command::new("qemu-img");
        command.current_dir(here).args(["convert", "-f", &format, "-O", "raw", name]);
        common::run_tool(command.arg(&out));
        Some(fs::read(out).unwrap())
    });
}

#[test]
fn seven_zip_reads_what_we_write() {
    if !common::installed("7z") {
        return;
    }
    check(SEVEN_ZIP, &|here, name| {
        Some(common::run_tool(Command::new("7z").args(["e", "-so", name]).current_dir(here)))
    });
}

#[test]
fn dissect_reads_what_we_write() {
    const SCRIPT: &str = "import sys\n\
        name = sys.argv[1]\n\
        disk = open(name, 'rb')\n\
        if name.endswith('.qcow2'):\n \
         from dissect.hypervisor.disk.qcow2 import QCow2\n \
         disk = QCow2(disk)\n \
         disk = disk if hasattr(disk, 'read') else disk.open()\n\
        elif name.endswith('.vmdk'):\n \
         from dissect.hypervisor.disk.vmdk import VMDK\n \
         disk = VMDK([disk])\n\
        elif name.endswith('.vhdx'):\n \
         from dissect.hypervisor.disk.vhdx import VHDX\n \
         disk = VHDX(disk)\n\
        else:\n \
         from dissect.hypervisor.disk.vhd import VHD\n \
         disk = VHD(disk)\n\
        while data := disk.read(1 << 20):\n \
         sys.stdout.buffer.write(data)\n";
    let Some(python_found) = python("dissect.hypervisor") else { return };
    // The reader itself tells whether it found a decoder: which module that is differs by its version.
    let asked = "from dissect.hypervisor.disk import qcow2; assert qcow2.HAS_ZSTD";
    let has_zstd = Command::new(&python_found).args(["-c", asked]).output();
    let has_zstd = has_zstd.is_ok_and(|done| done.status.success());
    let reads: Vec<_> =
        DISSECT.iter().copied().filter(|it| has_zstd || it.0 != "qcow2-zstd").collect();
    if !has_zstd {
        println!("skipped: dissect.hypervisor of {python_found} has no zstd");
    }
    check(reads.leak(), &|here, name| Some(run(&python_found, SCRIPT, here, name)));
}

#[test]
fn libyal_reads_what_we_write() {
    const SCRIPT: &str = "import sys\n\
        name = sys.argv[1]\n\
        if name.endswith('.qcow2'):\n \
         import pyqcow\n \
         disk = pyqcow.file(); disk.open(name)\n\
        elif name.endswith('.vmdk'):\n \
         import pyvmdk\n \
         disk = pyvmdk.handle(); disk.open(name); disk.open_extent_data_files()\n\
        else:\n \
         import pyvhdi\n \
         disk = pyvhdi.file(); disk.open(name)\n\
        size, at = disk.get_media_size(), 0\n\
        while at < size:\n \
         data = disk.read_buffer_at_offset(min(1 << 20, size - at), at)\n \
         sys.stdout.buffer.write(data)\n \
         at += len(data)\n";
    check(LIBYAL, &|here, name| {
        let module = match name {
            "disk.qcow2" => "pyqcow",
            "disk.vmdk" => "pyvmdk",
            _ => "pyvhdi",
        };
        let found = python(module)?;
        Some(run(&found, SCRIPT, here, name))
    });
}

/// bsdtar takes the disks out of an OVA, and an archive of theirs is one of ours.
#[test]
fn bsdtar_reads_what_we_write() {
    if !common::installed("bsdtar") {
        return;
    }
    let dir = common::scratch();
    let here = dir.path();
    let expected = source(here);
    common::run_well(here, "convert source.qcow2 web.ova");
    let mut command = Command::new("bsdtar");
    common::run_tool(command.current_dir(here).args(["-xf", "web.ova"]));
    let disk = common::names(here).into_iter().find(|name| name.contains("-disk1")).unwrap();
    common::run_well(here, &format!("convert {disk} back.raw"));
    assert!(fs::read(here.join("back.raw")).unwrap() == expected);
}

/// A reader that keeps 4 KiB of what it gave reads each packed cluster (F-16).
#[test]
fn clusters_of_qcow2_unpack_with_a_window_of_four_kibibytes() {
    const SCRIPT: &str = "import struct, sys, zlib\n\
        image = open(sys.argv[1], 'rb').read()\n\
        bits, size, l1_len, l1_at = struct.unpack('>IQxxxxIQ', image[20:48])\n\
        cluster, count = 1 << bits, 0\n\
        for table in struct.unpack('>%dQ' % l1_len, image[l1_at:l1_at + 8 * l1_len]):\n \
         table &= 0x00fffffffffffe00\n \
         if not table: continue\n \
         for entry in struct.unpack('>%dQ' % (cluster // 8), image[table:table + cluster]):\n  \
          if not entry >> 62 & 1: continue\n  \
          shift = 62 - (bits - 8)\n  \
          at = entry & ((1 << shift) - 1)\n  \
          sectors = (entry >> shift) & ((1 << (bits - 8)) - 1)\n  \
          packed = image[at:at + (sectors + 1) * 512 - (at & 511)]\n  \
          plain = zlib.decompressobj(-12).decompress(packed, cluster)\n  \
          assert len(plain) == cluster\n  \
          count += 1\n\
        print(count)\n";
    if !common::installed("python3") {
        return;
    }
    let dir = common::scratch();
    let here = dir.path();
    source(here);
    for level in [1, 4, 6, 9] {
        common::run_well(
            here,
            &format!("convert source.qcow2 disk.qcow2 --format qcow2-zlib --level {level}"),
        );
        let told = run("python3", SCRIPT, here, "disk.qcow2");
        let count: u32 = String::from_utf8(told).unwrap().trim().parse().unwrap();
        // All clusters of text, and those that are zeros but for some pages.
        assert!(count >= 17, "level {level}: {count}");
        fs::remove_file(here.join("disk.qcow2")).unwrap();
    }
}

/// The table in the document says what the tests above hold.
#[test]
fn the_document_has_the_same_table() {
    let text = include_str!("../../docs/formats/readers.md");
    for (reader, reads) in [
        ("qemu-img", QEMU_IMG),
        ("7z", SEVEN_ZIP),
        ("dissect.hypervisor", DISSECT),
        ("libyal", LIBYAL),
    ] {
        let head = text.lines().find(|line| line.starts_with("| writer |")).unwrap();
        let column = head.split('|').position(|cell| cell.trim() == reader).unwrap();
        for writer in format::WRITERS {
            let row = format!("| `{}` |", writer.name);
            let line = text.lines().find(|line| line.starts_with(&row)).unwrap();
            let cell = line.split('|').nth(column).unwrap().trim();
            let expected = match reads.iter().find(|it| it.0 == writer.name) {
                Some((_, All)) => "yes",
                Some((_, ZerosAsData)) => "zeros as data",
                None => continue,
            };
            assert_eq!(cell, expected, "{reader}, {}", writer.name);
        }
    }
}
