//! OCI image layouts: their files, wherever these lie, and the documents that join them.
//!
//! What an AMI puts into a layout is the bundle's to say: see `docs/formats/bundle.md`.

pub(crate) mod oci;
pub(crate) mod store;
pub(crate) mod tar;

pub use oci::ARTIFACT_TYPE;
pub use oci::CONFIG_TYPE;
pub use oci::Descriptor;
pub use store::Blob;
pub use store::BlobStore;
pub use store::InArchive;
pub use store::InInputs;
pub use store::Name;
pub use store::is_archive_name;
pub use tar::ArchiveFault;
