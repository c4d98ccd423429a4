//! `plan`: the whole upload of a bundle, offline.
#![allow(clippy::doc_markdown, reason = "these comments are the help, where marks would show")]

use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;

use crate::calls::Step;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::plan_text::PlanText;
use crate::cli::shared::plan_text::totals;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::templates::TemplateArgs;
use crate::error::Result;
use crate::ops;
use crate::ops::DEFAULT_CONNECTIONS;

/// What an upload does about holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HolePolicy {
    Leave,
    Send,
}

/// Prints the whole upload of a bundle as data: every call, every block
///
/// With --json each step is an object on a line of its own (JSON Lines), as docs/formats/plan.md says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit plan web.ami --region eu-central-1\n  amikit plan \
                        web.ami --base old.ami=snap-0123 -o web.plan.jsonl")]
pub(super) struct Plan {
    /// The bundle
    bundle: PathBuf,

    /// A parent snapshot: its bundle or manifest, and its id; `OLD.ami:/dev/sdf` for a device
    #[arg(long, value_name = "OLD=ID", value_parser = parse_base)]
    base: Vec<(PathBuf, String)>,

    /// A recipe that says how to upload and where to distribute
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<PathBuf>,

    /// Region of the upload
    #[arg(long)]
    region: Option<String>,

    /// Encrypt the snapshots; with --base, say that the base is encrypted
    #[arg(long)]
    encrypted: bool,

    /// Key to encrypt with
    #[arg(long, value_name = "ARN")]
    kms_key_arn: Option<String>,

    /// Omit holes, or send them as zeros [default: the recipe's, or leave]
    #[arg(long, value_name = "POLICY")]
    holes: Option<HolePolicy>,

    /// A region to copy to, beside those of the recipe
    #[arg(long, value_name = "REGION")]
    copy_to: Vec<String>,

    /// A rule that is not applied
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,

    /// Puts in flight, for the estimate of time
    #[arg(long, default_value_t = DEFAULT_CONNECTIONS)]
    connections: NonZero<u64>,

    /// Where the plan goes, as JSON lines [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    templates: TemplateArgs,
}

impl Plan {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let bases = self.base.iter().map(|(path, id)| ops::BaseSnapshotRequest {
            path: path.clone(),
            snapshot_id: id.clone(),
        });
        let request = ops::PlanRequest {
            bundle: self.bundle.clone(),
            bases: bases.collect(),
            recipe: self.recipe.clone(),
            templates: self.templates.request(),
            region: self.region.clone(),
            encrypted: self.encrypted,
            kms_key_arn: self.kms_key_arn.clone(),
            send_holes: self.holes.map(|holes| holes == HolePolicy::Send),
            copy_to: self.copy_to.clone(),
            connections: self.connections,
            allow: self.allow.clone(),
        };
        if let Some(path) = &self.output {
            let report = ops::write_plan(&request, path, follower)?;
            return output
                .report("plan-totals", &report, |report, out| totals(path, &report.totals, out))
                .map(|()| 0);
        }
        print(|out| {
            let mut text = PlanText::default();
            ops::plan(&request, follower, &mut |step: &Step| {
                if output.json {
                    serde_json::to_writer(&mut *out, step)
                        .map_err(std::io::Error::from)
                        .and_then(|()| writeln!(out))
                        .map_err(lost)
                } else {
                    text.step(step, out).map_err(lost)
                }
            })
            .map(|_| ())
        })
        .map(|()| 0)
    }
}

fn parse_base(text: &str) -> Result<(PathBuf, String), String> {
    match text.rsplit_once('=') {
        Some((path, id)) if !path.is_empty() && id.starts_with("snap-") => {
            Ok((PathBuf::from(path), id.to_owned()))
        }
        _ => {
            Err("expected a bundle or manifest, = and its snapshot, as in old.ami=snap-0123"
                .to_owned())
        }
    }
}
