//! `instance-store inspect`: what a manifest says.

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Result;
use crate::instance_store::Bundler;
use crate::instance_store::InstanceBundle;
use crate::instance_store::Machine;
use crate::instance_store::Manifest;
use crate::instance_store::PartEntry;
use crate::instance_store::Version;
use crate::ops::path_text;

/// What a manifest says. Keys are left out, encrypted as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceStoreContent {
    /// The manifest.
    #[serde(serialize_with = "path_text")]
    pub path: PathBuf,
    /// Version of the format.
    pub version: Version,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundler: Option<Bundler>,
    /// Name of the bundle.
    pub name: String,
    /// Account.
    pub user: String,
    /// What the volume is: `machine`, `kernel` or `ramdisk`.
    pub image_type: String,
    /// What EC2 makes of it.
    pub machine: Machine,
    /// AMIs that it was made from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ancestry: Vec<String>,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
    /// Bytes of all parts.
    pub bundled_size_bytes: u64,
    /// SHA-1 of the archive.
    pub archive_sha1: String,
    /// Whether there is a signature; whether it fits is for `verify`.
    pub signed: bool,
    /// The parts, in order.
    pub parts: Vec<PartEntry>,
}

/// Tells what a manifest says.
///
/// # Errors
///
/// As [`InstanceBundle::open`].
pub fn inspect(path: &Path) -> Result<InstanceStoreContent> {
    let bundle = InstanceBundle::open(path)?;
    let Manifest { version, bundler, machine, name, user, image_type, .. } = bundle.manifest();
    let manifest = bundle.manifest();
    Ok(InstanceStoreContent {
        path: path.to_owned(),
        version: *version,
        bundler: bundler.clone(),
        name: name.clone(),
        user: user.clone(),
        image_type: image_type.clone(),
        machine: machine.clone(),
        ancestry: manifest.ancestry.clone(),
        volume_size_bytes: manifest.size,
        bundled_size_bytes: manifest.bundled_size,
        archive_sha1: manifest.digest.clone(),
        signed: manifest.signature.as_deref().is_some_and(|text| text != "UNSIGNED"),
        parts: manifest.parts.clone(),
    })
}
