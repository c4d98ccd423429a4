//! `instance-store unbundle`: the volume of an instance-store bundle to an image.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::instance_store::unbundle;
use crate::cli::shared::options::Threads;
use crate::cli::shared::options::format_of;
use crate::cli::shared::options::written_formats;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::format::Writer;
use crate::ops::instance_store as ops;

/// Writes the volume of an instance-store bundle as an image
///
/// All parts are checked before anything is written, and the output gets its name only when all of it
/// matches the manifest.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amikit instance-store unbundle web/disk.img.manifest.xml -o disk.img --key user.key \
                        --cert user.crt"
)]
pub(super) struct Unbundle {
    /// The manifest; the parts are beside it
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,

    /// Where the image goes: a file, replaced in one step, or a block device
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// Private key, PEM, of mode 0600: the maker's or EC2's
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Certificate of the bundle's signer [default: the key itself, if it is the signer's]
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Format of the image [default: what the output's name ends in, else raw]
    #[arg(long, value_parser = written_formats())]
    format: Option<&'static Writer>,

    #[command(flatten)]
    threads: Threads,
}

impl Unbundle {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = ops::UnbundleRequest {
            manifest: self.manifest.clone(),
            output: self.output.clone(),
            key: self.key.clone(),
            cert: self.cert.clone(),
            format: format_of(self.format, &self.output),
            threads: self.threads.count(),
        };
        unbundle(&request, output, follower)
    }
}
