//! A folder that several runs write at the same time: files are added, replaced and removed in it, under locks.

use std::ffi::CString;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::openat;
use rustix::fs::renameat;
use rustix::fs::statat;
use rustix::fs::unlinkat;
use rustix::io::Errno;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::io::Folder;
use crate::io::OutputFile;
use crate::io::ReadAt;
use crate::io::Scratch;
use crate::io::WriteAt;
use crate::io::listing::entries;
use crate::io::output::OutputDir;
use crate::io::output::Place;
use crate::io::output::c_string;
use crate::io::output::open_folder;
use crate::io::read_vec;
use crate::work::Wait;
use crate::work::Watch;

/// How long another run is waited for. Names are changed in a moment; a run that adds an AMI holds its lock longer
/// than anyone would wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a lock is tried while another run has it.
const PAUSE: Duration = Duration::from_millis(5);

/// Name of the folder in which a run makes its files, without what is added to it.
const STAGING: &str = "new";

/// A folder that several runs write at the same time.
#[derive(Debug)]
pub struct SharedFolder {
    open: File,
    path: PathBuf,
}

/// A lock on a file of a shared folder. It ends with this value, or with the process.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "open for as long as the lock is held")] File);

/// How much a lock keeps others out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Others may hold it in this way too.
    Shared,
    /// Nobody else may.
    Alone,
}

/// A file in a shared folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedFile {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// When it was last written: seconds since 1970, and nanoseconds.
    pub written: (i64, u64),
}

impl SharedFolder {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(path, flags, Mode::empty());
        let open = open.map_err(|e| Error::io("open", path, e.into()))?;
        Ok(Self { open: File::from(open), path: path.to_owned() })
    }

    /// Returns the path, as the user gave it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks a file of the folder, which is made if it is not there. Waits for others for ten seconds.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses or another run holds it longer; `Interrupted` on request.
    pub fn lock(&self, name: &str, hold: Hold, watch: &dyn Watch) -> Result<FolderLock> {
        let path = self.path.join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_bits_retain(0o666);
        let file = openat(&self.open, &c_string(OsStr::new(name), &path)?, flags, mode)
            .map_err(|e| Error::io("open", &path, e.into()))?;
        let file = File::from(file);
        let start = Instant::now();
        let wait = |is_over| {
            let what = format!("another run of amikit that writes to {}", shown(&self.path));
            Wait { what, found: String::new(), is_over }
        };
        loop {
            let tried = match hold {
                Hold::Shared => file.try_lock_shared(),
                Hold::Alone => file.try_lock(),
            };
            match tried {
                Ok(()) => {
                    watch.waits(&wait(true));
                    return Ok(FolderLock(file));
                }
                Err(std::fs::TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                    watch.check()?;
                    watch.waits(&wait(false));
                    sleep(PAUSE);
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    let text = "another run of amikit is writing to it";
                    return Err(Error::new(Kind::Io, text)
                        .in_file(&self.path)
                        .advise("try again when that one has ended"));
                }
                Err(std::fs::TryLockError::Error(e)) => {
                    return Err(Error::io("lock", &path, e));
                }
            }
        }
    }

    /// Makes a folder in it for the files of a run, and removes those of runs that were killed.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn stage(&self) -> Result<StagedFiles> {
        let copy = self.open.try_clone().map_err(|e| Error::io("open", &self.path, e))?;
        let name = CString::new(STAGING).expect("a plain word");
        let place = Place::at(copy, self.path.join(STAGING), name, &self.path);
        OutputDir::start(place, None, None).map(StagedFiles)
    }

    /// Writes a small file beside what has its name, and gives it the name, if `still` agrees at the last moment.
    /// Returns whether it did.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; whatever `still` returns.
    pub fn replace(
        &self,
        name: &str,
        bytes: &[u8],
        still: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        let path = self.path.join(name);
        let staged = self.stage()?;
        let file = staged.new_file()?;
        file.write_all_at(bytes, 0)?;
        file.sync()?;
        if !still()? {
            return Ok(false);
        }
        let (around, name) = self.around(name)?;
        file.move_to(&around, &c_string(OsStr::new(name), &path)?, &path)?;
        around.sync_all().map_err(|e| Error::io("sync the folder of", &path, e))?;
        Ok(true)
    }

    /// Reads the file `name` whole; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// `Limit` if it has over `most` bytes; `Io` if the system refuses.
    pub fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let Some((len, _)) = self.len_of(name)? else { return Ok(None) };
        if len > most {
            let text = format!("it has {len} bytes, expected at most {most}");
            return Err(Error::new(Kind::Limit, text).in_file(&self.path.join(name)));
        }
        let file = Folder::open(&self.path)?.file(name)?;
        file.map(|file| read_vec(&file, 0, file.len())).transpose()
    }

    /// Removes the file `name`; that it is not there is fine.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        let (folder, file) = self.around(name)?;
        match unlinkat(&folder, &c_string(OsStr::new(file), &path)?, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::io("remove", &path, e.into())),
        }
    }

    /// Makes a folder inside, with those in front of it.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn make_dir(&self, name: &str) -> Result<()> {
        let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
        for part in ends.map(|end| &name[..end]) {
            let path = self.path.join(part);
            let part = c_string(OsStr::new(part), &path)?;
            match rustix::fs::mkdirat(&self.open, &part, Mode::from_bits_retain(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::io("make the folder", &path, e.into())),
            }
        }
        Ok(())
    }

    /// Syncs the folder `name` inside; itself for no name.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn sync(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        self.inside(name)?.sync_all().map_err(|e| Error::io("sync the folder", &path, e))
    }

    /// Lists the regular files of the folder `name` inside, by name, and how many other things are there; those
    /// whose names are not text count as such. A folder that is not there has none.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn files(&self, name: &str) -> Result<(Vec<SharedFile>, u64)> {
        let path = self.path.join(name);
        let fail = |e| Error::io("list", &path, e);
        let folder = match self.inside(name) {
            Ok(folder) => folder,
            Err(_) if !name.is_empty() && self.len_of(name)?.is_none() => {
                return Ok((Vec::new(), 0));
            }
            Err(error) => return Err(error),
        };
        let (mut files, mut others) = (Vec::new(), 0_u64);
        for entry in entries(&folder).map_err(fail)? {
            let stat = match statat(&folder, &entry.name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(fail(e.into())),
            };
            match entry.name.to_str() {
                Ok(name) if entry.kind == FileType::RegularFile => files.push(SharedFile {
                    name: name.to_owned(),
                    len: u64::try_from(stat.st_size).unwrap_or(0),
                    written: (stat.st_mtime, stat.st_mtime_nsec),
                }),
                _ => others = others.strict_add(1),
            }
        }
        files.sort();
        Ok((files, others))
    }

    /// Returns the length of what is called `name`, and when it was written; `None` if nothing is.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say.
    pub fn len_of(&self, name: &str) -> Result<Option<(u64, (i64, u64))>> {
        let path = self.path.join(name);
        let name = c_string(OsStr::new(name), &path)?;
        match statat(&self.open, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let len = u64::try_from(stat.st_size).unwrap_or(0);
                Ok(Some((len, (stat.st_mtime, stat.st_mtime_nsec))))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io("look at", &path, e.into())),
        }
    }

    /// Opens the folder `name` inside, through no link.
    fn inside(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        let fail = |e: Errno| Error::io("open", &path, e.into());
        let mut open = self.open.try_clone().map_err(|e| Error::io("open", &path, e))?;
        for part in name.split('/').filter(|part| !part.is_empty()) {
            open = open_folder(&open, &c_string(OsStr::new(part), &path)?).map_err(fail)?.into();
        }
        Ok(open)
    }

    /// Opens the folder around the file `name`, and returns the name in it.
    pub(in crate::io) fn around<'a>(&self, name: &'a str) -> Result<(File, &'a str)> {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        Ok((self.inside(folder)?, file))
    }
}

/// The files of a run that writes into a shared folder, in a folder of its own until they are moved.
///
/// Dropped, they go.
#[derive(Debug)]
pub struct StagedFiles(OutputDir);

impl StagedFiles {
    /// Starts a file.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn new_file(&self) -> Result<OutputFile> {
        self.0.new_file()
    }

    /// Starts a file without a name.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn scratch(&self) -> Result<Scratch> {
        Scratch::inside(&self.0)
    }

    /// Syncs a file and calls it `name` here.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn put(&self, file: OutputFile, name: &str) -> Result<()> {
        self.0.put(file, name)
    }

    /// Moves the files `names` into a folder of the shared one, and syncs that. A file of the same name and length
    /// that is there already stays.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn move_into<'a>(
        &self,
        shared: &SharedFolder,
        folder: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<()> {
        let into = shared.inside(folder)?;
        for name in names {
            let path = shared.path.join(folder).join(name);
            let name = c_string(OsStr::new(name), &path)?;
            let fail = |e: Errno| Error::io("name", &path, e.into());
            let ours = statat(self.0.open(), &name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
            let theirs = statat(&into, &name, AtFlags::SYMLINK_NOFOLLOW);
            let is_there = theirs.is_ok_and(|theirs| {
                FileType::from_raw_mode(theirs.st_mode) == FileType::RegularFile
                    && theirs.st_size == ours.st_size
            });
            if !is_there {
                renameat(self.0.open(), &name, &into, &name).map_err(fail)?;
            }
        }
        into.sync_all().map_err(|e| Error::io("sync the folder", &shared.path.join(folder), e))
    }

    /// Moves files into a folder of the shared one, each from its name here to another one there, and syncs that. What
    /// has the name is replaced.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn move_as<'a>(
        &self,
        shared: &SharedFolder,
        folder: &str,
        names: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<()> {
        let into = shared.inside(folder)?;
        for (from, to) in names {
            let path = shared.path.join(folder).join(to);
            let (from, to) = (c_string(OsStr::new(from), &path)?, c_string(OsStr::new(to), &path)?);
            renameat(self.0.open(), &from, &into, &to)
                .map_err(|e| Error::io("name", &path, e.into()))?;
        }
        into.sync_all().map_err(|e| Error::io("sync the folder", &shared.path.join(folder), e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    use crate::work::Unwatched;

    #[test]
    fn files_get_their_names_at_the_end_and_a_killed_run_leaves_nothing_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let shared = SharedFolder::open(dir.path()).unwrap();
        shared.make_dir("blobs/sha256").unwrap();
        let staged = shared.stage().unwrap();
        for (name, text) in [("a", "new"), ("b", "longer")] {
            let file = staged.new_file().unwrap();
            file.write_all_at(text.as_bytes(), 0).unwrap();
            staged.put(file, name).unwrap();
        }
        fs::write(dir.path().join("blobs/sha256/a"), "old").unwrap();
        fs::write(dir.path().join("blobs/sha256/b"), "cut").unwrap();
        staged.move_into(&shared, "blobs/sha256", ["a", "b"]).unwrap();
        drop(staged);
        let read = |name: &str| fs::read_to_string(dir.path().join("blobs/sha256").join(name));
        assert_eq!((&*read("a").unwrap(), &*read("b").unwrap()), ("old", "longer"));
        let (files, others) = shared.files("blobs/sha256").unwrap();
        let names: Vec<_> = files.iter().map(|it| (it.name.as_str(), it.len)).collect();
        assert_eq!((names, others), (vec![("a", 3), ("b", 6)], 0));
        shared.remove("blobs/sha256/a").unwrap();
        shared.remove("blobs/sha256/a").unwrap();
        assert!(read("a").is_err());
        // What a killed run leaves is locked by nobody.
        fs::create_dir(dir.path().join(".new.1-0.amikit-part")).unwrap();
        drop(shared.stage().unwrap());
        let left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "blobs"), "{left:?}");
    }

    struct Stopped;

    impl Watch for Stopped {
        fn stopped(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_lock_keeps_others_out_and_ends_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let shared = SharedFolder::open(dir.path()).unwrap();
        let first = shared.lock("lock", Hold::Shared, &Unwatched).unwrap();
        let second = shared.lock("lock", Hold::Shared, &Unwatched).unwrap();
        let refused = shared.lock("lock", Hold::Alone, &Stopped).unwrap_err();
        assert_eq!(refused.kind(), Kind::Interrupted);
        drop((first, second));
        shared.lock("lock", Hold::Alone, &Stopped).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let shared = SharedFolder::open(dir.path()).unwrap();
        assert!(shared.replace("index", b"one", || Ok(true)).unwrap());
        assert!(!shared.replace("index", b"two", || Ok(false)).unwrap());
        assert_eq!(fs::read(dir.path().join("index")).unwrap(), b"one");
        assert_eq!(shared.len_of("index").unwrap().unwrap().0, 3);
        assert_eq!(shared.len_of("none").unwrap(), None);
    }
}
