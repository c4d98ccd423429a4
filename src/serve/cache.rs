//! Blocks that were unpacked once, kept in a file without a name.
//!
//! A peer reads a few kilobytes here and there; a bundle gives them by unpacking half a mebibyte or more. What was
//! unpacked is kept, as many blocks as the caller allows, and the block that was kept first makes room.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;

use crate::error::Result;
use crate::io::Scratch;
use crate::io::WriteAt;
use crate::units::BLOCK_SIZE;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;

/// A volume whose blocks are kept once they were read.
///
/// Block *n* is kept at a slot of a file, and read back from there. A lock a slot lets readers of kept blocks go side by
/// side and keeps a slot from being taken while it is read.
#[derive(Debug)]
pub struct Cached {
    volume: Arc<dyn ReadVolume>,
    kept: Scratch,
    /// Which block each slot holds; locked for reading while its bytes are read.
    slots: Vec<RwLock<Option<u64>>>,
    table: Mutex<Table>,
}

/// Which slot holds a block, and which is taken next.
#[derive(Debug)]
struct Table {
    places: BTreeMap<u64, usize>,
    blocks: Vec<Option<u64>>,
    order: VecDeque<usize>,
}

impl Cached {
    /// Keeps blocks of `volume`, up to `bytes` of them: one at least.
    ///
    /// # Errors
    ///
    /// `Io` if no file without a name can be made.
    pub fn new(volume: Arc<dyn ReadVolume>, bytes: u64) -> Result<Self> {
        let all = volume.size().div_ceil(BLOCK_SIZE);
        let count = (bytes / BLOCK_SIZE).clamp(1, all.max(1));
        // A lock and a number are 40 bytes, so a cache of 64 TiB would be 5 GiB of them: no disk holds one.
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(MAX_SLOTS);
        let slots = (0..count).map(|_| RwLock::new(None)).collect();
        let table = Table {
            places: BTreeMap::new(),
            blocks: vec![None; count],
            order: (0..count).collect(),
        };
        Ok(Self { volume, kept: Scratch::create()?, slots, table: Mutex::new(table) })
    }

    fn place(slot: usize) -> u64 {
        u64::try_from(slot).expect("a slot").strict_mul(BLOCK_SIZE)
    }

    /// Reads a part of a kept block; `false` if the block is not kept.
    fn read_kept(&self, block: u64, within: u64, buf: &mut [u8]) -> Result<bool> {
        let slot = {
            let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            table.places.get(&block).copied()
        };
        let Some(slot) = slot else { return Ok(false) };
        let holds = self.slots[slot].read().unwrap_or_else(PoisonError::into_inner);
        // Since the look it can have been given to another block.
        if *holds != Some(block) {
            return Ok(false);
        }
        self.kept.read_back_at(buf, Self::place(slot).strict_add(within))?;
        Ok(true)
    }

    /// Keeps a whole block. What cannot be kept, since the disk is full, is read again another time.
    fn keep(&self, block: u64, bytes: &[u8]) {
        let slot = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            if table.places.contains_key(&block) {
                return;
            }
            let Some(slot) = table.order.pop_front() else { return };
            if let Some(before) = table.blocks[slot].take() {
                table.places.remove(&before);
            }
            slot
        };
        let mut holds = self.slots[slot].write().unwrap_or_else(PoisonError::into_inner);
        *holds = None;
        let written = self.kept.write_all_at(bytes, Self::place(slot)).is_ok();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.order.push_back(slot);
        if written {
            *holds = Some(block);
            table.places.insert(block, slot);
            table.blocks[slot] = Some(block);
        }
    }

    fn read_block(&self, block: u64, within: u64, buf: &mut [u8]) -> Result<()> {
        let start = block.strict_mul(BLOCK_SIZE);
        // A hole is not worth a place, and is made faster than it is read back.
        let extent = self.volume.extent_at(start.strict_add(within))?;
        let end = start.strict_add(within).strict_add(u64::try_from(buf.len()).expect("a buffer"));
        if extent.kind != ExtentKind::Data && extent.range.end >= end {
            buf.fill(0);
            return Ok(());
        }
        if self.read_kept(block, within, buf)? {
            return Ok(());
        }
        let len = BLOCK_SIZE.min(self.volume.size().strict_sub(start));
        let mut whole = vec![0; usize::try_from(len).expect("a block")];
        self.volume.read_at(start, &mut whole)?;
        let within = usize::try_from(within).expect("inside a block");
        buf.copy_from_slice(&whole[within..][..buf.len()]);
        self.keep(block, &whole);
        Ok(())
    }
}

/// Most blocks that are kept: 512 GiB of them, 40 MiB of table.
const MAX_SLOTS: usize = 1 << 20;

impl ReadVolume for Cached {
    fn size(&self) -> u64 {
        self.volume.size()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        self.volume.extent_at(offset)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = u64::try_from(buf.len()).expect("a buffer");
        if offset.checked_add(len).is_none_or(|end| end > self.size()) {
            // The volume words the refusal.
            return self.volume.read_at(offset, buf);
        }
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let within = at % BLOCK_SIZE;
            let left = usize::try_from(BLOCK_SIZE.strict_sub(within)).expect("a block");
            let (piece, behind) = rest.split_at_mut(left.min(rest.len()));
            self.read_block(at / BLOCK_SIZE, within, piece)?;
            at = at.strict_add(u64::try_from(piece.len()).expect("a piece"));
            rest = behind;
        }
        Ok(())
    }

    fn unit_len(&self) -> usize {
        self.volume.unit_len()
    }

    fn check_unchanged(&self) -> Result<()> {
        self.volume.check_unchanged()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::units::BLOCK_LEN;

    use std::sync::LazyLock;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering;

    /// Five blocks and a half; counts how often it is read.
    #[derive(Debug, Default)]
    struct Counted(Arc<AtomicU64>);

    const SIZE: u64 = 5 * BLOCK_SIZE + BLOCK_SIZE / 2;

    /// What there is: the second block is a hole.
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut bytes = Vec::new();
        for number in 0..SIZE.div_ceil(4099) {
            bytes.resize(bytes.len() + 4099, u8::try_from(number % 251).unwrap());
        }
        bytes.truncate(usize::try_from(SIZE).unwrap());
        bytes[BLOCK_LEN..2 * BLOCK_LEN].fill(0);
        bytes
    });

    fn bytes_at(at: u64, len: usize) -> &'static [u8] {
        &BYTES[usize::try_from(at).unwrap()..][..len]
    }

    impl ReadVolume for Counted {
        fn size(&self) -> u64 {
            SIZE
        }

        fn extent_at(&self, offset: u64) -> Result<Extent> {
            let hole = BLOCK_SIZE..2 * BLOCK_SIZE;
            Ok(if hole.contains(&offset) {
                Extent { range: offset..hole.end, kind: ExtentKind::Hole }
            } else {
                let end = if offset < hole.start { hole.start } else { SIZE };
                Extent { range: offset..end, kind: ExtentKind::Data }
            })
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            buf.copy_from_slice(bytes_at(offset, buf.len()));
            Ok(())
        }
    }

    #[test]
    fn any_range_reads_as_without_a_cache_from_any_thread() {
        for slots in [1, 2, 100] {
            let cached = Cached::new(Arc::<Counted>::default(), slots * BLOCK_SIZE).unwrap();
            std::thread::scope(|scope| {
                for thread in 0..4_u64 {
                    let cached = &cached;
                    scope.spawn(move || {
                        let mut state = thread.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                        for _ in 0..60 {
                            state ^= state << 13;
                            state ^= state >> 7;
                            state ^= state << 17;
                            let at = state % SIZE;
                            let len = (state >> 32) % (SIZE - at).min(2 * BLOCK_SIZE);
                            let mut buf = vec![0xee; usize::try_from(len).unwrap()];
                            cached.read_at(at, &mut buf).unwrap();
                            let same = buf == bytes_at(at, buf.len());
                            assert!(same, "{len} bytes at {at}, {slots} slots");
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn a_block_is_unpacked_once_while_there_is_room() {
        let counted = Counted::default();
        let reads = Arc::clone(&counted.0);
        let cached = Cached::new(Arc::new(counted), SIZE).unwrap();
        let mut buf = [0; 100];
        for round in 0..10 {
            for block in [0, 2, 3, 4, 5] {
                cached.read_at(block * BLOCK_SIZE + round * 1000, &mut buf).unwrap();
            }
        }
        assert_eq!(reads.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn a_hole_is_neither_read_nor_kept() {
        let counted = Counted::default();
        let reads = Arc::clone(&counted.0);
        let cached = Cached::new(Arc::new(counted), SIZE).unwrap();
        let mut buf = [9; 100];
        cached.read_at(BLOCK_SIZE + 5, &mut buf).unwrap();
        assert_eq!((buf, reads.load(Ordering::Relaxed)), ([0; 100], 0));
    }
}
