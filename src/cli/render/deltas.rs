//! What the commands that have to do with changes say.

use std::io;
use std::io::Write;

use crate::ops::Applied;
use crate::ops::ApplyReport;
use crate::ops::ChangedRange;
use crate::ops::CompleteReport;
use crate::ops::DiffReport;
use crate::ops::MergeReport;
use crate::units::format_size;

use crate::cli::render::many;

pub(in crate::cli) fn changed(range: &ChangedRange, out: &mut dyn Write) -> io::Result<()> {
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

pub(in crate::cli) fn diff(report: &DiffReport, out: &mut dyn Write) -> io::Result<()> {
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

pub(in crate::cli) fn apply(report: &ApplyReport, out: &mut dyn Write) -> io::Result<()> {
    let how = match report.how {
        Applied::Cloned => "the rest is shared with the old image",
        Applied::Written => "all of it was written",
        Applied::InPlace => "changed in place",
        Applied::Resumed => "an earlier run was finished",
        Applied::Unchanged => "it was the new one already",
    };
    writeln!(
        out,
        "{}: raw image of {}, {}",
        report.output.display(),
        report.device,
        format_size(report.volume_size_bytes)
    )?;
    writeln!(out, "  {} changed; {how}", many(report.changed_blocks, "block"))?;
    writeln!(out, "  from sha256:{}\n  to   sha256:{}", report.base_digest, report.root_digest)
}

pub(in crate::cli) fn complete(report: &CompleteReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: whole bundle", report.bundle.display())?;
    writeln!(
        out,
        "  {} from the base, {} in all",
        many(report.blobs_from_base, "blob"),
        format_size(report.stored_bytes)
    )?;
    writeln!(out, "  digest sha256:{}", report.digest)
}

pub(in crate::cli) fn merge(report: &MergeReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: bundle", report.bundle.display())?;
    writeln!(
        out,
        "  {}, {} of them patches, {} stored",
        many(report.chunks, "new chunk"),
        report.patched_chunks,
        format_size(report.stored_bytes)
    )?;
    writeln!(out, "  digest sha256:{}", report.digest)?;
    for base in &report.bases {
        writeln!(out, "  leans on the snapshot sha256:{base}")?;
    }
    Ok(())
}
