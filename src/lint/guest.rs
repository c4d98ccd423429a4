//! Rules about the files of a guest. Most were judged where the files were read; some hold what was found
//! against the description.

use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::Virtualization;
use crate::lint::Found;
use crate::lint::Inside;
use crate::lint::Subject;

/// Makes the functions of rules that were judged where the files were read.
macro_rules! gathered {
    ($($name:ident $id:literal)*) => {
        $(pub(super) fn $name(subject: &Subject<'_>) -> Vec<Found> {
            subject.inside.map(|inside| inside.of($id)).unwrap_or_default()
        })*
    };
}

gathered! {
    host_keys "guest-host-keys"
    authorized_keys "guest-authorized-keys"
    password_empty "guest-password-empty"
    password "guest-password"
    sshd_password "guest-sshd-password"
    sshd_root "guest-sshd-root"
    machine_id "guest-machine-id"
    cloud_init "guest-cloud-init"
    cloud_init_state "guest-cloud-init-state"
    leftovers "guest-leftovers"
    history "guest-history"
    secrets "guest-secrets"
    fstab_file "guest-fstab-file"
    fstab "guest-fstab"
    device_names "guest-device-names"
    fstab_nofail "guest-fstab-nofail"
    uuid_twice "guest-uuid-twice"
    kernel "guest-kernel"
    kernel_stale "guest-kernel-stale"
    root "guest-root"
    console "guest-console"
    selinux "guest-selinux"
    encrypted "guest-encrypted"
    file_system_size "guest-file-system-size"
    windows_sysprep "guest-windows-sysprep"
    windows_launch "guest-windows-launch"
    windows_drivers "guest-windows-drivers"
}

/// Names the root volume.
fn place(subject: &Subject<'_>) -> String {
    let device = subject.root().map_or(&*subject.ami.root_device_name, |it| &*it.device_name);
    if device.is_empty() { "content".to_owned() } else { format!("{device}: content") }
}

fn is_arm(subject: &Subject<'_>) -> bool {
    let architecture = subject.ami.effective_architecture();
    matches!(architecture, Architecture::Arm64 | Architecture::Arm64Mac)
}

/// Whether the AMI says that it is for Nitro types: it has what no other type takes.
fn is_for_nitro(subject: &Subject<'_>) -> bool {
    let ami = subject.ami;
    let is_hvm = ami.effective_virtualization() == Virtualization::Hvm;
    let by_uefi = matches!(ami.boot_mode, Some(BootMode::Uefi | BootMode::UefiPreferred));
    is_hvm && (is_arm(subject) || ami.ena_support == Some(true) || by_uefi)
}

/// Finds a kernel without a driver that it needs before the root is mounted.
fn lacks_nvme(subject: &Subject<'_>, nitro: bool) -> Vec<Found> {
    let lacks = subject.inside.is_some_and(|inside| inside.has_nvme() == Some(false));
    if !lacks || is_for_nitro(subject) != nitro {
        return Vec::new();
    }
    let found = "nvme is neither built in nor in the initramfs";
    let instead = if nitro {
        "nvme in the initramfs"
    } else {
        "nvme in the initramfs, unless the AMI is for Xen types only"
    };
    vec![Found::new(place(subject), found, instead)]
}

pub(super) fn nvme(subject: &Subject<'_>) -> Vec<Found> {
    lacks_nvme(subject, true)
}

pub(super) fn nitro(subject: &Subject<'_>) -> Vec<Found> {
    lacks_nvme(subject, false)
}

pub(super) fn nvme_timeout(subject: &Subject<'_>) -> Vec<Found> {
    // Where there is no NVMe, its timeout does not matter.
    let Some(inside) = subject.inside.filter(|it| it.has_nvme() != Some(false)) else {
        return Vec::new();
    };
    inside.of("guest-nvme-timeout")
}

pub(super) fn root_module(subject: &Subject<'_>) -> Vec<Found> {
    let Some((Some(false), name)) = subject.inside.map(Inside::has_root_module) else {
        return Vec::new();
    };
    let found = format!("{name} is neither built in nor in the initramfs");
    vec![Found::new(place(subject), found, format!("{name} in the initramfs"))]
}

pub(super) fn ena(subject: &Subject<'_>) -> Vec<Found> {
    let lacks = subject.inside.is_some_and(|inside| inside.has_ena() == Some(false));
    if !lacks || subject.ami.ena_support != Some(true) {
        return Vec::new();
    }
    let found = "EnaSupport, and no kernel has the module ena";
    let instead = "a kernel with ena, or no EnaSupport";
    vec![Found::new(place(subject), found, instead)]
}

pub(super) fn xen(subject: &Subject<'_>) -> Vec<Found> {
    let lacks = subject.inside.is_some_and(|inside| inside.has_xen() == Some(false));
    if !lacks || is_for_nitro(subject) {
        return Vec::new();
    }
    let found = "xen-blkfront is neither built in nor in the initramfs";
    let instead = "xen-blkfront in the initramfs, or EnaSupport for an AMI for Nitro types";
    vec![Found::new(place(subject), found, instead)]
}

pub(super) fn lvm_pv(subject: &Subject<'_>) -> Vec<Found> {
    let is_pv = subject.ami.effective_virtualization() == Virtualization::Paravirtual;
    if !is_pv || !subject.inside.is_some_and(|inside| inside.has_root_on_lvm) {
        return Vec::new();
    }
    let found = "the root is a logical volume, and PV-GRUB cannot read one";
    vec![Found::new(place(subject), found, "a root on a partition, or virtualization type hvm")]
}

pub(super) fn architecture(subject: &Subject<'_>) -> Vec<Found> {
    let Some(programs) = subject.inside.and_then(|inside| inside.architecture) else {
        return Vec::new();
    };
    let wanted = subject.ami.effective_architecture();
    let fits = match wanted {
        // A kernel of 64 bits runs programs of 32.
        Architecture::X86_64 | Architecture::X86_64Mac => matches!(programs, "x86_64" | "i386"),
        Architecture::I386 => programs == "i386",
        Architecture::Arm64 | Architecture::Arm64Mac => matches!(programs, "aarch64" | "arm"),
    };
    if fits {
        return Vec::new();
    }
    let found = format!("programs are for {programs}, and the AMI is {wanted}");
    vec![Found::new(
        place(subject),
        found,
        format!("programs for {wanted}, or another architecture"),
    )]
}
