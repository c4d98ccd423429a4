//! Reports as text for people: what it is, then a table. Every number has its unit.

mod deltas;

use std::io;
use std::io::Write;
use std::path::Path;

use crate::ami::Ami;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::manifest::Counts;
use crate::ops::BenchReport;
use crate::ops::BlockRange;
use crate::ops::CompareReport;
use crate::ops::ConvertReport;
use crate::ops::Inspected;
use crate::ops::PackContent;
use crate::ops::PackReport;
use crate::ops::ReadContent;
use crate::ops::SnapshotReport;
use crate::ops::UnpackReport;
use crate::ops::VerifyReport;
use crate::units::format_size;
use crate::volume::ReadVolume;
use crate::volume::extents;

pub(super) use self::deltas::apply;
pub(super) use self::deltas::changed;
pub(super) use self::deltas::complete;
pub(super) use self::deltas::diff;
pub(super) use self::deltas::merge;

/// A table whose columns are as wide as their widest cell; the first is for names, the others are
/// for numbers.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::from(" ");
            for (number, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line.push(' ');
                let gap = width.saturating_sub(cell.chars().count());
                if number == 0 {
                    line.push_str(cell);
                    line.extend(std::iter::repeat_n(' ', gap));
                } else {
                    line.extend(std::iter::repeat_n(' ', gap.strict_add(1)));
                    line.push_str(cell);
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Says how many of something there are.
pub(super) fn many(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

fn length<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).expect("memory is under 2^64 bytes")
}

/// Says a ratio in percent, with one digit behind the point.
fn percent(part: u64, whole: u64) -> String {
    let whole = u128::from(whole.max(1));
    let tenths = u128::from(part).strict_mul(1000).strict_div(whole);
    format!("{}.{} %", tenths.strict_div(10), tenths.strict_rem(10))
}

fn ami(ami: &Ami, out: &mut dyn Write) -> io::Result<()> {
    let boot = ami.boot_mode.map_or("up to the instance type", |mode| mode.name());
    writeln!(
        out,
        "  architecture {}, virtualization {}, boot mode {boot}, root device {}",
        ami.effective_architecture(),
        ami.effective_virtualization(),
        ami.root_device_name
    )
}

/// The columns that say how many blocks are in which state.
const BLOCK_HEAD: [&str; 3] = ["data", "zero", "hole"];

fn block_cells(blocks: &Counts) -> [String; 3] {
    [blocks.data.to_string(), blocks.zero.to_string(), blocks.hole.to_string()]
}

pub(super) fn pack(report: &PackReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: bundle of the AMI {:?}", report.bundle.display(), report.ami.name)?;
    ami(&report.ami, out)?;
    writeln!(out, "  digest sha256:{}", report.digest)?;
    let mut table =
        Table::new(&["device", "volume", "EBS", "data", "zero", "hole", "new chunks", "stored"]);
    for volume in &report.volumes {
        let [data, zero, hole] = block_cells(&volume.snapshot.blocks);
        table.row(vec![
            volume.snapshot.device.clone().unwrap_or_default(),
            format_size(volume.snapshot.volume_size_bytes),
            format!("{} GiB", volume.snapshot.ebs_volume_size_gib),
            data,
            zero,
            hole,
            volume.new_chunks.to_string(),
            format_size(volume.stored_bytes),
        ]);
    }
    writeln!(out, "  volumes, in blocks of 512 KiB:")?;
    table.print(out)?;
    for volume in &report.volumes {
        if let Some(base) = &volume.base_digest {
            let device = volume.snapshot.device.as_deref().unwrap_or_default();
            writeln!(
                out,
                "  {device} leans on the snapshot sha256:{base}, {} of its new chunks as patches",
                volume.patched_chunks
            )?;
        }
    }
    Ok(())
}

pub(super) fn unpack(report: &UnpackReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} image of {}, {}",
        report.output.display(),
        report.format,
        report.device,
        format_size(report.volume_size_bytes)
    )?;
    blocks(&report.blocks, out)?;
    writeln!(out, "  root digest sha256:{}", report.root_digest)?;
    match &report.other_devices[..] {
        [] => Ok(()),
        others => writeln!(out, "  and with it {}", others.join(", ")),
    }
}

fn blocks(counts: &Counts, out: &mut dyn Write) -> io::Result<()> {
    let cells = block_cells(counts);
    let parts: Vec<String> =
        BLOCK_HEAD.iter().zip(cells).map(|(kind, count)| format!("{count} {kind}")).collect();
    writeln!(out, "  blocks of 512 KiB: {}", parts.join(", "))
}

pub(super) fn snapshot(
    path: &Path,
    report: &SnapshotReport,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(
        out,
        "{}: snapshot manifest of a volume of {}, {} GiB in EBS",
        path.display(),
        format_size(report.volume_size_bytes),
        report.ebs_volume_size_gib
    )?;
    blocks(&report.blocks, out)?;
    writeln!(out, "  root digest sha256:{}", report.root_digest)?;
    writeln!(out, "  LINEAR aggregate {}", report.linear_sha256_base64)
}

pub(super) fn convert(report: &ConvertReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} image, made of {}, {}",
        report.output.display(),
        report.to,
        report.from,
        format_size(report.volume_size_bytes)
    )
}

pub(super) fn compare(report: &CompareReport, out: &mut dyn Write) -> io::Result<()> {
    for it in &report.differences {
        writeln!(out, "bytes {} to {} differ in {}", it.start_bytes, it.end_bytes, it.what)?;
    }
    let what = if report.states { "bytes and states" } else { "bytes" };
    if report.equal {
        writeln!(out, "equal in {what}, {}", format_size(report.left_size_bytes))
    } else {
        writeln!(
            out,
            "different in {what}: {} of {} in {}",
            format_size(report.different_bytes),
            format_size(report.left_size_bytes.max(report.right_size_bytes)),
            many(length(&report.differences), "range")
        )
    }
}

fn range(blocks: &BlockRange) -> String {
    let what = match blocks.block_count {
        0 => "no whole block".to_owned(),
        1 => format!("block {}", blocks.first_block),
        count => {
            let last = blocks.first_block.strict_add(count).strict_sub(1);
            format!("blocks {} to {last}", blocks.first_block)
        }
    };
    format!("{} {what}, bytes {} to {}", blocks.device, blocks.start_bytes, blocks.end_bytes)
}

pub(super) fn verify(path: &Path, report: &VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    for damage in &report.damage {
        match &damage.chunk {
            Some(id) => writeln!(out, "{} sha256:{id}: {}", damage.what, damage.error)?,
            None => writeln!(out, "{}: {}", damage.what, damage.error)?,
        }
        for blocks in &damage.blocks {
            writeln!(out, "  hits {}", range(blocks))?;
        }
    }
    for difference in &report.differences {
        writeln!(
            out,
            "differs: {}: {} in the bundle, {} in the image",
            range(&difference.blocks),
            difference.bundle,
            difference.image
        )?;
    }
    let how = if report.quick { "stored bytes of" } else { "stored and plain bytes of" };
    let checked = format!(
        "{}, {how} {} in {}, {}",
        many(report.snapshots, "snapshot"),
        many(report.chunks, "chunk"),
        many(report.packs, "pack"),
        format_size(report.stored_bytes)
    );
    if let Some(missing) = &report.missing {
        for base in &missing.bases {
            writeln!(out, "thin: leans on the snapshot sha256:{base}, which was not looked at")?;
        }
        writeln!(
            out,
            "  left to it: {}, the content of {} that only it has, and what {} make with its pages",
            many(length(&missing.packs), "pack"),
            many(missing.base_blocks, "block"),
            many(missing.patched_chunks, "patched chunk")
        )?;
    }
    if report.sound {
        writeln!(out, "{}: all is well ({checked})", path.display())
    } else {
        writeln!(
            out,
            "{}: not well: {} damaged, {} ({checked})",
            path.display(),
            report.damage.len(),
            many(length(&report.differences), "difference")
        )
    }
}

fn manifest(report: &SnapshotReport, out: &mut dyn Write) -> io::Result<()> {
    blocks(&report.blocks, out)?;
    writeln!(out, "  root digest sha256:{}", report.root_digest)?;
    writeln!(out, "  LINEAR aggregate {}", report.linear_sha256_base64)?;
    writeln!(out, "  manifest of {}", format_size(report.manifest_bytes))
}

fn read_content(read: Option<&ReadContent>, out: &mut dyn Write) -> io::Result<()> {
    let Some(read) = read else { return Ok(()) };
    blocks(&read.blocks, out)?;
    writeln!(out, "  LINEAR aggregate {}", read.linear_sha256_base64)
}

/// Says what the packs of a bundle hold, and what it leans on.
fn packed(
    packs: &[PackContent],
    bases: &[Digest],
    absent_packs: &[Digest],
    out: &mut dyn Write,
) -> io::Result<()> {
    let plain: u64 = packs.iter().map(|pack| pack.plain_bytes).sum();
    let stored: u64 = packs.iter().map(|pack| pack.stored_bytes).sum();
    let chunks: u64 = packs.iter().map(|pack| pack.chunks).sum();
    writeln!(
        out,
        "{}: {}, {} plain, {} stored, {}",
        many(length(packs), "pack"),
        many(chunks, "chunk"),
        format_size(plain),
        format_size(stored),
        percent(stored, plain)
    )?;
    for base in bases {
        writeln!(out, "  leans on the snapshot sha256:{base}")?;
    }
    if !absent_packs.is_empty() {
        let absent = many(length(absent_packs), "pack");
        writeln!(out, "  thin: leaves out {absent} of its base")?;
    }
    Ok(())
}

pub(super) fn inspect(report: &Inspected, out: &mut dyn Write) -> io::Result<()> {
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
            writeln!(out, "{}: bundle of the AMI {:?}", path.display(), description.name)?;
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
                path.display(),
                format_size(snapshot.volume_size_bytes),
                snapshot.ebs_volume_size_gib
            )?;
            manifest(snapshot, out)
        }
        Inspected::InstanceStore(content) => super::instance_store::render_inspect(content, out),
        Inspected::Pack { path, content } => writeln!(
            out,
            "{}: pack of {}, {} plain, {} stored, {}",
            path.display(),
            many(content.chunks, "chunk"),
            format_size(content.plain_bytes),
            format_size(content.stored_bytes),
            percent(content.stored_bytes, content.plain_bytes)
        ),
        Inspected::Image {
            path,
            format,
            file_bytes,
            volume_size_bytes,
            ebs_volume_size_gib,
            content,
            read,
            notes,
        } => {
            writeln!(
                out,
                "{}: {format} image of {}, volume of {} ({volume_size_bytes} bytes), \
                 {ebs_volume_size_gib} GiB in EBS",
                path.display(),
                format_size(*file_bytes),
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
            read_content(read.as_ref(), out)?;
            notes.iter().try_for_each(|note| writeln!(out, "  note: {note}"))
        }
        Inspected::Stream { path, format, file_bytes, volume_size_bytes, read, notes } => {
            let file = file_bytes.map(|bytes| format!(" of {}", format_size(bytes)));
            let volume = match volume_size_bytes {
                Some(size) => format!(", volume of {} ({size} bytes)", format_size(*size)),
                None => "; --read tells the size of its volume".to_owned(),
            };
            let file = file.unwrap_or_default();
            writeln!(out, "{}: {format} image{file}{volume}", path.display())?;
            read_content(read.as_ref(), out)?;
            notes.iter().try_for_each(|note| writeln!(out, "  note: {note}"))
        }
    }
}

pub(super) fn map(volume: &dyn ReadVolume, out: &mut dyn Write) -> Result<()> {
    let lost = |e| Error::io("write to", Path::new("standard output"), e);
    writeln!(out, "   start (bytes)   length (bytes)  kind").map_err(lost)?;
    for extent in extents(volume) {
        let extent = extent?;
        writeln!(out, "{:>16} {:>16}  {}", extent.range.start, extent.len(), extent.kind)
            .map_err(lost)?;
    }
    Ok(())
}

pub(super) fn bench(report: &BenchReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{} of data, level {}, hash engine {} with {} lanes, medians of {} rounds, in GB/s:",
        format_size(report.bytes),
        report.level,
        report.engine.name,
        report.engine.lanes,
        report.rounds
    )?;
    let mut table = Table::new(&["stage", "threads", "speed", "limit", "ratio", "the limit is"]);
    for stage in &report.stages {
        table.row(vec![
            stage.name.to_owned(),
            stage.threads.to_string(),
            format!("{:.2}", stage.gigabytes_per_second),
            format!("{:.2}", stage.limit_gigabytes_per_second),
            format!("{:.2}", stage.ratio_to_limit),
            stage.limit_name.to_owned(),
        ]);
    }
    table.print(out)
}
