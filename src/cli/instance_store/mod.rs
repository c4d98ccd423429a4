//! `instance-store ...`: EC2's own bundles of instance-store AMIs.

mod bundle;
mod inspect;
mod unbundle;
mod verify;

use clap::Args;
use clap::Subcommand;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;

/// Makes, reads and checks EC2's own bundles of instance-store AMIs
///
/// A bundle is a manifest, image.manifest.xml, and encrypted parts beside it. Volumes have at most
/// 10 GiB. Keys are given as files, never typed; only their owner may be able to read key files.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct InstanceStore {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bundle(Box<bundle::Bundle>),
    Unbundle(unbundle::Unbundle),
    Verify(verify::Verify),
    Inspect(inspect::Inspect),
}

impl InstanceStore {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        match &self.command {
            Command::Bundle(it) => it.run(output, follower),
            Command::Unbundle(it) => it.run(output, follower),
            Command::Verify(it) => it.run(output, follower),
            Command::Inspect(it) => it.run(output),
        }
    }
}
