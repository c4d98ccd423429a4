//! Writing volumes as an image.

use crate::error::Result;
use crate::format::WriteOptions;
use crate::format::Writer;
use crate::io::Target;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::volume::extents;

/// Writes volumes as an image, several only in a format that takes them, and finishes the output if
/// every byte of them was sound. Returns what the user should hear of it.
///
/// Where a format fills the volume up, as `qemu-img` does, that is among it.
pub(in crate::ops) fn write_image(
    format: &'static Writer,
    volumes: &[&dyn ReadVolume],
    target: Target,
    options: &WriteOptions<'_>,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for size in volumes.iter().map(|volume| volume.size()) {
        if !size.is_multiple_of(format.size_grain) {
            notes.push(format!(
                "the volume has {size} bytes, but {} needs a multiple of {}: padded with zeros to {} bytes",
                format.name,
                format.size_grain,
                size.next_multiple_of(format.size_grain)
            ));
        }
    }
    if format.is_plain() {
        target.check_room(written_bytes(volumes)?)?;
    }
    target.finish(|target| {
        format.write(volumes, target, options)?;
        volumes.iter().try_for_each(|volume| volume.check_unchanged())
    })?;
    Ok(notes)
}

/// Returns how many bytes of volumes are written where they are written as they are.
fn written_bytes(volumes: &[&dyn ReadVolume]) -> Result<u64> {
    let mut sum = 0_u64;
    for extent in volumes.iter().flat_map(|volume| extents(*volume)) {
        let extent = extent?;
        if extent.kind != ExtentKind::Hole {
            sum = sum.saturating_add(extent.len());
        }
    }
    Ok(sum)
}
