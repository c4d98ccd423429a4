//! `diff --files`: whose pages differ between two volumes, by name.

mod costs;
mod entry;
mod files;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::num::NonZero;

use crate::error::Result;
use crate::guest::Guest;
use crate::guest::Package;
use crate::guest::Ranges;
use crate::guest::Tree;
use crate::guest::packages;
use crate::ops::diff_files::costs::Costs;
use crate::ops::diff_files::files::Side;
use crate::ops::diff_files::files::Walk;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::alike;
use crate::ops::shared::open::open;
use crate::ops::shared::open::recorded_free;
use crate::ops::shared::pages::changed as changed_pages;
use crate::units::BLOCK_SIZE;
use crate::units::PAGE_SIZE;
use crate::volume::ReadVolume;
use crate::work::Watch;
use crate::work::default_threads;

pub use entry::Change;
pub use entry::ClassSum;
pub use entry::Entry;
pub use entry::FileChange;
pub use entry::FilesReport;
pub use entry::FolderSum;
pub use entry::PackageChange;

/// Which volumes are compared.
#[derive(Clone, Debug)]
pub struct DiffFilesRequest {
    /// The older volume.
    pub old: VolumeRequest,
    /// The newer one.
    pub new: VolumeRequest,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl DiffFilesRequest {
    /// Asks what differs between two volumes, with all processors.
    #[must_use]
    pub fn new(old: VolumeRequest, new: VolumeRequest) -> Self {
        Self { old, new, threads: default_threads() }
    }
}

/// Compares two volumes page by page, and hands over whose the pages are: classes, files and directories,
/// packages, the sum.
///
/// # Errors
///
/// As [`open`] and reading the volumes; `Corrupt` for a file that is damaged; whatever `each` returns.
pub fn diff_files(
    request: &DiffFilesRequest,
    watch: &dyn Watch,
    each: &mut dyn FnMut(&Entry) -> Result<()>,
) -> Result<FilesReport> {
    // Where one of them leaves out free blocks, the other is read the same way.
    let (of_old, of_new) = (recorded_free(&request.old)?, recorded_free(&request.new)?);
    let old = open(&alike(&request.old, of_new.filter(|_| of_old.is_none())), watch)?;
    let new = open(&alike(&request.new, of_old.filter(|_| of_new.is_none())), watch)?;
    let (old, new) = (old.volume(), new.volume());
    let fail_old = |error| request.old.fail(error);
    let fail_new = |error| request.new.fail(error);
    let changed = changed_pages(old, new, request.threads, watch)?;
    let old_guest = Guest::open(old).map_err(fail_old)?;
    let new_guest = Guest::open(new).map_err(fail_new)?;
    let before = Costs::of(&changed, &old_guest.owners().map_err(fail_old)?);
    let after = Costs::of(&changed, &new_guest.owners().map_err(fail_new)?);
    let mut report = summed(old, new, &changed);
    classes(&before, &after, each)?;
    let trees = (Tree::open(&old_guest, None), Tree::open(&new_guest, None));
    match &trees {
        (Ok(old_tree), Ok(new_tree)) => {
            let mut walk = Walk {
                old: Side {
                    tree: old_tree,
                    costs: &before,
                    parts: &old_guest.parts,
                    seen: BTreeSet::new(),
                },
                new: Side {
                    tree: new_tree,
                    costs: &after,
                    parts: &new_guest.parts,
                    seen: BTreeSet::new(),
                },
                changed: &changed,
                watch,
                each: &mut *each,
                counts: [0; Change::COUNT],
            };
            walk.run()?;
            [
                report.added,
                report.removed,
                report.changed,
                report.moved,
                report.metadata,
                report.rewritten,
            ] = walk.counts;
            package_changes(old_tree, new_tree, &mut report, each)?;
        }
        (old, new) => {
            for error in [old.as_ref().err(), new.as_ref().err()].into_iter().flatten() {
                report.notes.push(format!("files are not compared: {}", error.without_advice()));
            }
        }
    }
    old.check_unchanged().map_err(fail_old)?;
    new.check_unchanged().map_err(fail_new)?;
    each(&Entry::Sum(report.clone()))?;
    Ok(report)
}

fn summed(old: &dyn ReadVolume, new: &dyn ReadVolume, changed: &Ranges) -> FilesReport {
    let mut blocks = 0_u64;
    let mut next = 0_u64;
    for range in changed.as_slice() {
        let first = range.start.strict_div(BLOCK_SIZE).max(next);
        let end = range.end.div_ceil(BLOCK_SIZE);
        blocks = blocks.strict_add(end.saturating_sub(first));
        next = end;
    }
    FilesReport {
        equal: changed.as_slice().is_empty() && old.size() == new.size(),
        old_size_bytes: old.size(),
        new_size_bytes: new.size(),
        changed_pages: changed.bytes().div_ceil(PAGE_SIZE),
        changed_bytes: changed.bytes(),
        changed_blocks: blocks,
        ..FilesReport::default()
    }
}

/// Tells what the classes of both sides cost, dearest first.
fn classes(
    before: &Costs,
    after: &Costs,
    each: &mut dyn FnMut(&Entry) -> Result<()>,
) -> Result<()> {
    let mut sums: BTreeMap<&'static str, ClassSum> = BTreeMap::new();
    let blank = |class| ClassSum {
        class,
        old_changed_bytes: 0,
        changed_bytes: 0,
        changed_blocks: 0,
        sole_blocks: 0,
    };
    for (class, cost) in &before.classes {
        sums.entry(class).or_insert_with(|| blank(class)).old_changed_bytes = cost.bytes;
    }
    for (class, cost) in &after.classes {
        let sum = sums.entry(class).or_insert_with(|| blank(class));
        sum.changed_bytes = cost.bytes;
        (sum.changed_blocks, sum.sole_blocks) = (cost.blocks, cost.sole);
    }
    let mut sums: Vec<ClassSum> = sums.into_values().collect();
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.changed_bytes.max(sum.old_changed_bytes)));
    sums.into_iter().try_for_each(|sum| each(&Entry::Class(sum)))
}

/// Versions of a package before and now: a system may have several of a kernel.
type Versions = (Vec<String>, Vec<String>);

/// Tells which packages were added, removed and upgraded.
fn package_changes(
    old: &Tree<'_>,
    new: &Tree<'_>,
    report: &mut FilesReport,
    each: &mut dyn FnMut(&Entry) -> Result<()>,
) -> Result<()> {
    let (before, after) = (packages(old)?, packages(new)?);
    report.notes.extend(before.faults.iter().chain(&after.faults).cloned());
    let mut all: BTreeMap<(&'static str, String, String), Versions> = BTreeMap::new();
    let key = |it: &Package| (it.manager, it.name.clone(), it.architecture.clone());
    for package in &before.installed {
        all.entry(key(package)).or_default().0.push(package.version.clone());
    }
    for package in &after.installed {
        all.entry(key(package)).or_default().1.push(package.version.clone());
    }
    for ((manager, name, architecture), (olds, news)) in all {
        let gone: Vec<&String> = olds.iter().filter(|it| !news.contains(it)).collect();
        let came: Vec<&String> = news.iter().filter(|it| !olds.contains(it)).collect();
        for place in 0..gone.len().max(came.len()) {
            let old_version = gone.get(place).map(|it| (*it).clone());
            let new_version = came.get(place).map(|it| (*it).clone());
            let change = match (&old_version, &new_version) {
                (None, _) => "added",
                (_, None) => "removed",
                _ => "upgraded",
            };
            each(&Entry::Package(PackageChange {
                change,
                manager,
                name: name.clone(),
                architecture: architecture.clone(),
                old_version,
                new_version,
            }))?;
        }
    }
    Ok(())
}
