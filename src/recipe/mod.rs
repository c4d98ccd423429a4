//! Recipes: an AMI as people write it, in `ami.toml`.
//!
//! The format is `docs/formats/recipe.md`. Members have the names of EC2's, as the options of
//! `aws ec2 register-image` spell them.

mod build;
mod fault;
mod given;
mod tables;
mod template;
#[cfg(test)]
mod tests;
mod waiver;
mod write;

use std::path::Path;
use std::path::PathBuf;

use toml::Spanned;

use crate::ami::Ami;
use crate::ami::Distribution;
use crate::ami::Unread;
use crate::ami::Upload;
use crate::error::Error;
use crate::error::Result;
use crate::recipe::given::Given;
use crate::recipe::given::Strange;
use crate::recipe::given::position;
use crate::recipe::tables::Holes;
use crate::recipe::tables::Tables;
use crate::recipe::tables::fill_some;
use crate::recipe::tables::fill_tags;
use crate::recipe::tables::permissions;

pub use build::Free;
pub use build::Source;
pub use build::Test;
pub use fault::RecipeFault;
pub use template::Beginning;
pub use template::TEMPLATE;
pub use template::TEMPLATE_IMAGE;
pub use template::Values;
pub use template::begin;
pub use waiver::For;
pub use waiver::Waiver;
pub use write::write;

/// JSON Schema of recipes, for editors.
pub const SCHEMA: &str = include_str!("schema.json");

/// A recipe, as it stands in its file: templates are not filled in yet.
#[derive(Clone, Debug)]
pub struct Recipe {
    tables: Tables,
    /// The recipe itself, to say where something is.
    text: String,
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
    /// For whom the AMI is, where the recipe says so.
    pub audience: Option<For>,
    /// Broken rules that are accepted for a while.
    pub waivers: Vec<Waiver>,
    /// Tests, in order.
    pub tests: Vec<Test>,
    /// How snapshots are uploaded.
    pub upload: Upload,
    /// Copies.
    pub distribution: Vec<Distribution>,
    /// Values that EC2 does not know; their members are as if left out.
    pub unread: Vec<Unread>,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    ///
    /// `Invalid`, with line and column, if the text is none; `Unsupported` if it is of another version.
    pub fn parse(text: &str) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Head {
            version: i64,
        }
        // First: another version may have keys that this one does not know.
        if let Ok(Head { version }) = toml::from_str(text)
            && version != 1
        {
            return Err(RecipeFault::Version { found: version }.into());
        }
        let tables: Tables = toml::from_str(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            Error::from(RecipeFault::Syntax {
                line,
                column,
                text: error.message().trim_end().replace('\n', " "),
            })
        })?;
        Ok(Self { tables, text: text.to_owned() })
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
        let (tables, strange) = (&self.tables, Strange::new(&self.text));
        if let Some(Given::Known(architecture)) =
            tables.ami.architecture.as_ref().map(Spanned::get_ref)
        {
            values.set_default("arch", architecture.name());
        }
        let mut ami = tables.ami.fill(&values, &strange)?;
        let mut sources = Vec::new();
        for volume in &tables.volume {
            let (mapping, source) = volume.fill(folder, &values, &strange)?;
            ami.block_device_mappings.push(mapping);
            sources.extend(source);
        }
        tables.lint.waive.iter().try_for_each(Waiver::check)?;
        let distribution = tables
            .distribute
            .iter()
            .map(|table| table.fill(&values, &strange))
            .collect::<Result<Vec<_>, RecipeFault>>()?
            .concat();
        Ok(Prepared {
            ami,
            sources,
            uefi_data_file: fill_some(tables.ami.uefi_data_file.as_ref(), &values)?
                .map(|path| folder.join(path)),
            allow: tables.lint.allow.clone(),
            audience: tables.lint.audience,
            waivers: tables.lint.waive.clone(),
            tests: tables.test.clone(),
            upload: Upload {
                region: tables.upload.region.clone(),
                encrypted: tables.upload.encrypted,
                kms_key_arn: tables.upload.kms_key_arn.clone(),
                send_holes: tables.upload.holes == Holes::Send,
                snapshot_tags: fill_tags(&tables.upload.snapshot_tags, &values)?,
                create_volume_permissions: permissions(&tables.upload.create_volume_permissions),
            },
            distribution,
            unread: strange.into_vec(),
        })
    }
}
