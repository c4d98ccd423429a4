//! The AMI description: EC2's own names and values, checked.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use crate::digest::Digest;
use crate::error::Fault;
use crate::error::Kind;

/// What is wrong with a description.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AmiFault {
    /// The name has another length or characters than EC2 allows.
    Name {
        /// Name found.
        found: String,
    },
    /// The description is longer than 255 bytes.
    Description {
        /// Bytes found.
        found: usize,
    },
    /// A value is none that EC2 knows.
    Value {
        /// The member.
        of: &'static str,
        /// Value found.
        found: String,
        /// Values that EC2 knows.
        expected: &'static str,
    },
    /// A device name is none that EC2 takes.
    DeviceName {
        /// Name found.
        found: String,
    },
    /// A device stands twice in the mapping.
    TwoDevices {
        /// Name found.
        found: String,
    },
    /// The root device is not in the mapping.
    NoRoot {
        /// Root device's name.
        root: String,
    },
    /// The mapping is empty, out of order or contradicts a snapshot.
    Mapping {
        /// What is wrong.
        what: &'static str,
    },
}

impl fmt::Display for AmiFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { found } => write!(
                f,
                "AMI name is {found:?}, expected 3 to 128 of: letters, digits, space and \
                 ()[]./-'@_"
            ),
            Self::Description { found } => {
                write!(f, "description has {found} bytes, expected at most 255")
            }
            Self::Value { of, found, expected } => {
                write!(f, "{of} is {found:?}, expected {expected}")
            }
            Self::DeviceName { found } => write!(
                f,
                "device name is {found:?}, expected one like /dev/xvda, /dev/sda1 or /dev/sdf"
            ),
            Self::TwoDevices { found } => write!(f, "device {found} is mapped twice"),
            Self::NoRoot { root } => {
                write!(f, "root device {root} is not among the mapped devices")
            }
            Self::Mapping { what } => write!(f, "block device mapping: {what}"),
        }
    }
}

impl std::error::Error for AmiFault {}

impl Fault for AmiFault {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

macro_rules! values {
    ($(#[$doc:meta])* $name:ident, $member:literal, $all:literal: $($(#[$vdoc:meta])* $variant:ident = $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Returns EC2's name of the value.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $name {
            type Err = AmiFault;

            fn from_str(text: &str) -> Result<Self, AmiFault> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(AmiFault::Value {
                        of: $member, found: text.to_owned(), expected: $all,
                    }),
                }
            }
        }
    };
}

values! {
    /// Processor architecture.
    Architecture, "architecture", "i386, x86_64, arm64, x86_64_mac or arm64_mac":
    /// 32-bit x86.
    I386 = "i386",
    /// 64-bit x86.
    X86_64 = "x86_64",
    /// 64-bit Arm.
    Arm64 = "arm64",
    /// 64-bit x86 Mac.
    X86_64Mac = "x86_64_mac",
    /// 64-bit Arm Mac.
    Arm64Mac = "arm64_mac",
}

values! {
    /// How the hypervisor runs the machine.
    Virtualization, "virtualization type", "hvm or paravirtual":
    /// Hardware virtualization.
    Hvm = "hvm",
    /// Paravirtual: the guest knows the hypervisor.
    Paravirtual = "paravirtual",
}

values! {
    /// How the machine boots.
    BootMode, "boot mode", "legacy-bios, uefi or uefi-preferred":
    /// BIOS.
    LegacyBios = "legacy-bios",
    /// UEFI.
    Uefi = "uefi",
    /// UEFI where the instance type has it, else BIOS.
    UefiPreferred = "uefi-preferred",
}

/// An EBS volume of the mapping, with its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Ebs {
    /// Root digest of the snapshot, where EC2 has a snapshot id.
    pub snapshot_digest: Digest,
    /// Size in GiB.
    pub volume_size: u64,
}

/// One device of the mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Mapping {
    /// Name of the device, such as `/dev/xvda`.
    pub device_name: String,
    /// The volume.
    pub ebs: Ebs,
}

/// The description of an AMI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Ami {
    /// Name, unique in an account and region.
    pub name: String,
    /// Text for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// Processor architecture.
    pub architecture: Architecture,
    /// How the hypervisor runs the machine.
    pub virtualization_type: Virtualization,
    /// How the machine boots; left out, the instance type decides.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub boot_mode: Option<BootMode>,
    /// Device of the root volume.
    pub root_device_name: String,
    /// All devices, ascending by name.
    pub block_device_mappings: Vec<Mapping>,
}

impl Ami {
    /// Checks what can be told without the volumes.
    ///
    /// # Errors
    ///
    /// Names the first member that EC2 would refuse.
    pub fn check(&self) -> Result<(), AmiFault> {
        check_name(&self.name)?;
        if let Some(text) = &self.description
            && text.len() > 255
        {
            return Err(AmiFault::Description { found: text.len() });
        }
        if self.block_device_mappings.is_empty() {
            return Err(AmiFault::Mapping { what: "it is empty, expected at least the root" });
        }
        let devices: Vec<&str> =
            self.block_device_mappings.iter().map(|it| it.device_name.as_str()).collect();
        if !devices.is_sorted() {
            return Err(AmiFault::Mapping { what: "devices do not ascend by name" });
        }
        check_devices(&devices, &self.root_device_name)
    }
}

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
    let mut bare = Vec::with_capacity(devices.len());
    for device in devices {
        // EC2 takes a name with and without the folder, and means the same device.
        let name = device.strip_prefix("/dev/").unwrap_or(device);
        if !is_device_name(name) {
            return Err(AmiFault::DeviceName { found: (*device).to_owned() });
        }
        if bare.contains(&name) {
            return Err(AmiFault::TwoDevices { found: (*device).to_owned() });
        }
        bare.push(name);
    }
    if devices.contains(&root) { Ok(()) } else { Err(AmiFault::NoRoot { root: root.to_owned() }) }
}

/// Tells whether a name without `/dev/` has one of the shapes of EC2's device names: `sd` or `hd`
/// and a letter, `xvd` and one or two letters, and at most two digits.
fn is_device_name(name: &str) -> bool {
    let Some((letters, rest)) = ["xvd", "sd", "hd"].iter().find_map(|prefix| {
        name.strip_prefix(prefix).map(|rest| (prefix.len().strict_sub(1), rest))
    }) else {
        return false;
    };
    let digits = rest.trim_start_matches(|c: char| c.is_ascii_lowercase());
    let count = rest.len().strict_sub(digits.len());
    (1..=letters).contains(&count)
        && digits.len() <= 2
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0')
}

/// Returns an AMI's name as a reference name of OCI.
#[must_use]
pub(super) fn reference_name(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.chars().map(|c| if keep(c) { c } else { '-' }).collect()
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
        for good in ["xvda", "sda1", "sdf", "xvdba", "hda", "sdz15"] {
            assert!(is_device_name(good), "{good}");
        }
        for bad in ["", "sd", "sda0", "sdaa", "nvme0n1", "xvdabc", "xvda123", "../sda", "sd1"] {
            assert!(!is_device_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_device_is_mapped_once_and_the_root_is_mapped() {
        assert_eq!(check_devices(&["/dev/sdb", "/dev/xvda"], "/dev/xvda"), Ok(()));
        let twice = check_devices(&["/dev/sdb", "sdb"], "/dev/sdb");
        assert_eq!(twice, Err(AmiFault::TwoDevices { found: "sdb".to_owned() }));
        let no_root = check_devices(&["/dev/sdb"], "/dev/xvda");
        assert_eq!(no_root, Err(AmiFault::NoRoot { root: "/dev/xvda".to_owned() }));
    }

    #[test]
    fn a_member_that_nobody_knows_is_refused() {
        let json = r#"{"Name":"web","Architecture":"x86_64","VirtualizationType":"hvm",
            "RootDeviceName":"/dev/xvda","BlockDeviceMappings":[],"TpmSupport":"v2.0"}"#;
        assert!(serde_json::from_str::<Ami>(json).unwrap_err().to_string().contains("TpmSupport"));
    }

    #[test]
    fn a_reference_name_is_one_for_any_ami_name() {
        assert_eq!(reference_name("Web (2026) @x_1.0-a"), "Web--2026---x_1.0-a");
    }
}
