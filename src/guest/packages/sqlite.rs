//! One table of an `SQLite` database, read page by page (the file format, version 3).
//!
//! ```text
//! header of 100 bytes: 0 "SQLite format 3\0", 16 2 page size (1: 65,536), 20 1 reserved bytes a page
//! page (big-endian): 0 type 5 (interior) or 13 (leaf), 3 2 cells, 8 4 last child of an interior page;
//!   then 2 bytes a cell: where it is
//! cell: interior { child 4, key varint }; leaf { payload length varint, row varint, payload, overflow 4 }
//! record: length of its header varint, types varint each, values
//! ```

use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Most bytes of a row: one package with all its files.
const MAX_PAYLOAD_LEN: u64 = 256 << 20;

fn broken() -> Failure {
    Problem::Damaged.text("its SQLite database is damaged")
}

/// Fills a buffer from a place of the database on.
pub(super) type Read<'a> = dyn Fn(u64, &mut [u8]) -> Outcome<()> + 'a;

/// A database.
pub(super) struct Database<'a> {
    read: &'a Read<'a>,
    page_len: u64,
    usable: usize,
    pages: u64,
}

impl<'a> Database<'a> {
    /// Opens a database of `len` bytes.
    pub(super) fn open(read: &'a Read<'a>, len: u64) -> Outcome<Self> {
        let mut header = [0; 100];
        if len < 512 {
            return Err(broken());
        }
        read(0, &mut header)?;
        let page_len = match u64::from(field::u16_be(&header, 16)) {
            1 => 65_536,
            len => len,
        };
        let reserved = usize::from(header[20]);
        let sane = page_len.is_power_of_two() && (512..=65_536).contains(&page_len);
        let whole = usize::try_from(page_len).map_err(|_| broken())?;
        let usable = whole.checked_sub(reserved).filter(|usable| *usable >= 480);
        let (true, true, Some(usable)) = (header.starts_with(MAGIC), sane, usable) else {
            return Err(broken());
        };
        Ok(Self { read, page_len, usable, pages: len.strict_div(page_len) })
    }

    fn page(&self, number: u64) -> Outcome<Vec<u8>> {
        let Some(index) = number.checked_sub(1).filter(|index| *index < self.pages) else {
            return Err(broken());
        };
        let mut page = vec![0; usize::try_from(self.page_len).expect("at most 64 KiB")];
        (self.read)(index.strict_mul(self.page_len), &mut page)?;
        Ok(page)
    }

    /// Returns the root page of a table.
    pub(super) fn table(&self, name: &str) -> Outcome<u64> {
        let mut root = None;
        self.rows(1, &mut |record| {
            let values = values(record)?;
            // type, name, tbl_name, rootpage, sql
            if let [kind, its_name, _, page, ..] = values[..]
                && kind == b"table"
                && its_name == name.as_bytes()
            {
                root = Some(page.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)));
            }
            Ok(())
        })?;
        root.ok_or_else(broken)
    }

    /// Goes through the rows of the tree below a page.
    pub(super) fn rows(
        &self,
        root: u64,
        each: &mut dyn FnMut(&[u8]) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut left = vec![root];
        // A tree has each page once.
        let mut budget = self.pages;
        while let Some(number) = left.pop() {
            budget = budget.checked_sub(1).ok_or_else(broken)?;
            let page = self.page(number)?;
            let start = if number == 1 { 100 } else { 0 };
            let head = &page[start..];
            let (cells, head_len): (usize, usize) =
                (usize::from(field::u16_be(head, 3)), if head[0] == 5 { 12 } else { 8 });
            let places =
                head.get(head_len..head_len.strict_add(cells.strict_mul(2))).ok_or_else(broken)?;
            let places = places.chunks_exact(2).map(|it| usize::from(field::u16_be(it, 0)));
            match head[0] {
                5 => {
                    left.push(field::u32_be(head, 8).into());
                    for place in places.rev() {
                        let cell =
                            page.get(place..).filter(|it| it.len() >= 4).ok_or_else(broken)?;
                        left.push(field::u32_be(cell, 0).into());
                    }
                    if left.len() > usize::try_from(self.pages).unwrap_or(usize::MAX) {
                        return Err(broken());
                    }
                }
                13 => {
                    for place in places {
                        each(&self.payload(page.get(place..).ok_or_else(broken)?)?)?;
                    }
                }
                _ => return Err(broken()),
            }
        }
        Ok(())
    }

    /// Returns the payload of a leaf's cell, with what lies on other pages.
    fn payload(&self, cell: &[u8]) -> Outcome<Vec<u8>> {
        let (len, first) = varint(cell).ok_or_else(broken)?;
        let (_, second) = varint(&cell[first..]).ok_or_else(broken)?;
        let rest = &cell[first.strict_add(second)..];
        if len > MAX_PAYLOAD_LEN.min(self.pages.saturating_mul(self.page_len)) {
            return Err(broken());
        }
        let len = usize::try_from(len).map_err(|_| broken())?;
        let most = self.usable.strict_sub(35);
        let local = if len <= most {
            len
        } else {
            let least = self.usable.strict_sub(12).strict_mul(32).strict_div(255).strict_sub(23);
            let all = least.strict_add(len.strict_sub(least).strict_rem(self.usable.strict_sub(4)));
            if all <= most { all } else { least }
        };
        let mut payload = rest.get(..local).ok_or_else(broken)?.to_vec();
        if local == len {
            return Ok(payload);
        }
        let mut next = rest.get(local..local.strict_add(4)).map(|it| field::u32_be(it, 0));
        while payload.len() < len {
            let page = self.page(next.ok_or_else(broken)?.into())?;
            let part = len.strict_sub(payload.len()).min(self.usable.strict_sub(4));
            payload.extend_from_slice(&page[4..][..part]);
            next = Some(field::u32_be(&page, 0));
        }
        Ok(payload)
    }
}

/// Reads a number of one to nine bytes, and how many these are.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().take(9).enumerate() {
        if place == 8 {
            return Some((value << 8 | u64::from(*byte), 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, place.strict_add(1)));
        }
    }
    None
}

/// Splits a record into the bytes of its values.
pub(super) fn values(record: &[u8]) -> Outcome<Vec<&[u8]>> {
    let (head_len, mut at) = varint(record).ok_or_else(broken)?;
    let head_len = usize::try_from(head_len).map_err(|_| broken())?;
    let (head, mut rest) = record.split_at_checked(head_len).ok_or_else(broken)?;
    let mut found = Vec::new();
    while at < head.len() {
        let (kind, len) = varint(&head[at..]).ok_or_else(broken)?;
        at = at.strict_add(len);
        let len = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return Err(broken()),
            // Texts are odd, other bytes even.
            _ => kind.strict_sub(12).strict_div(2),
        };
        let len = usize::try_from(len).map_err(|_| broken())?;
        let (value, behind) = rest.split_at_checked(len).ok_or_else(broken)?;
        found.push(value);
        rest = behind;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_to_nine_bytes() {
        assert_eq!(varint(&[0x7f]), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0x80]), None);
    }

    #[test]
    fn a_record_that_claims_more_than_it_has_is_refused() {
        let record = [3, 0, 0x12, b'a', b'b', b'c'];
        assert_eq!(values(&record).unwrap(), [&b""[..], b"abc"]);
        assert!(values(&[3, 0, 0x14, b'a', b'b', b'c']).is_err());
        assert!(values(&[9, 0]).is_err());
    }
}
