//! Replaying: the records from tail to head, twice. The first time finds which buffers were given up later,
//! the second one writes what was committed, as the kernel does it.

use std::collections::BTreeMap;

use crate::field;
use crate::guest::failure::Outcome;
use crate::guest::xfs::inode::INODE_MAGIC;
use crate::guest::xfs::inode::core_len;
use crate::guest::xfs::layout::NULL;
use crate::guest::xfs::layout::damaged;
use crate::guest::xfs::log::circle::Circle;
use crate::guest::xfs::log::ends::Active;
use crate::guest::xfs::log::items;
use crate::guest::xfs::log::items::Buffer;
use crate::guest::xfs::log::items::InodeItem;
use crate::guest::xfs::log::items::NewInodes;
use crate::guest::xfs::log::layout;
use crate::guest::xfs::log::overlay::Overlay;
use crate::guest::xfs::log::overlay::SECTOR_LEN;
use crate::guest::xfs::log::transactions::Committed;
use crate::guest::xfs::log::transactions::Item;
use crate::guest::xfs::log::transactions::Transactions;

/// Most bytes of inodes that one item makes.
const MAX_NEW_LEN: u64 = 256 << 10;

/// Buffers that were given up, by sector and length: how often.
type Cancelled = BTreeMap<(u64, u64), u32>;

/// Replays what is active over the file system.
pub(super) fn replay(
    circle: &Circle<'_>,
    active: &Active,
    overlay: &mut Overlay<'_>,
) -> Outcome<()> {
    let mut cancelled = Cancelled::new();
    transactions(circle, active, &mut |committed| {
        for item in committed.items.iter().filter(|item| item.kind() == items::BUFFER) {
            let buffer = buffer(item)?;
            if buffer.is_cancelled() {
                let count = cancelled.entry((buffer.sector, buffer.sectors)).or_insert(0);
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    })?;
    let mut writer = Writer { overlay, cancelled };
    transactions(circle, active, &mut |committed| writer.transaction(&committed))
}

/// Goes through the transactions that were committed, in their order.
fn transactions(
    circle: &Circle<'_>,
    active: &Active,
    each: &mut dyn FnMut(Committed) -> Outcome<()>,
) -> Outcome<()> {
    let mut open = Transactions::default();
    let mut at = active.tail;
    let mut left = circle.distance(active.tail, active.head);
    while left > 0 {
        let record = circle.record(at)?;
        let Some(rest) = left.checked_sub(record.whole()) else {
            return Err(damaged("a record of its log is longer than what was written"));
        };
        let is_own = record.lsn == u64::from(record.cycle) << 32 | at;
        let Some(bytes) = circle.whole(at, &record)?.filter(|_| is_own) else {
            return Err(damaged(
                "a record of its log stands at a wrong place, or its checksum is wrong",
            ));
        };
        let Some(data) = record.unpack(&bytes) else {
            return Err(damaged("a record of its log is longer than its headers say"));
        };
        for operation in layout::operations(&data, record.operations) {
            let Some(operation) = operation else {
                return Err(damaged("an operation in its log is impossible"));
            };
            if let Some(committed) = open.take(&operation, record.lsn)? {
                each(committed)?;
            }
        }
        (at, left) = (circle.after(at, record.whole()), rest);
    }
    Ok(())
}

fn buffer(item: &Item) -> Outcome<Buffer> {
    let found = item.regions.first().and_then(|region| Buffer::parse(region));
    found.ok_or_else(|| damaged("a buffer in its log is impossible"))
}

struct Writer<'a, 'b> {
    overlay: &'a mut Overlay<'b>,
    cancelled: Cancelled,
}

impl Writer<'_, '_> {
    /// Writes the items of a transaction: buffers, then inodes, then buffers of inodes; what is given up
    /// comes last.
    fn transaction(&mut self, committed: &Committed) -> Outcome<()> {
        let lsn = committed.lsn;
        let mut of_inodes = Vec::new();
        let mut given_up = Vec::new();
        let mut inodes = Vec::new();
        for item in &committed.items {
            match item.kind() {
                items::BUFFER => {
                    let buffer = buffer(item)?;
                    if buffer.is_cancelled() {
                        given_up.push(buffer);
                    } else if buffer.is_of_inodes() {
                        of_inodes.push((buffer, item));
                    } else {
                        self.buffer(&buffer, item, lsn)?;
                    }
                }
                items::NEW_INODES => self.new_inodes(item)?,
                items::INODE => inodes.push(item),
                // Quotas, and what is left to do: a mount does the rest of that later.
                _ => {}
            }
        }
        for item in inodes {
            self.inode(item, lsn)?;
        }
        for (buffer, item) in of_inodes {
            self.buffer(&buffer, item, lsn)?;
        }
        for buffer in given_up {
            let key = (buffer.sector, buffer.sectors);
            if let Some(count) = self.cancelled.get_mut(&key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.cancelled.remove(&key);
                }
            }
        }
        Ok(())
    }

    fn buffer(&mut self, buffer: &Buffer, item: &Item, lsn: u64) -> Outcome<()> {
        if self.cancelled.contains_key(&(buffer.sector, buffer.sectors)) {
            return Ok(());
        }
        let offset = self.overlay.place(buffer.sector, buffer.sectors)?;
        let mut bytes = self.overlay.read(offset, buffer.sectors.strict_mul(SECTOR_LEN))?;
        if self.is_newer(&bytes, lsn) {
            return Ok(());
        }
        let before = bytes.clone();
        for ((first, count), region) in buffer.runs.iter().zip(item.regions.iter().skip(1)) {
            let start = first.strict_mul(items::PIECE);
            let len = count.strict_mul(items::PIECE).min(region.len());
            let Some(part) = bytes.get_mut(start..start.strict_add(len)) else {
                return Err(damaged("a buffer in its log is longer than it says"));
            };
            part.copy_from_slice(&region[..len]);
        }
        if buffer.is_of_inodes() {
            bytes = self.only_links(before, &bytes);
        }
        self.overlay.write(offset, &bytes)
    }

    /// Tells whether what stands on the disk is of a later time than the log.
    fn is_newer(&self, bytes: &[u8], lsn: u64) -> bool {
        if !self.overlay.sb.is_v5 {
            return false;
        }
        let Some((at, uuid)) = items::lsn_and_uuid(bytes) else { return false };
        let sb = &self.overlay.sb;
        let is_own = bytes[uuid..][..16] == sb.meta_uuid || bytes[uuid..][..16] == sb.uuid;
        let found = field::u64_be(bytes, at);
        is_own && found != 0 && found != u64::MAX && found >= lsn
    }

    /// Takes from a buffer of inodes only the links between unlinked ones.
    fn only_links(&self, mut before: Vec<u8>, logged: &[u8]) -> Vec<u8> {
        let len = usize::try_from(self.overlay.sb.inode_len).expect("at most 2 KiB");
        for (old, new) in before.chunks_exact_mut(len).zip(logged.chunks_exact(len)) {
            old[96..100].copy_from_slice(&new[96..100]);
        }
        before
    }

    fn inode(&mut self, item: &Item, lsn: u64) -> Outcome<()> {
        let broken = || damaged("an inode in its log is impossible");
        let head = item.regions.first().and_then(|region| InodeItem::parse(region));
        let (Some(head), Some(logged)) = (head, item.regions.get(1)) else { return Err(broken()) };
        if self.cancelled.contains_key(&(head.sector, head.sectors)) {
            return Ok(());
        }
        let start = self.overlay.place(head.sector, head.sectors)?;
        let sb = self.overlay.sb;
        let at = start.checked_add(head.offset.into()).ok_or_else(broken)?;
        let end = at.checked_add(sb.inode_len).ok_or_else(broken)?;
        let is_v3 = sb.is_v5;
        let core_len = core_len(if is_v3 { 3 } else { 2 });
        // The links between unlinked inodes, the last field of old cores, are never logged here.
        let buffer_end = start.strict_add(head.sectors.strict_mul(SECTOR_LEN));
        if end > buffer_end || logged.len() < core_len.strict_sub(4) {
            return Err(broken());
        }
        let first = at & !SECTOR_LEN.strict_sub(1);
        let len = end.next_multiple_of(SECTOR_LEN).strict_sub(first);
        let mut bytes = self.overlay.read(first, len)?;
        let skip = usize::try_from(at.strict_sub(first)).expect("below a sector");
        let inode_len = usize::try_from(sb.inode_len).expect("at most 2 KiB");
        let inode = &mut bytes[skip..skip.strict_add(inode_len)];
        if &inode[..2] != INODE_MAGIC || is_later(inode, logged, is_v3, lsn) {
            return Ok(());
        }
        items::put_core(logged, &mut inode[..core_len], lsn);
        put_forks(&head, item, inode, core_len, if is_v3 { 72 } else { 24 }).ok_or_else(broken)?;
        self.overlay.write(first, &bytes)
    }

    fn new_inodes(&mut self, item: &Item) -> Outcome<()> {
        let sb = self.overlay.sb;
        let found = item.regions.first().and_then(|region| NewInodes::parse(region));
        let sound = found.filter(|new| {
            let len = new.count.checked_mul(sb.inode_len);
            sb.is_v5
                && new.inode_len == sb.inode_len
                && len == new.blocks.checked_mul(sb.block_len)
                && len.is_some_and(|len| len > 0 && len <= MAX_NEW_LEN)
        });
        let place =
            sound.and_then(|new| Some((new, sb.group_span(new.group, new.block, new.blocks)?)));
        let Some((new, range)) = place else {
            return Err(damaged("new inodes in its log are impossible"));
        };
        let sectors = range.start / SECTOR_LEN..range.end / SECTOR_LEN;
        if self.cancelled.keys().any(|(first, _)| sectors.contains(first)) {
            return Ok(());
        }
        let len = usize::try_from(sb.inode_len).expect("at most 2 KiB");
        let mut bytes =
            vec![0; usize::try_from(range.end.strict_sub(range.start)).expect("limited")];
        for (place, inode) in (0_u64..).zip(bytes.chunks_exact_mut(len)) {
            let index = (new.block << sb.inodes_log).strict_add(place);
            inode[..2].copy_from_slice(INODE_MAGIC);
            inode[4] = 3;
            field::put_u32_be(inode, 92, new.generation);
            field::put_u32_be(inode, 96, NULL);
            field::put_u64_be(inode, 152, sb.inode_number(new.group, index));
            inode[160..176].copy_from_slice(&sb.meta_uuid);
        }
        self.overlay.write(range.start, &bytes)
    }
}

/// Tells whether the inode on the disk is of a later time than the logged one.
fn is_later(inode: &[u8], logged: &[u8], is_v3: bool, lsn: u64) -> bool {
    if is_v3 {
        let found = field::u64_be(inode, 112);
        return found != 0 && found != u64::MAX && found > lsn;
    }
    // A count of writes that goes around.
    let (disk, log) = (field::u16_be(inode, 30), field::u16_le(logged, 30));
    log < disk && !(disk == u16::MAX && log < u16::MAX / 2)
}

/// Writes the forks that were logged. `None` if they do not fit.
fn put_forks(
    head: &InodeItem,
    item: &Item,
    inode: &mut [u8],
    core_len: usize,
    header_len: usize,
) -> Option<()> {
    let split = match usize::from(inode[82]).strict_mul(8) {
        0 => inode.len(),
        len => core_len.strict_add(len),
    };
    if head.has_device() {
        field::put_u32_be(inode, core_len, head.device);
    }
    let mut regions = item.regions.iter().skip(2);
    let ends = [(head.data(), core_len..split), (head.attributes(), split..inode.len())];
    for (logged, range) in ends {
        let Some(is_root) = logged else { continue };
        let (region, fork) = (regions.next()?, inode.get_mut(range)?);
        if is_root {
            items::put_root(region, fork, header_len)?;
        } else {
            fork.get_mut(..region.len())?.copy_from_slice(region);
        }
    }
    Some(())
}
