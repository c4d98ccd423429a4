//! The OCI documents of a bundle: image index and image manifest, as far as a bundle uses them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;

/// Content of `oci-layout`.
pub(crate) const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Media type of an image index.
pub(crate) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Media type of an image manifest.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Annotation that holds the reference name.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Annotation that holds the name of the file that a blob becomes where it is pulled alone.
pub(crate) const TITLE: &str = "org.opencontainers.image.title";

/// A blob that a document refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What the thing described is, for a manifest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub artifact_type: Option<String>,
    /// More about it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Makes one without annotations.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let annotations = BTreeMap::new();
        Self { media_type: media_type.to_owned(), digest, size, artifact_type: None, annotations }
    }

    /// Returns the name that the manifest has, if it has one.
    #[must_use]
    pub fn reference(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }
}

/// `index.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) media_type: Option<String>,
    pub(crate) manifests: Vec<Descriptor>,
}

/// An image manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// Checks that a document is of the version and type that are known.
pub(crate) fn check_type(
    what: &str,
    schema_version: u32,
    media_type: Option<&str>,
    expected: &str,
) -> Result<()> {
    if schema_version != 2 {
        let text = format!("{what}: schemaVersion is {schema_version}, expected 2");
        return Err(Error::new(Kind::Unsupported, text));
    }
    match media_type {
        Some(found) if found != expected => {
            let text = format!("{what}: mediaType is {found:?}, expected {expected}");
            Err(Error::new(Kind::Unsupported, text))
        }
        _ => Ok(()),
    }
}

/// Writes a document: two spaces of indent, one newline at the end.
pub(crate) fn to_bytes<T: Serialize>(document: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(document).expect("plain data always serialises");
    bytes.push(b'\n');
    bytes
}
