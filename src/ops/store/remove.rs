//! `store remove`: takes names away. What they named stays until it is collected.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::layout::Entry;
use crate::layout::SharedLayout;
use crate::layout::Work;
use crate::layout::is_store;
use crate::ops::shared::report::path_text;
use crate::ops::shared::store_names::entry;
use crate::ops::shared::store_names::split;
use crate::ops::shared::store_names::typed;
use crate::store::Live;
use crate::work::Watch;

/// Which names go.
#[derive(Clone, Debug)]
pub struct RemoveRequest {
    /// Each as `STORE@NAME`, all of one store.
    pub names: Vec<PathBuf>,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

impl RemoveRequest {
    /// Asks for names to go.
    #[must_use]
    pub fn new(names: Vec<PathBuf>) -> Self {
        Self { names, dry_run: false }
    }
}

/// A name that went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemovedName {
    /// The name.
    pub name: String,
    /// Digest of the manifest that it named.
    pub digest: Digest,
    /// Other names that the manifest keeps.
    pub other_names: Vec<String>,
}

/// What was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemoveReport {
    /// The store.
    #[serde(serialize_with = "path_text")]
    pub store: PathBuf,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The names.
    pub removed: Vec<RemovedName>,
    /// Blobs that nothing needs any more because of it: collecting deletes them.
    pub freed_blobs: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Bytes of the removed ones that others need, and that stay.
    pub kept_bytes: u64,
}

/// Adds to a refusal how a store and a name that were typed apart are typed.
fn named_apart(error: Error, names: &[PathBuf]) -> Error {
    let [one, other] = names else { return error };
    let is = |path: &PathBuf| is_store(path).unwrap_or(false);
    let (store, name) = match (is(one), is(other)) {
        (true, false) => (one, other),
        (false, true) => (other, one),
        _ => return error,
    };
    let example = typed(store, &name.to_string_lossy()).display().to_string();
    error.advise(Advice::NameAmi { example })
}

/// Removes names from a store.
///
/// # Errors
///
/// `Invalid` if a name is not there, and then none goes; as [`SharedLayout::change`] and [`Live::of`].
pub fn remove(request: &RemoveRequest, watch: &dyn Watch) -> Result<RemoveReport> {
    let mut names = BTreeSet::new();
    let mut store: Option<PathBuf> = None;
    for typed in &request.names {
        let (path, name) = split(typed).map_err(|error| named_apart(error, &request.names))?;
        if store.as_ref().is_some_and(|store| *store != path) {
            return Err(
                Error::invalid("it is in another store, expected names of one").in_file(typed)
            );
        }
        store = Some(path);
        names.insert(name);
    }
    let store = store.ok_or_else(|| Error::invalid("no name was given"))?;
    let layout = SharedLayout::open(&store, Work::Add, watch)?;
    let reader = layout.reader()?;
    layout.change(watch, |catalog| {
        let before = Live::of(&*reader, catalog)?;
        let mut removed = Vec::new();
        for name in &names {
            let digest = entry(catalog, &store, name)?.descriptor.digest;
            let others = catalog.entries.iter().filter(|it| it.descriptor.digest == digest);
            let others = others.filter_map(Entry::name).filter(|it| !names.contains(*it));
            let other_names = others.map(str::to_owned).collect();
            removed.push(RemovedName { name: name.clone(), digest, other_names });
        }
        for name in &names {
            catalog.remove(name);
        }
        let (freed, freed_bytes) = before.freed(&before.with(catalog));
        let mut needed = std::collections::BTreeMap::new();
        for it in &removed {
            needed.extend(before.needs(&it.digest).into_iter().flat_map(|it| it.blobs.clone()));
        }
        let kept = needed.iter().filter(|(digest, _)| !freed.contains(digest));
        let kept_bytes = kept.fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
        let report = RemoveReport {
            store: store.clone(),
            dry_run: request.dry_run,
            removed,
            freed_blobs: u64::try_from(freed.len()).expect("memory is under 2^64 bytes"),
            freed_bytes,
            kept_bytes,
        };
        Ok((report, !request.dry_run))
    })
}
