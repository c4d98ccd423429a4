//! A first look at a volume: its table, partitions, boot code and loaders.

use std::ops::Range;

use crate::error::Result;
use crate::field;
use crate::guest::fat;
use crate::guest::fault::GuestFault;
use crate::guest::gpt;
use crate::guest::layout::Layout;
use crate::guest::layout::PartitionKind;
use crate::guest::layout::SECTOR_SIZE;
use crate::guest::layout::Table;
use crate::guest::layout::read;
use crate::guest::mbr;
use crate::volume::ReadVolume;

/// Looks into a volume.
///
/// # Errors
///
/// Whatever reading the volume returns; damage inside is part of the answer.
pub fn look(volume: &dyn ReadVolume) -> Result<Layout> {
    let mut layout = Layout::default();
    let Some(sector) = read(volume, 0, SECTOR_SIZE)? else {
        return Ok(layout);
    };
    let has_signature = field::u16_le(&sector, 510) == mbr::SIGNATURE;
    layout.file_system = file_system(volume)?;
    layout.has_boot_code = has_signature && sector[..440].iter().any(|byte| *byte != 0);
    let header = gpt::find(volume)?;
    let protective = has_signature && mbr::is_protective(&sector);
    if header.is_some() || protective || gpt::is_for_large_sectors(volume)? {
        layout.table = Table::Gpt;
        layout.file_system = None;
        gpt::parse(volume, &mut layout)?;
    } else if has_signature && layout.file_system.is_none() {
        let primary = mbr::parse(&sector, volume.size(), &mut layout.faults);
        layout.partitions = primary.partitions;
        for extended in &primary.extended {
            logical_partitions(volume, &sector[440..444], extended, &mut layout)?;
        }
        let has_any = !layout.partitions.is_empty() || !primary.extended.is_empty();
        if has_any || !layout.faults.is_empty() {
            layout.table = Table::Mbr;
        }
    }
    for partition in layout.partitions.iter().filter(|it| it.kind == PartitionKind::Esp) {
        match fat::loaders(volume, partition)? {
            Ok(found) => layout.loaders.extend(found),
            Err(fault) => layout.faults.push(fault),
        }
    }
    Ok(layout)
}

/// Most records of extended partitions: Linux gives names to fewer partitions.
const MAX_LOGICAL: usize = 256;

/// Follows the records of an extended partition.
fn logical_partitions(
    volume: &dyn ReadVolume,
    disk: &[u8],
    extended: &Range<u64>,
    layout: &mut Layout,
) -> Result<()> {
    let mut at = extended.start;
    loop {
        let last = layout.partitions.last().map_or(0, |it| it.number);
        let number = last.strict_add(1).max(mbr::FIRST_LOGICAL);
        let inside = extended.contains(&at) && !layout.extended.contains(&at);
        let sector = if inside { read(volume, at, SECTOR_SIZE)? } else { None };
        let record = sector.and_then(|it| mbr::logical(&it, at, extended, number, disk));
        let Some(record) = record.filter(|_| layout.extended.len() < MAX_LOGICAL) else {
            layout.faults.push(GuestFault::ExtendedPartition { at });
            return Ok(());
        };
        layout.extended.push(at);
        layout.partitions.extend(record.partition);
        if record.is_outside {
            layout.faults.push(GuestFault::PartitionRange { number });
        }
        match record.next {
            Some(next) => at = next,
            None => return Ok(()),
        }
    }
}

/// Tells the file system at the start of a volume by its magic number.
fn file_system(volume: &dyn ReadVolume) -> Result<Option<&'static str>> {
    const MAGICS: [(u64, &[u8], &str); 5] = [
        (0, b"XFSB", "xfs"),
        (1080, b"\x53\xef", "ext"),
        (65_600, b"_BHRfS_M", "btrfs"),
        (65_588, b"ReIsEr", "reiserfs"),
        (32_768, b"JFS1", "jfs"),
    ];
    for (offset, magic, name) in MAGICS {
        let len = u64::try_from(magic.len()).expect("a few bytes");
        if read(volume, offset, len)?.is_some_and(|found| found == magic) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
