//! From footers, header, table and bitmaps to a map of runs.

use std::borrow::Cow;
use std::ops::Range;

use crate::digest::is_zero;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::field;
use crate::format::vhd::layout::COOKIE;
use crate::format::vhd::layout::DiskType;
use crate::format::vhd::layout::FOOTER_LEN;
use crate::format::vhd::layout::Footer;
use crate::format::vhd::layout::HEADER_LEN;
use crate::format::vhd::layout::Header;
use crate::format::vhd::layout::OLD_FOOTER_LEN;
use crate::format::vhd::layout::SECTOR_LEN;
use crate::format::vhd::layout::UNUSED;
use crate::format::vhd::layout::VhdFault;
use crate::format::vhd::layout::bitmap_len;
use crate::format::vhd::layout::is_present;
use crate::io::PageBuffer;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::RunMap;

/// Entries of the block allocation table that are read at once: 64 KiB.
const TABLE_PIECE: u64 = 16 << 10;

/// Sectors of the smallest hole that is reported inside a stored block: a page. A sector that is absent
/// alone is zeros like any other.
const HOLE_SECTORS: usize = 8;

/// What a user may do who knows better than the image.
const FORCE: Advice =
    Advice::Force { first: Cow::Borrowed("repair it with its own tool, for one footer is sound") };
const RAW: Advice = Advice::NameFormat { first: Cow::Borrowed(""), format: Some("raw") };

/// The footer that counts, and the byte at which the one at the end starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footers {
    pub(super) footer: Footer,
    pub(super) end: u64,
}

/// Tells whether there is a footer's cookie at either end of the file.
pub(super) fn probe(bytes: &dyn ReadAt) -> Result<bool> {
    let Some(last_at) = bytes.len().checked_sub(512) else { return Ok(false) };
    let (mut first, mut last) = ([0; 8], [0; 9]);
    bytes.read_exact_at(&mut first, 0)?;
    bytes.read_exact_at(&mut last, last_at)?;
    Ok(first == COOKIE || last[..8] == COOKIE || last[1..] == COOKIE)
}

/// Reads and checks both footers. With `force`, one sound footer is enough, and of two sound ones
/// that differ the first counts.
pub(super) fn footers(bytes: &dyn ReadAt, force: bool) -> Result<Footers> {
    let len = bytes.len();
    let last_at =
        len.checked_sub(512).ok_or_else(|| Error::from(VhdFault::FooterCut { len }).at(0))?;
    let (mut first, mut last) = ([0; FOOTER_LEN], [0; FOOTER_LEN]);
    bytes.read_exact_at(&mut first, 0)?;
    bytes.read_exact_at(&mut last, last_at)?;
    let mut last_at = last_at;
    if field::array(&last, 0) != COOKIE && field::array(&last, 1) == COOKIE {
        last.rotate_left(1);
        last[511] = 0;
        last_at = len.strict_sub(OLD_FOOTER_LEN);
    }
    let at_start = (field::array(&first, 0) == COOKIE).then(|| Footer::parse(&first));
    let at_end = Footer::parse(&last);
    let found = |footer| Ok(Footers { footer, end: last_at });
    let one_footer = |end_is_sound| {
        Err(Error::from(VhdFault::OneFooter { end_is_sound })
            .at(if end_is_sound { 0 } else { last_at })
            .advise(FORCE))
    };
    match (at_start, at_end) {
        (None, Ok(footer)) if footer.disk_type == DiskType::Fixed || force => found(footer),
        (None, Ok(footer)) => {
            let fault = VhdFault::CopyMissing { found: footer.disk_type.number() };
            Err(Error::from(fault).at(last_at).advise(FORCE))
        }
        (None, Err(fault)) => Err(Error::from(fault).at(last_at).advise(RAW)),
        (Some(Ok(footer)), _) if footer.disk_type == DiskType::Fixed => {
            Err(Error::from(VhdFault::FixedAtStart).at(0))
        }
        (Some(Ok(footer)), Ok(_)) => match (0..FOOTER_LEN).find(|at| first[*at] != last[*at]) {
            Some(at) if !force => {
                Err(Error::from(VhdFault::FootersDiffer { at }).at(last_at).advise(FORCE))
            }
            _ => found(footer),
        },
        (Some(Ok(footer)), Err(_)) if force => {
            // What stands at the end may be a block's bytes.
            let is_footer = field::array(&last, 0) == COOKIE;
            Ok(Footers { footer, end: if is_footer { last_at } else { len } })
        }
        (Some(Ok(_)), Err(_)) => one_footer(false),
        (Some(Err(fault)), Ok(footer)) => match footer.disk_type {
            DiskType::Fixed => Err(Error::from(fault).at(0)),
            _ if force => found(footer),
            _ => one_footer(true),
        },
        (Some(Err(fault)), Err(_)) => Err(Error::from(fault).at(0)),
    }
}

/// Reads the metadata of a dynamic or differencing image. Its runs point into source `source`, and
/// what a differencing image does not have is `Backing`.
///
/// With `force`, the bitmaps of a dynamic image are not looked at, as qemu-img has it.
pub(super) fn parse(
    bytes: &dyn ReadAt,
    Footers { footer, end }: Footers,
    source: u16,
    force: bool,
) -> Result<(Header, RunMap)> {
    let header_at = footer.header_at;
    let place = |part, start: u64, len: u64| {
        let fault = VhdFault::Place { part, start, from: SECTOR_LEN, to: end };
        match start.checked_add(len) {
            Some(part_end) if start >= SECTOR_LEN && part_end <= end => Ok(start..part_end),
            _ => Err(Error::from(fault)),
        }
    };
    let header_range = place("dynamic header", header_at, 1024).map_err(|e| e.at(16))?;
    let mut found = [0; HEADER_LEN];
    bytes.read_exact_at(&mut found, header_at)?;
    let header = Header::parse(&found).map_err(|fault| Error::from(fault).at(header_at))?;

    let in_header = |e: Error| e.at(header_at);
    let block_len = u64::from(header.block_len);
    let block_count = footer.size.div_ceil(block_len);
    if u64::from(header.entry_count) < block_count {
        let fault = VhdFault::TableEntries { found: header.entry_count, expected: block_count };
        return Err(in_header(fault.into()));
    }
    // Cannot overflow: 2^34 at most.
    let table_len = u64::from(header.entry_count).strict_mul(4);
    let table = place("table", header.table_at, table_len).map_err(in_header)?;
    if table.start < header_range.end && table.end > header_range.start {
        let (start, from, to) = (table.start, header_range.end, end);
        return Err(in_header(VhdFault::Place { part: "table", start, from, to }.into()));
    }

    let mut blocks = Blocks {
        bytes,
        differencing: footer.disk_type == DiskType::Differencing,
        force,
        source,
        bitmap_len: bitmap_len(header.block_len),
        block_len,
        taken: [0..SECTOR_LEN, header_range, table],
        end,
        starts: Vec::new(),
        buffer: Vec::new(),
        zeros: PageBuffer::default(),
        map: RunMap::default(),
    };
    let mut piece = Vec::new();
    for first in (0..block_count).step_by(usize::try_from(TABLE_PIECE).expect("a small number")) {
        let count = block_count.strict_sub(first).min(TABLE_PIECE);
        // Cannot overflow: inside the table.
        let at = header.table_at.strict_add(first.strict_mul(4));
        piece.resize(usize::try_from(count.strict_mul(4)).expect("at most 64 KiB"), 0);
        bytes.read_exact_at(&mut piece, at)?;
        for (block, entry) in (first..).zip(piece.as_chunks::<4>().0) {
            // Cannot overflow: inside the volume.
            let len = footer.size.strict_sub(block.strict_mul(block_len)).min(block_len);
            let entry_at = header.table_at.strict_add(block.strict_mul(4));
            blocks.add(block, u32::from_be_bytes(*entry), len, entry_at)?;
        }
    }
    let map = blocks.finish()?;
    Ok((header, map))
}

/// Turns table entries into runs.
struct Blocks<'a> {
    bytes: &'a dyn ReadAt,
    differencing: bool,
    force: bool,
    source: u16,
    bitmap_len: u64,
    block_len: u64,
    /// Bytes of the file that no block may lie over.
    taken: [Range<u64>; 3],
    /// Byte by which blocks end.
    end: u64,
    /// Sectors at which blocks start.
    starts: Vec<u32>,
    buffer: Vec<u8>,
    /// What is read to see that it is zeros.
    zeros: PageBuffer,
    map: RunMap,
}

impl Blocks<'_> {
    /// What a sector is that this image does not have.
    fn absent(&self) -> Place {
        if self.differencing { Place::Backing } else { Place::Hole }
    }

    /// Adds a block of `len` bytes of the volume, whose table entry stands at byte `entry_at`.
    fn add(&mut self, block: u64, entry: u32, len: u64, entry_at: u64) -> Result<()> {
        if entry == UNUSED {
            self.map.push(len, self.absent());
            return self.check_runs(entry_at);
        }
        // Cannot overflow: below 2^41 and 2^32.
        let start = u64::from(entry).strict_mul(SECTOR_LEN);
        let data = start.strict_add(self.bitmap_len);
        let block_end = data.strict_add(self.block_len);
        let taken = self.taken.iter().any(|part| start < part.end && block_end > part.start);
        if taken || block_end > self.end {
            let fault = VhdFault::BlockPlace { block, start, to: self.end };
            return Err(Error::from(fault).at(entry_at));
        }
        self.starts.push(entry);
        if self.force && !self.differencing {
            self.map.push(len, Place::Stored { source: self.source, offset: data });
            return self.check_runs(entry_at);
        }
        let sectors = usize::try_from(len.strict_div(SECTOR_LEN)).expect("at most 2^22");
        let mut bitmap = std::mem::take(&mut self.buffer);
        bitmap.resize(sectors.div_ceil(8), 0);
        self.bytes.read_exact_at(&mut bitmap, start)?;
        let mut sector = 0;
        while sector < sectors {
            let present = is_present(&bitmap, sector);
            let next = run_end(&bitmap, sector, sectors, present);
            self.add_sectors(block, data, sector..next, sectors, present)?;
            self.check_runs(entry_at)?;
            sector = next;
        }
        self.buffer = bitmap;
        Ok(())
    }

    /// Adds some sectors of a block of `sectors` whose bytes start at byte `data`: all are present,
    /// or none is.
    fn add_sectors(
        &mut self,
        block: u64,
        data: u64,
        range: Range<usize>,
        sectors: usize,
        present: bool,
    ) -> Result<()> {
        let bytes_of =
            |sector: usize| u64::try_from(sector).expect("below 2^23").strict_mul(SECTOR_LEN);
        // Cannot overflow: inside the block, which lies inside the file.
        let at = |sector| data.strict_add(bytes_of(sector));
        let len = |start: usize, end: usize| bytes_of(end.strict_sub(start));
        let stored = |sector| Place::Stored { source: self.source, offset: at(sector) };
        let (start, end) = (range.start, range.end);
        if present {
            self.map.push(len(start, end), stored(start));
            return Ok(());
        }
        if self.differencing {
            self.map.push(len(start, end), Place::Backing);
            return Ok(());
        }
        check_zeros(self.bytes, at(start)..at(end), block, &mut self.zeros)?;
        let hole_start = start.next_multiple_of(HOLE_SECTORS).min(end);
        let hole_end = if end == sectors { end } else { end.strict_sub(end % HOLE_SECTORS) };
        let hole_end = hole_end.max(hole_start);
        self.map.push(len(start, hole_start), stored(start));
        self.map.push(len(hole_start, hole_end), Place::Hole);
        self.map.push(len(hole_end, end), stored(hole_end));
        Ok(())
    }

    fn check_runs(&self, entry_at: u64) -> Result<()> {
        if self.map.run_count() > MAX_RUNS || self.starts.len() > MAX_RUNS {
            return Err(Error::from(VhdFault::Runs).at(entry_at));
        }
        Ok(())
    }

    /// Returns the map, if no two blocks share a byte of the file.
    fn finish(mut self) -> Result<RunMap> {
        self.starts.sort_unstable();
        let sectors = self.bitmap_len.strict_add(self.block_len).strict_div(SECTOR_LEN);
        for pair in self.starts.windows(2) {
            let (one, next) = (u64::from(pair[0]), u64::from(pair[1]));
            if next.strict_sub(one) < sectors {
                let start = next.strict_mul(SECTOR_LEN);
                return Err(Error::from(VhdFault::BlocksOverlap { start }).at(start));
            }
        }
        Ok(self.map)
    }
}

/// Returns the first sector from `sector` on that is not as `present` says, or `sectors`.
fn run_end(bitmap: &[u8], sector: usize, sectors: usize, present: bool) -> usize {
    let whole = if present { 0xff } else { 0 };
    let mut at = sector;
    while at < sectors {
        if at.is_multiple_of(8) && bitmap[at.strict_div(8)] == whole {
            at = at.strict_add(8);
        } else if is_present(bitmap, at) == present {
            at = at.strict_add(1);
        } else {
            break;
        }
    }
    at.min(sectors)
}

/// Checks that bytes of the file that stand for absent sectors are zeros. Tools that look at the
/// bitmap read zeros there and those that do not read the bytes, so only zeros are the same to all.
fn check_zeros(
    bytes: &dyn ReadAt,
    range: Range<u64>,
    block: u64,
    buffer: &mut PageBuffer,
) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let rest = usize::try_from(range.end.strict_sub(at)).unwrap_or(READ_PIECE_LEN);
        buffer.resize(rest.min(READ_PIECE_LEN));
        bytes.read_exact_at(buffer, at)?;
        if !is_zero(buffer) {
            return Err(Error::from(VhdFault::AbsentSector { block })
                .at(at)
                .advise(Advice::Force { first: "".into() }));
        }
        at = at.strict_add(u64::try_from(buffer.len()).expect("at most a piece"));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use crate::error::Kind;
    use crate::format::vhd::layout::Parent;

    const BLOCK: u64 = 8192;
    /// Where the first block of [`image`] starts.
    const FIRST: u64 = 2048;

    fn to_usize(number: u64) -> usize {
        usize::try_from(number).unwrap()
    }

    /// A dynamic image of blocks of 8 KiB, each with its bitmap or absent; block n holds bytes n + 1
    /// where its bitmap is set.
    fn image(size: u64, disk_type: DiskType, bitmaps: &[Option<u16>]) -> Vec<u8> {
        let footer = Footer::new(512, size, disk_type, [1; 16]).encode();
        let header = Header {
            table_at: 1536,
            entry_count: u32::try_from(bitmaps.len()).unwrap(),
            block_len: u32::try_from(BLOCK).unwrap(),
            parent: Parent::default(),
        };
        let mut bytes = footer.to_vec();
        bytes.extend(header.encode());
        bytes.resize(to_usize(FIRST), 0xff);
        for (number, bitmap) in bitmaps.iter().enumerate() {
            let Some(bitmap) = bitmap else { continue };
            let sector = u32::try_from(bytes.len() / 512).unwrap();
            field::put_u32_be(&mut bytes, 1536 + 4 * number, sector);
            let at = bytes.len();
            bytes.resize(at + 512 + to_usize(BLOCK), 0);
            field::put_u16_be(&mut bytes, at, *bitmap);
            for sector in 0..16 {
                if bitmap & (0x8000 >> sector) != 0 {
                    let fill = u8::try_from(number).unwrap() + 1;
                    bytes[at + 512 + sector * 512..][..512].fill(fill);
                }
            }
        }
        bytes.extend(footer);
        bytes
    }

    fn runs(bytes: &Vec<u8>, force: bool) -> Result<Vec<(u64, Place)>> {
        let (_, map) = parse(bytes, footers(bytes, force)?, 3, force)?;
        Ok(map.within(0..map.size()).map(|(range, place)| (range.end, place)).collect())
    }

    fn fault(bytes: &Vec<u8>) -> String {
        let error = runs(bytes, false).unwrap_err();
        assert_ne!(error.kind(), Kind::Io);
        assert!(error.offset().is_some());
        error.to_string()
    }

    fn stored(offset: u64) -> Place {
        Place::Stored { source: 3, offset }
    }

    #[test]
    fn blocks_and_bitmaps_become_runs() {
        let bitmaps = [Some(0xffff), None, Some(0x00ff), Some(0xf000)];
        let size = 3 * BLOCK + 5 * 512;
        let dynamic = image(size, DiskType::Dynamic, &bitmaps);
        let third = FIRST + 2 * 512 + BLOCK;
        let fourth = third + 512 + BLOCK;
        assert_eq!(
            runs(&dynamic, false).unwrap(),
            [
                (BLOCK, stored(FIRST + 512)),
                (2 * BLOCK + 4096, Place::Hole),
                (3 * BLOCK, stored(third + 4096)),
                (size, stored(fourth)),
            ]
        );
        let differencing = image(size, DiskType::Differencing, &bitmaps);
        assert_eq!(
            runs(&differencing, false).unwrap(),
            [
                (BLOCK, stored(FIRST + 512)),
                (2 * BLOCK + 4096, Place::Backing),
                (3 * BLOCK, stored(third + 4096)),
                (3 * BLOCK + 2048, stored(fourth)),
                (size, Place::Backing),
            ]
        );
    }

    #[test]
    fn what_an_absent_sector_holds_is_not_lost() {
        let mut bytes = image(BLOCK, DiskType::Dynamic, &[Some(0xff00)]);
        bytes[to_usize(FIRST) + 512 + 8191] = 1;
        assert!(fault(&bytes).contains("a sector of block 0 holds data"));
        assert_eq!(runs(&bytes, true).unwrap(), [(BLOCK, stored(FIRST + 512))]);
    }

    /// The slow twin of `run_end`: bit by bit.
    #[test]
    fn runs_of_bits_are_found() {
        let mut state = 1_u64;
        for _ in 0..2000 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let bitmap = [0xff, (state >> 40).to_le_bytes()[0], 0, (state >> 50).to_le_bytes()[0]];
            for sector in 0..30 {
                let present = is_present(&bitmap, sector);
                let slow = (sector..30).find(|at| is_present(&bitmap, *at) != present);
                assert_eq!(run_end(&bitmap, sector, 30, present), slow.unwrap_or(30));
            }
        }
    }

    #[test]
    fn both_footers_must_be_there_and_the_same() {
        let sound = image(BLOCK, DiskType::Dynamic, &[Some(0xffff)]);
        let len = sound.len();
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = sound.clone();
            change(&mut bytes);
            bytes
        };
        let other = Footer::new(512, BLOCK, DiskType::Dynamic, [2; 16]);
        let cases: [(Vec<u8>, &str, bool); 6] = [
            (
                with(&|bytes| bytes.truncate(len - 512)),
                "footer at the end is damaged or missing",
                true,
            ),
            (with(&|bytes| bytes[len - 100] = 1), "footer at the end is damaged or missing", true),
            (with(&|bytes| bytes[100] = 1), "footer at the start is damaged or missing", true),
            (with(&|bytes| bytes[0] = 1), "disk type is 3, expected 2", true),
            (
                with(&|bytes| bytes[len - 512..].copy_from_slice(&other.encode())),
                "footers are not identical, they differ at byte 67",
                true,
            ),
            (with(&|bytes| (bytes[100], bytes[len - 100]) = (1, 1)), "checksum is", false),
        ];
        for (bytes, text, forced) in cases {
            assert!(fault(&bytes).contains(text), "{} lacks {text}", fault(&bytes));
            assert_eq!(runs(&bytes, true).ok(), forced.then(|| runs(&sound, false).unwrap()));
        }
        let fixed = Footer::new(u64::MAX, 512, DiskType::Fixed, [0; 16]);
        let twice = [fixed.encode(), fixed.encode()].concat();
        assert!(fault(&twice).contains("disk type is 2 (fixed), expected 3 or 4"));
        let damaged = with(&|bytes| {
            bytes[100] = 1;
            bytes[len - 512..].copy_from_slice(&fixed.encode());
        });
        assert!(fault(&damaged).contains("checksum"));
        assert!(fault(&vec![0; 100]).contains("the file has 100 bytes"));
        assert!(fault(&vec![0; 1000]).contains("cookie is \"\\x00"));
    }

    #[test]
    fn an_old_footer_of_511_bytes_is_found() {
        let footer = Footer::new(u64::MAX, 512, DiskType::Fixed, [9; 16]);
        let mut bytes = vec![7; 512];
        bytes.extend(&footer.encode()[..511]);
        assert_eq!(footers(&bytes, false).unwrap(), Footers { footer, end: 512 });
        assert!(probe(&bytes).unwrap());
        assert!(!probe(&vec![7; 1023]).unwrap());
    }

    #[test]
    fn each_check_of_header_and_table_is_tripped() {
        let size = 2 * BLOCK;
        let sound = image(size, DiskType::Dynamic, &[Some(0xffff), Some(0xffff)]);
        runs(&sound, false).unwrap();
        let header = |header: Header| {
            let mut bytes = sound.clone();
            bytes[512..1536].copy_from_slice(&header.encode());
            fault(&bytes)
        };
        let own = Header {
            table_at: 1536,
            entry_count: 2,
            block_len: u32::try_from(BLOCK).unwrap(),
            parent: Parent::default(),
        };
        assert!(header(Header { entry_count: 1, ..own.clone() }).contains("table has 1 entries"));
        let end = u64::try_from(sound.len()).unwrap() - 512;
        for table_at in [0, 511, 513, 1535, end - 7, end, u64::MAX] {
            let text = header(Header { table_at, ..own.clone() });
            assert!(text.contains(&format!("the table starts at byte {table_at}")), "{text}");
        }
        let text = header(Header { entry_count: u32::MAX, ..own.clone() });
        assert!(text.contains("the table starts at byte 1536"), "{text}");

        let entry = |number: usize, sector: u32| {
            // Whatever lies there is a sound bitmap of a differencing image.
            let mut bytes = image(size, DiskType::Differencing, &[Some(0xffff), Some(0xffff)]);
            field::put_u32_be(&mut bytes, 1536 + 4 * number, sector);
            fault(&bytes)
        };
        for sector in [0, 1, 2, 3, 21 + 17, UNUSED - 1] {
            let text = entry(1, sector);
            assert!(text.contains("expected it after the metadata"), "{sector}: {text}");
        }
        for sector in [4, 5, 20] {
            let text = entry(1, sector);
            assert!(text.contains("two blocks overlap at byte"), "{sector}: {text}");
        }
        let footer = |header_at| {
            let footer = Footer::new(header_at, size, DiskType::Dynamic, [1; 16]).encode();
            let mut bytes = sound.clone();
            bytes[..512].copy_from_slice(&footer);
            let end = bytes.len() - 512;
            bytes[end..].copy_from_slice(&footer);
            fault(&bytes)
        };
        for header_at in [0, 511, end - 1023, u64::MAX] {
            assert!(footer(header_at).contains("the dynamic header starts at"), "{header_at}");
        }
        assert!(footer(1024).contains("cookie"));
    }

    /// A file of 16 GiB: metadata, and bitmaps that are never twice the same for long.
    #[derive(Debug)]
    struct Huge(Vec<u8>);

    impl ReadAt for Huge {
        fn len(&self) -> u64 {
            16 << 30
        }
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
            buf.fill(0b0101_0101);
            if offset + 512 == 16 << 30 {
                buf.copy_from_slice(&self.0[..512]);
            } else if let Some(own) = self.0.get(to_usize(offset)..) {
                let len = own.len().min(buf.len());
                buf[..len].copy_from_slice(&own[..len]);
            }
            Ok(())
        }
    }

    #[test]
    fn more_runs_than_fit_are_refused() {
        let sectors = 2 * MAX_RUNS + 2;
        let size = u64::try_from(sectors).unwrap() * 512;
        let footer = Footer::new(512, size, DiskType::Differencing, [1; 16]);
        let header = Header {
            table_at: 1536,
            entry_count: 4,
            block_len: 1 << 31,
            parent: Parent::default(),
        };
        let mut bytes = footer.encode().to_vec();
        bytes.extend(header.encode());
        for block in 0..4_u32 {
            bytes.extend((8 + block * ((1 << 22) + 1024)).to_be_bytes());
        }
        bytes.resize(4096, 0);
        let huge = Huge(bytes);
        let error = parse(&huge, footers(&huge, false).unwrap(), 0, false).unwrap_err();
        assert_eq!(error.kind(), Kind::Limit);
    }
}
