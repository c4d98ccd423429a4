//! Parts of a volume, for the commands that make them.

use std::io;
use std::io::Write;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::blocks;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::PartRequest;
use crate::ops::VolumePartReport;
use crate::units::format_size;

/// Makes a part and prints what it is.
pub(in crate::cli) fn make_part(
    request: &PartRequest,
    output: Output,
    follower: &Follower,
) -> Result<u8> {
    let report = ops::part(request, follower)?;
    follower.end();
    output.notes(&report.snapshot.notes);
    let path = shown(&request.output);
    let text = |report: &VolumePartReport, out: &mut dyn Write| render(&path, report, out);
    output.report("part", &report, text).map(|()| 0)
}

fn render(path: &str, report: &VolumePartReport, out: &mut dyn Write) -> io::Result<()> {
    let (first, count) = (report.first_block, report.block_count);
    let end = first.saturating_add(count);
    let size = format_size(report.whole_size_bytes);
    writeln!(out, "{path}: blocks {first}..{end} of a volume of {size}")?;
    blocks(&report.snapshot.blocks, out)?;
    writeln!(out, "  options {}", report.options)?;
    writeln!(out, "  volume  {}", report.volume)
}
