//! A hash database of Berkeley DB, read page by page: version 5 to 10 of its layout, in either byte order.
//!
//! ```text
//! page 0: 12 4 magic 0x061561, 16 4 version, 20 4 bytes of a page, 24 1 cipher, 25 1 type 8, 26 1 flags, 32 4 last page
//! page:   16 4 next page of a long value, 20 2 items, 22 2 bytes of a long value on this page, 25 1 type;
//!         from 26 on the places of the items, 2 bytes each, or the bytes of a long value
//! item:   0 1 kind: 1 bytes follow; 3 a long value: 4 4 its first page, 8 4 its length. Keys and values take turns.
//! ```
//!
//! Pages that belong to no bucket any more have another type, so that all pages can be read in their order.

use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::packages::sqlite::Read;

const MAGIC: u32 = 0x0006_1561;
const HEADER_LEN: usize = 72;
const PAGE_HEADER_LEN: usize = 26;

/// Types of pages.
const META: u8 = 8;
const UNSORTED: u8 = 2;
const SORTED: u8 = 13;
const LONG: u8 = 7;

/// Kinds of items.
const BYTES_FOLLOW: u8 = 1;
const LONG_VALUE: u8 = 3;

/// Most bytes of a value: one package with all its files.
const MAX_VALUE_LEN: u64 = 256 << 20;

fn broken() -> Failure {
    Problem::Damaged.text("its Berkeley DB is damaged")
}

/// What is done with a key and its value.
type OnRow<'f> = &'f mut dyn FnMut(&[u8], &[u8]) -> Outcome<()>;

/// A database.
struct Database<'a> {
    read: &'a Read<'a>,
    page_len: u64,
    pages: u64,
    is_big: bool,
}

/// Hands over each key and its value, in the order in which they lie in a database of `len` bytes.
pub(super) fn rows(read: &Read<'_>, len: u64, each: OnRow<'_>) -> Outcome<()> {
    let mut header = [0; HEADER_LEN];
    if len < 512 {
        return Err(broken());
    }
    read(0, &mut header)?;
    let is_big = field::u32_be(&header, 12) == MAGIC;
    let number = |at: usize| {
        if is_big { field::u32_be(&header, at) } else { field::u32_le(&header, at) }
    };
    let page_len = u64::from(number(20));
    let sane = page_len.is_power_of_two() && (512..=65_536).contains(&page_len);
    if number(12) != MAGIC || header[25] != META || !sane {
        return Err(broken());
    }
    // Pages with checksums have longer headers.
    if header[24] != 0 || header[26] != 0 || !(5..=10).contains(&number(16)) {
        return Err(
            Problem::Unsupported.text("its Berkeley DB is encrypted, or of another version")
        );
    }
    let pages = len.strict_div(page_len);
    let database = Database { read, page_len, pages, is_big };
    if u64::from(number(32)) >= pages {
        return Err(broken());
    }
    (1..=u64::from(number(32))).try_for_each(|page| database.page_rows(page, each))
}

impl Database<'_> {
    fn u16(&self, bytes: &[u8], at: usize) -> usize {
        let found = if self.is_big { field::u16_be(bytes, at) } else { field::u16_le(bytes, at) };
        usize::from(found)
    }

    fn u32(&self, bytes: &[u8], at: usize) -> u64 {
        u64::from(if self.is_big { field::u32_be(bytes, at) } else { field::u32_le(bytes, at) })
    }

    fn page(&self, number: u64) -> Outcome<Vec<u8>> {
        if number >= self.pages {
            return Err(broken());
        }
        let mut page = vec![0; usize::try_from(self.page_len).map_err(|_| broken())?];
        (self.read)(number.strict_mul(self.page_len), &mut page)?;
        Ok(page)
    }

    fn page_rows(&self, number: u64, each: OnRow<'_>) -> Outcome<()> {
        let page = self.page(number)?;
        if !matches!(page[25], UNSORTED | SORTED) {
            return Ok(());
        }
        let places_end = self.u16(&page, 20).strict_mul(2).strict_add(PAGE_HEADER_LEN);
        let places = page.get(PAGE_HEADER_LEN..places_end).ok_or_else(broken)?;
        // Each item ends where the one before it starts.
        let mut end = page.len();
        let mut items = Vec::new();
        for place in places.chunks_exact(2) {
            let start = self.u16(place, 0);
            items.push(page.get(start..end).filter(|it| !it.is_empty()).ok_or_else(broken)?);
            if start < places_end {
                return Err(broken());
            }
            end = start;
        }
        for pair in items.chunks(2) {
            let [key, value] = pair else { return Err(broken()) };
            each(&self.value(key)?, &self.value(value)?)?;
        }
        Ok(())
    }

    fn value(&self, item: &[u8]) -> Outcome<Vec<u8>> {
        match item[0] {
            BYTES_FOLLOW => Ok(item[1..].to_vec()),
            LONG_VALUE if item.len() >= 12 => self.long(self.u32(item, 4), self.u32(item, 8)),
            LONG_VALUE => Err(broken()),
            _ => Err(Problem::Unsupported.text("its Berkeley DB has several values for a key")),
        }
    }

    fn long(&self, first: u64, len: u64) -> Outcome<Vec<u8>> {
        if len > MAX_VALUE_LEN {
            return Err(Problem::Limit.text("a package's header is over 256 MiB long"));
        }
        if len > self.pages.saturating_mul(self.page_len) {
            return Err(broken());
        }
        let len = usize::try_from(len).map_err(|_| broken())?;
        let mut found = Vec::new();
        let mut next = first;
        while found.len() < len {
            let page = self.page(next)?;
            let count = self.u16(&page, 22);
            let part = page.get(PAGE_HEADER_LEN..PAGE_HEADER_LEN.strict_add(count));
            // A page without bytes would let the chain lead in a circle.
            match part.filter(|part| !part.is_empty() && page[25] == LONG) {
                Some(part) => found.extend_from_slice(part),
                None => return Err(broken()),
            }
            next = self.u32(&page, 16);
        }
        if found.len() == len { Ok(found) } else { Err(broken()) }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use std::fmt::Write as _;
    use std::process::Command;

    use super::*;

    fn all(bytes: &[u8]) -> Outcome<Vec<(Vec<u8>, Vec<u8>)>> {
        let read = |at: u64, buf: &mut [u8]| {
            let at = usize::try_from(at).unwrap();
            buf.copy_from_slice(&bytes[at..][..buf.len()]);
            Ok(())
        };
        let mut found = Vec::new();
        rows(&read, bytes.len().try_into().unwrap(), &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        found.sort();
        Ok(found)
    }

    /// Databases that Berkeley DB's own program makes, in both byte orders, with values of all lengths; and damaged ones.
    #[test]
    fn what_was_loaded_is_read() {
        let scratch = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        let mut expected = Vec::new();
        for number in 0..80_u32 {
            let value: Vec<u8> =
                (0..number * 97).map(|at| u8::try_from((at + number) % 256).unwrap()).collect();
            let hex = |bytes: &[u8]| {
                bytes.iter().fold(String::from(" "), |mut text, byte| {
                    write!(text, "{byte:02x}").unwrap();
                    text
                })
            };
            let key = number.to_le_bytes();
            writeln!(lines, "{}\n{}", hex(&key), hex(&value)).unwrap();
            expected.push((key.to_vec(), value));
        }
        expected.sort();
        for (order, page) in [(1234, 4096), (4321, 512), (1234, 65_536)] {
            let (text, path) = (scratch.path().join("text"), scratch.path().join("Packages"));
            let _ = std::fs::remove_file(&path);
            let head = format!(
                "VERSION=3\nformat=bytevalue\ntype=hash\ndb_lorder={order}\ndb_pagesize={page}\nHEADER=END\n"
            );
            std::fs::write(&text, format!("{head}{lines}DATA=END\n")).unwrap();
            let mut load = Command::new("db5.3_load");
            let Ok(output) = load.arg("-f").arg(&text).arg(&path).output() else {
                println!("skipped: db5.3_load is not installed");
                return;
            };
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let mut bytes = std::fs::read(&path).unwrap();
            assert!(all(&bytes).unwrap() == expected, "{order}, {page}");
            let mut below = crate::guest::samples::random(7);
            for _ in 0..3000 {
                let at = below(bytes.len());
                let before = bytes[at];
                bytes[at] = [0, 0xff, 0x7f, before ^ 1][below(4)];
                let _ = all(&bytes);
                bytes[at] = before;
            }
            for cut in [0, 100, 511, 512, 5000, bytes.len() - 1] {
                let _ = all(&bytes[..cut]);
            }
        }
    }
}
