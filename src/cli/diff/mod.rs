//! `diff`: which blocks changed between two volumes.

mod files;

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;

use crate::cli::shared::options::FreeArgs;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::strip;
use crate::cli::shared::text::many;
use crate::cli::shared::volumes::Reading;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::ops;
use crate::ops::ChangedRange;
use crate::ops::DiffReport;
use crate::ops::VolumeRequest;
use crate::units::BLOCK_SIZE;
use crate::units::ebs_gib;
use crate::units::format_size;

/// Lists the blocks that changed between two volumes, and how
///
/// Each is an image of any format, a snapshot manifest, or a bundle: BUNDLE for its root device,
/// BUNDLE:DEVICE for another. Manifests and bundles are compared without reading the volumes.
/// The volumes are called old and new. With --json each range is an object on a line of its own
/// (JSON Lines), and so is the sum at the end. With --files both file systems are read, and each change is
/// named by the files that the changed pages belong to.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit diff old.ami new.ami\n  amikit diff old.raw new.raw \
                        --json\n  amikit diff old.snap new.raw --as ebs\n  amikit diff old.raw \
                        new.raw --files --blocks\n  amikit diff old.raw new.raw --strip")]
pub(super) struct Diff {
    /// The older volume
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The newer one
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// What is printed: a table, or the answer of `ListChangedBlocks` with digests as tokens
    #[arg(long = "as", default_value = "table", value_name = "SHAPE")]
    shape: Shape,

    /// Say whose the changed pages are: files, directories, classes, packages, and what each costs
    #[arg(long, conflicts_with = "shape")]
    files: bool,

    /// With --files, also list each block that changed, and whose its pages are
    #[arg(long, requires = "files")]
    blocks: bool,

    /// Draw the changed blocks as a strip of block characters, as wide as the terminal
    ///
    /// A bar is as high as its cell is full of changed blocks; · marks cells without any.
    #[arg(long, conflicts_with_all = ["shape", "files", "json"])]
    strip: bool,

    #[command(flatten)]
    free: FreeArgs,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    threads: Threads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    Table,
    Ebs,
}

impl Diff {
    /// Nothing waits for the whole: each range is printed as it is found.
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let roles = Roles::of(&["old", "new"]);
        let free = self.free.record();
        if self.files {
            let old = self.reading.volume(&roles, "old", &self.old)?;
            let new = self.reading.volume(&roles, "new", &self.new)?;
            let request = ops::DiffFilesRequest {
                blocks: self.blocks,
                threads: self.threads.count(),
                ..ops::DiffFilesRequest::new(
                    VolumeRequest { free, ..old },
                    VolumeRequest { free, ..new },
                )
            };
            return files::run(&request, output, follower);
        }
        let request = ops::DiffRequest {
            old: VolumeRequest { free, ..self.reading.volume(&roles, "old", &self.old)? },
            new: VolumeRequest { free, ..self.reading.volume(&roles, "new", &self.new)? },
            digests: self.shape == Shape::Ebs,
            threads: self.threads.count(),
        };
        let mut equal = false;
        print(|out| {
            let report = match self.shape {
                Shape::Ebs => ebs(&request, follower, out)?,
                Shape::Table if self.strip => {
                    let mut strip = strip::Changes::default();
                    let report = ops::diff(&request, follower, &mut |range| {
                        strip.add(range);
                        Ok(())
                    })?;
                    follower.end();
                    strip.print(&report, out).map_err(lost)?;
                    render(&report, out).map_err(lost)?;
                    report
                }
                Shape::Table if output.json => {
                    let report = ops::diff(&request, follower, &mut |range| {
                        line(out, &serde_json::json!({ "range": range }))
                    })?;
                    line(out, &serde_json::json!({ "schema": "amikit.diff.v1", "sum": report }))?;
                    report
                }
                Shape::Table => {
                    let report = ops::diff(&request, follower, &mut |range| {
                        changed(range, out).map_err(lost)
                    })?;
                    follower.end();
                    render(&report, out).map_err(lost)?;
                    report
                }
            };
            equal = report.equal;
            Ok(())
        })?;
        Ok(if equal { 0 } else { NO })
    }
}

fn line(out: &mut dyn Write, value: &serde_json::Value) -> Result<()> {
    writeln!(out, "{value}").map_err(lost)
}

/// Prints what `ListChangedBlocks` answers, as one document that is written while it is made.
fn ebs(
    request: &ops::DiffRequest,
    follower: &Follower,
    out: &mut dyn Write,
) -> Result<ops::DiffReport> {
    write!(out, "{{\"ChangedBlocks\":[").map_err(lost)?;
    let mut first = true;
    let report = ops::diff(request, follower, &mut |range: &ChangedRange| {
        for block in range.listed() {
            let comma = if std::mem::take(&mut first) { "\n" } else { ",\n" };
            let block = serde_json::to_string(&block).expect("plain data always serialises");
            write!(out, "{comma}{block}").map_err(lost)?;
        }
        Ok(())
    })?;
    let size = ebs_gib(report.new_size_bytes);
    writeln!(out, "],\n\"VolumeSize\":{size},\"BlockSize\":{BLOCK_SIZE}}}").map_err(lost)?;
    Ok(report)
}

fn changed(range: &ChangedRange, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "blocks {:>9} to {:>9}, bytes {:>14} to {:>14}: {} to {}",
        range.first_block,
        range.first_block.saturating_add(range.block_count).saturating_sub(1),
        range.start_bytes,
        range.end_bytes,
        range.from,
        range.to
    )
}

fn render(report: &DiffReport, out: &mut dyn Write) -> io::Result<()> {
    if report.old_size_bytes != report.new_size_bytes {
        writeln!(out, "size: {} bytes to {} bytes", report.old_size_bytes, report.new_size_bytes)?;
    }
    if report.equal {
        return writeln!(out, "equal, blocks and states, {}", format_size(report.new_size_bytes));
    }
    for (sum, how) in [
        (report.data_to_data, "data to other data"),
        (report.to_data, "to data"),
        (report.to_zero, "to written zeros"),
        (report.to_hole, "to holes"),
    ] {
        if sum.blocks > 0 {
            let (blocks, ranges) = (many(sum.blocks, "block"), many(sum.ranges, "range"));
            writeln!(out, "{blocks} in {ranges}, {}: {how}", format_size(sum.bytes))?;
        }
    }
    let blocks = many(report.changed.blocks, "block");
    writeln!(out, "{blocks} of 512 KiB changed, {}", format_size(report.changed.bytes))
}
