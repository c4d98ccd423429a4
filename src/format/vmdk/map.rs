//! From a sparse file's header and tables to runs.

use std::path::Path;

use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::field;
use crate::format::vmdk::layout::FOOTER_LEN;
use crate::format::vmdk::layout::GRAIN_MARKER_LEN;
use crate::format::vmdk::layout::HEADER_LEN;
use crate::format::vmdk::layout::Header;
use crate::format::vmdk::layout::MAX_DESCRIPTOR_LEN;
use crate::format::vmdk::layout::SECTOR_LEN;
use crate::format::vmdk::layout::TABLE_LEN;
use crate::format::vmdk::layout::VmdkFault;
use crate::format::vmdk::layout::max_stream_len;
use crate::format::vmdk::layout::parse_footer;
use crate::io::ReadAt;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::check_size;

/// Bytes that are read at once where tables lie one behind the other: 32 of them.
const WINDOW_LEN: usize = 64 << 10;

/// Reads the header of a sparse file, and the footer where there is one.
///
/// # Errors
///
/// `Corrupt` or `Unsupported` as the header has it, with offset; `Limit` or `Invalid` for the
/// volume's size; `Io` if it cannot be read.
pub(super) fn read_header(bytes: &dyn ReadAt, force: bool) -> Result<Header> {
    let len = bytes.len();
    if len < 512 {
        return Err(Error::from(VmdkFault::HeaderCut { len }).at(0));
    }
    let mut found = [0; HEADER_LEN];
    bytes.read_exact_at(&mut found, 0)?;
    let mut header = Header::parse(&found).map_err(|fault| Error::from(fault).at(0))?;
    if header.directory_offset.is_none() {
        // A footer is behind a header at least.
        let at = len.checked_sub(1536).filter(|at| *at >= 512);
        let at = at.ok_or_else(|| Error::from(VmdkFault::FooterCut { len }).at(56))?;
        let mut footer = [0; FOOTER_LEN];
        bytes.read_exact_at(&mut footer, at)?;
        header = parse_footer(&footer, &found).map_err(|fault| Error::from(fault).at(at))?;
    }
    if header.unclean && !force {
        return Err(Error::from(VmdkFault::Unclean)
            .at(72)
            .advise(Advice::Force { first: "close the machine that uses it".into() }));
    }
    check_size(header.capacity.saturating_mul(SECTOR_LEN)).map_err(|e| e.at(12))?;
    inside(bytes, "the metadata", 0, header.overhead.saturating_mul(SECTOR_LEN), 64)?;
    Ok(header)
}

/// Reads the descriptor inside a sparse file; `None` if there is none.
pub(super) fn read_descriptor(bytes: &dyn ReadAt, header: &Header) -> Result<Option<Vec<u8>>> {
    let (offset, size) = (header.descriptor_offset, header.descriptor_size);
    if offset == 0 || size == 0 {
        return Ok(None);
    }
    if offset != 1 {
        return Err(Error::from(VmdkFault::DescriptorOffset { found: offset }).at(28));
    }
    let found = size.saturating_mul(SECTOR_LEN);
    if found > MAX_DESCRIPTOR_LEN {
        return Err(Error::from(super::descriptor::DescriptorFault::Len { found }).at(36));
    }
    inside(bytes, "the descriptor", SECTOR_LEN, found, 36)?;
    let mut text = vec![0; usize::try_from(found).expect("at most 1 MiB")];
    bytes.read_exact_at(&mut text, SECTOR_LEN)?;
    // qemu-img leaves the descriptors of extents empty.
    Ok((text[0] != 0).then_some(text))
}

/// Checks that a part of the file lies inside it; `field_at` is where its place was found.
fn inside(bytes: &dyn ReadAt, what: &'static str, at: u64, len: u64, field_at: u64) -> Result<()> {
    let (found, expected) = (at.saturating_add(len), bytes.len());
    if found <= expected {
        return Ok(());
    }
    Err(Error::from(VmdkFault::Outside { what, found, expected }).at(field_at))
}

/// Adds the runs of a sparse file to `map`. They point into source number `source`; `absent` is what a
/// grain is that the file does not have.
///
/// # Errors
///
/// `Corrupt` or `Limit` with the offset of the entry that breaks the format; `Io` if the file cannot
/// be read.
pub(super) fn read_grains(
    bytes: &dyn ReadAt,
    header: &Header,
    source: u16,
    absent: Place,
    map: &mut RunMap,
) -> Result<()> {
    const ENTRY_LEN: u64 = 4;
    let directory_at =
        header.directory_offset.expect("the footer was read").saturating_mul(SECTOR_LEN);
    // Cannot overflow: at most MAX_TABLES entries.
    let directory_len = header.table_count().strict_mul(ENTRY_LEN);
    inside(bytes, "the grain directory", directory_at, directory_len, 56)?;
    let mut directory = Window::new(bytes);
    let mut tables = Window::new(bytes);
    let mut grains = Grains { header, source, absent, map, stored: 0, end: bytes.len() };
    let mut rest = header.capacity;
    let mut taken = 0_u64;
    for number in 0..header.table_count() {
        let entry_at = directory_at.strict_add(number.strict_mul(ENTRY_LEN));
        let sector = field::u32_le(directory.read(entry_at, 4)?, 0);
        let span = rest.min(header.table_span());
        rest = rest.strict_sub(span);
        if sector == 0 {
            grains.push(span.strict_mul(SECTOR_LEN), absent, entry_at)?;
            continue;
        }
        let at = u64::from(sector).strict_mul(SECTOR_LEN);
        let len = span.div_ceil(header.grain_size).strict_mul(ENTRY_LEN);
        inside(bytes, "a grain table", at, len, entry_at)?;
        // No two tables are one, so all of them fit in the file, but for the last sector's end.
        taken = taken.strict_add(len.next_multiple_of(SECTOR_LEN));
        crowded("grain tables", taken, bytes.len().saturating_add(SECTOR_LEN), entry_at)?;
        let table = tables.read(at, usize::try_from(len).expect("at most 2 KiB"))?;
        if table.iter().all(|byte| *byte == 0) {
            grains.push(span.strict_mul(SECTOR_LEN), absent, entry_at)?;
            continue;
        }
        let mut left = span;
        for (entry, index) in table.as_chunks::<4>().0.iter().zip(0_u64..) {
            let sectors = left.min(header.grain_size);
            left = left.strict_sub(sectors);
            let entry_at = at.strict_add(index.strict_mul(ENTRY_LEN));
            grains.take(u32::from_le_bytes(*entry), sectors.strict_mul(SECTOR_LEN), entry_at)?;
        }
    }
    Ok(())
}

fn crowded(what: &'static str, found: u64, expected: u64, at: u64) -> Result<()> {
    if found <= expected {
        return Ok(());
    }
    Err(Error::from(VmdkFault::Crowded { what, found, expected }).at(at))
}

/// Turns entries of grain tables into runs.
struct Grains<'a> {
    header: &'a Header,
    source: u16,
    absent: Place,
    map: &'a mut RunMap,
    /// Bytes of the file that the grains up to here take at least.
    stored: u64,
    /// Bytes of the file.
    end: u64,
}

impl Grains<'_> {
    /// Adds a grain of which `len` bytes lie inside the volume.
    fn take(&mut self, entry: u32, len: u64, entry_at: u64) -> Result<()> {
        let header = self.header;
        let place = match entry {
            0 => self.absent,
            1 if header.zero_entries => Place::Zero,
            sector => {
                if u64::from(sector) < header.overhead {
                    let fault = VmdkFault::GrainInside { found: sector, expected: header.overhead };
                    return Err(Error::from(fault).at(entry_at));
                }
                let offset = u64::from(sector).strict_mul(SECTOR_LEN);
                let (place, taken, minimum) = if header.packed {
                    let grain_len = u32::try_from(header.grain_len()).expect("at most 2 MiB");
                    let len = max_stream_len(grain_len);
                    let marker_len = u64::try_from(GRAIN_MARKER_LEN).expect("a small number");
                    let place = Place::Packed { source: self.source, offset, len, skip: 0 };
                    // A stream of no bytes is refused later; every grain takes a sector.
                    (place, marker_len, SECTOR_LEN)
                } else {
                    (Place::Stored { source: self.source, offset }, len, len)
                };
                let (found, expected) = (offset.strict_add(taken), self.end);
                if found > expected {
                    let fault = VmdkFault::Outside { what: "a grain", found, expected };
                    return Err(Error::from(fault).at(entry_at));
                }
                // No two grains are one, so all of them fit in the file, but for the last sector's
                // end.
                self.stored = self.stored.strict_add(minimum);
                crowded("grains", self.stored, self.end.saturating_add(SECTOR_LEN), entry_at)?;
                place
            }
        };
        self.push(len, place, entry_at)
    }

    fn push(&mut self, len: u64, place: Place, entry_at: u64) -> Result<()> {
        self.map.push(len, place);
        if self.map.run_count() > MAX_RUNS {
            return Err(Error::from(VmdkFault::Runs).at(entry_at));
        }
        Ok(())
    }
}

/// Reads small pieces, and where they lie one behind the other, larger ones: there can be millions
/// of tables.
struct Window<'a> {
    source: &'a dyn ReadAt,
    start: u64,
    held: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(source: &'a dyn ReadAt) -> Self {
        Self { source, start: 0, held: Vec::new() }
    }

    /// Returns the `len` bytes from `at` on; the caller has checked that the source has them.
    fn read(&mut self, at: u64, len: usize) -> Result<&[u8]> {
        let skip = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let skip = skip.unwrap_or(usize::MAX);
        let held = skip.checked_add(len).is_some_and(|end| end <= self.held.len());
        if held {
            return Ok(&self.held[skip..][..len]);
        }
        // Goes on where the last piece ended, or in what was read of it, or starts again.
        let goes_on = skip <= self.held.len();
        let rest = usize::try_from(self.source.len().saturating_sub(at)).unwrap_or(usize::MAX);
        let most = if goes_on { WINDOW_LEN.max(len) } else { len };
        self.held.resize(rest.min(most), 0);
        self.start = at;
        self.source.read_exact_at(&mut self.held, at)?;
        Ok(&self.held[..len])
    }
}

/// Says which file a failure is about.
pub(super) fn about<T>(path: &Path, result: Result<T>) -> Result<T> {
    result.map_err(|e| e.in_file(path))
}

const _: () = assert!(TABLE_LEN <= 512, "a table fits in a window");

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use crate::error::Kind;
    use crate::io::testing::Counted;

    /// A header of a disk of `capacity` sectors in grains of 8, its directory at sector 1.
    fn header(capacity: u64) -> Header {
        Header {
            version: 2,
            capacity,
            grain_size: 8,
            descriptor_offset: 0,
            descriptor_size: 0,
            table_len: 4,
            redundant_offset: 0,
            directory_offset: Some(1),
            overhead: 4,
            zero_entries: true,
            packed: false,
            unclean: false,
        }
    }

    /// A disk with its directory in sector 1 and tables in sectors 2 and 3.
    fn disk(header: &Header, directory: &[u32], tables: [&[u32]; 2], sectors: usize) -> Vec<u8> {
        let mut bytes = vec![0; sectors * 512];
        bytes[..512].copy_from_slice(&header.encode());
        for (sector, entries) in [(1, directory), (2, tables[0]), (3, tables[1])] {
            for (index, entry) in entries.iter().enumerate() {
                field::put_u32_le(&mut bytes, sector * 512 + index * 4, *entry);
            }
        }
        bytes
    }

    fn runs(bytes: &Vec<u8>) -> Result<Vec<(std::ops::Range<u64>, Place)>> {
        let header = read_header(bytes, false)?;
        let mut map = RunMap::default();
        read_grains(bytes, &header, 5, Place::Backing, &mut map)?;
        assert_eq!(map.size(), header.capacity * 512);
        Ok(map.within(0..map.size()).collect())
    }

    fn refused(bytes: &Vec<u8>) -> (Kind, u64, String) {
        let error = runs(bytes).unwrap_err();
        (error.kind(), error.offset().unwrap(), error.to_string())
    }

    #[test]
    fn entries_become_runs() {
        // Three tables of 16 KiB, and one grain of which 3 sectors are inside.
        let bytes = disk(&header(99), &[2, 0, 0, 3], [&[4, 12, 1, 0], &[20]], 23);
        let stored = |offset| Place::Stored { source: 5, offset };
        assert_eq!(
            runs(&bytes).unwrap(),
            [
                (0..8192, stored(2048)),
                (8192..12_288, Place::Zero),
                (12_288..49_152, Place::Backing),
                (49_152..50_688, stored(20 * 512)),
            ]
        );
        // The last grain has only to have what the volume has.
        let (kind, offset, text) = refused(&bytes[..22 * 512].to_vec());
        assert_eq!((kind, offset), (Kind::Corrupt, 3 * 512), "{text}");
        assert!(text.contains("a grain ends at byte 11776"), "{text}");
    }

    #[test]
    fn each_number_is_held_against_the_file() {
        let sound = disk(&header(64), &[2, 3], [&[4, 12, 20], &[28]], 40);
        runs(&sound).unwrap();
        let changed = |at: usize, value: u32| {
            let mut bytes = sound.clone();
            field::put_u32_le(&mut bytes, at, value);
            refused(&bytes)
        };
        for (at, value, place, part) in [
            (56, 40, 56, "the grain directory ends at"),
            (56, 0x7fff_ffff, 56, "the grain directory ends at"),
            (64, 41, 64, "the metadata ends at"),
            (512, 40, 512, "a grain table ends at"),
            (512, u32::MAX, 512, "a grain table ends at"),
            (1024, 3, 1024, "a grain is at sector 3"),
            (1024, 33, 1024, "a grain ends at byte 20992"),
        ] {
            let (kind, offset, text) = changed(at, value);
            assert_eq!((kind, offset), (Kind::Corrupt, place), "{text}");
            assert!(text.contains(part), "{text}");
        }
        let mut bytes = sound.clone();
        bytes[72] = 1;
        let (kind, offset, text) = refused(&bytes);
        assert_eq!((kind, offset), (Kind::Unsupported, 72));
        assert!(text.contains("in use"), "{text}");
        assert!(read_header(&bytes, true).is_ok());
        // Without the flag an entry of 1 is a grain like others, and lies in the metadata.
        bytes = sound.clone();
        field::put_u32_le(&mut bytes, 8, 1);
        field::put_u32_le(&mut bytes, 1028, 1);
        assert_eq!(refused(&bytes).1, 1028);
    }

    #[test]
    fn a_place_that_stands_for_many_is_refused() {
        // Every entry of every table names one grain.
        let mut bytes = disk(&header(32), &[2], [&[4; 4], &[]], 20);
        let (kind, _, text) = refused(&bytes);
        assert_eq!(kind, Kind::Corrupt);
        assert!(text.contains("the grains take 12288 bytes"), "{text}");
        // Every entry of the directory names one table.
        let header = Header { directory_offset: Some(4), overhead: 0, ..header(32 * 1000) };
        bytes = disk(&header, &[], [&[], &[]], 4);
        bytes.extend([2, 0, 0, 0].repeat(1024));
        let (kind, _, text) = refused(&bytes);
        assert_eq!(kind, Kind::Corrupt);
        assert!(text.contains("the grain tables take"), "{text}");
    }

    #[test]
    fn a_volume_over_64_tib_is_refused_before_any_table() {
        let header = Header { grain_size: 1 << 21, table_len: 512, ..header((1 << 37) + 1) };
        let (kind, offset, _) = refused(&disk(&header, &[], [&[], &[]], 4));
        assert_eq!((kind, offset), (Kind::Limit, 12));
    }

    #[test]
    fn a_map_of_too_many_runs_is_refused() {
        // Grains of zeros and none, in turn.
        let entries = u64::try_from(MAX_RUNS).unwrap() + 512;
        let header = Header { table_len: 512, overhead: 0, ..header(entries * 8) };
        let tables = u32::try_from(header.table_count()).unwrap();
        let first = 1 + (tables * 4).div_ceil(512);
        let mut bytes = header.encode().to_vec();
        bytes.extend((0..tables).flat_map(|number| (first + 4 * number).to_le_bytes()));
        bytes.resize(usize::try_from(first * 512).unwrap(), 0);
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0].repeat(usize::try_from(entries / 2).unwrap()));
        let (kind, _, text) = refused(&bytes);
        assert_eq!(kind, Kind::Limit, "{text}");
    }

    #[test]
    fn a_descriptor_is_found_or_refused() {
        let mut bytes = disk(&header(64), &[], [&[], &[]], 9);
        let with = |offset, size| Header {
            descriptor_offset: offset,
            descriptor_size: size,
            ..header(64)
        };
        assert_eq!(read_descriptor(&bytes, &with(0, 1)).unwrap(), None);
        assert_eq!(read_descriptor(&bytes, &with(1, 1)).unwrap(), None);
        bytes[512] = b'#';
        assert_eq!(read_descriptor(&bytes, &with(1, 2)).unwrap().unwrap().len(), 1024);
        for (offset, size, kind, place) in [
            (2, 1, Kind::Corrupt, 28),
            (1, 9, Kind::Corrupt, 36),
            (1, 2048, Kind::Limit, 36),
            (1, u64::MAX, Kind::Limit, 36),
        ] {
            let error = read_descriptor(&bytes, &with(offset, size)).unwrap_err();
            assert_eq!((error.kind(), error.offset()), (kind, Some(place)));
        }
    }

    #[test]
    fn many_tables_take_few_reads() {
        const TABLES: u32 = 20_000;
        // A table in each sector behind the directory.
        let first = 2 + TABLES * 4 / 512;
        let header = Header { table_len: 128, overhead: 0, ..header(u64::from(TABLES) * 1024) };
        let mut bytes = vec![0; usize::try_from((first + TABLES) * 512).unwrap()];
        bytes[..512].copy_from_slice(&header.encode());
        for number in 0..TABLES {
            field::put_u32_le(
                &mut bytes,
                512 + 4 * usize::try_from(number).unwrap(),
                first + number,
            );
        }
        let counted = Counted::new(bytes);
        let mut map = RunMap::default();
        read_grains(&counted, &header, 0, Place::Hole, &mut map).unwrap();
        assert_eq!(map.run_count(), 1);
        assert!(counted.reads() < 170);
    }
}
