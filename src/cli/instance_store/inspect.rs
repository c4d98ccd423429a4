//! `instance-store inspect`: what a manifest says.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::instance_store::content;
use crate::cli::shared::output::Output;
use crate::error::Result;
use crate::ops::instance_store as ops;

/// Shows what the manifest of an instance-store bundle holds
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit instance-store inspect web/disk.img.manifest.xml")]
pub(super) struct Inspect {
    /// The manifest
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
}

impl Inspect {
    pub(super) fn run(&self, output: Output) -> Result<u8> {
        let report = ops::inspect(&self.manifest)?;
        output.report("instance-store-inspect", &report, content).map(|()| 0)
    }
}
