//! `apply`: the old image to the new one.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::many;
use crate::cli::shared::trust::TrustArgs;
use crate::cli::shared::volumes::Opening;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::error::shown;
use crate::format::raw;
use crate::ops;
use crate::ops::Applied;
use crate::ops::ApplyReport;
use crate::units::format_size;

/// Applies a thin bundle to the old image
///
/// The old image is read whole first, to check that it is the one that the bundle was packed against.
/// With --in-place, a journal beside it holds every change before its first byte is written: an
/// interrupted run is finished by the same command, or by --finish, and undone by --undo.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit apply update.ami --to old.raw -o new.raw\n  amikit apply update.ami --to root.raw --in-place\n  amikit apply --to root.raw --undo"
)]
pub(super) struct Apply {
    /// The thin bundle
    #[arg(required_unless_present_any = ["finish", "undo"])]
    bundle: Option<PathBuf>,

    /// Device of the AMI [default: the root device]
    device: Option<String>,

    /// The raw image that the bundle was packed against
    #[arg(long, value_name = "OLD")]
    to: PathBuf,

    /// Where the new image goes: a file, replaced in one step, or a block device
    #[arg(
        long,
        short,
        value_name = "NEW",
        required_unless_present_any = ["in_place", "finish", "undo"]
    )]
    output: Option<PathBuf>,

    /// Change the old image itself
    #[arg(long, conflicts_with = "output")]
    in_place: bool,

    /// Finish an in-place apply that was interrupted
    #[arg(long, conflicts_with_all = ["bundle", "device", "output", "in_place"])]
    finish: bool,

    /// Undo an in-place apply that was interrupted: the image becomes the old one again
    #[arg(long, conflicts_with_all = ["bundle", "device", "output", "in_place", "finish"])]
    undo: bool,

    #[command(flatten)]
    opening: Opening,

    #[command(flatten)]
    trust: TrustArgs,

    #[command(flatten)]
    threads: Threads,
}

impl Apply {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let mut old = self.opening.volume(&Roles::of(&["to"]), "to", &self.to)?.image;
        // Only a raw image can be changed in place, or shared with a new one.
        old.format = old.format.or(Some(&raw::FORMAT));
        let threads = self.threads.count();
        let report = if let Some(bundle) = &self.bundle {
            let to = match (&self.output, self.in_place) {
                (Some(path), false) => ops::ApplyTo::Output(path.clone()),
                _ => ops::ApplyTo::InPlace,
            };
            let (bundle, device) = (bundle.clone(), self.device.clone());
            let trust = self.trust.request();
            ops::apply(&ops::ApplyRequest { bundle, device, old, to, trust, threads }, follower)?
        } else {
            let settle = if self.undo { ops::Settle::Undo } else { ops::Settle::Finish };
            ops::settle(&ops::SettleRequest { image: old, settle, threads }, follower)?
        };
        follower.end();
        output.notes(&report.notes);
        output.report("apply", &report, render).map(|()| 0)
    }
}

fn render(report: &ApplyReport, out: &mut dyn Write) -> io::Result<()> {
    let how = match report.how {
        Applied::Cloned => "the rest is shared with the old image",
        Applied::Written => "all of it was written",
        Applied::InPlace => "changed in place",
        Applied::Resumed => "an interrupted run was finished",
        Applied::Undone => "an interrupted run was undone",
        Applied::Unchanged => "it was the new one already",
    };
    writeln!(
        out,
        "{}: raw image of {}, {}",
        shown(&report.output),
        report.device,
        format_size(report.volume_size_bytes)
    )?;
    writeln!(out, "  {} changed; {how}", many(report.changed_blocks, "block"))?;
    writeln!(out, "  from sha256:{}\n  to   sha256:{}", report.base_digest, report.root_digest)
}
