//! `instance-store verify`: whether a bundle is whole and whose it is.

use std::num::NonZero;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Kind;
use crate::error::Result;
use crate::instance_store::InstanceBundle;
use crate::instance_store::PartDamage;
use crate::instance_store::SystemRandomness;
use crate::instance_store::Unsealed;
use crate::ops::shared::instance_store::Signature;
use crate::ops::shared::instance_store::check_signature;
use crate::ops::shared::instance_store::read_certificate;
use crate::ops::shared::instance_store::read_key;
use crate::work::Watch;
use crate::work::default_threads;

/// What is checked.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// The manifest; the parts are beside it.
    pub manifest: PathBuf,
    /// A private key that opens the bundle: then the archive is checked too.
    pub key: Option<PathBuf>,
    /// The certificate of the signer.
    pub cert: Option<PathBuf>,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl VerifyRequest {
    /// Asks for what can be checked without any key, with all processors.
    #[must_use]
    pub fn new(manifest: impl Into<PathBuf>) -> Self {
        Self { manifest: manifest.into(), key: None, cert: None, threads: default_threads() }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Whether nothing that was checked is wrong.
    pub sound: bool,
    /// What is known of the signature.
    pub signature: Signature,
    /// Number of parts.
    pub parts: usize,
    /// Bytes of all parts, by the manifest.
    pub bundled_size_bytes: u64,
    /// Parts that are wrong.
    pub damaged_parts: Vec<PartDamage>,
    /// Whether the archive in the parts was unpacked and checked.
    pub archive_checked: bool,
    /// What is wrong with the archive, or with the parts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Checks a bundle: lengths and digests of the parts, the signature, and with a key the archive.
///
/// # Errors
///
/// As [`InstanceBundle::open`]; `Mismatch` if the key is not the bundle's; `Io`.
pub fn verify(request: &VerifyRequest, watch: &dyn Watch) -> Result<VerifyReport> {
    let bundle = InstanceBundle::open(&request.manifest)?;
    let key = request.key.as_deref().map(|path| read_key(path, watch)).transpose()?;
    let certificate = request.cert.as_deref().map(read_certificate).transpose()?;
    let unseal = |key| bundle.unseal(key, &mut SystemRandomness);
    let unsealed = key.as_ref().map(unseal).transpose()?;
    let opener = key.as_ref().zip(unsealed.as_ref().map(Unsealed::reader));
    let signature = check_signature(&bundle, certificate.as_ref(), opener);
    let manifest = bundle.manifest();
    let archive_bytes = unsealed.as_ref().map_or(0, |_| manifest.size);
    watch.begin(Some(manifest.bundled_size.saturating_add(archive_bytes)));
    let mut report = VerifyReport {
        sound: false,
        signature,
        parts: manifest.parts.len(),
        bundled_size_bytes: manifest.bundled_size,
        damaged_parts: Vec::new(),
        archive_checked: false,
        problem: None,
        notes: signature.note().into_iter().collect(),
    };
    let parts = bundle.check_parts(request.threads, watch);
    let archive = match (parts, &unsealed) {
        (Ok(damaged), Some(unsealed)) if damaged.is_empty() => {
            report.archive_checked = true;
            bundle.extract(unsealed, None, request.threads, watch).map(drop)
        }
        (Ok(damaged), _) => {
            report.damaged_parts = damaged;
            Ok(())
        }
        (Err(error), _) => Err(error),
    };
    if unsealed.is_none() {
        let note = "the archive was not unpacked: no private key was given";
        report.notes.push(note.to_owned());
    }
    match archive {
        Err(error) if matches!(error.kind(), Kind::Io | Kind::Interrupted) => return Err(error),
        other => report.problem = other.err().map(|error| error.to_string()),
    }
    report.sound = report.damaged_parts.is_empty()
        && report.problem.is_none()
        && signature.fault(certificate.is_some()).is_none();
    Ok(report)
}
