//! Bytes of NTFS: boot sector, file records, their attributes, and runs of clusters. Pure.
//!
//! ```text
//! boot sector (little-endian): 3 8 "NTFS    ", 11 2 bytes of a sector, 13 1 sectors of a cluster (over 0x80: a power),
//!   40 8 sectors, 48 8 cluster of $MFT, 64 1 clusters of a record (negative: a power of bytes), 72 8 serial number
//! record: 0 4 FILE or INDX, 4 2 fixups, 6 2 how many, 16 2 sequence, 20 2 attributes, 22 2 flags (1 in use,
//!   2 directory), 24 4 bytes in use, 32 8 base record, 44 4 own number
//! fixups: a number, then what stands in the last two bytes of each sector in its place
//! attribute: 0 4 type, 4 4 length, 8 1 has runs, 9 1 name length, 10 2 name, 12 2 flags
//!   with a value: 16 4 length, 20 2 offset
//!   with runs: 16 8 first cluster, 24 8 last cluster, 32 2 runs, 48 8 bytes, 56 8 bytes that were written
//! run: 1 lengths (low: of the count, high: of the step; 0: a hole), count, step from the run before (signed)
//! ```

use std::ops::Range;

use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Problem;

pub(super) const SECTOR: usize = 512;

pub(super) const STANDARD: u32 = 0x10;
pub(super) const LIST: u32 = 0x20;
pub(super) const NAME: u32 = 0x30;
pub(super) const VOLUME_NAME: u32 = 0x60;
pub(super) const VOLUME: u32 = 0x70;
pub(super) const DATA: u32 = 0x80;
pub(super) const INDEX_ROOT: u32 = 0x90;
pub(super) const INDEX: u32 = 0xa0;
pub(super) const BITMAP: u32 = 0xb0;
pub(super) const REPARSE: u32 = 0xc0;
const END: u32 = u32::MAX;

const IN_USE: u16 = 1;
const DIRECTORY: u16 = 2;

/// Bits of a reference that are a record's number.
const NUMBER_MASK: u64 = (1 << 48) - 1;

/// Most runs of one attribute record: a record of 4 KiB has no more.
const MAX_RUNS: usize = 4096;

pub(super) fn damaged(text: &'static str) -> Failure {
    Problem::Damaged.text(text)
}

/// Returns the number in a reference to a record.
pub(super) fn number_of(reference: u64) -> u64 {
    reference & NUMBER_MASK
}

/// The boot sector, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) cluster_len: u64,
    pub(super) clusters: u64,
    pub(super) record_len: u64,
    pub(super) mft: u64,
    pub(super) serial: u64,
}

pub(super) fn is_boot(sector: &[u8]) -> bool {
    &sector[3..11] == b"NTFS    "
}

impl Boot {
    /// Reads and checks it, for a slice of `len` bytes.
    pub(super) fn parse(sector: &[u8], len: u64) -> Result<Self, Failure> {
        if !is_boot(sector) {
            return Err(damaged("the boot sector is not that of NTFS"));
        }
        let sector_len = u64::from(field::u16_le(sector, 11));
        if !sector_len.is_power_of_two() || !(512..=4096).contains(&sector_len) {
            return Err(damaged("the length of sectors is impossible"));
        }
        let per_cluster = match sector[13] {
            count @ 0..=0x80 => Some(u64::from(count)),
            log => 1_u64.checked_shl(u32::from(log.wrapping_neg())),
        };
        let cluster_len = per_cluster.and_then(|count| count.checked_mul(sector_len));
        let Some(cluster_len) = cluster_len.filter(|len| len.is_power_of_two() && *len <= 2 << 20)
        else {
            return Err(damaged("the length of clusters is impossible"));
        };
        let bytes = field::u64_le(sector, 40).checked_mul(sector_len);
        let Some(bytes) = bytes.filter(|bytes| *bytes <= len) else {
            return Err(damaged("it is larger than its partition"));
        };
        let record_len = match sector[64] {
            count @ 0..0x80 => Some(u64::from(count).strict_mul(cluster_len)),
            log => 1_u64.checked_shl(u32::from(log.wrapping_neg())),
        };
        let Some(record_len) =
            record_len.filter(|len| len.is_power_of_two() && (512..=65_536).contains(len))
        else {
            return Err(damaged("the length of file records is impossible"));
        };
        let clusters = bytes.strict_div(cluster_len);
        let mft = field::u64_le(sector, 48);
        if mft >= clusters {
            return Err(damaged("the table of files lies outside it"));
        }
        let serial = field::u64_le(sector, 72);
        Ok(Self { cluster_len, clusters, record_len, mft, serial })
    }

    /// Returns the bytes of clusters, which must be inside.
    pub(super) fn span(&self, cluster: u64, count: u64) -> Option<Range<u64>> {
        let end = cluster.checked_add(count).filter(|end| *end <= self.clusters)?;
        Some(cluster.strict_mul(self.cluster_len)..end.strict_mul(self.cluster_len))
    }
}

/// Puts back what fixups took out of the last two bytes of each sector.
pub(super) fn fix(record: &mut [u8], magic: [u8; 4]) -> Result<(), Failure> {
    let broken = || damaged("a record is impossible, or was not written whole");
    let at = usize::from(field::u16_le(record, 4));
    let count = usize::from(field::u16_le(record, 6));
    let end = count.checked_mul(2).and_then(|len| len.checked_add(at));
    let sectors = record.len() / SECTOR;
    if record[..4] != magic
        || count != sectors.strict_add(1)
        || end.is_none_or(|end| end > record.len().min(SECTOR.strict_sub(2)))
        || !at.is_multiple_of(2)
    {
        return Err(broken());
    }
    let fixups = record[at..].to_vec();
    for (place, sector) in record.chunks_exact_mut(SECTOR).enumerate() {
        let last = &mut sector[SECTOR.strict_sub(2)..];
        if last != &fixups[..2] {
            return Err(broken());
        }
        let from = place.strict_mul(2).strict_add(2);
        last.copy_from_slice(&fixups[from..from.strict_add(2)]);
    }
    Ok(())
}

/// A file record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) is_directory: bool,
    /// The record that this one goes on with; itself for most.
    pub(super) base: u64,
    pub(super) attributes: Vec<Attribute>,
}

/// An attribute of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) kind: u32,
    pub(super) name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) body: Body,
}

/// Where the value of an attribute is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Here(Vec<u8>),
    Runs {
        /// First cluster of the value.
        first: u64,
        runs: Vec<Run>,
        size: u64,
        written: u64,
    },
}

/// Clusters that lie together; a hole has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) cluster: Option<u64>,
    pub(super) count: u64,
}

impl Record {
    /// Reads a record whose fixups are still in it; `None` if it is not in use.
    pub(super) fn parse(bytes: &[u8], number: u64) -> Result<Option<Self>, Failure> {
        if bytes[..4] == [0; 4] {
            return Ok(None);
        }
        let mut record = bytes.to_vec();
        fix(&mut record, *b"FILE")?;
        let flags = field::u16_le(&record, 22);
        if flags & IN_USE == 0 {
            return Ok(None);
        }
        let has_number = field::u16_le(&record, 4) >= 48;
        if has_number && u64::from(field::u32_le(&record, 44)) != number & u64::from(u32::MAX) {
            return Err(damaged("a file record stands at a wrong place"));
        }
        let in_use = usize::try_from(field::u32_le(&record, 24)).unwrap_or(usize::MAX);
        let Some(used) = record.get(..in_use) else {
            return Err(damaged("a file record is longer than its room"));
        };
        let mut attributes = Vec::new();
        let mut at = usize::from(field::u16_le(&record, 20));
        loop {
            let rest = used.get(at..).unwrap_or_default();
            if rest.len() < 4 {
                return Err(damaged("the attributes of a file record do not end"));
            }
            if field::u32_le(rest, 0) == END {
                break;
            }
            let (attribute, len) = Attribute::parse(rest)?;
            attributes.push(attribute);
            at = at.strict_add(len);
        }
        let base = number_of(field::u64_le(&record, 32));
        Ok(Some(Self {
            number,
            is_directory: flags & DIRECTORY != 0,
            base: if base == 0 { number } else { base },
            attributes,
        }))
    }

    /// Returns the value of an attribute without a name that stands in the record.
    pub(super) fn value(&self, kind: u32) -> Option<&[u8]> {
        self.attributes.iter().find_map(|it| match &it.body {
            Body::Here(value) if it.kind == kind && it.name.is_empty() => Some(&value[..]),
            _ => None,
        })
    }
}

impl Attribute {
    /// Reads the first attribute of some bytes, and its length.
    fn parse(bytes: &[u8]) -> Result<(Self, usize), Failure> {
        let broken = || damaged("an attribute of a file record is impossible");
        if bytes.len() < 24 {
            return Err(broken());
        }
        let len = usize::try_from(field::u32_le(bytes, 4)).unwrap_or(usize::MAX);
        let has_runs = bytes[8] != 0;
        let head_len = if has_runs { 64 } else { 24 };
        let Some(own) = bytes.get(..len).filter(|_| len >= head_len && len.is_multiple_of(8))
        else {
            return Err(broken());
        };
        let name_at = usize::from(field::u16_le(own, 10));
        let name_end = name_at.strict_add(usize::from(own[9]).strict_mul(2));
        let name =
            if own[9] == 0 { &[][..] } else { own.get(name_at..name_end).ok_or_else(broken)? };
        let body = if has_runs {
            let (first, last) = (field::u64_le(own, 16), field::u64_le(own, 24));
            let at = usize::from(field::u16_le(own, 32));
            let runs = runs(own.get(at..).ok_or_else(broken)?)?;
            let sum = runs.iter().try_fold(first, |sum, run| sum.checked_add(run.count));
            // The last cluster of an empty one is -1.
            if sum != Some(last.wrapping_add(1)) {
                return Err(damaged("the runs of an attribute are not as long as it says"));
            }
            let (size, written) = (field::u64_le(own, 48), field::u64_le(own, 56));
            Body::Runs { first, runs, size, written }
        } else {
            let at = usize::from(field::u16_le(own, 20));
            let len = usize::try_from(field::u32_le(own, 16)).unwrap_or(usize::MAX);
            let end = at.checked_add(len).ok_or_else(broken)?;
            Body::Here(own.get(at..end).ok_or_else(broken)?.to_vec())
        };
        let (kind, flags) = (field::u32_le(own, 0), field::u16_le(own, 12));
        Ok((Self { kind, name: name.to_vec(), flags, body }, len))
    }
}

/// Reads runs up to their end.
fn runs(mut bytes: &[u8]) -> Result<Vec<Run>, Failure> {
    let broken = || damaged("the runs of an attribute are impossible");
    let mut found = Vec::new();
    let mut at = 0_i64;
    loop {
        let (head, rest) = bytes.split_first().ok_or_else(broken)?;
        if *head == 0 {
            return Ok(found);
        }
        let (count_len, step_len) = (usize::from(head & 0xf), usize::from(head >> 4));
        let all = count_len.strict_add(step_len);
        if count_len == 0
            || count_len > 8
            || step_len > 8
            || rest.len() < all
            || found.len() >= MAX_RUNS
        {
            return Err(broken());
        }
        let count = signed(&rest[..count_len]);
        let count = u64::try_from(count).ok().filter(|count| *count > 0).ok_or_else(broken)?;
        let cluster = if step_len == 0 {
            None
        } else {
            at = at.checked_add(signed(&rest[count_len..all])).ok_or_else(broken)?;
            Some(u64::try_from(at).map_err(|_| broken())?)
        };
        found.push(Run { cluster, count });
        bytes = &rest[all..];
    }
}

/// Reads a signed number of up to eight bytes.
fn signed(bytes: &[u8]) -> i64 {
    let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if is_negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(wide)
}

/// Turns UTF-16 into UTF-8; halves of pairs that stand alone become three bytes each, so that no two names
/// become one.
pub(super) fn utf8(bytes: &[u8]) -> Vec<u8> {
    let units = bytes.chunks_exact(2).map(|it| field::u16_le(it, 0));
    let mut text = Vec::new();
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(sign) => text.extend_from_slice(sign.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(half) => {
                let [high, low] = half.unpaired_surrogate().to_be_bytes();
                text.extend_from_slice(&[
                    0xe0 | high >> 4,
                    0x80 | (high & 0xf) << 2 | low >> 6,
                    0x80 | low & 0x3f,
                ]);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_go_forward_and_back_and_have_holes() {
        let found = runs(b"\x21\x04\x00\x10\x11\x02\xf0\x01\x05\x11\x01\x01\x00").unwrap();
        let at = |cluster, count| Run { cluster, count };
        assert_eq!(
            found,
            [at(Some(0x1000), 4), at(Some(0xff0), 2), at(None, 5), at(Some(0xff1), 1)]
        );
        for bytes in
            [&b"\x11\x02"[..], b"\x10\x02\0", b"\x11\x02\xf0\0", b"\x11\xff\x01\0", b"\x91\x01\0"]
        {
            assert!(runs(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn names_keep_halves_of_pairs() {
        assert_eq!(utf8(b"a\0\xe4\0\x3d\xd8\x00\xde"), "a\u{e4}\u{1f600}".as_bytes());
        assert_eq!(utf8(b"\x00\xd8"), b"\xed\xa0\x80");
        assert_ne!(utf8(b"\x00\xd8"), utf8(b"\x01\xd8"));
    }

    #[test]
    fn fixups_must_be_whole() {
        let mut record = vec![0; 1024];
        record[..8].copy_from_slice(b"FILE\x30\0\x03\0");
        record[48..54].copy_from_slice(b"\x07\0ABCD");
        for end in [510, 1022] {
            record[end] = 7;
        }
        let mut fixed = record.clone();
        fix(&mut fixed, *b"FILE").unwrap();
        assert_eq!((&fixed[510..512], &fixed[1022..]), (&b"AB"[..], &b"CD"[..]));
        record[1022] = 8;
        assert!(fix(&mut record, *b"FILE").is_err());
    }
}
