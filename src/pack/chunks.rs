//! The chunks of some packs, and of the bases that they depend on.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::ReadAt;
use crate::pack::Base;
use crate::pack::ChunkReader;
use crate::pack::Entry;
use crate::pack::Form;
use crate::pack::GroupCache;
use crate::pack::GroupId;
use crate::pack::Pack;
use crate::pack::Patch;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_PAGES;
use crate::units::BlockIndex;

/// The chunks of some packs, and of the bases that they depend on.
#[derive(Debug, Default)]
pub struct Chunks {
    packs: Vec<Arc<Pack>>,
    bases: Vec<Arc<dyn Base>>,
    families: Vec<Family>,
    cache: Arc<GroupCache>,
}

/// Packs that depend on one base, one behind the other: one run wrote them.
#[derive(Debug)]
struct Family {
    packs: Range<usize>,
    /// Which of them had the last chunk that was found here: the next one is mostly there too.
    recent: AtomicUsize,
}

impl Chunks {
    /// Joins packs.
    #[must_use]
    pub fn new(packs: Vec<Arc<Pack>>) -> Self {
        let mut families: Vec<Family> = Vec::new();
        let root = |number: usize| packs[number].base().map(Base::root);
        for number in 0..packs.len() {
            match families.last_mut() {
                Some(family) if root(family.packs.start) == root(number) => {
                    family.packs.end = number.strict_add(1);
                }
                _ => families.push(Family {
                    packs: number..number.strict_add(1),
                    recent: AtomicUsize::new(number),
                }),
            }
        }
        Self { packs, bases: Vec::new(), families, cache: Arc::default() }
    }

    /// Adds snapshots that are looked at for chunks that no pack has.
    #[must_use]
    pub fn over(self, bases: Vec<Arc<dyn Base>>) -> Self {
        Self { bases, ..self }
    }

    /// Keeps decompressed groups in a cache that others use too.
    #[must_use]
    pub fn sharing(self, cache: Arc<GroupCache>) -> Self {
        Self { cache, ..self }
    }

    /// Keeps what is decompressed, in a file without a name if need be: patches will read from anywhere.
    pub fn expect_patches(&self) {
        self.cache.expect_patches();
    }

    #[cfg(test)]
    pub(super) fn cache(&self) -> &GroupCache {
        &self.cache
    }

    /// Makes what a thread needs to read chunks.
    #[must_use]
    pub fn reader(&self) -> ChunkReader {
        ChunkReader::new(&self.cache)
    }

    /// Makes what a thread needs to read chunks at a place of its own: a server's clients read in several at once.
    #[must_use]
    pub fn reader_apart(&self) -> ChunkReader {
        self.cache.enter_apart();
        self.reader()
    }

    /// Returns the packs.
    #[must_use]
    pub fn packs(&self) -> &[Arc<Pack>] {
        &self.packs
    }

    /// Returns the pack and entry of a chunk, or `None` if no pack has it.
    ///
    /// A release may have again what the one before had lost, so that a chain has the chunk twice: it
    /// is read from the first pack, which depends on the fewest others, whatever was asked for before.
    ///
    /// # Errors
    ///
    /// `Corrupt` if an index changed under us.
    pub fn find(&self, id: &Digest) -> Result<Option<(&Arc<Pack>, Entry)>> {
        for Family { packs, recent } in &self.families {
            let hint = recent.load(Ordering::Relaxed);
            for number in (hint..packs.end).chain(packs.start..hint) {
                if let Some(entry) = self.packs[number].find(id)? {
                    recent.store(number, Ordering::Relaxed);
                    return Ok(Some((&self.packs[number], entry)));
                }
            }
        }
        Ok(None)
    }

    /// Fills `plain` with the chunks `ids`, one after the other, each checked against its id.
    ///
    /// # Errors
    ///
    /// `Io`, `Corrupt` or `Mismatch`, naming the chunk.
    ///
    /// # Panics
    ///
    /// If `plain` is not one whole chunk for each id.
    pub fn read(&self, ids: &[Digest], plain: &mut [u8], reader: &mut ChunkReader) -> Result<()> {
        for (id, plain) in ids.iter().zip(plain.chunks_mut(BLOCK_LEN)) {
            self.decode(id, plain, reader)?;
        }
        let mut found = vec![Digest([0; 32]); ids.len()];
        reader.digests(plain, &mut found);
        match ids.iter().zip(&found).find(|(id, found)| id != found) {
            Some((id, found)) => {
                let text = format!("the chunk's SHA-256 is {found}, expected {id}");
                Err(Error::new(Kind::Mismatch, text))
            }
            None => Ok(()),
        }
    }

    /// Fills `plain` with a chunk whose id is not checked yet.
    ///
    /// # Errors
    ///
    /// `Io`, `Corrupt` or `Mismatch`, naming the chunk.
    pub fn decode(&self, id: &Digest, plain: &mut [u8], reader: &mut ChunkReader) -> Result<()> {
        if let Some((pack, entry)) = self.find(id)? {
            return reader.read(pack, &entry, 0, plain);
        }
        for base in &self.bases {
            if base.read_chunk(id, plain)? {
                return Ok(());
            }
        }
        Err(Error::corrupt(format!("chunk {id} is in none of the bundle's packs")))
    }

    /// Fills `buf` with a part of a chunk whose id is not checked, from byte `start` of it on.
    ///
    /// # Errors
    ///
    /// As [`Chunks::decode`].
    pub fn read_part(
        &self,
        id: &Digest,
        start: usize,
        buf: &mut [u8],
        reader: &mut ChunkReader,
    ) -> Result<()> {
        if let Some((pack, entry)) = self.find(id)? {
            return reader.read(pack, &entry, start, buf);
        }
        let mut plain = vec![0; BLOCK_LEN];
        self.decode(id, &mut plain, reader)?;
        buf.copy_from_slice(&plain[start..][..buf.len()]);
        Ok(())
    }

    /// Returns how many chunks must be decoded for the chunk `id`: itself, and what it depends on.
    ///
    /// # Errors
    ///
    /// As reading the chunk's stored bytes.
    pub fn reads(&self, id: &Digest) -> Result<u8> {
        match self.find(id)? {
            Some((pack, entry)) if pack.group_of(&entry).form == Form::Patched => {
                let mut stored = Vec::new();
                pack.read_stored(entry.group, &mut stored)?;
                Ok(Patch::parse(&stored)?.reads.saturating_add(1))
            }
            _ => Ok(1),
        }
    }

    /// Adds the whole groups that the chunk `id` is in or depends on, its bases' bases included.
    ///
    /// # Errors
    ///
    /// As reading stored bytes.
    pub fn groups(&self, id: &Digest, groups: &mut BTreeSet<GroupId>) -> Result<()> {
        if let Some((pack, entry)) = self.find(id)? {
            if pack.group_of(&entry).form == Form::Whole {
                groups.insert(pack.group_id(entry.group));
                return Ok(());
            }
            let mut stored = Vec::new();
            pack.read_stored(entry.group, &mut stored)?;
            let Some(base) = pack.base() else { return Ok(()) };
            for block in blocks_of(&Patch::parse(&stored)?) {
                base.groups(block, groups)?;
            }
            return Ok(());
        }
        for base in &self.bases {
            if base.chunk_groups(id, groups)? {
                break;
            }
        }
        Ok(())
    }

    /// Fails if a file of a pack or of a base is not what it was when it was opened.
    ///
    /// # Errors
    ///
    /// `Io` if a file changed.
    pub fn check_unchanged(&self) -> Result<()> {
        self.packs.iter().try_for_each(|pack| {
            pack.input().check_unchanged()?;
            pack.base().iter().try_for_each(|base| base.check_unchanged())
        })?;
        self.bases.iter().try_for_each(|base| base.check_unchanged())
    }
}

/// Returns the blocks of the base that a patch reads.
fn blocks_of(patch: &Patch<'_>) -> BTreeSet<BlockIndex> {
    let mut blocks = BTreeSet::new();
    for (page, count) in patch.base_pages() {
        let last = page.strict_add(u64::from(count)).strict_sub(1);
        for block in page.strict_div(BLOCK_PAGES)..=last.strict_div(BLOCK_PAGES) {
            // A patch names no page behind the largest volume.
            blocks.insert(BlockIndex(u32::try_from(block).expect("inside the largest volume")));
        }
    }
    blocks
}
