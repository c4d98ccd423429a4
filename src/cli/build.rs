//! `build`: a recipe to a bundle.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::AudienceArgs;
use crate::cli::shared::options::FreeArgs;
use crate::cli::shared::options::GroupArgs;
use crate::cli::shared::options::PackSize;
use crate::cli::shared::options::RegionArgs;
use crate::cli::shared::options::StateArgs;
use crate::cli::shared::options::Threads;
use crate::cli::shared::options::parse_mapping;
use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::plan_text::finding;
use crate::cli::shared::plan_text::totals;
use crate::cli::shared::plan_text::waived;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::templates::TemplateArgs;
use crate::cli::shared::text;
use crate::cli::shared::volumes::Keys;
use crate::cli::shared::volumes::Opening;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::BuildReport;
use crate::report::ReportRequest;
use crate::report::report as write_report;

/// Builds a bundle from a recipe: checks, packs, tests and plans, in that order
///
/// It stops at the first failure: rules before a byte is packed, tests before the bundle gets its
/// name. The plan of the upload goes beside the bundle. Volumes are called by their devices.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit build ami.toml -o web.ami\n  amikit build ami.toml \
                        -o web.ami --date --image /dev/xvda=root.qcow2")]
pub(super) struct Build {
    /// The recipe
    recipe: PathBuf,

    /// Where the bundle goes; an existing bundle is replaced in one step
    #[arg(long, short, value_name = "BUNDLE")]
    output: PathBuf,

    /// Where the plan goes [default: beside the bundle, as in web.plan.jsonl]
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,

    /// Write a page that shows the root volume to this file, once the bundle is built
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// An image instead of the recipe's own
    #[arg(long, value_name = "DEVICE=IMAGE", value_parser = parse_mapping)]
    image: Vec<(String, PathBuf)>,

    #[command(flatten)]
    templates: TemplateArgs,

    /// A rule that is not applied
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,

    #[command(flatten)]
    audience: AudienceArgs,

    #[command(flatten)]
    groups: GroupArgs,

    #[command(flatten)]
    regions: RegionArgs,

    #[command(flatten)]
    pack_size: PackSize,

    #[command(flatten)]
    states: StateArgs,

    #[command(flatten)]
    free: FreeArgs,

    #[command(flatten)]
    opening: Opening,

    #[command(flatten)]
    keys: Keys,

    #[command(flatten)]
    threads: Threads,
}

impl Build {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let mut roles = Roles::of(&[]);
        for (device, _) in &self.image {
            roles = roles.and(device);
        }
        let mut images = Vec::new();
        for (device, typed) in &self.image {
            let mut image = self.opening.with_keys(&self.keys, &roles, device, typed)?;
            image.role = Some(device.clone());
            images.push(ops::MappedVolume { device: device.clone(), image });
        }
        let request = ops::BuildRequest {
            recipe: self.recipe.clone(),
            output: self.output.clone(),
            plan: self.plan.clone(),
            images,
            templates: self.templates.request(),
            allow: self.allow.clone(),
            audience: self.audience.audience(),
            groups: self.groups.groups(self.regions.region, self.threads, output),
            pack_size: self.pack_size.pack_size,
            threads: self.threads.count(),
            states: self.states.states(output),
            free: self.free.record(),
            program: std::env::current_exe().ok(),
        };
        let report = ops::build(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        if let Some(page) = self.report.as_ref().filter(|_| report.passed) {
            let bundle = ops::VolumeRequest::new(&self.output);
            let page =
                ReportRequest { threads: request.threads, ..ReportRequest::new(bundle, page) };
            let page = write_report(&page, follower);
            follower.end();
            page.map_err(|error| error.leaving("the bundle and its plan are there"))?;
        }
        output.report("build", &report, render)?;
        Ok(if report.passed { 0 } else { NO })
    }
}

fn render(report: &BuildReport, out: &mut dyn Write) -> io::Result<()> {
    report.warnings.iter().try_for_each(|it| finding(it, out))?;
    report.waived.iter().try_for_each(|it| waived(it, out))?;
    writeln!(out, "{}: no rule is broken", shown(&report.recipe))?;
    if report.passed {
        text::pack(&report.packed, out)?;
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
        None => writeln!(out, "{}: not built, a test failed", shown(&report.packed.bundle)),
    }
}
