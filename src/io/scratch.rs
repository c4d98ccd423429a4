//! A file without a name, for bytes that come in order and are wanted at any place.

use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::io::Input;
use crate::io::WRITE_PIECE_LEN;
use crate::io::WriteAt;

/// The variable that names the folder.
const VARIABLE: &str = "TMPDIR";

/// The folders that are tried where it names none: the first is for what is large, and is on a disk where
/// the second may be memory.
const FOLDERS: [&str; 2] = ["/var/tmp", "/tmp"];

/// A file without a name. However the process ends, nothing of it stays. No place of it is written twice.
#[derive(Debug)]
pub struct Scratch {
    file: File,
    folder: PathBuf,
}

impl Scratch {
    /// Makes an empty file in the folder that `TMPDIR` names, else in `/var/tmp`, else in `/tmp`.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn create() -> Result<Self> {
        let named = env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
        let folder = named.unwrap_or_else(|| {
            let there = FOLDERS.iter().map(Path::new).find(|folder| folder.is_dir());
            there.unwrap_or(Path::new(FOLDERS[1])).to_owned()
        });
        let file = tempfile::tempfile_in(&folder).map_err(|e| {
            // Behind the system's words, the error's text names a file that never was.
            let words = e.to_string();
            let words = words.split(" at path ").next().unwrap_or_default();
            Error::io(
                "make a temporary file there",
                &folder,
                io::Error::new(e.kind(), words.to_owned()),
            )
            .advise(format!("set {VARIABLE} to a folder that can be written"))
        })?;
        Ok(Self { file, folder })
    }

    /// Returns the folder that it is in.
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
        let error = Error::io("write a temporary file there", &self.folder, error);
        if full {
            error.advise(format!("free some space, or set {VARIABLE} to a folder with more"))
        } else {
            error
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
