//! The page index of a base: which page has this content, and where a piece of a file was before.

use std::num::NonZero;
use std::path::Path;

use rayon::slice::ParallelSliceMut;

use crate::delta::anchors::anchors;
use crate::delta::entry::Entry;
use crate::delta::entry::KEY_BITS;
use crate::delta::entry::Key;
use crate::delta::entry::Sampling;
use crate::delta::entry::key_of;
use crate::delta::entry::page_of;
use crate::delta::index_file;
use crate::delta::index_file::ENTRY_LEN;
use crate::delta::index_file::Header;
use crate::digest::Digest;
use crate::digest::is_zero;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Input;
use crate::io::Mapped;
use crate::io::OutputFile;
use crate::manifest::Block;
use crate::manifest::Manifest;
use crate::pack::Base;
use crate::pack::Page;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_PAGES;
use crate::units::BlockIndex;
use crate::units::PAGE_LEN;
use crate::units::PAGE_SIZE;
use crate::work::Watch;
use crate::work::in_order;

/// Bits of a key that say where to look for it.
const BUCKET_BITS: u32 = 16;

#[derive(Debug)]
enum Entries {
    Made(Vec<Entry>),
    File(Mapped),
}

impl Entries {
    fn len(&self) -> usize {
        match self {
            Self::Made(entries) => entries.len(),
            Self::File(bytes) => bytes[index_file::HEADER_LEN..].len() / ENTRY_LEN,
        }
    }

    fn get(&self, at: usize) -> Entry {
        match self {
            Self::Made(entries) => entries[at],
            Self::File(bytes) => {
                let bytes = bytes[index_file::HEADER_LEN..].as_chunks::<ENTRY_LEN>().0[at];
                index_file::entry(&bytes)
            }
        }
    }
}

/// Finds pages of a base by their content.
#[derive(Debug)]
pub struct PageIndex {
    root: Digest,
    sampling: Sampling,
    entries: Entries,
    /// Where the entries of each value of a key's top bits start.
    buckets: Vec<u32>,
}

impl PageIndex {
    /// Makes the index of the snapshot that `manifest` describes and `base` reads. `watch` hears the
    /// bytes of its data blocks.
    ///
    /// # Errors
    ///
    /// As reading the base; `Interrupted` on request.
    pub fn build(
        manifest: &Manifest,
        base: &dyn Base,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Self> {
        let blocks = manifest.header().counts.data;
        let sampling = Sampling::of(blocks.strict_mul(BLOCK_PAGES));
        let mut entries: Vec<Entry> = Vec::new();
        let pages = manifest.volume_size().div_ceil(PAGE_SIZE);
        let jobs = data_blocks(manifest);
        in_order(
            threads,
            watch,
            jobs,
            || Ok(vec![0; BLOCK_LEN]),
            |plain, index| {
                let first = u64::from(index.0).strict_mul(BLOCK_PAGES);
                let count = pages.strict_sub(first).min(BLOCK_PAGES);
                let len = usize::try_from(count).expect("at most 128").strict_mul(PAGE_LEN);
                base.read_pages(first, &mut plain[..len])?;
                Ok(block_entries(&plain[..len], first, sampling))
            },
            |mut found| {
                entries.append(&mut found);
                watch.advance(crate::units::BLOCK_SIZE);
                Ok(())
            },
        )?;
        entries.par_sort_unstable();
        // Of pages with the same content the first stays: which one that is depends on nothing else.
        entries.dedup_by_key(|entry| key_of(*entry));
        Ok(Self::new(manifest.root(), sampling, Entries::Made(entries)))
    }

    fn new(root: Digest, sampling: Sampling, entries: Entries) -> Self {
        let mut buckets = vec![0; (1 << BUCKET_BITS) + 1];
        let mut next = 0;
        for at in 0..entries.len() {
            let bucket = bucket(key_of(entries.get(at)));
            while next <= bucket {
                buckets[next] = u32::try_from(at).expect("at most 2^28 entries");
                next = next.strict_add(1);
            }
        }
        buckets[next..].fill(u32::try_from(entries.len()).expect("at most 2^28 entries"));
        Self { root, sampling, entries, buckets }
    }

    /// Opens an index that [`PageIndex::write`] wrote, and checks all of it.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `Unsupported` or `Mismatch` if it is not a valid index of the snapshot `root`.
    pub fn open(input: &Input, root: Digest) -> Result<Self> {
        let (header, bytes) = index_file::open(input, root).map_err(|e| {
            let e = e.in_file(input.path());
            let faulty = e.kind() == Kind::Corrupt || e.kind() == Kind::Unsupported;
            if faulty { e.advise("remove it: it is rebuilt from the base") } else { e }
        })?;
        Ok(Self::new(root, header.sampling, Entries::File(bytes)))
    }

    /// Writes the index as a file, to be opened instead of being made again.
    ///
    /// # Errors
    ///
    /// `Io` if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let out = OutputFile::create(path)?;
        let count = u64::try_from(self.entries.len()).expect("at most 2^28");
        let header = Header { root: self.root, sampling: self.sampling, count };
        let entries = (0..self.entries.len()).map(|at| self.entries.get(at));
        index_file::write(&out, &header, entries)?;
        out.commit()
    }

    /// Returns how many entries there are, of 12 bytes each.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether the base has no data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells whether each page of the base is in it.
    pub(super) fn has_all_pages(&self) -> bool {
        self.sampling.pages == 0
    }

    /// Returns a page of the base that may have the content of this key: the first of them.
    pub(super) fn find(&self, key: Key) -> Option<Page> {
        let bucket = bucket(key);
        let place = |bucket: usize| usize::try_from(self.buckets[bucket]).expect("32 bits");
        let (mut low, mut high) = (place(bucket), place(bucket.strict_add(1)));
        while low < high {
            let middle = low.midpoint(high);
            if key_of(self.entries.get(middle)) < key {
                low = middle.strict_add(1);
            } else {
                high = middle;
            }
        }
        let entry = (low < place(bucket.strict_add(1))).then(|| self.entries.get(low))?;
        (key_of(entry) == key).then(|| page_of(entry))
    }

    /// Calls `visit` for each anchor of `bytes` that the base has: its offset, and the base's page.
    pub(super) fn anchors(&self, bytes: &[u8], mut visit: impl FnMut(usize, Page)) {
        let Some(bits) = self.sampling.anchors else { return };
        anchors(bytes, |at, hash| {
            let key = Key::of_anchor(hash);
            if key.is_sampled(bits)
                && let Some(page) = self.find(key)
            {
                visit(at, page);
            }
        });
    }
}

fn bucket(key: Key) -> usize {
    usize::try_from(key.0 >> (KEY_BITS - BUCKET_BITS)).expect("16 bits")
}

/// Iterates over the data blocks of a manifest, ascending.
fn data_blocks(manifest: &Manifest) -> impl Iterator<Item = Result<BlockIndex>> + '_ {
    manifest.entries().flat_map(move |entry| {
        let group = entry.and_then(|entry| manifest.group(&entry));
        let (group, error) = match group {
            Ok(group) => (Some(group), None),
            Err(error) => (None, Some(Err(error))),
        };
        let blocks = group.into_iter().flat_map(|group| {
            (0..crate::manifest::GROUP_BLOCKS)
                .filter(move |bit| matches!(group.block(*bit), Block::Data(_)))
                .map(move |bit| Ok(group.index(bit)))
        });
        error.into_iter().chain(blocks)
    })
}

/// Returns the entries of a block whose first page is `first`.
fn block_entries(plain: &[u8], first: Page, sampling: Sampling) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (page, bytes) in (first..).zip(plain.chunks(PAGE_LEN)) {
        if !is_zero(bytes) {
            let key = Key::of_page(bytes);
            if key.is_sampled(sampling.pages) {
                entries.push(key.entry(page));
            }
        }
    }
    if let Some(bits) = sampling.anchors {
        anchors(plain, |at, hash| {
            let key = Key::of_anchor(hash);
            if key.is_sampled(bits) {
                let page = first.strict_add(u64::try_from(at / PAGE_LEN).expect("below 128"));
                entries.push(key.entry(page));
            }
        });
    }
    entries
}
