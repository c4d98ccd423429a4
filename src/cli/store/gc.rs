//! `store gc`: deletes what no name needs.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::length;
use crate::cli::shared::text::many;
use crate::error::Result;
use crate::error::shown;
use crate::ops::store;
use crate::ops::store::GcReport;
use crate::ops::store::GcRequest;
use crate::units::format_size;

/// Deletes the blobs of a store that no name needs
///
/// Says what will be freed before the first blob goes. Nothing is deleted while another run writes, or if a manifest
/// cannot be read. Blobs that are newer than index.json stay, because another program may be about to name them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit store gc images --dry-run\n  amikit store gc images")]
pub(super) struct Gc {
    /// The store
    #[arg(value_name = "STORE")]
    store: PathBuf,

    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,

    /// Delete blobs too that are newer than index.json: no other program is writing
    #[arg(long)]
    all: bool,
}

impl Gc {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = GcRequest { store: self.store.clone(), dry_run: self.dry_run, all: self.all };
        let report = store::gc(&request, follower, &mut |report| {
            if !report.dry_run && report.freed_blobs > 0 {
                let blobs = many(report.freed_blobs, "blob");
                let size = format_size(report.freed_bytes);
                output.notes(&[format!("deleting {blobs} of {size} that no name needs")]);
            }
            Ok(())
        })?;
        follower.end();
        output.report("store-gc", &report, render).map(|()| 0)
    }
}

fn render(report: &GcReport, out: &mut dyn Write) -> io::Result<()> {
    let verb = if report.dry_run { "would be freed" } else { "freed" };
    let sum = |count: u64, bytes: u64| format!("{} in {}", format_size(bytes), many(count, "blob"));
    writeln!(
        out,
        "{}: {} {verb}, {} kept",
        shown(&report.store),
        sum(report.freed_blobs, report.freed_bytes),
        sum(report.kept_blobs, report.kept_bytes)
    )?;
    if !report.freed_referrers.is_empty() {
        let count = many(length(&report.freed_referrers), "entry");
        writeln!(out, "  {} went with what they referred to", count.replace("entrys", "entries"))?;
    }
    if report.recent_blobs > 0 {
        let recent = sum(report.recent_blobs, report.recent_bytes);
        writeln!(out, "  {recent} stay, being newer than index.json; --all deletes them")?;
    }
    if report.strangers > 0 {
        writeln!(
            out,
            "  {} in the folder of blobs are not blobs, and stay",
            many(report.strangers, "file")
        )?;
    }
    Ok(())
}
