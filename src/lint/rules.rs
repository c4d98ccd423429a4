//! The table of rules.

use crate::lint::Level;
use crate::lint::Rule;
use crate::lint::Topic;
use crate::lint::boot;
use crate::lint::devices;
use crate::lint::features;
use crate::lint::names;
use crate::lint::sharing;
use crate::lint::storage;

macro_rules! rules {
    ($($level:ident $topic:ident $id:literal $room:ident::$check:ident $text:literal $source:literal)*) => {
        /// All rules, in the order in which they are reported.
        pub const RULES: &[Rule] = &[$(Rule {
            id: $id,
            level: Level::$level,
            topic: Topic::$topic,
            text: $text,
            source: $source,
            check: $room::$check,
        }),*];
    };
}

rules! {
    Error Text "name" names::name
        "A name has 3 to 128 of: letters, digits, space and ( ) [ ] . / - ' @ _"
        "EC2 RegisterImageRequest.Name; refused as InvalidAMIName.Malformed"
    Error Text "description" names::description
        "A description has at most 255 characters"
        "EC2 RegisterImageRequest.Description"
    Error Text "tag-length" names::tag_length
        "A tag's key has 1 to 127 characters, its value at most 255"
        "EBS Tag.Key, Tag.Value"
    Error Text "tag-key" names::tag_key
        "A tag's key is unique and does not start with aws:"
        "EC2 user guide, Using_Tags"
    Error Text "tag-count" names::tag_count
        "A resource has at most 50 tags"
        "EC2 user guide, Using_Tags"
    Warning Text "deprecation-minute" names::deprecation_minute
        "A time of deprecation is a whole minute"
        "EC2 EnableImageDeprecationRequest.DeprecateAt"
    Error Text "deprecation-past" names::deprecation_past
        "A time of deprecation is not in the past"
        "EC2 EnableImageDeprecationRequest.DeprecateAt"
    Error Text "deprecation-far" names::deprecation_far
        "A time of deprecation is at most 10 years away, for a public AMI 2"
        "EC2 user guide, ami-deprecate"

    Error Machine "architecture-default" features::architecture_default
        "The architecture is named: EC2's default is i386"
        "EC2 RegisterImageRequest.Architecture"
    Error Machine "virtualization-default" features::virtualization_default
        "The virtualization type is named: EC2's default is paravirtual"
        "EC2 RegisterImageRequest.VirtualizationType"
    Warning Machine "paravirtual" features::paravirtual
        "Paravirtual machines run on C1, C3, HS1, M1, M2, M3 and T1 only"
        "EC2 user guide, virtualization_types"
    Warning Machine "i386" features::i386
        "i386 runs on pre-Nitro types only"
        "EC2 user guide, instance-types"
    Error Machine "arm64-paravirtual" features::arm64_paravirtual
        "arm64 machines are hvm"
        "EC2 user guide, virtualization_types"
    Error Machine "ena-hvm" features::ena_hvm
        "ENA is for hvm"
        "EC2 RegisterImageRequest.EnaSupport"
    Error Machine "sriov-hvm" features::sriov_hvm
        "SR-IOV is for hvm"
        "EC2 RegisterImageRequest.SriovNetSupport"
    Warning Machine "ena-missing" features::ena_missing
        "An hvm AMI without ENA does not start on Nitro types"
        "EC2 user guide, enhanced-networking-ena"
    Error Machine "tpm-boot-mode" features::tpm_boot_mode
        "A TPM needs the boot mode uefi"
        "EC2 user guide, set-ami-boot-mode; flatcar/mantle 582"
    Error Machine "tpm-arm64" features::tpm_arm64
        "arm64 types have no TPM"
        "EC2 user guide, nitrotpm"
    Error Machine "arm64-boot-mode" features::arm64_boot_mode
        "arm64 boots by UEFI only"
        "EC2 user guide, launch-instance-boot-mode"
    Error Machine "boot-mode-hvm" features::boot_mode_hvm
        "UEFI is for hvm"
        "EC2 user guide, ami-boot"
    Error Machine "uefi-data-boot-mode" features::uefi_data_boot_mode
        "UEFI variables need UEFI boot"
        "EC2 user guide, uefi-variables"
    Error Machine "uefi-data-format" features::uefi_data_format
        "UEFI data is base64 of AMZNUEFI, a CRC-32C and version 0, at most 64,000 characters"
        "EC2 RegisterImageRequest.UefiData; awslabs/python-uefivars"
    Error Machine "kernel-hvm" features::kernel_hvm
        "Kernel and RAM disk are for paravirtual machines"
        "EC2 user guide, UserProvidedKernels"
    Error Machine "kernel-id" features::kernel_id
        "Kernels are aki-…, RAM disks ari-…"
        "EC2 RegisterImageRequest.KernelId, RamdiskId"
    Error Boot "pv-grub-ramdisk" features::pv_grub_ramdisk
        "PV-GRUB does not take a RAM disk"
        "EC2 user guide, UserProvidedKernels"
    Error Boot "pv-grub-architecture" features::pv_grub_architecture
        "PV-GRUB and the kernel that it starts have the same architecture"
        "EC2 user guide, UserProvidedKernels"
    Error Boot "pv-grub-disk" features::pv_grub_disk
        "hd00 is for partitioned disks; hd0 before 1.04 is for bare file systems, and neither knows GPT"
        "EC2 user guide, UserProvidedKernels"

    Error Device "device-missing" devices::device_missing
        "An entry of the mapping names its device"
        "refused as InvalidBlockDeviceMapping: Missing device name"
    Error Device "device-kind" devices::device_kind
        "An entry is exactly one of Ebs, VirtualName and NoDevice"
        "EC2 BlockDeviceMapping"
    Error Device "device-name-hvm" devices::device_name_hvm
        "On hvm a device is /dev/sd[a-z], /dev/xvd[a-z], /dev/xvd[a-c][a-z] or /dev/xvdd[a-x]"
        "EC2 user guide, device_naming; refused as Invalid device name"
    Error Device "device-digits-hvm" devices::device_digits_hvm
        "On hvm only the root and sda2 have a partition's number"
        "EC2 user guide, device_naming"
    Warning Device "device-sda2" devices::device_sda2
        "sda2 is not recommended on hvm"
        "EC2 user guide, device_naming"
    Error Device "device-name-pv" devices::device_name_pv
        "On paravirtual a device is /dev/sd[a-z] or /dev/hd[a-z], with nothing or 1 to 15"
        "EC2 user guide, device_naming"
    Error Device "device-mixed-pv" devices::device_mixed_pv
        "On paravirtual a letter is used with numbers or without, not both"
        "EC2 user guide, device_naming"
    Error Device "device-twice" devices::device_twice
        "A device is mapped once, with or without /dev/"
        "hashicorp/terraform 7233; refused as used in more than one block-device mapping"
    Error Device "root-missing" devices::root_missing
        "The root device is named"
        "EC2 RegisterImageRequest.RootDeviceName"
    Error Device "root-unmapped" devices::root_unmapped
        "The root device is in the mapping"
        "EC2 RegisterImageRequest.RootDeviceName; a rule of ours, no refusal was seen"
    Error Device "root-content" devices::root_content
        "The root of an EBS-backed AMI is a volume with content"
        "EC2 user guide, ComponentsAMIs"
    Error Device "root-name" devices::root_name
        "The root is /dev/sda1 on paravirtual; on hvm /dev/sd or /dev/xvd with letters, and 1 at most"
        "EC2 user guide, device_naming; ec2-ami-tools"
    Warning Device "root-prefix" devices::root_prefix
        "The root device is written with /dev/"
        "EC2 user guide, device_naming"
    Error Device "virtual-name" devices::virtual_name
        "Ephemeral devices are ephemeral0 to ephemeral23"
        "EC2 user guide, block-device-mapping-concepts"
    Error Device "virtual-name-twice" devices::virtual_name_twice
        "An ephemeral device is mapped once"
        "EC2 user guide, block-device-mapping-concepts"
    Error Device "no-device" devices::no_device
        "NoDevice is the empty string"
        "EC2 BlockDeviceMapping.NoDevice"
    Warning Device "device-count" devices::device_count
        "Most Nitro types take 27 EBS volumes beside a network card"
        "EC2 user guide, volume_limits"

    Error Volume "ebs-source" storage::ebs_source
        "A volume has a snapshot, a size, or both"
        "hashicorp/packer 1500; refused as InvalidBlockDeviceMapping"
    Error Volume "snapshot-id" storage::snapshot_id
        "A snapshot's id is snap-… of at most 64 characters"
        "EBS SnapshotId"
    Error Volume "size-below-content" storage::size_below_content
        "A volume is not smaller than its content"
        "scylladb/scylla-cluster-tests 2484; refused as InvalidBlockDeviceMapping"
    Error Volume "size-of-ebs" storage::size_of_ebs
        "An EBS volume has at most 64 TiB"
        "EBS StartSnapshotRequest.VolumeSize"
    Error Volume "size-of-type" storage::size_of_type
        "A volume has a size that its type can have"
        "EC2 EbsBlockDevice.VolumeSize"
    Warning Volume "size-sector" storage::size_sector
        "A volume is a multiple of 512 bytes"
        "VM Import/Export user guide, prerequisites"
    Error Boot "size-mbr" storage::size_mbr
        "A root with an MBR has at most 2,047 GiB"
        "EC2 user guide, volume_constraints"
    Warning Volume "type-default" storage::type_default
        "The volume type is named: EC2's default is gp2"
        "EC2 EbsBlockDevice.VolumeType; bottlerocket-os/bottlerocket 4000"
    Error Volume "type-root" storage::type_root
        "st1 and sc1 cannot be root volumes"
        "EC2 CreateVolumeRequest.VolumeType; boto/boto3 3653"
    Error Volume "iops-unsupported" storage::iops_unsupported
        "Only gp3, io1 and io2 take Iops"
        "EC2 EbsBlockDevice.Iops; refused as InvalidParameterCombination"
    Error Volume "iops-missing" storage::iops_missing
        "io1 and io2 need Iops"
        "EC2 EbsBlockDevice.Iops"
    Error Volume "iops-range" storage::iops_range
        "Iops are what the volume type can give"
        "EC2 EbsBlockDevice.Iops"
    Error Volume "iops-ratio" storage::iops_ratio
        "Iops fit the size: 500 a GiB on gp3, 50 on io1, 1,000 on io2"
        "EC2 user guide, general-purpose, provisioned-iops"
    Error Volume "throughput-unsupported" storage::throughput_unsupported
        "Only gp3 takes Throughput"
        "EC2 EbsBlockDevice.Throughput; hashicorp/packer-plugin-amazon 335"
    Error Volume "throughput-range" storage::throughput_range
        "Throughput is 125 to 2,000 MiB a second"
        "EC2 EbsBlockDevice.Throughput"
    Error Volume "throughput-ratio" storage::throughput_ratio
        "Each MiB a second needs 4 operations a second"
        "EC2 user guide, general-purpose"
    Error Volume "encrypted-snapshot" storage::encrypted_snapshot
        "Encrypted is not set beside a snapshot, whatever its value"
        "EC2 EbsBlockDevice.Encrypted"
    Error Volume "kms-key" storage::kms_key
        "RegisterImage does not accept a key"
        "EC2 EbsBlockDevice.KmsKeyId"
    Error Volume "launch-only" storage::launch_only
        "RegisterImage does not accept a zone, card or initialization rate"
        "EC2 EbsBlockDevice"
    Error Volume "holes-encrypted" storage::holes_encrypted
        "Holes are sent as zeros where a volume is encrypted"
        "awslabs/coldsnap 395, 470"
    Error Volume "image-location" storage::image_location
        "An instance-store AMI is at BUCKET/PREFIX.manifest.xml"
        "EC2 RegisterImageRequest.ImageLocation"
    Error Volume "instance-store-size" storage::instance_store_size
        "The root of an instance-store AMI has at most 10 GiB"
        "EC2 user guide, ComponentsAMIs"
    Error Volume "instance-store-windows" storage::instance_store_windows
        "Windows does not run from instance store"
        "EC2 user guide, ComponentsAMIs"
    Error Volume "instance-store-root" storage::instance_store_root
        "A root is in S3 or on EBS, not both"
        "EC2 RegisterImageRequest.ImageLocation"
    Error Volume "instance-store-nitro" storage::instance_store_nitro
        "Features of Nitro types only conflict with an instance-store root"
        "EC2 user guide, creating-an-ami-instance-store"

    Error Sharing "permission-one" sharing::permission_one
        "A launch permission is exactly one of account, group, organization and unit"
        "EC2 LaunchPermission"
    Error Sharing "permission-shape" sharing::permission_shape
        "Accounts have twelve digits, the group is all, organizations and units are ARNs"
        "EC2 LaunchPermission; EC2 user guide, share-amis-with-organizations-and-OUs"
    Warning Sharing "permission-twice" sharing::permission_twice
        "A launch permission is listed once"
        "EC2 LaunchPermission"
    Warning Sharing "permission-count" sharing::permission_count
        "An AMI is shared with at most 1,000 entities, unless AWS raised the quota"
        "EC2 user guide, ami-quotas"
    Error Sharing "public-encrypted" sharing::public_encrypted
        "An AMI with encrypted volumes or snapshots is not public"
        "EC2 user guide, sharingamis-intro"
    Error Sharing "public-product-codes" sharing::public_product_codes
        "An AMI with product codes is not public"
        "EC2 user guide, sharingamis-intro"
    Error Sharing "shared-default-key" sharing::shared_default_key
        "What is encrypted with the AWS managed key cannot be shared"
        "EC2 user guide, sharingamis-explicit"
    Error Sharing "copy-encryption" sharing::copy_decrypts
        "A copy can add encryption and never removes it; a key goes with encryption"
        "EC2 CopyImageRequest.Encrypted, KmsKeyId"
    Error Sharing "copy-name" sharing::copy_twice
        "A name is unique in a region"
        "EC2 RegisterImageRequest.Name; refused as InvalidAMIName.Duplicate"
    Error Sharing "copy-partition" sharing::copy_partition
        "An AMI is copied within a partition only"
        "EC2 user guide, CopyingAMIs"
    Error Sharing "region" sharing::region_shape
        "A region has the shape of eu-central-1"
        "AWS regions and endpoints"
    Warning Sharing "billing-products" sharing::billing_products
        "Billing products need an account that may set them"
        "EC2 RegisterImageRequest.BillingProducts"
    Warning Sharing "product-codes" sharing::product_codes
        "RegisterImage does not accept product codes"
        "EC2 RegisterImageRequest"
    Error Sharing "provenance-snapshots" sharing::provenance_snapshots
        "Snapshots of AWS's and of AWS Marketplace's AMIs cannot be registered by others"
        "EC2 user guide, sharingamis-explicit"
    Error Sharing "provenance-public" sharing::provenance_public
        "What comes from AWS Marketplace is not made public"
        "AWS Marketplace seller guide, product-and-ami-policies"

    Error Boot "partition-table" boot::partition_table
        "A partition table is valid"
        "VM Import/Export user guide: No valid partitions"
    Warning Boot "gpt-backup" boot::gpt_backup
        "The backup GPT is in the last sector"
        "UEFI 2.10, 5.3.2"
    Error Boot "boot-uefi" boot::boot_uefi
        "UEFI needs an EFI system partition with the fallback loader of the architecture"
        "EC2 user guide, ami-boot; VM Import/Export user guide, limitations-image"
    Error Boot "boot-bios" boot::boot_bios
        "legacy-bios and uefi-preferred need boot code in the first sector"
        "EC2 user guide, ami-boot"
    Warning Boot "boot-bios-partition" boot::boot_bios_partition
        "BIOS boot from a GPT usually needs a BIOS boot partition"
        "GRUB manual, BIOS installation"
    Error Boot "boot-architecture" boot::boot_architecture
        "The fallback loader is for the AMI's architecture"
        "UEFI 2.10, 3.5.1.1"
    Warning Boot "boot-program" boot::boot_program
        "The fallback loader is a PE program"
        "UEFI 2.10, 2.1.1"
    Warning Boot "boot-default" boot::boot_default
        "Without a boot mode x86 instances start by BIOS"
        "EC2 user guide, ami-boot"
}
