//! Rules about what is inside the root volume, against how the AMI says that it boots.

use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::Virtualization;
use crate::guest::GuestFault;
use crate::guest::Layout;
use crate::guest::Machine;
use crate::guest::PartitionKind;
use crate::guest::Table;
use crate::lint::Found;
use crate::lint::Subject;
use crate::lint::member;

/// A root volume of an HVM machine that was looked into.
struct Root<'a> {
    place: String,
    layout: &'a Layout,
    architecture: Architecture,
    mode: Option<BootMode>,
}

impl<'a> Root<'a> {
    fn of(subject: &Subject<'a>) -> Option<Self> {
        if subject.ami.effective_virtualization() != Virtualization::Hvm {
            return None;
        }
        let root = subject.root()?;
        Some(Self {
            place: member(root, "content"),
            layout: subject.root_layout()?,
            architecture: subject.ami.effective_architecture(),
            mode: subject.ami.boot_mode,
        })
    }

    fn is_arm(&self) -> bool {
        matches!(self.architecture, Architecture::Arm64 | Architecture::Arm64Mac)
    }

    /// The processor that loaders must be for.
    fn machine(&self) -> Machine {
        match self.architecture {
            Architecture::I386 => Machine::I386,
            Architecture::X86_64 | Architecture::X86_64Mac => Machine::X86_64,
            Architecture::Arm64 | Architecture::Arm64Mac => Machine::Arm64,
        }
    }

    fn loader_path(&self) -> &'static str {
        match self.machine() {
            Machine::Arm64 => "EFI/BOOT/BOOTAA64.EFI",
            Machine::I386 => "EFI/BOOT/BOOTIA32.EFI",
            _ => "EFI/BOOT/BOOTX64.EFI",
        }
    }

    /// What UEFI misses, if anything.
    fn uefi_lacks(&self) -> Option<String> {
        if !self.layout.has(PartitionKind::Esp) {
            return Some("no EFI system partition".to_owned());
        }
        let machine = self.machine();
        let there = self.layout.loaders.iter().any(|it| it.named_for == machine);
        (!there).then(|| format!("no {} in the EFI system partition", self.loader_path()))
    }

    /// Whether UEFI is what the AMI says that it boots by.
    fn wants_uefi(&self) -> bool {
        matches!(self.mode, Some(BootMode::Uefi | BootMode::UefiPreferred))
            || self.mode.is_none() && self.is_arm()
    }

    /// Whether the AMI says that it boots by BIOS, at least where there is no UEFI.
    fn wants_bios(&self) -> bool {
        matches!(self.mode, Some(BootMode::LegacyBios | BootMode::UefiPreferred))
    }
}

pub(super) fn partition_table(subject: &Subject<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for facts in subject.volumes {
        for fault in facts.layout.iter().flat_map(|layout| &layout.faults) {
            let place = format!("{}: content", facts.device);
            let instead = match fault {
                GuestFault::GptSectors { .. } => {
                    "a table for sectors of 512 bytes: firmware and kernel look for it at byte 512 of an EBS \
                     volume, so build the image on a disk with such sectors"
                }
                _ => "a volume with a sound partition table: the image may be cut or damaged",
            };
            found.push(Found::new(place, fault.to_string(), instead));
        }
    }
    found
}

pub(super) fn gpt_backup(subject: &Subject<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for facts in subject.volumes {
        if let Some(fault) = facts.layout.as_ref().and_then(|layout| layout.backup) {
            let place = format!("{}: content", facts.device);
            let instead = "the copy in the last sector: sgdisk --move-second-header IMAGE";
            found.push(Found::new(place, fault.to_string(), instead));
        }
    }
    found
}

pub(super) fn boot_uefi(subject: &Subject<'_>) -> Vec<Found> {
    let Some(root) = Root::of(subject).filter(Root::wants_uefi) else { return Vec::new() };
    // Variables of the UEFI store can name any loader.
    if subject.ami.uefi_data.is_some() && root.layout.has(PartitionKind::Esp) {
        return Vec::new();
    }
    let Some(lacks) = root.uefi_lacks() else { return Vec::new() };
    let mode = root.mode.map_or("arm64", BootMode::name);
    let instead = if root.is_arm() {
        format!("an EFI system partition (FAT) with {}", root.loader_path())
    } else {
        format!(
            "an EFI system partition (FAT) with {}, or boot mode legacy-bios",
            root.loader_path()
        )
    };
    vec![Found::new(root.place, format!("{lacks}, for {mode}"), instead)]
}

/// Finds a first sector without boot code where the AMI has this boot mode.
fn no_boot_code(subject: &Subject<'_>, mode: BootMode) -> Vec<Found> {
    let asked = |root: &Root<'_>| root.mode == Some(mode);
    let Some(root) = Root::of(subject).filter(asked) else { return Vec::new() };
    if root.layout.has_boot_code {
        return Vec::new();
    }
    let instead = match root.uefi_lacks() {
        Some(_) => "boot code in the first sector: install a boot loader",
        None => "boot mode uefi, or a boot loader in the first sector as well",
    };
    vec![Found::new(root.place, format!("no boot code in sector 0, for {mode}"), instead)]
}

pub(super) fn boot_bios(subject: &Subject<'_>) -> Vec<Found> {
    no_boot_code(subject, BootMode::LegacyBios)
}

pub(super) fn boot_bios_preferred(subject: &Subject<'_>) -> Vec<Found> {
    no_boot_code(subject, BootMode::UefiPreferred)
}

pub(super) fn boot_bios_partition(subject: &Subject<'_>) -> Vec<Found> {
    let Some(root) = Root::of(subject).filter(Root::wants_bios) else { return Vec::new() };
    let so = root.layout.table == Table::Gpt
        && root.layout.has_boot_code
        && !root.layout.has(PartitionKind::BiosBoot);
    if !so {
        return Vec::new();
    }
    let found = "boot code and a GPT without a BIOS boot partition";
    let instead = "a BIOS boot partition (type ef02) for the loader's second part";
    vec![Found::new(root.place, found, instead)]
}

pub(super) fn boot_architecture(subject: &Subject<'_>) -> Vec<Found> {
    let Some(root) = Root::of(subject).filter(Root::wants_uefi) else { return Vec::new() };
    let expected = root.machine();
    root.layout
        .loaders
        .iter()
        .filter(|loader| loader.named_for == expected)
        .filter(|loader| loader.machine.is_some_and(|machine| machine != expected))
        .map(|loader| {
            let found = format!("{} is a program for another processor", loader.path);
            let instead = format!("a loader for {}, or another architecture", root.architecture);
            Found::new(&*root.place, found, instead)
        })
        .collect()
}

pub(super) fn boot_program(subject: &Subject<'_>) -> Vec<Found> {
    let Some(root) = Root::of(subject).filter(Root::wants_uefi) else { return Vec::new() };
    let expected = root.machine();
    root.layout
        .loaders
        .iter()
        .filter(|loader| loader.named_for == expected && loader.machine.is_none())
        .map(|loader| {
            let found = format!("{} is not a PE program", loader.path);
            Found::new(&*root.place, found, "a boot loader")
        })
        .collect()
}

pub(super) fn boot_default(subject: &Subject<'_>) -> Vec<Found> {
    let Some(root) = Root::of(subject) else { return Vec::new() };
    if root.mode.is_some() || root.is_arm() || root.layout.has_boot_code {
        return Vec::new();
    }
    let instead = match root.uefi_lacks() {
        None => "boot mode uefi",
        Some(_) => "boot code in the first sector, or an EFI system partition and boot mode uefi",
    };
    let found = "no boot code, and no boot mode: x86 instances start by BIOS then";
    vec![Found::new(root.place, found, instead)]
}
