//! VHDX images, as Hyper-V has them and EC2's VM Import takes them.
//!
//! The format tells all three states apart, block by block. See `docs/formats/vhdx.md`.

pub mod layout;
mod map;
mod write;

use std::sync::Arc;

use crate::error::Result;
use crate::format::magic::starts_with;
use crate::format::parsed::Parsed;
use crate::format::reader::Content;
use crate::format::reader::Format;
use crate::format::reader::OpenRequest;
use crate::format::writer::WriteFn;
use crate::format::writer::Writer;
use crate::volume::Volume;

pub use write::write;

/// The row of this format.
pub static FORMAT: Format = Format {
    name: "vhdx",
    summary: "VHDX image of Hyper-V: fixed or dynamic",
    probe: Some(|source| starts_with(source, &layout::SIGNATURE)),
    open,
    content: Content::Mapped,
};

/// The way to write dynamic images.
pub static WRITER: Writer = Writer {
    name: "vhdx",
    summary: "VHDX image of Hyper-V; written as a dynamic one",
    format: &FORMAT,
    size_grain: layout::SIZE_GRAIN,
    write: WriteFn::One(write),
    levels: None,
    suffixes: &["vhdx"],
};

/// Opens one fixed or dynamic image whose log is empty.
///
/// # Errors
///
/// As the format has it, with file and offset; `Unsupported` for an image whose log must be
/// replayed, and for a differencing one.
fn open(request: &OpenRequest<'_>) -> Result<Parsed> {
    let input = request.single("vhdx")?;
    let (map, disk) = map::parse(input)?;
    let volume = Volume::new(map, vec![Arc::clone(input).into()])?;
    Ok(Parsed { sector_len: Some(disk.sector_len), ..volume.into() })
}
