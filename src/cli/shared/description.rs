//! The description of an AMI, as options of `pack`.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::ImdsSupport;
use crate::ami::Tag;
use crate::ami::TpmSupport;
use crate::ami::Virtualization;
use crate::ami::check_name;
use crate::cli::shared::options::values;
use crate::error::Error;
use crate::error::Result;
use crate::layout::Destination;
use crate::ops;
use crate::ops::TemplateRequest;
use crate::work::Watch;

/// What an AMI is.
#[derive(Debug, Args)]
#[command(next_help_heading = "The AMI")]
pub(in crate::cli) struct DescriptionArgs {
    /// Name of the AMI [default: the bundle's file name without its suffix, or its name in the store]
    #[arg(long)]
    name: Option<String>,

    /// Human-readable description
    #[arg(long)]
    description: Option<String>,

    /// Processor architecture [default: x86_64]
    #[arg(long, value_parser = values::<Architecture>(Architecture::NAMES))]
    arch: Option<Architecture>,

    /// Virtualization type [default: hvm]
    #[arg(long, value_parser = values::<Virtualization>(Virtualization::NAMES))]
    virtualization: Option<Virtualization>,

    /// Boot mode [default: what the instance type does]
    #[arg(long, value_parser = values::<BootMode>(BootMode::NAMES))]
    boot_mode: Option<BootMode>,

    /// Device of the root volume, which is IMAGE [default: /dev/xvda]
    #[arg(long, value_name = "DEVICE")]
    root_device: Option<String>,

    /// Take the description from a file: JSON, as EC2 gives or takes it, a recipe, or a bundle
    #[arg(long, value_name = "FILE")]
    ami: Option<PathBuf>,

    /// Declare that the guest has a driver for the Elastic Network Adapter
    #[arg(long)]
    ena_support: bool,

    /// Version of the instance metadata service that instances require
    #[arg(long, value_parser = values::<ImdsSupport>(ImdsSupport::NAMES))]
    imds_support: Option<ImdsSupport>,

    /// Version of the trusted platform module
    #[arg(long, value_parser = values::<TpmSupport>(TpmSupport::NAMES))]
    tpm_support: Option<TpmSupport>,

    /// A tag of the AMI
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_tag)]
    tag: Vec<(String, String)>,
}

impl DescriptionArgs {
    /// Makes the description of the bundle `output`: a file's, and over it what is typed.
    pub(in crate::cli) fn ami(&self, output: &Path, watch: &dyn Watch) -> Result<Ami> {
        let stated = match &self.ami {
            Some(path) => Some(ops::read_ami(path, &TemplateRequest::default(), watch)?),
            None => None,
        };
        let mut ami = stated.clone().unwrap_or_default();
        match &self.name {
            Some(name) => ami.name.clone_from(name),
            None if ami.name.is_empty() => ami.name = default_name(output)?,
            None => {}
        }
        if self.description.is_some() {
            ami.description.clone_from(&self.description);
        }
        ami.architecture = self.arch.or(ami.architecture);
        ami.virtualization_type = self.virtualization.or(ami.virtualization_type);
        ami.boot_mode = self.boot_mode.or(ami.boot_mode);
        if let Some(device) = &self.root_device {
            ami.root_device_name.clone_from(device);
        }
        if self.ena_support {
            ami.ena_support = Some(true);
        }
        ami.imds_support = self.imds_support.or(ami.imds_support);
        ami.tpm_support = self.tpm_support.or(ami.tpm_support);
        for (key, value) in &self.tag {
            ami.tags.retain(|tag| tag.key != *key);
            ami.tags.push(Tag { key: key.clone(), value: value.clone() });
        }
        Ok(ops::with_defaults(ami, stated.is_some()))
    }
}

/// Takes the AMI's name from the bundle's: `web` for `web.ami` and for `web.ami.tar`.
pub(in crate::cli) fn default_name(output: &Path) -> Result<String> {
    let in_store = match Destination::parse(output)? {
        Destination::Store { name, .. } => Some(name),
        Destination::Path(_) => None,
    };
    let name = output.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = in_store.as_deref().unwrap_or(name);
    let name = name.strip_suffix(".tar").unwrap_or(name);
    let name = name.strip_suffix(".ami").unwrap_or(name);
    check_name(name).map_err(|fault| {
        Error::from(fault).advise("the name comes from the bundle's; give another with --name")
    })?;
    Ok(name.to_owned())
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected a key, = and a value, as in Team=web".to_owned()),
    }
}
