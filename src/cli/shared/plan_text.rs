//! Plans and findings as human-readable text.

use std::io;
use std::io::Write;
use std::path::Path;

use crate::calls::Step;
use crate::calls::Totals;
use crate::cli::shared::text::many;
use crate::lint::Finding;
use crate::units::format_size;

pub(in crate::cli) fn finding(it: &Finding, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} [{}] {}: {}", it.level.name(), it.rule, it.place, it.found)?;
    writeln!(out, "    expected {}", it.instead)?;
    writeln!(out, "    rule: {} ({})", it.text, it.source)
}

fn sums(totals: &Totals) -> String {
    format!(
        "{}, {} of data and {} of zeros, {}, {}; about {} s with {} puts in flight",
        many(totals.snapshots, "snapshot"),
        many(totals.data_blocks, "block"),
        totals.zero_blocks,
        format_size(totals.bytes),
        many(totals.requests, "request"),
        totals.estimated_seconds,
        totals.connections
    )
}

pub(in crate::cli) fn totals(path: &Path, totals: &Totals, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: plan of {}", path.display(), sums(totals))
}

/// A plan as text: blocks of one kind that follow each other are one line.
#[derive(Debug, Default)]
pub(in crate::cli) struct PlanText {
    run: Option<(u32, u32, bool)>,
}

impl PlanText {
    pub(in crate::cli) fn step(&mut self, step: &Step, out: &mut dyn Write) -> io::Result<()> {
        if let Step::PutSnapshotBlock { block_index, block_count, zero, .. } = step {
            return self.put(*block_index, *block_count, *zero, out);
        }
        self.flush(out)?;
        let at = |region: &Option<String>| {
            region.as_ref().map(|region| format!(" in {region}")).unwrap_or_default()
        };
        match step {
            Step::Plan { name, region, holes, .. } => {
                writeln!(out, "plan for the AMI {name:?}{}, holes: {holes}", at(region))
            }
            Step::StartSnapshot { device, parameters, .. } => {
                let parent = parameters.parent_snapshot_id.as_ref();
                let over = parent.map(|id| format!(", over {id}")).unwrap_or_default();
                let encrypted = if parameters.encrypted == Some(true) { ", encrypted" } else { "" };
                let size = parameters.volume_size;
                writeln!(out, "StartSnapshot of {device}: {size} GiB{over}{encrypted}")
            }
            Step::CompleteSnapshot { device, parameters, .. } => writeln!(
                out,
                "CompleteSnapshot of {device}: {}, LINEAR {}",
                many(parameters.changed_blocks_count, "block"),
                parameters.checksum
            ),
            Step::RegisterImage { region, parameters, .. } => {
                writeln!(out, "RegisterImage{}: {:?}", at(region), parameters.name)
            }
            Step::ModifyImageAttribute { region, parameters } => {
                let add = &parameters.launch_permission.add;
                let who: Vec<&str> = add.iter().flat_map(|it| it.values()).take(5).collect();
                let more = if add.len() > who.len() { ", …" } else { "" };
                let shared = format!("launch permission of {}{more}", who.join(", "));
                writeln!(out, "ModifyImageAttribute{}: {shared}", at(region))
            }
            Step::EnableImageDeprecation { region, parameters } => {
                writeln!(out, "EnableImageDeprecation{}: {}", at(region), parameters.deprecate_at)
            }
            Step::EnableImageDeregistrationProtection { region, .. } => {
                writeln!(out, "EnableImageDeregistrationProtection{}", at(region))
            }
            Step::CopyImage { region, parameters, .. } => {
                let encrypted = if parameters.encrypted == Some(true) { ", encrypted" } else { "" };
                writeln!(out, "CopyImage to {region}: {:?}{encrypted}", parameters.name)
            }
            Step::Totals(totals) => writeln!(out, "in all {}", sums(totals)),
            Step::PutSnapshotBlock { .. } => unreachable!("taken above"),
        }
    }

    fn put(&mut self, first: u32, count: u32, zero: bool, out: &mut dyn Write) -> io::Result<()> {
        if let Some((start, len, kind)) = &mut self.run
            && start.strict_add(*len) == first
            && *kind == zero
        {
            *len = len.strict_add(count);
            return Ok(());
        }
        self.flush(out)?;
        self.run = Some((first, count, zero));
        Ok(())
    }

    fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Some((first, count, zero)) = self.run.take() else { return Ok(()) };
        let kind = if zero { "zeros" } else { "data" };
        if count == 1 {
            return writeln!(out, "  PutSnapshotBlock {first}: {kind}");
        }
        let last = first.strict_add(count).strict_sub(1);
        writeln!(out, "  PutSnapshotBlock {first} to {last}: {count} blocks of {kind}")
    }
}
