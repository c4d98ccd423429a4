//! Paths inside a guest, and why one leads nowhere: what was looked for, what is missing, and what there is.

use crate::error::Advice;
use crate::error::Error;
use crate::error::Verb;
use crate::guest::escape::escape;
use crate::guest::failure::Failure;
use crate::guest::file::Entry;
use crate::guest::file::FileKind;

/// Most changes of one byte by which a name may differ from what was looked for and still be suggested.
const MAX_DISTANCE: usize = 2;

/// Most bytes of names that are compared for that.
const MAX_NAME_LEN: usize = 64;

/// Where a search ended.
#[derive(Debug)]
pub(super) struct Stop {
    /// The directory that was reached, without links; empty for the root.
    pub(super) folder: Vec<u8>,
    /// What was looked for in it.
    pub(super) name: Vec<u8>,
    /// Why it went no further.
    pub(super) reason: Reason,
}

/// Why a search ended.
#[derive(Debug)]
pub(super) enum Reason {
    /// The directory has no such name; it may have one that is like it.
    Missing {
        /// That name.
        nearest: Option<Vec<u8>>,
    },
    /// It is not a directory.
    Kind(FileKind),
    /// Links lead to links.
    Links,
    /// It could not be read.
    Failure(Failure),
}

impl From<Failure> for Reason {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Stop {
    /// Makes the error of a search for `looked_for`.
    pub(super) fn explained(self, looked_for: &[u8]) -> Error {
        let Self { folder, name, reason } = self;
        let looked = escape(looked_for);
        let shown = if folder.is_empty() { "/".to_owned() } else { escape(&folder) };
        let missing = [&folder[..], b"/", &name].concat();
        match reason {
            Reason::Missing { nearest } => {
                let text = if joined(looked_for) == missing {
                    format!("{looked}: there is no such file in {shown}")
                } else {
                    format!("{looked}: there is no {}, where it leads", escape(&missing))
                };
                Error::invalid(text).advise(match nearest {
                    Some(name) => format!("the nearest name there is {}", escape(&name)).into(),
                    None => {
                        Advice::Use { verb: Verb::List, to: format!("see what {shown} has").into() }
                    }
                })
            }
            Reason::Kind(kind) => {
                let text = format!("{looked}: {shown} is a {}, expected a directory", kind.name());
                Error::invalid(text)
            }
            Reason::Links => {
                let link = escape(&missing);
                let text =
                    format!("{looked}: over 40 symbolic links lead there, the last is {link}");
                Error::invalid(text)
            }
            Reason::Failure(failure) => failure.in_path(looked_for),
        }
    }
}

/// Returns the names in a path.
pub(super) fn split(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
}

/// Returns a path with one slash in front of each name, and without `.` and `..`.
fn joined(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.iter().flat_map(|name| [b"/", *name].concat()).collect()
}

/// Returns the name that is most like one that is missing, if there is one that is much like it.
pub(super) fn nearest(name: &[u8], entries: &[Entry]) -> Option<Vec<u8>> {
    let near = entries.iter().filter_map(|entry| {
        // Short names are all alike: at most a third of a name may differ.
        let most = MAX_DISTANCE.min(name.len() / 3);
        let far = distance(&name.to_ascii_lowercase(), &entry.name.to_ascii_lowercase(), most)?;
        Some((far, &entry.name))
    });
    near.min().map(|(_, name)| name.clone())
}

/// Returns by how many bytes that are added, left out or changed two names differ; `None` if by more than `most`.
fn distance(one: &[u8], other: &[u8], most: usize) -> Option<usize> {
    if one.len().abs_diff(other.len()) > most || one.len().max(other.len()) > MAX_NAME_LEN {
        return None;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at.strict_add(1);
        for (place, their) in other.iter().enumerate() {
            let next = place.strict_add(1);
            let above = row[next];
            let changed = diagonal.strict_add(usize::from(byte != their));
            row[next] = changed.min(above.strict_add(1)).min(row[place].strict_add(1));
            diagonal = above;
        }
    }
    row.last().copied().filter(|far| *far <= most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::owner::FileId;

    #[test]
    fn distances_count_changed_bytes() {
        assert_eq!(distance(b"hosts", b"hosts", 2), Some(0));
        assert_eq!(distance(b"hosts", b"host", 2), Some(1));
        assert_eq!(distance(b"hosts", b"hots", 2), Some(1));
        assert_eq!(distance(b"kitten", b"sitting", 3), Some(3));
        assert_eq!(distance(b"kitten", b"sitting", 2), None);
        assert_eq!(distance(b"", b"", 0), Some(0));
    }

    #[test]
    fn only_names_that_are_much_alike_are_suggested() {
        let names: [&[u8]; 4] = [b"shadow", b"hosts", b"Passwd", b"a"];
        let list = names.map(|name| Entry { name: name.to_vec(), id: FileId(1) });
        assert_eq!(nearest(b"passwd", &list).as_deref(), Some(&b"Passwd"[..]));
        assert_eq!(nearest(b"host", &list).as_deref(), Some(&b"hosts"[..]));
        assert_eq!(nearest(b"nothing", &list), None);
        assert_eq!(nearest(b"b", &list), None);
    }

    #[test]
    fn paths_are_joined_without_steps_back() {
        assert_eq!(joined(b"a//b/./../c/"), b"/a/c");
        assert_eq!(joined(b"/"), b"");
    }
}
