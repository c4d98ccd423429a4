//! `store ...`: many AMIs and snapshots in one place.

mod add;
mod copy;
mod gc;
mod init;
mod list;
mod remove;
mod show;
mod verify;

use clap::Args;
use clap::Subcommand;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;

/// Keeps many AMIs and snapshots in one place, and what they share once
///
/// A store is a folder: an OCI image layout that skopeo and oras read and write too. Every command reads an AMI of
/// it as STORE@NAME, and a volume as STORE@NAME:DEVICE; pack, build, complete, merge and rebase write into one with
/// -o STORE@NAME.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    List(list::List),
    Show(show::Show),
    Add(Box<add::Add>),
    Remove(remove::Remove),
    Gc(gc::Gc),
    Copy(copy::Copy),
    Verify(verify::Verify),
}

impl Store {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        match &self.command {
            Command::Init(it) => it.run(output, follower),
            Command::List(it) => it.run(output, follower),
            Command::Show(it) => it.run(output, follower),
            Command::Add(it) => it.run(output, follower),
            Command::Remove(it) => it.run(output, follower),
            Command::Gc(it) => it.run(output, follower),
            Command::Copy(it) => it.run(output, follower),
            Command::Verify(it) => it.run(output, follower),
        }
    }
}
