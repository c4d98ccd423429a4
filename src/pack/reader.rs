//! Reading chunks: what one thread needs, and how it goes through the groups.

use std::sync::Arc;
use std::sync::Weak;

use crate::compress::GroupDecoder;
use crate::digest::Digest;
use crate::digest::Lanes;
use crate::error::Error;
use crate::error::Result;
use crate::io::READ_PIECE_LEN;
use crate::pack::Entry;
use crate::pack::Form;
use crate::pack::GroupCache;
use crate::pack::GroupId;
use crate::pack::Pack;
use crate::pack::Patch;
use crate::pack::cache::Cell;
use crate::pack::cache::Part;
use crate::pack::patch;
use crate::units::BLOCK_LEN;

/// Groups whose place a reader remembers: its own, and those of the base that a patch needs.
const MOST_RECENT: usize = 4;

/// What one thread needs to read chunks, kept from one to the next.
#[derive(Debug)]
pub struct ChunkReader {
    cache: Arc<GroupCache>,
    /// The groups that were read last. They do not keep their bytes alive: the cache does.
    recent: [Option<(GroupId, Weak<Cell>)>; MOST_RECENT],
    stored: Vec<u8>,
    scratch: Vec<u8>,
    lanes: Lanes,
}

impl ChunkReader {
    /// Makes a reader that shares decompressed groups with others.
    #[must_use]
    pub fn new(cache: &Arc<GroupCache>) -> Self {
        cache.enter();
        Self {
            cache: Arc::clone(cache),
            recent: Default::default(),
            stored: Vec::new(),
            scratch: Vec::new(),
            lanes: Lanes::new(0),
        }
    }

    /// Fills `buf` with a part of a chunk, from byte `start` of it on. Its id is not checked yet.
    ///
    /// # Errors
    ///
    /// `Io` or `Corrupt`, with the file's name and the offset; and what reading the base returns, if
    /// the chunk is patched.
    ///
    /// # Panics
    ///
    /// If the part is not inside the chunk.
    pub fn read(&mut self, pack: &Pack, entry: &Entry, start: usize, buf: &mut [u8]) -> Result<()> {
        assert!(start.strict_add(buf.len()) <= BLOCK_LEN, "a part of a chunk");
        let number = entry.group;
        if pack.group_of(entry).form == Form::Patched && buf.len() == BLOCK_LEN {
            return self.patch(pack, number, buf);
        }
        let start = usize::from(entry.position).strict_mul(BLOCK_LEN).strict_add(start);
        let range = start..start.strict_add(buf.len());
        let cell = self.cell(pack, number);
        loop {
            if cell.read(range.start, buf)? {
                return Ok(());
            }
            let mut part = match cell.try_lock() {
                Some(part) => part,
                // Someone decompresses all of it: meanwhile the next ones can be.
                None if cell.is_in_order() && self.read_ahead(pack, number) => continue,
                None => cell.lock(),
            };
            if cell.is_whole() {
                continue;
            }
            let end = if cell.is_in_order() { plain_len(pack, number) } else { range.end };
            self.go_on(pack, number, &cell, &mut part, end)?;
            if let Some(part) = &*part {
                buf.copy_from_slice(&part.plain[range]);
                return Ok(());
            }
        }
    }

    /// Returns the cell of a group, without a lock if it is one of the last.
    fn cell(&mut self, pack: &Pack, number: u16) -> Arc<Cell> {
        let id = pack.group_id(number);
        for place in 0..MOST_RECENT {
            if let Some((there, cell)) = &self.recent[place]
                && *there == id
                && let Some(cell) = cell.upgrade()
            {
                self.recent[..=place].rotate_right(1);
                return cell;
            }
        }
        let cell = self.shared_cell(pack, number);
        self.recent.rotate_right(1);
        self.recent[0] = Some((id, Arc::downgrade(&cell)));
        cell
    }

    /// Returns the cell of a group out of the cache, and notes whether its pack is read in order.
    fn shared_cell(&self, pack: &Pack, number: u16) -> Arc<Cell> {
        let (cell, new) = self.cache.cell(pack.group_id(number), plain_len(pack, number));
        let whole = pack.groups()[usize::from(number)].form == Form::Whole;
        if new && whole && pack.begin(number) {
            cell.set_in_order();
        }
        cell
    }

    /// Decompresses the next group that nobody has begun, of as many as there are readers. Returns whether
    /// there was one.
    fn read_ahead(&mut self, pack: &Pack, number: u16) -> bool {
        let mut next = number;
        for _ in 0..self.cache.threads() {
            let Some(number) = pack.next_whole(next) else { return false };
            next = number;
            let cell = self.shared_cell(pack, number);
            if cell.is_whole() {
                continue;
            }
            let Some(mut part) = cell.try_lock() else { continue };
            if !cell.is_whole() {
                // A reader that needs it will see what is wrong with it.
                let _ = self.go_on(pack, number, &cell, &mut part, plain_len(pack, number));
                return true;
            }
        }
        false
    }

    /// Decompresses a group up to byte `end`. If that is all of it, the cell has it and `part` is gone.
    fn go_on(
        &mut self,
        pack: &Pack,
        number: u16,
        cell: &Cell,
        part: &mut Option<Part>,
        end: usize,
    ) -> Result<()> {
        if pack.groups()[usize::from(number)].form == Form::Patched {
            let mut plain = vec![0; BLOCK_LEN];
            self.patch(pack, number, &mut plain)?;
            cell.finish(plain);
            return Ok(());
        }
        let len = plain_len(pack, number);
        let mut under_way = if let Some(part) = part.take() {
            part
        } else {
            let mut new = self.cache.part()?;
            pack.read_stored(number, &mut new.stored)?;
            let begun = new.decoder.begin(&new.stored, len, &mut new.plain);
            begun.map_err(|fault| pack.fail(number, fault.into()))?;
            new
        };
        let Part { stored, decoder, plain } = &mut under_way;
        if plain.len() < end || end == len {
            let decoded = decoder.decode(stored, len, plain, end);
            decoded.map_err(|fault| pack.fail(number, fault.into()))?;
        }
        if end == len {
            cell.finish(under_way.plain);
            self.cache.give(under_way.stored, under_way.decoder);
        } else {
            *part = Some(under_way);
        }
        Ok(())
    }

    /// Fills `plain` with a patched chunk.
    fn patch(&mut self, pack: &Pack, number: u16, plain: &mut [u8]) -> Result<()> {
        pack.read_stored(number, &mut self.stored)?;
        let patched = Patch::parse(&self.stored).map_err(Error::from).and_then(|patch| {
            let base = pack.base().ok_or_else(patch::no_base)?;
            patch.apply(&mut |page, pages| base.read_pages(page, pages), &mut self.scratch, plain)
        });
        patched.map_err(|e| pack.fail(number, e))
    }

    /// Hashes `plain`, chunk by chunk but side by side, into `ids`.
    ///
    /// # Panics
    ///
    /// If `plain` is not one whole chunk for each id.
    pub fn digests(&mut self, plain: &[u8], ids: &mut [Digest]) {
        hash_chunks(&mut self.lanes, plain, ids);
    }
}

impl Drop for ChunkReader {
    fn drop(&mut self) {
        self.cache.leave();
    }
}

/// Returns the plain bytes of a group.
fn plain_len(pack: &Pack, number: u16) -> usize {
    usize::from(pack.groups()[usize::from(number)].chunks).strict_mul(BLOCK_LEN)
}

/// Hashes `plain`, chunk by chunk but side by side, into `ids`.
///
/// # Panics
///
/// If `plain` is not one whole chunk for each id.
pub fn hash_chunks(lanes: &mut Lanes, plain: &[u8], ids: &mut [Digest]) {
    assert_eq!(plain.len(), ids.len().strict_mul(BLOCK_LEN), "whole chunks");
    lanes.reset(ids.len());
    for at in (0..BLOCK_LEN).step_by(READ_PIECE_LEN) {
        let pieces: Vec<&[u8]> =
            plain.chunks(BLOCK_LEN).map(|chunk| &chunk[at..][..READ_PIECE_LEN]).collect();
        lanes.update(&pieces);
    }
    lanes.finish(ids);
}

/// What one thread needs to go through groups one by one: nothing is shared or kept.
#[derive(Debug)]
pub struct GroupReader {
    decoder: GroupDecoder,
    stored: Vec<u8>,
    plain: Vec<u8>,
    lanes: Lanes,
}

/// Chunks that are hashed side by side: more would not stay in the processor's cache.
const BATCH: usize = 8;

impl GroupReader {
    /// Makes a reader.
    ///
    /// # Errors
    ///
    /// `Io` if out of memory.
    pub fn new() -> Result<Self> {
        Ok(Self {
            decoder: GroupDecoder::new()?,
            stored: Vec::new(),
            plain: Vec::new(),
            lanes: Lanes::new(0),
        })
    }

    /// Checks a group's stored bytes against their CRC-32 and decompresses nothing.
    ///
    /// # Errors
    ///
    /// `Io` or `Corrupt`, with the file's name and the offset.
    pub fn check_stored(&mut self, pack: &Pack, number: u16) -> Result<()> {
        pack.read_stored(number, &mut self.stored)?;
        match pack.groups()[usize::from(number)].form {
            Form::Whole => Ok(()),
            Form::Patched => Patch::parse(&self.stored)
                .map(drop)
                .map_err(|fault| pack.fail(number, fault.into())),
        }
    }

    /// Returns the plain bytes of a whole group. The ids of its chunks are not checked yet.
    ///
    /// # Errors
    ///
    /// `Io` or `Corrupt`, with the file's name and the offset.
    pub fn decode(&mut self, pack: &Pack, number: u16) -> Result<&[u8]> {
        pack.read_stored(number, &mut self.stored)?;
        let len = plain_len(pack, number);
        let Self { decoder, stored, plain, .. } = self;
        decoder
            .begin(stored, len, plain)
            .and_then(|()| decoder.decode(stored, len, plain, len))
            .map_err(|fault| pack.fail(number, fault.into()))?;
        Ok(&self.plain)
    }

    /// Returns the ids that the chunks of the group have that was decoded last.
    pub fn ids(&mut self) -> Vec<Digest> {
        let mut ids = vec![Digest([0; 32]); self.plain.len() / BLOCK_LEN];
        let batches = self.plain.chunks(BATCH.strict_mul(BLOCK_LEN));
        for (plain, ids) in batches.zip(ids.chunks_mut(BATCH)) {
            hash_chunks(&mut self.lanes, plain, ids);
        }
        ids
    }
}
