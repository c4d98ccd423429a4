//! What is inside a volume, as a report: partitions, file systems, the system, its boot loaders.

use std::ops::Range;

use serde::Serialize;

use crate::digest::is_zero;
use crate::error::Result;
use crate::guest::FileSystem;
use crate::guest::Found;
use crate::guest::Guest;
use crate::guest::Loader;
use crate::guest::Machine;
use crate::guest::Owner;
use crate::guest::Part;
use crate::guest::PartitionKind;
use crate::guest::Proof;
use crate::guest::Table;
use crate::guest::Tree;
use crate::guest::VolumeOwners;
use crate::guest::architecture;
use crate::guest::escape;
use crate::guest::os_release;
use crate::units::ExtentKind;
use crate::units::PAGE_LEN;
use crate::volume::ReadVolume;
use crate::work::Watch;

/// Bytes that are read at once to see what free blocks hold.
const READ_LEN: u64 = 1 << 20;

/// What is inside a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuestReport {
    /// What divides the volume: `gpt`, `mbr` or `none`.
    pub table: &'static str,
    /// Whether sector 0 holds boot code.
    pub boot_code: bool,
    /// The partitions; one without a number for a volume that nothing divides.
    pub partitions: Vec<PartReport>,
    /// The system, as it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<OsReport>,
    /// Processor that its programs are for, as `uname -m` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<&'static str>,
    /// Fallback boot loaders of EFI system partitions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub boot_loaders: Vec<LoaderReport>,
    /// What is wrong with tables and boot partitions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// A system, as it calls itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OsReport {
    /// `ID` of its `os-release`.
    pub id: Option<String>,
    /// `VERSION_ID`.
    pub version_id: Option<String>,
    /// `PRETTY_NAME`.
    pub name: Option<String>,
}

/// A boot loader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoaderReport {
    /// Partition that it is in.
    pub partition: u32,
    /// Its path.
    pub path: &'static str,
    /// Processor that it is for; none if it is not a program.
    pub machine: Option<String>,
}

/// A partition, or a whole volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartReport {
    /// Its number.
    pub number: Option<u32>,
    /// Group and name, for a logical volume on the partition of that number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logical_volume: Option<String>,
    /// First byte of the volume.
    pub start_bytes: u64,
    /// Bytes.
    pub size_bytes: u64,
    /// What it is for: `esp`, `bios-boot` or `other`.
    pub purpose: &'static str,
    /// What it holds, as `ext4`.
    pub file_system: Option<&'static str>,
    /// Label, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// UUID or serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Where the guest mounts it, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounted_at: Option<String>,
    /// The system that it holds, as that calls itself, if it is not a part of the one that is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_system: Option<String>,
    /// Bytes that have an owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// Bytes that the file system calls free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Of these, bytes that the image stores all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_stored_bytes: Option<u64>,
    /// Of these, bytes in pages that are not zero, if the image was read for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_bytes: Option<u64>,
    /// Bytes that two own, or that are owned and called free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict_bytes: Option<u64>,
    /// Bytes that are neither owned nor called free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_bytes: Option<u64>,
    /// Whether a journal was replayed in memory.
    pub replayed: bool,
    /// Whether its free blocks are proven to be free.
    pub trusted: bool,
    /// Why they are not, or must be kept all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept_because: Vec<String>,
}

/// Looks into a volume; with `read`, into its free blocks too. `None` if nothing is known there.
///
/// # Errors
///
/// If the volume cannot be read; damage inside is part of the answer.
pub(in crate::ops) fn report(
    volume: &dyn ReadVolume,
    read: bool,
    watch: &dyn Watch,
) -> Result<Option<GuestReport>> {
    let guest = Guest::open(volume)?;
    let known = guest.parts.iter().any(|part| part.found.name().is_some());
    if guest.layout.table == Table::None && !known {
        return Ok(None);
    }
    let owners = guest.owners()?;
    let tree = Tree::open(&guest, None).ok();
    let mut partitions = Vec::new();
    for (index, part) in guest.parts.iter().enumerate() {
        let mut report = part_report(part, owners.parts[index].proof.as_ref());
        report.kept_because.clone_from(&owners.parts[index].refusals);
        report.trusted = report.kept_because.is_empty();
        let mounted = tree.as_ref().and_then(|tree| tree.mounted().find(|(it, _)| *it == index));
        report.mounted_at = mounted.map(|(_, path)| escape(path));
        if report.mounted_at.is_none()
            && let Some(system) = part.system()
            && let Some(os) = os_release(&Tree::of(system))?
        {
            report.other_system = Some(os.name.or(os.id).unwrap_or_else(|| "unknown".to_owned()));
        }
        if report.free_bytes.is_some() {
            let (stored, stale) = free_content(volume, &owners, index, read, watch)?;
            (report.free_stored_bytes, report.stale_bytes) = (Some(stored), read.then_some(stale));
        }
        partitions.push(report);
    }
    let (os, architecture) = match &tree {
        Some(tree) => (os_release(tree)?, architecture(tree)?),
        None => (None, None),
    };
    let faults = guest.layout.faults.iter().chain(&guest.layout.backup);
    Ok(Some(GuestReport {
        table: match guest.layout.table {
            Table::None => "none",
            Table::Mbr => "mbr",
            Table::Gpt => "gpt",
        },
        boot_code: guest.layout.has_boot_code,
        partitions,
        os: os.map(|it| OsReport { id: it.id, version_id: it.version_id, name: it.name }),
        architecture,
        boot_loaders: guest.layout.loaders.iter().map(loader_report).collect(),
        faults: faults.map(ToString::to_string).collect(),
    }))
}

fn loader_report(loader: &Loader) -> LoaderReport {
    let name = |machine| match machine {
        Machine::X86_64 => "x86_64".to_owned(),
        Machine::Arm64 => "aarch64".to_owned(),
        Machine::I386 => "i386".to_owned(),
        Machine::Other(number) => format!("{number:#06x}"),
    };
    let (partition, path) = (loader.partition, loader.path);
    LoaderReport { partition, path, machine: loader.machine.map(name) }
}

fn part_report(part: &Part<'_>, proof: Option<&Proof>) -> PartReport {
    let about = part.system().map(FileSystem::about);
    let (label, uuid) = match (&part.found, about) {
        (Found::Swap(swap), _) => (swap.label.clone(), Some(swap.uuid.clone())),
        (_, Some(about)) => (about.label.clone(), about.uuid.clone()),
        _ => (Vec::new(), None),
    };
    PartReport {
        number: part.number,
        logical_volume: part.logical.as_ref().map(|logical| escape(logical.name.as_bytes())),
        start_bytes: part.range.start,
        size_bytes: part.range.end.strict_sub(part.range.start),
        purpose: match part.kind {
            PartitionKind::Esp => "esp",
            PartitionKind::BiosBoot => "bios-boot",
            PartitionKind::Other => "other",
        },
        file_system: part.found.name(),
        label: (!label.is_empty()).then(|| escape(&label)),
        uuid,
        mounted_at: None,
        other_system: None,
        used_bytes: proof.map(|proof| proof.owned_bytes),
        free_bytes: proof.map(|proof| proof.free_bytes),
        free_stored_bytes: None,
        stale_bytes: None,
        conflict_bytes: proof.map(|proof| proof.conflict_bytes),
        gap_bytes: proof.map(|proof| proof.gap_bytes),
        replayed: about.is_some_and(|about| about.replayed),
        trusted: false,
        kept_because: Vec::new(),
    }
}

/// Sums what the image stores of a part's free bytes and, with `read`, what of it is not zero.
fn free_content(
    volume: &dyn ReadVolume,
    owners: &VolumeOwners,
    part: usize,
    read: bool,
    watch: &dyn Watch,
) -> Result<(u64, u64)> {
    let (mut stored, mut stale) = (0_u64, 0_u64);
    let sections = owners.sections.iter().filter(|section| section.part == Some(part));
    for section in sections {
        for (range, owner) in section.map.within(0..section.map.size()) {
            if owner != Owner::Free {
                continue;
            }
            let base = section.range.start;
            let range = range.start.strict_add(base)..range.end.strict_add(base);
            for data in data_in(volume, range)? {
                stored = stored.strict_add(data.end.strict_sub(data.start));
                if read {
                    stale = stale.strict_add(stale_in(volume, &data, watch)?);
                }
            }
        }
    }
    Ok((stored, stale))
}

/// Returns the parts of a range that the image stores.
fn data_in(volume: &dyn ReadVolume, range: Range<u64>) -> Result<Vec<Range<u64>>> {
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let extent = volume.extent_at(at)?;
        let end = extent.range.end.min(range.end);
        if extent.kind == ExtentKind::Data {
            found.push(at..end);
        }
        at = end;
    }
    Ok(found)
}

/// Counts the bytes of pages that are not zero.
fn stale_in(volume: &dyn ReadVolume, range: &Range<u64>, watch: &dyn Watch) -> Result<u64> {
    let mut stale = 0_u64;
    let mut buffer = Vec::new();
    let mut at = range.start;
    while at < range.end {
        watch.check()?;
        let end = at.strict_add(READ_LEN).min(range.end);
        buffer.resize(usize::try_from(end.strict_sub(at)).expect("at most 1 MiB"), 0);
        volume.read_at(at, &mut buffer)?;
        for page in buffer.chunks(PAGE_LEN).filter(|page| !is_zero(page)) {
            stale = stale.strict_add(u64::try_from(page.len()).expect("a page"));
        }
        at = end;
    }
    Ok(stale)
}
