//! NTFS, version 3. Compressed and encrypted files are listed and cannot be read.

mod bitmap;
mod layout;
mod open;
mod owners;
mod tree;

use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::file::Attribute;
use crate::guest::file::Bytes;
use crate::guest::file::Caution;
use crate::guest::file::FileSystem;
use crate::guest::ntfs::open::Ntfs;
use crate::guest::owner::FileId;
use crate::guest::slice::Slice;

pub(super) use open::is_one;

const ROOT: FileId = FileId(5);

/// Opens it.
pub(super) fn open(slice: Slice<'_>) -> Outcome<Box<dyn FileSystem + '_>> {
    let mut ntfs = open::open(slice)?;
    ntfs.about.free_bytes = bitmap::free(&ntfs)?.bytes();
    match is_hibernated(&ntfs) {
        Ok(false) => {}
        Ok(true) => ntfs.about.cautions.push(Caution::Hibernated),
        Err(Failure::Error(error)) => return Err(Failure::Error(error)),
        Err(Failure::Fault(_)) => {
            ntfs.about
                .cautions
                .push(Caution::Unreadable("whether it is hibernated cannot be seen"));
        }
    }
    Ok(Box::new(ntfs))
}

/// Tells whether a system that sleeps left its memory in the root folder.
fn is_hibernated(ntfs: &Ntfs<'_>) -> Outcome<bool> {
    let names = tree::entries(ntfs, ROOT)?;
    let Some(file) = names.iter().find(|it| it.name.eq_ignore_ascii_case(b"hiberfil.sys")) else {
        return Ok(false);
    };
    let content = tree::content(ntfs, file.id)?;
    let mut magic = [0; 4];
    match content.pieces.first() {
        Some(piece) if piece.start == 0 && piece.len >= 4 => match &piece.bytes {
            Bytes::At(offset) => ntfs.slice.read(*offset, &mut magic)?,
            Bytes::Here(bytes) => magic.copy_from_slice(&bytes[..4]),
            Bytes::Packed(_) => {}
        },
        _ => {}
    }
    Ok(magic.eq_ignore_ascii_case(b"hibr"))
}

fn root(_: &Ntfs<'_>) -> FileId {
    ROOT
}

/// Its streams are not attributes.
#[allow(clippy::unnecessary_wraps, reason = "as it is in other file systems")]
fn attributes(_: &Ntfs<'_>, _: FileId) -> Outcome<Vec<Attribute>> {
    Ok(Vec::new())
}

file_system!(
    Ntfs, root: root, claim: owners::claim, free: bitmap::free, node: tree::node,
    entries: tree::entries, content: tree::content, attributes: attributes
);

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
