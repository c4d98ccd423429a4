//! What replaying writes: sectors over the file system, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::slice::Patch;
use crate::guest::slice::Slice;
use crate::guest::xfs::layout::Superblock;
use crate::guest::xfs::layout::damaged;

/// Bytes of a sector, whatever the disk has: addresses in the log count these.
pub(in crate::guest::xfs) const SECTOR_LEN: u64 = 512;
const SECTOR: usize = 512;

/// Most sectors that are written: 256 MiB.
const MAX_SECTORS: usize = 512 << 10;

/// Sectors over a file system.
#[derive(Debug)]
pub(super) struct Overlay<'a> {
    slice: &'a Slice<'a>,
    pub(super) sb: &'a Superblock,
    sectors: BTreeMap<u64, Box<[u8; SECTOR]>>,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(slice: &'a Slice<'a>, sb: &'a Superblock) -> Self {
        Self { slice, sb, sectors: BTreeMap::new() }
    }

    /// Returns the byte of sector `number`, of which `count` must lie inside the file system.
    pub(super) fn place(&self, number: u64, count: u64) -> Outcome<u64> {
        let size = self.sb.blocks.strict_mul(self.sb.block_len);
        let end = number.checked_add(count).and_then(|end| end.checked_mul(SECTOR_LEN));
        if end.is_none_or(|end| end > size) {
            return Err(damaged("its log writes outside it"));
        }
        Ok(number.strict_mul(SECTOR_LEN))
    }

    /// Returns bytes, as they are now; they must be whole sectors.
    pub(super) fn read(&self, offset: u64, len: u64) -> Outcome<Vec<u8>> {
        let mut bytes = self.slice.bytes(offset, len)?;
        for (at, sector) in self.sectors.range(offset..offset.strict_add(len)) {
            let start = usize::try_from(at.strict_sub(offset)).expect("inside the bytes");
            bytes[start..start.strict_add(SECTOR)].copy_from_slice(&sector[..]);
        }
        Ok(bytes)
    }

    /// Writes whole sectors; those that are as before are not kept.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Outcome<()> {
        let before = self.read(offset, u64::try_from(bytes.len()).expect("a buffer"))?;
        let sectors = bytes.as_chunks::<SECTOR>().0.iter().zip(before.chunks_exact(SECTOR));
        for (place, (new, old)) in (0_u64..).zip(sectors) {
            if new != old {
                let at = offset.strict_add(place.strict_mul(SECTOR_LEN));
                self.sectors.insert(at, Box::new(*new));
            }
        }
        if self.sectors.len() > MAX_SECTORS {
            return Err(Problem::Limit.text("its log has over 256 MiB to replay"));
        }
        Ok(())
    }

    pub(super) fn into_patches(self) -> BTreeMap<u64, Patch> {
        let patch = |sector: Box<[u8; SECTOR]>| Patch::Bytes(Arc::<[u8]>::from(*sector));
        self.sectors.into_iter().map(|(at, sector)| (at, patch(sector))).collect()
    }
}
