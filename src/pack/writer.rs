//! Writing a pack: one pass, one appender.

use std::collections::HashSet;

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::digest::crc32;
use crate::error::Result;
use crate::io::WriteAt;
use crate::pack::layout::ENTRY_LEN;
use crate::pack::layout::Entry;
use crate::pack::layout::FOOTER_SIZE;
use crate::pack::layout::Footer;
use crate::pack::layout::Form;
use crate::pack::layout::HEADER_SIZE;
use crate::pack::layout::MAX_CHUNKS;
use crate::pack::layout::SKIP_SIZE;
use crate::pack::layout::header;
use crate::pack::layout::index_frame;

/// Bytes that are gathered before they are written: small chunks must not be a system call each.
const BUFFER_LEN: usize = 1 << 20;

/// A chunk's stored bytes, and what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// What the bytes are.
    pub form: Form,
    /// One zstd frame, or one patch.
    pub bytes: &'a [u8],
}

/// A finished pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// SHA-256 of the pack's bytes.
    pub digest: Digest,
    /// Bytes of the pack.
    pub file_len: u64,
    /// Chunks in it.
    pub chunk_count: u32,
}

/// A pack under way.
pub struct PackWriter {
    entries: Vec<Entry>,
    /// Where the bytes in `buffer` start.
    flushed: u64,
    buffer: Vec<u8>,
    digest: Sha256,
}

impl PackWriter {
    /// Starts a pack.
    #[must_use]
    pub fn new() -> Self {
        let mut writer = Self {
            entries: Vec::new(),
            flushed: 0,
            buffer: Vec::with_capacity(BUFFER_LEN),
            digest: Sha256::new(),
        };
        writer.push(&header());
        writer
    }

    fn push(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.buffer.extend_from_slice(bytes);
    }

    fn flush(&mut self, out: &dyn WriteAt) -> Result<()> {
        out.write_all_at(&self.buffer, self.flushed)?;
        self.flushed = self.end();
        self.buffer.clear();
        Ok(())
    }

    /// Returns the bytes so far: where the next chunk will stand.
    #[must_use]
    pub fn end(&self) -> u64 {
        let waiting = u64::try_from(self.buffer.len()).expect("about a mebibyte");
        self.flushed.strict_add(waiting)
    }

    /// Tells whether there is no chunk yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Tells whether a chunk of `len` stored bytes belongs in the next pack: this one has reached
    /// its most chunks, or would pass `max_size` bytes. An empty pack takes any chunk.
    #[must_use]
    pub fn is_full_for(&self, len: usize, max_size: u64) -> bool {
        let len = u64::try_from(len).expect("about a mebibyte");
        let full = self.entries.len() >= usize::try_from(MAX_CHUNKS).expect("65,536");
        full || (!self.is_empty() && self.end().strict_add(len) > max_size)
    }

    /// Appends a chunk: its id and its stored bytes. `out` holds the pack from byte 0 on.
    ///
    /// # Errors
    ///
    /// `Io` if the output cannot be written.
    pub fn append(&mut self, out: &dyn WriteAt, id: Digest, chunk: Stored<'_>) -> Result<()> {
        let Stored { form, bytes } = chunk;
        let len = u32::try_from(bytes.len()).expect("a frame of a chunk");
        self.entries.push(Entry { id, offset: self.end(), len, crc: crc32(bytes), form });
        self.push(bytes);
        if self.buffer.len() >= BUFFER_LEN { self.flush(out) } else { Ok(()) }
    }

    /// Writes index and footer. `out` is complete then, but not synced.
    ///
    /// # Errors
    ///
    /// `Io` if the output cannot be written.
    pub fn finish(mut self, out: &dyn WriteAt) -> Result<Finished> {
        self.entries.sort_unstable_by_key(|entry| entry.id);
        let mut entries = Vec::with_capacity(self.entries.len().strict_mul(ENTRY_LEN));
        for entry in &self.entries {
            entries.extend_from_slice(&entry.to_bytes());
        }
        let count = u32::try_from(self.entries.len()).expect("at most 65,536");
        let index_offset = self.end().strict_add(SKIP_SIZE);
        let index_len = u64::try_from(entries.len()).expect("at most 3 MiB");
        let footer = Footer {
            index_offset,
            count,
            index_crc: crc32(&entries),
            file_len: index_offset.strict_add(index_len).strict_add(FOOTER_SIZE),
            header_crc: crc32(&header()),
        };
        self.push(&index_frame(count));
        self.push(&entries);
        self.push(&footer.to_bytes());
        self.flush(out)?;
        assert_eq!(self.flushed, footer.file_len, "bytes of the pack");
        Ok(Finished { digest: self.digest.finish(), file_len: footer.file_len, chunk_count: count })
    }
}

impl Default for PackWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for PackWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackWriter").field("end", &self.end()).finish_non_exhaustive()
    }
}

/// Most chunk ids that are remembered: what a table of 2^19 places holds, 18 MiB of memory.
const MOST_REMEMBERED: usize = 458_752;

/// The chunks that a run has stored, so that none is stored twice.
///
/// Past 458,752 of them it takes no more: then a chunk can be stored again, which costs space and
/// nothing else.
#[derive(Debug, Default)]
pub struct KnownChunks(HashSet<Digest>);

impl KnownChunks {
    /// Tells whether the chunk is remembered.
    #[must_use]
    pub fn contains(&self, id: &Digest) -> bool {
        self.0.contains(id)
    }

    /// Remembers the chunk, if there is room.
    pub fn insert(&mut self, id: Digest) {
        if self.0.len() < MOST_REMEMBERED {
            self.0.insert(id);
        }
    }
}

const _: () = assert!(HEADER_SIZE == 32, "the first chunk stands behind the header");
