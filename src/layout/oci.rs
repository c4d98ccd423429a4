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

/// What an image manifest of an AMI says it is.
pub const ARTIFACT_TYPE: &str = "application/vnd.amikit.ami.v1+json";

/// Media type of the AMI description.
pub const CONFIG_TYPE: &str = "application/vnd.amikit.ami.config.v1+json";

/// Annotation that holds the reference name.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Annotation that holds a snapshot's device.
pub(crate) const DEVICE: &str = "io.amikit.device";

/// Annotation that holds a snapshot's root digest.
pub(crate) const ROOT_DIGEST: &str = "io.amikit.root-digest";

/// Annotation that holds a volume's bytes.
pub(crate) const VOLUME_SIZE: &str = "io.amikit.volume-size";

/// Annotation that holds the number of a pack's chunks.
pub(crate) const CHUNKS: &str = "io.amikit.chunks";

/// Annotation that says what else a layer is for.
pub(crate) const ROLE: &str = "io.amikit.role";

/// Role of a layer that is there because others lean on it.
pub(crate) const ROLE_BASE: &str = "base";

/// Annotation that holds the root digest of the snapshot that a layer leans on.
pub(crate) const BASE: &str = "io.amikit.base";

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
    /// Returns the root digest that the annotation `name` holds, if it is there.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it holds something else.
    pub(crate) fn root(&self, name: &str) -> Result<Option<Digest>> {
        let Some(text) = self.annotations.get(name) else { return Ok(None) };
        match text.strip_prefix("sha256:").and_then(Digest::from_hex) {
            Some(root) => Ok(Some(root)),
            None => Err(Error::corrupt(format!("a layer's annotation {name} is {text:?}"))),
        }
    }

    /// Tells whether the layer is there because others lean on it.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a role that this version does not know.
    pub(crate) fn is_of_base(&self) -> Result<bool> {
        match self.annotations.get(ROLE).map(String::as_str) {
            None => Ok(false),
            Some(ROLE_BASE) => Ok(true),
            Some(other) => {
                let text = format!("a layer's role is {other:?}, which this amikit does not know");
                Err(Error::new(Kind::Unsupported, text))
            }
        }
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

/// Returns an AMI's name as a reference name of OCI.
#[must_use]
pub(crate) fn reference_name(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.chars().map(|c| if keep(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_name_is_one_for_any_ami_name() {
        assert_eq!(reference_name("Web (2026) @x_1.0-a"), "Web--2026---x_1.0-a");
    }
}
