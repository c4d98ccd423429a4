//! What is asked of chunking, and who takes what comes of it.

use std::num::NonZero;
use std::sync::RwLock;

use crate::compress::Encoder;
use crate::digest::Digest;
use crate::error::Result;
use crate::io::Stream;
use crate::pack::KnownChunks;
use crate::pack::Region;
use crate::pack::Stored;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::work::Watch;

/// Where the blocks come from.
#[derive(Debug)]
pub enum Source<'a> {
    /// A volume that can be read at any place.
    Volume(&'a dyn ReadVolume),
    /// Bytes that come once and in order; it cannot tell holes, so it has none.
    Stream(&'a mut Stream),
}

/// What is done about states that a user does not want to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// Treat holes as written zeros.
    pub holes_as_zeros: bool,
    /// Treat written zeros as holes: unsafe on encrypted volumes, which read garbage there.
    pub zeros_as_holes: bool,
}

impl States {
    pub(super) fn apply(self, kind: ExtentKind) -> ExtentKind {
        match kind {
            ExtentKind::Hole if self.holes_as_zeros => ExtentKind::Zero,
            ExtentKind::Zero if self.zeros_as_holes => ExtentKind::Hole,
            kept => kept,
        }
    }
}

/// How chunks are made.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Threads to work on.
    pub threads: NonZero<usize>,
    /// The follower of the run.
    pub watch: &'a dyn Watch,
    /// What is done about states.
    pub states: States,
    /// Whether and how chunks are compressed for storing.
    pub store: Option<Store<'a>>,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// How chunks are compressed for storing.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    /// Compression level.
    pub level: i32,
    /// Chunks of a group, 1 to 128.
    pub group_chunks: u32,
    /// Blocks of a region, a multiple of 1,024; 0 if the volume is not cut into regions.
    pub region_blocks: u32,
    /// Chunks that are stored already. What is stored is added.
    pub known: &'a RwLock<KnownChunks>,
    /// The store of chunks by what they share with a base, if there is one.
    pub patcher: Option<&'a dyn Patcher>,
}

/// Stores chunks by what they share with a base.
pub trait Patcher: Sync + std::fmt::Debug {
    /// Tells whether the base has the chunk of block `index`, so that it need not be stored at all.
    ///
    /// # Errors
    ///
    /// As reading the base.
    fn has(&self, index: BlockIndex, id: &Digest) -> Result<bool>;

    /// Appends the patch that makes the chunk `plain` at block `index` to `out`; returns `false`, and appends
    /// nothing, if the base does not help or what `whole` makes of the chunk is not longer. The same chunk
    /// at the same place gives the same bytes.
    ///
    /// # Errors
    ///
    /// As reading the base.
    fn append(
        &self,
        index: BlockIndex,
        plain: &[u8],
        whole: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> Result<bool>;
}

/// Takes what the blocks are, in their order.
pub trait Sink {
    /// Takes `count` blocks that are all zero or all holes.
    ///
    /// # Errors
    ///
    /// Whatever stops the run.
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()>;

    /// Takes a data block: its chunk's id.
    ///
    /// # Errors
    ///
    /// Whatever stops the run.
    fn data(&mut self, id: Digest) -> Result<()>;

    /// Takes chunks that are new in a region, if chunks are stored: a patch right behind its block, a
    /// group behind its last one or later.
    ///
    /// # Errors
    ///
    /// Whatever stops the run.
    fn store(&mut self, region: Region, group: Stored<'_>) -> Result<()> {
        let _ = (region, group);
        Ok(())
    }
}
