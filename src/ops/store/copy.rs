//! `store copy`: an AMI or snapshot out of a store, into another one, or under another name.

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Verb;
use crate::io::Node;
use crate::io::unwritten;
use crate::ops::shared::open::Found;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::find;
use crate::ops::shared::order::is_bundle;
use crate::ops::shared::order::swapped_with_output;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::report::path_text;
use crate::work::Watch;

/// What is copied, and to where.
#[derive(Clone, Debug)]
pub struct CopyRequest {
    /// A bundle, or `STORE@NAME`.
    pub from: PathBuf,
    /// Where the copy goes: a bundle of its own, or `STORE@NAME`.
    pub to: PathBuf,
}

impl CopyRequest {
    /// Asks for a copy.
    #[must_use]
    pub fn new(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        Self { from: from.into(), to: to.into() }
    }
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyReport {
    /// Where the copy is.
    #[serde(serialize_with = "path_text")]
    pub to: PathBuf,
    /// Digest of its manifest: the same as before.
    pub digest: Digest,
    /// Bytes of its blobs.
    pub stored_bytes: u64,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Copies an AMI or snapshot as it is, blob by blob.
///
/// # Errors
///
/// `Invalid` for something else, `Io` if there is nothing; as [`crate::bundle::Bundle::copy_to`].
pub fn copy(request: &CopyRequest, watch: &dyn Watch) -> Result<CopyReport> {
    let from = VolumeRequest::new(&request.from);
    check_outside(&request.to, [request.from.as_path()])?;
    let is_ami = |to: &Path| matches!(find(&VolumeRequest::new(to)), Ok(Found::Bundle(_)));
    let wrong = |error: Error| {
        if is_bundle(&request.from) {
            return error;
        }
        swapped_with_output(error, &request.from, &request.to, is_ami)
    };
    let Found::Bundle(bundle) = find(&from).map_err(|error| wrong(from.fail(error)))? else {
        let typed = &request.from;
        return Err(wrong(if Node::at(&from.image.path)?.is_none() {
            Error::nothing_at(typed, "a bundle or an AMI of a store")
        } else {
            let verb = Verb::AddToStore;
            Error::invalid("it is neither a bundle nor an AMI of a store")
                .in_file(typed)
                .advise(Advice::Use { verb, to: "put an image into a store".into() })
        }));
    };
    let stored_bytes = bundle.blob_bytes();
    watch.begin(Some(stored_bytes));
    let notes = bundle.copy_to(&request.to, watch).map_err(unwritten(&request.to))?;
    Ok(CopyReport { to: request.to.clone(), digest: bundle.digest(), stored_bytes, notes })
}
