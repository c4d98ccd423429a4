//! `store verify`: every AMI of a store.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::Threads;
use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::many;
use crate::error::Result;
use crate::error::shown;
use crate::ops::store;
use crate::ops::store::VerifyReport;
use crate::ops::store::VerifyRequest;
use crate::units::format_size;

/// Checks every AMI and snapshot of a store; what they share is checked once
///
/// Exits with 1 if anything is damaged.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit store verify images --quick")]
pub(super) struct Verify {
    /// The store
    #[arg(value_name = "STORE")]
    store: PathBuf,

    /// Check stored bytes only: decompress nothing
    #[arg(long)]
    quick: bool,

    #[command(flatten)]
    threads: Threads,
}

impl Verify {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = VerifyRequest {
            store: self.store.clone(),
            quick: self.quick,
            threads: self.threads.count(),
        };
        let report = store::verify(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("store-verify", &report, render)?;
        Ok(if report.sound { 0 } else { NO })
    }
}

fn render(report: &VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    let answer = if report.sound { "sound" } else { "damaged" };
    writeln!(out, "{}: {answer}", shown(&report.store))?;
    writeln!(
        out,
        "  {}, {}, {} in {}",
        match report.amis {
            1 => "1 AMI or snapshot".to_owned(),
            count => format!("{count} AMIs and snapshots"),
        },
        many(report.others, "other manifest"),
        format_size(report.stored_bytes),
        many(report.blobs, "blob")
    )?;
    for damage in &report.damage {
        let it = &damage.damage;
        writeln!(out, "  {}: {}: {}", damage.name, it.what, it.error)?;
        for blocks in &it.blocks {
            let last = blocks.first_block.saturating_add(blocks.block_count).saturating_sub(1);
            writeln!(out, "    {}: blocks {} to {last}", blocks.device, blocks.first_block)?;
        }
    }
    Ok(())
}
