//! Signatures that a layout holds of an AMI: `docs/formats/signature.md`, "In the layout".
//!
//! What is read here is read before anything is trusted: `index.json`, and documents of at most 1 MiB.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::bundle::ARTIFACT_TYPE;
use crate::digest::Digest;
use crate::digest::sha256;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::layout;
use crate::layout::BlobStore;
use crate::layout::Descriptor;
use crate::layout::Name;
use crate::layout::SharedLayout;
use crate::layout::oci;
use crate::work::Watch;

/// What the manifest of a signature says it is.
pub(crate) const SIGNATURE_TYPE: &str = "application/vnd.amikit.signature.v1+json";

/// Media type of a statement.
pub(crate) const STATEMENT_TYPE: &str = "application/vnd.amikit.statement.v1+json";

/// Media type of the signature over it.
pub(crate) const SSHSIG_TYPE: &str = "application/vnd.amikit.sshsig.v1";

/// The empty config of the OCI image specification.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// What the empty config holds.
const EMPTY: &[u8] = b"{}";

/// Most bytes of a document that is read before anything is trusted.
const MAX_DOCUMENT_LEN: u64 = 1 << 20;

/// Most entries of `index.json` that are looked into.
const MAX_ENTRIES: usize = 4096;

/// A statement and the signature over it, as they were found: neither is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    /// Digest of the manifest that carries them.
    pub carrier: Digest,
    /// The statement.
    pub statement: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// The manifest of a signature.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Carrier {
    schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Descriptor>,
}

/// The AMI that is meant, as far as `index.json` alone says it, and its signatures.
#[derive(Clone, Debug)]
pub(crate) struct Unproven {
    /// Digest of the AMI's manifest.
    pub digest: Digest,
    /// Its signatures, ascending by the digests of their manifests.
    pub attached: Vec<Attached>,
    /// Those of other AMIs in the layout.
    pub others: Vec<Attached>,
}

/// Finds the AMI of that name, or the only one, and the signatures that refer to it.
///
/// # Errors
///
/// `Corrupt`, `Unsupported` or `Limit` if `index.json` or a signature's manifest is not one; `Invalid` if several AMIs
/// may be meant, or none; `Io` if the system refuses.
pub(crate) fn unproven(store: &dyn BlobStore, name: Option<&str>) -> Result<Unproven> {
    layout::check_layout(store)?;
    let index = layout::read_index(store)?;
    let fail = |error: Error| error.in_file(&store.path_of(Name::Index));
    let mut others: BTreeMap<Digest, &Descriptor> = BTreeMap::new();
    let mut meant: BTreeMap<Digest, &Descriptor> = BTreeMap::new();
    for entry in &index.manifests {
        let is_named = name.is_none_or(|name| entry.reference() == Some(name));
        match entry.artifact_type.as_deref() {
            Some(ARTIFACT_TYPE) if is_named => _ = meant.insert(entry.digest, entry),
            Some(SIGNATURE_TYPE) | None => _ = others.insert(entry.digest, entry),
            Some(_) => {}
        }
    }
    if others.len() > MAX_ENTRIES {
        let text =
            format!("{} manifests may be signatures, expected at most {MAX_ENTRIES}", others.len());
        return Err(fail(Error::new(Kind::Limit, text)));
    }
    let mut carriers = Vec::new();
    for (digest, entry) in others {
        let found = carrier(store, entry)?;
        let is_named = name.is_none_or(|name| entry.reference() == Some(name));
        match found {
            Some(found) => carriers.push((digest, found)),
            // Other programs leave the type out: then what is not a signature may be the AMI.
            None if is_named && entry.artifact_type.is_none() => _ = meant.insert(digest, entry),
            None => {}
        }
    }
    let mut digests = meant.into_keys();
    let digest = match (digests.next(), digests.next()) {
        (Some(digest), None) => digest,
        (None, _) => return Err(fail(Error::invalid("it names no AMI that could be signed"))),
        (Some(_), Some(_)) => {
            return Err(fail(Error::invalid("it names several AMIs, expected the name of one")));
        }
    };
    let (mut attached, mut others) = (Vec::new(), Vec::new());
    for (carrier_digest, carrier) in carriers {
        let [statement, signature] = &carrier.layers[..] else { continue };
        let of_it = carrier.subject.as_ref().is_some_and(|subject| subject.digest == digest);
        let list = if of_it { &mut attached } else { &mut others };
        list.push(Attached {
            carrier: carrier_digest,
            statement: layout::read_document(store, statement, MAX_DOCUMENT_LEN)?,
            signature: layout::read_document(store, signature, MAX_DOCUMENT_LEN)?,
        });
    }
    Ok(Unproven { digest, attached, others })
}

/// Reads the manifest of a signature; `None` if it is something else.
fn carrier(store: &dyn BlobStore, entry: &Descriptor) -> Result<Option<Carrier>> {
    // An AMI's manifest may be longer; that of a signature is not.
    if entry.size > MAX_DOCUMENT_LEN {
        return Ok(None);
    }
    let bytes = layout::read_document(store, entry, MAX_DOCUMENT_LEN)?;
    let found: Option<Carrier> = serde_json::from_slice(&bytes).ok();
    Ok(found.filter(|found| found.artifact_type.as_deref() == Some(SIGNATURE_TYPE)))
}

/// What has to be added to a layout for a signature: its blobs, and the descriptor of its manifest, which is the last
/// of them.
#[derive(Clone, Debug)]
pub(crate) struct SignatureBlobs {
    /// The blobs.
    pub blobs: Vec<(Digest, Vec<u8>)>,
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
}

/// Makes what carries a signature over the AMI whose manifest is `subject`.
#[must_use]
pub(crate) fn carry(subject: &Descriptor, statement: &[u8], signature: &[u8]) -> SignatureBlobs {
    let mut blobs = Vec::new();
    let mut blob = |media_type: &str, bytes: &[u8]| {
        let digest = sha256(bytes);
        blobs.push((digest, bytes.to_vec()));
        let size = u64::try_from(bytes.len()).expect("memory is under 2^64 bytes");
        Descriptor::new(media_type, digest, size)
    };
    let config = blob(EMPTY_TYPE, EMPTY);
    let layers = vec![blob(STATEMENT_TYPE, statement), blob(SSHSIG_TYPE, signature)];
    let carrier = Carrier {
        schema_version: 2,
        media_type: Some(oci::MANIFEST_TYPE.to_owned()),
        artifact_type: Some(SIGNATURE_TYPE.to_owned()),
        config,
        layers,
        // As a registry keeps it: what `index.json` says besides is not the manifest's.
        subject: Some(Descriptor::new(oci::MANIFEST_TYPE, subject.digest, subject.size)),
    };
    let descriptor = blob(oci::MANIFEST_TYPE, &oci::to_bytes(&carrier));
    SignatureBlobs { blobs, descriptor }
}

/// Adds a signature to the layout at `path`. Returns whether it was there already.
///
/// # Errors
///
/// `Invalid` if the layout is an archive; `Io` if the system refuses.
pub(crate) fn attach(path: &Path, blobs: &SignatureBlobs, watch: &dyn Watch) -> Result<bool> {
    let entry = layout::referrer_of(&blobs.descriptor, SIGNATURE_TYPE);
    SharedLayout::open_to_refer(path, watch)?.refer(&blobs.blobs, &entry, watch)
}
