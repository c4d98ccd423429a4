//! `map`: the extents of a volume.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::strip;
use crate::cli::shared::volumes::Reading;
use crate::error::Result;
use crate::format::sidecar;
use crate::ops;
use crate::ops::OpenedVolume;
use crate::volume::ReadVolume;
use crate::volume::extents;
use crate::work::Watch;

/// Lists a volume's extents: data, written zeros and holes
///
/// With --json, in the shape of `qemu-img map --output=json`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit map root.raw\n  amikit map root.raw --strip\n  amikit map root.raw --bmap > root.bmap"
)]
pub(super) struct Map {
    /// The image, or BUNDLE:DEVICE; - for standard input
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    /// Write a block map for bmaptool, version 2.0, with the digest of each range
    #[arg(long, conflicts_with = "json")]
    bmap: bool,

    /// Draw the volume as a strip of block characters, as wide as the terminal
    ///
    /// A bar is as high as its cell is full of data; without data, ░ marks written zeros and · holes.
    #[arg(long, conflicts_with_all = ["json", "bmap"])]
    strip: bool,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    threads: Threads,
}

impl Map {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let opened = ops::open(&self.reading.only(&self.image)?, follower)?;
        follower.end();
        output.notes(&opened.opened().notes());
        let volume = opened.volume();
        print(|out| {
            if self.bmap {
                follower.begin(Some(volume.size()));
                sidecar::write_bmap(volume, out, follower, self.threads.count())
            } else if self.strip {
                strip::map(volume, out)
            } else if output.json {
                match opened.opened() {
                    OpenedVolume::Image(image) => {
                        sidecar::write_qemu_map(&image.volume, image.holes, out)
                    }
                    _ => sidecar::write_qemu_extents(volume, out),
                }
            } else {
                render(volume, out)
            }
        })
        .map(|()| 0)
    }
}

fn render(volume: &dyn ReadVolume, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "   start (bytes)   length (bytes)  kind").map_err(lost)?;
    for extent in extents(volume) {
        let extent = extent?;
        writeln!(out, "{:>16} {:>16}  {}", extent.range.start, extent.len(), extent.kind)
            .map_err(lost)?;
    }
    Ok(())
}
