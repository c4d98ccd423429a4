//! What is answered.

use serde::Serialize;

use crate::digest::Digest;
use crate::ops::fleet::nodes::Fleet;
use crate::ops::fleet::price::Cost;

/// Chunks that so many snapshots hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SharedBy {
    /// How many snapshots hold each of them.
    pub snapshots: u64,
    /// Chunks.
    pub chunks: u64,
    /// What packs store of them.
    pub stored_bytes: u64,
}

/// What is shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SharedReport {
    /// Chunks, each counted once.
    pub chunks: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// What packs store of them.
    pub stored_bytes: u64,
    /// Chunks that no pack of the fleet has, as those of manifests alone.
    pub unstored_chunks: u64,
    /// The chunks by how many snapshots hold them.
    pub held_by: Vec<SharedBy>,
}

/// What an AMI has alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UniqueReport {
    /// The AMI.
    pub ami: Digest,
    /// What a user calls it.
    pub name: String,
    /// Chunks that no other AMI holds.
    pub chunks: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// What packs store of them.
    pub stored_bytes: u64,
}

/// What goes in one place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Freed {
    /// Blocks, or chunks.
    pub blocks: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// What packs store of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// What that costs a month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// What deleting AMIs frees.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FreesReport {
    /// Names of the AMIs.
    pub amis: Vec<String>,
    /// Snapshots that go with them.
    pub snapshots: u64,
    /// Snapshots of them that stay, because other AMIs have them too.
    pub kept_snapshots: u64,
    /// In EBS: blocks that no other snapshot of the same lineage refers to.
    pub ebs: Freed,
    /// In a store: chunks that nobody else holds.
    pub store: Freed,
}

/// What a version changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChurnReport {
    /// The snapshot.
    pub snapshot: Digest,
    /// What a user calls it.
    pub name: String,
    /// The snapshot that it was made over, if that is in the fleet.
    pub parent: Option<Digest>,
    /// Blocks of data that EBS stores for it.
    pub data_blocks: u64,
    /// Blocks of zeros that EBS stores for it.
    pub zero_blocks: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Chunks that its parent does not hold; all of its chunks if it has none.
    pub new_chunks: u64,
}

/// A snapshot that holds what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HolderReport {
    /// The snapshot.
    pub snapshot: Digest,
    /// What users call the AMIs that have it.
    pub amis: Vec<String>,
    /// In how many places it holds it: blocks, files or packages.
    pub count: u64,
    /// The first block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_block: Option<u32>,
    /// The files or packages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<String>,
}

/// Who holds what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HoldersReport {
    /// What was asked for.
    pub asked: String,
    /// Who holds it, by the digest of the snapshot.
    pub holders: Vec<HolderReport>,
}

/// What is known of a fleet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FleetReport {
    /// AMIs, and snapshots that belong to none.
    pub amis: u64,
    /// Snapshots, each counted once.
    pub snapshots: u64,
    /// Blocks of data in them.
    pub data_blocks: u64,
    /// Blocks of zeros in them.
    pub zero_blocks: u64,
    /// What is shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedReport>,
    /// What each AMI has alone, in the order in which they were found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique: Option<Vec<UniqueReport>>,
    /// What each version changed, by the digest of the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn: Option<Vec<ChurnReport>>,
    /// What deleting the named AMIs frees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frees: Option<FreesReport>,
    /// Who holds what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holders: Option<HoldersReport>,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl FleetReport {
    pub(super) fn of(fleet: &Fleet) -> Self {
        let count = |len: usize| u64::try_from(len).expect("memory is under 2^64 bytes");
        let mut notes = Vec::new();
        if fleet.orphans > 0 {
            let text = "were made over one that is not in the fleet: EBS is reckoned as if each \
                        was the first of its lineage";
            notes.push(format!("{} snapshots {text}", fleet.orphans));
        }
        Self {
            amis: count(fleet.members.len()),
            snapshots: count(fleet.nodes.len()),
            data_blocks: fleet.sum(|counts| counts.data),
            zero_blocks: fleet.sum(|counts| counts.zero),
            shared: None,
            unique: None,
            churn: None,
            frees: None,
            holders: None,
            notes,
        }
    }
}
