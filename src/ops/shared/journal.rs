//! Where the journal of an in-place apply stands: beside the image that it belongs to.

use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;

/// What stands behind an image's name in that of its journal.
const SUFFIX: &str = ".amikit-journal.tar";

/// Returns the name of an image's journal.
pub(in crate::ops) fn journal_of(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// Returns the journal of an image, if there is one.
///
/// # Errors
///
/// `Io` if the system does not say whether there is one: a journal must not be overlooked.
pub(in crate::ops) fn find_journal(image: &Path) -> Result<Option<PathBuf>> {
    let journal = journal_of(image);
    match std::fs::symlink_metadata(&journal) {
        Ok(_) => Ok(Some(journal)),
        // A name too long for the file system is one that nothing can have.
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(Error::io("look for", &journal, e)),
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename
    )
}
