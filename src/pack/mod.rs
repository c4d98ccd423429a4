//! Packs: files of many chunks, each found by its id.
//!
//! The format is `docs/formats/pack.md`.

mod base;
pub mod layout;
pub mod patch;
mod writer;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::compress::Decoder;
use crate::digest::Digest;
use crate::digest::Lanes;
use crate::digest::crc32;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::field;
use crate::io::Input;
use crate::io::Mapped;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::pack::layout::ENTRY_LEN;
use crate::pack::layout::FOOTER_LEN;
use crate::pack::layout::FOOTER_SIZE;
use crate::pack::layout::Footer;
use crate::pack::layout::HEADER_LEN;
use crate::pack::layout::HEADER_SIZE;
use crate::pack::layout::SKIP_SIZE;
use crate::units::BLOCK_LEN;

pub use base::Base;
pub use layout::Entry;
pub use layout::Form;
pub use layout::PackFault;
pub use patch::Page;
pub use patch::Patch;
pub use writer::Finished;
pub use writer::KnownChunks;
pub use writer::PackWriter;
pub use writer::Stored;

/// Media type of a pack in a bundle.
pub const MEDIA_TYPE: &str = "application/vnd.amikit.pack.v1+zstd";

/// Bytes at which a pack is closed where the user says nothing.
pub const DEFAULT_PACK_SIZE: u64 = 1 << 30;

/// A pack, open: header, index and footer are checked.
#[derive(Debug)]
pub struct Pack {
    input: Arc<Input>,
    start: u64,
    footer: Footer,
    index: Mapped,
    /// What its patched chunks depend on.
    base: Option<Arc<dyn Base>>,
}

impl Pack {
    /// Opens the pack that is `len` bytes of `input`, from byte `start` on.
    ///
    /// # Errors
    ///
    /// `Corrupt` or `Unsupported`, with the file's name, if it is not a sound pack.
    pub fn open(input: Arc<Input>, start: u64, len: u64) -> Result<Self> {
        let path = input.path().to_owned();
        Self::open_unnamed(input, start, len).map_err(|e| e.in_file(&path))
    }

    fn open_unnamed(input: Arc<Input>, start: u64, len: u64) -> Result<Self> {
        let shortest = HEADER_SIZE.strict_add(SKIP_SIZE).strict_add(FOOTER_SIZE);
        let inside = start.checked_add(len).is_some_and(|end| end <= input.len());
        if len < shortest || !inside {
            return Err(PackFault::Short { found: len.min(input.len()) }.into());
        }
        let mut header = [0; HEADER_LEN];
        input.read_exact_at(&mut header, start)?;
        layout::check_header(&header).map_err(|fault| Error::from(fault).at(start))?;
        let mut footer = [0; FOOTER_LEN];
        // Cannot overflow: the pack lies inside the file and is longer than its footer.
        let footer_at = start.strict_add(len.strict_sub(FOOTER_SIZE));
        input.read_exact_at(&mut footer, footer_at)?;
        let footer =
            Footer::parse(&footer, len).map_err(|fault| Error::from(fault).at(footer_at))?;
        let (found, expected) = (crc32(&header), footer.header_crc);
        if found != expected {
            let fault = PackFault::Checksum { of: "header", found, expected };
            return Err(Error::from(fault).at(start));
        }
        let index_at = start.strict_add(footer.index_offset);
        let mut frame = [0; 8];
        input.read_exact_at(&mut frame, index_at.strict_sub(SKIP_SIZE))?;
        if frame != layout::index_frame(footer.count) {
            return Err(Error::from(PackFault::Frame { of: "index" }).at(index_at));
        }
        let index_len = footer_at.strict_sub(index_at);
        let index = Mapped::new(&input, index_at, index_len)?;
        let (found, expected) = (crc32(&index), footer.index_crc);
        if found != expected {
            let fault = PackFault::Checksum { of: "index", found, expected };
            return Err(index.blame(Error::from(fault).at(index_at)));
        }
        let pack = Self { input, start, footer, index, base: None };
        match pack.check_entries() {
            Ok(()) => Ok(pack),
            Err(fault) => Err(pack.index.blame(Error::from(fault).at(index_at))),
        }
    }

    /// Checks that the ids ascend and that the stored chunks tile their part of the pack.
    fn check_entries(&self) -> Result<(), PackFault> {
        let mut places = Vec::with_capacity(self.entries().len());
        let mut last: Option<Digest> = None;
        for (number, bytes) in (0..).zip(self.entries()) {
            let entry = Entry::parse(bytes)?;
            if last.is_some_and(|last| last >= entry.id) {
                return Err(PackFault::Order { entry: number });
            }
            last = Some(entry.id);
            places.push((entry.offset, entry.len));
        }
        places.sort_unstable();
        let mut next = HEADER_SIZE;
        for (offset, len) in places {
            if offset != next || len == 0 {
                return Err(PackFault::Tiling { offset: next });
            }
            // Cannot overflow: at most 65,536 chunks of less than 16 MiB.
            next = next.strict_add(u64::from(len));
        }
        if next == self.footer.index_offset.strict_sub(SKIP_SIZE) {
            Ok(())
        } else {
            Err(PackFault::Tiling { offset: next })
        }
    }

    fn entries(&self) -> &[[u8; ENTRY_LEN]] {
        self.index.as_chunks().0
    }

    /// Says what the pack's patched chunks depend on.
    #[must_use]
    pub fn over(self, base: Option<Arc<dyn Base>>) -> Self {
        Self { base, ..self }
    }

    /// Returns what the pack's patched chunks depend on.
    #[must_use]
    pub fn base(&self) -> Option<&dyn Base> {
        self.base.as_deref()
    }

    /// Returns the file that holds the pack.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Returns how many chunks there are.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        self.footer.count
    }

    /// Returns the bytes of the pack.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.footer.file_len
    }

    /// Returns the bytes that the stored chunks take.
    #[must_use]
    pub fn stored_len(&self) -> u64 {
        self.footer.index_offset.strict_sub(SKIP_SIZE).strict_sub(HEADER_SIZE)
    }

    /// Returns entry `number` of the index, in the order of ids.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the index changed under us.
    ///
    /// # Panics
    ///
    /// If there is no such entry.
    pub fn entry(&self, number: u32) -> Result<Entry> {
        let place = usize::try_from(number).expect("at most 65,536");
        Entry::parse(&self.entries()[place]).map_err(|fault| self.index.blame(fault.into()))
    }

    /// Returns where the chunk `id` is stored, or `None` if it is not in this pack.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the index changed under us.
    pub fn find(&self, id: &Digest) -> Result<Option<Entry>> {
        let entries = self.entries();
        match entries.binary_search_by_key(&id.0, |bytes| field::array(bytes, 0)) {
            Ok(place) => match Entry::parse(&entries[place]) {
                Ok(entry) => Ok(Some(entry)),
                Err(fault) => Err(self.index.blame(fault.into())),
            },
            Err(_) => self.index.check().map(|()| None),
        }
    }

    /// Reads a chunk's stored bytes into `stored` and checks their CRC-32.
    ///
    /// # Errors
    ///
    /// `Io` or `Corrupt`, with the file's name and the offset.
    pub fn read_stored(&self, entry: &Entry, stored: &mut Vec<u8>) -> Result<()> {
        // At most 16 MiB, and the entry was checked to lie inside the pack.
        stored.resize(usize::try_from(entry.len).expect("24 bits"), 0);
        let at = self.start.strict_add(entry.offset);
        for (piece, at) in stored.chunks_mut(READ_PIECE_LEN).zip((at..).step_by(READ_PIECE_LEN)) {
            self.input.read_exact_at(piece, at)?;
        }
        let (found, expected) = (crc32(stored), entry.crc);
        if found == expected {
            Ok(())
        } else {
            let fault = PackFault::Checksum { of: "stored chunk", found, expected };
            Err(Error::from(fault).at(at).in_file(self.input.path()))
        }
    }
}

/// What one thread needs to read chunks, kept from one to the next.
#[derive(Debug)]
pub struct ChunkReader {
    decoder: Decoder,
    stored: Vec<u8>,
    scratch: Vec<u8>,
    lanes: Lanes,
}

impl ChunkReader {
    /// Makes a reader.
    ///
    /// # Errors
    ///
    /// `Io` if out of memory.
    pub fn new() -> Result<Self> {
        Ok(Self {
            decoder: Decoder::new()?,
            stored: Vec::new(),
            scratch: Vec::new(),
            lanes: Lanes::new(0),
        })
    }

    /// Fills `plain` with the content of a stored chunk. Its id is not checked yet.
    ///
    /// # Errors
    ///
    /// `Io` or `Corrupt`, with the file's name and the offset; and what reading the base returns, if
    /// the chunk is patched.
    pub fn decode(&mut self, pack: &Pack, entry: &Entry, plain: &mut [u8]) -> Result<()> {
        pack.read_stored(entry, &mut self.stored)?;
        let decoded = match entry.form {
            Form::Whole => self.decoder.decode(&self.stored, plain).map_err(Error::from),
            Form::Patched => self.patch(pack.base.as_deref(), plain),
        };
        decoded.map_err(|e| e.at(pack.start.strict_add(entry.offset)).in_file(pack.input.path()))
    }

    /// Applies the patch in `stored`.
    fn patch(&mut self, base: Option<&dyn Base>, plain: &mut [u8]) -> Result<()> {
        let patch = Patch::parse(&self.stored)?;
        let base = base.ok_or_else(patch::no_base)?;
        patch.apply(&mut |page, pages| base.read_pages(page, pages), &mut self.scratch, plain)
    }

    /// Checks a chunk's stored bytes against their CRC-32 and decompresses nothing.
    ///
    /// # Errors
    ///
    /// `Io` or `Corrupt`, with the file's name and the offset.
    pub fn check_stored(&mut self, pack: &Pack, entry: &Entry) -> Result<()> {
        pack.read_stored(entry, &mut self.stored)?;
        match entry.form {
            Form::Whole => Ok(()),
            Form::Patched => Patch::parse(&self.stored).map(drop).map_err(|fault| {
                let at = pack.start.strict_add(entry.offset);
                Error::from(fault).at(at).in_file(pack.input.path())
            }),
        }
    }

    /// Hashes `plain`, chunk by chunk but side by side, into `ids`.
    ///
    /// # Panics
    ///
    /// If `plain` is not one whole chunk for each id.
    pub fn digests(&mut self, plain: &[u8], ids: &mut [Digest]) {
        assert_eq!(plain.len(), ids.len().strict_mul(BLOCK_LEN), "whole chunks");
        self.lanes.reset(ids.len());
        for at in (0..BLOCK_LEN).step_by(READ_PIECE_LEN) {
            let pieces: Vec<&[u8]> =
                plain.chunks(BLOCK_LEN).map(|chunk| &chunk[at..][..READ_PIECE_LEN]).collect();
            self.lanes.update(&pieces);
        }
        self.lanes.finish(ids);
    }
}

/// The chunks of some packs, and of the bases that they depend on.
#[derive(Debug, Default)]
pub struct Chunks {
    packs: Vec<Arc<Pack>>,
    bases: Vec<Arc<dyn Base>>,
    groups: Vec<Group>,
}

/// Packs that depend on one base, one behind the other. No two of them have the same chunk: one run
/// wrote them.
#[derive(Debug)]
struct Group {
    packs: Range<usize>,
    /// Which of them had the last chunk that was found here: the next one is mostly there too.
    recent: AtomicUsize,
}

impl Chunks {
    /// Joins packs.
    #[must_use]
    pub fn new(packs: Vec<Arc<Pack>>) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let root = |number: usize| packs[number].base().map(Base::root);
        for number in 0..packs.len() {
            match groups.last_mut() {
                Some(group) if root(group.packs.start) == root(number) => {
                    group.packs.end = number.strict_add(1);
                }
                _ => groups.push(Group {
                    packs: number..number.strict_add(1),
                    recent: AtomicUsize::new(number),
                }),
            }
        }
        Self { packs, bases: Vec::new(), groups }
    }

    /// Adds snapshots that are looked at for chunks that no pack has.
    #[must_use]
    pub fn over(self, bases: Vec<Arc<dyn Base>>) -> Self {
        Self { bases, ..self }
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
    pub fn find(&self, id: &Digest) -> Result<Option<(&Pack, Entry)>> {
        for Group { packs, recent } in &self.groups {
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
            return reader.decode(pack, &entry, plain);
        }
        for base in &self.bases {
            if base.read_chunk(id, plain)? {
                return Ok(());
            }
        }
        Err(Error::corrupt(format!("chunk {id} is in none of the bundle's packs")))
    }

    /// Returns how many chunks must be decoded for the chunk `id`: itself, and what it depends on.
    ///
    /// # Errors
    ///
    /// As reading the chunk's stored bytes.
    pub fn reads(&self, id: &Digest) -> Result<u8> {
        match self.find(id)? {
            Some((pack, entry)) if entry.form == Form::Patched => {
                let mut stored = Vec::new();
                pack.read_stored(&entry, &mut stored)?;
                Ok(Patch::parse(&stored)?.reads.saturating_add(1))
            }
            _ => Ok(1),
        }
    }

    /// Fails if a file of a pack or of a base is not what it was when it was opened.
    ///
    /// # Errors
    ///
    /// `Io` if a file changed.
    pub fn check_unchanged(&self) -> Result<()> {
        self.packs.iter().try_for_each(|pack| {
            pack.input.check_unchanged()?;
            pack.base.iter().try_for_each(|base| base.check_unchanged())
        })?;
        self.bases.iter().try_for_each(|base| base.check_unchanged())
    }
}

#[cfg(test)]
mod tests;
