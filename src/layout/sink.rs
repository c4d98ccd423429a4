//! A layout under way: a folder, or one archive.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use crate::digest::Digest;
use crate::error::Result;
use crate::io::Judge;
use crate::io::OutputDir;
use crate::io::OutputFile;
use crate::io::Scratch;
use crate::io::StagedFiles;
use crate::io::WriteAt;
use crate::layout::destination::Destination;
use crate::layout::entry::entry_of;
use crate::layout::entry::index_of;
use crate::layout::name::INDEX_NAME;
use crate::layout::name::LAYOUT_NAME;
use crate::layout::name::blob_name;
use crate::layout::name::is_archive_name;
use crate::layout::oci;
use crate::layout::oci::Descriptor;
use crate::layout::shared::SharedLayout;
use crate::layout::shared::Work;
use crate::layout::shared::is_store;
use crate::layout::tar;
use crate::work::Watch;

/// A bundle's files under way.
#[derive(Debug)]
pub(crate) enum Sink {
    Folder(OutputDir),
    Archive { file: OutputFile, end: u64, blobs: BTreeSet<Digest> },
    Store(Box<IntoStore>),
}

/// New blobs of a store, and the name that their manifest will have.
#[derive(Debug)]
pub(crate) struct IntoStore {
    layout: SharedLayout,
    staged: StagedFiles,
    name: String,
    blobs: Vec<Digest>,
}

/// A blob under way: its bytes are written from offset 0 on.
#[derive(Debug)]
pub(crate) enum NewBlob {
    Folder(OutputFile),
    /// The archive's bytes behind the place of the blob's header.
    Archive {
        start: u64,
    },
}

/// The bytes of an archive from some place on, as an output of its own.
#[derive(Debug)]
struct Section<'a> {
    file: &'a OutputFile,
    start: u64,
}

impl WriteAt for Section<'_> {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, self.start.strict_add(offset))
    }

    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        self.file.make_hole_at(len, self.start.strict_add(offset))
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.file.set_size(self.start.strict_add(size))
    }
}

impl Sink {
    /// Starts a bundle that will be called `target`. A folder that stands there is replaced if
    /// `may_replace` does not fail.
    pub(crate) fn create(target: &Path, may_replace: Judge, watch: &dyn Watch) -> Result<Self> {
        if let Destination::Store { store, name } = Destination::parse(target)? {
            return Self::into_store(&store, name, watch);
        }
        if is_archive_name(target) {
            let file = OutputFile::create(target)?;
            let mut sink = Self::Archive { file, end: 0, blobs: BTreeSet::new() };
            sink.write(LAYOUT_NAME, oci::LAYOUT.as_bytes())?;
            return Ok(sink);
        }
        let folder = OutputDir::replacing(target, may_replace)?;
        folder.make_dir("blobs/sha256")?;
        folder.write(LAYOUT_NAME, oci::LAYOUT.as_bytes())?;
        Ok(Self::Folder(folder))
    }

    fn into_store(store: &Path, name: String, watch: &dyn Watch) -> Result<Self> {
        if !is_store(store)? {
            SharedLayout::init(store)?;
        }
        let layout = SharedLayout::open(store, Work::Add, watch)?;
        let staged = layout.stage()?;
        Ok(Self::Store(Box::new(IntoStore { layout, staged, name, blobs: Vec::new() })))
    }

    /// Returns the store that it goes into, if it does.
    pub(crate) fn store(&self) -> Option<&SharedLayout> {
        match self {
            Self::Store(store) => Some(&store.layout),
            Self::Folder(_) | Self::Archive { .. } => None,
        }
    }

    /// Tells whether a blob is where it goes already, so that it need not be written.
    pub(crate) fn has(&self, blob: &Descriptor) -> Result<bool> {
        match self.store() {
            Some(store) => store.has(&blob.digest, blob.size),
            None => Ok(false),
        }
    }

    /// Starts a file without a name that is not part of the bundle.
    pub(crate) fn scratch(&self) -> Result<Scratch> {
        match self {
            Self::Folder(folder) => Scratch::inside(folder),
            Self::Archive { file, .. } => Scratch::beside(file),
            Self::Store(store) => store.staged.scratch(),
        }
    }

    /// Starts a blob; one at a time.
    pub(crate) fn new_blob(&self) -> Result<NewBlob> {
        match self {
            Self::Folder(folder) => folder.new_file().map(NewBlob::Folder),
            Self::Archive { end, .. } => {
                Ok(NewBlob::Archive { start: end.strict_add(tar::RECORD_SIZE) })
            }
            Self::Store(store) => store.staged.new_file().map(NewBlob::Folder),
        }
    }

    /// Calls `write` with the blob as an output.
    pub(crate) fn with_blob<T>(
        &self,
        blob: &NewBlob,
        write: impl FnOnce(&dyn WriteAt) -> Result<T>,
    ) -> Result<T> {
        match (self, blob) {
            (_, NewBlob::Folder(file)) => write(file),
            (Self::Archive { file, .. }, NewBlob::Archive { start }) => {
                write(&Section { file, start: *start })
            }
            (Self::Folder(_) | Self::Store(_), NewBlob::Archive { .. }) => {
                unreachable!("a blob goes back to the sink that it is of")
            }
        }
    }

    /// Ends a blob of `size` bytes.
    pub(crate) fn place_blob(&mut self, blob: NewBlob, digest: &Digest, size: u64) -> Result<()> {
        match (self, blob) {
            (Self::Folder(folder), NewBlob::Folder(file)) => folder.put(file, &blob_name(digest)),
            (Self::Archive { file, end, blobs }, NewBlob::Archive { start }) => {
                // Two volumes can have the same manifest: the next member overwrites the copy.
                if blobs.insert(*digest) {
                    let header = tar::header(&blob_name(digest), size);
                    file.write_all_at(&header, start.strict_sub(tar::RECORD_SIZE))?;
                    *end = pad(file, start.strict_add(size))?;
                }
                Ok(())
            }
            (Self::Store(store), NewBlob::Folder(file)) => {
                store.blobs.push(*digest);
                store.staged.put(file, &digest.to_string())
            }
            _ => unreachable!("a blob goes back to the sink that it is of"),
        }
    }

    /// Writes a small file that is not a blob.
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Folder(folder) => folder.write(name, bytes),
            Self::Archive { file, end, .. } => {
                let size = u64::try_from(bytes.len()).expect("memory is under 2^64 bytes");
                let start = end.strict_add(tar::RECORD_SIZE);
                file.write_all_at(&tar::header(name, size), *end)?;
                file.write_all_at(bytes, start)?;
                *end = pad(file, start.strict_add(size))?;
                Ok(())
            }
            Self::Store(_) => unreachable!("a store has its own documents"),
        }
    }

    /// Gives the bundle its name: it is whole and on the disk when this returns. In a store, its manifest has the name
    /// that was chosen there, and `facts` in its entry; else `reference`.
    pub(crate) fn commit(
        mut self,
        manifest: &Descriptor,
        artifact_type: &str,
        reference: String,
        facts: &BTreeMap<String, String>,
        watch: &dyn Watch,
    ) -> Result<()> {
        if !matches!(self, Self::Store(_)) {
            self.write(INDEX_NAME, &index_of(manifest, artifact_type, reference))?;
        }
        match self {
            Self::Store(store) => {
                let IntoStore { layout, staged, name, blobs } = *store;
                layout.take_in(&staged, &blobs)?;
                let plain = Descriptor::new(&manifest.media_type, manifest.digest, manifest.size);
                let entry = entry_of(&plain, artifact_type, name, facts.clone());
                layout.change(watch, |catalog| {
                    catalog.set(entry.clone());
                    Ok(((), true))
                })
            }
            Self::Folder(folder) => folder.commit(),
            Self::Archive { file, end, .. } => {
                // Two records of zeros end an archive. What a dropped copy left behind goes too.
                file.write_zeros_at(tar::RECORD_SIZE.strict_mul(2), end)?;
                file.set_size(end.strict_add(tar::RECORD_SIZE.strict_mul(2)))?;
                file.commit()
            }
        }
    }
}

/// Fills a member up to whole records and returns where the next header stands.
fn pad(file: &OutputFile, end: u64) -> Result<u64> {
    let padded = end.next_multiple_of(tar::RECORD_SIZE);
    file.write_zeros_at(padded.strict_sub(end), end)?;
    Ok(padded)
}
