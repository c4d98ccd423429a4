//! VHDX images, as Hyper-V has them and EC2's VM Import takes them.
//!
//! The format tells all three states apart, block by block. See `docs/formats/vhdx.md`.

pub mod layout;
mod map;
mod write;

use std::sync::Arc;

use crate::error::Result;
use crate::format::Format;
use crate::format::OpenRequest;
use crate::format::probe;
use crate::volume::Volume;

pub use write::write;

/// The row of this format.
pub const FORMAT: Format = Format {
    name: "vhdx",
    variant_of: None,
    suffixes: &["vhdx"],
    summary: "VHDX image of Hyper-V; written as a dynamic one",
    // Whole sectors.
    size_grain: 512,
    probe: |source| probe::starts_with(source, &layout::SIGNATURE),
    open,
    in_order: None,
    disks: None,
    write: Some(write),
    write_all: None,
    levels: None,
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
