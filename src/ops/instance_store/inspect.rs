//! `instance-store inspect`: what a manifest says.

use std::path::Path;

use crate::error::Result;
use crate::ops::shared::instance_store::InstanceStoreContent;
use crate::ops::shared::instance_store::content_of;

/// Tells what a manifest says.
///
/// # Errors
///
/// As [`crate::instance_store::InstanceBundle::open`].
pub fn inspect(path: &Path) -> Result<InstanceStoreContent> {
    content_of(path)
}
