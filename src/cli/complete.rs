//! `complete`: a thin bundle made whole.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::many;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::CompleteReport;
use crate::units::format_size;

/// Makes a thin bundle whole with the packs of its base
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit complete update.ami --base web.ami -o new.ami")]
pub(super) struct Complete {
    /// The thin bundle
    bundle: PathBuf,

    /// The bundle that it was packed against
    #[arg(long, value_name = "OLD")]
    base: PathBuf,

    /// Where the whole bundle goes; its digest is that of the thin one
    #[arg(long, short, value_name = "BUNDLE")]
    output: PathBuf,
}

impl Complete {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = ops::CompleteRequest {
            bundle: self.bundle.clone(),
            base: self.base.clone(),
            output: self.output.clone(),
        };
        let report = ops::complete(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("complete", &report, render).map(|()| 0)
    }
}

fn render(report: &CompleteReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: whole bundle", shown(&report.bundle))?;
    writeln!(
        out,
        "  {} from the base, {} in all",
        many(report.blobs_from_base, "blob"),
        format_size(report.stored_bytes)
    )?;
    writeln!(out, "  digest sha256:{}", report.digest)
}
