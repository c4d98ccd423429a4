//! `churn`: two builds of what should be the same, and why they differ.

mod fates;
mod judge;
mod pair;
mod systems;
mod tally;

use std::cell::OnceCell;
use std::cell::RefCell;
use std::num::NonZero;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::error::Result;
use crate::explain::Reason;
use crate::explain::cause;
use crate::guest::Found;
use crate::guest::Guest;
use crate::guest::Ranges;
use crate::guest::Tree;
use crate::guest::VolumeOwners;
use crate::guest::escape;
use crate::ops::churn::fates::Sides;
use crate::ops::churn::fates::compare;
use crate::ops::churn::judge::Judge;
use crate::ops::churn::judge::tables;
use crate::ops::churn::pair::PartPair;
use crate::ops::churn::tally::Blame;
use crate::ops::churn::tally::Cost;
use crate::ops::churn::tally::Tally;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::alike;
use crate::ops::shared::open::open;
use crate::ops::shared::open::recorded_free;
use crate::ops::shared::pages::changed as changed_pages;
use crate::units::PAGE_LEN;
use crate::units::PAGE_SIZE;
use crate::volume::ReadVolume;
use crate::work::Watch;
use crate::work::default_threads;

/// Which builds are compared.
#[derive(Clone, Debug)]
pub struct ChurnRequest {
    /// The older build.
    pub old: VolumeRequest,
    /// The newer one.
    pub new: VolumeRequest,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl ChurnRequest {
    /// Asks why two builds differ, with all processors.
    #[must_use]
    pub fn new(old: VolumeRequest, new: VolumeRequest) -> Self {
        Self { old, new, threads: default_threads() }
    }
}

/// What one cause costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CauseSum {
    /// The cause, what differs, and what keeps it from differing.
    #[serde(flatten)]
    pub cause: Reason,
    /// Pages of 4 KiB with a difference of that cause.
    pub changed_pages: u64,
    /// Bytes of these: what a delta has to carry at most.
    pub changed_bytes: u64,
    /// Blocks of 512 KiB with such a page: puts to EBS.
    pub changed_blocks: u64,
    /// Of these, blocks that differ only because of it.
    pub sole_blocks: u64,
}

/// A real difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RealSum {
    /// The file that it belongs to; escaped if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its bytes, base64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// What became of the file, or the class of what belongs to none.
    pub what: &'static str,
    /// Pages of 4 KiB with a part of it.
    pub changed_pages: u64,
    /// Bytes of these.
    pub changed_bytes: u64,
    /// Blocks of 512 KiB with such a page.
    pub changed_blocks: u64,
    /// Of these, blocks that differ only because of it.
    pub sole_blocks: u64,
}

/// Why two builds differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChurnReport {
    /// Whether no page differs.
    pub equal: bool,
    /// Bytes of the old volume.
    pub old_size_bytes: u64,
    /// Bytes of the new volume.
    pub new_size_bytes: u64,
    /// Pages of 4 KiB that differ.
    pub changed_pages: u64,
    /// Bytes of these.
    pub changed_bytes: u64,
    /// Blocks of 512 KiB with a page that differs: puts to EBS.
    pub changed_blocks: u64,
    /// Pages that causes explain whole.
    pub explained_pages: u64,
    /// Blocks in which causes explain every page.
    pub explained_blocks: u64,
    /// The causes, dearest first.
    pub causes: Vec<CauseSum>,
    /// Real differences, dearest first.
    pub real: Vec<RealSum>,
    /// What could not be looked into, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Compares two builds page by page and says of each difference what causes it.
///
/// # Errors
///
/// As [`open`] and reading the volumes.
pub fn churn(request: &ChurnRequest, watch: &dyn Watch) -> Result<ChurnReport> {
    // Where one of them leaves out free blocks, the other is read the same way.
    let (of_old, of_new) = (recorded_free(&request.old)?, recorded_free(&request.new)?);
    let old = open(&alike(&request.old, of_new.filter(|_| of_old.is_none())), watch)?;
    let new = open(&alike(&request.new, of_old.filter(|_| of_new.is_none())), watch)?;
    let (old, new) = (old.volume(), new.volume());
    let changed = changed_pages(old, new, request.threads, watch)?;
    let fail_old = |error| request.old.fail(error);
    let fail_new = |error| request.new.fail(error);
    let old_guest = Guest::open(old).map_err(fail_old)?;
    let new_guest = Guest::open(new).map_err(fail_new)?;
    let old_owners = old_guest.owners().map_err(fail_old)?;
    let new_owners = new_guest.owners().map_err(fail_new)?;
    let mut report = ChurnReport {
        equal: changed.as_slice().is_empty() && old.size() == new.size(),
        old_size_bytes: old.size(),
        new_size_bytes: new.size(),
        ..ChurnReport::default()
    };
    let guests = (&old_guest, &new_guest);
    let owners = (&old_owners, &new_owners);
    let judge = judge(guests, (old, new), owners, &changed, watch, &mut report)?;
    let mut tally = Tally::default();
    each_page((old, new), &changed, watch, &mut |start, len, one, other| {
        let page = start..start.strict_add(len);
        tally.take(start, len, judge.page(&page, one, other));
    })?;
    tally.flush();
    fill(&mut report, tally);
    old.check_unchanged().map_err(fail_old)?;
    new.check_unchanged().map_err(fail_new)?;
    Ok(report)
}

/// Compares what is in the partitions of both.
fn judge<'a, 'g>(
    guests: (&'a Guest<'g>, &'a Guest<'g>),
    volumes: (&dyn ReadVolume, &dyn ReadVolume),
    owners: (&'a VolumeOwners, &'a VolumeOwners),
    changed: &Ranges,
    watch: &dyn Watch,
    report: &mut ChurnReport,
) -> Result<Judge<'a, 'g>> {
    for (side, guest) in [("old", guests.0), ("new", guests.1)].iter().filter(|_| !report.equal) {
        for part in &guest.parts {
            if let Found::Broken { name, fault } = &part.found {
                let place = format!("{name} at byte {} of the {side} volume", part.range.start);
                report.notes.push(format!("{place} is not looked into: {fault}"));
            }
        }
    }
    let mounted: Vec<(usize, Vec<u8>)> = match Tree::open(guests.1, None) {
        Ok(tree) => tree.mounted().map(|(part, path)| (part, path.to_vec())).collect(),
        Err(_) => Vec::new(),
    };
    let mut pairs = Vec::new();
    for (index, part) in guests.1.parts.iter().enumerate() {
        let mut pair = PartPair::new(index, guests, volumes, owners.1)?;
        if let Some(old) = pair.old
            && part.system().is_some()
        {
            let path = mounted.iter().find(|(of, _)| *of == index).map(|(_, path)| &path[..]);
            let mounted = path.unwrap_or(b"/");
            let touched = OnceCell::new();
            let sides = Sides { old, new: part, changed, owners, mounted, watch, touched };
            pair.fates = compare(&sides)?;
            if pair.fates.is_none() {
                let name = part.found.name().unwrap_or("nothing");
                let note = format!("files of {name} at byte {} are damaged", part.range.start);
                report.notes.push(format!("{note}: its differences are not explained"));
            }
        }
        pairs.push(pair);
    }
    let tables = tables(guests.1, volumes.1.size());
    Ok(Judge {
        old_owners: owners.0,
        new_owners: owners.1,
        pairs,
        tables,
        last: RefCell::default(),
    })
}

/// Takes a page: first byte, bytes, both versions of it.
type TakePage<'a> = dyn FnMut(u64, u64, &[u8], &[u8]) + 'a;

/// Reads both sides of every page that differs; what one volume does not have reads as zeros.
fn each_page(
    (old, new): (&dyn ReadVolume, &dyn ReadVolume),
    changed: &Ranges,
    watch: &dyn Watch,
    each: &mut TakePage<'_>,
) -> Result<()> {
    let (mut one, mut other) = (vec![0; PAGE_LEN], vec![0; PAGE_LEN]);
    for range in changed.as_slice() {
        let mut at = range.start;
        while at < range.end {
            watch.check()?;
            let len = range.end.strict_sub(at).min(PAGE_SIZE);
            let count = usize::try_from(len).expect("a page");
            read(old, at, &mut one[..count])?;
            read(new, at, &mut other[..count])?;
            each(at, len, &one[..count], &other[..count]);
            at = at.strict_add(len);
        }
    }
    Ok(())
}

fn read(volume: &dyn ReadVolume, at: u64, buffer: &mut [u8]) -> Result<()> {
    let there = usize::try_from(volume.size().saturating_sub(at)).unwrap_or(usize::MAX);
    let there = there.min(buffer.len());
    buffer[there..].fill(0);
    if there == 0 { Ok(()) } else { volume.read_at(at, &mut buffer[..there]) }
}

/// Puts the sums into the report, dearest first.
fn fill(report: &mut ChurnReport, tally: Tally) {
    report.changed_pages = tally.pages;
    report.changed_bytes = tally.bytes;
    report.changed_blocks = tally.blocks;
    report.explained_pages = tally.explained_pages;
    report.explained_blocks = tally.explained_blocks;
    let mut causes: Vec<(&'static str, Cost)> = tally.causes.into_iter().collect();
    causes.sort_by_key(|(_, cost)| std::cmp::Reverse(cost.bytes));
    report.causes = causes
        .into_iter()
        .map(|(id, cost)| CauseSum {
            cause: *cause(id),
            changed_pages: cost.pages,
            changed_bytes: cost.bytes,
            changed_blocks: cost.blocks,
            sole_blocks: cost.sole,
        })
        .collect();
    let mut real: Vec<(Blame, Cost)> = tally.real.into_iter().collect();
    real.sort_by_key(|(_, cost)| std::cmp::Reverse(cost.bytes));
    report.real = real
        .into_iter()
        .map(|(blame, cost)| {
            let (path, what) = match blame {
                Blame::File(path, what) => (Some(path), what),
                Blame::Class(class) => (None, class),
            };
            let text = path.as_ref().map(|path| std::str::from_utf8(path).map(str::to_owned));
            let is_text = matches!(text, None | Some(Ok(_)));
            RealSum {
                path_bytes: path.as_ref().filter(|_| !is_text).map(|it| STANDARD.encode(it)),
                path: text.map(|text| text.unwrap_or_else(|_| escape(&path.unwrap_or_default()))),
                what,
                changed_pages: cost.pages,
                changed_bytes: cost.bytes,
                changed_blocks: cost.blocks,
                sole_blocks: cost.sole,
            }
        })
        .collect();
}
