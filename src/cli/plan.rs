//! `plan`: the whole upload of a bundle, offline.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::plan_text::totals;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::upload::UploadArgs;
use crate::error::Result;
use crate::ops;

/// Prints the whole upload of a bundle as data: every call, every block
///
/// With --json each step is an object on a line of its own (JSON Lines), as docs/formats/plan.md says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit plan web.ami --region eu-central-1\n  amikit plan \
                        web.ami --base old.ami=snap-0123 -o web.plan.jsonl")]
pub(super) struct Plan {
    #[command(flatten)]
    upload: UploadArgs,

    /// Where the plan goes, as JSON lines [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Plan {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let Some(path) = &self.output else { return self.upload.print_plan(output, follower) };
        let report = ops::write_plan(&self.upload.request(), path, follower)?;
        output
            .report("plan-totals", &report, |report, out| totals(path, &report.totals, out))
            .map(|()| 0)
    }
}
