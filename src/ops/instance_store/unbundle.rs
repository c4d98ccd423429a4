//! `instance-store unbundle`: the volume of an instance-store bundle as an image.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::error::Result;
use crate::format::WriteOptions;
use crate::format::Writer;
use crate::instance_store::Manifest;
use crate::io::Input;
use crate::io::Target;
use crate::ops::shared::image_output::write_image;
use crate::ops::shared::instance_store::BundleKeys;
use crate::ops::shared::instance_store::Checked;
use crate::ops::shared::instance_store::Signature;
use crate::ops::shared::outside::check_apart;
use crate::ops::shared::report::path_text;
use crate::work::Quiet;
use crate::work::Watch;
use crate::work::default_threads;

/// What is taken apart, and to where.
#[derive(Clone, Debug)]
pub struct UnbundleRequest {
    /// The manifest; the parts are beside it.
    pub manifest: PathBuf,
    /// Where the image goes: a new file, or a block device.
    pub output: PathBuf,
    /// The private key of the user, or of EC2.
    pub key: PathBuf,
    /// The signer's certificate.
    pub cert: Option<PathBuf>,
    /// Format of the image.
    pub format: &'static Writer,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl UnbundleRequest {
    /// Asks for the image, from its signer, with all processors.
    #[must_use]
    pub fn new(
        manifest: impl Into<PathBuf>,
        output: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        format: &'static Writer,
    ) -> Self {
        Self {
            manifest: manifest.into(),
            output: output.into(),
            key: key.into(),
            cert: None,
            format,
            threads: default_threads(),
        }
    }
}

/// What was taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnbundleReport {
    /// The image.
    #[serde(serialize_with = "path_text")]
    pub output: PathBuf,
    /// Its format.
    pub format: &'static str,
    /// Name of the bundle.
    pub name: String,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
    /// Bytes of it that the bundle stores; the rest are holes.
    pub stored_bytes: u64,
    /// What is known of the signature.
    pub signature: Signature,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Fails if the output would replace the manifest or a part.
fn check_not_a_part(output: &Path, manifest: &Path, bundle: &Manifest) -> Result<()> {
    let parts = bundle.parts.iter().map(|part| manifest.with_file_name(&part.filename));
    let there = |path: PathBuf| Input::open(&path).ok().map(Arc::new);
    let files: Vec<_> = parts.chain([manifest.to_owned()]).filter_map(there).collect();
    check_apart(output, &files)
}

/// Writes the volume of an instance-store bundle as an image, which its owner alone may read.
///
/// # Errors
///
/// `Mismatch` if the signature, a part's digest, the archive's digest or the key is wrong; as
/// [`verify`](crate::ops::instance_store::verify()); `Io` if the output cannot be written.
pub fn unbundle(request: &UnbundleRequest, watch: &dyn Watch) -> Result<UnbundleReport> {
    let keys = BundleKeys { key: Some(request.key.clone()), cert: request.cert.clone() };
    let opened = Checked::open(&request.manifest, &keys, request.threads, watch)?;
    check_not_a_part(&request.output, &request.manifest, opened.bundle.manifest())?;
    let target = Target::open_private(&request.output)?;
    let (extracted, more) = if request.format.is_plain() {
        if matches!(target, Target::Device(_)) {
            // What is written there cannot be withheld, so all of it is checked first.
            opened.extract(None, request.threads, &Quiet(watch))?;
        }
        let extracted =
            target.finish(|target| opened.extract(Some(target), request.threads, watch))?;
        (extracted, Vec::new())
    } else {
        let laid = opened.lay_down(request.threads, watch)?;
        let options = WriteOptions {
            threads: request.threads,
            watch: &Quiet(watch),
            level: None,
            zeros_as_data: false,
        };
        let notes = write_image(request.format, &[&laid.volume], target, &options)?;
        (laid.extracted, notes)
    };
    let manifest = opened.bundle.manifest();
    Ok(UnbundleReport {
        output: request.output.clone(),
        format: request.format.name,
        name: manifest.name.clone(),
        volume_size_bytes: extracted.size,
        stored_bytes: extracted.stored,
        signature: opened.signature,
        notes: opened.notes(extracted).into_iter().chain(more).collect(),
    })
}
