//! `import`: a recipe of an AMI that exists.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::ImportReport;

/// Makes a recipe of an AMI that exists, from what `aws ec2 describe-images` prints
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  aws ec2 describe-images --image-ids ami-0123 > images.json\n  \
                  amikit import images.json -o ami.toml"
)]
pub(super) struct Import {
    /// The answer of `DescribeImages`, or a call of `RegisterImage`, in JSON; - for standard input
    #[arg(value_name = "FILE")]
    path: PathBuf,

    /// Which of several AMIs: its id or its name
    #[arg(long, value_name = "ID")]
    image_id: Option<String>,

    /// Take over who may launch the AMI, its deprecation and its protection, although they are its publisher's
    #[arg(long)]
    keep_permissions: bool,

    /// Where the recipe goes; an existing file is kept [default: standard output]
    #[arg(long, short, value_name = "RECIPE")]
    output: Option<PathBuf>,
}

impl Import {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = ops::ImportRequest {
            path: self.path.clone(),
            image: self.image_id.clone(),
            keep_permissions: self.keep_permissions,
            output: self.output.clone(),
        };
        let report = ops::import(&request, follower)?;
        output.notes(&report.notes);
        output.report("import", &report, render).map(|()| 0)
    }
}

fn render(report: &ImportReport, out: &mut dyn Write) -> io::Result<()> {
    match &report.output {
        Some(path) => writeln!(out, "{}: recipe of the AMI {:?}", shown(path), report.name),
        None => out.write_all(report.recipe.as_bytes()),
    }
}
