//! OCI image layouts: their files, wherever these lie, and the documents that join them.
//!
//! What an AMI puts into a layout is the bundle's to say: see `docs/formats/bundle.md`.

mod archive;
mod folder;
mod inputs;
mod name;
pub(crate) mod oci;
mod open;
mod reference;
mod sink;
mod store;
mod tar;

pub use archive::InArchive;
pub use inputs::InInputs;
pub(crate) use name::INDEX_NAME;
pub(crate) use name::LAYOUT_NAME;
pub use name::Name;
pub(crate) use name::blob_name;
pub use name::is_archive_name;
pub use oci::Descriptor;
pub(crate) use open::is_at;
pub(crate) use open::open;
pub(crate) use reference::reference_name;
pub(crate) use sink::NewBlob;
pub(crate) use sink::Sink;
pub use store::Blob;
pub use store::BlobStore;
pub(crate) use store::check_layout;
pub(crate) use store::read;
pub(crate) use store::read_small;
pub use tar::ArchiveFault;
