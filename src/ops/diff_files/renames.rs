//! Files that have another path: what is gone and what is new, with the same content.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Result;
use crate::guest::Failure;
use crate::guest::Spot;
use crate::guest::Tree;
use crate::ops::diff_files::entry::Change;
use crate::ops::diff_files::entry::FileChange;
use crate::work::Watch;

/// A regular file that only one side has by its path.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) spot: Spot,
    /// Bytes of its content: at least one.
    pub(super) size: u64,
    /// What is reported if the other side does not have it at all.
    pub(super) file: FileChange,
}

/// Pairs each new file with one of the same content that is gone, in the order of their paths. Only files whose
/// size both sides have are read.
pub(super) fn pair_up(
    (old_tree, olds): (&Tree<'_>, Vec<Candidate>),
    (new_tree, news): (&Tree<'_>, Vec<Candidate>),
    watch: &dyn Watch,
) -> Result<Vec<FileChange>> {
    let sizes = |list: &[Candidate]| list.iter().map(|it| it.size).collect::<BTreeSet<_>>();
    let (old_sizes, new_sizes) = (sizes(&olds), sizes(&news));
    let mut gone: BTreeMap<Digest, VecDeque<usize>> = BTreeMap::new();
    for (place, old) in olds.iter().enumerate() {
        if new_sizes.contains(&old.size)
            && let Some(digest) = digest(old_tree, old.spot, watch)?
        {
            gone.entry(digest).or_default().push_back(place);
        }
    }
    let mut olds: Vec<Option<Candidate>> = olds.into_iter().map(Some).collect();
    let mut changes = Vec::new();
    for new in news {
        let mut file = new.file;
        if !gone.is_empty()
            && old_sizes.contains(&new.size)
            && let Some(digest) = digest(new_tree, new.spot, watch)?
            && let Some(place) = gone.get_mut(&digest).and_then(VecDeque::pop_front)
            && let Some(old) = olds[place].take()
        {
            file.change = Change::Renamed;
            file.old_path = Some(old.file.path);
            file.old_path_bytes = old.file.path_bytes;
            file.old_size_bytes = old.file.old_size_bytes;
            file.old_changed_bytes = old.file.old_changed_bytes;
        }
        changes.push(file);
    }
    changes.extend(olds.into_iter().flatten().map(|old| old.file));
    Ok(changes)
}

/// Returns the digest of a file; `None` if it cannot be read.
fn digest(tree: &Tree<'_>, spot: Spot, watch: &dyn Watch) -> Result<Option<Digest>> {
    let mut sum = Sha256::new();
    let copied = tree.copy(spot, 0, u64::MAX, &mut |bytes| {
        sum.update(bytes);
        watch.check()
    });
    match copied {
        Ok(()) => Ok(Some(sum.finish())),
        Err(Failure::Fault(_)) => Ok(None),
        Err(Failure::Error(error)) => Err(error),
    }
}
