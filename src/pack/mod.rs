//! Packs: files of many chunks, each found by its id.
//!
//! The format is `docs/formats/pack.md`.

mod base;
mod cache;
mod chunks;
mod group_id;
mod known;
pub mod layout;
mod opened;
pub mod patch;
mod reader;
mod share;
mod writer;

pub use base::Base;
pub use cache::GroupCache;
pub use chunks::Chunks;
pub use group_id::GroupId;
pub use known::KnownChunks;
pub use known::MOST_WAITING;
pub use layout::Entry;
pub use layout::Form;
pub use layout::Group;
pub use layout::PackFault;
pub use layout::Region;
pub use opened::Pack;
pub use patch::Page;
pub use patch::Patch;
pub use reader::ChunkReader;
pub use reader::GroupReader;
pub use reader::hash_chunks;
pub use share::stored_share;
pub use writer::Finished;
pub use writer::PackWriter;
pub use writer::Stored;

use crate::units::BLOCK_SIZE;

/// Media type of a pack in a bundle.
pub const MEDIA_TYPE: &str = "application/vnd.amikit.pack.v2+zstd";

/// Bytes at which a pack is closed where the user says nothing.
pub const DEFAULT_PACK_SIZE: u64 = 1 << 30;

/// Compression level of groups where the user names none: smaller and faster than `zstd -3` of the
/// whole volume.
pub const DEFAULT_LEVEL: i32 = 2;

/// Level of groups over a base where the user names none.
pub const DEFAULT_LEVEL_OVER_BASE: i32 = 3;

/// Plain bytes of a group where the user says nothing.
pub const DEFAULT_GROUP_SIZE: u64 = 32 << 20;

/// Returns the chunks of a group of at most `size` plain bytes, if a group can have that size: a
/// multiple of the block up to 64 MiB.
#[must_use]
pub fn group_chunks(size: u64) -> Option<u32> {
    let chunks = u32::try_from(size.strict_div(BLOCK_SIZE)).ok()?;
    let fits = size.is_multiple_of(BLOCK_SIZE) && (1..=layout::MAX_GROUP_CHUNKS).contains(&chunks);
    fits.then_some(chunks)
}

#[cfg(test)]
mod tests;
