//! Bytes of the VHD format, version 1.0. Pure: no I/O, no allocation but for a name.
//!
//! ```text
//! Footer, 512 bytes, big-endian like everything here. It ends the file; a copy of it starts a
//! dynamic or differencing image. Virtual PC before 2004 wrote 511 bytes of it.
//! offset size field                meaning
//!      0    8 Cookie               "conectix"
//!      8    4 Features             not looked at; we write 2, the bit that is always set
//!     12    4 File Format Version  0x00010000; another major version is not supported
//!     16    8 Data Offset          byte at which the dynamic header starts; all ones if there is none
//!     24    4 Time Stamp           seconds since 2000; we write 0
//!     28    4 Creator Application  says where the size stands
//!     32    4 Creator Version      not looked at
//!     36    4 Creator Host OS      not looked at; we write "Wi2k", as qemu-img does
//!     40    8 Original Size        not looked at
//!     48    8 Current Size         bytes of the volume
//!     56    4 Disk Geometry        cylinders (2), heads (1), sectors of a track (1)
//!     60    4 Disk Type            2 fixed, 3 dynamic, 4 differencing
//!     64    4 Checksum             complement of the sum of all other bytes of the footer
//!     68   16 Unique Id            what a child names its parent by
//!     84    1 Saved State          not looked at
//!     85  427 Reserved             0; not looked at
//!
//! Dynamic header, 1024 bytes:
//!      0    8 Cookie               "cxsparse"
//!      8    8 Data Offset          all ones; not looked at
//!     16    8 Table Offset         byte at which the block allocation table starts
//!     24    4 Header Version       0x00010000; another major version is not supported
//!     28    4 Max Table Entries    entries of the table
//!     32    4 Block Size           bytes of the volume in a block: a power of two, 4096 or more
//!     36    4 Checksum             complement of the sum of all other bytes of the header
//!     40   16 Parent Unique Id     of a differencing image
//!     56    4 Parent Time Stamp    not looked at
//!     60    4 Reserved             0; not looked at
//!     64  512 Parent Unicode Name  UTF-16, of a differencing image
//!    576  192 Parent Locators      8 of 24 bytes; not looked at
//!    768  256 Reserved             0; not looked at
//!
//! Block allocation table: a sector number of 4 bytes for each block, all ones for none. There the
//! block's bitmap starts, one bit a sector, the first in the highest bit of the first byte, padded
//! to whole sectors; and then its bytes. A clear bit says that the sector is not in this image.
//! ```

use thiserror::Error;

use crate::error::Fault;
use crate::error::Kind;
use crate::field;

/// Bytes of a sector: the unit of everything.
pub const SECTOR_LEN: u64 = 512;

/// Bytes of the footer.
pub const FOOTER_LEN: usize = 512;

/// Bytes of a footer of Virtual PC before 2004.
pub const OLD_FOOTER_LEN: u64 = 511;

/// Bytes of the dynamic header.
pub const HEADER_LEN: usize = 1024;

/// First eight bytes of a footer.
pub const COOKIE: [u8; 8] = *b"conectix";

/// Largest volume: 2040 GiB.
pub const MAX_SIZE: u64 = 2040 << 30;

/// Smallest block, in bytes: below it, qemu-img takes the bitmap to have no bytes at all.
const MIN_BLOCK_LEN: u32 = 4096;

/// Table entry of a block that is not there.
pub const UNUSED: u32 = u32::MAX;

/// The creator of our images is Hyper-V's: every reader takes their size from the size, not the geometry.
const OURS: &[u8; 4] = b"win ";

const HEADER_COOKIE: [u8; 8] = *b"cxsparse";
const VERSION: u32 = 0x0001_0000;

/// The geometry of every volume that is too large for one.
const MAX_GEOMETRY: Geometry = Geometry { cylinders: 65_535, heads: 16, sectors: 255 };

/// What is wrong with a VHD image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VhdFault {
    /// The file ends inside its footer.
    #[error("the file has {len} bytes, expected a footer of 512 at its end")]
    FooterCut {
        /// Bytes of the file.
        len: u64,
    },
    /// A footer's or header's first eight bytes are not its cookie.
    #[error("cookie is \"{}\", expected \"{}\"", .found.escape_ascii(), .expected.escape_ascii())]
    Cookie {
        /// Value found.
        found: [u8; 8],
        /// Value by the format.
        expected: [u8; 8],
    },
    /// A footer's or header's checksum is not that of its bytes.
    #[error("checksum is {found:#010x}, expected {expected:#010x}")]
    Checksum {
        /// Value found.
        found: u32,
        /// Sum of the bytes.
        expected: u32,
    },
    /// The major version is not 1.
    #[error("version is {found:#010x}, expected {version:#010x}", version = VERSION)]
    Version {
        /// Value found.
        found: u32,
    },
    /// The disk type is none of the three.
    #[error("disk type is {found}, expected 2 (fixed), 3 (dynamic) or 4 (differencing)")]
    DiskType {
        /// Value found.
        found: u32,
    },
    /// The volume's size is not a multiple of a sector.
    #[error("current size is {found} bytes, expected a multiple of 512")]
    SizeUnit {
        /// Value found, in bytes.
        found: u64,
    },
    /// The volume is larger than the format has it.
    #[error("the volume has {found} bytes, expected at most 2040 GiB")]
    Size {
        /// Value found, in bytes.
        found: u64,
    },
    /// The footer and its copy are both sound and differ.
    #[error(
        "footers are not identical, they differ at byte {at}, expected the one at the end \
         to be the one at the start"
    )]
    FootersDiffer {
        /// First byte that differs.
        at: usize,
    },
    /// One of the two footers is not sound, or not there.
    #[error(
        "the footer at the {} is damaged or missing, expected a copy of that at the {}",
        end(!*.end_is_sound), end(*.end_is_sound)
    )]
    OneFooter {
        /// Whether the one at the end is sound.
        end_is_sound: bool,
    },
    /// The file starts with a footer that says that there is none.
    #[error("disk type is 2 (fixed), expected 3 or 4 in a footer at the start")]
    FixedAtStart,
    /// A footer that only ends the file says that there is a copy of it at the start.
    #[error("disk type is {found}, expected 2 (fixed) where the file does not start with a footer")]
    CopyMissing {
        /// Disk type found.
        found: u32,
    },
    /// A fixed image has fewer bytes than its volume.
    #[error("there are {found} bytes before the footer, expected {expected}")]
    FixedCut {
        /// Bytes before the footer.
        found: u64,
        /// Bytes of the volume.
        expected: u64,
    },
    /// The dynamic header or the table lies outside the file, or over another part of it.
    #[error(
        "the {part} starts at byte {start}, expected it between bytes {from} and {to}, \
         overlapping nothing else"
    )]
    Place {
        /// What it is.
        part: &'static str,
        /// Byte at which it starts.
        start: u64,
        /// Byte at which it may start.
        from: u64,
        /// Byte at which it must have ended.
        to: u64,
    },
    /// The block size is not a power of two, or so small that tools differ over the bitmap's length.
    #[error("block size is {found} bytes, expected a power of two, 4096 or more")]
    BlockSize {
        /// Value found, in bytes.
        found: u32,
    },
    /// The table has fewer entries than the volume has blocks.
    #[error("table has {found} entries, expected {expected} or more for the volume")]
    TableEntries {
        /// Value found.
        found: u32,
        /// Blocks of the volume.
        expected: u64,
    },
    /// A block lies outside the file, or over the metadata.
    #[error(
        "block {block} starts at byte {start}, expected it after the metadata and to end by \
         byte {to}"
    )]
    BlockPlace {
        /// Number of the block.
        block: u64,
        /// Byte at which it starts.
        start: u64,
        /// Byte at which its bytes must have ended.
        to: u64,
    },
    /// Two blocks share bytes of the file.
    #[error("two blocks overlap at byte {start}, expected none to")]
    BlocksOverlap {
        /// Byte at which the second of them starts.
        start: u64,
    },
    /// A sector that a dynamic image says it does not have holds something.
    #[error(
        "a sector of block {block} holds data, expected zeros where its bitmap says that it \
         is absent"
    )]
    AbsentSector {
        /// Number of the block.
        block: u64,
    },
    /// Too many runs for the memory that a map may take.
    #[error("the blocks make over {limit} runs, the limit", limit = crate::volume::MAX_RUNS)]
    Runs,
    /// The parent is another image than the one that was named.
    #[error("unique id differs, expected that of the parent of the image above it")]
    ParentId,
}

fn end(is_end: bool) -> &'static str {
    if is_end { "end" } else { "start" }
}

impl Fault for VhdFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Version { .. } | Self::DiskType { .. } | Self::Size { .. } => Kind::Unsupported,
            Self::Runs => Kind::Limit,
            // Each image may be sound: the user named another one's parent.
            Self::ParentId => Kind::Invalid,
            _ => Kind::Corrupt,
        }
    }
}

/// What an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskType {
    /// The volume, with a footer behind it.
    Fixed,
    /// Blocks where something was written.
    Dynamic,
    /// Sectors that differ from those of a parent.
    Differencing,
}

impl DiskType {
    /// Returns the number that stands for it.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Fixed => 2,
            Self::Dynamic => 3,
            Self::Differencing => 4,
        }
    }
}

/// Cylinders, heads and sectors of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads.
    pub heads: u8,
    /// Sectors of a track.
    pub sectors: u8,
}

impl Geometry {
    /// Returns how many sectors there are.
    #[must_use]
    pub fn sector_count(self) -> u64 {
        // Cannot overflow: 2^32 at most.
        u64::from(self.cylinders)
            .strict_mul(u64::from(self.heads))
            .strict_mul(u64::from(self.sectors))
    }

    /// Returns the geometry that the specification's appendix has for a volume: of at most so many
    /// sectors, and the largest there is for what is too large.
    #[must_use]
    pub fn of(sector_count: u64) -> Self {
        let most = MAX_GEOMETRY.sector_count();
        if sector_count >= 65_535 * 16 * 63 {
            let cylinders = u16::try_from(sector_count.min(most).strict_div(16 * 255))
                .expect("at most 65,535 by the largest geometry");
            return Self { cylinders, ..MAX_GEOMETRY };
        }
        let tracks = sector_count.strict_div(17);
        let heads = tracks.strict_add(1023).strict_div(1024).max(4);
        let (tracks, heads, sectors) = if tracks < heads.strict_mul(1024) && heads <= 16 {
            (tracks, heads, 17)
        } else {
            let tracks = sector_count.strict_div(31);
            if tracks < 16 * 1024 {
                (tracks, 16, 31)
            } else {
                (sector_count.strict_div(63), 16, 63)
            }
        };
        Self {
            cylinders: u16::try_from(tracks.strict_div(heads)).expect("below 65,536 here"),
            heads: u8::try_from(heads).expect("at most 16"),
            sectors,
        }
    }
}

/// The footer, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Byte at which the dynamic header starts, where there is one.
    pub header_at: u64,
    /// Bytes of the volume.
    pub size: u64,
    /// Bytes that the image gives as its current size: another number only where the geometry counts.
    pub current_size: u64,
    /// Who made the image.
    pub creator: [u8; 4],
    /// What the image is.
    pub disk_type: DiskType,
    /// What a child names its parent by.
    pub id: [u8; 16],
}

impl Footer {
    /// Makes the footer of an image of ours.
    #[must_use]
    pub const fn new(header_at: u64, size: u64, disk_type: DiskType, id: [u8; 16]) -> Self {
        Self { header_at, size, current_size: size, creator: *OURS, disk_type, id }
    }

    /// Reads and checks a footer. One of 511 bytes is given with a zero behind it.
    ///
    /// # Errors
    ///
    /// Names the first field, in file order but for cookie and checksum, that breaks the format.
    pub fn parse(bytes: &[u8; FOOTER_LEN]) -> Result<Self, VhdFault> {
        check(bytes, COOKIE, 64)?;
        let version = field::u32_be(bytes, 12);
        let creator_application = field::array(bytes, 28);
        let current_size = field::u64_be(bytes, 48);
        let geometry =
            Geometry { cylinders: field::u16_be(bytes, 56), heads: bytes[58], sectors: bytes[59] };
        let disk_type = field::u32_be(bytes, 60);

        if version >> 16 != VERSION >> 16 {
            return Err(VhdFault::Version { found: version });
        }
        let size = volume_size(creator_application, current_size, geometry)?;
        let disk_type = match disk_type {
            2 => DiskType::Fixed,
            3 => DiskType::Dynamic,
            4 => DiskType::Differencing,
            found => return Err(VhdFault::DiskType { found }),
        };
        let header_at = field::u64_be(bytes, 16);
        Ok(Self {
            header_at,
            size,
            current_size,
            creator: creator_application,
            disk_type,
            id: field::array(bytes, 68),
        })
    }

    /// Returns the footer's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; FOOTER_LEN] {
        let mut bytes = [0; FOOTER_LEN];
        let geometry = Geometry::of(self.size.strict_div(SECTOR_LEN));
        field::put_bytes(&mut bytes, 0, &COOKIE);
        field::put_u32_be(&mut bytes, 8, 2);
        field::put_u32_be(&mut bytes, 12, VERSION);
        field::put_u64_be(&mut bytes, 16, self.header_at);
        field::put_bytes(&mut bytes, 28, OURS);
        field::put_u32_be(&mut bytes, 32, VERSION);
        field::put_bytes(&mut bytes, 36, b"Wi2k");
        field::put_u64_be(&mut bytes, 40, self.size);
        field::put_u64_be(&mut bytes, 48, self.size);
        field::put_u16_be(&mut bytes, 56, geometry.cylinders);
        field::put_bytes(&mut bytes, 58, &[geometry.heads, geometry.sectors]);
        field::put_u32_be(&mut bytes, 60, self.disk_type.number());
        field::put_bytes(&mut bytes, 68, &self.id);
        let sum = checksum(&bytes, 64);
        field::put_u32_be(&mut bytes, 64, sum);
        bytes
    }
}

/// Returns the size of a volume, by who made the image.
///
/// Virtual PC and early versions of qemu-img show the guest the disk that the geometry describes;
/// all others show the size. The largest geometry stands for any size from there on.
fn volume_size(
    creator_application: [u8; 4],
    current_size: u64,
    geometry: Geometry,
) -> Result<u64, VhdFault> {
    let by_geometry = matches!(&creator_application, b"vpc " | b"qemu");
    let size = if by_geometry && geometry.sector_count() != MAX_GEOMETRY.sector_count() {
        // Cannot overflow: 2^32 sectors at most.
        geometry.sector_count().strict_mul(SECTOR_LEN)
    } else {
        current_size
    };
    if !size.is_multiple_of(SECTOR_LEN) {
        return Err(VhdFault::SizeUnit { found: size });
    }
    if size > MAX_SIZE {
        return Err(VhdFault::Size { found: size });
    }
    Ok(size)
}

/// The dynamic header, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Byte at which the block allocation table starts.
    pub table_at: u64,
    /// Entries of the table.
    pub entry_count: u32,
    /// Bytes of the volume in a block.
    pub block_len: u32,
    /// What a differencing image says of its parent.
    pub parent: Parent,
}

/// What a differencing image says of its parent; empty in others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parent {
    /// The parent's own id.
    pub id: [u8; 16],
    /// The parent's file name.
    pub name: String,
}

impl Header {
    /// Reads and checks the dynamic header.
    ///
    /// # Errors
    ///
    /// Names the first field, in file order but for cookie and checksum, that breaks the format.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, VhdFault> {
        check(bytes, HEADER_COOKIE, 36)?;
        let header_version = field::u32_be(bytes, 24);
        let block_size = field::u32_be(bytes, 32);

        if header_version >> 16 != VERSION >> 16 {
            return Err(VhdFault::Version { found: header_version });
        }
        if !block_size.is_power_of_two() || block_size < MIN_BLOCK_LEN {
            return Err(VhdFault::BlockSize { found: block_size });
        }
        let (units, _) = bytes[64..576].as_chunks::<2>();
        let units: Vec<u16> = units
            .iter()
            .map(|unit| u16::from_be_bytes(*unit))
            .take_while(|unit| *unit != 0)
            .collect();
        let name = String::from_utf16_lossy(&units);
        Ok(Self {
            table_at: field::u64_be(bytes, 16),
            entry_count: field::u32_be(bytes, 28),
            block_len: block_size,
            parent: Parent { id: field::array(bytes, 40), name },
        })
    }

    /// Returns the bytes of the header of a dynamic image: what it says of a parent is left out.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        field::put_bytes(&mut bytes, 0, &HEADER_COOKIE);
        field::put_u64_be(&mut bytes, 8, u64::MAX);
        field::put_u64_be(&mut bytes, 16, self.table_at);
        field::put_u32_be(&mut bytes, 24, VERSION);
        field::put_u32_be(&mut bytes, 28, self.entry_count);
        field::put_u32_be(&mut bytes, 32, self.block_len);
        let sum = checksum(&bytes, 36);
        field::put_u32_be(&mut bytes, 36, sum);
        bytes
    }
}

/// Returns the bytes of the bitmap before a block of `block_len` bytes: whole sectors.
#[must_use]
pub fn bitmap_len(block_len: u32) -> u64 {
    u64::from(block_len).div_ceil(SECTOR_LEN * 8).next_multiple_of(SECTOR_LEN)
}

/// Tells whether a bitmap has the bit of that sector set.
///
/// # Panics
///
/// If the bitmap is too short.
#[must_use]
pub fn is_present(bitmap: &[u8], sector: usize) -> bool {
    bitmap[sector.strict_div(8)] & (0x80 >> sector.strict_rem(8)) != 0
}

/// Checks a structure's cookie, and the checksum that stands at byte `at` of it.
fn check(bytes: &[u8], cookie: [u8; 8], at: usize) -> Result<(), VhdFault> {
    let found = field::array(bytes, 0);
    if found != cookie {
        return Err(VhdFault::Cookie { found, expected: cookie });
    }
    let (found, expected) = (field::u32_be(bytes, at), checksum(bytes, at));
    if found != expected {
        return Err(VhdFault::Checksum { found, expected });
    }
    Ok(())
}

/// Complement of the sum of all bytes but the four at `at`.
fn checksum(bytes: &[u8], at: usize) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    // Cannot overflow: 1,024 bytes at most, and the four are a part of them.
    !sum(bytes).strict_sub(sum(&bytes[at..at.strict_add(4)]))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const FOOTER: Footer = Footer::new(512, 10 << 20, DiskType::Dynamic, [7; 16]);

    fn header() -> Header {
        Header { table_at: 1536, entry_count: 5, block_len: 2 << 20, parent: Parent::default() }
    }

    /// Sets bytes and makes the checksum right again.
    fn changed<const N: usize>(
        mut bytes: [u8; N],
        sum_at: usize,
        at: usize,
        new: &[u8],
    ) -> [u8; N] {
        field::put_bytes(&mut bytes, at, new);
        let sum = checksum(&bytes, sum_at);
        field::put_u32_be(&mut bytes, sum_at, sum);
        bytes
    }

    #[test]
    fn footer_and_header_come_back() {
        assert_eq!(Footer::parse(&FOOTER.encode()), Ok(FOOTER));
        assert_eq!(Header::parse(&header().encode()), Ok(header()));
        let name: Vec<u8> = "base.vhd".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let child = changed(changed(header().encode(), 36, 40, &[9; 16]), 36, 64, &name);
        let parent = Parent { id: [9; 16], name: "base.vhd".into() };
        assert_eq!(Header::parse(&child).unwrap().parent, parent);
    }

    #[test]
    fn each_check_of_a_footer_is_tripped() {
        let bytes = FOOTER.encode();
        let fault = |at, new: &[u8]| Footer::parse(&changed(bytes, 64, at, new)).unwrap_err();
        assert_eq!(
            fault(0, b"Conectix"),
            VhdFault::Cookie { found: *b"Conectix", expected: COOKIE }
        );
        assert_eq!(fault(12, &[0, 2]), VhdFault::Version { found: 0x0002_0000 });
        assert_eq!(fault(60, &[0, 0, 0, 5]), VhdFault::DiskType { found: 5 });
        assert_eq!(fault(55, &[1]), VhdFault::SizeUnit { found: (10 << 20) + 1 });
        let large = MAX_SIZE + 512;
        assert_eq!(fault(48, &large.to_be_bytes()), VhdFault::Size { found: large });
        assert!(Footer::parse(&changed(bytes, 64, 48, &MAX_SIZE.to_be_bytes())).is_ok());
        for at in 8..FOOTER_LEN {
            let mut bytes = bytes;
            bytes[at] ^= 1;
            assert!(matches!(Footer::parse(&bytes), Err(VhdFault::Checksum { .. })), "byte {at}");
        }
        // A minor version says that nothing is in the way of an older reader.
        assert!(Footer::parse(&changed(bytes, 64, 14, &[1])).is_ok());
    }

    #[test]
    fn each_check_of_a_header_is_tripped() {
        let bytes = header().encode();
        let fault = |at, new: &[u8]| Header::parse(&changed(bytes, 36, at, new)).unwrap_err();
        assert!(matches!(fault(0, b"x"), VhdFault::Cookie { .. }));
        assert_eq!(fault(24, &[0, 2]), VhdFault::Version { found: 0x0002_0000 });
        for found in [0_u32, 512, 2048, 4097, (2 << 20) + 512] {
            assert_eq!(fault(32, &found.to_be_bytes()), VhdFault::BlockSize { found });
        }
        for at in 8..HEADER_LEN {
            let mut bytes = bytes;
            bytes[at] ^= 1;
            assert!(matches!(Header::parse(&bytes), Err(VhdFault::Checksum { .. })), "byte {at}");
        }
    }

    /// As qemu-img 10.0.2 has it for each creator.
    #[test]
    fn the_creator_says_where_the_size_stands() {
        let geometry = Geometry { cylinders: 39, heads: 32, sectors: 32 };
        for creator in [b"vpc ", b"qemu"] {
            assert_eq!(volume_size(*creator, 512, geometry), Ok(39 * 32 * 32 * 512));
            assert_eq!(volume_size(*creator, 1 << 30, MAX_GEOMETRY), Ok(1 << 30));
        }
        for creator in
            [b"qem2", b"win ", b"d2v ", b"tap\0", b"CTXS", b"wa\0\0", b"vbox", b"\0\0\0\0"]
        {
            assert_eq!(volume_size(*creator, 1024, geometry), Ok(1024));
        }
    }

    #[test]
    fn a_geometry_never_has_more_sectors_than_the_volume() {
        assert_eq!(Geometry::of(2040 << 21), MAX_GEOMETRY);
        let ten_mib = Geometry { cylinders: 301, heads: 4, sectors: 17 };
        assert_eq!(Geometry::of(10 << 11), ten_mib);
        let mut count = 1_u64;
        while count < 1 << 33 {
            for count in [count - 1, count, count + 1] {
                assert!(Geometry::of(count).sector_count() <= count, "{count}");
            }
            count = count * 5 / 4 + 1;
        }
    }

    #[test]
    fn a_bitmap_is_whole_sectors_and_its_first_bit_the_highest() {
        assert_eq!(bitmap_len(4096), 512);
        assert_eq!(bitmap_len(2 << 20), 512);
        assert_eq!(bitmap_len(4 << 20), 1024);
        assert_eq!(bitmap_len(1 << 31), 512 << 10);
        let bitmap = [0b1000_0001, 0b0100_0000];
        let set: Vec<_> = (0..16).filter(|sector| is_present(&bitmap, *sector)).collect();
        assert_eq!(set, [0, 7, 9]);
    }
}
