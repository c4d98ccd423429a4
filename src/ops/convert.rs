//! `convert`: an image of one format to an image of another.

use std::num::NonZero;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::is_zero;
use crate::error::Error;
use crate::error::Result;
use crate::format::ImageRequest;
use crate::format::WriteOptions;
use crate::format::Writer;
use crate::io::Stream;
use crate::io::Target;
use crate::io::WriteAt;
use crate::ops::path_text;
use crate::ops::shared::open::OpenedSource;
use crate::ops::shared::open::open_image;
use crate::ops::shared::open::open_source;
use crate::units::MAX_VOLUME_SIZE;
use crate::volume::ReadVolume;
use crate::volume::ZERO_PIECE_LEN;
use crate::volume::check_size;
use crate::volume::zeros_as_holes;
use crate::work::Watch;

/// Bytes that are taken from a pipe at once.
const STREAM_PIECE_LEN: usize = 1 << 20;

/// What is converted, and to where.
#[derive(Clone, Debug)]
pub struct ConvertRequest {
    /// The image.
    pub image: ImageRequest,
    /// Where the new image goes: a new file, or a block device.
    pub output: PathBuf,
    /// Format of the new image.
    pub format: &'static Writer,
    /// Level of compression, in the new format's own scale; `None` is its default.
    pub level: Option<i32>,
    /// Whether zeros become holes, a piece of [`ZERO_PIECE_LEN`] bytes at a time.
    pub zeros_as_holes: bool,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

/// What was converted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConvertReport {
    /// The new image.
    #[serde(serialize_with = "path_text")]
    pub output: PathBuf,
    /// Format of the image.
    pub from: &'static str,
    /// Format of the new image.
    pub to: &'static str,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Writes the volume of an image as another image.
///
/// # Errors
///
/// As [`crate::ops::open_source`]; `Invalid` or `Unsupported` if the new format cannot take the
/// volume; `Io` if the output cannot be written.
pub fn convert(request: &ConvertRequest, watch: &dyn Watch) -> Result<ConvertReport> {
    request.format.check_level(request.level)?;
    // A raw image can be written as it comes; all others need the size up front.
    let source = if request.format.is_plain() {
        open_source(&request.image, watch)?
    } else {
        OpenedSource::Image(Box::new(open_image(&request.image, watch)?))
    };
    let (from, mut notes) = (source.format_name(), source.notes());
    let target = Target::open(&request.output)?;
    let write = |volume: &dyn ReadVolume, target: Target| {
        let options = WriteOptions { threads: request.threads, watch, level: request.level };
        write_image(request.format, &[volume], target, &options)
    };
    let volume_size_bytes = match source {
        OpenedSource::Image(image) => {
            let fail = |e: Error| e.in_file(&request.image.path);
            let mut volume = image.volume;
            if request.zeros_as_holes {
                watch.prepare("looking for zeros", Some(volume.size()));
                let map = zeros_as_holes(&volume, request.threads, watch).map_err(fail)?;
                volume = volume.with_map(map).map_err(fail)?;
            }
            watch.begin(Some(volume.size()));
            notes.extend(write(&volume, target).map_err(fail)?);
            volume.size()
        }
        OpenedSource::Stream(mut opened) => {
            watch.begin(None);
            let size = save(&mut opened.stream, &target, request.zeros_as_holes, watch)?;
            target.set_size(size)?;
            target.commit()?;
            size
        }
    };
    Ok(ConvertReport {
        output: request.output.clone(),
        from,
        to: request.format.name,
        volume_size_bytes,
        notes,
    })
}

/// Writes volumes as an image, several only in a format that takes them, and finishes the output if
/// every byte of them was sound. Returns what the user should hear of it.
///
/// Where a format fills the volume up, as `qemu-img` does, that is among it.
pub(super) fn write_image(
    format: &'static Writer,
    volumes: &[&dyn ReadVolume],
    target: Target,
    options: &WriteOptions<'_>,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for size in volumes.iter().map(|volume| volume.size()) {
        if !size.is_multiple_of(format.size_grain) {
            notes.push(format!(
                "the volume has {size} bytes, and an image in {} a multiple of {}: zeros fill it up to {} bytes",
                format.name,
                format.size_grain,
                size.next_multiple_of(format.size_grain)
            ));
        }
    }
    format.write(volumes, &target, options)?;
    volumes.iter().try_for_each(|volume| volume.check_unchanged())?;
    target.commit()?;
    Ok(notes)
}

/// Writes what a stream gives, without its zeros if they are to be holes, and returns how many bytes
/// that was.
fn save(
    stream: &mut Stream,
    output: &dyn WriteAt,
    zeros_as_holes: bool,
    watch: &dyn Watch,
) -> Result<u64> {
    let mut buffer = vec![0; STREAM_PIECE_LEN];
    let piece_len = if zeros_as_holes {
        usize::try_from(ZERO_PIECE_LEN).expect("64 KiB")
    } else {
        STREAM_PIECE_LEN
    };
    let mut size = 0_u64;
    loop {
        let len = stream.read_full(&mut buffer, watch)?;
        let bytes = u64::try_from(len).expect("at most a mebibyte");
        let mut at = size;
        for piece in buffer[..len].chunks(piece_len) {
            let len = u64::try_from(piece.len()).expect("at most a mebibyte");
            if zeros_as_holes && is_zero(piece) {
                output.make_hole_at(len, at)?;
            } else {
                output.write_all_at(piece, at)?;
            }
            at = at.strict_add(len);
        }
        watch.advance(bytes);
        size = size.strict_add(bytes);
        if len < buffer.len() || size > MAX_VOLUME_SIZE {
            check_size(size).map_err(|e| e.in_file(stream.path()))?;
            stream.check_unchanged()?;
            return Ok(size);
        }
    }
}
