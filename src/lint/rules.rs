//! The table of rules.

use crate::lint::Evidence;
use crate::lint::Level;
use crate::lint::Rule;
use crate::lint::Scope;
use crate::lint::Topic;
use crate::lint::boot;
use crate::lint::devices;
use crate::lint::documents;
use crate::lint::features;
use crate::lint::guest;
use crate::lint::names;
use crate::lint::sharing;
use crate::lint::storage;

macro_rules! rules {
    ($($level:ident $evidence:ident $scope:ident $topic:ident $id:literal $room:ident::$check:ident $text:literal $source:literal
        $(; $shared:ident $marketplace:ident $fix:literal)?)*) => {
        /// All rules, in the order in which they are reported.
        pub const RULES: &[Rule] = &[$(Rule {
            id: $id,
            level: Level::$level,
            // The level of one's own stands where a row has no other.
            shared: [$(Level::$shared,)? Level::$level][0],
            marketplace: [$(Level::$marketplace,)? Level::$level][0],
            evidence: Evidence::$evidence,
            scope: Scope::$scope,
            topic: Topic::$topic,
            text: $text,
            source: $source,
            fix: [$($fix,)? ""][0],
            check: $room::$check,
        }),*];
    };
}

rules! {
    Error Refused Asked Text "value" documents::value
        "A member has a value that EC2's model has for it"
        "EC2 RegisterImageRequest and its enumerations"
    Error Refused Asked Text "member" documents::member
        "A call has members of EC2's model only"
        "EC2 RegisterImageRequest; refused by the AWS CLI as unknown"
    Warning Documented Asked Text "empty" documents::empty
        "An empty text is not a value: a skeleton is to be filled in"
        "the AWS CLI's skeletons"

    Error Refused Asked Text "name" names::name
        "A name has 3 to 128 of: letters, digits, space and ( ) [ ] . / - ' @ _"
        "EC2 RegisterImageRequest.Name; refused as InvalidAMIName.Malformed"
    Error Refused Asked Text "description" names::description
        "A description has at most 255 characters"
        "EC2 RegisterImageRequest.Description, at most 255"
    Error Refused Asked Text "tag-length" names::tag_length
        "A tag's key has 1 to 127 characters, its value at most 256, on a snapshot 255"
        "EC2 Tag.Key, Tag.Value; EBS TagKey, TagValue"
    Error Refused Asked Text "tag-key" names::tag_key
        "A tag's key is unique and does not start with aws:"
        "EC2 Tag.Key; refused as InvalidParameterValue: jcjorel/ec2-spot-converter 13"
    Error Refused Asked Text "tag-count" names::tag_count
        "A resource has at most 50 tags"
        "refused as TagLimitExceeded; EC2 user guide, Using_Tags"

    Error Refused Asked Text "tag-resource" documents::tag_resource
        "RegisterImage tags the AMI and nothing else"
        "EC2 RegisterImageRequest.TagSpecifications: the request fails"

    Warning Documented Asked Text "deprecation-minute" names::deprecation_minute
        "A time of deprecation is a whole minute"
        "EC2 EnableImageDeprecationRequest.DeprecateAt"
    Error Refused Asked Text "deprecation-past" names::deprecation_past
        "A time of deprecation is not in the past"
        "EC2 EnableImageDeprecationRequest.DeprecateAt"
    Error Refused Asked Text "deprecation-far" names::deprecation_far
        "A time of deprecation is at most 10 years away, for a public AMI 2"
        "EC2 EnableImageDeprecationRequest.DeprecateAt"

    Warning Documented Asked Machine "architecture-default" features::architecture_default
        "The architecture is named: EC2's default is i386"
        "EC2 RegisterImageRequest.Architecture"
    Warning Documented Asked Machine "virtualization-default" features::virtualization_default
        "The virtualization type is named: EC2's default is paravirtual"
        "EC2 RegisterImageRequest.VirtualizationType"
    Warning Documented Any Machine "paravirtual" features::paravirtual
        "Paravirtual machines run on C1, C3, HS1, M1, M2, M3 and T1 only"
        "EC2 user guide, virtualization_types"
    Warning Documented Any Machine "i386" features::i386
        "i386 runs on pre-Nitro types only"
        "EC2 user guide, instance-types"
    Warning Documented Asked Machine "arm64-paravirtual" features::arm64_paravirtual
        "arm64 machines are hvm"
        "EC2 user guide, virtualization_types"
    Warning Documented Asked Machine "ena-hvm" features::ena_hvm
        "ENA is for hvm"
        "EC2 RegisterImageRequest.EnaSupport: an instance may be unreachable"
    Warning Documented Asked Machine "sriov-hvm" features::sriov_hvm
        "SR-IOV is for hvm"
        "EC2 RegisterImageRequest.SriovNetSupport: an instance may be unreachable"
    Warning Refused Any Machine "ena-missing" features::ena_missing
        "An hvm AMI without ENA does not start on Nitro types"
        "EC2 user guide, enhanced-networking-ena; RunInstances refuses such types: vantage-sh/ec2instances.info 409"
    Error Refused Asked Machine "tpm-boot-mode" features::tpm_boot_mode
        "A TPM needs the boot mode uefi"
        "flatcar/mantle 582, tried; EC2 user guide, set-ami-boot-mode"
    Warning Documented Asked Machine "tpm-arm64" features::tpm_arm64
        "arm64 types have no TPM"
        "EC2 user guide, nitrotpm"
    Warning Documented Any Machine "arm64-boot-mode" features::arm64_boot_mode
        "arm64 boots by UEFI only"
        "EC2 user guide, launch-instance-boot-mode"
    Warning Documented Asked Machine "boot-mode-hvm" features::boot_mode_hvm
        "UEFI is for hvm"
        "EC2 user guide, ami-boot"
    Warning Documented Asked Machine "uefi-data-boot-mode" features::uefi_data_boot_mode
        "UEFI variables need UEFI boot"
        "EC2 user guide, uefi-variables"
    Warning Observed Asked Machine "uefi-data-format" features::uefi_data_format
        "UEFI data is AMZNUEFI, a CRC-32C and version 0, in base64"
        "awslabs/python-uefivars"
    Error Refused Asked Machine "uefi-data-length" features::uefi_data_length
        "UEFI data has at most 64,000 characters"
        "EC2 RegisterImageRequest.UefiData"
    Warning Observed Asked Machine "kernel-hvm" features::kernel_hvm
        "Kernel and RAM disk are for paravirtual machines"
        "Netflix/aminator 173; EC2 user guide, UserProvidedKernels"
    Error Refused Asked Machine "kernel-id" features::kernel_id
        "Kernels are aki-…, RAM disks ari-…"
        "refused as InvalidManifest, invalid kernel id: datastax-archive/ComboAMI 83"
    Warning Documented Asked Boot "pv-grub-ramdisk" features::pv_grub_ramdisk
        "PV-GRUB does not take a RAM disk"
        "EC2 user guide, UserProvidedKernels"
    Warning Documented Asked Boot "pv-grub-architecture" features::pv_grub_architecture
        "PV-GRUB and the kernel that it starts have the same architecture"
        "EC2 user guide, UserProvidedKernels"
    Warning Documented Asked Boot "pv-grub-disk" features::pv_grub_disk
        "hd00 is for partitioned disks; hd0 before 1.04 is for bare file systems, and neither knows GPT"
        "EC2 user guide, UserProvidedKernels"

    Error Refused Asked Device "device-missing" devices::device_missing
        "An entry of the mapping names its device"
        "refused as InvalidBlockDeviceMapping: aws-samples/cdk-image-pipeline 66"
    Error Refused Asked Device "device-kind" devices::device_kind
        "An entry has one of Ebs, VirtualName and NoDevice"
        "refused as MissingParameter: hashicorp/packer 5020"
    Warning Documented Asked Device "device-two-kinds" devices::device_two_kinds
        "An entry has only one of Ebs, VirtualName and NoDevice"
        "EC2 BlockDeviceMapping"
    Error Refused Asked Device "device-name" devices::device_name
        "A device is /dev/sd, /dev/xvd or /dev/hd, one letter or two, and at most a partition's number"
        "refused as Invalid device name: saltstack/salt 22501, jtriley/StarCluster 300"
    Warning Documented Asked Device "device-name-hvm" devices::device_name_hvm
        "On hvm a device is /dev/sd[a-z], /dev/xvd[a-z], /dev/xvd[a-c][a-z] or /dev/xvdd[a-x]"
        "EC2 user guide, device_naming"
    Error Refused Asked Device "device-digits-hvm" devices::device_digits_hvm
        "On hvm only the root and sda2 have a partition's number"
        "refused as Invalid device name: aws/aws-cli 1071; EC2 user guide, device_naming"
    Warning Documented Asked Device "device-sda2" devices::device_sda2
        "sda2 is not recommended on hvm"
        "EC2 user guide, device_naming"
    Warning Documented Asked Device "device-name-pv" devices::device_name_pv
        "On paravirtual a device is /dev/sd[a-z] or /dev/hd[a-z], with nothing or 1 to 15"
        "EC2 user guide, device_naming"
    Warning Documented Asked Device "device-mixed-pv" devices::device_mixed_pv
        "On paravirtual a letter is used with numbers or without, not both"
        "EC2 user guide, device_naming"
    Error Refused Asked Device "device-twice" devices::device_twice
        "A device is mapped once, with or without /dev/"
        "hashicorp/terraform 7233; refused as used in more than one block-device mapping"
    Warning Documented Any Device "device-xen" devices::device_xen
        "On Xen /dev/sdb and /dev/xvdb are one device"
        "EC2 user guide, device_naming"
    Warning Documented Asked Device "root-missing" devices::root_missing
        "The root device is named"
        "EC2 RegisterImageRequest.RootDeviceName"
    Warning Observed Asked Device "root-unmapped" devices::root_unmapped
        "The root device is mapped under the same name"
        "hashicorp/terraform 2271: EC2 takes it, other tools stumble over it"
    Error Refused Asked Device "root-content" devices::root_content
        "The root of an EBS-backed AMI is a mapped volume with content"
        "refused: No root snapshot specified in device mapping; EC2 user guide, ComponentsAMIs"
    Warning Documented Asked Device "root-name" devices::root_name
        "The root is /dev/sda1 on paravirtual; on hvm /dev/sd or /dev/xvd with letters, and 1 at most"
        "EC2 user guide, device_naming; ec2-ami-tools"
    Warning Documented Asked Device "root-prefix" devices::root_prefix
        "The root device is written with /dev/"
        "EC2 user guide, device_naming"
    Error Refused Asked Device "virtual-name" devices::virtual_name
        "A virtual name is ephemeral and a number"
        "EC2 BlockDeviceMapping.VirtualName; refused as MissingParameter: hashicorp/packer 5020"
    Warning Observed Asked Device "virtual-name-number" devices::virtual_name_number
        "Ephemeral devices are ephemeral0 to ephemeral25"
        "mappings of AWS's own Windows AMIs; EC2 user guide, block-device-mapping-concepts"
    Warning Documented Asked Device "virtual-name-twice" devices::virtual_name_twice
        "An ephemeral device is mapped once"
        "EC2 user guide, block-device-mapping-concepts"
    Warning Documented Asked Device "no-device" devices::no_device
        "NoDevice is the empty string"
        "EC2 BlockDeviceMapping.NoDevice"
    Warning Documented Any Device "device-count" devices::device_count
        "Most Nitro types take 27 EBS volumes beside a network card"
        "EC2 user guide, volume_limits"

    Error Refused Asked Volume "ebs-source" storage::ebs_source
        "A volume has a snapshot, a size, or both"
        "hashicorp/packer 1500; refused as InvalidBlockDeviceMapping"
    Error Refused Asked Volume "snapshot-id" storage::snapshot_id
        "A snapshot's id is snap-… of at most 64 characters"
        "EBS SnapshotId; refused as InvalidSnapshotID.Malformed"
    Error Refused Asked Volume "size-below-content" storage::size_below_content
        "A volume is not smaller than its content"
        "scylladb/scylla-cluster-tests 2484; refused as InvalidBlockDeviceMapping"
    Error Refused Asked Volume "size-of-ebs" storage::size_of_ebs
        "An EBS volume has at most 64 TiB"
        "EBS StartSnapshotRequest.VolumeSize"
    Error Refused Asked Volume "size-of-type" storage::size_of_type
        "A volume has a size that its type can have"
        "EC2 EbsBlockDevice.VolumeSize"
    Warning Documented Any Volume "size-sector" storage::size_sector
        "A volume is a multiple of 512 bytes"
        "VM Import/Export user guide, prerequisites"
    Warning Documented Any Boot "size-mbr" storage::size_mbr
        "A root with an MBR has at most 2,047 GiB"
        "EC2 user guide, volume_constraints"
    Warning Documented Asked Volume "type-default" storage::type_default
        "The volume type is named: EC2's default is gp2"
        "EC2 EbsBlockDevice.VolumeType; bottlerocket-os/bottlerocket 4000"
    Error Refused Asked Volume "type-root" storage::type_root
        "st1 and sc1 cannot be root volumes"
        "EC2 CreateVolumeRequest.VolumeType; boto/boto3 3653"
    Error Refused Asked Volume "iops-unsupported" storage::iops_unsupported
        "Only gp3, io1 and io2 take Iops"
        "EC2 EbsBlockDevice.Iops; refused as InvalidParameterCombination: boto/boto3 3653"
    Error Refused Asked Volume "iops-missing" storage::iops_missing
        "io1 and io2 need Iops"
        "EC2 EbsBlockDevice.Iops"
    Error Refused Asked Volume "iops-range" storage::iops_range
        "Iops are what the volume type can give"
        "EC2 EbsBlockDevice.Iops"
    Error Refused Asked Volume "iops-ratio" storage::iops_ratio
        "Iops fit the size: 500 a GiB on gp3, 50 on io1, 1,000 on io2"
        "refused as InvalidParameterValue, ratio too high: rocicorp/mono 4410; EC2 user guide, general-purpose, provisioned-iops"
    Error Refused Asked Volume "throughput-unsupported" storage::throughput_unsupported
        "Only gp3 takes Throughput"
        "EC2 EbsBlockDevice.Throughput; refused as InvalidParameterCombination: runs-on/runs-on 426"
    Error Refused Asked Volume "throughput-range" storage::throughput_range
        "Throughput is 125 to 2,000 MiB a second"
        "EC2 EbsBlockDevice.Throughput"
    Error Refused Asked Volume "throughput-ratio" storage::throughput_ratio
        "Each MiB a second needs 4 operations a second"
        "refused, ratio too high: runs-on/runs-on 260; EC2 user guide, general-purpose"
    Error Refused Asked Volume "encrypted-snapshot" storage::encrypted_snapshot
        "Encrypted is not set beside a snapshot, whatever its value"
        "EC2 EbsBlockDevice.Encrypted: the request will fail"
    Error Refused Asked Volume "kms-key" storage::kms_key
        "RegisterImage does not accept a key"
        "EC2 EbsBlockDevice.KmsKeyId"
    Warning Documented Asked Volume "launch-only" storage::launch_only
        "RegisterImage does not accept a zone, card or initialization rate"
        "EC2 EbsBlockDevice"
    Error Refused Asked Volume "holes-encrypted" storage::holes_encrypted
        "Holes are sent as zeros where a volume is encrypted"
        "refused by the plan; awslabs/coldsnap 395, 470; bottlerocket-os/bottlerocket 2169"
    Warning Documented Asked Volume "image-location" storage::image_location
        "An instance-store AMI is at BUCKET/PREFIX.manifest.xml"
        "EC2 RegisterImageRequest.ImageLocation"
    Warning Documented Any Volume "instance-store-size" storage::instance_store_size
        "The root of an instance-store AMI has at most 10 GiB"
        "EC2 user guide, ComponentsAMIs"
    Warning Documented Any Volume "instance-store-windows" storage::instance_store_windows
        "Windows does not run from instance store"
        "EC2 user guide, ComponentsAMIs"
    Warning Documented Asked Volume "instance-store-root" storage::instance_store_root
        "A root is in S3 or on EBS, not both"
        "EC2 RegisterImageRequest.ImageLocation"
    Warning Documented Any Volume "instance-store-nitro" storage::instance_store_nitro
        "Features of Nitro types only conflict with an instance-store root"
        "EC2 user guide, creating-an-ami-instance-store"

    Warning Documented Asked Sharing "permission-one" sharing::permission_one
        "A launch permission is one of account, group, organization and unit"
        "EC2 LaunchPermission"
    Error Refused Asked Sharing "permission-shape" sharing::permission_shape
        "Accounts have twelve digits, the group is all, organizations and units are ARNs"
        "EC2 LaunchPermission; refused as InvalidAMIAttributeItemValue: hashicorp/packer 1068"
    Warning Documented Asked Sharing "permission-twice" sharing::permission_twice
        "A launch permission is listed once"
        "EC2 LaunchPermission"
    Warning Documented Asked Sharing "permission-count" sharing::permission_count
        "An AMI is shared with at most 1,000 entities, unless AWS raised the quota"
        "EC2 user guide, ami-quotas"
    Warning Documented Asked Sharing "public" sharing::public
        "An AMI or snapshot of group all is for everybody"
        "EC2 user guide, sharingamis-intro"
    Error Refused Asked Sharing "snapshot-permission" sharing::snapshot_permission
        "Snapshots are shared with accounts of twelve digits, or with the group all"
        "EC2 CreateVolumePermission"
    Error Refused Asked Sharing "public-encrypted" sharing::public_encrypted
        "An AMI with encrypted volumes or snapshots is not public"
        "refused as UnsupportedOperation: opendevstack/ods-core 1062; EC2 ModifySnapshotAttribute"
    Error Refused Asked Sharing "public-product-codes" sharing::public_product_codes
        "An AMI with product codes is not public"
        "EC2 ModifySnapshotAttribute; EC2 user guide, sharingamis-intro"
    Error Refused Asked Sharing "shared-default-key" sharing::shared_default_key
        "What is encrypted with the AWS managed key cannot be shared"
        "refused as InvalidParameter: hashicorp/packer 7410; EC2 ModifySnapshotAttribute"
    Error Refused Asked Sharing "copy-encryption" sharing::copy_decrypts
        "A copy can add encryption and never removes it; a key goes with encryption"
        "EC2 CopyImageRequest.Encrypted, KmsKeyId"
    Error Refused Asked Sharing "kms-key-arn" sharing::kms_key_arn
        "An upload's key is arn:aws:kms:REGION:ACCOUNT:key/ID"
        "EBS KmsKeyArn"
    Error Refused Asked Sharing "kms-key-region" sharing::kms_key_region
        "A key is of the region in which it encrypts"
        "EC2 CopyImageRequest.KmsKeyId: the copy is pending, and fails later"
    Error Refused Asked Sharing "copy-name" sharing::copy_twice
        "A name is unique in a region"
        "EC2 RegisterImageRequest.Name; refused as InvalidAMIName.Duplicate"
    Error Refused Asked Sharing "copy-partition" sharing::copy_partition
        "An AMI is copied within a partition only"
        "EC2 CopyImage: no copies across partitions"
    Error Refused Asked Sharing "region" sharing::region_shape
        "A region has the shape of eu-central-1"
        "patterns of regions of the AWS SDKs: no endpoint answers"
    Error Refused Asked Sharing "image-id" sharing::image_id
        "An AMI's id is ami-…"
        "refused as InvalidAMIID.Malformed"
    Error Refused Asked Sharing "parent-id" sharing::parent_id
        "A parent snapshot's id is snap-… of at most 64 characters"
        "EBS SnapshotId"
    Warning Documented Asked Sharing "billing-products" sharing::billing_products
        "Billing products need an account that may set them"
        "EC2 RegisterImageRequest.BillingProducts"
    Warning Documented Asked Sharing "product-codes" sharing::product_codes
        "RegisterImage does not accept product codes"
        "EC2 RegisterImageRequest"
    Warning Observed Asked Sharing "provenance-snapshots" sharing::provenance_snapshots
        "Snapshots of AWS's and of AWS Marketplace's AMIs are seldom the user's to register or copy"
        "no permission to access the storage of this ami: rancher/os 725, awslabs/amazon-eks-ami 52"
    Warning Documented Asked Sharing "provenance-public" sharing::provenance_public
        "What comes from AWS Marketplace is not made public"
        "AWS Marketplace seller guide, product-and-ami-policies"

    Error Refused Any Boot "partition-table" boot::partition_table
        "A partition table is valid"
        "refused by VM Import: No valid partitions"
    Warning Documented Any Boot "gpt-backup" boot::gpt_backup
        "The backup GPT is in the last sector"
        "UEFI 2.10, 5.3.2"
    Error Refused Any Boot "boot-uefi" boot::boot_uefi
        "UEFI needs an EFI system partition with the fallback loader of the architecture"
        "refused by the firmware: no bootable device; VM Import: No bootable partition found"
    Error Refused Any Boot "boot-bios" boot::boot_bios
        "legacy-bios needs boot code in the first sector"
        "refused by the firmware: no bootable device; EC2 user guide, ami-boot"
    Warning Documented Any Boot "boot-bios-preferred" boot::boot_bios_preferred
        "uefi-preferred needs boot code in the first sector for types that start by BIOS"
        "EC2 user guide, ami-boot"
    Warning Documented Any Boot "boot-bios-partition" boot::boot_bios_partition
        "BIOS boot from a GPT usually needs a BIOS boot partition"
        "GRUB manual, BIOS installation"
    Error Refused Any Boot "boot-architecture" boot::boot_architecture
        "The fallback loader is for the AMI's architecture"
        "refused by the firmware: unsupported image; UEFI 2.10, 3.5.1.1"
    Warning Documented Any Boot "boot-program" boot::boot_program
        "The fallback loader is a PE program"
        "UEFI 2.10, 2.1.1"
    Warning Documented Any Boot "boot-default" boot::boot_default
        "Without a boot mode x86 instances start by BIOS"
        "EC2 user guide, ami-boot"

    Warning Refused Any Guest "guest-host-keys" guest::host_keys
        "An image has no SSH host keys"
        "refused in public AMIs, which AWS makes private: EC2 user guide, building-shared-amis; epam/cloud-pipeline 1625"
        ; Error Error "--delete '/etc/ssh/ssh_host_*'"
    Warning Refused Any Guest "guest-authorized-keys" guest::authorized_keys
        "Nobody's key is authorized to log in"
        "refused by the scan of AWS Marketplace: scylladb/scylla-machine-image 934; Image Builder's clean-up"
        ; Error Error "--run-command 'rm -f /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys'"
    Error Refused Any Guest "guest-password-empty" guest::password_empty
        "No account has an empty password"
        "refused by AWS Marketplace: product-and-ami-policies, null and blank passwords"
        ; Error Error "--password NAME:locked:disabled"
    Warning Refused Any Guest "guest-password" guest::password
        "No account has a password"
        "refused by AWS Marketplace: product-and-ami-policies, password-based access"
        ; Warning Error "--password NAME:locked:disabled"
    Warning Refused Any Guest "guest-sshd-password" guest::sshd_password
        "sshd takes keys and no passwords"
        "refused by AWS Marketplace: product-and-ami-policies; EC2 user guide, building-shared-amis"
        ; Warning Error "--write /etc/ssh/sshd_config.d/00-keys.conf:'PasswordAuthentication no'"
    Warning Refused Any Guest "guest-sshd-root" guest::sshd_root
        "sshd does not let root log in by a password"
        "refused by AWS Marketplace: product-and-ami-policies; EC2 user guide, building-shared-amis"
        ; Warning Error "--write /etc/ssh/sshd_config.d/00-root.conf:'PermitRootLogin prohibit-password'"
    Warning Documented Any Guest "guest-machine-id" guest::machine_id
        "An image has no machine id"
        "machine-id(5); scaleway/packer-plugin-scaleway 30: one address for all"
        ; Warning Warning "--truncate /etc/machine-id --link /etc/machine-id:/var/lib/dbus/machine-id"
    Warning Documented Any Guest "guest-cloud-init" guest::cloud_init
        "A first-boot agent handles keys and user data"
        "EC2 user guide, building-shared-amis; Image Builder's requirements"
        ; Warning Warning "--install cloud-init"
    Warning Documented Any Guest "guest-cloud-init-state" guest::cloud_init_state
        "cloud-init has not run yet"
        "Image Builder's clean-up; cloud-init clean"
        ; Warning Warning "--run-command 'cloud-init clean --logs --seed'"
    Warning Documented Any Guest "guest-leftovers" guest::leftovers
        "No logs, caches or identity of the build machine are left"
        "Image Builder's clean-up, as in aws/amazon-ecs-ami scripts/cleanup.sh"
        ; Warning Warning "--run-command 'find /var/log /var/tmp /tmp -type f -delete' --delete PATH"
    Warning Documented Any Guest "guest-history" guest::history
        "No histories of shells, and no copies of editors"
        "ec2-bundle-vol's list of what it leaves out"
        ; Warning Warning "--delete '/root/.*history' --delete '/home/*/.*history'"
    Warning Refused Any Guest "guest-secrets" guest::secrets
        "An image holds no secrets"
        "refused by AWS Marketplace: product-and-ami-policies; ec2-bundle-vol's list of what it leaves out"
        ; Error Error "--delete FILE"

    Warning Refused Any Guest "guest-fstab-file" guest::fstab_file
        "/etc/fstab is a regular file"
        "refused by VM Import: NixOS/nixpkgs 71770"
        ; Warning Warning "--run-command 'cp --remove-destination \"$(readlink -f /etc/fstab)\" /etc/fstab'"
    Error Refused Any Guest "guest-fstab" guest::fstab
        "What /etc/fstab mounts is on a volume of the AMI"
        "refused by systemd, which ends in emergency mode: systemd.mount(5), nofail"
        ; Error Error "--edit '/etc/fstab:s/^UUID=OLD/UUID=NEW/'"
    Warning Documented Any Guest "guest-device-names" guest::device_names
        "Devices are named by UUID, LABEL or PARTUUID"
        "EC2 user guide, nvme-ebs-volumes: names change with the type of the instance"
        ; Warning Warning "--edit '/etc/fstab:s,^/dev/xvda1,UUID=ID,'"
    Warning Documented Any Guest "guest-fstab-nofail" guest::fstab_nofail
        "Volumes beside the root have the option nofail"
        "EC2 user guide, ebs-using-volumes"
        ; Warning Warning "--edit '/etc/fstab:s/defaults/defaults,nofail/ if m,/data,'"
    Warning Documented Any Guest "guest-uuid-twice" guest::uuid_twice
        "No two volumes have a file system of the same UUID"
        "xfs(5): nouuid; EC2 user guide, ebs-using-volumes"
        ; Warning Warning "tune2fs -U random or xfs_admin -U generate on one of the images"

    Error Refused Any Guest "guest-kernel" guest::kernel
        "A boot entry has a kernel and an initramfs that exist"
        "refused by the boot loader: file not found; VM Import/Export user guide, prerequisites"
        ; Error Error "--run-command 'update-grub' or --run-command 'grub2-mkconfig -o /boot/grub2/grub.cfg'"
    Warning Documented Any Guest "guest-kernel-stale" guest::kernel_stale
        "Every boot entry has what it names"
        "the Boot Loader Specification; GRUB manual, linux and initrd"
        ; Warning Warning "--run-command 'update-grub' or --run-command 'grub2-mkconfig -o /boot/grub2/grub.cfg'"
    Error Refused Any Guest "guest-root" guest::root
        "root= names a file system of the AMI"
        "refused by the initramfs, which waits for it: VM Import/Export user guide, prerequisites"
        ; Error Error "--edit '/etc/default/grub:s/root=[^ \"]*/root=UUID=ID/' --run-command update-grub"
    Warning Documented Any Guest "guest-console" guest::console
        "The kernel has a console on the serial port"
        "EC2 user guide, instance-console and ec2-serial-console"
        ; Warning Warning "--edit '/etc/default/grub:s/^GRUB_CMDLINE_LINUX=\"/&console=ttyS0,115200n8 /' --run-command update-grub"
    Error Refused Any Guest "guest-nvme" guest::nvme
        "On Nitro types NVMe is available before the root is mounted"
        "refused by the kernel, which finds no root: NixOS/nixpkgs 32612, scylladb/scylladb 3054"
        ; Error Error "--run-command 'echo nvme >> /etc/initramfs-tools/modules && update-initramfs -u' or --run-command 'dracut -f --regenerate-all --add-drivers nvme'"
    Warning Documented Any Guest "guest-nitro" guest::nitro
        "A kernel can start on Nitro types"
        "EC2 user guide, nvme-ebs-volumes"
        ; Warning Warning "--run-command 'echo nvme >> /etc/initramfs-tools/modules && update-initramfs -u' or --run-command 'dracut -f --regenerate-all --add-drivers nvme'"
    Error Refused Any Guest "guest-root-module" guest::root_module
        "The kernel can mount the file system of the root"
        "refused by the kernel, which cannot mount the root: VM Import/Export user guide, prerequisites"
        ; Error Error "--run-command 'update-initramfs -u' or --run-command 'dracut -f --regenerate-all'"
    Warning Documented Any Guest "guest-ena" guest::ena
        "An AMI with ENA has its driver"
        "EC2 user guide, enhanced-networking-ena: an instance may be unreachable"
        ; Warning Warning "--install linux-image-cloud-amd64 or --install kernel-modules-extra"
    Warning Documented Any Guest "guest-xen" guest::xen
        "On Xen types Xen's block devices are available before the root is mounted"
        "EC2 user guide, instance-types; hashicorp/packer's list of Xen types"
        ; Warning Warning "--run-command 'echo xen-blkfront >> /etc/initramfs-tools/modules && update-initramfs -u' or --run-command 'dracut -f --regenerate-all --add-drivers xen-blkfront'"
    Warning Documented Any Guest "guest-nvme-timeout" guest::nvme_timeout
        "The timeout of NVMe is the longest"
        "EC2 user guide, nvme-ebs-volumes, timeout-nvme-ebs-volumes"
        ; Warning Warning "--edit '/etc/default/grub:s/^GRUB_CMDLINE_LINUX=\"/&nvme_core.io_timeout=4294967295 /' --run-command update-grub"
    Warning Documented Any Guest "guest-selinux" guest::selinux
        "Where SELinux is enforcing, files have labels"
        "virt-customize(1), SELinux relabelling"
        ; Warning Warning "--selinux-relabel"
    Warning Refused Any Guest "guest-encrypted" guest::encrypted
        "Volumes are not encrypted inside the guest"
        "refused by AWS Marketplace: product-and-ami-policies; VM Import/Export user guide, prerequisites"
        ; Warning Error "cryptsetup-reencrypt --decrypt, or another image"
    Warning Documented Any Guest "guest-lvm-pv" guest::lvm_pv
        "The root of a paravirtual machine is not a logical volume"
        "EC2 user guide, UserProvidedKernels"
        ; Warning Warning "virtualization type hvm, or a root without LVM"
    Error Refused Any Guest "guest-architecture" guest::architecture
        "Programs are for the AMI's architecture"
        "refused by the kernel: exec format error"
        ; Error Error "the architecture of the image in the description, or another image"
    Error Refused Any Guest "guest-file-system-size" guest::file_system_size
        "A file system fits its partition"
        "refused by the kernel: block count exceeds size of device; VM Import/Export user guide, prerequisites"
        ; Error Error "resize2fs -M on the larger image before it is cut"

    Warning Documented Any Guest "guest-windows-sysprep" guest::windows_sysprep
        "An image of Windows was prepared with Sysprep"
        "EC2 user guide for Windows, ami-create-win-sysprep"
        ; Warning Warning "EC2Launch.exe sysprep"
    Warning Documented Any Guest "guest-windows-launch" guest::windows_launch
        "Windows has EC2Launch"
        "EC2 user guide for Windows, ec2launch-v2"
        ; Warning Warning "install AmazonEC2Launch.msi"
    Warning Documented Any Guest "guest-windows-drivers" guest::windows_drivers
        "Windows has drivers for NVMe, ENA and Xen"
        "EC2 user guide for Windows, aws-nvme-drivers, ena-driver and xen-drivers-overview"
        ; Warning Warning "install AWSNVMe, AwsEnaNetworkDriver and AWSPVDriverSetup"
}
