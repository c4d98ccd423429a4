//! Writing a pack: one pass, one appender.

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::digest::crc32;
use crate::error::Result;
use crate::io::PageBuffer;
use crate::io::WriteAt;
use crate::pack::layout::ENTRY_LEN;
use crate::pack::layout::Entry;
use crate::pack::layout::FOOTER_SIZE;
use crate::pack::layout::Footer;
use crate::pack::layout::Form;
use crate::pack::layout::GROUP_LEN;
use crate::pack::layout::Group;
use crate::pack::layout::HEADER_SIZE;
use crate::pack::layout::MAX_CHUNKS;
use crate::pack::layout::MAX_GROUP_CHUNKS;
use crate::pack::layout::Region;
use crate::pack::layout::SKIP_SIZE;
use crate::pack::layout::header;
use crate::pack::layout::index_frame;

/// Bytes that are gathered before they are written, always at a multiple of so many: so writes can bypass the
/// page cache, and the disk works while the next groups are compressed.
const BUFFER_LEN: usize = 2 << 20;

/// A group's stored bytes, and what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// What the bytes are.
    pub form: Form,
    /// The chunks, in their order; one if they are patched.
    pub ids: &'a [Digest],
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
    region: Region,
    groups: Vec<Group>,
    entries: Vec<Entry>,
    /// Where the bytes in `buffer` start.
    flushed: u64,
    buffer: PageBuffer,
    /// How many there are.
    filled: usize,
    digest: Sha256,
}

impl PackWriter {
    /// Starts a pack of chunks of a region.
    #[must_use]
    pub fn new(region: Region) -> Self {
        let mut writer = Self {
            region,
            groups: Vec::new(),
            entries: Vec::new(),
            flushed: 0,
            buffer: PageBuffer::zeroed(BUFFER_LEN),
            filled: 0,
            digest: Sha256::new(),
        };
        let header = header();
        let rest = writer.gather(&header);
        assert!(rest.is_empty(), "the header is shorter than the buffer");
        writer
    }

    /// Takes what fits the buffer, and returns the rest.
    fn gather<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let room = BUFFER_LEN.strict_sub(self.filled);
        let (taken, rest) = bytes.split_at(bytes.len().min(room));
        self.digest.update(taken);
        self.buffer[self.filled..][..taken.len()].copy_from_slice(taken);
        self.filled = self.filled.strict_add(taken.len());
        rest
    }

    fn push(&mut self, out: &dyn WriteAt, bytes: &[u8]) -> Result<()> {
        let mut rest = self.gather(bytes);
        while self.filled == BUFFER_LEN {
            self.flush(out)?;
            rest = self.gather(rest);
        }
        Ok(())
    }

    fn flush(&mut self, out: &dyn WriteAt) -> Result<()> {
        out.write_all_at(&self.buffer[..self.filled], self.flushed)?;
        self.flushed = self.end();
        self.filled = 0;
        Ok(())
    }

    /// Returns the region whose chunks it takes.
    #[must_use]
    pub fn region(&self) -> Region {
        self.region
    }

    /// Returns the bytes so far: where the next group will stand.
    #[must_use]
    pub fn end(&self) -> u64 {
        let waiting = u64::try_from(self.filled).expect("at most 2 MiB");
        self.flushed.strict_add(waiting)
    }

    /// Tells whether there is no chunk yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Tells whether a group belongs in the next pack: this one would get more chunks than a pack can
    /// have, or would pass `max_size` bytes. An empty pack takes any group.
    #[must_use]
    pub fn is_full_for(&self, group: Stored<'_>, max_size: u64) -> bool {
        let most = usize::try_from(MAX_CHUNKS).expect("65,536");
        let len = u64::try_from(group.bytes.len()).expect("at most 64 MiB");
        let full = self.entries.len().strict_add(group.ids.len()) > most;
        full || (!self.is_empty() && self.end().strict_add(len) > max_size)
    }

    /// Appends a group. `out` holds the pack from byte 0 on.
    ///
    /// # Errors
    ///
    /// `Io` if the output cannot be written.
    ///
    /// # Panics
    ///
    /// If a group cannot have so many chunks.
    pub fn append(&mut self, out: &dyn WriteAt, group: Stored<'_>) -> Result<()> {
        let Stored { form, ids, bytes } = group;
        let chunks = u16::try_from(ids.len()).expect("at most 128 chunks");
        let most = if form == Form::Patched { 1 } else { MAX_GROUP_CHUNKS };
        assert!((1..=most).contains(&u32::from(chunks)), "{chunks} chunks in a group");
        let number = u16::try_from(self.groups.len()).expect("no more groups than chunks");
        self.groups.push(Group {
            offset: self.end(),
            len: u32::try_from(bytes.len()).expect("about 64 MiB"),
            crc: crc32(bytes),
            chunks,
            form,
        });
        let entries =
            ids.iter().zip(0..).map(|(id, position)| Entry { id: *id, group: number, position });
        self.entries.extend(entries);
        self.push(out, bytes)
    }

    /// Writes index and footer. `out` is complete then, but not synced.
    ///
    /// # Errors
    ///
    /// `Io` if the output cannot be written.
    pub fn finish(mut self, out: &dyn WriteAt) -> Result<Finished> {
        self.entries.sort_unstable_by_key(|entry| entry.id);
        let (groups, chunks) = (self.groups.len(), self.entries.len());
        let len = groups.strict_mul(GROUP_LEN).strict_add(chunks.strict_mul(ENTRY_LEN));
        let mut tables = Vec::with_capacity(len);
        self.groups.iter().for_each(|group| tables.extend_from_slice(&group.to_bytes()));
        self.entries.iter().for_each(|entry| tables.extend_from_slice(&entry.to_bytes()));
        let count = |count: usize| u32::try_from(count).expect("at most 65,536");
        let (group_count, chunk_count) = (count(groups), count(chunks));
        let index_offset = self.end().strict_add(SKIP_SIZE);
        let index_len = u64::try_from(tables.len()).expect("at most 4 MiB");
        let footer = Footer {
            index_offset,
            group_count,
            chunk_count,
            file_len: index_offset.strict_add(index_len).strict_add(FOOTER_SIZE),
            region: self.region,
            index_crc: crc32(&tables),
            header_crc: crc32(&header()),
        };
        self.push(out, &index_frame(group_count, chunk_count))?;
        self.push(out, &tables)?;
        self.push(out, &footer.to_bytes())?;
        self.flush(out)?;
        assert_eq!(self.flushed, footer.file_len, "bytes of the pack");
        Ok(Finished { digest: self.digest.finish(), file_len: footer.file_len, chunk_count })
    }
}

impl Default for PackWriter {
    fn default() -> Self {
        Self::new(Region::default())
    }
}

impl std::fmt::Debug for PackWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackWriter").field("end", &self.end()).finish_non_exhaustive()
    }
}

const _: () = assert!(HEADER_SIZE == 32, "the first group stands behind the header");
