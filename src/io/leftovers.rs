//! What could not be removed after an output was finished or given up.
//!
//! The output is whole, so the run did not fail; but the user should hear which file takes up room for
//! nothing. Outputs are dropped in many places, some of them on the way out of a failure, so
//! this is kept once for the process, and the program asks for it at its end.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

static LEFT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Notes that a file or folder stayed behind.
pub(super) fn left_behind(path: &Path) {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    if !left.iter().any(|it| it == path) {
        left.push(path.to_owned());
    }
}

/// Returns the files and folders that should have been removed and could not be, since this was last
/// asked.
#[must_use]
pub fn take_leftovers() -> Vec<PathBuf> {
    std::mem::take(&mut *LEFT.lock().unwrap_or_else(PoisonError::into_inner))
}
