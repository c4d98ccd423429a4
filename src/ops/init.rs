//! `init`: a recipe to begin with, as it fits an image.

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::error::Error;
use crate::error::Result;
use crate::error::shown;
use crate::guest;
use crate::guest::Layout;
use crate::guest::Machine;
use crate::guest::PartitionKind;
use crate::guest::Table;
use crate::io::Node;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open;
use crate::ops::shared::recipe::write_new;
use crate::ops::shared::report::path_text;
use crate::recipe;
use crate::work::Watch;

/// What is begun.
#[derive(Clone, Debug)]
pub struct InitRequest {
    /// Where the recipe goes; a file that is there already stays.
    pub recipe: PathBuf,
    /// The image of the root volume; where none is named, that of the template if it is there.
    pub image: Option<VolumeRequest>,
}

/// What was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InitReport {
    /// The recipe.
    #[serde(serialize_with = "path_text")]
    pub output: PathBuf,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How a machine can start from a volume: architecture and boot mode, where its inside says so.
fn starts(layout: &Layout) -> (Option<Architecture>, Option<BootMode>) {
    let loader = |machine| {
        layout.has(PartitionKind::Esp) && layout.loaders.iter().any(|it| it.named_for == machine)
    };
    // Behind a GPT the loader of a BIOS needs a partition of its own.
    let bios =
        layout.has_boot_code && (layout.table != Table::Gpt || layout.has(PartitionKind::BiosBoot));
    match (loader(Machine::X86_64), bios) {
        (true, true) => (Some(Architecture::X86_64), Some(BootMode::UefiPreferred)),
        (true, false) => (Some(Architecture::X86_64), Some(BootMode::Uefi)),
        _ if loader(Machine::Arm64) => (Some(Architecture::Arm64), Some(BootMode::Uefi)),
        (false, true) => (None, Some(BootMode::LegacyBios)),
        (false, false) => (None, None),
    }
}

/// Returns an image's name as a recipe in `folder` has it.
fn name_from(folder: &Path, image: &Path) -> Result<PathBuf> {
    if folder.as_os_str().is_empty() || folder == Path::new(".") || image.is_absolute() {
        return Ok(image.to_owned());
    }
    std::path::absolute(image).map_err(|e| Error::io("find", image, e))
}

/// Writes the recipe that a user begins with. It says how the image starts, where that can be seen.
///
/// # Errors
///
/// `Invalid` if something of the recipe's name is there; as [`open`] for the image; `Io` if the recipe
/// cannot be written.
pub fn init(request: &InitRequest, watch: &dyn Watch) -> Result<InitReport> {
    let folder = request.recipe.parent().unwrap_or(Path::new(""));
    let (image, name) = match &request.image {
        Some(image) => (image.clone(), Some(name_from(folder, &image.typed())?)),
        None => (VolumeRequest::new(&folder.join(recipe::TEMPLATE_IMAGE)), None),
    };
    let path = image.image.path.clone();
    let mut found = recipe::Beginning { image: name, ..recipe::Beginning::default() };
    let mut notes = Vec::new();
    if request.image.is_some() || Node::at(&path)? == Some(Node::File) {
        let opened = open(&image, watch)?;
        let layout = guest::look(opened.volume()).map_err(|e| e.in_file(&path))?;
        (found.architecture, found.boot_mode) = starts(&layout);
        if found.boot_mode.is_none() {
            let text =
                "has neither a boot loader for UEFI nor boot code: the recipe has no boot mode";
            notes.push(format!("{} {text}", shown(&path)));
        }
    }
    write_new(&request.recipe, &recipe::begin(&found))?;
    Ok(InitReport { output: request.recipe.clone(), notes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Identity;
    use crate::guest::Loader;
    use crate::guest::Partition;

    #[test]
    fn a_boot_mode_fits_what_is_there() {
        let loader = |named_for| Loader { partition: 1, path: "", named_for, machine: None };
        let partition =
            |kind| Partition { number: 1, start: 0, len: 512, kind, identity: Identity::default() };
        let layout = |loaders: &[Machine], partitions: &[PartitionKind], boot, table| Layout {
            table,
            has_boot_code: boot,
            partitions: partitions.iter().copied().map(partition).collect(),
            loaders: loaders.iter().copied().map(loader).collect(),
            ..Layout::default()
        };
        let (esp, bios) = (PartitionKind::Esp, PartitionKind::BiosBoot);
        let (x86, arm) = (Machine::X86_64, Machine::Arm64);
        for (layout, architecture, mode) in [
            (
                layout(&[x86], &[esp, bios], true, Table::Gpt),
                Some("x86_64"),
                Some("uefi-preferred"),
            ),
            (layout(&[x86], &[esp], true, Table::Gpt), Some("x86_64"), Some("uefi")),
            (layout(&[x86], &[esp], false, Table::Gpt), Some("x86_64"), Some("uefi")),
            (layout(&[arm], &[esp], false, Table::Gpt), Some("arm64"), Some("uefi")),
            (layout(&[], &[esp], false, Table::Gpt), None, None),
            (layout(&[], &[bios], true, Table::Gpt), None, Some("legacy-bios")),
            (layout(&[], &[], true, Table::Mbr), None, Some("legacy-bios")),
            (layout(&[], &[], false, Table::None), None, None),
        ] {
            let found = starts(&layout);
            assert_eq!(found.0.map(Architecture::name), architecture, "{layout:?}");
            assert_eq!(found.1.map(BootMode::name), mode, "{layout:?}");
        }
    }
}
