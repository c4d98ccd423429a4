//! Reports about the AMI itself as text for people.

use std::io;
use std::io::Write;
use std::path::Path;

use crate::calls::Step;
use crate::calls::Totals;
use crate::lint::Finding;
use crate::lint::Rule;
use crate::ops::BuildReport;
use crate::ops::ImportReport;
use crate::ops::LintReport;
use crate::units::format_size;

use crate::cli::render;
use crate::cli::render::many;

pub(super) fn rules(rules: &[Rule], out: &mut dyn Write) -> io::Result<()> {
    for rule in rules {
        writeln!(out, "{} [{}] {}", rule.id, rule.level.name(), rule.text)?;
        writeln!(out, "    from: {}", rule.source)?;
    }
    let limits = crate::lint::LIMITS_AS_OF;
    writeln!(out, "{}; limits of volume types as of {limits}", many(length(rules), "rule"))
}

fn length<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).expect("memory is under 2^64 bytes")
}

fn finding(it: &Finding, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} [{}] {}: {}", it.level.name(), it.rule, it.place, it.found)?;
    writeln!(out, "    expected {}", it.instead)?;
    writeln!(out, "    rule: {} ({})", it.text, it.source)
}

pub(super) fn lint(report: &LintReport, out: &mut dyn Write) -> io::Result<()> {
    report.findings.iter().try_for_each(|it| finding(it, out))?;
    let count = |count: usize, one: &str| many(u64::try_from(count).expect("a few"), one);
    let sums = format!("{}, {}", count(report.errors, "error"), count(report.warnings, "warning"));
    let names: Vec<String> = report.names.iter().map(|name| format!("{name:?}")).collect();
    let names = if names.len() > 3 { many(length(&names), "AMI") } else { names.join(", ") };
    writeln!(out, "{}: {} of {names}: {sums}", report.path.display(), report.kind)
}

pub(super) fn import(report: &ImportReport, out: &mut dyn Write) -> io::Result<()> {
    match &report.output {
        Some(path) => writeln!(out, "{}: recipe of the AMI {:?}", path.display(), report.name),
        None => out.write_all(report.recipe.as_bytes()),
    }
}

pub(super) fn build(report: &BuildReport, out: &mut dyn Write) -> io::Result<()> {
    report.warnings.iter().try_for_each(|it| finding(it, out))?;
    writeln!(out, "{}: no rule is broken", report.recipe.display())?;
    if report.passed {
        render::pack(&report.packed, out)?;
    }
    for test in &report.tests {
        let verdict = if test.passed { "passed" } else { "failed" };
        writeln!(out, "test {} {verdict}: {}", test.kind, test.result)?;
        if !test.passed {
            test.findings.iter().try_for_each(|it| finding(it, out))?;
            for line in test.output.lines() {
                writeln!(out, "  | {}", line.escape_debug())?;
            }
        }
    }
    match &report.plan {
        Some(plan) => totals(&plan.path, &plan.totals, out),
        None => writeln!(out, "{}: not built, a test failed", report.packed.bundle.display()),
    }
}

fn sums(totals: &Totals) -> String {
    format!(
        "{}, {} of data and {} of zeros, {}, {}; {} s or so with {} puts at a time",
        many(totals.snapshots, "snapshot"),
        many(totals.data_blocks, "block"),
        totals.zero_blocks,
        format_size(totals.bytes),
        many(totals.requests, "request"),
        totals.estimated_seconds,
        totals.connections
    )
}

pub(super) fn totals(path: &Path, totals: &Totals, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: plan of {}", path.display(), sums(totals))
}

/// A plan as text: blocks of one kind that follow each other are one line.
#[derive(Debug, Default)]
pub(super) struct PlanText {
    run: Option<(u32, u32, bool)>,
}

impl PlanText {
    pub(super) fn step(&mut self, step: &Step, out: &mut dyn Write) -> io::Result<()> {
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
