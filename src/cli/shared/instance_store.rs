//! What the commands for EC2's instance-store bundles share.

use std::io;
use std::io::Write;
use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::compress::DEFAULT_GZIP_LEVEL;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::error::shown;
use crate::instance_store::Mapping;
use crate::ops::VolumeRequest;
use crate::ops::instance_store as ops;
use crate::units::format_size;

/// What an instance-store bundle is.
#[derive(Debug, Args)]
pub(in crate::cli) struct Machine {
    /// Account that the bundle is for: 12 digits
    #[arg(long, value_name = "ID")]
    user: Option<String>,

    /// Processor architecture: i386 or x86_64
    #[arg(long)]
    pub(in crate::cli) arch: Option<String>,

    /// Name of the bundle, of its manifest and parts [default: the image's file name]
    #[arg(long)]
    pub(in crate::cli) name: Option<String>,

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

/// Keys and certificates of who makes a bundle, by file.
#[derive(Debug, Args)]
pub(in crate::cli) struct MakerKeys {
    /// Private key of the bundle's maker, PEM, of mode 0600
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) key: Option<PathBuf>,

    /// Certificate of the bundle's maker
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) cert: Option<PathBuf>,

    /// Certificate of EC2, for which the bundle is also encrypted
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) ec2_cert: Option<PathBuf>,
}

/// A level of gzip, its threads, and where the bundle goes.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Making<'a> {
    pub(in crate::cli) output: &'a Path,
    pub(in crate::cli) level: Option<u32>,
    pub(in crate::cli) threads: NonZero<usize>,
}

fn parse_map(text: &str) -> Result<Mapping, String> {
    match text.split_once('=') {
        Some((virtual_name, device)) if !virtual_name.is_empty() && !device.is_empty() => {
            Ok(Mapping { virtual_name: virtual_name.to_owned(), device: device.to_owned() })
        }
        _ => Err("expected what it is, = and a device, as in ami=sda1".to_owned()),
    }
}

/// Takes a value without which no bundle can be made.
fn needed<T: Clone>(value: Option<&T>, what: &str, setting: Setting, example: &str) -> Result<T> {
    value.cloned().ok_or_else(|| {
        let advice = Advice::Give { setting, example: example.to_owned().into() };
        Error::invalid(format!("an instance-store bundle needs {what}")).advise(advice)
    })
}

/// Makes a bundle.
pub(in crate::cli) fn make(
    image: VolumeRequest,
    keys: &MakerKeys,
    machine: &Machine,
    making: Making<'_>,
    output: Output,
    follower: &Follower,
) -> Result<u8> {
    let request = ops::MakeRequest {
        image,
        output: making.output.to_owned(),
        key: needed(keys.key.as_ref(), "the maker's private key", Setting::Key, "FILE")?,
        cert: needed(keys.cert.as_ref(), "its certificate", Setting::Certificate, "FILE")?,
        ec2_cert: needed(
            keys.ec2_cert.as_ref(),
            "EC2's certificate",
            Setting::Ec2Certificate,
            "FILE",
        )?,
        user: needed(machine.user.as_ref(), "an account", Setting::User, "123456789012")?,
        architecture: machine.arch.clone(),
        name: machine.name.clone(),
        mappings: machine.mappings.clone(),
        kernel: machine.kernel.clone(),
        ramdisk: machine.ramdisk.clone(),
        product_codes: machine.product_codes.clone(),
        level: making.level.unwrap_or(DEFAULT_GZIP_LEVEL),
        threads: making.threads,
    };
    let report = ops::make(&request, follower)?;
    follower.end();
    output.notes(&report.notes);
    output.report("instance-store-bundle", &report, made).map(|()| 0)
}

/// Takes a bundle apart.
pub(in crate::cli) fn unbundle(
    request: &ops::UnbundleRequest,
    output: Output,
    follower: &Follower,
) -> Result<u8> {
    let report = ops::unbundle(request, follower)?;
    follower.end();
    output.notes(&report.notes);
    output.report("instance-store-unbundle", &report, unbundled).map(|()| 0)
}

fn made(report: &ops::MakeReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: instance-store bundle of {}, {} in {}",
        shown(&report.manifest),
        format_size(report.volume_size_bytes),
        format_size(report.bundled_size_bytes),
        parts(report.parts)
    )?;
    writeln!(out, "  archive sha1:{}", report.archive_sha1)
}

fn unbundled(report: &ops::UnbundleReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} image of {:?}, {}, {} of it stored",
        shown(&report.output),
        report.format,
        report.name,
        format_size(report.volume_size_bytes),
        format_size(report.stored_bytes)
    )?;
    writeln!(out, "  signature {}", signature(report.signature))
}

pub(in crate::cli) fn content(
    report: &ops::InstanceStoreContent,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(
        out,
        "{}: instance-store bundle {:?}, {} of {}",
        shown(&report.path),
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

pub(in crate::cli) fn parts(count: usize) -> String {
    format!("{count} part{}", if count == 1 { "" } else { "s" })
}

pub(in crate::cli) fn signature(signature: ops::Signature) -> &'static str {
    match signature {
        ops::Signature::Valid => "matches the certificate",
        ops::Signature::ValidForKey => "matches the private key",
        ops::Signature::Unchecked => "not checked",
        ops::Signature::Unsigned => "missing",
        ops::Signature::Wrong => "DOES NOT MATCH",
    }
}
