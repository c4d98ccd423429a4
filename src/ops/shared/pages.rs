//! Which pages differ between two volumes, and which of them a delta has to carry.

use std::num::NonZero;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::digest::is_zero;
use crate::error::Result;
use crate::guest::Ranges;
use crate::io::PageBuffer;
use crate::units::ExtentKind;
use crate::units::PAGE_LEN;
use crate::units::PAGE_SIZE;
use crate::volume::ReadVolume;
use crate::work::Crew;
use crate::work::Watch;
use crate::work::in_order;

/// Bytes of both volumes that one worker takes at once.
const SPAN_LEN: u64 = 2 << 20;

/// Returns the bytes of all pages that differ; what one volume does not have reads as zeros.
pub(in crate::ops) fn changed(
    old: &dyn ReadVolume,
    new: &dyn ReadVolume,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Ranges> {
    let size = old.size().max(new.size());
    watch.begin(Some(size));
    let mut changed = Ranges::default();
    in_order(
        Crew::far_ahead(threads),
        watch,
        spans(size),
        || Ok((PageBuffer::default(), PageBuffer::default())),
        |(a, b), span: Range<u64>| {
            let mut found = Vec::new();
            if has_data(old, &span)? || has_data(new, &span)? {
                read(old, &span, a)?;
                read(new, &span, b)?;
                let mut at = span.start;
                for (one, other) in a.chunks(PAGE_LEN).zip(b.chunks(PAGE_LEN)) {
                    let end = at.strict_add(PAGE_SIZE).min(span.end);
                    if one != other {
                        found.push(at..end);
                    }
                    at = end;
                }
            }
            Ok((span, found))
        },
        |(span, found)| {
            watch.advance(span.end.strict_sub(span.start));
            for range in found {
                changed.push(range);
            }
            Ok(())
        },
    )?;
    Ok(changed)
}

/// Returns the bytes of the changed pages that hold what the old volume has nowhere: a delta copies what the old
/// one has, and leaves out zeros. Memory grows with the pages that changed alone.
pub(in crate::ops) fn novel(
    old: &dyn ReadVolume,
    new: &dyn ReadVolume,
    changed: &Ranges,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Ranges> {
    let keys = keys_of(new, changed, threads, watch)?;
    let mut wanted: Vec<u64> = keys.iter().copied().filter(|key| *key != ZEROS).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut has = vec![false; wanted.len()];
    if !wanted.is_empty() {
        watch.begin(Some(old.size()));
        in_order(
            Crew::far_ahead(threads),
            watch,
            spans(old.size()),
            || Ok(PageBuffer::default()),
            |buffer, span: Range<u64>| {
                let mut found = Vec::new();
                if has_data(old, &span)? {
                    read(old, &span, buffer)?;
                    let keys = buffer.chunks(PAGE_LEN).map(key_of);
                    found.extend(keys.filter_map(|key| wanted.binary_search(&key).ok()));
                }
                Ok((span, found))
            },
            |(span, found)| {
                watch.advance(span.end.strict_sub(span.start));
                for place in found {
                    has[place] = true;
                }
                Ok(())
            },
        )?;
    }
    let mut novel = Ranges::default();
    for (page, key) in pages_of(changed).zip(keys) {
        if wanted.binary_search(&key).is_ok_and(|place| !has[place]) {
            novel.push(page);
        }
    }
    Ok(novel)
}

/// The key of zeros, which no delta carries.
const ZEROS: u64 = 0;

/// Returns what identifies the content of a page.
fn key_of(page: &[u8]) -> u64 {
    if is_zero(page) { ZEROS } else { xxh3_64(page).max(1) }
}

/// Iterates over the pages of ranges that start at one.
fn pages_of(ranges: &Ranges) -> impl Iterator<Item = Range<u64>> + '_ {
    ranges.as_slice().iter().flat_map(|range| {
        let count = range.end.strict_sub(range.start).div_ceil(PAGE_SIZE);
        (0..count).map(|number| {
            let start = range.start.strict_add(number.strict_mul(PAGE_SIZE));
            start..start.saturating_add(PAGE_SIZE).min(range.end)
        })
    })
}

/// Returns a key of what each of the changed pages holds now.
fn keys_of(
    new: &dyn ReadVolume,
    changed: &Ranges,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Vec<u64>> {
    watch.begin(Some(changed.bytes()));
    let jobs = changed.as_slice().iter().flat_map(|range| {
        let size = range.end.strict_sub(range.start);
        let cut = move |span: Range<u64>| {
            Ok(range.start.strict_add(span.start)..range.start.strict_add(span.end))
        };
        spans(size).map(move |span| span.and_then(cut))
    });
    let mut keys = Vec::new();
    in_order(
        Crew::far_ahead(threads),
        watch,
        jobs,
        || Ok(PageBuffer::default()),
        |buffer, span: Range<u64>| {
            read(new, &span, buffer)?;
            let found: Vec<u64> = buffer.chunks(PAGE_LEN).map(key_of).collect();
            Ok((span, found))
        },
        |(span, mut found)| {
            watch.advance(span.end.strict_sub(span.start));
            keys.append(&mut found);
            Ok(())
        },
    )?;
    Ok(keys)
}

/// Cuts a volume into pieces for one worker each.
fn spans(size: u64) -> impl Iterator<Item = Result<Range<u64>>> {
    (0..size.div_ceil(SPAN_LEN)).map(move |number| {
        let start = number.strict_mul(SPAN_LEN);
        Ok(start..start.strict_add(SPAN_LEN).min(size))
    })
}

fn has_data(volume: &dyn ReadVolume, span: &Range<u64>) -> Result<bool> {
    let end = span.end.min(volume.size());
    let mut at = span.start;
    while at < end {
        let extent = volume.extent_at(at)?;
        if extent.kind == ExtentKind::Data {
            return Ok(true);
        }
        at = extent.range.end;
    }
    Ok(false)
}

fn read(volume: &dyn ReadVolume, span: &Range<u64>, buffer: &mut PageBuffer) -> Result<()> {
    let len = usize::try_from(span.end.strict_sub(span.start)).expect("at most 2 MiB");
    buffer.resize(len);
    let there = volume.size().saturating_sub(span.start).min(span.end.strict_sub(span.start));
    let there = usize::try_from(there).expect("at most 2 MiB");
    buffer[there..].fill(0);
    if there == 0 { Ok(()) } else { volume.read_at(span.start, &mut buffer[..there]) }
}
