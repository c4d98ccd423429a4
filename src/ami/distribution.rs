//! Where an AMI goes: the region of the upload, and the regions of its copies.

use serde::Deserialize;
use serde::Serialize;

use crate::ami::LaunchPermission;
use crate::ami::Tag;
use crate::ami::Time;

/// How snapshots are uploaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Upload {
    /// Region of the snapshots and of the first AMI.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub region: Option<String>,
    /// Whether the snapshots are encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// Key to encrypt with; left out, the account's default key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kms_key_arn: Option<String>,
    /// Whether holes are sent as zeros.
    #[serde(default)]
    pub send_holes: bool,
}

/// A copy of the AMI in another region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Distribution {
    /// Region of the copy.
    pub region: String,
    /// Name of the copy; left out, the AMI's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Text for people; left out, the AMI's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// Whether the copy's snapshots are encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// Key to encrypt with; left out, the account's default key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kms_key_id: Option<String>,
    /// Tags of the copy; left out, the AMI's own tags are copied.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tags: Vec<Tag>,
    /// Who may launch the copy; EC2 copies no permission.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub launch_permissions: Vec<LaunchPermission>,
    /// When the copy is deprecated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deprecate_at: Option<Time>,
}
