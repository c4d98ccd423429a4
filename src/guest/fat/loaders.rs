//! The fallback loaders of an EFI system partition, and which processor each is for.

use crate::error::Error;
use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::fat::Fat;
use crate::guest::fault::GuestFault;
use crate::guest::file::Bytes;
use crate::guest::file::FileKind;
use crate::guest::file::FileSystem;
use crate::guest::layout::Loader;
use crate::guest::layout::Machine;
use crate::guest::layout::Partition;
use crate::guest::owner::FileId;
use crate::guest::slice::Slice;
use crate::volume::ReadVolume;

/// Bytes of a program that are read: its PE header stands among the first.
const HEAD_LEN: u64 = 4096;

/// The fallback loaders: path, name, processor.
const LOADERS: [(&str, &[u8], Machine); 3] = [
    ("EFI/BOOT/BOOTX64.EFI", b"BOOTX64.EFI", Machine::X86_64),
    ("EFI/BOOT/BOOTAA64.EFI", b"BOOTAA64.EFI", Machine::Arm64),
    ("EFI/BOOT/BOOTIA32.EFI", b"BOOTIA32.EFI", Machine::I386),
];

/// Returns the fallback loaders of an EFI system partition, or what is wrong with it.
///
/// # Errors
///
/// An error if the volume cannot be read.
pub(in crate::guest) fn loaders(
    volume: &dyn ReadVolume,
    partition: &Partition,
) -> Result<Result<Vec<Loader>, GuestFault>, Error> {
    let end = partition.start.saturating_add(partition.len);
    match find(Slice::new(volume, partition.start..end), partition.number) {
        Ok(found) => Ok(Ok(found)),
        Err(Failure::Fault(fault)) => Ok(Err(GuestFault::Fat { what: fault.text() })),
        Err(Failure::Error(error)) => Err(error),
    }
}

fn find(slice: Slice<'_>, partition: u32) -> Outcome<Vec<Loader>> {
    let fat = Fat::open(slice)?;
    let mut found = Vec::new();
    let Some(efi) = entry(&fat, fat.root(), b"EFI", FileKind::Directory)? else { return Ok(found) };
    let Some(boot) = entry(&fat, efi, b"BOOT", FileKind::Directory)? else { return Ok(found) };
    for (path, name, named_for) in LOADERS {
        let Some(file) = entry(&fat, boot, name, FileKind::Regular)? else { continue };
        let head = head(&fat, file)?;
        found.push(Loader { partition, path, named_for, machine: machine(&head) });
    }
    Ok(found)
}

/// Finds an entry of a folder by its name, in which case does not count.
fn entry(fat: &Fat<'_>, folder: FileId, name: &[u8], kind: FileKind) -> Outcome<Option<FileId>> {
    for entry in fat.entries(folder)? {
        if entry.name.eq_ignore_ascii_case(name) && fat.node(entry.id)?.kind == kind {
            return Ok(Some(entry.id));
        }
    }
    Ok(None)
}

/// Reads the first bytes of a file.
fn head(fat: &Fat<'_>, file: FileId) -> Outcome<Vec<u8>> {
    let mut head = Vec::new();
    if let Some(first) = fat.content(file)?.pieces.first()
        && let Bytes::At(offset) = first.bytes
    {
        head.resize(usize::try_from(first.len.min(HEAD_LEN)).expect("at most 4 KiB"), 0);
        fat.read(offset, &mut head)?;
    }
    Ok(head)
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
