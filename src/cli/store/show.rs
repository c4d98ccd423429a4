//! `store show`: one AMI or snapshot of a store.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text;
use crate::cli::shared::text::Table;
use crate::cli::shared::text::many;
use crate::error::Result;
use crate::error::shown;
use crate::ops::store;
use crate::ops::store::ShowReport;
use crate::units::format_size;

/// Shows an AMI or snapshot of a store, and what it shares
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit store show images@web")]
pub(super) struct Show {
    /// The AMI or snapshot
    #[arg(value_name = "STORE@NAME")]
    name: PathBuf,
}

impl Show {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let report = store::show(&self.name)?;
        follower.end();
        output.report("store-show", &report, render).map(|()| 0)
    }
}

fn render(report: &ShowReport, out: &mut dyn Write) -> io::Result<()> {
    let kind = if report.kind == "ami" { "AMI" } else { "snapshot" };
    writeln!(out, "{}@{}: {kind}", shown(&report.store), report.names[0])?;
    if report.names.len() > 1 {
        writeln!(out, "  also called {}", report.names[1..].join(", "))?;
    }
    if let Some(ami) = &report.ami {
        writeln!(out, "  name {}", ami.name)?;
        text::ami(ami, out)?;
    }
    if let Some(description) = &report.description {
        writeln!(out, "  {description}")?;
    }
    for volume in &report.volumes {
        let size = format_size(volume.volume_size_bytes);
        writeln!(out, "  {}: {size}, snapshot sha256:{}", volume.device, volume.root_digest)?;
        if let Some(base) = &volume.base_digest {
            writeln!(out, "    over sha256:{base}")?;
        }
    }
    let mut table = Table::new(&["blob", "bytes", "digest", "needed by"]);
    for blob in &report.blobs {
        let others = match blob.others {
            0 => "this only".to_owned(),
            count => many(count, "other"),
        };
        let digest = blob.digest.hex()[..12].to_owned();
        table.row(vec![blob.what.to_owned(), format_size(blob.bytes), digest, others]);
    }
    table.print(out)?;
    writeln!(
        out,
        "  {} in all, {} of it for this alone",
        format_size(report.stored_bytes),
        format_size(report.own_bytes)
    )?;
    for referrer in &report.referrers {
        writeln!(out, "  referred to by sha256:{referrer}")?;
    }
    writeln!(out, "  digest sha256:{}", report.digest)
}
