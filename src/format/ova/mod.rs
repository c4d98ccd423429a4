//! OVA archives: a tar of a descriptor, digests of all files, and the disks.
//!
//! See `docs/formats/ova.md`.

pub mod descriptor;
mod manifest;
mod package;
mod write;

use std::sync::Arc;

use crate::compress::ZLIB_LEVELS;
use crate::error::Error;
use crate::error::Result;
use crate::format::archive::is_ova;
use crate::format::parsed::Parsed;
use crate::format::reader::Content;
use crate::format::reader::Format;
use crate::format::reader::OpenRequest;
use crate::format::writer::WriteFn;
use crate::format::writer::Writer;
use crate::io::Input;
use crate::tar::Member;
use crate::tar::members;
use crate::work::Unwatched;
use crate::work::Watch;

pub(crate) use package::Package;
pub use write::write_all;

/// The row of this format.
pub static FORMAT: Format = Format {
    name: "ova",
    summary: "OVF archive: a machine's disks and their description",
    probe: Some(is_ova),
    open,
    content: Content::Files { disks: Some(disks) },
};

/// The way to write it.
pub static WRITER: Writer = Writer {
    name: "ova",
    summary: "OVF archive, with streamOptimized disks, as VM Import takes it",
    format: &FORMAT,
    // Whole sectors.
    size_grain: 512,
    write: WriteFn::Many(write_all),
    levels: Some(ZLIB_LEVELS),
    suffixes: &["ova"],
};

/// Opens the disk that the request names, or the only one, and checks its digest first.
///
/// # Errors
///
/// As the archive, the descriptor and the disk's own format have it; `Mismatch` if a file does not have
/// the digest that the archive says.
fn open(request: &OpenRequest<'_>) -> Result<Parsed> {
    let input = request.single("ova")?;
    let members = members(input)?;
    package(input, &members, request.watch)?.open(request)
}

/// Lists the disks of an archive, in the order of its descriptor.
fn disks(input: &Arc<Input>) -> Result<Vec<String>> {
    let members = members(input)?;
    Ok(package(input, &members, &Unwatched)?.disk_names())
}

fn package<'a>(
    input: &'a Arc<Input>,
    members: &'a [Member],
    watch: &dyn Watch,
) -> Result<Package<'a>> {
    Package::find(input, members, watch)?
        .ok_or_else(|| Error::corrupt("the archive has several .ovf files or none, expected one"))
}
