//! `schema`: the JSON Schemas of what commands print, and of recipes.

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::schemas::SCHEMAS;
use crate::error::Result;

/// Prints a JSON Schema: of recipes, or of what a command prints with --json
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit schema > ami.schema.json\n  amikit schema verify")]
pub(super) struct Schema {
    /// What it describes: recipes, by which editors complete them, or the output of a command
    #[arg(value_name = "NAME", default_value = "recipe", value_parser = names())]
    name: String,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(SCHEMAS.iter().map(|(name, _)| *name))
}

impl Schema {
    pub(super) fn run(&self, _output: Output, _follower: &Follower) -> Result<u8> {
        let text = SCHEMAS.iter().find(|(name, _)| *name == self.name).map(|(_, text)| text);
        let text = text.expect("the name is one of them");
        print(|out| out.write_all(text.as_bytes()).map_err(lost)).map(|()| 0)
    }
}
