//! `merge`: two deltas as one.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::GroupArgs;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text;
use crate::cli::shared::volumes::Keys;
use crate::cli::shared::volumes::Opening;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::ops;

/// Joins two consecutive thin bundles into one
///
/// Without --base, chunks are taken over as they are stored; a chunk that cannot be joined without
/// the base's bytes is an error that says so.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit merge 1to2.ami 2to3.ami -o 1to3.ami")]
pub(super) struct Merge {
    /// The first thin bundle
    first: PathBuf,

    /// The second, packed against the result of the first
    second: PathBuf,

    /// What the first was packed against: a bundle or an image
    #[arg(long, value_name = "OLD")]
    base: Option<PathBuf>,

    /// Where the joined bundle goes
    #[arg(long, short, value_name = "BUNDLE")]
    output: PathBuf,

    #[command(flatten)]
    groups: GroupArgs,

    #[command(flatten)]
    opening: Opening,

    #[command(flatten)]
    keys: Keys,

    #[command(flatten)]
    threads: Threads,
}

impl Merge {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let roles = Roles::of(&["base"]);
        let base = self
            .base
            .as_ref()
            .map(|typed| self.opening.with_keys(&self.keys, &roles, "base", typed));
        let request = ops::MergeRequest {
            first: self.first.clone(),
            second: self.second.clone(),
            base: base.transpose()?,
            output: self.output.clone(),
            groups: self.groups.groups(None, self.threads, output),
            threads: self.threads.count(),
        };
        let report = ops::merge(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("merge", &report, text::joined).map(|()| 0)
    }
}
