//! VHDX images, as Hyper-V has them and EC2's VM Import takes them.
//!
//! The format tells all three states apart, block by block. See `docs/formats/vhdx.md`.

pub mod layout;
mod map;
mod write;

use std::sync::Arc;

use crate::error::Result;
use crate::format::probe;
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
    probe: Some(|source| probe::starts_with(source, &layout::SIGNATURE)),
    open,
    content: Content::Mapped,
};

/// The way to write dynamic images.
pub static WRITER: Writer = Writer {
    name: "vhdx",
    summary: "VHDX image of Hyper-V; written as a dynamic one",
    format: &FORMAT,
    // Whole sectors.
    size_grain: 512,
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
fn open(request: &OpenRequest<'_>) -> Result<Volume> {
    let input = request.single("vhdx")?;
    Volume::new(map::parse(input)?, vec![Arc::clone(input).into()])
}
