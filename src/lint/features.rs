//! Rules about processor, virtualization, boot mode and what hangs on them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::Virtualization;
use crate::digest::crc32c;
use crate::field;
use crate::lint::Found;
use crate::lint::Subject;

/// Most characters of `UefiData`.
const MAX_UEFI_DATA: usize = 64_000;

fn is_pv(subject: &Subject<'_>) -> bool {
    subject.ami.effective_virtualization() == Virtualization::Paravirtual
}

fn is_arm(subject: &Subject<'_>) -> bool {
    matches!(subject.ami.architecture, Some(Architecture::Arm64 | Architecture::Arm64Mac))
}

/// Returns one finding if something is so.
fn one(so: bool, place: &str, found: impl Into<String>, instead: &str) -> Vec<Found> {
    if so { vec![Found::new(place, found, instead)] } else { Vec::new() }
}

pub(super) fn architecture_default(subject: &Subject<'_>) -> Vec<Found> {
    // An instance-store AMI takes it from its manifest in S3.
    let so = subject.ami.architecture.is_none() && !subject.is_instance_store();
    one(so, "Architecture", "nothing, which EC2 takes as i386", "x86_64 or arm64")
}

pub(super) fn virtualization_default(subject: &Subject<'_>) -> Vec<Found> {
    let so = subject.ami.virtualization_type.is_none();
    one(so, "VirtualizationType", "nothing, which EC2 takes as paravirtual", "hvm")
}

pub(super) fn paravirtual(subject: &Subject<'_>) -> Vec<Found> {
    let so = subject.ami.virtualization_type == Some(Virtualization::Paravirtual);
    one(
        so,
        "VirtualizationType",
        "paravirtual",
        "hvm, unless it is for C1, C3, HS1, M1, M2, M3 or T1",
    )
}

pub(super) fn i386(subject: &Subject<'_>) -> Vec<Found> {
    let so = subject.ami.architecture == Some(Architecture::I386);
    one(so, "Architecture", "i386", "x86_64: no Nitro instance type runs i386")
}

pub(super) fn arm64_paravirtual(subject: &Subject<'_>) -> Vec<Found> {
    let so = is_arm(subject) && is_pv(subject);
    one(so, "VirtualizationType", "paravirtual for arm64", "hvm")
}

pub(super) fn ena_hvm(subject: &Subject<'_>) -> Vec<Found> {
    let so = subject.ami.ena_support == Some(true) && is_pv(subject);
    one(so, "EnaSupport", "true for a paravirtual machine", "no EnaSupport, or hvm")
}

pub(super) fn sriov_hvm(subject: &Subject<'_>) -> Vec<Found> {
    let so = subject.ami.sriov_net_support.is_some() && is_pv(subject);
    one(so, "SriovNetSupport", "simple for a paravirtual machine", "no SriovNetSupport, or hvm")
}

pub(super) fn ena_missing(subject: &Subject<'_>) -> Vec<Found> {
    let so = subject.ami.ena_support != Some(true)
        && subject.ami.virtualization_type == Some(Virtualization::Hvm)
        && !subject.is_instance_store();
    one(so, "EnaSupport", "not true", "true, if the guest has the ena driver: Nitro types need it")
}

pub(super) fn tpm_boot_mode(subject: &Subject<'_>) -> Vec<Found> {
    let mode = subject.ami.boot_mode;
    let so = subject.ami.tpm_support.is_some() && mode != Some(BootMode::Uefi);
    let mode = mode.map_or("no boot mode", BootMode::name);
    one(
        so,
        "TpmSupport",
        format!("v2.0 with {mode}"),
        "boot mode uefi; uefi-preferred is not enough",
    )
}

pub(super) fn tpm_arm64(subject: &Subject<'_>) -> Vec<Found> {
    let so = subject.ami.tpm_support.is_some() && is_arm(subject);
    one(so, "TpmSupport", "v2.0 for arm64", "no TpmSupport: Graviton types have none")
}

pub(super) fn arm64_boot_mode(subject: &Subject<'_>) -> Vec<Found> {
    let so = is_arm(subject) && subject.ami.boot_mode == Some(BootMode::LegacyBios);
    one(so, "BootMode", "legacy-bios for arm64", "uefi: Graviton types have nothing else")
}

pub(super) fn boot_mode_hvm(subject: &Subject<'_>) -> Vec<Found> {
    let mode = subject.ami.boot_mode.filter(|mode| *mode != BootMode::LegacyBios);
    let so = mode.is_some() && is_pv(subject);
    let found = format!("{} for a paravirtual machine", mode.map_or("", BootMode::name));
    one(so, "BootMode", found, "no BootMode, or hvm")
}

pub(super) fn uefi_data_boot_mode(subject: &Subject<'_>) -> Vec<Found> {
    let by_uefi = match subject.ami.boot_mode {
        Some(mode) => mode != BootMode::LegacyBios,
        None => is_arm(subject),
    };
    let so = subject.ami.uefi_data.is_some() && !by_uefi;
    let mode = subject.ami.boot_mode.map_or("no boot mode", BootMode::name);
    one(so, "UefiData", format!("variables with {mode}"), "boot mode uefi or uefi-preferred")
}

/// What is wrong with the bytes behind `UefiData`.
fn uefi_fault(text: &str) -> Option<String> {
    let Ok(bytes) = STANDARD.decode(text) else {
        return Some("text that is not base64".to_owned());
    };
    if bytes.len() < 16 || !bytes.starts_with(b"AMZNUEFI") {
        return Some("bytes that do not start with AMZNUEFI".to_owned());
    }
    let (found, expected) = (crc32c(&bytes[12..]), field::u32_le(&bytes, 8));
    if found != expected {
        return Some(format!("a CRC-32C of {found:#010x}, expected {expected:#010x}"));
    }
    let version = field::u32_le(&bytes, 12);
    (version != 0).then(|| format!("version {version}, expected 0"))
}

pub(super) fn uefi_data_format(subject: &Subject<'_>) -> Vec<Found> {
    let fault = subject.ami.uefi_data.as_deref().and_then(uefi_fault);
    let instead = "what GetInstanceUefiData or uefivars --output aws gives, unchanged";
    fault.into_iter().map(|found| Found::new("UefiData", found, instead)).collect()
}

pub(super) fn uefi_data_length(subject: &Subject<'_>) -> Vec<Found> {
    let len = subject.ami.uefi_data.as_ref().map_or(0, String::len);
    let instead = "at most 64,000: fewer variables";
    one(len > MAX_UEFI_DATA, "UefiData", format!("{len} characters"), instead)
}

pub(super) fn kernel_hvm(subject: &Subject<'_>) -> Vec<Found> {
    let hvm = subject.ami.virtualization_type == Some(Virtualization::Hvm);
    let members = [("KernelId", &subject.ami.kernel_id), ("RamdiskId", &subject.ami.ramdisk_id)];
    members
        .into_iter()
        .filter_map(|(name, id)| Some((name, id.as_deref().filter(|_| hvm)?)))
        .map(|(name, id)| {
            Found::new(name, format!("{id} with hvm"), format!("no {name}: hvm boots the disk"))
        })
        .collect()
}

/// Tells whether `id` is a prefix of EC2's, a dash and hexadecimal digits.
pub(super) fn is_id(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).is_some_and(|digits| {
        !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

pub(super) fn kernel_id(subject: &Subject<'_>) -> Vec<Found> {
    let members = [
        ("KernelId", "aki", &subject.ami.kernel_id),
        ("RamdiskId", "ari", &subject.ami.ramdisk_id),
    ];
    members
        .into_iter()
        .filter_map(|(name, prefix, id)| {
            let id = id.as_deref().filter(|id| !is_id(id, prefix))?;
            let instead = format!("{prefix}- and hexadecimal digits");
            Some(Found::new(name, format!("{id:?}"), instead))
        })
        .collect()
}

/// A PV-GRUB image, taken from its name: `pv-grub-hd0_1.05-x86_64.gz`.
struct PvGrub<'a> {
    partitioned: bool,
    version: (u32, u32),
    architecture: &'a str,
}

fn pv_grub<'a>(subject: &Subject<'a>) -> Option<PvGrub<'a>> {
    let name = subject.ami.kernel_name.as_deref()?;
    let (disk, rest) = name.strip_prefix("pv-grub-")?.split_once('_')?;
    let (version, architecture) = rest.split_once('-')?;
    let (major, minor) = version.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some(PvGrub {
        partitioned: disk == "hd00",
        version: (major.parse().ok()?, minor.parse().ok()?),
        architecture: architecture.strip_suffix(".gz").unwrap_or(architecture),
    })
}

pub(super) fn pv_grub_ramdisk(subject: &Subject<'_>) -> Vec<Found> {
    let so = pv_grub(subject).is_some() && subject.ami.ramdisk_id.is_some();
    one(
        so,
        "RamdiskId",
        "a RAM disk beside PV-GRUB",
        "no RamdiskId: PV-GRUB loads the volume's own",
    )
}

pub(super) fn pv_grub_architecture(subject: &Subject<'_>) -> Vec<Found> {
    let Some(grub) = pv_grub(subject) else { return Vec::new() };
    let own = subject.ami.effective_architecture();
    let so = grub.architecture != own.name();
    let found = format!("PV-GRUB for {} with {own}", grub.architecture);
    one(so, "KernelName", found, "the PV-GRUB of the AMI's own architecture")
}

pub(super) fn pv_grub_disk(subject: &Subject<'_>) -> Vec<Found> {
    let (Some(grub), Some(layout)) = (pv_grub(subject), subject.root_layout()) else {
        return Vec::new();
    };
    let partitioned = layout.table != crate::guest::Table::None;
    let bare = layout.file_system.is_some();
    if grub.partitioned && bare {
        let found = "hd00, for a partitioned disk, with a bare file system";
        return one(true, "KernelName", found, "the PV-GRUB called pv-grub-hd0_1.05");
    }
    // From 1.04 on, hd0 looks into partitions and knows GPT.
    let old = grub.version < (1, 4);
    let gpt = layout.table == crate::guest::Table::Gpt;
    let blind = partitioned && old && (gpt || !grub.partitioned);
    let found = format!(
        "{} {}.{:02} with {} on the root",
        if grub.partitioned { "hd00" } else { "hd0" },
        grub.version.0,
        grub.version.1,
        layout.table.name()
    );
    one(blind, "KernelName", found, "the PV-GRUB called pv-grub-hd0_1.05")
}
