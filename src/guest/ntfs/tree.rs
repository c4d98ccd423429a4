//! Names, attributes and extents of files.
//!
//! ```text
//! $STANDARD_INFORMATION: 0 8 created, 8 8 written, 16 8 changed, 24 8 read (100 ns since 1601), 32 4 flags (1 read-only)
//! $INDEX_ROOT: 8 4 bytes of a block, 16 header; block (INDX): 16 8 own cluster, 24 header
//! header: 0 4 entries, from the header, 4 4 their end, 12 1 flags
//! entry: 0 8 file, 8 2 length, 10 2 key length, 12 2 flags (2: the last), 16 key
//! key ($FILE_NAME): 0 8 folder, 64 1 length of the name, 65 1 its kind (2: of DOS alone), 66 name (UTF-16)
//! $REPARSE_POINT: 0 4 tag, 8 2 substitute, 10 2 its length, 12 2 name to print, 14 2 its length, 16 or 20 names
//! ```

use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::Bytes;
use crate::guest::file::Content;
use crate::guest::file::Entry;
use crate::guest::file::FileKind;
use crate::guest::file::Node;
use crate::guest::file::Piece;
use crate::guest::file::Time;
use crate::guest::ntfs::layout::Attribute;
use crate::guest::ntfs::layout::BITMAP;
use crate::guest::ntfs::layout::Body;
use crate::guest::ntfs::layout::DATA;
use crate::guest::ntfs::layout::INDEX;
use crate::guest::ntfs::layout::INDEX_ROOT;
use crate::guest::ntfs::layout::NAME;
use crate::guest::ntfs::layout::REPARSE;
use crate::guest::ntfs::layout::STANDARD;
use crate::guest::ntfs::layout::damaged;
use crate::guest::ntfs::layout::fix;
use crate::guest::ntfs::layout::number_of;
use crate::guest::ntfs::layout::utf8;
use crate::guest::ntfs::open::Ntfs;
use crate::guest::ntfs::open::Place;
use crate::guest::owner::FileId;

/// `$I30` in UTF-16: the index of names.
const NAMES: &[u8] = b"$\0I\x003\x000\0";

const COMPRESSED: u16 = 0x00ff;
const ENCRYPTED: u16 = 0x4000;

const TAG_LINK: u32 = 0xa000_000c;
const TAG_MOUNT: u32 = 0xa000_0003;
/// Files that Windows keeps compressed in a stream of their own.
const TAG_COMPRESSED: u32 = 0x8000_0017;

/// Records below this one are the file system's own; the root is among them.
const FIRST_FILE: u64 = 16;

/// Names that DOS alone knows.
const DOS: u8 = 2;

/// Seconds between 1601 and 1970.
const EPOCH: i64 = 11_644_473_600;

/// Most bytes of the index of a directory.
const MAX_INDEX_LEN: u64 = 512 << 20;

fn value(all: &[Attribute], kind: u32) -> Option<&[u8]> {
    all.iter().find_map(|it| match &it.body {
        Body::Here(value) if it.kind == kind && it.name.is_empty() => Some(&value[..]),
        _ => None,
    })
}

fn time(stored: u64) -> Time {
    let seconds = i64::try_from(stored / 10_000_000).expect("below 2^41");
    let nanoseconds = u32::try_from(stored % 10_000_000).expect("below 10^7").strict_mul(100);
    Time { seconds: seconds.strict_sub(EPOCH), nanoseconds }
}

/// Returns the attributes of a file.
pub(super) fn node(ntfs: &Ntfs<'_>, id: FileId) -> Outcome<Node> {
    let record = ntfs.record(id.0)?;
    let is_directory = record.is_directory;
    if record.base != id.0 {
        return Err(damaged("it is named, and its record belongs to another file"));
    }
    let all = ntfs.with_list(record)?;
    let Some(facts) = value(&all, STANDARD).filter(|facts| facts.len() >= 36) else {
        return Err(damaged("a file has no times"));
    };
    let target = link(&all)?;
    let data = ntfs.value_of(&all, DATA, &[], false);
    let size = match (&target, data) {
        (Some(target), _) => u64::try_from(target.len()).expect("at most 64 KiB"),
        (None, Ok(data)) if !is_directory => data.size,
        (None, Err(Failure::Error(error))) => return Err(Failure::Error(error)),
        _ => 0,
    };
    let is_name = |it: &&Attribute| {
        it.kind == NAME && matches!(&it.body, Body::Here(key) if key.get(65) != Some(&DOS))
    };
    let links = u64::try_from(all.iter().filter(is_name).count()).expect("at most some records");
    let is_read_only = field::u32_le(facts, 32) & 1 != 0;
    let kind = match target {
        Some(_) => FileKind::Symlink,
        None if is_directory => FileKind::Directory,
        None => FileKind::Regular,
    };
    let mode = match kind {
        FileKind::Symlink => 0o777,
        FileKind::Directory => 0o755,
        _ if is_read_only => 0o444,
        _ => 0o644,
    };
    let encrypted = all.iter().any(|it| it.kind == DATA && it.flags & ENCRYPTED != 0);
    Ok(Node {
        id,
        kind,
        mode,
        uid: 0,
        gid: 0,
        links: links.max(1),
        size,
        modified: time(field::u64_le(facts, 8)),
        accessed: Some(time(field::u64_le(facts, 24))),
        changed: Some(time(field::u64_le(facts, 16))),
        created: Some(time(field::u64_le(facts, 0))),
        encrypted,
    })
}

/// Returns what a link or a mounted folder points to.
fn link(all: &[Attribute]) -> Outcome<Option<Vec<u8>>> {
    let Some(point) = value(all, REPARSE).filter(|it| it.len() >= 16) else { return Ok(None) };
    let names: usize = match field::u32_le(point, 0) {
        TAG_LINK => 20,
        TAG_MOUNT => 16,
        _ => return Ok(None),
    };
    let name = |at| -> Option<Vec<u8>> {
        let start = names.strict_add(field::u16_le(point, at).into());
        let len = usize::from(field::u16_le(point, at.strict_add(2)));
        Some(utf8(point.get(start..start.strict_add(len))?))
    };
    let shown = name(12).filter(|shown| !shown.is_empty()).or_else(|| name(8));
    shown.map(Some).ok_or_else(|| damaged("a link is impossible"))
}

/// Returns the names in a directory.
pub(super) fn entries(ntfs: &Ntfs<'_>, folder: FileId) -> Outcome<Vec<Entry>> {
    let record = ntfs.record(folder.0)?;
    if !record.is_directory {
        return Err(Problem::Request.text("it is not a directory"));
    }
    let all = ntfs.with_list(record)?;
    let root = ntfs.value_of(&all, INDEX_ROOT, NAMES, false)?;
    let root = ntfs.read(&root, 0, root.size)?;
    if root.len() < 32 {
        return Err(damaged("the index of a directory is impossible"));
    }
    let mut found = Vec::new();
    names(&root[16..], &mut found)?;
    if !all.iter().any(|it| it.kind == INDEX && it.name == NAMES) {
        return Ok(found);
    }
    let block_len = u64::from(field::u32_le(&root, 8));
    let is_sound = block_len.is_power_of_two() && (512..=64 << 10).contains(&block_len);
    let index = ntfs.value_of(&all, INDEX, NAMES, false)?;
    let marks = ntfs.value_of(&all, BITMAP, NAMES, false)?;
    if !is_sound || index.size > MAX_INDEX_LEN || marks.size > MAX_INDEX_LEN / 4096 {
        return Err(damaged("the index of a directory is impossible"));
    }
    let marks = ntfs.read(&marks, 0, marks.size)?;
    let unit = if block_len < ntfs.boot.cluster_len { 512 } else { ntfs.boot.cluster_len };
    for number in 0..index.size.strict_div(block_len) {
        let place = usize::try_from(number).expect("limited");
        if marks.get(place / 8).is_none_or(|byte| byte >> (place % 8) & 1 == 0) {
            continue;
        }
        let at = number.strict_mul(block_len);
        let mut block = ntfs.read(&index, at, block_len)?;
        fix(&mut block, *b"INDX")?;
        if field::u64_le(&block, 16) != at.strict_div(unit) {
            return Err(damaged("a block of a directory stands at a wrong place"));
        }
        names(&block[24..], &mut found)?;
    }
    Ok(found)
}

/// Takes the names behind the header of an index.
fn names(index: &[u8], found: &mut Vec<Entry>) -> Outcome<()> {
    let broken = || damaged("an entry of a directory is impossible");
    let at = |at| usize::try_from(field::u32_le(index, at)).unwrap_or(usize::MAX);
    let mut rest = index.get(at(0)..at(4)).ok_or_else(broken)?;
    loop {
        if rest.len() < 16 {
            return Err(broken());
        }
        let (len, key_len) = (usize::from(field::u16_le(rest, 8)), field::u16_le(rest, 10));
        if field::u16_le(rest, 12) & 2 != 0 {
            return Ok(());
        }
        let key = rest.get(16..usize::from(key_len).strict_add(16)).filter(|it| it.len() >= 66);
        let key = key.ok_or_else(broken)?;
        if len < key.len().strict_add(16) || len > rest.len() {
            return Err(broken());
        }
        let end = usize::from(key[64]).strict_mul(2).strict_add(66);
        let name = key.get(66..end).ok_or_else(broken)?;
        let number = number_of(field::u64_le(rest, 0));
        // The root names the file system's own files, and itself.
        if key[65] != DOS && number >= FIRST_FILE {
            let name = utf8(name);
            if name.is_empty() || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
                return Err(damaged("a name holds a slash or a NUL, or nothing"));
            }
            found.push(Entry { name, id: FileId(number) });
        }
        rest = &rest[len..];
    }
}

/// Returns where the content of a file or of a link lies.
pub(super) fn content(ntfs: &Ntfs<'_>, id: FileId) -> Outcome<Content> {
    let record = ntfs.record(id.0)?;
    let is_directory = record.is_directory;
    let all = ntfs.with_list(record)?;
    let here = |bytes: Vec<u8>| {
        let size = u64::try_from(bytes.len()).expect("at most 64 KiB");
        Content { size, pieces: vec![Piece { start: 0, len: size, bytes: Bytes::Here(bytes) }] }
    };
    if let Some(target) = link(&all)? {
        return Ok(here(target));
    }
    if is_directory {
        return Err(Problem::Request.text("it is not a regular file"));
    }
    let tag = value(&all, REPARSE).filter(|it| it.len() >= 4).map(|it| field::u32_le(it, 0));
    let data = ntfs.value_of(&all, DATA, &[], false)?;
    if data.flags & COMPRESSED != 0 || tag == Some(TAG_COMPRESSED) {
        return Err(Problem::Unsupported.text("it is compressed"));
    }
    if data.flags & ENCRYPTED != 0 {
        return Err(Problem::Unsupported.text("it is encrypted"));
    }
    let runs = match data.place {
        Place::Here(bytes) => return Ok(here(bytes)),
        Place::Runs(runs) => runs,
    };
    let mut pieces: Vec<Piece> = Vec::new();
    for (start, place, len) in runs {
        let len = len.min(data.written.saturating_sub(start));
        let Some(at) = place.filter(|_| len > 0) else { continue };
        match pieces.last_mut() {
            Some(Piece { start: first, len: have, bytes: Bytes::At(place) })
                if first.strict_add(*have) == start && place.strict_add(*have) == at =>
            {
                *have = have.strict_add(len);
            }
            _ => pieces.push(Piece { start, len, bytes: Bytes::At(at) }),
        }
    }
    Ok(Content { size: data.size, pieces })
}
