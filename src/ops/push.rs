//! `push`: an AMI to a registry.

use std::num::NonZero;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::Result;
use crate::ops::shared::network::DEFAULT_BLOBS_AT_ONCE;
use crate::ops::shared::network::NetworkOptions;
use crate::ops::shared::report::path_text;
use crate::work::Watch;

/// What is pushed, and to where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PushRequest {
    /// A bundle, or `STORE@NAME`.
    pub bundle: PathBuf,
    /// `HOST[:PORT]/PATH[:TAG]`.
    pub reference: String,
    /// Repositories of the same registry that may have its blobs.
    pub mount_from: Vec<String>,
    /// Bytes of a blob that are sent at once; whole where none is given and the registry takes that.
    pub chunk: Option<u64>,
    /// Blobs that are sent at once.
    pub at_once: NonZero<usize>,
    /// How the registry is spoken to.
    pub network: NetworkOptions,
}

impl PushRequest {
    /// Asks for a push.
    #[must_use]
    pub fn new(bundle: impl Into<PathBuf>, reference: impl Into<String>) -> Self {
        Self {
            bundle: bundle.into(),
            reference: reference.into(),
            mount_from: Vec::new(),
            chunk: None,
            at_once: DEFAULT_BLOBS_AT_ONCE,
            network: NetworkOptions::default(),
        }
    }
}

/// What was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PushReport {
    /// The bundle.
    #[serde(serialize_with = "path_text")]
    pub bundle: PathBuf,
    /// What it is called in the registry, with its digest.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Blobs that were sent.
    pub blobs_sent: u64,
    /// Blobs that other repositories of the registry had.
    pub blobs_mounted: u64,
    /// Blobs that were there.
    pub blobs_there: u64,
    /// Bytes of the blobs that were sent.
    pub sent_bytes: u64,
    /// Bytes of all blobs.
    pub stored_bytes: u64,
    /// Signatures that went along.
    pub signatures: u64,
    /// Digest of the AMI or snapshot that the tag meant before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Digest>,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Pushes an AMI or bare snapshot: its blobs as far as the registry lacks them, then its manifest, then its
/// signatures. Whatever ends a run, the next one goes on with what is missing. A tag of an AMI or snapshot is moved; that of
/// anything else is left alone.
///
/// # Errors
///
/// `Invalid` if the reference is not one, its tag means something else, or the registry refuses; `Mismatch` if a blob is damaged, or the registry says
/// something that cannot be; `Io` if the registry cannot be reached; `Unsupported` in a build without a network.
pub fn push(request: &PushRequest, watch: &dyn Watch) -> Result<PushReport> {
    #[cfg(feature = "network")]
    return sending::push(request, watch);
    #[cfg(not(feature = "network"))]
    {
        let _ = (request, watch);
        crate::ops::shared::network::missing("push")
    }
}

#[cfg(feature = "network")]
mod sending {
    use std::collections::BTreeMap;
    use std::path::Path;

    use crate::bundle::ARTIFACT_TYPE;
    use crate::bundle::Bundle;
    use crate::bundle::VOLUME_TYPE;
    use crate::bundle::signatures::SIGNATURE_TYPE;
    use crate::bundle::signatures::SignatureBlobs;
    use crate::digest::Digest;
    use crate::error::Error;
    use crate::error::Kind;
    use crate::error::Result;
    use crate::io::read_vec;
    use crate::layout;
    use crate::layout::Descriptor;
    use crate::layout::oci;
    use crate::ops::push::PushReport;
    use crate::ops::push::PushRequest;
    use crate::ops::shared::network::connected;
    use crate::ops::shared::open::open_bundle;
    use crate::ops::shared::order::swapped;
    use crate::ops::shared::registry::session;
    use crate::registry;
    use crate::registry::Access;
    use crate::registry::Pushed;
    use crate::registry::Reference;
    use crate::registry::Registry;
    use crate::registry::Upload;
    use crate::units::format_size;
    use crate::work::Watch;
    use crate::work::default_threads;
    use crate::work::in_order;

    /// Shortest and longest piece of a blob: below that the round trips are all there is, and registries take no single
    /// request above.
    const CHUNK_LENS: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

    pub(super) fn push(request: &PushRequest, watch: &dyn Watch) -> Result<PushReport> {
        let reference = Reference::parse(&request.reference).map_err(|error| {
            let is_reference =
                |it: &Path| it.to_str().is_some_and(|it| Reference::parse(it).is_ok());
            swapped(error, Path::new(&request.reference), &request.bundle, is_reference)
        })?;
        for from in &request.mount_from {
            Reference::parse(&format!("{}/{from}", reference.host))?;
        }
        if let Some(len) = request.chunk.filter(|len| !CHUNK_LENS.contains(len)) {
            let (least, most) = (format_size(*CHUNK_LENS.start()), format_size(*CHUNK_LENS.end()));
            let text =
                format!("pieces of {} are asked for, expected {least} to {most}", format_size(len));
            return Err(Error::invalid(text));
        }
        let bundle = open_bundle(&request.bundle, None, default_threads(), watch)?;
        if let Some(digest) = reference.digest.filter(|it| *it != bundle.digest()) {
            let text = format!(
                "its digest is sha256:{}, and sha256:{digest} is to be pushed",
                bundle.digest()
            );
            return Err(Error::new(Kind::Mismatch, text).in_file(&request.bundle));
        }
        connected(&request.network, request.at_once.get(), watch, |client| {
            let access = (Access::Push, &request.mount_from[..]);
            let registry = session(client, &reference, access, &request.network, watch)?;
            send(&registry, &bundle, &reference, request, watch)
        })
    }

    fn send(
        registry: &Registry<'_>,
        bundle: &Bundle,
        reference: &Reference,
        request: &PushRequest,
        watch: &dyn Watch,
    ) -> Result<PushReport> {
        let mut report = PushReport {
            bundle: request.bundle.clone(),
            reference: Reference { digest: Some(bundle.digest()), ..reference.clone() }.to_string(),
            digest: bundle.digest(),
            blobs_sent: 0,
            blobs_mounted: 0,
            blobs_there: 0,
            sent_bytes: 0,
            stored_bytes: bundle.blob_bytes(),
            signatures: 0,
            replaced: None,
            notes: Vec::new(),
        };
        let manifest = bundle.descriptor();
        let tag = reference.pushed_tag();
        if let Some(tag) = &tag {
            tagged(registry, tag)?;
        }
        // Two volumes can have the same manifest.
        let blobs: BTreeMap<_, _> = bundle
            .blobs()
            .into_iter()
            .filter(|blob| blob.digest != manifest.digest)
            .map(|blob| (blob.digest, blob))
            .collect();
        let total = blobs.values().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
        watch.begin(Some(total));
        in_order(
            request.at_once,
            watch,
            blobs.into_values().map(Ok),
            || Ok(()),
            |(), blob| Ok((push_blob(registry, bundle, &blob, request, watch)?, blob.size)),
            |(pushed, size)| {
                let count = match pushed {
                    Pushed::WasThere => &mut report.blobs_there,
                    Pushed::Mounted => &mut report.blobs_mounted,
                    Pushed::Sent => {
                        report.sent_bytes = report.sent_bytes.saturating_add(size);
                        &mut report.blobs_sent
                    }
                };
                *count = count.strict_add(1);
                Ok(())
            },
        )?;
        let bytes = read_vec(&bundle.blob(manifest)?, 0, manifest.size)?;
        if let Some(tag) = &tag {
            // Much can have happened since the first look.
            report.replaced = tagged(registry, tag)?.filter(|it| *it != manifest.digest);
        }
        let target = tag.unwrap_or_else(|| format!("sha256:{}", manifest.digest));
        registry::put_manifest(registry, &target, &bytes, oci::MANIFEST_TYPE)?;
        let (signatures, notes) = bundle.signature_blobs()?;
        report.notes = notes;
        report.notes.extend(registry.note_on_plain());
        for signature in &signatures {
            push_signature(registry, manifest, signature)?;
            report.signatures = report.signatures.strict_add(1);
        }
        Ok(report)
    }

    /// Returns what a tag means, if anything; registries move it without asking, so it has to be an AMI or a snapshot.
    fn tagged(registry: &Registry<'_>, tag: &str) -> Result<Option<Digest>> {
        let found = registry::get_any_manifest(registry, tag, layout::MAX_MANIFEST_LEN)?;
        let Some(found) = found else { return Ok(None) };
        let kind = layout::artifact_of(&found.bytes).unwrap_or(found.media_type);
        if matches!(&*kind, ARTIFACT_TYPE | VOLUME_TYPE) {
            return Ok(Some(found.digest));
        }
        let text = format!(
            "the tag {tag} in {} is of type {kind:?}, expected none, or an AMI or snapshot that it replaces",
            registry.origin()
        );
        Err(Error::invalid(text).advise("push to another tag, or delete this one first"))
    }

    fn push_blob(
        registry: &Registry<'_>,
        bundle: &Bundle,
        blob: &Descriptor,
        request: &PushRequest,
        watch: &dyn Watch,
    ) -> Result<Pushed> {
        let progress = |bytes| watch.advance(bytes);
        let nothing: Vec<u8> = Vec::new();
        let (digest, size) = (blob.digest, blob.size);
        if !bundle.has(blob)? {
            // What a thin bundle leaves out has to be there already, in this repository or another.
            let upload = Upload {
                digest,
                size,
                source: &nothing,
                chunk: None,
                mount_from: &request.mount_from,
                progress: &progress,
            };
            return registry::had(registry, &upload)?.ok_or_else(|| {
                let text = format!(
                    "it leaves out the blob sha256:{digest}, and {} does not have that in this repository",
                    registry.origin()
                );
                Error::invalid(text).in_file(&request.bundle).advise(
                    "push its base to the same repository first, or name a repository that has it to mount from",
                )
            });
        }
        let source = bundle.blob(blob)?;
        let upload = Upload {
            digest,
            size,
            source: &source,
            chunk: request.chunk,
            mount_from: &request.mount_from,
            progress: &progress,
        };
        registry::upload(registry, &upload).map_err(|error| {
            if error.kind() == Kind::Interrupted {
                return error;
            }
            // A registry that refuses a damaged blob is right, and says it in words of its own.
            match bundle.check_blob(blob, watch) {
                Err(damage) if damage.kind() != Kind::Interrupted => damage,
                _ => error,
            }
        })
    }

    fn push_signature(
        registry: &Registry<'_>,
        subject: &Descriptor,
        signature: &SignatureBlobs,
    ) -> Result<()> {
        for (digest, bytes) in &signature.blobs {
            if *digest == signature.descriptor.digest {
                continue;
            }
            let upload = Upload {
                digest: *digest,
                size: u64::try_from(bytes.len()).expect("memory is under 2^64 bytes"),
                source: bytes,
                chunk: None,
                mount_from: &[],
                progress: &|_| (),
            };
            registry::upload(registry, &upload)?;
        }
        let Descriptor { media_type, digest, size, .. } = &signature.descriptor;
        let mut entry = Descriptor::new(media_type, *digest, *size);
        entry.artifact_type = Some(SIGNATURE_TYPE.to_owned());
        let manifest = signature.blobs.iter().find(|(it, _)| it == digest);
        let (_, manifest) = manifest.expect("the manifest is among the blobs");
        registry::add_referrer(registry, &subject.digest, &entry, manifest)
    }
}
