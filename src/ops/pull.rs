//! `pull`: an AMI from a registry.

use std::num::NonZero;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::Result;
use crate::ops::shared::network::DEFAULT_BLOBS_AT_ONCE;
use crate::ops::shared::network::NetworkOptions;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::report::path_text;
use crate::ops::shared::trust::TrustRequest;
use crate::ops::shared::trust::Voucher;
use crate::work::Watch;
use crate::work::default_threads;

/// What is pulled, and to where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PullRequest {
    /// `HOST[:PORT]/PATH[:TAG][@sha256:DIGEST]`.
    pub reference: String,
    /// Where it goes: a bundle of its own, or `STORE@NAME`.
    pub output: PathBuf,
    /// What the AMI may share blobs with, or was packed against: a bundle or an image.
    pub base: Option<VolumeRequest>,
    /// Who has to vouch for it; anyone may have made it otherwise.
    pub trust: Option<TrustRequest>,
    /// Blobs that are fetched at once.
    pub at_once: NonZero<usize>,
    /// Threads to verify with.
    pub threads: NonZero<usize>,
    /// How the registry is spoken to.
    pub network: NetworkOptions,
}

impl PullRequest {
    /// Asks for a pull.
    #[must_use]
    pub fn new(reference: impl Into<String>, output: impl Into<PathBuf>) -> Self {
        Self {
            reference: reference.into(),
            output: output.into(),
            base: None,
            trust: None,
            at_once: DEFAULT_BLOBS_AT_ONCE,
            threads: default_threads(),
            network: NetworkOptions::default(),
        }
    }
}

/// What was pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PullReport {
    /// The bundle.
    #[serde(serialize_with = "path_text")]
    pub bundle: PathBuf,
    /// What it is called in the registry, with its digest.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Blobs that were fetched.
    pub blobs_fetched: u64,
    /// Blobs that the base, or the store that it went into, had.
    pub blobs_had: u64,
    /// Blobs that a thin bundle leaves out.
    pub blobs_left_out: u64,
    /// Bytes of the blobs that were fetched.
    pub fetched_bytes: u64,
    /// Bytes of all blobs.
    pub stored_bytes: u64,
    /// Signatures that came along.
    pub signatures: u64,
    /// The trusted signatures, where one was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vouchers: Vec<Voucher>,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Pulls an AMI or bare snapshot: its manifest, the blobs that are nowhere here yet, its signatures. All digests are
/// proven and the whole is verified before it gets its name.
///
/// # Errors
///
/// `Invalid` if the reference is not one, or the registry refuses or lacks it; `Mismatch` if the registry sends something
/// else, or no trusted signature is there; `Corrupt` if what was pushed is damaged; `Io` if the registry cannot be
/// reached, or the system refuses; `Unsupported` in a build without a network.
pub fn pull(request: &PullRequest, watch: &dyn Watch) -> Result<PullReport> {
    #[cfg(feature = "network")]
    return fetching::pull(request, watch);
    #[cfg(not(feature = "network"))]
    {
        let _ = (request, watch);
        crate::ops::shared::network::missing("pull")
    }
}

#[cfg(feature = "network")]
mod fetching {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::path::PathBuf;
    use std::sync::Arc;

    use crate::bundle::ARTIFACT_TYPE;
    use crate::bundle::Bundle;
    use crate::bundle::Intake;
    use crate::bundle::signatures;
    use crate::bundle::signatures::MAX_ALL_LEN;
    use crate::bundle::signatures::MAX_DOCUMENT_LEN;
    use crate::bundle::signatures::SIGNATURE_TYPE;
    use crate::bundle::signatures::SignatureBlobs;
    use crate::digest::Digest;
    use crate::error::Advice;
    use crate::error::Error;
    use crate::error::Kind;
    use crate::error::Result;
    use crate::error::Verb;
    use crate::io::Input;
    use crate::io::unwritten;
    use crate::layout;
    use crate::layout::BlobStore;
    use crate::layout::Descriptor;
    use crate::layout::Destination;
    use crate::layout::InInputs;
    use crate::layout::Name;
    use crate::layout::index_with;
    use crate::layout::is_store;
    use crate::layout::oci;
    use crate::layout::referrer_of;
    use crate::ops::pull::PullReport;
    use crate::ops::pull::PullRequest;
    use crate::ops::shared::counters;
    use crate::ops::shared::network::connected;
    use crate::ops::shared::open::Found;
    use crate::ops::shared::open::find;
    use crate::ops::shared::open::over_base;
    use crate::ops::shared::order::is_bundle;
    use crate::ops::shared::outside::check_outside;
    use crate::ops::shared::registry::session;
    use crate::ops::shared::trust::Place;
    use crate::ops::shared::trust::Trusted;
    use crate::ops::shared::trust::check_vouched;
    use crate::ops::shared::trust::trusted_in;
    use crate::ops::shared::verification::Depth;
    use crate::ops::shared::verification::VerifyReport;
    use crate::ops::shared::verification::verify_bundle;
    use crate::registry;
    use crate::registry::Access;
    use crate::registry::Document;
    use crate::registry::Reference;
    use crate::registry::Registry;
    use crate::work::Watch;
    use crate::work::in_order;

    /// Most bytes of the description of an AMI.
    const MAX_CONFIG_LEN: u64 = 1 << 20;

    /// Most signatures that are looked at.
    const MOST_SIGNATURES: usize = 256;

    /// What is read of an AMI before its blobs: its documents, and its signatures.
    struct Head {
        manifest: Descriptor,
        documents: Vec<(Name, Vec<u8>)>,
        signatures: Vec<SignatureBlobs>,
        notes: Vec<String>,
    }

    /// What was done about a blob.
    enum Done {
        Had,
        Fetched(u64),
        LeftOut,
    }

    pub(super) fn pull(request: &PullRequest, watch: &dyn Watch) -> Result<PullReport> {
        let reference =
            Reference::parse(&request.reference).map_err(|error| instead(error, request))?;
        let base = request.base.as_ref();
        check_outside(&request.output, base.iter().map(|it| it.image.path.as_path()))?;
        let base = match base.map(|it| find(it).map_err(|error| it.fail(error))).transpose()? {
            Some(Found::Bundle(bundle)) => Some(*bundle),
            _ => None,
        };
        connected(&request.network, request.at_once.get(), watch, |client| {
            let access = (Access::Pull, &[][..]);
            let registry = session(client, &reference, access, &request.network, watch)?;
            let done = take_in(&registry, &reference, request, base.as_ref(), watch);
            done.map_err(unwritten(&request.output))
        })
    }

    /// Adds to the refusal of a reference which verb takes what was typed.
    fn instead(error: Error, request: &PullRequest) -> Error {
        let typed = &request.reference;
        let (verb, to) = match () {
            () if is_id(typed) => (Verb::Fetch, "get it from an account"),
            () if is_bundle(Path::new(typed)) => (Verb::Push, "send a bundle to a registry"),
            () => return error,
        };
        error.advise(Advice::Use { verb, to: to.into() })
    }

    /// Tells whether a user typed the id of an AMI or a snapshot.
    fn is_id(typed: &str) -> bool {
        let hex = typed.strip_prefix("ami-").or_else(|| typed.strip_prefix("snap-"));
        hex.is_some_and(|hex| hex.len() >= 8 && hex.bytes().all(|it| it.is_ascii_hexdigit()))
    }

    fn take_in(
        registry: &Registry<'_>,
        reference: &Reference,
        request: &PullRequest,
        base: Option<&Bundle>,
        watch: &dyn Watch,
    ) -> Result<PullReport> {
        // In messages what is read has the name by which the user asked for it.
        let called = PathBuf::from(reference.to_string());
        let mut head = head(registry, reference, request, &called, watch)?;
        let intake = Intake::create(&request.output, watch)?;
        let store = intake.reader(&called, &head.documents, &[], None)?;
        let Trusted { bundle, vouchers, notes } = opened(store, request, &head, &called, watch)?;
        let blobs: Vec<_> = bundle
            .blobs()
            .into_iter()
            .filter(|it| head.documents.iter().all(|(name, _)| *name != Name::Blob(it.digest)))
            .collect();
        let mut report = PullReport {
            bundle: request.output.clone(),
            reference: Reference { digest: Some(bundle.digest()), ..reference.clone() }.to_string(),
            digest: bundle.digest(),
            blobs_fetched: 0,
            blobs_had: 0,
            blobs_left_out: 0,
            fetched_bytes: 0,
            stored_bytes: bundle.blob_bytes(),
            signatures: u64::try_from(head.signatures.len()).expect("a few"),
            vouchers,
            notes,
        };
        report.notes.extend(registry.note_on_plain());
        report.notes.extend(head.notes.iter().cloned());
        fetch(registry, &bundle, &intake, (request, base), &blobs, &mut report, watch)?;
        let naming = bundle.naming();
        drop(bundle);
        // What is verified is what will be there.
        head.documents.retain(|(name, _)| *name != Name::Index);
        head.documents.push((Name::Index, naming.index()));
        check(&intake, &head, &blobs, (request, base), &called, &mut report, watch)?;
        intake.finish(&naming, &head.documents, base, watch)?;
        report.notes.extend(signatures::attach_all(&head.signatures, &request.output, watch)?);
        if let Some(store) = store_of(&request.output)? {
            for voucher in &report.vouchers {
                counters::raise(&store, &voucher.name, voucher.counter, report.digest, watch)
                    .map_err(|error| error.leaving("it was pulled"))?;
            }
        }
        Ok(report)
    }

    /// Reads an AMI's documents and signatures. Where someone has to vouch for it, only its signatures are looked into
    /// before that is so.
    fn head(
        registry: &Registry<'_>,
        reference: &Reference,
        request: &PullRequest,
        called: &Path,
        watch: &dyn Watch,
    ) -> Result<Head> {
        let target = reference.target();
        let found = registry::get_manifest(registry, &target, layout::MAX_MANIFEST_LEN)?;
        let Document { media_type, digest, bytes } =
            found.ok_or_else(|| Error::invalid(format!("there is no {reference}")))?;
        if media_type != oci::MANIFEST_TYPE {
            let text = format!("it is a {media_type:?}, expected {}", oci::MANIFEST_TYPE);
            return Err(Error::new(Kind::Unsupported, text).in_file(called));
        }
        let size = u64::try_from(bytes.len()).expect("memory is under 2^64 bytes");
        let manifest = Descriptor::new(oci::MANIFEST_TYPE, digest, size);
        let (signatures, notes) = signatures_of(registry, digest)?;
        let entries = signatures.iter().map(|it| referrer_of(&it.descriptor, SIGNATURE_TYPE));
        let named = reference.tag.clone().unwrap_or_else(|| "pulled".to_owned());
        let index = index_with(&manifest, ARTIFACT_TYPE, named, entries);
        let mut documents = vec![
            (Name::Layout, oci::LAYOUT.as_bytes().to_vec()),
            (Name::Index, index),
            (Name::Blob(digest), bytes),
        ];
        if let Some(trust) = &request.trust {
            let store = in_memory(called, &documents, &signatures);
            let place = Place { store, ami: None, typed: called, memory: None };
            check_vouched(&place, trust, watch)?;
        }
        let (_, bytes) = documents.last().expect("the manifest is the last of them");
        let parsed: oci::Manifest = serde_json::from_slice(bytes)
            .map_err(|e| Error::corrupt(format!("OCI manifest: {e}")).in_file(called))?;
        let config = small_blob(registry, &parsed.config, MAX_CONFIG_LEN)?;
        documents.push((Name::Blob(parsed.config.digest), config));
        Ok(Head { manifest, documents, signatures, notes })
    }

    /// Returns a layout of documents and signatures alone.
    fn in_memory(
        called: &Path,
        documents: &[(Name, Vec<u8>)],
        signatures: &[SignatureBlobs],
    ) -> Arc<dyn BlobStore> {
        let mut store = InInputs::new(called);
        let mut add = |name: Name, bytes: &[u8]| {
            let input = Input::memory(&called.to_string_lossy(), bytes.to_vec());
            store.insert(name, Arc::new(input));
        };
        for (name, bytes) in documents {
            add(*name, bytes);
        }
        for (digest, bytes) in signatures.iter().flat_map(|it| &it.blobs) {
            add(Name::Blob(*digest), bytes);
        }
        Arc::new(store)
    }

    /// Opens what is read as a bundle, trusted if that is asked for.
    fn opened(
        store: Arc<dyn BlobStore>,
        request: &PullRequest,
        head: &Head,
        called: &Path,
        watch: &dyn Watch,
    ) -> Result<Trusted> {
        let Some(trust) = &request.trust else {
            let bundle = Bundle::open_entry(store, head.manifest.clone())?;
            return Ok(Trusted { bundle, vouchers: Vec::new(), notes: Vec::new() });
        };
        let store = in_memory(called, &head.documents, &head.signatures);
        let memory = store_of(&request.output)?;
        let known = match &memory {
            Some(store) => signatures::of(&*layout::open(store)?, head.manifest.digest)?.others,
            None => Vec::new(),
        };
        let place = Place { store, ami: None, typed: called, memory };
        trusted_in(&place, trust, &known, request.base.as_ref(), watch)
    }

    /// Returns the store that the AMI goes into, if it is one.
    fn store_of(output: &Path) -> Result<Option<PathBuf>> {
        let Destination::Store { store, .. } = Destination::parse(output)? else {
            return Ok(None);
        };
        Ok(is_store(&store)?.then_some(store))
    }

    /// Fetches what carries the signatures of an AMI, and tells why others are left out.
    fn signatures_of(
        registry: &Registry<'_>,
        digest: Digest,
    ) -> Result<(Vec<SignatureBlobs>, Vec<String>)> {
        let (mut all, mut notes, mut left) = (Vec::new(), Vec::new(), MAX_ALL_LEN);
        let listed = registry::referrers(registry, &digest, SIGNATURE_TYPE)?;
        if listed.len() > MOST_SIGNATURES {
            let text = format!(
                "{} lists {} signatures, expected at most {MOST_SIGNATURES}",
                registry.origin(),
                listed.len()
            );
            return Err(Error::new(Kind::Limit, text));
        }
        for entry in listed {
            let target = format!("sha256:{}", entry.digest);
            let found = registry::get_manifest(registry, &target, MAX_DOCUMENT_LEN)?;
            let Some(Document { bytes, .. }) = found else {
                notes.push(format!("left out: the signature {target} is listed and not there"));
                continue;
            };
            let Some(parts) = signatures::parts_of(&bytes, digest) else {
                notes.push(format!(
                    "left out: {target} is listed as a signature and is not one of this AMI"
                ));
                continue;
            };
            let mut blobs = Vec::new();
            for part in &parts {
                left = left.checked_sub(part.size).ok_or_else(|| {
                    let text =
                        format!("its signatures have over {MAX_ALL_LEN} bytes, expected fewer");
                    Error::new(Kind::Limit, text)
                })?;
                blobs.push((part.digest, small_blob(registry, part, MAX_DOCUMENT_LEN)?));
            }
            let size = u64::try_from(bytes.len()).expect("memory is under 2^64 bytes");
            let descriptor = Descriptor::new(oci::MANIFEST_TYPE, entry.digest, size);
            blobs.push((entry.digest, bytes));
            all.push(SignatureBlobs { blobs, descriptor });
        }
        Ok((all, notes))
    }

    /// Fetches a blob of a few bytes.
    fn small_blob(registry: &Registry<'_>, blob: &Descriptor, most: u64) -> Result<Vec<u8>> {
        if blob.size > most {
            let text = format!(
                "the blob sha256:{} has {} bytes, expected at most {most}",
                blob.digest, blob.size
            );
            return Err(Error::new(Kind::Limit, text));
        }
        registry::download_small(registry, &blob.digest, blob.size)
    }

    /// Fetches the blobs that are nowhere here.
    fn fetch(
        registry: &Registry<'_>,
        bundle: &Bundle,
        intake: &Intake,
        (request, base): (&PullRequest, Option<&Bundle>),
        blobs: &[Descriptor],
        report: &mut PullReport,
        watch: &dyn Watch,
    ) -> Result<()> {
        let of_base: BTreeSet<Digest> = bundle
            .packs()
            .iter()
            .filter(|pack| pack.of_base)
            .map(|pack| pack.blob.digest)
            .collect();
        let over_image = request.base.is_some() && base.is_none();
        let total = blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
        watch.prepare("fetching", Some(total));
        let mut seen = BTreeSet::new();
        let jobs = blobs.iter().filter(|blob| seen.insert(blob.digest)).map(Ok);
        let get = |blob: &Descriptor| {
            let in_base = base.map(|it| it.has(blob)).transpose()?.unwrap_or(false);
            if in_base || intake.has(blob)? {
                watch.advance(blob.size);
                return Ok(Done::Had);
            }
            if of_base.contains(&blob.digest)
                && (over_image || !registry::has(registry, &blob.digest, blob.size)?)
            {
                watch.advance(blob.size);
                return Ok(Done::LeftOut);
            }
            let incoming = intake.begin()?;
            let progress = |bytes| watch.advance(bytes);
            registry::download(registry, &blob.digest, blob.size, &incoming, &progress)?;
            intake.keep(blob, incoming);
            Ok(Done::Fetched(blob.size))
        };
        in_order(
            request.at_once,
            watch,
            jobs,
            || Ok(()),
            |(), blob| get(blob),
            |done| {
                let count = match done {
                    Done::Had => &mut report.blobs_had,
                    Done::LeftOut => &mut report.blobs_left_out,
                    Done::Fetched(bytes) => {
                        report.fetched_bytes = report.fetched_bytes.saturating_add(bytes);
                        &mut report.blobs_fetched
                    }
                };
                *count = count.strict_add(1);
                Ok(())
            },
        )
    }

    /// Verifies what came in, as far as it can be without what is left out.
    fn check(
        intake: &Intake,
        head: &Head,
        blobs: &[Descriptor],
        (request, base): (&PullRequest, Option<&Bundle>),
        called: &Path,
        report: &mut PullReport,
        watch: &dyn Watch,
    ) -> Result<()> {
        let store = intake.reader(called, &head.documents, blobs, base)?;
        let bundle = Bundle::open_entry(store, head.manifest.clone())?;
        let over = request.base.as_ref().filter(|_| report.blobs_left_out > 0);
        if over.is_none() && report.blobs_left_out > 0 {
            report.notes.push(
                "it is thin, and the registry does not have what it leaves out: it needs its base to be read".into(),
            );
        }
        let bundle = over_base(bundle, over, request.threads, watch)?;
        let depth = Depth { quick: false, threads: request.threads };
        let checked = verify_bundle(&bundle, depth, watch)?.report;
        report.notes.extend(checked.notes.iter().cloned());
        sound(&checked, called)
    }

    /// Fails if anything is damaged. The digests are those that were pushed, so that it was so before.
    fn sound(checked: &VerifyReport, called: &Path) -> Result<()> {
        let all = checked.damage.iter().chain(&checked.unreadable);
        match (checked.sound, all.clone().next()) {
            (true, _) => Ok(()),
            (false, first) => {
                let what = first.map_or("it is damaged", |it| it.error.as_str());
                let text = format!(
                    "it was damaged before it was pushed, in {} places; {what}",
                    all.count()
                );
                Err(Error::corrupt(text).in_file(called))
            }
        }
    }
}
