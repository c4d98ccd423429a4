//! Where the content of files and links lies.

use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::Bytes;
use crate::guest::file::Content;
use crate::guest::file::FileKind;
use crate::guest::file::Piece;
use crate::guest::owner::FileId;
use crate::guest::xfs::inode::Fork;
use crate::guest::xfs::inode::Format;
use crate::guest::xfs::inode::Inode;
use crate::guest::xfs::layout::damaged;
use crate::guest::xfs::mapping;
use crate::guest::xfs::open::Stamp;
use crate::guest::xfs::open::Xfs;

/// Most bytes that a symbolic link points to with.
const MAX_TARGET_LEN: u64 = 1024;

/// Bytes in front of the target in each block of a link, in version 5: XSLM, offset, length, crc, UUID, inode,
/// place, lsn.
const LINK_HEADER_LEN: u64 = 56;

/// Returns where the content of a file or of a link lies.
pub(super) fn content(xfs: &Xfs<'_>, id: FileId) -> Outcome<Content> {
    let inode = xfs.inode(id)?;
    match inode.kind() {
        Some(FileKind::Regular) => file(xfs, &inode),
        Some(FileKind::Symlink) => link(xfs, &inode),
        _ => Err(Problem::Request.text("it is not a regular file")),
    }
}

fn file(xfs: &Xfs<'_>, inode: &Inode) -> Outcome<Content> {
    let size = inode.size;
    let mut pieces: Vec<Piece> = Vec::new();
    for (logical, bytes) in mapping::extents(xfs, inode, Fork::Data)? {
        // A file has room for more blocks than its size needs.
        let start = logical.saturating_mul(xfs.sb.block_len);
        let len = bytes.end.strict_sub(bytes.start).min(size.saturating_sub(start));
        match pieces.last_mut() {
            _ if len == 0 => {}
            Some(Piece { start: first, len: have, bytes: Bytes::At(place) })
                if first.strict_add(*have) == start && place.strict_add(*have) == bytes.start =>
            {
                *have = have.strict_add(len);
            }
            _ => pieces.push(Piece { start, len, bytes: Bytes::At(bytes.start) }),
        }
    }
    Ok(Content { size, pieces })
}

fn link(xfs: &Xfs<'_>, inode: &Inode) -> Outcome<Content> {
    let size = inode.size;
    if size > MAX_TARGET_LEN {
        return Err(damaged("a symbolic link is over 1,024 bytes long"));
    }
    if inode.format(Fork::Data).0 == Format::Local {
        let len = usize::try_from(size).expect("at most 1,024");
        let Some(target) = inode.fork(Fork::Data).get(..len) else {
            return Err(damaged("a symbolic link is longer than its inode"));
        };
        let piece = Piece { start: 0, len: size, bytes: Bytes::Here(target.to_vec()) };
        return Ok(Content { size, pieces: vec![piece] });
    }
    let header = if xfs.sb.is_v5 { LINK_HEADER_LEN } else { 0 };
    let mut pieces = Vec::new();
    let mut start = 0_u64;
    for (_, bytes) in mapping::extents(xfs, inode, Fork::Data)? {
        // One buffer with one header may be several blocks long.
        let len = bytes.end.strict_sub(bytes.start).saturating_sub(header);
        let len = len.min(size.saturating_sub(start));
        if xfs.sb.is_v5 && len > 0 {
            let stamp = Stamp { sum: 12, place: 40, uuid: 16, owner: (32, 8, inode.number) };
            let whole =
                xfs.slice.bytes(bytes.start, bytes.end.strict_sub(bytes.start).min(64 << 10))?;
            if &whole[..4] != b"XSLM" {
                return Err(damaged("a block of a symbolic link is impossible"));
            }
            xfs.check(&whole, bytes.start, stamp)?;
        }
        if len > 0 {
            pieces.push(Piece { start, len, bytes: Bytes::At(bytes.start.strict_add(header)) });
        }
        start = start.strict_add(len);
    }
    if start < size {
        return Err(damaged("a symbolic link is longer than its blocks"));
    }
    Ok(Content { size, pieces })
}
