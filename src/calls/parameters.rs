//! The parameters of the calls, in EC2's and EBS's own spelling.

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::DeregistrationProtection;
use crate::ami::Distribution;
use crate::ami::LaunchPermission;
use crate::ami::Tag;
use crate::ami::TagSpecification;
use crate::ami::Time;
use crate::ami::Upload;
use crate::calls::ids::Id;

/// Most accounts of one `ModifyImageAttribute`.
const MAX_PERMISSIONS: usize = 10_000;

/// Most changes of one `ModifySnapshotAttribute`.
const MAX_SNAPSHOT_PERMISSIONS: usize = 500;

/// `StartSnapshot` of the EBS direct APIs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartSnapshot {
    /// Size in GiB.
    pub volume_size: u64,
    /// Snapshot whose blocks are inherited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_snapshot_id: Option<String>,
    /// Tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Human-readable description.
    pub description: String,
    /// Same token and parameters: the same snapshot, however often it is called.
    pub client_token: String,
    /// Set only where it is true: EBS refuses it beside a parent whatever its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// Key to encrypt with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<String>,
    /// Minutes without a block after which EBS gives the snapshot up, where its own 60 are too few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// `CompleteSnapshot` of the EBS direct APIs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompleteSnapshot {
    /// The snapshot.
    pub snapshot_id: Id,
    /// Blocks that were put.
    pub changed_blocks_count: u64,
    /// SHA-256 over the raw digests of the blocks that were put, ascending; base64.
    pub checksum: String,
    /// `SHA256`.
    pub checksum_algorithm: &'static str,
    /// `LINEAR`.
    pub checksum_aggregation_method: &'static str,
}

/// What changes in the launch permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LaunchPermissionModifications {
    /// Permissions that are given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<LaunchPermission>,
    /// Permissions that are taken away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<LaunchPermission>,
}

/// `ModifyImageAttribute`, which changes one attribute a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ModifyImageAttribute {
    /// The AMI.
    pub image_id: Id,
    /// The attribute.
    pub launch_permission: LaunchPermissionModifications,
}

impl ModifyImageAttribute {
    /// Makes the calls that share an AMI.
    pub fn share(image_id: &Id, permissions: &[LaunchPermission]) -> impl Iterator<Item = Self> {
        permissions.chunks(MAX_PERMISSIONS).map(|add| Self {
            image_id: image_id.clone(),
            launch_permission: LaunchPermissionModifications {
                add: add.to_vec(),
                remove: Vec::new(),
            },
        })
    }
}

/// `ModifySnapshotAttribute`, as far as it shares a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ModifySnapshotAttribute {
    /// The snapshot.
    pub snapshot_id: Id,
    /// Who may make volumes of it.
    pub create_volume_permission: LaunchPermissionModifications,
}

impl ModifySnapshotAttribute {
    /// Makes the calls that share a snapshot.
    pub fn share(snapshot_id: &Id, permissions: &[LaunchPermission]) -> impl Iterator<Item = Self> {
        permissions.chunks(MAX_SNAPSHOT_PERMISSIONS).map(|add| Self {
            snapshot_id: snapshot_id.clone(),
            create_volume_permission: LaunchPermissionModifications {
                add: add.to_vec(),
                remove: Vec::new(),
            },
        })
    }
}

/// `DescribeSnapshots` of some snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeSnapshots {
    /// The snapshots.
    pub snapshot_ids: Vec<Id>,
}

/// `DescribeImages` of some AMIs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeImages {
    /// The AMIs.
    pub image_ids: Vec<Id>,
}

/// `EnableImageDeprecation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EnableImageDeprecation {
    /// The AMI.
    pub image_id: Id,
    /// When it is deprecated.
    pub deprecate_at: Time,
}

/// `EnableImageDeregistrationProtection`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EnableImageDeregistrationProtection {
    /// The AMI.
    pub image_id: Id,
    /// Whether the protection lasts 24 hours after it is switched off.
    pub with_cooldown: bool,
}

impl EnableImageDeregistrationProtection {
    /// Makes the call for an AMI, if it is to be protected at all.
    #[must_use]
    pub fn of(image_id: &Id, protection: DeregistrationProtection) -> Option<Self> {
        let with_cooldown = match protection {
            DeregistrationProtection::Disabled => return None,
            DeregistrationProtection::Enabled => false,
            DeregistrationProtection::EnabledWithCooldown => true,
        };
        Some(Self { image_id: image_id.clone(), with_cooldown })
    }
}

/// `CopyImage`, called in the region of the copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CopyImage {
    /// Name of the copy.
    pub name: String,
    /// Human-readable description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The AMI.
    pub source_image_id: Id,
    /// Its region.
    pub source_region: String,
    /// Whether the copy's snapshots are encrypted; it can be added, never removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// Key to encrypt with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// Tags of the copy and of its snapshots.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tag_specifications: Vec<TagSpecification>,
}

impl CopyImage {
    /// Makes the call for a copy of `ami`, which has `image_id` in the region of `upload`.
    #[must_use]
    pub fn of(ami: &Ami, image_id: &Id, upload: &Upload, copy: &Distribution) -> Self {
        Self {
            name: copy.name_of(ami).to_owned(),
            description: copy.description_of(ami).map(str::to_owned),
            source_image_id: image_id.clone(),
            source_region: upload.region.clone().unwrap_or_default(),
            encrypted: copy.encrypted.then_some(true),
            kms_key_id: copy.kms_key_id.clone(),
            // All tags are named. CopyImageTags would copy those that the AMI has at that moment, and
            // none to the snapshots.
            tag_specifications: TagSpecification::for_copy(
                copy.tags_of(ami),
                copy.tags_of_snapshots(ami, upload),
            ),
        }
    }
}

/// `DeregisterImage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeregisterImage {
    /// The AMI.
    pub image_id: Id,
    /// Whether its snapshots go too, unless another AMI uses them.
    pub delete_associated_snapshots: bool,
}
