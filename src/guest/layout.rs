//! What is found in a volume: its table, partitions and loaders.

use crate::error::Result;
use crate::guest::fault::GuestFault;
use crate::volume::ReadVolume;

/// Bytes of a sector: EBS volumes have no other.
pub const SECTOR_SIZE: u64 = 512;

/// What divides a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// Nothing: the volume is one file system, or nothing that is known.
    #[default]
    None,
    /// A master boot record.
    Mbr,
    /// A GUID partition table, with a protective master boot record or without.
    Gpt,
}

impl Table {
    /// Returns the name for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no partition table",
            Self::Mbr => "an MBR",
            Self::Gpt => "a GPT",
        }
    }
}

/// What a partition is for, as far as booting needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionKind {
    /// EFI system partition.
    Esp,
    /// BIOS boot partition: room for a boot loader's second part.
    BiosBoot,
    /// Anything else.
    Other,
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Number in its table, from 1.
    pub number: u32,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// What it is for.
    pub kind: PartitionKind,
}

/// Processor that an EFI program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Arm64,
    /// 32-bit x86.
    I386,
    /// Another one, by its number in the PE header.
    Other(u16),
}

/// A fallback loader of an EFI system partition: what a machine starts that knows no boot entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loader {
    /// Partition that it lies in.
    pub partition: u32,
    /// Its path.
    pub path: &'static str,
    /// Processor that its name is for.
    pub named_for: Machine,
    /// Processor that its content is for; `None` if it is not a PE program.
    pub machine: Option<Machine>,
}

/// What was found in a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// What divides the volume.
    pub table: Table,
    /// Whether sector 0 holds boot code: its first 440 bytes are not all zeros.
    pub has_boot_code: bool,
    /// The partitions, in the table's order.
    pub partitions: Vec<Partition>,
    /// Fallback loaders, of all EFI system partitions.
    pub loaders: Vec<Loader>,
    /// File system that starts at byte 0, where nothing divides the volume.
    pub file_system: Option<&'static str>,
    /// What is wrong with the partition table: the volume cannot be trusted to boot.
    pub faults: Vec<GuestFault>,
    /// What is wrong with the copy of a GPT at the volume's end.
    pub backup: Option<GuestFault>,
}

impl Layout {
    /// Tells whether a partition of this kind is there.
    #[must_use]
    pub fn has(&self, kind: PartitionKind) -> bool {
        self.partitions.iter().any(|it| it.kind == kind)
    }
}

/// Reads `len` bytes at `offset`; `None` if the volume ends before that.
pub(super) fn read(volume: &dyn ReadVolume, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
    if offset.checked_add(len).is_none_or(|end| end > volume.size()) {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(len).expect("a few sectors")];
    volume.read_at(offset, &mut bytes)?;
    Ok(Some(bytes))
}
