//! The parameters of the calls, in EC2's and EBS's own spelling.

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::DeregistrationProtection;
use crate::ami::Distribution;
use crate::ami::LaunchPermission;
use crate::ami::TagSpecification;
use crate::ami::Time;

/// Most accounts of one `ModifyImageAttribute`.
const MAX_PERMISSIONS: usize = 10_000;

/// `StartSnapshot` of the EBS direct APIs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartSnapshot {
    /// Size in GiB.
    pub volume_size: u64,
    /// Snapshot whose blocks are inherited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_snapshot_id: Option<String>,
    /// Text for people.
    pub description: String,
    /// Same token and parameters: the same snapshot, however often it is called.
    pub client_token: String,
    /// Set only where it is true: EBS refuses it beside a parent whatever its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// Key to encrypt with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<String>,
}

/// `CompleteSnapshot` of the EBS direct APIs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompleteSnapshot {
    /// The snapshot.
    pub snapshot_id: String,
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
    pub image_id: String,
    /// The attribute.
    pub launch_permission: LaunchPermissionModifications,
}

impl ModifyImageAttribute {
    /// Makes the calls that share an AMI.
    pub fn share(
        image_id: &str,
        permissions: &[LaunchPermission],
    ) -> impl Iterator<Item = ModifyImageAttribute> {
        permissions.chunks(MAX_PERMISSIONS).map(|add| Self {
            image_id: image_id.to_owned(),
            launch_permission: LaunchPermissionModifications {
                add: add.to_vec(),
                remove: Vec::new(),
            },
        })
    }
}

/// `EnableImageDeprecation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EnableImageDeprecation {
    /// The AMI.
    pub image_id: String,
    /// When it is deprecated.
    pub deprecate_at: Time,
}

/// `EnableImageDeregistrationProtection`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EnableImageDeregistrationProtection {
    /// The AMI.
    pub image_id: String,
    /// Whether the protection lasts 24 hours after it is switched off.
    pub with_cooldown: bool,
}

impl EnableImageDeregistrationProtection {
    /// Makes the call for an AMI.
    #[must_use]
    pub fn of(image_id: &str, protection: DeregistrationProtection) -> Self {
        Self {
            image_id: image_id.to_owned(),
            with_cooldown: protection == DeregistrationProtection::EnabledWithCooldown,
        }
    }
}

/// `CopyImage`, called in the region of the copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CopyImage {
    /// Name of the copy.
    pub name: String,
    /// Text for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The AMI.
    pub source_image_id: String,
    /// Its region.
    pub source_region: String,
    /// Whether the copy's snapshots are encrypted; it can be added, never removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// Key to encrypt with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// Whether the AMI's own tags are copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_image_tags: Option<bool>,
    /// Tags of the copy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tag_specifications: Vec<TagSpecification>,
}

impl CopyImage {
    /// Makes the call for a copy of `ami`, which has `image_id` in `source_region`.
    #[must_use]
    pub fn of(ami: &Ami, image_id: &str, source_region: &str, copy: &Distribution) -> Self {
        Self {
            name: copy.name.clone().unwrap_or_else(|| ami.name.clone()),
            description: copy.description.clone().or_else(|| ami.description.clone()),
            source_image_id: image_id.to_owned(),
            source_region: source_region.to_owned(),
            encrypted: copy.encrypted.then_some(true),
            kms_key_id: copy.kms_key_id.clone(),
            // A copy has no tags unless they are asked for.
            copy_image_tags: (copy.tags.is_empty() && !ami.tags.is_empty()).then_some(true),
            tag_specifications: TagSpecification::for_image(&copy.tags),
        }
    }
}

/// `DeregisterImage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeregisterImage {
    /// The AMI.
    pub image_id: String,
    /// Whether its snapshots go too, unless another AMI uses them.
    pub delete_associated_snapshots: bool,
}
