//! Plans and findings as human-readable text.

use std::io;
use std::io::Write;
use std::path::Path;

use crate::ami::LaunchPermission;
use crate::calls::Action;
use crate::calls::Call;
use crate::calls::Id;
use crate::calls::Step;
use crate::calls::Totals;
use crate::cli::shared::text::many;
use crate::error::shown;
use crate::lint::Finding;
use crate::ops::Waived;
use crate::units::format_size;

pub(in crate::cli) fn finding(it: &Finding, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} [{}] {}: {}", it.level.name(), it.rule, it.place, it.found)?;
    writeln!(out, "    expected {}", it.instead)?;
    writeln!(out, "    rule: {} ({})", it.text, it.source)?;
    if it.fix.is_empty() { Ok(()) } else { writeln!(out, "    fix: {}", fix(it.fix)) }
}

/// Says what fixes a broken rule; what begins with two hyphens are arguments of `virt-customize`.
pub(in crate::cli) fn fix(fix: &str) -> String {
    if fix.starts_with("--") { format!("virt-customize -a IMAGE {fix}") } else { fix.to_owned() }
}

pub(in crate::cli) fn waived(it: &Waived, out: &mut dyn Write) -> io::Result<()> {
    let Waived { finding, reason, until } = it;
    let (level, rule, place) = (finding.level.name(), finding.rule, &finding.place);
    writeln!(out, "waived until {until}: {level} [{rule}] {place}: {}", finding.found)?;
    writeln!(out, "    because {reason}")
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
    writeln!(out, "{}: plan of {}", shown(path), sums(totals))
}

/// Says what a call or a wait is about.
fn action_line(action: &Action, out: &mut dyn Write) -> io::Result<()> {
    let step = action.step;
    let at = action.region.as_ref().map(|it| format!(" in {it}")).unwrap_or_default();
    let share = |add: &[LaunchPermission]| {
        let who: Vec<&str> = add.iter().flat_map(LaunchPermission::values).take(5).collect();
        let more = if add.len() > who.len() { ", …" } else { "" };
        format!("{}{more}", who.join(", "))
    };
    let until = action.until.map_or("", |until| until.state);
    match &action.parameters {
        Call::RegisterImage(call) => writeln!(out, "{step}{at}: {:?}", call.name),
        Call::ModifyImageAttribute(call) => {
            let who = share(&call.launch_permission.add);
            writeln!(out, "{step}{at}: launch permission of {} for {who}", call.image_id)
        }
        Call::ModifySnapshotAttribute(call) => {
            let who = share(&call.create_volume_permission.add);
            writeln!(out, "{step}{at}: volume permission of {} for {who}", call.snapshot_id)
        }
        Call::EnableImageDeprecation(call) => {
            writeln!(out, "{step}{at}: {} from {}", call.image_id, call.deprecate_at)
        }
        Call::EnableImageDeregistrationProtection(call) => {
            writeln!(out, "{step}{at}: {}", call.image_id)
        }
        Call::CopyImage(call) => {
            let encrypted = if call.encrypted == Some(true) { ", encrypted" } else { "" };
            writeln!(out, "{step}{at}: {:?}{encrypted}", call.name)
        }
        Call::DescribeSnapshots(call) => {
            let ids: Vec<String> = call.snapshot_ids.iter().map(Id::to_string).collect();
            writeln!(out, "{step}{at}: until {} is {until}", ids.join(", "))
        }
        Call::DescribeImages(call) => {
            let ids: Vec<String> = call.image_ids.iter().map(Id::to_string).collect();
            writeln!(out, "{step}{at}: until {} is {until}", ids.join(", "))
        }
        Call::DeregisterImage(call) => writeln!(out, "{step}{at}: {}", call.image_id),
    }
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
            Step::Action(action) => action_line(action, out),
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
