//! `store remove`: takes names away.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::many;
use crate::error::Result;
use crate::error::shown;
use crate::ops::store;
use crate::ops::store::RemoveReport;
use crate::ops::store::RemoveRequest;
use crate::units::format_size;

/// Removes names from a store
///
/// Blobs stay until `amikit store gc` deletes those that no other name needs.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit store remove images@web-1 --dry-run\n  amikit store remove images@web-1 images@web-2"
)]
pub(super) struct Remove {
    /// The names, all of one store
    #[arg(value_name = "STORE@NAME", required = true)]
    names: Vec<PathBuf>,

    /// Say what collecting would free, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

impl Remove {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = RemoveRequest { names: self.names.clone(), dry_run: self.dry_run };
        let report = store::remove(&request, follower)?;
        follower.end();
        output.report("store-remove", &report, render).map(|()| 0)
    }
}

fn render(report: &RemoveReport, out: &mut dyn Write) -> io::Result<()> {
    let verb = if report.dry_run { "would be removed" } else { "removed" };
    for removed in &report.removed {
        write!(out, "{}@{}: {verb}", shown(&report.store), removed.name)?;
        match &removed.other_names[..] {
            [] => writeln!(out)?,
            others => writeln!(out, ", still called {}", others.join(", "))?,
        }
    }
    writeln!(
        out,
        "  collecting will free {} in {}; {} stay for others",
        format_size(report.freed_bytes),
        many(report.freed_blobs, "blob"),
        format_size(report.kept_bytes)
    )
}
