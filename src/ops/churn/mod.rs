//! `churn`: two builds of what should be the same, and why they differ.

mod claim;
mod fates;
mod file;
mod follow;
mod initramfs;
mod judge;
mod pair;
mod systems;
mod tally;

use std::cell::OnceCell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZero;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::error::Result;
use crate::explain::Reason;
use crate::explain::cause;
use crate::explain::folder_of;
use crate::guest::FileId;
use crate::guest::Found;
use crate::guest::Guest;
use crate::guest::Ranges;
use crate::guest::Tree;
use crate::guest::VolumeOwners;
use crate::guest::escape;
use crate::ops::churn::fates::Sides;
use crate::ops::churn::fates::compare;
use crate::ops::churn::file::Fate;
use crate::ops::churn::judge::Judge;
use crate::ops::churn::judge::tables;
use crate::ops::churn::pair::PartPair;
use crate::ops::churn::tally::Blame;
use crate::ops::churn::tally::Cost;
use crate::ops::churn::tally::Following;
use crate::ops::churn::tally::Place;
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

/// The name of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChurnName {
    /// Its path; escaped if it is not UTF-8.
    pub path: String,
    /// Its bytes, base64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
}

/// A file inside an initramfs that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InsideSum {
    /// Its path there.
    #[serde(flatten)]
    pub name: ChurnName,
    /// What became of it.
    pub what: &'static str,
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
    /// What became of the file, or the class of what belongs to none; with a path, of what is kept of that file.
    pub what: &'static str,
    /// Why it is real, if its name says that programs write it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Of a directory: the paths that only the new build has in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<ChurnName>,
    /// Of a directory: the paths that only the old build has in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<ChurnName>,
    /// Of an initramfs: what differs inside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inside: Vec<InsideSum>,
    /// Pages of 4 KiB with a part of it.
    pub changed_pages: u64,
    /// Bytes of these.
    pub changed_bytes: u64,
    /// Blocks of 512 KiB with such a page.
    pub changed_blocks: u64,
    /// Of these, blocks that differ only because of it.
    pub sole_blocks: u64,
}

/// Records of a file system that say where files lie, and that follow from the real differences of others: room that
/// these take, or no longer take, moves the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FollowingSum {
    /// The class of the records.
    pub what: &'static str,
    /// The files that they are of: these do not differ, but for where they or their names lie, and for their numbers.
    pub files: Vec<ChurnName>,
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
    /// Pages with something that really differs.
    pub real_pages: u64,
    /// The other pages: they say where files lie, which follows from what really differs.
    pub following_pages: u64,
    /// Blocks in which causes explain every page.
    pub explained_blocks: u64,
    /// The causes, dearest first.
    pub causes: Vec<CauseSum>,
    /// Real differences, dearest first.
    pub real: Vec<RealSum>,
    /// What follows from these, dearest first.
    pub follows: Vec<FollowingSum>,
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
    fill(&mut report, tally, &judge);
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
    // What cannot be opened as a whole is still looked into, a partition at a time.
    let trees = (Tree::open(guests.0, None).ok(), Tree::open(guests.1, None).ok());
    let mut pairs = Vec::new();
    for (index, part) in guests.1.parts.iter().enumerate() {
        let mut pair = PartPair::new(index, guests, volumes, owners.1)?;
        if let Some(old) = pair.old
            && part.system().is_some()
        {
            let mounts: Vec<(FileId, Vec<u8>)> = trees.1.as_ref().map_or_else(Vec::new, |tree| {
                tree.mounts_of(index).map(|(root, path)| (root, path.to_vec())).collect()
            });
            let touched = OnceCell::new();
            let trees = (trees.0.as_ref(), trees.1.as_ref());
            let sides =
                Sides { old, new: part, changed, owners, mounts: &mounts, trees, watch, touched };
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
fn fill(report: &mut ChurnReport, tally: Tally, judge: &Judge<'_, '_>) {
    report.changed_pages = tally.pages;
    report.changed_bytes = tally.bytes;
    report.changed_blocks = tally.blocks;
    report.explained_pages = tally.explained_pages;
    report.real_pages = tally.real_pages;
    report.following_pages =
        tally.pages.strict_sub(tally.explained_pages).strict_sub(tally.real_pages);
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
    let names = names_that_differ(&real, judge);
    report.real =
        real.into_iter().map(|(blame, cost)| summed(blame, cost, judge, &names)).collect();
    let mut follows: Vec<(&'static str, Following)> = tally.follows.into_iter().collect();
    follows.sort_by_key(|(_, following)| std::cmp::Reverse(following.cost.bytes));
    report.follows = follows
        .into_iter()
        .map(|(what, Following { cost, files })| FollowingSum {
            what,
            files: files.into_iter().map(|it| name(&judge.file(it).path)).collect(),
            changed_pages: cost.pages,
            changed_bytes: cost.bytes,
            changed_blocks: cost.blocks,
            sole_blocks: cost.sole,
        })
        .collect();
}

/// Files that one build alone has in a directory: new ones, and those that are gone.
type Names = BTreeMap<Place, [Vec<ChurnName>; 2]>;

/// Finds the names that differ in each directory that really does.
fn names_that_differ(real: &[(Blame, Cost)], judge: &Judge<'_, '_>) -> Names {
    let mut names = Names::new();
    for part in 0..judge.pairs.len() {
        let Some(fates) = &judge.pairs[part].fates else { continue };
        let directories = real.iter().filter_map(|(blame, _)| match blame {
            Blame::File(place) if place.part == part => Some((*place, judge.file(*place))),
            _ => None,
        });
        let directories = directories
            .filter(|(_, file)| file.is_directory && file.fate == Fate::Changed)
            .map(|(place, file)| (folder(&file.path), place));
        let directories: BTreeMap<Vec<u8>, Place> = directories.collect();
        for file in &fates.files {
            let side = match file.fate {
                Fate::Added => 0,
                Fate::Removed => 1,
                _ => continue,
            };
            if let Some(place) = directories.get(folder_of(&file.path)) {
                names.entry(*place).or_default()[side].push(name(&file.path));
            }
        }
    }
    names
}

/// Returns a path as that of a folder, with a slash at its end.
fn folder(path: &[u8]) -> Vec<u8> {
    [path.strip_suffix(b"/").unwrap_or(path), b"/"].concat()
}

fn name(path: &[u8]) -> ChurnName {
    match std::str::from_utf8(path) {
        Ok(text) => ChurnName { path: text.to_owned(), path_bytes: None },
        Err(_) => ChurnName { path: escape(path), path_bytes: Some(STANDARD.encode(path)) },
    }
}

fn summed(blame: Blame, cost: Cost, judge: &Judge<'_, '_>, names: &Names) -> RealSum {
    let (file, what) = match blame {
        Blame::File(place) => (Some(place), judge.file(place).fate.name()),
        Blame::Record(place, class) => (Some(place), class),
        Blame::Class(class) => (None, class),
    };
    let path = file.map(|place| name(&judge.file(place).path));
    let is_whole = matches!(blame, Blame::File(_));
    let place = file.filter(|_| is_whole);
    let claim = place.and_then(|place| judge.file(place).claim.as_ref());
    let [added, removed] = place.and_then(|place| names.get(&place)).cloned().unwrap_or_default();
    let inside = claim.map(|it| &it.inside[..]).unwrap_or_default();
    RealSum {
        path_bytes: path.as_ref().and_then(|it| it.path_bytes.clone()),
        path: path.map(|it| it.path),
        what,
        note: claim.and_then(|it| it.note.clone()),
        added,
        removed,
        inside: inside.iter().map(|it| InsideSum { name: name(&it.name), what: it.what }).collect(),
        changed_pages: cost.pages,
        changed_bytes: cost.bytes,
        changed_blocks: cost.blocks,
        sole_blocks: cost.sole,
    }
}
