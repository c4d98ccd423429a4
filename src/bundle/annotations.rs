//! What an AMI's OCI documents say of it: media types and annotations.

use crate::ami::bare;
use crate::bundle::free::FreeRecord;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::layout::Descriptor;

/// What an image manifest of an AMI says it is.
pub const ARTIFACT_TYPE: &str = "application/vnd.amikit.ami.v1+json";

/// Media type of the AMI description.
pub const CONFIG_TYPE: &str = "application/vnd.amikit.ami.config.v1+json";

/// What an image manifest of a bare snapshot says it is.
pub const VOLUME_TYPE: &str = "application/vnd.amikit.volume.v1+json";

/// Media type of a bare snapshot's config.
pub(super) const VOLUME_CONFIG_TYPE: &str = "application/vnd.amikit.volume.config.v1+json";

/// The device of a bare snapshot.
pub const VOLUME_DEVICE: &str = "volume";

/// Annotation of an entry of a store: the AMI's name as EC2 has it.
pub const ENTRY_NAME: &str = "io.amikit.name";

/// Annotation of an entry of a store: the sizes of all volumes, in bytes.
pub const ENTRY_VOLUME_SIZE: &str = "io.amikit.volume-size";

/// Annotation of an entry of a store: the sizes of all blobs, in bytes.
pub const ENTRY_STORED_SIZE: &str = "io.amikit.stored-size";

/// Annotation that holds a snapshot's device.
pub(super) const DEVICE: &str = "io.amikit.device";

/// Annotation that holds a snapshot's root digest.
pub(super) const ROOT_DIGEST: &str = "io.amikit.root-digest";

/// Annotation that holds a volume's bytes.
pub(super) const VOLUME_SIZE: &str = "io.amikit.volume-size";

/// Annotation that says what became of free blocks.
pub(super) const FREE: &str = "io.amikit.free";

/// Annotation that holds what a snapshot is a part of.
pub(super) const PART: &str = "io.amikit.part";

/// Annotation that holds the number of a pack's chunks.
pub(super) const CHUNKS: &str = "io.amikit.chunks";

/// Annotation that says what else a layer is for.
pub(super) const ROLE: &str = "io.amikit.role";

/// Role of a layer that is there because others depend on it.
pub(super) const ROLE_BASE: &str = "base";

/// Annotation that holds the root digest of the snapshot that a layer depends on.
pub(super) const BASE: &str = "io.amikit.base";

/// What the AMI description is called where it is pulled as a file.
pub(super) const CONFIG_TITLE: &str = "ami.json";

/// Returns what a layer is called where it is pulled as a file: two have one name only if they are one blob.
pub(super) fn title_of(layer: &Descriptor) -> String {
    /// Hexadecimal digits of the digest that tell layers apart.
    const DIGITS: usize = 16;
    let digest = &layer.digest.hex()[..DIGITS];
    if layer.media_type == crate::pack::MEDIA_TYPE {
        return format!("{digest}.pack");
    }
    let of = layer.annotations.get(DEVICE).map_or("base", |device| bare(device));
    format!("{of}-{digest}.snap")
}

/// Returns the root digest that a layer's annotation `name` holds, if it is there.
///
/// # Errors
///
/// `Corrupt` if it holds something else.
pub(super) fn root_of(layer: &Descriptor, name: &str) -> Result<Option<Digest>> {
    let Some(text) = layer.annotations.get(name) else { return Ok(None) };
    match text.strip_prefix("sha256:").and_then(Digest::from_hex) {
        Some(root) => Ok(Some(root)),
        None => Err(Error::corrupt(format!("a layer's annotation {name} is {text:?}"))),
    }
}

/// Returns what a layer says of free blocks.
///
/// # Errors
///
/// `Corrupt` if it says what is not a record.
pub(super) fn free_of(layer: &Descriptor) -> Result<Option<FreeRecord>> {
    layer.annotations.get(FREE).map(|text| text.parse()).transpose()
}

/// Tells whether the layer is there because others depend on it.
///
/// # Errors
///
/// `Unsupported` for a role that this version does not know.
pub(super) fn is_of_base(layer: &Descriptor) -> Result<bool> {
    match layer.annotations.get(ROLE).map(String::as_str) {
        None => Ok(false),
        Some(ROLE_BASE) => Ok(true),
        Some(other) => {
            let text = format!("a layer's role is {other:?}, which this version does not know");
            Err(Error::new(Kind::Unsupported, text))
        }
    }
}
