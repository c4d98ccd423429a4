//! `completions`: for the shell.

use clap::Args;
use clap_complete::Shell;

use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::error::Result;

/// Prints the completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit completions bash > /etc/bash_completion.d/amikit")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, output: Output, _follower: &Follower) -> Result<u8> {
        // Into memory first: the generator panics where it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut (output.program)(), "amikit", &mut script);
        print(|out| out.write_all(&script).map_err(lost)).map(|()| 0)
    }
}
