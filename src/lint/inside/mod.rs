//! What is inside the volumes of an AMI, gathered once for the rules about it.
//!
//! Files are read through the guest's own tree, a directory and a first mebibyte at a time; what is damaged
//! counts as absent and is noted. A rule's finding names a file and a line, never what stands there.

mod accounts;
mod boot;
mod entries;
mod files;
mod fstab;
mod hits;
mod initramfs;
mod machines;
mod secrets;
mod sshd;
mod system;
mod traces;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::guest::Found as Held;
use crate::guest::Tree;
use crate::guest::architecture;
use crate::guest::os_release;
use crate::lint::found::Found;
use crate::lint::inside::accounts::authorized_keys;
use crate::lint::inside::accounts::homes;
use crate::lint::inside::boot::Drivers;
use crate::lint::inside::files::Files;
use crate::lint::inside::hits::Hits;
use crate::lint::inside::machines::Machines;
use crate::lint::inside::sshd::Sshd;

pub use machines::InsideVolume;

/// Why file systems say that they do not fit.
const TOO_LARGE: &str = "it is larger than its partition";

/// What was found inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    hits: Hits,
    drivers: Drivers,
    /// The processor that programs are for, as `uname -m` has it.
    pub architecture: Option<&'static str>,
    /// Whether the root is a logical volume.
    pub(super) has_root_on_lvm: bool,
    /// Whether it is a system of Linux.
    pub(super) is_linux: bool,
    /// What could not be read, and why.
    pub notes: Vec<String>,
}

impl Inside {
    /// Returns the places that break a rule.
    pub(super) fn of(&self, rule: &str) -> Vec<Found> {
        self.hits.of(rule).cloned().collect()
    }

    /// Whether the kernel finds `NVMe` devices before it mounts the root, where that can be told.
    pub(super) fn has_nvme(&self) -> Option<bool> {
        self.drivers.nvme
    }

    /// Whether it can mount the root, and the name of that file system.
    pub(super) fn has_root_module(&self) -> (Option<bool>, &'static str) {
        (self.drivers.root, self.drivers.root_name)
    }

    /// Whether it has the driver of Elastic Network Adapters.
    pub(super) fn has_ena(&self) -> Option<bool> {
        self.drivers.ena
    }

    /// Whether it finds Xen's block devices before it mounts the root.
    pub(super) fn has_xen(&self) -> Option<bool> {
        self.drivers.xen
    }
}

/// Looks into the volumes of an AMI. `root` is the place of the root's among them; `all_known` says that
/// there is no other volume with content.
///
/// # Errors
///
/// Whatever reading the volumes returns; damage inside is noted.
pub fn look_inside(volumes: &[InsideVolume<'_>], root: usize, all_known: bool) -> Result<Inside> {
    let mut inside = Inside::default();
    let machines = Machines { volumes, root, all_known };
    for volume in volumes {
        parts(volume, &mut inside.hits);
    }
    fstab::twice(&machines, &mut inside.hits);
    let Some(volume) = volumes.get(root) else { return Ok(inside) };
    let tree = match Tree::open(volume.guest, None) {
        Ok(tree) => tree,
        Err(error) => return without_tree(inside, volume, &error),
    };
    let has_lvm =
        tree.mounted().next().is_some_and(|(part, _)| volume.guest.parts[part].logical.is_some());
    inside.has_root_on_lvm = has_lvm;
    inside.architecture = architecture(&tree)?;
    // What is not mounted may still be where a boot loader reads.
    let mounted: Vec<usize> = tree.mounted().map(|(part, _)| part).collect();
    let mut others = Vec::new();
    for (index, part) in volume.guest.parts.iter().enumerate() {
        let Some(system) = part.system().filter(|_| !mounted.contains(&index)) else { continue };
        let other = Tree::of(system);
        if let Some(os) = os_release(&other)? {
            let name = os.name.or(os.id).unwrap_or_default();
            let place = match (&part.logical, part.number) {
                (Some(logical), _) => format!("logical volume {}", logical.name),
                (None, Some(number)) => format!("partition {number}"),
                (None, None) => "another one".to_owned(),
            };
            let text = "holds a system of its own, in which only secrets are looked for";
            let name = if name.is_empty() { name } else { format!(" ({})", name.escape_debug()) };
            inside.notes.push(format!("{}: {place} {text}{name}", volume.device));
        }
        others.push(other);
    }
    let mut trees = vec![Files::new(&tree, "")];
    let device = volume.device;
    trees.extend(others.iter().map(|tree| Files::new(tree, format!("{device}: "))));
    look(&trees, &machines, &mut inside)?;
    for files in &trees[1..] {
        secrets::look(files, &mut inside.hits)?;
    }
    for files in trees {
        inside.notes.extend(files.into_faults());
    }
    for (index, other) in volumes.iter().enumerate() {
        if index == root {
            continue;
        }
        for part in &other.guest.parts {
            let Some(system) = part.system() else { continue };
            let tree = Tree::of(system);
            let files = Files::new(&tree, format!("{}: ", other.device));
            secrets::look(&files, &mut inside.hits)?;
            inside.notes.extend(files.into_faults());
        }
    }
    Ok(inside)
}

/// Says why there are no files to look at; what cannot be read at all stays an error.
fn without_tree(mut inside: Inside, volume: &InsideVolume<'_>, error: &Error) -> Result<Inside> {
    if error.kind() != Kind::Invalid {
        return Err(Error::new(error.kind(), error.to_string()));
    }
    let device = volume.device;
    inside.notes.push(format!("{device} is not looked into: {}", error.without_advice()));
    Ok(inside)
}

/// Looks at the files of the root and of what lies beside it on its volume.
fn look(trees: &[Files<'_, '_>], machines: &Machines<'_, '_>, inside: &mut Inside) -> Result<()> {
    let files = &trees[0];
    let hits = &mut inside.hits;
    if files.exists(b"/Windows/System32")? {
        system::windows(files, hits)?;
        return secrets::look(files, hits);
    }
    // Without accounts and a first program it is not a system.
    let signs: [&[u8]; 3] = [b"/etc/passwd", b"/sbin/init", b"/usr/lib/systemd/systemd"];
    inside.is_linux =
        files.any_exists(&signs)? && boot::is_linux(files.tree.system(files.tree.root()));
    if !inside.is_linux {
        return secrets::look(files, hits);
    }
    let accounts = accounts::look(files, hits)?;
    let sshd = Sshd::read(files)?;
    sshd.look(hits);
    authorized_keys(files, &accounts, &sshd, hits)?;
    traces::look(files, &homes(files, &accounts)?, hits)?;
    secrets::look(files, hits)?;
    fstab::look(files, machines, hits)?;
    system::selinux(files, hits)?;
    inside.drivers = boot::look(trees, machines, hits)?;
    Ok(())
}

/// Looks at what partitions hold, without looking at files.
fn parts(volume: &InsideVolume<'_>, hits: &mut Hits) {
    for part in &volume.guest.parts {
        let place = match part.number {
            Some(number) => format!("{}: partition {number}", volume.device),
            None => format!("{}: content", volume.device),
        };
        match &part.found {
            Held::Named(name @ ("crypto_LUKS" | "BitLocker")) => {
                let found = format!("{name}: encrypted inside the guest");
                let instead = "a plain file system: EBS encrypts volumes under a key of KMS";
                hits.add("guest-encrypted", place, found, instead);
            }
            Held::Broken { name, fault } if fault.text() == TOO_LARGE => {
                let found = format!("a file system of {name} that is larger than its partition");
                let instead = "a larger partition and volume, or a smaller file system";
                hits.add("guest-file-system-size", place, found, instead);
            }
            Held::System(system) => {
                let size = part.range.end.strict_sub(part.range.start);
                if system.about().size > size {
                    let found =
                        format!("a file system of {} bytes in {size} bytes", system.about().size);
                    let instead = "a larger partition and volume, or a smaller file system";
                    hits.add("guest-file-system-size", &*place, found, instead);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
pub(in crate::lint) mod tests;
