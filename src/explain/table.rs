//! Partition tables: GPT (UEFI 2.10, 5.3) and MBR.

use crate::explain::Marks;
use crate::explain::fields::Field;
use crate::explain::fields::Says::Cause;
use crate::explain::fields::Says::Sum;
use crate::explain::fields::compare;

/// Bytes of a sector.
const SECTOR_LEN: u64 = 512;

/// The first sector: the signature of the disk.
const MBR: &[Field] = &[(0x1b8, 4, Cause("mbr-signature"))];

/// A header: its checksum, the GUID of the disk, and the checksum of the entries.
const HEADER: &[Field] = &[(16, 4, Sum), (56, 16, Cause("gpt-disk-guid")), (88, 4, Sum)];

/// An entry of 128 bytes: the GUID of the partition.
const ENTRY: &[Field] = &[(16, 16, Cause("gpt-partition-guid"))];

const ENTRY_LEN: usize = 128;

/// Where the tables of a volume lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablePair {
    /// Bytes of both volumes.
    pub size: u64,
    /// Whether it is a GPT.
    pub is_gpt: bool,
}

impl TablePair {
    /// Compares bytes of the tables from byte `offset` of the volume on; `offset` is that of a sector.
    #[must_use]
    pub fn compare(&self, offset: u64, old: &[u8], new: &[u8]) -> Marks {
        let mut marks = Marks::default();
        let step = usize::try_from(SECTOR_LEN).expect("512");
        let mut at = offset;
        for (one, other) in old.chunks(step).zip(new.chunks(step)) {
            let is_header = at == SECTOR_LEN || at == self.size.saturating_sub(SECTOR_LEN);
            if at == 0 {
                marks.join(compare(one, other, MBR));
            } else if self.is_gpt && is_header {
                marks.join(compare(one, other, HEADER));
            } else if self.is_gpt {
                for (one, other) in one.chunks(ENTRY_LEN).zip(other.chunks(ENTRY_LEN)) {
                    marks.join(compare(one, other, ENTRY));
                }
            } else {
                marks.join(compare(one, other, &[]));
            }
            at = at.saturating_add(SECTOR_LEN);
        }
        // A checksum sums up what differs beside it, or in the entries.
        if !marks.causes.is_empty() || !marks.real {
            marks.sum = false;
        }
        marks
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn each_field_names_its_cause() {
        let pair = TablePair { size: 512 * 100, is_gpt: true };
        let change = |at: usize| {
            let (old, mut new) = (vec![0; 4096], vec![0; 4096]);
            new[at] = 1;
            pair.compare(0, &old, &new)
        };
        assert_eq!(change(0x1b8), Marks::of("mbr-signature"));
        assert_eq!(change(512 + 56), Marks::of("gpt-disk-guid"));
        assert_eq!(change(1024 + 128 + 16), Marks::of("gpt-partition-guid"));
        for at in [0, 0x1be, 512 + 40, 1024, 1024 + 32, 1024 + 128 + 56] {
            assert!(change(at).real, "{at}");
        }
        let (old, mut new) = (vec![0; 512], vec![0; 512]);
        new[56] = 1;
        assert_eq!(pair.compare(512 * 99, &old, &new), Marks::of("gpt-disk-guid"));
    }
}
