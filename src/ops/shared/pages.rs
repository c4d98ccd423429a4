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
    let mut done = 0;
    in_order(
        Crew::far_ahead(threads),
        watch,
        stored_spans(&[old, new]),
        || Ok((PageBuffer::default(), PageBuffer::default())),
        |(a, b), span: Range<u64>| {
            let mut found = Vec::new();
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
            Ok((span, found))
        },
        |(span, found)| {
            watch.advance(span.end.strict_sub(done));
            done = span.end;
            for range in found {
                changed.push(range);
            }
            Ok(())
        },
    )?;
    watch.advance(size.strict_sub(done));
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
        let mut done = 0;
        in_order(
            Crew::far_ahead(threads),
            watch,
            stored_spans(&[old]),
            || Ok(PageBuffer::default()),
            |buffer, span: Range<u64>| {
                read(old, &span, buffer)?;
                let keys = buffer.chunks(PAGE_LEN).map(key_of);
                let found: Vec<usize> =
                    keys.filter_map(|key| wanted.binary_search(&key).ok()).collect();
                Ok((span, found))
            },
            |(span, found)| {
                watch.advance(span.end.strict_sub(done));
                done = span.end;
                for place in found {
                    has[place] = true;
                }
                Ok(())
            },
        )?;
        watch.advance(old.size().strict_sub(done));
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

/// Cuts what is stored of volumes into pieces for one worker each, that start where those of [`spans`] do. What no volume
/// stores takes no time, however long it is.
fn stored_spans<'a>(
    volumes: &'a [&'a dyn ReadVolume],
) -> impl Iterator<Item = Result<Range<u64>>> + 'a {
    let size = volumes.iter().map(|volume| volume.size()).max().unwrap_or(0);
    let mut at = 0;
    // For each volume the first stored byte from there on, where it was looked for.
    let mut next = vec![0; volumes.len()];
    std::iter::from_fn(move || {
        for (volume, next) in volumes.iter().zip(&mut next) {
            if *next < at {
                *next = at;
            }
            match first_stored(*volume, *next) {
                Ok(found) => *next = found.unwrap_or(size),
                Err(error) => {
                    // After a failure there is no next place to look at.
                    at = size;
                    return Some(Err(error));
                }
            }
        }
        let first = next.iter().copied().min().filter(|first| *first < size && at < size)?;
        let start = first.strict_div(SPAN_LEN).strict_mul(SPAN_LEN).max(at);
        at = start.strict_add(SPAN_LEN).min(size);
        Some(Ok(start..at))
    })
}

/// Returns the first stored byte of a volume from `at` on.
fn first_stored(volume: &dyn ReadVolume, mut at: u64) -> Result<Option<u64>> {
    while at < volume.size() {
        let extent = volume.extent_at(at)?;
        if extent.kind == ExtentKind::Data {
            return Ok(Some(at));
        }
        at = extent.range.end;
    }
    Ok(None)
}

fn read(volume: &dyn ReadVolume, span: &Range<u64>, buffer: &mut PageBuffer) -> Result<()> {
    let len = usize::try_from(span.end.strict_sub(span.start)).expect("at most 2 MiB");
    buffer.resize(len);
    let there = volume.size().saturating_sub(span.start).min(span.end.strict_sub(span.start));
    let there = usize::try_from(there).expect("at most 2 MiB");
    buffer[there..].fill(0);
    if there == 0 { Ok(()) } else { volume.read_at(span.start, &mut buffer[..there]) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::volume::Place;
    use crate::volume::RunMap;
    use crate::volume::Volume;

    /// A volume with the byte 1 at some places and a hole elsewhere.
    fn volume(size: u64, stored: &[u64]) -> Volume {
        let mut map = RunMap::default();
        for at in stored {
            map.push(at.strict_sub(map.size()), Place::Hole);
            map.push(1, Place::Stored { source: 0, offset: 0 });
        }
        map.push(size.strict_sub(map.size()), Place::Hole);
        Volume::new(map, vec![Arc::new(vec![1_u8]).into()]).unwrap()
    }

    /// Pieces are those that a walk over all of them finds something in; of 64 TiB they take no time.
    #[test]
    fn only_what_is_stored_is_looked_at() {
        let size = 64 << 40;
        let (one, other) = (
            volume(size, &[0, SPAN_LEN * 5 - 1, SPAN_LEN * 5, 3 << 40, size - 1]),
            volume(size / 2 + 7, &[1, SPAN_LEN * 9, size / 2 + 6]),
        );
        let starts = |volumes: &[&dyn ReadVolume]| -> Vec<u64> {
            stored_spans(volumes).map(|span| span.unwrap().start / SPAN_LEN).collect()
        };
        let last = size / SPAN_LEN - 1;
        assert_eq!(starts(&[&one]), [0, 4, 5, (3 << 40) / SPAN_LEN, last]);
        let half = size / 2 / SPAN_LEN;
        assert_eq!(starts(&[&other]), [0, 9, half]);
        assert_eq!(starts(&[&one, &other]), [0, 4, 5, 9, (3 << 40) / SPAN_LEN, half, last]);
        assert_eq!(starts(&[&volume(size, &[])]), [0_u64; 0]);

        let found = changed(&one, &other, NonZero::new(2).unwrap(), &crate::work::Unwatched);
        let pages: Vec<u64> =
            found.unwrap().as_slice().iter().map(|range| range.start / PAGE_SIZE).collect();
        let page = |at: u64| at / PAGE_SIZE;
        let expected = [0, page(SPAN_LEN * 5 - 1), page(SPAN_LEN * 9), page(3 << 40)];
        // Pages that follow each other are one range.
        assert_eq!(pages[..4], expected);
        assert_eq!(pages[4..], [page(size / 2 + 6), page(size - 1)]);
    }
}
