//! `lint`: EC2's rules.
#![allow(clippy::doc_markdown, reason = "these comments are the help, where marks would show")]

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::plan_text::finding;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::templates::TemplateArgs;
use crate::cli::shared::text::length;
use crate::cli::shared::text::many;
use crate::error::Result;
use crate::error::shown;
use crate::lint::LIMITS_AS_OF;
use crate::lint::RULES;
use crate::lint::Rule;
use crate::ops;
use crate::ops::LintReport;

/// Reports what EC2 would refuse, and what to write instead
///
/// The exit code is 1 if there are errors; warnings do not change it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit lint ami.toml\n  amikit lint web.ami --allow \
                        ena-missing\n  amikit lint --list")]
pub(super) struct Lint {
    /// A recipe, a bundle, a call of `RegisterImage`, an answer of `DescribeImages`; - for standard input
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
    templates: TemplateArgs,
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
        };
        let report = ops::lint(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("lint", &report, render)?;
        Ok(if report.errors == 0 { 0 } else { NO })
    }
}

fn rules(rules: &[Rule], out: &mut dyn Write) -> io::Result<()> {
    for rule in rules {
        writeln!(out, "{} [{}] {}", rule.id, rule.level.name(), rule.text)?;
        writeln!(out, "    {}: {}", rule.evidence.name(), rule.source)?;
    }
    let limits = LIMITS_AS_OF;
    writeln!(out, "{}; limits of volume types as of {limits}", many(length(rules), "rule"))
}

fn render(report: &LintReport, out: &mut dyn Write) -> io::Result<()> {
    report.findings.iter().try_for_each(|it| finding(it, out))?;
    let count = |count: usize, one: &str| many(u64::try_from(count).expect("a few"), one);
    let sums = format!("{}, {}", count(report.errors, "error"), count(report.warnings, "warning"));
    let names: Vec<String> = report.names.iter().map(|name| format!("{name:?}")).collect();
    let names = if names.len() > 3 { many(length(&names), "AMI") } else { names.join(", ") };
    writeln!(out, "{}: {} of {names}: {sums}", shown(&report.path), report.kind)
}
