//! `compare`: whether two volumes are the same, and every range where they are not.

use std::num::NonZero;
use std::ops::Range;

use serde::Serialize;

use crate::digest::is_zero;
use crate::error::Result;
use crate::io::PAIR_PIECE_LEN;
use crate::io::PageBuffer;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::alike;
use crate::ops::shared::open::open;
use crate::ops::shared::open::recorded_free;
use crate::ops::shared::reflinks::SameBytes;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::work::Crew;
use crate::work::Watch;
use crate::work::default_threads;
use crate::work::in_order;

/// Bytes of both volumes that one worker takes at once.
const SPAN_LEN: u64 = 2 << 20;

/// Grain of the ranges that are reported: a sector.
const GRAIN_LEN: usize = 512;

/// What is compared, and how far.
#[derive(Clone, Debug)]
pub struct CompareRequest {
    /// One volume.
    pub left: VolumeRequest,
    /// The other.
    pub right: VolumeRequest,
    /// Tell holes from written zeros too.
    pub states: bool,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl CompareRequest {
    /// Asks whether two volumes have the same bytes, with all processors.
    #[must_use]
    pub fn new(left: VolumeRequest, right: VolumeRequest) -> Self {
        Self { left, right, states: false, threads: default_threads() }
    }
}

/// Bytes in which two volumes differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DifferentRange {
    /// First byte.
    pub start_bytes: u64,
    /// First byte behind them.
    pub end_bytes: u64,
    /// What differs: `content`, `state` or `size`.
    pub what: &'static str,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompareReport {
    /// Whether the volumes are the same.
    pub equal: bool,
    /// Whether states were compared too.
    pub states: bool,
    /// Bytes of the one volume.
    pub left_size_bytes: u64,
    /// Bytes of the other.
    pub right_size_bytes: u64,
    /// Bytes that differ.
    pub different_bytes: u64,
    /// Every range where they differ, in sectors of 512 bytes, ascending.
    pub differences: Vec<DifferentRange>,
}

/// A part of both volumes in which each is of one kind.
struct Job {
    range: Range<u64>,
    left: ExtentKind,
    right: ExtentKind,
}

/// Compares two volumes.
///
/// # Errors
///
/// As [`open`] and reading the volumes.
pub fn compare(request: &CompareRequest, watch: &dyn Watch) -> Result<CompareReport> {
    // Where one of them leaves out free blocks, the other is read the same way.
    let (of_left, of_right) = (recorded_free(&request.left)?, recorded_free(&request.right)?);
    let left = open(&alike(&request.left, of_right.filter(|_| of_left.is_none())), watch)?;
    let right = open(&alike(&request.right, of_left.filter(|_| of_right.is_none())), watch)?;
    let (left, right) = (left.volume(), right.volume());
    let (short, long) = (left.size().min(right.size()), left.size().max(right.size()));
    watch.begin(Some(long));
    // A span holds whole units, so none is unpacked twice.
    let unit_len = left.unit_len().max(right.unit_len());
    let piece_len = if unit_len > PAIR_PIECE_LEN {
        usize::try_from(SPAN_LEN).expect("2 MiB")
    } else {
        PAIR_PIECE_LEN
    };
    let same = SameBytes::of(left, right)?;
    let mut found = Vec::new();
    in_order(
        Crew::far_ahead(request.threads),
        watch,
        jobs([left, right], &same, short),
        || Ok((PageBuffer::zeroed(piece_len), PageBuffer::zeroed(piece_len))),
        |(a, b), job| {
            let bytes = job.range.end.strict_sub(job.range.start);
            Ok((bytes, differences(left, right, &job, request.states, a, b)?))
        },
        |(bytes, differences)| {
            watch.advance(bytes);
            for (range, what) in differences {
                add(&mut found, range, what);
            }
            Ok(())
        },
    )?;
    if short < long {
        add(&mut found, short..long, "size");
    }
    left.check_unchanged().map_err(|e| request.left.fail(e))?;
    right.check_unchanged().map_err(|e| request.right.fail(e))?;
    Ok(CompareReport {
        equal: found.is_empty(),
        states: request.states,
        left_size_bytes: left.size(),
        right_size_bytes: right.size(),
        // Ranges of one volume, so their sum is below 2^46.
        different_bytes: found.iter().map(|it| it.end_bytes.strict_sub(it.start_bytes)).sum(),
        differences: found,
    })
}

/// Adds a range, joined to the last one where it goes on.
fn add(found: &mut Vec<DifferentRange>, range: Range<u64>, what: &'static str) {
    match found.last_mut() {
        Some(last) if last.what == what && last.end_bytes == range.start => {
            last.end_bytes = range.end;
        }
        _ => found.push(DifferentRange { start_bytes: range.start, end_bytes: range.end, what }),
    }
}

/// Cuts what both volumes have into jobs. What is not stored in either is one job, however long.
fn jobs<'a>(
    volumes: [&'a dyn ReadVolume; 2],
    same: &'a SameBytes,
    end: u64,
) -> impl Iterator<Item = Result<Job>> + 'a {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let job = next_job(volumes, same, at, end);
        // After a failure there is no next place to look at.
        at = job.as_ref().map_or(end, |job| job.range.end);
        Some(job)
    })
}

fn next_job(
    [left, right]: [&dyn ReadVolume; 2],
    same: &SameBytes,
    at: u64,
    end: u64,
) -> Result<Job> {
    if let Some(stop) = same.end_of(at) {
        // Both are stored, at one place: no more to read than where neither has anything.
        let (left, right) = (ExtentKind::Zero, ExtentKind::Zero);
        return Ok(Job { range: at..stop.min(end), left, right });
    }
    let (a, b) = (left.extent_at(at)?, right.extent_at(at)?);
    let mut stop = a.range.end.min(b.range.end).min(end);
    if a.kind == ExtentKind::Data || b.kind == ExtentKind::Data {
        // Spans end at multiples of their length, so that a packed unit is in one of them.
        stop = stop.min((at / SPAN_LEN).strict_add(1).strict_mul(SPAN_LEN));
    }
    let stop = same.next_behind(at).map_or(stop, |next| stop.min(next));
    for (volume, kind) in [(left, a.kind), (right, b.kind)] {
        if kind == ExtentKind::Data {
            volume.will_need(at..stop);
        }
    }
    Ok(Job { range: at..stop, left: a.kind, right: b.kind })
}

/// Returns the ranges of a job in which the volumes differ.
fn differences(
    left: &dyn ReadVolume,
    right: &dyn ReadVolume,
    job: &Job,
    states: bool,
    a: &mut [u8],
    b: &mut [u8],
) -> Result<Vec<(Range<u64>, &'static str)>> {
    // Stored bytes that are zeros are written zeros.
    let hole = (job.left == ExtentKind::Hole, job.right == ExtentKind::Hole);
    let state = states && hole.0 != hole.1;
    let stored = (job.left == ExtentKind::Data, job.right == ExtentKind::Data);
    let mut found = Vec::new();
    if stored == (false, false) {
        if state {
            found.push((job.range.clone(), "state"));
        }
        return Ok(found);
    }
    let mut at = job.range.start;
    while at < job.range.end {
        let rest = usize::try_from(job.range.end.strict_sub(at)).expect("at most 2 MiB");
        let len = rest.min(a.len());
        let (a, b) = (&mut a[..len], &mut b[..len]);
        for (volume, there, buf) in [(left, stored.0, &mut *a), (right, stored.1, &mut *b)] {
            if there {
                volume.read_at(at, buf)?;
            }
        }
        let equal = match stored {
            (true, true) => a == b,
            (true, false) => is_zero(a),
            _ => is_zero(b),
        };
        let end = at.strict_add(u64::try_from(len).expect("at most a piece"));
        if !equal {
            match stored {
                (true, false) => b.fill(0),
                (false, true) => a.fill(0),
                _ => {}
            }
            sectors(&Pair { at, a, b }, &mut found);
        } else if state {
            found.push((at..end, "state"));
        }
        at = end;
    }
    Ok(found)
}

/// The same piece of both volumes.
struct Pair<'a> {
    at: u64,
    a: &'a [u8],
    b: &'a [u8],
}

/// Adds the sectors in which the pieces differ.
fn sectors(pair: &Pair<'_>, found: &mut Vec<(Range<u64>, &'static str)>) {
    let mut at = pair.at;
    for (a, b) in pair.a.chunks(GRAIN_LEN).zip(pair.b.chunks(GRAIN_LEN)) {
        let end = at.strict_add(u64::try_from(a.len()).expect("a sector"));
        if a != b {
            match found.last_mut() {
                Some((range, "content")) if range.end == at => range.end = end,
                _ => found.push((at..end, "content")),
            }
        }
        at = end;
    }
}
