//! Any bytes as an image of any format: probe, open, walk the map, read a few blocks.
//!
//! The first byte says which row of `FORMATS` is asked, and whether the rest is the image or a list of
//! its pieces: metadata of some formats lies megabytes apart, with nothing between.
#![no_main]

mod limit;

use std::path::Path;
use std::sync::Arc;

use amikit::internals::format::FORMATS;
use amikit::internals::format::Format;
use amikit::internals::format::OpenRequest;
use amikit::internals::io::Input;
use amikit::internals::io::Stream;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::extents;
use amikit::internals::work::Unwatched;
use libfuzzer_sys::fuzz_target;

/// Extents that are looked at: some images have a million.
const MOST_EXTENTS: usize = 1000;

/// Bytes that are read at a place.
const PIECE_LEN: u64 = 64 << 10;

/// Bytes that are taken of a compressed stream.
const MOST_UNPACKED: usize = 1 << 20;

/// Most bytes of an image that is given in pieces.
const MOST_PIECED: usize = 8 << 20;

/// Bytes that the gap before a piece is counted in.
const SECTOR: usize = 512;

/// Makes an image of its pieces: each is the sectors of zeros before it and its length, of 2 bytes
/// each, and its bytes.
fn joined(mut pieces: &[u8]) -> Vec<u8> {
    let mut image = Vec::new();
    while let Some((&[a, b, c, d], rest)) = pieces.split_first_chunk() {
        let gap = usize::from(u16::from_le_bytes([a, b])) * SECTOR;
        let len = usize::from(u16::from_le_bytes([c, d])).min(rest.len());
        if image.len() + gap + len > MOST_PIECED {
            break;
        }
        image.resize(image.len() + gap, 0);
        image.extend_from_slice(&rest[..len]);
        pieces = &rest[len..];
    }
    image
}

fn walk(format: &Format, bytes: &[u8]) {
    let input = Arc::new(Input::memory("image", bytes.to_vec()));
    if let Some(probe) = format.probe {
        let _ = probe(&input);
    }
    if let Some(in_order) = format.in_order() {
        let _ = (in_order.needed)(&input);
        let mut stream =
            Stream::new(Path::new("image"), Box::new(std::io::Cursor::new(bytes.to_vec())));
        stream.unpack(in_order.wrapping).unwrap();
        let _ = stream.read_full(&mut vec![0; MOST_UNPACKED], &Unwatched);
    }
    if let Some(disks) = format.disks() {
        let _ = disks(&input);
    }
    // Half of the images are read although they say that they are damaged.
    let force = bytes.len() % 2 == 1;
    let mut request = OpenRequest::of(input);
    request.force = force;
    let Ok(volume) = (format.open)(&request) else { return };
    let size = volume.size();
    let mut at = 0;
    for extent in extents(&volume).take(MOST_EXTENTS) {
        let extent = extent.expect("the map of an opened image is in memory");
        assert_eq!(extent.range.start, at);
        assert!(extent.range.end > at && extent.range.end <= size);
        at = extent.range.end;
    }
    let len = size.min(PIECE_LEN);
    let mut buf = vec![0; usize::try_from(len).unwrap()];
    for at in [0, size / 2, size - len] {
        let _ = volume.read_at(at.min(size - len), &mut buf);
    }
    let _ = volume.check_unchanged();
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    let count = FORMATS.len();
    let choice = usize::from(*choice);
    let format = FORMATS[choice % count];
    limit::limited(|| match choice / count % 2 {
        0 => walk(format, bytes),
        _ => walk(format, &joined(bytes)),
    });
});
