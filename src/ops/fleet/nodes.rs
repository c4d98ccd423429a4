//! The snapshots of a fleet, and which was made over which.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::manifest::Counts;
use crate::manifest::Manifest;
use crate::ops::shared::members::Member;
use crate::ops::shared::members::Parents;
use crate::ops::shared::members::find_members;
use crate::ops::shared::members::parents;
use crate::work::Watch;
use crate::work::in_order;

/// A snapshot of the fleet.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) root: Digest,
    /// A member that has it, and which of its volumes it is.
    pub(super) at: (usize, usize),
    /// All members that have it, ascending.
    pub(super) members: Vec<usize>,
    pub(super) counts: Counts,
    /// What it was made over, by number, if that is in the fleet.
    pub(super) parent: Option<usize>,
}

/// A fleet that was found: its snapshots are in the order of their digests.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) members: Vec<Member>,
    pub(super) nodes: Vec<Node>,
    /// Snapshots that were made over one which is not in the fleet.
    pub(super) orphans: u64,
}

impl Fleet {
    pub(super) fn find(
        inputs: &[PathBuf],
        lineage: Option<&Path>,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Self> {
        let members = find_members(inputs, watch)?;
        let parents = parents(&members, lineage)?;
        let mut nodes: BTreeMap<Digest, Node> = BTreeMap::new();
        for (number, member) in members.iter().enumerate() {
            for (volume, it) in member.volumes.iter().enumerate() {
                let node = nodes.entry(it.root).or_insert_with(|| Node {
                    root: it.root,
                    at: (number, volume),
                    members: Vec::new(),
                    counts: Counts::default(),
                    parent: None,
                });
                if node.members.last() != Some(&number) {
                    node.members.push(number);
                }
            }
        }
        let mut fleet = Self { members, nodes: nodes.into_values().collect(), orphans: 0 };
        fleet.link(&parents);
        fleet.count(threads, watch)?;
        Ok(fleet)
    }

    fn link(&mut self, parents: &Parents) {
        for number in 0..self.nodes.len() {
            let Some(parent) = parents.get(&self.nodes[number].root) else { continue };
            let found = self.nodes.binary_search_by(|node| node.root.0.cmp(&parent.0)).ok();
            self.nodes[number].parent = found;
            self.orphans = self.orphans.strict_add(u64::from(found.is_none()));
        }
    }

    /// Reads how many blocks of each state the snapshots have.
    fn count(&mut self, threads: NonZero<usize>, watch: &dyn Watch) -> Result<()> {
        let jobs = (0..self.nodes.len()).map(Ok);
        let mut all = Vec::with_capacity(self.nodes.len());
        let read = |(): &mut (), number| Ok(self.manifest(number)?.header().counts);
        in_order(
            threads,
            watch,
            jobs,
            || Ok(()),
            read,
            |counts| {
                all.push(counts);
                Ok(())
            },
        )?;
        for (node, counts) in self.nodes.iter_mut().zip(all) {
            node.counts = counts;
        }
        Ok(())
    }

    /// Opens the manifest of a snapshot.
    pub(super) fn manifest(&self, number: usize) -> Result<Manifest> {
        let (member, volume) = self.nodes[number].at;
        let member = &self.members[member];
        let opened = member.open().and_then(|opened| opened.into_manifest(volume));
        opened.map_err(|error| self.blame(number, error))
    }

    /// Names the file of a snapshot in an error of reading its manifest.
    pub(super) fn blame(&self, number: usize, error: Error) -> Error {
        error.in_file(self.members[self.nodes[number].at.0].path())
    }

    /// Returns what a user calls a snapshot.
    pub(super) fn name_of(&self, number: usize) -> String {
        let (member, volume) = self.nodes[number].at;
        let member = &self.members[member];
        match &member.volumes[..] {
            [_] => member.name.clone(),
            volumes => format!("{}:{}", member.name, volumes[volume].device),
        }
    }

    pub(super) fn sum(&self, of: impl Fn(&Counts) -> u64) -> u64 {
        self.nodes.iter().fold(0, |sum, node| sum.saturating_add(of(&node.counts)))
    }
}
