//! What images say beside their bytes: sectors, sizes, where holes are; and zeros that become data.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;
use std::process::Command;

use amikit::internals::format;
use amikit::internals::format::ImageRequest;
use amikit::internals::format::WRITERS;
use amikit::internals::units::ExtentKind;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::Volume;
use amikit::internals::volume::extents;
use amikit::internals::work::Unwatched;
use serde_json::Value;

use crate::common;
use crate::common::Random;

fn open(path: &Path) -> Volume {
    format::open(&ImageRequest::named(path), &Unwatched).unwrap().volume
}

// --- F-13 ----------------------------------------------------------------------------------------

/// The id of a VHDX image's item with its logical sector size, as the file has it.
const LOGICAL_SECTOR_SIZE: [u8; 16] = [
    0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f,
];

/// Makes a VHDX image say that its disk has sectors of 4096 bytes.
fn with_large_sectors(mut image: Vec<u8>) -> Vec<u8> {
    let entry = image.windows(16).position(|it| it == LOGICAL_SECTOR_SIZE).unwrap();
    let offset = u32::from_le_bytes(image[entry + 16..][..4].try_into().unwrap());
    // The region starts at the mebibyte in which its table is.
    let at = (entry >> 20 << 20) + usize::try_from(offset).unwrap();
    assert_eq!(image[at..][..4], 512_u32.to_le_bytes());
    image[at..][..4].copy_from_slice(&4096_u32.to_le_bytes());
    image
}

/// A disk that was partitioned with sectors of 4096 bytes: an MBR that announces a GPT, and its header.
fn partitioned() -> Vec<u8> {
    let mut disk = vec![0; 8 << 20];
    disk[446 + 4] = 0xee;
    disk[446 + 8] = 1;
    disk[446 + 12] = 0xff;
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[4096..4104].copy_from_slice(b"EFI PART");
    disk[4096 + 24] = 1;
    disk
}

#[test]
fn sectors_of_4096_bytes_are_said_wherever_they_matter() {
    let dir = common::scratch();
    let here = dir.path();
    let image = common::written(&common::volume_of(partitioned()), "vhdx");
    fs::write(here.join("small.vhdx"), &image).unwrap();
    fs::write(here.join("large.vhdx"), with_large_sectors(image)).unwrap();
    for (name, sectors) in [("small", 512), ("large", 4096)] {
        let told = common::run_well(here, &format!("--json inspect {name}.vhdx"));
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["logical_sector_bytes"], sectors);
        assert_eq!(told["notes"].as_array().map_or(0, Vec::len), usize::from(sectors == 4096));
        let text = common::run_well(here, &format!("inspect {name}.vhdx"));
        assert!(text.contains(&format!("logical sectors of {sectors} bytes")), "{text}");
    }
    // The bytes are the same, and what the new image does not say is said.
    for writer in WRITERS.iter().filter(|writer| !writer.takes_many()) {
        for (name, count) in [("small", 0), ("large", 2)] {
            let out = format!("{name}-as-{}", writer.name);
            let line = format!("--json convert {name}.vhdx {out} --format {}", writer.name);
            let told: Value = serde_json::from_str(&common::run_well(here, &line)).unwrap();
            let notes = told["notes"].as_array().cloned().unwrap_or_default();
            assert_eq!(notes.len(), count, "{line}: {notes:?}");
            if count > 0 {
                let text = notes.iter().filter_map(Value::as_str).collect::<String>();
                assert!(text.contains("does not record the logical sectors of 4096"), "{text}");
            }
        }
        let [small, large] =
            ["small", "large"].map(|it| fs::read(here.join(format!("{it}-as-{}", writer.name))));
        assert!(small.unwrap() == large.unwrap(), "{}", writer.name);
    }
}

#[test]
fn a_table_for_large_sectors_is_found_and_what_it_means_is_said() {
    let dir = common::scratch();
    let here = dir.path();
    let disk = partitioned();
    let mut without_mbr = disk.clone();
    without_mbr[..512].fill(0);
    fs::write(here.join("a.raw"), &disk).unwrap();
    fs::write(here.join("b.raw"), &without_mbr).unwrap();
    let image = with_large_sectors(common::written(&common::volume_of(disk), "vhdx"));
    fs::write(here.join("c.vhdx"), image).unwrap();
    for name in ["a.raw", "b.raw", "c.vhdx"] {
        let recipe = format!(
            "version = 1\n[ami]\nname = \"test\"\narchitecture = \"x86_64\"\nvirtualization-type = \
             \"hvm\"\nroot-device-name = \"/dev/xvda\"\n[[volume]]\ndevice-name = \"/dev/xvda\"\nimage = \"{name}\"\n"
        );
        fs::write(here.join("ami.toml"), recipe).unwrap();
        let done = common::run(here, "lint ami.toml");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(
            said.contains("the GPT is at byte 4096") && said.contains("sectors of 512"),
            "{said}"
        );
        assert!(!said.contains("holds none"), "{said}");
    }
}

// --- F-14 ----------------------------------------------------------------------------------------

#[test]
fn what_a_geometry_leaves_out_is_said() {
    let dir = common::scratch();
    let path = dir.path().join("a.vhd");
    let volume = common::volume_of(vec![7; 3 << 20]);
    for kind in ["vhd", "vhd-fixed"] {
        let sound = common::written(&volume, kind);
        for (creator, less, more) in [
            (b"vpc ", 24, 0),
            (b"qemu", 24, 0),
            (b"vpc ", 0, 24),
            (b"win ", 24, 0),
            (b"vpc ", 0, 0),
        ] {
            let mut image = sound.clone();
            let ends =
                if kind == "vhd" { vec![0, image.len() - 512] } else { vec![image.len() - 512] };
            for at in ends {
                let footer = &mut image[at..][..512];
                footer[28..32].copy_from_slice(creator);
                // The volume in tracks of one sector.
                let sectors = u16::try_from((3 << 11) - less + more).unwrap();
                footer[56..58].copy_from_slice(&sectors.to_be_bytes());
                footer[58..60].copy_from_slice(&[1, 1]);
                footer[64..68].fill(0);
                let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
                footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
            }
            fs::write(&path, image).unwrap();
            let Ok(image) = format::open(&ImageRequest::named(&path), &Unwatched) else {
                // There are no bytes for what a fixed image's geometry adds.
                assert!(more > 0 && kind == "vhd-fixed");
                continue;
            };
            let counts = creator != b"win " && (less, more) != (0, 0);
            let expected = if counts { (3 << 20) - 512 * less + 512 * more } else { 3 << 20 };
            assert_eq!(image.volume.size(), u64::try_from(expected).unwrap());
            assert_eq!(image.notes.len(), usize::from(counts), "{:?}", image.notes);
            if counts {
                let note = &image.notes[0];
                let said = if less > 0 { "the last 12288 of" } else { "12288 more" };
                assert!(note.contains(said) && note.contains("geometry"), "{note}");
            }
        }
    }
}

// --- F-15 ----------------------------------------------------------------------------------------

/// What qemu-img makes: its format, options, and whether it tells holes from zeros.
const THEIRS: &[(&str, &str, bool)] = &[
    ("raw", "preallocation=off", true),
    ("qcow2", "compat=1.1", true),
    ("qcow2", "compat=0.10", true),
    ("qcow2", "cluster_size=4096,extended_l2=off", true),
    ("vmdk", "subformat=monolithicSparse", true),
    ("vmdk", "subformat=monolithicSparse,zeroed_grain=on", true),
    ("vmdk", "subformat=monolithicFlat", true),
    ("vmdk", "subformat=streamOptimized", true),
    ("vmdk", "subformat=twoGbMaxExtentSparse", true),
    ("vpc", "subformat=fixed", true),
    // To qemu-img all that is not there is zeros.
    ("vpc", "subformat=dynamic", false),
];

/// Whether each page is present, zero, and where it is.
type Pages = Vec<(bool, bool, Option<u64>)>;

fn pages(json: &[u8], size: u64) -> Pages {
    let rows: Vec<Value> = serde_json::from_slice(json).unwrap();
    let mut pages = Vec::new();
    for row in rows {
        let number = |name: &str| row[name].as_u64();
        let (start, len) = (number("start").unwrap(), number("length").unwrap());
        for at in (start..start + len).step_by(512) {
            let is = |name: &str| row[name].as_bool().unwrap();
            let offset = number("offset").map(|offset| offset + at - start);
            pages.push((is("present"), is("zero"), offset));
        }
    }
    assert!(pages.len() * 512 >= usize::try_from(size).unwrap());
    pages.truncate(usize::try_from(size).unwrap() / 512);
    pages
}

fn qemu(program: &str, line: &str, here: &Path) -> Vec<u8> {
    common::run_tool(Command::new(program).args(line.split(' ')).current_dir(here))
}

#[test]
fn a_map_is_like_that_of_qemu_img_in_every_format_and_without_data_too() {
    if !common::installed("qemu-img") || !common::installed("qemu-io") {
        return;
    }
    let dir = common::scratch();
    let here = dir.path();
    for (format, options, tells_holes) in THEIRS {
        for has_data in [false, true] {
            for name in common::names(here) {
                fs::remove_file(here.join(name)).unwrap();
            }
            let context = format!("{format}, {options}, {has_data}");
            if *options == "subformat=streamOptimized" {
                qemu("qemu-img", "create -q -f raw source 4M", here);
                if has_data {
                    let mut command = Command::new("qemu-io");
                    command.current_dir(here).args([
                        "-f",
                        "raw",
                        "-c",
                        "write -P 5 1M 64k",
                        "source",
                    ]);
                    common::run_tool(&mut command);
                }
                qemu(
                    "qemu-img",
                    &format!("convert -f raw -O {format} -o {options} source image"),
                    here,
                );
            } else {
                qemu("qemu-img", &format!("create -q -f {format} -o {options} image 4M"), here);
            }
            if has_data && *options != "subformat=streamOptimized" {
                for write in ["write -P 5 1M 64k", "write -z 2M 64k"] {
                    let mut command = Command::new("qemu-io");
                    command.current_dir(here).args(["-f", format, "-c", write, "image"]);
                    common::run_tool(&mut command);
                }
            }
            let theirs = qemu("qemu-img", &format!("map --output=json -f {format} image"), here);
            let request = ImageRequest::named(&here.join("image"));
            let gate = format::gate::Gate { beside: true, ..Default::default() };
            let image = format::open(&ImageRequest { gate, ..request }, &Unwatched).unwrap();
            let mut ours = Vec::new();
            format::sidecar::write_qemu_map(&image.volume, image.holes, &mut ours).unwrap();
            let size = image.volume.size();
            let (mut theirs, ours) = (pages(&theirs, size), pages(&ours, size));
            if !tells_holes {
                for page in &mut theirs {
                    page.0 = !page.1;
                }
            }
            let at = theirs.iter().zip(&ours).position(|(one, other)| one != other);
            assert_eq!(
                at,
                None,
                "{context}: {:?} {:?}",
                at.map(|at| theirs[at]),
                at.map(|at| ours[at])
            );
        }
    }
}

/// The three states of any volume come back by its map, whatever format it was in.
#[test]
fn a_map_brings_back_the_states_of_every_format() {
    let dir = common::scratch();
    let here = dir.path();
    let mut random = Random::with_seed(15);
    for writer in WRITERS.iter().filter(|writer| !writer.takes_many()) {
        let volume = common::random_volume(3 << 20, &mut random);
        let path = here.join("image");
        common::write_unsynced(&volume, &path, writer, 2);
        let image = open(&path);
        fs::write(here.join("map.json"), common::run_well(here, "--json map image")).unwrap();
        common::write_dense(&image, &here.join("dense.raw"));
        let request = ImageRequest {
            extents: Some(here.join("map.json")),
            ..ImageRequest::of(&here.join("dense.raw"))
        };
        let again = format::open(&request, &Unwatched).unwrap().volume;
        let states = common::page_states(&again);
        assert!(states == common::page_states(&image), "{}", writer.name);
    }
}

// --- F-18 ----------------------------------------------------------------------------------------

/// Nothing of an image is zeros that only the format knows of, and holes stay holes.
#[test]
fn zeros_are_stored_as_data_where_that_is_asked_for() {
    let dir = common::scratch();
    let here = dir.path();
    let volume = common::random_volume(6 << 20, &mut Random::with_seed(18));
    common::write_unsynced(&volume, &here.join("source.qcow2"), common::writer("qcow2"), 2);
    let source = open(&here.join("source.qcow2"));
    assert!(extents(&source).any(|it| it.unwrap().kind == ExtentKind::Zero));
    for writer in WRITERS.iter().filter(|writer| !writer.takes_many()) {
        let line = format!("convert source.qcow2 out --format {} --zeros data", writer.name);
        common::run_well(here, &line);
        let image = open(&here.join("out"));
        let zero = extents(&image).any(|it| it.unwrap().kind == ExtentKind::Zero);
        // A VHD has no zeros of its own, and a sector that is absent in a block with data is zeros.
        assert!(!zero || writer.name.starts_with("vhd"), "{}", writer.name);
        assert!(common::bytes_of(&image) == common::bytes_of(&source), "{}", writer.name);
        fs::remove_file(here.join("out")).unwrap();
    }
    common::run_badly(here, "convert source.qcow2 out --format bundle --zeros data", 2);
}
