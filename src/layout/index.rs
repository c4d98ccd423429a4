//! `index.json`: which of its manifests is meant, and whether it is as amikit wrote it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::layout::document::read_document;
use crate::layout::entry::former_name;
use crate::layout::entry::is_as_written;
use crate::layout::name::Name;
use crate::layout::oci;
use crate::layout::oci::Descriptor;
use crate::layout::oci::Index;
use crate::layout::store;
use crate::layout::store::BlobStore;

/// Most bytes of `index.json`: a store of 100,000 AMIs.
const MAX_INDEX_LEN: u64 = 64 << 20;

/// Most bytes of an image manifest: 300 for each pack of the largest volume.
pub(crate) const MAX_MANIFEST_LEN: u64 = 32 << 20;

/// Most manifests that are looked into where none is named.
const MAX_MANIFESTS: usize = 1024;

/// What a manifest must be to be the one that is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Its `artifactType`.
    pub(crate) artifact_type: &'static str,
    /// The media type of its config.
    pub(crate) config_type: &'static str,
}

/// What decides what a manifest is; all else is not read yet.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Config>,
    subject: Option<Subject>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
}

#[derive(Debug, Deserialize)]
struct Subject {
    digest: String,
}

impl Head {
    /// Says what the manifest is, in one word of its own.
    fn what(&self) -> &str {
        let config = self.config.as_ref().map(|config| config.media_type.as_str());
        let types = [self.artifact_type.as_deref(), config, self.media_type.as_deref()];
        types.into_iter().flatten().next().unwrap_or("of no type")
    }

    fn is(&self, wanted: Wanted) -> bool {
        let config = self.config.as_ref().map(|config| config.media_type.as_str());
        self.artifact_type.as_deref() == Some(wanted.artifact_type)
            || config == Some(wanted.config_type)
    }
}

/// Reads `index.json`.
///
/// # Errors
///
/// `Corrupt`, `Unsupported` or `Limit` if it is not an image index; `Io` if it cannot be read.
pub(crate) fn read_index(store: &dyn BlobStore) -> Result<Index> {
    let path = store.path_of(Name::Index);
    let index: Index = serde_json::from_slice(&index_bytes(store)?)
        .map_err(|e| Error::corrupt(format!("index.json: {e}")).in_file(&path))?;
    let media_type = index.media_type.as_deref();
    oci::check_type("index.json", index.schema_version, media_type, oci::INDEX_TYPE)
        .map_err(|e| e.in_file(&path))?;
    Ok(index)
}

pub(super) fn index_bytes(store: &dyn BlobStore) -> Result<Vec<u8>> {
    store::read(store, Name::Index, MAX_INDEX_LEN)
}

/// Chooses the manifest that is meant: the one of that name, or the only one that is what is wanted.
///
/// What an entry says about its manifest is only a hint by the program that wrote the index; the manifest itself
/// decides. Entries with one digest are one manifest with several names. Other manifests are accepted if they
/// have the chosen one as their subject, as signatures do.
///
/// # Errors
///
/// `Corrupt` if there is none; `Unsupported` if there are others, or for a manifest of another kind;
/// `Invalid` if several are wanted ones, or none has the name; `Limit` if there are too many to look at; what
/// reading them returns.
pub(crate) fn choose(
    store: &dyn BlobStore,
    index: &Index,
    wanted: Wanted,
    name: Option<&str>,
) -> Result<Descriptor> {
    let named = |entry: &&Descriptor| name.is_none_or(|name| entry.reference() == Some(name));
    let mut entries: BTreeMap<Digest, Vec<&Descriptor>> = BTreeMap::new();
    for entry in index.manifests.iter().filter(named) {
        entries.entry(entry.digest).or_default().push(entry);
    }
    let chosen =
        choose_digest(store, index, &entries, wanted, name).map_err(|e| match e.kind() {
            Kind::Invalid => e.in_file(store.path()),
            _ => e.in_file(&store.path_of(Name::Index)),
        })?;
    // The entry that amikit wrote, best under its first name, or else one that has a name.
    let best = entries[&chosen].iter().max_by_key(|entry| {
        let is_ours = is_as_written(entry) == Some(true);
        (is_ours, is_ours && former_name(entry).is_none(), entry.reference().is_some())
    });
    Ok((**best.expect("each digest has an entry")).clone())
}

fn choose_digest(
    store: &dyn BlobStore,
    index: &Index,
    entries: &BTreeMap<Digest, Vec<&Descriptor>>,
    wanted: Wanted,
    name: Option<&str>,
) -> Result<Digest> {
    let mut digests = entries.keys();
    match (digests.next(), digests.next(), name) {
        (Some(digest), None, _) => return Ok(*digest),
        (None, _, None) => {
            return Err(Error::corrupt("index.json names no manifest, expected one"));
        }
        (None, _, Some(name)) => {
            let there: BTreeSet<_> =
                index.manifests.iter().filter_map(Descriptor::reference).collect();
            let there: Vec<_> = there.into_iter().map(|it| format!("{it:?}")).collect();
            let there = if there.is_empty() { "no names".to_owned() } else { there.join(", ") };
            return Err(Error::invalid(format!("it has nothing called {name:?}, it has {there}")));
        }
        (Some(_), Some(_), _) => {}
    }
    if entries.len() > MAX_MANIFESTS {
        let text = format!(
            "index.json names {} manifests, expected at most {MAX_MANIFESTS} where none is named",
            entries.len()
        );
        return Err(Error::new(Kind::Limit, text));
    }
    let mut heads = BTreeMap::new();
    for (digest, entries) in entries {
        let is_other = |entry: &&Descriptor| {
            entry.artifact_type.as_deref().is_some_and(|it| it != wanted.artifact_type)
        };
        match head(store, entries[0]) {
            Ok(head) => _ = heads.insert(*digest, head),
            // A signature that is damaged, for example, makes nothing else unreadable.
            Err(e) if e.kind() != Kind::Io && entries.iter().all(is_other) => {}
            Err(e) => return Err(e),
        }
    }
    let meant: Vec<_> = heads.iter().filter(|(_, head)| head.is(wanted)).map(|it| *it.0).collect();
    match meant[..] {
        [digest] => only_referrers(&heads, digest).map(|()| digest),
        [] => {
            let found = heads.values().next().map_or("nothing", Head::what);
            Err(Error::new(Kind::Unsupported, format!("it holds {found:?} and no AMI")))
        }
        _ => Err(several(store.path(), entries, &meant)),
    }
}

/// Fails unless a manifest is of the kind that is wanted, whatever the index says of it.
///
/// # Errors
///
/// `Corrupt` if it is not a manifest, `Unsupported` if it is of another kind.
pub(crate) fn check_artifact(manifest: &[u8], wanted: Wanted) -> Result<()> {
    let head = parse_head(manifest)?;
    let config = head.config.as_ref().map(|config| config.media_type.as_str());
    let found = if head.artifact_type.as_deref() != Some(wanted.artifact_type) {
        head.what()
    } else if config != Some(wanted.config_type) {
        config.unwrap_or_default()
    } else {
        return Ok(());
    };
    let text = format!("the manifest is of type {found:?}, expected {}", wanted.artifact_type);
    Err(Error::new(Kind::Unsupported, text))
}

/// Says what a manifest is, in a word of its own.
///
/// # Errors
///
/// `Corrupt` if it is not a manifest.
#[cfg(feature = "network")]
pub(crate) fn artifact_of(manifest: &[u8]) -> Result<String> {
    Ok(parse_head(manifest)?.what().to_owned())
}

fn parse_head(manifest: &[u8]) -> Result<Head> {
    serde_json::from_slice(manifest).map_err(|e| Error::corrupt(format!("OCI manifest: {e}")))
}

/// Reads what a manifest is.
fn head(store: &dyn BlobStore, entry: &Descriptor) -> Result<Head> {
    let bytes = read_document(store, entry, MAX_MANIFEST_LEN)?;
    parse_head(&bytes).map_err(|e| e.in_file(&store.path_of(Name::Blob(entry.digest))))
}

/// Fails unless all other manifests refer to that one, or to one that does.
fn only_referrers(heads: &BTreeMap<Digest, Head>, to: Digest) -> Result<()> {
    let mut known = BTreeSet::from([format!("sha256:{to}")]);
    let mut left: Vec<_> = heads.iter().filter(|(digest, _)| **digest != to).collect();
    loop {
        let before = left.len();
        left.retain(|(digest, head)| {
            let refers = head.subject.as_ref().is_some_and(|it| known.contains(&it.digest));
            if refers {
                known.insert(format!("sha256:{digest}"));
            }
            !refers
        });
        match left.first() {
            None => return Ok(()),
            Some((digest, head)) if left.len() == before => {
                let text = format!(
                    "index.json names sha256:{digest} too, which is {:?} and does not refer to the AMI",
                    head.what()
                );
                return Err(Error::new(Kind::Unsupported, text));
            }
            Some(_) => {}
        }
    }
}

/// Says that one of several must be named.
fn several(path: &Path, entries: &BTreeMap<Digest, Vec<&Descriptor>>, meant: &[Digest]) -> Error {
    let names: Vec<&str> = meant
        .iter()
        .filter_map(|digest| entries[digest].iter().find_map(|entry| entry.reference()))
        .collect();
    let text = format!("it holds {} AMIs, expected one, or the name of one", meant.len());
    if names.is_empty() {
        return Error::invalid(text);
    }
    let (listed, more) = names.split_at(names.len().min(10));
    let more = if more.is_empty() { "" } else { ", ..." };
    Error::invalid(format!("{text}: {}{more}", listed.join(", ")))
        .advise(Advice::NameAmi { example: format!("{}@{}", shown(path), names[0]) })
}
