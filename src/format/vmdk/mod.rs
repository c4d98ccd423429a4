//! `VMware`'s disks: one file of packed or plain grains, or a text that names files.
//!
//! Sparse disks tell all three states apart where they have zero entries. See
//! `docs/formats/vmdk.md`.

pub mod descriptor;
pub mod layout;
mod map;
mod write;

use std::sync::Arc;

use crate::compress::Codec;
use crate::compress::ZLIB_LEVELS;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::field;
use crate::format::gate::MAX_DEPTH;
use crate::format::magic::starts_with;
use crate::format::parsed::Holes;
use crate::format::parsed::Parsed;
use crate::format::reader::Content;
use crate::format::reader::Format;
use crate::format::reader::OpenRequest;
use crate::format::vmdk::descriptor::Descriptor;
use crate::format::vmdk::descriptor::DescriptorFault;
use crate::format::vmdk::descriptor::DiskExtent;
use crate::format::vmdk::descriptor::ExtentPlace;
use crate::format::vmdk::descriptor::FIRST_LINE;
use crate::format::vmdk::descriptor::Parent;
use crate::format::vmdk::layout::GRAIN_MARKER_LEN;
use crate::format::vmdk::layout::Header;
use crate::format::vmdk::layout::MAGIC;
use crate::format::vmdk::layout::MAX_DESCRIPTOR_LEN;
use crate::format::vmdk::layout::MAX_FILES;
use crate::format::vmdk::layout::SECTOR_LEN;
use crate::format::vmdk::layout::VmdkFault;
use crate::format::vmdk::layout::parse_grain_marker;
use crate::format::vmdk::map::about;
use crate::format::writer::WriteFn;
use crate::format::writer::Writer;
use crate::io::Input;
use crate::io::ReadAt;
use crate::units::ExtentKind;
use crate::volume::MAX_RUNS;
use crate::volume::Markers;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Source;
use crate::volume::Unit;
use crate::volume::Volume;
use crate::volume::check_size;

pub use write::write_sparse;
pub use write::write_stream;

/// The row of this format.
pub static FORMAT: Format = Format {
    name: "vmdk",
    summary: "VMware disk: one file of compressed or plain grains, or a descriptor that names files",
    probe: Some(|source| Ok(starts_with(source, &MAGIC)? || starts_with(source, FIRST_LINE)?)),
    open,
    content: Content::Mapped,
};

/// The way to write streamOptimized disks.
pub static STREAM_WRITER: Writer = Writer {
    name: "vmdk",
    summary: "VMware disk; written as streamOptimized, which VM Import takes",
    format: &FORMAT,
    size_grain: SECTOR_LEN,
    write: WriteFn::One(write_stream),
    levels: Some(ZLIB_LEVELS),
    suffixes: &["vmdk"],
};

/// The way to write monolithicSparse disks.
pub static SPARSE_WRITER: Writer = Writer {
    name: "vmdk-sparse",
    summary: "VMware disk; written as monolithicSparse, which virtual machines run from",
    format: &FORMAT,
    size_grain: SECTOR_LEN,
    write: WriteFn::One(write_sparse),
    levels: None,
    suffixes: &[],
};

/// Opens a disk: its file or its extents, and where it is a delta link, what lies below.
///
/// # Errors
///
/// As the format has it, with file and offset; as the gate has it for each file that is named.
fn open(request: &OpenRequest<'_>) -> Result<Parsed> {
    let input = request.single("vmdk")?;
    let mut disk = Disk { request, sources: Vec::new(), named: 0 };
    let (mut map, mut descriptor) = disk.layer(input)?;
    let holes = holes_of(&descriptor);
    let mut child = Arc::clone(input);
    let mut depth = 0_usize;
    while let Some(Parent { cid, hint }) = descriptor.parent {
        if depth >= MAX_DEPTH {
            let text = format!("the chain is over {MAX_DEPTH} disks deep");
            return Err(Error::new(Kind::Limit, text).in_file(child.path()));
        }
        depth = depth.strict_add(1);
        let parent = disk.open_named(&child, "parent", &hint)?;
        let (below, next) = disk.layer(&parent)?;
        if next.cid != cid {
            let fault = DescriptorFault::Cid { found: next.cid, expected: cid };
            return Err(Error::from(fault).in_file(parent.path()));
        }
        map = map.over(&below);
        if map.run_count() > MAX_RUNS {
            return Err(Error::from(VmdkFault::Runs).in_file(parent.path()));
        }
        descriptor = next;
        child = parent;
    }
    let volume = Volume::new(map, disk.sources)?;
    Ok(Parsed { holes, ..volume.into() })
}

/// Says where the holes of a disk are: flat files have them where they are in the volume, as far as one file
/// tells where that is.
fn holes_of(descriptor: &Descriptor) -> Holes {
    let flat = |extent: &DiskExtent| match extent.place {
        ExtentPlace::Flat { offset, .. } => Some(offset.strict_mul(SECTOR_LEN)),
        ExtentPlace::Sparse { .. } | ExtentPlace::Zero => None,
    };
    let mut places = descriptor.extents.iter().map(flat);
    let first = places.next().flatten();
    match first {
        Some(first) if places.all(|place| place.is_some()) => Holes::InFile(first),
        _ => Holes::Absent,
    }
}

/// What was opened of a disk so far.
struct Disk<'a> {
    request: &'a OpenRequest<'a>,
    sources: Vec<Source>,
    /// Files that were named by others.
    named: usize,
}

impl Disk<'_> {
    /// Opens a file that `image` names, if the user lets it.
    fn open_named(&mut self, image: &Input, what: &'static str, name: &str) -> Result<Arc<Input>> {
        if self.named >= MAX_FILES {
            return Err(Error::from(VmdkFault::Files).in_file(image.path()));
        }
        let input = self.request.open_named_part(image.path(), what, name, self.named)?;
        self.named = self.named.strict_add(1);
        Ok(input)
    }

    /// Adds a source, and returns its number.
    fn add(&mut self, source: Source) -> u16 {
        let number = self.sources.len();
        self.sources.push(source);
        // At most one for each named file, and the first.
        u16::try_from(number).expect("at most MAX_FILES and one")
    }

    /// Reads one disk of a chain, without what lies below it.
    fn layer(&mut self, input: &Arc<Input>) -> Result<(RunMap, Descriptor)> {
        let mut magic = [0; 4];
        if input.len() >= 4 {
            input.read_exact_at(&mut magic, 0)?;
        }
        if magic == MAGIC {
            return about(input.path(), self.one_file(input));
        }
        if starts_with(input, FIRST_LINE)? {
            return about(input.path(), self.many_files(input));
        }
        let fault = VmdkFault::Magic { found: u32::from_le_bytes(magic) };
        Err(Error::from(fault).at(0).in_file(input.path()))
    }

    /// Reads a disk whose descriptor lies inside its one file.
    fn one_file(&mut self, input: &Arc<Input>) -> Result<(RunMap, Descriptor)> {
        let header = map::read_header(input, self.request.force)?;
        let text = map::read_descriptor(input, &header)?
            .ok_or_else(|| Error::from(VmdkFault::NoDescriptor).at(28).advise(NAME_THE_TEXT))?;
        let descriptor =
            Descriptor::parse(&text, true).map_err(|fault| Error::from(fault).at(SECTOR_LEN))?;
        if let [DiskExtent { sectors, .. }] = descriptor.extents[..] {
            same_capacity(sectors, &header)?;
        }
        let mut map = RunMap::default();
        self.grains(input, &header, absent(&descriptor), &mut map)?;
        Ok((map, descriptor))
    }

    /// Reads a disk whose descriptor is a file that names others.
    fn many_files(&mut self, input: &Arc<Input>) -> Result<(RunMap, Descriptor)> {
        let len = input.len();
        if len > MAX_DESCRIPTOR_LEN {
            return Err(Error::from(DescriptorFault::Len { found: len }).at(0));
        }
        let mut text = vec![0; usize::try_from(len).expect("under 1 MiB")];
        input.read_exact_at(&mut text, 0)?;
        let descriptor = Descriptor::parse(&text, false)?;
        // No run points to it, and yet it must not change.
        self.add(Arc::clone(input).into());
        let sum = descriptor.extents.iter().try_fold(0, |sum: u64, e| sum.checked_add(e.sectors));
        check_size(sum.unwrap_or(u64::MAX).saturating_mul(SECTOR_LEN))?;
        let mut map = RunMap::default();
        for extent in &descriptor.extents {
            let len = extent.sectors.strict_mul(SECTOR_LEN);
            match &extent.place {
                ExtentPlace::Zero => map.push(len, Place::Zero),
                ExtentPlace::Flat { name, offset } => {
                    let file = self.open_named(input, "extent", name)?;
                    // Both are below the largest volume.
                    let start = offset.strict_mul(SECTOR_LEN);
                    about(file.path(), self.flat(&file, start, len, &mut map))?;
                }
                ExtentPlace::Sparse { name } => {
                    let file = self.open_named(input, "extent", name)?;
                    let header = about(file.path(), map::read_header(&file, self.request.force))?;
                    about(file.path(), same_capacity(extent.sectors, &header))?;
                    let absent = absent(&descriptor);
                    about(file.path(), self.grains(&file, &header, absent, &mut map))?;
                }
            }
            if map.run_count() > MAX_RUNS {
                return Err(VmdkFault::Runs.into());
            }
        }
        Ok((map, descriptor))
    }

    /// Adds `len` bytes of a plain file from byte `start` on; its holes are holes.
    fn flat(&mut self, file: &Arc<Input>, start: u64, len: u64, map: &mut RunMap) -> Result<()> {
        let (end, expected) = (start.strict_add(len), file.len());
        if end > expected {
            return Err(VmdkFault::Outside { what: "the extent", found: end, expected }.into());
        }
        let source = self.add(Arc::clone(file).into());
        for extent in file.extents(MAX_RUNS)? {
            let (from, to) = (extent.range.start.max(start), extent.range.end.min(end));
            if from < to {
                let place = match extent.kind {
                    ExtentKind::Hole => Place::Hole,
                    ExtentKind::Zero => Place::Zero,
                    ExtentKind::Data => Place::Stored { source, offset: from },
                };
                map.push(to.strict_sub(from), place);
            }
        }
        Ok(())
    }

    /// Adds the grains of a sparse file.
    fn grains(
        &mut self,
        file: &Arc<Input>,
        header: &Header,
        absent: Place,
        map: &mut RunMap,
    ) -> Result<()> {
        let start = map.size();
        let source = if header.packed {
            let len = u32::try_from(header.grain_len()).expect("at most 2 MiB");
            let end = start.strict_add(header.capacity.strict_mul(SECTOR_LEN));
            let read = |bytes: &[u8], start: u64, most: u32| {
                Ok(parse_grain_marker(&field::array(bytes, 0), start, most)?)
            };
            let markers = Markers { len: GRAIN_MARKER_LEN, read, span: start..end };
            let unit = Unit { codec: Codec::Zlib, len };
            let bytes: Arc<dyn ReadAt> = Arc::<Input>::clone(file);
            Source::marked(bytes, unit, markers)
        } else {
            Arc::clone(file).into()
        };
        let source = self.add(source);
        map::read_grains(file, header, source, absent, map)
    }
}

/// What a user does who names a part of a disk.
const NAME_THE_TEXT: &str = "name the descriptor file of the disk";

/// What a grain is that a disk does not have.
fn absent(descriptor: &Descriptor) -> Place {
    if descriptor.parent.is_some() { Place::Backing } else { Place::Hole }
}

fn same_capacity(found: u64, header: &Header) -> Result<()> {
    let expected = header.capacity;
    if found == expected {
        return Ok(());
    }
    Err(DescriptorFault::Capacity { found, expected }.into())
}
