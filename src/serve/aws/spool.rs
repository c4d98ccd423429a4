//! The blocks of a snapshot under way: each a compressed frame behind a header, on the disk before it is answered.
//!
//! ```text
//! offset size field      meaning (little-endian)
//!      0    4 magic      "SPL1"
//!      4    4 index      block of the volume
//!      8    4 len        bytes of the frame behind the header; 0 is a block of zeros
//!     12    4 checksum   CRC-32 of the frame
//!     16   32 digest     SHA-256 of the block
//! ```
//!
//! Records follow each other; the last one of a block counts. A record that is cut or does not fit its checksum ends
//! the file: a kill cut it, and nobody was told that it was there.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::compress::Decoder;
use crate::compress::Encoder;
use crate::digest::Digest;
use crate::digest::Sha256;
use crate::digest::crc32;
use crate::digest::is_zero;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::field;
use crate::io::LogFile;
use crate::units::BLOCK_LEN;
use crate::work::Pool;

const MAGIC: u32 = u32::from_le_bytes(*b"SPL1");
const HEADER: usize = 48;

/// Level of the frames: they are stored once more, in groups.
const LEVEL: i32 = 1;

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spooled {
    pub(super) digest: Digest,
    offset: u64,
    len: u32,
}

impl Spooled {
    pub(super) fn is_zero(&self) -> bool {
        self.len == 0
    }
}

/// The blocks of a snapshot under way.
#[derive(Debug)]
pub(super) struct Spool {
    file: LogFile,
    state: Mutex<State>,
    synced: Condvar,
    encoders: Pool<Encoder>,
}

#[derive(Debug, Default)]
struct State {
    blocks: BTreeMap<u32, Spooled>,
    /// Bytes that are taken, and those that are on the disk.
    end: u64,
    on_disk: u64,
    /// Whether one thread is syncing for all.
    syncing: bool,
    /// Writes that are under way, by where they begin: none before it may be called synced.
    writing: BTreeSet<u64>,
    broken: Option<Broken>,
    /// How often the file was cut back: what was written before and not synced is gone.
    cuts: u64,
}

/// Why nothing behind what is on the disk counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// A record was not written whole: the file is cut back before the next one.
    Write,
    /// The disk does not say what it has.
    Sync,
}

fn not_written() -> Error {
    Error::new(Kind::Io, "an earlier block could not be written")
}

impl Spool {
    /// Opens a spool, and takes what is whole in it.
    pub(super) fn open(file: LogFile) -> Result<Self> {
        let len = file.len()?;
        let (mut at, mut blocks) = (0_u64, BTreeMap::new());
        let mut frame = Vec::new();
        loop {
            let mut header = [0; HEADER];
            let body = at.strict_add(48);
            if body > len || file.read_at(&mut header, at).is_err() {
                break;
            }
            let frame_len = field::u32_le(&header, 8);
            let end = body.strict_add(u64::from(frame_len));
            let most = u32::try_from(BLOCK_LEN.strict_mul(2)).expect("a mebibyte");
            if field::u32_le(&header, 0) != MAGIC || frame_len > most || end > len {
                break;
            }
            frame.resize(usize::try_from(frame_len).expect("at most a mebibyte"), 0);
            file.read_at(&mut frame, body)?;
            if crc32(&frame) != field::u32_le(&header, 12) {
                break;
            }
            let digest = Digest(*header[16..].first_chunk().expect("32 bytes"));
            let spooled = Spooled { digest, offset: body, len: frame_len };
            blocks.insert(field::u32_le(&header, 4), spooled);
            at = end;
        }
        file.cut(at)?;
        let state = State { blocks, end: at, on_disk: at, ..State::default() };
        let encoders = Pool::default();
        Ok(Self { file, state: Mutex::new(state), synced: Condvar::new(), encoders })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a block. It is on the disk when this returns.
    pub(super) fn put(&self, index: u32, digest: Digest, block: &[u8]) -> Result<()> {
        let mut record = vec![0; HEADER];
        if !is_zero(block) {
            let mut encoder = match self.encoders.take() {
                Some(encoder) => encoder,
                None => Encoder::new(LEVEL)?,
            };
            encoder.append(block, &mut record);
            self.encoders.give(encoder);
        }
        let len = u32::try_from(record.len().strict_sub(HEADER)).expect("about a block");
        record[..4].copy_from_slice(&MAGIC.to_le_bytes());
        record[4..8].copy_from_slice(&index.to_le_bytes());
        record[8..12].copy_from_slice(&len.to_le_bytes());
        let checksum = crc32(&record[HEADER..]);
        record[12..16].copy_from_slice(&checksum.to_le_bytes());
        record[16..HEADER].copy_from_slice(&digest.0);
        let total = u64::try_from(record.len()).expect("about a block");
        let (start, cuts) = {
            let mut state = self.state();
            self.mend(&mut state)?;
            let start = state.end;
            state.end = start.strict_add(total);
            state.writing.insert(start);
            (start, state.cuts)
        };
        let written = self.file.write_at(&record, start);
        let mut state = self.state();
        state.writing.remove(&start);
        if written.is_err() {
            // What lies behind it would be cut off with it.
            state.broken.get_or_insert(Broken::Write);
        }
        self.synced.notify_all();
        written?;
        self.wait_synced(state, start.strict_add(total), cuts)?;
        let spooled = Spooled { digest, offset: start.strict_add(48), len };
        let mut state = self.state();
        match state.blocks.get(&index) {
            // Of two at the same time the later record counts, here as after a kill.
            Some(other) if other.offset > spooled.offset => {}
            _ => drop(state.blocks.insert(index, spooled)),
        }
        Ok(())
    }

    /// Takes away what a write that failed has left, as on a disk that was full, once nobody writes: none of it was
    /// answered.
    fn mend(&self, state: &mut State) -> Result<()> {
        match state.broken {
            None => Ok(()),
            Some(Broken::Write) if state.writing.is_empty() && !state.syncing => {
                self.file.cut(state.on_disk)?;
                state.end = state.on_disk;
                state.broken = None;
                state.cuts = state.cuts.strict_add(1);
                self.synced.notify_all();
                Ok(())
            }
            Some(_) => Err(not_written()),
        }
    }

    /// Waits until all up to `end` is on the disk: one syncs for everybody who waits. It was written after so many
    /// `cuts`.
    fn wait_synced<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        end: u64,
        cuts: u64,
    ) -> Result<()> {
        loop {
            if state.cuts != cuts || state.broken.is_some() {
                return Err(not_written());
            }
            if state.on_disk >= end {
                return Ok(());
            }
            let whole = state.writing.first().copied().unwrap_or(state.end);
            if state.syncing || whole < end {
                state = self.synced.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.syncing = true;
            drop(state);
            let done = self.file.sync();
            state = self.state();
            state.syncing = false;
            match done {
                Ok(()) => state.on_disk = state.on_disk.max(whole),
                Err(error) => {
                    state.broken = Some(Broken::Sync);
                    self.synced.notify_all();
                    return Err(error);
                }
            }
            self.synced.notify_all();
        }
    }

    /// Returns how many blocks there are.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.state().blocks.len()).expect("memory is under 2^64 bytes")
    }

    /// Returns all blocks.
    pub(super) fn blocks(&self) -> BTreeMap<u32, Spooled> {
        self.state().blocks.clone()
    }

    /// Returns the aggregate of all checksums, as EBS has it: over the raw digests, ascending by block.
    pub(super) fn linear(&self) -> Digest {
        let mut linear = Sha256::new();
        for spooled in self.state().blocks.values() {
            linear.update(&spooled.digest.0);
        }
        linear.finish()
    }

    /// Fills `plain` with a block.
    pub(super) fn read(&self, spooled: &Spooled, plain: &mut [u8]) -> Result<()> {
        if spooled.is_zero() {
            plain.fill(0);
            return Ok(());
        }
        let mut frame = vec![0; usize::try_from(spooled.len).expect("about a block")];
        self.file.read_at(&mut frame, spooled.offset)?;
        Decoder::new()?.decode(&frame, plain)?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use crate::digest::sha256;
    use crate::io::SharedFolder;

    fn spool(folder: &SharedFolder) -> Spool {
        Spool::open(LogFile::open(folder, "a.spool").unwrap()).unwrap()
    }

    #[test]
    fn blocks_survive_and_what_is_cut_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = SharedFolder::open(dir.path()).unwrap();
        let block = |byte: u8| vec![byte; BLOCK_LEN];
        let made = spool(&folder);
        for (index, byte) in [(3, 0), (7, 1), (3, 2), (9, 0)] {
            made.put(index, sha256(&block(byte)), &block(byte)).unwrap();
        }
        let (count, linear) = (made.count(), made.linear());
        drop(made);
        let file = dir.path().join("a.spool");
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, [&whole[..], &whole[..40]].concat()).unwrap();
        let again = spool(&folder);
        assert_eq!((again.count(), again.linear()), (count, linear));
        let mut plain = block(9);
        for (index, byte) in [(3, 2), (7, 1), (9, 0)] {
            again.read(&again.blocks()[&index], &mut plain).unwrap();
            assert_eq!(plain, block(byte), "{index}");
        }
        drop(again);
        // A kill in the middle of the last record.
        std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        let again = spool(&folder);
        assert_eq!(again.count(), 2);
        again.put(1, sha256(&block(5)), &block(5)).unwrap();
        assert_eq!(spool(&folder).count(), 3);
    }

    #[test]
    fn many_put_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = SharedFolder::open(dir.path()).unwrap();
        let spool = spool(&folder);
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let spool = &spool;
                scope.spawn(move || {
                    for number in 0..4_u8 {
                        let block = vec![thread * 4 + number + 1; BLOCK_LEN];
                        spool.put(u32::from(thread * 4 + number), sha256(&block), &block).unwrap();
                    }
                });
            }
        });
        assert_eq!(spool.count(), 32);
    }
}
