//! `tar`: the files of a volume as an archive.

use std::ffi::OsString;

use clap::Args;

use crate::cli::shared::inside::Inside;
use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::ops;
use crate::ops::ArchiveRequest;

/// Writes the files of a volume to standard output as a tar archive
///
/// The archive is PAX: extended attributes, holes and hard links are kept. Names are relative to the
/// guest's root. Devices, setuid and setgid bits and file capabilities are left out unless --all is given.
/// Exit code 1 means that files were left out because their content cannot be read.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit tar web.ami /etc > etc.tar\n  amikit tar root.raw --all | \
                        tar -t"
)]
pub(super) struct Tar {
    #[command(flatten)]
    inside: Inside,

    /// The file, or the directory with all that is below it
    #[arg(value_name = "PATH", default_value = "/")]
    path: OsString,

    /// Include devices, setuid and setgid bits and file capabilities
    #[arg(long)]
    all: bool,
}

impl Tar {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = ArchiveRequest { inside: self.inside.request(&self.path)?, all: self.all };
        let mut report = ops::ArchiveReport::default();
        print(|out| {
            let mut take = |bytes: &[u8]| out.write_all(bytes).map_err(lost);
            report = ops::archive(&request, follower, &mut take)?;
            Ok(())
        })?;
        follower.end();
        output.notes(&report.notes);
        Ok(if report.unread == 0 { 0 } else { NO })
    }
}
