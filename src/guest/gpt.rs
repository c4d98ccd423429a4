//! The GUID partition table (UEFI 2.10, chapter 5), with both of its copies.
//!
//! ```text
//! offset size field of the header (little-endian)
//!      0    8 Signature "EFI PART"
//!     12    4 HeaderSize: 92 to 512
//!     16    4 HeaderCRC32, of HeaderSize bytes with this field 0
//!     24    8 MyLBA
//!     32    8 AlternateLBA
//!     72    8 PartitionEntryLBA
//!     80    4 NumberOfPartitionEntries
//!     84    4 SizeOfPartitionEntry: 128 times a power of two
//!     88    4 PartitionEntryArrayCRC32
//! an entry: 0 type GUID, 16 its own GUID, 32 first sector, 40 last sector, 48 attributes, 56 name in UTF-16
//! ```

use crate::digest::crc32;
use crate::error::Result;
use crate::field;
use crate::guest::fault::GuestFault;
use crate::guest::layout::Identity;
use crate::guest::layout::Label;
use crate::guest::layout::Layout;
use crate::guest::layout::Partition;
use crate::guest::layout::PartitionKind;
use crate::guest::layout::SECTOR_SIZE;
use crate::guest::layout::read;
use crate::volume::ReadVolume;

/// Bytes of a sector of disks that do not pretend to have smaller ones.
const LARGE_SECTOR_SIZE: u64 = 4096;

const MAGIC: &[u8; 8] = b"EFI PART";

/// Most bytes of the entries that are read: 64 times what every tool makes.
const MAX_ENTRIES_LEN: u64 = 1 << 20;

/// C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
const ESP: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];

/// 21686148-6449-6E6F-744E-656564454649.
const BIOS_BOOT: [u8; 16] = *b"Hah!IdontNeedEFI";

/// Returns the header in sector 1, if there is one.
pub(super) fn find(volume: &dyn ReadVolume) -> Result<Option<Vec<u8>>> {
    let sector = read(volume, SECTOR_SIZE, SECTOR_SIZE)?;
    Ok(sector.filter(|sector| sector.starts_with(MAGIC)))
}

/// Tells whether there is a header where a disk with sectors of 4096 bytes has it: it says itself that it is in
/// sector 1.
pub(super) fn is_for_large_sectors(volume: &dyn ReadVolume) -> Result<bool> {
    let found = read(volume, LARGE_SECTOR_SIZE, SECTOR_SIZE)?;
    Ok(found.is_some_and(|header| header.starts_with(MAGIC) && field::u64_le(&header, 24) == 1))
}

/// A header, checked.
struct Header {
    alternate: u64,
    entries_offset: u64,
    count: u32,
    entry_len: u32,
    entries_crc: u32,
}

impl Header {
    fn parse(sector: &[u8], lba: u64) -> Result<Self, GuestFault> {
        let impossible = |field, found| Err(GuestFault::GptHeader { field, found });
        let size = field::u32_le(sector, 12);
        if !(92..=512).contains(&size) {
            return impossible("HeaderSize", size.into());
        }
        let mut summed = sector[..usize::try_from(size).expect("at most 512")].to_vec();
        field::put_u32_le(&mut summed, 16, 0);
        let (found, expected) = (crc32(&summed), field::u32_le(sector, 16));
        if found != expected {
            return Err(GuestFault::GptChecksum { of: "header", found, expected });
        }
        let my_lba = field::u64_le(sector, 24);
        if my_lba != lba {
            return impossible("MyLBA", my_lba);
        }
        let entries_lba = field::u64_le(sector, 72);
        let (count, entry_len) = (field::u32_le(sector, 80), field::u32_le(sector, 84));
        if entry_len < 128 || !entry_len.is_power_of_two() {
            return impossible("SizeOfPartitionEntry", entry_len.into());
        }
        if u64::from(count).strict_mul(entry_len.into()) > MAX_ENTRIES_LEN || count == 0 {
            return impossible("NumberOfPartitionEntries", count.into());
        }
        let Some(entries_offset) = entries_lba.checked_mul(SECTOR_SIZE) else {
            return impossible("PartitionEntryLBA", entries_lba);
        };
        let entries_crc = field::u32_le(sector, 88);
        let alternate = field::u64_le(sector, 32);
        Ok(Self { alternate, entries_offset, count, entry_len, entries_crc })
    }

    /// Reads the entries and holds them against their checksum.
    fn entries(&self, volume: &dyn ReadVolume) -> Result<Result<Vec<u8>, GuestFault>> {
        let len = u64::from(self.count).strict_mul(self.entry_len.into());
        let Some(entries) = read(volume, self.entries_offset, len)? else {
            let found = self.entries_offset / SECTOR_SIZE;
            return Ok(Err(GuestFault::GptHeader { field: "PartitionEntryLBA", found }));
        };
        let (found, expected) = (crc32(&entries), self.entries_crc);
        if found != expected {
            return Ok(Err(GuestFault::GptChecksum { of: "entries", found, expected }));
        }
        Ok(Ok(entries))
    }
}

/// Reads the table into `layout`: the partitions, or what is wrong with it.
pub(super) fn parse(volume: &dyn ReadVolume, layout: &mut Layout) -> Result<()> {
    let Some(sector) = find(volume)? else {
        layout.faults.push(if is_for_large_sectors(volume)? {
            GuestFault::GptSectors { found: LARGE_SECTOR_SIZE }
        } else {
            GuestFault::NoGpt
        });
        return Ok(());
    };
    let header = match Header::parse(&sector, 1) {
        Ok(header) => header,
        Err(fault) => {
            layout.faults.push(fault);
            return Ok(());
        }
    };
    let entries = match header.entries(volume)? {
        Ok(entries) => entries,
        Err(fault) => {
            layout.faults.push(fault);
            return Ok(());
        }
    };
    let entry_len = usize::try_from(header.entry_len).expect("at most 1 MiB");
    for (number, entry) in (1..).zip(entries.chunks_exact(entry_len)) {
        let kind = match field::array::<16>(entry, 0) {
            nothing if nothing == [0; 16] => continue,
            ESP => PartitionKind::Esp,
            BIOS_BOOT => PartitionKind::BiosBoot,
            _ => PartitionKind::Other,
        };
        match range(field::u64_le(entry, 32), field::u64_le(entry, 40), volume.size()) {
            Some((start, len)) => {
                let identity = Identity {
                    type_id: field::array(entry, 0),
                    id: field::array(entry, 16),
                    attributes: field::u64_le(entry, 48),
                    label: Label(field::array(entry, 56)),
                };
                layout.partitions.push(Partition { number, start, len, kind, identity });
            }
            None => layout.faults.push(GuestFault::PartitionRange { number }),
        }
    }
    layout.backup = backup(volume, &header, &entries)?.err();
    Ok(())
}

/// Turns first and last sector into first byte and length, if they lie inside the volume.
fn range(first: u64, last: u64, size: u64) -> Option<(u64, u64)> {
    let start = first.checked_mul(SECTOR_SIZE)?;
    let end = last.checked_add(1)?.checked_mul(SECTOR_SIZE)?;
    (start > 0 && start < end && end <= size).then(|| (start, end.strict_sub(start)))
}

/// Checks the copy that stands at the end of the volume.
fn backup(
    volume: &dyn ReadVolume,
    primary: &Header,
    entries: &[u8],
) -> Result<Result<(), GuestFault>> {
    // The primary header was read from sector 1, so there is a last sector.
    let last = (volume.size() / SECTOR_SIZE).strict_sub(1);
    if primary.alternate != last {
        return Ok(Err(GuestFault::BackupPlace { found: primary.alternate, expected: last }));
    }
    let sector = read(volume, last.strict_mul(SECTOR_SIZE), SECTOR_SIZE)?.unwrap_or_default();
    if !sector.starts_with(MAGIC) {
        return Ok(Err(GuestFault::Backup));
    }
    let Ok(copy) = Header::parse(&sector, last) else { return Ok(Err(GuestFault::Backup)) };
    let same = copy.entries(volume)?.is_ok_and(|copied| copied == entries);
    Ok(if same { Ok(()) } else { Err(GuestFault::Backup) })
}
