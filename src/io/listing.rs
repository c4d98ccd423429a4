//! What is in a folder.
//!
//! `std::fs::read_dir` panics where a folder cannot be closed; this does not.

use std::ffi::CString;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::statat;
use rustix::io::Errno;

/// Something in a folder: its name, and what it is. A link is a link, wherever it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: CString,
    pub(super) kind: FileType,
}

/// Lists an open folder, without `.` and `..`. What goes while it is listed is left out.
///
/// # Errors
///
/// Whatever the system refuses.
pub(super) fn entries(folder: impl AsFd) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems leave it out of their lists.
            FileType::Unknown => match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(e.into()),
            },
            kind => kind,
        };
        found.push(Entry { name: name.to_owned(), kind });
    }
    Ok(found)
}

/// A name in a folder, as [`list`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: OsString,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether it is a regular file.
    pub is_file: bool,
}

/// Lists the folder at `path`.
///
/// # Errors
///
/// Whatever the system refuses.
pub fn list(path: &Path) -> io::Result<Vec<Listed>> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = entries(rustix::fs::open(path, flags, Mode::empty())?)?;
    let listed = |Entry { name, kind }: Entry| Listed {
        name: OsStr::from_bytes(name.as_bytes()).to_owned(),
        is_folder: kind == FileType::Directory,
        is_file: kind == FileType::RegularFile,
    };
    Ok(found.into_iter().map(listed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn names_are_listed_with_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        symlink("folder", folder.path().join("link")).unwrap();
        let mut found = list(folder.path()).unwrap();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let kinds: Vec<_> = found.iter().map(|it| (it.is_file, it.is_folder)).collect();
        assert_eq!(kinds, [(true, false), (false, true), (false, false)]);
        assert!(
            list(&folder.path().join("file")).is_err() && list(Path::new("/no/where")).is_err()
        );
    }
}
