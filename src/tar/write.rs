//! Members with holes, as GNU tar writes them in its old form: every tar reads that one.

use std::ops::Range;

use crate::field;
use crate::tar::layout;
use crate::tar::layout::RECORD_LEN;
use crate::tar::layout::RECORD_SIZE;

/// Longest name of a member, in bytes.
pub const MAX_NAME_LEN: usize = 100;

/// Bytes of an entry: an offset and a length.
const ENTRY_LEN: usize = 24;

/// Entries in a header, and in each record behind it.
const HEADER_ENTRIES: usize = 4;
const RECORD_ENTRIES: usize = 21;

/// What tar writes at once: an archive is a multiple of it.
const BLOCK_SIZE: u64 = 20 * RECORD_SIZE;

/// Rounds data out to whole records, and joins what then touches. Only so do all readers agree where
/// the bytes of each segment lie: GNU tar pads each of them, others do not.
#[must_use]
pub fn align(data: impl IntoIterator<Item = Range<u64>>, size: u64) -> Vec<Range<u64>> {
    let mut aligned: Vec<Range<u64>> = Vec::new();
    for range in data {
        let start = range.start.strict_sub(range.start % RECORD_SIZE);
        let end = range.end.checked_next_multiple_of(RECORD_SIZE).map_or(size, |end| end.min(size));
        match aligned.last_mut() {
            Some(last) if last.end >= start => last.end = last.end.max(end),
            _ => aligned.push(start..end),
        }
    }
    aligned
}

/// Returns the records in front of a file's data: those of a plain member if the data is all of the
/// file, else of a sparse one.
///
/// # Panics
///
/// If the name is over [`MAX_NAME_LEN`] bytes, or `data` is none that [`align`] returns.
#[must_use]
pub fn sparse_header(name: &str, size: u64, data: &[Range<u64>]) -> Vec<u8> {
    let whole = |at: u64| at.is_multiple_of(RECORD_SIZE) || at == size;
    let each = data.iter().all(|it| it.start < it.end && whole(it.start) && whole(it.end));
    let sorted = data.is_sorted_by(|a, b| a.end < b.start);
    assert!(each && sorted && data.last().is_none_or(|it| it.end <= size), "data as align has it");
    let stored = stored_len(data);
    let mut header = layout::encode(name, stored);
    field::put_bytes(&mut header, 257, b"ustar  \0");
    let mut records = Vec::new();
    if stored < size {
        header[156] = b'S';
        let trailing = data.last().is_none_or(|it| it.end < size).then_some(size..size);
        let entries: Vec<_> = data.iter().chain(&trailing).collect();
        let (first, rest) = entries.split_at(entries.len().min(HEADER_ENTRIES));
        put_entries(&mut header[386..482], first);
        header[482] = u8::from(!rest.is_empty());
        layout::put_number(&mut header[483..495], size);
        let last = rest.len().div_ceil(RECORD_ENTRIES).saturating_sub(1);
        for (number, group) in rest.chunks(RECORD_ENTRIES).enumerate() {
            let mut record = [0; RECORD_LEN];
            put_entries(&mut record, group);
            record[504] = u8::from(number < last);
            records.extend_from_slice(&record);
        }
    }
    layout::seal(&mut header);
    [&header[..], &records].concat()
}

fn put_entries(bytes: &mut [u8], entries: &[&Range<u64>]) {
    for (place, entry) in bytes.as_chunks_mut::<ENTRY_LEN>().0.iter_mut().zip(entries) {
        let (offset, len) = place.split_at_mut(ENTRY_LEN / 2);
        layout::put_number(offset, entry.start);
        layout::put_number(len, entry.end.strict_sub(entry.start));
    }
}

/// Returns the bytes of all data.
#[must_use]
pub fn stored_len(data: &[Range<u64>]) -> u64 {
    // Segments lie apart, so the sum is at most the end of the last.
    data.iter().fold(0, |sum, it| sum.strict_add(it.end.strict_sub(it.start)))
}

/// Returns how many zeros end an archive of `len` bytes, the padding of its last member among them:
/// two records at least, and as many as make it a multiple of what tar writes at once.
#[must_use]
pub fn end_len(len: u64) -> u64 {
    // An archive is far below 2^64 bytes.
    let least = len.next_multiple_of(RECORD_SIZE).strict_add(2 * RECORD_SIZE);
    least.next_multiple_of(BLOCK_SIZE).strict_sub(len)
}
