//! `schema`: the JSON Schema of recipes.
#![allow(clippy::doc_markdown, reason = "these comments are the help, where marks would show")]

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::recipe::SCHEMA;

/// Prints the JSON Schema of recipes, by which editors complete them
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit schema > ami.schema.json")]
pub(super) struct Schema {}

impl Schema {
    #[expect(clippy::unused_self, reason = "every command runs this way")]
    pub(super) fn run(&self, _output: Output, _follower: &Follower) -> Result<u8> {
        print(|out| out.write_all(SCHEMA.as_bytes()).map_err(lost)).map(|()| 0)
    }
}
