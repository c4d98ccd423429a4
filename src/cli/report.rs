//! `report`: a page that shows a volume, or what changed between two.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::volumes::Reading;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::report;
use crate::report::Report as Page;
use crate::report::ReportRequest;
use crate::units::format_size;

/// Writes one HTML page that shows a volume, or what changed between two
///
/// The page has the partitions, a map of the blocks in address order, whose the bytes are, and the same numbers as tables.
/// It is one file that loads nothing and runs no script. The volumes are called image, or old and new.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit report web.ami -o web.html\n  amikit report old.ami new.ami -o \
                  update.html"
)]
pub(super) struct Report {
    /// The volume, or the older one: an image, BUNDLE or BUNDLE:DEVICE
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    /// The newer one, to show what changed
    #[arg(value_name = "NEW")]
    newer: Option<PathBuf>,

    /// Where the page goes; an existing file is replaced
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// Show the end of this log of the guest's console
    #[arg(long, value_name = "FILE")]
    boot_log: Option<PathBuf>,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    threads: Threads,
}

impl Report {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let (volume, newer) = match &self.newer {
            None => (self.reading.only(&self.image)?, None),
            Some(newer) => {
                let roles = Roles::of(&["old", "new"]);
                let old = self.reading.volume(&roles, "old", &self.image)?;
                (old, Some(self.reading.volume(&roles, "new", newer)?))
            }
        };
        let request = ReportRequest {
            newer,
            boot_log: self.boot_log.clone(),
            threads: self.threads.count(),
            ..ReportRequest::new(volume, self.output.clone())
        };
        let page = report::report(&request, follower)?;
        follower.end();
        output.notes(&page.notes);
        output.report("report", &page, render).map(|()| 0)
    }
}

fn render(page: &Page, out: &mut dyn Write) -> io::Result<()> {
    let of = match &page.older {
        Some(older) => format!("{} to {}", older.path, page.volume.path),
        None => page.volume.path.clone(),
    };
    writeln!(out, "{}: page of {of}, {}", page.page, format_size(page.page_bytes))
}
