//! Names of a request in the wrong order: each of two is what the other should be.

use std::path::Path;

use crate::bundle::Bundle;
use crate::error::Advice;
use crate::error::Error;
use crate::format::Named;
use crate::io::Node;
use crate::layout::Destination;
use crate::layout::is_store;

/// Adds to the refusal of `wrong` that it was typed in the place of `other`, if `other` is what should have stood there. A name
/// of nothing was mistyped, which is another mistake.
pub(in crate::ops) fn swapped(
    error: Error,
    wrong: &Path,
    other: &Path,
    is_meant: impl Fn(&Path) -> bool,
) -> Error {
    if is_there(wrong) { swapped_with_output(error, wrong, other, is_meant) } else { error }
}

/// As [`swapped`], where `wrong` may be the name of what is to be written.
pub(in crate::ops) fn swapped_with_output(
    error: Error,
    wrong: &Path,
    other: &Path,
    is_meant: impl Fn(&Path) -> bool,
) -> Error {
    if wrong == other || !is_meant(other) {
        return error;
    }
    error.advise(Advice::Swap { one: wrong.to_owned(), other: other.to_owned() })
}

/// Tells whether what a user typed is the name of something.
pub(in crate::ops) fn is_there(typed: &Path) -> bool {
    is_in_store(typed) || matches!(Node::at(&Named::parse(typed).path), Ok(Some(_)))
}

/// Tells whether a user typed a store, or a name in one.
pub(in crate::ops) fn is_in_store(typed: &Path) -> bool {
    matches!(Destination::parse(typed), Ok(Destination::Store { .. }))
        || is_store(typed).unwrap_or(false)
}

/// Tells whether a user typed a bundle, or an AMI of a store.
pub(in crate::ops) fn is_bundle(typed: &Path) -> bool {
    let Named { path, inside, .. } = Named::parse(typed);
    inside.is_none() && Bundle::is_at(&path).unwrap_or(false)
}
