//! `compare`: whether two volumes are the same.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::Threads;
use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::length;
use crate::cli::shared::text::many;
use crate::cli::shared::volumes::Reading;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::ops;
use crate::ops::CompareReport;
use crate::units::format_size;

/// Compares two volumes byte by byte, and lists every range where they differ
///
/// Each is an image of any format, or a bundle: BUNDLE for its root device, BUNDLE:DEVICE for another.
/// The volumes are called a and b. The exit code is 1 if they differ.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit compare root.raw root.simg\n  amikit compare web.ami root.raw --states"
)]
pub(super) struct Compare {
    /// One volume
    #[arg(value_name = "A")]
    a: PathBuf,

    /// The other
    #[arg(value_name = "B")]
    b: PathBuf,

    /// Also distinguish holes from written zeros
    #[arg(long)]
    states: bool,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    threads: Threads,
}

impl Compare {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let roles = Roles::of(&["a", "b"]);
        let request = ops::CompareRequest {
            left: self.reading.volume(&roles, "a", &self.a)?,
            right: self.reading.volume(&roles, "b", &self.b)?,
            states: self.states,
            threads: self.threads.count(),
        };
        let report = ops::compare(&request, follower)?;
        follower.end();
        output.report("compare", &report, render)?;
        Ok(if report.equal { 0 } else { NO })
    }
}

fn render(report: &CompareReport, out: &mut dyn Write) -> io::Result<()> {
    for it in &report.differences {
        writeln!(out, "bytes {} to {} differ in {}", it.start_bytes, it.end_bytes, it.what)?;
    }
    let what = if report.states { "bytes and states" } else { "bytes" };
    if report.equal {
        writeln!(out, "equal in {what}, {}", format_size(report.left_size_bytes))
    } else {
        writeln!(
            out,
            "different in {what}: {} of {} in {}",
            format_size(report.different_bytes),
            format_size(report.left_size_bytes.max(report.right_size_bytes)),
            many(length(&report.differences), "range")
        )
    }
}
