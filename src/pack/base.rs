//! What a pack depends on.

use std::collections::BTreeSet;
use std::fmt;

use crate::digest::Digest;
use crate::error::Result;
use crate::pack::GroupId;
use crate::pack::Page;
use crate::units::BlockIndex;

/// The snapshot that patched chunks are made from, and that has the chunks that no pack repeats.
pub trait Base: Send + Sync + fmt::Debug {
    /// Returns the root digest: what the snapshot is.
    fn root(&self) -> Digest;

    /// Fills `pages`, a whole number of them, with the base's pages from `page` on. What lies past
    /// the end of the base's last page is zeros.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the base has no such page; as reading the base, if that fails. The bytes are not
    /// checked: the caller that makes a chunk of them checks it.
    fn read_pages(&self, page: Page, pages: &mut [u8]) -> Result<()>;

    /// Fills `plain` with the chunk `id`, or returns `false` if no block of the base holds it.
    ///
    /// # Errors
    ///
    /// As reading the base. The bytes are not checked.
    fn read_chunk(&self, id: &Digest, plain: &mut [u8]) -> Result<bool>;

    /// Tells whether a block of the base is the chunk `id`.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the base's manifest is damaged.
    fn has_chunk(&self, id: &Digest) -> Result<bool>;

    /// Returns how many chunks must be decoded to read block `index`: 0 if it has no bytes, 1 if they
    /// are stored whole, more if they depend on a base in turn.
    ///
    /// # Errors
    ///
    /// As reading the base.
    fn reads(&self, index: BlockIndex) -> Result<u8>;

    /// Adds the groups of packs that must be decompressed to read block `index`, those of its bases
    /// included; none where its bytes come out of an image.
    ///
    /// # Errors
    ///
    /// As reading the base.
    fn groups(&self, index: BlockIndex, groups: &mut BTreeSet<GroupId>) -> Result<()>;

    /// As [`Base::groups`], for the chunk `id`; returns `false` if no block of the base holds it.
    ///
    /// # Errors
    ///
    /// As reading the base.
    fn chunk_groups(&self, id: &Digest, groups: &mut BTreeSet<GroupId>) -> Result<bool>;

    /// Tells whether nobody knows where the base's bytes are: reading them fails.
    fn is_absent(&self) -> bool {
        false
    }

    /// Fails if the base is not what it was when it was opened.
    ///
    /// # Errors
    ///
    /// `Io` if it changed.
    fn check_unchanged(&self) -> Result<()>;
}
