//! Chunks and who holds them: all pairs are sorted through a file without a name, and looked at chunk by chunk.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::error::Error;
use crate::error::Result;
use crate::io::Scratch;
use crate::ops::fleet::nodes::Fleet;
use crate::ops::fleet::price::Price;
use crate::ops::fleet::report::Freed;
use crate::ops::fleet::report::FreesReport;
use crate::ops::fleet::report::SharedBy;
use crate::ops::fleet::report::SharedReport;
use crate::ops::fleet::report::UniqueReport;
use crate::ops::shared::members::OpenedMember;
use crate::pack::stored_share;
use crate::tables::Sorter;
use crate::units::BLOCK_SIZE;
use crate::work::Watch;
use crate::work::in_order;

/// Bytes of a pair: the chunk, the number of a snapshot, and nothing; or the chunk, [`STORED`], and what a pack stores
/// of it. All integers are big-endian, so that pairs sort by them.
const RECORD_LEN: usize = 40;

/// The same, as a size.
pub(super) const RECORD_SIZE: u64 = 40;

/// Stands for the number of a snapshot where a pair says what is stored of a chunk.
const STORED: u32 = u32::MAX;

/// Pairs of a snapshot that are sorted in memory, so that a chunk that it holds often is one pair.
const BATCH: usize = 1 << 14;

type Pair = [u8; RECORD_LEN];

/// What is known of chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    chunks: u64,
    stored: u64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.chunks = self.chunks.strict_add(other.chunks);
        self.stored = self.stored.saturating_add(other.stored);
    }
}

/// What all chunks add up to.
#[derive(Debug)]
pub(super) struct Content {
    /// By how many snapshots hold them.
    held_by: BTreeMap<u64, Sum>,
    /// By the one member that holds them.
    alone: Vec<Sum>,
    /// That only snapshots hold which go.
    freed: Sum,
    /// By the snapshot that holds them and whose parent does not.
    new: Vec<u64>,
    /// That no pack has.
    unstored: u64,
}

impl Content {
    fn empty(fleet: &Fleet) -> Self {
        Self {
            held_by: BTreeMap::new(),
            alone: vec![Sum::default(); fleet.members.len()],
            freed: Sum::default(),
            new: vec![0; fleet.nodes.len()],
            unstored: 0,
        }
    }

    /// Looks at all chunks of a fleet, of which the snapshots `dead` go.
    pub(super) fn of(
        fleet: &Fleet,
        dead: &[bool],
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Self> {
        let sorter = Mutex::new(Sorter::<RECORD_LEN>::new(Scratch::create()?));
        push_snapshots(fleet, &sorter, threads, watch)?;
        push_packs(fleet, &sorter, watch)?;
        let sorter = sorter.into_inner().unwrap_or_else(PoisonError::into_inner);
        let pairs = sorter.finish(watch)?;
        let mut content = Self::empty(fleet);
        let look = |pairs: &[Pair]| Ok(Found::in_pairs(pairs, fleet, dead));
        pairs.each_share(threads, watch, look, |found| {
            content.add(&found);
            Ok(())
        })?;
        Ok(content)
    }

    fn add(&mut self, found: &Found) {
        for (snapshots, sum) in &found.held_by {
            self.held_by.entry(*snapshots).or_default().add(*sum);
        }
        for (member, sum) in &found.alone {
            self.alone[*member].add(*sum);
        }
        for (node, count) in &found.new {
            self.new[*node] = self.new[*node].strict_add(*count);
        }
        self.freed.add(found.freed);
        self.unstored = self.unstored.strict_add(found.unstored);
    }

    /// Returns how many chunks each snapshot holds that its parent does not.
    pub(super) fn new_chunks(&self) -> &[u64] {
        &self.new
    }

    /// Says what is shared.
    pub(super) fn shared(&self) -> SharedReport {
        let mut all = Sum::default();
        for sum in self.held_by.values() {
            all.add(*sum);
        }
        let held_by = self.held_by.iter().map(|(snapshots, sum)| SharedBy {
            snapshots: *snapshots,
            chunks: sum.chunks,
            stored_bytes: sum.stored,
        });
        SharedReport {
            chunks: all.chunks,
            bytes: all.chunks.saturating_mul(BLOCK_SIZE),
            stored_bytes: all.stored,
            unstored_chunks: self.unstored,
            held_by: held_by.collect(),
        }
    }

    /// Says what each AMI has alone.
    pub(super) fn unique(&self, fleet: &Fleet) -> Vec<UniqueReport> {
        let each = fleet.members.iter().zip(&self.alone).map(|(member, sum)| UniqueReport {
            ami: member.id,
            name: member.name.clone(),
            chunks: sum.chunks,
            bytes: sum.chunks.saturating_mul(BLOCK_SIZE),
            stored_bytes: sum.stored,
        });
        each.collect()
    }

    /// Says what goes with the members `deleted`, in EBS `freed_blocks`.
    pub(super) fn frees(
        &self,
        fleet: &Fleet,
        deleted: &[bool],
        dead: &[bool],
        freed_blocks: u64,
        (ebs_price, store_price): (Option<Price>, Option<Price>),
    ) -> FreesReport {
        let count = |it: usize| u64::try_from(it).expect("memory is under 2^64 bytes");
        let named = fleet.members.iter().zip(deleted).filter(|(_, gone)| **gone);
        let gone = dead.iter().filter(|dead| **dead).count();
        let touched = fleet.nodes.iter().filter(|node| node.members.iter().any(|it| deleted[*it]));
        let ebs_bytes = freed_blocks.saturating_mul(BLOCK_SIZE);
        FreesReport {
            amis: named.map(|(member, _)| member.name.clone()).collect(),
            snapshots: count(gone),
            kept_snapshots: count(touched.count().strict_sub(gone)),
            ebs: Freed {
                blocks: freed_blocks,
                bytes: ebs_bytes,
                stored_bytes: None,
                cost: ebs_price.map(|price| price.of(ebs_bytes)),
            },
            store: Freed {
                blocks: self.freed.chunks,
                bytes: self.freed.chunks.saturating_mul(BLOCK_SIZE),
                stored_bytes: Some(self.freed.stored),
                cost: store_price.map(|price| price.of(self.freed.stored)),
            },
        }
    }
}

/// Pushes a pair for each chunk of each snapshot.
fn push_snapshots(
    fleet: &Fleet,
    sorter: &Mutex<Sorter<RECORD_LEN>>,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<()> {
    let work = |batch: &mut Vec<[u8; 32]>, number: usize| {
        let who = u32::try_from(number).ok().filter(|who| *who < STORED);
        let who = who.expect("there is no memory for so many snapshots").to_be_bytes();
        let push = |batch: &mut Vec<[u8; 32]>| {
            watch.check()?;
            batch.sort_unstable();
            batch.dedup();
            let mut sorter = sorter.lock().unwrap_or_else(PoisonError::into_inner);
            for chunk in batch.drain(..) {
                let mut pair = [0; RECORD_LEN];
                pair[..32].copy_from_slice(&chunk);
                pair[32..36].copy_from_slice(&who);
                sorter.push(&pair)?;
            }
            Ok::<(), Error>(())
        };
        let manifest = fleet.manifest(number)?;
        for entry in manifest.entries() {
            let group = entry.and_then(|entry| manifest.group(&entry));
            let group = group.map_err(|error| fleet.blame(number, error))?;
            batch.extend(group.digests());
            if batch.len() >= BATCH {
                push(batch)?;
            }
        }
        push(batch)?;
        Ok(fleet.nodes[number].counts.data)
    };
    let jobs = (0..fleet.nodes.len()).map(Ok);
    in_order(
        threads,
        watch,
        jobs,
        || Ok(Vec::with_capacity(BATCH)),
        work,
        |blocks| {
            watch.advance(blocks.saturating_mul(BLOCK_SIZE));
            Ok(())
        },
    )
}

/// Pushes what each pack stores of each of its chunks. A pack of several AMIs counts once.
fn push_packs(fleet: &Fleet, sorter: &Mutex<Sorter<RECORD_LEN>>, watch: &dyn Watch) -> Result<()> {
    let mut sorter = sorter.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seen = BTreeSet::new();
    for member in fleet.members.iter().filter(|member| member.can_be_read()) {
        watch.check()?;
        let fail = |error: Error| error.in_file(member.path());
        let OpenedMember::Bundle(bundle) = member.open().map_err(fail)? else { continue };
        let mut opened = bundle.open_packs().map_err(fail)?;
        // What a pack stores that cannot be read would be counted as if nothing stored it.
        if let Some((_, error)) = opened.broken.pop() {
            return Err(fail(error));
        }
        for (number, pack) in opened.packs {
            if !seen.insert(bundle.packs()[number].blob.digest) {
                continue;
            }
            for number in 0..pack.chunk_count() {
                let entry = pack.entry(number).map_err(fail)?;
                let mut pair = [0; RECORD_LEN];
                pair[..32].copy_from_slice(&entry.id.0);
                pair[32..36].copy_from_slice(&STORED.to_be_bytes());
                let stored = stored_share(pack.group_of(&entry), &entry);
                pair[36..].copy_from_slice(&stored.to_be_bytes());
                sorter.push(&pair)?;
            }
        }
    }
    Ok(())
}

/// What the chunks of a share add up to.
#[derive(Debug, Default)]
struct Found {
    held_by: BTreeMap<u64, Sum>,
    alone: BTreeMap<usize, Sum>,
    new: BTreeMap<usize, u64>,
    freed: Sum,
    unstored: u64,
}

impl Found {
    fn in_pairs(pairs: &[Pair], fleet: &Fleet, dead: &[bool]) -> Self {
        let mut found = Self::default();
        let mut holders = Vec::new();
        for of_chunk in pairs.chunk_by(|a, b| a[..32] == b[..32]) {
            holders.clear();
            let (mut stored, mut is_stored) = (0_u64, false);
            for pair in of_chunk {
                let who = u32::from_be_bytes(*pair[32..].first_chunk().expect("a pair"));
                if who == STORED {
                    let more = u32::from_be_bytes(*pair[36..].first_chunk().expect("a pair"));
                    (stored, is_stored) = (stored.saturating_add(more.into()), true);
                } else if holders.last() != Some(&who) {
                    holders.push(who);
                }
            }
            // What a pack has and nobody needs belongs to an AMI that is not looked at.
            if !holders.is_empty() {
                found.chunk(&holders, stored, is_stored, fleet, dead);
            }
        }
        found
    }

    fn chunk(
        &mut self,
        holders: &[u32],
        stored: u64,
        is_stored: bool,
        fleet: &Fleet,
        dead: &[bool],
    ) {
        let sum = Sum { chunks: 1, stored };
        let number = |who: u32| usize::try_from(who).expect("32 bits");
        let count = u64::try_from(holders.len()).expect("memory is under 2^64 bytes");
        self.held_by.entry(count).or_default().add(sum);
        self.unstored = self.unstored.strict_add(u64::from(!is_stored));
        let first = &fleet.nodes[number(holders[0])].members;
        let is_alone = |who: &u32| fleet.nodes[number(*who)].members == *first;
        if first.len() == 1 && holders.iter().all(is_alone) {
            self.alone.entry(first[0]).or_default().add(sum);
        }
        if holders.iter().all(|who| dead[number(*who)]) {
            self.freed.add(sum);
        }
        for who in holders {
            let parent = fleet.nodes[number(*who)].parent;
            let parent = parent.and_then(|it| u32::try_from(it).ok());
            if parent.is_none_or(|parent| holders.binary_search(&parent).is_err()) {
                let new = self.new.entry(number(*who)).or_default();
                *new = new.strict_add(1);
            }
        }
    }
}
