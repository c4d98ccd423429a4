//! Operations of the log put together again: transactions, their items, and the regions of those.
//!
//! ```text
//! the first region of a transaction is its header of 16 bytes: "TRAN" as the machine writes numbers
//! the first region of an item: 0 2 kind, 2 2 how many regions it has (little-endian)
//! ```

use std::collections::BTreeMap;

use crate::field;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::xfs::layout::damaged;
use crate::guest::xfs::log::layout::FLAG_COMMIT;
use crate::guest::xfs::log::layout::FLAG_CONTINUED;
use crate::guest::xfs::log::layout::FLAG_CONTINUES;
use crate::guest::xfs::log::layout::FLAG_END;
use crate::guest::xfs::log::layout::FLAG_START;
use crate::guest::xfs::log::layout::FLAG_UNMOUNT;
use crate::guest::xfs::log::layout::Operation;

const HEADER_MAGIC: u32 = 0x5452_414e;
const HEADER_LEN: usize = 16;

/// Most regions of an item: a buffer of 64 KiB has 512 pieces of 128 bytes.
const MAX_REGIONS: u16 = 1024;

/// Most bytes of transactions that are not committed yet: a checkpoint is at most 32 MiB.
const MAX_PENDING_LEN: usize = 64 << 20;

/// Most transactions at once.
const MAX_PENDING: usize = 1 << 16;

/// What was logged of one thing.
#[derive(Debug, Default)]
pub(super) struct Item {
    total: u16,
    /// Never empty once an item is whole.
    pub(super) regions: Vec<Vec<u8>>,
}

impl Item {
    /// Returns its kind; 0 of what is too short for one.
    pub(super) fn kind(&self) -> u16 {
        self.regions.first().filter(|it| it.len() >= 2).map_or(0, |it| field::u16_le(it, 0))
    }
}

/// A transaction whose commit was read.
#[derive(Debug)]
pub(super) struct Committed {
    /// Where the log was when it began.
    pub(super) lsn: u64,
    pub(super) items: Vec<Item>,
}

#[derive(Debug)]
struct Pending {
    lsn: u64,
    header: Vec<u8>,
    items: Vec<Item>,
    len: usize,
}

/// Transactions that have begun.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    pending: BTreeMap<u32, Pending>,
    len: usize,
}

impl Transactions {
    /// Takes an operation of the record at `lsn`; returns the transaction that it commits.
    pub(super) fn take(
        &mut self,
        operation: &Operation<'_>,
        lsn: u64,
    ) -> Outcome<Option<Committed>> {
        let Operation { transaction, flags, bytes } = *operation;
        if flags & FLAG_START != 0 {
            if self.pending.len() >= MAX_PENDING {
                return Err(Problem::Limit.text("its log has over 65,536 transactions at once"));
            }
            let new = Pending { lsn, header: Vec::new(), items: Vec::new(), len: 0 };
            if let Some(old) = self.pending.insert(transaction, new) {
                self.len = self.len.strict_sub(old.len);
            }
            return Ok(None);
        }
        let Some(pending) = self.pending.get_mut(&transaction) else { return Ok(None) };
        let mut flags = flags & !FLAG_END;
        if flags & FLAG_CONTINUED != 0 {
            flags &= !FLAG_CONTINUES;
        }
        match flags {
            0 | FLAG_CONTINUES => pending.region(bytes)?,
            FLAG_CONTINUED => pending.rest(bytes)?,
            FLAG_COMMIT | FLAG_UNMOUNT => {
                let Some(done) = self.pending.remove(&transaction) else { return Ok(None) };
                self.len = self.len.strict_sub(done.len);
                let committed = Committed { lsn: done.lsn, items: done.items };
                return Ok((flags == FLAG_COMMIT).then_some(committed));
            }
            _ => return Err(damaged("an operation in its log has flags that are not known")),
        }
        pending.len = pending.len.strict_add(bytes.len());
        self.len = self.len.strict_add(bytes.len());
        if self.len > MAX_PENDING_LEN {
            return Err(Problem::Limit.text("its log has over 64 MiB of open transactions"));
        }
        Ok(None)
    }
}

impl Pending {
    fn has_header(&self) -> bool {
        self.header.len() >= HEADER_LEN
    }

    /// Takes a part of the header, which may be cut anywhere.
    fn head(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.header.extend_from_slice(bytes);
        let is_whole = self.header.len() == HEADER_LEN;
        let is_right = is_whole && field::u32_le(&self.header, 0) == HEADER_MAGIC;
        if self.header.len() > HEADER_LEN || is_whole && !is_right {
            return Err(damaged("the header of a transaction in its log is impossible"));
        }
        Ok(())
    }

    /// Takes a region, or the start of one.
    fn region(&mut self, bytes: &[u8]) -> Outcome<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if !self.has_header() {
            return self.head(bytes);
        }
        let is_full = |item: &Item| usize::from(item.total) == item.regions.len();
        if self.items.last().is_none_or(is_full) {
            let total = if bytes.len() >= 4 { field::u16_le(bytes, 2) } else { 0 };
            if total == 0 || total > MAX_REGIONS {
                return Err(damaged("an item in its log is impossible"));
            }
            self.items.push(Item { total, regions: Vec::new() });
        }
        let last = self.items.last_mut().expect("just seen or put there");
        last.regions.push(bytes.to_vec());
        Ok(())
    }

    /// Takes what continues the region before.
    fn rest(&mut self, bytes: &[u8]) -> Outcome<()> {
        if !self.has_header() {
            return self.head(bytes);
        }
        let region = self.items.last_mut().and_then(|item| item.regions.last_mut());
        let Some(region) = region else {
            // The header was cut where it ends.
            return if bytes.is_empty() { Ok(()) } else { self.region(bytes) };
        };
        region.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(operations: &[(u8, &[u8])]) -> Outcome<Option<Committed>> {
        let mut transactions = Transactions::default();
        let mut last = None;
        for (flags, bytes) in operations {
            last = transactions.take(&Operation { transaction: 7, flags: *flags, bytes }, 99)?;
        }
        Ok(last)
    }

    #[test]
    fn regions_come_together_however_they_were_cut() {
        let header = b"NART\x2a\0\0\0\0\0\0\0\x01\0\0\0";
        let item = b"\x3c\x12\x02\0more";
        let whole = run(&[(1, b""), (0, header), (0, item), (0, b"region"), (2, b"")]);
        let cut = run(&[
            (1, b""),
            (4, &header[..9]),
            (8 | 16, &header[9..]),
            (4, &item[..5]),
            (8 | 4, &item[5..6]),
            (8 | 16, &item[6..]),
            (0, b"region"),
            (2, b""),
        ]);
        for found in [whole, cut] {
            let found = found.unwrap().unwrap();
            assert_eq!((found.lsn, found.items.len()), (99, 1));
            assert_eq!(found.items[0].regions, [&item[..], b"region"]);
            assert_eq!(found.items[0].kind(), 0x123c);
        }
    }

    #[test]
    fn what_was_not_committed_or_begun_counts_for_nothing() {
        assert!(run(&[(0, b"x"), (2, b"")]).unwrap().is_none());
        assert!(run(&[(1, b""), (0, b"NART\0\0\0\0\0\0\0\0\0\0\0\0")]).unwrap().is_none());
        assert!(run(&[(1, b""), (0, b"NOPE\0\0\0\0\0\0\0\0\0\0\0\0")]).is_err());
        assert!(run(&[(1, b""), (0, b"NART\0\0\0\0\0\0\0\0\0\0\0\0"), (0, b"\0\0\0\0")]).is_err());
    }
}
