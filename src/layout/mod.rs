//! OCI image layouts: their files, wherever these lie, and the documents that join them.
//!
//! What an AMI puts into a layout is the bundle's to say: see `docs/formats/bundle.md`.

mod archive;
mod catalog;
mod destination;
mod document;
mod entry;
mod folder;
mod index;
mod inputs;
mod intact;
mod name;
pub(crate) mod oci;
mod open;
mod reference;
mod shared;
mod sink;
mod store;
mod tar;

pub use archive::InArchive;
pub use catalog::Catalog;
pub use catalog::Entry;
pub use destination::Destination;
pub(crate) use document::expect_digest;
pub(crate) use document::open_blob;
pub(crate) use document::read_document;
pub(crate) use entry::index_of;
#[cfg(feature = "network")]
pub(crate) use entry::index_with;
pub(crate) use entry::referrer_of;
pub(crate) use index::MAX_MANIFEST_LEN;
pub(crate) use index::Wanted;
#[cfg(feature = "network")]
pub(crate) use index::artifact_of;
pub(crate) use index::check_artifact;
pub(crate) use index::choose;
pub(crate) use index::read_index;
pub use inputs::InInputs;
pub(crate) use intact::check_index;
pub(crate) use name::INDEX_NAME;
pub(crate) use name::LAYOUT_NAME;
pub use name::Name;
pub(crate) use name::blob_name;
pub use name::is_archive_name;
pub use oci::Descriptor;
pub(crate) use open::is_at;
pub(crate) use open::open;
pub use reference::is_reference_name;
pub use reference::reference_name;
pub use shared::SharedLayout;
pub use shared::Work;
pub use shared::is_store;
pub(crate) use shared::not_a_store;
pub(crate) use shared::stored_bytes;
pub(crate) use sink::NewBlob;
pub(crate) use sink::Sink;
pub use store::Blob;
pub use store::BlobStore;
pub(crate) use store::check_layout;
pub use tar::ArchiveFault;
