//! The master boot record. Pure: bytes to partitions.
//!
//! ```text
//! offset size field
//!      0  440 boot code
//!    440    4 signature of the disk
//!    446   64 four entries of 16 bytes: +4 type, +8 first sector, +12 sectors
//!    510    2 signature 0xaa55
//! ```

use crate::field;
use crate::guest::fault::GuestFault;
use crate::guest::layout::Identity;
use crate::guest::layout::Partition;
use crate::guest::layout::PartitionKind;
use crate::guest::layout::SECTOR_SIZE;

/// Last two bytes of sector 0.
pub(super) const SIGNATURE: u16 = 0xaa55;

/// Type of the entry that keeps old tools away from a GPT.
const PROTECTIVE: u8 = 0xee;

/// Type of an EFI system partition.
const ESP: u8 = 0xef;

/// Types of the entries, in order.
fn entries(sector: &[u8]) -> impl Iterator<Item = &[u8]> {
    sector[446..510].chunks_exact(16)
}

/// Tells whether the record only announces a GPT.
pub(super) fn is_protective(sector: &[u8]) -> bool {
    entries(sector).any(|entry| entry[4] == PROTECTIVE)
}

/// Returns the primary partitions of a volume of `size` bytes.
pub(super) fn parse(sector: &[u8], size: u64, faults: &mut Vec<GuestFault>) -> Vec<Partition> {
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(entries(sector)) {
        let kind = match entry[4] {
            0 => continue,
            ESP => PartitionKind::Esp,
            _ => PartitionKind::Other,
        };
        // 2^32 sectors of 512 bytes cannot overflow.
        let start = u64::from(field::u32_le(entry, 8)).strict_mul(SECTOR_SIZE);
        let len = u64::from(field::u32_le(entry, 12)).strict_mul(SECTOR_SIZE);
        if start == 0 || len == 0 || start.strict_add(len) > size {
            faults.push(GuestFault::PartitionRange { number });
            continue;
        }
        let mut identity = Identity::default();
        identity.type_id[0] = entry[4];
        identity.id[..4].copy_from_slice(&sector[440..444]);
        partitions.push(Partition { number, start, len, kind, identity });
    }
    partitions
}
