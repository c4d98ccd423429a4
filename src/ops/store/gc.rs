//! `store gc`: deletes what no name needs.

use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::Result;
use crate::layout::Catalog;
use crate::layout::SharedLayout;
use crate::layout::Work;
use crate::ops::shared::report::path_text;
use crate::store::Live;
use crate::work::Watch;

/// What is collected.
#[derive(Clone, Debug)]
pub struct GcRequest {
    /// The store.
    pub store: PathBuf,
    /// Say what would be deleted, and delete nothing.
    pub dry_run: bool,
    /// Delete blobs too that are newer than `index.json`, which another program may be about to name.
    pub all: bool,
}

impl GcRequest {
    /// Asks for a store to be collected.
    #[must_use]
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Self { store: store.into(), dry_run: false, all: false }
    }
}

/// What was deleted, or will be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GcReport {
    /// The store.
    #[serde(serialize_with = "path_text")]
    pub store: PathBuf,
    /// Whether nothing was deleted.
    pub dry_run: bool,
    /// Blobs that nothing needs.
    pub freed_blobs: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Entries that went with the manifest that they referred to.
    pub freed_referrers: Vec<Digest>,
    /// Blobs that stay.
    pub kept_blobs: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Blobs that nothing needs and that stay because they are newer than `index.json`.
    pub recent_blobs: u64,
    /// Their bytes.
    pub recent_bytes: u64,
    /// Files among the blobs that are not called by a digest. They stay.
    pub strangers: u64,
}

/// Deletes what nothing in a store needs. `before` hears what that is before the first blob goes.
///
/// # Errors
///
/// As [`Live::of`]: then nothing is deleted; whatever `before` returns; `Io` if the system refuses, or if another run
/// is writing.
pub fn gc(
    request: &GcRequest,
    watch: &dyn Watch,
    before: &mut dyn FnMut(&GcReport) -> Result<()>,
) -> Result<GcReport> {
    let layout = SharedLayout::open(&request.store, Work::Collect, watch)?;
    let (mut report, delete) = look(&layout, request)?;
    before(&report)?;
    if request.dry_run {
        return Ok(report);
    }
    if !report.freed_referrers.is_empty() {
        // Names first: nothing that the index names is ever missing.
        let reader = layout.reader()?;
        report.freed_referrers = layout.change(watch, |catalog| {
            let gone = drop_referrers(catalog, &Live::of(&*reader, catalog)?);
            let changed = !gone.is_empty();
            Ok((gone, changed))
        })?;
    }
    for digest in &delete {
        watch.check()?;
        layout.delete(digest)?;
    }
    layout.sync()?;
    Ok(report)
}

/// Finds out what can be deleted.
fn look(layout: &SharedLayout, request: &GcRequest) -> Result<(GcReport, Vec<Digest>)> {
    let reader = layout.reader()?;
    // The time first: what is written later is newer.
    let index_written = layout.index_written()?;
    let mut catalog = Catalog::read(&*reader)?;
    let live = Live::of(&*reader, &catalog)?;
    let kept = live.blobs();
    let (blobs, strangers) = layout.blobs()?;
    let mut report = GcReport {
        store: layout.path().to_owned(),
        dry_run: request.dry_run,
        freed_referrers: drop_referrers(&mut catalog, &live),
        strangers,
        ..GcReport::default()
    };
    let mut delete = Vec::new();
    for (digest, file) in blobs {
        let (count, bytes) = if kept.contains_key(&digest) {
            (&mut report.kept_blobs, &mut report.kept_bytes)
        } else if file.written > index_written && !request.all {
            (&mut report.recent_blobs, &mut report.recent_bytes)
        } else {
            delete.push(digest);
            (&mut report.freed_blobs, &mut report.freed_bytes)
        };
        *count = count.strict_add(1);
        *bytes = bytes.saturating_add(file.len);
    }
    Ok((report, delete))
}

/// Takes entries away that refer to what is not kept.
fn drop_referrers(catalog: &mut Catalog, live: &Live) -> Vec<Digest> {
    let mut gone = Vec::new();
    catalog.entries.retain(|entry| {
        let digest = entry.descriptor.digest;
        let alive = live.is_alive(&digest);
        if !alive && !gone.contains(&digest) {
            gone.push(digest);
        }
        alive
    });
    gone
}
