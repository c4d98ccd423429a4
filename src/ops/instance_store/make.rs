//! `instance-store bundle`: an image, or the root of a bundle of ours, to an instance-store bundle.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::error::Verb;
use crate::instance_store;
use crate::instance_store::Description;
use crate::instance_store::Keys;
use crate::instance_store::Machine;
use crate::instance_store::MakeOptions;
use crate::instance_store::Mapping;
use crate::instance_store::Randomness;
use crate::instance_store::SystemRandomness;
use crate::instance_store::shell_safe;
use crate::io::Node;
use crate::io::OutputDir;
use crate::io::list;
use crate::ops::shared::instance_store::read_certificate;
use crate::ops::shared::instance_store::read_key;
use crate::ops::shared::open::Found;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::find;
use crate::ops::shared::open::open;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::report::path_text;
use crate::work::Watch;

/// What an instance-store bundle is made of.
#[derive(Clone, Debug)]
pub struct MakeRequest {
    /// The image, or a bundle of ours, whose root is taken.
    pub image: VolumeRequest,
    /// The folder that is made.
    pub output: PathBuf,
    /// The user's private key.
    pub key: PathBuf,
    /// The user's certificate.
    pub cert: PathBuf,
    /// EC2's certificate.
    pub ec2_cert: PathBuf,
    /// Account.
    pub user: String,
    /// Processor architecture; that of the bundle where the user names none.
    pub architecture: Option<String>,
    /// Name; that of the image where the user names none.
    pub name: Option<String>,
    /// Devices; those of the bundle's root where the user names none.
    pub mappings: Vec<Mapping>,
    /// Id of the kernel image.
    pub kernel: Option<String>,
    /// Id of the initial RAM disk.
    pub ramdisk: Option<String>,
    /// Product codes.
    pub product_codes: Vec<String>,
    /// Level of gzip.
    pub level: u32,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MakeReport {
    /// The manifest.
    #[serde(serialize_with = "path_text")]
    pub manifest: PathBuf,
    /// Name of the bundle.
    pub name: String,
    /// What EC2 makes of it.
    pub machine: Machine,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
    /// Bytes of all parts.
    pub bundled_size_bytes: u64,
    /// Number of parts.
    pub parts: usize,
    /// SHA-1 of the archive.
    pub archive_sha1: String,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Makes an instance-store bundle.
///
/// # Errors
///
/// As [`crate::ops::open`] and [`crate::bundle::Bundle::open`]; `Invalid` for a description or
/// keys that do not fit, or a folder that is not empty; `Limit` over 10 GiB; `Io`.
pub fn make(request: &MakeRequest, watch: &dyn Watch) -> Result<MakeReport> {
    make_with(request, &mut SystemRandomness, watch)
}

/// As [`make`], with key and initialization vector from elsewhere: for tests that want the same bytes
/// twice.
///
/// # Errors
///
/// As [`make`].
pub fn make_with(
    request: &MakeRequest,
    random: &mut dyn Randomness,
    watch: &dyn Watch,
) -> Result<MakeReport> {
    let (mut description, notes) = describe(request)?;
    description.check()?;
    check_folder(&request.output)?;
    let keys = Keys {
        private: read_key(&request.key, watch)?,
        user: read_certificate(&request.cert)?,
        ec2: read_certificate(&request.ec2_cert)?,
    };
    keys.private
        .check_pair(&keys.user)
        .map_err(|fault| Error::from(fault).in_file(&request.cert))?;
    check_outside(&request.output, [request.image.image.path.as_path()])?;
    let opened = open(&request.image, watch)?;
    let volume = opened.volume();
    let folder = OutputDir::create(&request.output)?;
    watch.begin(Some(volume.size()));
    let options = MakeOptions { level: request.level, threads: request.threads, watch };
    let made = instance_store::make(volume, &folder, description, &keys, random, &options)
        .map_err(|error| request.image.fail(error))?;
    volume.check_unchanged()?;
    folder.commit()?;
    Ok(MakeReport {
        manifest: request.output.join(format!("{}.manifest.xml", made.name)),
        name: made.name,
        machine: made.machine,
        volume_size_bytes: made.size,
        bundled_size_bytes: made.bundled_size,
        parts: made.parts.len(),
        archive_sha1: made.digest,
        notes,
    })
}

/// Makes sure that no folder with something in it is replaced.
fn check_folder(path: &Path) -> Result<()> {
    let is_free = match Node::itself(path)? {
        None => true,
        Some(Node::Folder) => list(path).map_err(|e| Error::io("list", path, e))?.is_empty(),
        Some(_) => false,
    };
    if !is_free {
        let text = "it exists and is not an empty folder";
        return Err(Error::invalid(text).in_file(path).advise("name a new folder"));
    }
    Ok(())
}

/// Puts the description together from the request, and from the bundle if it is one of ours.
fn describe(request: &MakeRequest) -> Result<(Description, Vec<String>)> {
    let path = &request.image.image.path;
    let ours = match find(&request.image).map_err(|error| request.image.fail(error))? {
        Found::Bundle(bundle) => Some(bundle).filter(|bundle| !bundle.is_bare()),
        Found::InstanceStore => {
            let text = "it is the manifest of an instance-store bundle, expected an image";
            let advice = Advice::Use { verb: Verb::Unbundle, to: "make an image of it".into() };
            return Err(Error::invalid(text).in_file(path).advise(advice));
        }
        _ => None,
    };
    let ami = ours.as_ref().map(|bundle| bundle.ami());
    let mut notes = Vec::new();
    let given = match ami {
        Some(ami) => ami.name.clone(),
        None => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let name = match &request.name {
        Some(name) => name.clone(),
        None => shell_safe(&given),
    };
    if request.name.is_none() && name != given {
        notes.push(format!(
            "the bundle is called {name:?} and not {given:?}: Amazon's ec2-unbundle puts names of parts into a \
             shell command unquoted"
        ));
    }
    let architecture = match (&request.architecture, ami) {
        (Some(architecture), _) => architecture.clone(),
        (None, Some(ami)) => ami.effective_architecture().name().to_owned(),
        (None, None) => {
            let text = "the image does not name its architecture, expected i386 or x86_64";
            let advice = Advice::Give { setting: Setting::Architecture, example: "x86_64".into() };
            return Err(Error::invalid(text).in_file(path).advise(advice));
        }
    };
    let mut mappings = request.mappings.clone();
    if let Some(ami) = ami.filter(|_| mappings.is_empty()) {
        let device = &ami.root_device_name;
        let bare = device.strip_prefix("/dev/").unwrap_or(device).to_owned();
        mappings.push(Mapping { virtual_name: "ami".to_owned(), device: bare });
        let device = device.clone();
        mappings.push(Mapping { virtual_name: "root".to_owned(), device });
        for entry in &ami.block_device_mappings {
            if let Some(virtual_name) = entry.virtual_name.clone() {
                let device = entry.bare_name().to_owned();
                mappings.push(Mapping { virtual_name, device });
            }
        }
    }
    let (kernel, ramdisk, codes) = (&request.kernel, &request.ramdisk, &request.product_codes);
    let own = ami.filter(|_| codes.is_empty()).map_or(&[][..], |ami| &ami.product_codes);
    let codes = codes.iter().chain(own.iter().map(|code| &code.product_code_id));
    // Readers take a comma for the end of a code, so a list of several is several here, too.
    let codes = codes.flat_map(|text| text.split(',')).map(str::trim).filter(|it| !it.is_empty());
    let product_codes = codes.map(str::to_owned).collect();
    if !matches!(architecture.as_str(), "i386" | "x86_64") {
        notes.push(format!(
            "no instance type with an instance-store root has the architecture {architecture}"
        ));
    }
    for name in ["ami", "root"] {
        if !mappings.iter().any(|it| it.virtual_name == name) {
            notes.push(format!("no device is mapped for {name}, so EC2 uses its default"));
        }
    }
    if let Some(bundle) = ours.as_ref().filter(|it| it.snapshots().len() > 1) {
        let others = bundle.snapshots().len().saturating_sub(1);
        notes.push(format!("only the root is taken: {others} other volumes are left out"));
    }
    let machine = Machine {
        architecture,
        block_device_mapping: mappings,
        kernel_id: kernel.clone().or_else(|| ami?.kernel_id.clone()),
        ramdisk_id: ramdisk.clone().or_else(|| ami?.ramdisk_id.clone()),
        product_codes,
    };
    Ok((Description { name, user: request.user.clone(), machine }, notes))
}
