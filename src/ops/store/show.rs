//! `store show`: one AMI or snapshot of a store.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::ami::Ami;
use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::error::Result;
use crate::layout;
use crate::layout::Catalog;
use crate::layout::Entry;
use crate::ops::shared::report::path_text;
use crate::ops::shared::store_names::entry;
use crate::ops::shared::store_names::split;
use crate::pack;
use crate::store::Live;

/// A volume of an AMI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownVolume {
    /// Device of the AMI.
    pub device: String,
    /// Root digest of the snapshot.
    pub root_digest: Digest,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
    /// Root digest of the snapshot that it depends on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_digest: Option<Digest>,
}

/// A blob that an AMI needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it is: `pack`, `snapshot`, `description` or `manifest`.
    pub what: &'static str,
    /// How many other manifests of the store need it.
    pub others: u64,
}

/// An AMI or snapshot of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShowReport {
    /// The store.
    #[serde(serialize_with = "path_text")]
    pub store: PathBuf,
    /// All names of the manifest, the one that was asked for first.
    pub names: Vec<String>,
    /// What it is: `ami` or `snapshot`.
    pub kind: &'static str,
    /// Digest of its manifest.
    pub digest: Digest,
    /// The AMI's description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ami: Option<Ami>,
    /// What a snapshot is, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its volumes, ascending by device.
    pub volumes: Vec<ShownVolume>,
    /// What it needs.
    pub blobs: Vec<ShownBlob>,
    /// Bytes of all that it needs.
    pub stored_bytes: u64,
    /// Bytes that collecting would free if all of its names were removed.
    pub own_bytes: u64,
    /// Manifests that refer to it, such as signatures.
    pub referrers: Vec<Digest>,
}

/// Shows an AMI or snapshot of a store.
///
/// # Errors
///
/// `Invalid` if there is none of that name; as [`Bundle::open_entry`] and [`Live::of`].
pub fn show(typed: &Path) -> Result<ShowReport> {
    let (path, name) = split(typed)?;
    let store = layout::open(&path)?;
    let catalog = Catalog::read(&*store)?;
    let found = entry(&catalog, &path, &name)?.descriptor.clone();
    let digest = found.digest;
    let bundle = Bundle::open_entry(Arc::clone(&store), found)?;
    let live = Live::of(&*store, &catalog)?;
    let mut without = catalog.clone();
    without.entries.retain(|entry| entry.descriptor.digest != digest);
    let (_, own_bytes) = live.freed(&live.with(&without));
    let counts = live.counts();
    let blobs = bundle.blobs().into_iter().map(|blob| ShownBlob {
        digest: blob.digest,
        bytes: blob.size,
        what: match blob.media_type.as_str() {
            pack::MEDIA_TYPE => "pack",
            crate::manifest::MEDIA_TYPE => "snapshot",
            _ if blob.digest == digest => "manifest",
            _ => "description",
        },
        others: counts.get(&blob.digest).copied().unwrap_or(1).saturating_sub(1),
    });
    let mut volumes = Vec::new();
    for layer in bundle.snapshots() {
        volumes.push(ShownVolume {
            device: layer.device.clone(),
            root_digest: layer.root,
            volume_size_bytes: bundle.manifest(layer)?.volume_size(),
            base_digest: layer.base,
        });
    }
    let mut names = vec![name.clone()];
    let same = catalog.entries.iter().filter(|it| it.descriptor.digest == digest);
    names.extend(same.filter_map(Entry::name).filter(|it| *it != name).map(str::to_owned));
    Ok(ShowReport {
        store: path.clone(),
        names,
        kind: if bundle.is_bare() { "snapshot" } else { "ami" },
        digest,
        ami: (!bundle.is_bare()).then(|| bundle.ami().clone()),
        description: bundle.ami().description.clone().filter(|_| bundle.is_bare()),
        volumes,
        blobs: blobs.collect(),
        stored_bytes: bundle.blob_bytes(),
        own_bytes,
        referrers: live.referrers(&catalog, &digest).into_iter().collect(),
    })
}
