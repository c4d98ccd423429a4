//! What can be typed for the change between two volumes: listing it, applying it, joining it.
#![allow(clippy::doc_markdown, reason = "these comments are the help, where marks would show")]

use std::path::PathBuf;

use crate::error::Result;
use crate::ops::ImageRequest;
use clap::Args;
use clap::ValueEnum;

use crate::cli::shared_args::Pair;
use crate::cli::shared_args::Threads;
/// Lists the blocks that changed between two volumes, and how
///
/// Each is an image of any format, a snapshot manifest, or a bundle: BUNDLE for its root device,
/// BUNDLE:DEVICE for another. Manifests and bundles are compared without reading the volumes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit diff old.ami new.ami\n  amikit diff old.raw new.raw --json\n  amikit diff old.snap new.raw --format ebs"
)]
pub(super) struct Diff {
    /// The older volume
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The newer one
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// What is printed: a table, or the answer of `ListChangedBlocks` with digests as tokens
    #[arg(long, default_value = "table", value_name = "FORMAT")]
    pub(super) format: DiffFormat,

    #[command(flatten)]
    pair: Pair,

    #[command(flatten)]
    pub(super) threads: Threads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DiffFormat {
    Table,
    Ebs,
}

impl Diff {
    pub(super) fn requests(&self) -> Result<[ImageRequest; 2]> {
        self.pair.requests([&self.old, &self.new])
    }
}

/// Makes the new image of a thin bundle and the old image
///
/// The old image is read whole first, to see that it is the one that the bundle was packed against.
/// With --in-place, a journal beside it holds all that changes before the first byte of it does: a
/// run that was stopped anywhere is finished by the same command.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit apply update.ami --to old.raw -o new.raw\n  amikit apply update.ami --to root.raw --in-place"
)]
pub(super) struct Apply {
    /// The thin bundle
    pub(super) bundle: PathBuf,

    /// Device of the AMI [default: the root device]
    pub(super) device: Option<String>,

    /// The raw image that the bundle was packed against
    #[arg(long, value_name = "OLD")]
    pub(super) to: PathBuf,

    /// Where the new image goes: a file, replaced in one step, or a block device
    #[arg(long, short, value_name = "NEW", required_unless_present = "in_place")]
    pub(super) output: Option<PathBuf>,

    /// Change the old image itself
    #[arg(long, conflicts_with = "output")]
    pub(super) in_place: bool,

    /// Read the old image although another process has it open for writing
    #[arg(long)]
    pub(super) force: bool,

    #[command(flatten)]
    pub(super) threads: Threads,
}

/// Makes a thin bundle whole with the packs of its base
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit complete update.ami --base web.ami -o new.ami")]
pub(super) struct Complete {
    /// The thin bundle
    pub(super) bundle: PathBuf,

    /// The bundle that it was packed against
    #[arg(long, value_name = "OLD")]
    pub(super) base: PathBuf,

    /// Where the whole bundle goes; its digest is that of the thin one
    #[arg(long, short, value_name = "BUNDLE")]
    pub(super) output: PathBuf,
}

/// Joins two thin bundles that follow each other to one
///
/// Without --base, chunks are taken over as they are stored; where one cannot be joined without the
/// base's bytes, that is said.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit merge 1to2.ami 2to3.ami -o 1to3.ami")]
pub(super) struct Merge {
    /// The first thin bundle
    pub(super) first: PathBuf,

    /// The second, packed against what the first leads to
    pub(super) second: PathBuf,

    /// What the first was packed against: a bundle or an image
    #[arg(long, value_name = "OLD")]
    pub(super) base: Option<PathBuf>,

    /// Where the joined bundle goes
    #[arg(long, short, value_name = "BUNDLE")]
    pub(super) output: PathBuf,

    /// Compression level of chunks that are stored anew, 1 to 22
    #[arg(long, default_value_t = crate::compress::DEFAULT_LEVEL, allow_negative_numbers = true)]
    pub(super) level: i32,

    #[command(flatten)]
    pub(super) threads: Threads,
}

/// Makes a bundle that leans on another base; its volumes stay the same
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amikit rebase update.ami --base old.ami --onto newer.ami --thin -o update2.ami"
)]
pub(super) struct Rebase {
    /// The bundle, thin or whole
    pub(super) bundle: PathBuf,

    /// What it was packed against, if it is thin: a bundle or an image
    #[arg(long, value_name = "OLD")]
    pub(super) base: Option<PathBuf>,

    /// What it is to lean on: a bundle, or with --thin an image of the root volume
    #[arg(long, value_name = "OTHER")]
    pub(super) onto: PathBuf,

    /// Leave out the packs that OTHER has
    #[arg(long)]
    pub(super) thin: bool,

    /// Where the new bundle goes
    #[arg(long, short, value_name = "BUNDLE")]
    pub(super) output: PathBuf,

    /// Compression level, 1 to 22
    #[arg(long, default_value_t = crate::compress::DEFAULT_LEVEL, allow_negative_numbers = true)]
    pub(super) level: i32,

    #[command(flatten)]
    pub(super) threads: Threads,
}
