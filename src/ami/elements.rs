//! What EC2's documents share: members of an AMI, mappings, volumes, tags, product codes.

use crate::ami::Ami;
use crate::ami::Ebs;
use crate::ami::Mapping;
use crate::ami::ProductCode;
use crate::ami::Tag;
use crate::ami::reading::Members;

/// Reads the members that a call of `RegisterImage` and an image of `DescribeImages` share, all but the name.
pub(super) fn ami(members: &Members<'_>) -> Ami {
    Ami {
        description: members.text("Description"),
        architecture: members.value("Architecture"),
        virtualization_type: members.value("VirtualizationType"),
        boot_mode: members.value("BootMode"),
        root_device_name: members.text("RootDeviceName").unwrap_or_default(),
        block_device_mappings: members.list("BlockDeviceMappings", mapping),
        ena_support: members.flag("EnaSupport"),
        sriov_net_support: members.value("SriovNetSupport"),
        imds_support: members.value("ImdsSupport"),
        tpm_support: members.value("TpmSupport"),
        kernel_id: members.text("KernelId"),
        ramdisk_id: members.text("RamdiskId"),
        ..Ami::default()
    }
}

pub(super) fn mapping(members: &Members<'_>) -> Mapping {
    Mapping {
        device_name: members.any_text("DeviceName").unwrap_or_default(),
        ebs: members.object("Ebs", ebs),
        virtual_name: members.text("VirtualName"),
        no_device: members.any_text("NoDevice"),
    }
}

fn ebs(members: &Members<'_>) -> Ebs {
    Ebs {
        snapshot_digest: None,
        snapshot_id: members.text("SnapshotId"),
        volume_size: members.number("VolumeSize"),
        volume_type: members.value("VolumeType"),
        iops: members.number("Iops"),
        throughput: members.number("Throughput"),
        delete_on_termination: members.flag("DeleteOnTermination"),
        encrypted: members.flag("Encrypted"),
        kms_key_id: members.text("KmsKeyId"),
        outpost_arn: members.text("OutpostArn"),
        volume_initialization_rate: members.number("VolumeInitializationRate"),
        availability_zone: members.text("AvailabilityZone"),
        availability_zone_id: members.text("AvailabilityZoneId"),
        ebs_card_index: members.number("EbsCardIndex"),
    }
}

pub(super) fn tag(members: &Members<'_>) -> Tag {
    Tag {
        key: members.any_text("Key").unwrap_or_default(),
        value: members.any_text("Value").unwrap_or_default(),
    }
}

/// Reads a product code; `None` if it has no id.
pub(super) fn product_code(members: &Members<'_>) -> Option<ProductCode> {
    let product_code_type = members.value("ProductCodeType");
    Some(ProductCode { product_code_id: members.text("ProductCodeId")?, product_code_type })
}
