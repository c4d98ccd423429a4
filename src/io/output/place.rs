//! Where an output goes: a folder that is held open, and a name in it.
//!
//! All that is made, renamed and removed for an output is named from the open folder on. So whatever
//! becomes of the folder's own name during a run, nothing outside the folder is touched.

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Stat;
use rustix::fs::fstat;
use rustix::fs::mkdirat;
use rustix::fs::openat;
use rustix::fs::statat;
use rustix::fs::unlinkat;
use rustix::io::Errno;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::kept::Kept;
use crate::io::leftovers::left_behind;
use crate::io::listing::entries;
use crate::io::output::link::followed;
use crate::io::system::Named;

/// What temporary names end in: nobody else's files do.
const SUFFIX: &[u8] = b".amikit-part";

/// Bytes of an output's name that are in its temporary names, which must not be too long themselves.
const STEM_LEN: usize = 200;

/// How often a temporary name is tried. Each is new, so a second one is needed only where another process
/// has the same number, as in a container, or just took the first for a leftover.
const TRIES: u32 = 64;

/// Deepest folder that is removed with what is in it.
const DEEPEST: u32 = 64;

/// A folder that is held open, and the name that an output will have in it.
#[derive(Debug)]
pub(in crate::io) struct Place {
    folder: File,
    /// A path that led to the output when the folder was opened, through no link at its end.
    real: PathBuf,
    name: CString,
    /// The path of the output, as the user gave it.
    path: PathBuf,
}

impl Place {
    /// Opens the folder around `path`. A link to a file is followed, so that the file is what is replaced.
    ///
    /// # Errors
    ///
    /// `Invalid` if `path` does not end in a name, or is a link that leads to no file or folder; `Io` if
    /// the folder cannot be opened.
    pub(in crate::io) fn of(path: &Path) -> Result<Self> {
        let real = followed(path)?;
        let name = real
            .file_name()
            .ok_or_else(|| Error::invalid("the output has no file name").in_file(path))?;
        let name = c_string(name, path)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(parent(&real), flags, Mode::empty())
            .map_err(|e| cannot_make(path, e.into()))?;
        Ok(Self { folder: File::from(folder), name, path: path.to_owned(), real })
    }

    /// Returns the place that is called `name` in a folder that is open; messages show `path`.
    pub(in crate::io) fn at(folder: File, real: PathBuf, name: CString, path: &Path) -> Self {
        Self { folder, real, name, path: path.to_owned() }
    }

    /// Returns a place inside a folder that was made under the name `temporary`, for the file that will be
    /// called `name` there.
    pub(in crate::io) fn inside(
        &self,
        folder: &File,
        temporary: &CStr,
        name: &CStr,
    ) -> Result<Self> {
        let shown = self.path.join(OsStr::from_bytes(name.to_bytes()));
        let folder = folder.try_clone().map_err(|e| cannot_make(&shown, e))?;
        let real = self.path_of(temporary).join(OsStr::from_bytes(name.to_bytes()));
        Ok(Self { folder, real, name: name.to_owned(), path: shown })
    }

    /// Returns the path of the output, as the user gave it.
    pub(in crate::io) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the open folder.
    pub(in crate::io) fn folder(&self) -> &File {
        &self.folder
    }

    /// Returns the name in the folder.
    pub(in crate::io) fn name(&self) -> &CStr {
        &self.name
    }

    /// Returns both.
    pub(in crate::io) fn named(&self) -> Named<'_> {
        (&self.folder, &self.name)
    }

    /// Returns a path that leads to something in the folder, as long as the folder has its name.
    pub(in crate::io) fn path_of(&self, name: &CStr) -> PathBuf {
        self.real.with_file_name(OsStr::from_bytes(name.to_bytes()))
    }

    /// Returns what stands under the output's name; `None` if nothing does.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say.
    pub(in crate::io) fn there(&self) -> Result<Option<Stat>> {
        match statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io("look at", &self.path, e.into())),
        }
    }

    /// Returns who may use what stands under the output's name, if something does.
    pub(in crate::io) fn kept(&self) -> Result<Option<Kept>> {
        let Some(stat) = self.there()? else { return Ok(None) };
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = openat(&self.folder, &self.name, flags, Mode::empty()).ok().map(File::from);
        Ok(Some(Kept::of(&stat, open.as_ref())))
    }

    /// Makes a file under a temporary name, locked for as long as it is open.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(in crate::io) fn make_file(&self, mode: Mode) -> Result<(File, CString)> {
        self.make(|name| {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            openat(&self.folder, name, flags, mode)
        })
    }

    /// Makes a folder under a temporary name, locked for as long as it is open.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(in crate::io) fn make_folder(&self, mode: Mode) -> Result<(File, CString)> {
        self.make(|name| {
            mkdirat(&self.folder, name, mode)?;
            open_folder(&self.folder, name).inspect_err(|_| self.remove(name))
        })
    }

    fn make(
        &self,
        one: impl Fn(&CStr) -> Result<rustix::fd::OwnedFd, Errno>,
    ) -> Result<(File, CString)> {
        for _ in 0..TRIES {
            let name = temporary_name(&self.name);
            let file = match one(&name) {
                Ok(file) => File::from(file),
                // Another program has the name, or has just removed what had it.
                Err(Errno::EXIST | Errno::NOENT) if self.is_there() => continue,
                Err(e) => return Err(cannot_make(&self.path, e.into())),
            };
            match self.hold(&file, &name) {
                Ok(true) => return Ok((file, name)),
                // The run that took it for a leftover may not come to removing it.
                Ok(false) => self.remove(&name),
                Err(e) => {
                    self.remove(&name);
                    return Err(cannot_make(&self.path, e));
                }
            }
        }
        let text = "each temporary file is removed by another program as soon as it is made";
        Err(Error::new(Kind::Io, text).in_file(&self.path))
    }

    /// Tells whether the folder has not been removed itself.
    fn is_there(&self) -> bool {
        self.folder.metadata().is_ok_and(|it| it.nlink() > 0)
    }

    /// Locks what was just made, for [`Place::sweep`] to see that it is in use. `false` if a sweep was
    /// faster; on a file system without locks nothing is swept, without harm.
    fn hold(&self, file: &File, name: &CStr) -> io::Result<bool> {
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Ok(false);
        }
        let made = fstat(file)?;
        match statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (made.st_dev, made.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes what runs that were killed have left of this output.
    ///
    /// A run holds a lock on its temporary file or folder, and the kernel gives the lock back when the
    /// process ends, however it ends. So what can be locked is nobody's.
    pub(in crate::io) fn sweep(&self) {
        let prefix = temporary_prefix(&self.name);
        // A run that cannot remove it can still write the new output.
        let Ok(found) = entries(&self.folder) else { return };
        for entry in found {
            let name = entry.name.as_bytes();
            let ours = name.starts_with(&prefix)
                && name.ends_with(SUFFIX)
                && matches!(entry.kind, FileType::RegularFile | FileType::Directory);
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            if ours
                && let Ok(open) = openat(&self.folder, &entry.name, flags, Mode::empty())
                && File::from(open).try_lock().is_ok()
            {
                self.remove(&entry.name);
            }
        }
    }

    /// Removes a file, or a folder with all that is in it. What cannot be removed is noted for the user.
    pub(in crate::io) fn remove(&self, name: &CStr) {
        if remove_tree(&self.folder, name, DEEPEST).is_err() {
            left_behind(&self.path_of(name));
        }
    }

    /// Fails if the folder does not have its name any more: the output would not be where it was wanted.
    ///
    /// # Errors
    ///
    /// `Io`, also if that cannot be determined.
    pub(in crate::io) fn check_here(&self) -> Result<()> {
        let fail = |e| Error::io("look at the folder of", &self.path, e);
        let here = self.folder.metadata().map_err(fail)?;
        match fs::metadata(parent(&self.real)) {
            Ok(there) if (there.dev(), there.ino()) == (here.dev(), here.ino()) => Ok(()),
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(fail(e)),
            _ => {
                let text = "the folder around it was moved or replaced during the run";
                Err(Error::new(Kind::Io, text).in_file(&self.path).advise("run this again"))
            }
        }
    }

    /// Syncs the folder, so that a rename in it survives a power cut.
    ///
    /// # Errors
    ///
    /// `Io`; the name is there all the same.
    pub(in crate::io) fn sync(&self) -> Result<()> {
        self.folder.sync_all().map_err(|e| {
            let text = format!("the output is complete, but a power failure may lose it: {e}");
            Error::new(Kind::Io, text).in_file(&self.path)
        })
    }
}

/// Returns the folder that holds `path`.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns a name as the system wants it.
pub(in crate::io) fn c_string(name: &OsStr, path: &Path) -> Result<CString> {
    CString::new(name.as_bytes())
        .map_err(|_| Error::invalid("the name has a zero byte").in_file(path))
}

/// Opens a folder inside another one.
pub(in crate::io) fn open_folder(folder: &File, name: &CStr) -> Result<rustix::fd::OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

/// Returns what the temporary names of an output begin with.
fn temporary_prefix(name: &CStr) -> Vec<u8> {
    let stem = name.to_bytes();
    let stem = &stem[..stem.len().min(STEM_LEN)];
    [b".", stem, b"."].concat()
}

/// Returns a new temporary name. It need not be hard to guess: a program that can make a file under it can
/// replace the output, too.
fn temporary_name(name: &CStr) -> CString {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut bytes = temporary_prefix(name);
    bytes.extend(format!("{:x}-{number:x}", std::process::id()).into_bytes());
    bytes.extend(SUFFIX);
    CString::new(bytes).expect("neither the name nor what was added has a zero byte")
}

/// Says that nothing can be made where the output is to be.
fn cannot_make(target: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        let none = io::Error::new(error.kind(), "there is no such folder");
        return Error::io("be written", target, none).advise("create the folder first");
    }
    Error::io("be written", target, error)
}

/// Removes a file, or a folder with what is in it. That it is not there is fine.
fn remove_tree(folder: &File, name: &CStr, depth: u32) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // The second is POSIX's word for it.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
    let inside = File::from(open_folder(folder, name)?);
    for entry in entries(&inside)? {
        remove_tree(&inside, &entry.name, depth)?;
    }
    unlinkat(folder, name, AtFlags::REMOVEDIR).map_err(io::Error::from)
}
