//! Decompressed groups, kept and shared by all threads that read the same packs.
//!
//! A group that is decompressed completely never changes again, so it is read without a lock, and each
//! reader remembers the last ones that it saw. One that is decompressed in part belongs to one thread
//! at a time, which goes on from where the last one stopped.
//!
//! Memory holds a few groups. Patches jump about in a base, and would have its groups decompressed again and
//! again: there a group that was dropped once goes to a file without a name when there is no room for it a
//! second time.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::TryLockError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::compress::GroupDecoder;
use crate::error::Result;
use crate::io::Scratch;
use crate::io::WriteAt;
use crate::pack::GroupId;
use crate::work::default_threads;

/// Bytes of groups that are kept for each thread that reads, and once more for all: the largest group
/// where the user says nothing else. More of them make nothing faster where patches jump about in a base, since groups that
/// come again are in the file.
const BYTES_A_READER: usize = 32 << 20;

/// Buffers without a group that are kept for the next one.
const MOST_SPARE: usize = 1;

/// Most places of a volume whose groups are kept at the same time, beyond one a processor. Four connections of
/// nbdcopy read in four places; with room for three groups each block had its group decompressed from the start.
const MOST_PLACES: usize = 8;

/// A group, as far as it is decompressed.
#[derive(Debug, Default)]
pub(super) struct Cell {
    whole: OnceLock<Whole>,
    part: Mutex<Option<Part>>,
    /// Whether it is being read in order, so that all of it is decompressed at once.
    in_order: AtomicBool,
}

/// All bytes of a group.
#[derive(Debug)]
enum Whole {
    Memory(Vec<u8>),
    /// In the file without a name, from a byte of it on.
    File(Arc<Scratch>, u64),
}

/// A group that is decompressed in part.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) stored: Vec<u8>,
    pub(super) decoder: GroupDecoder,
    pub(super) plain: Vec<u8>,
}

impl Cell {
    /// Fills `buf` with the group's bytes from `start` on; returns `false` if not all of them are there.
    pub(super) fn read(&self, start: usize, buf: &mut [u8]) -> Result<bool> {
        match self.whole.get() {
            None => return Ok(false),
            Some(Whole::Memory(plain)) => buf.copy_from_slice(&plain[start..][..buf.len()]),
            Some(Whole::File(file, at)) => {
                let start = u64::try_from(start).expect("at most 64 MiB");
                file.read_back_at(buf, at.strict_add(start))?;
            }
        }
        Ok(true)
    }

    /// Tells whether all bytes of the group are there.
    pub(super) fn is_whole(&self) -> bool {
        self.whole.get().is_some()
    }

    /// Waits for the part.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Part>> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the part, unless another thread has it.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Option<Part>>> {
        match self.part.try_lock() {
            Ok(part) => Some(part),
            Err(TryLockError::Poisoned(part)) => Some(part.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(super) fn is_in_order(&self) -> bool {
        self.in_order.load(Ordering::Relaxed)
    }

    pub(super) fn set_in_order(&self) {
        self.in_order.store(true, Ordering::Relaxed);
    }

    /// Keeps all bytes of the group. Only the thread that has the part may call it.
    pub(super) fn finish(&self, plain: Vec<u8>) {
        assert!(self.whole.set(Whole::Memory(plain)).is_ok(), "a group ends once");
    }

    /// Returns the memory of its bytes.
    fn into_plain(self) -> Option<Vec<u8>> {
        let part = self.part.into_inner().unwrap_or_else(PoisonError::into_inner);
        match self.whole.into_inner() {
            Some(Whole::Memory(plain)) => Some(plain),
            Some(Whole::File(..)) => None,
            None => part.map(|part| part.plain),
        }
    }
}

/// Decompressed groups of some packs, within bounds that follow the number of readers.
#[derive(Debug, Default)]
pub struct GroupCache {
    cells: Mutex<Cells>,
    readers: AtomicUsize,
    /// Most readers that were at places of their own at the same time.
    places: AtomicUsize,
    patches: AtomicBool,
    /// Where groups go for which there is no room; `None` if there is no such place.
    file: OnceLock<Option<Arc<Scratch>>>,
    /// Bytes of the file that are given away.
    file_len: AtomicU64,
    #[cfg(test)]
    most: AtomicUsize,
}

#[derive(Debug, Default)]
struct Cells {
    kept: BTreeMap<GroupId, Kept>,
    bytes: usize,
    clock: u64,
    plains: Vec<Vec<u8>>,
    idle: Vec<(Vec<u8>, GroupDecoder)>,
    /// Groups that were begun and dropped: who needs one again gets all of it at once.
    dropped: BTreeSet<GroupId>,
}

#[derive(Debug)]
struct Kept {
    cell: Arc<Cell>,
    /// Bytes in memory.
    len: usize,
    used: u64,
    /// Whether it was dropped before, so that it may be needed again once more.
    again: bool,
}

impl GroupCache {
    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more reader.
    pub(super) fn enter(&self) {
        self.readers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one more place.
    pub(super) fn enter_apart(&self) {
        self.places.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less.
    pub(super) fn leave(&self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Keeps all groups from now on: patches read pages from anywhere in a base.
    pub(super) fn expect_patches(&self) {
        self.patches.store(true, Ordering::Relaxed);
    }

    /// Returns how many threads read: several readers of one thread are counted once.
    pub(super) fn threads(&self) -> usize {
        self.readers.load(Ordering::Relaxed).min(default_threads().get())
    }

    /// Keeps no more than so many bytes in memory, for tests.
    #[cfg(test)]
    pub(super) fn keep_at_most(&self, bytes: usize) {
        self.most.store(bytes, Ordering::Relaxed);
    }

    fn room(&self) -> usize {
        #[cfg(test)]
        if self.most.load(Ordering::Relaxed) > 0 {
            return self.most.load(Ordering::Relaxed);
        }
        let places = self.places.load(Ordering::Relaxed).min(MOST_PLACES);
        self.threads().max(places).strict_add(1).strict_mul(BYTES_A_READER)
    }

    /// Returns the cell of a group of `len` plain bytes, and whether it was not there before.
    pub(super) fn cell(&self, id: GroupId, len: usize) -> (Arc<Cell>, bool) {
        let room = self.room();
        let mut out = Vec::new();
        let found = self.cells().cell(id, len, room, &mut out);
        // Not under the lock: it takes as long as decompressing a group.
        for (id, kept) in out {
            self.put_away(id, kept);
        }
        found
    }

    /// Takes a group out of memory. If patches are read and it is not the first time, it goes to the file, and is
    /// there for all that follows.
    fn put_away(&self, id: GroupId, kept: Kept) {
        if kept.again
            && self.patches.load(Ordering::Relaxed)
            && let Some(Whole::Memory(plain)) = kept.cell.whole.get()
            && let Some(file) = self.file()
        {
            let len = u64::try_from(plain.len()).expect("at most 64 MiB");
            let at = self.file_len.fetch_add(len, Ordering::Relaxed);
            // Where there is no more room in the file either, the group is decompressed again.
            if file.write_all_at(plain, at).is_ok() {
                let cell = Cell::default();
                assert!(cell.whole.set(Whole::File(file, at)).is_ok(), "it is new");
                let cell = Arc::new(cell);
                let kept = Kept { cell, len: 0, used: kept.used, again: true };
                // Unless it was needed meanwhile and begun again.
                self.cells().kept.entry(id).or_insert(kept);
            }
        }
        // Who still reads it keeps it.
        if let Some(plain) = Arc::into_inner(kept.cell).and_then(Cell::into_plain) {
            let mut cells = self.cells();
            if cells.plains.len() < MOST_SPARE {
                cells.plains.push(plain);
            }
        }
    }

    fn file(&self) -> Option<Arc<Scratch>> {
        self.file.get_or_init(|| Scratch::create().ok().map(Arc::new)).clone()
    }

    /// Returns what a group needs to be decompressed, with memory of a group before if there is some.
    pub(super) fn part(&self) -> Result<Part> {
        let mut cells = self.cells();
        let (idle, plain) = (cells.idle.pop(), cells.plains.pop().unwrap_or_default());
        drop(cells);
        let (stored, decoder) = match idle {
            Some(idle) => idle,
            None => (Vec::new(), GroupDecoder::new()?),
        };
        Ok(Part { stored, decoder, plain })
    }

    /// Takes back what a group needed that is at its end or damaged.
    pub(super) fn give(&self, stored: Vec<u8>, decoder: GroupDecoder) {
        let mut cells = self.cells();
        if cells.idle.len() < MOST_SPARE {
            cells.idle.push((stored, decoder));
        }
    }
}

impl Cells {
    /// Returns the cell of a group. If it is new, groups are moved to `out` until there is room for it.
    fn cell(
        &mut self,
        id: GroupId,
        len: usize,
        room: usize,
        out: &mut Vec<(GroupId, Kept)>,
    ) -> (Arc<Cell>, bool) {
        self.clock = self.clock.strict_add(1);
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.used = self.clock;
            return (Arc::clone(&kept.cell), false);
        }
        while self.bytes > 0 && self.bytes.strict_add(len) > room {
            out.extend(self.take_oldest());
        }
        let cell = Arc::<Cell>::default();
        let again = self.dropped.contains(&id);
        if again {
            cell.set_in_order();
        }
        self.bytes = self.bytes.strict_add(len);
        self.kept.insert(id, Kept { cell: Arc::clone(&cell), len, used: self.clock, again });
        (cell, true)
    }

    /// Takes the group in memory that was used longest ago.
    fn take_oldest(&mut self) -> Option<(GroupId, Kept)> {
        let in_memory = self.kept.iter().filter(|(_, kept)| kept.len > 0);
        let oldest = in_memory.min_by_key(|(_, kept)| kept.used).map(|(id, _)| *id)?;
        let kept = self.kept.remove(&oldest)?;
        self.bytes = self.bytes.strict_sub(kept.len);
        self.dropped.insert(oldest);
        Some((oldest, kept))
    }
}
