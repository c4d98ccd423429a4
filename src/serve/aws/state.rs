//! What the server knows beside what the store holds: owners, states, permissions, tags. One file, replaced in one
//! step after every change.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use serde::Deserialize;
use serde::Serialize;

use crate::ami::Ami;
use crate::ami::Tag;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;

/// What becomes of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SnapshotState {
    /// Blocks come, or it is being made.
    Pending,
    /// It can be read.
    Completed,
    /// It was completed wrongly, or nobody wrote to it in time.
    Error,
}

impl SnapshotState {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Error => "error",
        }
    }
}

/// A snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Snap {
    pub(super) owner: String,
    pub(super) region: String,
    pub(super) state: SnapshotState,
    /// Why it is in error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    #[serde(default)]
    pub(super) description: String,
    pub(super) gib: u64,
    /// Seconds since 1970.
    pub(super) started: u64,
    /// When a block was put last.
    pub(super) touched: u64,
    /// Minutes without a block after which it is given up.
    pub(super) timeout: u64,
    /// Whether the snapshot was called complete: no more blocks are taken.
    pub(super) closed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kms_key: Option<String>,
    #[serde(default)]
    pub(super) encrypted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<String>,
    /// The first snapshot of its line.
    pub(super) lineage: String,
    /// What it is called in the store, and which device of that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stored: Option<(String, String)>,
    /// Its root digest, once it is completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) root: Option<Digest>,
    #[serde(default)]
    pub(super) tags: Vec<Tag>,
    /// Accounts that may use it, or `all`.
    #[serde(default)]
    pub(super) shared: BTreeSet<String>,
}

impl Snap {
    /// Takes what no call did, and what therefore stays when the call of `known` is undone: when a block was put, and what
    /// became of the snapshot in the background.
    pub(super) fn learn(&mut self, known: &Self) {
        self.touched = self.touched.max(known.touched);
        if self.state == SnapshotState::Pending && known.state != SnapshotState::Pending {
            self.state = known.state;
            self.message.clone_from(&known.message);
            self.stored.clone_from(&known.stored);
            self.root = known.root;
        }
    }
}

/// What becomes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ImageState {
    Pending,
    Available,
    Disabled,
    Failed,
}

impl ImageState {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Disabled => "disabled",
            Self::Failed => "failed",
        }
    }
}

/// An image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Image {
    pub(super) owner: String,
    pub(super) region: String,
    pub(super) state: ImageState,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    pub(super) created: u64,
    /// The description, with ids of snapshots.
    pub(super) ami: Ami,
    /// What it is called in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stored: Option<String>,
    /// Accounts, `all`, and ARNs that may launch it.
    #[serde(default)]
    pub(super) shared: BTreeSet<String>,
    /// When it is deprecated, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deprecated: Option<u64>,
    #[serde(default)]
    pub(super) protected: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<(String, String)>,
}

/// A call that was made with a token, for when it comes again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Once {
    /// Digest of what was asked.
    pub(super) asked: Digest,
    /// Id of what came of it.
    pub(super) id: String,
}

/// Everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) version: u32,
    pub(super) snapshots: BTreeMap<String, Snap>,
    pub(super) images: BTreeMap<String, Image>,
    /// By account, region, call and token.
    pub(super) once: BTreeMap<String, Once>,
    /// How far images and snapshots may not become public, by account, region and kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) blocked: BTreeMap<String, String>,
    /// Owners and ids of images that were deregistered lately, the last one first: EC2 forgets them after a while, and this
    /// server with its process.
    #[serde(skip)]
    pub(super) gone: VecDeque<(String, String)>,
}

/// Version of the file.
pub(super) const VERSION: u32 = 1;

impl State {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let state: Self = serde_json::from_slice(bytes)
            .map_err(|e| Error::corrupt(format!("the server's state: {e}")))?;
        if state.version == VERSION {
            Ok(state)
        } else {
            let text =
                format!("the server's state is of version {}, expected {VERSION}", state.version);
            Err(Error::new(Kind::Unsupported, text))
        }
    }

    /// Returns the images that name a snapshot.
    pub(super) fn images_of<'a>(
        &'a self,
        snapshot: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Image)> {
        self.images.iter().filter(move |(_, image)| {
            let ids = image.ami.block_device_mappings.iter().filter_map(|it| it.ebs.as_ref());
            ids.filter_map(|ebs| ebs.snapshot_id.as_deref()).any(|id| id == snapshot)
        })
    }
}

impl Snap {
    /// Tells whether an account may use it.
    pub(super) fn is_for(&self, account: &str) -> bool {
        self.owner == account || self.shared.contains(account) || self.shared.contains("all")
    }
}

impl Image {
    /// Tells whether an account may see and launch it.
    pub(super) fn is_for(&self, account: &str) -> bool {
        self.owner == account
            || self.state != ImageState::Disabled
                && (self.shared.contains(account) || self.shared.contains("all"))
    }

    pub(super) fn is_public(&self) -> bool {
        self.shared.contains("all")
    }
}
