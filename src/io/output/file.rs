//! A regular file as an output: written beside its name, synced, renamed.
//!
//! It appears under its name whole or not at all, and once [`OutputFile::commit`] has returned it is on the
//! disk. Nothing is ever renamed after a failed sync: the kernel reports a lost write once, and a second
//! sync would lie.

use std::ffi::CStr;
use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::linkat;
use rustix::fs::renameat;
use rustix::io::Errno;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::io::Input;
use crate::io::direct::Direct;
use crate::io::output::place::Place;
use crate::io::output::room::check_room;
use crate::io::output::write_at::WriteAt;
use crate::io::output::write_at::write_both;
use crate::io::output::write_at::write_failed;
use crate::io::system::clone_file;
use crate::io::system::punch_hole;
use crate::io::system::rename_new;

/// What any new file may be used for; the umask takes its share.
const OPEN_TO_ALL: Mode = Mode::from_bits_retain(0o666);

/// What a file may be used for that is the owner's alone.
const PRIVATE: Mode = Mode::from_bits_retain(0o600);

/// Adds to the error of an interrupted run what became of its output, which has a temporary name until it is
/// whole.
pub fn unwritten(target: &Path) -> impl Fn(Error) -> Error {
    let target = shown(target);
    move |error| match error.kind() {
        Kind::Interrupted => error.leaving(format!("{target} was not written")),
        _ => error,
    }
}

/// A new regular file, under a temporary name until [`OutputFile::commit`].
///
/// Dropped without a commit, it leaves nothing behind.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    direct: Direct,
    place: Place,
    /// The temporary name, for as long as it has one.
    temporary: Option<CString>,
    /// Whether it shares the bytes of another file, so that holes must be made.
    cloned: bool,
}

impl OutputFile {
    /// Starts an output that will be called `target`. If a file is there already, its mode, its owner and
    /// its access lists are kept, as far as the system lets us; if a link is there, the file that it leads
    /// to will be replaced.
    ///
    /// # Errors
    ///
    /// `Io` if the folder cannot be written; `Invalid` if `target` is there and is not a regular file.
    pub fn create(target: &Path) -> Result<Self> {
        Self::start(Place::of(target)?, OPEN_TO_ALL)
    }

    /// Starts an output that will be called `target`, and that its owner alone may read and write: what was
    /// decrypted is nobody else's.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::create`].
    pub fn create_private(target: &Path) -> Result<Self> {
        Self::start(Place::of(target)?, PRIVATE)
    }

    /// Starts a file inside a folder under way.
    pub(in crate::io) fn inside(place: Place) -> Result<Self> {
        Self::make(place, OPEN_TO_ALL)
    }

    fn start(place: Place, mode: Mode) -> Result<Self> {
        check_regular(&place)?;
        place.sweep();
        let Some(kept) = place.kept()? else { return Self::make(place, mode) };
        // Until it is given to whom it belongs, it is ours alone.
        let output = Self::make(place, PRIVATE)?;
        let kept = if mode == PRIVATE { kept.private() } else { kept };
        kept.give(&output.file);
        Ok(output)
    }

    fn make(place: Place, mode: Mode) -> Result<Self> {
        let (file, temporary) = place.make_file(mode)?;
        let direct = Direct::of(&file);
        Ok(Self { file, direct, place, temporary: Some(temporary), cloned: false })
    }

    /// Lets the file share all bytes of `input`, where the file system can do that; `false` where it
    /// cannot, and then nothing was done.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses for another reason.
    pub fn clone_of(&mut self, input: &Input) -> Result<bool> {
        let Some(from) = input.regular_file() else { return Ok(false) };
        let fail = |e| Error::io("clone the base into", self.target(), e);
        self.cloned = clone_file(&self.file, from).map_err(fail)?;
        Ok(self.cloned)
    }

    /// Returns the final name.
    #[must_use]
    pub fn target(&self) -> &Path {
        self.place.path()
    }

    /// Returns a path that leads to it, until it has its own.
    #[cfg(test)]
    pub(in crate::io) fn temporary_path(&self) -> std::path::PathBuf {
        self.place.path_of(self.temporary.as_deref().expect("it has one until it is committed"))
    }

    /// Returns the place that it will have.
    pub(in crate::io) fn place(&self) -> &Place {
        &self.place
    }

    /// Fails if the file system has no room for `bytes` more bytes.
    ///
    /// # Errors
    ///
    /// `Io`, with how much room there is.
    pub fn check_room(&self, bytes: u64) -> Result<()> {
        check_room(&self.file, bytes, self.target())
    }

    /// Calls `write`, and gives the file its name if that went well.
    ///
    /// # Errors
    ///
    /// Whatever `write` returns; as [`OutputFile::commit`].
    pub fn finish<T>(self, write: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let done = write(&self).map_err(unwritten(self.target()))?;
        self.commit()?;
        Ok(done)
    }

    /// Brings all that was written to the disk. What is left of a commit then is to give it its name.
    ///
    /// # Errors
    ///
    /// `Io`; then the file must not be committed.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io("sync", self.target(), e))
    }

    /// Syncs the file, gives it its final name, and syncs the folder.
    ///
    /// Whatever had the name before is replaced in one step.
    ///
    /// # Errors
    ///
    /// `Io`; then the name means what it meant before.
    pub fn commit(self) -> Result<()> {
        self.commit_or(|| Ok(()))
    }

    /// As [`OutputFile::commit`], for the last step of several: if the file does not get its name, `undo` takes
    /// back the others.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::commit`].
    pub fn commit_or(mut self, undo: impl FnOnce() -> Result<()>) -> Result<()> {
        if let Err(error) = self.take_name() {
            return Err(match undo() {
                Ok(()) => error,
                Err(undone) => error.leaving(undone.to_string()),
            });
        }
        self.place.sync()
    }

    /// As [`OutputFile::commit`], if nothing has the name.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::commit`]; `Invalid` if something has it.
    pub fn commit_new(mut self) -> Result<()> {
        self.sync()?;
        self.place.check_here()?;
        let (folder, name) = (self.place.folder(), self.place.name());
        let temporary = self.temporary.as_deref().expect("it has one until it is committed");
        match rename_new((folder, temporary), (folder, name)) {
            Ok(()) => self.temporary = None,
            Err(Errno::EXIST) => return Err(already_there(self.target())),
            // A file system without the flag: a second name cannot replace anything, either. The first one
            // goes when this is dropped.
            Err(_) => match linkat(folder, temporary, folder, name, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(already_there(self.target())),
                Err(e) => return Err(Error::io("name", self.target(), e.into())),
            },
        }
        self.place.sync()
    }

    fn take_name(&mut self) -> Result<()> {
        self.sync()?;
        self.place.check_here()?;
        check_regular(&self.place)?;
        let name = self.place.name().to_owned();
        let temporary = self.temporary.as_deref().expect("it has one until it is committed");
        renameat(self.place.folder(), temporary, self.place.folder(), &name)
            .map_err(|e| Error::io("name", self.target(), e.into()))?;
        self.temporary = None;
        Ok(())
    }

    /// Syncs it and gives it a name in another folder, which is shown as `path`.
    pub(in crate::io) fn move_to(mut self, folder: &File, name: &CStr, path: &Path) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io("sync", path, e))?;
        let temporary = self.temporary.as_deref().expect("it has one until it is placed");
        renameat(self.place.folder(), temporary, folder, name)
            .map_err(|e| Error::io("name", path, e.into()))?;
        self.temporary = None;
        Ok(())
    }

    /// Returns the file.
    pub(in crate::io) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            self.place.remove(temporary);
        }
    }
}

fn already_there(target: &Path) -> Error {
    Error::invalid("it already exists")
        .in_file(target)
        .advise("choose another name for the output, or remove it first")
}

/// Fails if something stands there that is not a regular file.
fn check_regular(place: &Place) -> Result<()> {
    match place.there()?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        None | Some(FileType::RegularFile) => Ok(()),
        Some(_) => Err(Error::invalid("it exists and is not a regular file")
            .in_file(place.path())
            .advise("choose another name for the output")),
    }
}

impl WriteAt for OutputFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        write_both(&self.file, &self.direct, self.target(), bytes, offset)
    }

    fn read_back_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file
            .read_exact_at(buf, offset)
            .map_err(|e| Error::io("read back", self.target(), e).at(offset))
    }

    /// A new file is a hole where nothing is written, unless it is a clone.
    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        if !self.cloned {
            return Ok(());
        }
        punch_hole(&self.file, len, offset).map_err(|e| write_failed(self.target(), offset, e))
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.file.set_len(size).map_err(|e| write_failed(self.target(), size, e))
    }
}
