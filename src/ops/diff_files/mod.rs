//! `diff --files`: whose pages differ between two volumes, by name.

mod blocks;
mod costs;
mod entry;
mod files;
mod renames;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;

use crate::error::Result;
use crate::guest::Guest;
use crate::guest::Package;
use crate::guest::Tree;
use crate::guest::packages;
use crate::ops::diff_files::blocks::Paths;
use crate::ops::diff_files::costs::Costs;
use crate::ops::diff_files::costs::Pages;
use crate::ops::diff_files::files::Side;
use crate::ops::diff_files::files::Walk;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::alike;
use crate::ops::shared::open::open;
use crate::ops::shared::open::recorded_free;
use crate::ops::shared::pages;
use crate::units::PAGE_SIZE;
use crate::volume::ReadVolume;
use crate::work::Watch;
use crate::work::default_threads;

pub use entry::BlockChange;
pub use entry::BlockShare;
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
    /// Tell of each block that changed, too.
    pub blocks: bool,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl DiffFilesRequest {
    /// Asks what differs between two volumes, with all processors.
    #[must_use]
    pub fn new(old: VolumeRequest, new: VolumeRequest) -> Self {
        Self { old, new, blocks: false, threads: default_threads() }
    }
}

/// Compares two volumes page by page, and hands over whose the pages are: classes, files and directories,
/// packages, blocks, the sum. Memory holds the owners of both volumes and what changed.
///
/// # Errors
///
/// As [`open`] and reading the volumes; `Corrupt` for a file that is damaged; whatever `each` returns.
pub fn diff_files(
    request: &DiffFilesRequest,
    watch: &dyn Watch,
    each: &mut dyn FnMut(&Entry) -> Result<()>,
) -> Result<FilesReport> {
    diff_files_placed(request, watch, &mut |_, _| {}, each)
}

/// As [`diff_files`], and tells `place` where each class of the new volume changed, ascending, before anything else.
///
/// # Errors
///
/// As [`diff_files`].
pub fn diff_files_placed(
    request: &DiffFilesRequest,
    watch: &dyn Watch,
    place: &mut dyn FnMut(Range<u64>, &'static str),
    each: &mut dyn FnMut(&Entry) -> Result<()>,
) -> Result<FilesReport> {
    // Where one of them leaves out free blocks, the other is read the same way.
    let (of_old, of_new) = (recorded_free(&request.old)?, recorded_free(&request.new)?);
    let old = open(&alike(&request.old, of_new.filter(|_| of_old.is_none())), watch)?;
    let new = open(&alike(&request.new, of_old.filter(|_| of_new.is_none())), watch)?;
    let (old, new) = (old.volume(), new.volume());
    let fail_old = |error| request.old.fail(error);
    let fail_new = |error| request.new.fail(error);
    let changed = pages::changed(old, new, request.threads, watch)?;
    let novel = pages::novel(old, new, &changed, request.threads, watch)?;
    let pages = Pages { changed, novel };
    let old_guest = Guest::open(old).map_err(fail_old)?;
    let new_guest = Guest::open(new).map_err(fail_new)?;
    let old_owners = old_guest.owners().map_err(fail_old)?;
    let new_owners = new_guest.owners().map_err(fail_new)?;
    let (before, after) = (Costs::of(&pages, &old_owners), Costs::of(&pages, &new_owners));
    for range in pages.changed.as_slice() {
        for (part, _, owner) in new_owners.within(range.clone()) {
            place(part, owner.class());
        }
    }
    let mut report = summed(old, new, &pages, &after);
    classes(&before, &after, each)?;
    let trees = (Tree::open(&old_guest, None), Tree::open(&new_guest, None));
    let (mut old_paths, mut new_paths) = (Paths::new(), Paths::new());
    match &trees {
        (Ok(old_tree), Ok(new_tree)) => {
            let mut walk = Walk {
                old: Side::new(old_tree, &before, &old_guest.parts, request.blocks),
                new: Side::new(new_tree, &after, &new_guest.parts, request.blocks),
                changed: &pages.changed,
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
                report.renamed,
                report.metadata,
                report.rewritten,
            ] = walk.counts;
            (report.file_bytes, report.unnamed_bytes) = walk.new.file_bytes();
            old_paths = walk.old.paths.take().unwrap_or_default();
            new_paths = walk.new.paths.take().unwrap_or_default();
            package_changes(old_tree, new_tree, &mut report, each)?;
        }
        (old, new) => {
            for error in [old.as_ref().err(), new.as_ref().err()].into_iter().flatten() {
                report.notes.push(format!("files are not compared: {}", error.without_advice()));
            }
        }
    }
    if request.blocks {
        blocks::tell(&pages, (&old_owners, &old_paths), (&new_owners, &new_paths), watch, each)?;
    }
    old.check_unchanged().map_err(fail_old)?;
    new.check_unchanged().map_err(fail_new)?;
    each(&Entry::Sum(report.clone()))?;
    Ok(report)
}

fn summed(old: &dyn ReadVolume, new: &dyn ReadVolume, pages: &Pages, after: &Costs) -> FilesReport {
    let bytes = pages.changed.bytes();
    let of_files: u64 = after.files.values().map(|cost| cost.bytes).sum();
    FilesReport {
        equal: bytes == 0 && old.size() == new.size(),
        old_size_bytes: old.size(),
        new_size_bytes: new.size(),
        changed_pages: bytes.div_ceil(PAGE_SIZE),
        changed_bytes: bytes,
        delta_bytes: pages.novel.bytes(),
        changed_blocks: u64::try_from(pages.blocks().count()).expect("at most 2^45"),
        unnamed_bytes: of_files,
        other_bytes: bytes.strict_sub(of_files),
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
        delta_bytes: 0,
        changed_blocks: 0,
        sole_blocks: 0,
    };
    for (class, cost) in &before.classes {
        sums.entry(class).or_insert_with(|| blank(class)).old_changed_bytes = cost.bytes;
    }
    for (class, cost) in &after.classes {
        let sum = sums.entry(class).or_insert_with(|| blank(class));
        (sum.changed_bytes, sum.delta_bytes) = (cost.bytes, cost.delta);
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
