//! An instance-store bundle to a bundle of ours, whose root is an EBS snapshot.

use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::Virtualization;
use crate::ami::check_devices;
use crate::chunking::States;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format;
use crate::format::ImageRequest;
use crate::instance_store::Machine;
use crate::ops::instance_store::unbundle::Checked;
use crate::ops::instance_store::unbundle::UnbundleRequest;
use crate::ops::pack::PackReport;
use crate::ops::pack::PackRequest;
use crate::ops::pack::VolumeRequest;
use crate::ops::pack::pack;
use crate::pack::DEFAULT_PACK_SIZE;
use crate::work::Quiet;
use crate::work::Watch;

/// Root device where the manifest names none that EC2 takes.
const DEFAULT_ROOT: &str = "/dev/sda1";

/// What is imported, and to where.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// The instance-store bundle, and where the new bundle goes. Its format counts for nothing.
    pub from: UnbundleRequest,
    /// Name of the AMI.
    pub name: String,
    /// Processor architecture; that of the manifest where the user names none.
    pub architecture: Option<Architecture>,
    /// How the hypervisor runs the machine; guessed where the user does not say.
    pub virtualization: Option<Virtualization>,
    /// Level of zstd.
    pub level: i32,
}

/// Makes a bundle of an instance-store bundle. `begin` hears how many bytes there are to read.
///
/// # Errors
///
/// As [`crate::ops::instance_store::unbundle`] and [`crate::ops::pack`].
pub fn import(
    request: &ImportRequest,
    watch: &dyn Watch,
    begin: impl FnOnce(u64),
) -> Result<(PackReport, Vec<String>)> {
    let from = &request.from;
    let checked = Checked::open(from, watch, begin)?;
    let machine = checked.bundle.manifest().machine.clone();
    let architecture = match request.architecture {
        Some(architecture) => architecture,
        None => machine.architecture.parse().map_err(|_| {
            let text = format!("EC2 has no architecture {:?}", machine.architecture);
            let advice = "name another with --arch";
            Error::new(Kind::Unsupported, text).in_file(&from.manifest).advise(advice)
        })?,
    };
    let mut notes = Vec::new();
    let virtualization = request.virtualization.unwrap_or_else(|| guess(&machine, &mut notes));
    let root_device = root_device(&machine, &mut notes);
    left_out(&machine, &mut notes);
    let scratch = checked.scratch(&from.output, from.threads, watch)?;
    notes.extend(checked.notes(scratch.extracted));
    let image = ImageRequest {
        format: Some(format::by_name("raw")?),
        // It is we who have it open for writing.
        force: true,
        ..ImageRequest::of(scratch.file.temporary_path())
    };
    let is_pv = virtualization == Virtualization::Paravirtual;
    let pack_request = PackRequest {
        volumes: vec![VolumeRequest { device: root_device.clone(), image }],
        output: from.output.clone(),
        ami: Ami {
            name: request.name.clone(),
            architecture: Some(architecture),
            virtualization_type: Some(virtualization),
            root_device_name: root_device,
            // An hvm machine boots its disk: EC2 takes no kernel for one.
            kernel_id: machine.kernel_id.clone().filter(|_| is_pv),
            ramdisk_id: machine.ramdisk_id.clone().filter(|_| is_pv),
            ..Ami::default()
        },
        allow: Vec::new(),
        level: request.level,
        pack_size: DEFAULT_PACK_SIZE,
        threads: from.threads,
        states: States::default(),
        base: None,
    };
    let mut report = pack(&pack_request, &Quiet(watch), |_| ())?;
    for volume in &mut report.volumes {
        volume.image.clone_from(&from.manifest);
        volume.format = "instance-store";
    }
    Ok((report, notes))
}

/// A kernel of EC2's was only ever for paravirtual machines.
fn guess(machine: &Machine, notes: &mut Vec<String>) -> Virtualization {
    if machine.kernel_id.is_some() {
        return Virtualization::Paravirtual;
    }
    notes.push(
        "the manifest names no kernel, so the machine is taken for hvm: --virtualization says otherwise"
            .to_owned(),
    );
    Virtualization::Hvm
}

/// Returns the device that the manifest maps the AMI to, as EC2 has it for EBS.
fn root_device(machine: &Machine, notes: &mut Vec<String>) -> String {
    let device = |name: &str| {
        let entry = machine.block_device_mapping.iter().find(|it| it.virtual_name == name)?;
        let bare = entry.device.strip_prefix("/dev/").unwrap_or(&entry.device);
        let device = format!("/dev/{bare}");
        check_devices(&[&device], &device).is_ok().then_some(device)
    };
    device("ami").or_else(|| device("root")).unwrap_or_else(|| {
        notes.push(format!("the manifest maps no root device, so it is {DEFAULT_ROOT}"));
        DEFAULT_ROOT.to_owned()
    })
}

/// Says what of the manifest the bundle has no place for.
fn left_out(machine: &Machine, notes: &mut Vec<String>) {
    let mut note = |what: &str, values: Vec<&str>| {
        if !values.is_empty() {
            notes.push(format!("not taken over: {what} {}", values.join(", ")));
        }
    };
    note("product code", machine.product_codes.iter().map(String::as_str).collect());
    let others = machine.block_device_mapping.iter();
    let others = others.filter(|it| !matches!(it.virtual_name.as_str(), "ami" | "root"));
    note("device", others.map(|it| it.virtual_name.as_str()).collect());
}
