//! Any bytes as a volume: what it holds, whose its bytes are, and all files of each file system.

use std::collections::BTreeSet;
use std::sync::Arc;

use amikit::internals::guest::Bytes;
use amikit::internals::guest::FileKind;
use amikit::internals::guest::FileSystem;
use amikit::internals::guest::Guest;
use amikit::internals::guest::Tree;
use amikit::internals::guest::packages;
use amikit::internals::volume::Place;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::RunMap;
use amikit::internals::volume::Volume;

/// Bytes that gaps and pieces are counted in.
const SECTOR: usize = 512;

/// Most bytes of a volume: file systems with room for a few files are smaller.
const MOST: u64 = 1 << 30;

/// Files that are looked at, and names of a directory.
const MOST_FILES: usize = 2000;

/// Bytes that are read of a file.
const MOST_READ: usize = 64 << 10;

/// Makes a volume of its pieces: each is the sectors of zeros before it and its own sectors, of 2 bytes each, and its
/// bytes.
fn volume(mut pieces: &[u8]) -> Option<Volume> {
    let mut map = RunMap::default();
    let mut bytes = Vec::new();
    let mut size = 0_u64;
    while let Some((&[a, b, c, d], rest)) = pieces.split_first_chunk() {
        let gap = u64::from(u16::from_le_bytes([a, b])) * 512;
        let len = (usize::from(u16::from_le_bytes([c, d])) * SECTOR).min(rest.len());
        size += gap + len as u64;
        if size > MOST {
            break;
        }
        map.push(gap, Place::Hole);
        map.push(len as u64, Place::Stored { source: 0, offset: bytes.len() as u64 });
        bytes.extend_from_slice(&rest[..len]);
        pieces = &rest[len..];
    }
    Volume::new(map, vec![Arc::new(bytes).into()]).ok()
}

/// Returns a volume as its pieces.
pub fn seed(volume: &[u8]) -> Vec<u8> {
    let mut seed = Vec::new();
    let sectors: Vec<&[u8]> = volume.chunks(SECTOR).collect();
    let is_zero = |at: usize| sectors[at].iter().all(|byte| *byte == 0);
    let mut at = 0;
    while at < sectors.len() {
        let start = at;
        // The last sector is given even if it is zeros: it says how long the volume is.
        while at + 1 < sectors.len() && is_zero(at) && at - start < usize::from(u16::MAX) {
            at += 1;
        }
        let first = at;
        while at < sectors.len() && (!is_zero(at) || at + 1 == sectors.len()) {
            at += 1;
        }
        seed.extend(u16::try_from(first - start).unwrap().to_le_bytes());
        seed.extend(u16::try_from(at - first).unwrap().to_le_bytes());
        sectors[first..at].iter().for_each(|sector| seed.extend_from_slice(sector));
    }
    seed
}

/// Looks at all files that can be reached.
fn wander(system: &dyn FileSystem) {
    let mut left = vec![system.root()];
    let mut seen = BTreeSet::new();
    while let Some(id) = left.pop() {
        if !seen.insert(id) || seen.len() > MOST_FILES {
            continue;
        }
        let Ok(node) = system.node(id) else { continue };
        let _ = system.attributes(id);
        if node.kind == FileKind::Directory {
            let entries = system.entries(id).unwrap_or_default();
            left.extend(entries.iter().take(MOST_FILES).map(|entry| entry.id));
            continue;
        }
        let Ok(content) = system.content(id) else { continue };
        let mut end = 0;
        let mut buffer = vec![0; MOST_READ];
        for piece in &content.pieces {
            assert!(piece.start >= end && piece.len > 0, "pieces ascend");
            end = piece.start.checked_add(piece.len).unwrap();
            assert!(end <= content.size, "pieces lie in the file");
        }
        for piece in content.pieces.iter().take(4) {
            let len = usize::try_from(piece.len).unwrap_or(MOST_READ).min(MOST_READ);
            match &piece.bytes {
                Bytes::At(at) => drop(system.read(*at, &mut buffer[..len])),
                Bytes::Here(bytes) => assert!(bytes.len() as u64 >= piece.len, "all are here"),
                Bytes::Packed(packed) => drop(system.unpack(packed)),
            }
        }
    }
}

/// A volume in pieces.
pub fn inside(data: &[u8]) {
    let Some(volume) = volume(data) else { return };
    let guest = Guest::open(&volume).unwrap();
    let owners = guest.owners().unwrap();
    let mut end = 0;
    for (range, ..) in owners.within(0..u64::MAX) {
        assert!(range.start == end && range.end > end, "owners tile the volume");
        end = range.end;
    }
    assert_eq!(end, volume.size());
    guest.parts.iter().filter_map(|part| part.system()).for_each(wander);
    if let Ok(tree) = Tree::open(&guest, None) {
        let _ = packages(&tree);
    }
}
