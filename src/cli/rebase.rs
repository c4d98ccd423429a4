//! `rebase`: a bundle against another base.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::GroupArgs;
use crate::cli::shared::options::RegionArgs;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text;
use crate::cli::shared::volumes::Keys;
use crate::cli::shared::volumes::Opening;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::ops;

/// Packs a bundle's volumes against another base; the volumes stay the same
///
/// Volumes are called base and onto.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amikit rebase update.ami --base old.ami --onto newer.ami --thin -o update2.ami"
)]
pub(super) struct Rebase {
    /// The bundle, thin or whole
    bundle: PathBuf,

    /// What it was packed against, if it is thin: a bundle or an image
    #[arg(long, value_name = "OLD")]
    base: Option<PathBuf>,

    /// The new base: a bundle, or with --thin an image of the root volume
    #[arg(long, value_name = "OTHER")]
    onto: PathBuf,

    /// Leave out the packs of OTHER
    #[arg(long)]
    thin: bool,

    /// Where the new bundle goes
    #[arg(long, short, value_name = "BUNDLE")]
    output: PathBuf,

    #[command(flatten)]
    groups: GroupArgs,

    #[command(flatten)]
    regions: RegionArgs,

    #[command(flatten)]
    opening: Opening,

    #[command(flatten)]
    keys: Keys,

    #[command(flatten)]
    threads: Threads,
}

impl Rebase {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let roles = Roles::of(&["base", "onto"]);
        let volume =
            |role: &str, typed: &PathBuf| self.opening.with_keys(&self.keys, &roles, role, typed);
        let request = ops::RebaseRequest {
            bundle: self.bundle.clone(),
            base: self.base.as_ref().map(|typed| volume("base", typed)).transpose()?,
            onto: ops::BaseRequest {
                image: volume("onto", &self.onto)?,
                manifest: None,
                index: None,
                thin: self.thin,
            },
            output: self.output.clone(),
            groups: self.groups.groups(self.regions.region, self.threads, output),
            threads: self.threads.count(),
        };
        let report = ops::rebase(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("rebase", &report, text::joined).map(|()| 0)
    }
}
