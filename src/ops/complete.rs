//! `complete`: a thin bundle and its base, to a whole bundle.

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Verb;
use crate::io::unwritten;
use crate::ops::shared::open::open_typed_bundle;
use crate::ops::shared::order::swapped;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::report::path_text;
use crate::work::Watch;

/// What is made whole, and with what.
#[derive(Clone, Debug)]
pub struct CompleteRequest {
    /// The thin bundle.
    pub bundle: PathBuf,
    /// The bundle that it was packed against.
    pub base: PathBuf,
    /// Where the whole bundle goes.
    pub output: PathBuf,
}

impl CompleteRequest {
    /// Asks for the whole bundle of a thin one and its base.
    #[must_use]
    pub fn new(
        bundle: impl Into<PathBuf>,
        base: impl Into<PathBuf>,
        output: impl Into<PathBuf>,
    ) -> Self {
        Self { bundle: bundle.into(), base: base.into(), output: output.into() }
    }
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompleteReport {
    /// The whole bundle.
    #[serde(serialize_with = "path_text")]
    pub bundle: PathBuf,
    /// Its digest: that of the thin one.
    pub digest: Digest,
    /// Blobs that came from the base.
    pub blobs_from_base: u64,
    /// Bytes of all blobs.
    pub stored_bytes: u64,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Makes a thin bundle whole.
///
/// # Errors
///
/// As [`crate::bundle::Bundle::open_named`] and [`crate::bundle::Bundle::complete`]; `Mismatch` if the bundle does not depend on the
/// base; `Unsupported` if it was packed against an image, whose chunks no pack holds.
pub fn complete(request: &CompleteRequest, watch: &dyn Watch) -> Result<CompleteReport> {
    complete_into(request, watch).map_err(unwritten(&request.output))
}

fn complete_into(request: &CompleteRequest, watch: &dyn Watch) -> Result<CompleteReport> {
    check_outside(&request.output, [request.bundle.as_path(), request.base.as_path()])?;
    let bundle = open_typed_bundle(&request.bundle)?;
    let base = open_typed_bundle(&request.base)?;
    let named: Vec<Digest> = base.snapshots().iter().map(|layer| layer.root).collect();
    if !bundle.bases().iter().any(|layer| named.contains(&layer.root)) {
        let own: Vec<Digest> = bundle.snapshots().iter().map(|layer| layer.root).collect();
        let is_over = |_: &Path| base.bases().iter().any(|layer| own.contains(&layer.root));
        let error = bundle.wrong_base(&named);
        return Err(swapped(error, &request.bundle, &request.base, is_over));
    }
    // A base without any data has no packs, and nothing is left out for it.
    if !bundle.packs().iter().any(|pack| pack.of_base) && bundle.is_thin()? {
        let text = "it was packed against an image, so there are no packs to add";
        return Err(Error::new(crate::error::Kind::Unsupported, text)
            .in_file(&request.bundle)
            .advise(Advice::Use { verb: Verb::Rebase, to: "pack it against the bundle".into() }));
    }
    let stored_bytes = bundle.blob_bytes();
    watch.begin(Some(stored_bytes));
    let (blobs_from_base, notes) = bundle.complete(&base, &request.output, watch)?;
    Ok(CompleteReport {
        bundle: request.output.clone(),
        digest: bundle.digest(),
        blobs_from_base,
        stored_bytes,
        notes,
    })
}
