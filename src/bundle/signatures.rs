//! Signatures that a layout holds of an AMI: `docs/formats/signature.md`, "In the layout".
//!
//! What is read here is read before anything is trusted: `index.json`, and documents of at most 1 MiB.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::bundle::ARTIFACT_TYPE;
use crate::bundle::Bundle;
use crate::bundle::annotations::VOLUME_TYPE;
use crate::digest::Digest;
use crate::digest::sha256;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Node;
use crate::layout;
use crate::layout::BlobStore;
use crate::layout::Descriptor;
use crate::layout::Destination;
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
pub(crate) const MAX_DOCUMENT_LEN: u64 = 1 << 20;

/// Most entries of `index.json` that are looked into.
const MAX_ENTRIES: usize = 4096;

/// Most bytes of all statements and signatures: one blob may be named by many manifests.
pub(crate) const MAX_ALL_LEN: u64 = 64 << 20;

/// A statement and the signature over it, as they were found: neither is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    /// The manifest that carries them.
    pub carrier: Descriptor,
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

/// The AMI that is meant, as far as `index.json` and small manifests say it, and its signatures.
#[derive(Clone, Debug)]
pub(crate) struct Unproven {
    /// Digest of the AMI's manifest.
    pub digest: Digest,
    /// Its signatures, ascending by the digests of their manifests.
    pub attached: Vec<Attached>,
    /// Those of other AMIs in the layout.
    pub others: Vec<Attached>,
    /// Why others of its signatures cannot be read.
    pub broken: Vec<String>,
}

/// What a manifest is.
enum Found {
    Signature(Box<Parts>),
    Ami,
    Other,
}

/// Where the parts of a signature are: of a manifest by anyone, no more than this is kept.
struct Parts {
    carrier: Descriptor,
    subject: Option<Digest>,
    statement: Descriptor,
    signature: Descriptor,
}

/// Finds the AMI of that name, or the only one, and the signatures that refer to it. What an entry of `index.json`
/// says about its manifest is only a hint here as it is in [`layout::choose`].
///
/// A signature that is damaged is left out: damaging it takes no more than removing it.
///
/// # Errors
///
/// `Corrupt`, `Unsupported` or `Limit` if `index.json` is not one, or too much is in it; `Invalid` if several AMIs
/// may be meant, or none; `Io` if the system refuses.
pub(crate) fn unproven(store: &dyn BlobStore, name: Option<&str>) -> Result<Unproven> {
    layout::check_layout(store)?;
    let index = layout::read_index(store)?;
    let is_named = |entry: &&Descriptor| name.is_none_or(|name| entry.reference() == Some(name));
    let named = index.manifests.iter().filter(is_named).map(|it| it.digest).collect();
    among(store, &index, named)
}

/// Finds the signatures of the AMI or bare snapshot whose manifest is known.
///
/// # Errors
///
/// As [`unproven`].
pub(crate) fn of(store: &dyn BlobStore, manifest: Digest) -> Result<Unproven> {
    among(store, &layout::read_index(store)?, BTreeSet::from([manifest]))
}

fn among(store: &dyn BlobStore, index: &oci::Index, named: BTreeSet<Digest>) -> Result<Unproven> {
    let fail = |error: Error| error.in_file(&store.path_of(Name::Index));
    // A store may have any number of these.
    let hinted = |entry: &Descriptor| {
        let hint = entry.artifact_type.as_deref();
        hint == Some(ARTIFACT_TYPE) || hint == Some(VOLUME_TYPE)
    };
    let entries: BTreeMap<Digest, &Descriptor> = index
        .manifests
        .iter()
        .filter(|entry| named.contains(&entry.digest) || !hinted(entry))
        .map(|entry| (entry.digest, entry))
        .collect();
    if entries.len() > MAX_ENTRIES {
        let text = format!(
            "{} manifests may be signatures, expected at most {MAX_ENTRIES}",
            entries.len()
        );
        return Err(fail(Error::new(Kind::Limit, text)));
    }
    let (mut meant, mut carriers, mut broken) = (BTreeSet::new(), Vec::new(), Vec::new());
    // The only one that says it is the AMI is not read before it is trusted: if it is something else, opening the
    // bundle finds another digest.
    let mut said = entries.iter().filter(|(digest, entry)| {
        named.contains(digest) && entry.artifact_type.as_deref() == Some(ARTIFACT_TYPE)
    });
    let only = match (said.next(), said.next()) {
        (Some((digest, _)), None) => Some(*digest),
        _ => None,
    };
    for (digest, entry) in entries {
        if only == Some(digest) {
            meant.insert(digest);
            continue;
        }
        match found(store, entry) {
            Ok(Found::Signature(parts)) => carriers.push(parts),
            Ok(Found::Ami) if named.contains(&digest) => _ = meant.insert(digest),
            Ok(Found::Ami | Found::Other) => {}
            Err(error) => {
                let said = entry.artifact_type.as_deref() == Some(SIGNATURE_TYPE);
                let text = format!("the signature sha256:{digest} cannot be read: {error}");
                passed_over(entry, named.contains(&digest), error)?;
                // Whose it is, is not known: it is a reason only where no other signature is trusted.
                broken.extend(said.then_some(text));
            }
        }
    }
    // Whatever it is: opening it says what is wrong with it.
    if named.len() == 1 {
        meant = named;
    }
    let mut digests = meant.into_iter();
    let digest = match (digests.next(), digests.next()) {
        (Some(digest), None) => digest,
        (None, _) => return Err(fail(Error::invalid("it names no AMI that could be signed"))),
        (Some(_), Some(_)) => {
            return Err(fail(Error::invalid("it names several AMIs, expected the name of one")));
        }
    };
    let mut all = Unproven { digest, attached: vec![], others: vec![], broken };
    let mut left = MAX_ALL_LEN;
    for parts in carriers {
        let carrier = parts.carrier;
        let len = parts.statement.size.saturating_add(parts.signature.size);
        left = left.checked_sub(len).ok_or_else(|| {
            let text = format!("its signatures have over {MAX_ALL_LEN} bytes, expected fewer");
            fail(Error::new(Kind::Limit, text))
        })?;
        let read = |part| layout::read_document(store, part, MAX_DOCUMENT_LEN);
        let of_it = parts.subject == Some(digest);
        let attached = read(&parts.statement).and_then(|statement| {
            let signature = read(&parts.signature)?;
            Ok(Attached { carrier: carrier.clone(), statement, signature })
        });
        match attached {
            Ok(attached) if of_it => all.attached.push(attached),
            Ok(attached) => all.others.push(attached),
            Err(error) if error.kind() == Kind::Io => return Err(error),
            Err(error) if of_it => {
                all.broken.push(format!(
                    "the signature sha256:{} cannot be read: {error}",
                    carrier.digest
                ));
            }
            Err(_) => {}
        }
    }
    Ok(all)
}

/// Reads what a manifest is.
fn found(store: &dyn BlobStore, entry: &Descriptor) -> Result<Found> {
    // An AMI's manifest may be longer; that of a signature is not.
    if entry.size > MAX_DOCUMENT_LEN {
        let hint = entry.artifact_type.as_deref();
        return Ok(if hint.is_none_or(|it| it == ARTIFACT_TYPE) {
            Found::Ami
        } else {
            Found::Other
        });
    }
    let bytes = layout::read_document(store, entry, MAX_DOCUMENT_LEN)?;
    let carrier: Option<Carrier> = serde_json::from_slice(&bytes).ok();
    if let Some(carrier) = carrier
        && carrier.artifact_type.as_deref() == Some(SIGNATURE_TYPE)
        && let [statement, signature] = &carrier.layers[..]
    {
        let part = |it: &Descriptor| Descriptor::new("", it.digest, it.size);
        return Ok(Found::Signature(Box::new(Parts {
            carrier: Descriptor::new(oci::MANIFEST_TYPE, entry.digest, entry.size),
            subject: carrier.subject.map(|subject| subject.digest),
            statement: part(statement),
            signature: part(signature),
        })));
    }
    Ok(if Bundle::is_manifest(&bytes) { Found::Ami } else { Found::Other })
}

/// Passes over a manifest that cannot be read, unless it may be the AMI.
fn passed_over(entry: &Descriptor, is_named: bool, error: Error) -> Result<()> {
    let may_be_ami = entry.artifact_type.as_deref().is_none_or(|it| it == ARTIFACT_TYPE);
    if error.kind() == Kind::Io || is_named && may_be_ami { Err(error) } else { Ok(()) }
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

/// Adds signatures to the bundle or store at `copy`. Returns what the user should hear if it cannot take them.
///
/// # Errors
///
/// As [`attach`].
pub(crate) fn attach_all(
    signatures: &[SignatureBlobs],
    copy: &Path,
    watch: &dyn Watch,
) -> Result<Option<String>> {
    let path = match Destination::parse(copy)? {
        Destination::Store { store: path, .. } | Destination::Path(path) => path,
    };
    if !signatures.is_empty() && Node::at(&path)? != Some(Node::Folder) {
        let text =
            "the archive does not have the bundle's signatures: copy it to a folder to keep them";
        return Ok(Some(text.to_owned()));
    }
    for signature in signatures {
        attach(&path, signature, watch)?;
    }
    Ok(None)
}

/// Returns the config, the statement and the signature that a manifest names, if it is that of a signature over the
/// AMI `subject`, and nothing else stands in its config.
#[cfg(feature = "network")]
pub(crate) fn parts_of(manifest: &[u8], subject: Digest) -> Option<[Descriptor; 3]> {
    let carrier: Carrier = serde_json::from_slice(manifest).ok()?;
    let is_it = carrier.artifact_type.as_deref() == Some(SIGNATURE_TYPE)
        && carrier.subject.is_some_and(|it| it.digest == subject)
        && carrier.config.digest == sha256(EMPTY);
    let [statement, signature] = <[Descriptor; 2]>::try_from(carrier.layers).ok()?;
    is_it.then_some([carrier.config, statement, signature])
}

impl Bundle {
    /// Adds the signatures of this bundle to a copy of the same digest. Returns what the user should hear of those that
    /// are left out.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(super) fn copy_signatures(&self, copy: &Path, watch: &dyn Watch) -> Result<Vec<String>> {
        let (signatures, notes) = self.signature_blobs()?;
        let more = attach_all(&signatures, copy, watch)?;
        Ok(notes.into_iter().chain(more).collect())
    }

    /// Returns what carries each of this bundle's signatures, and what the user should hear of those that are left out.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(crate) fn signature_blobs(&self) -> Result<(Vec<SignatureBlobs>, Vec<String>)> {
        let found = match of(&*self.store, self.digest) {
            Err(error) if error.kind() != Kind::Io => {
                return Ok((Vec::new(), vec![format!("signatures are not copied: {error}")]));
            }
            found => found?,
        };
        let mut notes: Vec<String> =
            found.broken.iter().map(|why| format!("not copied: {why}")).collect();
        let mut all = Vec::new();
        for Attached { carrier, statement, signature } in found.attached {
            let bytes = layout::read_document(&*self.store, &carrier, MAX_DOCUMENT_LEN)?;
            let parsed: Option<Carrier> = serde_json::from_slice(&bytes).ok();
            if parsed.is_none_or(|it| it.config.digest != sha256(EMPTY)) {
                let text = "not copied: the signature sha256:";
                notes.push(format!("{text}{} has a config, which is not read", carrier.digest));
                continue;
            }
            let blobs = [EMPTY.to_vec(), statement, signature, bytes];
            let blobs = blobs.into_iter().map(|bytes| (sha256(&bytes), bytes)).collect();
            all.push(SignatureBlobs { blobs, descriptor: carrier });
        }
        Ok((all, notes))
    }

    /// Returns a note if the bundle has signatures: what is packed again has another digest, and they say nothing of it.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(crate) fn unsigned_note(&self) -> Result<Option<String>> {
        match of(&*self.store, self.digest) {
            Err(error) if error.kind() == Kind::Io => Err(error),
            Ok(found) if !found.attached.is_empty() => Ok(Some(
                "its signatures are not kept, since what is packed again has another digest".into(),
            )),
            _ => Ok(None),
        }
    }
}
