//! What is applied, and to what.

use std::num::NonZero;
use std::path::PathBuf;

use crate::format::ImageRequest;
use crate::format::raw;
use crate::ops::shared::trust::TrustRequest;
use crate::work::default_threads;

/// Where the new image goes.
#[derive(Clone, Debug)]
pub enum ApplyTo {
    /// A new file, or a block device.
    Output(PathBuf),
    /// The old image itself is changed.
    InPlace,
}

/// What is applied, and to what.
#[derive(Clone, Debug)]
pub struct ApplyRequest {
    /// The thin bundle.
    pub bundle: PathBuf,
    /// Device of the AMI; the root device where the user names none.
    pub device: Option<String>,
    /// The raw image that the bundle was packed against.
    pub old: ImageRequest,
    /// Where the new image goes.
    pub to: ApplyTo,
    /// Who has to vouch for the bundle; anyone may have made it otherwise.
    pub trust: Option<TrustRequest>,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl ApplyRequest {
    /// Asks for the new image of the root volume, with all processors.
    #[must_use]
    pub fn new(bundle: impl Into<PathBuf>, old: ImageRequest, to: ApplyTo) -> Self {
        let threads = default_threads();
        Self { bundle: bundle.into(), device: None, old, to, trust: None, threads }
    }
}

/// What an interrupted in-place apply comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// The image becomes the new one.
    Finish,
    /// The image becomes the old one again.
    Undo,
}

/// The image of an interrupted in-place apply, and what becomes of it.
#[derive(Clone, Debug)]
pub struct SettleRequest {
    /// The image; its journal stands beside it.
    pub image: ImageRequest,
    /// What it becomes.
    pub settle: Settle,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl SettleRequest {
    /// Asks for one end or the other, with all processors.
    #[must_use]
    pub fn new(image: ImageRequest, settle: Settle) -> Self {
        Self { image, settle, threads: default_threads() }
    }
}

/// Tells whether byte n of an image's file is byte n of the volume, and its holes are the volume's: then it
/// can be shared with a new file, or changed in place.
pub(super) fn is_plain(image: &ImageRequest) -> bool {
    let raw = image.format.is_some_and(|format| std::ptr::eq(format, &raw const raw::FORMAT));
    raw && image.member.is_none() && image.parts.is_empty() && image.extents.is_none()
}
