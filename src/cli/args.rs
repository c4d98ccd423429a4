//! What can be typed: commands, their arguments and their help.
#![allow(clippy::doc_markdown, reason = "these comments are the help, where marks would show")]

use std::num::NonZero;
use std::path::PathBuf;

use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::ImdsSupport;
use crate::ami::TpmSupport;
use crate::ami::Virtualization;
use crate::error::Result;
use crate::format;
use crate::format::Format;
use crate::format::WRITERS;
use crate::format::Writer;
use crate::format::gate::Gate;
use crate::ops::ImageRequest;
use crate::units::parse_size;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use clap::builder::ValueParser;
use clap_complete::Shell;

use crate::cli::ami_args;
use crate::cli::delta_args;
use crate::cli::instance_store::Description;
use crate::cli::instance_store::InstanceStore;
use crate::cli::instance_store::KeyArgs;
use crate::cli::shared_args::Image;
use crate::cli::shared_args::Pair;
use crate::cli::shared_args::StateArgs;
use crate::cli::shared_args::Threads;
use crate::cli::shared_args::Zeros;
use crate::cli::shared_args::formats;
use crate::cli::shared_args::parse_mapping;
use crate::cli::shared_args::values;
use crate::cli::shared_args::written_formats;

/// Packs, compares, checks and ships Amazon Machine Images, offline
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,

    /// Print one JSON document on standard output, and errors as JSON on standard error
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// Show no progress and no notes
    #[arg(long, short, global = true)]
    pub(super) quiet: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done, and all is well
  1    done, and the answer is no: damaged, or different
  2    the request makes no sense
  3    the system refused: no such file, no space, in use, changed while read
  4    an input breaks its own format
  5    an input uses something that this version cannot read
  6    an input is over a limit
  7    bytes do not have the digest that they must have
  70   amikit itself failed; please report it
  128+n  stopped by signal n; outputs are untouched";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Init(ami_args::Init),
    Build(ami_args::Build),
    Pack(Pack),
    Unpack(Unpack),
    Verify(Verify),
    Inspect(Inspect),
    Map(Map),
    Snapshot(Snapshot),
    Convert(Box<Convert>),
    InstanceStore(Box<InstanceStore>),
    Compare(Compare),
    Diff(delta_args::Diff),
    Apply(delta_args::Apply),
    Complete(delta_args::Complete),
    Merge(delta_args::Merge),
    Rebase(delta_args::Rebase),
    Lint(ami_args::Lint),
    Register(ami_args::Register),
    Plan(ami_args::Plan),
    Import(ami_args::Import),
    Schema(ami_args::Schema),
    Bench(Bench),
    Completions(Completions),
    Man(Man),
}

/// Packs disk images into an AMI bundle
///
/// Each image is cut into blocks of 512 KiB. Equal blocks are stored once, compressed; written
/// zeros and holes are recorded as what they are. The bundle is an OCI image layout: a folder, or
/// one file if its name ends in .tar.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit pack root.raw --map /dev/sdf=data.raw -o web.ami --name web \
                        --boot-mode uefi-preferred\n  amikit pack new.raw --base web.ami --thin -o update.ami"
)]
pub(super) struct Pack {
    #[command(flatten)]
    pub(super) image: Image,

    /// Another volume of the AMI: its device and its image
    #[arg(long, value_name = "DEVICE=IMAGE", value_parser = parse_mapping)]
    pub(super) map: Vec<(String, PathBuf)>,

    /// Where the bundle goes; a bundle that is there already is replaced in one step
    #[arg(long, short, value_name = "BUNDLE")]
    pub(super) output: PathBuf,

    /// Name of the AMI [default: the bundle's file name without its suffix]
    #[arg(long)]
    pub(super) name: Option<String>,

    /// Text for people
    #[arg(long)]
    pub(super) description: Option<String>,

    /// Processor architecture [default: x86_64]
    #[arg(long, value_parser = values::<Architecture>(Architecture::NAMES))]
    pub(super) arch: Option<Architecture>,

    /// How the hypervisor runs the machine [default: hvm]
    #[arg(long, value_parser = values::<Virtualization>(Virtualization::NAMES))]
    pub(super) virtualization: Option<Virtualization>,

    /// How the machine boots [default: what the instance type does]
    #[arg(long, value_parser = values::<BootMode>(BootMode::NAMES))]
    pub(super) boot_mode: Option<BootMode>,

    /// Device of the root volume, which is IMAGE [default: /dev/xvda]
    #[arg(long, value_name = "DEVICE")]
    pub(super) root_device: Option<String>,

    /// Take the description from a file: JSON, as EC2 gives or takes it, a recipe, or a bundle
    #[arg(long, value_name = "FILE")]
    pub(super) ami: Option<PathBuf>,

    /// Say that the guest has a driver of the Elastic Network Adapter
    #[arg(long)]
    pub(super) ena_support: bool,

    /// Version of the instance metadata service that is demanded
    #[arg(long, value_parser = values::<ImdsSupport>(ImdsSupport::NAMES))]
    pub(super) imds_support: Option<ImdsSupport>,

    /// Version of the trusted platform module
    #[arg(long, value_parser = values::<TpmSupport>(TpmSupport::NAMES))]
    pub(super) tpm_support: Option<TpmSupport>,

    /// A tag of the AMI
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_tag)]
    pub(super) tag: Vec<(String, String)>,

    /// A rule of EC2's that is not applied; `amikit lint --list` names all
    #[arg(long, value_name = "RULE")]
    pub(super) allow: Vec<String>,

    /// Compression level of zstd, 1 to 22
    #[arg(long, default_value_t = crate::compress::DEFAULT_LEVEL, allow_negative_numbers = true)]
    pub(super) level: i32,

    /// Close a pack at this size, so that registries take it
    #[arg(long = "pack-size", default_value = "1GiB", value_parser = parse_size, value_name = "SIZE")]
    pub(super) closing_size: u64,

    /// A bundle, or with --thin an image of the root volume: store only what it does not have
    #[arg(long, value_name = "OLD")]
    pub(super) base: Option<PathBuf>,

    /// Leave out the packs that the base has: the bundle can be read together with the base only
    #[arg(long, requires = "base")]
    pub(super) thin: bool,

    /// The manifest that OLD, an image, must be the volume of
    #[arg(long, requires = "base", value_name = "MANIFEST")]
    pub(super) base_manifest: Option<PathBuf>,

    /// Keep the page index of the base in this file, and use it if it is there
    #[arg(long, requires = "base", value_name = "FILE")]
    pub(super) base_index: Option<PathBuf>,

    #[command(flatten)]
    pub(super) states: StateArgs,

    #[command(flatten)]
    pub(super) threads: Threads,
}

/// Writes a volume of a bundle as an image again
///
/// Every chunk is checked before the image gets its name, so a damaged bundle leaves nothing
/// behind. Onto a block device, holes are written as zeros: nothing old shows through.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit unpack web.ami /dev/sdf -o data.raw")]
pub(super) struct Unpack {
    /// The bundle
    pub(super) bundle: PathBuf,

    /// Device of the AMI [default: the root device]
    pub(super) device: Option<String>,

    /// Where the image goes: a file, replaced in one step, or a block device
    #[arg(long, short, value_name = "IMAGE")]
    pub(super) output: PathBuf,

    /// Format of the image [default: what the output's name ends in, else raw]
    #[arg(long, value_parser = written_formats())]
    pub(super) format: Option<&'static Writer>,

    /// What a thin bundle was packed against: a bundle or an image
    #[arg(long, value_name = "OLD")]
    pub(super) base: Option<PathBuf>,

    /// Level of compression, in the scale of the format: zstd 1 to 22, deflate 1 to 12
    #[arg(long, allow_negative_numbers = true)]
    pub(super) level: Option<i32>,

    #[command(flatten)]
    pub(super) threads: Threads,
}

/// Checks a bundle, and names every damaged chunk with the blocks that it hits
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit verify web.ami\n  amikit verify web.ami --against root.raw"
)]
pub(super) struct Verify {
    /// The bundle
    pub(super) bundle: PathBuf,

    /// Check stored bytes only: decompress nothing
    #[arg(long, conflicts_with = "against")]
    pub(super) quick: bool,

    /// An image that a volume must equal, bytes and states; the root volume where no device is named
    #[arg(long, value_name = "[DEVICE=]IMAGE", value_parser = parse_against)]
    pub(super) against: Vec<(Option<String>, PathBuf)>,

    /// What a thin bundle was packed against: a bundle or an image
    #[arg(long, value_name = "OLD")]
    pub(super) base: Option<PathBuf>,

    /// Read images although another process has them open for writing
    #[arg(long)]
    pub(super) force: bool,

    #[command(flatten)]
    pub(super) threads: Threads,
}

/// Says what a file is and what is in it: an image, a snapshot manifest, a pack or a bundle
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit inspect web.ami")]
pub(super) struct Inspect {
    #[command(flatten)]
    pub(super) image: Image,

    /// Read an image whole, for the state of its blocks and EBS's checksum
    #[arg(long)]
    pub(super) read: bool,

    #[command(flatten)]
    pub(super) threads: Threads,
}

/// Lists an image's extents: data, written zeros and holes
///
/// With --json, in the shape of `qemu-img map --output=json`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit map root.raw\n  amikit map root.raw --bmap > root.bmap"
)]
pub(super) struct Map {
    #[command(flatten)]
    pub(super) image: Image,

    /// Write a block map for bmaptool, version 2.0, with the digest of each range
    #[arg(long, conflicts_with = "json")]
    pub(super) bmap: bool,

    #[command(flatten)]
    pub(super) threads: Threads,
}

/// Writes the snapshot manifest of an image, without its chunks
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit snapshot root.raw -o root.snap")]
pub(super) struct Snapshot {
    #[command(flatten)]
    pub(super) image: Image,

    /// Where the manifest goes; a file that is there already is replaced in one step
    #[arg(long, short, value_name = "MANIFEST")]
    pub(super) output: PathBuf,

    #[command(flatten)]
    pub(super) states: StateArgs,

    #[command(flatten)]
    pub(super) threads: Threads,
}

/// Writes an image in another format, states kept
///
/// IN may be the manifest of an instance-store bundle, which --key opens; --format bundle makes an AMI
/// bundle of that one, whose root is an EBS snapshot. With --format instance-store, IN may be an AMI
/// bundle, whose root is taken, and OUT is a folder that is made.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit convert root.raw root.qcow2 --format qcow2-zstd\n  \
                        amikit convert old/disk.manifest.xml web.ami --format bundle --key user.key\n  \
                        amikit convert web.ami old --format instance-store --key user.key --cert user.crt \
                        --ec2-cert cert-ec2.pem --user 123456789012")]
pub(super) struct Convert {
    /// The image; - for standard input
    #[arg(value_name = "IN")]
    pub(super) path: PathBuf,

    /// Where the new image goes: a file, replaced in one step, or a block device
    #[arg(value_name = "OUT")]
    pub(super) output: PathBuf,

    /// Format of the new image; or bundle, or instance-store [default: what OUT's name ends in]
    #[arg(long, value_parser = made_formats())]
    format: Option<Made>,

    /// Level of compression, in the scale of the format: zstd 1 to 22, deflate 1 to 12, gzip 1 to 9
    #[arg(long, allow_negative_numbers = true)]
    pub(super) level: Option<i32>,

    /// Keep written zeros as what they are, or make them holes, 64 KiB at a time: unsafe on encrypted volumes
    #[arg(long, default_value = "keep", value_name = "STATE")]
    pub(super) zeros: Zeros,

    /// Format of IN [default: what its bytes say]
    #[arg(long, value_parser = formats())]
    pub(super) input_format: Option<&'static Format>,

    /// A further part of a split Android sparse set, in order
    #[arg(long = "part", value_name = "FILE")]
    pub(super) parts: Vec<PathBuf>,

    /// A bmap, or the output of `qemu-img map --output=json`, that tells data from holes
    #[arg(long, value_name = "FILE")]
    pub(super) extents: Option<PathBuf>,

    /// Open a file that IN names (a backing file, an extent), if it lies in the same folder
    #[arg(long)]
    backing: bool,

    /// The file that IN names, wherever it lies; again for the next one below
    #[arg(long = "parent", value_name = "FILE")]
    parents: Vec<PathBuf>,

    /// Read IN although another process writes to it, or it says that it may be damaged
    #[arg(long)]
    pub(super) force: bool,

    #[command(flatten)]
    pub(super) threads: Threads,

    #[command(flatten)]
    pub(super) bundles: ConvertBundles,
}

impl Convert {
    pub(super) fn request(&self) -> ImageRequest {
        ImageRequest {
            path: self.path.clone(),
            parts: self.parts.clone(),
            format: self.input_format,
            extents: self.extents.clone(),
            gate: Gate { beside: self.backing, parents: self.parents.clone() },
            force: self.force,
        }
    }
}

/// What `convert` makes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Made {
    Image(&'static Writer),
    Bundle,
    InstanceStore,
}

impl Convert {
    /// Returns what is to be made.
    pub(super) fn made(&self) -> crate::error::Result<Made> {
        match self.format {
            Some(made) => Ok(made),
            None => format::writer_by_file_name(&self.output).map(Made::Image),
        }
    }
}

/// What `convert` needs where a bundle is what it reads or makes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Instance-store bundles")]
pub(super) struct ConvertBundles {
    #[command(flatten)]
    pub(super) keys: KeyArgs,

    #[command(flatten)]
    pub(super) description: Description,

    /// How the hypervisor runs the machine of --format bundle [default: paravirtual if a kernel is named]
    #[arg(long, value_parser = values::<Virtualization>(&["hvm", "paravirtual"]))]
    pub(super) virtualization: Option<Virtualization>,

    /// A rule that is not applied to what --format bundle makes
    #[arg(long, value_name = "RULE")]
    pub(super) allow: Vec<String>,
}

/// Measures each stage beside the limit of this machine, in the same run
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit bench root.raw")]
pub(super) struct Bench {
    /// The image to measure with [default: content made for it]
    pub(super) image: Option<PathBuf>,

    /// Bytes to work on at most
    #[arg(long, default_value = "256MiB", value_parser = parse_size, value_name = "SIZE")]
    pub(super) size: u64,

    /// Rounds; the median of each stage counts
    #[arg(long, default_value = "5")]
    pub(super) rounds: NonZero<usize>,

    /// Compression level of zstd, 1 to 22
    #[arg(long, default_value_t = crate::compress::DEFAULT_LEVEL)]
    pub(super) level: i32,

    #[command(flatten)]
    pub(super) threads: Threads,
}

/// Compares two volumes, byte by byte, and tells every range where they differ
///
/// Each is an image of any format, or a bundle: BUNDLE for its root device, BUNDLE:DEVICE for another.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit compare root.raw root.simg\n  amikit compare web.ami root.raw --states"
)]
pub(super) struct Compare {
    /// One volume
    #[arg(value_name = "A")]
    left: PathBuf,

    /// The other
    #[arg(value_name = "B")]
    right: PathBuf,

    /// Tell holes from written zeros too
    #[arg(long)]
    pub(super) states: bool,

    #[command(flatten)]
    pair: Pair,

    #[command(flatten)]
    pub(super) threads: Threads,
}

impl Compare {
    pub(super) fn requests(&self) -> Result<[ImageRequest; 2]> {
        self.pair.requests([&self.left, &self.right])
    }
}

/// Prints the completion script of a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit completions bash > /etc/bash_completion.d/amikit")]
pub(super) struct Completions {
    /// The shell
    pub(super) shell: Shell,
}

/// Writes the manual pages into a folder
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit man /usr/local/share/man/man1")]
pub(super) struct Man {
    /// The folder, which must be there
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected a key, = and a value, as in Team=web".to_owned()),
    }
}

/// An image may have `=` in its name, so what stands in front of one is a device only if it says so.
#[allow(clippy::unnecessary_wraps, reason = "clap takes parsers that can fail")]
fn parse_against(text: &str) -> Result<(Option<String>, PathBuf), String> {
    match text.split_once('=') {
        Some((device, image)) if device.starts_with("/dev/") => {
            Ok((Some(device.to_owned()), PathBuf::from(image)))
        }
        _ => Ok((None, PathBuf::from(text))),
    }
}

/// Takes the names of all that `convert` makes.
fn made_formats() -> ValueParser {
    let mut names: Vec<&'static str> = WRITERS.iter().map(|writer| writer.name).collect();
    names.extend(["bundle", "instance-store"]);
    PossibleValuesParser::new(names)
        .try_map(|name| match name.as_str() {
            "bundle" => Ok(Made::Bundle),
            "instance-store" => Ok(Made::InstanceStore),
            name => format::writer_by_name(name).map(Made::Image),
        })
        .into()
}
