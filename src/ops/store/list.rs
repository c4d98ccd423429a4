//! `store list`: the names of a store.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::bundle::ARTIFACT_TYPE;
use crate::bundle::Bundle;
use crate::bundle::ENTRY_NAME;
use crate::bundle::ENTRY_STORED_SIZE;
use crate::bundle::ENTRY_VOLUME_SIZE;
use crate::bundle::VOLUME_TYPE;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::io::Node;
use crate::layout;
use crate::layout::BlobStore;
use crate::layout::Catalog;
use crate::layout::Entry;
use crate::layout::is_store;
use crate::ops::shared::report::path_text;
use crate::store::needs_of;

/// A name of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedAmi {
    /// The name; not there for what another program has put in without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is: `ami`, `snapshot`, `referrer` or `other`.
    pub kind: &'static str,
    /// Digest of its manifest.
    pub digest: Digest,
    /// The AMI's name, as EC2 has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ami_name: Option<String>,
    /// Sizes of its volumes, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_size_bytes: Option<u64>,
    /// Bytes of all blobs that it names; others may name them too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// Why no more is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListReport {
    /// The store.
    #[serde(serialize_with = "path_text")]
    pub store: PathBuf,
    /// Its names, in order.
    pub amis: Vec<ListedAmi>,
}

/// Lists the names of a store, or of any layout.
///
/// # Errors
///
/// `Invalid` for what is not a layout, `Io` if there is nothing; as [`Catalog::read`].
pub fn list(path: &Path) -> Result<ListReport> {
    if !is_store(path)? && !Bundle::is_at(path)? {
        if Node::at(path)?.is_none() {
            return Err(Error::nothing_at(path, "a store or a bundle"));
        }
        return Err(Error::invalid("it is neither a store nor a bundle").in_file(path));
    }
    let store = layout::open(path)?;
    layout::check_layout(&*store)?;
    let catalog = Catalog::read(&*store)?;
    let amis = catalog.entries.iter().map(|entry| listed(&store, entry)).collect();
    Ok(ListReport { store: path.to_owned(), amis })
}

fn listed(store: &Arc<dyn BlobStore>, entry: &Entry) -> ListedAmi {
    let descriptor = &entry.descriptor;
    let annotation = |name: &str| descriptor.annotations.get(name);
    let number = |name: &str| annotation(name).and_then(|text| text.parse::<u64>().ok());
    let mut listed = ListedAmi {
        name: entry.name().map(str::to_owned),
        kind: "other",
        digest: descriptor.digest,
        ami_name: None,
        volume_size_bytes: None,
        stored_bytes: None,
        error: None,
    };
    let sizes = (number(ENTRY_VOLUME_SIZE), number(ENTRY_STORED_SIZE));
    if let (true, (Some(volume_size), Some(stored_size))) = (entry.is_ours, sizes) {
        match descriptor.artifact_type.as_deref() {
            Some(ARTIFACT_TYPE) => listed.kind = "ami",
            Some(VOLUME_TYPE) => listed.kind = "snapshot",
            _ => {}
        }
        listed.ami_name = annotation(ENTRY_NAME).cloned();
        listed.volume_size_bytes = Some(volume_size);
        listed.stored_bytes = Some(stored_size);
        return listed;
    }
    // What another program says of a manifest is no more than a hint.
    let needs = match needs_of(&**store, descriptor) {
        Ok(needs) => needs,
        Err(error) => {
            listed.error = Some(error.to_string());
            return listed;
        }
    };
    listed.stored_bytes = Some(needs.bytes());
    if needs.subject.is_some() {
        listed.kind = "referrer";
        return listed;
    }
    if !matches!(needs.artifact_type.as_deref(), Some(ARTIFACT_TYPE | VOLUME_TYPE)) {
        return listed;
    }
    match Bundle::open_entry(Arc::clone(store), descriptor.clone()) {
        Ok(bundle) => {
            listed.kind = if bundle.is_bare() { "snapshot" } else { "ami" };
            listed.ami_name = (!bundle.is_bare()).then(|| bundle.ami().name.clone());
            listed.volume_size_bytes = Some(bundle.volume_bytes());
        }
        Err(error) => listed.error = Some(error.to_string()),
    }
    listed
}
