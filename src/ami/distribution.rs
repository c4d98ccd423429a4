//! Where an AMI goes: the region of the upload, and the regions of its copies.
//!
//! EC2 copies an AMI's content and its features, and nothing of what is said about it: no tag, no
//! permission, no time, no protection. What a copy gets is written down in one place, here; the table
//! of it is in `docs/formats/recipe.md`.

use serde::Deserialize;
use serde::Serialize;

use crate::ami::Ami;
use crate::ami::DeregistrationProtection;
use crate::ami::LaunchPermission;
use crate::ami::Tag;
use crate::ami::Time;

/// How snapshots are uploaded, and who may use them.
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
    /// Tags of the snapshots, over those of the AMI.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub snapshot_tags: Vec<Tag>,
    /// Accounts that may make volumes of the snapshots, and so copy the AMI.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub create_volume_permissions: Vec<LaunchPermission>,
}

impl Upload {
    /// Returns the tags of the snapshots: those of the AMI, and over them the snapshots' own.
    #[must_use]
    pub fn tags_of_snapshots(&self, ami: &Ami) -> Vec<Tag> {
        over(&ami.tags, &self.snapshot_tags)
    }
}

/// A copy of the AMI in another region. What is left out is as it is for the AMI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Distribution {
    /// Region of the copy.
    pub region: String,
    /// Name of the copy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Human-readable description.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// Whether the copy's snapshots are encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// Key to encrypt with; left out, the account's default key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kms_key_id: Option<String>,
    /// Tags of the copy, over those of the AMI.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tags: Vec<Tag>,
    /// Tags of the copy's snapshots, over those of the AMI's snapshots and of the copy.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub snapshot_tags: Vec<Tag>,
    /// Who may launch the copy, instead of those who may launch the AMI; an empty list means nobody.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub launch_permissions: Option<Vec<LaunchPermission>>,
    /// Accounts that may make volumes of the copy's snapshots, instead of those of the upload.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub create_volume_permissions: Option<Vec<LaunchPermission>>,
    /// When the copy is deprecated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deprecate_at: Option<Time>,
    /// Whether the copy can be deregistered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deregistration_protection: Option<DeregistrationProtection>,
}

impl Distribution {
    /// Makes a copy that is as the AMI is.
    #[must_use]
    pub fn to(region: &str) -> Self {
        Self { region: region.to_owned(), ..Self::default() }
    }

    /// Returns the name that the copy gets.
    #[must_use]
    pub fn name_of<'a>(&'a self, ami: &'a Ami) -> &'a str {
        self.name.as_deref().unwrap_or(&ami.name)
    }

    /// Returns the description that the copy gets.
    #[must_use]
    pub fn description_of<'a>(&'a self, ami: &'a Ami) -> Option<&'a str> {
        self.description.as_deref().or(ami.description.as_deref())
    }

    /// Returns the tags that the copy gets.
    #[must_use]
    pub fn tags_of(&self, ami: &Ami) -> Vec<Tag> {
        over(&ami.tags, &self.tags)
    }

    /// Returns the tags that the copy's snapshots get: as the AMI's snapshots, and over them the copy's
    /// own.
    #[must_use]
    pub fn tags_of_snapshots(&self, ami: &Ami, upload: &Upload) -> Vec<Tag> {
        over(&over(&upload.tags_of_snapshots(ami), &self.tags), &self.snapshot_tags)
    }

    /// Returns who may launch the copy.
    #[must_use]
    pub fn permissions_of<'a>(&'a self, ami: &'a Ami) -> &'a [LaunchPermission] {
        self.launch_permissions.as_deref().unwrap_or(&ami.launch_permissions)
    }

    /// Returns which accounts may make volumes of the copy's snapshots.
    #[must_use]
    pub fn volume_permissions_of<'a>(&'a self, upload: &'a Upload) -> &'a [LaunchPermission] {
        self.create_volume_permissions.as_deref().unwrap_or(&upload.create_volume_permissions)
    }

    /// Returns when the copy is deprecated.
    #[must_use]
    pub fn deprecation_of(&self, ami: &Ami) -> Option<Time> {
        self.deprecate_at.or(ami.deprecate_at)
    }

    /// Returns how the copy is protected.
    #[must_use]
    pub fn protection_of(&self, ami: &Ami) -> Option<DeregistrationProtection> {
        self.deregistration_protection.or(ami.deregistration_protection)
    }

    /// Tells whether everybody may launch the copy.
    #[must_use]
    pub fn is_public(&self, ami: &Ami) -> bool {
        self.permissions_of(ami).iter().any(LaunchPermission::is_public)
    }
}

/// Returns `below` with the tags of `top` in the place of those with the same key, or behind them.
fn over(below: &[Tag], top: &[Tag]) -> Vec<Tag> {
    let mut tags = below.to_vec();
    for tag in top {
        match tags.iter_mut().find(|it| it.key == tag.key) {
            Some(same) => same.value.clone_from(&tag.value),
            None => tags.push(tag.clone()),
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tag {
        Tag { key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn a_copy_is_as_the_ami_unless_it_says_otherwise() {
        let ami = Ami {
            name: "web".to_owned(),
            description: Some("words".to_owned()),
            tags: vec![tag("Team", "web"), tag("Cost", "1")],
            launch_permissions: vec![LaunchPermission::of("123456789012")],
            deprecate_at: "2028-01-31T12:00Z".parse().ok(),
            deregistration_protection: Some(DeregistrationProtection::Enabled),
            ..Ami::default()
        };
        let upload = Upload {
            snapshot_tags: vec![tag("Kind", "root")],
            create_volume_permissions: vec![LaunchPermission::of("210987654321")],
            ..Upload::default()
        };
        assert_eq!(
            upload.tags_of_snapshots(&ami),
            [tag("Team", "web"), tag("Cost", "1"), tag("Kind", "root")]
        );
        let plain = Distribution::to("us-east-1");
        assert_eq!((plain.name_of(&ami), plain.description_of(&ami)), ("web", Some("words")));
        assert_eq!(plain.tags_of(&ami), ami.tags);
        assert_eq!(plain.tags_of_snapshots(&ami, &upload), upload.tags_of_snapshots(&ami));
        assert_eq!(plain.permissions_of(&ami), ami.launch_permissions);
        assert_eq!(plain.volume_permissions_of(&upload), upload.create_volume_permissions);
        assert_eq!(plain.deprecation_of(&ami), ami.deprecate_at);
        assert_eq!(plain.protection_of(&ami), ami.deregistration_protection);
        let own = Distribution {
            name: Some("web-us".to_owned()),
            tags: vec![tag("Cost", "2"), tag("Where", "us")],
            snapshot_tags: vec![tag("Where", "there")],
            launch_permissions: Some(Vec::new()),
            create_volume_permissions: Some(Vec::new()),
            deregistration_protection: Some(DeregistrationProtection::Disabled),
            ..plain
        };
        assert_eq!(own.name_of(&ami), "web-us");
        assert_eq!(own.tags_of(&ami), [tag("Team", "web"), tag("Cost", "2"), tag("Where", "us")]);
        assert_eq!(
            own.tags_of_snapshots(&ami, &upload),
            [tag("Team", "web"), tag("Cost", "2"), tag("Kind", "root"), tag("Where", "there")]
        );
        assert!(own.permissions_of(&ami).is_empty() && !own.is_public(&ami));
        assert!(own.volume_permissions_of(&upload).is_empty());
        assert_eq!(own.protection_of(&ami), Some(DeregistrationProtection::Disabled));
    }
}
