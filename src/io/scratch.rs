//! A file without a name, for bytes that come in order and are wanted at any place.

use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::openat;
use rustix::fs::unlinkat;
use rustix::io::Errno;

use crate::error::Error;
use crate::error::Result;
use crate::io::Input;
use crate::io::OutputDir;
use crate::io::OutputFile;
use crate::io::WRITE_PIECE_LEN;
use crate::io::WriteAt;
use crate::io::system::LOOK_UP;
use crate::io::system::born_unnamed;

/// The variable that names the folder.
const VARIABLE: &str = "TMPDIR";

/// The folders that are tried where it names none: the first is for what is large, and is on a disk where
/// the second may be memory.
const FOLDERS: [&str; 2] = ["/var/tmp", "/tmp"];

/// How often a name is tried, where a file needs one for a moment.
const TRIES: u32 = 64;

/// A file without a name. However the process ends, nothing of it stays. No place of it is written twice.
#[derive(Debug)]
pub struct Scratch {
    file: File,
    /// The folder, or the output that it is for.
    folder: PathBuf,
    /// Whether it is for an output, and on the same file system.
    for_output: bool,
}

impl Scratch {
    /// Makes an empty file in the folder that `TMPDIR` names, else in `/var/tmp`, else in `/tmp`.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn create() -> Result<Self> {
        let folder = Self::usual_folder();
        let advise =
            |error: Error| error.advise(format!("set {VARIABLE} to a folder that can be written"));
        let file = unnamed(&folder)
            .map_err(|e| advise(Error::io("make a temporary file there", &folder, e)))?;
        Ok(Self { file, folder, for_output: false })
    }

    /// Returns the folder that [`Scratch::create`] takes.
    #[must_use]
    pub fn usual_folder() -> PathBuf {
        let named = env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
        named.unwrap_or_else(|| {
            let there = FOLDERS.iter().map(Path::new).find(|folder| folder.is_dir());
            there.unwrap_or(Path::new(FOLDERS[1])).to_owned()
        })
    }

    /// Makes an empty file beside an output, on the same file system.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn beside(output: &OutputFile) -> Result<Self> {
        let place = output.place();
        Self::in_open(place.folder(), place.path())
    }

    /// As [`Scratch::beside`], for an output that is a folder.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn inside(output: &OutputDir) -> Result<Self> {
        Self::in_open(output.open(), output.target())
    }

    fn in_open(folder: &File, output: &Path) -> Result<Self> {
        let file =
            unnamed_in(folder).map_err(|e| Error::io("make a temporary file for", output, e))?;
        Ok(Self { file, folder: output.to_owned(), for_output: true })
    }

    /// Returns the folder that it is in, or the output that it is for.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes it `len` bytes long, and an input that is called `name` in messages. What was not written
    /// is zeros.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn into_input(self, len: u64, name: &Path) -> Result<Input> {
        self.into_sparse_input(len, name).map(Input::laid_down)
    }

    /// As [`Scratch::into_input`], for content that told holes from zeros: what was not written is a
    /// hole.
    ///
    /// # Errors
    ///
    /// As [`Scratch::into_input`].
    pub fn into_sparse_input(self, len: u64, name: &Path) -> Result<Input> {
        self.file.set_len(len).map_err(|e| self.fail(e))?;
        Input::of_file(self.file, name)
    }

    fn fail(&self, error: io::Error) -> Error {
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        let doing = if self.for_output {
            "write a temporary file for"
        } else {
            "write a temporary file there"
        };
        let error = Error::io(doing, &self.folder, error);
        match (full, self.for_output) {
            (false, _) => error,
            (true, true) => error.advise("free some space, or write the output elsewhere"),
            (true, false) => {
                error.advise(format!("free some space, or set {VARIABLE} to a folder with more"))
            }
        }
    }
}

impl WriteAt for Scratch {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut at = offset;
        for piece in bytes.chunks(WRITE_PIECE_LEN) {
            self.file.write_all_at(piece, at).map_err(|e| self.fail(e))?;
            at = at.strict_add(u64::try_from(piece.len()).expect("a piece"));
        }
        Ok(())
    }

    /// A new file is a hole where nothing is written.
    fn make_hole_at(&self, _len: u64, _offset: u64) -> Result<()> {
        Ok(())
    }

    fn read_back_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buf, offset).map_err(|e| self.fail(e))
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.file.set_len(size).map_err(|e| self.fail(e))
    }
}

/// Makes a file without a name in a folder.
fn unnamed(folder: &Path) -> io::Result<File> {
    unnamed_in(&open_folder(folder)?)
}

/// Opens a folder to make files in.
pub(super) fn open_folder(folder: &Path) -> io::Result<File> {
    let flags = LOOK_UP | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(folder, flags, Mode::empty())?))
}

/// Makes a file without a name in an open folder. Where the file system has no such files, it loses its name
/// before anything is written.
pub(super) fn unnamed_in(folder: &File) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    if let Some(file) = born_unnamed(folder)? {
        return Ok(file);
    }
    for _ in 0..TRIES {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!(".amikit-{:x}-{number:x}.amikit-part", std::process::id());
        match openat(folder, &*name, flags | OFlags::CREATE | OFlags::EXCL, mode) {
            Ok(file) => {
                unlinkat(folder, &*name, AtFlags::empty())?;
                return Ok(File::from(file));
            }
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(Errno::EXIST.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::io::ReadAt;
    use crate::units::ExtentKind;

    #[test]
    fn what_was_written_is_read_back_and_the_rest_is_zeros() {
        let scratch = Scratch::create().unwrap();
        scratch.write_all_at(&vec![7; 300_000], 1_000_000).unwrap();
        let input = scratch.into_input(2_000_000, Path::new("name")).unwrap();
        assert_eq!((input.len(), input.path()), (2_000_000, Path::new("name")));
        let mut bytes = vec![9; 2_000_000];
        input.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes[..1_000_000].iter().chain(&bytes[1_300_000..]).all(|byte| *byte == 0));
        assert!(bytes[1_000_000..1_300_000].iter().all(|byte| *byte == 7));
        let extents = input.extents(10).unwrap();
        assert!(extents.iter().all(|it| it.kind != ExtentKind::Hole), "{extents:?}");
        assert!(input.check_unchanged().is_ok());
    }
}
