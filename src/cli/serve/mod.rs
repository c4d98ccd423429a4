//! `serve ...`: volumes and stores for other programs, over a socket.

mod aws;
mod nbd;

use clap::Args;
use clap::Subcommand;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;

/// Serves volumes and stores to other programs over a socket
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Serve {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Nbd(Box<nbd::Nbd>),
    Aws(Box<aws::Aws>),
}

impl Serve {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        match &self.command {
            Command::Nbd(it) => it.run(output, follower),
            Command::Aws(it) => it.run(output, follower),
        }
    }
}
