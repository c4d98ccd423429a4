//! `convert`: an image of one format to an image of another.

use std::num::NonZero;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::is_zero;
use crate::error::Error;
use crate::error::Result;
use crate::format::WriteOptions;
use crate::format::Writer;
use crate::guest::SECTOR_SIZE;
use crate::io::Stream;
use crate::io::Target;
use crate::io::WriteAt;
use crate::ops::shared::image_output::write_image;
use crate::ops::shared::open::OpenedVolume;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open;
use crate::ops::shared::open::open_in_order;
use crate::ops::shared::outside::check_apart;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::report::path_text;
use crate::units::MAX_VOLUME_SIZE;
use crate::volume::ReadVolume;
use crate::volume::ZERO_PIECE_LEN;
use crate::volume::check_size;
use crate::volume::zeros_as_holes;
use crate::work::Watch;
use crate::work::default_threads;

/// Bytes that are taken from a pipe at once.
const STREAM_PIECE_LEN: usize = 1 << 20;

/// What becomes of written zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zeros {
    /// They stay what they are, in formats that know them.
    #[default]
    Keep,
    /// Holes, a piece of [`ZERO_PIECE_LEN`] bytes at a time.
    Hole,
    /// Data like any other, for readers that do not know zeros.
    Data,
}

/// What is converted, and to where.
#[derive(Clone, Debug)]
pub struct ConvertRequest {
    /// The image.
    pub image: VolumeRequest,
    /// Where the new image goes: a new file, or a block device.
    pub output: PathBuf,
    /// Format of the new image.
    pub format: &'static Writer,
    /// Level of compression, in the new format's own scale; `None` is its default.
    pub level: Option<i32>,
    /// What becomes of written zeros.
    pub zeros: Zeros,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl ConvertRequest {
    /// Asks for the volume in another format, all states kept, with all processors.
    #[must_use]
    pub fn new(image: VolumeRequest, output: impl Into<PathBuf>, format: &'static Writer) -> Self {
        Self {
            image,
            output: output.into(),
            format,
            level: None,
            zeros: Zeros::Keep,
            threads: default_threads(),
        }
    }
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
/// As [`open_in_order`]; `Invalid` or `Unsupported` if the new format cannot take the
/// volume; `Io` if the output cannot be written.
pub fn convert(request: &ConvertRequest, watch: &dyn Watch) -> Result<ConvertReport> {
    request.format.check_level(request.level)?;
    // A raw image can be written as it comes; all others need the size up front.
    let source = if request.format.is_plain() {
        open_in_order(&request.image, watch)?
    } else {
        open(&request.image, watch)?.into_opened()
    };
    let (from, mut notes) = (source.format_name(), source.notes());
    notes.extend(dropped(&source, request));
    let as_holes = request.zeros == Zeros::Hole;
    let base = request.image.base.iter().map(|base| base.image.path.as_path());
    check_outside(&request.output, base.chain([request.image.image.path.as_path()]))?;
    // The image itself may be replaced, once it is read; a file that is a part of more may not.
    let alone = source.inputs().len() == 1 && request.image.image.member.is_none();
    check_apart(&request.output, if alone { &[] } else { source.inputs() })?;
    let target = Target::open(&request.output)?;
    let write = |volume: &dyn ReadVolume, target: Target| {
        let zeros_as_data = request.zeros == Zeros::Data;
        let ConvertRequest { threads, level, .. } = *request;
        let options = WriteOptions { threads, watch, level, zeros_as_data };
        write_image(request.format, &[volume], target, &options)
    };
    let fail = |e: Error| request.image.fail(e);
    let volume_size_bytes = match source {
        OpenedVolume::Stream(mut opened) => {
            watch.begin(None);
            target.finish(|target| {
                let size = save(&mut opened.stream, target, as_holes, watch)?;
                target.set_size(size)?;
                Ok(size)
            })?
        }
        other => {
            let volume = other.volume().expect("what comes in order was dealt with");
            let size = volume.size();
            let written = if as_holes {
                watch.prepare("looking for zeros", Some(size));
                let volume = zeros_as_holes(volume, request.threads, watch).map_err(fail)?;
                watch.begin(Some(size));
                write(&volume, target)
            } else {
                watch.begin(Some(size));
                write(volume, target)
            };
            notes.extend(written.map_err(fail)?);
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

/// Says what the image records of its disk, and the new one will not.
fn dropped(source: &OpenedVolume, request: &ConvertRequest) -> Option<String> {
    let len = source.sector_len().filter(|len| u64::from(*len) != SECTOR_SIZE)?;
    Some(format!(
        "{}: it does not record the logical sectors of {len} bytes; as {}, the disk has {SECTOR_SIZE}",
        request.output.display(),
        request.format.name
    ))
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
