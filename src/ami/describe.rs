//! Answers of `DescribeImages`, taken as descriptions.

use serde::Deserialize;

use crate::ami::Ami;
use crate::ami::AmiFault;
use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::DeregistrationProtection;
use crate::ami::ImdsSupport;
use crate::ami::LaunchPermission;
use crate::ami::Mapping;
use crate::ami::Origin;
use crate::ami::Platform;
use crate::ami::ProductCode;
use crate::ami::Provenance;
use crate::ami::SriovNetSupport;
use crate::ami::Tag;
use crate::ami::Time;
use crate::ami::TpmSupport;
use crate::ami::Virtualization;

/// What `aws ec2 describe-images` prints: all of it, or its list of images.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    images: Vec<Image>,
}

/// One image of the answer. What EC2 may add later is of no use here, so it is let through.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    image_id: String,
    #[serde(default)]
    name: String,
    description: Option<String>,
    architecture: Option<Architecture>,
    virtualization_type: Option<Virtualization>,
    boot_mode: Option<BootMode>,
    #[serde(default)]
    root_device_name: String,
    root_device_type: Option<String>,
    #[serde(default)]
    block_device_mappings: Vec<Mapping>,
    ena_support: Option<bool>,
    sriov_net_support: Option<SriovNetSupport>,
    imds_support: Option<ImdsSupport>,
    tpm_support: Option<TpmSupport>,
    kernel_id: Option<String>,
    ramdisk_id: Option<String>,
    image_location: Option<String>,
    platform: Option<String>,
    #[serde(default)]
    product_codes: Vec<ProductCode>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    public: bool,
    deprecation_time: Option<Time>,
    deregistration_protection: Option<String>,
    owner_id: Option<String>,
    image_owner_alias: Option<String>,
    source_image_id: Option<String>,
    source_image_region: Option<String>,
    source_instance_id: Option<String>,
}

/// An AMI that EC2 described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its id.
    pub image_id: String,
    /// Its description.
    pub ami: Ami,
}

/// Reads what `aws ec2 describe-images` printed.
///
/// # Errors
///
/// A sentence with line and column if it is something else.
pub fn describe(json: &[u8]) -> Result<Vec<Described>, serde_json::Error> {
    let answer: Answer = serde_json::from_slice(json)?;
    answer
        .images
        .into_iter()
        .map(|image| {
            let image_id = image.image_id.clone();
            image
                .into_ami()
                .map(|ami| Described { image_id, ami })
                .map_err(serde::de::Error::custom)
        })
        .collect()
}

impl Image {
    /// EC2 says `Encrypted: false` of every plain snapshot, and refuses the member at registration.
    fn mappings(&mut self) -> Vec<Mapping> {
        let mut mappings = std::mem::take(&mut self.block_device_mappings);
        for ebs in mappings.iter_mut().filter_map(|it| it.ebs.as_mut()) {
            if ebs.encrypted == Some(false) {
                ebs.encrypted = None;
            }
        }
        mappings
    }

    fn origin(&self) -> Origin {
        let sold = self
            .product_codes
            .iter()
            .any(|code| code.product_code_type == Some(crate::ami::ProductCodeType::Marketplace));
        match self.image_owner_alias.as_deref() {
            Some("aws-marketplace") => Origin::Marketplace,
            _ if sold => Origin::Marketplace,
            Some("amazon") => Origin::AwsManaged,
            _ => Origin::Custom,
        }
    }

    fn protection(&self) -> Result<Option<DeregistrationProtection>, AmiFault> {
        match self.deregistration_protection.as_deref() {
            None | Some("disabled") => Ok(None),
            // While the cool-down after switching it off lasts, EC2 appends when it ends.
            Some(text) => text.split(" | ").next().unwrap_or(text).parse().map(Some),
        }
    }

    fn into_ami(mut self) -> Result<Ami, AmiFault> {
        let is_windows =
            self.platform.as_deref().is_some_and(|it| it.eq_ignore_ascii_case("windows"));
        let launch_permissions =
            if self.public { vec![LaunchPermission::of("all")] } else { Vec::new() };
        let provenance = Some(Provenance {
            origin: self.origin(),
            owner_id: self.owner_id.clone(),
            image_id: Some(self.image_id.clone()),
            source_image_id: self.source_image_id.clone(),
            source_image_region: self.source_image_region.clone(),
            source_instance_id: self.source_instance_id.clone(),
        });
        // Of an EBS-backed AMI the location is only its owner and name.
        let in_s3 = self.root_device_type.as_deref() == Some("instance-store");
        Ok(Ami {
            block_device_mappings: self.mappings(),
            deregistration_protection: self.protection()?,
            name: self.name,
            description: self.description.filter(|text| !text.is_empty()),
            architecture: self.architecture,
            virtualization_type: self.virtualization_type,
            boot_mode: self.boot_mode,
            root_device_name: self.root_device_name,
            ena_support: self.ena_support,
            sriov_net_support: self.sriov_net_support,
            imds_support: self.imds_support,
            tpm_support: self.tpm_support,
            kernel_id: self.kernel_id,
            ramdisk_id: self.ramdisk_id,
            image_location: self.image_location.filter(|_| in_s3),
            platform: is_windows.then_some(Platform::Windows),
            product_codes: self.product_codes,
            tags: self.tags,
            launch_permissions,
            deprecate_at: self.deprecation_time,
            provenance,
            ..Ami::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"Images":[{"ImageId":"ami-0abc","Name":"web 1","State":"available",
        "OwnerId":"123456789012","ImageOwnerAlias":"amazon","Public":true,"Hypervisor":"xen",
        "ImageLocation":"123456789012/web 1","PlatformDetails":"Windows","Platform":"windows",
        "Architecture":"x86_64","VirtualizationType":"hvm","RootDeviceName":"/dev/sda1",
        "RootDeviceType":"ebs","DeprecationTime":"2028-01-31T12:00:00.000Z",
        "DeregistrationProtection":"enabled-with-cooldown | 2026-01-01T00:00:00Z","SomethingNew":[1],
        "BlockDeviceMappings":[{"DeviceName":"/dev/sda1","Ebs":{"SnapshotId":"snap-0a",
        "VolumeSize":8,"VolumeType":"gp3","DeleteOnTermination":true,"Encrypted":false}},
        {"DeviceName":"/dev/sdb","VirtualName":"ephemeral0"}]}]}"#;

    #[test]
    fn an_answer_becomes_a_description() {
        let [found] = &describe(ANSWER.as_bytes()).unwrap()[..] else { panic!("one image") };
        assert_eq!(found.image_id, "ami-0abc");
        let ami = &found.ami;
        assert_eq!((ami.is_public(), ami.platform), (true, Some(Platform::Windows)));
        assert_eq!(ami.deprecate_at.unwrap().to_string(), "2028-01-31T12:00:00Z");
        let cooldown = DeregistrationProtection::EnabledWithCooldown;
        assert_eq!(ami.deregistration_protection, Some(cooldown));
        assert_eq!(ami.provenance.as_ref().unwrap().origin, Origin::AwsManaged);
        assert_eq!(ami.image_location, None);
        assert_eq!(ami.block_device_mappings[0].ebs.as_ref().unwrap().encrypted, None);
        assert_eq!(ami.block_device_mappings[1].virtual_name.as_deref(), Some("ephemeral0"));
    }

    #[test]
    fn a_value_that_nobody_knows_is_told_with_its_place() {
        let answer = ANSWER.replace("\"hvm\"", "\"lightvm\"");
        let text = describe(answer.as_bytes()).unwrap_err().to_string();
        assert!(text.contains("lightvm") && text.contains("line"), "{text}");
        let protection = ANSWER.replace("enabled-with", "perhaps-with");
        assert!(describe(protection.as_bytes()).is_err());
    }
}
