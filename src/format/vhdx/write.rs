//! From a volume to a dynamic VHDX image: read in parallel, written in order, metadata last.

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::digest::is_zero;
use crate::error::Result;
use crate::field;
use crate::format::spans::spans_of;
use crate::format::vhdx::layout::BlockState;
use crate::format::vhdx::layout::Disk;
use crate::format::vhdx::layout::HEADERS_AT;
use crate::format::vhdx::layout::Header;
use crate::format::vhdx::layout::MIB;
use crate::format::vhdx::layout::REGIONS_AT;
use crate::format::vhdx::layout::Regions;
use crate::format::vhdx::layout::SIGNATURE;
use crate::format::vhdx::layout::SIZE_GRAIN;
use crate::format::writer::WriteOptions;
use crate::format::writes::Writes;
use crate::io::PageBuffer;
use crate::io::READ_PIECE_LEN;
use crate::io::WriteAt;
use crate::units::ExtentKind;
use crate::volume::Padded;
use crate::volume::ReadVolume;
use crate::volume::extents;
use crate::work::in_turn;

/// Bytes of a sector of the volume.
const SECTOR_LEN: u32 = 512;

/// Most blocks of an image: small blocks keep holes, and a table of 8 MiB is still nothing.
const MAX_BLOCKS: u64 = 1 << 20;

/// Smallest block, in bytes.
const MIN_BLOCK_LEN: u32 = 1 << 20;

/// The log: a MiB behind the headers, and empty.
const LOG: (u64, u32) = (MIB, 1 << 20);

/// Byte at which the metadata starts, behind the log.
const METADATA_AT: u64 = 2 * MIB;

/// Byte at which the block allocation table starts, behind the metadata.
const BAT_AT: u64 = 3 * MIB;

/// Writes a volume as a dynamic image, states kept block by block: a block is a hole if all of it
/// is, zero if all its bytes are, and else stored whole.
///
/// The bytes written depend on nothing but the volume.
///
/// # Errors
///
/// Whatever reading and writing return.
pub fn write(
    volume: &dyn ReadVolume,
    sink: &dyn WriteAt,
    options: &WriteOptions<'_>,
) -> Result<()> {
    let volume = &Padded::to_multiple(volume, SIZE_GRAIN);
    let disk = geometry(volume.size());
    let mut image = Writer::new(sink, disk);
    in_turn(
        options.threads,
        options.watch,
        spans_of(volume, extents(volume)),
        || Ok(PageBuffer::default()),
        |buffer, span| {
            let mut pieces = Vec::new();
            match span.kind {
                ExtentKind::Hole => pieces.push((span.len(), Content::Hole)),
                ExtentKind::Zero => pieces.push((span.len(), Content::Zero)),
                ExtentKind::Data => {
                    buffer.resize(usize::try_from(span.len()).expect("at most a span"));
                    volume.read_at(span.range.start, buffer)?;
                    classify(buffer, options.zeros_as_data, &mut pieces);
                }
            }
            Ok((span, pieces))
        },
        |(span, pieces)| {
            let (mut writes, mut from) = (Writes::default(), 0);
            for (len, content) in pieces {
                from = image.add(len, content, from, &mut writes)?;
            }
            Ok((span, writes))
        },
        |buffer, (span, writes)| {
            writes.write(buffer, sink)?;
            Ok(span)
        },
        |span| {
            options.watch.advance(span.len());
            Ok(())
        },
    )?;
    image.finish()
}

/// Chooses the smallest block that keeps the table small.
fn geometry(size: u64) -> Disk {
    let mut block_len = MIN_BLOCK_LEN;
    while size.div_ceil(block_len.into()) > MAX_BLOCKS {
        // Ends at 64 MiB: volumes end at 64 TiB.
        block_len = block_len.strict_mul(2);
    }
    Disk { block_len, size, sector_len: SECTOR_LEN }
}

/// What some bytes of the volume are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Hole,
    Zero,
    Data,
}

/// Tells the pieces of `bytes` that are zeros from those that are not.
fn classify(bytes: &[u8], zeros_as_data: bool, pieces: &mut Vec<(u64, Content)>) {
    for piece in bytes.chunks(READ_PIECE_LEN) {
        let content = if !zeros_as_data && is_zero(piece) { Content::Zero } else { Content::Data };
        let len = u64::try_from(piece.len()).expect("at most a piece");
        match pieces.last_mut() {
            Some((whole, last)) if *last == content => *whole = whole.strict_add(len),
            _ => pieces.push((len, content)),
        }
    }
}

/// Places blocks one after the other.
struct Writer<'a> {
    sink: &'a dyn WriteAt,
    disk: Disk,
    /// Bytes of the volume that were added.
    at: u64,
    /// State of the block that the next bytes belong to.
    state: BlockState,
    /// Byte of the file at which the next block goes.
    next: u64,
    table: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(sink: &'a dyn WriteAt, disk: Disk) -> Self {
        let last = disk.entry_of(disk.block_count().strict_sub(1));
        let table_len = last.strict_add(1).strict_mul(8).next_multiple_of(MIB);
        let next = BAT_AT.strict_add(table_len);
        let table = vec![0; usize::try_from(table_len).expect("at most 9 MiB")];
        Self { sink, disk, at: 0, state: BlockState::Absent, next, table }
    }

    /// Adds `len` bytes of the volume and returns where in the buffer the next ones are. They are there
    /// from byte `from` on if they are data; what of them is to be stored goes into `writes`.
    fn add(
        &mut self,
        mut len: u64,
        content: Content,
        mut from: usize,
        writes: &mut Writes,
    ) -> Result<usize> {
        let block_len = u64::from(self.disk.block_len);
        while len != 0 {
            let skip = self.at.strict_rem(block_len);
            let part = len.min(block_len.strict_sub(skip));
            match (content, self.state) {
                (Content::Hole, BlockState::Absent | BlockState::Zero) => {}
                (Content::Zero, BlockState::Absent | BlockState::Zero) => {
                    self.state = BlockState::Zero;
                }
                (Content::Hole | Content::Zero, BlockState::Present(start)) => {
                    self.sink.make_hole_at(part, start.strict_add(skip))?;
                }
                (Content::Data, state) => {
                    let start = match state {
                        BlockState::Present(start) => start,
                        BlockState::Absent | BlockState::Zero => self.place(skip)?,
                    };
                    let end = from.strict_add(usize::try_from(part).expect("in the buffer"));
                    writes.add(start.strict_add(skip), from..end);
                }
            }
            // A hole may be longer than memory; no data is behind it in its span.
            from = usize::try_from(part).map_or(usize::MAX, |part| from.saturating_add(part));
            len = len.strict_sub(part);
            self.at = self.at.strict_add(part);
            if self.at.is_multiple_of(block_len) {
                self.close();
            }
        }
        Ok(from)
    }

    /// Gives the block a place; `skip` bytes of it were zeros or a hole.
    fn place(&mut self, skip: u64) -> Result<u64> {
        let start = self.next;
        self.next = start.strict_add(self.disk.block_len.into());
        self.state = BlockState::Present(start);
        if skip != 0 {
            self.sink.make_hole_at(skip, start)?;
        }
        Ok(start)
    }

    /// Enters the block that ends here in the table.
    fn close(&mut self) {
        let block = self.at.strict_sub(1).strict_div(self.disk.block_len.into());
        let entry = usize::try_from(self.disk.entry_of(block)).expect("in the table");
        field::put_u64_le(&mut self.table, entry.strict_mul(8), self.state.encode());
        self.state = BlockState::Absent;
    }

    /// Ends the image: what makes it one comes last.
    fn finish(mut self) -> Result<()> {
        let (sink, disk) = (self.sink, self.disk);
        let block_len = u64::from(disk.block_len);
        let skip = self.at.strict_rem(block_len);
        if skip != 0 {
            if let BlockState::Present(start) = self.state {
                let rest = block_len.strict_sub(skip);
                sink.make_hole_at(rest, start.strict_add(skip))?;
            }
            self.close();
        }
        sink.set_size(self.next)?;
        sink.write_all_at(&self.table, BAT_AT)?;
        let metadata = disk.encode(id(disk.size, "disk"));
        let metadata_len = u64::try_from(metadata.len()).expect("64 KiB and a few bytes");
        sink.write_all_at(&metadata, METADATA_AT)?;
        let rest = (BAT_AT - METADATA_AT).strict_sub(metadata_len);
        sink.make_hole_at(rest, METADATA_AT.strict_add(metadata_len))?;
        sink.make_hole_at(LOG.1.into(), LOG.0)?;

        // All that is not said in the first MiB is 0.
        let mut first = vec![0; usize::try_from(MIB).expect("a mebibyte")];
        let mut put = |at: u64, bytes: &[u8]| {
            field::put_bytes(&mut first, usize::try_from(at).expect("below a mebibyte"), bytes);
        };
        put(0, &SIGNATURE);
        let creator: Vec<u8> = "amikit".encode_utf16().flat_map(u16::to_le_bytes).collect();
        put(8, &creator);
        for (sequence, at) in (1..).zip(HEADERS_AT) {
            let write_ids = [id(disk.size, "file"), id(disk.size, "data")];
            put(at, &Header { sequence, write_ids, has_log: false, log: LOG }.encode());
        }
        let table_len = u64::try_from(self.table.len()).expect("at most 9 MiB");
        let bat = BAT_AT..BAT_AT.strict_add(table_len);
        for at in REGIONS_AT {
            put(at, &Regions::encode(&bat, &(METADATA_AT..BAT_AT)));
        }
        sink.write_all_at(&first, 0)
    }
}

/// Makes an id that follows from the size alone, in the form of a GUID of version 8.
fn id(size: u64, part: &str) -> [u8; 16] {
    let mut sum = Sha256::new();
    sum.update(b"amikit vhdx ");
    sum.update(part.as_bytes());
    sum.update(&size.to_le_bytes());
    let Digest(digest) = sum.finish();
    let mut id: [u8; 16] = field::array(&digest, 0);
    id[7] = id[7] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_small_as_the_table_lets_them_be() {
        let block_len = |size| geometry(size).block_len;
        assert_eq!(block_len(1), 1 << 20);
        assert_eq!(block_len(1 << 40), 1 << 20);
        assert_eq!(block_len((1 << 40) + 1), 2 << 20);
        assert_eq!(block_len(64 << 40), 64 << 20);
        assert_eq!(geometry(1536).size, 1536);
    }

    #[test]
    fn zeros_are_found() {
        let mut pieces = Vec::new();
        let mut bytes = vec![0; 3 * READ_PIECE_LEN + 5];
        bytes[READ_PIECE_LEN] = 1;
        classify(&bytes, false, &mut pieces);
        let piece = u64::try_from(READ_PIECE_LEN).unwrap();
        let expected = [(piece, Content::Zero), (piece, Content::Data), (piece + 5, Content::Zero)];
        assert_eq!(pieces, expected);
    }
}
