//! From headers, region table, metadata and block allocation table to a map of runs.

use crate::error::Error;
use crate::error::Result;
use crate::format::vhdx::layout::BlockState;
use crate::format::vhdx::layout::Disk;
use crate::format::vhdx::layout::HEADER_LEN;
use crate::format::vhdx::layout::HEADERS_AT;
use crate::format::vhdx::layout::Header;
use crate::format::vhdx::layout::Items;
use crate::format::vhdx::layout::MIB;
use crate::format::vhdx::layout::REGIONS_AT;
use crate::format::vhdx::layout::Regions;
use crate::format::vhdx::layout::SIGNATURE;
use crate::format::vhdx::layout::TABLE_LEN;
use crate::format::vhdx::layout::VhdxFault;
use crate::io::ReadAt;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::check_size;

/// Entries of the block allocation table that are read at once: 64 KiB.
const ENTRIES_LEN: u64 = 8 << 10;

/// Longest file, in bytes: four times the largest volume. A bit is kept for each MiB of it.
const MAX_FILE_LEN: u64 = 256 << 40;

/// Reads the metadata of an image. Its runs point into source 0.
pub(super) fn parse(bytes: &dyn ReadAt) -> Result<(RunMap, Disk)> {
    let len = bytes.len();
    let fault = |fault: VhdxFault, at| Err(Error::from(fault).at(at));
    if len < MIB {
        return fault(VhdxFault::Cut { len }, 0);
    }
    if len > MAX_FILE_LEN {
        return fault(VhdxFault::FileLen { len }, 0);
    }
    let mut signature = [0; 8];
    bytes.read_exact_at(&mut signature, 0)?;
    if signature != SIGNATURE {
        return fault(VhdxFault::Signature { part: "file identifier" }, 0);
    }
    let header = header(bytes)?;
    if header.has_log {
        let advice = "open it once with its own tool, or run `qemu-img check -r all` on a copy";
        return Err(Error::from(VhdxFault::Log).at(48).advise(advice));
    }
    let regions = regions(bytes, header.log)?;
    let disk = disk(bytes, &regions)?;
    Ok((blocks(bytes, &regions, disk)?, disk))
}

/// Returns the header that counts: the sound one, or of two the newer.
fn header(bytes: &dyn ReadAt) -> Result<Header> {
    let [one_at, other_at] = HEADERS_AT;
    let (mut one, mut other) = ([0; HEADER_LEN], [0; HEADER_LEN]);
    bytes.read_exact_at(&mut one, one_at)?;
    bytes.read_exact_at(&mut other, other_at)?;
    match (Header::parse(&one), Header::parse(&other)) {
        (Ok(first), Ok(second)) if first.sequence == second.sequence && one != other => {
            Err(Error::from(VhdxFault::SameSequence).at(other_at))
        }
        (Ok(first), Ok(second)) if first.sequence >= second.sequence => Ok(first),
        (_, Ok(second)) => Ok(second),
        (Ok(first), Err(_)) => Ok(first),
        (Err(fault), Err(_)) => Err(Error::from(fault).at(one_at)),
    }
}

/// Returns what the region table says: the first, or its copy if the first is damaged.
fn regions(bytes: &dyn ReadAt, log: (u64, u32)) -> Result<Regions> {
    let [one_at, other_at] = REGIONS_AT;
    let (mut one, mut other) = (vec![0; TABLE_LEN], vec![0; TABLE_LEN]);
    bytes.read_exact_at(&mut one, one_at)?;
    bytes.read_exact_at(&mut other, other_at)?;
    let parse = |table: &[u8]| Regions::parse(table, log, bytes.len());
    let damaged = |fault| matches!(fault, VhdxFault::Checksum { .. } | VhdxFault::Signature { .. });
    match (parse(&one), parse(&other)) {
        (Err(fault), Ok(regions)) if damaged(fault) => Ok(regions),
        (Ok(regions), Err(fault)) if damaged(fault) => Ok(regions),
        (Ok(_), _) if one != other => Err(Error::from(VhdxFault::RegionTablesDiffer).at(other_at)),
        (first, _) => first.map_err(|fault| Error::from(fault).at(one_at)),
    }
}

/// Returns what the metadata says of the volume.
fn disk(bytes: &dyn ReadAt, regions: &Regions) -> Result<Disk> {
    let region = &regions.metadata;
    let mut table = vec![0; TABLE_LEN];
    bytes.read_exact_at(&mut table, region.start)?;
    let here = |fault: VhdxFault| Error::from(fault).at(region.start);
    let region_len = region.end.strict_sub(region.start);
    let items = Items::parse(&table, region_len).map_err(here)?;
    let (mut parameters, mut size, mut sector) = ([0; 8], [0; 8], [0; 4]);
    // Cannot overflow: items lie inside the region.
    let at = |item: u32| region.start.strict_add(item.into());
    bytes.read_exact_at(&mut parameters, at(items.file_parameters))?;
    bytes.read_exact_at(&mut size, at(items.virtual_disk_size))?;
    bytes.read_exact_at(&mut sector, at(items.logical_sector_size))?;
    let disk = Disk::parse(parameters, size, sector).map_err(|fault| match fault {
        VhdxFault::HasParent => here(fault)
            .advise("merge it with its parent, or convert it with a tool that reads the parent"),
        _ => here(fault),
    })?;
    check_size(disk.size).map_err(|e| e.at(at(items.virtual_disk_size)))?;
    Ok(disk)
}

/// Turns the block allocation table into runs.
fn blocks(bytes: &dyn ReadAt, regions: &Regions, disk: Disk) -> Result<RunMap> {
    let block_count = disk.block_count();
    // Cannot overflow: there are 2^26 blocks at most. There is one at least.
    let entry_count = disk.entry_of(block_count.strict_sub(1)).strict_add(1);
    let expected = entry_count.strict_mul(8);
    let found = regions.bat.end.strict_sub(regions.bat.start);
    if found < expected {
        let fault = VhdxFault::TableLen { found, expected };
        return Err(Error::from(fault).at(regions.bat.start));
    }
    let (ratio, block_len) = (disk.chunk_ratio(), u64::from(disk.block_len));
    let mut taken = Taken::new(bytes.len(), regions);
    let mut map = RunMap::default();
    let mut piece = Vec::new();
    let mut block = 0_u64;
    for first in (0..entry_count).step_by(usize::try_from(ENTRIES_LEN).expect("a small number")) {
        let count = entry_count.strict_sub(first).min(ENTRIES_LEN);
        piece.resize(usize::try_from(count.strict_mul(8)).expect("at most 64 KiB"), 0);
        // Cannot overflow: inside the region.
        let at = |entry: u64| regions.bat.start.strict_add(entry.strict_mul(8));
        bytes.read_exact_at(&mut piece, at(first))?;
        for (number, entry) in (first..).zip(piece.as_chunks::<8>().0) {
            if number.strict_rem(ratio.strict_add(1)) == ratio {
                // Of a bitmap, which only a differencing image has.
                continue;
            }
            let entry = u64::from_le_bytes(*entry);
            // Cannot overflow: inside the volume.
            let len = disk.size.strict_sub(block.strict_mul(block_len)).min(block_len);
            let place = match BlockState::parse(entry) {
                Some(BlockState::Absent) => Place::Hole,
                Some(BlockState::Zero) => Place::Zero,
                Some(BlockState::Present(start)) => {
                    taken.take(block, start, block_len, len).map_err(|e| e.at(at(number)))?;
                    Place::Stored { source: 0, offset: start }
                }
                None => {
                    let found = u8::try_from(entry & 7).expect("below 8");
                    let fault = VhdxFault::BlockState { block, found };
                    return Err(Error::from(fault).at(at(number)));
                }
            };
            map.push(len, place);
            if map.run_count() > MAX_RUNS {
                return Err(Error::from(VhdxFault::Runs).at(at(number)));
            }
            block = block.strict_add(1);
        }
    }
    Ok(map)
}

/// Which MiB of the file are in use: a bit for each.
struct Taken {
    file_len: u64,
    bits: Vec<u64>,
}

impl Taken {
    fn new(file_len: u64, regions: &Regions) -> Self {
        let words = file_len.div_ceil(MIB).div_ceil(64);
        let words = usize::try_from(words).expect("2^22 by the longest file");
        let mut taken = Self { file_len, bits: vec![0; words] };
        taken.set(0);
        for region in &regions.all {
            for mib in region.start.strict_div(MIB)..region.end.strict_div(MIB) {
                taken.set(mib);
            }
        }
        taken
    }

    /// Marks a MiB of the file, and tells whether it was free.
    fn set(&mut self, mib: u64) -> bool {
        let word = &mut self.bits[usize::try_from(mib.strict_div(64)).expect("in the file")];
        let bit = 1 << mib.strict_rem(64);
        let free = *word & bit == 0;
        *word |= bit;
        free
    }

    /// Marks the bytes of a block, of which the volume has `len`: only those must be there.
    fn take(&mut self, block: u64, start: u64, block_len: u64, len: u64) -> Result<(), Error> {
        let file_len = self.file_len;
        let outside = || Error::from(VhdxFault::BlockPlace { block, start, len: file_len });
        let end = start.checked_add(len).filter(|end| *end <= file_len).ok_or_else(outside)?;
        if start < MIB {
            return Err(outside());
        }
        // What the block has behind the volume's end may be cut, but is not for others either.
        let whole_end = end.max(start.saturating_add(block_len).min(file_len));
        for mib in start.strict_div(MIB)..whole_end.div_ceil(MIB) {
            if !self.set(mib) {
                return Err(VhdxFault::BlocksOverlap { block, start }.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use crate::error::Kind;
    use crate::field;

    /// Where the first payload block of [`image`] may start.
    const FIRST: u64 = 4 * MIB;

    fn to_usize(number: u64) -> usize {
        usize::try_from(number).unwrap()
    }

    fn header(sequence: u64, id: u8) -> Header {
        Header { sequence, write_ids: [[id; 16]; 2], has_log: false, log: (MIB, 1 << 20) }
    }

    fn disk(size: u64) -> Disk {
        Disk { block_len: 1 << 20, size, sector_len: 512 }
    }

    /// An image of blocks of 1 MiB with these entries, and room for `blocks` of them.
    fn image(size: u64, table: &[u64], blocks: u64) -> Vec<u8> {
        let mut bytes = vec![0; to_usize(FIRST + blocks * MIB)];
        let mut put = |at: u64, new: &[u8]| field::put_bytes(&mut bytes, to_usize(at), new);
        put(0, &SIGNATURE);
        put(HEADERS_AT[0], &header(1, 1).encode());
        put(HEADERS_AT[1], &header(2, 2).encode());
        for at in REGIONS_AT {
            put(at, &Regions::encode(&(3 * MIB..FIRST), &(2 * MIB..3 * MIB)));
        }
        put(2 * MIB, &disk(size).encode([3; 16]));
        for (number, entry) in (0..).zip(table) {
            put(3 * MIB + 8 * number, &entry.to_le_bytes());
        }
        bytes
    }

    fn runs(bytes: &dyn ReadAt) -> Result<Vec<(u64, Place)>> {
        let (map, _) = parse(bytes)?;
        Ok(map.within(0..map.size()).map(|(range, place)| (range.end, place)).collect())
    }

    fn fault(bytes: &dyn ReadAt) -> (Kind, String) {
        let error = runs(bytes).unwrap_err();
        assert!(error.offset().is_some());
        (error.kind(), error.to_string())
    }

    #[track_caller]
    fn check_fault(bytes: &dyn ReadAt, kind: Kind, text: &str) {
        let (found, told) = fault(bytes);
        assert!(found == kind && told.contains(text), "{found:?} {told} lacks {text}");
    }

    #[test]
    fn states_become_runs() {
        let size = 8 * MIB + 512;
        let present = |mib: u64| mib << 20 | 6;
        // The last block's bytes behind the volume need not be in the file.
        let table = [present(5), present(6), present(4), 0, 1, 3, 5, 2, present(7)];
        let mut bytes = image(size, &table, 3);
        bytes.resize(to_usize(7 * MIB + 512), 0);
        let stored = |offset: u64| Place::Stored { source: 0, offset };
        assert_eq!(
            runs(&bytes).unwrap(),
            [
                (2 * MIB, stored(5 * MIB)),
                (3 * MIB, stored(4 * MIB)),
                (7 * MIB, Place::Hole),
                (8 * MIB, Place::Zero),
                (size, stored(7 * MIB)),
            ]
        );
        bytes.pop();
        check_fault(&bytes, Kind::Corrupt, "block 8 starts at byte 7340032");
    }

    #[test]
    fn entries_of_bitmaps_are_passed_over() {
        // 4,096 blocks of 1 MiB make a chunk; then one entry is a bitmap's.
        let mut table = vec![2; 4096];
        table.extend([7, 0]);
        let size = 4097 * MIB;
        let runs = runs(&image(size, &table, 0)).unwrap();
        assert_eq!(runs, [(4096 * MIB, Place::Zero), (size, Place::Hole)]);
    }

    #[test]
    fn the_newer_sound_header_counts() {
        let sound = image(MIB, &[2], 0);
        let with = |one: &[u8], other: &[u8]| {
            let mut bytes = sound.clone();
            field::put_bytes(&mut bytes, to_usize(HEADERS_AT[0]), one);
            field::put_bytes(&mut bytes, to_usize(HEADERS_AT[1]), other);
            bytes
        };
        let damaged = [0; HEADER_LEN];
        let count = |one: &[u8], other: &[u8]| super::header(&with(one, other)).map(|h| h.sequence);
        let [first, second] = [header(1, 1).encode(), header(2, 2).encode()];
        assert_eq!(count(&first, &second).unwrap(), 2);
        assert_eq!(count(&second, &first).unwrap(), 2);
        assert_eq!(count(&first, &damaged).unwrap(), 1);
        assert_eq!(count(&damaged, &second).unwrap(), 2);
        // As Disk2vhd writes them.
        assert_eq!(count(&first, &first).unwrap(), 1);
        let other = header(1, 2).encode();
        check_fault(&with(&first, &other), Kind::Corrupt, "the same sequence number");
        check_fault(&with(&damaged, &damaged), Kind::Corrupt, "header lacks its signature");
    }

    #[test]
    fn a_log_that_holds_something_is_refused() {
        let mut bytes = image(MIB, &[2], 0);
        let mut with_log = header(3, 1).encode();
        with_log[48] = 1;
        with_log[4..8].fill(0);
        let sum = crate::digest::crc32c(&with_log);
        field::put_u32_le(&mut with_log, 4, sum);
        field::put_bytes(&mut bytes, to_usize(HEADERS_AT[0]), &with_log);
        check_fault(&bytes, Kind::Unsupported, "qemu-img check -r all");
    }

    #[test]
    fn a_damaged_region_table_has_a_copy() {
        let sound = image(MIB, &[2], 0);
        let with = |number: usize, at: usize, byte: u8| {
            let mut bytes = sound.clone();
            bytes[to_usize(REGIONS_AT[number]) + at] = byte;
            bytes
        };
        for number in [0, 1] {
            for at in [0, 100] {
                assert_eq!(runs(&with(number, at, 1)).unwrap(), runs(&sound).unwrap());
            }
        }
        let mut both = with(0, 100, 1);
        both[to_usize(REGIONS_AT[1])] = 1;
        check_fault(&both, Kind::Corrupt, "checksum is");
        let mut moved = image(MIB, &[2], 1);
        let other = Regions::encode(&(4 * MIB..5 * MIB), &(2 * MIB..3 * MIB));
        field::put_bytes(&mut moved, to_usize(REGIONS_AT[1]), &other);
        check_fault(&moved, Kind::Corrupt, "region tables are both valid and differ");
    }

    #[test]
    fn each_check_of_a_block_is_tripped() {
        for state in [4, 7] {
            let bytes = image(MIB, &[FIRST | state], 1);
            check_fault(&bytes, Kind::Corrupt, &format!("state of block 0 is {state}"));
        }
        for mib in [0, 5, 6, (1 << 44) - 1] {
            check_fault(&image(MIB, &[mib << 20 | 6], 1), Kind::Corrupt, "block 0 starts at byte");
        }
        // Over the log, the metadata and the table.
        for mib in [1, 2, 3] {
            let bytes = image(MIB, &[mib << 20 | 6], 1);
            check_fault(&bytes, Kind::Corrupt, "expected it clear of other blocks");
        }
        let twice = image(2 * MIB, &[FIRST | 6, FIRST | 6], 1);
        check_fault(&twice, Kind::Corrupt, "block 1 starts at byte 4194304");
        let long = image(131_072 * MIB, &[], 0);
        check_fault(&long, Kind::Corrupt, "table has 1048576 bytes, expected 1048824");
    }

    #[test]
    fn what_is_no_image_at_all_is_refused() {
        check_fault(&vec![0; 1000], Kind::Corrupt, "the file has 1000 bytes");
        let mut bytes = image(MIB, &[2], 0);
        bytes[0] = 0;
        check_fault(&bytes, Kind::Corrupt, "file identifier lacks its signature");
        let large = image(65 << 40, &[], 0);
        check_fault(&large, Kind::Limit, "64 TiB");
        let mut parent = image(MIB, &[2], 0);
        parent[to_usize(2 * MIB) + TABLE_LEN + 4] = 2;
        check_fault(&parent, Kind::Unsupported, "differencing");
    }

    /// A file that is longer than memory: its start, and then entries that never join.
    #[derive(Debug)]
    struct Huge(Vec<u8>, u64);

    impl ReadAt for Huge {
        fn len(&self) -> u64 {
            self.1
        }

        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
            for (number, entry) in buf.chunks_mut(8).enumerate() {
                entry.fill(0);
                entry[0] = if number % 2 == 0 { 2 } else { 0 };
            }
            if let Some(own) = self.0.get(to_usize(offset)..) {
                let len = own.len().min(buf.len());
                buf[..len].copy_from_slice(&own[..len]);
            }
            Ok(())
        }
    }

    #[test]
    fn more_runs_than_fit_are_refused() {
        let mut bytes = image(8 << 40, &[], 0);
        for at in REGIONS_AT {
            let regions = Regions::encode(&(3 * MIB..100 * MIB), &(2 * MIB..3 * MIB));
            field::put_bytes(&mut bytes, to_usize(at), &regions);
        }
        bytes.truncate(to_usize(3 * MIB));
        let huge = Huge(bytes, 100 * MIB);
        check_fault(&huge, Kind::Limit, "over 4194304 runs");
        let long = Huge(huge.0, MAX_FILE_LEN + 1);
        check_fault(&long, Kind::Limit, "at most 256 TiB");
    }
}
