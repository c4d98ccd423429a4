//! Opening: superblock, map of chunks, trees and subvolumes; and how nodes are read.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::field;
use crate::guest::btrfs::layout::Chunk;
use crate::guest::btrfs::layout::FLAG_ERROR;
use crate::guest::btrfs::layout::KNOWN_RO_COMPAT;
use crate::guest::btrfs::layout::Key;
use crate::guest::btrfs::layout::MAGIC;
use crate::guest::btrfs::layout::MAGIC_AT;
use crate::guest::btrfs::layout::Root;
use crate::guest::btrfs::layout::SUPERBLOCK_AT;
use crate::guest::btrfs::layout::SUPERBLOCK_LEN;
use crate::guest::btrfs::layout::Superblock;
use crate::guest::btrfs::layout::TreeNode;
use crate::guest::btrfs::layout::damaged;
use crate::guest::btrfs::layout::unsupported;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::About;
use crate::guest::file::Caution;
use crate::guest::layout::guid_bytes;
use crate::guest::owner::FileId;
use crate::guest::slice::Slice;

/// Kinds of items in the trees of chunks and of roots.
const CHUNK_ITEM: u8 = 228;
const ROOT_ITEM: u8 = 132;
const DIR_ITEM: u8 = 84;

/// The folder of the tree of roots that names the subvolume to be mounted.
const ROOTS_FOLDER: u64 = 6;

/// The top of all subvolumes, and the numbers that others may have.
pub(super) const TOP: u64 = 5;
const SUBVOLUMES: Range<u64> = 256..u64::MAX - 255;

/// Where a tree's number of itself, place and level stand in its item, and how long that is at least.
const ROOT_ITEM_LEN: usize = 239;

/// Most chunks: 1 Mi of them are 1 PiB as they are usually made.
const MAX_CHUNKS: usize = 1 << 20;

/// Bits of a file's number; the others say which subvolume it is in.
const INODE_BITS: u32 = 48;

/// Most subvolumes: more have no number.
const MAX_SUBVOLUMES: usize = 1 << 16;

/// Most bytes of nodes that are kept.
const CACHE_LEN: u64 = 8 << 20;

/// Tells whether a superblock of it is there.
pub(in crate::guest) fn is_one(slice: &Slice<'_>) -> Outcome<bool> {
    let has_room = slice.len() >= SUPERBLOCK_AT.strict_add(SUPERBLOCK_LEN);
    Ok(has_room && slice.bytes(MAGIC_AT, 8)? == MAGIC)
}

/// A tree of files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subvolume {
    pub(super) id: u64,
    pub(super) root: Root,
    /// Inode of its root directory.
    pub(super) folder: u64,
}

/// A file system that was opened.
#[derive(Debug)]
pub(super) struct Btrfs<'a> {
    pub(super) slice: Slice<'a>,
    pub(super) sb: Superblock,
    /// Ascending, none overlaps another.
    pub(super) chunks: Vec<Chunk>,
    /// All trees but those of chunks and roots, by their numbers.
    pub(super) trees: Vec<(u64, Root)>,
    /// The one that a mount shows comes first, then the others by their numbers.
    pub(super) subvolumes: Vec<Subvolume>,
    /// Whether a subvolume that was deleted is still being removed.
    pub(super) has_dying: bool,
    pub(super) about: About,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    nodes: BTreeMap<u64, Arc<TreeNode>>,
    order: VecDeque<u64>,
}

/// What is done with an item; `false` ends the walk.
pub(super) type OnItem<'f> = &'f mut dyn FnMut(Key, &[u8]) -> Outcome<bool>;

/// Opens it.
pub(super) fn open(slice: Slice<'_>) -> Outcome<Btrfs<'_>> {
    let sb = Superblock::parse(&slice.bytes(SUPERBLOCK_AT, SUPERBLOCK_LEN)?)?;
    if sb.size > slice.len() {
        return Err(damaged("it is longer than the partition that it is in"));
    }
    let about = about(&sb);
    let mut btrfs = Btrfs {
        chunks: ordered(sb.system_chunks.clone())?,
        slice,
        sb,
        trees: Vec::new(),
        subvolumes: Vec::new(),
        has_dying: false,
        about,
        cache: Mutex::default(),
    };
    btrfs.chunks = all_chunks(&btrfs)?;
    let (trees, subvolumes) = trees(&btrfs)?;
    btrfs.has_dying = subvolumes.has_dying;
    (btrfs.trees, btrfs.subvolumes) = (trees, subvolumes.alive);
    let first = default_subvolume(&btrfs)?;
    let place = btrfs.subvolumes.iter().position(|it| it.id == first);
    let place = place.ok_or_else(|| damaged("the default subvolume does not exist"))?;
    btrfs.subvolumes[..=place].rotate_right(1);
    Ok(btrfs)
}

fn about(sb: &Superblock) -> About {
    let mut cautions = Vec::new();
    if sb.log != 0 {
        cautions.push(Caution::Unreplayed);
    }
    if sb.flags & FLAG_ERROR != 0 {
        cautions.push(Caution::Errors);
    }
    let unknown = sb.ro_compat & !KNOWN_RO_COMPAT;
    if unknown != 0 {
        cautions.push(Caution::Feature("ro_compat", u32::try_from(unknown).unwrap_or(u32::MAX)));
    }
    About {
        name: "btrfs",
        label: sb.label.clone(),
        uuid: Some(guid_bytes(&sb.fsid)),
        size: sb.size,
        block_len: sb.sector_len,
        free_bytes: sb.size.saturating_sub(sb.used),
        grain: sb.sector_len,
        replayed: false,
        cautions,
    }
}

/// Sorts chunks, and checks that none lies where another one lies, in either space.
fn ordered(mut chunks: Vec<Chunk>) -> Outcome<Vec<Chunk>> {
    chunks.sort_by_key(|chunk| chunk.start);
    let mut copies: Vec<Range<u64>> = chunks
        .iter()
        .flat_map(|chunk| chunk.copies.iter().map(|at| *at..at.strict_add(chunk.len)))
        .collect();
    copies.sort_by_key(|range| range.start);
    let overlap = chunks.windows(2).any(|pair| pair[0].end() > pair[1].start)
        || copies.windows(2).any(|pair| pair[0].end > pair[1].start);
    if overlap { Err(damaged("two chunks lie at one place")) } else { Ok(chunks) }
}

fn all_chunks(btrfs: &Btrfs<'_>) -> Outcome<Vec<Chunk>> {
    let mut chunks = Vec::new();
    btrfs.walk(btrfs.sb.chunks, Key::new(0, 0, 0), &mut |key, data| {
        if key.kind == CHUNK_ITEM {
            if chunks.len() >= MAX_CHUNKS {
                return Err(Problem::Limit.text("it has over 1,048,576 chunks"));
            }
            chunks.push(Chunk::parse(key.offset, data, &btrfs.sb)?);
        }
        Ok(true)
    })?;
    let chunks = ordered(chunks)?;
    if btrfs.chunks.iter().all(|chunk| chunks.contains(chunk)) {
        return Ok(chunks);
    }
    Err(damaged("a system chunk is not where the superblock says that it is"))
}

struct Subvolumes {
    alive: Vec<Subvolume>,
    has_dying: bool,
}

/// Reads the tree of roots.
fn trees(btrfs: &Btrfs<'_>) -> Outcome<(Vec<(u64, Root)>, Subvolumes)> {
    let mut found: Vec<(u64, Root)> = Vec::new();
    let mut subvolumes = Subvolumes { alive: Vec::new(), has_dying: false };
    btrfs.walk(btrfs.sb.roots, Key::new(0, 0, 0), &mut |key, data| {
        if key.kind != ROOT_ITEM {
            return Ok(true);
        }
        if data.len() < ROOT_ITEM_LEN {
            return Err(damaged("the item of a tree is too short"));
        }
        let root = Root {
            place: field::u64_le(data, 176),
            generation: field::u64_le(data, 160),
            level: data[238],
        };
        found.push((key.object, root));
        let is_subvolume = key.object == TOP || SUBVOLUMES.contains(&key.object);
        if is_subvolume && field::u32_le(data, 216) == 0 {
            subvolumes.has_dying = true;
        } else if is_subvolume {
            if subvolumes.alive.len() >= MAX_SUBVOLUMES {
                return Err(Problem::Limit.text("it has over 65,536 subvolumes"));
            }
            let folder = field::u64_le(data, 168);
            subvolumes.alive.push(Subvolume { id: key.object, root, folder });
        }
        Ok(true)
    })?;
    Ok((found, subvolumes))
}

/// Returns the number of the subvolume that a mount shows.
fn default_subvolume(btrfs: &Btrfs<'_>) -> Outcome<u64> {
    let mut found = TOP;
    btrfs.walk(btrfs.sb.roots, Key::new(ROOTS_FOLDER, DIR_ITEM, 0), &mut |key, data| {
        if (key.object, key.kind) != (ROOTS_FOLDER, DIR_ITEM) {
            return Ok(false);
        }
        if data.get(30..).is_some_and(|name| name.starts_with(b"default")) {
            found = field::u64_le(data, 0);
        }
        Ok(true)
    })?;
    Ok(found)
}

impl Btrfs<'_> {
    /// Returns the chunk that holds `len` bytes of the logical space.
    pub(super) fn chunk(&self, place: u64, len: u64) -> Outcome<&Chunk> {
        let at = self.chunks.partition_point(|chunk| chunk.end() <= place);
        let end = place.checked_add(len);
        let inside =
            |chunk: &&Chunk| chunk.start <= place && end.is_some_and(|it| it <= chunk.end());
        let found = self.chunks.get(at).filter(inside);
        found.ok_or_else(|| damaged("a place lies in no chunk"))
    }

    /// Returns where bytes of the logical space lie on the device, once for each copy.
    pub(super) fn copies(&self, place: u64, len: u64) -> Outcome<Vec<Range<u64>>> {
        let chunk = self.chunk(place, len)?;
        let skip = place.strict_sub(chunk.start);
        let range = |copy: &u64| copy.strict_add(skip)..copy.strict_add(skip).strict_add(len);
        Ok(chunk.copies.iter().map(range).collect())
    }

    /// Reads a node, from its second copy if the first one is damaged.
    pub(super) fn node(&self, root: Root) -> Outcome<Arc<TreeNode>> {
        let cached = {
            let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.nodes.get(&root.place).cloned()
        };
        let node = match cached {
            Some(node) => node,
            None => self.read_node(root.place)?,
        };
        if (node.level, node.generation) != (root.level, root.generation) {
            return Err(damaged("a node is not the one that its parent points to"));
        }
        Ok(node)
    }

    fn read_node(&self, place: u64) -> Outcome<Arc<TreeNode>> {
        if !place.is_multiple_of(self.sb.sector_len) {
            return Err(damaged("a node does not start at a sector"));
        }
        let mut first = None;
        for copy in self.copies(place, self.sb.node_len)? {
            let bytes = self.slice.bytes(copy.start, self.sb.node_len)?;
            match TreeNode::parse(bytes, place, &self.sb) {
                Ok(node) => {
                    let node = Arc::new(node);
                    self.keep(place, &node);
                    return Ok(node);
                }
                Err(Failure::Error(error)) => return Err(error.into()),
                Err(fault) => first = first.or(Some(fault)),
            }
        }
        Err(first.unwrap_or_else(|| damaged("a chunk has no copy")))
    }

    fn keep(&self, place: u64, node: &Arc<TreeNode>) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.nodes.insert(place, Arc::clone(node)).is_none() {
            cache.order.push_back(place);
        }
        let most = usize::try_from(CACHE_LEN.strict_div(self.sb.node_len)).unwrap_or(1);
        if cache.order.len() > most
            && let Some(oldest) = cache.order.pop_front()
        {
            cache.nodes.remove(&oldest);
        }
    }

    /// Goes through the items of a tree in order, from the first one on that is not below `from`.
    pub(super) fn walk(&self, root: Root, from: Key, each: OnItem<'_>) -> Outcome<()> {
        self.below(root, None, None, from, each).map(drop)
    }

    fn below(
        &self,
        root: Root,
        first: Option<Key>,
        limit: Option<Key>,
        from: Key,
        each: OnItem<'_>,
    ) -> Outcome<bool> {
        let node = self.node(root)?;
        check_keys(&node, first, limit)?;
        let count = node.count();
        let start = node.first(from);
        if node.level == 0 {
            for at in start..count {
                if !each(node.key(at), node.data(at))? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let is_exact = start < count && node.key(start) == from;
        for at in if is_exact { start } else { start.saturating_sub(1) }..count {
            let (child, first, limit) = child(&node, at, limit)?;
            if !self.below(child, Some(first), limit, from, each)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the data of an item, if it is there.
    pub(super) fn item(&self, root: Root, key: Key) -> Outcome<Option<Vec<u8>>> {
        let mut found = None;
        self.walk(root, key, &mut |at, data| {
            found = (at == key).then(|| data.to_vec());
            Ok(false)
        })?;
        Ok(found)
    }

    /// Returns the place of a file's subvolume, that subvolume, and the file's number in it.
    pub(super) fn parts(&self, id: FileId) -> Outcome<(usize, &Subvolume, u64)> {
        let place = usize::try_from(id.0 >> INODE_BITS).unwrap_or(usize::MAX);
        let inode = id.0 & (1_u64 << INODE_BITS).strict_sub(1);
        let found = self.subvolumes.get(place);
        let found = found.ok_or_else(|| damaged("no subvolume has this number"))?;
        Ok((place, found, inode))
    }
}

/// Returns the number of a file in a subvolume, which is given by its place.
pub(super) fn file_id(subvolume: usize, inode: u64) -> Outcome<FileId> {
    let high = u64::try_from(subvolume).ok().and_then(|it| it.checked_shl(INODE_BITS));
    match high.filter(|_| inode >> INODE_BITS == 0) {
        Some(high) => Ok(FileId(high | inode)),
        None => Err(unsupported("an inode has a number of over 48 bits")),
    }
}

/// Returns a child, its first key, and what its keys must stay below.
pub(super) fn child(
    node: &TreeNode,
    at: usize,
    limit: Option<Key>,
) -> Outcome<(Root, Key, Option<Key>)> {
    let next = at.strict_add(1);
    let limit = if next < node.count() { Some(node.key(next)) } else { limit };
    Ok((node.child(at)?, node.key(at), limit))
}

/// Checks that a node starts at the key that its parent has for it, and ends before the next one: so no node is met
/// twice in a tree.
pub(super) fn check_keys(node: &TreeNode, first: Option<Key>, limit: Option<Key>) -> Outcome<()> {
    let last = node.count().checked_sub(1);
    let starts = first.is_none_or(|first| last.is_some() && node.key(0) == first);
    let ends = limit.is_none_or(|limit| last.is_none_or(|last| node.key(last) < limit));
    if starts && ends { Ok(()) } else { Err(damaged("a node has keys of another one")) }
}
