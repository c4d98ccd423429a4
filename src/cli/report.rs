//! `report`: a page that shows a volume, what changed between two, or a fleet.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::fleet::answer;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::volumes::Reading;
use crate::cli::shared::volumes::Roles;
use crate::error::Error;
use crate::error::Result;
use crate::ops;
use crate::ops::FleetRequest;
use crate::ops::Questions;
use crate::report;
use crate::report::Report as Page;
use crate::report::ReportRequest;
use crate::units::format_size;

/// Writes one HTML page that shows a volume, what changed between two, or a fleet
///
/// The page has the partitions, a map of the blocks in address order, whose the bytes are, and the same numbers as tables.
/// It is one file that loads nothing and runs no script. The volumes are called image, or old and new.
///
/// Of a store, or a folder of AMIs, the page says what is shared, what each AMI has alone and what each version changed.
/// `amikit fleet --report` answers other questions on it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit report web.ami -o web.html\n  amikit report old.ami new.ami -o \
                  update.html\n  amikit report images -o fleet.html"
)]
pub(super) struct Report {
    /// The volume, or the older one: an image, BUNDLE or BUNDLE:DEVICE; or a store or folder of AMIs
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
        if self.newer.is_none() && ops::is_fleet(&self.image)? {
            return self.fleet(output, follower);
        }
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

    fn fleet(&self, output: Output, follower: &Follower) -> Result<u8> {
        if self.boot_log.is_some() {
            let text = "a console's log is of one volume, and this is a fleet";
            return Err(Error::invalid(text).in_file(&self.image).advise("leave the log out"));
        }
        let questions =
            Questions { shared: true, unique: true, churn: true, ..Questions::default() };
        let request = FleetRequest {
            questions,
            threads: self.threads.count(),
            ..FleetRequest::new(vec![self.image.clone()])
        };
        answer(&request, Some(&self.output), output, follower)
    }
}

fn render(page: &Page, out: &mut dyn Write) -> io::Result<()> {
    let of = match &page.older {
        Some(older) => format!("{} to {}", older.path, page.volume.path),
        None => page.volume.path.clone(),
    };
    writeln!(out, "{}: page of {of}, {}", page.page, format_size(page.page_bytes))
}
