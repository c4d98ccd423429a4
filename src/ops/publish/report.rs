//! What was published.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::ops::shared::publications::PublishedImage;
use crate::ops::shared::report::path_text;

/// A snapshot of an AMI that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MadeSnapshot {
    /// Device of the AMI.
    pub device: String,
    /// Its id.
    pub snapshot_id: String,
    /// Root digest of what is in it.
    pub root_digest: Digest,
}

/// An AMI that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MadeImage {
    /// Its region.
    pub region: String,
    /// Its id.
    pub image_id: String,
    /// Its snapshots.
    pub snapshots: Vec<MadeSnapshot>,
}

impl From<&PublishedImage> for MadeImage {
    fn from(image: &PublishedImage) -> Self {
        let snapshots = image.snapshots.iter().map(|it| MadeSnapshot {
            device: it.device.clone(),
            snapshot_id: it.snapshot_id.clone(),
            root_digest: it.root_digest,
        });
        Self {
            region: image.region.clone(),
            image_id: image.image_id.clone(),
            snapshots: snapshots.collect(),
        }
    }
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublishReport {
    /// The bundle.
    #[serde(serialize_with = "path_text")]
    pub bundle: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// The account.
    pub account: String,
    /// The region of the AMI.
    pub region: String,
    /// Id of the AMI.
    pub image_id: String,
    /// The AMI, and then its copies, with their snapshots.
    pub images: Vec<MadeImage>,
    /// Whether it was published before, and nothing was sent.
    pub was_there: bool,
    /// Blocks that had to be put, those of interrupted runs included.
    pub blocks: u64,
    /// Blocks that this run has put.
    pub put_blocks: u64,
    /// Where the manifest of an instance-store bundle is, in S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Files of an instance-store bundle that this run has put.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub put_objects: Option<u64>,
    /// Snapshots that were started from, by device.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parents: BTreeMap<String, String>,
    /// The record.
    #[serde(serialize_with = "path_text")]
    pub record: PathBuf,
}
