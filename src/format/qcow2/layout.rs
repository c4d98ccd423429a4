//! Bytes of qcow2 images, versions 2 and 3. Pure: no I/O, nothing allocated but a backing file's name.
//!
//! ```text
//! Header, big-endian like everything here:
//! offset size field                    meaning
//!      0    4 magic                    "QFI\xfb"
//!      4    4 version                  2 or 3
//!      8    8 backing_file_offset      where the backing file's name stands; 0 for none
//!     16    4 backing_file_size        bytes of that name, at most 1023
//!     20    4 cluster_bits             a cluster has 1 << cluster_bits bytes: 9 to 21
//!     24    8 size                     bytes of the volume, a multiple of 512
//!     32    4 crypt_method             0 for none; others are not supported
//!     36    4 l1_size                  entries of the L1 table
//!     40    8 l1_table_offset          where it starts: a multiple of a cluster
//!     48    8 refcount_table_offset    not looked at; we write it
//!     56    4 refcount_table_clusters  not looked at; we write it
//!     60    4 nb_snapshots             internal snapshots, at most 65536; they are not read
//!     64    8 snapshots_offset         not looked at; we write 0
//! Version 3 only:
//!     72    8 incompatible_features    bit 0 dirty, 1 corrupt, 2 external data file,
//!                                      3 compression_type is there, 4 extended L2 entries
//!     80    8 compatible_features      not looked at; we write 0
//!     88    8 autoclear_features       not looked at; we write 0
//!     96    4 refcount_order           a refcount has 1 << refcount_order bits: 0 to 6; we write 4
//!    100    4 header_length            bytes of this header: 104 or more, at most a cluster
//!    104    1 compression_type         0 deflate, 1 zstd; there if header_length is over 104
//!    105    7 padding                  0
//!
//! Header extensions, from header_length (72 in version 2) up to the backing file's name or the end
//! of the first cluster:
//!      0    4 magic                    0 ends them; 0xe2792aca is the backing file's format
//!      4    4 length                   bytes of the payload, which is padded to a multiple of 8
//!
//! L1 entry, one for each L2 table:
//!   bits 9-55  offset of the L2 table, a multiple of a cluster; 0 for none
//!   bit  63    the refcount of that table is 1; not looked at
//!
//! L2 entry, one for each cluster of the volume. Plain, if bit 62 is 0:
//!   bit  0     reads as zeros (version 3, not with extended entries)
//!   bits 9-55  offset of the cluster, a multiple of a cluster; 0 for none
//!   bit  63    the refcount of that cluster is 1; not looked at
//! Packed, if bit 62 is 1; x is 62 - (cluster_bits - 8):
//!   bits 0 to x-1  offset of the packed bytes, of any alignment
//!   bits x to 61   sectors of 512 bytes behind the one in which they start
//! An extended entry has 8 more bytes, two bits for each 32nd part of the cluster:
//!   bits 0-31   that part is stored; bits 32-63: that part reads as zeros
//! ```

use std::fmt;

use thiserror::Error;

use crate::compress::Codec;
use crate::error::Fault;
use crate::error::Kind;
use crate::field;

/// First four bytes of a file.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Bytes of the header that we write, and the most that are looked at.
pub const HEADER_LEN: usize = 112;

/// Bytes of a header of version 2.
const HEADER_LEN_V2: u32 = 72;

/// Least bytes of a header of version 3.
const HEADER_LEN_V3: u32 = 104;

/// Bits of the smallest and the largest cluster.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

/// Bits of the smallest cluster that can have extended entries: its parts are sectors.
const EXTENDED_CLUSTER_BITS: u32 = 14;

/// Bytes of a sector: what sizes and packed lengths count in.
pub const SECTOR_LEN: u64 = 512;

/// Most entries of an L1 table: 32 MiB of them, as in QEMU.
pub const MAX_L1_ENTRIES: u32 = 4 << 20;

/// Most bytes of all L2 tables together: they tell 16 TiB of stored clusters of 64 KiB, and take
/// about a second to walk. A sparse file can claim as many tables as it likes.
pub const MAX_TABLES_LEN: u64 = 2 << 30;

/// Most internal snapshots, as in QEMU.
const MAX_SNAPSHOTS: u32 = 65_536;

/// Most bytes of a backing file's name, as in QEMU.
const MAX_NAME_LEN: u32 = 1023;

/// Magic of the header extension that names the backing file's format.
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// Most bytes of that format's name, as in QEMU.
const MAX_FORMAT_LEN: u32 = 15;

const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN: u64 = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2;

const COPIED: u64 = 1 << 63;
const PACKED: u64 = 1 << 62;
const ZERO: u64 = 1;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// What is wrong with a qcow2 image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Qcow2Fault {
    /// The file ends inside its header.
    #[error("the file has {len} bytes, expected a header of {expected}")]
    HeaderCut {
        /// Bytes of the file.
        len: u64,
        /// Bytes of the header.
        expected: u32,
    },
    /// The first four bytes are not the magic number.
    #[error(
        "magic is {found:#010x}, expected {expected:#010x}",
        expected = u32::from_be_bytes(MAGIC)
    )]
    Magic {
        /// Value found.
        found: u32,
    },
    /// The version is neither 2 nor 3.
    #[error("version is {found}, expected 2 or 3")]
    Version {
        /// Value found.
        found: u32,
    },
    /// A cluster is smaller or larger than the format has it.
    #[error(
        "cluster bits are {found}, expected {least} to {most}",
        least = CLUSTER_BITS.start(), most = CLUSTER_BITS.end()
    )]
    ClusterBits {
        /// Value found.
        found: u32,
    },
    /// The volume has a part of a sector, which its makers' tools cut off.
    #[error(
        "volume size is {found} bytes, expected a multiple of {sector_len}",
        sector_len = SECTOR_LEN
    )]
    Size {
        /// Value found, in bytes.
        found: u64,
    },
    /// The image is encrypted.
    #[error("encryption method is {method}, expected 0: no encryption")]
    Encrypted {
        /// Value found.
        method: u32,
    },
    /// There are more internal snapshots than any image has.
    #[error(
        "snapshot count is {found}, expected at most {max_snapshots}",
        max_snapshots = MAX_SNAPSHOTS
    )]
    Snapshots {
        /// Value found.
        found: u32,
    },
    /// The data stands in another file.
    #[error("incompatible bit 2 (external data file) is set, expected the data in the image")]
    DataFile,
    /// An incompatible feature that nobody knows.
    #[error("incompatible bits are {found:#x}, expected none beyond {known:#x}", known = KNOWN)]
    Features {
        /// The unknown bits.
        found: u64,
    },
    /// The image was not closed.
    #[error("incompatible bit 0 (dirty) is set, expected a clean image")]
    Dirty,
    /// QEMU found the image damaged.
    #[error("incompatible bit 1 (corrupt) is set, expected a sound image")]
    MarkedCorrupt,
    /// The header is shorter than its fields or longer than a cluster.
    #[error(
        "header length is {found} bytes, expected {header_len_v3} to {cluster_len}",
        header_len_v3 = HEADER_LEN_V3
    )]
    HeaderLen {
        /// Value found, in bytes.
        found: u32,
        /// Bytes of a cluster.
        cluster_len: u64,
    },
    /// A refcount has more than 64 bits.
    #[error("refcount order is {found}, expected at most 6")]
    RefcountOrder {
        /// Value found.
        found: u32,
    },
    /// The codec is unknown.
    #[error("compression type is {found}, expected 0 (deflate) or 1 (zstd)")]
    Compression {
        /// Value found.
        found: u8,
    },
    /// The codec and the bit that says whether one is named disagree.
    #[error(
        "compression type is {found} and incompatible bit 3 {is}, expected type {expected}",
        is = if *.bit { "set" } else { "not set" }, expected = if *.bit { "not 0" } else { "0" }
    )]
    CompressionBit {
        /// Codec that is named.
        found: u8,
        /// Whether bit 3 is set.
        bit: bool,
    },
    /// Extended entries of clusters that cannot be cut into 32 parts of whole sectors.
    #[error(
        "cluster bits are {found}, expected at least {extended_cluster_bits} with extended \
         L2 entries",
        extended_cluster_bits = EXTENDED_CLUSTER_BITS
    )]
    ExtendedClusterBits {
        /// Value found.
        found: u32,
    },
    /// The backing file's name does not stand between the header and the end of its cluster.
    #[error(
        "the backing file's name is {len} bytes from byte {start} on, expected it between \
         the header and the end of the first cluster"
    )]
    BackingPlace {
        /// Byte at which it starts.
        start: u64,
        /// Bytes that it has.
        len: u32,
    },
    /// The backing file's name is too long.
    #[error(
        "the backing file's name has {found} bytes, expected at most {max_name_len}",
        max_name_len = MAX_NAME_LEN
    )]
    BackingLen {
        /// Value found, in bytes.
        found: u32,
    },
    /// The name of the backing file or its format is not text.
    #[error("the name of the backing file or its format is not UTF-8")]
    BackingText,
    /// A header extension passes the end of the extensions.
    #[error("a header extension has {found} bytes, expected at most {expected}")]
    ExtensionLen {
        /// Value found, in bytes.
        found: u32,
        /// Bytes that are left.
        expected: u64,
    },
    /// The name of the backing file's format is too long.
    #[error(
        "the backing file's format has a name of {found} bytes, expected at most \
         {max_format_len}",
        max_format_len = MAX_FORMAT_LEN
    )]
    FormatLen {
        /// Value found, in bytes.
        found: u32,
    },
    /// The backing file is in a format other than raw and qcow2.
    #[error("the backing file is in another format, expected raw or qcow2")]
    BackingFormat,
    /// Nothing says what format the backing file is in.
    #[error(
        "the image does not name the format of its backing file, which has no magic number, \
         expected a name"
    )]
    BackingUnknown,
    /// The backing file lies above itself.
    #[error("the backing file is already in the chain, expected another file")]
    BackingLoop,
    /// The L1 table has too many entries.
    #[error(
        "the L1 table has {found} entries, expected at most {max_l1_entries}",
        max_l1_entries = MAX_L1_ENTRIES
    )]
    L1Len {
        /// Value found, in entries.
        found: u32,
    },
    /// The L1 table has too few entries for the volume.
    #[error("the L1 table has {found} entries, expected {expected} for the volume")]
    L1Short {
        /// Value found, in entries.
        found: u32,
        /// Entries that the volume needs.
        expected: u64,
    },
    /// A table or cluster does not start at a multiple of a cluster.
    #[error("{what} starts at byte {start}, expected a multiple of {cluster_len}")]
    Unaligned {
        /// What it is.
        what: What,
        /// Byte at which it starts.
        start: u64,
        /// Bytes of a cluster.
        cluster_len: u64,
    },
    /// A table or cluster is not all in the file.
    #[error("{}", outside(*.what, *.end, *.len))]
    Outside {
        /// What it is.
        what: What,
        /// Byte at which it ends, or for packed bytes starts.
        end: u64,
        /// Bytes of the file.
        len: u64,
    },
    /// Two L1 entries name one L2 table.
    #[error("two L1 entries name the L2 table at byte {start}, expected one")]
    Shared {
        /// Byte at which the table starts.
        start: u64,
    },
    /// The L2 tables are too long together.
    #[error(
        "the L2 tables have {found} bytes, expected at most {max_tables_len}",
        max_tables_len = MAX_TABLES_LEN
    )]
    TablesLen {
        /// Bytes of them.
        found: u64,
    },
    /// A zero cluster in version 2.
    #[error("a cluster of an image of version 2 is a zero cluster, expected version 3")]
    EarlyZero,
    /// A part of a cluster is stored and zero at once, or stored in a cluster that is not.
    #[error("the parts of a cluster are {found:#018x}, expected each stored, zero or neither")]
    Parts {
        /// The bits of the 32 parts.
        found: u64,
    },
    /// Too many runs for the memory that a map may take.
    #[error("the clusters make over {limit} runs, the limit", limit = crate::volume::MAX_RUNS)]
    Runs,
}

/// What a number of an image points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The L1 table.
    L1,
    /// An L2 table.
    L2,
    /// A cluster of the volume.
    Cluster,
    /// The packed bytes of a cluster of the volume.
    Packed,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L1 => "the L1 table",
            Self::L2 => "an L2 table",
            Self::Cluster => "a cluster",
            Self::Packed => "a compressed cluster",
        })
    }
}

/// Says where something ends that is not all in the file, or where it starts.
fn outside(what: What, end: u64, len: u64) -> String {
    match what {
        What::Packed => format!("{what} starts at byte {end}, expected it below {len}"),
        what => format!("{what} ends at byte {end}, expected at most {len}, the end of the file"),
    }
}

impl Fault for Qcow2Fault {
    fn kind(&self) -> Kind {
        match self {
            Self::Version { .. }
            | Self::Size { .. }
            | Self::Encrypted { .. }
            | Self::DataFile
            | Self::Features { .. }
            | Self::Dirty
            | Self::Compression { .. }
            | Self::BackingFormat
            | Self::BackingUnknown => Kind::Unsupported,
            Self::Snapshots { .. } | Self::L1Len { .. } | Self::TablesLen { .. } | Self::Runs => {
                Kind::Limit
            }
            _ => Kind::Corrupt,
        }
    }
}

/// The header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// Binary logarithm of a cluster's bytes.
    pub cluster_bits: u32,
    /// Bytes of the volume; not checked against the largest volume.
    pub size: u64,
    /// Entries of the L1 table, as many as the volume needs or more.
    pub l1_entries: u32,
    /// Byte at which it starts.
    pub l1_offset: u64,
    /// Byte at which the refcount table starts; not checked.
    pub refcount_offset: u64,
    /// Clusters of it; not checked.
    pub refcount_clusters: u32,
    /// Whether the image was not closed: its refcounts may be wrong.
    pub dirty: bool,
    /// Whether QEMU found it damaged.
    pub corrupt: bool,
    /// Whether entries tell parts of clusters.
    pub extended: bool,
    /// How clusters are packed: deflate or zstd.
    pub codec: Codec,
    /// Bytes of the header.
    pub header_len: u32,
    /// Where the backing file's name stands: its first byte and its length, which is not 0.
    pub backing: Option<(u64, u32)>,
}

impl Header {
    /// Reads and checks the header; `bytes` are the first [`HEADER_LEN`] of the file, or all of it.
    ///
    /// # Errors
    ///
    /// The offset of the field that breaks the format, and how.
    pub fn parse(bytes: &[u8]) -> Result<Self, (u64, Qcow2Fault)> {
        let len = u64::try_from(bytes.len()).expect("at most HEADER_LEN");
        let cut = |expected| (0, Qcow2Fault::HeaderCut { len, expected });
        if let Some(magic) = bytes.first_chunk()
            && *magic != MAGIC
        {
            return Err((0, Qcow2Fault::Magic { found: u32::from_be_bytes(*magic) }));
        }
        if len < u64::from(HEADER_LEN_V2) {
            return Err(cut(HEADER_LEN_V2));
        }
        let version = field::u32_be(bytes, 4);
        let cluster_bits = field::u32_be(bytes, 20);
        let size = field::u64_be(bytes, 24);
        let crypt_method = field::u32_be(bytes, 32);
        let nb_snapshots = field::u32_be(bytes, 60);
        if !(2..=3).contains(&version) {
            return Err((4, Qcow2Fault::Version { found: version }));
        }
        if !CLUSTER_BITS.contains(&cluster_bits) {
            return Err((20, Qcow2Fault::ClusterBits { found: cluster_bits }));
        }
        if !size.is_multiple_of(SECTOR_LEN) {
            return Err((24, Qcow2Fault::Size { found: size }));
        }
        if crypt_method != 0 {
            return Err((32, Qcow2Fault::Encrypted { method: crypt_method }));
        }
        if nb_snapshots > MAX_SNAPSHOTS {
            return Err((60, Qcow2Fault::Snapshots { found: nb_snapshots }));
        }
        let mut header = Self {
            version,
            cluster_bits,
            size,
            l1_entries: field::u32_be(bytes, 36),
            l1_offset: field::u64_be(bytes, 40),
            refcount_offset: field::u64_be(bytes, 48),
            refcount_clusters: field::u32_be(bytes, 56),
            dirty: false,
            corrupt: false,
            extended: false,
            codec: Codec::Deflate,
            header_len: HEADER_LEN_V2,
            backing: None,
        };
        if version == 3 {
            if len < u64::from(HEADER_LEN_V3) {
                return Err(cut(HEADER_LEN_V3));
            }
            header.parse_v3(bytes)?;
        }
        header.check_l1()?;
        let backing_file_offset = field::u64_be(bytes, 8);
        let backing_file_size = field::u32_be(bytes, 16);
        header.check_backing(backing_file_offset, backing_file_size)?;
        Ok(header)
    }

    fn parse_v3(&mut self, bytes: &[u8]) -> Result<(), (u64, Qcow2Fault)> {
        let incompatible_features = field::u64_be(bytes, 72);
        let refcount_order = field::u32_be(bytes, 96);
        let header_length = field::u32_be(bytes, 100);

        let has = |bit| incompatible_features & bit != 0;
        let unknown = incompatible_features & !KNOWN;
        if unknown != 0 {
            return Err((72, Qcow2Fault::Features { found: unknown }));
        }
        if has(DATA_FILE) {
            return Err((72, Qcow2Fault::DataFile));
        }
        if refcount_order > 6 {
            return Err((96, Qcow2Fault::RefcountOrder { found: refcount_order }));
        }
        let cluster_len = self.cluster_len();
        if header_length < HEADER_LEN_V3 || u64::from(header_length) > cluster_len {
            return Err((100, Qcow2Fault::HeaderLen { found: header_length, cluster_len }));
        }
        let compression_type = if header_length > HEADER_LEN_V3 {
            let len = u64::try_from(bytes.len()).expect("at most HEADER_LEN");
            let expected = HEADER_LEN_V3.strict_add(1);
            *bytes.get(104).ok_or((0, Qcow2Fault::HeaderCut { len, expected }))?
        } else {
            0
        };
        self.codec = match compression_type {
            0 => Codec::Deflate,
            1 => Codec::Zstd,
            found => return Err((104, Qcow2Fault::Compression { found })),
        };
        let bit = has(COMPRESSION);
        if bit != (compression_type != 0) {
            return Err((104, Qcow2Fault::CompressionBit { found: compression_type, bit }));
        }
        self.extended = has(EXTENDED_L2);
        if self.extended && self.cluster_bits < EXTENDED_CLUSTER_BITS {
            return Err((20, Qcow2Fault::ExtendedClusterBits { found: self.cluster_bits }));
        }
        self.dirty = has(DIRTY);
        self.corrupt = has(CORRUPT);
        self.header_len = header_length;
        Ok(())
    }

    fn check_l1(&self) -> Result<(), (u64, Qcow2Fault)> {
        let (found, expected) = (self.l1_entries, self.l1_needed());
        if found > MAX_L1_ENTRIES {
            return Err((36, Qcow2Fault::L1Len { found }));
        }
        if u64::from(found) < expected {
            return Err((36, Qcow2Fault::L1Short { found, expected }));
        }
        self.check_aligned(What::L1, self.l1_offset).map_err(|fault| (40, fault))
    }

    fn check_backing(&mut self, start: u64, len: u32) -> Result<(), (u64, Qcow2Fault)> {
        // A name of no bytes is none, as QEMU has it.
        if start == 0 || len == 0 {
            return Ok(());
        }
        if len > MAX_NAME_LEN {
            return Err((16, Qcow2Fault::BackingLen { found: len }));
        }
        let end = start.checked_add(len.into());
        if start < u64::from(self.header_len) || end.is_none_or(|end| end > self.cluster_len()) {
            return Err((8, Qcow2Fault::BackingPlace { start, len }));
        }
        self.backing = Some((start, len));
        Ok(())
    }

    /// Returns the bytes of a cluster.
    #[must_use]
    pub fn cluster_len(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Returns the bytes of an L2 entry.
    #[must_use]
    pub fn entry_len(&self) -> usize {
        if self.extended { 16 } else { 8 }
    }

    /// Returns the bytes of the volume that an L2 table tells.
    #[must_use]
    pub fn table_span(&self) -> u64 {
        // Cannot overflow: at most 2^18 entries for clusters of 2^21 bytes.
        let entry_len = u64::try_from(self.entry_len()).expect("8 or 16");
        self.cluster_len().strict_div(entry_len).strict_mul(self.cluster_len())
    }

    /// Returns the L1 entries that the volume needs.
    #[must_use]
    pub fn l1_needed(&self) -> u64 {
        self.size.div_ceil(self.table_span())
    }

    /// Checks that a table or cluster starts where one can.
    ///
    /// # Errors
    ///
    /// [`Qcow2Fault::Unaligned`].
    pub fn check_aligned(&self, what: What, start: u64) -> Result<(), Qcow2Fault> {
        let cluster_len = self.cluster_len();
        if start.is_multiple_of(cluster_len) {
            return Ok(());
        }
        Err(Qcow2Fault::Unaligned { what, start, cluster_len })
    }

    /// Reads an L1 entry: the byte at which the L2 table starts, or `None` without one.
    ///
    /// # Errors
    ///
    /// [`Qcow2Fault::Unaligned`].
    pub fn l1_entry(&self, word: u64) -> Result<Option<u64>, Qcow2Fault> {
        let start = word & OFFSET;
        self.check_aligned(What::L2, start)?;
        Ok((start != 0).then_some(start))
    }

    /// Reads an L2 entry; `parts` are the second 8 bytes of an extended one.
    ///
    /// # Errors
    ///
    /// [`Qcow2Fault::Unaligned`], [`Qcow2Fault::EarlyZero`], [`Qcow2Fault::Parts`].
    pub fn l2_entry(&self, word: u64, parts: u64) -> Result<Entry, Qcow2Fault> {
        if word & PACKED != 0 {
            let shift = 70_u32.strict_sub(self.cluster_bits);
            let word = word & !(PACKED | COPIED);
            let offset = word & 1_u64.strict_shl(shift).strict_sub(1);
            // At most 13 bits: 4 MiB.
            let sectors = word.strict_shr(shift).strict_add(1);
            let len = sectors.strict_mul(SECTOR_LEN).strict_sub(offset % SECTOR_LEN);
            let len = u32::try_from(len).expect("at most 4 MiB");
            return Ok(Entry::Packed { offset, len });
        }
        let offset = word & OFFSET;
        self.check_aligned(What::Cluster, offset)?;
        if !self.extended && word & ZERO != 0 {
            // A zero cluster may have a place of its own, whose bytes nobody reads.
            return if self.version == 2 { Err(Qcow2Fault::EarlyZero) } else { Ok(Entry::Zero) };
        }
        if !self.extended {
            return Ok(if offset == 0 { Entry::Unallocated } else { Entry::Stored { offset } });
        }
        let (zero, stored) = (parts.strict_shr(32), parts & 0xffff_ffff);
        if zero & stored != 0 || (offset == 0 && stored != 0) {
            return Err(Qcow2Fault::Parts { found: parts });
        }
        Ok(match (zero, stored) {
            (0, 0) => Entry::Unallocated,
            (0xffff_ffff, 0) => Entry::Zero,
            (0, 0xffff_ffff) => Entry::Stored { offset },
            _ => Entry::Parts { offset, parts },
        })
    }

    /// Returns the bytes of a header of version 3, with no extension behind it and no backing file.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        field::put_bytes(&mut bytes, 0, &MAGIC);
        field::put_u32_be(&mut bytes, 4, 3);
        field::put_u32_be(&mut bytes, 20, self.cluster_bits);
        field::put_u64_be(&mut bytes, 24, self.size);
        field::put_u32_be(&mut bytes, 36, self.l1_entries);
        field::put_u64_be(&mut bytes, 40, self.l1_offset);
        field::put_u64_be(&mut bytes, 48, self.refcount_offset);
        field::put_u32_be(&mut bytes, 56, self.refcount_clusters);
        let zstd = self.codec == Codec::Zstd;
        field::put_u64_be(&mut bytes, 72, if zstd { COMPRESSION } else { 0 });
        field::put_u32_be(&mut bytes, 96, 4);
        field::put_u32_be(&mut bytes, 100, 112);
        bytes[104] = u8::from(zstd);
        bytes
    }
}

/// What an L2 entry says of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing is stored here; the backing file's bytes, or zeros.
    Unallocated,
    /// Zeros.
    Zero,
    /// Stored from that byte on.
    Stored {
        /// A multiple of a cluster, not 0.
        offset: u64,
    },
    /// Packed.
    Packed {
        /// Byte at which the packed bytes start.
        offset: u64,
        /// Bytes up to the end of their last sector.
        len: u32,
    },
    /// Its 32 parts differ.
    Parts {
        /// Byte at which the cluster is stored; 0 if no part is.
        offset: u64,
        /// Low 32 bits: stored; high 32 bits: zero.
        parts: u64,
    },
}

/// Returns the L1 or L2 entry of a table or cluster at `offset` that is named once.
#[must_use]
pub fn encode_stored(offset: u64) -> u64 {
    offset | COPIED
}

/// The L2 entry of a zero cluster.
pub const ZERO_ENTRY: u64 = ZERO;

/// Returns the L2 entry of the `len` packed bytes at `offset`.
///
/// # Panics
///
/// If they are more than a cluster, or none.
#[must_use]
pub fn encode_packed(offset: u64, len: u64, cluster_bits: u32) -> u64 {
    assert!((1..=1_u64.strict_shl(cluster_bits)).contains(&len), "{len} packed bytes");
    let last = offset.strict_add(len).strict_sub(1);
    let sectors = last.strict_div(SECTOR_LEN).strict_sub(offset.strict_div(SECTOR_LEN));
    offset | sectors.strict_shl(70_u32.strict_sub(cluster_bits)) | PACKED
}

/// Finds the name of the backing file's format among the header extensions. `bytes` start where
/// they do and end where they must.
///
/// # Errors
///
/// The offset in `bytes` of the extension that breaks the format, and how.
pub fn backing_format(bytes: &[u8]) -> Result<Option<&str>, (u64, Qcow2Fault)> {
    let mut at = 0_usize;
    let mut found = None;
    while let Some(head) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let (magic, length) = (field::u32_be(head, 0), field::u32_be(head, 4));
        if magic == 0 {
            break;
        }
        let offset = u64::try_from(at).expect("inside a cluster");
        let fail = |fault| (offset, fault);
        let start = at.strict_add(8);
        let rest = &bytes[start..];
        let payload = usize::try_from(length).ok().and_then(|len| rest.get(..len));
        let Some(payload) = payload else {
            let expected = u64::try_from(rest.len()).expect("inside a cluster");
            return Err(fail(Qcow2Fault::ExtensionLen { found: length, expected }));
        };
        if magic == BACKING_FORMAT {
            if length > MAX_FORMAT_LEN {
                return Err(fail(Qcow2Fault::FormatLen { found: length }));
            }
            found = Some(std::str::from_utf8(payload).map_err(|_| fail(Qcow2Fault::BackingText))?);
        }
        // Cannot overflow: inside a cluster, and 8 bytes more.
        at = start.strict_add(payload.len().next_multiple_of(8));
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// A sound header: 1 GiB in clusters of 64 KiB.
    const SOUND: Header = Header {
        version: 3,
        cluster_bits: 16,
        size: 1 << 30,
        l1_entries: 2,
        l1_offset: 3 << 16,
        refcount_offset: 1 << 16,
        refcount_clusters: 1,
        dirty: false,
        corrupt: false,
        extended: false,
        codec: Codec::Zstd,
        header_len: 112,
        backing: None,
    };

    /// Parses `SOUND` with the bytes at `at` changed.
    fn changed(at: usize, bytes: &[u8]) -> Result<Header, (u64, Qcow2Fault)> {
        let mut header = SOUND.encode();
        header[at..][..bytes.len()].copy_from_slice(bytes);
        Header::parse(&header)
    }

    #[test]
    fn a_header_comes_back() {
        for codec in [Codec::Deflate, Codec::Zstd] {
            let header = Header { codec, ..SOUND };
            assert_eq!(Header::parse(&header.encode()), Ok(header));
        }
        assert_eq!(SOUND.table_span(), 512 << 20);
        let version_2 = changed(4, &[0, 0, 0, 2]).unwrap();
        let expected = Header { version: 2, codec: Codec::Deflate, header_len: 72, ..SOUND };
        assert_eq!(version_2, expected);
        // A table of extended entries tells half as much.
        let mut flags = Header { l1_entries: 4, ..SOUND }.encode();
        field::put_u64_be(&mut flags, 72, KNOWN & !DATA_FILE);
        let flags = Header::parse(&flags).unwrap();
        assert!(flags.dirty && flags.corrupt && flags.extended);
    }

    /// Each check of the header, tripped by one changed field.
    #[test]
    fn a_broken_header_names_the_field() {
        let cases: &[(usize, &[u8], u64, Qcow2Fault)] = &[
            (0, b"X", 0, Qcow2Fault::Magic { found: 0x5846_49fb }),
            (7, &[1], 4, Qcow2Fault::Version { found: 1 }),
            (7, &[4], 4, Qcow2Fault::Version { found: 4 }),
            (23, &[8], 20, Qcow2Fault::ClusterBits { found: 8 }),
            (23, &[22], 20, Qcow2Fault::ClusterBits { found: 22 }),
            (31, &[1], 24, Qcow2Fault::Size { found: (1 << 30) + 1 }),
            (35, &[2], 32, Qcow2Fault::Encrypted { method: 2 }),
            (36, &[0, 64, 0, 1], 36, Qcow2Fault::L1Len { found: MAX_L1_ENTRIES + 1 }),
            (39, &[1], 36, Qcow2Fault::L1Short { found: 1, expected: 2 }),
            (
                47,
                &[1],
                40,
                Qcow2Fault::Unaligned {
                    what: What::L1,
                    start: (3 << 16) + 1,
                    cluster_len: 1 << 16,
                },
            ),
            (60, &[0, 1, 0, 1], 60, Qcow2Fault::Snapshots { found: 65_537 }),
            (79, &[0x0c], 72, Qcow2Fault::DataFile),
            (79, &[0x28], 72, Qcow2Fault::Features { found: 0x20 }),
            (72, &[0x80], 72, Qcow2Fault::Features { found: 1 << 63 }),
            (99, &[7], 96, Qcow2Fault::RefcountOrder { found: 7 }),
            (103, &[103], 100, Qcow2Fault::HeaderLen { found: 103, cluster_len: 1 << 16 }),
            (100, &[0, 1, 0, 1], 100, Qcow2Fault::HeaderLen { found: 65_537, cluster_len: 65_536 }),
            (104, &[2], 104, Qcow2Fault::Compression { found: 2 }),
            (104, &[0], 104, Qcow2Fault::CompressionBit { found: 0, bit: true }),
            (79, &[0], 104, Qcow2Fault::CompressionBit { found: 1, bit: false }),
            // A header that ends before the field has type 0.
            (103, &[104], 104, Qcow2Fault::CompressionBit { found: 0, bit: true }),
        ];
        for &(at, bytes, offset, fault) in cases {
            assert_eq!(changed(at, bytes), Err((offset, fault)), "byte {at}");
        }
        let mut small = Header { cluster_bits: 13, l1_entries: 200, ..SOUND }.encode();
        small[79] |= 0x10;
        let fault = Qcow2Fault::ExtendedClusterBits { found: 13 };
        assert_eq!(Header::parse(&small), Err((20, fault)));
        let whole = SOUND.encode();
        for len in 0..whole.len() {
            let cut = |expected| {
                let len = len.try_into().unwrap();
                Err((0, Qcow2Fault::HeaderCut { len, expected }))
            };
            let expected = match len {
                0..72 => cut(72),
                72..104 => cut(104),
                104 => cut(105),
                _ => Ok(SOUND),
            };
            assert_eq!(Header::parse(&whole[..len]), expected, "{len} bytes");
        }
    }

    #[test]
    fn a_backing_name_stands_behind_the_header_in_its_cluster() {
        let with = |start: u64, len: u32| {
            let mut bytes = SOUND.encode();
            field::put_u64_be(&mut bytes, 8, start);
            field::put_u32_be(&mut bytes, 16, len);
            Header::parse(&bytes).map(|header| header.backing)
        };
        assert_eq!(with(0, 7), Ok(None));
        assert_eq!(with(112, 0), Ok(None));
        assert_eq!(with(112, 7), Ok(Some((112, 7))));
        assert_eq!(with(65_536 - 7, 7), Ok(Some((65_536 - 7, 7))));
        for (start, len) in [(111, 7), (65_536 - 6, 7), (u64::MAX, 1)] {
            let fault = Qcow2Fault::BackingPlace { start, len };
            assert_eq!(with(start, len), Err((8, fault)));
        }
        assert_eq!(with(112, 1024), Err((16, Qcow2Fault::BackingLen { found: 1024 })));
    }

    #[test]
    fn an_entry_says_what_its_cluster_is() {
        let plain = |word| SOUND.l2_entry(word, 0);
        assert_eq!(plain(0), Ok(Entry::Unallocated));
        assert_eq!(plain(ZERO_ENTRY), Ok(Entry::Zero));
        assert_eq!(plain(0x50001), Ok(Entry::Zero));
        assert!(plain(0x50201).is_err());
        assert_eq!(plain(encode_stored(0x50000)), Ok(Entry::Stored { offset: 0x50000 }));
        let what = What::Cluster;
        let unaligned = Qcow2Fault::Unaligned { what, start: 0x50200, cluster_len: 0x10000 };
        assert_eq!(plain(0x50200), Err(unaligned));
        let early = Header { version: 2, ..SOUND };
        assert_eq!(early.l2_entry(1, 0), Err(Qcow2Fault::EarlyZero));
        assert_eq!(SOUND.l1_entry(0), Ok(None));
        assert_eq!(SOUND.l1_entry(encode_stored(0x50000)), Ok(Some(0x50000)));
        assert!(SOUND.l1_entry(0x50200).is_err());
    }

    #[test]
    fn a_packed_entry_counts_up_to_the_end_of_its_last_sector() {
        for cluster_bits in CLUSTER_BITS {
            let header = Header { cluster_bits, l1_entries: MAX_L1_ENTRIES, ..SOUND };
            let cluster = 1 << cluster_bits;
            for offset in [512, 1000, 1023, (1 << 40) + 77] {
                for len in [1, 2, 24, 25, 511, 512, 511 + cluster / 2, cluster] {
                    let entry = encode_packed(offset, len.min(cluster), cluster_bits);
                    let end = (offset + len.min(cluster)).next_multiple_of(512);
                    let len = u32::try_from(end - offset).unwrap();
                    assert_eq!(header.l2_entry(entry, 0), Ok(Entry::Packed { offset, len }));
                }
            }
            // All bits set: the largest numbers of all.
            assert!(matches!(header.l2_entry(u64::MAX, 0), Ok(Entry::Packed { .. })));
        }
    }

    #[test]
    fn parts_are_stored_or_zero_or_neither() {
        let header = Header { extended: true, ..SOUND };
        let entry = |offset, parts| header.l2_entry(offset, parts);
        let all = 0xffff_ffff;
        assert_eq!(entry(0, 0), Ok(Entry::Unallocated));
        assert_eq!(entry(0x50000, 0), Ok(Entry::Unallocated));
        assert_eq!(entry(0, all << 32), Ok(Entry::Zero));
        assert_eq!(entry(0x50000, all), Ok(Entry::Stored { offset: 0x50000 }));
        let some = 0x2_0000_0001;
        assert_eq!(entry(0x50000, some), Ok(Entry::Parts { offset: 0x50000, parts: some }));
        assert_eq!(entry(0, 1), Err(Qcow2Fault::Parts { found: 1 }));
        assert_eq!(entry(0x50000, 1 << 32 | 1), Err(Qcow2Fault::Parts { found: 1 << 32 | 1 }));
        // Bit 0 of the entry is not a zero flag here, and breaks nothing.
        assert_eq!(entry(0x50001, 0), Ok(Entry::Unallocated));
    }

    #[test]
    fn extensions_are_walked_to_their_end() {
        let extension = |magic: u32, payload: &[u8]| {
            let mut bytes = magic.to_be_bytes().to_vec();
            bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
            bytes.extend(payload);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes
        };
        let other = extension(7, b"abc");
        let format = extension(BACKING_FORMAT, b"qcow2");
        let end = extension(0, b"");
        assert_eq!(backing_format(&[]), Ok(None));
        assert_eq!(backing_format(&other), Ok(None));
        assert_eq!(backing_format(&[&other[..], &format].concat()), Ok(Some("qcow2")));
        assert_eq!(backing_format(&[&other[..], &end, &format].concat()), Ok(None));
        // The padding of the last one may be missing, and less than a head is none.
        assert_eq!(backing_format(&[&other[..], &format[..13]].concat()), Ok(Some("qcow2")));
        assert_eq!(backing_format(&format[..7]), Ok(None));
        let long = Qcow2Fault::ExtensionLen { found: 5, expected: 4 };
        assert_eq!(backing_format(&[&other[..], &format[..12]].concat()), Err((16, long)));
        let huge = [&7_u32.to_be_bytes()[..], &[0xff; 4]].concat();
        let fault = Qcow2Fault::ExtensionLen { found: u32::MAX, expected: 0 };
        assert_eq!(backing_format(&huge), Err((0, fault)));
        let name = extension(BACKING_FORMAT, &[b'a'; 16]);
        assert_eq!(backing_format(&name), Err((0, Qcow2Fault::FormatLen { found: 16 })));
        let name = extension(BACKING_FORMAT, &[0xff; 4]);
        assert_eq!(backing_format(&name), Err((0, Qcow2Fault::BackingText)));
    }
}
