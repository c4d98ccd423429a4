//! Any volume, written in any format and read again: the bytes are the same, and nothing that was
//! written has become a hole.
//!
//! A line says which format is written, and a byte the level. Each run of the volume is then two bytes: its
//! kind and low bits of its length, and more of its length.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;

use amikit::internals::error::Result;
use amikit::internals::format::OpenRequest;
use amikit::internals::format::WRITERS;
use amikit::internals::format::WriteOptions;
use amikit::internals::format::Writer;
use amikit::internals::io::Input;
use amikit::internals::io::WriteAt;
use amikit::internals::units::ExtentKind;
use amikit::internals::volume::Place;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::RunMap;
use amikit::internals::volume::Volume;
use amikit::internals::work::Unwatched;

use super::Seed;
use super::image;

/// Most bytes of a volume.
const MOST: u64 = 256 << 10;

/// Bytes whose states are compared: no format that is written here has longer units.
const STATE_LEN: u64 = 2 << 20;

/// An output in memory.
struct Memory(Mutex<Vec<u8>>);

impl WriteAt for Memory {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let (mut all, start) = (self.0.lock().unwrap(), usize::try_from(offset).unwrap());
        let end = start + bytes.len();
        if all.len() < end {
            all.resize(end, 0);
        }
        all[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn make_hole_at(&self, _len: u64, _offset: u64) -> Result<()> {
        Ok(())
    }

    fn read_back_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.0.lock().unwrap()[start..][..buf.len()]);
        Ok(())
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.0.lock().unwrap().resize(usize::try_from(size).unwrap(), 0);
        Ok(())
    }
}

/// Makes a volume of runs; what is stored is bytes that differ from place to place.
fn volume(runs: &[u8]) -> Option<Volume> {
    static STORED: LazyLock<Arc<Vec<u8>>> = LazyLock::new(|| {
        Arc::new((0..MOST).map(|at| (at.wrapping_mul(at) >> 7) as u8 | 1).collect())
    });
    let mut map = RunMap::default();
    for run in runs.chunks_exact(2) {
        let (kind, scale) = (run[0] & 3, (run[0] >> 2) & 7);
        // Lengths of all scales, and not all at the edges of anything.
        let len = ((u64::from(run[1]) + 1) << (2 * scale)).min(MOST - map.size());
        let place = match kind {
            0 => Place::Hole,
            1 => Place::Zero,
            2 => Place::Fill([run[0] >> 5, 0, run[1], 0]),
            _ => Place::Stored { source: 0, offset: map.size() },
        };
        map.push(len, place);
    }
    Volume::new(map, vec![Arc::clone(&*STORED).into()]).ok()
}

fn bytes_of(volume: &dyn ReadVolume) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(volume.size()).unwrap()];
    volume.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Writes a volume in memory.
fn written(volume: &Volume, writer: &Writer, level: Option<i32>) -> Vec<u8> {
    // Threads would only make a run last longer: that they change no byte is tested elsewhere.
    let options = WriteOptions {
        threads: NonZero::<usize>::MIN,
        watch: &Unwatched,
        level,
        zeros_as_data: false,
    };
    let sink = Memory(Mutex::default());
    writer.write(&[volume], &sink, &options).unwrap();
    sink.0.into_inner().unwrap()
}

fn check(writer: &Writer, options: u8, runs: &[u8]) {
    let Some(volume) = volume(runs) else { return };
    let level = writer.levels.as_ref().map(|levels| levels.start() + i32::from(options & 3));
    let image = Arc::new(Input::memory("image", written(&volume, writer, level)));
    let again = (writer.format.open)(&OpenRequest::of(image)).unwrap().volume;
    let size = volume.size().next_multiple_of(writer.size_grain);
    assert_eq!(again.size(), size, "{}", writer.name);
    let mut expected = bytes_of(&volume);
    expected.resize(usize::try_from(again.size()).unwrap(), 0);
    assert!(bytes_of(&again) == expected, "{}", writer.name);
    // What is all holes afterwards was no written data before, for units of any length.
    if again.size() <= STATE_LEN && again.extent_at(0).unwrap().len() == again.size() {
        let all = again.extent_at(0).unwrap().kind;
        let was_data = volume
            .map()
            .within(0..volume.size())
            .any(|(_, place)| matches!(place, Place::Stored { .. }));
        assert!(all != ExtentKind::Hole || !was_data, "{}", writer.name);
    }
}

/// A line with the name of a format, a byte for the level, and runs.
pub fn round(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (Ok(name), [options, runs @ ..]) = (std::str::from_utf8(&data[..at]), &data[at + 1..])
    else {
        return;
    };
    if let Some(writer) = WRITERS.iter().find(|writer| writer.name == name) {
        check(writer, *options, runs);
    }
}

/// Runs of all kinds, some at the edges of units and some not.
const RUNS: [u8; 14] = [3, 200, 0x0c, 15, 1, 99, 0x2e, 7, 0x0d, 3, 0x13, 1, 0x1c, 255];

/// Returns a seed for each format: the runs, and the image that they make.
pub fn seeds() -> Vec<Seed> {
    let volume = volume(&RUNS).expect("a small volume");
    let mut seeds = Vec::new();
    for writer in WRITERS {
        let line = format!("{}\n\0", writer.name).into_bytes();
        seeds.push(("round", PathBuf::from(writer.name), [&line[..], &RUNS].concat()));
        let image = written(&volume, writer, None);
        seeds.push(("walk", PathBuf::from(writer.name), image::seed(writer.format.name, &image)));
    }
    seeds
}
