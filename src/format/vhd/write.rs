//! From a volume to a VHD image: blocks in parallel, the table last.

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::field;
use crate::format::raw;
use crate::format::vhd::layout::DiskType;
use crate::format::vhd::layout::Footer;
use crate::format::vhd::layout::Header;
use crate::format::vhd::layout::MAX_SIZE;
use crate::format::vhd::layout::Parent;
use crate::format::vhd::layout::SECTOR_LEN;
use crate::format::vhd::layout::UNUSED;
use crate::format::vhd::layout::VhdFault;
use crate::format::writer::WriteOptions;
use crate::io::PageBuffer;
use crate::io::WriteAt;
use crate::units::ExtentKind;
use crate::volume::Padded;
use crate::volume::ReadVolume;
use crate::work::in_order;

/// Bytes of the volume in a block, as every tool has it by default.
const BLOCK_LEN: u64 = 2 << 20;

/// Bytes of the bitmap of such a block.
const BITMAP_LEN: usize = 512;

/// Bytes in front of a block: its bitmap, at the end of a page, so that the block begins at one. Disks
/// and page caches read and write whole pages.
const FRONT_LEN: usize = 4096;

/// [`FRONT_LEN`] as an offset.
const FRONT: u64 = 4096;

/// Byte at which the table starts, behind the footer's copy and the header.
const TABLE_AT: u64 = 1536;

/// Writes a volume as a fixed image: its bytes, holes kept, and a footer.
///
/// # Errors
///
/// `Unsupported` over 2040 GiB; whatever reading and writing return.
pub fn write_fixed(
    volume: &dyn ReadVolume,
    sink: &dyn WriteAt,
    options: &WriteOptions<'_>,
) -> Result<()> {
    let volume = &Padded::to_multiple(volume, SECTOR_LEN);
    let size = checked(volume.size())?;
    // Cannot overflow: 2040 GiB at most.
    let len = size.strict_add(SECTOR_LEN);
    // A device that is too small says so before the first byte.
    sink.set_size(len)?;
    raw::write(volume, sink, options)?;
    sink.set_size(len)?;
    let footer = footer(size, DiskType::Fixed, u64::MAX);
    sink.write_all_at(&footer.encode(), size)
}

/// Writes a volume as a dynamic image: a block is there if any byte of it is data or written zeros,
/// and its bitmap tells the sectors that are holes.
///
/// The bytes written depend on nothing but the volume.
///
/// # Errors
///
/// `Unsupported` over 2040 GiB; whatever reading and writing return.
pub fn write_dynamic(
    volume: &dyn ReadVolume,
    sink: &dyn WriteAt,
    options: &WriteOptions<'_>,
) -> Result<()> {
    let volume = &Padded::to_multiple(volume, SECTOR_LEN);
    let size = checked(volume.size())?;
    let block_count = size.div_ceil(BLOCK_LEN);
    // At most 1,044,480 blocks, and a table of 4 MiB.
    let table_len = usize::try_from(block_count.strict_mul(4)).expect("at most 4 MiB");
    let mut table = vec![0xff; table_len.next_multiple_of(512)];
    let table_end = TABLE_AT.strict_add(u64::try_from(table.len()).expect("at most 4 MiB"));
    let first_at = table_end.next_multiple_of(FRONT);
    sink.make_hole_at(first_at.strict_sub(table_end), table_end)?;
    let mut end = first_at;
    in_order(
        options.threads,
        options.watch,
        Jobs { volume, volume_at: 0, file_at: first_at },
        || Ok(PageBuffer::default()),
        |buffer, job| {
            if let Some(data_at) = job.data_at {
                write_block(volume, sink, &job, data_at, buffer)?;
            }
            Ok(job)
        },
        |job| {
            if let Some(data_at) = job.data_at {
                let bitmap_at = data_at.strict_sub(SECTOR_LEN);
                let block = usize::try_from(job.start.strict_div(BLOCK_LEN)).expect("in the table");
                let sector = u32::try_from(bitmap_at.strict_div(SECTOR_LEN))
                    .ok()
                    .filter(|sector| *sector != UNUSED)
                    .expect("2040 GiB and bitmaps end before 2 TiB");
                field::put_u32_be(&mut table, block.strict_mul(4), sector);
                end = data_at.strict_add(BLOCK_LEN);
            }
            options.watch.advance(job.end.strict_sub(job.start));
            Ok(())
        },
    )?;
    let header = Header {
        table_at: TABLE_AT,
        entry_count: u32::try_from(block_count).expect("at most 1,044,480"),
        block_len: u32::try_from(BLOCK_LEN).expect("a small number"),
        parent: Parent::default(),
    };
    let footer = footer(size, DiskType::Dynamic, SECTOR_LEN).encode();
    sink.set_size(end.strict_add(SECTOR_LEN))?;
    sink.write_all_at(&footer, end)?;
    sink.write_all_at(&table, TABLE_AT)?;
    sink.write_all_at(&header.encode(), SECTOR_LEN)?;
    sink.write_all_at(&footer, 0)
}

/// Returns the size of the image's volume, if an image can have it.
fn checked(size: u64) -> Result<u64> {
    if size > MAX_SIZE {
        let advice = "write it as vhdx, which goes to 64 TiB, or as raw";
        return Err(Error::new(Kind::Unsupported, VhdFault::Size { found: size }.to_string())
            .advise(advice));
    }
    Ok(size)
}

/// Makes the footer; its id follows from what else it says.
fn footer(size: u64, disk_type: DiskType, header_at: u64) -> Footer {
    let mut id = Sha256::new();
    id.update(b"amikit vhd");
    id.update(&size.to_be_bytes());
    id.update(&disk_type.number().to_be_bytes());
    let Digest(digest) = id.finish();
    Footer::new(header_at, size, disk_type, field::array(&digest, 0))
}

/// A block that is there, or some that are not.
struct Job {
    /// Byte of the volume at which it starts.
    start: u64,
    /// Byte of the volume at which it ends.
    end: u64,
    /// Byte of the file at which the bytes of the block go, if it is there.
    data_at: Option<u64>,
}

/// Cuts the volume into blocks, and gives each that is there its place.
struct Jobs<'a> {
    volume: &'a dyn ReadVolume,
    volume_at: u64,
    file_at: u64,
}

impl Jobs<'_> {
    fn job(&mut self) -> Result<Job> {
        let start = self.volume_at;
        // Cannot overflow: volumes end at 64 TiB.
        let end = start.strict_add(BLOCK_LEN).min(self.volume.size());
        let extent = self.volume.extent_at(start)?;
        if extent.kind == ExtentKind::Hole && extent.range.end >= end {
            let end = match extent.range.end {
                whole if whole == self.volume.size() => whole,
                part => part.strict_sub(part % BLOCK_LEN),
            };
            return Ok(Job { start, end, data_at: None });
        }
        let data_at = self.file_at.strict_add(FRONT);
        self.file_at = data_at.strict_add(BLOCK_LEN);
        Ok(Job { start, end, data_at: Some(data_at) })
    }
}

impl Iterator for Jobs<'_> {
    type Item = Result<Job>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.volume_at >= self.volume.size() {
            return None;
        }
        let job = self.job();
        // After a failure there is no next place to look at.
        self.volume_at = job.as_ref().map_or(u64::MAX, |job| job.end);
        Some(job)
    }
}

/// Writes the bitmap and the bytes of a block.
fn write_block(
    volume: &dyn ReadVolume,
    sink: &dyn WriteAt,
    job: &Job,
    data_at: u64,
    buffer: &mut PageBuffer,
) -> Result<()> {
    let mut front = [0; FRONT_LEN];
    let bitmap = front.last_chunk_mut::<BITMAP_LEN>().expect("a page is longer");
    let mut at = job.start;
    while at < job.end {
        let extent = volume.extent_at(at)?;
        let end = extent.range.end.min(job.end);
        // Cannot overflow: inside the block, and so inside the file.
        let (skip, len) = (at.strict_sub(job.start), end.strict_sub(at));
        let file_at = data_at.strict_add(skip);
        match extent.kind {
            ExtentKind::Hole => sink.make_hole_at(len, file_at)?,
            ExtentKind::Zero => sink.write_zeros_at(len, file_at)?,
            ExtentKind::Data => {
                buffer.resize(usize::try_from(len).expect("at most a block"));
                volume.read_at(at, buffer)?;
                sink.write_all_at(buffer, file_at)?;
            }
        }
        if extent.kind != ExtentKind::Hole {
            let first = skip.strict_div(SECTOR_LEN);
            let last = skip.strict_add(len).div_ceil(SECTOR_LEN);
            set(bitmap, first, last);
        }
        at = end;
    }
    let rest = BLOCK_LEN.strict_sub(job.end.strict_sub(job.start));
    if rest != 0 {
        sink.make_hole_at(rest, data_at.strict_add(BLOCK_LEN.strict_sub(rest)))?;
    }
    sink.write_all_at(&front, data_at.strict_sub(FRONT))
}

/// Marks sectors as there.
fn set(bitmap: &mut [u8; BITMAP_LEN], first: u64, last: u64) {
    for sector in first..last {
        let sector = usize::try_from(sector).expect("below 4,096");
        bitmap[sector.strict_div(8)] |= 0x80 >> sector.strict_rem(8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::num::NonZero;
    use std::sync::Arc;

    use crate::volume::Place;
    use crate::volume::RunMap;
    use crate::volume::Volume;
    use crate::work::Unwatched;

    #[test]
    fn sizes_are_2040_gib_at_most() {
        assert_eq!(checked(MAX_SIZE).unwrap(), MAX_SIZE);
        let error = checked(MAX_SIZE.strict_add(1)).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("vhdx"));
        // The last block of the largest image can be said: its sector is not an end mark.
        let file = MAX_SIZE.strict_div(BLOCK_LEN).strict_mul(BLOCK_LEN.strict_add(FRONT));
        assert!(file.strict_add(8 << 20).strict_div(512) < u64::from(UNUSED));
    }

    #[test]
    fn ids_differ_by_size_and_type_alone() {
        let id = |size, disk_type| footer(size, disk_type, 512).id;
        assert_eq!(id(512, DiskType::Fixed), id(512, DiskType::Fixed));
        assert_ne!(id(512, DiskType::Fixed), id(1024, DiskType::Fixed));
        assert_ne!(id(512, DiskType::Fixed), id(512, DiskType::Dynamic));
    }

    #[test]
    fn a_volume_that_is_too_large_leaves_the_output_untouched() {
        struct Untouched;
        impl WriteAt for Untouched {
            fn write_all_at(&self, _: &[u8], _: u64) -> Result<()> {
                unreachable!()
            }
            fn make_hole_at(&self, _: u64, _: u64) -> Result<()> {
                unreachable!()
            }
            fn set_size(&self, _: u64) -> Result<()> {
                unreachable!()
            }
        }
        let mut map = RunMap::default();
        map.push(MAX_SIZE, Place::Hole);
        map.push(1, Place::Stored { source: 0, offset: 0 });
        let volume = Volume::new(map, vec![Arc::new(vec![1]).into()]).unwrap();
        let options = WriteOptions {
            threads: NonZero::<usize>::MIN,
            watch: &Unwatched,
            level: None,
            zeros_as_data: false,
        };
        for write in [write_dynamic, write_fixed] {
            let error = write(&volume, &Untouched, &options).unwrap_err();
            assert_eq!(error.kind(), Kind::Unsupported);
        }
    }
}
