//! What several reports say in the same words.

use serde::Serialize;

use crate::digest::Digest;
use crate::manifest::Counts;
use crate::manifest::Summary;
use crate::units::ebs_gib;

/// What a manifest says of its volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotReport {
    /// Device of the AMI, for a snapshot of a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Identity of the snapshot.
    pub root_digest: Digest,
    /// EBS's checksum of the written blocks: SHA-256, LINEAR, base64.
    pub linear_sha256_base64: String,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
    /// GiB that EBS makes of it.
    pub ebs_volume_size_gib: u64,
    /// Blocks of 512 KiB in each state.
    pub blocks: Counts,
    /// Bytes of the manifest.
    pub manifest_bytes: u64,
    /// What became of free blocks, and by which rules they were called free: `hole/1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free: Option<String>,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl SnapshotReport {
    pub(in crate::ops) fn new(summary: &Summary) -> Self {
        Self {
            device: None,
            root_digest: summary.root,
            linear_sha256_base64: summary.linear.base64(),
            volume_size_bytes: summary.volume_size,
            ebs_volume_size_gib: ebs_gib(summary.volume_size),
            blocks: summary.counts,
            manifest_bytes: summary.file_len,
            free: None,
            notes: Vec::new(),
        }
    }
}

/// Writes a path into a report. A name that is not UTF-8 cannot be JSON, and is written escaped, as it is printed.
pub(in crate::ops) fn path_text<S: serde::Serializer>(
    path: &std::path::Path,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}
