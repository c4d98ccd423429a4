//! Where a bundle's files lie: in a folder, or in one archive.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bundle::oci;
use crate::bundle::tar;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Input;
use crate::io::OutputDir;
use crate::io::OutputFile;
use crate::io::Part;
use crate::io::WriteAt;

/// Name of the file that says which layout it is.
const LAYOUT_NAME: &str = "oci-layout";

/// Name of the file that names the manifest.
pub(super) const INDEX_NAME: &str = "index.json";

/// Returns the name of a blob inside the layout.
fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{digest}")
}

/// Tells whether a bundle of this name is one file.
#[must_use]
pub fn is_archive_name(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("tar"))
}

/// A bundle's files under way.
#[derive(Debug)]
pub(super) enum Sink {
    Folder(OutputDir),
    Archive { file: OutputFile, end: u64, blobs: BTreeSet<Digest> },
}

/// A blob under way: its bytes are written from offset 0 on.
#[derive(Debug)]
pub(super) enum NewBlob {
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
    /// Starts a bundle that will be called `target`.
    pub(super) fn create(target: &Path) -> Result<Self> {
        if is_archive_name(target) {
            let file = OutputFile::create(target)?;
            let mut sink = Self::Archive { file, end: 0, blobs: BTreeSet::new() };
            sink.write(LAYOUT_NAME, oci::LAYOUT.as_bytes())?;
            return Ok(sink);
        }
        // A bundle may replace a bundle; anything else that stands there stays.
        let replaces = target.join(LAYOUT_NAME).is_file() && target.join(INDEX_NAME).is_file();
        if target.symlink_metadata().is_ok() && !replaces {
            return Err(Error::invalid("it is there already and is no bundle")
                .in_file(target)
                .advise("choose another name for the output, or remove it first"));
        }
        let folder = OutputDir::create(target)?;
        folder.make_dir("blobs/sha256")?;
        folder.write(LAYOUT_NAME, oci::LAYOUT.as_bytes())?;
        Ok(Self::Folder(folder))
    }

    /// Starts a file that is no part of the bundle and goes when it is dropped.
    pub(super) fn scratch(&self) -> Result<OutputFile> {
        match self {
            Self::Folder(folder) => folder.new_file(),
            Self::Archive { file, .. } => OutputFile::create(file.target()),
        }
    }

    /// Starts a blob; one at a time.
    pub(super) fn new_blob(&self) -> Result<NewBlob> {
        match self {
            Self::Folder(folder) => folder.new_file().map(NewBlob::Folder),
            Self::Archive { end, .. } => {
                Ok(NewBlob::Archive { start: end.strict_add(tar::RECORD_SIZE) })
            }
        }
    }

    /// Calls `write` with the blob as an output.
    pub(super) fn with_blob<T>(
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
    pub(super) fn place_blob(&mut self, blob: NewBlob, digest: &Digest, size: u64) -> Result<()> {
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
    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
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
    pub(super) fn commit(self) -> Result<()> {
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

/// A bundle's files, to be read.
#[derive(Debug)]
pub(super) enum Store {
    Folder(PathBuf),
    Archive { input: Arc<Input>, members: BTreeMap<String, (u64, u64)> },
}

/// A file of a bundle: a part of the file that holds it.
pub(super) type Blob = Part<Arc<Input>>;

impl Store {
    /// Opens the files of the bundle at `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let folder = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?.is_dir();
        if folder {
            return Ok(Self::Folder(path.to_owned()));
        }
        let input = Arc::new(Input::open(path)?);
        let mut members = BTreeMap::new();
        for member in tar::members(&input).map_err(|e| e.in_file(path))? {
            let place = (member.offset, member.size);
            if members.insert(member.name.clone(), place).is_some() {
                let text = format!("the tar archive holds {:?} twice", member.name);
                return Err(Error::corrupt(text).at(member.offset).in_file(path));
            }
        }
        Ok(Self::Archive { input, members })
    }

    /// Returns the name of the file that holds the file `name` of the bundle.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(name),
            Self::Archive { input, .. } => input.path().to_owned(),
        }
    }

    /// Opens a file of the bundle; `None` if it is not there.
    pub(super) fn file(&self, name: &str) -> Result<Option<Blob>> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                // A link could lead to any file of the reader's.
                match std::fs::symlink_metadata(&path) {
                    Ok(meta) if meta.is_file() => {}
                    Ok(_) => {
                        return Err(Error::corrupt("it is no plain file").in_file(&path));
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(e) => return Err(Error::io("open", &path, e)),
                }
                let input = Arc::new(Input::open(&path)?);
                let len = crate::io::ReadAt::len(&input);
                Part::new(input, 0, len).map(Some)
            }
            Self::Archive { input, members } => match members.get(name) {
                Some(&(offset, size)) => Part::new(Arc::clone(input), offset, size).map(Some),
                None => Ok(None),
            },
        }
    }

    /// Opens a blob.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<Blob>> {
        self.file(&blob_name(digest))
    }

    /// Returns the name of the file that holds a blob.
    pub(super) fn path_of_blob(&self, digest: &Digest) -> PathBuf {
        self.path_of(&blob_name(digest))
    }

    /// Reads a small file of the bundle whole.
    pub(super) fn read(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let path = self.path_of(name);
        let file = self
            .file(name)?
            .ok_or_else(|| Error::corrupt(format!("the bundle has no {name}")).in_file(&path))?;
        read_small(&file, most).map_err(|e| e.in_file(&path))
    }

    /// Checks that it is an OCI image layout of the version that is known.
    pub(super) fn check_layout(&self) -> Result<()> {
        /// Most bytes of `oci-layout`.
        const MOST: u64 = 4096;
        #[derive(serde::Deserialize)]
        struct Layout {
            #[serde(rename = "imageLayoutVersion")]
            version: String,
        }
        let path = self.path_of(LAYOUT_NAME);
        let bytes = self.read(LAYOUT_NAME, MOST)?;
        let layout: Layout = serde_json::from_slice(&bytes)
            .map_err(|e| Error::corrupt(format!("oci-layout: {e}")).in_file(&path))?;
        if layout.version == "1.0.0" {
            Ok(())
        } else {
            let text = format!("image layout version is {:?}, expected 1.0.0", layout.version);
            Err(Error::new(Kind::Unsupported, text).in_file(&path))
        }
    }
}

/// Reads a blob whole, if it is no larger than such a blob ever is.
pub(super) fn read_small(blob: &Blob, most: u64) -> Result<Vec<u8>> {
    let len = crate::io::ReadAt::len(blob);
    if len > most {
        let text = format!("it has {len} bytes, expected at most {most}");
        return Err(Error::new(Kind::Limit, text));
    }
    crate::io::read_vec(blob, 0, len)
}
