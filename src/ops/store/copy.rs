//! `store copy`: an AMI or snapshot out of a store, into another one, or under another name.

use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::io::unwritten;
use crate::ops::shared::open::Found;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::find;
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
/// `Invalid` if there is none; as [`crate::bundle::Bundle::copy_to`].
pub fn copy(request: &CopyRequest, watch: &dyn Watch) -> Result<CopyReport> {
    let from = VolumeRequest::new(&request.from);
    check_outside(&request.to, [request.from.as_path()])?;
    let Found::Bundle(bundle) = find(&from).map_err(|error| from.fail(error))? else {
        let text = "it is neither a bundle nor an AMI of a store";
        let example = "STORE@NAME".to_owned();
        return Err(Error::invalid(text)
            .in_file(&request.from)
            .advise(Advice::NameAmi { example }));
    };
    let stored_bytes = bundle.blob_bytes();
    watch.begin(Some(stored_bytes));
    let notes = bundle.copy_to(&request.to, watch).map_err(unwritten(&request.to))?;
    Ok(CopyReport { to: request.to.clone(), digest: bundle.digest(), stored_bytes, notes })
}
