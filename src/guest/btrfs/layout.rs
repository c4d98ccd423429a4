//! Bytes of Btrfs: superblock, chunks, nodes of its trees, items. Pure.
//!
//! ```text
//! superblock, at byte 65,536:
//!   0x00 32 checksum of the rest      0x20 16 fsid               0x30 8 its own place
//!   0x38  8 flags                     0x40  8 "_BHRfS_M"         0x48 8 generation
//!   0x50  8 tree of roots             0x58  8 tree of chunks     0x60 8 log
//!   0x70  8 bytes of all devices      0x78  8 bytes used         0x88 8 devices
//!   0x90  4 bytes of a sector         0x94  4 bytes of a node    0xa0 4 bytes of the array of chunks
//!   0xa4  8 generation of its tree    0xb4  8 ro_compat features 0xbc 8 incompat features
//!   0xc4  2 kind of checksums         0xc6  1 level of roots     0xc7 1 level of chunks
//!   0xc9 98 this device               0x12b 256 label            0x23b 16 fsid of nodes
//!   0x32b   system chunks: key and chunk, one after another
//!
//! node:  0x00 32 checksum  0x20 16 fsid  0x30 8 its own place  0x50 8 generation  0x58 8 tree
//!        0x60  4 items     0x64  1 level
//!   leaf:      from 0x65 on 25 bytes an item: key, offset from 0x65, bytes
//!   otherwise: from 0x65 on 33 bytes a child: key, place, generation
//! key:   8 object, 1 type, 8 offset
//! ```
//!
//! Places are of one logical space, which chunks map to the device.

use xxhash_rust::xxh64::xxh64;

use crate::digest::blake2b_256;
use crate::digest::crc32c;
use crate::digest::sha256;
use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;

/// Where the superblock is, and how much of it there is.
pub(super) const SUPERBLOCK_AT: u64 = 64 << 10;
pub(super) const SUPERBLOCK_LEN: u64 = 4096;

/// Where superblocks are, on devices that are long enough.
pub(super) const SUPERBLOCKS: [u64; 3] = [SUPERBLOCK_AT, 64 << 20, 256 << 30];

/// Bytes around a superblock that are never given to anything else.
pub(super) const STRIPE_LEN: u64 = 64 << 10;

/// Where its magic is, and what it says.
pub(super) const MAGIC_AT: u64 = SUPERBLOCK_AT + 0x40;
pub(super) const MAGIC: &[u8; 8] = b"_BHRfS_M";

const SYSTEM_CHUNKS_AT: usize = 0x32b;
const SYSTEM_CHUNKS_LEN: usize = 2048;

/// Incompatible features that change nothing here, or are read as they are: all up to three and four copies but for
/// zones and the trees that came later, and simple quotas.
const KNOWN_INCOMPAT: u64 = 0x1_0fff;
const METADATA_UUID: u64 = 0x400;

/// Compatible features: free-space tree and whether it counts, fs-verity, a tree of block groups.
pub(super) const FREE_SPACE_TREE: u64 = 0b11;
pub(super) const BLOCK_GROUP_TREE: u64 = 0x8;
pub(super) const KNOWN_RO_COMPAT: u64 = 0xf;

/// Flags of a superblock that its file system has no business to be read with: only metadata was copied, or its fsid is
/// being changed.
const FLAGS_OF_PARTS: u64 = (1 << 33) | (1 << 34) | (1 << 35) | (1 << 36);
pub(super) const FLAG_ERROR: u64 = 1 << 2;

/// Bytes of the head of a node, of an item in a leaf and of a child.
const HEAD_LEN: usize = 0x65;
const ITEM_LEN: usize = 25;
const CHILD_LEN: usize = 33;

/// Highest level of a node.
const MAX_LEVEL: u8 = 7;

/// Bytes of a chunk without its stripes, and of a stripe.
const CHUNK_LEN: usize = 48;
const CHUNK_STRIPE_LEN: usize = 32;

/// Kinds of chunks: what is in them, and one copy or two on a device.
const CHUNK_CONTENT: u64 = 0b111;
const CHUNK_DUP: u64 = 0x20;

pub(super) fn damaged(text: &'static str) -> Failure {
    Problem::Damaged.text(text)
}

pub(super) fn unsupported(text: &'static str) -> Failure {
    Problem::Unsupported.text(text)
}

/// Kinds of checksums that are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sum {
    Crc32c,
    XxHash64,
    Sha256,
    Blake2b,
}

impl Sum {
    /// Tells whether the checksum in front of a block is that of the rest.
    fn is_right(self, block: &[u8]) -> bool {
        let (sum, rest) = block.split_at(32);
        match self {
            Self::Crc32c => field::u32_le(sum, 0) == crc32c(rest),
            Self::XxHash64 => field::u64_le(sum, 0) == xxh64(rest, 0),
            Self::Sha256 => sum == sha256(rest).0,
            Self::Blake2b => sum == blake2b_256(rest),
        }
    }
}

/// What identifies an item, and orders items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) object: u64,
    pub(super) kind: u8,
    pub(super) offset: u64,
}

impl Key {
    pub(super) fn new(object: u64, kind: u8, offset: u64) -> Self {
        Self { object, kind, offset }
    }

    /// Reads a key of 17 bytes.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self::new(field::u64_le(bytes, 0), bytes[8], field::u64_le(bytes, 9))
    }
}

/// A tree: its highest node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) place: u64,
    pub(super) generation: u64,
    pub(super) level: u8,
}

/// The superblock, checked.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) fsid: [u8; 16],
    node_fsid: [u8; 16],
    sum: Sum,
    pub(super) flags: u64,
    pub(super) roots: Root,
    pub(super) chunks: Root,
    pub(super) log: u64,
    pub(super) size: u64,
    pub(super) used: u64,
    pub(super) sector_len: u64,
    pub(super) node_len: u64,
    pub(super) ro_compat: u64,
    pub(super) device: u64,
    pub(super) label: Vec<u8>,
    pub(super) system_chunks: Vec<Chunk>,
}

impl Superblock {
    /// Reads and checks 4,096 bytes.
    pub(super) fn parse(bytes: &[u8]) -> Outcome<Self> {
        if bytes[0x40..0x48] != *MAGIC || field::u64_le(bytes, 0x30) != SUPERBLOCK_AT {
            return Err(damaged("its superblock is not where it says that it is"));
        }
        let incompat = field::u64_le(bytes, 0xbc);
        if incompat & !KNOWN_INCOMPAT != 0 {
            return Err(unsupported("it has incompatible features that are not known"));
        }
        let sum = match field::u16_le(bytes, 0xc4) {
            0 => Sum::Crc32c,
            1 => Sum::XxHash64,
            2 => Sum::Sha256,
            3 => Sum::Blake2b,
            _ => return Err(unsupported("its checksums are of an unknown kind")),
        };
        if !sum.is_right(bytes) {
            return Err(damaged("the checksum of its superblock is wrong"));
        }
        let flags = field::u64_le(bytes, 0x38);
        if flags & FLAGS_OF_PARTS != 0 {
            return Err(unsupported("only its metadata was copied, or its id is being changed"));
        }
        let (sector_len, node_len) = (field::u32_le(bytes, 0x90), field::u32_le(bytes, 0x94));
        let is_len = |len: u32| len.is_power_of_two() && (4096..=65_536).contains(&len);
        if !is_len(sector_len) || !is_len(node_len) || node_len < sector_len {
            return Err(damaged("the length of its sectors or nodes is impossible"));
        }
        let device = &bytes[0xc9..];
        if field::u64_le(bytes, 0x88) != 1 {
            return Err(unsupported("it spans several devices"));
        }
        let size = field::u64_le(device, 8);
        if size != field::u64_le(bytes, 0x70) || !(1 << 20..=1 << 60).contains(&size) {
            return Err(damaged("its size is impossible"));
        }
        let level = |at: usize| Some(bytes[at]).filter(|level| *level <= MAX_LEVEL);
        let root = |place: usize, generation: usize, level: Option<u8>| {
            let (place, generation) =
                (field::u64_le(bytes, place), field::u64_le(bytes, generation));
            let level = level.ok_or_else(|| damaged("the level of a tree is impossible"))?;
            Ok::<_, Failure>(Root { place, generation, level })
        };
        let fsid = field::array(bytes, 0x20);
        let label = &bytes[0x12b..0x22b];
        let mut superblock = Self {
            fsid,
            node_fsid: if incompat & METADATA_UUID != 0 {
                field::array(bytes, 0x23b)
            } else {
                fsid
            },
            sum,
            flags,
            roots: root(0x50, 0x48, level(0xc6))?,
            chunks: root(0x58, 0xa4, level(0xc7))?,
            log: field::u64_le(bytes, 0x60),
            size,
            used: field::u64_le(bytes, 0x78),
            sector_len: sector_len.into(),
            node_len: node_len.into(),
            ro_compat: field::u64_le(bytes, 0xb4),
            device: field::u64_le(device, 0),
            label: label.iter().copied().take_while(|byte| *byte != 0).collect(),
            system_chunks: Vec::new(),
        };
        let len = usize::try_from(field::u32_le(bytes, 0xa0)).unwrap_or(usize::MAX);
        if len > SYSTEM_CHUNKS_LEN {
            return Err(damaged("its array of chunks is longer than the room for it"));
        }
        let mut rest = &bytes[SYSTEM_CHUNKS_AT..][..len];
        while !rest.is_empty() {
            let chunk = rest.get(17..).and_then(|body| {
                let len = chunk_len(body)?;
                Some((Key::parse(rest), body.get(..len)?, &body[len..]))
            });
            let Some((key, body, behind)) = chunk else {
                return Err(damaged("its array of chunks ends inside one"));
            };
            superblock.system_chunks.push(Chunk::parse(key.offset, body, &superblock)?);
            rest = behind;
        }
        Ok(superblock)
    }
}

/// A part of the logical space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) len: u64,
    /// Where each copy starts on the device.
    pub(super) copies: Vec<u64>,
}

/// Returns how many bytes a chunk takes with its stripes.
fn chunk_len(bytes: &[u8]) -> Option<usize> {
    let stripes = bytes.get(44..46).map(|it| usize::from(field::u16_le(it, 0)))?;
    Some(stripes.strict_mul(CHUNK_STRIPE_LEN).strict_add(CHUNK_LEN))
}

impl Chunk {
    /// Reads the chunk whose logical place is `start`.
    pub(super) fn parse(start: u64, bytes: &[u8], sb: &Superblock) -> Outcome<Self> {
        if chunk_len(bytes) != Some(bytes.len()) {
            return Err(damaged("a chunk is shorter than its stripes"));
        }
        let (len, kind) = (field::u64_le(bytes, 0), field::u64_le(bytes, 24));
        let profile = kind & !CHUNK_CONTENT;
        let stripes = bytes[CHUNK_LEN..].chunks_exact(CHUNK_STRIPE_LEN);
        let expected = match profile {
            0 => 1,
            CHUNK_DUP => 2,
            _ => return Err(unsupported("it has chunks that are spread as RAID")),
        };
        let aligned = [start, len].iter().all(|it| it.is_multiple_of(sb.sector_len));
        if stripes.len() != expected || len == 0 || !aligned || kind & CHUNK_CONTENT == 0 {
            return Err(damaged("a chunk is impossible"));
        }
        if start.checked_add(len).is_none_or(|end| end > 1 << 62) {
            return Err(damaged("a chunk is impossible"));
        }
        let mut copies = Vec::new();
        for stripe in stripes {
            let (device, place) = (field::u64_le(stripe, 0), field::u64_le(stripe, 8));
            let inside = place.checked_add(len).is_some_and(|end| end <= sb.size);
            if device != sb.device || !inside || !place.is_multiple_of(sb.sector_len) {
                return Err(damaged("a chunk is not inside the device"));
            }
            copies.push(place);
        }
        Ok(Self { start, len, copies })
    }

    pub(super) fn end(&self) -> u64 {
        // Checked where it was read.
        self.start.strict_add(self.len)
    }
}

/// A node of a tree, checked: its items, or its children.
#[derive(Debug)]
pub(super) struct TreeNode {
    bytes: Vec<u8>,
    count: usize,
    pub(super) level: u8,
    pub(super) generation: u64,
}

impl TreeNode {
    /// Reads the node whose logical place is `place`.
    pub(super) fn parse(bytes: Vec<u8>, place: u64, sb: &Superblock) -> Outcome<Self> {
        if !sb.sum.is_right(&bytes) {
            return Err(damaged("the checksum of a node is wrong"));
        }
        if bytes[0x20..0x30] != sb.node_fsid || field::u64_le(&bytes, 0x30) != place {
            return Err(damaged("a node is not where it says that it is"));
        }
        let level = bytes[0x64];
        let len = if level == 0 { ITEM_LEN } else { CHILD_LEN };
        let count = usize::try_from(field::u32_le(&bytes, 0x60)).unwrap_or(usize::MAX);
        let room = bytes.len().strict_sub(HEAD_LEN).strict_div(len);
        if level > MAX_LEVEL || count > room || level > 0 && count == 0 {
            return Err(damaged("a node holds more than it has room for"));
        }
        let generation = field::u64_le(&bytes, 0x50);
        let node = Self { bytes, count, level, generation };
        node.check()?;
        Ok(node)
    }

    /// Keys ascend; the data of items lie side by side, the first one's at the end.
    fn check(&self) -> Outcome<()> {
        let mut end = self.bytes.len();
        for at in 0..self.count {
            if at > 0 && self.key(at) <= self.key(at.strict_sub(1)) {
                return Err(damaged("the keys of a node do not ascend"));
            }
            if self.level == 0 {
                let (start, len) = self.place(at);
                let first_free = HEAD_LEN.strict_add(self.count.strict_mul(ITEM_LEN));
                if start.checked_add(len) != Some(end) || start < first_free {
                    return Err(damaged("the items of a leaf do not lie side by side"));
                }
                end = start;
            }
        }
        Ok(())
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn head(&self, at: usize) -> &[u8] {
        let len = if self.level == 0 { ITEM_LEN } else { CHILD_LEN };
        &self.bytes[at.strict_mul(len).strict_add(HEAD_LEN)..][..len]
    }

    pub(super) fn key(&self, at: usize) -> Key {
        Key::parse(self.head(at))
    }

    /// Returns where the data of an item lie.
    fn place(&self, at: usize) -> (usize, usize) {
        let number =
            |from| usize::try_from(field::u32_le(self.head(at), from)).unwrap_or(usize::MAX);
        (number(17).saturating_add(HEAD_LEN), number(21))
    }

    /// Returns the data of an item.
    pub(super) fn data(&self, at: usize) -> &[u8] {
        let (start, len) = self.place(at);
        &self.bytes[start..][..len]
    }

    /// Returns a child.
    pub(super) fn child(&self, at: usize) -> Outcome<Root> {
        let head = self.head(at);
        let level = self.level.checked_sub(1);
        let level = level.ok_or_else(|| damaged("a leaf has children"))?;
        Ok(Root { place: field::u64_le(head, 17), generation: field::u64_le(head, 25), level })
    }

    /// Returns the place of the first key that is not below `key`.
    pub(super) fn first(&self, key: Key) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < key {
                low = middle.strict_add(1);
            } else {
                high = middle;
            }
        }
        low
    }
}
