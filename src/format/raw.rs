//! Raw images: byte n of the file is byte n of the volume, and a hole of the file is one of it.
//!
//! See `docs/formats/raw.md`.

use std::sync::Arc;

use crate::error::Result;
use crate::format::parsed::Holes;
use crate::format::parsed::Parsed;
use crate::format::reader::Content;
use crate::format::reader::Format;
use crate::format::reader::OpenRequest;
use crate::format::spans::spans_of;
use crate::format::writer::WriteFn;
use crate::format::writer::WriteOptions;
use crate::format::writer::Writer;
use crate::io::Input;
use crate::io::PageBuffer;
use crate::io::ReadAt;
use crate::io::WriteAt;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::ReadVolume;
use crate::volume::RunMap;
use crate::volume::Volume;
use crate::volume::check_size;
use crate::volume::extents;
use crate::work::in_order;

/// The row of this format.
pub static FORMAT: Format = Format {
    name: "raw",
    summary: "the bytes of the disk, holes included",
    // No byte of a raw image says that it is one: it is what is left when nothing else matches.
    probe: None,
    open,
    content: Content::Plain,
};

/// The way to write it.
pub static WRITER: Writer = Writer {
    name: "raw",
    summary: "the bytes of the disk, holes included",
    format: &FORMAT,
    size_grain: 1,
    write: WriteFn::One(write),
    levels: None,
    suffixes: &["raw", "img"],
};

/// Opens one raw file or block device.
///
/// # Errors
///
/// `Invalid` if it is empty or there are several; `Limit` over 64 TiB or over [`MAX_RUNS`] extents;
/// `Io` if the file system does not tell its holes.
fn open(request: &OpenRequest<'_>) -> Result<Parsed> {
    let volume = volume(request.single("raw")?)?;
    Ok(Parsed { holes: Holes::InFile(0), ..volume.into() })
}

/// Returns the volume that a raw file or block device holds.
///
/// # Errors
///
/// `Invalid` if it is empty; `Limit` over 64 TiB or over [`MAX_RUNS`] extents; `Io` if the file system
/// does not tell its holes.
pub fn volume(input: &Arc<Input>) -> Result<Volume> {
    check_size(input.len())?;
    let mut map = RunMap::default();
    for Extent { range, kind } in input.extents(MAX_RUNS)? {
        let place = match kind {
            ExtentKind::Hole => Place::Hole,
            ExtentKind::Zero => Place::Zero,
            ExtentKind::Data => Place::Stored { source: 0, offset: range.start },
        };
        map.push(range.end.strict_sub(range.start), place);
    }
    Volume::new(map, vec![Arc::clone(input).into()])
}

/// Writes a volume as a raw image, all states kept.
///
/// # Errors
///
/// `Invalid` if the output is a device that is too small, before a byte is written; whatever
/// reading and writing return.
pub fn write(
    volume: &dyn ReadVolume,
    sink: &dyn WriteAt,
    options: &WriteOptions<'_>,
) -> Result<()> {
    sink.set_size(volume.size())?;
    in_order(
        options.threads,
        options.watch,
        spans_of(volume, extents(volume)),
        || Ok(PageBuffer::default()),
        |buffer, Extent { range, kind }| {
            let (offset, len) = (range.start, range.end.strict_sub(range.start));
            match kind {
                ExtentKind::Hole => sink.make_hole_at(len, offset)?,
                ExtentKind::Zero => sink.write_zeros_at(len, offset)?,
                ExtentKind::Data => {
                    buffer.resize(usize::try_from(len).expect("at most a span"));
                    volume.read_at(offset, buffer)?;
                    sink.write_all_at(buffer, offset)?;
                }
            }
            Ok(len)
        },
        |len| {
            options.watch.advance(len);
            Ok(())
        },
    )
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use crate::error::Error;

    use std::num::NonZero;
    use std::sync::Mutex;

    use crate::error::Kind;
    use crate::work::Unwatched;

    /// Remembers what was called, and has a size that it can hold.
    #[derive(Default)]
    struct Recorder {
        calls: Mutex<Vec<(&'static str, u64, u64)>>,
        room: u64,
    }

    impl Recorder {
        fn add(&self, call: &'static str, offset: u64, len: u64) {
            self.calls.lock().unwrap().push((call, offset, len));
        }
    }

    impl WriteAt for Recorder {
        fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
            self.add("data", offset, u64::try_from(bytes.len()).unwrap());
            Ok(())
        }

        fn write_zeros_at(&self, len: u64, offset: u64) -> Result<()> {
            self.add("zero", offset, len);
            Ok(())
        }

        fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
            self.add("hole", offset, len);
            Ok(())
        }

        fn set_size(&self, size: u64) -> Result<()> {
            if size > self.room {
                return Err(Error::invalid("too small"));
            }
            self.add("size", 0, size);
            Ok(())
        }
    }

    fn volume() -> Volume {
        let mut map = RunMap::default();
        map.push(10, Place::Hole);
        map.push(20, Place::Zero);
        map.push(4, Place::Fill(*b"abcd"));
        Volume::new(map, Vec::new()).unwrap()
    }

    #[test]
    fn the_size_comes_first_and_each_state_is_kept() {
        let recorder = Recorder { room: 34, ..Recorder::default() };
        let options = WriteOptions {
            threads: NonZero::<usize>::MIN,
            watch: &Unwatched,
            level: None,
            zeros_as_data: false,
        };
        write(&volume(), &recorder, &options).unwrap();
        let calls = recorder.calls.into_inner().unwrap();
        assert_eq!(calls, [("size", 0, 34), ("hole", 0, 10), ("zero", 10, 20), ("data", 30, 4)]);
    }

    #[test]
    fn an_output_that_is_too_small_is_left_untouched() {
        let recorder = Recorder::default();
        let options = WriteOptions {
            threads: NonZero::new(2).unwrap(),
            watch: &Unwatched,
            level: None,
            zeros_as_data: false,
        };
        let error = write(&volume(), &recorder, &options).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(recorder.calls.into_inner().unwrap().is_empty());
    }
}
