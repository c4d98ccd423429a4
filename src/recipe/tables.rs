//! The tables of a recipe, as they stand in its file, and what they are once templates are filled in.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::DeregistrationProtection;
use crate::ami::Distribution;
use crate::ami::Ebs;
use crate::ami::ImdsSupport;
use crate::ami::LaunchPermission;
use crate::ami::Mapping;
use crate::ami::Origin;
use crate::ami::Platform;
use crate::ami::ProductCode;
use crate::ami::ProductCodeType;
use crate::ami::Provenance;
use crate::ami::SriovNetSupport;
use crate::ami::Tag;
use crate::ami::Time;
use crate::ami::TpmSupport;
use crate::ami::Virtualization;
use crate::ami::VolumeType;
use crate::recipe::RecipeFault;
use crate::recipe::Source;
use crate::recipe::Test;
use crate::recipe::Values;
use crate::recipe::build::Free;
use crate::recipe::given::Given;
use crate::recipe::given::Member;
use crate::recipe::given::Strange;
use crate::recipe::waiver::For;
use crate::recipe::waiver::Waiver;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Tables {
    /// Version of the format, which was looked at before.
    #[serde(rename = "version")]
    _version: u32,
    pub(super) ami: AmiTable,
    #[serde(default)]
    pub(super) volume: Vec<VolumeTable>,
    #[serde(default)]
    pub(super) lint: LintTable,
    #[serde(default)]
    pub(super) test: Vec<Test>,
    #[serde(default)]
    pub(super) upload: UploadTable,
    #[serde(default)]
    pub(super) distribute: Vec<DistributeTable>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct AmiTable {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) architecture: Member<Architecture>,
    pub(super) virtualization_type: Member<Virtualization>,
    pub(super) boot_mode: Member<BootMode>,
    pub(super) root_device_name: Option<String>,
    pub(super) ena_support: Option<bool>,
    pub(super) sriov_net_support: Member<SriovNetSupport>,
    pub(super) imds_support: Member<ImdsSupport>,
    pub(super) tpm_support: Member<TpmSupport>,
    pub(super) uefi_data: Option<String>,
    pub(super) uefi_data_file: Option<String>,
    pub(super) kernel_id: Option<String>,
    pub(super) kernel_name: Option<String>,
    pub(super) ramdisk_id: Option<String>,
    pub(super) image_location: Option<String>,
    pub(super) platform: Member<Platform>,
    #[serde(default)]
    pub(super) billing_products: Vec<String>,
    #[serde(default)]
    pub(super) product_codes: Vec<ProductCodeTable>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) launch_permissions: Vec<String>,
    pub(super) deprecate_at: Member<Time>,
    pub(super) deregistration_protection: Member<DeregistrationProtection>,
    pub(super) provenance: Option<ProvenanceTable>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ProductCodeTable {
    pub(super) product_code_id: String,
    pub(super) product_code_type: Member<ProductCodeType>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ProvenanceTable {
    pub(super) origin: Spanned<Given<Origin>>,
    pub(super) owner_id: Option<String>,
    pub(super) image_id: Option<String>,
    pub(super) source_image_id: Option<String>,
    pub(super) source_image_region: Option<String>,
    pub(super) source_instance_id: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct VolumeTable {
    pub(super) device_name: String,
    pub(super) image: Option<String>,
    pub(super) format: Option<String>,
    pub(super) extents: Option<String>,
    #[serde(default)]
    pub(super) parts: Vec<String>,
    #[serde(default)]
    pub(super) backing: bool,
    #[serde(default)]
    pub(super) parents: Vec<String>,
    #[serde(default)]
    pub(super) free: Free,
    pub(super) snapshot_id: Option<String>,
    pub(super) volume_size: Option<u64>,
    pub(super) volume_type: Member<VolumeType>,
    pub(super) iops: Option<u64>,
    pub(super) throughput: Option<u64>,
    pub(super) delete_on_termination: Option<bool>,
    pub(super) encrypted: Option<bool>,
    pub(super) kms_key_id: Option<String>,
    pub(super) outpost_arn: Option<String>,
    pub(super) virtual_name: Option<String>,
    #[serde(default)]
    pub(super) no_device: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct LintTable {
    #[serde(default)]
    pub(super) allow: Vec<String>,
    #[serde(rename = "for")]
    pub(super) audience: Option<For>,
    #[serde(default)]
    pub(super) waive: Vec<Waiver>,
}

/// What is done about holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Holes {
    /// They are left out.
    #[default]
    Leave,
    /// They are sent as zeros.
    Send,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct UploadTable {
    pub(super) region: Option<String>,
    #[serde(default)]
    pub(super) encrypted: bool,
    pub(super) kms_key_arn: Option<String>,
    #[serde(default)]
    pub(super) holes: Holes,
    #[serde(default)]
    pub(super) snapshot_tags: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) create_volume_permissions: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct DistributeTable {
    pub(super) regions: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) encrypted: bool,
    pub(super) kms_key_id: Option<String>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) snapshot_tags: BTreeMap<String, String>,
    pub(super) accounts: Option<Vec<String>>,
    pub(super) launch_permissions: Option<Vec<String>>,
    pub(super) create_volume_permissions: Option<Vec<String>>,
    pub(super) deprecate_at: Member<Time>,
    pub(super) deregistration_protection: Member<DeregistrationProtection>,
}

pub(super) fn fill_tags(
    tags: &BTreeMap<String, String>,
    values: &Values,
) -> Result<Vec<Tag>, RecipeFault> {
    let fill =
        |(key, value): (&String, &String)| Ok(Tag { key: key.clone(), value: values.fill(value)? });
    tags.iter().map(fill).collect()
}

pub(super) fn fill_some(
    text: Option<&String>,
    values: &Values,
) -> Result<Option<String>, RecipeFault> {
    text.map(|text| values.fill(text)).transpose()
}

pub(super) fn permissions<'a>(
    texts: impl IntoIterator<Item = &'a String>,
) -> Vec<LaunchPermission> {
    texts.into_iter().map(|text| LaunchPermission::of(text)).collect()
}

impl AmiTable {
    pub(super) fn fill(&self, values: &Values, strange: &Strange<'_>) -> Result<Ami, RecipeFault> {
        let product_codes = self.product_codes.iter().map(|it| ProductCode {
            product_code_id: it.product_code_id.clone(),
            product_code_type: strange.take("product-code-type", &it.product_code_type),
        });
        Ok(Ami {
            name: values.fill(&self.name)?,
            description: fill_some(self.description.as_ref(), values)?,
            architecture: strange.take("architecture", &self.architecture),
            virtualization_type: strange.take("virtualization-type", &self.virtualization_type),
            boot_mode: strange.take("boot-mode", &self.boot_mode),
            root_device_name: self.root_device_name.clone().unwrap_or_default(),
            block_device_mappings: Vec::new(),
            ena_support: self.ena_support,
            sriov_net_support: strange.take("sriov-net-support", &self.sriov_net_support),
            imds_support: strange.take("imds-support", &self.imds_support),
            tpm_support: strange.take("tpm-support", &self.tpm_support),
            uefi_data: self.uefi_data.clone(),
            kernel_id: self.kernel_id.clone(),
            kernel_name: self.kernel_name.clone(),
            ramdisk_id: self.ramdisk_id.clone(),
            image_location: self.image_location.clone(),
            platform: strange.take("platform", &self.platform),
            billing_products: self.billing_products.clone(),
            product_codes: product_codes.collect(),
            tags: fill_tags(&self.tags, values)?,
            launch_permissions: permissions(&self.launch_permissions),
            deprecate_at: strange.take("deprecate-at", &self.deprecate_at),
            deregistration_protection: strange
                .take("deregistration-protection", &self.deregistration_protection),
            provenance: self.provenance.as_ref().and_then(|it| it.take(strange)),
        })
    }
}

impl ProvenanceTable {
    fn take(&self, strange: &Strange<'_>) -> Option<Provenance> {
        Some(Provenance {
            origin: strange.take("origin", &Some(self.origin.clone()))?,
            owner_id: self.owner_id.clone(),
            image_id: self.image_id.clone(),
            source_image_id: self.source_image_id.clone(),
            source_image_region: self.source_image_region.clone(),
            source_instance_id: self.source_instance_id.clone(),
        })
    }
}

impl VolumeTable {
    pub(super) fn fill(
        &self,
        folder: &Path,
        values: &Values,
        strange: &Strange<'_>,
    ) -> Result<(Mapping, Option<Source>), RecipeFault> {
        if self.image.is_some() && self.snapshot_id.is_some() {
            return Err(RecipeFault::TwoSources { device: self.device_name.clone() });
        }
        if self.image.is_none() && self.has_image_members() {
            return Err(RecipeFault::NoImage { device: self.device_name.clone() });
        }
        let path = |text: &String| Ok(folder.join(values.fill(text)?));
        let paths = |texts: &[String]| texts.iter().map(path).collect::<Result<Vec<_>, _>>();
        let source = match &self.image {
            Some(image) => Some(Source {
                device: self.device_name.clone(),
                image: path(image)?,
                format: self.format.clone(),
                extents: self.extents.as_ref().map(path).transpose()?,
                parts: paths(&self.parts)?,
                backing: self.backing,
                parents: paths(&self.parents)?,
                free: self.free,
            }),
            None => None,
        };
        let ebs = Ebs {
            snapshot_id: self.snapshot_id.clone(),
            volume_size: self.volume_size,
            volume_type: strange.take("volume-type", &self.volume_type),
            iops: self.iops,
            throughput: self.throughput,
            delete_on_termination: self.delete_on_termination,
            encrypted: self.encrypted,
            kms_key_id: self.kms_key_id.clone(),
            outpost_arn: self.outpost_arn.clone(),
            ..Ebs::default()
        };
        // An entry that is nothing at all is an EBS volume without a source: a rule says what to do.
        let other = self.virtual_name.is_some() || self.no_device;
        let is_ebs = source.is_some() || ebs != Ebs::default() || !other;
        let mapping = Mapping {
            device_name: self.device_name.clone(),
            ebs: is_ebs.then_some(ebs),
            virtual_name: self.virtual_name.clone(),
            no_device: self.no_device.then(String::new),
        };
        Ok((mapping, source))
    }

    /// Tells whether something says how to read an image.
    fn has_image_members(&self) -> bool {
        self.format.is_some()
            || self.extents.is_some()
            || !self.parts.is_empty()
            || !self.parents.is_empty()
            || self.backing
            || self.free != Free::Keep
    }
}

impl DistributeTable {
    pub(super) fn fill(
        &self,
        values: &Values,
        strange: &Strange<'_>,
    ) -> Result<Vec<Distribution>, RecipeFault> {
        let deprecate_at = strange.take("deprecate-at", &self.deprecate_at);
        let protection = strange.take("deregistration-protection", &self.deregistration_protection);
        let name = fill_some(self.name.as_ref(), values)?;
        let description = fill_some(self.description.as_ref(), values)?;
        let tags = fill_tags(&self.tags, values)?;
        let snapshot_tags = fill_tags(&self.snapshot_tags, values)?;
        // Both lists say who may launch the copy; one that is there, if empty, replaces the AMI's.
        let lists: Vec<&Vec<String>> =
            [&self.accounts, &self.launch_permissions].into_iter().flatten().collect();
        let launch = (!lists.is_empty()).then(|| permissions(lists.into_iter().flatten()));
        let copy = |region: &String| Distribution {
            region: region.clone(),
            name: name.clone(),
            description: description.clone(),
            encrypted: self.encrypted,
            kms_key_id: self.kms_key_id.clone(),
            tags: tags.clone(),
            snapshot_tags: snapshot_tags.clone(),
            launch_permissions: launch.clone(),
            create_volume_permissions: self.create_volume_permissions.as_ref().map(permissions),
            deprecate_at,
            deregistration_protection: protection,
        };
        Ok(self.regions.iter().map(copy).collect())
    }
}
