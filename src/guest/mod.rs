//! What is inside a volume, as far as booting needs it: partitions, boot code, EFI loaders.
//!
//! A volume that is damaged inside is no failure of ours: what was found wrong is part of the
//! answer. Only bytes that cannot be read are an error.

mod fat;
mod fault;
mod gpt;
mod mbr;

use crate::error::Result;
use crate::field;
use crate::volume::ReadVolume;

pub use fault::GuestFault;

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
    /// Processor that its content is for; `None` if it is no PE program.
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

/// Looks into a volume.
///
/// # Errors
///
/// Whatever reading the volume returns; damage inside is part of the answer.
pub fn look(volume: &dyn ReadVolume) -> Result<Layout> {
    let mut layout = Layout::default();
    let Some(sector) = read(volume, 0, SECTOR_SIZE)? else {
        return Ok(layout);
    };
    let has_signature = field::u16_le(&sector, 510) == mbr::SIGNATURE;
    layout.file_system = file_system(volume)?;
    layout.has_boot_code = has_signature && sector[..440].iter().any(|byte| *byte != 0);
    let header = gpt::find(volume)?;
    let protective = has_signature && mbr::is_protective(&sector);
    if header.is_some() || protective {
        layout.table = Table::Gpt;
        layout.file_system = None;
        gpt::parse(volume, &mut layout)?;
    } else if has_signature && layout.file_system.is_none() {
        let partitions = mbr::parse(&sector, volume.size(), &mut layout.faults);
        if !partitions.is_empty() || !layout.faults.is_empty() {
            layout.table = Table::Mbr;
        }
        layout.partitions = partitions;
    }
    for partition in layout.partitions.iter().filter(|it| it.kind == PartitionKind::Esp) {
        match fat::loaders(volume, partition) {
            Ok(found) => layout.loaders.extend(found),
            Err(fat::Failure::Fault(fault)) => layout.faults.push(fault),
            Err(fat::Failure::Error(error)) => return Err(error),
        }
    }
    Ok(layout)
}

/// Reads `len` bytes at `offset`; `None` if the volume ends before that.
fn read(volume: &dyn ReadVolume, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
    if offset.checked_add(len).is_none_or(|end| end > volume.size()) {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(len).expect("a few sectors")];
    volume.read_at(offset, &mut bytes)?;
    Ok(Some(bytes))
}

/// Tells the file system at the start of a volume by its magic number.
fn file_system(volume: &dyn ReadVolume) -> Result<Option<&'static str>> {
    const MAGICS: [(u64, &[u8], &str); 5] = [
        (0, b"XFSB", "xfs"),
        (1080, b"\x53\xef", "ext"),
        (65_600, b"_BHRfS_M", "btrfs"),
        (65_588, b"ReIsEr", "reiserfs"),
        (32_768, b"JFS1", "jfs"),
    ];
    for (offset, magic, name) in MAGICS {
        let len = u64::try_from(magic.len()).expect("a few bytes");
        if read(volume, offset, len)?.is_some_and(|found| found == magic) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
