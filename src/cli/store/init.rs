//! `store init`: an empty store.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::error::shown;
use crate::ops::store;

/// Makes an empty store
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit store init images")]
pub(super) struct Init {
    /// A new folder, or an empty one
    #[arg(value_name = "STORE")]
    store: PathBuf,
}

impl Init {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let report = store::init(&self.store)?;
        follower.end();
        output
            .report("store-init", &report, |report, out| {
                writeln!(out, "{}: empty store", shown(&report.store))
            })
            .map(|()| 0)
    }
}
