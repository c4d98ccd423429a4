//! What is found in a volume: its table, partitions and loaders.

use std::ops::Range;

use crate::error::Result;
use crate::field;
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
    /// What its table says of it beside that.
    pub identity: Identity,
}

/// What a table says of a partition, beside its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Type GUID as it is stored; of an MBR the type alone, in the first byte.
    pub type_id: [u8; 16],
    /// GUID of the partition as it is stored; of an MBR the disk's signature, in the first four bytes.
    pub id: [u8; 16],
    /// Attribute bits of a GPT.
    pub attributes: u64,
    /// Name in a GPT.
    pub label: Label,
}

/// Name of a partition in a GPT, as it is stored: UTF-16 up to the first zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(pub [u8; 72]);

impl Default for Label {
    fn default() -> Self {
        Self([0; 72])
    }
}

impl Label {
    /// Returns what `blkid` calls its PARTLABEL.
    #[must_use]
    pub fn text(&self) -> String {
        let units = self.0.chunks_exact(2).map(|unit| field::u16_le(unit, 0));
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        String::from_utf16_lossy(&units)
    }
}

impl Partition {
    /// Returns what `blkid` calls its PARTUUID.
    #[must_use]
    pub fn uuid(&self, table: Table) -> String {
        let id = &self.identity.id;
        if table == Table::Mbr {
            return format!("{:08x}-{:02x}", field::u32_le(id, 0), self.number);
        }
        guid(id)
    }
}

/// Writes a UUID whose bytes stand in their own order, as `blkid` does.
pub(super) fn guid_bytes(id: &[u8; 16]) -> String {
    let digits = |range: Range<usize>| {
        id[range].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    };
    [digits(0..4), digits(4..6), digits(6..8), digits(8..10), digits(10..16)].join("-")
}

/// Writes a GUID, whose first three fields are little-endian.
#[must_use]
pub fn guid(id: &[u8; 16]) -> String {
    let rest: String =
        id[10..].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{rest}",
        field::u32_le(id, 0),
        field::u16_le(id, 4),
        field::u16_le(id, 6),
        field::u16_be(id, 8)
    )
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
    /// Bytes where the records of extended partitions start, a sector each.
    pub extended: Vec<u64>,
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
