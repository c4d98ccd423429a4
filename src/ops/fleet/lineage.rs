//! What EBS stores for each snapshot of a lineage, and what it stores no longer once some of them are deleted.
//!
//! A snapshot refers to a block that was written for it, or to the one that its parent refers to. A block goes when no
//! snapshot refers to it any more, also if the one it was written for is gone: EBS moves it to the next one until then. So each lineage is
//! walked from its ends to its beginning, and each snapshot hands to its parent which of the blocks that it shares with
//! it are still referred to.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::num::NonZero;

use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::Entry;
use crate::manifest::GROUP_BLOCKS;
use crate::manifest::Manifest;
use crate::ops::fleet::nodes::Fleet;
use crate::ops::fleet::report::ChurnReport;
use crate::units::BLOCK_SIZE;
use crate::work::Watch;
use crate::work::in_order;

/// Bytes of a map of the blocks of a group, a bit each.
const MAP_LEN: usize = 128;

/// Which blocks of a volume are referred to.
#[derive(Clone, Debug, Default)]
struct Map {
    /// The bits of all groups that are not listed: all ones or all zeros.
    rest: u8,
    groups: BTreeMap<u32, [u8; MAP_LEN]>,
}

impl Map {
    fn all() -> Self {
        Self { rest: 0xff, groups: BTreeMap::new() }
    }

    fn group(&self, number: u32) -> [u8; MAP_LEN] {
        self.groups.get(&number).copied().unwrap_or([self.rest; MAP_LEN])
    }

    /// Adds what another map has.
    fn add(&mut self, other: &Self) {
        let numbers: BTreeSet<u32> =
            self.groups.keys().chain(other.groups.keys()).copied().collect();
        for number in numbers {
            let mut both = self.group(number);
            for (all, more) in both.iter_mut().zip(other.group(number)) {
                *all |= more;
            }
            self.groups.insert(number, both);
        }
        self.rest |= other.rest;
    }
}

/// What was found.
#[derive(Debug)]
pub(super) struct Lineages {
    /// Blocks that EBS stores for each snapshot: data and zeros.
    written: Vec<(u64, u64)>,
    /// Blocks that go.
    pub(super) freed: u64,
}

impl Lineages {
    /// Says what each version changed.
    pub(super) fn churn(&self, fleet: &Fleet, new_chunks: &[u64]) -> Vec<ChurnReport> {
        let each = fleet.nodes.iter().enumerate().map(|(number, node)| {
            let (data, zero) = self.written[number];
            ChurnReport {
                snapshot: node.root,
                name: fleet.name_of(number),
                parent: node.parent.map(|parent| fleet.nodes[parent].root),
                data_blocks: data,
                zero_blocks: zero,
                bytes: data.saturating_add(zero).saturating_mul(BLOCK_SIZE),
                new_chunks: new_chunks[number],
            }
        });
        each.collect()
    }
}

/// Walks all lineages, and counts what goes with the snapshots `dead` if `frees` is asked.
pub(super) fn walk(
    fleet: &Fleet,
    dead: &[bool],
    frees: bool,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Lineages> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); fleet.nodes.len()];
    let mut roots = Vec::new();
    for (number, node) in fleet.nodes.iter().enumerate() {
        match node.parent {
            Some(parent) => children[parent].push(number),
            None => roots.push(number),
        }
    }
    let mut lineages = Lineages { written: vec![(0, 0); fleet.nodes.len()], freed: 0 };
    let work = |(): &mut (), root: usize| {
        let mut tree =
            Tree { fleet, dead, frees, maps: BTreeMap::new(), written: Vec::new(), freed: 0 };
        for number in ends_first(root, &children) {
            watch.check()?;
            tree.node(number)?;
        }
        Ok((tree.written, tree.freed))
    };
    in_order(
        threads,
        watch,
        roots.into_iter().map(Ok),
        || Ok(()),
        work,
        |(written, freed)| {
            for (number, counts) in written {
                lineages.written[number] = counts;
            }
            lineages.freed = lineages.freed.strict_add(freed);
            Ok(())
        },
    )?;
    Ok(lineages)
}

/// Returns the snapshots of a lineage, each after all that were made over it, so that few maps wait at a time.
fn ends_first(root: usize, children: &[Vec<usize>]) -> Vec<usize> {
    let (mut order, mut left) = (Vec::new(), vec![root]);
    while let Some(number) = left.pop() {
        order.push(number);
        left.extend(&children[number]);
    }
    order.reverse();
    order
}

/// A lineage on the way.
struct Tree<'a> {
    fleet: &'a Fleet,
    dead: &'a [bool],
    frees: bool,
    /// What the children of snapshots that come later refer to.
    maps: BTreeMap<usize, Map>,
    written: Vec<(usize, (u64, u64))>,
    freed: u64,
}

impl Tree<'_> {
    fn node(&mut self, number: usize) -> Result<()> {
        let parent = self.fleet.nodes[number].parent;
        let mine = self.maps.remove(&number).unwrap_or_default();
        // All that it refers to stays if it does, and else what those that were made over it refer to.
        let mut theirs = if self.dead[number] { mine } else { Map::all() };
        let newer = Side::open(self.fleet, Some(number))?;
        let older = Side::open(self.fleet, parent)?;
        let (mut new, mut old) = (Vec::new(), Vec::new());
        let mut counts = (0_u64, 0_u64);
        for (group, new_entry, old_entry) in pairs(&newer, &older)? {
            newer.expand(new_entry.as_ref(), &mut new)?;
            older.expand(old_entry.as_ref(), &mut old)?;
            let mut needed = theirs.group(group);
            for (bit, (new, old)) in new.iter().zip(&old).enumerate() {
                if !is_put(new, old) {
                    continue;
                }
                match new {
                    Block::Data(_) => counts.0 = counts.0.strict_add(1),
                    Block::Zero | Block::Hole => counts.1 = counts.1.strict_add(1),
                }
                let (byte, mask) = (bit.strict_div(8), 1_u8 << bit.strict_rem(8));
                self.freed = self.freed.strict_add(u64::from(needed[byte] & mask == 0));
                // It was written for this snapshot: the parent's is another one.
                needed[byte] &= !mask;
            }
            if self.frees && parent.is_some() {
                theirs.groups.insert(group, needed);
            }
        }
        self.written.push((number, counts));
        if let (Some(parent), true) = (parent, self.frees) {
            self.maps.entry(parent).or_default().add(&theirs);
        }
        Ok(())
    }
}

/// A group of the newer manifest and of the older one.
type Pair = (u32, Option<Entry>, Option<Entry>);

/// The manifest of a snapshot, or of none: all of that are holes.
struct Side<'a> {
    fleet: &'a Fleet,
    open: Option<(usize, Manifest)>,
}

impl<'a> Side<'a> {
    fn open(fleet: &'a Fleet, number: Option<usize>) -> Result<Self> {
        let open = |number| fleet.manifest(number).map(|manifest| (number, manifest));
        Ok(Self { fleet, open: number.map(open).transpose()? })
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let Some((number, manifest)) = &self.open else { return Ok(Vec::new()) };
        let entries: Result<Vec<Entry>> = manifest.entries().collect();
        entries.map_err(|error| self.fleet.blame(*number, error))
    }

    /// Lists the blocks of a group; all of one that is not stored are holes.
    fn expand(&self, entry: Option<&Entry>, blocks: &mut Vec<Block>) -> Result<()> {
        blocks.clear();
        if let (Some((number, manifest)), Some(entry)) = (&self.open, entry) {
            let group = manifest.group(entry);
            blocks.extend(group.map_err(|error| self.fleet.blame(*number, error))?.blocks());
        } else {
            blocks.resize(usize::try_from(GROUP_BLOCKS).expect("1,024"), Block::Hole);
        }
        Ok(())
    }
}

/// Returns the groups that differ, or that only one of two manifests has.
fn pairs(new: &Side<'_>, old: &Side<'_>) -> Result<Vec<Pair>> {
    let mut pairs: BTreeMap<u32, (Option<Entry>, Option<Entry>)> = BTreeMap::new();
    for entry in new.entries()? {
        pairs.entry(entry.group).or_default().0 = Some(entry);
    }
    for entry in old.entries()? {
        pairs.entry(entry.group).or_default().1 = Some(entry);
    }
    let digest = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.digest);
    let differ = pairs.into_iter().filter(|(_, (new, old))| digest(new) != digest(old));
    Ok(differ.map(|(group, (new, old))| (group, new, old)).collect())
}

/// Tells whether an upload over the older snapshot puts the newer one's block: the table of docs/formats/plan.md.
fn is_put(new: &Block, old: &Block) -> bool {
    match (new, old) {
        (Block::Data(new), Block::Data(old)) => new != old,
        (Block::Data(_), _) | (Block::Hole, Block::Data(_)) => true,
        (Block::Zero, old) => *old != Block::Zero,
        (Block::Hole, _) => false,
    }
}
