//! `bench`: each stage beside the limit of this machine.

use std::io;
use std::io::Write;
use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::Level;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::Table;
use crate::cli::shared::volumes::Reading;
use crate::error::Result;
use crate::ops;
use crate::ops::BenchReport;
use crate::units::format_size;
use crate::units::parse_size;

/// Measures each stage beside the limit of this machine, in the same run
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit bench root.raw")]
pub(super) struct Bench {
    /// The image to measure with [default: generated content]
    image: Option<PathBuf>,

    /// Most bytes to work on
    #[arg(long, default_value = "256MiB", value_parser = parse_size, value_name = "SIZE")]
    size: u64,

    /// Rounds; the median of each stage counts
    #[arg(long, default_value = "5")]
    rounds: NonZero<usize>,

    #[command(flatten)]
    level: Level,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    threads: Threads,
}

impl Bench {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = ops::BenchRequest {
            image: self.image.as_ref().map(|typed| self.reading.only(typed)).transpose()?,
            size_bytes: self.size,
            rounds: self.rounds,
            level: self.level.level,
            threads: self.threads.count(),
        };
        let report = ops::bench(&request, follower)?;
        output.report("bench", &report, render).map(|()| 0)
    }
}

fn render(report: &BenchReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{} of data, level {}, hash engine {} with {} lanes, medians of {} rounds, in GB/s:",
        format_size(report.bytes),
        report.level,
        report.engine.name,
        report.engine.lanes,
        report.rounds
    )?;
    let mut table = Table::new(&["stage", "threads", "speed", "limit", "ratio", "the limit is"]);
    for stage in &report.stages {
        table.row(vec![
            stage.name.to_owned(),
            stage.threads.to_string(),
            format!("{:.2}", stage.gigabytes_per_second),
            format!("{:.2}", stage.limit_gigabytes_per_second),
            format!("{:.2}", stage.ratio_to_limit),
            stage.limit_name.to_owned(),
        ]);
    }
    table.print(out)
}
