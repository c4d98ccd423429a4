//! A store: a layout of many manifests that several runs write.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Verb;
use crate::error::shown;
use crate::io::Folder;
use crate::io::FolderLock;
use crate::io::Hold;
use crate::io::Node;
use crate::io::OutputDir;
use crate::io::ReadAt;
use crate::io::SharedFile;
use crate::io::SharedFolder;
use crate::io::StagedFiles;
use crate::io::WriteAt as _;
use crate::io::read_vec;
use crate::layout::catalog::Catalog;
use crate::layout::document::read_document;
use crate::layout::folder::InFolder;
use crate::layout::name::INDEX_NAME;
use crate::layout::name::LAYOUT_NAME;
use crate::layout::name::blob_name;
use crate::layout::oci;
use crate::layout::oci::Descriptor;
use crate::layout::open::is_at;
use crate::layout::store::BlobStore;
use crate::layout::store::check_layout;
use crate::work::Watch;

/// Name of the file that makes a layout a store.
pub(crate) const MARKER: &str = "amikit-store.json";

/// What is in it.
pub(crate) const MARKER_TEXT: &str = "{\"version\":1}\n";

/// Name of the file that is locked while names change.
pub(crate) const NAMES_LOCK: &str = "amikit-store.lock";

/// Where blobs are.
pub(crate) const BLOBS: &str = "blobs/sha256";

/// Most bytes of the file that makes a layout a store.
const MOST_MARKER: u64 = 4096;

/// How often a change of names is begun again because another program changed them meanwhile.
const TRIES: u32 = 8;

/// What the file that makes a layout a store says.
#[derive(serde::Deserialize)]
struct Marker {
    version: u64,
}

/// Makes the error of a path that should be a store: says what is there instead.
pub(crate) fn not_a_store(path: &Path) -> Error {
    let say = |what: &str| Error::invalid(format!("{what}, expected a store")).in_file(path);
    let make = || Advice::Use { verb: Verb::InitStore, to: "make one".into() };
    if let Some(store) = store_of_name(path) {
        let text = format!("name the store alone: {}", shown(&store));
        return say("it is a name in a store").advise(text);
    }
    match Node::at(path) {
        Ok(None) => Error::nothing_at(path, "a store").advise(make()),
        // Whatever there is.
        Err(_) => say("it is not a store").advise(make()),
        Ok(Some(node)) => match is_at(path) {
            Ok(true) => say("it is a bundle")
                .advise(Advice::Use { verb: Verb::AddToStore, to: "put it into one".into() }),
            _ if node == Node::Folder => say("it is a folder").advise(make()),
            _ => say("it is not a folder").advise(make()),
        },
    }
}

/// Returns the store of what looks like `STORE@NAME`.
fn store_of_name(path: &Path) -> Option<PathBuf> {
    let text = path.to_str()?;
    let at = text.rfind('@')?;
    let store = Path::new(&text[..at]);
    is_store(store).ok()?.then(|| store.to_owned())
}

/// Tells whether there is a store at `path`.
///
/// # Errors
///
/// `Io` if the system does not say; `Unsupported` for one of another version.
pub fn is_store(path: &Path) -> Result<bool> {
    if Node::at(path)? != Some(Node::Folder) {
        return Ok(false);
    }
    let Some(marker) = Folder::file_at(path, MARKER)? else { return Ok(false) };
    let len = marker.len().min(MOST_MARKER);
    let found: Option<Marker> = serde_json::from_slice(&read_vec(&marker, 0, len)?).ok();
    match found {
        Some(Marker { version: 1 }) => Ok(true),
        Some(Marker { version }) => {
            let text = format!("the store is of version {version}, expected 1");
            Err(Error::new(Kind::Unsupported, text).in_file(path))
        }
        None => {
            let text = "it does not say which version of a store this is";
            Err(Error::corrupt(text).in_file(&path.join(MARKER)))
        }
    }
}

/// Returns the bytes of all blobs of the store at `path`.
///
/// # Errors
///
/// `Io` if the system refuses.
pub(crate) fn stored_bytes(path: &Path) -> Result<u64> {
    let (files, _) = SharedFolder::open(path)?.files(BLOBS)?;
    Ok(files.iter().fold(0, |sum, file| sum.saturating_add(file.len)))
}

/// What a run does to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Adds blobs and names: others may do so too.
    Add,
    /// Deletes blobs: nobody else may write.
    Collect,
}

/// A store that this run writes. While it is open, nothing that the run has found in it goes.
#[derive(Debug)]
pub struct SharedLayout {
    folder: SharedFolder,
    /// The file that is locked while names change; none where nobody else writes at all.
    names: Option<&'static str>,
    _lock: FolderLock,
}

impl SharedLayout {
    /// Makes an empty store.
    ///
    /// # Errors
    ///
    /// `Invalid` if something other than an empty folder is there; `Io` if the system refuses.
    pub fn init(path: &Path) -> Result<()> {
        if is_store(path)? {
            return Err(Error::invalid("it is a store already").in_file(path));
        }
        let folder = OutputDir::create(path)?;
        folder.make_dir(BLOBS)?;
        folder.write(LAYOUT_NAME, oci::LAYOUT.as_bytes())?;
        folder.write(INDEX_NAME, &Catalog::empty().to_bytes())?;
        folder.write(NAMES_LOCK, b"")?;
        folder.write(MARKER, MARKER_TEXT.as_bytes())?;
        folder.commit().map_err(|error| match error.kind() {
            Kind::Io if Node::at(path).is_ok_and(|it| it.is_some()) => {
                Error::invalid(format!("it already exists: {error}"))
                    .in_file(path)
                    .advise("choose another name for the store, or an empty folder")
            }
            _ => error,
        })
    }

    /// Opens a store to write it.
    ///
    /// # Errors
    ///
    /// `Invalid` if there is none; `Io` if the system refuses, or another run holds it too long.
    pub fn open(path: &Path, work: Work, watch: &dyn Watch) -> Result<Self> {
        if !is_store(path)? {
            return Err(not_a_store(path));
        }
        let folder = SharedFolder::open(path)?;
        let hold = if work == Work::Collect { Hold::Alone } else { Hold::Shared };
        let lock = folder.lock(MARKER, hold, watch)?;
        check_layout(&InFolder(Folder::open(path)?))?;
        Ok(Self { folder, names: Some(NAMES_LOCK), _lock: lock })
    }

    /// Opens a store, or the folder of a bundle, to add what refers to an AMI in it.
    ///
    /// # Errors
    ///
    /// `Invalid` if it is an archive; as [`SharedLayout::open`].
    pub fn open_to_refer(path: &Path, watch: &dyn Watch) -> Result<Self> {
        if is_store(path)? {
            return Self::open(path, Work::Add, watch);
        }
        if Node::at(path)? != Some(Node::Folder) {
            let text = "it is an archive, expected a folder: nothing can be added to an archive";
            let advice = "unpack it with `tar -xf` into a folder, and name that";
            return Err(Error::invalid(text).in_file(path).advise(advice));
        }
        check_layout(&InFolder(Folder::open(path)?))?;
        let folder = SharedFolder::open(path)?;
        // A bundle has no file for locks alone. This one is in every layout, and is never replaced.
        let lock = folder.lock(LAYOUT_NAME, Hold::Alone, watch)?;
        Ok(Self { folder, names: None, _lock: lock })
    }

    /// Adds blobs and then an entry for the last of them, which refers to another manifest. Returns whether that was
    /// there already.
    ///
    /// # Errors
    ///
    /// As [`SharedLayout::change`]; `Mismatch` if a blob is there already and is damaged; `Io` if the system refuses.
    pub fn refer(
        &self,
        blobs: &[(Digest, Vec<u8>)],
        entry: &Descriptor,
        watch: &dyn Watch,
    ) -> Result<bool> {
        let (staged, reader) = (self.stage()?, self.reader()?);
        let mut digests = Vec::new();
        for (digest, bytes) in blobs {
            let size = u64::try_from(bytes.len()).expect("memory is under 2^64 bytes");
            if self.has(digest, size)? {
                // It is not replaced, and would be of no use if it is damaged.
                read_document(&*reader, &Descriptor::new("", *digest, size), size)?;
            } else {
                let file = staged.new_file()?;
                file.write_all_at(bytes, 0)?;
                staged.put(file, &digest.to_string())?;
                digests.push(*digest);
            }
        }
        self.take_in(&staged, &digests)?;
        self.change(watch, |catalog| {
            let there = catalog.entries.iter().any(|it| it.descriptor.digest == entry.digest);
            if !there {
                catalog.set(entry.clone());
            }
            Ok((there, !there))
        })
    }

    /// Returns the path, as the user gave it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the store as what is read.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn reader(&self) -> Result<Arc<dyn BlobStore>> {
        Ok(Arc::new(InFolder(Folder::open(self.path())?)))
    }

    /// Tells whether a blob is there.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say.
    pub fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        Ok(self.folder.len_of(&blob_name(digest))?.is_some_and(|(len, _)| len == size))
    }

    /// Makes a place for the blobs of a run.
    pub(super) fn stage(&self) -> Result<StagedFiles> {
        self.folder.make_dir(BLOBS)?;
        self.folder.stage()
    }

    /// Moves blobs to where they belong.
    pub(super) fn take_in(&self, staged: &StagedFiles, digests: &[Digest]) -> Result<()> {
        let names: Vec<String> = digests.iter().map(Digest::to_string).collect();
        staged.move_into(&self.folder, BLOBS, names.iter().map(String::as_str))
    }

    /// Changes `index.json`, in one step. `edit` says whether anything changed, and is asked again if another program
    /// came between.
    ///
    /// # Errors
    ///
    /// What `edit` returns; as [`Catalog::read`]; `Io` if the system refuses.
    pub fn change<T>(
        &self,
        watch: &dyn Watch,
        mut edit: impl FnMut(&mut Catalog) -> Result<(T, bool)>,
    ) -> Result<T> {
        let _lock =
            self.names.map(|name| self.folder.lock(name, Hold::Alone, watch)).transpose()?;
        let reader = self.reader()?;
        for _ in 0..TRIES {
            let before = self.folder.len_of(INDEX_NAME)?;
            let mut catalog = Catalog::read(&*reader)?;
            let (done, changed) = edit(&mut catalog)?;
            let still = || Ok(self.folder.len_of(INDEX_NAME)? == before);
            if !changed || self.folder.replace(INDEX_NAME, &catalog.to_bytes(), still)? {
                return Ok(done);
            }
        }
        let text = "another program keeps changing index.json";
        Err(Error::new(Kind::Io, text).in_file(self.path()).advise("try again later"))
    }

    /// Lists the blobs, and how many files are among them that are not called by a digest.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn blobs(&self) -> Result<(Vec<(Digest, SharedFile)>, u64)> {
        let (files, mut strangers) = self.folder.files(BLOBS)?;
        let mut blobs = Vec::with_capacity(files.len());
        for file in files {
            match Digest::from_hex(&file.name) {
                Some(digest) => blobs.push((digest, file)),
                None => strangers = strangers.strict_add(1),
            }
        }
        Ok((blobs, strangers))
    }

    /// Returns when `index.json` was written last.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say.
    pub fn index_written(&self) -> Result<(i64, u64)> {
        Ok(self.folder.len_of(INDEX_NAME)?.map_or((0, 0), |(_, written)| written))
    }

    /// Deletes a blob.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn delete(&self, digest: &Digest) -> Result<()> {
        self.folder.remove(&blob_name(digest))
    }

    /// Brings deletions to the disk, and removes what killed runs have left.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn sync(&self) -> Result<()> {
        drop(self.folder.stage()?);
        self.folder.sync(BLOBS)
    }
}
