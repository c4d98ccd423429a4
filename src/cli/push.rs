//! `push`: an AMI to a registry.

use std::io;
use std::io::Write;
use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::network::NetworkArgs;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::many;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::PushReport;
use crate::ops::PushRequest;
use crate::units::format_size;
use crate::units::parse_size;

/// Pushes an AMI to a registry
///
/// Blobs that the registry has are not sent again, so a run that was stopped goes on where it was, and a new version
/// costs what is new in it. Its signatures go along. A tag that means another AMI is moved, and one that means anything else
/// is refused. Passwords come from where docker login and podman login keep them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit push web.ami registry.example/images/web:v2\n  amikit push \
                  images@web localhost:5000/web --mount-from base"
)]
pub(super) struct Push {
    /// The bundle, or STORE@NAME
    bundle: PathBuf,

    /// Where it goes: HOST[:PORT]/PATH[:TAG]
    reference: String,

    /// A repository of the same registry that may have blobs of it; can be given several times
    #[arg(long, value_name = "PATH")]
    mount_from: Vec<String>,

    /// Send blobs in pieces of this size [default: whole, and in pieces of 32 MiB if the registry refuses that]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    chunk: Option<u64>,

    /// Blobs that are sent at once
    #[arg(long, value_name = "N", default_value_t = ops::DEFAULT_BLOBS_AT_ONCE)]
    at_once: NonZero<usize>,

    #[command(flatten)]
    network: NetworkArgs,
}

impl Push {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let mut request = PushRequest::new(&self.bundle, &self.reference);
        request.mount_from.clone_from(&self.mount_from);
        request.chunk = self.chunk;
        request.at_once = self.at_once;
        request.network = self.network.options()?;
        let report = ops::push(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("push", &report, render).map(|()| 0)
    }
}

fn render(report: &PushReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: pushed to {}", shown(&report.bundle), report.reference)?;
    let (sent, all) = (format_size(report.sent_bytes), format_size(report.stored_bytes));
    writeln!(out, "  sent {}, {sent} of {all}", many(report.blobs_sent, "blob"))?;
    let had = [
        (report.blobs_there, "there already"),
        (report.blobs_mounted, "mounted from other repositories"),
    ];
    for (count, what) in had.into_iter().filter(|(count, _)| *count > 0) {
        writeln!(out, "  {what}: {}", many(count, "blob"))?;
    }
    if let Some(before) = &report.replaced {
        writeln!(out, "  the tag meant sha256:{before} before")?;
    }
    if report.signatures > 0 {
        writeln!(out, "  with {}", many(report.signatures, "signature"))?;
    }
    Ok(())
}
