//! A volume or a stream, cut into jobs.

use crate::error::Result;
use crate::io::Stream;
use crate::units::BLOCK_LEN;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::units::MAX_VOLUME_SIZE;
use crate::units::block_count;
use crate::volume::ReadVolume;
use crate::volume::block_hint;
use crate::volume::check_size;
use crate::work::Buffers;
use crate::work::Watch;

/// A part of the volume that one worker takes.
pub(super) enum Job<'a> {
    /// Blocks whose state needs no reading.
    Run { kind: ExtentKind, count: u32, bytes: u64 },
    /// Blocks to be read.
    Span { volume: &'a dyn ReadVolume, first: BlockIndex, count: usize },
    /// Blocks that a stream gave, padded to whole ones.
    Memory { plain: Vec<u8>, first: BlockIndex, bytes: u64 },
}

/// Cuts a volume into jobs, skipping over what need not be read.
pub(super) fn volume_jobs(
    volume: &dyn ReadVolume,
    most: usize,
) -> impl Iterator<Item = Result<Job<'_>>> + '_ {
    let end = block_count(volume.size());
    let mut next = BlockIndex(0);
    std::iter::from_fn(move || {
        (next.0 < end).then(|| {
            let job = next_job(volume, next, end, most);
            next = match &job {
                Ok(Job::Run { count, .. }) => BlockIndex(next.0.strict_add(*count)),
                Ok(Job::Span { count, .. }) => {
                    let count = u32::try_from(*count).expect("at most 32");
                    let behind = BlockIndex(next.0.strict_add(count));
                    // Jobs are made some jobs before they are worked on.
                    volume.will_need(next.offset()..behind.offset());
                    behind
                }
                // After a failure there is no next place to look at.
                Ok(Job::Memory { .. }) | Err(_) => BlockIndex(end),
            };
            job
        })
    })
}

fn next_job(volume: &dyn ReadVolume, first: BlockIndex, end: u32, most: usize) -> Result<Job<'_>> {
    let extent = volume.extent_at(first.offset())?;
    // Blocks that the extent covers to their end; the volume's last block ends with the volume.
    let covered = if extent.range.end >= volume.size() {
        end
    } else {
        BlockIndex::holding(extent.range.end).expect("inside the volume").0
    };
    let (kind, covered) = if covered > first.0 {
        (extent.kind, covered)
    } else {
        (block_hint(volume, first)?, first.0.strict_add(1))
    };
    if kind != ExtentKind::Data {
        let count = covered.strict_sub(first.0);
        let bytes = BlockIndex(covered).offset().min(volume.size()).strict_sub(first.offset());
        return Ok(Job::Run { kind, count, bytes });
    }
    let mut count = 1;
    while count < most {
        let next = BlockIndex(first.0.strict_add(u32::try_from(count).expect("at most 32")));
        let data =
            next.0 < covered || (next.0 < end && block_hint(volume, next)? == ExtentKind::Data);
        if !data {
            break;
        }
        count = count.strict_add(1);
    }
    Ok(Job::Span { volume, first, count })
}

/// Cuts a stream into jobs and counts its bytes.
pub(super) fn stream_jobs<'a>(
    stream: &'a mut Stream,
    most: usize,
    buffers: &'a Buffers,
    size: &'a mut u64,
    watch: &'a dyn Watch,
) -> impl Iterator<Item = Result<Job<'static>>> + 'a {
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut plain = buffers.take();
        plain.resize(most.strict_mul(BLOCK_LEN), 0);
        let len = match stream.read_full(&mut plain, watch) {
            Ok(len) => len,
            Err(error) => {
                ended = true;
                return Some(Err(error));
            }
        };
        ended = len < plain.len();
        if len == 0 {
            return None;
        }
        let bytes = u64::try_from(len).expect("at most 16 MiB");
        // Only the last job is not of whole blocks.
        let first = BlockIndex::holding(*size);
        *size = size.strict_add(bytes);
        if *size > MAX_VOLUME_SIZE {
            ended = true;
            return Some(check_size(*size).map(|()| unreachable!("it is over the limit")));
        }
        plain.truncate(len.next_multiple_of(BLOCK_LEN));
        plain[len..].fill(0);
        let first = first.expect("inside the largest volume");
        Some(Ok(Job::Memory { plain, first, bytes }))
    })
}
