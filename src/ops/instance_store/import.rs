//! An instance-store bundle to a bundle of ours, whose root is an EBS snapshot.

use std::num::NonZero;
use std::path::PathBuf;

use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::DeviceName;
use crate::ami::Mapping;
use crate::ami::ProductCode;
use crate::ami::Virtualization;
use crate::ami::bare;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::instance_store::Machine;
use crate::ops::shared::groups::Groups;
use crate::ops::shared::instance_store::BundleKeys;
use crate::ops::shared::instance_store::Checked;
use crate::ops::shared::mapping::OpenedMapping;
use crate::ops::shared::open::OpenedVolume;
use crate::ops::shared::packing::PackOptions;
use crate::ops::shared::packing::PackReport;
use crate::ops::shared::packing::pack_volumes;
use crate::work::Quiet;
use crate::work::Watch;

/// Root device where the manifest names none that EC2 takes.
const DEFAULT_ROOT: &str = "/dev/sda1";

/// An instance-store bundle, and where the new bundle goes.
#[derive(Clone, Debug)]
pub struct ImportSource {
    /// The manifest; the parts are beside it.
    pub manifest: PathBuf,
    /// Where the new bundle goes.
    pub output: PathBuf,
    /// The private key, and the signer's certificate.
    pub keys: BundleKeys,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

/// What is imported, and to where.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// The instance-store bundle, and where the new bundle goes.
    pub from: ImportSource,
    /// Name of the AMI.
    pub name: String,
    /// Processor architecture; that of the manifest where the user names none.
    pub architecture: Option<Architecture>,
    /// How the hypervisor runs the machine; guessed where the user does not say.
    pub virtualization: Option<Virtualization>,
    /// Rules that are not applied.
    pub allow: Vec<String>,
    /// How chunks are compressed.
    pub groups: Groups,
}

impl ImportRequest {
    /// Asks for the AMI under a name, and for the rest as the manifest has it.
    #[must_use]
    pub fn new(from: ImportSource, name: impl Into<String>) -> Self {
        Self {
            from,
            name: name.into(),
            architecture: None,
            virtualization: None,
            allow: Vec::new(),
            groups: Groups::default(),
        }
    }
}

/// Makes a bundle of an instance-store bundle.
///
/// # Errors
///
/// As [`crate::ops::instance_store::unbundle`] and [`crate::ops::pack`].
pub fn import(request: &ImportRequest, watch: &dyn Watch) -> Result<(PackReport, Vec<String>)> {
    let from = &request.from;
    let checked = Checked::open(&from.manifest, &from.keys, from.threads, watch)?;
    let machine = checked.bundle.manifest().machine.clone();
    let architecture = match request.architecture {
        Some(architecture) => architecture,
        None => machine.architecture.parse().map_err(|_| {
            let text = format!("EC2 has no architecture {:?}", machine.architecture);
            let advice = Advice::Give { setting: Setting::Architecture, example: "x86_64".into() };
            Error::new(Kind::Unsupported, text).in_file(&from.manifest).advise(advice)
        })?,
    };
    let mut notes = Vec::new();
    let virtualization = request.virtualization.unwrap_or_else(|| guess(&machine, &mut notes));
    let root_device = root_device(&machine, &mut notes);
    let ami = Ami {
        name: request.name.clone(),
        architecture: Some(architecture),
        virtualization_type: Some(virtualization),
        root_device_name: root_device.clone(),
        block_device_mappings: ephemeral(&machine, &root_device, &mut notes),
        kernel_id: machine.kernel_id.clone(),
        ramdisk_id: machine.ramdisk_id.clone(),
        product_codes: machine
            .product_codes
            .iter()
            .map(|code| ProductCode { product_code_id: code.clone(), product_code_type: None })
            .collect(),
        ..Ami::default()
    };
    let laid = checked.lay_down(from.threads, watch)?;
    notes.extend(checked.notes(laid.extracted));
    let options = PackOptions {
        allow: request.allow.clone(),
        groups: request.groups,
        threads: from.threads,
        ..PackOptions::new(&from.output, ami)
    };
    let mapping = OpenedMapping {
        device: root_device,
        named: from.manifest.clone(),
        source: OpenedVolume::unsealed(&from.manifest, laid.volume, Vec::new()),
        free: None,
    };
    Ok((pack_volumes(vec![mapping], &options, &Quiet(watch))?, notes))
}

/// A kernel of EC2's was only ever for paravirtual machines.
fn guess(machine: &Machine, notes: &mut Vec<String>) -> Virtualization {
    if machine.kernel_id.is_some() {
        return Virtualization::Paravirtual;
    }
    notes.push(
        "the manifest names no kernel, so the virtualization type is taken to be hvm".to_owned(),
    );
    Virtualization::Hvm
}

/// Returns the device that the manifest maps the AMI to, as EC2 has it for EBS.
fn root_device(machine: &Machine, notes: &mut Vec<String>) -> String {
    let device = |name: &str| {
        let entry = machine.block_device_mapping.iter().find(|it| it.virtual_name == name)?;
        let device = format!("/dev/{}", bare(&entry.device));
        DeviceName::parse(&device).is_some().then_some(device)
    };
    device("ami").or_else(|| device("root")).unwrap_or_else(|| {
        notes.push(format!("the manifest maps no root device, so it is {DEFAULT_ROOT}"));
        DEFAULT_ROOT.to_owned()
    })
}

/// Returns the devices of the instance store, and says which of the others have no place with EBS.
fn ephemeral(machine: &Machine, root_device: &str, notes: &mut Vec<String>) -> Vec<Mapping> {
    let mut mappings = Vec::new();
    let others = machine.block_device_mapping.iter();
    for it in others.filter(|it| !matches!(it.virtual_name.as_str(), "ami" | "root")) {
        let device = format!("/dev/{}", bare(&it.device));
        let known =
            it.virtual_name.starts_with("ephemeral") && DeviceName::parse(&device).is_some();
        if known && device != root_device {
            mappings.push(Mapping {
                device_name: device,
                virtual_name: Some(it.virtual_name.clone()),
                ..Mapping::default()
            });
        } else {
            notes.push(format!("not imported: {} on {}", it.virtual_name, it.device));
        }
    }
    mappings
}
