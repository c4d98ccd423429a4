//! A disk in a tar archive: one file of it, stored with its holes or without.
//!
//! What the file is, its bytes say, whatever way the archive stores them. See
//! `docs/formats/tar-sparse.md`.

use std::sync::Arc;

use crate::error::Result;
use crate::format::archive;
use crate::format::archive::is_archive;
use crate::format::archive::is_ova;
use crate::format::archive::open_part;
use crate::format::ova::Package;
use crate::format::parsed::Parsed;
use crate::format::reader::Content;
use crate::format::reader::Format;
use crate::format::reader::OpenRequest;
use crate::io::Input;
use crate::tar::members;
use crate::work::Unwatched;

/// The row of this format.
pub static FORMAT: Format = Format {
    name: "tar",
    summary: "a disk in a tar archive, its holes kept if the archive stores them as such",
    probe: Some(|bytes| Ok(is_archive(bytes)? && !is_ova(bytes)?)),
    open,
    content: Content::Files { disks: Some(disks) },
};

/// Opens the file that the request names, or the only one.
///
/// A disk that an OVF descriptor in the archive tells of is opened as that says, its digest checked.
///
/// # Errors
///
/// As [`members`]; `Invalid` if there is no such file, or none is named and there are many; as the
/// file's own format has it.
fn open(request: &OpenRequest<'_>) -> Result<Parsed> {
    let input = request.single("tar")?;
    let members = members(input)?;
    if let Some(package) = Package::find(input, &members, request.watch)?
        && request.member.as_deref().is_none_or(|name| package.has(name))
    {
        return package.open(request);
    }
    let member = archive::choose(input, &members, request.member.as_deref())?;
    open_part(Arc::new(member.open(input)?), request).map(|opened| opened.1)
}

/// Lists the disks that an OVF descriptor in the archive tells of.
fn disks(input: &Arc<Input>) -> Result<Vec<String>> {
    let members = members(input)?;
    Ok(match Package::find(input, &members, &Unwatched)? {
        Some(package) => package.disk_names(),
        None => Vec::new(),
    })
}
