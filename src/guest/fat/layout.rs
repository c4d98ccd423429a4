//! Bytes of FAT12, FAT16 and FAT32: boot sector, table, directory entries. Pure.
//!
//! ```text
//! offset size field of the boot sector (little-endian)
//!     11    2 BPB_BytsPerSec: 512, 1024, 2048 or 4096
//!     13    1 BPB_SecPerClus: a power of two
//!     14    2 BPB_RsvdSecCnt: sectors before the first table
//!     16    1 BPB_NumFATs
//!     17    2 BPB_RootEntCnt: 0 on FAT32
//!     19    2 BPB_TotSec16, or 32 4 BPB_TotSec32
//!     22    2 BPB_FATSz16, or 36 4 BPB_FATSz32
//!     37    1 dirty flag, 39 4 serial, 43 11 label; on FAT32 65, 67, 71
//!     44    4 BPB_RootClus, on FAT32
//! a directory entry: 0 name (8 + 3, padded), 11 attributes, 12 case, 13 hundredths of a second above the time of creation,
//!   14 16 its time and date, 18 date of the last reading, 20 and 26 first cluster, 22 24 time and date of the last
//!   change, 28 size
//! part of a long name: 0 number (0x40 in the last), 1 14 28 characters, 11 attributes 0x0f, 13 checksum
//! ```

use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Problem;
use crate::guest::file::Time;

pub(super) const ENTRY_LEN: usize = 32;

/// Width of an entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// The boot sector, checked; all in bytes from the start of the partition.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub(super) width: Width,
    pub(super) cluster_len: u64,
    pub(super) cluster_count: u64,
    /// Where the first table is, bytes of each, and how many there are.
    pub(super) table: u64,
    pub(super) table_len: u64,
    pub(super) tables: u64,
    /// Where the root of FAT12 and FAT16 lies, and its bytes.
    pub(super) fixed_root: (u64, u64),
    pub(super) root_cluster: u64,
    pub(super) data: u64,
    pub(super) end: u64,
    pub(super) serial: u32,
    pub(super) label: [u8; 11],
    pub(super) is_dirty: bool,
}

fn broken(text: &'static str) -> Failure {
    Problem::Damaged.text(text)
}

impl Boot {
    /// Reads and checks it, for a slice of `len` bytes.
    pub(super) fn parse(boot: &[u8; 512], len: u64) -> Result<Self, Failure> {
        let sector = u64::from(field::u16_le(boot, 11));
        let cluster_sectors = u64::from(boot[13]);
        if ![512, 1024, 2048, 4096].contains(&sector) || !cluster_sectors.is_power_of_two() {
            return Err(broken("it holds no FAT file system"));
        }
        let either = |short: u16, long: u32| {
            if short == 0 { u64::from(long) } else { u64::from(short) }
        };
        let reserved = u64::from(field::u16_le(boot, 14));
        let tables = u64::from(boot[16]);
        let root_len = u64::from(field::u16_le(boot, 17)).strict_mul(32);
        let total = either(field::u16_le(boot, 19), field::u32_le(boot, 32));
        let table_sectors = either(field::u16_le(boot, 22), field::u32_le(boot, 36));
        // Nothing overflows: sectors are below 2^32, their lengths below 2^13, tables below 2^8.
        let table = reserved.strict_mul(sector);
        let table_len = table_sectors.strict_mul(sector);
        let root = table.strict_add(tables.strict_mul(table_len));
        let data = root.strict_add(root_len.next_multiple_of(sector));
        let end = total.strict_mul(sector);
        if reserved == 0 || tables == 0 || table_sectors == 0 || data >= end || end > len {
            return Err(broken("its FAT file system does not fit into it"));
        }
        let cluster_len = sector.strict_mul(cluster_sectors);
        let cluster_count = end.strict_sub(data).strict_div(cluster_len);
        // FAT32 may have few clusters, as the EFI system partition of a cloud image: Linux, firmware and GRUB go by the
        // field that has the length of a table.
        let is_wide = field::u16_le(boot, 22) == 0;
        let (width, bits) = match cluster_count {
            _ if is_wide => (Width::Fat32, 32),
            0..4085 => (Width::Fat12, 12),
            4085..65_525 => (Width::Fat16, 16),
            _ => return Err(broken("it has more clusters than FAT16 can count")),
        };
        // Clusters are numbered from 2.
        if cluster_count.strict_add(2).strict_mul(bits).div_ceil(8) > table_len {
            return Err(broken("its table is too short for its clusters"));
        }
        let more = if width == Width::Fat32 { 28 } else { 0 };
        Ok(Self {
            width,
            cluster_len,
            cluster_count,
            table,
            table_len,
            tables,
            fixed_root: (root, root_len),
            root_cluster: field::u32_le(boot, 44).into(),
            data,
            end,
            serial: field::u32_le(boot, 39_usize.strict_add(more)),
            label: field::array(boot, 43_usize.strict_add(more)),
            is_dirty: boot[37_usize.strict_add(more)] & 1 != 0,
        })
    }

    /// Returns where a cluster lies; `None` if there is none of that number.
    pub(super) fn place(&self, cluster: u64) -> Option<u64> {
        let index = cluster.checked_sub(2).filter(|index| *index < self.cluster_count)?;
        // Inside the partition, as the count was derived from it.
        Some(self.data.strict_add(index.strict_mul(self.cluster_len)))
    }
}

/// What the table says of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Free,
    Next(u64),
    End,
    Bad,
}

/// A table of clusters.
#[derive(Debug)]
pub(super) struct Table {
    bytes: Vec<u8>,
    width: Width,
}

impl Table {
    pub(super) fn new(bytes: Vec<u8>, width: Width) -> Self {
        Self { bytes, width }
    }

    fn raw(&self, cluster: u64) -> u64 {
        // Clusters are below 2^28, and the table was compared with their count.
        let at = usize::try_from(cluster).expect("a cluster of the table");
        match self.width {
            Width::Fat12 => {
                let pair = field::u16_le(&self.bytes, at.strict_add(at / 2));
                u64::from(if at.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 })
            }
            Width::Fat16 => field::u16_le(&self.bytes, at.strict_mul(2)).into(),
            Width::Fat32 => (field::u32_le(&self.bytes, at.strict_mul(4)) & 0x0fff_ffff).into(),
        }
    }

    /// Returns what follows a cluster, which must be one of the file system's.
    pub(super) fn link(&self, cluster: u64) -> Link {
        let top = match self.width {
            Width::Fat12 => 0xfff,
            Width::Fat16 => 0xffff,
            Width::Fat32 => 0x0fff_ffff,
        };
        match self.raw(cluster) {
            0 => Link::Free,
            bad if bad == top ^ 8 => Link::Bad,
            end if end > top ^ 8 => Link::End,
            next => Link::Next(next),
        }
    }

    /// Tells whether it starts as tables do: with the kind of the medium, all other bits set, and an end.
    pub(super) fn starts_as_one(&self) -> bool {
        let top = match self.width {
            Width::Fat12 => 0xfff,
            Width::Fat16 => 0xffff,
            Width::Fat32 => 0x0fff_ffff,
        };
        let (medium, end) = (self.raw(0), self.raw(1));
        // Two bits of the second entry say whether the file system was unmounted.
        let unmounted = if self.width == Width::Fat12 { 0 } else { top ^ (top >> 2) };
        medium >= top ^ 0xf && end | unmounted > top ^ 8
    }

    /// Tells whether the bits of a clean unmount without errors are set.
    pub(super) fn is_clean(&self) -> bool {
        match self.width {
            Width::Fat12 => true,
            Width::Fat16 => self.raw(1) & 0xc000 == 0xc000,
            Width::Fat32 => self.raw(1) & 0x0c00_0000 == 0x0c00_0000,
        }
    }
}

/// An entry of a directory, with its long name if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    /// Place of the short entry in its directory.
    pub(super) at: usize,
    pub(super) name: Vec<u8>,
}

pub(super) fn is_directory(entry: &[u8]) -> bool {
    entry[11] & 0x10 != 0
}

pub(super) fn is_read_only(entry: &[u8]) -> bool {
    entry[11] & 0x01 != 0
}

pub(super) fn is_label(entry: &[u8]) -> bool {
    entry[11] & 0x08 != 0 && entry[11] & 0x3f != 0x0f
}

pub(super) fn first_cluster(entry: &[u8], width: Width) -> u64 {
    let high = if width == Width::Fat32 { u64::from(field::u16_le(entry, 20)) } else { 0 };
    high << 16 | u64::from(field::u16_le(entry, 26))
}

/// Goes through the entries of a directory, without `.`, `..`, deleted ones and the label.
pub(super) fn entries(folder: &[u8]) -> Vec<Raw> {
    let mut found = Vec::new();
    let mut long = Long::default();
    for (number, entry) in folder.chunks_exact(ENTRY_LEN).enumerate() {
        match entry[0] {
            0 => break,
            0xe5 => long = Long::default(),
            _ if entry[11] & 0x3f == 0x0f => long.take(entry),
            _ if is_label(entry)
                || entry.starts_with(b".       ")
                || entry.starts_with(b"..      ") =>
            {
                long = Long::default();
            }
            _ => {
                let name = std::mem::take(&mut long).finish(entry).unwrap_or_else(|| short(entry));
                found.push(Raw { at: number.strict_mul(ENTRY_LEN), name });
            }
        }
    }
    found
}

/// A long name, whose parts come last one first.
#[derive(Default)]
struct Long {
    left: u8,
    sum: u8,
    parts: Vec<[u16; 13]>,
}

impl Long {
    fn take(&mut self, entry: &[u8]) {
        let number = entry[0] & 0x1f;
        if entry[0] & 0x40 != 0 {
            *self = Self { left: number, sum: entry[13], parts: Vec::new() };
        }
        if number == 0 || number != self.left || self.sum != entry[13] {
            *self = Self::default();
            return;
        }
        self.left = number.strict_sub(1);
        let places = (1..11).chain(14..26).chain(28..32).step_by(2);
        let mut part = [0; 13];
        for (unit, at) in part.iter_mut().zip(places) {
            *unit = field::u16_le(entry, at);
        }
        self.parts.push(part);
    }

    /// Returns the name, if all its parts are there and belong to the short entry.
    fn finish(self, entry: &[u8]) -> Option<Vec<u8>> {
        let sum =
            entry[..11].iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if self.parts.is_empty() || self.left != 0 || self.sum != sum {
            return None;
        }
        let units = self.parts.iter().rev().flatten().copied().take_while(|unit| *unit != 0);
        let chars = char::decode_utf16(units).map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER));
        let name: String = chars.collect();
        let usable = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        usable.then(|| name.into_bytes())
    }
}

/// Returns the short name of an entry; two bits say which half is in lower case.
fn short(entry: &[u8]) -> Vec<u8> {
    let half = |bytes: &[u8], is_lower: bool| {
        let len = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at.strict_add(1));
        let mut bytes = bytes[..len].to_vec();
        if is_lower {
            bytes.make_ascii_lowercase();
        }
        bytes
    };
    let mut name = half(&entry[..8], entry[12] & 0x08 != 0);
    if let Some(first) = name.first_mut().filter(|first| **first == 5) {
        *first = 0xe5;
    }
    let extension = half(&entry[8..11], entry[12] & 0x10 != 0);
    if !extension.is_empty() {
        name.push(b'.');
        name.extend(extension);
    }
    for byte in &mut name {
        // Nothing of a name may look like a path.
        if matches!(*byte, 0 | b'/') {
            *byte = b'_';
        }
    }
    name
}

/// Reads a date and a time of day, which FAT keeps without a zone: they count as UTC.
pub(super) fn time(date: u16, clock: u16) -> Time {
    let (year, month, day) =
        (i64::from(date >> 9), i64::from(date >> 5 & 15), i64::from(date & 31));
    // Days since 1970 of a civil date, counted in years that begin in March.
    let (month, day) = (month.clamp(1, 12), day.max(1));
    let year = year.strict_add(1980).strict_sub(i64::from(month <= 2));
    let day_of_year =
        month.strict_add(9).strict_rem(12).strict_mul(153).strict_add(2).strict_div(5);
    let leap_days =
        year.strict_div(4).strict_sub(year.strict_div(100)).strict_add(year.strict_div(400));
    let days = year
        .strict_mul(365)
        .strict_add(leap_days)
        .strict_add(day_of_year)
        .strict_add(day)
        .strict_sub(719_469);
    let (hours, minutes) = (i64::from(clock >> 11), i64::from(clock >> 5 & 63));
    let seconds = i64::from(clock & 31).strict_mul(2);
    let of_day = hours.strict_mul(3600).strict_add(minutes.strict_mul(60)).strict_add(seconds);
    Time { seconds: days.strict_mul(86_400).strict_add(of_day), nanoseconds: 0 }
}

/// Adds hundredths of a second, of which there may be more than 100: a time counts in steps of two seconds.
pub(super) fn finer(time: Time, hundredths: u8) -> Time {
    let (seconds, rest) = (hundredths / 100, hundredths % 100);
    Time {
        seconds: time.seconds.strict_add(seconds.into()),
        nanoseconds: u32::from(rest).strict_mul(10_000_000),
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_since_1970() {
        let date = |year: u16, month: u16, day: u16| (year - 1980) << 9 | month << 5 | day;
        assert_eq!(time(date(1980, 1, 1), 0).seconds, 315_532_800);
        assert_eq!(time(date(2000, 2, 29), 0).seconds, 951_782_400);
        assert_eq!(time(date(2000, 3, 1), 0).seconds, 951_868_800);
        let noon = time(date(2026, 11, 29), 12 << 11 | 34 << 5 | 0x1c).seconds;
        assert_eq!(noon, 1_795_955_696);
        assert_eq!(time(0, 0).seconds, 315_532_800);
    }

    #[test]
    fn a_long_name_needs_all_its_parts_and_its_checksum() {
        let mut entry = *b"LONGNA~1TXT\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let sum = entry[..11].iter().fold(0_u8, |sum, it| sum.rotate_right(1).wrapping_add(*it));
        let part = |number: u8, text: &str, sum: u8| {
            let mut part = [0xff_u8; 32];
            (part[0], part[11], part[12], part[13]) = (number, 0x0f, 0, sum);
            let units = text.encode_utf16().chain([0]).chain(std::iter::repeat(0xffff));
            let places = (1..11).chain(14..26).chain(28..32).step_by(2);
            for (at, unit) in places.zip(units) {
                field::put_u16_le(&mut part, at, unit);
            }
            part
        };
        let names = |parts: &[[u8; 32]], entry: [u8; 32]| -> Vec<String> {
            let bytes: Vec<u8> = parts.iter().chain([&entry]).flatten().copied().collect();
            entries(&bytes).into_iter().map(|it| String::from_utf8(it.name).unwrap()).collect()
        };
        let (one, two) = (part(1, "long naïve nam", sum), part(0x42, "e.txt", sum));
        assert_eq!(names(&[two, one], entry), ["long naïve nae.txt"]);
        assert_eq!(names(&[two], entry), ["LONGNA~1.TXT"]);
        assert_eq!(names(&[part(0x41, "x", sum ^ 1)], entry), ["LONGNA~1.TXT"]);
        assert_eq!(names(&[part(0x41, "a/b", sum)], entry), ["LONGNA~1.TXT"]);
        entry[12] = 0x18;
        assert_eq!(names(&[], entry), ["longna~1.txt"]);
        entry[0] = 0xe5;
        assert_eq!(names(&[], entry), Vec::<String>::new());
    }
}
