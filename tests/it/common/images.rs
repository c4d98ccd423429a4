//! What the tests of formats share: the fixtures' images, random volumes, writing and reading them.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use std::fs;
use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use amikit::internals::digest::Sha256;
use amikit::internals::error::Error;
use amikit::internals::format::WriteOptions;
use amikit::internals::format::Writer;
use amikit::internals::io::Target;
use amikit::internals::io::WriteAt;
use amikit::internals::tar::layout;
use amikit::internals::units::ExtentKind;
use amikit::internals::volume::Place;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::RunMap;
use amikit::internals::volume::Volume;
use amikit::internals::volume::extents;
use amikit::internals::work::Unwatched;
use serde::Deserialize;
use tempfile::TempDir;

use super::Random;

/// An entry of `fixtures/expected.json`; `fixtures/README.md` says what the fields mean.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) file: String,
    pub(crate) stored: String,
    pub(crate) format: Option<String>,
    #[serde(default)]
    pub(crate) of: Vec<String>,
    pub(crate) sidecar_of: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<String>,
    #[serde(default)]
    pub(crate) extents: Vec<(u64, u64, String)>,
    pub(crate) refused: Option<String>,
    pub(crate) contains: Option<String>,
}

/// Returns the folder of the fixtures' images.
pub(crate) fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/images")
}

/// Reads `fixtures/expected.json`.
pub(crate) fn entries() -> Vec<Entry> {
    let path = images().with_file_name("expected.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Returns the entry of that file.
pub(crate) fn entry(file: &str) -> Entry {
    entries().into_iter().find(|entry| entry.file == file).unwrap_or_else(|| panic!("no {file}"))
}

/// Makes a folder that is gone when it is dropped.
pub(crate) fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("amikit-test-").tempdir().unwrap()
}

/// Returns the path of an entry's image. A compressed one is expanded into `dir`; if it is a raw
/// image, what its extents call a hole is left unwritten.
pub(crate) fn expand(entry: &Entry, dir: &Path) -> PathBuf {
    let stored = images().join(&entry.file);
    if entry.stored == "plain" {
        return stored;
    }
    let bytes = zstd::stream::decode_all(File::open(stored).unwrap()).unwrap();
    let path = dir.join(entry.file.trim_end_matches(".zst"));
    let file = File::create(&path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    let is_raw = entry.format.as_deref() == Some("raw");
    if !is_raw || entry.extents.is_empty() {
        file.write_all_at(&bytes, 0).unwrap();
    }
    for (start, length, kind) in entry.extents.iter().filter(|_| is_raw) {
        let range = *start as usize..(*start + *length) as usize;
        if kind == "hole" {
            assert!(bytes[range].iter().all(|byte| *byte == 0));
        } else {
            file.write_all_at(&bytes[range], *start).unwrap();
        }
    }
    // Some file systems tell a new file's holes only once it is on the disk.
    file.sync_all().unwrap();
    path
}

/// Returns the SHA-256 of a volume's bytes in hexadecimal, holes as zeros.
pub(crate) fn sha256_of(volume: &dyn ReadVolume) -> String {
    let mut digest = Sha256::new();
    for_each_piece(volume, 1 << 20, |_, bytes| digest.update(bytes));
    digest.finish().hex()
}

/// Reads a volume whole.
pub(crate) fn bytes_of(volume: &dyn ReadVolume) -> Vec<u8> {
    let mut all = Vec::new();
    for_each_piece(volume, 1 << 20, |_, bytes| all.extend_from_slice(bytes));
    all
}

fn for_each_piece(volume: &dyn ReadVolume, len: u64, mut each: impl FnMut(u64, &[u8])) {
    let mut at = 0;
    while at < volume.size() {
        let mut piece = vec![0; len.min(volume.size() - at) as usize];
        volume.read_at(at, &mut piece).unwrap();
        each(at, &piece);
        at += piece.len() as u64;
    }
}

/// Returns a volume's extents as `expected.json` writes them.
pub(crate) fn extents_of(volume: &dyn ReadVolume) -> Vec<(u64, u64, String)> {
    extents(volume)
        .map(|extent| {
            let extent = extent.unwrap();
            (extent.range.start, extent.len(), extent.kind.name().to_owned())
        })
        .collect()
}

/// Returns the state of each page of 4 KiB: a hole if all of it is, zero if its bytes are, else data.
pub(crate) fn page_states(volume: &dyn ReadVolume) -> Vec<ExtentKind> {
    let mut states = Vec::new();
    for_each_piece(volume, 4096, |at, bytes| {
        let extent = volume.extent_at(at).unwrap();
        states.push(
            if extent.kind == ExtentKind::Hole && extent.range.end >= at + bytes.len() as u64 {
                ExtentKind::Hole
            } else if bytes.iter().all(|byte| *byte == 0) {
                ExtentKind::Zero
            } else {
                ExtentKind::Data
            },
        );
    });
    states
}

/// Makes a sparse file of `size` bytes at `path`: holes, written zeros, fills and noise, in pieces
/// that mostly but not always start at a page.
pub(crate) fn random_file(path: &Path, size: u64, random: &mut Random) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    let mut at = 0;
    while at < size {
        let len = match random.below(8) {
            0 => 1 + random.below(9000),
            _ => 4096 * (1 + random.below(40)),
        };
        let mut bytes = vec![0; len.min(size - at) as usize];
        match random.below(5) {
            0 | 1 => {}
            2 => file.write_all_at(&bytes, at).unwrap(),
            3 => {
                let word = (random.next() as u32).to_le_bytes();
                bytes.chunks_mut(4).for_each(|four| four.copy_from_slice(&word[..four.len()]));
                file.write_all_at(&bytes, at).unwrap();
            }
            _ => {
                random.fill(&mut bytes);
                file.write_all_at(&bytes, at).unwrap();
            }
        }
        at += len;
    }
    file.sync_all().unwrap();
}

/// Makes a volume of `size` bytes as [`random_file`] makes files, but in memory and with zeros.
pub(crate) fn random_volume(size: u64, random: &mut Random) -> Volume {
    let (mut map, mut stored) = (RunMap::default(), Vec::new());
    while map.size() < size {
        let len = match random.below(8) {
            0 => 1 + random.below(9000),
            7 => 4096 * random.below(1000),
            _ => 4096 * (1 + random.below(40)),
        };
        let len = len.min(size - map.size());
        let place = match random.below(6) {
            0 | 1 => Place::Hole,
            2 => Place::Zero,
            3 => Place::Fill((random.next() as u32).to_le_bytes()),
            kind => {
                let offset = stored.len() as u64;
                stored.resize((offset + len) as usize, 0);
                if kind == 4 {
                    random.fill(&mut stored[offset as usize..]);
                }
                Place::Stored { source: 0, offset }
            }
        };
        map.push(len, place);
    }
    Volume::new(map, vec![Arc::new(stored).into()]).unwrap()
}

/// Writes a volume's bytes to `path`, its zeros as holes. Nothing waits for the disk.
pub(crate) fn write_dense(volume: &dyn ReadVolume, path: &Path) {
    // A new file: some file systems write one out that is cut first.
    let _ = fs::remove_file(path);
    let file = File::create(path).unwrap();
    file.set_len(volume.size()).unwrap();
    for_each_piece(volume, 64 << 10, |at, bytes| {
        if bytes.iter().any(|byte| *byte != 0) {
            file.write_all_at(bytes, at).unwrap();
        }
    });
}

/// A new file that takes an image, and that nobody syncs.
struct Unsynced(File);

impl WriteAt for Unsynced {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.0.write_all_at(bytes, offset).unwrap();
        Ok(())
    }

    fn make_hole_at(&self, _len: u64, _offset: u64) -> Result<(), Error> {
        Ok(())
    }

    fn set_size(&self, size: u64) -> Result<(), Error> {
        self.0.set_len(size).unwrap();
        Ok(())
    }
}

/// Returns the writer of a name.
pub(crate) fn writer(name: &str) -> &'static Writer {
    amikit::internals::format::writer_by_name(name).unwrap()
}

/// Writes a volume as an image at `path`, as [`write_image`] does, but waits for no disk.
pub(crate) fn write_unsynced(
    volume: &dyn ReadVolume,
    path: &Path,
    writer: &Writer,
    threads: usize,
) {
    let _ = fs::remove_file(path);
    let file = Unsynced(File::create(path).unwrap());
    let threads = NonZero::new(threads).unwrap();
    let options = WriteOptions { threads, watch: &Unwatched, level: None, zeros_as_data: false };
    writer.write(&[volume], &file, &options).unwrap();
}

/// Writes a volume as an image at `path`.
pub(crate) fn write_image(volume: &dyn ReadVolume, path: &Path, writer: &Writer, threads: usize) {
    let target = Target::open(path).unwrap();
    let threads = NonZero::new(threads).unwrap();
    let options = WriteOptions { threads, watch: &Unwatched, level: None, zeros_as_data: false };
    writer.write(&[volume], &target, &options).unwrap();
    target.commit().unwrap();
}

/// Returns the bytes of an image of a volume.
pub(crate) fn written(volume: &dyn ReadVolume, name: &str) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    write_unsynced(volume, file.path(), writer(name), 2);
    fs::read(file.path()).unwrap()
}

/// Makes a volume of bytes, all of them data.
pub(crate) fn volume_of(bytes: Vec<u8>) -> Volume {
    let mut map = RunMap::default();
    map.push(bytes.len() as u64, Place::Stored { source: 0, offset: 0 });
    Volume::new(map, vec![Arc::new(bytes).into()]).unwrap()
}

/// Writes bytes, their pages of zeros as holes.
pub(crate) fn write_with_holes(path: &Path, bytes: &[u8]) {
    let file = File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (number, page) in bytes.chunks(4096).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, number as u64 * 4096).unwrap();
        }
    }
}

/// Makes a tar archive of these files, in this order.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files {
        bytes.extend(layout::encode(name, content.len() as u64));
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}
