//! `unpack`: a volume of a bundle to an image.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::Threads;
use crate::cli::shared::options::format_of;
use crate::cli::shared::options::written_formats;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::blocks;
use crate::cli::shared::trust::TrustArgs;
use crate::cli::shared::volumes::Keys;
use crate::cli::shared::volumes::Opening;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::error::shown;
use crate::format::Writer;
use crate::ops;
use crate::ops::UnpackReport;
use crate::units::format_size;

/// Writes a volume of a bundle as an image
///
/// Every chunk is checked before the image gets its name, so a damaged bundle leaves nothing
/// behind. On a block device, holes are written as zeros: no old data shows through.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit unpack web.ami /dev/sdf -o data.raw")]
pub(super) struct Unpack {
    /// The bundle
    bundle: PathBuf,

    /// Device of the AMI [default: the root device]
    device: Option<String>,

    /// Where the image goes: a file, replaced in one step, or a block device
    #[arg(long, short, value_name = "IMAGE")]
    output: PathBuf,

    /// Format of the image [default: what the output's name ends in, else raw]
    #[arg(long, value_parser = written_formats())]
    format: Option<&'static Writer>,

    /// What a thin bundle was packed against: a bundle or an image
    #[arg(long, value_name = "OLD")]
    base: Option<PathBuf>,

    /// Level of compression, in the scale of the format: zstd 1 to 22, vmdk and ova 1 to 12, qcow2-zlib 1 to 9
    #[arg(long, allow_negative_numbers = true)]
    level: Option<i32>,

    #[command(flatten)]
    opening: Opening,

    #[command(flatten)]
    keys: Keys,

    #[command(flatten)]
    trust: TrustArgs,

    #[command(flatten)]
    threads: Threads,
}

impl Unpack {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let roles = Roles::of(&["base"]);
        let base = self
            .base
            .as_ref()
            .map(|typed| self.opening.with_keys(&self.keys, &roles, "base", typed));
        let request = ops::UnpackRequest {
            bundle: self.bundle.clone(),
            device: self.device.clone(),
            output: self.output.clone(),
            format: format_of(self.format, &self.output),
            base: base.transpose()?,
            level: self.level,
            max_size: self.opening.max_size,
            trust: self.trust.request(),
            threads: self.threads.count(),
        };
        let report = ops::unpack(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("unpack", &report, render).map(|()| 0)
    }
}

fn render(report: &UnpackReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} image of {}, {}",
        shown(&report.output),
        report.format,
        report.device,
        format_size(report.volume_size_bytes)
    )?;
    blocks(&report.blocks, out)?;
    writeln!(out, "  root digest sha256:{}", report.root_digest)?;
    match &report.other_devices[..] {
        [] => Ok(()),
        others => writeln!(out, "  with {}", others.join(", ")),
    }
}
