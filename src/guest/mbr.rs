//! The master boot record, and the records of an extended partition. Pure: bytes to partitions.
//!
//! ```text
//! offset size field
//!      0  440 boot code
//!    440    4 signature of the disk
//!    446   64 four entries of 16 bytes: +4 type, +8 first sector, +12 sectors
//!    510    2 signature 0xaa55
//! ```
//!
//! An extended partition holds a chain of such records without boot code, one for each logical partition: its first
//! entry is the partition, from the record on; its second one is the next record, from the extended partition on.

use std::ops::Range;

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

/// Types of an extended partition: with cylinders, with sectors, and Linux' own.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// Number of the first logical partition.
pub(super) const FIRST_LOGICAL: u32 = 5;

/// Types of the entries, in order.
fn entries(sector: &[u8]) -> impl Iterator<Item = &[u8]> {
    sector[446..510].chunks_exact(16)
}

/// Tells whether the record only announces a GPT.
pub(super) fn is_protective(sector: &[u8]) -> bool {
    entries(sector).any(|entry| entry[4] == PROTECTIVE)
}

/// What a master boot record names.
#[derive(Debug, Default)]
pub(super) struct Primary {
    /// Partitions, in order; extended ones only hold others.
    pub(super) partitions: Vec<Partition>,
    /// The extended partitions.
    pub(super) extended: Vec<Range<u64>>,
}

/// Returns the primary partitions of a volume of `size` bytes.
pub(super) fn parse(sector: &[u8], size: u64, faults: &mut Vec<GuestFault>) -> Primary {
    let mut found = Primary::default();
    for (number, entry) in (1..).zip(entries(sector)) {
        if entry[4] == 0 {
            continue;
        }
        match partition(entry, number, 0, size, &sector[440..444]) {
            None => faults.push(GuestFault::PartitionRange { number }),
            Some(it) if EXTENDED.contains(&entry[4]) => {
                found.extended.push(it.start..it.start.strict_add(it.len));
            }
            Some(it) => found.partitions.push(it),
        }
    }
    found
}

/// Returns the partition of an entry, counted from byte `base` on; `None` if it is not inside the volume.
fn partition(entry: &[u8], number: u32, base: u64, size: u64, disk: &[u8]) -> Option<Partition> {
    // 2^32 sectors of 512 bytes cannot overflow.
    let start = u64::from(field::u32_le(entry, 8)).strict_mul(SECTOR_SIZE);
    let len = u64::from(field::u32_le(entry, 12)).strict_mul(SECTOR_SIZE);
    let end = base.checked_add(start)?.checked_add(len)?;
    if start == 0 || len == 0 || end > size {
        return None;
    }
    let kind = if entry[4] == ESP { PartitionKind::Esp } else { PartitionKind::Other };
    let mut identity = Identity::default();
    identity.type_id[0] = entry[4];
    identity.id[..4].copy_from_slice(disk);
    Some(Partition { number, start: base.strict_add(start), len, kind, identity })
}

/// What a record of an extended partition names.
#[derive(Debug)]
pub(super) struct Logical {
    /// Its partition, if it has one that is inside the volume.
    pub(super) partition: Option<Partition>,
    /// Whether it names one that is not.
    pub(super) is_outside: bool,
    /// Byte of the next record.
    pub(super) next: Option<u64>,
}

/// Reads the record at byte `at` of the extended partition `whole`; `None` if it has no signature. `number` is that of
/// its partition, and `disk` the disk's signature.
pub(super) fn logical(
    sector: &[u8],
    at: u64,
    whole: &Range<u64>,
    number: u32,
    disk: &[u8],
) -> Option<Logical> {
    if field::u16_le(sector, 510) != SIGNATURE {
        return None;
    }
    let mut found = Logical { partition: None, is_outside: false, next: None };
    for entry in entries(sector) {
        if EXTENDED.contains(&entry[4]) {
            let next = u64::from(field::u32_le(entry, 8)).strict_mul(SECTOR_SIZE);
            let next = whole.start.strict_add(next);
            found.next = found.next.or(Some(next).filter(|next| *next != at));
        } else if entry[4] != 0 && found.partition.is_none() {
            found.partition = partition(entry, number, at, whole.end, disk);
            found.is_outside = found.partition.is_none();
        }
    }
    Some(found)
}
