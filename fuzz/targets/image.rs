//! Any bytes as an image of any format: probe, open, walk the map, read a few blocks.
//!
//! A line says which format is asked, and whether the rest is the image or a list of its pieces:
//! metadata of some formats lies megabytes apart, with nothing between.

use std::path::Path;
use std::sync::Arc;

use amikit::internals::compress::MAX_WINDOW_LEN;
use amikit::internals::format::Format;
use amikit::internals::format::OpenRequest;
use amikit::internals::format::by_name;
use amikit::internals::io::Input;
use amikit::internals::io::Stream;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::extents;
use amikit::internals::work::Unwatched;

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

fn look(format: &Format, bytes: &[u8]) {
    let input = Arc::new(Input::memory("image", bytes.to_vec()));
    if let Some(probe) = format.probe {
        let _ = probe(&input);
    }
    if let Some(in_order) = format.in_order() {
        let _ = (in_order.needed)(&input);
        let mut stream =
            Stream::new(Path::new("image"), Box::new(std::io::Cursor::new(bytes.to_vec())));
        stream.unpack(in_order.wrapping, MAX_WINDOW_LEN).unwrap();
        let _ = stream.read_full(&mut vec![0; MOST_UNPACKED], &Unwatched);
    }
    if let Some(disks) = format.disks() {
        let _ = disks(&input);
    }
    // Half of the images are read although they say that they are damaged.
    let force = bytes.len() % 2 == 1;
    let mut request = OpenRequest::of(input);
    request.force = force;
    let Ok(parsed) = (format.open)(&request) else { return };
    let volume = parsed.volume;
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

/// What stands behind the format's name where pieces follow.
const PIECES: &str = " in pieces";

/// A line with the name of a format, and bytes of an image or its pieces.
pub fn walk(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (Ok(line), bytes) = (std::str::from_utf8(&data[..at]), &data[at + 1..]) else { return };
    let (name, in_pieces) = match line.strip_suffix(PIECES) {
        Some(name) => (name, true),
        None => (line, false),
    };
    match by_name(name) {
        Ok(format) if in_pieces => look(format, &joined(bytes)),
        Ok(format) => look(format, bytes),
        Err(_) => {}
    }
}

/// Returns an image as its pieces, behind the line that says so; short ones are given as they are.
pub fn seed(format: &str, image: &[u8]) -> Vec<u8> {
    const LONGEST: usize = 2048;
    if image.len() <= LONGEST {
        return [format.as_bytes(), b"\n", image].concat();
    }
    let mut seed = format!("{format}{PIECES}\n").into_bytes();
    let (mut gap, mut end) = (0, image.len());
    // The last sector is given even if it is zeros: it says how long the image is.
    end -= (end - 1) % SECTOR + 1;
    let mut at = 0;
    while at < image.len() {
        let mut next = at + SECTOR.min(image.len() - at);
        if at < end && image[at..next].iter().all(|byte| *byte == 0) && gap < u16::MAX {
            gap += 1;
        } else {
            // Sectors with content follow each other in one piece.
            while next < end
                && next - at < 60 << 10
                && image[next..next + SECTOR].iter().any(|byte| *byte != 0)
            {
                next += SECTOR;
            }
            seed.extend(gap.to_le_bytes());
            seed.extend(u16::try_from(next - at).expect("at most 60 KiB").to_le_bytes());
            seed.extend(&image[at..next]);
            gap = 0;
        }
        at = next;
    }
    assert_eq!(joined(&seed[format.len() + PIECES.len() + 1..]), image, "{format}");
    seed
}
