//! VHD images, as Virtual PC, Hyper-V, Azure and EC2's VM Import have them.
//!
//! A block of a dynamic image that is not there is a hole, and so are sectors that its bitmap has as
//! absent; what is there is data. See `docs/formats/vhd.md`.

pub mod layout;
mod map;
mod write;

use std::cmp::Ordering;
use std::sync::Arc;

use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::format::parsed::Holes;
use crate::format::parsed::Parsed;
use crate::format::reader::Content;
use crate::format::reader::Format;
use crate::format::reader::OpenRequest;
use crate::format::vhd::layout::DiskType;
use crate::format::vhd::layout::Footer;
use crate::format::vhd::layout::SECTOR_LEN;
use crate::format::vhd::layout::VhdFault;
use crate::format::vhd::map::Footers;
use crate::format::writer::WriteFn;
use crate::format::writer::Writer;
use crate::io::Input;
use crate::io::ReadAt;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Source;
use crate::volume::Volume;
use crate::volume::check_size;

pub use write::write_dynamic;
pub use write::write_fixed;

/// The row of this format.
pub static FORMAT: Format = Format {
    name: "vhd",
    summary: "VHD image of Virtual PC and Hyper-V: fixed, dynamic or differencing",
    probe: Some(map::probe),
    open,
    content: Content::Mapped,
};

/// The way to write dynamic images.
pub static WRITER: Writer = Writer {
    name: "vhd",
    summary: "VHD image of Virtual PC and Hyper-V; written as a dynamic one",
    format: &FORMAT,
    // Whole sectors.
    size_grain: SECTOR_LEN,
    write: WriteFn::One(write_dynamic),
    levels: None,
    suffixes: &["vhd", "vpc"],
};

/// The way to write fixed images.
pub static FIXED_WRITER: Writer = Writer {
    name: "vhd-fixed",
    summary: "fixed VHD image: the bytes of the disk and a footer, as Azure takes it",
    format: &FORMAT,
    // Whole sectors.
    size_grain: SECTOR_LEN,
    write: WriteFn::One(write_fixed),
    levels: None,
    suffixes: &[],
};

/// Opens one image, and the parents of a differencing one.
///
/// # Errors
///
/// As the format has it, with file and offset; for a parent as [`crate::format::gate::Gate::open`],
/// and `Invalid` if it is not the one that the image above it was made from.
fn open(request: &OpenRequest<'_>) -> Result<Parsed> {
    let mut input = Arc::clone(request.single("vhd")?);
    let mut flat: Option<RunMap> = None;
    let mut sources: Vec<Source> = Vec::new();
    let mut wanted: Option<[u8; 16]> = None;
    let mut holes = Holes::Absent;
    let mut notes = Vec::new();
    loop {
        let depth = sources.len();
        let source = u16::try_from(depth).expect("the gate ends a chain");
        let layer = parse(&input, source, request.force).map_err(|e| e.in_file(input.path()))?;
        if depth == 0 {
            notes.extend(size_note(&layer.footer));
            if layer.footer.disk_type == DiskType::Fixed {
                holes = Holes::InFile(0);
            }
        }
        if wanted.is_some_and(|id| id != layer.footer.id) {
            return Err(Error::from(VhdFault::ParentId)
                .in_file(input.path())
                .advise(Advice::NameParent));
        }
        let map = match flat {
            None => layer.map,
            Some(above) => above.over(&layer.map),
        };
        if map.run_count() > MAX_RUNS {
            return Err(Error::from(VhdFault::Runs).in_file(input.path()));
        }
        sources.push(Arc::clone(&input).into());
        let Some(parent) = layer.parent else {
            return Ok(Parsed { holes, notes, ..Volume::new(map, sources)?.into() });
        };
        flat = Some(map);
        wanted = Some(parent.id);
        input = request.open_named(input.path(), "parent", file_name(&parent.name), depth)?;
    }
}

/// Says which bytes are left out, or added, where the geometry counts and gives another size.
fn size_note(footer: &Footer) -> Option<String> {
    let (size, current) = (footer.size, footer.current_size);
    let creator = footer.creator.escape_ascii();
    let rule = format!("images of the creator \"{creator}\" have the size of their geometry");
    match current.cmp(&size) {
        Ordering::Equal => None,
        Ordering::Greater => Some(format!(
            "{rule}, {size} bytes, so the last {} of its current size of {current} bytes are left out, as \
             qemu-img does; where a disk is meant to have them, `qemu-img convert --image-opts \
             driver=vpc,force_size_calc=current_size,file.filename=FILE` keeps them",
            current.strict_sub(size)
        )),
        Ordering::Less => Some(format!(
            "{rule}, {size} bytes, which is {} more than its current size, as qemu-img has it",
            size.strict_sub(current)
        )),
    }
}

/// Returns the last part of a path as Windows writes it. The id tells whether the file of that name
/// beside the image is the one that was meant.
fn file_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

/// One image of a chain.
struct Layer {
    footer: Footer,
    map: RunMap,
    parent: Option<layout::Parent>,
}

fn parse(input: &Input, source: u16, force: bool) -> Result<Layer> {
    let footers = map::footers(input, force)?;
    let footer = footers.footer;
    check_size(footer.size)?;
    if footer.disk_type == DiskType::Fixed {
        return Ok(Layer { footer, map: fixed(input, footers, source)?, parent: None });
    }
    let (header, map) = map::parse(input, footers, source, force)?;
    let parent = (footer.disk_type == DiskType::Differencing).then_some(header.parent);
    Ok(Layer { footer, map, parent })
}

/// Maps a fixed image: byte n of the file is byte n of the volume.
fn fixed(input: &Input, Footers { footer, end }: Footers, source: u16) -> Result<RunMap> {
    if footer.size > end {
        let fault = VhdFault::FixedCut { found: end, expected: footer.size };
        return Err(Error::from(fault).at(end));
    }
    let mut map = RunMap::default();
    for Extent { range, kind } in input.extents(MAX_RUNS)? {
        let place = match kind {
            ExtentKind::Hole => Place::Hole,
            ExtentKind::Zero => Place::Zero,
            ExtentKind::Data => Place::Stored { source, offset: range.start },
        };
        map.push(range.end.min(footer.size).saturating_sub(range.start), place);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_part_of_a_parents_path_counts() {
        for path in ["base.vhd", "C:\\vm\\base.vhd", ".\\base.vhd", "/vm/base.vhd", "a\\b/base.vhd"]
        {
            assert_eq!(file_name(path), "base.vhd");
        }
        assert_eq!(file_name("..\\.."), "..");
        assert_eq!(file_name(""), "");
    }
}
