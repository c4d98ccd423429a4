//! What the file system of a folder can do, found out with files that never get a name there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::fs::fstatvfs;
use rustix::fs::seek;

use crate::error::Error;
use crate::error::Result;
use crate::io::PageBuffer;
use crate::io::direct::Direct;
use crate::io::scratch::open_folder;
use crate::io::scratch::unnamed_in;
use crate::io::system::born_unnamed;
use crate::io::system::clone_file;

/// Bytes of the files that are tried, and where the only written byte of the sparse one is.
const TRIED_LEN: usize = 2 << 20;
const WRITTEN_AT: u64 = 1 << 20;

/// What a file system can do that amikit uses where it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is an answer of its own")]
pub struct Abilities {
    /// Files keep holes, and say where they are.
    pub holes: bool,
    /// A file can share the bytes of another.
    pub reflinks: bool,
    /// A file can be made without a name.
    pub unnamed_files: bool,
    /// Writes can bypass the page cache.
    pub direct_writes: bool,
    /// Bytes that a user may still write; `None` where the file system does not say.
    pub free_bytes: Option<u64>,
}

impl Abilities {
    /// Tries what the file system of `folder` can do. Up to 2 MiB are written, and nothing of it stays.
    ///
    /// # Errors
    ///
    /// `Io` if no file can be made there, or the system refuses to write it.
    pub fn of(folder: &Path) -> Result<Self> {
        Self::tried(folder).map_err(|e| Error::io("try what can be done in", folder, e))
    }

    fn tried(path: &Path) -> io::Result<Self> {
        let folder = open_folder(path)?;
        let file = unnamed_in(&folder)?;
        let stat = fstatvfs(&file)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        Ok(Self {
            unnamed_files: born_unnamed(&folder)?.is_some(),
            holes: keeps_holes(&file)?,
            reflinks: clone_file(&unnamed_in(&folder)?, &file).unwrap_or(false),
            direct_writes: writes_directly(&unnamed_in(&folder)?)?,
            free_bytes: (stat.f_blocks > 0).then_some(free),
        })
    }
}

/// Writes one byte into the middle of an empty file, and asks where its data begins.
fn keeps_holes(file: &File) -> io::Result<bool> {
    file.set_len(u64::try_from(TRIED_LEN).expect("2 MiB"))?;
    file.write_all_at(&[1], WRITTEN_AT)?;
    // A file system that knows no holes says that data begins at byte 0.
    Ok(seek(file, SeekFrom::Data(0)).is_ok_and(|start| start > 0))
}

fn writes_directly(file: &File) -> io::Result<bool> {
    Ok(Direct::of(file).write_at(&PageBuffer::zeroed(TRIED_LEN), 0)? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::error::Kind;

    #[test]
    fn a_folder_is_tried_and_nothing_stays_in_it() {
        for place in [Path::new("/dev/shm"), &std::env::temp_dir()] {
            let Ok(folder) = tempfile::tempdir_in(place) else { continue };
            let found = Abilities::of(folder.path()).unwrap();
            assert!(found.free_bytes.is_none_or(|bytes| bytes > 0), "{found:?}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    /// Memory keeps holes and shares nothing, so each answer is seen once.
    #[test]
    fn memory_has_holes_and_unnamed_files_and_no_reflinks() {
        let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
            println!("skipped: there is no /dev/shm");
            return;
        };
        let found = Abilities::of(folder.path()).unwrap();
        let unnamed_files = cfg!(all(target_os = "linux", not(amikit_plain_io)));
        assert_eq!(
            (found.holes, found.unnamed_files, found.reflinks),
            (true, unnamed_files, false)
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let error = Abilities::of(Path::new("/no/such/folder")).unwrap_err();
        assert_eq!(error.kind(), Kind::Io);
        assert_eq!(error.path(), Some(Path::new("/no/such/folder")));
    }
}
