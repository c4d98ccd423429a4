//! `amikit instance-store …`, and what `convert` needs for the same format.
#![allow(clippy::doc_markdown, reason = "these comments are the help, where marks would show")]

use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::compress::DEFAULT_GZIP_LEVEL;
use crate::compress::DEFAULT_LEVEL;
use crate::error::Error;
use crate::error::Result;
use crate::format::Writer;
use crate::format::raw;
use crate::instance_store::Mapping;
use crate::ops::ImageRequest;
use crate::ops::instance_store as ops;
use crate::units::format_size;
use crate::work::default_threads;
use clap::Args;
use clap::Subcommand;

use crate::cli::NO;
use crate::cli::Output;
use crate::cli::args::Convert;
use crate::cli::args::ConvertBundles;
use crate::cli::args::Made;
use crate::cli::progress::Follower;
use crate::cli::shared_args::Image;
use crate::cli::shared_args::Threads;
use crate::cli::shared_args::format_of;
use crate::cli::shared_args::written_formats;

/// Makes, reads and checks EC2's own bundles of instance-store AMIs
///
/// A bundle is a manifest, image.manifest.xml, and encrypted parts beside it. Volumes are of 10 GiB at
/// most. Keys are named by file, never typed; key files must be readable by their owner alone.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct InstanceStore {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bundle(Box<Bundle>),
    Unbundle(Unbundle),
    Verify(Verify),
    Inspect(Inspect),
}

/// What an instance-store bundle is to be.
#[derive(Debug, Args)]
pub(super) struct Description {
    /// Account that the bundle is for: 12 digits
    #[arg(long, value_name = "ID")]
    user: Option<String>,

    /// Processor architecture: i386 or x86_64
    #[arg(long)]
    arch: Option<String>,

    /// Name of the bundle, of its manifest and parts [default: the image's file name]
    #[arg(long)]
    name: Option<String>,

    /// A device of the machine, as ami=sda1, root=/dev/sda1 or ephemeral0=sdb
    #[arg(long = "map", value_name = "VIRTUAL=DEVICE", value_parser = parse_map)]
    mappings: Vec<Mapping>,

    /// Id of the kernel image, aki-...
    #[arg(long, value_name = "ID")]
    kernel: Option<String>,

    /// Id of the initial RAM disk, ari-...
    #[arg(long, value_name = "ID")]
    ramdisk: Option<String>,

    /// A product code
    #[arg(long = "product-code", value_name = "CODE")]
    product_codes: Vec<String>,
}

/// Keys and certificates, by file.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// Private key, PEM, of mode 0600: of whoever makes the bundle, or of one who may open it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Certificate of whoever makes, or signed, the bundle
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Certificate of EC2, for whom the bundle is encrypted too
    #[arg(long, value_name = "FILE")]
    ec2_cert: Option<PathBuf>,
}

/// Makes an instance-store bundle of an image, or of the root of an AMI bundle
///
/// DIR is made, with a manifest and parts in it. EC2's certificate is one of the files
/// cert-ec2*.pem of its AMI tools.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amikit instance-store bundle disk.img -o web --key user.key --cert user.crt \
                        --ec2-cert cert-ec2.pem --user 123456789012 --arch x86_64 --map ami=sda1 --map root=/dev/sda1"
)]
struct Bundle {
    #[command(flatten)]
    image: Image,

    /// The folder that is made
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    keys: KeyArgs,

    #[command(flatten)]
    description: Description,

    /// Compression level of gzip, 1 to 9
    #[arg(long, default_value_t = DEFAULT_GZIP_LEVEL)]
    level: u32,

    #[command(flatten)]
    threads: Threads,
}

/// Writes the volume of an instance-store bundle as an image
///
/// All parts are checked before anything is written, and the output gets its name only when all of it
/// is what the manifest says.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amikit instance-store unbundle web/disk.img.manifest.xml -o disk.img --key user.key \
                        --cert user.crt"
)]
struct Unbundle {
    /// The manifest; the parts are beside it
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,

    /// Where the image goes: a file, replaced in one step, or a block device
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// Private key, PEM, of mode 0600: of whoever made the bundle, or EC2's
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Certificate of whoever signed the bundle [default: the key itself, if it is that one's]
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Format of the image [default: what the output's name ends in, else raw]
    #[arg(long, value_parser = written_formats())]
    format: Option<&'static Writer>,

    #[command(flatten)]
    threads: Threads,
}

/// Checks an instance-store bundle: parts, signature, and with a key the archive in the parts
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amikit instance-store verify web/disk.img.manifest.xml --cert user.crt --key user.key"
)]
struct Verify {
    /// The manifest; the parts are beside it
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,

    /// Private key, PEM, of mode 0600, that opens the bundle
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Certificate of whoever signed the bundle
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    #[command(flatten)]
    threads: Threads,
}

/// Says what the manifest of an instance-store bundle holds
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit instance-store inspect web/disk.img.manifest.xml")]
struct Inspect {
    /// The manifest
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
}

fn parse_map(text: &str) -> Result<Mapping, String> {
    match text.split_once('=') {
        Some((virtual_name, device)) if !virtual_name.is_empty() && !device.is_empty() => {
            Ok(Mapping { virtual_name: virtual_name.to_owned(), device: device.to_owned() })
        }
        _ => Err("expected what it is, = and a device, as in ami=sda1".to_owned()),
    }
}

/// Takes what only this format needs.
fn needed<T: Clone>(value: Option<&T>, option: &str) -> Result<T> {
    let text = || format!("an instance-store bundle needs {option}");
    value.cloned().ok_or_else(|| Error::invalid(text()))
}

pub(super) fn run(args: &InstanceStore, output: Output, follower: &Follower) -> Result<u8> {
    match &args.command {
        Command::Bundle(args) => bundle(args, output, follower),
        Command::Unbundle(args) => {
            let request = ops::UnbundleRequest {
                manifest: args.manifest.clone(),
                output: args.output.clone(),
                key: args.key.clone(),
                cert: args.cert.clone(),
                format: format_of(args.format, &args.output),
                threads: args.threads.count(),
            };
            unbundle(&request, output, follower)
        }
        Command::Verify(args) => {
            let request = ops::VerifyRequest {
                manifest: args.manifest.clone(),
                key: args.key.clone(),
                cert: args.cert.clone(),
                threads: args.threads.count(),
            };
            let report = ops::verify(&request, follower)?;
            follower.end();
            output.notes(&report.notes);
            let path = &args.manifest;
            output.report(&report, |report, out| {
                render_verify(&path.display().to_string(), report, out)
            })?;
            Ok(if report.sound { 0 } else { NO })
        }
        Command::Inspect(args) => {
            let report = ops::inspect(&args.manifest)?;
            output.report(&report, render_inspect).map(|()| 0)
        }
    }
}

fn bundle(args: &Bundle, output: Output, follower: &Follower) -> Result<u8> {
    let request = make_request(&args.image.request(), &args.output, &args.keys, &args.description);
    let request = ops::MakeRequest { level: args.level, threads: args.threads.count(), ..request? };
    make(&request, output, follower)
}

fn make_request(
    image: &ImageRequest,
    to: &Path,
    keys: &KeyArgs,
    description: &Description,
) -> Result<ops::MakeRequest> {
    Ok(ops::MakeRequest {
        image: image.clone(),
        output: to.to_owned(),
        key: needed(keys.key.as_ref(), "--key")?,
        cert: needed(keys.cert.as_ref(), "--cert")?,
        ec2_cert: needed(keys.ec2_cert.as_ref(), "--ec2-cert")?,
        user: needed(description.user.as_ref(), "--user")?,
        architecture: description.arch.clone(),
        name: description.name.clone(),
        mappings: description.mappings.clone(),
        kernel: description.kernel.clone(),
        ramdisk: description.ramdisk.clone(),
        product_codes: description.product_codes.clone(),
        level: DEFAULT_GZIP_LEVEL,
        threads: default_threads(),
    })
}

fn make(request: &ops::MakeRequest, output: Output, follower: &Follower) -> Result<u8> {
    let report = ops::make(request, follower)?;
    follower.end();
    output.notes(&report.notes);
    output.report(&report, render_make).map(|()| 0)
}

/// Does what `convert` is asked to do where an instance-store bundle is what it reads or makes.
pub(super) fn convert(args: &Convert, output: Output, follower: &Follower) -> Result<u8> {
    let ConvertBundles { keys, description, virtualization, allow } = &args.bundles;
    let made = args.made()?;
    let format = match made {
        Made::InstanceStore => {
            let request = make_request(&args.request(), &args.output, keys, description)?;
            let level = match args.level {
                // What is no level of gzip is told by the library.
                Some(level) => u32::try_from(level).unwrap_or(0),
                None => DEFAULT_GZIP_LEVEL,
            };
            let threads = args.threads.count();
            return make(&ops::MakeRequest { level, threads, ..request }, output, follower);
        }
        Made::Image(format) => format,
        Made::Bundle => &raw::WRITER,
    };
    let from = ops::UnbundleRequest {
        manifest: args.path.clone(),
        output: args.output.clone(),
        key: needed(keys.key.as_ref(), "--key").map_err(|e| e.in_file(&args.path))?,
        cert: keys.cert.clone(),
        format,
        threads: args.threads.count(),
    };
    if matches!(made, Made::Image(_)) {
        return unbundle(&from, output, follower);
    }
    let request = ops::ImportRequest {
        from,
        name: match &description.name {
            Some(name) => name.clone(),
            None => super::default_name(&args.output)?,
        },
        architecture: description.arch.as_deref().map(str::parse).transpose()?,
        virtualization: *virtualization,
        allow: allow.clone(),
        level: args.level.unwrap_or(DEFAULT_LEVEL),
    };
    let (report, notes) = ops::import(&request, follower)?;
    follower.end();
    output.notes(&notes);
    output.report(&report, super::render::pack).map(|()| 0)
}

fn unbundle(request: &ops::UnbundleRequest, output: Output, follower: &Follower) -> Result<u8> {
    let report = ops::unbundle(request, follower)?;
    follower.end();
    output.notes(&report.notes);
    output.report(&report, render_unbundle).map(|()| 0)
}

fn render_make(report: &ops::MakeReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: instance-store bundle of {}, {} in {}",
        report.manifest.display(),
        format_size(report.volume_size_bytes),
        format_size(report.bundled_size_bytes),
        parts(report.parts)
    )?;
    writeln!(out, "  archive sha1:{}", report.archive_sha1)
}

fn render_unbundle(report: &ops::UnbundleReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} image of {:?}, {}, {} of it stored",
        report.output.display(),
        report.format,
        report.name,
        format_size(report.volume_size_bytes),
        format_size(report.stored_bytes)
    )?;
    writeln!(out, "  signature {}", signature(report.signature))
}

fn render_verify(path: &str, report: &ops::VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    for part in &report.damaged_parts {
        writeln!(out, "part {}, {}: {}", part.index, part.filename, part.problem)?;
    }
    if let Some(problem) = &report.problem {
        writeln!(out, "{problem}")?;
    }
    let what = if report.sound { "sound" } else { "DAMAGED" };
    writeln!(out, "{path}: {what}: {}", parts(report.parts))?;
    writeln!(out, "  signature {}", signature(report.signature))?;
    let archive = if report.archive_checked { "unpacked and checked" } else { "not unpacked" };
    writeln!(out, "  archive {archive}")
}

pub(super) fn render_inspect(
    report: &ops::InstanceStoreContent,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(
        out,
        "{}: instance-store bundle {:?}, {} of {}",
        report.path.display(),
        report.name,
        report.image_type,
        format_size(report.volume_size_bytes)
    )?;
    let signed = if report.signed { "signed" } else { "not signed" };
    writeln!(out, "  account {}, {signed}", report.user)?;
    if let Some(bundler) = &report.bundler {
        writeln!(out, "  made by {} {} {}", bundler.name, bundler.version, bundler.release)?;
    }
    writeln!(out, "  {}", report.machine.architecture)?;
    for it in &report.machine.block_device_mapping {
        writeln!(out, "  {} is {}", it.virtual_name, it.device)?;
    }
    let ids = [("kernel", &report.machine.kernel_id), ("RAM disk", &report.machine.ramdisk_id)];
    for (what, id) in ids.into_iter().filter_map(|(what, id)| Some((what, id.as_ref()?))) {
        writeln!(out, "  {what} {id}")?;
    }
    for code in &report.machine.product_codes {
        writeln!(out, "  product code {code}")?;
    }
    writeln!(
        out,
        "  {} in {}, archive sha1:{}",
        format_size(report.bundled_size_bytes),
        parts(report.parts.len()),
        report.archive_sha1
    )
}

fn parts(count: usize) -> String {
    format!("{count} part{}", if count == 1 { "" } else { "s" })
}

fn signature(signature: ops::Signature) -> &'static str {
    match signature {
        ops::Signature::Valid => "fits the certificate",
        ops::Signature::ValidForKey => "fits the private key",
        ops::Signature::Unchecked => "not checked",
        ops::Signature::Unsigned => "missing",
        ops::Signature::Wrong => "DOES NOT FIT",
    }
}
