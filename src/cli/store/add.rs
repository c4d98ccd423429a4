//! `store add`: a bundle as an AMI of a store, or a volume as a snapshot of it.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::FreeArgs;
use crate::cli::shared::options::GroupArgs;
use crate::cli::shared::options::RegionArgs;
use crate::cli::shared::options::StateArgs;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::volumes::Keys;
use crate::cli::shared::volumes::Opening;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::error::shown;
use crate::ops::VolumeRequest;
use crate::ops::store;
use crate::ops::store::AddReport;
use crate::ops::store::AddRequest;
use crate::ops::store::How;
use crate::units::format_size;

/// Adds a bundle to a store as an AMI, or a volume as a snapshot
///
/// Chunks that the store has are not stored again: the bundle is then packed again, which gives it another digest. A
/// bundle that shares nothing with the store, or was packed over a base, is copied as it is. Whatever had the name before
/// loses it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit store add images web.ami\n  amikit store add images@web-2 new.raw --base web-1"
)]
pub(super) struct Add {
    /// Where it goes; without a name it is called as its AMI or file is
    #[arg(value_name = "STORE[@NAME]")]
    target: PathBuf,

    /// A bundle, or an image or BUNDLE:DEVICE, which becomes a snapshot; - for standard input
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    /// Store chunks that changed as patches over this AMI or snapshot: its name in the store, or a bundle
    #[arg(long, value_name = "OLD")]
    base: Option<PathBuf>,

    /// Copy a bundle as it is, whatever the store has, so that its digest and its signatures stay
    #[arg(long, conflicts_with = "base")]
    as_is: bool,

    /// What a snapshot is, for people
    #[arg(long)]
    description: Option<String>,

    #[command(flatten)]
    groups: GroupArgs,

    #[command(flatten)]
    regions: RegionArgs,

    #[command(flatten)]
    states: StateArgs,

    #[command(flatten)]
    free: FreeArgs,

    #[command(flatten)]
    opening: Opening,

    #[command(flatten)]
    keys: Keys,

    #[command(flatten)]
    threads: Threads,
}

impl Add {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let roles = Roles::of(&["image"]);
        let source = self.opening.with_keys(&self.keys, &roles, "image", &self.image)?;
        let request = AddRequest {
            source: VolumeRequest { free: self.free.record(), ..source.clone() },
            target: self.target.clone(),
            base: self.base.clone(),
            as_is: self.as_is,
            description: self.description.clone(),
            groups: self.groups.groups(self.regions.region, self.threads, output),
            threads: self.threads.count(),
            states: self.states.states(output),
        };
        let report = store::add(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("store-add", &report, render).map(|()| 0)
    }
}

fn render(report: &AddReport, out: &mut dyn Write) -> io::Result<()> {
    let kind = if report.kind == "ami" { "AMI" } else { "snapshot" };
    let how = match report.how {
        How::Copied => "copied as it is",
        How::Packed => "packed",
    };
    writeln!(out, "{}@{}: {kind}, {how}", shown(&report.store), report.name)?;
    writeln!(
        out,
        "  needs {}, {} of it new to the store",
        format_size(report.stored_bytes),
        format_size(report.new_bytes)
    )?;
    writeln!(out, "  digest sha256:{}", report.digest)
}
