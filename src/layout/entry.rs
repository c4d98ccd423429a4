//! The entry that amikit writes into `index.json`, and how it is seen to be unchanged.

use std::collections::BTreeMap;

use crate::digest::crc32;
use crate::layout::oci;
use crate::layout::oci::Descriptor;
use crate::layout::oci::Index;

/// Annotation that holds the checksum of the entry that it stands in.
const CHECKSUM: &str = "io.amikit.checksum";

/// Annotation that holds the name under which amikit wrote the entry: what copies a manifest keeps its annotations and
/// gives it another name.
const REFERENCE: &str = "io.amikit.reference";

/// Returns an entry's checksum: the CRC-32 of its JSON without white space and without the checksum.
fn checksum(entry: &Descriptor) -> String {
    let mut plain = entry.clone();
    plain.annotations.remove(CHECKSUM);
    let json = serde_json::to_vec(&plain).expect("plain data always serialises");
    format!("crc32:{:08x}", crc32(&json))
}

/// Tells whether an entry is as amikit wrote it, but for its name; `None` if another program wrote it.
pub(super) fn is_as_written(entry: &Descriptor) -> Option<bool> {
    let found = entry.annotations.get(CHECKSUM)?;
    let is_renamed = || {
        let name = entry.annotations.get(REFERENCE)?;
        let mut first = entry.clone();
        first.annotations.insert(oci::REF_NAME.to_owned(), name.clone());
        Some(*found == checksum(&first))
    };
    Some(*found == checksum(entry) || is_renamed().unwrap_or(false))
}

/// Returns the name under which amikit wrote an entry, if it has another one now.
pub(super) fn former_name(entry: &Descriptor) -> Option<&str> {
    let former = entry.annotations.get(REFERENCE)?;
    (entry.reference() != Some(former)).then_some(former)
}

/// Returns the entry of a manifest, with more annotations.
pub(crate) fn entry_of(
    manifest: &Descriptor,
    artifact_type: &str,
    reference: String,
    more: impl IntoIterator<Item = (String, String)>,
) -> Descriptor {
    let mut annotations: BTreeMap<String, String> = more.into_iter().collect();
    annotations.insert(REFERENCE.to_owned(), reference.clone());
    annotations.insert(oci::REF_NAME.to_owned(), reference);
    let mut entry = Descriptor {
        artifact_type: Some(artifact_type.to_owned()),
        annotations,
        ..manifest.clone()
    };
    entry.annotations.insert(CHECKSUM.to_owned(), checksum(&entry));
    entry
}

/// Returns the entry of a manifest that has no name, since it refers to another one.
pub(crate) fn referrer_of(manifest: &Descriptor, artifact_type: &str) -> Descriptor {
    let mut entry = Descriptor {
        artifact_type: Some(artifact_type.to_owned()),
        annotations: BTreeMap::new(),
        ..manifest.clone()
    };
    entry.annotations.insert(CHECKSUM.to_owned(), checksum(&entry));
    entry
}

/// Writes `index.json` of one manifest and of those that refer to it.
#[cfg(feature = "network")]
pub(crate) fn index_with(
    manifest: &Descriptor,
    artifact_type: &str,
    reference: String,
    referrers: impl IntoIterator<Item = Descriptor>,
) -> Vec<u8> {
    let named = entry_of(manifest, artifact_type, reference, []);
    oci::to_bytes(&Index {
        schema_version: 2,
        media_type: Some(oci::INDEX_TYPE.to_owned()),
        manifests: std::iter::once(named).chain(referrers).collect(),
    })
}

/// Writes `index.json` of one manifest.
pub(crate) fn index_of(manifest: &Descriptor, artifact_type: &str, reference: String) -> Vec<u8> {
    oci::to_bytes(&Index {
        schema_version: 2,
        media_type: Some(oci::INDEX_TYPE.to_owned()),
        manifests: vec![entry_of(manifest, artifact_type, reference, [])],
    })
}
