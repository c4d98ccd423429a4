//! Bytes of the sparse VMDK format, versions 1 to 3. Pure: no I/O, no allocation.
//!
//! ```text
//! Header, one sector of 512 bytes, little-endian like everything here:
//! offset size field              meaning
//!      0    4 magicNumber        "KDMV"
//!      4    4 version            1 to 3
//!      8    4 flags              bit 0 newline test valid, 1 redundant directory, 2 zero entries,
//!                                16 packed grains, 17 markers
//!     12    8 capacity           volume size in sectors
//!     20    8 grainSize          sectors of a grain: a power of two, 8 to 2^21
//!     28    8 descriptorOffset   sector of the descriptor: 1, or 0 for none
//!     36    8 descriptorSize     sectors of the descriptor
//!     44    4 numGTEsPerGT       entries of a grain table: 1 to 512
//!     48    8 rgdOffset          sector of the redundant grain directory
//!     56    8 gdOffset           sector of the grain directory; all ones: the footer tells it
//!     64    8 overHead           sectors before the first grain
//!     72    1 uncleanShutdown    1 while the disk is in use
//!     73    4                    "\n \r\n"
//!     77    2 compressAlgorithm  0 none, 1 deflate
//!     79  433                    0
//!
//! Grain directory: a u32 for each grain table, its sector or 0. Grain table: a u32 for each grain,
//! its sector, 0 for none, 1 for zeros if flag bit 2 is set.
//!
//! Marker of a packed grain, with the zlib stream behind it:
//!      0    8 lba                sector of the volume where the grain starts
//!      8    4 size               bytes of the stream
//!
//! Other markers, one sector, with what they announce in the sectors behind it:
//!      0    8 val                how many sectors that is
//!      8    4 size               0
//!     12    4 type               0 end of stream, 1 grain table, 2 grain directory, 3 footer
//!     16  496                    0
//!
//! Footer, the last three sectors of a file: its marker, the header again with the true gdOffset,
//! and the marker of the end.
//! ```

use thiserror::Error;

use crate::error::Fault;
use crate::error::Kind;
use crate::field;

/// Bytes of a sector.
pub const SECTOR_LEN: u64 = 512;

/// Bytes of a header and of each marker that is not a grain's.
pub const HEADER_LEN: usize = 512;

/// Bytes of the marker in front of a packed grain.
pub const GRAIN_MARKER_LEN: usize = 12;

/// Bytes of a footer: its marker, the header, the end.
pub const FOOTER_LEN: usize = 1536;

/// First four bytes of a file.
pub const MAGIC: [u8; 4] = *b"KDMV";

/// Most entries of a grain table, and how many all tools write.
pub const TABLE_LEN: u32 = 512;

/// Most files of a disk with all its parents: a set of extents of 2 GiB is then 8 TiB.
pub const MAX_FILES: usize = 4096;

/// Most entries of a grain directory, the same as qemu-img's.
pub const MAX_TABLES: u64 = 32 << 20;

/// Most bytes of a descriptor, the same as qemu-img's.
pub const MAX_DESCRIPTOR_LEN: u64 = (1 << 20) - 1;

/// Smallest and largest grain in sectors; the largest is qemu-img's.
const GRAIN_SIZES: std::ops::RangeInclusive<u64> = 8..=1 << 21;

/// Largest packed grain in sectors: what a volume unpacks at once.
const MAX_PACKED_GRAIN: u64 = 4096;

/// Most bytes of a packed grain: what a volume reads at once.
const MAX_STREAM_LEN: u32 = 4 << 20;

const NEWLINES: [u8; 4] = *b"\n \r\n";
const NEWLINES_VALID: u32 = 1;
const REDUNDANT: u32 = 1 << 1;
const ZERO_ENTRIES: u32 = 1 << 2;
const PACKED: u32 = 1 << 16;
const MARKED: u32 = 1 << 17;
/// Flags from here on must be understood by a reader.
const INCOMPATIBLE: u32 = 0xffff_0000;
const DEFLATE: u16 = 1;
const AT_END: u64 = u64::MAX;

/// What is wrong with a sparse VMDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VmdkFault {
    /// The file ends inside its header.
    #[error("the file has {len} bytes, expected a header of {header_len}", header_len = HEADER_LEN)]
    HeaderCut {
        /// Bytes of the file.
        len: u64,
    },
    /// The first four bytes are not the magic number.
    #[error(
        "magic is {found:#010x}, expected {expected:#010x}",
        expected = u32::from_le_bytes(MAGIC)
    )]
    Magic {
        /// Value found.
        found: u32,
    },
    /// The version is none that we know.
    #[error("version is {found}, expected 1 to 3")]
    Version {
        /// Value found.
        found: u32,
    },
    /// A flag that must be understood is none that we know.
    #[error("flags are {found:#010x}, expected none from bit 18 on")]
    Flags {
        /// Value found.
        found: u32,
    },
    /// The volume has no sectors.
    #[error("capacity is 0 sectors, expected at least one")]
    Capacity,
    /// The grain size is not a power of two, or out of bounds.
    #[error(
        "grain size is {found} sectors, expected a power of two from {least} to {expected}",
        least = GRAIN_SIZES.start()
    )]
    GrainSize {
        /// Value found, in sectors.
        found: u64,
        /// Most sectors.
        expected: u64,
    },
    /// The grain tables have too many entries, or none.
    #[error(
        "entry count of a grain table is {found}, expected 1 to {table_len}",
        table_len = TABLE_LEN
    )]
    TableLen {
        /// Value found.
        found: u32,
    },
    /// The grain directory has too many entries.
    #[error(
        "entry count of the grain directory is {found}, expected {max_tables} at most",
        max_tables = MAX_TABLES
    )]
    DirectoryLen {
        /// Entries that it needs.
        found: u64,
    },
    /// The bytes that tell whether the file was copied as text are not what they must be.
    #[error(
        "newline test is {found:#010x}, expected {expected:#010x}: the file was copied as \
         text",
        expected = u32::from_le_bytes(NEWLINES)
    )]
    Newlines {
        /// Value found.
        found: u32,
    },
    /// Grains are packed in a way that we do not know.
    #[error("compression algorithm is {found}, expected 0 for none or 1 for deflate")]
    Algorithm {
        /// Value found.
        found: u16,
    },
    /// The flag for packed grains and the algorithm do not agree.
    #[error("flags are {found:#010x}, expected bit 16 as in compression algorithm {expected}")]
    PackedFlag {
        /// The flags.
        found: u32,
        /// The algorithm.
        expected: u16,
    },
    /// Grains are packed, and there are no markers.
    #[error("flags are {found:#010x}, expected bit 17 for markers, as grains are compressed")]
    NoMarkers {
        /// The flags.
        found: u32,
    },
    /// The disk is in use, or was not closed.
    #[error("unclean shutdown is 1, expected 0: the disk is in use, or was when its machine died")]
    Unclean,
    /// Something that the header points to does not lie in the file.
    #[error("{what} ends at byte {found}, expected {expected} at most, where the file ends")]
    Outside {
        /// What it is.
        what: &'static str,
        /// Byte at which it ends.
        found: u64,
        /// Bytes of the file.
        expected: u64,
    },
    /// A grain lies before the first grain.
    #[error("a grain is at sector {found}, expected {expected} or more, where the metadata ends")]
    GrainInside {
        /// Sector of the grain.
        found: u32,
        /// Sectors before the first grain.
        expected: u64,
    },
    /// There is more of something than the file has room for.
    #[error("the {what} take {found} bytes, expected {expected} at most, as the file has")]
    Crowded {
        /// What it is.
        what: &'static str,
        /// Bytes that it takes.
        found: u64,
        /// Bytes of the file.
        expected: u64,
    },
    /// The descriptor is not where it must be.
    #[error("descriptor offset is {found} sectors, expected 1")]
    DescriptorOffset {
        /// Value found, in sectors.
        found: u64,
    },
    /// The file has no descriptor.
    #[error("the file has no descriptor, expected one: it is an extent of a larger disk")]
    NoDescriptor,
    /// The file is too short for the footer that it must have.
    #[error(
        "the file has {len} bytes, expected a footer in the last {footer_len}",
        footer_len = FOOTER_LEN
    )]
    FooterCut {
        /// Bytes of the file.
        len: u64,
    },
    /// A marker of the footer is not what it must be.
    #[error("marker type is {found}, expected {expected} and zeros in this sector")]
    FooterMarker {
        /// Type found.
        found: u32,
        /// Type by the format.
        expected: u32,
    },
    /// The footer points to another footer.
    #[error("grain directory offset is all ones, expected a sector in the footer")]
    FooterAgain,
    /// The footer is not that of the header.
    #[error("the footer differs from the header at byte {at}, expected a copy")]
    Footer {
        /// First byte of a sector that differs.
        at: usize,
    },
    /// A marker is that of another grain.
    #[error("the grain's marker is for sector {found}, expected {expected}")]
    MarkerPlace {
        /// Value found, in sectors.
        found: u64,
        /// Where the grain starts, in sectors.
        expected: u64,
    },
    /// A packed grain has no bytes or too many.
    #[error("the compressed grain has {found} bytes, expected 1 to {expected}")]
    MarkerLen {
        /// Value found, in bytes.
        found: u32,
        /// Most bytes.
        expected: u32,
    },
    /// Too many runs for the memory that a map may take.
    #[error("the grains make over {limit} runs, the limit", limit = crate::volume::MAX_RUNS)]
    Runs,
    /// A disk has more files than are opened.
    #[error("the disk has over {limit} files, the limit", limit = MAX_FILES)]
    Files,
}

impl Fault for VmdkFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Version { .. }
            | Self::Flags { .. }
            | Self::Algorithm { .. }
            | Self::NoMarkers { .. }
            | Self::Unclean
            | Self::NoDescriptor => Kind::Unsupported,
            Self::DirectoryLen { .. } | Self::Runs | Self::Files => Kind::Limit,
            _ => Kind::Corrupt,
        }
    }
}

/// A header, checked in itself; what it points to is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the format.
    pub version: u32,
    /// Volume size in sectors, not 0.
    pub capacity: u64,
    /// Sectors of a grain.
    pub grain_size: u64,
    /// Sector of the descriptor, 0 for none.
    pub descriptor_offset: u64,
    /// Sectors of the descriptor.
    pub descriptor_size: u64,
    /// Entries of a grain table.
    pub table_len: u32,
    /// Sector of the redundant grain directory, 0 for none.
    pub redundant_offset: u64,
    /// Sector of the grain directory; `None` if the footer tells it.
    pub directory_offset: Option<u64>,
    /// Sectors before the first grain.
    pub overhead: u64,
    /// Whether an entry of 1 is a grain of zeros.
    pub zero_entries: bool,
    /// Whether grains are packed, each behind a marker.
    pub packed: bool,
    /// Whether the disk was not closed.
    pub unclean: bool,
}

impl Header {
    /// Reads and checks the header.
    ///
    /// # Errors
    ///
    /// Names the first thing that breaks the format.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, VmdkFault> {
        let magic = field::array(bytes, 0);
        let version = field::u32_le(bytes, 4);
        let flags = field::u32_le(bytes, 8);
        let capacity = field::u64_le(bytes, 12);
        let grain_size = field::u64_le(bytes, 20);
        let num_gtes_per_gt = field::u32_le(bytes, 44);
        let gd_offset = field::u64_le(bytes, 56);
        let newlines = field::array(bytes, 73);
        let compress_algorithm = field::u16_le(bytes, 77);

        if magic != MAGIC {
            return Err(VmdkFault::Magic { found: u32::from_le_bytes(magic) });
        }
        if !(1..=3).contains(&version) {
            return Err(VmdkFault::Version { found: version });
        }
        if flags & INCOMPATIBLE & !(PACKED | MARKED) != 0 {
            return Err(VmdkFault::Flags { found: flags });
        }
        if flags & NEWLINES_VALID != 0 && newlines != NEWLINES {
            return Err(VmdkFault::Newlines { found: u32::from_le_bytes(newlines) });
        }
        if compress_algorithm > DEFLATE {
            return Err(VmdkFault::Algorithm { found: compress_algorithm });
        }
        let packed = compress_algorithm == DEFLATE;
        if packed != (flags & PACKED != 0) {
            let expected = compress_algorithm;
            return Err(VmdkFault::PackedFlag { found: flags, expected });
        }
        if packed && flags & MARKED == 0 {
            return Err(VmdkFault::NoMarkers { found: flags });
        }
        if capacity == 0 {
            return Err(VmdkFault::Capacity);
        }
        let expected = if packed { MAX_PACKED_GRAIN } else { *GRAIN_SIZES.end() };
        if !grain_size.is_power_of_two() || !(*GRAIN_SIZES.start()..=expected).contains(&grain_size)
        {
            return Err(VmdkFault::GrainSize { found: grain_size, expected });
        }
        if !(1..=TABLE_LEN).contains(&num_gtes_per_gt) {
            return Err(VmdkFault::TableLen { found: num_gtes_per_gt });
        }
        let header = Self {
            version,
            capacity,
            grain_size,
            descriptor_offset: field::u64_le(bytes, 28),
            descriptor_size: field::u64_le(bytes, 36),
            table_len: num_gtes_per_gt,
            redundant_offset: field::u64_le(bytes, 48),
            directory_offset: (gd_offset != AT_END).then_some(gd_offset),
            overhead: field::u64_le(bytes, 64),
            zero_entries: flags & ZERO_ENTRIES != 0,
            packed,
            unclean: bytes[72] != 0,
        };
        if header.table_count() > MAX_TABLES {
            return Err(VmdkFault::DirectoryLen { found: header.table_count() });
        }
        Ok(header)
    }

    /// Returns the header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let flag = |is: bool, bits: u32| if is { bits } else { 0 };
        let flags = NEWLINES_VALID
            | flag(self.redundant_offset != 0, REDUNDANT)
            | flag(self.zero_entries, ZERO_ENTRIES)
            | flag(self.packed, PACKED | MARKED);
        let mut bytes = [0; HEADER_LEN];
        field::put_bytes(&mut bytes, 0, &MAGIC);
        field::put_u32_le(&mut bytes, 4, self.version);
        field::put_u32_le(&mut bytes, 8, flags);
        field::put_u64_le(&mut bytes, 12, self.capacity);
        field::put_u64_le(&mut bytes, 20, self.grain_size);
        field::put_u64_le(&mut bytes, 28, self.descriptor_offset);
        field::put_u64_le(&mut bytes, 36, self.descriptor_size);
        field::put_u32_le(&mut bytes, 44, self.table_len);
        field::put_u64_le(&mut bytes, 48, self.redundant_offset);
        field::put_u64_le(&mut bytes, 56, self.directory_offset.unwrap_or(AT_END));
        field::put_u64_le(&mut bytes, 64, self.overhead);
        bytes[72] = u8::from(self.unclean);
        field::put_bytes(&mut bytes, 73, &NEWLINES);
        field::put_u16_le(&mut bytes, 77, u16::from(self.packed));
        bytes
    }

    /// Returns the sectors that one grain table stands for.
    #[must_use]
    pub fn table_span(&self) -> u64 {
        // Cannot overflow: at most 2^21 times 512.
        self.grain_size.strict_mul(self.table_len.into())
    }

    /// Returns the entries of the grain directory.
    #[must_use]
    pub fn table_count(&self) -> u64 {
        self.capacity.div_ceil(self.table_span())
    }

    /// Returns the bytes of a grain.
    #[must_use]
    pub fn grain_len(&self) -> u64 {
        // Cannot overflow: at most 2^21 sectors.
        self.grain_size.strict_mul(SECTOR_LEN)
    }
}

/// Reads the footer of a file whose header has no directory: `bytes` are the file's last ones.
///
/// # Errors
///
/// Names what is not a footer, or not that of the header.
pub fn parse_footer(
    bytes: &[u8; FOOTER_LEN],
    header: &[u8; HEADER_LEN],
) -> Result<Header, VmdkFault> {
    const FOOTER: u32 = 3;
    const END: u32 = 0;
    let [marker, footer, end]: [[u8; HEADER_LEN]; 3] =
        [field::array(bytes, 0), field::array(bytes, 512), field::array(bytes, 1024)];
    let rest_is_zero = |sector: &[u8; HEADER_LEN]| {
        field::u32_le(sector, 8) == 0 && sector[16..].iter().all(|byte| *byte == 0)
    };
    let type_of = |sector: &[u8; HEADER_LEN]| field::u32_le(sector, 12);
    if type_of(&marker) != FOOTER || !rest_is_zero(&marker) {
        return Err(VmdkFault::FooterMarker { found: type_of(&marker), expected: FOOTER });
    }
    if type_of(&end) != END || !rest_is_zero(&end) || field::u64_le(&end, 0) != 0 {
        return Err(VmdkFault::FooterMarker { found: type_of(&end), expected: END });
    }
    // The two directories are where they are, and a machine may die between header and footer.
    let may_differ = |at: usize| (48..64).contains(&at) || at == 72;
    let differs = (0..79).find(|at| !may_differ(*at) && footer[*at] != header[*at]);
    if let Some(at) = differs {
        return Err(VmdkFault::Footer { at });
    }
    let footer = Header::parse(&footer)?;
    if footer.directory_offset.is_none() {
        return Err(VmdkFault::FooterAgain);
    }
    Ok(footer)
}

/// What a marker announces, with the number that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Nothing more.
    End,
    /// A grain table.
    Table,
    /// The grain directory.
    Directory,
    /// The footer.
    Footer,
}

impl Marker {
    /// Returns the bytes of a marker of `sectors` sectors.
    #[must_use]
    pub fn encode(self, sectors: u64) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let kind = match self {
            Self::End => 0,
            Self::Table => 1,
            Self::Directory => 2,
            Self::Footer => 3,
        };
        field::put_u64_le(&mut bytes, 0, sectors);
        field::put_u32_le(&mut bytes, 12, kind);
        bytes
    }
}

/// Returns the most bytes that a packed grain of `grain_len` bytes may take.
#[must_use]
pub fn max_stream_len(grain_len: u32) -> u32 {
    grain_len.saturating_mul(2).min(MAX_STREAM_LEN)
}

/// Reads the marker of a packed grain that starts at byte `start` of the disk, and returns the bytes
/// of its stream, which may be `most`.
///
/// # Errors
///
/// Names what the marker has wrong.
pub fn parse_grain_marker(
    bytes: &[u8; GRAIN_MARKER_LEN],
    start: u64,
    most: u32,
) -> Result<u32, VmdkFault> {
    let lba = field::u64_le(bytes, 0);
    let size = field::u32_le(bytes, 8);
    let expected = start.strict_div(SECTOR_LEN);
    if lba != expected {
        return Err(VmdkFault::MarkerPlace { found: lba, expected });
    }
    if !(1..=most).contains(&size) {
        return Err(VmdkFault::MarkerLen { found: size, expected: most });
    }
    Ok(size)
}

/// Returns the marker of the grain at `sector` whose stream takes `len` bytes.
#[must_use]
pub fn encode_grain_marker(sector: u64, len: u32) -> [u8; GRAIN_MARKER_LEN] {
    let mut bytes = [0; GRAIN_MARKER_LEN];
    field::put_u64_le(&mut bytes, 0, sector);
    field::put_u32_le(&mut bytes, 8, len);
    bytes
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// A sound header of a packed disk of 1 GiB.
    const SOUND: Header = Header {
        version: 3,
        capacity: 2 << 20,
        grain_size: 128,
        descriptor_offset: 1,
        descriptor_size: 20,
        table_len: 512,
        redundant_offset: 0,
        directory_offset: None,
        overhead: 128,
        zero_entries: false,
        packed: true,
        unclean: false,
    };

    #[test]
    fn headers_come_back() {
        let plain = Header {
            version: 2,
            packed: false,
            zero_entries: true,
            redundant_offset: 21,
            directory_offset: Some(26),
            unclean: true,
            ..SOUND
        };
        for header in [SOUND, plain] {
            assert_eq!(Header::parse(&header.encode()), Ok(header));
        }
        assert_eq!(SOUND.table_count(), 32);
    }

    /// Each check of `parse`, tripped by changed bytes.
    #[test]
    fn a_broken_header_names_the_field() {
        let cases: &[(usize, &[u8], VmdkFault)] = &[
            (0, b"k", VmdkFault::Magic { found: u32::from_le_bytes(*b"kDMV") }),
            (4, &[0], VmdkFault::Version { found: 0 }),
            (4, &[4], VmdkFault::Version { found: 4 }),
            (10, &[7], VmdkFault::Flags { found: 0x0007_0001 }),
            (73, b"\r", VmdkFault::Newlines { found: u32::from_le_bytes(*b"\r \r\n") }),
            (77, &[2], VmdkFault::Algorithm { found: 2 }),
            (77, &[0], VmdkFault::PackedFlag { found: 0x0003_0001, expected: 0 }),
            (10, &[1], VmdkFault::NoMarkers { found: 0x0001_0001 }),
            (14, &[0], VmdkFault::Capacity),
            (20, &[0], VmdkFault::GrainSize { found: 0, expected: 4096 }),
            (20, &[4], VmdkFault::GrainSize { found: 4, expected: 4096 }),
            (20, &[129], VmdkFault::GrainSize { found: 129, expected: 4096 }),
            (20, &[0, 32], VmdkFault::GrainSize { found: 8192, expected: 4096 }),
            (44, &[0, 0], VmdkFault::TableLen { found: 0 }),
            (44, &[1, 2], VmdkFault::TableLen { found: 513 }),
            (18, &[1], VmdkFault::DirectoryLen { found: (1 << 32) + 32 }),
        ];
        for (at, new, fault) in cases {
            let mut bytes = SOUND.encode();
            field::put_bytes(&mut bytes, *at, new);
            assert_eq!(Header::parse(&bytes), Err(*fault), "byte {at}");
        }
        // Flags that a reader may ignore.
        let mut bytes = SOUND.encode();
        bytes[9] = 0xff;
        assert_eq!(Header::parse(&bytes), Ok(SOUND));
    }

    fn footer() -> [u8; FOOTER_LEN] {
        let header = Header { directory_offset: Some(777), ..SOUND };
        let parts = [Marker::Footer.encode(1), header.encode(), Marker::End.encode(0)];
        parts.concat().try_into().unwrap()
    }

    #[test]
    fn a_footer_is_that_of_its_header_or_refused() {
        let header = SOUND.encode();
        let parsed = parse_footer(&footer(), &header).unwrap();
        assert_eq!(parsed.directory_offset, Some(777));
        for at in 0..FOOTER_LEN {
            let mut bytes = footer();
            bytes[at] ^= 4;
            let place = at % 512;
            let free = match at / 512 {
                0 => place < 8,
                1 => (48..64).contains(&place) || place == 72 || place >= 79,
                _ => false,
            };
            let is_refused = parse_footer(&bytes, &header).is_err();
            assert_eq!(is_refused, !free, "byte {at}");
        }
        let mut bytes = footer();
        bytes[512 + 56..][..8].fill(0xff);
        assert_eq!(parse_footer(&bytes, &header), Err(VmdkFault::FooterAgain));
    }

    #[test]
    fn a_grains_marker_is_for_its_place() {
        let marker = encode_grain_marker(256, 77);
        assert_eq!(parse_grain_marker(&marker, 256 * 512, 77), Ok(77));
        let place = VmdkFault::MarkerPlace { found: 256, expected: 255 };
        assert_eq!(parse_grain_marker(&marker, 255 * 512, 77), Err(place));
        for len in [0, 78] {
            let fault = VmdkFault::MarkerLen { found: len, expected: 77 };
            assert_eq!(parse_grain_marker(&encode_grain_marker(0, len), 0, 77), Err(fault));
        }
        assert_eq!(max_stream_len(65_536), 131_072);
        assert_eq!(max_stream_len(2 << 20), 4 << 20);
    }
}
