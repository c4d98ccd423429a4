//! A part of a volume, read in small scattered pieces through a bounded cache.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::volume::ReadVolume;

/// Bytes of a piece: inodes and directories of one place are read together.
const PIECE_LEN: u64 = 64 << 10;

/// Pieces that are kept: 16 MiB, as two volumes that are compared have two of them.
const MAX_PIECES: usize = 256;

/// Reads of this many bytes and more bypass the cache.
const LONG_READ_LEN: u64 = 128 << 10;

/// Most blocks that replaying a journal lays over a file system: 2 Mi of them take about 100 MiB.
const MAX_PATCHES: usize = 2 << 20;

/// What replaying a journal puts at a place.
#[derive(Clone, Debug)]
pub enum Patch {
    /// Bytes of another place of the slice; the first four may be others.
    Copy {
        /// Where the bytes are.
        from: u64,
        /// What stands in front instead.
        head: Option<[u8; 4]>,
    },
    /// These bytes.
    Bytes(Arc<[u8]>),
}

/// A part of a volume.
#[derive(Debug)]
pub struct Slice<'a> {
    volume: &'a dyn ReadVolume,
    /// Where its bytes lie, in order: first byte of the slice, and bytes of the volume.
    pieces: Vec<(u64, Range<u64>)>,
    len: u64,
    cache: Mutex<Cache>,
    /// What is laid over, by the start of each; all are of one length.
    patches: BTreeMap<u64, Patch>,
    patch_len: u64,
}

#[derive(Debug, Default)]
struct Cache {
    pieces: BTreeMap<u64, Arc<[u8]>>,
    order: VecDeque<u64>,
}

impl<'a> Slice<'a> {
    /// Takes the bytes of `range`, cut at the end of the volume.
    #[must_use]
    pub fn new(volume: &'a dyn ReadVolume, range: Range<u64>) -> Self {
        Self::joined(volume, &[range])
    }

    /// Takes the bytes of several ranges one after another, each cut at the end of the volume.
    #[must_use]
    pub fn joined(volume: &'a dyn ReadVolume, ranges: &[Range<u64>]) -> Self {
        let mut pieces = Vec::new();
        let mut len = 0_u64;
        for range in ranges {
            let range = range.start.min(volume.size())..range.end.min(volume.size());
            pieces.push((len, range.clone()));
            len = len.saturating_add(range.end.saturating_sub(range.start));
        }
        let cache = Mutex::default();
        Self { volume, pieces, len, cache, patches: BTreeMap::new(), patch_len: 1 }
    }

    /// Returns how many bytes there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// A fault if they are not inside; an error if the volume cannot be read.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Outcome<()> {
        let len = u64::try_from(buf.len()).unwrap_or(u64::MAX);
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.len()) else {
            return Err(Problem::Damaged.text("it points past its end"));
        };
        if len >= LONG_READ_LEN {
            self.read_volume(offset, buf)?;
        } else {
            self.read_cached(offset..end, buf)?;
        }
        if !self.patches.is_empty() {
            self.patch(offset..end, buf)?;
        }
        Ok(())
    }

    /// Returns `len` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`Slice::read`]. Nothing is allocated for bytes that are not there.
    pub fn bytes(&self, offset: u64, len: u64) -> Outcome<Vec<u8>> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len());
        let Some(len) = usize::try_from(len).ok().filter(|_| inside) else {
            return Err(Problem::Damaged.text("it points past its end"));
        };
        let mut bytes = vec![0; len];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Lays blocks of `len` bytes over the slice, which later reads show.
    ///
    /// # Errors
    ///
    /// A fault if there are too many.
    pub fn lay_over(&mut self, len: u64, patches: BTreeMap<u64, Patch>) -> Outcome<()> {
        if patches.len() > MAX_PATCHES {
            return Err(Problem::Limit.text("its journal has over 2,097,152 blocks to replay"));
        }
        (self.patch_len, self.patches) = (len, patches);
        Ok(())
    }

    /// Reads bytes that are inside out of the volume, a piece at a time.
    fn read_volume(&self, offset: u64, buf: &mut [u8]) -> Outcome<()> {
        let (mut at, mut rest) = (offset, buf);
        let first = self.pieces.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        for (start, range) in &self.pieces[first..] {
            let from = range.start.saturating_add(at.strict_sub(*start)).min(range.end);
            let there = usize::try_from(range.end.strict_sub(from)).unwrap_or(usize::MAX);
            let (part, behind) = rest.split_at_mut(there.min(rest.len()));
            if !part.is_empty() {
                self.volume.read_at(from, part)?;
            }
            at = at.strict_add(u64::try_from(part.len()).expect("inside the slice"));
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn read_cached(&self, range: Range<u64>, buf: &mut [u8]) -> Outcome<()> {
        let mut at = range.start;
        let mut rest = buf;
        while at < range.end {
            let number = at.strict_div(PIECE_LEN);
            let piece = self.piece(number)?;
            let start = number.strict_mul(PIECE_LEN);
            let from = usize::try_from(at.strict_sub(start)).expect("inside a piece");
            let there = piece.len().strict_sub(from).min(rest.len());
            let (part, behind) = rest.split_at_mut(there);
            part.copy_from_slice(&piece[from..from.strict_add(there)]);
            rest = behind;
            at = at.strict_add(u64::try_from(there).expect("at most a piece"));
        }
        Ok(())
    }

    fn piece(&self, number: u64) -> Outcome<Arc<[u8]>> {
        let cached = {
            let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.pieces.get(&number).cloned()
        };
        if let Some(piece) = cached {
            return Ok(piece);
        }
        let start = number.strict_mul(PIECE_LEN);
        let len = self.len().strict_sub(start).min(PIECE_LEN);
        let mut bytes = vec![0; usize::try_from(len).expect("at most a piece")];
        self.read_volume(start, &mut bytes)?;
        let piece: Arc<[u8]> = bytes.into();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.pieces.insert(number, Arc::clone(&piece)).is_none() {
            cache.order.push_back(number);
        }
        if cache.order.len() > MAX_PIECES
            && let Some(oldest) = cache.order.pop_front()
        {
            cache.pieces.remove(&oldest);
        }
        Ok(piece)
    }

    fn patch(&self, range: Range<u64>, buf: &mut [u8]) -> Outcome<()> {
        let first = range.start.saturating_sub(self.patch_len.saturating_sub(1));
        for (start, patch) in self.patches.range(first..range.end) {
            let end = start.saturating_add(self.patch_len).min(range.end);
            let both = (*start).max(range.start)..end;
            if both.is_empty() {
                continue;
            }
            let in_buf = |at: u64| usize::try_from(at.strict_sub(range.start)).expect("inside");
            let part = &mut buf[in_buf(both.start)..in_buf(both.end)];
            let skip = both.start.strict_sub(*start);
            let from = usize::try_from(skip).expect("inside a block");
            match patch {
                Patch::Copy { from: source, head } => {
                    let source = source.saturating_add(skip);
                    let inside = source.checked_add(both.end.strict_sub(both.start));
                    if inside.is_none_or(|end| end > self.len()) {
                        return Err(Problem::Damaged.text("its journal points past its end"));
                    }
                    let end = source.strict_add(both.end.strict_sub(both.start));
                    self.read_cached(source..end, part)?;
                    if let Some(head) = head
                        && from < 4
                    {
                        let there = part.len().min(4_usize.strict_sub(from));
                        part[..there].copy_from_slice(&head[from..from.strict_add(there)]);
                    }
                }
                Patch::Bytes(bytes) => {
                    part.copy_from_slice(&bytes[from..from.strict_add(part.len())]);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::volume::Place;
    use crate::volume::RunMap;
    use crate::volume::Volume;

    fn volume(bytes: Vec<u8>) -> Volume {
        let mut map = RunMap::default();
        map.push(bytes.len().try_into().unwrap(), Place::Stored { source: 0, offset: 0 });
        Volume::new(map, vec![Arc::new(bytes).into()]).unwrap()
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
    }

    #[test]
    fn every_read_is_the_part_of_the_volume() {
        let bytes = pattern(300_000);
        let volume = volume(bytes.clone());
        let slice = Slice::new(&volume, 1000..290_000);
        for (start, len) in [(0, 10), (65_530, 20), (64_000, 200_000), (288_999, 1), (5, 0)] {
            let read = slice.bytes(start.try_into().unwrap(), len.try_into().unwrap()).unwrap();
            assert_eq!(read, bytes[1000 + start..][..len], "{start}, {len}");
        }
        assert!(slice.bytes(289_000, 1).is_err());
        assert!(slice.bytes(0, u64::MAX).is_err());
        assert_eq!(Slice::new(&volume, 299_999..u64::MAX).len(), 1);
    }

    #[test]
    fn ranges_that_are_joined_read_as_one() {
        let bytes = pattern(400_000);
        let volume = volume(bytes.clone());
        let ranges = [300_000..380_000, 5..6, 0..0, 100_000..250_000];
        let joined = [&bytes[300_000..380_000], &bytes[5..6], &bytes[100_000..250_000]].concat();
        let slice = Slice::joined(&volume, &ranges);
        assert_eq!(slice.len(), 230_001);
        for (start, len) in
            [(0, 230_001), (79_990, 20), (80_000, 2), (80_001, 140_000), (230_000, 1)]
        {
            let read = slice.bytes(start.try_into().unwrap(), len.try_into().unwrap()).unwrap();
            assert!(read == joined[start..start + len], "{start}, {len}");
        }
        assert!(slice.bytes(230_000, 2).is_err());
    }

    #[test]
    fn what_a_journal_lays_over_is_read_instead() {
        let mut bytes = pattern(200_000);
        let volume = volume(bytes.clone());
        let mut slice = Slice::new(&volume, 0..200_000);
        let over: Arc<[u8]> = vec![9; 1024].into();
        let head = Some(*b"HEAD");
        let patches = BTreeMap::from([
            (2048, Patch::Bytes(over)),
            (1024 * 70, Patch::Copy { from: 4096, head }),
        ]);
        slice.lay_over(1024, patches).unwrap();
        bytes.copy_within(4096..5120, 1024 * 70);
        bytes[1024 * 70..][..4].copy_from_slice(b"HEAD");
        bytes[2048..3072].fill(9);
        for start in [0, 2000, 2050, 3071, 1024 * 70 - 3, 1024 * 70 + 2, 1024 * 71 - 1] {
            for len in [1, 3, 1500, 130_000] {
                if start + len <= 200_000 {
                    let read = slice.bytes(start.try_into().unwrap(), len.try_into().unwrap());
                    assert_eq!(read.unwrap(), bytes[start..start + len], "{start}, {len}");
                }
            }
        }
    }
}
