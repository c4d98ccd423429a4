//! Where a base has the files of a volume: what a delta compresses the new content of a file against.
//!
//! A file is found again by its path, or by its path without version numbers: modules of a kernel are in a folder of its
//! version, and a library has its own in its name. That a file is the wrong one costs a few bytes, and nothing else.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::delta::BaseHints;
use crate::delta::Likely;
use crate::error::Kind;
use crate::error::Result;
use crate::guest::Bytes;
use crate::guest::Failure;
use crate::guest::FileKind;
use crate::guest::Guest;
use crate::guest::Outcome;
use crate::guest::Spot;
use crate::guest::Tree;
use crate::volume::ReadVolume;
use crate::work::Watch;

/// Most files and folders of a volume that are looked at: 100 MiB of memory. An image has some 60,000.
const MAX_FILES: usize = 1 << 20;

/// Most pieces of files of a volume that are remembered: 48 MiB of memory.
const MAX_PIECES: usize = 1 << 21;

/// Bytes of a file that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// First byte in the file.
    start: u64,
    len: u64,
    /// First byte in the volume.
    at: u64,
}

/// What stands for a path: the same number, the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    exact: u64,
    /// The same for all versions.
    any_version: u64,
}

impl Name {
    const ROOT: Self = Self { exact: 0, any_version: 0 };

    fn below(self, name: &[u8]) -> Self {
        Self {
            exact: xxh3_64_with_seed(name, self.exact),
            any_version: xxh3_64_with_seed(&without_version(name), self.any_version),
        }
    }
}

/// Writes one `#` for each number and for each row of numbers with full stops between.
fn without_version(name: &[u8]) -> Vec<u8> {
    let mut rest = name.iter().copied().peekable();
    let mut done: Vec<u8> = Vec::with_capacity(name.len());
    while let Some(byte) = rest.next() {
        let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        match byte {
            b'0'..=b'9' if done.last() == Some(&b'#') => {}
            b'0'..=b'9' => done.push(b'#'),
            b'.' if done.last() == Some(&b'#') && is_digit(rest.peek()) => {}
            _ => done.push(byte),
        }
    }
    done
}

/// The files of a base.
#[derive(Debug, Default)]
struct Files {
    pieces: Vec<Piece>,
    exact: BTreeMap<u64, Range<usize>>,
    any_version: BTreeMap<u64, Range<usize>>,
}

impl Files {
    fn of(volume: &dyn ReadVolume, watch: &dyn Watch) -> Result<Self> {
        let mut files = Self::default();
        each_file(volume, watch, |name, pieces| {
            let start = files.pieces.len();
            files.pieces.extend_from_slice(pieces);
            let range = start..files.pieces.len();
            files.exact.insert(name.exact, range.clone());
            // Of several versions the last one, as names go.
            files.any_version.insert(name.any_version, range);
            files.pieces.len() < MAX_PIECES
        })?;
        Ok(files)
    }

    fn get(&self, name: Name) -> &[Piece] {
        let found = self.exact.get(&name.exact).or_else(|| self.any_version.get(&name.any_version));
        found.map_or(&[], |range| &self.pieces[range.clone()])
    }
}

/// Finds out where `old` has what the files of `new` were before. Nothing is known where a volume has no file system that
/// can be read, or is damaged.
///
/// # Errors
///
/// If a volume cannot be read; `Interrupted` on request.
pub(in crate::ops) fn base_hints(
    old: &dyn ReadVolume,
    new: &dyn ReadVolume,
    watch: &dyn Watch,
) -> Result<BaseHints> {
    let files = Files::of(old, watch)?;
    let mut likely = Vec::new();
    if !files.exact.is_empty() {
        each_file(new, watch, |name, pieces| {
            join(pieces, files.get(name), &mut likely);
            likely.len() < MAX_PIECES
        })?;
    }
    Ok(BaseHints::new(likely))
}

/// Joins the pieces of a file with those that it had, both ascending.
fn join(now: &[Piece], was: &[Piece], likely: &mut Vec<Likely>) {
    let mut was = was.iter().peekable();
    for piece in now {
        let end = piece.start.saturating_add(piece.len);
        while let Some(old) = was.peek() {
            let old_end = old.start.saturating_add(old.len);
            let (from, to) = (piece.start.max(old.start), end.min(old_end));
            if from < to {
                likely.push(Likely {
                    start: piece.at.saturating_add(from.strict_sub(piece.start)),
                    len: to.strict_sub(from),
                    base: old.at.saturating_add(from.strict_sub(old.start)),
                });
            }
            if old_end > end {
                break;
            }
            was.next();
        }
    }
}

/// Calls `each` with all regular files of a guest, until it says that it has enough.
fn each_file(
    volume: &dyn ReadVolume,
    watch: &dyn Watch,
    mut each: impl FnMut(Name, &[Piece]) -> bool,
) -> Result<()> {
    let guest = Guest::open(volume)?;
    let tree = match Tree::open(&guest, None) {
        Ok(tree) => tree,
        // There is nothing that can be read.
        Err(error) if error.kind() == Kind::Invalid => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut folders = vec![(tree.root(), Name::ROOT)];
    let mut seen = BTreeSet::new();
    let mut count = 0_usize;
    while let Some((folder, path)) = folders.pop() {
        watch.check()?;
        if !seen.insert(folder) {
            continue;
        }
        for (name, spot) in known(tree.entries(folder))?.unwrap_or_default() {
            count = count.strict_add(1);
            if count > MAX_FILES {
                return Ok(());
            }
            let Some(node) = known(tree.node(spot))? else { continue };
            let name = path.below(&name);
            match node.kind {
                FileKind::Directory => folders.push((spot, name)),
                FileKind::Regular => {
                    let Some(pieces) = known(pieces(&guest, &tree, spot))? else { continue };
                    if !pieces.is_empty() && !each(name, &pieces) {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Tells what is damaged from what cannot be read.
fn known<T>(outcome: Outcome<T>) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Fault(_)) => Ok(None),
        Err(Failure::Error(error)) => Err(error),
    }
}

/// Returns where the content of a file lies in the volume.
fn pieces(guest: &Guest<'_>, tree: &Tree<'_>, spot: Spot) -> Outcome<Vec<Piece>> {
    let part = &guest.parts[tree.part(spot)];
    let mut found = Vec::new();
    for piece in tree.system(spot).content(spot.id)?.pieces {
        let Bytes::At(at) = piece.bytes else { continue };
        let mut start = piece.start;
        for span in part.spans(at..at.saturating_add(piece.len)) {
            let len = span.end.strict_sub(span.start);
            found.push(Piece { start, len, at: span.start });
            start = start.saturating_add(len);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_left_out_of_names() {
        let plain = |name: &str| String::from_utf8(without_version(name.as_bytes())).unwrap();
        assert_eq!(plain("6.1.0-30-cloud-amd64"), "#-#-cloud-amd#");
        assert_eq!(plain("libssl.so.3"), "libssl.so.#");
        assert_eq!(plain("1.2.so.3."), "#.so.#.");
        assert_eq!(plain("a..1"), "a..#");
        let name = |version: &str| {
            let folder = Name::ROOT.below(b"modules").below(version.as_bytes());
            folder.below(b"fuse.ko")
        };
        assert_ne!(name("6.1.0-30").exact, name("6.1.0-31").exact);
        assert_eq!(name("6.1.0-30").any_version, name("6.1.0-31").any_version);
        assert_ne!(name("6.1.0-30").any_version, name("6.1.0-rc").any_version);
    }

    #[test]
    fn pieces_are_joined_where_they_overlap_in_the_file() {
        let piece = |start, len, at| Piece { start, len, at };
        let likely = |start, len, base| Likely { start, len, base };
        let mut found = Vec::new();
        let was = [piece(0, 10, 1000), piece(20, 10, 2000), piece(40, 100, 3000)];
        join(&[piece(5, 20, 70), piece(28, 14, 500), piece(50, 1, 9)], &was, &mut found);
        assert_eq!(
            found,
            [
                likely(70, 5, 1005),
                likely(85, 5, 2000),
                likely(500, 2, 2008),
                likely(512, 2, 3000),
                likely(9, 1, 3010),
            ]
        );
    }
}
