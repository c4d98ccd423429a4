//! New chunks to groups: which chunks form one is decided in order, copying and compressing them is not.
//!
//! The thread whose turn it is gives each new chunk of its job a place in the open group. All threads copy
//! their chunks to their places side by side, and the one that fills the last place of a closed group
//! compresses it.

use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::compress::GroupEncoder;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::pack::KnownChunks;
use crate::pack::MOST_WAITING;
use crate::pack::Region;
use crate::units::BLOCK_LEN;
use crate::units::BlockIndex;
use crate::work::Buffers;
use crate::work::Watch;

/// A group that is being filled.
#[derive(Debug)]
pub(super) struct Slab {
    number: u64,
    filling: Mutex<Filling>,
}

#[derive(Debug)]
struct Filling {
    plain: Vec<u8>,
    filled: usize,
    /// How many chunks it has; `None` while it is open.
    total: Option<usize>,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.total == Some(self.filled)
    }
}

/// A place in a group.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) slab: Arc<Slab>,
    position: usize,
}

impl Place {
    /// Copies a chunk to its place. Returns whether the group is full and closed with that.
    pub(super) fn fill(&self, chunk: &[u8]) -> bool {
        let mut filling = self.slab.lock();
        let start = self.position.strict_mul(BLOCK_LEN);
        // A group of a small volume takes no more memory than it has chunks.
        if filling.plain.len() < start.strict_add(BLOCK_LEN) {
            filling.plain.resize(start.strict_add(BLOCK_LEN), 0);
        }
        filling.plain[start..][..BLOCK_LEN].copy_from_slice(chunk);
        filling.filled = filling.filled.strict_add(1);
        filling.is_full()
    }
}

/// A group that has all its chunks' places given.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) number: u64,
    pub(super) region: Region,
    pub(super) ids: Vec<Digest>,
    /// The group itself, if it had all its chunks when it was closed: the thread that closed it compresses it.
    pub(super) full: Option<Arc<Slab>>,
}

/// Memory that groups use one after the other, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Slabs {
    /// Groups that are open, being compressed, or waiting to be stored.
    alive: AtomicUsize,
    plains: Buffers,
    frames: Buffers,
}

impl Slabs {
    /// Returns how many groups there are that are not stored yet.
    pub(super) fn alive(&self) -> usize {
        self.alive.load(Ordering::Acquire)
    }

    /// Takes the memory of a group back that is stored.
    pub(super) fn stored(&self, frame: Vec<u8>) {
        self.frames.give(frame);
        self.alive.fetch_sub(1, Ordering::AcqRel);
    }

    /// Compresses a full group. Returns its number and its frame.
    pub(super) fn compress(
        &self,
        slab: &Slab,
        encoder: &mut GroupEncoder,
        watch: &dyn Watch,
    ) -> Result<(u64, Vec<u8>)> {
        let (plain, count) = {
            let mut filling = slab.lock();
            (mem::take(&mut filling.plain), filling.filled)
        };
        let mut frame = self.frames.take();
        // At a high level a group takes a minute.
        let plain_len = count.strict_mul(BLOCK_LEN);
        encoder.encode(&plain[..plain_len], &mut frame, &mut || watch.check())?;
        self.plains.give_as_it_is(plain);
        Ok((slab.number, frame))
    }
}

impl Slab {
    fn lock(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives new chunks their places, in the order of the volume.
#[derive(Debug)]
pub(super) struct Grouping<'a> {
    slabs: &'a Slabs,
    known: &'a RwLock<KnownChunks>,
    /// Chunks of a group.
    chunks: usize,
    region: Region,
    open: Option<Open>,
    next: u64,
}

#[derive(Debug)]
struct Open {
    slab: Arc<Slab>,
    ids: Vec<Digest>,
    /// Chunks that were stored since the first of these.
    since: u32,
}

impl<'a> Grouping<'a> {
    pub(super) fn new(
        slabs: &'a Slabs,
        known: &'a RwLock<KnownChunks>,
        chunks: usize,
        region_blocks: u32,
    ) -> Self {
        let region = Region { number: 0, blocks: region_blocks };
        Self { slabs, known, chunks, region, open: None, next: 0 }
    }

    /// Returns the region of the last block that was looked at.
    pub(super) fn region(&self) -> Region {
        self.region
    }

    /// Goes on to the region of a block. A group ends where its region does.
    pub(super) fn enter(&mut self, index: BlockIndex) -> Option<Closed> {
        let number = region_of(index, self.region.blocks);
        if number == self.region.number {
            return None;
        }
        let closed = self.close();
        self.region.number = number;
        self.known.write().unwrap_or_else(PoisonError::into_inner).enter(number);
        closed
    }

    /// Tells whether a chunk is new, and remembers it then.
    pub(super) fn is_new(&mut self, id: &Digest) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let new = !known.contains(id);
        if new {
            known.insert(*id);
        }
        new
    }

    /// Counts a chunk that is stored. Returns the open group if it waited long enough.
    pub(super) fn count(&mut self) -> Option<Closed> {
        let open = self.open.as_mut()?;
        open.since = open.since.strict_add(1);
        if open.since >= MOST_WAITING { self.close() } else { None }
    }

    /// Gives a new chunk its place, and closes the group if it was the last one.
    pub(super) fn place(&mut self, id: &Digest) -> Result<(Place, Option<Closed>)> {
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let plain = self.slabs.plain(self.chunks)?;
                let number = self.next;
                self.next = number.strict_add(1);
                let filling = Mutex::new(Filling { plain, filled: 0, total: None });
                let slab = Arc::new(Slab { number, filling });
                none.insert(Open { slab, ids: Vec::with_capacity(self.chunks), since: 0 })
            }
        };
        let place = Place { slab: Arc::clone(&open.slab), position: open.ids.len() };
        open.ids.push(*id);
        let last = open.ids.len() == self.chunks;
        Ok((place, if last { self.close() } else { None }))
    }

    /// Closes the open group.
    pub(super) fn close(&mut self) -> Option<Closed> {
        let Open { slab, ids, .. } = self.open.take()?;
        let full = {
            let mut filling = slab.lock();
            filling.total = Some(ids.len());
            filling.is_full()
        };
        let number = slab.number;
        Some(Closed { number, region: self.region, ids, full: full.then_some(slab) })
    }
}

/// Returns the number of the region that a block is in, of regions of so many blocks.
pub(super) fn region_of(index: BlockIndex, blocks: u32) -> u32 {
    index.0.checked_div(blocks).unwrap_or(0)
}

impl Slabs {
    /// Starts a group: returns memory for so many chunks.
    fn plain(&self, chunks: usize) -> Result<Vec<u8>> {
        let len = chunks.strict_mul(BLOCK_LEN);
        let mut plain = self.plains.take();
        let failed = |_| Error::new(Kind::Io, "cannot make a group: out of memory");
        plain.try_reserve_exact(len.saturating_sub(plain.len())).map_err(failed)?;
        self.alive.fetch_add(1, Ordering::AcqRel);
        Ok(plain)
    }
}
