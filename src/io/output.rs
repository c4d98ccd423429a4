//! Outputs: written beside their final name, synced, renamed; or a block device, written in place.
//!
//! A regular output appears under its name whole or not at all, and once [`OutputFile::commit`] has
//! returned it is on the disk. Nothing is ever renamed after a failed sync: the kernel reports a
//! lost write once, and a second sync would lie.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use rustix::fs::FallocateFlags;
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use tempfile::NamedTempFile;
use tempfile::TempDir;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::io::Input;
use crate::io::PageBuffer;
use crate::io::WRITE_PIECE_LEN;
use crate::io::direct::Direct;

/// Bytes of zeros that are written at once, from one multiple of it to the next: long enough for the way
/// past the page cache.
const ZEROS_LEN: u64 = 2 << 20;

/// What zeros are written from. Nothing is ever put there, so it takes no memory.
static ZEROS: LazyLock<PageBuffer> =
    LazyLock::new(|| PageBuffer::zeroed(usize::try_from(ZEROS_LEN).expect("2 MiB")));

/// Bytes that can be written at any place, by any number of threads.
pub trait WriteAt: Send + Sync {
    /// Writes all of `bytes` from `offset` on.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses: no space, a limit, a broken disk.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Makes `len` bytes from `offset` on written zeros.
    ///
    /// # Errors
    ///
    /// As [`WriteAt::write_all_at`].
    fn write_zeros_at(&self, len: u64, offset: u64) -> Result<()> {
        let end = offset.strict_add(len);
        let mut at = offset;
        while at < end {
            let len = end.strict_sub(at).min(ZEROS_LEN.strict_sub(at % ZEROS_LEN));
            self.write_all_at(&ZEROS[..usize::try_from(len).expect("2 MiB at most")], at)?;
            // Cannot overflow: at most `end`.
            at = at.strict_add(len);
        }
        Ok(())
    }

    /// Makes `len` bytes from `offset` on read as zeros, at the least cost in space.
    ///
    /// # Errors
    ///
    /// As [`WriteAt::write_all_at`].
    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()>;

    /// Fills `buf` with what was written from `offset` on.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; `Invalid` for an output that cannot be read.
    fn read_back_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let _ = (buf, offset);
        Err(Error::invalid("the output cannot be read back, expected a file or a device"))
    }

    /// Makes the output `size` bytes long, where it has a length of its own.
    ///
    /// # Errors
    ///
    /// As [`WriteAt::write_all_at`]; a device that is too small is `Invalid`.
    fn set_size(&self, size: u64) -> Result<()>;
}

/// Writes all of `bytes`: what `direct` takes of them, and the rest a piece at a time.
pub(super) fn write_both(
    file: &File,
    direct: &Direct,
    path: &Path,
    bytes: &[u8],
    offset: u64,
) -> Result<()> {
    let written = direct.write_at(bytes, offset).map_err(|e| write_failed(path, offset, e))?;
    let at = offset.strict_add(u64::try_from(written).expect("at most all of them"));
    write_pieces(file, path, &bytes[written..], at)
}

/// Writes all of `bytes`, a piece at a time.
fn write_pieces(file: &File, path: &Path, bytes: &[u8], offset: u64) -> Result<()> {
    let mut at = offset;
    for piece in bytes.chunks(WRITE_PIECE_LEN) {
        file.write_all_at(piece, at).map_err(|e| write_failed(path, at, e))?;
        at = at.strict_add(u64::try_from(piece.len()).expect("a piece"));
    }
    Ok(())
}

/// Says what to do where the disk is full.
pub(super) fn write_failed(path: &Path, offset: u64, error: io::Error) -> Error {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let error = Error::io("write", path, error).at(offset);
    if full { error.advise("free some space, or write the output elsewhere") } else { error }
}

/// Returns the folder that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Returns the prefix of the temporary names beside `target`, and checks that it names something.
fn temporary_prefix(target: &Path) -> Result<String> {
    let name = target
        .file_name()
        .ok_or_else(|| Error::invalid("the output has no file name").in_file(target))?;
    Ok(format!(".{}.", name.to_string_lossy()))
}

/// What temporary names end in: nobody else's files do.
const TEMPORARY_SUFFIX: &str = ".amikit-part";

/// Removes what runs that were killed have left of `target`, by the names of its temporary files.
pub(super) fn sweep_of(target: &Path) -> Result<()> {
    sweep(target, &temporary_prefix(target)?);
    Ok(())
}

/// Removes what a run that was killed has left beside `target`.
///
/// A run holds a lock on its temporary file or folder, and the kernel gives the lock back when the
/// process ends, however it ends. So what can be locked is nobody's.
fn sweep(target: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(parent(target)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let kind = entry.file_type();
        let ours = name.starts_with(prefix.as_bytes())
            && name.ends_with(TEMPORARY_SUFFIX.as_bytes())
            && kind.as_ref().is_ok_and(|kind| kind.is_file() || kind.is_dir());
        if ours && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            // A run that cannot remove it can still write the new output.
            let _ = if kind.is_ok_and(|kind| kind.is_dir()) {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
        }
    }
}

/// Locks what was just made, for [`sweep`] to see that it is in use. `false` if a sweep was faster;
/// on a file system without locks nothing is swept, without harm.
fn lock(file: &File) -> bool {
    let _ = file.try_lock();
    file.metadata().is_ok_and(|meta| meta.nlink() > 0)
}

/// Says that nothing can be made where the output is to be.
fn cannot_make(target: &Path, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        let none = io::Error::new(error.kind(), "there is no such folder");
        return Error::io("be written", target, none).advise("create the folder first");
    }
    // Behind the system's words, the error's text names the temporary file.
    let text = error.to_string();
    let words = text.split(" at path ").next().unwrap_or_default();
    Error::io("be written", target, io::Error::new(error.kind(), words.to_owned()))
}

/// Syncs the folder of an output that has its name.
pub(super) fn sync_folder_of(target: &Path) -> Result<()> {
    sync_folder(parent(target)).map_err(|e| {
        let text = format!("the output is complete, but a power failure may lose it: {e}");
        Error::new(Kind::Io, text).in_file(target)
    })
}

/// Syncs a folder, so that a rename in it survives a power cut.
fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Error::io("sync the folder", folder, e))
}

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
    file: NamedTempFile,
    direct: Direct,
    target: PathBuf,
    /// Whether it shares the bytes of another file, so that holes must be made.
    cloned: bool,
}

impl OutputFile {
    /// Starts an output that will be called `target`.
    ///
    /// # Errors
    ///
    /// `Io` if the folder cannot be written; `Invalid` if `target` is there and is not a regular file.
    pub fn create(target: &Path) -> Result<Self> {
        if let Ok(meta) = fs::symlink_metadata(target)
            && !meta.file_type().is_file()
            && !meta.file_type().is_symlink()
        {
            return Err(Error::invalid("it exists and is not a regular file")
                .in_file(target)
                .advise("choose another name for the output"));
        }
        let prefix = temporary_prefix(target)?;
        sweep(target, &prefix);
        loop {
            let file = tempfile::Builder::new()
                .prefix(&prefix)
                .suffix(TEMPORARY_SUFFIX)
                // What any new file gets; the umask takes its share.
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(parent(target))
                .map_err(|e| cannot_make(target, &e))?;
            if lock(file.as_file()) {
                let direct = Direct::of(file.as_file());
                return Ok(Self { file, direct, target: target.to_owned(), cloned: false });
            }
        }
    }

    /// Lets the file share all bytes of `input`, where the file system can do that; `false` where it
    /// cannot, and then nothing was done.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses for another reason.
    pub fn clone_of(&mut self, input: &Input) -> Result<bool> {
        let Some(from) = input.regular_file() else { return Ok(false) };
        match rustix::fs::ioctl_ficlone(self.file.as_file(), from) {
            Ok(()) => {
                self.cloned = true;
                Ok(true)
            }
            Err(
                Errno::OPNOTSUPP
                | Errno::XDEV
                | Errno::INVAL
                | Errno::NOTTY
                | Errno::NOSYS
                | Errno::PERM,
            ) => Ok(false),
            Err(e) => Err(Error::io("clone the base into", &self.target, e.into())),
        }
    }

    /// Returns the final name.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Returns the name that the file has until it is committed.
    #[must_use]
    pub fn temporary_path(&self) -> &Path {
        self.file.path()
    }

    /// Fills `buf` with what was written from `offset` on.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file
            .as_file()
            .read_exact_at(buf, offset)
            .map_err(|e| Error::io("read back", &self.target, e).at(offset))
    }

    /// Calls `write`, and gives the file its name if that went well.
    ///
    /// # Errors
    ///
    /// Whatever `write` returns; as [`OutputFile::commit`].
    pub fn finish<T>(self, write: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let done = write(&self).map_err(unwritten(&self.target))?;
        self.commit()?;
        Ok(done)
    }

    /// Syncs the file, gives it its final name, and syncs the folder.
    ///
    /// Whatever had the name before is replaced in one step.
    ///
    /// # Errors
    ///
    /// `Io`; then the name means what it meant before.
    pub fn commit(self) -> Result<()> {
        let target = self.target;
        self.file.as_file().sync_all().map_err(|e| Error::io("sync", &target, e))?;
        self.file.persist(&target).map_err(|e| Error::io("name", &target, e.error))?;
        sync_folder_of(&target)
    }
}

impl WriteAt for OutputFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        write_both(self.file.as_file(), &self.direct, &self.target, bytes, offset)
    }

    fn read_back_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.read_exact_at(buf, offset)
    }

    /// A new file is a hole where nothing is written, unless it is a clone.
    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        if !self.cloned {
            return Ok(());
        }
        punch_hole(self.file.as_file(), len, offset)
            .map_err(|e| write_failed(&self.target, offset, e))
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.file.as_file().set_len(size).map_err(|e| write_failed(&self.target, size, e))
    }
}

/// Gives the space of a range of a file back: it reads as zeros, and counts as never written.
///
/// # Errors
///
/// Whatever the system refuses, as a file system without holes does.
pub(super) fn punch_hole(file: &File, len: u64, offset: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(file, flags, offset, len).map_err(io::Error::from)
}

/// A block device, written where it stands: there is no name to swap, so a run that stops half way
/// leaves it half written.
#[derive(Debug)]
pub struct Device {
    file: File,
    direct: Direct,
    path: PathBuf,
    len: u64,
    /// Whether anything was written.
    changed: AtomicBool,
}

impl Device {
    /// Opens a block device for writing, alone.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses, as it does while the device is mounted or otherwise in use.
    pub fn open(path: &Path) -> Result<Self> {
        use io::Seek;
        // On a block device, O_EXCL without O_CREAT asks for sole use.
        let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits()).expect("a small flag");
        let mut file =
            OpenOptions::new().write(true).read(true).custom_flags(exclusive).open(path).map_err(
                |e| {
                    let busy = e.kind() == io::ErrorKind::ResourceBusy;
                    let error = Error::io("open for writing", path, e);
                    if busy { error.advise("unmount it, or stop what uses it") } else { error }
                },
            )?;
        let len = file.seek(io::SeekFrom::End(0)).map_err(|e| Error::io("measure", path, e))?;
        let changed = AtomicBool::new(false);
        Ok(Self { direct: Direct::of(&file), file, path: path.to_owned(), len, changed })
    }

    /// Brings all that was written to the disk.
    ///
    /// # Errors
    ///
    /// `Io`; then the device's content is unknown.
    pub fn commit(self) -> Result<()> {
        self.file.sync_all().map_err(|e| self.failed(Error::io("sync", &self.path, e)))
    }

    /// Adds to an error what became of the device.
    fn failed(&self, error: Error) -> Error {
        let path = shown(&self.path);
        if self.changed.load(Ordering::Relaxed) {
            return error.leaving(format!("{path} was overwritten in part: write all of it again"));
        }
        match error.kind() {
            Kind::Interrupted => error.leaving(format!("{path} is unchanged")),
            _ => error,
        }
    }
}

impl WriteAt for Device {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.changed.store(true, Ordering::Relaxed);
        write_both(&self.file, &self.direct, &self.path, bytes, offset)
    }

    fn read_back_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file
            .read_exact_at(buf, offset)
            .map_err(|e| Error::io("read back", &self.path, e).at(offset))
    }

    /// Old content must not show through, so a hole is zeroed, by the device itself where it can.
    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        self.changed.store(true, Ordering::Relaxed);
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, len) {
            Ok(()) => Ok(()),
            // Not offered, or not at this alignment.
            Err(_) => self.write_zeros_at(len, offset),
        }
    }

    fn set_size(&self, size: u64) -> Result<()> {
        if size <= self.len {
            return Ok(());
        }
        let text = format!("the device has {} bytes, expected {size} or more", self.len);
        Err(Error::invalid(text).in_file(&self.path).advise("use a device that is large enough"))
    }
}

/// Tells whether `path` leads to a block device.
#[must_use]
pub fn is_block_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device())
}

/// Where an image goes: a file under a new name, or a block device.
#[derive(Debug)]
pub enum Target {
    /// A regular file, renamed at the end.
    File(OutputFile),
    /// A block device, written in place.
    Device(Device),
}

impl Target {
    /// Opens the output that the user named: a block device in place, anything else as a new file.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::create`] and [`Device::open`].
    pub fn open(path: &Path) -> Result<Self> {
        if is_block_device(path) {
            Device::open(path).map(Self::Device)
        } else {
            OutputFile::create(path).map(Self::File)
        }
    }

    /// Calls `write`, and finishes the output if that went well: it is on the disk, under its name, when
    /// this returns.
    ///
    /// # Errors
    ///
    /// Whatever `write` returns, with what became of the output; as [`OutputFile::commit`] and
    /// [`Device::commit`].
    pub fn finish<T>(self, write: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let done = write(&self).map_err(|error| match &self {
            Self::File(file) => unwritten(&file.target)(error),
            Self::Device(device) => device.failed(error),
        })?;
        self.commit()?;
        Ok(done)
    }

    /// Finishes the output: it is on the disk, under its name, when this returns.
    ///
    /// # Errors
    ///
    /// `Io`, as [`OutputFile::commit`] and [`Device::commit`].
    pub fn commit(self) -> Result<()> {
        match self {
            Self::File(file) => file.commit(),
            Self::Device(device) => device.commit(),
        }
    }

    fn writer(&self) -> &dyn WriteAt {
        match self {
            Self::File(file) => file,
            Self::Device(device) => device,
        }
    }
}

impl WriteAt for Target {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.writer().write_all_at(bytes, offset)
    }

    fn write_zeros_at(&self, len: u64, offset: u64) -> Result<()> {
        self.writer().write_zeros_at(len, offset)
    }

    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        self.writer().make_hole_at(len, offset)
    }

    fn read_back_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.writer().read_back_at(buf, offset)
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.writer().set_size(size)
    }
}

/// Says whether what stands at a path may be replaced, by failing where it may not.
pub type Judge = fn(&Path) -> Result<()>;

/// Gives `fresh` the name `target`. What has that name already changes places with it, if `may_replace`
/// lets it, before and after: what is found under the name of `fresh` then may be removed. Without one,
/// only an empty folder is replaced.
pub(super) fn take_name(fresh: &Path, target: &Path, may_replace: Option<Judge>) -> Result<()> {
    let here = rustix::fs::CWD;
    let fail = |e: Errno| Error::io("name", target, e.into());
    let Some(may_replace) = may_replace else {
        // The system itself sees to it that no filled folder is replaced, at the very moment.
        return rustix::fs::rename(fresh, target).map_err(fail);
    };
    let there = target.symlink_metadata().is_ok();
    if there {
        may_replace(target)?;
    }
    let swap = if there { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    match rustix::fs::renameat_with(here, fresh, here, target, swap) {
        // A file system without the flags: a plain rename never replaces a filled folder.
        Err(Errno::INVAL) => return rustix::fs::rename(fresh, target).map_err(fail),
        other => other.map_err(fail)?,
    }
    if there && may_replace(fresh).is_err() {
        // Something was put into it at the last moment. It gets its name back.
        rustix::fs::renameat_with(here, fresh, here, target, swap).map_err(fail)?;
        return Err(Error::invalid("it changed while its replacement was made").in_file(target));
    }
    Ok(())
}

/// A new folder, under a temporary name until [`OutputDir::commit`].
#[derive(Debug)]
pub struct OutputDir {
    dir: TempDir,
    /// Holds the lock.
    open: File,
    target: PathBuf,
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
        if target.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
            return Err(Error::invalid("it already exists and is not a folder")
                .in_file(target)
                .advise("choose another name for the output"));
        }
        Self::start(target, None)
    }

    /// Starts a folder that will be called `target`, and take the place of what `may_replace` lets it: it
    /// is asked now, and again when the folder gets its name.
    ///
    /// # Errors
    ///
    /// Whatever `may_replace` returns; `Io` if the folder around it cannot be written.
    pub fn replacing(target: &Path, may_replace: Judge) -> Result<Self> {
        if target.symlink_metadata().is_ok() {
            may_replace(target)?;
        }
        Self::start(target, Some(may_replace))
    }

    /// Starts a folder beside `target`.
    pub(super) fn start(target: &Path, may_replace: Option<Judge>) -> Result<Self> {
        let prefix = temporary_prefix(target)?;
        sweep(target, &prefix);
        let fail = |e| cannot_make(target, &e);
        loop {
            let dir = tempfile::Builder::new()
                .prefix(&prefix)
                .suffix(TEMPORARY_SUFFIX)
                .permissions(Permissions::from_mode(0o777))
                .tempdir_in(parent(target))
                .map_err(fail)?;
            match File::open(dir.path()) {
                Ok(open) if lock(&open) => {
                    return Ok(Self { dir, open, target: target.to_owned(), may_replace });
                }
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
                _ => {}
            }
        }
    }

    /// Returns the final name.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Returns the name that the folder has until it is committed.
    pub(super) fn temporary_path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes a folder inside.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn make_dir(&self, name: &str) -> Result<()> {
        fs::create_dir_all(self.dir.path().join(name))
            .map_err(|e| Error::io("make a folder in", &self.target, e))
    }

    /// Starts a file inside, under a name of its own until it is given to [`OutputDir::place`].
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn new_file(&self) -> Result<OutputFile> {
        OutputFile::create(&self.dir.path().join("new"))
    }

    /// Syncs `file` and puts it at `name` inside.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn place(&self, file: OutputFile, name: &str) -> Result<()> {
        let path = self.dir.path().join(name);
        file.file.as_file().sync_all().map_err(|e| Error::io("sync", &path, e))?;
        file.file.persist(&path).map_err(|e| Error::io("name", &path, e.error))?;
        Ok(())
    }

    /// Writes a small file inside.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let file = self.new_file()?;
        file.write_all_at(bytes, 0)?;
        self.place(file, name)
    }

    /// Gives a file inside another name.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let path = self.dir.path().join(to);
        fs::rename(self.dir.path().join(from), &path).map_err(|e| Error::io("name", &path, e))
    }

    /// Syncs the folders, gives the whole its final name, and syncs the folder around it.
    ///
    /// A folder that has the name already changes places with the new one, if it may be replaced, and is
    /// then removed.
    ///
    /// # Errors
    ///
    /// `Io`, or that the folder there may not be replaced; then the name means what it meant before.
    pub fn commit(self) -> Result<()> {
        let target = &self.target;
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            sync_folder(&folder)?;
            for entry in fs::read_dir(&folder).map_err(|e| Error::io("list", &folder, e))?.flatten()
            {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                }
            }
        }
        take_name(self.dir.path(), target, self.may_replace)?;
        sync_folder_of(target)?;
        // What is left under the temporary name is the old folder, or nothing. The lock goes last,
        // so that no sweep gets in between.
        let _ = self.dir.close();
        drop(self.open);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_output_without_a_commit_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        fs::write(&target, b"old").unwrap();
        let output = OutputFile::create(&target).unwrap();
        output.write_all_at(b"new", 0).unwrap();
        drop(output);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        let output = OutputFile::create(&target).unwrap();
        output.write_all_at(b"new", 0).unwrap();
        output.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn what_a_killed_run_left_is_swept_and_what_is_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        let in_use = OutputFile::create(&target).unwrap();
        fs::write(folder.path().join(".a.dead01.amikit-part"), b"left").unwrap();
        fs::create_dir_all(folder.path().join(".a.dead02.amikit-part/blobs")).unwrap();
        fs::write(folder.path().join(".a.mine.part"), b"not ours").unwrap();
        fs::write(folder.path().join(".b.dead03.amikit-part"), b"of another output").unwrap();
        let fresh = OutputDir::create(&target).unwrap();
        let mut expected = vec![".a.mine.part".to_owned(), ".b.dead03.amikit-part".to_owned()];
        for path in [in_use.temporary_path(), fresh.dir.path()] {
            expected.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
        expected.sort();
        assert_eq!(names(folder.path()), expected);
    }

    /// Lets a folder be replaced that has one file and no more.
    fn of_one_file(path: &Path) -> Result<()> {
        match names(path)[..] {
            [_] => Ok(()),
            _ => Err(Error::invalid("it does not have one file")),
        }
    }

    #[test]
    fn a_folder_changes_places_with_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        for text in ["old", "new"] {
            let output = OutputDir::replacing(&target, of_one_file).unwrap();
            output.write("file", text.as_bytes()).unwrap();
            output.commit().unwrap();
            assert_eq!(fs::read_to_string(target.join("file")).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_folder_that_got_a_file_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        fs::create_dir(&target).unwrap();
        OutputDir::replacing(&target, of_one_file).unwrap_err();
        fs::write(target.join("file"), "old").unwrap();
        let output = OutputDir::replacing(&target, of_one_file).unwrap();
        output.write("file", b"new").unwrap();
        fs::write(target.join("thesis"), "mine").unwrap();
        output.commit().unwrap_err();
        assert_eq!(names(&target), ["file", "thesis"]);
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_new_folder_takes_the_place_of_an_empty_one_only() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        fs::create_dir(&target).unwrap();
        let output = OutputDir::create(&target).unwrap();
        output.write("file", b"new").unwrap();
        output.commit().unwrap();
        assert_eq!(names(&target), ["file"]);
        let output = OutputDir::create(&target).unwrap();
        output.write("other", b"newer").unwrap();
        output.commit().unwrap_err();
        assert_eq!((names(&target), names(folder.path())), (vec!["file".into()], vec!["a".into()]));
    }
}
