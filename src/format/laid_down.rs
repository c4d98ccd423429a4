//! Bytes that come in order, laid down where any place of them can be read.

use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::is_zero;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::io::Input;
use crate::io::READ_PIECE_LEN;
use crate::io::Scratch;
use crate::io::Stream;
use crate::io::WriteAt;
use crate::units::MAX_VOLUME_SIZE;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Volume;
use crate::volume::check_size;
use crate::work::Watch;

/// Bytes that are taken at once: whole pieces.
const TAKEN_LEN: usize = 16 * READ_PIECE_LEN;

/// Returns how many bytes a file may have that holds a volume of `size` bytes: what formats add is little.
pub(super) fn file_size_of(size: u64) -> u64 {
    size.saturating_add(size.strict_div(8)).saturating_add(16 << 20)
}

/// A stream that was laid down.
pub(super) struct LaidDown {
    /// Its bytes; called like the stream, and what was done to it.
    pub(super) input: Arc<Input>,
    /// What the user should hear.
    pub(super) note: String,
    /// Where they are data, and where zeros; `None` if they change too often.
    map: Option<RunMap>,
}

/// Takes all of a stream. Pieces of zeros take no space.
///
/// # Errors
///
/// As [`Stream::read_full`]; `Limit` over the size of the largest volume; `Io` if there is no room for it, or
/// if a file that it comes from was changed.
pub(super) fn lay_down(mut stream: Stream, watch: &dyn Watch) -> Result<LaidDown> {
    let scratch = Scratch::create()?;
    let mut progress = stream.file_progress();
    watch.prepare("unpacking", progress.map(|(_, len)| len));
    let mut map = Some(RunMap::default());
    let mut buffer = vec![0; TAKEN_LEN];
    let mut size = 0_u64;
    loop {
        let len = stream.read_full(&mut buffer, watch)?;
        for piece in buffer[..len].chunks(READ_PIECE_LEN) {
            let piece_len = u64::try_from(piece.len()).expect("a piece");
            let place = if is_zero(piece) {
                Place::Zero
            } else {
                scratch.write_all_at(piece, size)?;
                Place::Stored { source: 0, offset: size }
            };
            if let Some(runs) = &mut map {
                runs.push(piece_len, place);
            }
            map = map.filter(|runs| runs.run_count() <= MAX_RUNS);
            // Cannot overflow: it was at most the largest volume, and grows by a mebibyte.
            size = size.strict_add(piece_len);
        }
        let taken = progress.zip(stream.file_progress());
        let bytes = taken.map_or(len.try_into().expect("a mebibyte"), |((before, _), (now, _))| {
            now.strict_sub(before)
        });
        progress = stream.file_progress();
        watch.advance(bytes);
        if size > MAX_VOLUME_SIZE {
            check_size(size).map_err(|e| e.in_file(stream.path()))?;
        }
        if len < buffer.len() {
            break;
        }
    }
    stream.check_unchanged()?;
    let note = format!(
        "{}: unpacked for this run to a temporary file of {size} bytes in {}",
        shown(stream.path()),
        shown(scratch.folder())
    );
    let mut name = stream.path().as_os_str().to_owned();
    if stream.is_packed() {
        name.push(" (unpacked)");
    }
    let input = Arc::new(scratch.into_input(size, &PathBuf::from(name))?);
    Ok(LaidDown { input, note, map })
}

impl LaidDown {
    /// Takes the bytes as a raw volume.
    ///
    /// # Errors
    ///
    /// `Invalid` if there are none; `Limit` if data and zeros take turns too often.
    pub(super) fn into_raw(self) -> Result<Volume> {
        let map = self.map.ok_or_else(|| {
            let text = format!("data and zeros alternate over {MAX_RUNS} times");
            Error::new(Kind::Limit, text).in_file(self.input.path())
        })?;
        Volume::new(map, vec![self.input.into()])
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use crate::io::ReadAt;
    use crate::volume::ReadVolume;
    use crate::work::Unwatched;

    fn laid(bytes: impl Read + 'static) -> Result<LaidDown> {
        lay_down(Stream::new(Path::new("it"), Box::new(bytes)), &Unwatched)
    }

    #[test]
    fn zeros_take_no_room_and_are_written_ones() {
        const DATA: [u8; 100] = [7; 100];
        let bytes =
            std::io::repeat(0).take(5 << 20).chain(&DATA[..]).chain(std::io::repeat(0).take(9));
        let laid = laid(bytes).unwrap();
        assert!(laid.input.regular_file().unwrap().metadata().unwrap().blocks() * 512 < 64 << 10);
        assert!(
            laid.note
                .starts_with("it: unpacked for this run to a temporary file of 5242989 bytes in /")
        );
        let volume = laid.into_raw().unwrap();
        let places: Vec<_> = volume.map().within(0..volume.size()).collect();
        let stored = Place::Stored { source: 0, offset: 5 << 20 };
        assert_eq!(places, [(0..5 << 20, Place::Zero), (5 << 20..(5 << 20) + 109, stored)]);
        let mut found = [1; 109];
        volume.read_at(5 << 20, &mut found).unwrap();
        assert!(found[..100] == DATA && found[100..] == [0; 9]);
    }

    #[test]
    fn nothing_is_no_volume_and_no_error_before_that() {
        let laid = laid(std::io::empty()).unwrap();
        assert!(laid.input.is_empty());
        assert_eq!(laid.into_raw().unwrap_err().kind(), Kind::Invalid);
    }
}
