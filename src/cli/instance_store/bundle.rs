//! `instance-store bundle`: an image to an instance-store bundle.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::instance_store::Machine;
use crate::cli::shared::instance_store::MakerKeys;
use crate::cli::shared::instance_store::Making;
use crate::cli::shared::instance_store::make;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::volumes::Bases;
use crate::cli::shared::volumes::Opening;
use crate::cli::shared::volumes::Roles;
use crate::compress::DEFAULT_GZIP_LEVEL;
use crate::error::Result;

/// Makes an instance-store bundle of an image, or of the root of an AMI bundle
///
/// DIR is created, with a manifest and parts in it. EC2's certificate is one of the files
/// cert-ec2*.pem of its AMI tools.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amikit instance-store bundle disk.img -o web --key user.key --cert user.crt \
                        --ec2-cert cert-ec2.pem --user 123456789012 --arch x86_64 --map ami=sda1 --map root=/dev/sda1"
)]
pub(super) struct Bundle {
    /// The image, or BUNDLE:DEVICE; - for standard input
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    /// The folder that is created
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    keys: MakerKeys,

    #[command(flatten)]
    machine: Machine,

    /// Compression level of gzip, 1 to 9
    #[arg(long, default_value_t = DEFAULT_GZIP_LEVEL)]
    level: u32,

    #[command(flatten)]
    opening: Opening,

    #[command(flatten)]
    bases: Bases,

    #[command(flatten)]
    threads: Threads,
}

impl Bundle {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let roles = Roles::of(&["image"]);
        let image = self.opening.volume(&roles, "image", &self.image)?;
        let image = self.bases.add(&self.opening, &roles, "image", image)?;
        let threads = self.threads.count();
        let making = Making { output: &self.output, level: Some(self.level), threads };
        make(image, &self.keys, &self.machine, making, output, follower)
    }
}
