//! Outputs that are judged before they get their name.

use std::ffi::CStr;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::openat;

use crate::error::Error;
use crate::error::Result;
use crate::io::output::dir::OutputDir;
use crate::io::output::dir::sync_folders;
use crate::io::output::place::Place;
use crate::io::output::place::open_folder;
use crate::io::output::swap::Fresh;
use crate::io::output::swap::Judge;
use crate::io::output::swap::Old;

/// Folder in which the output itself is made, alone: whatever it is called, nothing collides with it.
const MADE: &CStr = c"made";

/// Folder for all else.
const BESIDE: &CStr = c"beside";

/// A place beside an output, in which it is made and looked at first.
///
/// Dropped without a commit, it goes with all that was made in it, and the name means what it did.
#[derive(Debug)]
pub struct Staging {
    folder: OutputDir,
    made: File,
}

impl Staging {
    /// Makes a place for the output that will be called `target`.
    ///
    /// # Errors
    ///
    /// `Io` if the folder around it cannot be written; `Invalid` if `target` is not a name.
    pub fn create(target: &Path) -> Result<Self> {
        let folder = OutputDir::start(Place::of(target)?, None, None)?;
        let mut made = None;
        for name in [BESIDE, MADE] {
            folder.make_dir(name.to_str().expect("a plain word"))?;
            let open = open_folder(folder.open(), name);
            made = Some(File::from(open.map_err(|e| Error::io("open", target, e.into()))?));
        }
        Ok(Self { folder, made: made.expect("the last of them") })
    }

    /// Returns the path under which the output is to be made.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.inside(MADE).join(file_name(self.folder.place().name()))
    }

    /// Returns the path of something else in the same place: it goes in the end.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.inside(BESIDE).join(name)
    }

    fn inside(&self, folder: &CStr) -> PathBuf {
        self.folder.temporary_path().join(file_name(folder))
    }

    /// Makes a file beside the output, for what is wanted while it is judged.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn new_file(&self, name: &str) -> Result<(File, PathBuf)> {
        let path = self.beside(name);
        let file = File::create(&path)
            .map_err(|e| Error::io("write a file beside", self.folder.target(), e))?;
        Ok((file, path))
    }

    /// Gives the output, which is on the disk already, its name; what had it can have it back. The caller is
    /// asked once more whether what stands there may be replaced.
    ///
    /// # Errors
    ///
    /// `Io`, or whatever `may_replace` returns; then the name means what it meant before.
    pub fn take_name(self, may_replace: Judge) -> Result<Taken> {
        sync_folders(&self.made, self.folder.target())?;
        let place = self.folder.place();
        if let Some(kept) = place.kept()? {
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let made = openat(&self.made, place.name(), flags, Mode::empty());
            kept.give(made.map_err(|e| Error::io("open", place.path(), e.into()))?);
        }
        let fresh = Fresh { folder: &self.made, name: place.name(), path: self.path() };
        let old = fresh.take_name(place, Some(may_replace))?;
        let taken = Taken { staging: self, old };
        match taken.staging.folder.place().sync() {
            Ok(()) => Ok(taken),
            Err(error) => taken.undo().and(Err(error)),
        }
    }
}

/// An output that has its name, while what had it before is still there.
///
/// Dropped, that goes.
#[derive(Debug)]
pub struct Taken {
    staging: Staging,
    old: Old,
}

impl Taken {
    /// Gives the name back to what had it. The output goes.
    ///
    /// # Errors
    ///
    /// `Io`; then the output keeps the name.
    pub fn undo(self) -> Result<()> {
        let place = self.staging.folder.place();
        let path = self.staging.path();
        let fresh = Fresh { folder: &self.staging.made, name: place.name(), path };
        fresh.give_back(place, &self.old)?;
        place.sync()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Old::Aside(aside) = &self.old {
            self.staging.folder.place().remove(aside);
        }
    }
}

fn file_name(name: &CStr) -> &std::ffi::OsStr {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(name.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    #[test]
    fn an_output_gets_its_name_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        for text in ["old", "new"] {
            let staging = Staging::create(&target).unwrap();
            fs::create_dir(staging.path()).unwrap();
            fs::write(staging.path().join("file"), text).unwrap();
            fs::write(staging.beside("a"), text).unwrap();
            drop(staging.take_name(|_| Ok(())).unwrap());
            assert_eq!(fs::read_to_string(target.join("file")).unwrap(), text);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        let dropped = Staging::create(&target).unwrap();
        fs::write(dropped.path(), "half").unwrap();
        drop(dropped);
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_can_be_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        for before in [None, Some("old")] {
            if let Some(text) = before {
                fs::write(&target, text).unwrap();
            }
            let staging = Staging::create(&target).unwrap();
            fs::write(staging.path(), "new").unwrap();
            let taken = staging.take_name(|_| Ok(())).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), "new");
            taken.undo().unwrap();
            assert_eq!(fs::read_to_string(&target).ok().as_deref(), before);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before.iter().count());
        }
    }
}
