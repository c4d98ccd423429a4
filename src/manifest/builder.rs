//! Writing a manifest, block after block, in memory that does not grow with the volume.

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::digest::crc32;
use crate::digest::sha256;
use crate::error::Result;
use crate::io::WriteAt;
use crate::manifest::layout::Counts;
use crate::manifest::layout::DIGEST_LEN;
use crate::manifest::layout::Entry;
use crate::manifest::layout::GROUP_BLOCKS;
use crate::manifest::layout::HEADER_SIZE;
use crate::manifest::layout::Header;
use crate::manifest::layout::MAP_LEN;
use crate::manifest::layout::MAPS_LEN;
use crate::manifest::layout::Root;
use crate::manifest::zero_block_digest;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::units::MAX_BLOCK_COUNT;
use crate::units::MAX_VOLUME_SIZE;
use crate::units::block_count;

/// What a finished manifest says of its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of the volume.
    pub volume_size: u64,
    /// Blocks in each state.
    pub counts: Counts,
    /// Identity of the snapshot.
    pub root: Digest,
    /// EBS's checksum of the written blocks.
    pub linear: Digest,
    /// Bytes of the manifest.
    pub file_len: u64,
}

/// A manifest under way. It holds one group, and 64 bytes for each group before.
pub struct Builder<'a> {
    out: &'a dyn WriteAt,
    next: u32,
    offset: u64,
    maps: [u8; MAPS_LEN],
    digests: Vec<u8>,
    zeros: u16,
    table: Vec<Entry>,
    counts: Counts,
    linear: Sha256,
}

impl<'a> Builder<'a> {
    /// Starts a manifest that is written to `out`, from byte 0 on.
    #[must_use]
    pub fn new(out: &'a dyn WriteAt) -> Self {
        Self {
            out,
            next: 0,
            offset: HEADER_SIZE,
            maps: [0; MAPS_LEN],
            digests: Vec::new(),
            zeros: 0,
            table: Vec::new(),
            counts: Counts::default(),
            linear: Sha256::new(),
        }
    }

    /// Returns the block that comes next.
    #[must_use]
    pub fn next(&self) -> BlockIndex {
        BlockIndex(self.next)
    }

    /// Adds a data block.
    ///
    /// # Errors
    ///
    /// `Io` if the output cannot be written.
    ///
    /// # Panics
    ///
    /// If the block is past the largest volume, or if it is the block of zeros.
    pub fn push_data(&mut self, digest: &Digest) -> Result<()> {
        assert_ne!(*digest, zero_block_digest(), "a zero block is not data");
        let bit = self.take_place();
        set_bit(&mut self.maps, bit);
        set_bit(&mut self.maps[MAP_LEN..], bit);
        self.digests.extend_from_slice(&digest.0);
        self.linear.update(&digest.0);
        self.counts.data = self.counts.data.strict_add(1);
        self.close_full_group()
    }

    /// Adds `count` blocks that are all zero or all holes.
    ///
    /// # Errors
    ///
    /// `Io` if the output cannot be written.
    ///
    /// # Panics
    ///
    /// If a block is past the largest volume, or if `kind` is data.
    pub fn push_run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        match kind {
            ExtentKind::Data => panic!("data blocks have digests"),
            ExtentKind::Zero => {
                let digest = zero_block_digest();
                for _ in 0..count {
                    let bit = self.take_place();
                    set_bit(&mut self.maps, bit);
                    // At most the 1,024 blocks of a group.
                    self.zeros = self.zeros.strict_add(1);
                    self.linear.update(&digest.0);
                    self.close_full_group()?;
                }
                self.counts.zero = self.counts.zero.strict_add(u64::from(count));
            }
            ExtentKind::Hole => {
                let end = self.next.checked_add(count).filter(|end| *end <= MAX_BLOCK_COUNT);
                let end = end.expect("inside the largest volume");
                if end / GROUP_BLOCKS != self.next / GROUP_BLOCKS {
                    self.close_group(self.next / GROUP_BLOCKS)?;
                }
                self.next = end;
                self.counts.hole = self.counts.hole.strict_add(u64::from(count));
            }
        }
        Ok(())
    }

    /// Ends the manifest of a volume of `volume_size` bytes.
    ///
    /// # Errors
    ///
    /// `Io` if the output cannot be written.
    ///
    /// # Panics
    ///
    /// If there is no such volume, or if the blocks pushed are not those of one: a caller that reads a
    /// volume checks its size.
    pub fn finish(mut self, volume_size: u64) -> Result<Summary> {
        let possible = 1..=MAX_VOLUME_SIZE;
        assert!(possible.contains(&volume_size), "a volume of {volume_size} bytes");
        assert_eq!(self.next, block_count(volume_size), "blocks of the volume");
        self.close_group(self.next / GROUP_BLOCKS)?;
        let mut root = Root::new(volume_size);
        let mut table = Vec::new();
        for entry in &self.table {
            root.group(entry.group, &entry.digest);
            table.extend_from_slice(&entry.to_bytes());
        }
        let table_offset = self.offset.next_multiple_of(HEADER_SIZE);
        self.out.write_zeros_at(table_offset.strict_sub(self.offset), self.offset)?;
        self.out.write_all_at(&table, table_offset)?;
        let table_len = u64::try_from(table.len()).expect("memory is under 2^64 bytes");
        let header = Header {
            volume_size,
            counts: self.counts,
            group_count: u32::try_from(self.table.len()).expect("at most 2^17 groups"),
            table_offset,
            file_len: table_offset.strict_add(table_len),
            root: root.finish(),
            linear: self.linear.finish(),
            table_crc: crc32(&table),
        };
        self.out.write_all_at(&header.to_bytes(), 0)?;
        Ok(Summary {
            volume_size,
            counts: header.counts,
            root: header.root,
            linear: header.linear,
            file_len: header.file_len,
        })
    }

    /// Returns the bit of the next block in its group, and goes one further.
    fn take_place(&mut self) -> u32 {
        assert!(self.next < MAX_BLOCK_COUNT, "inside the largest volume");
        let bit = self.next % GROUP_BLOCKS;
        self.next = self.next.strict_add(1);
        bit
    }

    fn close_full_group(&mut self) -> Result<()> {
        if self.next.is_multiple_of(GROUP_BLOCKS) {
            self.close_group((self.next / GROUP_BLOCKS).strict_sub(1))?;
        }
        Ok(())
    }

    /// Writes the group under way, if anything in it was written.
    fn close_group(&mut self, number: u32) -> Result<()> {
        let data = self.digests.len() / DIGEST_LEN;
        if data == 0 && self.zeros == 0 {
            return Ok(());
        }
        let mut group = Vec::with_capacity(MAPS_LEN.strict_add(self.digests.len()));
        group.extend_from_slice(&self.maps);
        group.append(&mut self.digests);
        self.out.write_all_at(&group, self.offset)?;
        self.table.push(Entry {
            group: number,
            data: u16::try_from(data).expect("at most 1,024"),
            zero: self.zeros,
            offset: self.offset,
            crc: crc32(&group),
            digest: sha256(&group),
        });
        let len = u64::try_from(group.len()).expect("at most 33,024");
        self.offset = self.offset.strict_add(len);
        self.maps = [0; MAPS_LEN];
        self.zeros = 0;
        Ok(())
    }
}

impl std::fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("next", &self.next).finish_non_exhaustive()
    }
}

/// Sets bit `bit` of a map, least significant first.
fn set_bit(map: &mut [u8], bit: u32) {
    let byte = usize::try_from(bit / 8).expect("inside the group");
    map[byte] |= 1 << (bit % 8);
}
