//! `cat`: the content of a file of a volume.

use std::ffi::OsString;

use clap::Args;

use crate::cli::shared::inside::Inside;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::ops;

/// Prints the content of a file of a volume
///
/// Only regular files have content to print; symbolic links to one are followed inside the guest.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit cat web.ami /etc/os-release")]
pub(super) struct Cat {
    #[command(flatten)]
    inside: Inside,

    /// The file
    #[arg(value_name = "PATH")]
    path: OsString,
}

impl Cat {
    pub(super) fn run(&self, _output: Output, follower: &Follower) -> Result<u8> {
        let request = self.inside.request(&self.path)?;
        print(|out| ops::cat(&request, follower, &mut |bytes| out.write_all(bytes).map_err(lost)))?;
        follower.end();
        Ok(0)
    }
}
