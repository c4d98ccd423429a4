//! Who else may write to a file: an image that a machine still runs on must not be packed.

use crate::io::Input;
use crate::io::system;

/// Names the processes, other than this one, and the loop devices that may write to `input`.
///
/// This asks `/proc` and `/sys`, so it sees the processes that the user may look into; an empty answer does
/// not prove that nobody writes. [`check_unchanged`](crate::io::ReadAt::check_unchanged) finds
/// those who did.
#[must_use]
pub fn writers_of(input: &Input) -> Vec<String> {
    input.inode().map(system::writers_of).unwrap_or_default()
}
