//! `snapshot`: the manifest of a volume, alone.

use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::FreeArgs;
use crate::cli::shared::options::StateArgs;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::parts::make_part;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::blocks;
use crate::cli::shared::volumes::Reading;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::BlockSpan;
use crate::ops::SnapshotReport;
use crate::units::format_size;

/// Writes the snapshot manifest of a volume, without its chunks
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit snapshot root.raw -o root.snap\n  amikit snapshot root.raw --blocks \
                  0..65536 -o 0.part"
)]
pub(super) struct Snapshot {
    /// The image, or BUNDLE:DEVICE; - for standard input
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    /// Where the manifest goes; an existing file is replaced in one step
    #[arg(long, short, value_name = "MANIFEST")]
    output: PathBuf,

    /// Make a part of these blocks alone, A.. up to the end or ..B from the start, for `amikit join`
    #[arg(long, value_name = "A..B")]
    blocks: Option<BlockSpan>,

    #[command(flatten)]
    states: StateArgs,

    #[command(flatten)]
    free: FreeArgs,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    threads: Threads,
}

impl Snapshot {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let image = self.reading.only(&self.image)?;
        let image = ops::VolumeRequest { free: self.free.record(), ..image };
        if let Some(blocks) = self.blocks {
            let request = ops::PartRequest {
                threads: self.threads.count(),
                states: self.states.states(output),
                ..ops::PartRequest::new(image, blocks, &self.output)
            };
            return make_part(&request, output, follower);
        }
        let request = ops::SnapshotRequest {
            threads: self.threads.count(),
            states: self.states.states(output),
            ..ops::SnapshotRequest::new(image, &self.output)
        };
        let report = ops::snapshot(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        let render = |report: &_, out: &mut dyn Write| render(&self.output, report, out);
        output.report("snapshot", &report, render).map(|()| 0)
    }
}

fn render(path: &Path, report: &SnapshotReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: snapshot manifest of a volume of {}, {} GiB in EBS",
        shown(path),
        format_size(report.volume_size_bytes),
        report.ebs_volume_size_gib
    )?;
    blocks(&report.blocks, out)?;
    writeln!(out, "  root digest sha256:{}", report.root_digest)?;
    writeln!(out, "  LINEAR aggregate {}", report.linear_sha256_base64)
}
