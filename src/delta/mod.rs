//! Deltas: what a volume shares with a base, page by page, and patches made of it.
//!
//! A rebuilt image has the files of the last one at other places, so hardly a block is the same, but
//! nearly every page is. A [`PageIndex`] finds pages of the base by content, wherever they lie, and
//! [`Patching`] writes a chunk as copies of them and what is left. The patch format and its limits
//! are `docs/formats/patch.md`, the index is `docs/formats/page-index.md`.

mod anchors;
mod encode;
mod entry;
mod hints;
mod index;
mod index_file;

pub use encode::Patching;
pub use hints::BaseHints;
pub use hints::Likely;
pub use index::PageIndex;
pub use index_file::IndexFault;
pub use index_file::MAGIC;
