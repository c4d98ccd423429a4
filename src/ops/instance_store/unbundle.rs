//! `instance-store unbundle`: the volume of an instance-store bundle as an image.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::error::Error;
use crate::error::Result;
use crate::format::OpenRequest;
use crate::format::WriteOptions;
use crate::format::Writer;
use crate::format::raw;
use crate::instance_store::Extracted;
use crate::instance_store::InstanceBundle;
use crate::instance_store::SystemRandomness;
use crate::instance_store::Unsealed;
use crate::io::Input;
use crate::io::OutputFile;
use crate::io::Target;
use crate::io::WriteAt;
use crate::ops::convert::write_image;
use crate::ops::instance_store::Signature;
use crate::ops::instance_store::check_signature;
use crate::ops::instance_store::parts_error;
use crate::ops::instance_store::read_certificate;
use crate::ops::instance_store::read_key;
use crate::ops::path_text;
use crate::work::Quiet;
use crate::work::Watch;

/// What is taken apart, and to where.
#[derive(Clone, Debug)]
pub struct UnbundleRequest {
    /// The manifest; the parts are beside it.
    pub manifest: PathBuf,
    /// Where the image goes: a new file, or a block device.
    pub output: PathBuf,
    /// The private key of the user, or of EC2.
    pub key: PathBuf,
    /// The certificate of whoever signed.
    pub cert: Option<PathBuf>,
    /// Format of the image.
    pub format: &'static Writer,
    /// Threads to work on.
    pub threads: NonZero<usize>,
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

/// Writes the volume of an instance-store bundle as an image.
///
/// # Errors
///
/// `Mismatch` if the signature, a part's digest, the archive's digest or the key is wrong; as
/// [`InstanceBundle::open`] and [`InstanceBundle::extract`]; `Io` if the output cannot be written.
pub fn unbundle(request: &UnbundleRequest, watch: &dyn Watch) -> Result<UnbundleReport> {
    let opened = Checked::open(request, watch)?;
    let target = Target::open(&request.output)?;
    let (extracted, more) = if request.format.is_plain() {
        if matches!(target, Target::Device(_)) {
            // What is written there cannot be withheld, so all of it is checked first.
            opened.extract(None, request.threads, &Quiet(watch))?;
        }
        let extracted = opened.extract(Some(&target), request.threads, watch)?;
        target.commit()?;
        (extracted, Vec::new())
    } else {
        let scratch = opened.scratch(&request.output, request.threads, watch)?;
        let image = open_raw(scratch.file.temporary_path())?;
        let options = WriteOptions { threads: request.threads, watch: &Quiet(watch), level: None };
        let notes = write_image(request.format, &[&image], target, &options)?;
        (scratch.extracted, notes)
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

/// Opens a raw image that we have just written.
pub(super) fn open_raw(path: &Path) -> Result<crate::volume::Volume> {
    let input = Arc::new(Input::open(path)?);
    (raw::FORMAT.open)(&OpenRequest::of(input))
}

/// A bundle whose manifest, signature, parts and key are as they should be.
pub(super) struct Checked {
    pub(super) bundle: InstanceBundle,
    pub(super) signature: Signature,
    unsealed: Unsealed,
}

/// The volume of a bundle in a file that goes away again.
pub(super) struct Scratch {
    pub(super) file: OutputFile,
    pub(super) extracted: Extracted,
}

impl Checked {
    /// Opens a bundle and checks all that can be checked without unpacking it.
    pub(super) fn open(request: &UnbundleRequest, watch: &dyn Watch) -> Result<Self> {
        let UnbundleRequest { manifest: path, key, cert, threads, .. } = request;
        let bundle = InstanceBundle::open(path)?;
        let key = read_key(key, watch)?;
        let certificate = cert.as_deref().map(read_certificate).transpose()?;
        if let Some(certificate) = &certificate {
            // A manifest that is not the signer's is not worth a look with a private key.
            bundle.check_signature(certificate)?;
        }
        let unsealed = bundle.unseal(&key, &mut SystemRandomness)?;
        let reader = unsealed.reader();
        let signature = check_signature(&bundle, certificate.as_ref(), Some((&key, reader)));
        if let Some(fault) = signature.fault(certificate.is_some()) {
            return Err(Error::from(fault).in_file(path));
        }
        let manifest = bundle.manifest();
        watch.begin(Some(manifest.size.saturating_add(manifest.bundled_size)));
        let damaged = bundle.check_parts(*threads, watch)?;
        match parts_error(path, &damaged) {
            Some(error) => Err(error),
            None => Ok(Self { bundle, signature, unsealed }),
        }
    }

    pub(super) fn extract(
        &self,
        to: Option<&dyn WriteAt>,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Extracted> {
        self.bundle.extract(&self.unsealed, to, threads, watch)
    }

    /// Writes the volume as a raw file beside `output` that never gets a name.
    pub(super) fn scratch(
        &self,
        output: &Path,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Scratch> {
        let mut name = output.file_name().unwrap_or_default().to_owned();
        name.push(".volume");
        let file = OutputFile::create(&output.with_file_name(name))?;
        let extracted = self.extract(Some(&file), threads, watch)?;
        Ok(Scratch { file, extracted })
    }

    /// Says what the user should hear although nothing failed.
    pub(super) fn notes(&self, extracted: Extracted) -> Vec<String> {
        let mut notes: Vec<String> = self.signature.note().into_iter().collect();
        if !extracted.tells_holes {
            let text = "the archive cannot tell holes from zeros, so all zeros count as written";
            notes.push(text.to_owned());
        }
        notes
    }
}
