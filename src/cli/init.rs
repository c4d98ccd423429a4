//! `init`: a recipe to begin with.
#![allow(clippy::doc_markdown, reason = "these comments are the help, where marks would show")]

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::ops;

/// Writes a first recipe, with comments
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit init ami.toml")]
pub(super) struct Init {
    /// Where the recipe goes; an existing file is kept
    #[arg(default_value = "ami.toml", value_name = "RECIPE")]
    recipe: PathBuf,
}

impl Init {
    pub(super) fn run(&self, output: Output, _follower: &Follower) -> Result<u8> {
        ops::init(&self.recipe)?;
        let report = serde_json::json!({ "output": self.recipe.to_string_lossy() });
        output
            .report("init", &report, |_, out| {
                let recipe = self.recipe.display();
                writeln!(out, "{recipe}: recipe; `amikit build` makes a bundle of it")
            })
            .map(|()| 0)
    }
}
