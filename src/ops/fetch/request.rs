//! What is fetched, what came of it, and what a run knows.

use std::num::NonZero;
use std::path::PathBuf;

use serde::Serialize;

use crate::aws::Aws;
use crate::digest::Digest;
use crate::ops::shared::account::AwsRequest;
use crate::ops::shared::groups::Groups;
use crate::ops::shared::open::RandomVolume;
use crate::ops::shared::report::path_text;
use crate::work::Watch;
use crate::work::default_threads;

/// What is fetched, and where to.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The id of a snapshot or an AMI.
    pub id: String,
    /// The bundle, or `STORE@NAME`.
    pub output: PathBuf,
    /// Region, over that of the environment and the profile.
    pub region: Option<String>,
    /// How AWS is asked.
    pub aws: AwsRequest,
    /// What was fetched or published before: only what differs from it is read.
    pub base: Option<PathBuf>,
    /// The snapshot of the base's root volume, where no record says it. It has to be proved: by an AMI of the account that
    /// was made of the base, or by a record of another place.
    pub base_id: Option<String>,
    /// Leave the packs of the base out.
    pub thin: bool,
    /// Take over who may launch the AMI, how long it is offered and how it is protected, also of another owner.
    pub keep_permissions: bool,
    /// Reads that run side by side.
    pub connections: NonZero<usize>,
    /// How chunks are compressed.
    pub groups: Groups,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl FetchRequest {
    /// Asks for a snapshot or an AMI, all of it.
    #[must_use]
    pub fn new(id: impl Into<String>, output: impl Into<PathBuf>) -> Self {
        Self {
            id: id.into(),
            output: output.into(),
            region: None,
            aws: AwsRequest::default(),
            base: None,
            base_id: None,
            thin: false,
            keep_permissions: false,
            connections: NonZero::new(64).expect("it is not 0"),
            groups: Groups::default(),
            threads: default_threads(),
        }
    }
}

/// A volume that was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FetchedVolume {
    /// Device of the AMI.
    pub device: String,
    /// The snapshot.
    pub snapshot_id: String,
    /// The snapshot whose blocks the base had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_id: Option<String>,
    /// Blocks that were read from EBS.
    pub read_blocks: u64,
    /// Blocks that the base had.
    pub base_blocks: u64,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FetchReport {
    /// The snapshot or AMI.
    pub id: String,
    /// Its region.
    pub region: String,
    /// The bundle.
    #[serde(serialize_with = "path_text")]
    pub output: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Its volumes.
    pub volumes: Vec<FetchedVolume>,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A run of `fetch`.
pub(super) struct Fetching<'a> {
    pub(super) request: &'a FetchRequest,
    pub(super) watch: &'a dyn Watch,
    pub(super) aws: &'a Aws<'a, 'a>,
    pub(super) region: &'a str,
    /// The account that asks.
    pub(super) account: &'a str,
}

/// What a volume is read over: a volume, and a snapshot that was proved to have its content.
pub(super) struct OverBase {
    pub(super) volume: RandomVolume,
    pub(super) snapshot_id: String,
}
