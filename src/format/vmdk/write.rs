//! From a volume to a disk in one file: grains read, and packed, in parallel, stored in order.

use crc32fast::Hasher;

use crate::compress::Codec;
use crate::compress::Packer;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::field;
use crate::format::spans::spans_of;
use crate::format::tiles::tiles;
use crate::format::vmdk::descriptor;
use crate::format::vmdk::descriptor::CreateType;
use crate::format::vmdk::layout::HEADER_LEN;
use crate::format::vmdk::layout::Header;
use crate::format::vmdk::layout::Marker;
use crate::format::vmdk::layout::SECTOR_LEN;
use crate::format::vmdk::layout::TABLE_LEN;
use crate::format::vmdk::layout::encode_grain_marker;
use crate::format::writer::WriteOptions;
use crate::format::writes::Writes;
use crate::io::PageBuffer;
use crate::io::WriteAt;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::Padded;
use crate::volume::ReadVolume;
use crate::work::Buffers;
use crate::work::in_order;
use crate::work::in_turn;

/// Bytes of a grain, as all tools have it.
const GRAIN_LEN: u64 = 64 << 10;

/// Grains of a table.
const TABLE_GRAINS: u64 = 512;

/// Bytes of a table.
const TABLE_BYTES: usize = 2048;

/// Sectors of the descriptor, from sector 1 on, as qemu-img has it.
const DESCRIPTOR_SECTORS: u64 = 20;

/// First sector behind the descriptor.
const METADATA_SECTOR: u64 = 21;

const _: () = assert!(TABLE_LEN == 512);

/// Writes a volume as a streamOptimized disk.
///
/// Written zeros are stored as grains of zeros, holes are not stored. The bytes written depend on
/// nothing but the volume.
///
/// # Errors
///
/// `Unsupported` where the file would be over 2 TiB; whatever reading and writing return.
pub fn write_stream(
    volume: &dyn ReadVolume,
    sink: &dyn WriteAt,
    options: &WriteOptions<'_>,
) -> Result<()> {
    let volume = &Padded::to_multiple(volume, SECTOR_LEN);
    let mut header = new_header(volume.size());
    header.version = 3;
    header.packed = true;
    header.overhead = 128;
    let zeros = packed_zeros();
    let buffers = Buffers::default();
    let mut stream = Stream {
        sink,
        at: header.overhead.strict_mul(SECTOR_LEN),
        directory: vec![0; usize::try_from(header.table_count()).expect("at most 2^21")],
        table: Table::new(),
        crc: Hasher::new(),
    };
    in_order(
        options.threads,
        options.watch,
        spans_of(volume, tiles(volume, GRAIN_LEN)),
        || Ok((Packer::new(Codec::Zlib, options.level)?, PageBuffer::default())),
        |(zlib, plain), tile: Extent| {
            let mut job = Packed { bytes: buffers.take(), ends: Vec::new(), crc: Hasher::new() };
            let mut sector = tile.range.start.strict_div(SECTOR_LEN);
            match tile.kind {
                ExtentKind::Hole => {}
                ExtentKind::Zero => {
                    for _ in 0..tile.len().div_ceil(GRAIN_LEN) {
                        job.push(sector, &zeros);
                        sector = sector.strict_add(header.grain_size);
                    }
                }
                ExtentKind::Data => {
                    read_grains(volume, &tile, plain)?;
                    for grain in plain.chunks_exact(usize::try_from(GRAIN_LEN).expect("64 KiB")) {
                        if options.is_zero(grain) {
                            job.push(sector, &zeros);
                        } else {
                            job.pack(sector, grain, zlib);
                        }
                        sector = sector.strict_add(header.grain_size);
                    }
                }
            }
            job.crc.update(&job.bytes);
            Ok((tile, job))
        },
        |(tile, job)| {
            stream.add(tile.range.start.strict_div(GRAIN_LEN), &job)?;
            buffers.give(job.bytes);
            options.watch.advance(tile.len());
            Ok(())
        },
    )?;
    stream.finish(header)
}

/// Writes a volume as a monolithicSparse disk, states kept grain by grain.
///
/// The bytes written depend on nothing but the volume.
///
/// # Errors
///
/// As [`write_stream`].
pub fn write_sparse(
    volume: &dyn ReadVolume,
    sink: &dyn WriteAt,
    options: &WriteOptions<'_>,
) -> Result<()> {
    let volume = &Padded::to_multiple(volume, SECTOR_LEN);
    let mut header = new_header(volume.size());
    let tables = header.table_count();
    let directory_sectors = tables.strict_mul(4).div_ceil(SECTOR_LEN);
    let table_sectors = u64::try_from(TABLE_BYTES).expect("2 KiB").strict_div(SECTOR_LEN);
    let metadata = directory_sectors.strict_add(tables.strict_mul(table_sectors));
    header.redundant_offset = METADATA_SECTOR;
    let directory_offset = METADATA_SECTOR.strict_add(metadata);
    header.directory_offset = Some(directory_offset);
    header.overhead = directory_offset.strict_add(metadata).next_multiple_of(header.grain_size);
    let start = METADATA_SECTOR.strict_mul(SECTOR_LEN);
    let end = header.overhead.strict_mul(SECTOR_LEN);
    // Tables without an entry are not written, and on a device there is something else.
    sink.make_hole_at(end.strict_sub(start), start)?;
    let mut sparse = Sparse {
        sink,
        at: end,
        tables: [METADATA_SECTOR, directory_offset]
            .map(|at| at.strict_add(directory_sectors).strict_mul(SECTOR_LEN)),
        table: Table::new(),
        has_zeros: false,
        crc: Hasher::new(),
    };
    for (directory, tables_at) in [METADATA_SECTOR, directory_offset].into_iter().zip(sparse.tables)
    {
        let first = sector_of(tables_at)?;
        let step = usize::try_from(table_sectors).expect("4 sectors");
        let entries = (first..).step_by(step);
        let count = usize::try_from(tables).expect("at most 2^21");
        let bytes: Vec<u8> = entries.take(count).flat_map(u32::to_le_bytes).collect();
        sink.write_all_at(&bytes, directory.strict_mul(SECTOR_LEN))?;
    }
    in_turn(
        options.threads,
        options.watch,
        spans_of(volume, tiles(volume, GRAIN_LEN)),
        || Ok(PageBuffer::default()),
        |bytes, tile| {
            let mut crcs = Vec::new();
            if tile.kind == ExtentKind::Data {
                read_grains(volume, &tile, bytes)?;
                let grains = bytes.chunks_exact(usize::try_from(GRAIN_LEN).expect("64 KiB"));
                crcs.extend(
                    grains.map(|grain| (!options.is_zero(grain)).then(|| crc32fast::hash(grain))),
                );
            }
            Ok((tile, crcs))
        },
        |(tile, crcs)| {
            let mut writes = Writes::default();
            let first = tile.range.start.strict_div(GRAIN_LEN);
            match tile.kind {
                ExtentKind::Hole => {}
                ExtentKind::Zero => {
                    let end = tile.range.end.div_ceil(GRAIN_LEN);
                    (first..end).try_for_each(|grain| sparse.zero(grain))?;
                }
                ExtentKind::Data => sparse.data(first, &crcs, &mut writes)?,
            }
            Ok((tile.len(), writes))
        },
        |bytes, (len, writes)| {
            writes.write(bytes, sink)?;
            Ok(len)
        },
        |len| {
            options.watch.advance(len);
            Ok(())
        },
    )?;
    sparse.finish(header)
}

/// Returns the header that both kinds share, for a volume of `size` bytes.
fn new_header(size: u64) -> Header {
    Header {
        version: 1,
        capacity: size.strict_div(SECTOR_LEN),
        grain_size: GRAIN_LEN.strict_div(SECTOR_LEN),
        descriptor_offset: 1,
        descriptor_size: DESCRIPTOR_SECTORS,
        table_len: TABLE_LEN,
        redundant_offset: 0,
        directory_offset: None,
        overhead: 0,
        zero_entries: false,
        packed: false,
        unclean: false,
    }
}

/// Returns the number of the sector at byte `at` of the file.
fn sector_of(at: u64) -> Result<u32> {
    u32::try_from(at.strict_div(SECTOR_LEN)).map_err(|_| {
        let text = "the file would be over 2 TiB, the limit of a VMDK";
        Error::new(Kind::Unsupported, text).advise("write it as raw")
    })
}

/// Reads the grains of a tile whole: what lies past the end of the volume is zeros.
fn read_grains(volume: &dyn ReadVolume, tile: &Extent, buffer: &mut PageBuffer) -> Result<()> {
    let inside = usize::try_from(tile.len()).expect("at most a span");
    let whole = tile.len().next_multiple_of(GRAIN_LEN);
    buffer.resize(usize::try_from(whole).expect("at most a span"));
    buffer[inside..].fill(0);
    volume.read_at(tile.range.start, &mut buffer[..inside])
}

/// The stream of a grain of zeros, which takes one sector with its marker.
fn packed_zeros() -> Vec<u8> {
    let mut stream = Vec::new();
    let mut zlib = Packer::new(Codec::Zlib, None).expect("the codec has a default level");
    zlib.append(&vec![0; 64 << 10], &mut stream);
    assert!(stream.len() <= 500, "zeros take {} bytes", stream.len());
    stream
}

/// The grain table that is being filled.
struct Table {
    /// Number of it.
    number: u64,
    bytes: [u8; TABLE_BYTES],
    is_used: bool,
}

impl Table {
    fn new() -> Self {
        Self { number: 0, bytes: [0; TABLE_BYTES], is_used: false }
    }

    fn set(&mut self, grain: u64, entry: u32) {
        let index = usize::try_from(grain.strict_rem(TABLE_GRAINS)).expect("below 512");
        field::put_u32_le(&mut self.bytes, index.strict_mul(4), entry);
        self.is_used = true;
    }
}

/// Packed grains behind their markers, each from a sector on.
struct Packed {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    crc: Hasher,
}

impl Packed {
    /// Adds a grain that is packed already.
    fn push(&mut self, sector: u64, stream: &[u8]) {
        let len = u32::try_from(stream.len()).expect("a small number");
        self.bytes.extend_from_slice(&encode_grain_marker(sector, len));
        self.bytes.extend_from_slice(stream);
        self.end();
    }

    fn pack(&mut self, sector: u64, grain: &[u8], zlib: &mut Packer) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&encode_grain_marker(sector, 0));
        let len = zlib.append(grain, &mut self.bytes);
        let len = u32::try_from(len).expect("little over a grain");
        field::put_bytes(&mut self.bytes, start, &encode_grain_marker(sector, len));
        self.end();
    }

    fn end(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(HEADER_LEN), 0);
        self.ends.push(self.bytes.len());
    }
}

/// A streamOptimized disk: grains, and a table behind those that it is for.
struct Stream<'a> {
    sink: &'a dyn WriteAt,
    /// Byte of the file at which the next sector goes.
    at: u64,
    /// Sectors of the tables that were written.
    directory: Vec<u32>,
    table: Table,
    crc: Hasher,
}

impl Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all_at(bytes, self.at)?;
        self.at = self.at.strict_add(u64::try_from(bytes.len()).expect("a length in memory"));
        Ok(())
    }

    /// Adds grains, the first of which is number `first`.
    fn add(&mut self, first: u64, job: &Packed) -> Result<()> {
        self.crc.combine(&job.crc);
        let (mut grain, mut done, mut ends) = (first, 0_usize, &job.ends[..]);
        while !ends.is_empty() {
            let number = grain.strict_div(TABLE_GRAINS);
            if number != self.table.number {
                self.end_table()?;
                self.table.number = number;
            }
            let room = TABLE_GRAINS.strict_sub(grain.strict_rem(TABLE_GRAINS));
            let count = usize::try_from(room).expect("at most 512").min(ends.len());
            let (these, behind) = ends.split_at(count);
            let start = done;
            for end in these {
                let ahead = u64::try_from(done.strict_sub(start)).expect("a length in memory");
                self.table.set(grain, sector_of(self.at.strict_add(ahead))?);
                grain = grain.strict_add(1);
                done = *end;
            }
            self.write(&job.bytes[start..done])?;
            ends = behind;
        }
        Ok(())
    }

    /// Writes the table, if there is something in it.
    fn end_table(&mut self) -> Result<()> {
        if !self.table.is_used {
            return Ok(());
        }
        let table = std::mem::replace(&mut self.table, Table::new());
        self.write(&Marker::Table.encode(4))?;
        let number = usize::try_from(table.number).expect("at most 2^21");
        self.directory[number] = sector_of(self.at)?;
        self.write(&table.bytes)
    }

    fn finish(mut self, header: Header) -> Result<()> {
        self.end_table()?;
        let mut directory: Vec<u8> =
            self.directory.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        directory.resize(directory.len().next_multiple_of(HEADER_LEN), 0);
        let sectors = u64::try_from(directory.len()).expect("at most 8 MiB");
        self.write(&Marker::Directory.encode(sectors.strict_div(SECTOR_LEN)))?;
        let directory_offset = Some(u64::from(sector_of(self.at)?));
        self.write(&directory)?;
        self.write(&Marker::Footer.encode(1))?;
        self.write(&Header { directory_offset, ..header }.encode())?;
        self.write(&Marker::End.encode(0))?;
        let front = front(&header, CreateType::StreamOptimized, self.crc);
        self.sink.write_all_at(&front, 0)?;
        self.sink.set_size(self.at)
    }
}

/// A monolithicSparse disk: two copies of all tables, and grains behind them.
struct Sparse<'a> {
    sink: &'a dyn WriteAt,
    /// Byte of the file at which the next grain goes.
    at: u64,
    /// Bytes of the file at which the copies' first tables are.
    tables: [u64; 2],
    table: Table,
    has_zeros: bool,
    crc: Hasher,
}

impl Sparse<'_> {
    fn set(&mut self, grain: u64, entry: u32) -> Result<()> {
        let number = grain.strict_div(TABLE_GRAINS);
        if number != self.table.number {
            self.end_table()?;
            self.table.number = number;
        }
        self.table.set(grain, entry);
        Ok(())
    }

    fn zero(&mut self, grain: u64) -> Result<()> {
        self.has_zeros = true;
        self.crc.update(&grain.to_le_bytes());
        self.set(grain, 1)
    }

    /// Adds grains, the first of which is number `first`. Those that are zeros have no CRC; the others
    /// go into `writes`.
    fn data(&mut self, first: u64, crcs: &[Option<u32>], writes: &mut Writes) -> Result<()> {
        let grain_len = usize::try_from(GRAIN_LEN).expect("64 KiB");
        let (mut grain, mut start) = (first, 0_usize);
        for crc in crcs {
            let end = start.strict_add(grain_len);
            if let Some(crc) = crc {
                self.crc.update(&grain.to_le_bytes());
                self.crc.update(&crc.to_le_bytes());
                self.set(grain, sector_of(self.at)?)?;
                writes.add(self.at, start..end);
                self.at = self.at.strict_add(GRAIN_LEN);
            } else {
                self.zero(grain)?;
            }
            (grain, start) = (grain.strict_add(1), end);
        }
        Ok(())
    }

    fn end_table(&mut self) -> Result<()> {
        if !self.table.is_used {
            return Ok(());
        }
        let table = std::mem::replace(&mut self.table, Table::new());
        let len = u64::try_from(TABLE_BYTES).expect("2 KiB");
        for tables in self.tables {
            let at = tables.strict_add(table.number.strict_mul(len));
            self.sink.write_all_at(&table.bytes, at)?;
        }
        Ok(())
    }

    fn finish(mut self, mut header: Header) -> Result<()> {
        self.end_table()?;
        if self.has_zeros {
            header.version = 2;
            header.zero_entries = true;
        }
        let front = front(&header, CreateType::MonolithicSparse, self.crc);
        self.sink.write_all_at(&front, 0)?;
        self.sink.set_size(self.at)
    }
}

/// Returns the header and the descriptor, up to where it ends at most.
fn front(header: &Header, create_type: CreateType, crc: Hasher) -> Vec<u8> {
    // All ones stands for no disk, and VMware begins with the number below it.
    let cid = match crc.finalize() {
        u32::MAX | 0xffff_fffe => 1,
        crc => crc,
    };
    let mut bytes = header.encode().to_vec();
    bytes.extend(descriptor::embedded(create_type, cid, header.capacity).as_bytes());
    let end = METADATA_SECTOR.strict_mul(SECTOR_LEN);
    bytes.resize(usize::try_from(end).expect("21 sectors"), 0);
    if header.packed {
        // Nothing else is written before the first grain.
        let overhead = header.overhead.strict_mul(SECTOR_LEN);
        bytes.resize(usize::try_from(overhead).expect("128 sectors"), 0);
    }
    bytes
}
