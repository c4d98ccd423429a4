//! `lint`: EC2's rules, and those about what is inside volumes.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;

use crate::cli::shared::options::AudienceArgs;
use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::plan_text::finding;
use crate::cli::shared::plan_text::fix;
use crate::cli::shared::plan_text::waived;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::sarif::document;
use crate::cli::shared::templates::TemplateArgs;
use crate::cli::shared::text::length;
use crate::cli::shared::text::many;
use crate::cli::shared::volumes::Reading;
use crate::error::Result;
use crate::error::shown;
use crate::lint::Audience;
use crate::lint::LIMITS_AS_OF;
use crate::lint::RULES;
use crate::lint::Rule;
use crate::ops;
use crate::ops::LintReport;

/// Reports what EC2 would refuse, what would not boot, and what must not be shared
///
/// Volumes are looked into: the rules about files of the guest need no mount and no start. A finding names
/// a file and a line, never a secret. The exit code is 1 if there are errors; warnings do not change it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit lint ami.toml\n  amikit lint web.ami --for marketplace\n  \
                        amikit lint root.qcow2\n  amikit lint ami.toml --as sarif > lint.sarif\n  \
                        amikit lint --list"
)]
pub(super) struct Lint {
    /// A recipe, a bundle, an image, a call of `RegisterImage`, an answer of `DescribeImages`; - for standard
    /// input
    #[arg(value_name = "FILE", required_unless_present = "list")]
    path: Option<PathBuf>,

    /// List all rules, with where they come from
    #[arg(long, conflicts_with = "path")]
    list: bool,

    /// A rule that is not applied
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,

    /// Judge as if the snapshots were encrypted
    #[arg(long)]
    encrypted: bool,

    #[command(flatten)]
    audience: AudienceArgs,

    /// Judge the description, partitions and boot loaders alone, without files of the guest
    #[arg(long)]
    no_inside: bool,

    /// Print for people, or SARIF 2.1.0 for CI systems
    #[arg(long = "as", default_value = "table", value_name = "SHAPE", conflicts_with = "list")]
    shape: Shape,

    #[command(flatten)]
    templates: TemplateArgs,

    #[command(flatten)]
    reading: Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    Table,
    Sarif,
}

impl Lint {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let Some(path) = &self.path else {
            let list = serde_json::json!({ "rules": RULES });
            return output.report("rules", &list, |_, out| rules(RULES, out)).map(|()| 0);
        };
        let request = ops::LintRequest {
            path: path.clone(),
            allow: self.allow.clone(),
            encrypted: self.encrypted,
            templates: self.templates.request(),
            volume: self.reading.only(path)?,
            audience: self.audience.audience(),
            inside: !self.no_inside,
        };
        let report = ops::lint(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        match self.shape {
            Shape::Table => output.report("lint", &report, render)?,
            Shape::Sarif => print(|out| {
                let document = serde_json::to_string_pretty(&document(&report));
                writeln!(out, "{}", document.expect("made of texts and numbers")).map_err(lost)
            })?,
        }
        Ok(if report.errors == 0 { 0 } else { NO })
    }
}

fn rules(rules: &[Rule], out: &mut dyn Write) -> io::Result<()> {
    for rule in rules {
        writeln!(out, "{} [{}] {}", rule.id, levels(rule), rule.text)?;
        writeln!(out, "    {}: {}", rule.evidence.name(), rule.source)?;
        if !rule.fix.is_empty() {
            writeln!(out, "    fix: {}", fix(rule.fix))?;
        }
    }
    let limits = LIMITS_AS_OF;
    writeln!(out, "{}; limits of volume types as of {limits}", many(length(rules), "rule"))
}

/// Says how bad it is: one word, and more where it depends on whom the AMI is for.
fn levels(rule: &Rule) -> String {
    let mut text = rule.level.name().to_owned();
    for audience in [Audience::Shared, Audience::Marketplace] {
        let level = rule.level_for(audience);
        if level != rule.level {
            text = format!("{text}, {} {}", audience.name(), level.name());
        }
    }
    text
}

fn render(report: &LintReport, out: &mut dyn Write) -> io::Result<()> {
    report.findings.iter().try_for_each(|it| finding(it, out))?;
    report.waived.iter().try_for_each(|it| waived(it, out))?;
    let count = |count: usize, one: &str| many(u64::try_from(count).expect("a few"), one);
    let sums = format!("{}, {}", count(report.errors, "error"), count(report.warnings, "warning"));
    let names: Vec<String> = report.names.iter().map(|name| format!("{name:?}")).collect();
    let names = if names.len() > 3 { many(length(&names), "AMI") } else { names.join(", ") };
    let of = if names.is_empty() { names } else { format!(" of {names}") };
    writeln!(out, "{}: {}{of}: {sums}", shown(&report.path), report.kind)
}
