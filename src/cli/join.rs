//! `join`: the parts of a volume as one snapshot or bundle.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::description::DescriptionArgs;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::blocks;
use crate::cli::shared::text::many;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::JoinReport;
use crate::units::format_size;

/// Joins the parts of a volume to one snapshot manifest or bundle
///
/// Parts are what `amikit snapshot --blocks` and `amikit pack --blocks` have made, on one machine or many. What is joined
/// equals, byte for byte, what one run makes of the whole volume with the same options. A part that is missing, there twice,
/// of another volume or made with other options is refused.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit join 0.part 1.part 2.part -o root.snap\n  amikit join part-*.ami -o \
                  web.ami --name web"
)]
pub(super) struct Join {
    /// The parts, in any order
    #[arg(value_name = "PART", required = true)]
    parts: Vec<PathBuf>,

    /// Where the snapshot manifest or the bundle goes; what has the name is replaced in one step
    #[arg(long, short, value_name = "OUTPUT")]
    output: PathBuf,

    #[command(flatten)]
    description: DescriptionArgs,

    /// A rule of EC2's that is not applied; `amikit lint --list` shows all
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,
}

impl Join {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = ops::JoinRequest {
            allow: self.allow.clone(),
            ..ops::JoinRequest::new(self.parts.clone(), &self.output)
        };
        let report =
            ops::join(&request, &|| self.description.ami(&self.output, follower), follower)?;
        follower.end();
        output.report("join", &report, render).map(|()| 0)
    }
}

fn render(report: &JoinReport, out: &mut dyn Write) -> io::Result<()> {
    let what = if report.digest.is_some() { "AMI" } else { "snapshot manifest" };
    let (path, parts) = (shown(&report.output), many(report.parts, "part"));
    let size = format_size(report.snapshot.volume_size_bytes);
    writeln!(out, "{path}: {what} of {parts}, a volume of {size}")?;
    blocks(&report.snapshot.blocks, out)?;
    writeln!(out, "  root digest sha256:{}", report.snapshot.root_digest)?;
    match report.digest {
        Some(digest) => writeln!(out, "  bundle sha256:{digest}"),
        None => Ok(()),
    }
}
