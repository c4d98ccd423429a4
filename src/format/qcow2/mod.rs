//! qcow2 images, versions 2 and 3, as QEMU and most builders of virtual machines have them.
//!
//! Unallocated clusters are holes, zero clusters are written zeros, everything else is data. See
//! `docs/formats/qcow2.md`.

pub mod layout;
mod map;
mod write;

use std::sync::Arc;

use crate::compress::Codec;
use crate::compress::DEFLATE_LEVELS;
use crate::compress::LEVELS;
use crate::error::Error;
use crate::error::Result;
use crate::format::magic::starts_with;
use crate::format::parsed::Parsed;
use crate::format::probe;
use crate::format::qcow2::layout::Qcow2Fault;
use crate::format::qcow2::layout::SECTOR_LEN;
use crate::format::raw;
use crate::format::reader::Content;
use crate::format::reader::Format;
use crate::format::reader::OpenRequest;
use crate::format::writer::WriteFn;
use crate::format::writer::Writer;
use crate::io::Input;
use crate::io::ReadAt;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Source;
use crate::volume::Unit;
use crate::volume::Volume;

/// The row of this format.
pub static FORMAT: Format = Format {
    name: "qcow2",
    summary: "QEMU's image, version 2 or 3",
    probe: Some(|source| starts_with(source, &layout::MAGIC)),
    open,
    content: Content::Mapped,
};

/// The way to write it without compression.
pub static WRITER: Writer = Writer {
    name: "qcow2",
    summary: "QEMU's image, version 3, uncompressed",
    format: &FORMAT,
    // Whole sectors.
    size_grain: SECTOR_LEN,
    write: WriteFn::One(|volume, sink, options| write::write(volume, sink, options, None)),
    levels: None,
    suffixes: &["qcow2"],
};

/// The way to write it with zstd.
pub static ZSTD_WRITER: Writer = Writer {
    name: "qcow2-zstd",
    summary: "qcow2 written with zstd, for QEMU 5.1 and later",
    format: &FORMAT,
    // Whole sectors.
    size_grain: SECTOR_LEN,
    write: WriteFn::One(|volume, sink, options| {
        write::write(volume, sink, options, Some(Codec::Zstd))
    }),
    levels: Some(LEVELS),
    suffixes: &[],
};

/// The way to write it with deflate.
pub static ZLIB_WRITER: Writer = Writer {
    name: "qcow2-zlib",
    summary: "qcow2 written with deflate, for any reader",
    format: &FORMAT,
    // Whole sectors.
    size_grain: SECTOR_LEN,
    write: WriteFn::One(|volume, sink, options| {
        write::write(volume, sink, options, Some(Codec::Deflate))
    }),
    levels: Some(DEFLATE_LEVELS),
    suffixes: &[],
};

/// What one image of a chain is.
enum Kind {
    Qcow2,
    Raw,
}

/// Opens an image, with the backing files below it as far as the user lets it name them.
///
/// # Errors
///
/// As the format has it, with file and offset; as the gate has it for a backing file.
fn open(request: &OpenRequest<'_>) -> Result<Parsed> {
    let input = request.single("qcow2")?;
    let mut images = vec![Arc::clone(input)];
    let mut sources = Vec::new();
    let top = open_layer(input, &mut sources, request.force)?;
    let (mut map, mut backing) = (top.map, top.backing);
    while let Some(below) = backing {
        let above = images.last().expect("the user's own at least");
        // Cannot underflow: there is one image more than backing files.
        let depth = images.len().strict_sub(1);
        let image = request.open_named(above.path(), "backing file", &below.name, depth)?;
        let in_above = |fault: Qcow2Fault| Error::from(fault).at(8).in_file(above.path());
        // A chain that comes back to an image goes on for ever.
        if image.inode().is_some() && images.iter().any(|other| other.inode() == image.inode()) {
            return Err(in_above(Qcow2Fault::BackingLoop));
        }
        let lower;
        (lower, backing) = match kind_of(&image, below.format.as_deref(), &in_above)? {
            Kind::Raw => (raw_layer(&image, &mut sources)?, None),
            Kind::Qcow2 => {
                let layer = open_layer(&image, &mut sources, request.force)?;
                (layer.map, layer.backing)
            }
        };
        // From the top down: what is still `Backing` is asked of the next image.
        map = map.over(&lower);
        if map.run_count() > MAX_RUNS {
            return Err(Error::from(Qcow2Fault::Runs).in_file(image.path()));
        }
        images.push(image);
    }
    Ok(Volume::new(map, sources)?.into())
}

/// Reads one qcow2 image; its runs point into a source that is added.
fn open_layer(image: &Arc<Input>, sources: &mut Vec<Source>, force: bool) -> Result<map::Layer> {
    let source = u16::try_from(sources.len()).expect("the gate bounds the depth");
    let layer = map::parse(image, source, force).map_err(|e| e.in_file(image.path()))?;
    let len = u32::try_from(layer.header.cluster_len()).expect("at most 2 MiB");
    let unit = Unit { codec: layer.header.codec, len };
    sources.push(Source::packed(Arc::<Input>::clone(image), unit));
    Ok(layer)
}

/// Reads a raw image at the bottom of a chain.
fn raw_layer(image: &Arc<Input>, sources: &mut Vec<Source>) -> Result<RunMap> {
    let mut map = RunMap::default();
    // A backing file of no bytes is legal: all lies past its end.
    if image.is_empty() {
        return Ok(map);
    }
    let raw = raw::volume(image).map_err(|e| e.in_file(image.path()))?;
    let number = u16::try_from(sources.len()).expect("the gate bounds the depth");
    for (range, place) in raw.map().within(0..raw.map().size()) {
        let place = match place {
            Place::Stored { offset, .. } => Place::Stored { source: number, offset },
            other => other,
        };
        map.push(range.end.strict_sub(range.start), place);
    }
    sources.push(Arc::clone(image).into());
    Ok(map)
}

/// Says what a backing file is: what the image above says, or else what its magic does. A file
/// without one is raw only if the image says so: its author, say the guest whose disk it is,
/// could have given it any.
fn kind_of(
    image: &Arc<Input>,
    format: Option<&str>,
    fail: &dyn Fn(Qcow2Fault) -> Error,
) -> Result<Kind> {
    match format {
        Some("raw") => Ok(Kind::Raw),
        Some("qcow2") => Ok(Kind::Qcow2),
        Some(other) => Err(fail(Qcow2Fault::BackingFormat)
            .advise(format!("the image says {other:?}; convert it with `qemu-img convert`"))),
        None => match probe::probe(image).map_err(|e| e.in_file(image.path()))? {
            found if *found == FORMAT => Ok(Kind::Qcow2),
            found if found.is_plain() => Err(fail(Qcow2Fault::BackingUnknown)
                .advise("record it with `qemu-img rebase -u -F raw -b NAME IMAGE` if it is raw")),
            found => Err(fail(Qcow2Fault::BackingFormat)
                .advise(format!("it is {}; convert it with `qemu-img convert`", found.name))),
        },
    }
}
