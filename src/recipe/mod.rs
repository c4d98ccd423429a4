//! Recipes: an AMI as people write it, in `ami.toml`.
//!
//! The format is `docs/formats/recipe.md`. Members have the names of EC2's, as the options of
//! `aws ec2 register-image` spell them.

mod fault;
mod template;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

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
use crate::ami::Upload;
use crate::ami::Virtualization;
use crate::ami::VolumeType;
use crate::error::Error;
use crate::error::Result;

pub use fault::RecipeFault;
pub use template::Values;
pub use write::write;

/// JSON Schema of recipes, for editors.
pub const SCHEMA: &str = include_str!("schema.json");

/// The recipe that `amikit init` writes.
pub const TEMPLATE: &str = include_str!("template.toml");

/// A recipe, as it stands in its file: templates are not filled in yet.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recipe {
    /// Version of the format: 1.
    version: u32,
    ami: AmiTable,
    #[serde(default)]
    volume: Vec<VolumeTable>,
    #[serde(default)]
    lint: LintTable,
    #[serde(default)]
    test: Vec<Test>,
    #[serde(default)]
    upload: UploadTable,
    #[serde(default)]
    distribute: Vec<DistributeTable>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct AmiTable {
    name: String,
    description: Option<String>,
    architecture: Option<Architecture>,
    virtualization_type: Option<Virtualization>,
    boot_mode: Option<BootMode>,
    root_device_name: Option<String>,
    ena_support: Option<bool>,
    sriov_net_support: Option<SriovNetSupport>,
    imds_support: Option<ImdsSupport>,
    tpm_support: Option<TpmSupport>,
    uefi_data: Option<String>,
    uefi_data_file: Option<String>,
    kernel_id: Option<String>,
    kernel_name: Option<String>,
    ramdisk_id: Option<String>,
    image_location: Option<String>,
    platform: Option<Platform>,
    #[serde(default)]
    billing_products: Vec<String>,
    #[serde(default)]
    product_codes: Vec<ProductCodeTable>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    launch_permissions: Vec<String>,
    deprecate_at: Option<Time>,
    deregistration_protection: Option<DeregistrationProtection>,
    provenance: Option<ProvenanceTable>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ProductCodeTable {
    product_code_id: String,
    product_code_type: Option<ProductCodeType>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ProvenanceTable {
    origin: Origin,
    owner_id: Option<String>,
    image_id: Option<String>,
    source_image_id: Option<String>,
    source_image_region: Option<String>,
    source_instance_id: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct VolumeTable {
    device_name: String,
    image: Option<String>,
    format: Option<String>,
    extents: Option<String>,
    #[serde(default)]
    parts: Vec<String>,
    #[serde(default)]
    backing: bool,
    #[serde(default)]
    parents: Vec<String>,
    snapshot_id: Option<String>,
    volume_size: Option<u64>,
    volume_type: Option<VolumeType>,
    iops: Option<u64>,
    throughput: Option<u64>,
    delete_on_termination: Option<bool>,
    encrypted: Option<bool>,
    kms_key_id: Option<String>,
    outpost_arn: Option<String>,
    virtual_name: Option<String>,
    #[serde(default)]
    no_device: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct LintTable {
    #[serde(default)]
    allow: Vec<String>,
}

/// What is done about holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Holes {
    /// They are left out.
    #[default]
    Leave,
    /// They are sent as zeros.
    Send,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct UploadTable {
    region: Option<String>,
    #[serde(default)]
    encrypted: bool,
    kms_key_arn: Option<String>,
    #[serde(default)]
    holes: Holes,
    #[serde(default)]
    snapshot_tags: BTreeMap<String, String>,
    #[serde(default)]
    create_volume_permissions: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct DistributeTable {
    regions: Vec<String>,
    name: Option<String>,
    description: Option<String>,
    #[serde(default)]
    encrypted: bool,
    kms_key_id: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    snapshot_tags: BTreeMap<String, String>,
    accounts: Option<Vec<String>>,
    launch_permissions: Option<Vec<String>>,
    create_volume_permissions: Option<Vec<String>>,
    deprecate_at: Option<Time>,
    deregistration_protection: Option<DeregistrationProtection>,
}

/// A test of a bundle that was built.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum Test {
    /// Every stored and plain byte is what it should be.
    Verify {
        /// Stored bytes only.
        #[serde(default)]
        quick: bool,
    },
    /// No rule is broken, those about the inside of volumes included.
    Lint {
        /// Rules that are not applied.
        #[serde(default)]
        allow: Vec<String>,
        /// Whether a warning is a failure too.
        #[serde(default)]
        deny_warnings: bool,
    },
    /// The root volume holds what its boot mode needs.
    Boot {},
    /// A program of the user's ends well.
    Command {
        /// The program and its arguments, run without a shell.
        command: Vec<String>,
        /// After how long it is stopped.
        #[serde(default = "default_timeout")]
        timeout_seconds: u64,
    },
}

/// Ten minutes.
fn default_timeout() -> u64 {
    600
}

/// Where the content of a volume comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Device of the mapping.
    pub device: String,
    /// The image.
    pub image: PathBuf,
    /// Name of its format; what its bytes say where there is none.
    pub format: Option<String>,
    /// A file that tells data from holes.
    pub extents: Option<PathBuf>,
    /// Further parts of a split set.
    pub parts: Vec<PathBuf>,
    /// Whether a file that the image names may be opened, if it lies in the same folder.
    pub backing: bool,
    /// Files that the image names, wherever they are.
    pub parents: Vec<PathBuf>,
}

/// A recipe with its templates filled in.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The description; content is named by `SnapshotId` where the recipe does, and else missing.
    pub ami: Ami,
    /// The volumes that are made of images.
    pub sources: Vec<Source>,
    /// A file that holds the description's UEFI data.
    pub uefi_data_file: Option<PathBuf>,
    /// Rules that are not applied.
    pub allow: Vec<String>,
    /// Tests, in order.
    pub tests: Vec<Test>,
    /// How snapshots are uploaded.
    pub upload: Upload,
    /// Copies.
    pub distribution: Vec<Distribution>,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    ///
    /// `Invalid`, with line and column, if the text is none.
    pub fn parse(text: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count().strict_add(1);
            let column = before.chars().rev().take_while(|c| *c != '\n').count().strict_add(1);
            Error::from(RecipeFault::Syntax {
                line,
                column,
                text: error.message().trim_end().replace('\n', " "),
            })
        })?;
        if recipe.version != 1 {
            return Err(RecipeFault::Version { found: recipe.version }.into());
        }
        Ok(recipe)
    }

    /// Fills in the templates. Paths are taken from `folder`, where the recipe lies.
    ///
    /// # Errors
    ///
    /// `Invalid` if a template has no value, or if a volume is made of two things.
    pub fn prepare(&self, folder: &Path, given: &Values) -> Result<Prepared> {
        self.fill(folder, given).map_err(|fault| {
            let advice = fault.advice();
            let error = Error::from(fault);
            match advice {
                Some(advice) => error.advise(advice),
                None => error,
            }
        })
    }

    fn fill(&self, folder: &Path, given: &Values) -> Result<Prepared, RecipeFault> {
        let mut values = given.clone();
        if let Some(architecture) = self.ami.architecture {
            values.set_default("arch", architecture.name());
        }
        let mut ami = self.ami.fill(&values)?;
        let mut sources = Vec::new();
        for volume in &self.volume {
            let (mapping, source) = volume.fill(folder, &values)?;
            ami.block_device_mappings.push(mapping);
            sources.extend(source);
        }
        let distribution = self
            .distribute
            .iter()
            .map(|table| table.fill(&values))
            .collect::<Result<Vec<_>, RecipeFault>>()?
            .concat();
        Ok(Prepared {
            ami,
            sources,
            uefi_data_file: fill_some(self.ami.uefi_data_file.as_ref(), &values)?
                .map(|path| folder.join(path)),
            allow: self.lint.allow.clone(),
            tests: self.test.clone(),
            upload: Upload {
                region: self.upload.region.clone(),
                encrypted: self.upload.encrypted,
                kms_key_arn: self.upload.kms_key_arn.clone(),
                send_holes: self.upload.holes == Holes::Send,
                snapshot_tags: fill_tags(&self.upload.snapshot_tags, &values)?,
                create_volume_permissions: permissions(&self.upload.create_volume_permissions),
            },
            distribution,
        })
    }
}

fn fill_tags(tags: &BTreeMap<String, String>, values: &Values) -> Result<Vec<Tag>, RecipeFault> {
    let fill =
        |(key, value): (&String, &String)| Ok(Tag { key: key.clone(), value: values.fill(value)? });
    tags.iter().map(fill).collect()
}

fn fill_some(text: Option<&String>, values: &Values) -> Result<Option<String>, RecipeFault> {
    text.map(|text| values.fill(text)).transpose()
}

fn permissions<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<LaunchPermission> {
    texts.into_iter().map(|text| LaunchPermission::of(text)).collect()
}

impl AmiTable {
    fn fill(&self, values: &Values) -> Result<Ami, RecipeFault> {
        let product_codes = self.product_codes.iter().map(|it| ProductCode {
            product_code_id: it.product_code_id.clone(),
            product_code_type: it.product_code_type,
        });
        Ok(Ami {
            name: values.fill(&self.name)?,
            description: fill_some(self.description.as_ref(), values)?,
            architecture: self.architecture,
            virtualization_type: self.virtualization_type,
            boot_mode: self.boot_mode,
            root_device_name: self.root_device_name.clone().unwrap_or_default(),
            block_device_mappings: Vec::new(),
            ena_support: self.ena_support,
            sriov_net_support: self.sriov_net_support,
            imds_support: self.imds_support,
            tpm_support: self.tpm_support,
            uefi_data: self.uefi_data.clone(),
            kernel_id: self.kernel_id.clone(),
            kernel_name: self.kernel_name.clone(),
            ramdisk_id: self.ramdisk_id.clone(),
            image_location: self.image_location.clone(),
            platform: self.platform,
            billing_products: self.billing_products.clone(),
            product_codes: product_codes.collect(),
            tags: fill_tags(&self.tags, values)?,
            launch_permissions: permissions(&self.launch_permissions),
            deprecate_at: self.deprecate_at,
            deregistration_protection: self.deregistration_protection,
            provenance: self.provenance.as_ref().map(ProvenanceTable::take),
        })
    }
}

impl ProvenanceTable {
    fn take(&self) -> Provenance {
        Provenance {
            origin: self.origin,
            owner_id: self.owner_id.clone(),
            image_id: self.image_id.clone(),
            source_image_id: self.source_image_id.clone(),
            source_image_region: self.source_image_region.clone(),
            source_instance_id: self.source_instance_id.clone(),
        }
    }
}

impl VolumeTable {
    fn fill(
        &self,
        folder: &Path,
        values: &Values,
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
            }),
            None => None,
        };
        let ebs = Ebs {
            snapshot_id: self.snapshot_id.clone(),
            volume_size: self.volume_size,
            volume_type: self.volume_type,
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
    }
}

impl DistributeTable {
    fn fill(&self, values: &Values) -> Result<Vec<Distribution>, RecipeFault> {
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
            deprecate_at: self.deprecate_at,
            deregistration_protection: self.deregistration_protection,
        };
        Ok(self.regions.iter().map(copy).collect())
    }
}
