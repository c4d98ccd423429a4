//! Names, attributes and extents of files.

use crate::field;
use crate::guest::btrfs::extent::EXTENT_DATA;
use crate::guest::btrfs::extent::Extent;
use crate::guest::btrfs::extent::MAX_PACKED_LEN;
use crate::guest::btrfs::extent::Packing;
use crate::guest::btrfs::extent::Stored;
use crate::guest::btrfs::layout::Key;
use crate::guest::btrfs::layout::damaged;
use crate::guest::btrfs::layout::unsupported;
use crate::guest::btrfs::lzo;
use crate::guest::btrfs::open::Btrfs;
use crate::guest::btrfs::open::Subvolume;
use crate::guest::btrfs::open::file_id;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::Attribute;
use crate::guest::file::Bytes;
use crate::guest::file::Content;
use crate::guest::file::Entry;
use crate::guest::file::FileKind;
use crate::guest::file::Node;
use crate::guest::file::Packed;
use crate::guest::file::Piece;
use crate::guest::file::Time;
use crate::guest::owner::FileId;

/// Kinds of items.
const INODE_ITEM: u8 = 1;
const XATTR_ITEM: u8 = 24;
const DIR_INDEX: u8 = 96;
const ROOT_ITEM: u8 = 132;
const ROOT_REF: u8 = 156;

/// Bytes of an inode, and of a name's head.
const INODE_LEN: usize = 160;
const NAME_HEAD_LEN: usize = 30;

/// Inode of what a snapshot shows where its origin has a subvolume: an empty directory that is stored nowhere.
const EMPTY: u64 = 2;

/// Most pieces of a file: 4 Mi of them are 200 MiB.
const MAX_PIECES: usize = 4 << 20;

/// Most names of a directory, and most bytes of the attributes of a file.
const MAX_ENTRIES: usize = 16 << 20;
const MAX_ATTRIBUTES_LEN: usize = 16 << 20;

/// Returns the root directory of what a mount shows.
pub(super) fn root(btrfs: &Btrfs<'_>) -> FileId {
    // It was looked for at the start; its folder has a small number, or none of its files is found.
    btrfs.subvolumes.first().map_or(FileId(0), |it| FileId(it.folder))
}

/// Returns the attributes of a file.
pub(super) fn node(btrfs: &Btrfs<'_>, id: FileId) -> Outcome<Node> {
    let (_, subvolume, inode) = btrfs.parts(id)?;
    let item = if inode == EMPTY { None } else { inode_item(btrfs, subvolume, inode)? };
    let Some(item) = item else {
        if inode != EMPTY {
            return Err(damaged("no inode has this number"));
        }
        return Ok(empty(id));
    };
    let device = field::u64_le(&item, 56);
    let number = |it: u64| u32::try_from(it).unwrap_or(u32::MAX);
    let device = (number(device >> 20), number(device & 0xf_ffff));
    let mode = field::u32_le(&item, 52);
    let kind = FileKind::of_mode(mode, device).ok_or_else(|| damaged("its kind is impossible"))?;
    let is_folder = kind == FileKind::Directory;
    Ok(Node {
        id,
        kind,
        mode: mode & 0o7777,
        uid: field::u32_le(&item, 44),
        gid: field::u32_le(&item, 48),
        links: field::u32_le(&item, 40).into(),
        size: if is_folder || matches!(kind, FileKind::Regular | FileKind::Symlink) {
            field::u64_le(&item, 16)
        } else {
            0
        },
        modified: time(&item, 136)?,
        accessed: Some(time(&item, 112)?),
        changed: Some(time(&item, 124)?),
        created: Some(time(&item, 148)?),
        encrypted: false,
    })
}

fn empty(id: FileId) -> Node {
    Node {
        id,
        kind: FileKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        links: 1,
        size: 0,
        modified: Time::default(),
        accessed: None,
        changed: None,
        created: None,
        encrypted: false,
    }
}

fn inode_item(btrfs: &Btrfs<'_>, of: &Subvolume, inode: u64) -> Outcome<Option<Vec<u8>>> {
    let item = btrfs.item(of.root, Key::new(inode, INODE_ITEM, 0))?;
    match item {
        Some(item) if item.len() < INODE_LEN => Err(damaged("its inode is too short")),
        item => Ok(item),
    }
}

fn time(item: &[u8], at: usize) -> Outcome<Time> {
    let nanoseconds = field::u32_le(item, at.strict_add(8));
    if nanoseconds >= 1_000_000_000 {
        return Err(damaged("a time has over 999,999,999 nanoseconds"));
    }
    Ok(Time { seconds: field::u64_le(item, at).cast_signed(), nanoseconds })
}

/// A name and what stands behind it: in a directory, or of an attribute.
struct Named<'a> {
    target: Key,
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Named<'a> {
    /// Reads the first of an item's names; returns what is behind it, too.
    fn parse(item: &'a [u8]) -> Outcome<(Self, &'a [u8])> {
        let parsed = || {
            let head = item.get(..NAME_HEAD_LEN)?;
            let (value, name) = (field::u16_le(head, 25).into(), field::u16_le(head, 27).into());
            let (name, rest) = item[NAME_HEAD_LEN..].split_at_checked(name)?;
            let (value, rest) = rest.split_at_checked(value)?;
            Some((Self { target: Key::parse(head), name, value }, rest))
        };
        parsed().ok_or_else(|| damaged("a name is longer than its item"))
    }
}

/// Returns the names in a directory.
pub(super) fn entries(btrfs: &Btrfs<'_>, folder: FileId) -> Outcome<Vec<Entry>> {
    let (place, subvolume, inode) = btrfs.parts(folder)?;
    if node(btrfs, folder)?.kind != FileKind::Directory {
        return Err(Problem::Request.text("it is not a directory"));
    }
    let mut found: Vec<(Vec<u8>, Key)> = Vec::new();
    btrfs.walk(subvolume.root, Key::new(inode, DIR_INDEX, 0), &mut |key, data| {
        if (key.object, key.kind) != (inode, DIR_INDEX) {
            return Ok(false);
        }
        let (named, _) = Named::parse(data)?;
        if named.name.is_empty() || named.name.iter().any(|it| matches!(it, 0 | b'/')) {
            return Err(damaged("a name holds a slash or a NUL, or nothing"));
        }
        if found.len() >= MAX_ENTRIES {
            return Err(Problem::Limit.text("a directory has over 16,777,216 names"));
        }
        found.push((named.name.to_vec(), named.target));
        Ok(true)
    })?;
    let mut entries = Vec::with_capacity(found.len());
    for (name, target) in found {
        let id = match target.kind {
            INODE_ITEM => file_id(place, target.object)?,
            ROOT_ITEM => subvolume_in(btrfs, (place, subvolume), (inode, &name), target.object)?,
            _ => return Err(damaged("a name leads to what is not a file")),
        };
        entries.push(Entry { name, id });
    }
    Ok(entries)
}

/// Returns the root directory of a subvolume that a name leads to. It has one parent; where that was copied into a
/// snapshot, the name leads to an empty directory.
fn subvolume_in(
    btrfs: &Btrfs<'_>,
    (place, parent): (usize, &Subvolume),
    (folder, name): (u64, &[u8]),
    id: u64,
) -> Outcome<FileId> {
    let known = btrfs.item(btrfs.sb.roots, Key::new(parent.id, ROOT_REF, id))?;
    let is_there = known.is_some_and(|item| {
        item.get(18..).is_some_and(|it| it == name) && field::u64_le(&item, 0) == folder
    });
    let child = btrfs.subvolumes.iter().position(|it| it.id == id);
    match child.filter(|_| is_there) {
        Some(child) => file_id(child, btrfs.subvolumes[child].folder),
        None => file_id(place, EMPTY),
    }
}

/// Returns where the content of a file or of a link lies.
pub(super) fn content(btrfs: &Btrfs<'_>, id: FileId) -> Outcome<Content> {
    let (_, subvolume, inode) = btrfs.parts(id)?;
    let Node { kind, size, .. } = node(btrfs, id)?;
    if !matches!(kind, FileKind::Regular | FileKind::Symlink) {
        return Err(Problem::Request.text("it is not a regular file"));
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let mut end = 0_u64;
    btrfs.walk(subvolume.root, Key::new(inode, EXTENT_DATA, 0), &mut |key, data| {
        if (key.object, key.kind) != (inode, EXTENT_DATA) {
            return Ok(false);
        }
        let extent = Extent::parse(data)?;
        let Some((mut bytes, len)) = bytes(btrfs, &extent)? else { return Ok(true) };
        let start = key.offset;
        if start < end {
            return Err(damaged("two extents of it overlap"));
        }
        // A sector is filled behind the end.
        let len = len.min(size.saturating_sub(start));
        if len == 0 {
            return Ok(true);
        }
        end = start.strict_add(len);
        if let Bytes::Here(here) = &mut bytes {
            // Old versions of `mkfs.btrfs` put a NUL behind what a link points to.
            here.truncate(usize::try_from(len).expect("less than a node"));
        }
        if pieces.len() >= MAX_PIECES {
            return Err(Problem::Limit.text("a file has over 4,194,304 extents"));
        }
        match (pieces.last_mut(), &bytes) {
            (Some(Piece { start: first, len: have, bytes: Bytes::At(place) }), Bytes::At(at))
                if first.strict_add(*have) == start && place.strict_add(*have) == *at =>
            {
                *have = have.strict_add(len);
            }
            _ => pieces.push(Piece { start, len, bytes }),
        }
        Ok(true)
    })?;
    Ok(Content { size, pieces })
}

/// Returns where the bytes of an extent are, and how many it has for the file; `None` if they are zeros.
fn bytes(btrfs: &Btrfs<'_>, extent: &Extent<'_>) -> Outcome<Option<(Bytes, u64)>> {
    let found = match (&extent.stored, extent.packing) {
        (Stored::Hole | Stored::At { written: false, .. }, _) => return Ok(None),
        (Stored::Here(bytes), Packing::None) => {
            let len = u64::try_from(bytes.len()).expect("less than a node");
            (Bytes::Here(bytes.to_vec()), len)
        }
        (Stored::Here(bytes), packing) => {
            let plain = unpack(btrfs, packing, bytes, extent.plain_len)?;
            (Bytes::Here(plain), extent.plain_len)
        }
        (Stored::At { place, len, skip, count, .. }, packing) => {
            let copies = btrfs.copies(*place, *len)?;
            let at = copies.first().map(|copy| copy.start);
            let at = at.ok_or_else(|| damaged("a chunk has no copy"))?;
            let bytes = match packing {
                // Both lie inside the extent.
                Packing::None => Bytes::At(at.strict_add(*skip)),
                _ => Bytes::Packed(Packed {
                    at,
                    len: *len,
                    plain_len: extent.plain_len,
                    skip: *skip,
                    how: code(packing),
                }),
            };
            (bytes, *count)
        }
    };
    Ok(Some(found))
}

fn code(packing: Packing) -> u8 {
    match packing {
        Packing::None => 0,
        Packing::Zlib => 1,
        Packing::Lzo => 2,
        Packing::Zstd => 3,
    }
}

/// Returns the bytes of an extent that is packed.
pub(super) fn unpacked(btrfs: &Btrfs<'_>, packed: &Packed) -> Outcome<Vec<u8>> {
    let packing = match packed.how {
        1 => Packing::Zlib,
        2 => Packing::Lzo,
        3 => Packing::Zstd,
        _ => return Err(unsupported("it is compressed in a way that is not known")),
    };
    if packed.len > MAX_PACKED_LEN || packed.plain_len > MAX_PACKED_LEN {
        return Err(damaged("over 128 KiB are packed together"));
    }
    let bytes = btrfs.slice.bytes(packed.at, packed.len)?;
    unpack(btrfs, packing, &bytes, packed.plain_len)
}

fn unpack(btrfs: &Btrfs<'_>, packing: Packing, bytes: &[u8], len: u64) -> Outcome<Vec<u8>> {
    use crate::compress::Codec;
    use crate::compress::Unpacker;
    // The last sector of a file may be packed without what lies behind the end: what is missing is zeros.
    let sector = usize::try_from(btrfs.sb.sector_len).expect("at most 64 KiB");
    let len = usize::try_from(len).expect("at most 128 KiB");
    let room = len.next_multiple_of(sector);
    let mut plain = vec![0; room];
    let codec = match packing {
        Packing::Zlib => Codec::Zlib,
        Packing::Zstd => Codec::Zstd,
        Packing::None | Packing::Lzo => {
            let found = lzo::segments(bytes, sector, room);
            let mut found = found.ok_or_else(|| damaged("its compressed bytes are damaged"))?;
            found.resize(len, 0);
            return Ok(found);
        }
    };
    let found = Unpacker::new().unpack_up_to(codec, bytes, &mut plain);
    if found.is_err() {
        return Err(damaged("its compressed bytes are damaged"));
    }
    plain.truncate(len);
    Ok(plain)
}

/// Returns the extended attributes of a file.
pub(super) fn attributes(btrfs: &Btrfs<'_>, id: FileId) -> Outcome<Vec<Attribute>> {
    let (_, subvolume, inode) = btrfs.parts(id)?;
    let mut found = Vec::new();
    let mut len = 0_usize;
    btrfs.walk(subvolume.root, Key::new(inode, XATTR_ITEM, 0), &mut |key, data| {
        if (key.object, key.kind) != (inode, XATTR_ITEM) {
            return Ok(false);
        }
        len = len.strict_add(data.len());
        if len > MAX_ATTRIBUTES_LEN {
            return Err(Problem::Limit.text("its attributes are over 16 MiB long"));
        }
        let mut rest = data;
        while !rest.is_empty() {
            let (named, behind) = Named::parse(rest)?;
            found.push(Attribute { name: named.name.to_vec(), value: named.value.to_vec() });
            rest = behind;
        }
        Ok(true)
    })?;
    Ok(found)
}
