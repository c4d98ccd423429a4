//! The volumes of what a user named, as exports of the NBD server.

use std::sync::Arc;

use crate::ami::bare;
use crate::error::Result;
use crate::ops::shared::open::Found;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::find;
use crate::ops::shared::open::open;
use crate::serve::Cached;
use crate::serve::nbd::Export;
use crate::volume::ReadVolume;
use crate::work::Watch;

/// Opens what the user named: one volume, or each device of a bundle. The first one is the default export, without a
/// name; of a bundle, its root device, which also has an export by its name. `cache` is how many bytes of unpacked blocks
/// are kept for each volume that is stored packed.
///
/// # Errors
///
/// As [`open`].
pub(in crate::ops) fn exports(
    typed: &VolumeRequest,
    cache: u64,
    watch: &dyn Watch,
    notes: &mut Vec<String>,
) -> Result<Vec<Export>> {
    let one = |volume: &VolumeRequest, name: &str, notes: &mut Vec<String>| {
        let opened = open(volume, watch)?;
        notes.extend(opened.opened().notes());
        let description = volume.typed().display().to_string();
        let mut volume: Arc<dyn ReadVolume> = Arc::from(opened.into_volume());
        // Bytes that are stored as they are, are read in place.
        if volume.unit_len() > 1 {
            volume = Arc::new(Cached::new(volume, cache)?);
        }
        Ok(Export { name: name.to_owned(), description, volume })
    };
    let devices = match find(typed).map_err(|error| typed.fail(error))? {
        Found::Bundle(bundle) if typed.image.member.is_none() => {
            let mut devices: Vec<String> =
                bundle.snapshots().iter().map(|layer| layer.device.clone()).collect();
            // The default export is the root device.
            let root = &bundle.ami().root_device_name;
            devices.sort_by_key(|device| device != root);
            devices
        }
        _ => return one(typed, "", notes).map(|export| vec![export]),
    };
    let mut exports = Vec::new();
    for device in &devices {
        let mut volume = typed.clone();
        volume.image.member = Some(device.clone());
        let export = one(&volume, bare(device), notes)?;
        if exports.is_empty() {
            exports.push(Export { name: String::new(), ..export.clone() });
        }
        exports.push(export);
    }
    Ok(exports)
}
