//! `instance-store verify`: whether an instance-store bundle is intact.

use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::instance_store::parts;
use crate::cli::shared::instance_store::signature;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::error::shown;
use crate::ops::instance_store as ops;

/// Checks an instance-store bundle: parts, signature, and with a key the archive in the parts
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amikit instance-store verify web/disk.img.manifest.xml --cert user.crt --key user.key"
)]
pub(super) struct Verify {
    /// The manifest; the parts are beside it
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,

    /// Private key, PEM, of mode 0600, that decrypts the bundle
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Certificate of the bundle's signer
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    #[command(flatten)]
    threads: Threads,
}

impl Verify {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = ops::VerifyRequest {
            manifest: self.manifest.clone(),
            key: self.key.clone(),
            cert: self.cert.clone(),
            threads: self.threads.count(),
        };
        let report = ops::verify(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        let render = |report: &_, out: &mut dyn Write| render(&self.manifest, report, out);
        output.report("instance-store-verify", &report, render)?;
        Ok(if report.sound { 0 } else { NO })
    }
}

fn render(path: &Path, report: &ops::VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    for part in &report.damaged_parts {
        writeln!(out, "part {}, {}: {}", part.index, part.filename, part.problem)?;
    }
    if let Some(problem) = &report.problem {
        writeln!(out, "{problem}")?;
    }
    let what = if report.sound { "intact" } else { "DAMAGED" };
    writeln!(out, "{}: {what}: {}", shown(path), parts(report.parts))?;
    writeln!(out, "  signature {}", signature(report.signature))?;
    let archive = if report.archive_checked { "unpacked and checked" } else { "not unpacked" };
    writeln!(out, "  archive {archive}")
}
