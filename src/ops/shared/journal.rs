//! Where the journal of an in-place apply is.

use std::path::Path;
use std::path::PathBuf;

/// What stands behind an image's name in that of its journal.
const JOURNAL_SUFFIX: &str = ".amikit-journal.tar";

/// Returns the name of an image's journal.
pub(in crate::ops) fn journal_of(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(JOURNAL_SUFFIX);
    PathBuf::from(name)
}
