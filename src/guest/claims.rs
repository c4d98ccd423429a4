//! What a walk over all files and metadata finds owned, and the proof against the allocator's records.

use std::fmt;
use std::iter::once;
use std::ops::Range;

use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::owner::Owner;
use crate::guest::owner::OwnerMap;
use crate::guest::ranges::Ranges;

/// Most claims of a file system: 4 Mi of them are 192 MiB.
const MAX_CLAIMS: usize = 4 << 20;

/// A byte range that a walk found owned.
#[derive(Clone, Debug)]
struct Claim {
    range: Range<u64>,
    owner: Owner,
    shared: bool,
}

/// All that a walk found owned, in the order in which it was found.
#[derive(Debug)]
pub struct Claims {
    size: u64,
    claimed: u64,
    list: Vec<Claim>,
}

impl Claims {
    /// Starts with nothing, for a file system of `size` bytes.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self { size, claimed: 0, list: Vec::new() }
    }

    /// Takes bytes that one owner has for itself.
    ///
    /// # Errors
    ///
    /// A fault if they are not inside the file system, or if more is owned than there is: a walk in
    /// circles ends here.
    pub fn add(&mut self, range: Range<u64>, owner: Owner) -> Outcome<()> {
        self.claimed = self.claimed.saturating_add(range.end.saturating_sub(range.start));
        if self.claimed > self.size.saturating_mul(2) {
            return Err(Problem::Damaged.text("more bytes are owned than it has"));
        }
        self.take(range, owner, false)
    }

    /// Takes bytes that other files may own too.
    ///
    /// # Errors
    ///
    /// A fault if they are not inside the file system.
    pub fn share(&mut self, range: Range<u64>, owner: Owner) -> Outcome<()> {
        self.take(range, owner, true)
    }

    fn take(&mut self, range: Range<u64>, owner: Owner, shared: bool) -> Outcome<()> {
        if range.start > range.end || range.end > self.size {
            return Err(Problem::Damaged.text("an extent lies outside it").at(owner, range.start));
        }
        let count = self.list.len();
        match self.list.last_mut() {
            _ if range.is_empty() => {}
            Some(last)
                if last.range.end == range.start
                    && last.owner == owner
                    && last.shared == shared =>
            {
                last.range.end = range.end;
            }
            _ if count >= MAX_CLAIMS => {
                return Err(Problem::Limit.text("it has over 4,194,304 extents"));
            }
            _ => self.list.push(Claim { range, owner, shared }),
        }
        Ok(())
    }
}

/// The first range that keeps the two derivations from agreeing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offender {
    /// Bytes of the file system.
    pub range: Range<u64>,
    /// What is wrong with them.
    pub wrong: Wrong,
}

/// How the two derivations disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Two own it.
    Twice(Owner, Owner),
    /// It is owned, and the allocator calls it free.
    OwnedAndFree(Owner),
    /// The allocator calls it used, and nobody owns it.
    Neither,
}

impl fmt::Display for Offender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = &self.range;
        write!(f, "bytes {start} to {}", end.saturating_sub(1))?;
        match self.wrong {
            Wrong::Twice(one, other) => write!(f, " belong to {one} and to {other}"),
            Wrong::OwnedAndFree(owner) => write!(f, " belong to {owner} and are marked free"),
            Wrong::Neither => write!(f, " are marked used and belong to nothing"),
        }
    }
}

/// What came of holding the walk against the allocator's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Bytes that have an owner.
    pub owned_bytes: u64,
    /// Bytes that the allocator calls free.
    pub free_bytes: u64,
    /// Bytes that two own, or that are owned and free.
    pub conflict_bytes: u64,
    /// Bytes that are neither owned nor free.
    pub gap_bytes: u64,
    /// The first of these.
    pub first: Option<Offender>,
}

impl Proof {
    /// Tells whether nothing is owned twice, nothing owned is free, and nothing is neither.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.first.is_none()
    }

    fn offend(&mut self, range: Range<u64>, wrong: Wrong) {
        let len = range.end.strict_sub(range.start);
        let sum = match wrong {
            Wrong::Neither => &mut self.gap_bytes,
            _ => &mut self.conflict_bytes,
        };
        *sum = sum.saturating_add(len);
        if self.first.as_ref().is_none_or(|first| range.start < first.range.start) {
            self.first = Some(Offender { range, wrong });
        }
    }
}

/// Holds what a walk found owned against what the allocator calls free, in units of `grain` bytes: an
/// allocator of clusters gives a whole one to the owner of any block of it.
///
/// Returns the owner map, in which what is neither is unknown, and the proof.
#[must_use]
pub fn prove(claims: Claims, free: &Ranges, grain: u64) -> (OwnerMap, Proof) {
    let mut proof = Proof::default();
    let size = claims.size;
    let mut owned = flatten(claims, &mut proof);
    if grain > 1 {
        owned = round(owned, grain, size, &mut proof);
    }
    let mut map = OwnerMap::default();
    for (range, owner) in owned.into_iter().chain([(size..size, Owner::Unknown)]) {
        let before = map.size()..range.start;
        for gap in free.outside(before.clone()) {
            map.fill(gap.start, Owner::Free);
            map.fill(gap.end, Owner::Unknown);
            proof.offend(gap, Wrong::Neither);
        }
        map.fill(before.end, Owner::Free);
        let mut at = range.start;
        for kept in free.outside(range.clone()).chain(once(range.end..range.end)) {
            if at < kept.start {
                proof.offend(at..kept.start, Wrong::OwnedAndFree(owner));
            }
            at = kept.end;
        }
        map.fill(range.end, owner);
    }
    proof.owned_bytes = map.sum(|owner| !matches!(owner, Owner::Free | Owner::Unknown));
    proof.free_bytes = free.bytes();
    (map, proof)
}

/// Sorts the claims and cuts them so that they do not overlap; what two own is the first one's.
fn flatten(claims: Claims, proof: &mut Proof) -> Vec<(Range<u64>, Owner)> {
    let mut list = claims.list;
    list.sort_unstable_by_key(|claim| (claim.range.start, claim.owner));
    let mut flat: Vec<(Range<u64>, Owner)> = Vec::with_capacity(list.len());
    let mut last_shared = false;
    for Claim { mut range, owner, shared } in list {
        if let Some((last, other)) = flat.last()
            && range.start < last.end
        {
            let both = range.start..last.end.min(range.end);
            if !(shared && last_shared) {
                proof.offend(both.clone(), Wrong::Twice(*other, owner));
            }
            range.start = both.end;
        }
        if !range.is_empty() {
            flat.push((range, owner));
            last_shared = shared;
        }
    }
    flat
}

/// Gives the rest of a cluster to the owner of its first block, and finds clusters that two own.
fn round(
    owned: Vec<(Range<u64>, Owner)>,
    grain: u64,
    size: u64,
    proof: &mut Proof,
) -> Vec<(Range<u64>, Owner)> {
    let mut rounded: Vec<(Range<u64>, Owner)> = Vec::with_capacity(owned.len());
    for (mut range, owner) in owned {
        if let Some((last, other)) = rounded.last_mut()
            && range.start < last.end
        {
            // Metadata at fixed places lies packed; only files have clusters for themselves.
            if *other != owner && (other.file().is_some() || owner.file().is_some()) {
                proof.offend(range.start..last.end, Wrong::Twice(*other, owner));
            }
            last.end = range.start;
        } else {
            let floor = range.start.strict_div(grain).strict_mul(grain);
            range.start = floor.max(rounded.last().map_or(0, |(last, _)| last.end));
        }
        range.end = range.end.checked_next_multiple_of(grain).unwrap_or(size).min(size);
        rounded.push((range, owner));
    }
    rounded
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::single_range_in_vec_init)]
mod tests {
    use super::*;
    use crate::guest::owner::FileId;
    use crate::guest::owner::Metadata;

    const FILE: Owner = Owner::File(FileId(12));
    const OTHER: Owner = Owner::File(FileId(13));
    const TABLE: Owner = Owner::Metadata(Metadata::Inodes);

    fn ranges(list: &[Range<u64>]) -> Ranges {
        let mut ranges = Ranges::default();
        list.iter().cloned().for_each(|range| ranges.push(range));
        ranges
    }

    fn of(list: &[(Range<u64>, Owner)]) -> Claims {
        let mut claims = Claims::new(100);
        for (range, owner) in list {
            claims.add(range.clone(), *owner).unwrap();
        }
        claims
    }

    #[test]
    fn two_derivations_that_agree_tile_the_file_system() {
        let claims = of(&[(60..70, FILE), (0..10, TABLE), (10..20, FILE)]);
        let (map, proof) = prove(claims, &ranges(&[20..60, 70..100]), 1);
        assert!(proof.holds());
        assert_eq!((proof.owned_bytes, proof.free_bytes), (30, 70));
        assert_eq!(map.size(), 100);
        let runs: Vec<_> = map.within(0..100).collect();
        let free = Owner::Free;
        let expected =
            [(0..10, TABLE), (10..20, FILE), (20..60, free), (60..70, FILE), (70..100, free)];
        assert_eq!(runs, expected);
    }

    #[test]
    fn each_way_to_disagree_is_named() {
        let wrong = |claims: &[(Range<u64>, Owner)], free: &[Range<u64>]| {
            let (map, proof) = prove(of(claims), &ranges(free), 1);
            assert_eq!(map.size(), 100);
            let first = proof.first.clone().map(|it| (it.range, it.wrong));
            (first, proof.conflict_bytes, proof.gap_bytes)
        };
        let twice = Some((10..30, Wrong::Twice(FILE, OTHER)));
        assert_eq!(wrong(&[(0..30, FILE), (10..40, OTHER)], &[40..100]), (twice, 20, 0));
        let free = Some((35..40, Wrong::OwnedAndFree(FILE)));
        assert_eq!(wrong(&[(0..40, FILE)], &[35..100]), (free, 5, 0));
        let middle = Some((5..10, Wrong::OwnedAndFree(FILE)));
        assert_eq!(wrong(&[(0..40, FILE)], &[5..10, 40..100]), (middle, 5, 0));
        let neither = Some((40..50, Wrong::Neither));
        assert_eq!(wrong(&[(0..40, FILE)], &[50..99]), (neither, 0, 11));
    }

    #[test]
    fn only_what_both_share_may_be_owned_twice() {
        for (one, other) in [(true, true), (true, false), (false, true)] {
            let mut claims = Claims::new(100);
            claims.take(0..50, FILE, one).unwrap();
            claims.take(20..100, OTHER, other).unwrap();
            let (map, proof) = prove(claims, &Ranges::default(), 1);
            assert_eq!(proof.holds(), one && other);
            assert_eq!(map.size(), 100);
        }
    }

    #[test]
    fn a_cluster_belongs_to_one_file_whole() {
        let claims = of(&[(2..5, FILE), (16..32, OTHER), (0..2, FILE)]);
        let (map, proof) = prove(claims, &ranges(&[8..16, 32..100]), 8);
        assert!(proof.holds(), "{proof:?}");
        assert_eq!(map.within(0..16).collect::<Vec<_>>(), [(0..8, FILE), (8..16, Owner::Free)]);
        let claims = of(&[(0..3, FILE), (5..8, OTHER)]);
        assert!(!prove(claims, &ranges(&[8..100]), 8).1.holds());
        let other = Owner::Metadata(Metadata::Allocator);
        let claims = of(&[(0..3, TABLE), (5..8, other)]);
        assert!(prove(claims, &ranges(&[8..100]), 8).1.holds());
    }

    #[test]
    fn a_walk_that_owns_more_than_there_is_ends() {
        let mut claims = Claims::new(100);
        assert!(claims.add(90..101, FILE).is_err());
        let mut claims = Claims::new(100);
        claims.add(0..100, FILE).unwrap();
        claims.add(0..100, OTHER).unwrap();
        assert!(claims.add(0..1, FILE).is_err());
    }
}
