//! A snapshot as the base that patched chunks depend on.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;

use crate::bundle::snapshot::check_inside;
use crate::bundle::snapshot::run_at;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::field;
use crate::io::Input;
use crate::manifest::Block;
use crate::manifest::Manifest;
use crate::pack::ChunkReader;
use crate::pack::Chunks;
use crate::pack::GroupId;
use crate::pack::Page;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::Extent;
use crate::units::PAGE_SIZE;
use crate::volume::ReadVolume;
use crate::work::Pool;

/// Where a base's bytes come from.
#[derive(Debug)]
pub enum BaseBytes {
    /// An image that was seen to be the snapshot; it is read at the place where a page is.
    Image(Box<dyn ReadVolume>),
    /// The packs of a bundle; groups are decompressed, and kept for a while.
    Packs(Chunks),
    /// Nowhere that is known: the bundle is thin, and nobody has named its base.
    Absent,
}

/// A snapshot whose pages and chunks others depend on.
pub struct BaseSnapshot {
    manifest: Manifest,
    bytes: BaseBytes,
    readers: Pool<ChunkReader>,
    places: OnceLock<Vec<(u64, u32)>>,
    other_states: u64,
    file: Option<Arc<Input>>,
}

impl BaseSnapshot {
    /// Joins a manifest with the bytes of its snapshot.
    #[must_use]
    pub fn new(manifest: Manifest, bytes: BaseBytes) -> Self {
        if let BaseBytes::Packs(chunks) = &bytes {
            chunks.expect_patches();
        }
        Self {
            manifest,
            bytes,
            readers: Pool::default(),
            places: OnceLock::new(),
            other_states: 0,
            file: None,
        }
    }

    /// Says that the bytes of the image are those of a file, one after the other.
    #[must_use]
    pub fn with_file(self, file: Arc<Input>) -> Self {
        Self { file: Some(file), ..self }
    }

    /// Returns the file that the image is, where it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Input> {
        self.file.as_deref()
    }

    /// Says that so many blocks, all zeros, are holes in the image and written in the snapshot, or the other
    /// way round. Their bytes are the same.
    #[must_use]
    pub fn with_other_states(self, count: u64) -> Self {
        Self { other_states: count, ..self }
    }

    /// Returns how many blocks are in another state in the image than in the snapshot.
    #[must_use]
    pub fn other_states(&self) -> u64 {
        self.other_states
    }

    /// Returns the manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the packs that it is read from, if it is not an image.
    #[must_use]
    pub fn chunks(&self) -> Option<&Chunks> {
        match &self.bytes {
            BaseBytes::Image(_) | BaseBytes::Absent => None,
            BaseBytes::Packs(chunks) => Some(chunks),
        }
    }

    /// Says that the bytes are needed.
    fn absent(&self) -> Error {
        let text = format!(
            "the bundle is thin: it needs the snapshot sha256:{}, which is not in it",
            self.manifest.root()
        );
        Error::invalid(text).advise(Advice::NameBase)
    }

    /// Returns a block that holds the chunk `id`.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a group of the manifest is damaged.
    pub fn find(&self, id: &Digest) -> Result<Option<BlockIndex>> {
        let places = if let Some(places) = self.places.get() {
            places
        } else {
            let places = places(&self.manifest)?;
            self.places.get_or_init(|| places)
        };
        let key = field::u64_le(&id.0, 0);
        let first = places.partition_point(|(other, _)| *other < key);
        for (other, block) in &places[first..] {
            if *other != key {
                break;
            }
            let block = BlockIndex(*block);
            if self.manifest.block(block)? == Block::Data(*id) {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    /// Fills `buf` with the bytes from `start` on; what is behind the last one is zeros.
    fn read_bytes(&self, start: u64, buf: &mut [u8]) -> Result<()> {
        let mut at = start;
        let mut rest = buf;
        while !rest.is_empty() {
            let index = BlockIndex::holding(at).expect("inside the volume");
            let there = index.offset().strict_add(BLOCK_SIZE).strict_sub(at);
            let len = usize::try_from(there).expect("at most a block").min(rest.len());
            let (part, behind) = rest.split_at_mut(len);
            self.read_block(index, at.strict_sub(index.offset()), part)?;
            at = at.strict_add(u64::try_from(len).expect("at most a block"));
            rest = behind;
        }
        Ok(())
    }

    /// Fills `buf` with a part of block `index`, from byte `start` of it on.
    fn read_block(&self, index: BlockIndex, start: u64, buf: &mut [u8]) -> Result<()> {
        match &self.bytes {
            BaseBytes::Image(volume) => {
                let offset = index.offset().strict_add(start);
                let there = volume.size().saturating_sub(offset);
                let len = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
                let (inside, behind) = buf.split_at_mut(len);
                behind.fill(0);
                if inside.is_empty() { Ok(()) } else { volume.read_at(offset, inside) }
            }
            BaseBytes::Absent => Err(self.absent()),
            BaseBytes::Packs(chunks) => match self.manifest.block(index)? {
                Block::Data(id) => {
                    let start = usize::try_from(start).expect("in a block");
                    let mut reader = self.readers.take().unwrap_or_else(|| chunks.reader());
                    let read = chunks.read_part(&id, start, buf, &mut reader);
                    self.readers.give(reader);
                    read
                }
                Block::Zero | Block::Hole => {
                    buf.fill(0);
                    Ok(())
                }
            },
        }
    }
}

/// Lists the data blocks of a manifest by the first bytes of their chunks' ids.
fn places(manifest: &Manifest) -> Result<Vec<(u64, u32)>> {
    let mut places = Vec::new();
    manifest.for_each_written(|index, block| {
        if let Block::Data(id) = block {
            places.push((field::u64_le(&id.0, 0), index.0));
        }
        Ok(())
    })?;
    places.sort_unstable();
    Ok(places)
}

impl crate::pack::Base for BaseSnapshot {
    fn root(&self) -> Digest {
        self.manifest.root()
    }

    fn read_pages(&self, page: Page, pages: &mut [u8]) -> Result<()> {
        let size = self.manifest.volume_size();
        let len = u64::try_from(pages.len()).expect("memory is under 2^64 bytes");
        let start = page.checked_mul(PAGE_SIZE);
        let end = start.and_then(|start| start.checked_add(len));
        let (Some(start), Some(end)) = (start, end) else { return Err(no_page(page)) };
        if end > size.next_multiple_of(PAGE_SIZE) {
            return Err(no_page(page));
        }
        self.read_bytes(start, pages)
    }

    fn read_chunk(&self, id: &Digest, plain: &mut [u8]) -> Result<bool> {
        match self.find(id)? {
            Some(index) => self.read_block(index, 0, plain).map(|()| true),
            None => Ok(false),
        }
    }

    fn has_chunk(&self, id: &Digest) -> Result<bool> {
        Ok(self.find(id)?.is_some())
    }

    fn reads(&self, index: BlockIndex) -> Result<u8> {
        match (&self.bytes, self.manifest.block(index)?) {
            (_, Block::Zero | Block::Hole) => Ok(0),
            (BaseBytes::Packs(chunks), Block::Data(id)) => chunks.reads(&id),
            (BaseBytes::Image(_) | BaseBytes::Absent, Block::Data(_)) => Ok(1),
        }
    }

    fn groups(&self, index: BlockIndex, groups: &mut BTreeSet<GroupId>) -> Result<()> {
        match (&self.bytes, self.manifest.block(index)?) {
            (BaseBytes::Packs(chunks), Block::Data(id)) => chunks.groups(&id, groups),
            _ => Ok(()),
        }
    }

    fn chunk_groups(&self, id: &Digest, groups: &mut BTreeSet<GroupId>) -> Result<bool> {
        match self.find(id)? {
            Some(index) => self.groups(index, groups).map(|()| true),
            None => Ok(false),
        }
    }

    fn is_absent(&self) -> bool {
        matches!(self.bytes, BaseBytes::Absent)
    }

    fn check_unchanged(&self) -> Result<()> {
        match &self.bytes {
            BaseBytes::Image(volume) => volume.check_unchanged(),
            BaseBytes::Packs(chunks) => chunks.check_unchanged(),
            BaseBytes::Absent => Ok(()),
        }
    }
}

/// A base as the volume that it is. Its bytes are not checked: a caller that needs the right ones compares what comes of them.
#[derive(Clone, Copy, Debug)]
pub struct BaseVolume<'a>(pub &'a BaseSnapshot);

impl ReadVolume for BaseVolume<'_> {
    fn size(&self) -> u64 {
        self.0.manifest.volume_size()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        run_at(&self.0.manifest, offset)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_inside(offset, buf.len(), self.size())?;
        self.0.read_bytes(offset, buf)
    }

    fn unit_len(&self) -> usize {
        match &self.0.bytes {
            BaseBytes::Image(volume) => volume.unit_len(),
            BaseBytes::Packs(_) | BaseBytes::Absent => BLOCK_LEN,
        }
    }

    fn check_unchanged(&self) -> Result<()> {
        crate::pack::Base::check_unchanged(self.0)
    }
}

fn no_page(page: Page) -> Error {
    Error::corrupt(format!("the patch names page {page}, which the base does not have"))
}

impl fmt::Debug for BaseSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseSnapshot").field("root", &self.manifest.root()).finish_non_exhaustive()
    }
}
