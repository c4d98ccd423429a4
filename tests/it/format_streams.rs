//! Compressed streams and units: how far they may refer back, dictionaries, and damage by its kind and place.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::format;
use amikit::internals::format::ImageRequest;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::Volume;
use amikit::internals::work::Unwatched;

use crate::common;
use crate::common::Random;
use crate::common::archive;

/// Reads all of an image, and returns its size or what went wrong.
fn read(path: &Path) -> Result<u64, Error> {
    let image = format::open(&ImageRequest::named(path), &Unwatched)?;
    let volume: &Volume = &image.volume;
    let mut buffer = vec![0; 1 << 16];
    let mut at = 0;
    while at < volume.size() {
        let len = usize::try_from((volume.size() - at).min(1 << 16)).unwrap();
        volume.read_at(at, &mut buffer[..len])?;
        at += u64::try_from(len).unwrap();
    }
    Ok(at)
}

/// A zstd frame of stored blocks with a window of 2 to that power, and perhaps a dictionary.
fn frame(plain: &[u8], window_log: u8, dictionary: Option<u32>) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3];
    if let Some(id) = dictionary {
        frame[4] = 3;
        frame.extend(id.to_le_bytes());
    }
    let count = plain.len().div_ceil(1 << 17);
    for (number, block) in plain.chunks(1 << 17).enumerate() {
        let head = u32::try_from(block.len()).unwrap() << 3 | u32::from(number + 1 == count);
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    frame
}

// --- F-7 -----------------------------------------------------------------------------------------

/// What the tools themselves read without an option is read without one.
#[test]
fn windows_that_the_tools_read_are_read() {
    if !common::installed("zstd") || !common::installed("xz") {
        return;
    }
    let dir = common::scratch();
    let plain = Random::with_seed(7).bytes(300_000);
    fs::write(dir.path().join("plain"), &plain).unwrap();
    for (name, program, arguments) in [
        ("long.raw.zst", "zstd", &["--long=27"][..]),
        ("ultra.raw.zst", "zstd", &["--ultra", "-22"]),
        ("wide.raw.xz", "xz", &["--lzma2=dict=128MiB,mf=hc3,mode=fast,nice=16"]),
    ] {
        let path = dir.path().join(name);
        // From a pipe, so that they do not know how little there is.
        let line = format!("{program} {} -c < plain > {name}", arguments.join(" "));
        common::run_tool(Command::new("sh").args(["-c", &line]).current_dir(dir.path()));
        assert_eq!(read(&path).unwrap(), 300_000, "{name}");
        // The same inside an archive, as a file and as the whole.
        let inside = archive(&[(name, &fs::read(&path).unwrap())]);
        let tar = dir.path().join(format!("{name}.tar"));
        fs::write(&tar, inside).unwrap();
        assert_eq!(read(&tar).unwrap(), 300_000, "{name}");
    }
}

#[test]
fn a_larger_window_is_read_where_the_user_allows_it_and_the_need_is_said() {
    let dir = common::scratch();
    let here = dir.path();
    let plain = Random::with_seed(8).bytes(300_000);
    let wide = frame(&plain, 28, None);
    fs::write(here.join("plain.raw"), &plain).unwrap();
    fs::write(here.join("wide.raw.zst"), &wide).unwrap();
    fs::write(here.join("wide.tar"), archive(&[("wide.raw.zst", &wide)])).unwrap();
    let tar = archive(&[("plain.raw", &plain)]);
    fs::write(here.join("plain.tar.zst"), frame(&tar, 28, None)).unwrap();
    for name in ["wide.raw.zst", "wide.tar", "plain.tar.zst"] {
        let said = common::run_badly(here, &format!("convert {name} out.raw"), 6);
        assert!(said.contains("268435456 bytes") && said.contains("--max-window 256M"), "{said}");
        common::run_well(here, &format!("convert {name} out.raw --max-window 256MiB"));
        assert_eq!(fs::read(here.join("out.raw")).unwrap(), plain, "{name}");
        fs::remove_file(here.join("out.raw")).unwrap();
        // Whose it is can be said, and a smaller limit than usual, too.
        common::run_well(here, &format!("compare {name} plain.raw --max-window a=256M"));
        common::run_badly(here, &format!("compare {name} plain.raw --max-window b=256M"), 6);
        common::run_badly(here, &format!("convert {name} out.raw --max-window 255M"), 6);
    }
    for size in ["3GiB", "x", "-1"] {
        let said = common::run_badly(
            here,
            &format!("convert wide.raw.zst out.raw --max-window={size}"),
            2,
        );
        assert!(said.contains("2GiB"), "{said}");
    }
    // More than can be allowed.
    fs::write(here.join("huge.raw.zst"), frame(&plain, 33, None)).unwrap();
    let said = common::run_badly(here, "convert huge.raw.zst out.raw --max-window 2GiB", 6);
    assert!(said.contains("8589934592 bytes") && !said.contains("--max-window"), "{said}");
}

// --- F-9 -----------------------------------------------------------------------------------------

/// Says that a frame needs a dictionary wherever one stands.
#[test]
fn a_dictionary_is_asked_for_by_its_id_in_every_way_in() {
    let dir = common::scratch();
    let here = dir.path();
    let id = 0x00c0_ffee;
    let packed = frame(&[7; 9000], 20, Some(id));
    let vmdk = common::written(&common::random_volume(1 << 20, &mut Random::with_seed(9)), "vmdk");
    let ovf = "<Envelope xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\"><References><File \
               ovf:href=\"d.vmdk.zst\" ovf:id=\"f\"/></References><DiskSection><Disk ovf:diskId=\"d\" \
               ovf:fileRef=\"f\" ovf:capacity=\"1048576\" ovf:format=\"http://www.vmware.com/\
               interfaces/specifications/vmdk.html#streamOptimized\"/></DiskSection></Envelope>";
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("plain.raw.zst", packed.clone()),
        ("skipped.raw.zst", [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9], &packed[..]].concat()),
        ("second.raw.zst", [&frame(&[1; 4096], 20, None)[..], &packed].concat()),
        ("inside.tar", archive(&[("a.raw.zst", &packed)])),
        ("whole.tar.zst", frame(&archive(&[("a.raw", &[1; 4096])]), 20, Some(id))),
        (
            "some.ova",
            archive(&[("a.ovf", ovf.as_bytes()), ("d.vmdk.zst", &frame(&vmdk, 20, Some(id)))]),
        ),
        ("cluster.qcow2", with_frames(&common::written(&solid(), "qcow2-zstd"), id)),
        ("table.raw.zst", with_frames(&common::written(&solid(), "raw-zstd"), id)),
    ];
    for (name, bytes) in files {
        let path = here.join(name);
        fs::write(&path, bytes).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{name}: {error}");
        assert!(error.to_string().contains(&format!("dictionary with id {id}")), "{name}: {error}");
    }
    let done = common::amikit()
        .args(["snapshot", "-", "-o", "out.snap"])
        .current_dir(here)
        .stdin(File::open(here.join("plain.raw.zst")).unwrap())
        .output()
        .unwrap();
    let said = common::stderr(&done);
    assert!(done.status.code() == Some(5) && said.contains("dictionary with id"), "{said}");
}

/// A volume without holes and zeros.
fn solid() -> Volume {
    let bytes = Random::with_seed(10).bytes(1 << 20);
    common::volume_of(bytes.into_iter().map(|byte| byte & 15 | 16).collect())
}

/// Puts a frame that needs a dictionary over the beginning of each frame.
fn with_frames(image: &[u8], id: u32) -> Vec<u8> {
    let mut image = image.to_vec();
    let new = frame(&[7; 9], 20, Some(id));
    let magic = &new[..4];
    let starts: Vec<_> =
        (0..image.len() - new.len()).filter(|at| image[*at..][..4] == *magic).collect();
    assert!(!starts.is_empty());
    for at in starts {
        image[at..][..new.len()].copy_from_slice(&new);
    }
    image
}

// --- F-10 ----------------------------------------------------------------------------------------

/// A changed byte of a packed unit is found where the unit starts, with how long it is and in which way it
/// is damaged.
#[test]
fn damage_of_a_unit_has_a_place_and_a_name() {
    let dir = common::scratch();
    let volume = solid();
    for (name, magic, codec) in [
        ("qcow2-zstd", &[0x28, 0xb5, 0x2f, 0xfd][..], "zstd"),
        ("raw-zstd", &[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        ("vmdk", &[], "zlib"),
    ] {
        let sound = common::written(&volume, name);
        let begins = |at: &usize| match name {
            // Behind the marker of a grain, which starts a sector.
            "vmdk" => at % 512 == 12 && is_zlib_head(&sound[*at..]),
            _ => sound[*at..].starts_with(magic),
        };
        let path = dir.path().join(format!("{name}.img"));
        let at = (1024..sound.len()).chain(0..1024).find(begins).unwrap();
        let mut names = Vec::new();
        for distance in 0..200.min(sound.len() - at) {
            let mut bytes = sound.clone();
            bytes[at + distance] ^= 0x20;
            fs::write(&path, bytes).unwrap();
            let Err(error) = read(&path) else { continue };
            let text = error.to_string();
            assert_eq!(
                error.offset().map(|it| it.abs_diff(u64::try_from(at).unwrap()) <= 12),
                Some(true),
                "{text}"
            );
            for kind in ["header is", "code is", "checksum does", "hold"] {
                if text.contains(kind) && !names.contains(&kind) {
                    names.push(kind);
                }
            }
            let said =
                text.contains(codec) && text.contains(" bytes") || text.contains("bytes hold");
            assert!(said || text.contains("dictionary"), "{text}");
        }
        assert!(names.contains(&"code is") && names.len() >= 2, "{name}: {names:?}");
    }
}

fn is_zlib_head(bytes: &[u8]) -> bool {
    bytes[0] == 0x78 && u16::from_be_bytes([bytes[0], bytes[1]]).is_multiple_of(31)
}

#[test]
fn a_damaged_stream_is_told_with_the_kind_and_the_ends_of_its_unit() {
    let dir = common::scratch();
    let here = dir.path();
    let plain: Vec<u8> = (0..=250_u8).cycle().take(100_000).collect();
    for (program, suffix, from_end, kind) in [
        ("gzip", "gz", 8, "checksum does not match"),
        ("gzip", "gz", 4, "not as long as it says"),
        ("xz", "xz", 8, "index does not match"),
        ("zstd", "zst", 2, "checksum does not match"),
        ("bzip2", "bz2", 2, "checksum does not match"),
    ] {
        if !common::installed(program) {
            continue;
        }
        fs::write(here.join("a.raw"), &plain).unwrap();
        common::run_tool(Command::new(program).arg("-kf").arg("a.raw").current_dir(here));
        let name = format!("a.raw.{suffix}");
        let mut bytes = fs::read(here.join(&name)).unwrap();
        let at = bytes.len() - from_end;
        bytes[at] ^= 1;
        fs::write(here.join(&name), &bytes).unwrap();
        let said = common::run_badly(here, &format!("convert {name} out.raw"), 4);
        assert!(said.contains(kind) && said.contains("from byte 0 to byte "), "{name}: {said}");
    }
}
