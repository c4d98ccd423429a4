//! `man`: the manual pages.
#![allow(clippy::doc_markdown, reason = "these comments are the help, where marks would show")]

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Error;
use crate::error::Result;

/// Writes the manual pages into a folder
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit man /usr/local/share/man/man1")]
pub(super) struct Man {
    /// The folder, which must exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(&self, output: Output, _follower: &Follower) -> Result<u8> {
        let folder = &self.folder;
        let fail = |e| Error::io("write the manual pages into", folder, e);
        // Generating for a folder names the pages, and the commands in them, as `amikit-pack`.
        let program = (output.program)();
        clap_mangen::generate_to(program.clone(), folder).map_err(fail)?;
        let mut names = vec![folder.join("amikit.1").display().to_string()];
        let mut left: Vec<_> =
            program.get_subcommands().map(|it| ("amikit".to_owned(), it.clone())).collect();
        left.reverse();
        while let Some((above, command)) = left.pop() {
            let name = format!("{above}-{}", command.get_name());
            names.push(folder.join(format!("{name}.1")).display().to_string());
            let below: Vec<_> = command.get_subcommands().cloned().collect();
            left.extend(below.into_iter().rev().map(|it| (name.clone(), it)));
        }
        let report = serde_json::json!({ "files": names });
        output
            .report("man", &report, |_, out| names.iter().try_for_each(|it| writeln!(out, "{it}")))
            .map(|()| 0)
    }
}
