//! Just enough of FAT (12, 16 and 32) to find a file by its short name and read its first bytes.
//!
//! ```text
//! offset size field of the boot sector (little-endian)
//!     11    2 BPB_BytsPerSec: 512, 1024, 2048 or 4096
//!     13    1 BPB_SecPerClus: a power of two
//!     14    2 BPB_RsvdSecCnt: sectors before the first table
//!     16    1 BPB_NumFATs
//!     17    2 BPB_RootEntCnt: 0 on FAT32
//!     19    2 BPB_TotSec16, or 32 4 BPB_TotSec32
//!     22    2 BPB_FATSz16, or 36 4 BPB_FATSz32
//!     44    4 BPB_RootClus, on FAT32
//! a directory entry: 0 name (8 + 3, padded), 11 attributes, 20 and 26 first cluster, 28 size
//! ```

use crate::error::Error;
use crate::field;
use crate::guest::GuestFault;
use crate::guest::Loader;
use crate::guest::Machine;
use crate::guest::Partition;
use crate::guest::SECTOR_SIZE;
use crate::volume::ReadVolume;

/// Most bytes of a directory: FAT itself allows 65,536 entries of 32 bytes.
const MAX_DIR_LEN: usize = 2 << 20;

/// Bytes of a program that are read: its PE header stands among the first.
const HEAD_LEN: usize = 4096;

/// The fallback loaders: path, short name, processor.
const LOADERS: [(&str, &[u8; 11], Machine); 3] = [
    ("EFI/BOOT/BOOTX64.EFI", b"BOOTX64 EFI", Machine::X86_64),
    ("EFI/BOOT/BOOTAA64.EFI", b"BOOTAA64EFI", Machine::Arm64),
    ("EFI/BOOT/BOOTIA32.EFI", b"BOOTIA32EFI", Machine::I386),
];

/// Why a file system could not be searched.
pub(super) enum Failure {
    /// It is damaged, or none.
    Fault(GuestFault),
    /// The volume cannot be read.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn broken(what: &'static str) -> Failure {
    Failure::Fault(GuestFault::Fat { what })
}

/// Width of an entry of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// An open file system.
struct Fat<'a> {
    volume: &'a dyn ReadVolume,
    partition: &'a Partition,
    width: Width,
    cluster_len: u64,
    cluster_count: u64,
    table: u64,
    data: u64,
    /// Where the root of FAT12 and FAT16 lies, and its bytes.
    fixed_root: (u64, u64),
    root_cluster: u64,
}

/// Returns the fallback loaders of an EFI system partition.
pub(super) fn loaders(
    volume: &dyn ReadVolume,
    partition: &Partition,
) -> Result<Vec<Loader>, Failure> {
    let fat = Fat::open(volume, partition)?;
    let mut found = Vec::new();
    let root = fat.root()?;
    let Some(efi) = entry(&root, b"EFI        ", true) else { return Ok(found) };
    let Some(boot) = entry(&fat.chain(efi.cluster, MAX_DIR_LEN)?, b"BOOT       ", true) else {
        return Ok(found);
    };
    let folder = fat.chain(boot.cluster, MAX_DIR_LEN)?;
    for (path, name, named_for) in LOADERS {
        let Some(file) = entry(&folder, name, false) else { continue };
        let mut head = fat.chain(file.cluster, HEAD_LEN)?;
        head.truncate(HEAD_LEN.min(usize::try_from(file.len).unwrap_or(HEAD_LEN)));
        found.push(Loader {
            partition: partition.number,
            path,
            named_for,
            machine: machine(&head),
        });
    }
    Ok(found)
}

impl<'a> Fat<'a> {
    fn open(volume: &'a dyn ReadVolume, partition: &'a Partition) -> Result<Self, Failure> {
        if partition.len < SECTOR_SIZE {
            return Err(broken("it is shorter than a sector"));
        }
        let mut boot = [0; 512];
        volume.read_at(partition.start, &mut boot)?;
        let sector = u64::from(field::u16_le(&boot, 11));
        let cluster_sectors = u64::from(boot[13]);
        if ![512, 1024, 2048, 4096].contains(&sector) || !cluster_sectors.is_power_of_two() {
            return Err(broken("it holds no FAT file system"));
        }
        let either = |short: u16, long: u32| {
            if short == 0 { u64::from(long) } else { u64::from(short) }
        };
        let reserved = u64::from(field::u16_le(&boot, 14));
        let tables = u64::from(boot[16]);
        let root_len = u64::from(field::u16_le(&boot, 17)).strict_mul(32);
        let total = either(field::u16_le(&boot, 19), field::u32_le(&boot, 32));
        let table_sectors = either(field::u16_le(&boot, 22), field::u32_le(&boot, 36));
        // Nothing overflows: sectors are below 2^32, their lengths below 2^13, tables below 2^8.
        let table = reserved.strict_mul(sector);
        let root = table.strict_add(tables.strict_mul(table_sectors).strict_mul(sector));
        let data = root.strict_add(root_len.next_multiple_of(sector));
        let end = total.strict_mul(sector);
        if reserved == 0 || tables == 0 || table_sectors == 0 || data >= end || end > partition.len
        {
            return Err(broken("its FAT file system does not fit into it"));
        }
        let cluster_len = sector.strict_mul(cluster_sectors);
        // A cluster has at least one sector.
        let cluster_count = end.strict_sub(data).strict_div(cluster_len);
        let width = match cluster_count {
            0..4085 => Width::Fat12,
            4085..65_525 => Width::Fat16,
            _ => Width::Fat32,
        };
        Ok(Self {
            volume,
            partition,
            width,
            cluster_len,
            cluster_count,
            table,
            data,
            fixed_root: (root, root_len),
            root_cluster: field::u32_le(&boot, 44).into(),
        })
    }

    /// Reads bytes of the partition.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), Failure> {
        let len = u64::try_from(buf.len()).expect("a few sectors");
        if offset.checked_add(len).is_none_or(|end| end > self.partition.len) {
            return Err(broken("its FAT file system points past its end"));
        }
        // A partition lies inside its volume.
        Ok(self.volume.read_at(self.partition.start.strict_add(offset), buf)?)
    }

    fn root(&self) -> Result<Vec<u8>, Failure> {
        if self.width == Width::Fat32 {
            return self.chain(self.root_cluster, MAX_DIR_LEN);
        }
        let (offset, len) = self.fixed_root;
        let mut bytes = vec![0; usize::try_from(len).expect("at most 2 MiB")];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads the clusters from `first` on, until `most` bytes are read. A chain in a circle ends
    /// there too.
    fn chain(&self, first: u64, most: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let mut cluster = first;
        while bytes.len() < most {
            let Some(number) = cluster.checked_sub(2).filter(|it| *it < self.cluster_count) else {
                return if bytes.is_empty() {
                    Err(broken("a file starts nowhere"))
                } else {
                    Ok(bytes)
                };
            };
            let start = bytes.len();
            let cluster_len = usize::try_from(self.cluster_len).expect("at most 512 KiB");
            bytes.resize(start.strict_add(cluster_len), 0);
            // Below the bytes of the partition, as the number was just checked against the count.
            let offset = self.data.strict_add(number.strict_mul(self.cluster_len));
            self.read(offset, &mut bytes[start..])?;
            cluster = self.next(cluster)?;
        }
        Ok(bytes)
    }

    /// Returns what the table says follows a cluster; past the last cluster at the end.
    fn next(&self, cluster: u64) -> Result<u64, Failure> {
        // Clusters are below 2^28.
        let at = match self.width {
            Width::Fat12 => cluster.strict_add(cluster / 2),
            Width::Fat16 => cluster.strict_mul(2),
            Width::Fat32 => cluster.strict_mul(4),
        };
        let offset = self.table.strict_add(at);
        if self.width == Width::Fat32 {
            let mut entry = [0; 4];
            self.read(offset, &mut entry)?;
            return Ok(u64::from(field::u32_le(&entry, 0) & 0x0fff_ffff));
        }
        let mut entry = [0; 2];
        self.read(offset, &mut entry)?;
        let pair = u64::from(field::u16_le(&entry, 0));
        Ok(match self.width {
            Width::Fat12 if cluster.is_multiple_of(2) => pair & 0xfff,
            Width::Fat12 => pair >> 4,
            _ => pair,
        })
    }
}

/// A directory entry.
struct Entry {
    cluster: u64,
    len: u64,
}

/// Finds an entry by its short name; every name that is looked for has one.
fn entry(folder: &[u8], name: &[u8; 11], is_folder: bool) -> Option<Entry> {
    folder
        .chunks_exact(32)
        .take_while(|entry| entry[0] != 0)
        // Part of a long name has all of 0x0f; a volume label has 0x08.
        .filter(|entry| entry[11] & 0x08 == 0 && (entry[11] & 0x10 != 0) == is_folder)
        .find(|entry| entry[..11].eq_ignore_ascii_case(name))
        .map(|entry| {
            let high = u64::from(field::u16_le(entry, 20)) << 16;
            Entry {
                cluster: high | u64::from(field::u16_le(entry, 26)),
                len: field::u32_le(entry, 28).into(),
            }
        })
}

/// Tells which processor a PE program is for.
fn machine(head: &[u8]) -> Option<Machine> {
    if head.len() < 64 || !head.starts_with(b"MZ") {
        return None;
    }
    let at = usize::try_from(field::u32_le(head, 60)).ok()?;
    let header = head.get(at..at.checked_add(6)?)?;
    if !header.starts_with(b"PE\0\0") {
        return None;
    }
    Some(match field::u16_le(header, 4) {
        0x8664 => Machine::X86_64,
        0xaa64 => Machine::Arm64,
        0x014c => Machine::I386,
        other => Machine::Other(other),
    })
}
