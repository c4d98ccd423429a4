//! The values that EC2 knows for one member each, under EC2's own names.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use crate::ami::AmiFault;

macro_rules! values {
    ($(#[$doc:meta])* $name:ident, $member:literal, $all:literal: $($(#[$vdoc:meta])* $variant:ident = $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// All values, in EC2's order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// EC2's names of all values.
            pub const NAMES: &[&'static str] = &[$($text,)*];

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

values! {
    /// Type of an EBS volume.
    VolumeType, "volume type", "gp3, gp2, io1, io2, st1, sc1 or standard":
    /// General purpose SSD, with its speed set apart from its size.
    Gp3 = "gp3",
    /// General purpose SSD, whose speed follows from its size.
    Gp2 = "gp2",
    /// Provisioned IOPS SSD.
    Io1 = "io1",
    /// Provisioned IOPS SSD, more durable.
    Io2 = "io2",
    /// Throughput optimised HDD.
    St1 = "st1",
    /// Cold HDD.
    Sc1 = "sc1",
    /// Magnetic.
    Standard = "standard",
}

values! {
    /// Version of the instance metadata service that the AMI demands.
    ImdsSupport, "IMDS support", "v2.0":
    /// Tokens are required, and their hop limit is 2.
    V2 = "v2.0",
}

values! {
    /// Version of the trusted platform module that the AMI uses.
    TpmSupport, "TPM support", "v2.0":
    /// TPM 2.0.
    V2 = "v2.0",
}

values! {
    /// Enhanced networking with the Intel 82599 interface.
    SriovNetSupport, "SR-IOV support", "simple":
    /// On; it cannot be switched off.
    Simple = "simple",
}

values! {
    /// The operating system, where EC2 tells it.
    Platform, "platform", "windows":
    /// Windows.
    Windows = "windows",
}

values! {
    /// Who sells what a product code stands for.
    ProductCodeType, "product code type", "marketplace or devpay":
    /// AWS Marketplace.
    Marketplace = "marketplace",
    /// Amazon `DevPay`, which has ended.
    Devpay = "devpay",
}

values! {
    /// Whether an AMI can be deregistered.
    DeregistrationProtection, "deregistration protection", "disabled, enabled or enabled-with-cooldown":
    /// It can.
    Disabled = "disabled",
    /// It cannot, until the protection is switched off.
    Enabled = "enabled",
    /// It cannot, until 24 hours after the protection was switched off.
    EnabledWithCooldown = "enabled-with-cooldown",
}

values! {
    /// Whose AMI the content comes from.
    Origin, "provenance", "custom, aws-managed or marketplace":
    /// Made by its owner.
    Custom = "custom",
    /// Published by AWS.
    AwsManaged = "aws-managed",
    /// Sold in AWS Marketplace.
    Marketplace = "marketplace",
}
