//! `convert`: a volume to an image in another format, and to and from instance-store bundles.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use clap::builder::ValueParser;

use crate::ami::Virtualization;
use crate::cli::shared::description::default_name;
use crate::cli::shared::instance_store;
use crate::cli::shared::instance_store::Machine;
use crate::cli::shared::instance_store::MakerKeys;
use crate::cli::shared::options::FreeArgs;
use crate::cli::shared::options::ImageZeros;
use crate::cli::shared::options::Threads;
use crate::cli::shared::options::Zeros;
use crate::cli::shared::options::values;
use crate::cli::shared::options::written_names;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text;
use crate::cli::shared::volumes::Bases;
use crate::cli::shared::volumes::Opening;
use crate::cli::shared::volumes::Roles;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::error::shown;
use crate::format;
use crate::format::Writer;
use crate::ops;
use crate::ops::ConvertReport;
use crate::ops::Found;
use crate::ops::Groups;
use crate::ops::VolumeRequest;
use crate::ops::instance_store as instance_ops;
use crate::units::format_size;

/// Writes a volume as an image in another format, states kept
///
/// IN is an image, a device of a bundle, or the manifest of an instance-store bundle, which --key
/// decrypts; --format bundle makes an AMI bundle of that one, whose root is an EBS snapshot. With
/// --format instance-store, IN may be an AMI bundle, whose root is taken, and OUT is a folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit convert root.raw root.qcow2 --format qcow2-zstd\n  \
                        amikit convert old/disk.manifest.xml web.ami --format bundle --key user.key\n  \
                        amikit convert web.ami old --format instance-store --key user.key --cert user.crt \
                        --ec2-cert cert-ec2.pem --user 123456789012")]
pub(super) struct Convert {
    /// The image, or BUNDLE:DEVICE; - for standard input
    #[arg(value_name = "IN")]
    path: PathBuf,

    /// Where the new image goes: a file, replaced in one step, or a block device
    #[arg(value_name = "OUT")]
    output: PathBuf,

    /// Format of the new image; or bundle, or instance-store [default: what OUT's name ends in]
    #[arg(long, value_parser = made_formats())]
    format: Option<Made>,

    /// Level of compression, in the scale of the format: zstd 1 to 22, vmdk and ova 1 to 12, qcow2-zlib and gzip 1 to 9
    #[arg(long, allow_negative_numbers = true)]
    level: Option<i32>,

    /// Keep written zeros; make holes of them, 64 KiB at a time, which is unsafe on encrypted volumes; or store
    /// them as data, for readers that do not know zeros
    #[arg(long, default_value = "keep", value_name = "STATE")]
    zeros: ImageZeros,

    #[command(flatten)]
    free: FreeArgs,

    #[command(flatten)]
    opening: Opening,

    #[command(flatten)]
    bases: Bases,

    #[command(flatten)]
    threads: Threads,

    #[command(flatten)]
    bundles: BundleArgs,
}

/// What is needed where a bundle is read or made.
#[derive(Debug, Args)]
#[command(next_help_heading = "Instance-store bundles")]
struct BundleArgs {
    #[command(flatten)]
    keys: MakerKeys,

    #[command(flatten)]
    machine: Machine,

    /// Virtualization type of --format bundle [default: paravirtual if a kernel is named]
    #[arg(long, value_parser = values::<Virtualization>(Virtualization::NAMES))]
    virtualization: Option<Virtualization>,

    /// A rule that is not applied to what --format bundle makes
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,
}

/// What `convert` makes.
#[derive(Clone, Copy, Debug)]
enum Made {
    Image(&'static Writer),
    Bundle,
    InstanceStore,
}

impl Convert {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let made = match self.format {
            Some(made) => made,
            None => format::writer_by_file_name(&self.output).map(Made::Image)?,
        };
        match made {
            Made::Image(format) => self.to_image(format, output, follower),
            Made::Bundle => self.to_bundle(output, follower),
            Made::InstanceStore => self.to_instance_store(output, follower),
        }
    }

    fn volume(&self) -> Result<VolumeRequest> {
        let roles = Roles::of(&["image"]);
        let volume = self.opening.volume(&roles, "image", &self.path)?;
        let volume = self.bases.add(&self.opening, &roles, "image", volume)?;
        Ok(VolumeRequest { free: self.free.record(), ..volume })
    }

    fn input_keys(&self) -> instance_ops::BundleKeys {
        let keys = &self.bundles.keys;
        instance_ops::BundleKeys { key: keys.key.clone(), cert: keys.cert.clone() }
    }

    fn to_image(&self, format: &'static Writer, output: Output, follower: &Follower) -> Result<u8> {
        let volume = VolumeRequest { keys: self.input_keys(), ..self.volume()? };
        let zeros = match self.zeros {
            ImageZeros::Keep => ops::Zeros::Keep,
            ImageZeros::Hole => {
                Zeros::Hole.are_holes(output);
                ops::Zeros::Hole
            }
            ImageZeros::Data => ops::Zeros::Data,
        };
        if let (Found::InstanceStore, Some(key)) = (ops::find(&volume)?, &volume.keys.key)
            && zeros == ops::Zeros::Keep
            && volume.free.is_none()
        {
            let request = instance_ops::UnbundleRequest {
                manifest: self.path.clone(),
                output: self.output.clone(),
                key: key.clone(),
                cert: volume.keys.cert.clone(),
                format,
                threads: self.threads.count(),
            };
            return instance_store::unbundle(&request, output, follower);
        }
        let request = ops::ConvertRequest {
            image: volume,
            output: self.output.clone(),
            format,
            level: self.level,
            zeros,
            threads: self.threads.count(),
        };
        let report = ops::convert(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("convert", &report, render).map(|()| 0)
    }

    fn to_bundle(&self, output: Output, follower: &Follower) -> Result<u8> {
        self.refuse_zeros()?;
        let volume = self.volume()?;
        let Found::InstanceStore = ops::find(&volume)? else {
            let text = "--format bundle needs an instance-store bundle as IN";
            return Err(Error::invalid(text)
                .in_file(&self.path)
                .advise("use `amikit pack` to make a bundle of an image"));
        };
        if volume.free.is_some() {
            let text = "--free does not apply to an instance-store bundle that becomes a bundle";
            return Err(Error::invalid(text).advise("convert it to an image first"));
        }
        let BundleArgs { machine, virtualization, allow, .. } = &self.bundles;
        let request = instance_ops::ImportRequest {
            from: instance_ops::ImportSource {
                manifest: self.path.clone(),
                output: self.output.clone(),
                keys: self.input_keys(),
                threads: self.threads.count(),
            },
            name: match &machine.name {
                Some(name) => name.clone(),
                None => default_name(&self.output)?,
            },
            architecture: machine.arch.as_deref().map(str::parse).transpose()?,
            virtualization: *virtualization,
            allow: allow.clone(),
            groups: Groups { level: self.level, ..Groups::default() },
        };
        let (report, notes) = instance_ops::import(&request, follower)?;
        follower.end();
        output.notes(&notes);
        output.report("pack", &report, text::pack).map(|()| 0)
    }

    fn to_instance_store(&self, output: Output, follower: &Follower) -> Result<u8> {
        self.refuse_zeros()?;
        let making = instance_store::Making {
            output: &self.output,
            // The library says what is not a level of gzip.
            level: self.level.map(|level| u32::try_from(level).unwrap_or(0)),
            threads: self.threads.count(),
        };
        let BundleArgs { keys, machine, .. } = &self.bundles;
        instance_store::make(self.volume()?, keys, machine, making, output, follower)
    }

    /// A bundle is made with the states that there are.
    fn refuse_zeros(&self) -> Result<()> {
        if self.zeros == ImageZeros::Keep {
            return Ok(());
        }
        let text = "zeros can become holes or data in an image only";
        Err(Error::invalid(text).advise(Advice::Omit(Setting::Zeros)))
    }
}

/// Takes the names of all that `convert` makes.
fn made_formats() -> ValueParser {
    let mut names = written_names();
    names.extend(["bundle", "instance-store"]);
    PossibleValuesParser::new(names)
        .try_map(|name| match name.as_str() {
            "bundle" => Ok(Made::Bundle),
            "instance-store" => Ok(Made::InstanceStore),
            name => format::writer_by_name(name).map(Made::Image),
        })
        .into()
}

fn render(report: &ConvertReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} image, made of {}, {}",
        shown(&report.output),
        report.to,
        report.from,
        format_size(report.volume_size_bytes)
    )
}
