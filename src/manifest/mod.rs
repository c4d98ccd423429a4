//! Snapshot manifests: what each block of a volume is at one instant.
//!
//! The format is `docs/formats/manifest.md`. A manifest is a file that is mapped and looked into;
//! nothing is parsed ahead, so opening one of a 64 TiB volume takes milliseconds.

mod block;
mod builder;
mod changes;
mod cursor;
pub mod layout;
mod part;

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::digest::crc32;
use crate::digest::sha256;
use crate::error::Error;
use crate::error::Result;
use crate::field;
use crate::io::Input;
use crate::io::Mapped;
use crate::io::ReadAt;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::units::block_count;

pub use block::Block;
pub use block::zero_block_digest;
pub use builder::Builder;
pub use builder::Summary;
pub use changes::Change;
pub use changes::Changes;
pub use changes::changes;
pub use cursor::Cursor;
pub use layout::Counts;
use layout::ENTRY_LEN;
pub use layout::Entry;
pub use layout::GROUP_BLOCKS;
pub use layout::Header;
pub use layout::MAGIC;
use layout::MAP_LEN;
use layout::MAPS_LEN;
pub use layout::ManifestFault;
use layout::Root;
pub use part::PART_HEADER_SIZE;
pub use part::PART_MAGIC;
pub use part::Part;

/// Media type of a manifest in a bundle.
pub const MEDIA_TYPE: &str = "application/vnd.amikit.snapshot.v1";

/// A manifest, open: header, table and root digest are checked, groups when they are looked at.
#[derive(Debug)]
pub struct Manifest {
    bytes: Mapped,
    header: Header,
}

impl Manifest {
    /// Opens the manifest that is all of `input`.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `Unsupported` or `Limit`, with the file's name, if it is not a sound manifest.
    pub fn open(input: &Input) -> Result<Self> {
        Self::open_part(input, 0, input.len())
    }

    /// Opens the manifest that is `len` bytes of `input`, from byte `offset` on.
    ///
    /// # Errors
    ///
    /// As [`Manifest::open`].
    pub fn open_part(input: &Input, offset: u64, len: u64) -> Result<Self> {
        Mapped::new(input, offset, len).and_then(Self::new).map_err(|e| e.in_file(input.path()))
    }

    /// Opens the manifest in `bytes`.
    ///
    /// # Errors
    ///
    /// As [`Manifest::open`], without a name.
    pub fn new(bytes: Mapped) -> Result<Self> {
        let file_len = u64::try_from(bytes.len()).expect("memory is under 2^64 bytes");
        let header = Header::parse(&bytes, file_len).map_err(|fault| bytes.blame(fault.into()))?;
        let manifest = Self { bytes, header };
        match manifest.check_table() {
            Ok(()) => Ok(manifest),
            Err(error) => Err(manifest.bytes.blame(error)),
        }
    }

    fn check_table(&self) -> Result<()> {
        let table = self.table();
        let (found, expected) = (crc32(table.as_flattened()), self.header.table_crc);
        if found != expected {
            let fault = ManifestFault::Checksum { of: "table", found, expected };
            return Err(Error::from(fault).at(self.header.table_offset));
        }
        let groups = block_count(self.header.volume_size).div_ceil(GROUP_BLOCKS);
        let mut root = Root::new(self.header.volume_size);
        let mut counts = Counts::default();
        let (mut next_group, mut next_offset) = (0, layout::HEADER_SIZE);
        for bytes in table {
            let entry = Entry::parse(bytes)?;
            if entry.group < next_group || entry.group >= groups || entry.offset != next_offset {
                return Err(ManifestFault::Entry { group: entry.group }.into());
            }
            next_group = entry.group.strict_add(1);
            let len = u64::try_from(entry.group_len()).expect("at most 33,024");
            next_offset = next_offset.strict_add(len);
            counts.data = counts.data.strict_add(entry.data.into());
            counts.zero = counts.zero.strict_add(entry.zero.into());
            root.group(entry.group, &entry.digest);
        }
        if next_offset.next_multiple_of(layout::HEADER_SIZE) != self.header.table_offset {
            let (offset, count) = (self.header.table_offset, self.header.group_count);
            return Err(ManifestFault::Table { offset, count }.into());
        }
        let padding = usize::try_from(next_offset).expect("inside memory")..self.table_start();
        if self.bytes[padding].iter().any(|byte| *byte != 0) {
            return Err(Error::from(ManifestFault::Padding).at(next_offset));
        }
        let (found, expected) = (counts.written(), self.header.counts.written());
        if counts.data != self.header.counts.data || found != expected {
            return Err(ManifestFault::Counts { found, expected }.into());
        }
        if root.finish() != self.header.root {
            return Err(ManifestFault::Digest { of: "root" }.into());
        }
        Ok(())
    }

    /// Returns the header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns what the header says of the snapshot.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            volume_size: self.header.volume_size,
            counts: self.header.counts,
            root: self.header.root,
            linear: self.header.linear,
            file_len: self.header.file_len,
        }
    }

    /// Returns the volume's size in bytes.
    #[must_use]
    pub fn volume_size(&self) -> u64 {
        self.header.volume_size
    }

    /// Returns how many blocks the volume has.
    #[must_use]
    pub fn block_count(&self) -> u32 {
        block_count(self.header.volume_size)
    }

    /// Returns the identity of the snapshot.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.header.root
    }

    fn table_start(&self) -> usize {
        // The header was checked against the length of the bytes.
        usize::try_from(self.header.table_offset).expect("inside memory")
    }

    fn table(&self) -> &[[u8; ENTRY_LEN]] {
        self.bytes[self.table_start()..].as_chunks().0
    }

    /// Iterates over the stored groups, ascending: those with anything but holes.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry>> + '_ {
        self.table().iter().map(|bytes| Entry::parse(bytes).map_err(|e| self.bytes.blame(e.into())))
    }

    /// Returns the entry of group `number`, or `None` if all of it are holes.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the table changed under us.
    pub fn entry(&self, number: u32) -> Result<Option<Entry>> {
        let table = self.table();
        match table.binary_search_by_key(&number, |bytes| field::u32_le(bytes, 0)) {
            Ok(place) => match Entry::parse(&table[place]) {
                Ok(entry) => Ok(Some(entry)),
                Err(fault) => Err(self.bytes.blame(fault.into())),
            },
            // What cannot be read is not a hole.
            Err(_) => self.bytes.check().map(|()| None),
        }
    }

    /// Returns a stored group, after a check against its CRC-32.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the group is damaged; `Io` if it cannot be read.
    pub fn group(&self, entry: &Entry) -> Result<Group<'_>> {
        self.sound_group(entry).map_err(|error| self.bytes.blame(error))
    }

    fn sound_group(&self, entry: &Entry) -> Result<Group<'_>> {
        let start = usize::try_from(entry.offset).expect("the table was checked");
        let bytes = start
            .checked_add(entry.group_len())
            .and_then(|end| self.bytes.get(start..end))
            .ok_or(ManifestFault::Entry { group: entry.group })?;
        let found = crc32(bytes);
        if found != entry.crc {
            let fault = ManifestFault::Checksum { of: "group", found, expected: entry.crc };
            return Err(Error::from(fault).at(entry.offset));
        }
        let (maps, digests) = bytes.split_at(MAPS_LEN);
        let group = Group {
            number: entry.group,
            written: Bits(maps[..MAP_LEN].try_into().expect("half of the maps")),
            data: Bits(maps[MAP_LEN..].try_into().expect("half of the maps")),
            digests: digests.as_chunks().0,
        };
        group
            .check(entry, self.block_count())
            .map_err(|fault| Error::from(fault).at(entry.offset))?;
        Ok(group)
    }

    /// Returns what block `index` is.
    ///
    /// # Errors
    ///
    /// `Corrupt` if its group is damaged.
    ///
    /// # Panics
    ///
    /// If `index` is past the end of the volume.
    pub fn block(&self, index: BlockIndex) -> Result<Block> {
        assert!(index.0 < self.block_count(), "block {index} of {}", self.block_count());
        match self.entry(index.0 / GROUP_BLOCKS)? {
            Some(entry) => Ok(self.group(&entry)?.block(index.0 % GROUP_BLOCKS)),
            None => Ok(Block::Hole),
        }
    }

    /// Returns the state of block `first`, and the block up to which the blocks behind it are in the
    /// same. The run may go on: how far this looks is bounded by one stored group.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a group on the way is damaged.
    ///
    /// # Panics
    ///
    /// If `first` is past the end of the volume.
    pub fn run_at(&self, first: BlockIndex) -> Result<(ExtentKind, BlockIndex)> {
        let kind = self.block(first)?.kind();
        let count = self.block_count();
        let mut next = first.0;
        while next < count {
            let number = next / GROUP_BLOCKS;
            let group_end = number.strict_add(1).strict_mul(GROUP_BLOCKS).min(count);
            match self.entry(number)? {
                None if kind == ExtentKind::Hole => next = group_end,
                None => break,
                Some(entry) => {
                    let group = self.group(&entry)?;
                    while next < group_end && group.kind(next % GROUP_BLOCKS) == kind {
                        next = next.strict_add(1);
                    }
                    break;
                }
            }
        }
        Ok((kind, BlockIndex(next)))
    }

    /// Calls `visit` for each written block, ascending.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a group is damaged, and whatever `visit` returns.
    pub fn for_each_written(
        &self,
        mut visit: impl FnMut(BlockIndex, Block) -> Result<()>,
    ) -> Result<()> {
        for entry in self.entries() {
            let group = self.group(&entry?)?;
            for bit in 0..GROUP_BLOCKS {
                let block = group.block(bit);
                if block != Block::Hole {
                    visit(group.index(bit), block)?;
                }
            }
        }
        Ok(())
    }

    /// Returns a stored group, after a check against its digest: what `verify` wants.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the group is damaged, or records a block of zeros as data.
    pub fn verified_group(&self, entry: &Entry) -> Result<Group<'_>> {
        let group = self.group(entry)?;
        let start = usize::try_from(entry.offset).expect("the table was checked");
        let fault = if sha256(&self.bytes[start..][..entry.group_len()]) != entry.digest {
            ManifestFault::Digest { of: "group" }
        } else if group.digests.contains(&zero_block_digest().0) {
            ManifestFault::Maps { group: entry.group }
        } else {
            return Ok(group);
        };
        Err(self.bytes.blame(Error::from(fault).at(entry.offset)))
    }

    /// Checks every group against its digest, and the LINEAR aggregate.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the first group that is damaged.
    pub fn verify(&self) -> Result<()> {
        let mut linear = Sha256::new();
        for entry in self.entries() {
            let group = self.verified_group(&entry?)?;
            for bit in 0..GROUP_BLOCKS {
                if let Some(digest) = group.block(bit).digest() {
                    linear.update(&digest.0);
                }
            }
        }
        if linear.finish() != self.header.linear {
            return Err(ManifestFault::Digest { of: "LINEAR aggregate" }.into());
        }
        Ok(())
    }
}

/// One bit for each block of a group, least significant first.
#[derive(Clone, Copy, Debug)]
struct Bits<'a>(&'a [u8; MAP_LEN]);

impl Bits<'_> {
    fn get(self, bit: u32) -> bool {
        let byte = usize::try_from(bit / 8).expect("inside the group");
        self.0[byte] >> (bit % 8) & 1 == 1
    }

    /// Counts the bits below `bit` that are set.
    fn count_below(self, bit: u32) -> u32 {
        let whole = usize::try_from(bit / 8).expect("inside the group");
        let part = self.0.get(whole).map_or(0, |byte| (byte & !(0xff << (bit % 8))).count_ones());
        let (words, rest) = self.0[..whole].as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word).count_ones());
        let rest = rest.iter().map(|byte| byte.count_ones());
        // At most 1,024.
        words.chain(rest).sum::<u32>().strict_add(part)
    }
}

/// A group of 1,024 blocks, checked.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    number: u32,
    written: Bits<'a>,
    data: Bits<'a>,
    digests: &'a [[u8; 32]],
}

impl Group<'_> {
    fn check(&self, entry: &Entry, block_count: u32) -> Result<(), ManifestFault> {
        let fault = ManifestFault::Maps { group: self.number };
        let subset = self.data.0.iter().zip(self.written.0).all(|(data, all)| data & !all == 0);
        let written = self.written.count_below(GROUP_BLOCKS);
        let data = self.data.count_below(GROUP_BLOCKS);
        let counted = data == u32::from(entry.data)
            && written == u32::from(entry.data).strict_add(u32::from(entry.zero));
        // Cannot overflow: the number of a group of a volume of at most 2^27 blocks.
        let rest = block_count.saturating_sub(self.number.strict_mul(GROUP_BLOCKS));
        let inside = self.written.count_below(rest.min(GROUP_BLOCKS)) == written;
        if subset && counted && inside { Ok(()) } else { Err(fault) }
    }

    /// Returns the volume's number of the group's block `bit`.
    #[must_use]
    pub fn index(&self, bit: u32) -> BlockIndex {
        BlockIndex(self.number.strict_mul(GROUP_BLOCKS).strict_add(bit))
    }

    /// Returns what the group's block `bit` is; past the volume's end that is a hole.
    ///
    /// # Panics
    ///
    /// If `bit` is 1,024 or more.
    #[must_use]
    pub fn block(&self, bit: u32) -> Block {
        if self.data.get(bit) {
            let place = usize::try_from(self.data.count_below(bit)).expect("at most 1,024");
            Block::Data(Digest(self.digests[place]))
        } else if self.written.get(bit) {
            Block::Zero
        } else {
            Block::Hole
        }
    }

    /// Returns the ids of the data blocks, ascending by block.
    #[must_use]
    pub fn digests(&self) -> &[[u8; 32]] {
        self.digests
    }

    /// Returns all blocks, one after the other: faster than [`Group::block`] for each.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        let mut digests = self.digests.iter();
        (0..GROUP_BLOCKS).map(move |bit| match self.kind(bit) {
            ExtentKind::Data => {
                Block::Data(Digest(*digests.next().expect("one for each data block")))
            }
            ExtentKind::Zero => Block::Zero,
            ExtentKind::Hole => Block::Hole,
        })
    }

    /// Returns the state of block `bit`, without its digest.
    #[must_use]
    pub fn kind(&self, bit: u32) -> ExtentKind {
        match (self.written.get(bit), self.data.get(bit)) {
            (_, true) => ExtentKind::Data,
            (true, false) => ExtentKind::Zero,
            (false, false) => ExtentKind::Hole,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
