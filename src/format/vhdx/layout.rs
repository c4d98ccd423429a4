//! Bytes of the VHDX format, version 1. Pure: no I/O.
//!
//! ```text
//! Everything is little-endian; a GUID has its first three parts so too. The first MiB:
//!    offset  len
//!         0  64 KiB  file identifier
//!    64 KiB  64 KiB  header; the sum covers 4 KiB
//!   128 KiB  64 KiB  the other header; the sound one with the higher sequence number counts
//!   192 KiB  64 KiB  region table
//!   256 KiB  64 KiB  its copy
//!
//! File identifier:
//! offset size field              meaning
//!      0    8 Signature          "vhdxfile"
//!      8  512 Creator            UTF-16; not looked at
//!
//! Header:
//!      0    4 Signature          "head"
//!      4    4 Checksum           CRC-32C of 4 KiB with these bytes as 0
//!      8    8 SequenceNumber     see above
//!     16   16 FileWriteGuid      not looked at
//!     32   16 DataWriteGuid      not looked at
//!     48   16 LogGuid            0 if the log holds nothing
//!     64    2 LogVersion         0
//!     66    2 Version            1
//!     68    4 LogLength          a multiple of 1 MiB
//!     72    8 LogOffset          a multiple of 1 MiB, not 0
//!
//! Region table:
//!      0    4 Signature          "regi"
//!      4    4 Checksum           CRC-32C of 64 KiB with these bytes as 0
//!      8    4 EntryCount         2,047 at most
//!     16      entries of 32 bytes:
//!             0   16 Guid        block allocation table, or metadata
//!            16    8 FileOffset  a multiple of 1 MiB, not 0
//!            24    4 Length      a multiple of 1 MiB
//!            28    4 Required    1 if a reader must know the region
//!
//! Metadata table, the first 64 KiB of its region:
//!      0    8 Signature          "metadata"
//!     10    2 EntryCount         2,047 at most
//!     32      entries of 32 bytes:
//!             0   16 ItemId
//!            16    4 Offset      byte of the region at which the item starts, 64 KiB or more
//!            20    4 Length      of the item
//!            24    4 flags       1 user's, 2 of the volume, 4 a reader must know it
//!
//! Items: file parameters (4 bytes BlockSize, a power of two from 1 to 256 MiB; 4 bytes flags, 1
//! all blocks allocated, 2 has a parent), virtual disk size (8), logical sector size (4: 512 or
//! 4096), physical sector size (4) and virtual disk id (16), the last two not looked at.
//!
//! Block allocation table: an entry of 8 bytes for each block, and one for a bitmap behind each
//! chunk ratio of them. Bits 0 to 2 are the state, bits 20 to 63 the MiB at which the block starts.
//! ```

use std::ops::Range;

use thiserror::Error;

use crate::digest::crc32c;
use crate::error::Fault;
use crate::error::Kind;
use crate::field;

/// Bytes of the unit in which everything is placed.
pub const MIB: u64 = 1 << 20;

/// Bytes that the sizes of images of ours are a multiple of: their sectors.
pub const SIZE_GRAIN: u64 = 512;

/// First eight bytes of a file.
pub const SIGNATURE: [u8; 8] = *b"vhdxfile";

/// Bytes at which the two headers start.
pub const HEADERS_AT: [u64; 2] = [64 << 10, 128 << 10];

/// Bytes of a header that its checksum covers.
pub const HEADER_LEN: usize = 4096;

/// Bytes at which the two region tables start.
pub const REGIONS_AT: [u64; 2] = [192 << 10, 256 << 10];

/// Bytes of a region table, and of a metadata table.
pub const TABLE_LEN: usize = 64 << 10;

/// Most entries of either.
const MAX_ENTRIES: u32 = 2047;

/// Largest volume: 64 TiB.
pub const MAX_SIZE: u64 = 64 << 40;

/// Returns the GUID that is written `a-b-c-d` with `d` as eight bytes.
const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> [u8; 16] {
    let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

const BAT: [u8; 16] =
    guid(0x2dc2_7766, 0xf623, 0x4200, [0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08]);
const METADATA: [u8; 16] =
    guid(0x8b7c_a206, 0x4790, 0x4b9a, [0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e]);
const FILE_PARAMETERS: [u8; 16] =
    guid(0xcaa1_6737, 0xfa36, 0x4d43, [0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b]);
const VIRTUAL_DISK_SIZE: [u8; 16] =
    guid(0x2fa5_4224, 0xcd1b, 0x4876, [0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8]);
const VIRTUAL_DISK_ID: [u8; 16] =
    guid(0xbeca_12ab, 0xb2e6, 0x4523, [0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46]);
const LOGICAL_SECTOR_SIZE: [u8; 16] =
    guid(0x8141_bf1d, 0xa96f, 0x4709, [0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f]);
const PHYSICAL_SECTOR_SIZE: [u8; 16] =
    guid(0xcda3_48c7, 0x445d, 0x4471, [0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56]);
const PARENT_LOCATOR: [u8; 16] =
    guid(0xa8d3_5f2d, 0xb30b, 0x454d, [0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c]);

/// What is wrong with a VHDX image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VhdxFault {
    /// The file ends inside its first MiB.
    #[error("the file has {len} bytes, expected 1 MiB or more")]
    Cut {
        /// Bytes of the file.
        len: u64,
    },
    /// The file is longer than any image, and what is kept of it would be too.
    #[error("the file has {len} bytes, expected at most 256 TiB")]
    FileLen {
        /// Bytes of the file.
        len: u64,
    },
    /// A structure does not start with its signature.
    #[error("the {part} lacks its signature")]
    Signature {
        /// Which structure.
        part: &'static str,
    },
    /// A structure's checksum is not that of its bytes.
    #[error("checksum is {found:#010x}, expected {expected:#010x}")]
    Checksum {
        /// Value found.
        found: u32,
        /// Sum of the bytes.
        expected: u32,
    },
    /// The version is not 1.
    #[error("version is {found}, expected 1")]
    Version {
        /// Value found.
        found: u16,
    },
    /// Both headers are sound, differ, and have one sequence number.
    #[error("two headers have the same sequence number and differ, expected one to be newer")]
    SameSequence,
    /// Both region tables are sound and differ.
    #[error("the region tables are both valid and differ, expected copies")]
    RegionTablesDiffer,
    /// The log holds something.
    #[error("the log has unapplied changes, expected an empty log")]
    Log,
    /// A table has more entries than fit.
    #[error(
        "the {part} table has {found} entries, expected at most {max_entries}",
        max_entries = MAX_ENTRIES
    )]
    EntryCount {
        /// Which table.
        part: &'static str,
        /// Value found.
        found: u32,
    },
    /// A region or item that a reader must know is none that we know.
    #[error(
        "a {part} with an id of {found:08x}-... must be known to read the image, expected \
         only known ones"
    )]
    Unknown {
        /// Whether it is a region or an item.
        part: &'static str,
        /// First four bytes of its id.
        found: u32,
    },
    /// A region or item is there twice.
    #[error("the {part} appears twice, expected once")]
    Twice {
        /// Which.
        part: &'static str,
    },
    /// A region or item is not there.
    #[error("the {part} is missing, expected once")]
    Missing {
        /// Which.
        part: &'static str,
    },
    /// A region or the log is not placed in whole MiB behind the first, or not in the file.
    #[error(
        "the {part} has {len} bytes from byte {start} on, expected whole MiB inside the \
         file and after the first"
    )]
    Place {
        /// Which.
        part: &'static str,
        /// Byte at which it starts.
        start: u64,
        /// Bytes.
        len: u64,
    },
    /// Two of regions and log share bytes of the file.
    #[error("regions or log overlap at byte {start}, expected them apart")]
    Overlap {
        /// Byte at which the second starts.
        start: u64,
    },
    /// An item lies outside its region, or is too short.
    #[error(
        "the {part} has {len} bytes from byte {start} of the region on, expected all of it \
         after the table and inside the region"
    )]
    Item {
        /// Which.
        part: &'static str,
        /// Byte of the region at which it starts.
        start: u32,
        /// Bytes.
        len: u32,
    },
    /// The block size is none that there is.
    #[error("block size is {found} bytes, expected a power of two from 1 MiB to 256 MiB")]
    BlockSize {
        /// Value found, in bytes.
        found: u32,
    },
    /// The logical sector size is neither 512 nor 4096.
    #[error("logical sector size is {found} bytes, expected 512 or 4096")]
    SectorSize {
        /// Value found, in bytes.
        found: u32,
    },
    /// The volume's size is 0 or no multiple of a sector.
    #[error("virtual disk size is {found} bytes, expected a multiple of {sector} above 0")]
    Size {
        /// Value found, in bytes.
        found: u64,
        /// Bytes of a sector.
        sector: u32,
    },
    /// The image is a differencing one.
    #[error("it is a differencing image, expected a standalone image")]
    HasParent,
    /// The block allocation table is too short for the volume.
    #[error(
        "the block allocation table has {found} bytes, expected {expected} or more for the \
         volume"
    )]
    TableLen {
        /// Bytes found.
        found: u64,
        /// Bytes that the volume needs.
        expected: u64,
    },
    /// A block's state is none that it can have.
    #[error("state of block {block} is {found}, expected 0 to 3, 5 or 6")]
    BlockState {
        /// Number of the block.
        block: u64,
        /// Value found.
        found: u8,
    },
    /// A block lies outside the file, or over the metadata.
    #[error(
        "block {block} starts at byte {start} of a file of {len}, expected it inside and \
         clear of the metadata"
    )]
    BlockPlace {
        /// Number of the block.
        block: u64,
        /// Byte at which it starts.
        start: u64,
        /// Bytes of the file.
        len: u64,
    },
    /// Two blocks share bytes of the file.
    #[error("block {block} starts at byte {start}, expected it clear of other blocks")]
    BlocksOverlap {
        /// Number of the second.
        block: u64,
        /// Byte at which it starts.
        start: u64,
    },
    /// Too many runs for the memory that a map may take.
    #[error("the blocks make over {limit} runs, the limit", limit = crate::volume::MAX_RUNS)]
    Runs,
}

impl Fault for VhdxFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Version { .. } | Self::Log | Self::Unknown { .. } | Self::HasParent => {
                Kind::Unsupported
            }
            Self::Runs | Self::FileLen { .. } => Kind::Limit,
            _ => Kind::Corrupt,
        }
    }
}

/// A header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The higher one counts.
    pub sequence: u64,
    /// What tells one write of the file from another, and one of the volume.
    pub write_ids: [[u8; 16]; 2],
    /// Whether the log holds something.
    pub has_log: bool,
    /// Bytes of the file that are the log.
    pub log: (u64, u32),
}

impl Header {
    /// Reads and checks a header.
    ///
    /// # Errors
    ///
    /// Names the first of signature, checksum and version that is wrong.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, VhdxFault> {
        check(bytes, *b"head", "header")?;
        let version = field::u16_le(bytes, 66);
        if version != 1 {
            return Err(VhdxFault::Version { found: version });
        }
        Ok(Self {
            sequence: field::u64_le(bytes, 8),
            write_ids: [field::array(bytes, 16), field::array(bytes, 32)],
            // Of another version of the log we know nothing at all.
            has_log: field::array(bytes, 48) != [0; 16] || field::u16_le(bytes, 64) != 0,
            log: (field::u64_le(bytes, 72), field::u32_le(bytes, 68)),
        })
    }

    /// Returns the bytes of a header whose log is empty.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        field::put_bytes(&mut bytes, 0, b"head");
        field::put_u64_le(&mut bytes, 8, self.sequence);
        field::put_bytes(&mut bytes, 16, &self.write_ids[0]);
        field::put_bytes(&mut bytes, 32, &self.write_ids[1]);
        field::put_u16_le(&mut bytes, 66, 1);
        field::put_u32_le(&mut bytes, 68, self.log.1);
        field::put_u64_le(&mut bytes, 72, self.log.0);
        seal(&mut bytes);
        bytes
    }
}

/// The regions of an image, inside the file and apart from one another and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// The block allocation table.
    pub bat: Range<u64>,
    /// The metadata.
    pub metadata: Range<u64>,
    /// These two, the log, and regions that a reader need not know, ascending.
    pub all: Vec<Range<u64>>,
}

impl Regions {
    /// Reads and checks a region table of a file of `file_len` bytes.
    ///
    /// # Errors
    ///
    /// Names what is wrong first.
    ///
    /// # Panics
    ///
    /// If the table is not [`TABLE_LEN`] long.
    pub fn parse(bytes: &[u8], log: (u64, u32), file_len: u64) -> Result<Self, VhdxFault> {
        assert_eq!(bytes.len(), TABLE_LEN, "the caller reads a whole table");
        check(bytes, *b"regi", "region table")?;
        let entry_count = field::u32_le(bytes, 8);
        if entry_count > MAX_ENTRIES {
            return Err(VhdxFault::EntryCount { part: "region", found: entry_count });
        }
        let (mut bat, mut metadata) = (None, None);
        let mut all = Vec::new();
        let (log_offset, log_length) = log;
        // A log of no bytes lies nowhere.
        if log_length != 0 {
            all.push(place("log", log_offset, log_length, file_len)?);
        }
        for entry in entries(bytes, 16, entry_count) {
            let file_offset = field::u64_le(entry, 16);
            let length = field::u32_le(entry, 24);
            let required = field::u32_le(entry, 28) & 1 == 1;
            let guid = field::array(entry, 0);
            let (part, known) = match guid {
                BAT => ("block allocation table", Some(&mut bat)),
                METADATA => ("metadata region", Some(&mut metadata)),
                _ => ("unknown region", None),
            };
            if known.is_none() && required {
                return Err(VhdxFault::Unknown { part: "region", found: field::u32_le(&guid, 0) });
            }
            let range = place(part, file_offset, length, file_len)?;
            if let Some(known) = known
                && known.replace(range.clone()).is_some()
            {
                return Err(VhdxFault::Twice { part });
            }
            all.push(range);
        }
        all.sort_unstable_by_key(|range| range.start);
        for pair in all.windows(2) {
            if pair[1].start < pair[0].end {
                return Err(VhdxFault::Overlap { start: pair[1].start });
            }
        }
        let missing = |part| VhdxFault::Missing { part };
        Ok(Self {
            bat: bat.ok_or(missing("block allocation table"))?,
            metadata: metadata.ok_or(missing("metadata region"))?,
            all,
        })
    }

    /// Returns the bytes of a region table.
    #[must_use]
    pub fn encode(bat: &Range<u64>, metadata: &Range<u64>) -> Vec<u8> {
        let mut bytes = vec![0; TABLE_LEN];
        field::put_bytes(&mut bytes, 0, b"regi");
        field::put_u32_le(&mut bytes, 8, 2);
        for (at, id, range) in [(16, BAT, bat), (48, METADATA, metadata)] {
            let len = u32::try_from(range.end.strict_sub(range.start)).expect("a few MiB");
            field::put_bytes(&mut bytes[at..], 0, &id);
            field::put_u64_le(&mut bytes[at..], 16, range.start);
            field::put_u32_le(&mut bytes[at..], 24, len);
            field::put_u32_le(&mut bytes[at..], 28, 1);
        }
        seal(&mut bytes);
        bytes
    }
}

/// Checks the place of a region or the log.
fn place(part: &'static str, start: u64, len: u32, file_len: u64) -> Result<Range<u64>, VhdxFault> {
    let len = u64::from(len);
    match start.checked_add(len) {
        Some(end)
            if start >= MIB
                && len != 0
                && start.is_multiple_of(MIB)
                && len.is_multiple_of(MIB)
                && end <= file_len =>
        {
            Ok(start..end)
        }
        _ => Err(VhdxFault::Place { part, start, len }),
    }
}

/// Where the items stand that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items {
    /// Byte of the region at which the file parameters start.
    pub file_parameters: u32,
    /// The same for the virtual disk size.
    pub virtual_disk_size: u32,
    /// The same for the logical sector size.
    pub logical_sector_size: u32,
}

impl Items {
    /// Reads and checks the metadata table of a region of `region_len` bytes.
    ///
    /// # Errors
    ///
    /// Names what is wrong first.
    ///
    /// # Panics
    ///
    /// If the table is not [`TABLE_LEN`] long.
    pub fn parse(bytes: &[u8], region_len: u64) -> Result<Self, VhdxFault> {
        assert_eq!(bytes.len(), TABLE_LEN, "the caller reads a whole table");
        if field::array(bytes, 0) != *b"metadata" {
            return Err(VhdxFault::Signature { part: "metadata table" });
        }
        let entry_count = field::u16_le(bytes, 10).into();
        if entry_count > MAX_ENTRIES {
            return Err(VhdxFault::EntryCount { part: "metadata", found: entry_count });
        }
        let [mut file_parameters, mut virtual_disk_size, mut logical_sector_size] = [None; 3];
        let mut not_looked_at = [None; 3];
        let [disk_id, physical_sector_size, parent_locator] = &mut not_looked_at;
        for entry in entries(bytes, 32, entry_count) {
            let item_id = field::array(entry, 0);
            let start = field::u32_le(entry, 16);
            let len = field::u32_le(entry, 20);
            let required = field::u32_le(entry, 24) & 4 == 4;
            let (part, least, known) = match item_id {
                FILE_PARAMETERS => ("file parameters", 8, &mut file_parameters),
                VIRTUAL_DISK_SIZE => ("virtual disk size", 8, &mut virtual_disk_size),
                LOGICAL_SECTOR_SIZE => ("logical sector size", 4, &mut logical_sector_size),
                VIRTUAL_DISK_ID => ("virtual disk id", 0, &mut *disk_id),
                PHYSICAL_SECTOR_SIZE => ("physical sector size", 0, &mut *physical_sector_size),
                PARENT_LOCATOR => ("parent locator", 0, &mut *parent_locator),
                _ if required => {
                    let found = field::u32_le(&item_id, 0);
                    return Err(VhdxFault::Unknown { part: "metadata item", found });
                }
                _ => continue,
            };
            // Cannot overflow: both are below 2^32.
            let end = u64::from(start).strict_add(len.into());
            let behind = usize::try_from(start).is_ok_and(|start| start >= TABLE_LEN);
            if least != 0 && (!behind || len < least || end > region_len) {
                return Err(VhdxFault::Item { part, start, len });
            }
            if known.replace(start).is_some() {
                return Err(VhdxFault::Twice { part });
            }
        }
        let missing = |part| VhdxFault::Missing { part };
        Ok(Self {
            file_parameters: file_parameters.ok_or(missing("file parameters"))?,
            virtual_disk_size: virtual_disk_size.ok_or(missing("virtual disk size"))?,
            logical_sector_size: logical_sector_size.ok_or(missing("logical sector size"))?,
        })
    }
}

/// What the metadata says of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes of a block.
    pub block_len: u32,
    /// Bytes of the volume.
    pub size: u64,
    /// Bytes of a sector of the volume.
    pub sector_len: u32,
}

impl Disk {
    /// Checks what the items say.
    ///
    /// # Errors
    ///
    /// Names what is wrong first; [`VhdxFault::HasParent`] for a differencing image.
    pub fn parse(
        file_parameters: [u8; 8],
        virtual_disk_size: [u8; 8],
        logical_sector_size: [u8; 4],
    ) -> Result<Self, VhdxFault> {
        let block_len = field::u32_le(&file_parameters, 0);
        let flags = field::u32_le(&file_parameters, 4);
        let size = u64::from_le_bytes(virtual_disk_size);
        let sector_len = u32::from_le_bytes(logical_sector_size);
        if !block_len.is_power_of_two() || !(1 << 20..=256 << 20).contains(&block_len) {
            return Err(VhdxFault::BlockSize { found: block_len });
        }
        if flags & 2 == 2 {
            return Err(VhdxFault::HasParent);
        }
        if sector_len != 512 && sector_len != 4096 {
            return Err(VhdxFault::SectorSize { found: sector_len });
        }
        if size == 0 || !size.is_multiple_of(sector_len.into()) {
            return Err(VhdxFault::Size { found: size, sector: sector_len });
        }
        Ok(Self { block_len, size, sector_len })
    }

    /// Returns the bytes of a metadata region that says this, up to the end of its last item.
    #[must_use]
    pub fn encode(&self, disk_id: [u8; 16]) -> Vec<u8> {
        let mut file_parameters = [0; 8];
        field::put_u32_le(&mut file_parameters, 0, self.block_len);
        let size = self.size.to_le_bytes();
        let sector = self.sector_len.to_le_bytes();
        // What the volume of a cloud lies on has pages of 4 KiB.
        let physical = 4096_u32.to_le_bytes();
        let items: [(_, u32, &[u8]); 5] = [
            (FILE_PARAMETERS, 4, &file_parameters),
            (VIRTUAL_DISK_SIZE, 6, &size),
            (VIRTUAL_DISK_ID, 6, &disk_id),
            (LOGICAL_SECTOR_SIZE, 6, &sector),
            (PHYSICAL_SECTOR_SIZE, 6, &physical),
        ];
        let mut bytes = vec![0; TABLE_LEN];
        field::put_bytes(&mut bytes, 0, b"metadata");
        field::put_u16_le(&mut bytes, 10, 5);
        for (number, (id, flags, item)) in items.into_iter().enumerate() {
            let start = u32::try_from(bytes.len()).expect("64 KiB and a few bytes");
            let len = u32::try_from(item.len()).expect("a few bytes");
            let entry = &mut bytes[32..][number.strict_mul(32)..];
            field::put_bytes(entry, 0, &id);
            field::put_u32_le(entry, 16, start);
            field::put_u32_le(entry, 20, len);
            field::put_u32_le(entry, 24, flags);
            bytes.extend(item);
        }
        bytes
    }

    /// Returns how many blocks there are.
    #[must_use]
    pub fn block_count(&self) -> u64 {
        self.size.div_ceil(self.block_len.into())
    }

    /// Returns behind how many blocks' entries one for a bitmap stands.
    #[must_use]
    pub fn chunk_ratio(&self) -> u64 {
        // Cannot overflow: below 2^36. Not 0: 2^32 by 2^28 at the least.
        u64::from(self.sector_len).strict_mul(1 << 23).strict_div(self.block_len.into())
    }

    /// Returns the number of the entry of a block.
    #[must_use]
    pub fn entry_of(&self, block: u64) -> u64 {
        // Cannot overflow: volumes end at 64 TiB, so there are 2^26 blocks at most.
        block.strict_add(block.strict_div(self.chunk_ratio()))
    }
}

/// What an entry of the block allocation table says of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// Never written, or given back.
    Absent,
    /// Zeros.
    Zero,
    /// Stored from this byte of the file on.
    Present(u64),
}

impl BlockState {
    /// Reads an entry; `None` for a state that a block of an image without parent cannot have.
    #[must_use]
    pub fn parse(entry: u64) -> Option<Self> {
        match entry & 7 {
            // Not present, undefined, unmapped, and unmapped as version 0.95 had it.
            0 | 1 | 3 | 5 => Some(Self::Absent),
            2 => Some(Self::Zero),
            6 => Some(Self::Present(entry >> 20 << 20)),
            _ => None,
        }
    }

    /// Returns the entry's value.
    ///
    /// # Panics
    ///
    /// If the block does not start at a whole MiB.
    #[must_use]
    pub fn encode(self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::Zero => 2,
            Self::Present(offset) => {
                assert!(offset.is_multiple_of(MIB), "a block at byte {offset}");
                offset | 6
            }
        }
    }
}

/// Iterates over the entries of a table.
fn entries(bytes: &[u8], start: usize, count: u32) -> impl Iterator<Item = &[u8]> {
    let count = usize::try_from(count).expect("at most MAX_ENTRIES");
    // 2,047 entries of 32 bytes and the longer of the two starts are 64 KiB.
    bytes[start..].chunks_exact(32).take(count)
}

/// Checks a structure's signature, and the checksum at byte 4.
fn check(bytes: &[u8], signature: [u8; 4], part: &'static str) -> Result<(), VhdxFault> {
    if field::array(bytes, 0) != signature {
        return Err(VhdxFault::Signature { part });
    }
    let (found, expected) = (field::u32_le(bytes, 4), checksum(bytes));
    if found != expected {
        return Err(VhdxFault::Checksum { found, expected });
    }
    Ok(())
}

/// Makes the checksum at byte 4 right.
fn seal(bytes: &mut [u8]) {
    let sum = checksum(bytes);
    field::put_u32_le(bytes, 4, sum);
}

/// CRC-32C of all bytes, with those of the checksum itself as 0.
fn checksum(bytes: &[u8]) -> u32 {
    let mut bytes = bytes.to_vec();
    field::put_u32_le(&mut bytes, 4, 0);
    crc32c(&bytes)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const HEADER: Header =
        Header { sequence: 7, write_ids: [[1; 16], [2; 16]], has_log: false, log: (MIB, 1 << 20) };
    const DISK: Disk = Disk { block_len: 8 << 20, size: 10 << 20, sector_len: 512 };
    const FILE_LEN: u64 = 8 << 20;

    fn changed(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        field::put_bytes(&mut bytes, at, new);
        seal(&mut bytes);
        bytes
    }

    #[test]
    fn all_structures_come_back() {
        assert_eq!(Header::parse(&HEADER.encode()), Ok(HEADER));
        let (bat, metadata) = (3 * MIB..5 * MIB, 2 * MIB..3 * MIB);
        let regions = Regions::parse(&Regions::encode(&bat, &metadata), HEADER.log, FILE_LEN);
        let all = vec![MIB..2 * MIB, metadata.clone(), bat.clone()];
        assert_eq!(regions, Ok(Regions { bat, metadata, all }));
        let bytes = DISK.encode([3; 16]);
        let items = Items::parse(&bytes[..TABLE_LEN], MIB).unwrap();
        let at = |start: u32| usize::try_from(start).unwrap();
        let disk = Disk::parse(
            field::array(&bytes, at(items.file_parameters)),
            field::array(&bytes, at(items.virtual_disk_size)),
            field::array(&bytes, at(items.logical_sector_size)),
        );
        assert_eq!(disk, Ok(DISK));
        for state in [BlockState::Absent, BlockState::Zero, BlockState::Present(5 * MIB)] {
            assert_eq!(BlockState::parse(state.encode()), Some(state));
        }
    }

    #[test]
    fn each_check_of_a_header_is_tripped() {
        let bytes = HEADER.encode();
        let parse = |bytes: Vec<u8>| Header::parse(&bytes.try_into().unwrap());
        assert_eq!(
            parse(changed(&bytes, 0, b"heed")),
            Err(VhdxFault::Signature { part: "header" })
        );
        assert_eq!(parse(changed(&bytes, 66, &[2])), Err(VhdxFault::Version { found: 2 }));
        assert!(parse(changed(&bytes, 63, &[1])).unwrap().has_log);
        assert!(parse(changed(&bytes, 64, &[1])).unwrap().has_log);
        for at in 4..HEADER_LEN {
            let mut bytes = bytes;
            bytes[at] ^= 1;
            assert!(matches!(Header::parse(&bytes), Err(VhdxFault::Checksum { .. })), "byte {at}");
        }
    }

    #[test]
    fn each_check_of_a_region_table_is_tripped() {
        let bytes = Regions::encode(&(3 * MIB..4 * MIB), &(2 * MIB..3 * MIB));
        let parse = |bytes: &[u8]| Regions::parse(bytes, HEADER.log, FILE_LEN);
        let fault = |at, new: &[u8]| parse(&changed(&bytes, at, new)).unwrap_err();
        assert_eq!(fault(0, b"x"), VhdxFault::Signature { part: "region table" });
        let found = 2048;
        assert_eq!(fault(9, &[8]), VhdxFault::EntryCount { part: "region", found: found + 2 });
        assert!(matches!(fault(16, &[1]), VhdxFault::Unknown { part: "region", .. }));
        let mut optional = changed(&bytes, 16, &[1]);
        optional = changed(&optional, 44, &[0]);
        assert_eq!(parse(&optional), Err(VhdxFault::Missing { part: "block allocation table" }));
        assert_eq!(fault(8, &[1]), VhdxFault::Missing { part: "metadata region" });
        assert_eq!(fault(48, &BAT), VhdxFault::Twice { part: "block allocation table" });
        for start in [0, 1, MIB + 512, FILE_LEN, u64::MAX - MIB + 1] {
            let place = VhdxFault::Place { part: "block allocation table", start, len: MIB };
            assert_eq!(fault(32, &start.to_le_bytes()), place);
        }
        for len in [0_u32, 512, 6 << 20] {
            assert!(matches!(fault(40, &len.to_le_bytes()), VhdxFault::Place { .. }), "{len}");
        }
        // Over the metadata, and over the log.
        for start in [2 * MIB, MIB] {
            assert_eq!(fault(32, &start.to_le_bytes()), VhdxFault::Overlap { start });
        }
        let log = |offset, len| Regions::parse(&bytes, (offset, len), FILE_LEN).map(|_| ());
        assert!(matches!(log(0, 1 << 20), Err(VhdxFault::Place { part: "log", .. })));
        assert_eq!(log(0, 0), Ok(()));
        let mut bytes = bytes.clone();
        bytes[60_000] = 1;
        assert!(matches!(parse(&bytes), Err(VhdxFault::Checksum { .. })));
    }

    #[test]
    fn each_check_of_a_metadata_table_is_tripped() {
        let bytes = DISK.encode([3; 16]);
        let parse = |at: usize, new: &[u8]| {
            let mut bytes = bytes[..TABLE_LEN].to_vec();
            field::put_bytes(&mut bytes, at, new);
            Items::parse(&bytes, MIB)
        };
        let fault = |at, new: &[u8]| parse(at, new).unwrap_err();
        assert_eq!(fault(0, b"x"), VhdxFault::Signature { part: "metadata table" });
        assert_eq!(fault(10, &[0, 8]), VhdxFault::EntryCount { part: "metadata", found: 2048 });
        assert!(matches!(fault(32, &[1]), VhdxFault::Unknown { part: "metadata item", .. }));
        // The virtual disk id under an unknown name that nobody must know.
        let mut user = bytes[..TABLE_LEN].to_vec();
        (user[96], user[120]) = (0, 1);
        assert!(Items::parse(&user, MIB).is_ok());
        for (count, part) in
            [(0, "file parameters"), (1, "virtual disk size"), (3, "logical sector size")]
        {
            assert_eq!(fault(10, &[count]), VhdxFault::Missing { part });
        }
        assert_eq!(fault(64, &FILE_PARAMETERS), VhdxFault::Twice { part: "file parameters" });
        for (start, len) in
            [(0_u32, 8_u32), (65_535, 8), (65_536, 7), ((1 << 20) - 7, 8), (u32::MAX, 8)]
        {
            let new = [start.to_le_bytes(), len.to_le_bytes()].concat();
            assert_eq!(fault(48, &new), VhdxFault::Item { part: "file parameters", start, len });
        }
    }

    #[test]
    fn each_check_of_the_items_is_tripped() {
        let parse = |block: u32, flags: u32, size: u64, sector: u32| {
            let parameters = [block.to_le_bytes(), flags.to_le_bytes()].concat();
            Disk::parse(parameters.try_into().unwrap(), size.to_le_bytes(), sector.to_le_bytes())
        };
        assert!(parse(256 << 20, 1, 64 << 40, 4096).is_ok());
        for found in [0, 1 << 19, 3 << 20, 512 << 20] {
            assert_eq!(parse(found, 0, 512, 512), Err(VhdxFault::BlockSize { found }));
        }
        assert_eq!(parse(1 << 20, 2, 512, 512), Err(VhdxFault::HasParent));
        for found in [0, 1024, 8192] {
            assert_eq!(parse(1 << 20, 0, 8192, found), Err(VhdxFault::SectorSize { found }));
        }
        for (found, sector) in [(0, 512), (513, 512), (512, 4096)] {
            assert_eq!(parse(1 << 20, 0, found, sector), Err(VhdxFault::Size { found, sector }));
        }
    }

    #[test]
    fn bitmap_entries_stand_between_those_of_blocks() {
        assert_eq!(DISK.chunk_ratio(), 512);
        assert_eq!([511, 512, 1023, 1024].map(|b| DISK.entry_of(b)), [511, 513, 1024, 1026]);
        let largest = Disk { block_len: 256 << 20, size: 64 << 40, sector_len: 512 };
        assert_eq!(largest.chunk_ratio(), 16);
    }

    #[test]
    fn states_that_need_a_parent_are_none() {
        for state in [4, 7] {
            assert_eq!(BlockState::parse(5 << 20 | state), None);
        }
        // Where there are no bytes, the place does not matter.
        for state in [0, 1, 3, 5] {
            assert_eq!(BlockState::parse(5 << 20 | state), Some(BlockState::Absent));
        }
    }
}
