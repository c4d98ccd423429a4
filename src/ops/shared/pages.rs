//! Which pages differ between two volumes.

use std::num::NonZero;
use std::ops::Range;

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
    let spans = (0..size.div_ceil(SPAN_LEN)).map(|number| {
        let start = number.strict_mul(SPAN_LEN);
        Ok(start..start.strict_add(SPAN_LEN).min(size))
    });
    let mut changed = Ranges::default();
    in_order(
        Crew::far_ahead(threads),
        watch,
        spans,
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
