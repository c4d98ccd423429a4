//! Where the journal of an in-place apply stands: beside the image that it belongs to.

use std::path::Path;
use std::path::PathBuf;

use crate::error::Result;
use crate::io::Node;

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
    Ok(Node::itself(&journal)?.map(|_| journal))
}
