//! The block device mapping: what EC2 attaches to an instance, and under which names.

use serde::Deserialize;
use serde::Serialize;

use crate::ami::VolumeType;
use crate::digest::Digest;

/// An EBS volume of the mapping.
///
/// With content it names a snapshot: by its root digest in a bundle, by its id in an account. An
/// empty volume has a size alone. Members that EC2 takes only at launch are here so that a rule can
/// tell them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Ebs {
    /// Root digest of a snapshot of the bundle.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot_digest: Option<Digest>,
    /// Id of a snapshot in an account.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot_id: Option<String>,
    /// Size in GiB; left out, that of the snapshot.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub volume_size: Option<u64>,
    /// Type; left out, EC2 takes `gp2`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub volume_type: Option<VolumeType>,
    /// Operations a second.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub iops: Option<u64>,
    /// Throughput in MiB a second.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub throughput: Option<u64>,
    /// Whether the volume goes with the instance; left out, the root does and others do not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub delete_on_termination: Option<bool>,
    /// Whether the volume is encrypted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub encrypted: Option<bool>,
    /// Key to encrypt with: for launching only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kms_key_id: Option<String>,
    /// Outpost of the snapshot.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outpost_arn: Option<String>,
    /// Speed of filling from the snapshot, in MiB a second: for launching only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub volume_initialization_rate: Option<u64>,
    /// Zone: for launching only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub availability_zone: Option<String>,
    /// Zone's id: for launching only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub availability_zone_id: Option<String>,
    /// Card of the instance that the volume is attached to: for launching only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ebs_card_index: Option<u64>,
}

impl Ebs {
    /// Tells whether the volume is made from a snapshot.
    #[must_use]
    pub fn has_content(&self) -> bool {
        self.snapshot_digest.is_some() || self.snapshot_id.is_some()
    }
}

/// One device of the mapping: an EBS volume, an ephemeral device, or one that is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Mapping {
    /// Name of the device, such as `/dev/xvda`.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub device_name: String,
    /// An EBS volume.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ebs: Option<Ebs>,
    /// An ephemeral device: `ephemeral0` and so on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub virtual_name: Option<String>,
    /// The empty string takes an inherited device away.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub no_device: Option<String>,
}

impl Mapping {
    /// Returns the root digest of the device's snapshot, where a bundle holds one.
    #[must_use]
    pub fn snapshot_digest(&self) -> Option<Digest> {
        self.ebs.as_ref().and_then(|ebs| ebs.snapshot_digest)
    }

    /// Returns the device's name without `/dev/`: EC2 takes both and means one device.
    #[must_use]
    pub fn bare_name(&self) -> &str {
        bare(&self.device_name)
    }
}

/// Takes `/dev/` off a device's name.
#[must_use]
pub fn bare(name: &str) -> &str {
    name.strip_prefix("/dev/").unwrap_or(name)
}

/// How a device's name is made of its parts: `xvd`, `sd` or `hd`, letters, and digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceName<'a> {
    /// `xvd`, `sd` or `hd`.
    pub prefix: &'static str,
    /// One letter or two.
    pub letters: &'a str,
    /// Partition, 0 where there is none.
    pub partition: u32,
}

impl<'a> DeviceName<'a> {
    /// Takes a name apart, with or without `/dev/`. `None` if it has none of the shapes of EC2's
    /// names: `sd` or `hd` and a letter, `xvd` and one or two letters, and at most two digits.
    #[must_use]
    pub fn parse(name: &'a str) -> Option<Self> {
        let name = bare(name);
        let (prefix, rest) = ["xvd", "sd", "hd"]
            .into_iter()
            .find_map(|prefix| name.strip_prefix(prefix).map(|rest| (prefix, rest)))?;
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_lowercase());
        let letters = &rest[..rest.len().strict_sub(digits.len())];
        let most = if prefix == "xvd" { 2 } else { 1 };
        let sound = (1..=most).contains(&letters.len())
            && digits.len() <= 2
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        if !sound {
            return None;
        }
        let partition = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        Some(Self { prefix, letters, partition })
    }
}
