//! A bundle under way whose blobs come from elsewhere, in any order and by several threads. It is read, and so can be
//! verified, before it has its name.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::bundle::Bundle;
use crate::bundle::replace::check_replaceable;
use crate::bundle::writer::copy_blob;
use crate::digest::Digest;
use crate::error::Result;
use crate::io::Input;
use crate::io::Part;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::io::Scratch;
use crate::io::WriteAt;
use crate::layout::Blob;
use crate::layout::BlobStore;
use crate::layout::Descriptor;
use crate::layout::Name;
use crate::layout::NewBlob;
use crate::layout::SharedLayout;
use crate::layout::Sink;
use crate::layout::index_of;
use crate::work::Watch;

/// A bundle under way.
#[derive(Debug)]
pub(crate) struct Intake {
    sink: Sink,
    kept: Mutex<BTreeMap<Digest, (Arc<Incoming>, u64)>>,
}

/// A blob that comes in: what is to become a file of the bundle, or waits for its place in an archive.
#[derive(Debug)]
pub(crate) enum Incoming {
    Own(NewBlob),
    Waiting(Scratch),
}

impl Incoming {
    fn file(&self) -> &dyn WriteAt {
        match self {
            Self::Own(NewBlob::Folder(file)) => file,
            Self::Own(NewBlob::Archive { .. }) => unreachable!("those of an archive wait"),
            Self::Waiting(file) => file,
        }
    }
}

impl WriteAt for Incoming {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file().write_all_at(bytes, offset)
    }

    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        self.file().make_hole_at(len, offset)
    }

    fn read_back_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file().read_back_at(buf, offset)
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.file().set_size(size)
    }
}

/// A blob that has come in, as what is read.
#[derive(Debug)]
struct ReadBack {
    from: Arc<Incoming>,
    len: u64,
}

impl ReadAt for ReadBack {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.from.read_back_at(buf, offset)
    }
}

/// The files of a bundle under way, wherever they are.
#[derive(Debug)]
struct Gathered {
    path: PathBuf,
    files: BTreeMap<Name, Blob>,
}

impl BlobStore for Gathered {
    fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: Name) -> Result<Option<Blob>> {
        Ok(self.files.get(&name).cloned())
    }
}

/// What gives a bundle its name, of one that may be gone.
#[derive(Debug)]
pub(crate) struct Naming {
    blobs: Vec<Descriptor>,
    manifest: Descriptor,
    artifact_type: &'static str,
    reference: String,
    facts: BTreeMap<String, String>,
}

impl Bundle {
    /// Returns what gives this bundle, or a copy of it, its name.
    pub(crate) fn naming(&self) -> Naming {
        Naming {
            blobs: self.blobs(),
            manifest: self.manifest.clone(),
            artifact_type: self.artifact_type(),
            reference: self.own_reference(),
            facts: self.facts(),
        }
    }
}

impl Naming {
    /// Returns `index.json` as the bundle will have it.
    pub(crate) fn index(&self) -> Vec<u8> {
        index_of(&self.manifest, self.artifact_type, self.reference.clone())
    }
}

impl Intake {
    /// Starts a bundle that will be called `output`.
    ///
    /// # Errors
    ///
    /// `Invalid` if something else stands there; `Io` if the system refuses.
    pub(crate) fn create(output: &Path, watch: &dyn Watch) -> Result<Self> {
        Ok(Self { sink: Sink::create(output, check_replaceable, watch)?, kept: Mutex::default() })
    }

    /// Tells whether a blob is where the bundle goes, or has come in.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say.
    pub(crate) fn has(&self, blob: &Descriptor) -> Result<bool> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.contains_key(&blob.digest) || self.sink.has(blob)?)
    }

    /// Starts a blob.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(crate) fn begin(&self) -> Result<Incoming> {
        Ok(match &self.sink {
            Sink::Archive { .. } => Incoming::Waiting(self.sink.scratch()?),
            Sink::Folder(_) | Sink::Store(_) => Incoming::Own(self.sink.new_blob()?),
        })
    }

    /// Takes a blob that is complete, and whose digest was proven.
    pub(crate) fn keep(&self, blob: &Descriptor, incoming: Incoming) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(blob.digest).or_insert((Arc::new(incoming), blob.size));
    }

    /// Returns the bundle's files: `documents`, which are not blobs or are in memory; what came in; what is where the
    /// bundle goes; and what `base` has of it. It is called `path` in messages.
    ///
    /// # Errors
    ///
    /// `Io` if one cannot be opened.
    pub(crate) fn reader(
        &self,
        path: &Path,
        documents: &[(Name, Vec<u8>)],
        blobs: &[Descriptor],
        base: Option<&Bundle>,
    ) -> Result<Arc<dyn BlobStore>> {
        let mut files = BTreeMap::new();
        for (name, bytes) in documents {
            let input = Arc::new(Input::memory(&path.to_string_lossy(), bytes.clone()));
            let len = input.len();
            files.insert(*name, Part::new(input, 0, len)?);
        }
        let there = self.sink.store().map(SharedLayout::reader).transpose()?;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in blobs {
            let name = Name::Blob(blob.digest);
            let file = if let Some((from, len)) = kept.get(&blob.digest) {
                let named = path.join(name.to_string());
                let bytes = ReadBack { from: Arc::clone(from), len: *len };
                let input = Arc::new(Input::of_storage(&named, Arc::new(bytes)));
                Some(Part::new(input, 0, *len)?)
            } else if let Some(store) = there.as_ref().filter(|_| !files.contains_key(&name)) {
                store.file(name)?
            } else {
                None
            };
            let file = match (file, base) {
                (None, Some(base)) if !files.contains_key(&name) => base.store.file(name)?,
                (file, _) => file,
            };
            files.extend(file.map(|file| (name, file)));
        }
        Ok(Arc::new(Gathered { path: path.to_owned(), files }))
    }

    /// Gives the bundle its name, when nothing reads it anymore. What neither came in nor is in `documents` or `base` is
    /// left out.
    ///
    /// # Errors
    ///
    /// `Mismatch` if a blob of `base` is damaged; `Io`, and then nothing has the name.
    pub(crate) fn finish(
        self,
        naming: &Naming,
        documents: &[(Name, Vec<u8>)],
        base: Option<&Bundle>,
        watch: &dyn Watch,
    ) -> Result<()> {
        let Self { mut sink, kept } = self;
        let mut kept = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        for blob in &naming.blobs {
            watch.check()?;
            let document = documents.iter().find(|(name, _)| *name == Name::Blob(blob.digest));
            if let Some((incoming, size)) = kept.remove(&blob.digest) {
                match Arc::into_inner(incoming).expect("nothing reads it anymore") {
                    Incoming::Own(new) => sink.place_blob(new, &blob.digest, size)?,
                    Incoming::Waiting(scratch) => {
                        let new = sink.new_blob()?;
                        sink.with_blob(&new, |out| copy(&scratch, size, out, watch))?;
                        sink.place_blob(new, &blob.digest, size)?;
                    }
                }
            } else if sink.has(blob)? {
            } else if let Some((_, bytes)) = document {
                let new = sink.new_blob()?;
                sink.with_blob(&new, |out| out.write_all_at(bytes, 0))?;
                sink.place_blob(new, &blob.digest, blob.size)?;
            } else if let Some(base) = base
                && base.store.file(Name::Blob(blob.digest))?.is_some()
            {
                copy_blob(&mut sink, base, blob, watch)?;
            }
        }
        let Naming { manifest, artifact_type, reference, facts, .. } = naming;
        sink.commit(manifest, artifact_type, reference.clone(), facts, watch)
    }
}

/// Copies what waited for its place.
fn copy(from: &Scratch, len: u64, to: &dyn WriteAt, watch: &dyn Watch) -> Result<()> {
    let mut piece = vec![0; READ_PIECE_LEN];
    let mut at = 0;
    while at < len {
        watch.check()?;
        let rest = usize::try_from(len.strict_sub(at)).unwrap_or(READ_PIECE_LEN);
        let piece = &mut piece[..rest.min(READ_PIECE_LEN)];
        from.read_back_at(piece, at)?;
        to.write_all_at(piece, at)?;
        at = at.strict_add(u64::try_from(piece.len()).expect("at most a piece"));
    }
    Ok(())
}
