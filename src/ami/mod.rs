//! The AMI description: what EC2 keeps of an AMI, under EC2's own names and values.
//!
//! The format is `docs/formats/ami.md`. One type stands for it everywhere: a bundle's config, what a
//! recipe says, a `RegisterImage` call and an answer of `DescribeImages` all become an [`Ami`]. So it
//! can hold what EC2 would refuse; the room `lint` has the rules.

mod called;
mod describe;
mod distribution;
mod document;
mod elements;
mod fault;
mod mapping;
mod reading;
mod register;
mod sharing;
mod time;
mod values;

use serde::Deserialize;
use serde::Serialize;

pub use called::Called;
pub use describe::Described;
pub use describe::LeftOut;
pub use distribution::Distribution;
pub use distribution::Upload;
pub use document::Document;
pub use document::DocumentFault;
pub use document::decode;
pub use fault::AmiFault;
pub use mapping::DeviceName;
pub use mapping::Ebs;
pub use mapping::Mapping;
pub use mapping::bare;
pub use reading::Oddity;
pub use reading::Unread;
pub use register::RegisterImage;
pub use register::TagSpecification;
pub use sharing::LaunchPermission;
pub use sharing::ProductCode;
pub use sharing::Provenance;
pub use sharing::Tag;
pub use sharing::is_account;
pub use sharing::is_organization_arn;
pub use time::Time;
pub use values::Architecture;
pub use values::BootMode;
pub use values::DeregistrationProtection;
pub use values::ImdsSupport;
pub use values::Origin;
pub use values::Platform;
pub use values::ProductCodeType;
pub use values::SriovNetSupport;
pub use values::TpmSupport;
pub use values::Virtualization;
pub use values::VolumeType;

/// The description of an AMI.
///
/// In a bundle the architecture and the virtualization type are always there; EC2's defaults for
/// them, a paravirtual i386, are what nobody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Ami {
    /// Name, unique in an account and region.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub name: String,
    /// Human-readable description.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// Processor architecture.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub architecture: Option<Architecture>,
    /// How the hypervisor runs the machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub virtualization_type: Option<Virtualization>,
    /// How the machine boots; left out, the instance type decides.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub boot_mode: Option<BootMode>,
    /// Device of the root volume.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub root_device_name: String,
    /// All devices; in a bundle ascending by name.
    #[serde(default)]
    pub block_device_mappings: Vec<Mapping>,
    /// Whether the guest has a driver of the Elastic Network Adapter.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ena_support: Option<bool>,
    /// Enhanced networking with the Intel 82599 interface.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sriov_net_support: Option<SriovNetSupport>,
    /// Version of the instance metadata service that is demanded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub imds_support: Option<ImdsSupport>,
    /// Version of the trusted platform module.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tpm_support: Option<TpmSupport>,
    /// Variables of the UEFI store: what `GetInstanceUefiData` returns, base64.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uefi_data: Option<String>,
    /// Id of the kernel image, for paravirtual machines.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel_id: Option<String>,
    /// Name of that kernel image, such as `pv-grub-hd0_1.05-x86_64.gz`: EC2 does not take it, rules do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel_name: Option<String>,
    /// Id of the initial RAM disk, for paravirtual machines.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ramdisk_id: Option<String>,
    /// Manifest in S3 of an instance-store AMI, `BUCKET/PREFIX.manifest.xml`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image_location: Option<String>,
    /// Operating system, where it is Windows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub platform: Option<Platform>,
    /// Billing products: for accounts that may.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub billing_products: Vec<String>,
    /// Product codes.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub product_codes: Vec<ProductCode>,
    /// Tags.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tags: Vec<Tag>,
    /// Who may launch it, beside its owner.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub launch_permissions: Vec<LaunchPermission>,
    /// When it is deprecated: others no longer find it, and launch it by its id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deprecate_at: Option<Time>,
    /// Whether it can be deregistered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deregistration_protection: Option<DeregistrationProtection>,
    /// Where it comes from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provenance: Option<Provenance>,
}

impl Ami {
    /// Returns the architecture that EC2 gives it: its default is `i386`.
    #[must_use]
    pub fn effective_architecture(&self) -> Architecture {
        self.architecture.unwrap_or(Architecture::I386)
    }

    /// Returns the virtualization type that EC2 gives it: its default is `paravirtual`.
    #[must_use]
    pub fn effective_virtualization(&self) -> Virtualization {
        self.virtualization_type.unwrap_or(Virtualization::Paravirtual)
    }

    /// Tells whether everybody may launch it.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.launch_permissions.iter().any(LaunchPermission::is_public)
    }

    /// Returns the mapping of the root device, by its name with or without `/dev/`.
    #[must_use]
    pub fn root(&self) -> Option<&Mapping> {
        let name = bare(&self.root_device_name);
        self.block_device_mappings.iter().find(|it| it.bare_name() == name)
    }

    /// Iterates over the devices whose content a bundle holds.
    pub fn snapshots(&self) -> impl Iterator<Item = &Mapping> {
        self.block_device_mappings.iter().filter(|it| it.snapshot_digest().is_some())
    }

    /// Checks that the description says what EC2 has a default for that nobody wants.
    ///
    /// # Errors
    ///
    /// `Missing`.
    pub fn check_stated(&self) -> Result<(), AmiFault> {
        if self.architecture.is_none() {
            return Err(AmiFault::Missing { what: "Architecture" });
        }
        if self.virtualization_type.is_none() {
            return Err(AmiFault::Missing { what: "VirtualizationType" });
        }
        Ok(())
    }

    /// Checks what every bundle's description keeps to. EC2's rules are more than that: see `lint`.
    ///
    /// # Errors
    ///
    /// Names the first member that is wrong.
    pub fn check(&self) -> Result<(), AmiFault> {
        check_name(&self.name)?;
        if let Some(found) = self.description.as_ref().map(|text| text.chars().count())
            && found > MAX_DESCRIPTION
        {
            return Err(AmiFault::Description { found });
        }
        self.check_stated()?;
        if self.block_device_mappings.is_empty() {
            return Err(AmiFault::Mapping { what: "it is empty, expected at least the root" });
        }
        let devices: Vec<&str> =
            self.block_device_mappings.iter().map(|it| it.device_name.as_str()).collect();
        if !devices.is_sorted() {
            return Err(AmiFault::Mapping { what: "devices do not ascend by name" });
        }
        self.block_device_mappings.iter().try_for_each(check_mapping)?;
        check_devices(&devices, &self.root_device_name)
    }
}

/// Checks that an entry of a bundle's mapping is one thing, and names no snapshot of an account.
fn check_mapping(entry: &Mapping) -> Result<(), AmiFault> {
    let kinds = [entry.ebs.is_some(), entry.virtual_name.is_some(), entry.no_device.is_some()];
    if kinds.into_iter().filter(|there| *there).count() != 1 {
        let what = "an entry is not exactly one of Ebs, VirtualName and NoDevice";
        return Err(AmiFault::Mapping { what });
    }
    match &entry.ebs {
        Some(ebs) if ebs.snapshot_id.is_some() => {
            Err(AmiFault::Mapping { what: "a SnapshotId, expected a SnapshotDigest" })
        }
        Some(ebs) if ebs.has_content() && ebs.encrypted.is_some() => {
            Err(AmiFault::Mapping { what: "Encrypted beside a snapshot, whose own state counts" })
        }
        Some(ebs) if ebs.volume_size.is_none() => {
            Err(AmiFault::Mapping { what: "a volume without VolumeSize" })
        }
        _ => Ok(()),
    }
}

/// Most characters of a description.
pub const MAX_DESCRIPTION: usize = 255;

/// Checks an AMI's name against the characters and lengths that EC2 takes.
///
/// # Errors
///
/// `Name`.
pub fn check_name(name: &str) -> Result<(), AmiFault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ()[]./-'@_".contains(c);
    if (3..=128).contains(&name.len()) && name.chars().all(allowed) {
        Ok(())
    } else {
        Err(AmiFault::Name { found: name.to_owned() })
    }
}

/// Checks device names: each one that EC2 takes, none twice, the root among them.
///
/// # Errors
///
/// Names the first device that is wrong.
pub fn check_devices(devices: &[&str], root: &str) -> Result<(), AmiFault> {
    let mut seen = Vec::with_capacity(devices.len());
    for device in devices {
        if DeviceName::parse(device).is_none() {
            return Err(AmiFault::DeviceName { found: (*device).to_owned() });
        }
        if seen.contains(&bare(device)) {
            return Err(AmiFault::TwoDevices { found: (*device).to_owned() });
        }
        seen.push(bare(device));
    }
    if devices.contains(&root) { Ok(()) } else { Err(AmiFault::NoRoot { root: root.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_ec2() {
        let longest = "a".repeat(128);
        for good in ["web", "Web (2026) [x86] ./-'@_", &longest] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(129);
        for bad in ["ab", "", "web:1", "näme", "a\nb", "web!", &too_long] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_are_those_of_ec2() {
        for good in ["xvda", "sda1", "sdf", "xvdba", "hda", "sdz15", "/dev/sdf"] {
            assert!(DeviceName::parse(good).is_some(), "{good}");
        }
        for bad in ["", "sd", "sda0", "sdaa", "nvme0n1", "xvdabc", "xvda123", "../sda", "sd1"] {
            assert!(DeviceName::parse(bad).is_none(), "{bad}");
        }
        let name = DeviceName { prefix: "xvd", letters: "ba", partition: 12 };
        assert_eq!(DeviceName::parse("/dev/xvdba12"), Some(name));
    }

    #[test]
    fn a_device_is_mapped_once_and_the_root_is_mapped() {
        assert_eq!(check_devices(&["/dev/sdb", "/dev/xvda"], "/dev/xvda"), Ok(()));
        let twice = check_devices(&["/dev/sdb", "sdb"], "/dev/sdb");
        assert_eq!(twice, Err(AmiFault::TwoDevices { found: "sdb".to_owned() }));
        let no_root = check_devices(&["/dev/sdb"], "/dev/xvda");
        assert_eq!(no_root, Err(AmiFault::NoRoot { root: "/dev/xvda".to_owned() }));
    }

    /// What bundles of the first version hold is read as ever, and written as ever.
    #[test]
    fn the_first_description_comes_back_byte_for_byte() {
        let json = r#"{"Name":"web","Description":"words","Architecture":"x86_64","VirtualizationType":"hvm","BootMode":"uefi","RootDeviceName":"/dev/xvda","BlockDeviceMappings":[{"DeviceName":"/dev/xvda","Ebs":{"SnapshotDigest":"sha256:b84a07421d821de7de4ac2bd407108d88259dede047add7f4f082f3dffb661e8","VolumeSize":1}}]}"#;
        let ami: Ami = serde_json::from_str(json).unwrap();
        assert_eq!(ami.check(), Ok(()));
        assert_eq!(serde_json::to_string(&ami).unwrap(), json);
    }

    #[test]
    fn a_member_that_nobody_knows_is_refused() {
        let json = r#"{"Name":"web","Watermark":"v2.0"}"#;
        assert!(serde_json::from_str::<Ami>(json).unwrap_err().to_string().contains("Watermark"));
    }

    /// Each check of [`Ami::check`], tripped by one change.
    #[test]
    fn a_bundles_description_is_whole_and_in_order() {
        let volume = |device: &str| Mapping {
            device_name: device.to_owned(),
            ebs: Some(Ebs { volume_size: Some(1), ..Ebs::default() }),
            ..Mapping::default()
        };
        let sound = Ami {
            name: "web".to_owned(),
            architecture: Some(Architecture::X86_64),
            virtualization_type: Some(Virtualization::Hvm),
            root_device_name: "/dev/xvda".to_owned(),
            block_device_mappings: vec![volume("/dev/sdf"), volume("/dev/xvda")],
            ..Ami::default()
        };
        assert_eq!(sound.check(), Ok(()));
        let broken = |change: &dyn Fn(&mut Ami)| {
            let mut ami = sound.clone();
            change(&mut ami);
            assert!(ami.check().is_err(), "{ami:?}");
        };
        broken(&|ami| ami.name.clear());
        broken(&|ami| ami.description = Some("ä".repeat(256)));
        broken(&|ami| ami.architecture = None);
        broken(&|ami| ami.virtualization_type = None);
        broken(&|ami| ami.block_device_mappings.clear());
        broken(&|ami| ami.block_device_mappings.reverse());
        broken(&|ami| ami.block_device_mappings[0].ebs = None);
        broken(&|ami| ami.block_device_mappings[0].no_device = Some(String::new()));
        broken(&|ami| {
            ami.block_device_mappings[0].ebs.as_mut().unwrap().snapshot_id = Some("snap-1".into());
        });
        broken(&|ami| ami.block_device_mappings[0].ebs.as_mut().unwrap().volume_size = None);
        broken(&|ami| {
            let ebs = ami.block_device_mappings[1].ebs.as_mut().unwrap();
            ebs.snapshot_digest = Some(crate::digest::Digest([1; 32]));
            ebs.encrypted = Some(true);
        });
        broken(&|ami| ami.root_device_name = "/dev/sda".to_owned());
    }
}
