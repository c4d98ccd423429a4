//! Where a bundle's files lie: in a folder, or in one archive.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Folder;
use crate::io::Input;
use crate::io::Judge;
use crate::io::OutputDir;
use crate::io::OutputFile;
use crate::io::Part;
use crate::io::ReadAt;
use crate::io::WriteAt;
use crate::layout::oci;
use crate::layout::tar;

/// Name of the file that says which layout it is.
pub(crate) const LAYOUT_NAME: &str = "oci-layout";

/// Name of the file that names the manifest.
pub(crate) const INDEX_NAME: &str = "index.json";

/// Returns the name of a blob inside the layout.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{digest}")
}

/// Tells whether a bundle of this name is one file.
#[must_use]
pub fn is_archive_name(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("tar"))
}

/// A bundle's files under way.
#[derive(Debug)]
pub(crate) enum Sink {
    Folder(OutputDir),
    Archive { file: OutputFile, end: u64, blobs: BTreeSet<Digest> },
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
    pub(crate) fn create(target: &Path, may_replace: Judge) -> Result<Self> {
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

    /// Starts a file that is no part of the bundle and goes when it is dropped.
    pub(crate) fn scratch(&self) -> Result<OutputFile> {
        match self {
            Self::Folder(folder) => folder.new_file(),
            Self::Archive { file, .. } => OutputFile::create(file.target()),
        }
    }

    /// Starts a blob; one at a time.
    pub(crate) fn new_blob(&self) -> Result<NewBlob> {
        match self {
            Self::Folder(folder) => folder.new_file().map(NewBlob::Folder),
            Self::Archive { end, .. } => {
                Ok(NewBlob::Archive { start: end.strict_add(tar::RECORD_SIZE) })
            }
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
            (Self::Folder(_), NewBlob::Archive { .. }) => {
                unreachable!("a blob goes back to the sink that it is of")
            }
        }
    }

    /// Ends a blob of `size` bytes.
    pub(crate) fn place_blob(&mut self, blob: NewBlob, digest: &Digest, size: u64) -> Result<()> {
        match (self, blob) {
            (Self::Folder(folder), NewBlob::Folder(file)) => folder.place(file, &blob_name(digest)),
            (Self::Archive { file, end, blobs }, NewBlob::Archive { start }) => {
                // Two volumes can have the same manifest: the next member overwrites the copy.
                if blobs.insert(*digest) {
                    let header = tar::header(&blob_name(digest), size);
                    file.write_all_at(&header, start.strict_sub(tar::RECORD_SIZE))?;
                    *end = pad(file, start.strict_add(size))?;
                }
                Ok(())
            }
            _ => unreachable!("a blob goes back to the sink that it is of"),
        }
    }

    /// Writes a small file that is no blob.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
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
        }
    }

    /// Gives the bundle its name: it is whole and on the disk when this returns.
    pub(crate) fn commit(self) -> Result<()> {
        match self {
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

/// A file of a layout, by what it is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The file that says which layout it is.
    Layout,
    /// The file that names the manifests.
    Index,
    /// A blob, by its digest.
    Blob(Digest),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout => f.write_str(LAYOUT_NAME),
            Self::Index => f.write_str(INDEX_NAME),
            Self::Blob(digest) => f.write_str(&blob_name(digest)),
        }
    }
}

/// A file of a layout, open: a part of the input that holds it.
pub type Blob = Part<Arc<Input>>;

/// Where the files of a layout are read from: a folder, an archive, memory, a registry.
///
/// Nothing above knows which it is. What is read is judged there: a store says what it has, and fails only if
/// it cannot tell.
pub trait BlobStore: Send + Sync + fmt::Debug {
    /// Returns what the layout is called in messages.
    fn path(&self) -> &Path;

    /// Returns what the file `name` is called in messages.
    fn path_of(&self, name: Name) -> PathBuf {
        self.path().join(name.to_string())
    }

    /// Opens a file of the layout; `None` if it does not have it.
    ///
    /// # Errors
    ///
    /// `Io` if the store cannot be asked; `Corrupt` if what is there cannot be a file of a layout.
    fn file(&self, name: Name) -> Result<Option<Blob>>;
}

/// Opens the layout at `path`: a folder, or an archive in one file.
///
/// # Errors
///
/// `Corrupt` if it is not a layout; `Io` if it cannot be read.
pub(crate) fn open(path: &Path) -> Result<Arc<dyn BlobStore>> {
    if is_folder(path)? {
        return Ok(Arc::new(InFolder(Folder::open(path)?)));
    }
    InArchive::open(Arc::new(Input::open(path)?))
        .map(|store| -> Arc<dyn BlobStore> { Arc::new(store) })
}

/// Tells whether `path` looks like a layout: a folder with its first file, or a tar archive that begins as
/// one.
///
/// # Errors
///
/// `Io` if that cannot be told.
pub(crate) fn is_at(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            let layout = Folder::open(path)?.file(LAYOUT_NAME);
            // A link in its place is damage, and whoever opens it says so.
            layout.map_or_else(
                |error| if error.kind() == Kind::Io { Err(error) } else { Ok(true) },
                |file| Ok(file.is_some()),
            )
        }
        Ok(meta) if meta.is_file() || crate::io::is_block_device(path) => {
            tar::is_bundle(&Input::open(path)?)
        }
        Ok(_) => Ok(false),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("open", path, e)),
    }
}

fn is_folder(path: &Path) -> Result<bool> {
    std::fs::metadata(path).map(|meta| meta.is_dir()).map_err(|e| Error::io("open", path, e))
}

/// A layout in a folder, which stays the same one although another may take its name.
#[derive(Debug)]
struct InFolder(Folder);

impl BlobStore for InFolder {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: Name) -> Result<Option<Blob>> {
        self.0.file(&name.to_string())?.map(|input| whole(Arc::new(input))).transpose()
    }
}

/// A layout in one file.
#[derive(Debug)]
pub struct InArchive {
    input: Arc<Input>,
    members: BTreeMap<String, (u64, u64)>,
}

impl InArchive {
    /// Opens the layout in an archive, wherever its bytes are.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `Unsupported` or `Limit` if it is not a layout; `Io` if it cannot be read.
    pub fn open(input: Arc<Input>) -> Result<Self> {
        let mut members = BTreeMap::new();
        for member in tar::members(&input).map_err(|e| e.in_file(input.path()))? {
            let place = (member.offset, member.size);
            if members.insert(member.name.clone(), place).is_some() {
                let text = format!("the tar archive holds {:?} twice", member.name);
                return Err(Error::corrupt(text).at(member.offset).in_file(input.path()));
            }
        }
        Ok(Self { input, members })
    }
}

impl BlobStore for InArchive {
    fn path(&self) -> &Path {
        self.input.path()
    }

    fn path_of(&self, _name: Name) -> PathBuf {
        self.input.path().to_owned()
    }

    fn file(&self, name: Name) -> Result<Option<Blob>> {
        let place = self.members.get(&name.to_string());
        place.map(|&(start, len)| Part::new(Arc::clone(&self.input), start, len)).transpose()
    }
}

/// A layout whose files are inputs of any kind: in memory, or far away.
#[derive(Debug)]
pub struct InInputs {
    path: PathBuf,
    files: BTreeMap<Name, Arc<Input>>,
}

impl InInputs {
    /// Starts a layout without a file, which is called `path` in messages.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), files: BTreeMap::new() }
    }

    /// Adds a file, or another one in its place.
    pub fn insert(&mut self, name: Name, input: Arc<Input>) {
        self.files.insert(name, input);
    }
}

impl BlobStore for InInputs {
    fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: Name) -> Result<Option<Blob>> {
        self.files.get(&name).map(|input| whole(Arc::clone(input))).transpose()
    }
}

/// Takes all of an input.
fn whole(input: Arc<Input>) -> Result<Blob> {
    let len = input.len();
    Part::new(input, 0, len)
}

/// Reads a small file of a layout whole.
///
/// # Errors
///
/// `Corrupt` if it is not there; `Limit` if it has over `most` bytes; as [`BlobStore::file`].
pub(crate) fn read(store: &dyn BlobStore, name: Name, most: u64) -> Result<Vec<u8>> {
    let path = store.path_of(name);
    let file = store
        .file(name)?
        .ok_or_else(|| Error::corrupt(format!("the layout has no {name}")).in_file(&path))?;
    read_small(&file, most).map_err(|e| e.in_file(&path))
}

/// Checks that it is an OCI image layout of the version that is known.
pub(crate) fn check_layout(store: &dyn BlobStore) -> Result<()> {
    /// Most bytes of `oci-layout`.
    const MOST: u64 = 4096;
    #[derive(serde::Deserialize)]
    struct Layout {
        #[serde(rename = "imageLayoutVersion")]
        version: String,
    }
    let path = store.path_of(Name::Layout);
    let bytes = read(store, Name::Layout, MOST)?;
    let layout: Layout = serde_json::from_slice(&bytes)
        .map_err(|e| Error::corrupt(format!("oci-layout: {e}")).in_file(&path))?;
    if layout.version == "1.0.0" {
        Ok(())
    } else {
        let text = format!("image layout version is {:?}, expected 1.0.0", layout.version);
        Err(Error::new(Kind::Unsupported, text).in_file(&path))
    }
}

/// Reads a blob whole, if it is no larger than such a blob ever is.
pub(crate) fn read_small(blob: &Blob, most: u64) -> Result<Vec<u8>> {
    let len = blob.len();
    if len > most {
        let text = format!("it has {len} bytes, expected at most {most}");
        return Err(Error::new(Kind::Limit, text));
    }
    crate::io::read_vec(blob, 0, len)
}
