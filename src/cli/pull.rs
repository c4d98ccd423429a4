//! `pull`: an AMI from a registry.

use std::io;
use std::io::Write;
use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::network::NetworkArgs;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::many;
use crate::cli::shared::trust::TrustArgs;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::PullReport;
use crate::ops::PullRequest;
use crate::ops::VolumeRequest;
use crate::units::format_size;

/// Pulls an AMI from a registry
///
/// The bundle gets its name only when every digest was proven and all of it was verified. Of what a base or a store
/// has nothing is fetched. Its signatures come along. Passwords come from where docker login and podman login keep
/// them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit pull registry.example/images/web:v2 -o web.ami\n  amikit pull \
                  registry.example/images/web:v2 -o images@web --signers allowed_signers"
)]
pub(super) struct Pull {
    /// What is pulled: HOST[:PORT]/PATH[:TAG][@sha256:DIGEST]
    reference: String,

    /// Where it goes: a bundle, or STORE@NAME
    #[arg(long, short, value_name = "BUNDLE")]
    output: PathBuf,

    /// What is here of it already, or what it was packed against: a bundle, STORE@NAME or an image
    #[arg(long, value_name = "OLD")]
    base: Option<PathBuf>,

    /// Blobs that are fetched at once
    #[arg(long, value_name = "N", default_value_t = ops::DEFAULT_BLOBS_AT_ONCE)]
    at_once: NonZero<usize>,

    #[command(flatten)]
    trust: TrustArgs,

    #[command(flatten)]
    threads: Threads,

    #[command(flatten)]
    network: NetworkArgs,
}

impl Pull {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let mut request = PullRequest::new(&self.reference, &self.output);
        request.base = self.base.as_deref().map(VolumeRequest::new);
        request.at_once = self.at_once;
        request.trust = self.trust.request();
        request.threads = self.threads.count();
        request.network = self.network.options()?;
        let report = ops::pull(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("pull", &report, render).map(|()| 0)
    }
}

fn render(report: &PullReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: pulled from {}", shown(&report.bundle), report.reference)?;
    let (fetched, all) = (format_size(report.fetched_bytes), format_size(report.stored_bytes));
    writeln!(out, "  fetched {}, {fetched} of {all}", many(report.blobs_fetched, "blob"))?;
    let rest = [(report.blobs_had, "here already"), (report.blobs_left_out, "left out")];
    for (count, what) in rest.into_iter().filter(|(count, _)| *count > 0) {
        writeln!(out, "  {what}: {}", many(count, "blob"))?;
    }
    if report.signatures > 0 {
        writeln!(out, "  with {}", many(report.signatures, "signature"))?;
    }
    for voucher in &report.vouchers {
        writeln!(
            out,
            "  signed by {} as {:?}, counter {}, with {}",
            voucher.signer, voucher.name, voucher.counter, voucher.key
        )?;
    }
    Ok(())
}
