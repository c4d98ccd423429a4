//! Pieces of reports as human-readable text: what it is, then a table. Every number has its unit.

use std::io;
use std::io::Write;

use crate::ami::Ami;
use crate::error::shown;
use crate::manifest::Counts;
use crate::ops::MergeReport;
use crate::ops::PackReport;
use crate::ops::SnapshotReport;
use crate::units::format_size;

/// A table whose columns are as wide as their widest cell; the first is for names, the others are
/// for numbers.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(in crate::cli) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(in crate::cli) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(in crate::cli) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
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
pub(in crate::cli) fn many(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

pub(in crate::cli) fn length<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).expect("memory is under 2^64 bytes")
}

/// Says a ratio in percent, with one digit behind the point.
pub(in crate::cli) fn percent(part: u64, whole: u64) -> String {
    let whole = u128::from(whole.max(1));
    let tenths = u128::from(part).strict_mul(1000).strict_div(whole);
    format!("{}.{} %", tenths.strict_div(10), tenths.strict_rem(10))
}

pub(in crate::cli) fn ami(ami: &Ami, out: &mut dyn Write) -> io::Result<()> {
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
pub(in crate::cli) const BLOCK_HEAD: [&str; 3] = ["data", "zero", "hole"];

pub(in crate::cli) fn block_cells(blocks: &Counts) -> [String; 3] {
    [blocks.data.to_string(), blocks.zero.to_string(), blocks.hole.to_string()]
}

pub(in crate::cli) fn blocks(counts: &Counts, out: &mut dyn Write) -> io::Result<()> {
    let cells = block_cells(counts);
    let parts: Vec<String> =
        BLOCK_HEAD.iter().zip(cells).map(|(kind, count)| format!("{count} {kind}")).collect();
    writeln!(out, "  blocks of 512 KiB: {}", parts.join(", "))
}

pub(in crate::cli) fn manifest(report: &SnapshotReport, out: &mut dyn Write) -> io::Result<()> {
    blocks(&report.blocks, out)?;
    writeln!(out, "  root digest sha256:{}", report.root_digest)?;
    writeln!(out, "  LINEAR aggregate {}", report.linear_sha256_base64)?;
    if let Some(free) = &report.free {
        let (state, rules) = free.split_once('/').unwrap_or((free, "1"));
        writeln!(out, "  free blocks are left out as {state}s, by version {rules} of the rules")?;
    }
    writeln!(out, "  manifest of {}", format_size(report.manifest_bytes))
}

pub(in crate::cli) fn pack(report: &PackReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: bundle of the AMI {:?}", shown(&report.bundle), report.ami.name)?;
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
                "  {device} is packed against the snapshot sha256:{base}, {} of its new chunks as patches",
                volume.patched_chunks
            )?;
        }
    }
    Ok(())
}

/// What `merge` and `rebase` say.
pub(in crate::cli) fn joined(report: &MergeReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: bundle", shown(&report.bundle))?;
    writeln!(
        out,
        "  {}, {} of them patches, {} stored",
        many(report.chunks, "new chunk"),
        report.patched_chunks,
        format_size(report.stored_bytes)
    )?;
    writeln!(out, "  digest sha256:{}", report.digest)?;
    for base in &report.bases {
        writeln!(out, "  packed against the snapshot sha256:{base}")?;
    }
    Ok(())
}
