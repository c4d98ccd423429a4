//! A snapshot of a bundle, read as a volume.

use std::ops::Range;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Verb;
use crate::manifest::Block;
use crate::manifest::Manifest;
use crate::pack::ChunkReader;
use crate::pack::Chunks;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::Extent;
use crate::volume::ReadVolume;
use crate::work::Pool;

/// A snapshot and the chunks that it is made of.
#[derive(Debug)]
pub struct Snapshot {
    manifest: Manifest,
    chunks: Arc<Chunks>,
    /// What threads need to read chunks, lent to one at a time.
    readers: Pool<ChunkReader>,
}

impl Snapshot {
    /// Joins a manifest with the chunks of its bundle.
    #[must_use]
    pub fn new(manifest: Manifest, chunks: Arc<Chunks>) -> Self {
        Self { manifest, chunks, readers: Pool::default() }
    }

    /// Returns the manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the chunks.
    #[must_use]
    pub fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// Reads whole data blocks, one after the other, each checked.
    fn read_chunks(&self, ids: &[Digest], first: BlockIndex, plain: &mut [u8]) -> Result<()> {
        let mut reader = self.readers.take().unwrap_or_else(|| self.chunks.reader_apart());
        let read = self.chunks.read(ids, plain, &mut reader).map_err(|e| {
            // A caller with better advice, as for a thin bundle, has given it.
            if e.advice().is_some() {
                return e;
            }
            let last = first.0.strict_add(u32::try_from(ids.len()).expect("a few")).strict_sub(1);
            let blocks = match ids {
                [_] => format!("block {first}"),
                _ => format!("a block of {first} to {last}"),
            };
            let to = format!("list all damage; {blocks} cannot be restored").into();
            e.advise(Advice::Use { verb: Verb::Verify, to })
        });
        self.readers.give(reader);
        read
    }

    /// Reads the bytes `range` of the volume, all in one data block.
    fn read_part(&self, id: Digest, range: Range<u64>, buf: &mut [u8]) -> Result<()> {
        let index = BlockIndex::holding(range.start).expect("inside the volume");
        let mut plain = vec![0; BLOCK_LEN];
        self.read_chunks(&[id], index, &mut plain)?;
        let start = usize::try_from(range.start.strict_sub(index.offset())).expect("in a block");
        buf.copy_from_slice(&plain[start..][..buf.len()]);
        Ok(())
    }
}

impl ReadVolume for Snapshot {
    fn size(&self) -> u64 {
        self.manifest.volume_size()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        run_at(&self.manifest, offset)
    }

    /// Whole blocks that follow each other are decompressed in place and hashed side by side.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = check_inside(offset, buf.len(), self.size())?;
        let mut rest = buf;
        let mut at = offset;
        let mut ids = Vec::new();
        while at < end {
            let first = BlockIndex::holding(at).expect("inside the volume");
            ids.clear();
            let mut next = first;
            // Whole data blocks from here on.
            while next.offset() >= at && next.offset().strict_add(BLOCK_SIZE) <= end {
                let Block::Data(id) = self.manifest.block(next)? else { break };
                ids.push(id);
                next = BlockIndex(next.0.strict_add(1));
            }
            if ids.is_empty() {
                let stop = first.offset().strict_add(BLOCK_SIZE).min(end);
                let len = usize::try_from(stop.strict_sub(at)).expect("at most a block");
                let (part, behind) = rest.split_at_mut(len);
                match self.manifest.block(first)? {
                    Block::Data(id) => self.read_part(id, at..stop, part)?,
                    Block::Zero | Block::Hole => part.fill(0),
                }
                (rest, at) = (behind, stop);
            } else {
                let (part, behind) = rest.split_at_mut(ids.len().strict_mul(BLOCK_LEN));
                self.read_chunks(&ids, first, part)?;
                (rest, at) = (behind, next.offset());
            }
        }
        Ok(())
    }

    fn unit_len(&self) -> usize {
        BLOCK_LEN
    }

    fn check_unchanged(&self) -> Result<()> {
        self.chunks.check_unchanged()
    }
}

/// Returns the run of blocks of one kind that starts at byte `offset` of the volume of a manifest.
pub(super) fn run_at(manifest: &Manifest, offset: u64) -> Result<Extent> {
    if offset >= manifest.volume_size() {
        return Err(Error::invalid(format!("byte {offset} is past the end of the volume")));
    }
    let index = BlockIndex::holding(offset).expect("inside the volume");
    let (kind, end) = manifest.run_at(index)?;
    let end = end.offset().min(manifest.volume_size());
    Ok(Extent { range: offset..end, kind })
}

/// Returns where bytes end that are read of a volume of `size` bytes.
pub(super) fn check_inside(offset: u64, len: usize, size: u64) -> Result<u64> {
    let len = u64::try_from(len).expect("memory is under 2^64 bytes");
    offset.checked_add(len).filter(|end| *end <= size).ok_or_else(|| {
        Error::invalid(format!("{len} bytes at byte {offset} are not inside the volume"))
    })
}
