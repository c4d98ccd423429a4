//! `init`: a recipe to begin with.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::volumes::Reading;
use crate::error::Result;
use crate::error::shown;
use crate::ops;

/// Writes a first recipe, with comments
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit init ami.toml\n  amikit init ami.toml --image root.qcow2"
)]
pub(super) struct Init {
    /// Where the recipe goes; an existing file is kept
    #[arg(default_value = "ami.toml", value_name = "RECIPE")]
    recipe: PathBuf,

    /// Image of the root volume, from which the boot mode is inferred [default: root.raw, if it exists]
    #[arg(long, value_name = "IMAGE")]
    image: Option<PathBuf>,

    #[command(flatten)]
    reading: Reading,
}

impl Init {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let image = self.image.as_ref().map(|image| self.reading.only(image)).transpose()?;
        let request = ops::InitRequest { recipe: self.recipe.clone(), image };
        let report = ops::init(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output
            .report("init", &report, |_, out| {
                let recipe = shown(&self.recipe);
                writeln!(out, "{recipe}: recipe; `amikit build` makes a bundle of it")
            })
            .map(|()| 0)
    }
}
