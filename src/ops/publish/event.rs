//! What `publish` says of itself on the way.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::ops::shared::report::path_text;
use crate::work::Retry;
use crate::work::Wait;
use crate::work::Watch;

/// What happens on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case")]
#[non_exhaustive]
pub enum PublishEvent {
    /// It is known what has to be sent.
    Planned {
        /// The account.
        account: String,
        /// The region.
        region: String,
        /// Digest of the plan.
        plan: Digest,
        /// The journal.
        #[serde(serialize_with = "path_text")]
        journal: PathBuf,
        /// Whether the journal was there, and the run goes on by it.
        resumed: bool,
        /// Blocks that have to be put.
        blocks: u64,
        /// Snapshots to start from, by device.
        parents: BTreeMap<String, String>,
    },
    /// An earlier upload of the same bundle was asked for in another way, or over another parent, and did not end: its snapshots
    /// are still there.
    Unfinished {
        /// Its journal.
        #[serde(serialize_with = "path_text")]
        journal: PathBuf,
        /// Its snapshots.
        snapshot_ids: Vec<String>,
    },
    /// A snapshot is there to put blocks into.
    Started {
        /// Device of the AMI.
        device: String,
        /// Its id.
        snapshot_id: String,
        /// Whether an earlier run started it.
        resumed: bool,
    },
    /// Blocks were put by this run; heard once a second.
    Put {
        /// How many, of all volumes.
        blocks: u64,
    },
    /// A file of an instance-store bundle is in its bucket.
    Object {
        /// Where: bucket and key.
        location: String,
        /// Its length.
        bytes: u64,
        /// Whether it was there before this run.
        was_there: bool,
    },
    /// All blocks of a snapshot are put.
    Completed {
        /// Device of the AMI.
        device: String,
        /// Its id.
        snapshot_id: String,
        /// Blocks, those of earlier runs included.
        blocks: u64,
    },
    /// Something is not ready yet.
    Waiting {
        /// The region.
        region: String,
        /// The state that is waited for.
        until: String,
        /// The states that were found.
        states: Vec<String>,
    },
    /// What AWS did not do is tried again; heard once in five seconds at most.
    Retrying {
        /// What it was asked for, after "cannot".
        call: String,
        /// What it answered, with its own words.
        reason: String,
        /// How often it was asked until now.
        attempts: u32,
    },
    /// A snapshot is what its manifest says.
    Proved {
        /// Device of the AMI.
        device: String,
        /// Its id.
        snapshot_id: String,
        /// Blocks of its list.
        blocks: u64,
        /// Blocks whose bytes were read.
        samples: u64,
    },
    /// An AMI was registered or copied.
    Made {
        /// The region.
        region: String,
        /// The call that made it.
        call: String,
        /// Its id.
        image_id: String,
    },
    /// An AMI can be launched.
    Available {
        /// The region.
        region: String,
        /// Its id.
        image_id: String,
    },
    /// A parameter has the id of an AMI.
    Parameter {
        /// The region.
        region: String,
        /// The parameter's name.
        name: String,
        /// The AMI's id.
        image_id: String,
    },
}

/// Who follows a publication: also hears as events what is tried again.
pub(super) struct Heard<'a> {
    pub(super) watch: &'a dyn Watch,
    pub(super) hear: &'a (dyn Fn(&PublishEvent) + Sync),
}

impl Watch for Heard<'_> {
    fn prepare(&self, what: &str, bytes: Option<u64>) {
        self.watch.prepare(what, bytes);
    }

    fn begin(&self, bytes: Option<u64>) {
        self.watch.begin(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.watch.advance(bytes);
    }

    fn retries(&self, retry: &Retry) {
        self.watch.retries(retry);
        let Retry { call, reason, attempts, .. } = retry.clone();
        (self.hear)(&PublishEvent::Retrying { call, reason, attempts });
    }

    fn waits(&self, wait: &Wait) {
        self.watch.waits(wait);
    }

    fn stopped(&self) -> bool {
        self.watch.stopped()
    }
}
