//! Android sparse images, as fastboot, img2simg and U-Boot have them.
//!
//! The format tells all three states apart: RAW and FILL are data, FILL of 0 is zero, `DONT_CARE`
//! is a hole. See `docs/formats/android-sparse.md`.

pub mod layout;
mod map;
mod write;

use crate::error::Error;
use crate::error::Result;
use crate::format::android_sparse::layout::SparseFault;
use crate::format::magic::starts_with;
use crate::format::parsed::Parsed;
use crate::format::reader::Content;
use crate::format::reader::Format;
use crate::format::reader::OpenRequest;
use crate::format::writer::WriteFn;
use crate::format::writer::Writer;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Source;
use crate::volume::Volume;

pub use map::check_crc;
pub use write::write;

/// The row of this format.
pub static FORMAT: Format = Format {
    name: "android-sparse",
    summary: "Android sparse image (simg), one file or a split set",
    probe: Some(|source| starts_with(source, &layout::MAGIC)),
    open,
    content: Content::Mapped,
};

/// The way to write it.
pub static WRITER: Writer = Writer {
    name: "android-sparse",
    summary: "Android sparse image (simg), one file",
    format: &FORMAT,
    size_grain: layout::SIZE_GRAIN,
    write: WriteFn::One(write),
    levels: None,
    suffixes: &["simg"],
};

/// Most parts of a split set: a set of them at fastboot's least sensible size is a full volume.
const MAX_PARTS: usize = 4096;

/// Opens one image, or the parts of a split set in order: what a later part stores lies over what
/// an earlier one does, and what none stores is a hole.
///
/// # Errors
///
/// As the format has it, with file and offset; `Invalid` if the parts are not of one set.
fn open(request: &OpenRequest<'_>) -> Result<Parsed> {
    let inputs = &request.inputs;
    if inputs.len() > MAX_PARTS {
        let text = format!("the set has {} parts, expected at most {MAX_PARTS}", inputs.len());
        return Err(Error::invalid(text));
    }
    let mut first = None;
    let mut map = RunMap::default();
    for (number, input) in inputs.iter().enumerate() {
        let source = u16::try_from(number).expect("at most MAX_PARTS");
        let skipped = if first.is_some() { Place::Backing } else { Place::Hole };
        let parsed = map::parse(input, source, skipped).map_err(|e| e.in_file(input.path()))?;
        if parsed.has_crc {
            check_crc(input, request.watch).map_err(|e| e.in_file(input.path()))?;
        }
        let header = parsed.header;
        let place = |fault: SparseFault, at| Error::from(fault).at(at).in_file(input.path());
        match first {
            None => {
                first = Some(header);
                map = parsed.map;
            }
            Some(one) if one.block_len != header.block_len => {
                let (found, expected) = (header.block_len, one.block_len);
                return Err(place(SparseFault::PartBlockSize { found, expected }, 12));
            }
            Some(one) if one.block_count != header.block_count => {
                let (found, expected) = (header.block_count, one.block_count);
                return Err(place(SparseFault::PartBlockCount { found, expected }, 16));
            }
            Some(_) => map = parsed.map.over(&map),
        }
        if map.run_count() > MAX_RUNS {
            return Err(Error::from(SparseFault::Runs).in_file(input.path()));
        }
    }
    Ok(Volume::new(map, inputs.iter().cloned().map(Source::from).collect())?.into())
}
