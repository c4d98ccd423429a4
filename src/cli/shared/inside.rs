//! A path inside a volume, for the commands that look there.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::volumes::Reading;
use crate::error::Result;
use crate::guest::PartName;
use crate::ops::InsideRequest;

/// The volume, and how it is opened.
#[derive(Debug, Args)]
pub(in crate::cli) struct Inside {
    /// The image, bundle or BUNDLE:DEVICE; - for standard input
    #[arg(value_name = "VOLUME")]
    volume: PathBuf,

    /// Look into this partition alone, by its number, or into this logical volume, as GROUP/NAME [default: the
    /// root file system and what it mounts]
    #[arg(long, value_name = "PART")]
    partition: Option<String>,

    #[command(flatten)]
    reading: Reading,
}

impl Inside {
    /// Asks for a path in it.
    pub(in crate::cli) fn request(&self, path: &OsString) -> Result<InsideRequest> {
        let volume = self.reading.only(&self.volume)?;
        let path = path.as_bytes().to_vec();
        let partition = self.partition.as_deref().map(PartName::new);
        Ok(InsideRequest { partition, ..InsideRequest::new(volume, path) })
    }
}
