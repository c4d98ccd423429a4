//! `RegisterImage`: the document that `aws ec2 register-image` takes as its JSON input.

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::ImdsSupport;
use crate::ami::Mapping;
use crate::ami::SriovNetSupport;
use crate::ami::Tag;
use crate::ami::TpmSupport;
use crate::ami::Virtualization;

/// Tags for a kind of resource that a call makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagSpecification {
    /// Kind of resource: `image` is the only one here.
    pub resource_type: String,
    /// The tags.
    pub tags: Vec<Tag>,
}

impl TagSpecification {
    /// Returns the list that puts `tags` on an AMI; empty for none.
    #[must_use]
    pub fn for_image(tags: &[Tag]) -> Vec<Self> {
        if tags.is_empty() {
            return Vec::new();
        }
        vec![Self { resource_type: "image".to_owned(), tags: tags.to_vec() }]
    }

    /// Returns the list that puts tags on a copy of an AMI and on its snapshots.
    #[must_use]
    pub fn for_copy(image: Vec<Tag>, snapshots: Vec<Tag>) -> Vec<Self> {
        [("image", image), ("snapshot", snapshots)]
            .into_iter()
            .filter(|(_, tags)| !tags.is_empty())
            .map(|(resource_type, tags)| Self { resource_type: resource_type.to_owned(), tags })
            .collect()
    }
}

/// The call, with the members of EC2's model 2016-11-15 in its own spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "as the members of Ami")]
pub struct RegisterImage {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtualization_type: Option<Virtualization>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<BootMode>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub root_device_name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub block_device_mappings: Vec<Mapping>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ena_support: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sriov_net_support: Option<SriovNetSupport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imds_support: Option<ImdsSupport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_support: Option<TpmSupport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uefi_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramdisk_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_location: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub billing_products: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tag_specifications: Vec<TagSpecification>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl RegisterImage {
    /// Makes the call for a description. Members that other calls set (permissions, deprecation,
    /// protection) and root digests of snapshots are left out; snapshot ids are the caller's.
    #[must_use]
    pub fn of(ami: &Ami) -> Self {
        let mut block_device_mappings = ami.block_device_mappings.clone();
        for ebs in block_device_mappings.iter_mut().filter_map(|it| it.ebs.as_mut()) {
            ebs.snapshot_digest = None;
        }
        Self {
            name: ami.name.clone(),
            description: ami.description.clone(),
            architecture: ami.architecture,
            virtualization_type: ami.virtualization_type,
            boot_mode: ami.boot_mode,
            root_device_name: ami.root_device_name.clone(),
            block_device_mappings,
            ena_support: ami.ena_support,
            sriov_net_support: ami.sriov_net_support,
            imds_support: ami.imds_support,
            tpm_support: ami.tpm_support,
            uefi_data: ami.uefi_data.clone(),
            kernel_id: ami.kernel_id.clone(),
            ramdisk_id: ami.ramdisk_id.clone(),
            image_location: ami.image_location.clone(),
            billing_products: ami.billing_products.clone(),
            tag_specifications: TagSpecification::for_image(&ami.tags),
            dry_run: None,
        }
    }
}
