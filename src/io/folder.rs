//! Folders that are read through a descriptor, so that they stay the same ones whatever becomes of their
//! names.

use std::ffi::CStr;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::fstat;
use rustix::fs::openat;
use rustix::fs::statat;
use rustix::io::Errno;

use crate::error::Error;
use crate::error::Result;
use crate::io::Input;
use crate::io::system::LOOK_UP;

/// How often a folder that is replaced meanwhile is looked into: who makes one does so once.
const MOST_LOOKS: u32 = 8;

/// An open folder.
///
/// Files are opened by names inside it, through folders and no link, so nothing outside can be reached. A
/// folder that takes its name meanwhile is another one.
#[derive(Debug)]
pub struct Folder {
    open: File,
    path: PathBuf,
}

impl Folder {
    /// Opens the folder at `path`, which may be a link: the caller has named it.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; `Invalid` if it is not a folder.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = LOOK_UP | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(open) => Ok(Self { open: File::from(open), path: path.to_owned() }),
            Err(Errno::NOTDIR) => {
                Err(Error::invalid("it is a file, expected a folder").in_file(path))
            }
            Err(e) => Err(Error::io("open", path, e.into())),
        }
    }

    /// Returns the path, as the user gave it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the plain file `name`, which may have folders in front; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is a link or anything else that is not a file, or if what is in front of it is not a
    /// folder; `Io` if the system refuses, or if it is not there because the folder is not at its path
    /// any more.
    pub fn file(&self, name: &str) -> Result<Option<Input>> {
        let path = self.path.join(name);
        match self.descend(name, &path) {
            Ok(Some(file)) => Input::of_file(file, &path).map(Some),
            Ok(None) => self.check_place().map(|()| None),
            Err(error) => Err(error),
        }
    }

    /// Opens the plain file `name` in the folder that is at `path`; `None` if it is not there. What another process puts
    /// in the place of the folder meanwhile, as one that makes it does, is looked into instead.
    ///
    /// # Errors
    ///
    /// As [`Folder::open`] and [`Folder::file`].
    pub fn file_at(path: &Path, name: &str) -> Result<Option<Input>> {
        Self::look(path, name, || ())
    }

    /// Does what [`Folder::file_at`] does; `opened` is called whenever the folder was opened.
    fn look(path: &Path, name: &str, mut opened: impl FnMut()) -> Result<Option<Input>> {
        for _ in 1..MOST_LOOKS {
            let folder = Self::open(path)?;
            opened();
            let inside = folder.path.join(name);
            if let Some(file) = folder.descend(name, &inside)? {
                return Input::of_file(file, &inside).map(Some);
            }
            if folder.is_in_place()? {
                return Ok(None);
            }
        }
        Self::open(path)?.file(name)
    }

    fn descend(&self, name: &str, path: &Path) -> Result<Option<File>> {
        let mut parts = name.split('/').peekable();
        let mut inside: Option<File> = None;
        while let Some(part) = parts.next() {
            let folder = inside.as_ref().unwrap_or(&self.open);
            let part = CString::new(part)
                .map_err(|_| Error::invalid("the name has a zero byte").in_file(path))?;
            let is_last = parts.peek().is_none();
            match open_inside(folder, &part, is_last) {
                Ok(Some(file)) if is_last => return Ok(Some(file)),
                Ok(Some(file)) => inside = Some(file),
                Ok(None) => {
                    let expected = if is_last { "a plain file" } else { "folders in front of it" };
                    let text = format!("it is a link or special file, expected {expected}");
                    return Err(Error::corrupt(text).in_file(path));
                }
                Err(Errno::NOENT) => return Ok(None),
                Err(e) => return Err(Error::io("open", path, e.into())),
            }
        }
        Ok(None)
    }

    /// Fails if the folder is not the one at its path any more.
    ///
    /// # Errors
    ///
    /// `Io`, also if that cannot be determined.
    pub fn check_place(&self) -> Result<()> {
        if self.is_in_place()? {
            return Ok(());
        }
        let replaced = io::Error::other("it was replaced or removed while it was read");
        Err(Error::io("finish reading", &self.path, replaced).advise("run this again"))
    }

    fn is_in_place(&self) -> Result<bool> {
        let fail = |e| Error::io("look at", &self.path, e);
        let here = self.open.metadata().map_err(fail)?;
        let there = match self.path.metadata() {
            Ok(there) => Some((there.dev(), there.ino())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(fail(e)),
        };
        Ok(there == Some((here.dev(), here.ino())))
    }
}

/// Opens what is called `name` in a folder: a plain file, or a folder if it is not the last. `None` if it is
/// something else.
fn open_inside(folder: &File, name: &CStr, is_last: bool) -> Result<Option<File>, Errno> {
    // Looked at before it is opened: that alone can do something with a device.
    let kind = FileType::from_raw_mode(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
    let wanted = if is_last { FileType::RegularFile } else { FileType::Directory };
    if kind != wanted {
        return Ok(None);
    }
    let how = if is_last { OFlags::NONBLOCK } else { LOOK_UP | OFlags::DIRECTORY };
    match openat(folder, name, OFlags::NOFOLLOW | OFlags::CLOEXEC | how, Mode::empty()) {
        Ok(file) => {
            let file = File::from(file);
            // Between the look and the opening it can have changed.
            let opened = FileType::from_raw_mode(fstat(&file)?.st_mode);
            Ok((opened == wanted).then_some(file))
        }
        // A link or a file that took its place.
        Err(Errno::LOOP | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::symlink;

    use crate::error::Kind;
    use crate::io::ReadAt;

    fn filled(path: &Path) {
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/b/c"), b"there").unwrap();
    }

    #[test]
    fn files_are_found_through_folders_and_no_link() {
        let outer = tempfile::tempdir().unwrap();
        let (path, other) = (outer.path().join("folder"), outer.path().join("other"));
        filled(&path);
        filled(&other);
        let folder = Folder::open(&path).unwrap();
        let found = folder.file("a/b/c").unwrap().unwrap();
        assert_eq!((found.len(), found.path()), (5, &*path.join("a/b/c")));
        for missing in ["x", "a/x", "a/x/y"] {
            assert!(folder.file(missing).unwrap().is_none(), "{missing}");
        }
        symlink(other.join("a"), path.join("link")).unwrap();
        symlink(other.join("a/b"), path.join("a/link")).unwrap();
        symlink("c", path.join("a/b/link")).unwrap();
        let fifo = path.join("a/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        for strange in ["link/b/c", "a/link/c", "a/b/link", "a/pipe", "a/b", "a/b/c/d"] {
            assert_eq!(folder.file(strange).unwrap_err().kind(), Kind::Corrupt, "{strange}");
        }
    }

    #[test]
    fn what_lacks_because_the_folder_was_replaced_is_no_damage() {
        let outer = tempfile::tempdir().unwrap();
        let (path, old) = (outer.path().join("folder"), outer.path().join("old"));
        filled(&path);
        let folder = Folder::open(&path).unwrap();
        fs::rename(&path, &old).unwrap();
        assert!(folder.file("a/b/c").unwrap().is_some());
        assert_eq!(folder.file("a/x").unwrap_err().kind(), Kind::Io);
        filled(&path);
        fs::remove_dir_all(&old).unwrap();
        let error = folder.file("a/b/c").unwrap_err();
        assert!(error.kind() == Kind::Io && error.to_string().contains("replaced"), "{error}");
    }

    #[test]
    fn a_file_is_not_a_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Folder::open(file.path()).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(Folder::open(Path::new("/no/where")).unwrap_err().kind(), Kind::Io);
    }

    /// Who makes a folder puts it in the place of an empty one.
    #[test]
    fn a_folder_that_is_made_while_it_is_looked_into_is_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        let (made, at) = (dir.path().join("made"), dir.path().join("at"));
        fs::create_dir(&at).unwrap();
        assert!(Folder::file_at(&at, "a").unwrap().is_none());
        for name in ["a", "b"] {
            let mut looks = 0;
            let found = Folder::look(&at, name, || {
                looks += 1;
                if looks == 1 {
                    let _ = fs::remove_dir_all(&at);
                    fs::create_dir(&made).unwrap();
                    fs::write(made.join("a"), "x").unwrap();
                    fs::rename(&made, &at).unwrap();
                }
            });
            assert_eq!(found.unwrap().is_some(), name == "a");
            assert_eq!(looks, 2);
        }
        // One that is replaced again and again ends too.
        let again = Folder::look(&at, "b", || {
            fs::remove_dir_all(&at).unwrap();
            fs::create_dir(&at).unwrap();
        });
        assert!(again.unwrap().is_none(), "the last look is at what is there then");
    }
}
