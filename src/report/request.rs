//! What is shown.

use std::num::NonZero;
use std::path::PathBuf;

use crate::ops::VolumeRequest;
use crate::work::default_threads;

/// What is shown, and where the page goes.
#[derive(Clone, Debug)]
pub struct ReportRequest {
    /// The volume, or the older one of two.
    pub volume: VolumeRequest,
    /// The newer one.
    pub newer: Option<VolumeRequest>,
    /// The page.
    pub output: PathBuf,
    /// A log of the guest's console.
    pub boot_log: Option<PathBuf>,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl ReportRequest {
    /// Asks for the page of one volume.
    #[must_use]
    pub fn new(volume: VolumeRequest, output: impl Into<PathBuf>) -> Self {
        let output = output.into();
        Self { volume, newer: None, output, boot_log: None, threads: default_threads() }
    }
}
