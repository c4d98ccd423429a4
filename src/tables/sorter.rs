//! More records than memory has, in order: shared out by their first byte into a file without a name, then sorted
//! share by share.
//!
//! All shares lie in one file, each in pieces, so that no more than one file is open whatever their number. Digests are
//! spread evenly; a share that is still too large is shared out again by its next byte.

use std::num::NonZero;

use crate::error::Result;
use crate::io::Scratch;
use crate::io::WriteAt as _;
use crate::work::Watch;
use crate::work::in_order;

/// Shares of a pass: one for each value of a byte.
const SHARES: usize = 256;

/// Bytes of a share that are written in one go, at most. All shares together wait in 32 MiB.
const PIECE_LEN: usize = 128 << 10;

/// Most bytes of a share that is sorted in memory.
const MOST_SHARE: u64 = 64 << 20;

/// Bytes of a record that are its key, and by which it is shared out.
const KEY_LEN: usize = 32;

/// Records of `N` bytes on their way into order. They begin with a digest.
#[derive(Debug)]
pub struct Sorter<const N: usize> {
    scratch: Scratch,
    at: u64,
    pass: Pass,
    most_share: u64,
}

/// A place in the file, and how many bytes are there.
type Piece = (u64, usize);

/// The shares of one pass.
#[derive(Debug)]
struct Pass {
    /// Which byte of a record says its share.
    byte: usize,
    shares: Vec<Share>,
}

/// Records with the same bytes in front.
#[derive(Debug, Default)]
struct Share {
    pieces: Vec<Piece>,
    /// What was not written yet.
    tail: Vec<u8>,
}

impl Share {
    fn len(&self) -> u64 {
        let pieces = self.pieces.iter().map(|(_, len)| *len).sum::<usize>();
        u64::try_from(pieces.strict_add(self.tail.len())).expect("memory is under 2^64 bytes")
    }
}

impl Pass {
    fn new(byte: usize) -> Self {
        let mut shares = Vec::new();
        shares.resize_with(SHARES, Share::default);
        Self { byte, shares }
    }

    fn push<const N: usize>(
        &mut self,
        record: &[u8; N],
        scratch: &Scratch,
        at: &mut u64,
    ) -> Result<()> {
        let share = &mut self.shares[usize::from(record[self.byte])];
        share.tail.extend_from_slice(record);
        if share.tail.len() > PIECE_LEN.strict_sub(N) {
            scratch.write_all_at(&share.tail, *at)?;
            share.pieces.push((*at, share.tail.len()));
            *at = at.strict_add(u64::try_from(share.tail.len()).expect("a piece"));
            share.tail.clear();
        }
        Ok(())
    }
}

impl<const N: usize> Sorter<N> {
    /// Sorts what will be pushed, by way of a file without a name.
    #[must_use]
    pub fn new(scratch: Scratch) -> Self {
        assert!(N >= KEY_LEN, "a record has a digest in front");
        Self { scratch, at: 0, pass: Pass::new(0), most_share: MOST_SHARE }
    }

    /// Takes a record.
    ///
    /// # Errors
    ///
    /// `Io` if the file cannot be written.
    pub fn push(&mut self, record: &[u8; N]) -> Result<()> {
        self.pass.push(record, &self.scratch, &mut self.at)
    }

    /// Ends the sharing out.
    ///
    /// # Errors
    ///
    /// `Io` if the file cannot be written or read.
    pub fn finish(mut self, watch: &dyn Watch) -> Result<Sorted<N>> {
        let mut shares = Vec::new();
        let byte = self.pass.byte;
        for share in std::mem::take(&mut self.pass.shares) {
            self.keep(share, byte, &mut shares, watch)?;
        }
        Ok(Sorted { scratch: self.scratch, shares })
    }

    /// Keeps a share, or shares it out again if it is too large.
    fn keep(
        &mut self,
        share: Share,
        byte: usize,
        shares: &mut Vec<Share>,
        watch: &dyn Watch,
    ) -> Result<()> {
        if share.len() == 0 {
            return Ok(());
        }
        let next = byte.strict_add(1);
        if share.len() <= self.most_share || next >= KEY_LEN {
            shares.push(share);
            return Ok(());
        }
        let mut pass = Pass::new(next);
        let mut buffer = Vec::new();
        for (at, len) in &share.pieces {
            watch.check()?;
            buffer.resize(*len, 0);
            self.scratch.read_back_at(&mut buffer, *at)?;
            for record in buffer.as_chunks::<N>().0 {
                pass.push(record, &self.scratch, &mut self.at)?;
            }
        }
        for record in share.tail.as_chunks::<N>().0 {
            pass.push(record, &self.scratch, &mut self.at)?;
        }
        drop(share);
        for share in pass.shares {
            self.keep(share, next, shares, watch)?;
        }
        Ok(())
    }
}

/// Records that are in order share by share.
#[derive(Debug)]
pub struct Sorted<const N: usize> {
    scratch: Scratch,
    shares: Vec<Share>,
}

impl<const N: usize> Sorted<N> {
    /// Calls `work` with the sorted records of each share, on some threads, and `commit` with the results in the order
    /// of the shares, which is that of the records. Records with the same digest are in one share.
    ///
    /// # Errors
    ///
    /// `Io` if the file cannot be read; whatever `work` and `commit` return; `Interrupted` if `watch` says to stop.
    pub fn each_share<R: Send>(
        &self,
        threads: NonZero<usize>,
        watch: &dyn Watch,
        work: impl Fn(&[[u8; N]]) -> Result<R> + Sync,
        commit: impl FnMut(R) -> Result<()>,
    ) -> Result<()> {
        let jobs = self.shares.iter().map(Ok);
        let sorted = |records: &mut Vec<[u8; N]>, share: &Share| {
            records.clear();
            self.read(share, records)?;
            records.sort_unstable();
            work(records)
        };
        in_order(threads, watch, jobs, || Ok(Vec::new()), sorted, commit)
    }

    fn read(&self, share: &Share, records: &mut Vec<[u8; N]>) -> Result<()> {
        for (at, len) in &share.pieces {
            let start = records.len();
            records.resize(start.strict_add(len.strict_div(N)), [0; N]);
            self.scratch.read_back_at(records[start..].as_flattened_mut(), *at)?;
        }
        records.extend_from_slice(share.tail.as_chunks().0);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use crate::digest::sha256;
    use crate::work::Unwatched;

    fn sorted(records: &[[u8; 36]], most_share: u64, threads: usize) -> (Vec<[u8; 36]>, usize) {
        let mut sorter = Sorter::new(Scratch::create().unwrap());
        sorter.most_share = most_share;
        for record in records {
            sorter.push(record).unwrap();
        }
        let in_order = sorter.finish(&Unwatched).unwrap();
        let mut all = Vec::new();
        let (threads, work) = (NonZero::new(threads).unwrap(), |share: &[_]| Ok(share.to_vec()));
        let take = |share: Vec<_>| {
            all.extend(share);
            Ok(())
        };
        in_order.each_share(threads, &Unwatched, work, take).unwrap();
        (all, in_order.shares.len())
    }

    #[test]
    fn records_come_out_as_a_sort_in_memory_has_them() {
        let mut records: Vec<[u8; 36]> = Vec::new();
        for number in 0..40_000_u32 {
            let mut record = [0; 36];
            // Some digests come often, and a tenth of all have the same first byte.
            record[..32].copy_from_slice(&sha256(&(number % 9000).to_le_bytes()).0);
            if number % 10 == 0 {
                record[0] = 3;
            }
            record[32..].copy_from_slice(&number.to_be_bytes());
            records.push(record);
        }
        let mut expected = records.clone();
        expected.sort_unstable();
        // In memory alone, written, shared out again, and shared out to the last byte of the digest.
        for (most_share, more, threads) in
            [(MOST_SHARE, false, 1), (MOST_SHARE, false, 3), (20_000, true, 3), (1, true, 1)]
        {
            let (found, shares) = sorted(&records, most_share, threads);
            assert!(found == expected, "{most_share}");
            assert_eq!(shares > 256, more);
        }
    }

    #[test]
    fn nothing_is_no_share() {
        assert_eq!(sorted(&[], MOST_SHARE, 2), (Vec::new(), 0));
    }
}
