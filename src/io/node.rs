//! What stands at a name, without opening it.
//!
//! "Nothing is there" and "the system does not say" are different answers: only the first lets a caller go on as if the
//! name were free.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;

/// What stands at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, where links are not followed.
    Link,
    /// A block device.
    Device,
    /// A pipe, a socket or a character device.
    Other,
}

impl Node {
    fn of(kind: FileType) -> Self {
        if kind.is_file() {
            Self::File
        } else if kind.is_dir() {
            Self::Folder
        } else if kind.is_symlink() {
            Self::Link
        } else if kind.is_block_device() {
            Self::Device
        } else {
            Self::Other
        }
    }

    /// Returns what stands at `path`, links followed; `None` if nothing does, behind a broken link either.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say.
    pub fn at(path: &Path) -> Result<Option<Self>> {
        // `metadata`, not `File::open`: opening a device or a pipe does something to it.
        answer(path, path.metadata().map(|meta| Self::of(meta.file_type())))
    }

    /// Returns what stands at `path` itself: a link is a link; `None` if nothing does.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say.
    pub fn itself(path: &Path) -> Result<Option<Self>> {
        answer(path, path.symlink_metadata().map(|meta| Self::of(meta.file_type())))
    }
}

/// Returns the device and the inode of what stands at `path`, links followed; `None` if nothing does.
///
/// # Errors
///
/// `Io` if the system does not say.
pub fn inode(path: &Path) -> Result<Option<(u64, u64)>> {
    answer(path, path.metadata().map(|meta| (meta.dev(), meta.ino())))
}

/// Returns the name of what stands at `path` without links, if anything does and the system says so.
#[must_use]
pub fn real_path(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

fn answer<T>(path: &Path, asked: io::Result<T>) -> Result<Option<T>> {
    match asked {
        Ok(found) => Ok(Some(found)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(Error::io("look at", path, e)),
    }
}

/// Tells whether an error says that nothing is there. A name too long for the file system is one that nothing
/// can have.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_name_is_what_stands_there_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), b"").unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink(at("nowhere"), at("broken")).unwrap();
        let both = |name: &str| (Node::at(&at(name)).unwrap(), Node::itself(&at(name)).unwrap());
        assert_eq!(both("file"), (Some(Node::File), Some(Node::File)));
        assert_eq!(both("folder"), (Some(Node::Folder), Some(Node::Folder)));
        assert_eq!(both("link"), (Some(Node::File), Some(Node::Link)));
        assert_eq!(both("broken"), (None, Some(Node::Link)));
        assert_eq!(both("nothing"), (None, None));
        assert_eq!(both("file/inside"), (None, None));
        assert_eq!(both(&"n".repeat(300)), (None, None));
        assert_eq!(Node::at(Path::new("/dev/null")).unwrap(), Some(Node::Other));
    }

    #[test]
    fn what_the_system_does_not_say_is_not_nothing() {
        let dir = tempfile::tempdir().unwrap();
        // A link to itself: refused for everybody, also for root, whom no permission stops.
        let path = dir.path().join("round");
        symlink(&path, &path).unwrap();
        assert_eq!(Node::at(&path).unwrap_err().kind(), crate::error::Kind::Io);
    }
}
