//! `pack`: volumes to a bundle.

use crate::error::Result;
use crate::io::unwritten;
use crate::ops::shared::mapping::MappedVolume;
use crate::ops::shared::mapping::open_mapped;
use crate::ops::shared::packing::PackOptions;
use crate::ops::shared::packing::PackReport;
use crate::ops::shared::packing::pack_volumes;
use crate::work::Watch;

/// What a bundle is made of.
#[derive(Clone, Debug)]
pub struct PackRequest {
    /// The volumes, the root among them.
    pub volumes: Vec<MappedVolume>,
    /// How they become a bundle.
    pub options: PackOptions,
}

impl PackRequest {
    /// Asks for a bundle of volumes.
    #[must_use]
    pub fn new(volumes: Vec<MappedVolume>, options: PackOptions) -> Self {
        Self { volumes, options }
    }
}

/// Packs volumes into a bundle.
///
/// # Errors
///
/// `Invalid` if EC2 would refuse the description, before anything is read; as [`crate::ops::open_in_order`] and
/// [`crate::chunking::run`] for the volumes; `Io` if the bundle cannot be written.
pub fn pack(request: &PackRequest, watch: &dyn Watch) -> Result<PackReport> {
    let PackRequest { volumes, options } = request;
    let volumes = open_mapped(volumes, &options.ami, options.groups, watch)?;
    pack_volumes(volumes, options, watch).map_err(unwritten(&options.output))
}
