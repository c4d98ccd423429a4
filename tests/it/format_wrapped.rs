//! Images that are compressed as a whole or come through a pipe, whatever their format: laid down, read,
//! and refused where they must be.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::format;
use amikit::internals::format::Format;
use amikit::internals::format::ImageRequest;
use amikit::internals::format::Opened;
use amikit::internals::format::OpenedImage;
use amikit::internals::format::compressed_raw::layout::Frame;
use amikit::internals::format::compressed_raw::layout::encode;
use amikit::internals::units::ExtentKind;
use amikit::internals::volume::ReadVolume;
use amikit::internals::work::Unwatched;
use amikit::internals::work::Watch;

use crate::common;
use crate::common::Random;
use crate::common::archive;

fn named(name: &str) -> &'static Format {
    format::by_name(name).unwrap()
}

fn open(path: &Path) -> Result<OpenedImage, Error> {
    format::open(&ImageRequest::named(path), &Unwatched)
}

const WRAPPINGS: [&str; 4] = ["gz", "xz", "zst", "bz2"];

fn wrap(wrapping: &str, plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    match wrapping {
        "gz" => {
            let mut to = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
            to.write_all(plain).unwrap();
            to.finish().unwrap();
        }
        "xz" => {
            let mut to = liblzma::write::XzEncoder::new(&mut packed, 0);
            to.write_all(plain).unwrap();
            to.finish().unwrap();
        }
        "bz2" => {
            let mut to = bzip2::write::BzEncoder::new(&mut packed, bzip2::Compression::fast());
            to.write_all(plain).unwrap();
            to.finish().unwrap();
        }
        _ => {
            // As the tool does: without a checksum the end of the file may be that of what is in it.
            let mut to = zstd::stream::write::Encoder::new(&mut packed, 1).unwrap();
            to.include_checksum(true).unwrap();
            to.write_all(plain).unwrap();
            to.finish().unwrap();
        }
    }
    packed
}

/// Wraps a file, and returns the name of what it made: that of the file and the wrapping's.
fn wrap_file(wrapping: &str, path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{wrapping}"));
    fs::write(&name, wrap(wrapping, &fs::read(path).unwrap())).unwrap();
    name.into()
}

fn amikit(line: &str, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amikit"));
    command.current_dir(folder).args(line.split_whitespace());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_image_of_any_format_is_read_out_of_any_wrapping_with_its_states() {
    let dir = common::scratch();
    let mut random = Random::with_seed(1);
    let volume = common::random_volume(3 << 20, &mut random);
    for (number, format) in format::WRITERS.iter().enumerate() {
        if format.format.in_order().is_some() || format.is_plain() {
            continue;
        }
        let plain = dir.path().join(format!("image.{}", format.name));
        common::write_image(&volume, &plain, format, 2);
        let expected = open(&plain).unwrap();
        for wrapping in [WRAPPINGS[number % 4], WRAPPINGS[(number + 1) % 4]] {
            let packed = wrap_file(wrapping, &plain);
            let found = open(&packed).unwrap();
            assert_eq!(found.format.name, expected.format.name, "{}", packed.display());
            let states = common::extents_of(&found.volume);
            if format.name == "vhd-fixed" {
                // Its holes are those of the file, which no wrapping tells from zeros.
                assert!(states.iter().all(|(.., kind)| kind != "hole"), "{states:?}");
            } else {
                assert_eq!(states, common::extents_of(&expected.volume), "{}", packed.display());
            }
            assert_eq!(common::sha256_of(&found.volume), common::sha256_of(&volume));
            // The files are those that the user has.
            assert_eq!(found.inputs.len(), 1);
            assert_eq!(found.inputs[0].path(), packed);
            assert!(found.notes[0].contains("unpacked for this run"), "{:?}", found.notes);
        }
    }
}

#[test]
fn a_raw_image_is_read_at_any_place_and_its_zeros_are_written_ones() {
    let dir = common::scratch();
    let mut bytes = vec![0; (1 << 20) + 1536];
    bytes[200_000..300_000].fill(7);
    let plain = dir.path().join("disk.raw");
    fs::write(&plain, &bytes).unwrap();
    for wrapping in WRAPPINGS {
        let packed = wrap_file(wrapping, &plain);
        let image = open(&packed).unwrap();
        assert!(image.format.name.starts_with("raw-"), "{}", image.format.name);
        assert_eq!(common::bytes_of(&image.volume), bytes);
        let kinds = common::extents_of(&image.volume);
        let piece = 65_536;
        let expected = [
            (0, 3 * piece, "zero".to_owned()),
            (3 * piece, 2 * piece, "data".to_owned()),
            (5 * piece, bytes.len() as u64 - 5 * piece, "zero".to_owned()),
        ];
        assert_eq!(kinds, expected);
        let packed = packed.file_name().unwrap().to_str().unwrap();
        common::run_tool(&mut amikit(&format!("compare {packed} disk.raw"), dir.path()));
        common::run_tool(&mut amikit(&format!("map {packed}"), dir.path()));
        common::run_tool(&mut amikit(&format!("convert {packed} {packed}.qcow2"), dir.path()));
        common::run_tool(&mut amikit(&format!("compare {packed}.qcow2 disk.raw"), dir.path()));
    }
}

#[test]
fn a_fixed_vhd_is_never_taken_for_raw() {
    let dir = common::scratch();
    let volume = common::random_volume(1 << 20, &mut Random::with_seed(3));
    let vhd = dir.path().join("disk");
    common::write_unsynced(&volume, &vhd, common::writer("vhd-fixed"), 1);
    for wrapping in WRAPPINGS {
        let packed = wrap_file(wrapping, &vhd);
        // At any place, its end is seen before it is read.
        let image = open(&packed).unwrap();
        assert_eq!(image.format.name, "vhd");
        assert_eq!(common::sha256_of(&image.volume), common::sha256_of(&volume));
        // In order, when it comes.
        let in_order = || {
            let line = format!("convert disk.{wrapping} out.raw");
            amikit(&line, dir.path()).output().unwrap()
        };
        let refused = in_order();
        assert_eq!(refused.status.code(), Some(5), "{}", text(&refused.stderr));
        let error = text(&refused.stderr);
        assert!(
            error.contains("ends like a VHD") && error.contains("--input-format vhd"),
            "{error}"
        );
        assert!(!dir.path().join("out.raw").exists());
        let named_vhd = dir.path().join(format!("disk.vhdfixed.{wrapping}"));
        fs::copy(&packed, &named_vhd).unwrap();
        let Opened::Image(image) =
            format::open_in_order(&ImageRequest::named(&named_vhd), &Unwatched).unwrap()
        else {
            panic!("{}: taken for raw", named_vhd.display());
        };
        assert_eq!(image.format.name, "vhd");
        let request = ImageRequest { format: Some(named("vhd")), ..ImageRequest::named(&packed) };
        let image = format::open(&request, &Unwatched).unwrap();
        assert_eq!(common::sha256_of(&image.volume), common::sha256_of(&volume));
        // Read as raw, it has the footer in it.
        let row = ["raw-gzip", "raw-xz", "raw-zstd", "raw-bzip2"];
        let number = WRAPPINGS.iter().position(|it| *it == wrapping).unwrap();
        let request =
            ImageRequest { format: Some(named(row[number])), ..ImageRequest::named(&packed) };
        let image = format::open(&request, &Unwatched).unwrap();
        assert_eq!(image.volume.size(), fs::metadata(&vhd).unwrap().len());
    }
}

#[test]
fn a_table_of_frames_does_not_make_another_format_raw() {
    let dir = common::scratch();
    let volume = common::random_volume(1 << 20, &mut Random::with_seed(4));
    let plain = dir.path().join("image.qcow2");
    common::write_unsynced(&volume, &plain, common::writer("qcow2"), 1);
    let bytes = fs::read(&plain).unwrap();
    let (mut file, mut frames) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(1 << 20) {
        let packed = wrap("zst", piece);
        frames.push(Frame { packed_len: packed.len() as u32, plain_len: piece.len() as u32 });
        file.extend(packed);
    }
    file.extend(encode(&frames));
    let path = dir.path().join("image.qcow2.zst");
    fs::write(&path, file).unwrap();
    let image = open(&path).unwrap();
    assert_eq!(image.format.name, "qcow2");
    assert_eq!(common::sha256_of(&image.volume), common::sha256_of(&volume));
}

#[test]
fn a_disk_in_a_packed_archive_keeps_its_holes() {
    if !common::installed("tar") {
        return;
    }
    let dir = common::scratch();
    let here = dir.path();
    let raw = here.join("disk.raw");
    common::random_file(&raw, 5 << 20, &mut Random::with_seed(9));
    let expected = open(&raw).unwrap();
    // As a cloud's import wants it.
    common::run_tool(Command::new("tar").current_dir(here).args([
        "--format=oldgnu",
        "-Sczf",
        "disk.tar.gz",
        "disk.raw",
    ]));
    let found = open(&here.join("disk.tar.gz")).unwrap();
    assert_eq!(found.format.name, "tar");
    assert_eq!(common::sha256_of(&found.volume), common::sha256_of(&expected.volume));
    let holes = |volume: &dyn ReadVolume| {
        let mut extents = common::extents_of(volume);
        extents.retain(|(_, _, kind)| kind == ExtentKind::Hole.name());
        extents
    };
    assert_eq!(holes(&found.volume), holes(&expected.volume));
    common::run_tool(&mut amikit("convert disk.tar.gz:disk.raw again.raw", here));
    common::run_tool(&mut amikit("compare --states again.raw disk.tar.gz", here));
    let missing = open(&here.join("disk.tar.gz:other.raw")).unwrap_err();
    assert_eq!(missing.kind(), Kind::Invalid);
    assert!(missing.to_string().contains("disk.raw"), "{missing}");
    // A name behind a colon where there are none.
    fs::write(here.join("plain.gz"), wrap("gz", &[5; 4096])).unwrap();
    let error = open(&here.join("plain.gz:disk.raw")).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("has no member"), "{error}");
}

#[test]
fn a_packed_image_in_an_archive_is_read() {
    let dir = common::scratch();
    let volume = common::random_volume(1 << 20, &mut Random::with_seed(6));
    let plain = dir.path().join("d.vmdk");
    common::write_unsynced(&volume, &plain, common::writer("vmdk"), 1);
    let vmdk = fs::read(&plain).unwrap();
    let path = dir.path().join("a");
    for wrapping in WRAPPINGS {
        fs::write(&path, archive(&[("d", &wrap(wrapping, &vmdk)), ("n", b"x")])).unwrap();
        let image = open(&dir.path().join("a:d")).unwrap();
        assert_eq!(common::sha256_of(&image.volume), common::sha256_of(&volume));
        fs::write(&path, archive(&[("d", &wrap(wrapping, &vec![3; 70_000]))])).unwrap();
        assert_eq!(common::bytes_of(&open(&path).unwrap().volume), vec![3; 70_000]);
        for inner in [wrap("gz", &[3; 7000]), archive(&[("e", &[3; 7000])])] {
            fs::write(&path, archive(&[("d", &wrap(wrapping, &inner))])).unwrap();
            let error = open(&path).unwrap_err();
            assert_eq!(error.kind(), Kind::Unsupported);
            assert!(error.to_string().contains("inside an archive"), "{error}");
        }
    }
    let ovf = "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' xmlns:ovf='x'><References>\
               <File ovf:id='f' ovf:href='d.vmdk.gz' ovf:compression='gzip'/></References>\
               <DiskSection><Disk ovf:diskId='d' ovf:capacity='1048576' ovf:fileRef='f'/>\
               </DiskSection></Envelope>";
    let ova = |ovf: &str, disk: &[u8]| {
        fs::write(&path, archive(&[("a.ovf", ovf.as_bytes()), ("d.vmdk.gz", disk)])).unwrap();
        open(&path)
    };
    let image = ova(ovf, &wrap("gz", &vmdk)).unwrap();
    assert_eq!(common::sha256_of(&image.volume), common::sha256_of(&volume));
    assert_eq!(ova(ovf, &vmdk).unwrap_err().kind(), Kind::Corrupt);
    let identity = ovf.replace("='gzip'", "='identity'");
    assert_eq!(ova(&identity, &wrap("gz", &vmdk)).unwrap_err().kind(), Kind::Corrupt);
    ova(&identity, &vmdk).unwrap();
}

#[test]
fn zeros_become_holes_on_request_wherever_the_image_comes_from() {
    let dir = common::scratch();
    let here = dir.path();
    let mut random = Random::with_seed(11);
    let volume = common::random_volume(6 << 20, &mut random);
    common::write_dense(&volume, &here.join("disk.raw"));
    wrap_file("gz", &here.join("disk.raw"));
    common::write_unsynced(&volume, &here.join("disk.vhdx"), common::writer("vhdx"), 2);
    let bytes = common::bytes_of(&volume);
    for (input, output) in [
        ("disk.raw", "a.raw"),
        ("disk.raw.gz", "b.raw"),
        ("disk.vhdx", "c.raw"),
        ("disk.vhdx", "d.qcow2"),
        ("disk.raw.gz", "e.qcow2"),
    ] {
        let line = format!("convert {input} {output} --zeros hole");
        let said = amikit(&line, here).output().unwrap();
        assert!(said.status.success(), "{line}: {}", text(&said.stderr));
        assert!(text(&said.stderr).contains("drops written zeros"), "{}", text(&said.stderr));
        let found = open(&here.join(output)).unwrap().volume;
        assert!(common::bytes_of(&found) == bytes, "{line}");
        let mut holes = vec![true; bytes.len() / 65_536];
        for (start, len, kind) in common::extents_of(&found) {
            assert_ne!(kind, "zero", "{line}");
            if kind == "data" {
                let last = ((start + len - 1) / 65_536) as usize;
                holes[(start / 65_536) as usize..=last].fill(false);
            }
        }
        for (number, piece) in bytes.chunks(65_536).enumerate() {
            let is_zero = piece.iter().all(|byte| *byte == 0);
            assert_eq!(holes[number], is_zero, "{line}: piece {number}");
        }
    }
    let refused = amikit("convert disk.raw x.ami --format bundle --zeros hole", here).output();
    assert_eq!(refused.unwrap().status.code(), Some(2));
}

/// Runs a command with a file through a pipe.
fn piped(mut command: Command, from: &Path) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = fs::read(from).unwrap();
    let feeder = std::thread::spawn(move || {
        // Bytes that are refused are not all read.
        let _ = stdin.write_all(&bytes);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

#[test]
fn an_image_of_any_format_comes_through_a_pipe() {
    let dir = common::scratch();
    let here = dir.path();
    let volume = common::random_volume(2 << 20, &mut Random::with_seed(7));
    common::write_dense(&volume, &here.join("disk.raw"));
    for format in ["qcow2", "vmdk", "vhd", "vhd-fixed", "vhdx", "ova"] {
        let image = here.join(format!("image.{format}"));
        common::write_image(&volume, &image, common::writer(format), 1);
        let packed = wrap_file("xz", &image);
        // A fixed VHD does not say what it is before its end.
        let options = if format == "vhd-fixed" { " --input-format vhd" } else { "" };
        for file in [&image, &packed] {
            let line = format!("convert - out.raw{options}");
            let output = piped(amikit(&line, here), file);
            assert!(output.status.success(), "{format}: {}", text(&output.stderr));
            common::run_tool(&mut amikit("compare out.raw disk.raw", here));
            fs::remove_file(here.join("out.raw")).unwrap();
        }
    }
}

#[test]
fn what_an_image_inside_names_is_opened_only_on_request_and_never_beside_a_pipe() {
    if !common::installed("qemu-img") {
        return;
    }
    let dir = common::scratch();
    let here = dir.path();
    let volume = common::random_volume(1 << 20, &mut Random::with_seed(8));
    common::write_unsynced(&volume, &here.join("base.qcow2"), common::writer("qcow2"), 1);
    let create = "create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2";
    common::run_tool(Command::new("qemu-img").current_dir(here).args(create.split(' ')));
    let packed = wrap_file("zst", &here.join("top.qcow2"));
    assert_eq!(open(&packed).unwrap_err().kind(), Kind::Unsupported);
    let mut request = ImageRequest::named(&packed);
    request.gate.beside = true;
    let image = format::open(&request, &Unwatched).unwrap();
    assert_eq!(common::sha256_of(&image.volume), common::sha256_of(&volume));
    assert_eq!(image.inputs.len(), 2);
    let refused = piped(amikit("convert --backing - out.raw", here), &packed);
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused.stderr));
    let named = piped(amikit("convert --parent base.qcow2 - out.raw", here), &packed);
    assert!(named.status.success(), "{}", text(&named.stderr));
}

#[test]
fn damage_is_told_by_its_place_and_a_stream_in_a_stream_refused() {
    let dir = common::scratch();
    let path = dir.path().join("disk.xz");
    let mut bytes = vec![0; 300_000];
    Random::with_seed(2).fill(&mut bytes);
    bytes[..4].copy_from_slice(b"QFI\xfb");
    let packed = wrap("xz", &bytes);
    fs::write(&path, &packed[..packed.len() / 2]).unwrap();
    let error = open(&path).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("disk.xz"), "{error}");
    assert_eq!(error.offset(), Some(packed.len() as u64 / 2));
    // Sound as a stream, and no qcow2 image.
    fs::write(&path, &packed).unwrap();
    let error = open(&path).unwrap_err();
    assert!(error.to_string().contains("disk.xz (unpacked)"), "{error}");
    for wrapping in WRAPPINGS {
        fs::write(&path, wrap(wrapping, &wrap("gz", &bytes))).unwrap();
        let error = open(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("it is raw-gzip inside raw-"), "{error}");
        fs::write(&path, wrap(wrapping, &[])).unwrap();
        assert_eq!(open(&path).unwrap_err().kind(), Kind::Invalid, "{wrapping}");
    }
}

#[test]
fn a_run_that_is_stopped_while_it_unpacks_leaves_nothing() {
    struct Stopped;
    impl Watch for Stopped {
        fn stopped(&self) -> bool {
            true
        }
    }
    let dir = common::scratch();
    let path = dir.path().join("disk.gz");
    fs::write(&path, wrap("gz", &[1; 5000])).unwrap();
    let error = format::open(&ImageRequest::named(&path), &Stopped).unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
}

#[test]
fn the_folder_is_the_users() {
    let dir = common::scratch();
    let here = dir.path();
    fs::create_dir(here.join("tmp")).unwrap();
    fs::write(here.join("disk.gz"), wrap("gz", &vec![7; 300_000])).unwrap();
    let map = |folder: &str| {
        let mut command = amikit("map disk.gz", here);
        command.env("TMPDIR", folder).output().unwrap()
    };
    let output = map("tmp");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("300000"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("in tmp"), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(here.join("tmp")).unwrap().count(), 0);
    let refused = map("none");
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused.stderr).contains("TMPDIR"), "{}", text(&refused.stderr));
}
