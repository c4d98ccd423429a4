//! Who else may write to a file: an image that a machine still runs on must not be packed.

use std::sync::Arc;

use crate::io::Input;
use crate::io::system;

/// Names the processes, other than this one, and the loop devices that may write to one of the inputs: the place of the first
/// input that has any, and who they are.
///
/// This asks `/proc` and `/sys`, so it sees the processes that the user may look into; an empty answer does
/// not prove that nobody writes. [`check_unchanged`](crate::io::ReadAt::check_unchanged) finds
/// those who did.
#[must_use]
pub fn writers_of(inputs: &[Arc<Input>]) -> Option<(usize, Vec<String>)> {
    let in_files = |(place, input): (usize, &Arc<Input>)| Some((place, input.inode()?));
    let (places, files): (Vec<_>, Vec<_>) = inputs.iter().enumerate().filter_map(in_files).unzip();
    if files.is_empty() {
        return None;
    }
    let (first, writers) = system::writers_of(&files)?;
    Some((places[first], writers))
}
