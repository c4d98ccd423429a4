//! `unpublish`: what was published, taken back.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::aws::AwsArgs;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;

/// Deregisters what was published of a bundle, and deletes its snapshots
///
/// Without --yes it only says what would go. Only AMIs and snapshots go that a record names, that the account owns and that
/// have the tag which they got when they were made; a snapshot that another AMI uses stays.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit unpublish images@web --keep 2\n  amikit unpublish images@web \
                  --keep 2 --yes 123456789012"
)]
#[cfg_attr(not(feature = "network"), allow(dead_code, reason = "they say how to get the feature"))]
pub(super) struct Unpublish {
    /// The bundle, or STORE@NAME
    bundle: PathBuf,

    /// The publication of this AMI alone
    #[arg(long, value_name = "ID")]
    image_id: Option<String>,

    /// Leave so many of the newest in each region
    #[arg(long, value_name = "N")]
    keep: Option<u32>,

    /// Do it, in this account
    #[arg(long, value_name = "ACCOUNT")]
    yes: Option<String>,

    /// Folder of the records [default: publications in the store, or BUNDLE.publications]
    #[arg(long, value_name = "FOLDER")]
    records: Option<PathBuf>,

    #[command(flatten)]
    aws: AwsArgs,
}

impl Unpublish {
    #[cfg(not(feature = "network"))]
    pub(super) fn run(&self, _: Output, _: &Follower) -> Result<u8> {
        self.aws.request()?;
        crate::ops::missing("unpublish")
    }

    #[cfg(feature = "network")]
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        use crate::ops;

        let request = ops::UnpublishRequest {
            records: self.records.clone(),
            image_id: self.image_id.clone(),
            keep: self.keep,
            account: self.yes.clone(),
            aws: self.aws.request()?,
            ..ops::UnpublishRequest::new(&self.bundle)
        };
        let report = ops::unpublish(&request, follower)?;
        follower.end();
        output.report("unpublish", &report, render)?;
        if !report.done && !report.publications.is_empty() {
            output.notes(&[format!("nothing was done: pass --yes {} to do it", report.account)]);
        }
        Ok(0)
    }
}

#[cfg(feature = "network")]
fn render(
    report: &crate::ops::UnpublishReport,
    out: &mut dyn std::io::Write,
) -> std::io::Result<()> {
    use crate::ops::Fate;

    for publication in &report.publications {
        writeln!(
            out,
            "{}: {} of {}",
            publication.name, publication.ami_name, publication.published_at
        )?;
        for taken in &publication.taken {
            let fate = match (taken.fate, report.done) {
                (Fate::Goes, true) => "gone",
                (Fate::Goes, false) => "would go",
                (Fate::Gone, _) => "was gone already",
                (Fate::Stays, _) => "stays",
            };
            write!(out, "  {} {} {fate}", taken.region, taken.id)?;
            match &taken.reason {
                Some(reason) => writeln!(out, ": {reason}")?,
                None => writeln!(out)?,
            }
        }
    }
    match report.kept {
        0 => Ok(()),
        kept => writeln!(out, "{kept} kept"),
    }
}
