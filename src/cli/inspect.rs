//! `inspect`: what a file is, and what is in it.

use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::instance_store;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::Table;
use crate::cli::shared::text::ami;
use crate::cli::shared::text::blocks;
use crate::cli::shared::text::length;
use crate::cli::shared::text::manifest;
use crate::cli::shared::text::many;
use crate::cli::shared::text::percent;
use crate::cli::shared::volumes::Reading;
use crate::digest::Digest;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::GuestReport;
use crate::ops::Inspected;
use crate::ops::PackContent;
use crate::ops::ReadContent;
use crate::ops::VolumePartReport;
use crate::ops::escaped;
use crate::units::format_size;

/// Shows what a file is and what is in it: an image, a bundle, a device of one, a manifest, a pack
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit inspect web.ami\n  amikit inspect web.ami:/dev/sdf")]
pub(super) struct Inspect {
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    path: PathBuf,

    /// Read an image whole, for the state of its blocks and EBS's checksum
    #[arg(long)]
    read: bool,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    threads: Threads,
}

impl Inspect {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let read = self.read.then(|| self.threads.count());
        let report = ops::inspect(&self.reading.only(&self.path)?, read, follower)?;
        follower.end();
        output.report("inspect", &report, render).map(|()| 0)
    }
}

fn read_content(read: Option<&ReadContent>, out: &mut dyn Write) -> io::Result<()> {
    let Some(read) = read else { return Ok(()) };
    blocks(&read.blocks, out)?;
    writeln!(out, "  LINEAR aggregate {}", read.linear_sha256_base64)
}

/// Says what the packs of a bundle hold, and what it was packed against.
fn packed(
    packs: &[PackContent],
    bases: &[Digest],
    absent_packs: &[Digest],
    out: &mut dyn Write,
) -> io::Result<()> {
    let plain: u64 = packs.iter().map(|pack| pack.plain_bytes).sum();
    let stored: u64 = packs.iter().map(|pack| pack.stored_bytes).sum();
    let chunks: u64 = packs.iter().map(|pack| pack.chunks).sum();
    let groups: u64 = packs.iter().map(|pack| pack.groups).sum();
    writeln!(
        out,
        "{}: {} in {}, {} plain, {} stored, {}",
        many(length(packs), "pack"),
        many(chunks, "chunk"),
        many(groups, "group"),
        format_size(plain),
        format_size(stored),
        percent(stored, plain)
    )?;
    for base in bases {
        writeln!(out, "  packed against the snapshot sha256:{base}")?;
    }
    if !absent_packs.is_empty() {
        let absent = many(length(absent_packs), "pack");
        writeln!(out, "  thin: leaves out {absent} of its base")?;
    }
    Ok(())
}

/// Says what is inside a volume.
fn inside(guest: &GuestReport, out: &mut dyn Write) -> io::Result<()> {
    let code = if guest.boot_code { ", boot code in sector 0" } else { "" };
    let table = if guest.table == "none" { "none" } else { guest.table };
    writeln!(out, "  partition table: {table}{code}")?;
    let mut rows =
        Table::new(&["partition", "holds", "size", "used", "free", "stored free", "mounted at"]);
    let size = |bytes: Option<u64>| bytes.map_or("-".into(), format_size);
    for part in &guest.partitions {
        rows.row(vec![
            part.logical_volume
                .clone()
                .or_else(|| part.number.map(|number| number.to_string()))
                .unwrap_or_else(|| "whole".into()),
            part.file_system
                .unwrap_or(match part.purpose {
                    "bios-boot" => "boot code",
                    _ => "-",
                })
                .to_owned(),
            format_size(part.size_bytes),
            size(part.used_bytes),
            size(part.free_bytes),
            size(part.free_stored_bytes),
            part.mounted_at.clone().unwrap_or_else(|| "-".into()),
        ]);
    }
    rows.print(out)?;
    for part in &guest.partitions {
        let name = match (&part.logical_volume, part.number) {
            (Some(name), _) => format!("logical volume {name}"),
            (None, Some(number)) => format!("partition {number}"),
            (None, None) => "the volume".into(),
        };
        let label = part.label.as_ref().map(|it| format!(", label {it}")).unwrap_or_default();
        if let Some(uuid) = &part.uuid {
            writeln!(out, "  {name}: UUID {uuid}{label}")?;
        }
        if let Some(other) = &part.other_system {
            writeln!(out, "  {name}: a system of its own, {}", escaped(other))?;
        }
        if let Some(stale) = part.stale_bytes {
            writeln!(out, "  {name}: {} of free blocks hold old data", format_size(stale))?;
        }
        if part.replayed {
            writeln!(out, "  {name}: read as its journal will leave it")?;
        }
        for reason in part.kept_because.iter().filter(|_| part.file_system.is_some()) {
            writeln!(out, "  {name}: free blocks are kept: {reason}")?;
        }
    }
    if let Some(os) = &guest.os {
        let name = os.name.as_ref().or(os.id.as_ref()).map_or("unknown".into(), |it| escaped(it));
        writeln!(out, "  system: {name}")?;
    }
    if let Some(architecture) = guest.architecture {
        writeln!(out, "  programs are for {architecture}")?;
    }
    for loader in &guest.boot_loaders {
        let machine = loader.machine.as_deref().unwrap_or("nothing that is known");
        writeln!(
            out,
            "  boot loader {} in partition {}, for {machine}",
            loader.path, loader.partition
        )?;
    }
    guest.faults.iter().try_for_each(|fault| writeln!(out, "  damaged: {fault}"))
}

fn part(path: &Path, part: &VolumePartReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: part of a snapshot: blocks {} to {} of a volume of {}",
        shown(path),
        part.first_block,
        part.first_block.saturating_add(part.block_count).saturating_sub(1),
        format_size(part.whole_size_bytes)
    )?;
    writeln!(out, "  made with {}", part.options)?;
    manifest(&part.snapshot, out)
}

fn pack(path: &Path, content: &PackContent, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: pack of {} in {}, {} plain, {} stored, {}",
        shown(path),
        many(content.chunks, "chunk"),
        many(content.groups, "group"),
        format_size(content.plain_bytes),
        format_size(content.stored_bytes),
        percent(content.stored_bytes, content.plain_bytes)
    )
}

fn render(report: &Inspected, out: &mut dyn Write) -> io::Result<()> {
    match report {
        Inspected::Bundle {
            path,
            digest,
            reference,
            ami: description,
            snapshots,
            packs,
            bases,
            absent_packs,
        } => {
            writeln!(out, "{}: bundle of the AMI {:?}", shown(path), description.name)?;
            ami(description, out)?;
            if let Some(text) = &description.description {
                writeln!(out, "  description {text:?}")?;
            }
            writeln!(out, "  digest sha256:{digest}")?;
            if let Some(reference) = reference {
                writeln!(out, "  OCI reference {reference}")?;
            }
            for snapshot in snapshots {
                let device = snapshot.device.as_deref().unwrap_or("a snapshot");
                writeln!(
                    out,
                    "{device}: volume of {}, {} GiB in EBS",
                    format_size(snapshot.volume_size_bytes),
                    snapshot.ebs_volume_size_gib
                )?;
                manifest(snapshot, out)?;
            }
            packed(packs, bases, absent_packs, out)
        }
        Inspected::Manifest { path, snapshot } => {
            writeln!(
                out,
                "{}: snapshot manifest of a volume of {}, {} GiB in EBS",
                shown(path),
                format_size(snapshot.volume_size_bytes),
                snapshot.ebs_volume_size_gib
            )?;
            manifest(snapshot, out)
        }
        Inspected::Part { path, part: of } => part(path, of, out),
        Inspected::InstanceStore(content) => instance_store::content(content, out),
        Inspected::Pack { path, content } => pack(path, content, out),
        Inspected::Image {
            path,
            format,
            file_bytes,
            volume_size_bytes,
            ebs_volume_size_gib,
            logical_sector_bytes,
            content,
            read,
            guest,
            notes,
        } => {
            writeln!(
                out,
                "{}: {format} image{}, volume of {} ({volume_size_bytes} bytes), \
                 {ebs_volume_size_gib} GiB in EBS",
                shown(path),
                file_bytes.map(|bytes| format!(" of {}", format_size(bytes))).unwrap_or_default(),
                format_size(*volume_size_bytes)
            )?;
            writeln!(
                out,
                "  {}: {} data, {} zero, {} hole",
                many(content.extents, "extent"),
                format_size(content.data_bytes),
                format_size(content.zero_bytes),
                format_size(content.hole_bytes)
            )?;
            if let Some(bytes) = logical_sector_bytes {
                writeln!(out, "  logical sectors of {bytes} bytes")?;
            }
            read_content(read.as_ref(), out)?;
            if let Some(guest) = guest {
                inside(guest, out)?;
            }
            notes.iter().try_for_each(|note| writeln!(out, "  note: {note}"))
        }
        Inspected::Stream { path, format, file_bytes, volume_size_bytes, read, notes } => {
            let file = file_bytes.map(|bytes| format!(" of {}", format_size(bytes)));
            let volume = match volume_size_bytes {
                Some(size) => format!(", volume of {} ({size} bytes)", format_size(*size)),
                None => "; --read gives the size of its volume".to_owned(),
            };
            let file = file.unwrap_or_default();
            writeln!(out, "{}: {format} image{file}{volume}", shown(path))?;
            read_content(read.as_ref(), out)?;
            notes.iter().try_for_each(|note| writeln!(out, "  note: {note}"))
        }
    }
}
