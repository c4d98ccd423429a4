//! Bundles: an AMI on disk, as an OCI image layout.
//!
//! The format is `docs/formats/bundle.md`.

mod annotations;
mod base;
mod complete;
mod free;
#[cfg(feature = "network")]
mod intake;
mod layers;
mod opened;
mod packs;
mod replace;
mod shared;
pub(crate) mod signatures;
mod snapshot;
mod writer;

pub use annotations::ARTIFACT_TYPE;
pub use annotations::CONFIG_TYPE;
pub use annotations::ENTRY_NAME;
pub use annotations::ENTRY_STORED_SIZE;
pub use annotations::ENTRY_VOLUME_SIZE;
pub use annotations::VOLUME_DEVICE;
pub use annotations::VOLUME_TYPE;
pub use base::BaseBytes;
pub use base::BaseSnapshot;
pub use base::BaseVolume;
pub use free::FreePolicy;
pub use free::FreeRecord;
#[cfg(feature = "network")]
pub(crate) use intake::Intake;
pub use layers::BaseLayer;
pub use layers::PackLayer;
pub use layers::SnapshotLayer;
pub use opened::Bundle;
pub use opened::VolumeConfig;
pub use packs::OpenedPacks;
pub use replace::check_replaceable;
pub use shared::SharedPacks;
pub use snapshot::Snapshot;
pub use writer::VolumeWriter;
pub use writer::Writer;
pub use writer::WrittenVolume;
