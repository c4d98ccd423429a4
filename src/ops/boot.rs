//! `boot`: starts a volume, or all of a bundle's, and judges what its console says.

use crate::error::Result;
use crate::ops::shared::boot::BootReport;
use crate::ops::shared::boot::BootRequest;
use crate::ops::shared::boot::start;
use crate::work::Watch;

/// Starts a volume and judges what its console says.
///
/// # Errors
///
/// As [`crate::ops::open`]; `Unsupported` if QEMU or OVMF is missing, or for an architecture other than `x86_64`; `Invalid` if the
/// description has more volumes than a machine; `Io` if QEMU cannot be started. A guest that does not come up is not an
/// error.
pub fn boot(request: &BootRequest, watch: &dyn Watch) -> Result<BootReport> {
    start(request, watch)
}
