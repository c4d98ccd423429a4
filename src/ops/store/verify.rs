//! `store verify`: every AMI of a store, each blob once.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::bundle::ARTIFACT_TYPE;
use crate::bundle::Bundle;
use crate::bundle::VOLUME_TYPE;
use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::layout;
use crate::layout::BlobStore;
use crate::layout::Catalog;
use crate::layout::Descriptor;
use crate::layout::Entry;
use crate::layout::is_store;
use crate::ops::shared::report::path_text;
use crate::ops::shared::verification::Damage;
use crate::ops::shared::verification::Depth;
use crate::ops::shared::verification::verify_bundle_but;
use crate::store::needs_of;
use crate::work::Quiet;
use crate::work::Watch;
use crate::work::default_threads;

/// What is looked through.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// The store.
    pub store: PathBuf,
    /// Check stored bytes only: decompress nothing.
    pub quick: bool,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl VerifyRequest {
    /// Asks for all of a store, with all processors.
    #[must_use]
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Self { store: store.into(), quick: false, threads: default_threads() }
    }
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreDamage {
    /// Name of the AMI in which it was found, or its digest.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub damage: Damage,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The store.
    #[serde(serialize_with = "path_text")]
    pub store: PathBuf,
    /// Whether nothing is wrong.
    pub sound: bool,
    /// Whether stored bytes only were checked.
    pub quick: bool,
    /// AMIs and snapshots that were looked at.
    pub amis: u64,
    /// Other manifests that were looked at.
    pub others: u64,
    /// Blobs that they need.
    pub blobs: u64,
    /// Bytes of those.
    pub stored_bytes: u64,
    /// Every damage found.
    pub damage: Vec<StoreDamage>,
    /// What the user should know although it is not damage: sentences without a full stop.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Looks through a store. Damage is not an error: it is what the report is for.
///
/// # Errors
///
/// `Invalid` if there is no store; as [`Catalog::read`]; `Interrupted` on request.
pub fn verify(request: &VerifyRequest, watch: &dyn Watch) -> Result<VerifyReport> {
    if !is_store(&request.store)? {
        return Err(layout::not_a_store(&request.store));
    }
    let store = layout::open(&request.store)?;
    layout::check_layout(&*store)?;
    let catalog = Catalog::read(&*store)?;
    watch.begin(None);
    let mut check = Check {
        store: &store,
        request,
        watch,
        blobs: BTreeMap::new(),
        sound: BTreeSet::new(),
        seen: BTreeSet::new(),
        foreign: false,
        report: VerifyReport {
            store: request.store.clone(),
            sound: true,
            quick: request.quick,
            amis: 0,
            others: 0,
            blobs: 0,
            stored_bytes: 0,
            damage: Vec::new(),
            notes: Vec::new(),
        },
    };
    for entry in &catalog.entries {
        watch.check()?;
        check.entry(entry)?;
    }
    let mut report = check.report;
    report.blobs = u64::try_from(check.blobs.len()).expect("memory is under 2^64 bytes");
    report.stored_bytes = check.blobs.values().fold(0, |sum, size| sum.saturating_add(*size));
    if check.foreign {
        let note = "some entries of index.json were written by another program, without amikit's checksum: a \
                    change of the names in them would not be seen";
        report.notes.push(note.to_owned());
    }
    report.sound = report.damage.is_empty();
    Ok(report)
}

/// A store that is looked through.
struct Check<'a> {
    store: &'a Arc<dyn BlobStore>,
    request: &'a VerifyRequest,
    watch: &'a dyn Watch,
    blobs: BTreeMap<Digest, u64>,
    /// Packs and blobs that were checked and are sound: the next AMI that has them need not check them again.
    sound: BTreeSet<Digest>,
    /// Manifests that were looked at: one may have several names.
    seen: BTreeSet<Digest>,
    foreign: bool,
    report: VerifyReport,
}

impl Check<'_> {
    fn add(&mut self, name: &str, what: &'static str, error: &Error) {
        let damage = Damage { what, chunk: None, error: error.to_string(), blocks: Vec::new() };
        self.report.damage.push(StoreDamage { name: name.to_owned(), damage });
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        let digest = entry.descriptor.digest;
        let name = entry.name().map_or_else(|| format!("sha256:{digest}"), str::to_owned);
        if !entry.is_ours {
            if entry.is_changed() {
                let text = "its entry in index.json is not the one that its checksum is of: its name, \
                            type or size was changed";
                self.add(&name, "index", &Error::corrupt(text).in_file(&self.request.store));
            } else {
                self.foreign = true;
            }
        }
        self.report.notes.extend(entry.renamed());
        if !self.seen.insert(digest) {
            return Ok(());
        }
        let needs = match needs_of(&**self.store, &entry.descriptor) {
            Ok(needs) => needs,
            Err(error) => {
                self.add(&name, "manifest", &error);
                return Ok(());
            }
        };
        self.blobs.extend(needs.blobs.iter().map(|(digest, size)| (*digest, *size)));
        if matches!(needs.artifact_type.as_deref(), Some(ARTIFACT_TYPE | VOLUME_TYPE)) {
            self.report.amis = self.report.amis.strict_add(1);
            return self.ami(&name, entry);
        }
        self.report.others = self.report.others.strict_add(1);
        for (digest, size) in needs.blobs {
            if !self.sound.contains(&digest) {
                match self.blob(&Descriptor::new("", digest, size)) {
                    Ok(()) => drop(self.sound.insert(digest)),
                    Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                    Err(error) => self.add(&name, "blob", &error),
                }
            }
        }
        Ok(())
    }

    fn ami(&mut self, name: &str, entry: &Entry) -> Result<()> {
        let opened = Bundle::open_entry(Arc::clone(self.store), entry.descriptor.clone());
        let bundle = match opened {
            Ok(bundle) => bundle,
            Err(error) => {
                self.add(name, "manifest", &error);
                return Ok(());
            }
        };
        let depth = Depth { quick: self.request.quick, threads: self.request.threads };
        let verified = verify_bundle_but(&bundle, depth, &self.sound, &Quiet(self.watch))?;
        let report = verified.report;
        if let Some(missing) = &report.missing {
            let text =
                format!("it is thin: {} packs that it names are not there", missing.packs.len());
            self.add(name, "pack", &Error::corrupt(text).in_file(&self.request.store));
        } else if report.sound {
            self.sound.extend(bundle.packs().iter().map(|pack| pack.blob.digest));
        }
        let found = report.damage.into_iter().chain(report.unreadable);
        let named = found.filter(|it| it.what != "index");
        self.report
            .damage
            .extend(named.map(|damage| StoreDamage { name: name.to_owned(), damage }));
        Ok(())
    }

    /// Checks a blob of another program's manifest.
    fn blob(&self, blob: &Descriptor) -> Result<()> {
        let file = layout::open_blob(&**self.store, blob)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; READ_PIECE_LEN];
        let mut at = 0;
        while at < file.len() {
            self.watch.check()?;
            let rest = usize::try_from(file.len().strict_sub(at)).unwrap_or(READ_PIECE_LEN);
            let piece = &mut buffer[..rest.min(READ_PIECE_LEN)];
            file.read_exact_at(piece, at)?;
            digest.update(piece);
            at = at.strict_add(u64::try_from(piece.len()).expect("at most a piece"));
        }
        let path = self.store.path_of(layout::Name::Blob(blob.digest));
        layout::expect_digest(digest.finish(), blob).map_err(|e| e.in_file(&path))
    }
}
