//! EC2's own bundle of an instance-store AMI: a signed manifest, and the parts of an encrypted archive.
//!
//! The format, and what is checked, is in `docs/formats/instance-store.md`.

mod archive;
mod cipher;
mod digesting;
mod fault;
mod fields;
mod keys;
mod manifest;
mod parts;
mod plain;
mod read;
#[cfg(test)]
mod tests;
mod write;
mod xml;

pub use archive::Extracted;
pub use fault::MAX_IMAGE_SIZE;
pub use fault::MAX_MANIFEST_LEN;
pub use fault::MAX_PARTS;
pub use fault::ManifestFault;
pub use fault::PayloadFault;
pub use fields::Sealed;
pub use keys::Certificate;
pub use keys::KeyFault;
pub use keys::MAX_KEY_FILE_LEN;
pub use keys::PrivateKey;
pub use keys::Randomness;
pub use keys::Reader;
pub use keys::SystemRandomness;
pub use manifest::Bundler;
pub use manifest::Machine;
pub use manifest::Manifest;
pub use manifest::Mapping;
pub use manifest::PartEntry;
pub use manifest::SignedForms;
pub use manifest::Version;
pub use read::InstanceBundle;
pub use read::PartDamage;
pub use read::Unsealed;
pub use write::Description;
pub use write::Keys;
pub use write::MakeOptions;
pub use write::PART_LEN;
pub use write::make;
pub use write::shell_safe;
