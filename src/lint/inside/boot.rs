//! Whether the guest starts: kernels and initramfs that boot entries name, their arguments, drivers.

use crate::error::Result;
use crate::guest::FileKind;
use crate::guest::FileSystem;
use crate::guest::Spot;
use crate::lint::inside::entries;
use crate::lint::inside::entries::Entry;
use crate::lint::inside::files::Files;
use crate::lint::inside::files::lines;
use crate::lint::inside::files::lossy;
use crate::lint::inside::hits::Hits;
use crate::lint::inside::initramfs;
use crate::lint::inside::initramfs::Modules;
use crate::lint::inside::machines::Leads;
use crate::lint::inside::machines::Machines;
use crate::lint::inside::machines::is_device;

/// What may stand in front of paths of an entry: a file system of its own for `/boot`, or the EFI system
/// partition.
const PREFIXES: [&str; 4] = ["", "/boot", "/boot/efi", "/efi"];

/// Most bytes of a list of modules: that of Debian has 700 KiB.
const MAX_LIST_LEN: u64 = 16 << 20;

/// Most initramfs that are unpacked: entries of a machine share few.
const MAX_UNPACKED: usize = 4;

/// Longest timeout that kernels before 4.15 take, in seconds.
const OLD_TIMEOUT: &str = "255";

/// What the kernels have, where that can be told; of several kernels, what the best one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Drivers {
    /// `NVMe`, before the root is mounted.
    pub(super) nvme: Option<bool>,
    /// The root's file system, before it is mounted.
    pub(super) root: Option<bool>,
    /// The name of that.
    pub(super) root_name: &'static str,
    /// Xen's block devices, before the root is mounted.
    pub(super) xen: Option<bool>,
    /// Elastic Network Adapters, at any time.
    pub(super) ena: Option<bool>,
}

/// A file of an entry, and the tree that it is in.
type Place<'f, 't, 'g> = (&'f Files<'t, 'g>, Spot);

/// Finds a file that an entry names, in the guest's own tree or on a file system that is not mounted there.
fn resolve<'f, 't, 'g>(
    trees: &'f [Files<'t, 'g>],
    path: &str,
) -> Result<Option<Place<'f, 't, 'g>>> {
    // GRUB may name the device, and Btrfs the subvolume.
    let path = path.rsplit_once(')').map_or(path, |(_, path)| path);
    for files in trees {
        for prefix in PREFIXES {
            let path = format!("{prefix}/{}", path.trim_start_matches('/'));
            if let Some((spot, node)) = files.find(path.as_bytes())?
                && node.kind == FileKind::Regular
            {
                return Ok(Some((files, spot)));
            }
        }
    }
    Ok(None)
}

/// Applies the rules about starting. The first tree is the guest's own.
pub(super) fn look(
    trees: &[Files<'_, '_>],
    machines: &Machines<'_, '_>,
    hits: &mut Hits,
) -> Result<Drivers> {
    let mut all = Vec::new();
    for files in trees {
        all.extend(entries::find(files)?);
    }
    let mut drivers = Drivers { root_name: root_name(&trees[0]), ..Drivers::default() };
    let mut sound = Vec::new();
    let mut broken = Vec::new();
    for entry in &all {
        if !entry.is_plain {
            continue;
        }
        let mut missing = None;
        for path in std::iter::once(&entry.kernel).chain(&entry.initramfs) {
            if !path.contains('$') && resolve(trees, path)?.is_none() {
                missing = Some(path.clone());
                break;
            }
        }
        match missing {
            None => sound.push(entry),
            Some(path) => broken.push((entry, path)),
        }
    }
    // A subvolume may be what the loader takes for the root: then paths lead elsewhere.
    let is_clear = trees[0].tree.system(trees[0].tree.root()).about().name != "btrfs";
    let rule = if sound.is_empty() { "guest-kernel" } else { "guest-kernel-stale" };
    for (entry, path) in broken.iter().filter(|_| is_clear) {
        let found =
            format!("it names {}, which is not there", crate::guest::escape(path.as_bytes()));
        hits.add(rule, &entry.place, found, "an entry whose kernel and initramfs exist");
    }
    arguments(&trees[0], &sound, machines, hits)?;
    let mut unpacked = Vec::new();
    for entry in &sound {
        one(trees, entry, &mut drivers, &mut unpacked)?;
    }
    Ok(drivers)
}

fn root_name(files: &Files<'_, '_>) -> &'static str {
    files.tree.system(files.tree.root()).about().name
}

/// Looks at what the kernels are given.
fn arguments(
    files: &Files<'_, '_>,
    entries: &[&Entry],
    machines: &Machines<'_, '_>,
    hits: &mut Hits,
) -> Result<()> {
    let Some(first) = entries.first() else { return Ok(()) };
    let is_known = |entry: &Entry| entry.arguments.iter().all(|it| !it.starts_with('$'));
    let roots: Vec<(&Entry, &str)> =
        entries.iter().filter_map(|it| Some((*it, it.argument("root")?))).collect();
    let lost = |root: &str| machines.leads(root.as_bytes()) == Leads::Nowhere;
    let all_lost = !roots.is_empty() && roots.iter().all(|(_, root)| lost(root));
    for (entry, root) in &roots {
        let shown = crate::guest::escape(root.as_bytes());
        if lost(root) {
            let rule = if all_lost { "guest-root" } else { "guest-kernel-stale" };
            let found = format!("root={shown}, which is on no volume of the AMI");
            hits.add(rule, &entry.place, found, "the UUID, label or PARTUUID of the root");
        } else if is_device(root.as_bytes()) {
            let found = format!("root={shown}, a name that depends on the instance type");
            hits.add("guest-device-names", &entry.place, found, "root=UUID=, LABEL= or PARTUUID=");
        }
    }
    if !is_known(first) {
        return Ok(());
    }
    let consoles = |entry: &&&Entry| {
        entry.arguments.iter().any(|it| {
            it.strip_prefix("console=").is_some_and(|it| {
                ["ttyS0", "ttyAMA0", "hvc0", "xvc0"].contains(&it.split(',').next().unwrap_or(it))
            })
        })
    };
    if entries.iter().find(consoles).is_none() {
        let instead = "console=ttyS0,115200n8";
        hits.add("guest-console", &first.place, "no console on a serial port", instead);
    }
    let module = option_of_module(files)?;
    let timeout = first.argument("nvme_core.io_timeout").map(str::to_owned).or(module);
    if !timeout.as_deref().is_some_and(|it| matches!(it, "4294967295" | OLD_TIMEOUT)) {
        let found = timeout.map_or_else(
            || "no nvme_core.io_timeout, which is 30 seconds then".to_owned(),
            |_| "another nvme_core.io_timeout than the longest".to_owned(),
        );
        let instead = "nvme_core.io_timeout=4294967295";
        hits.add("guest-nvme-timeout", &first.place, found, instead);
    }
    Ok(())
}

/// Returns the timeout that a file for `modprobe` sets.
fn option_of_module(files: &Files<'_, '_>) -> Result<Option<String>> {
    for folder in ["/etc/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"] {
        for item in files.list(folder.as_bytes())? {
            if !item.is_file() {
                continue;
            }
            let text = files.head(&item.path, item.spot, 64 << 10)?.unwrap_or_default();
            for (_, line) in lines(&text) {
                let line = lossy(line);
                let is_it = line.starts_with("options") && line.contains("nvme_core");
                if let (true, Some((_, value))) = (is_it, line.split_once("io_timeout=")) {
                    return Ok(value.split_whitespace().next().map(str::to_owned));
                }
            }
        }
    }
    Ok(None)
}

/// Finds the drivers of one entry.
fn one(
    trees: &[Files<'_, '_>],
    entry: &Entry,
    drivers: &mut Drivers,
    unpacked: &mut Vec<(Vec<String>, Option<Modules>)>,
) -> Result<()> {
    let files = &trees[0];
    let Some(folder) = modules_of(files, &entry.kernel)? else { return Ok(()) };
    let Some(built_in) = list(files, &folder, "modules.builtin")? else { return Ok(()) };
    let loadable = list(files, &folder, "modules.dep")?;
    let early = initramfs_of(trees, entry, unpacked)?;
    let starts_with = |names: &[&str]| -> Option<bool> {
        if names.iter().any(|it| built_in.has(it)) {
            return Some(true);
        }
        early.as_ref().map(|early| names.iter().any(|it| early.has(it)))
    };
    better(&mut drivers.nvme, starts_with(&["nvme"]));
    better(&mut drivers.xen, starts_with(&["xen_blkfront"]));
    match drivers.root_name {
        name @ ("ext2" | "ext3" | "ext4") => {
            better(&mut drivers.root, starts_with(&["ext4", name]));
        }
        name @ ("xfs" | "btrfs" | "f2fs") => better(&mut drivers.root, starts_with(&[name])),
        _ => {}
    }
    let ena = match (built_in.has("ena"), loadable) {
        (true, _) => Some(true),
        (false, Some(loadable)) => Some(loadable.has("ena")),
        (false, None) => None,
    };
    better(&mut drivers.ena, ena);
    Ok(())
}

/// What is there wins over what is not, and that over what is not known: another entry may start.
fn better(known: &mut Option<bool>, found: Option<bool>) {
    *known = match (*known, found) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (None, other) | (other, None) => other,
        _ => Some(false),
    };
}

/// Returns the directory of a kernel's modules: that of its version, or the only one that there is.
fn modules_of(files: &Files<'_, '_>, kernel: &str) -> Result<Option<String>> {
    let name = kernel.rsplit('/').next().unwrap_or(kernel);
    let versions: Vec<&str> =
        name.match_indices('-').map(|(at, _)| &name[at.strict_add(1)..]).collect();
    for base in ["/lib/modules", "/usr/lib/modules"] {
        for version in &versions {
            let path = format!("{base}/{version}");
            if files.exists(path.as_bytes())? {
                return Ok(Some(path));
            }
        }
        let items = files.list(base.as_bytes())?;
        let mut folders = items.iter().filter(|it| it.node.kind == FileKind::Directory);
        if let (Some(only), None) = (folders.next(), folders.next()) {
            return Ok(Some(lossy(&only.path)));
        }
    }
    Ok(None)
}

/// Reads a list of paths of modules.
fn list(files: &Files<'_, '_>, folder: &str, name: &str) -> Result<Option<Modules>> {
    let path = format!("{folder}/{name}");
    let Some((spot, node)) = files.find(path.as_bytes())? else { return Ok(None) };
    if node.kind != FileKind::Regular {
        return Ok(None);
    }
    let Some(text) = files.head(path.as_bytes(), spot, MAX_LIST_LEN)? else { return Ok(None) };
    let mut modules = Modules::default();
    for (_, line) in lines(&text) {
        // A line of modules.dep goes on with what the module needs.
        modules.take(line.split(|byte| *byte == b':').next().unwrap_or(line));
    }
    Ok(Some(modules))
}

/// Returns the modules in the initramfs of an entry; `None` if that cannot be told.
fn initramfs_of(
    trees: &[Files<'_, '_>],
    entry: &Entry,
    unpacked: &mut Vec<(Vec<String>, Option<Modules>)>,
) -> Result<Option<Modules>> {
    if let Some((_, modules)) = unpacked.iter().find(|(paths, _)| *paths == entry.initramfs) {
        return Ok(modules.clone());
    }
    if unpacked.len() >= MAX_UNPACKED {
        return Ok(None);
    }
    let mut modules = Some(Modules::default());
    for path in &entry.initramfs {
        let found = match resolve(trees, path)? {
            Some((files, spot)) => initramfs::modules(files, spot)?,
            None => None,
        };
        modules = match (modules, found) {
            (Some(mut all), Some(more)) => {
                all.join(&more);
                Some(all)
            }
            _ => None,
        };
    }
    unpacked.push((entry.initramfs.clone(), modules.clone()));
    Ok(modules)
}

/// Tells whether a file system is one of Linux's own, on which programs can lie.
pub(super) fn is_linux(system: &dyn FileSystem) -> bool {
    !matches!(system.about().name, "vfat" | "ntfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_wins_over_what_is_not() {
        for (known, found, expected) in [
            (None, Some(false), Some(false)),
            (Some(false), None, Some(false)),
            (Some(false), Some(true), Some(true)),
            (Some(true), Some(false), Some(true)),
            (None, None, None),
        ] {
            let mut now = known;
            better(&mut now, found);
            assert_eq!(now, expected, "{known:?} and {found:?}");
        }
    }
}
