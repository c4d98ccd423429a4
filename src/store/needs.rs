//! What a manifest of a layout needs, by whatever program it was written.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::layout;
use crate::layout::BlobStore;
use crate::layout::Descriptor;
use crate::layout::Name;

/// Most manifests that one names, directly or through others: those of an image for every platform are a few.
const MOST_MANIFESTS: usize = 4096;

/// What a manifest needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Every blob, itself among them, with its size.
    pub blobs: BTreeMap<Digest, u64>,
    /// The manifest that it refers to, as a signature does.
    pub subject: Option<Digest>,
    /// What it says it is.
    pub artifact_type: Option<String>,
}

impl Needs {
    /// Returns the bytes of the blobs.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blobs.values().fold(0, |sum, size| sum.saturating_add(*size))
    }
}

/// A blob that any document names.
#[derive(Debug, Deserialize)]
struct Named {
    digest: Digest,
    size: u64,
}

/// Any manifest, as far as it names others.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Any {
    artifact_type: Option<String>,
    config: Option<Named>,
    layers: Vec<Named>,
    blobs: Vec<Named>,
    manifests: Vec<Named>,
    subject: Option<Named>,
}

/// Finds out what the manifest `entry` needs, and what those that it names need.
///
/// # Errors
///
/// `Corrupt` or `Mismatch` if a manifest is missing, damaged or none; `Limit` if it names too many; `Io` if one cannot
/// be read. Then nobody knows what it needs.
pub fn needs_of(store: &dyn BlobStore, entry: &Descriptor) -> Result<Needs> {
    let mut needs = Needs::default();
    let mut left = vec![(entry.digest, entry.size, true)];
    let mut seen = BTreeSet::new();
    while let Some((digest, size, is_first)) = left.pop() {
        needs.blobs.insert(digest, size);
        if !seen.insert(digest) {
            continue;
        }
        if seen.len() > MOST_MANIFESTS {
            let text = format!("it names over {MOST_MANIFESTS} manifests");
            return Err(
                Error::new(Kind::Limit, text).in_file(&store.path_of(Name::Blob(entry.digest)))
            );
        }
        let blob = Descriptor::new("", digest, size);
        let bytes = layout::read_document(store, &blob, layout::MAX_MANIFEST_LEN)?;
        let any: Any = serde_json::from_slice(&bytes).map_err(|e| {
            Error::corrupt(format!("OCI manifest: {e}")).in_file(&store.path_of(Name::Blob(digest)))
        })?;
        for blob in any.config.iter().chain(&any.layers).chain(&any.blobs) {
            needs.blobs.insert(blob.digest, blob.size);
        }
        left.extend(any.manifests.iter().map(|it| (it.digest, it.size, false)));
        if is_first {
            needs.subject = any.subject.map(|it| it.digest);
            needs.artifact_type = any.artifact_type;
        }
    }
    Ok(needs)
}
