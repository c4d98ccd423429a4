//! What can be wrong with the partitions of a volume.

use std::fmt;

use crate::error::Fault;
use crate::error::Kind;

/// What is wrong inside a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestFault {
    /// A protective MBR announces a GPT, and there is none.
    NoGpt,
    /// The GPT is where sectors of another length would put it.
    GptSectors {
        /// That length, in bytes.
        found: u64,
    },
    /// A field of the GPT header is impossible.
    GptHeader {
        /// The field, as the specification names it.
        field: &'static str,
        /// Value found.
        found: u64,
    },
    /// A checksum of the GPT is wrong.
    GptChecksum {
        /// What is summed.
        of: &'static str,
        /// CRC-32 found.
        found: u32,
        /// CRC-32 that the header names.
        expected: u32,
    },
    /// The GPT's copy is not at the end of the volume.
    BackupPlace {
        /// Sector where the header says that it is.
        found: u64,
        /// Last sector of the volume.
        expected: u64,
    },
    /// The GPT's copy is not sound.
    Backup,
    /// A partition ends past the volume, or before it starts.
    PartitionRange {
        /// Its number.
        number: u32,
    },
    /// The chain of records in an extended partition is broken.
    ExtendedPartition {
        /// Byte of the volume where a record should be.
        at: u64,
    },
    /// The EFI system partition holds no FAT file system that can be read.
    Fat {
        /// What is wrong.
        what: &'static str,
    },
}

impl fmt::Display for GuestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGpt => f.write_str("the MBR announces a GPT, and sector 1 holds none"),
            Self::GptSectors { found } => write!(
                f,
                "the GPT is at byte {found}: it was made for sectors of {found} bytes, and EBS volumes have 512"
            ),
            Self::GptHeader { field, found } => {
                write!(f, "{field} of the GPT header is {found}, which is impossible")
            }
            Self::GptChecksum { of, found, expected } => write!(
                f,
                "the CRC-32 of the GPT's {of} is {found:#010x}, expected {expected:#010x}"
            ),
            Self::BackupPlace { found, expected } => write!(
                f,
                "the backup GPT is at sector {found}, expected the volume's last, {expected}"
            ),
            Self::Backup => f.write_str("the backup GPT at the end is damaged"),
            Self::PartitionRange { number } => {
                write!(f, "partition {number} is not inside the volume")
            }
            Self::ExtendedPartition { at } => {
                write!(
                    f,
                    "the extended partition has no partition record at byte {at}, expected one"
                )
            }
            Self::Fat { what } => write!(f, "EFI system partition: {what}"),
        }
    }
}

impl std::error::Error for GuestFault {}

impl Fault for GuestFault {
    fn kind(&self) -> Kind {
        Kind::Corrupt
    }
}
