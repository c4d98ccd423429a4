//! Who may use an AMI, what it is labelled with, and where it comes from.

use serde::Deserialize;
use serde::Serialize;

use crate::ami::Origin;
use crate::ami::ProductCodeType;

/// Someone who may launch the AMI. EC2 wants exactly one of the four.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct LaunchPermission {
    /// An account: twelve digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<String>,
    /// A group; there is one, `all`: the AMI is public.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<String>,
    /// All accounts of an organization.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub organization_arn: Option<String>,
    /// All accounts of a part of an organization.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub organizational_unit_arn: Option<String>,
}

impl LaunchPermission {
    /// Reads what a person writes: `all`, an account's twelve digits, or an ARN.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let value = Some(text.to_owned());
        if text == "all" {
            Self { group: value, ..Self::default() }
        } else if text.contains(":ou/") {
            Self { organizational_unit_arn: value, ..Self::default() }
        } else if text.starts_with("arn:") || text.starts_with("o-") {
            Self { organization_arn: value, ..Self::default() }
        } else if text.starts_with("ou-") {
            Self { organizational_unit_arn: value, ..Self::default() }
        } else {
            Self { user_id: value, ..Self::default() }
        }
    }

    /// Returns the values that are there; a sound permission has one.
    #[must_use]
    pub fn values(&self) -> Vec<&str> {
        [&self.user_id, &self.group, &self.organization_arn, &self.organizational_unit_arn]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect()
    }

    /// Tells whether everybody may launch the AMI.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.group.as_deref() == Some("all")
    }
}

/// A tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Tag {
    /// Name, unique on a resource.
    pub key: String,
    /// Value; may be empty.
    #[serde(default)]
    pub value: String,
}

impl Tag {
    /// Tells whether only AWS can give the tag.
    #[must_use]
    pub fn is_of_aws(&self) -> bool {
        self.key.to_ascii_lowercase().starts_with("aws:")
    }
}

/// A product code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ProductCode {
    /// The code.
    pub product_code_id: String,
    /// Who sells the product.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub product_code_type: Option<ProductCodeType>,
}

/// Where an AMI comes from: its owner, and the AMI that it was copied or made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Provenance {
    /// Whose AMI the content comes from.
    pub origin: Origin,
    /// The account that owns it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner_id: Option<String>,
    /// Its id in its region.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image_id: Option<String>,
    /// The AMI that it was copied or made from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_image_id: Option<String>,
    /// That AMI's region.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_image_region: Option<String>,
    /// The instance that it was made from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_instance_id: Option<String>,
}

/// Tells whether `text` is an account: twelve digits.
#[must_use]
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Tells whether `text` has the shape of an organization's ARN, or of an organizational unit's.
#[must_use]
pub fn is_organization_arn(text: &str, unit: bool) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, region, account, resource] = parts[..] else { return false };
    let id = |text: &str, prefix: &str| {
        text.strip_prefix(prefix).is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    let resource = if unit {
        resource
            .strip_prefix("ou/")
            .and_then(|rest| rest.split_once('/'))
            .is_some_and(|(organization, unit)| id(organization, "o-") && id(unit, "ou-"))
    } else {
        resource.strip_prefix("organization/").is_some_and(|rest| id(rest, "o-"))
    };
    arn == "arn"
        && partition.starts_with("aws")
        && service == "organizations"
        && region.is_empty()
        && is_account(account)
        && resource
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_told_by_its_shape() {
        let organization = "arn:aws:organizations::123456789012:organization/o-abc123";
        let unit = "arn:aws:organizations::123456789012:ou/o-abc123/ou-ab12-cd34";
        assert!(LaunchPermission::of("all").is_public());
        assert_eq!(LaunchPermission::of("123456789012").user_id.as_deref(), Some("123456789012"));
        assert_eq!(
            LaunchPermission::of(organization).organization_arn.as_deref(),
            Some(organization)
        );
        assert_eq!(LaunchPermission::of(unit).organizational_unit_arn.as_deref(), Some(unit));
        assert!(
            is_organization_arn(organization, false) && !is_organization_arn(organization, true)
        );
        assert!(is_organization_arn(unit, true) && !is_organization_arn(unit, false));
        for wrong in ["o-abc123", "arn:aws:organizations::1:organization/o-a", "", "arn:aws:iam::"]
        {
            assert!(!is_organization_arn(wrong, false), "{wrong}");
        }
    }
}
