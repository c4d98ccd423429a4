//! A folder as an output: filled beside its name, synced, and then it changes places with what has its name.

use std::ffi::CString;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::mkdirat;
use rustix::fs::renameat;
use rustix::io::Errno;

use crate::error::Error;
use crate::error::Result;
use crate::io::kept::Kept;
use crate::io::listing::entries;
use crate::io::output::file::OutputFile;
use crate::io::output::place::Place;
use crate::io::output::place::c_string;
use crate::io::output::place::open_folder;
use crate::io::output::swap::Fresh;
use crate::io::output::swap::Judge;
use crate::io::output::swap::Old;
use crate::io::output::swap::put_back;
use crate::io::output::write_at::WriteAt;

/// What any new folder may be used for; the umask takes its share.
const OPEN_TO_ALL: Mode = Mode::from_bits_retain(0o777);

/// A new folder, under a temporary name until [`OutputDir::commit`].
#[derive(Debug)]
pub struct OutputDir {
    /// Holds the lock.
    open: File,
    place: Place,
    /// The temporary name, for as long as something has it.
    temporary: Option<CString>,
    /// Who may use the folder that is replaced.
    kept: Option<Kept>,
    may_replace: Option<Judge>,
}

impl OutputDir {
    /// Starts a folder that will be called `target`, where nothing may stand but an empty folder.
    ///
    /// # Errors
    ///
    /// `Io` if the folder around it cannot be written; `Invalid` if something else than a folder stands
    /// there. That a folder is not empty is an error of [`OutputDir::commit`].
    pub fn create(target: &Path) -> Result<Self> {
        let place = Place::of(target)?;
        let kind = place.there()?.map(|stat| FileType::from_raw_mode(stat.st_mode));
        if kind.is_some_and(|kind| kind != FileType::Directory) {
            return Err(Error::invalid("it already exists and is not a folder")
                .in_file(target)
                .advise("choose another name for the output"));
        }
        let kept = place.kept()?;
        Self::start(place, kept, None)
    }

    /// Starts a folder that will be called `target`, and take the place of what `may_replace` lets it: it
    /// is asked now, and again when the folder gets its name.
    ///
    /// # Errors
    ///
    /// Whatever `may_replace` returns; `Io` if the folder around it cannot be written.
    pub fn replacing(target: &Path, may_replace: Judge) -> Result<Self> {
        let place = Place::of(target)?;
        put_back(&place, may_replace);
        if place.there()?.is_some() {
            may_replace(&place.path_of(place.name()))?;
        }
        let kept = place.kept()?;
        Self::start(place, kept, Some(may_replace))
    }

    /// Starts a folder beside what will have the name of `place`.
    pub(in crate::io) fn start(
        place: Place,
        kept: Option<Kept>,
        may_replace: Option<Judge>,
    ) -> Result<Self> {
        place.sweep();
        let mode = if kept.is_some() { Mode::RWXU } else { OPEN_TO_ALL };
        let (open, temporary) = place.make_folder(mode)?;
        if let Some(kept) = &kept {
            kept.give(&open);
        }
        Ok(Self { open, place, temporary: Some(temporary), kept, may_replace })
    }

    /// Returns the final name.
    #[must_use]
    pub fn target(&self) -> &Path {
        self.place.path()
    }

    /// Returns the place that it will have.
    pub(in crate::io) fn place(&self) -> &Place {
        &self.place
    }

    /// Returns the open folder.
    pub(in crate::io) fn open(&self) -> &File {
        &self.open
    }

    /// Returns the name that the folder has until it is committed.
    #[must_use]
    pub fn temporary_path(&self) -> PathBuf {
        self.place.path_of(self.temporary.as_deref().expect("it has one until it is committed"))
    }

    /// Makes a folder inside, with those in front of it.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn make_dir(&self, name: &str) -> Result<()> {
        let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
        for part in ends.map(|end| &name[..end]) {
            let path = self.target().join(part);
            let part = c_string(OsStr::new(part), &path)?;
            match mkdirat(&self.open, &part, OPEN_TO_ALL) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::io("make the folder", &path, e.into())),
            }
            if let (Some(kept), Ok(folder)) = (&self.kept, open_folder(&self.open, &part)) {
                kept.give_owner(&folder);
            }
        }
        Ok(())
    }

    /// Starts a file inside, under a name of its own until it is given to [`OutputDir::place`].
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn new_file(&self) -> Result<OutputFile> {
        let temporary = self.temporary.as_deref().expect("it has one until it is committed");
        let file = OutputFile::inside(self.place.inside(&self.open, temporary, c"new")?)?;
        if let Some(kept) = &self.kept {
            kept.give_owner(file.file());
        }
        Ok(file)
    }

    /// Syncs `file` and puts it at `name` inside.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn put(&self, file: OutputFile, name: &str) -> Result<()> {
        let path = self.target().join(name);
        let name = c_string(OsStr::new(name), &path)?;
        file.move_to(&self.open, &name, &path)
    }

    /// Writes a small file inside.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let file = self.new_file()?;
        file.write_all_at(bytes, 0)?;
        self.put(file, name)
    }

    /// Gives a file inside another name.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let path = self.target().join(to);
        let (from, to) = (c_string(OsStr::new(from), &path)?, c_string(OsStr::new(to), &path)?);
        renameat(&self.open, &from, &self.open, &to).map_err(|e| Error::io("name", &path, e.into()))
    }

    /// Syncs the folders, gives the whole its final name, and syncs the folder around it.
    ///
    /// A folder that has the name already changes places with the new one, if it may be replaced, and is
    /// then removed.
    ///
    /// # Errors
    ///
    /// `Io`, or that the folder there may not be replaced; then the name means what it meant before.
    pub fn commit(mut self) -> Result<()> {
        sync_folders(&self.open, self.target())?;
        let temporary = self.temporary.clone().expect("it has one until it is committed");
        let path = self.place.path_of(&temporary);
        let fresh = Fresh { folder: self.place.folder(), name: &temporary, path };
        let old = fresh.take_name(&self.place, self.may_replace)?;
        // What has the temporary name now goes when this is dropped. The lock of the new folder is held
        // until then, so that no sweep gets in between.
        self.temporary = match old {
            Old::Nothing => None,
            Old::Exchanged => Some(temporary),
            Old::Aside(aside) => Some(aside),
        };
        self.place.sync()
    }
}

impl Drop for OutputDir {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            self.place.remove(temporary);
        }
    }
}

/// Syncs a folder and those in it.
pub(in crate::io) fn sync_folders(folder: &File, path: &Path) -> Result<()> {
    folder.sync_all().map_err(|e| Error::io("sync the folder", path, e))?;
    for entry in entries(folder).map_err(|e| Error::io("list", path, e))? {
        if entry.kind == FileType::Directory {
            let path = path.join(OsStr::from_bytes(entry.name.as_bytes()));
            let inside =
                open_folder(folder, &entry.name).map_err(|e| Error::io("open", &path, e.into()))?;
            sync_folders(&File::from(inside), &path)?;
        }
    }
    Ok(())
}
