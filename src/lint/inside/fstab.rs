//! `/etc/fstab`, compared with what all volumes of the mapping hold.

use crate::error::Result;
use crate::guest::FileKind;
use crate::guest::Found as Held;
use crate::guest::Part;
use crate::guest::unescape;
use crate::lint::inside::files::Files;
use crate::lint::inside::files::lines;
use crate::lint::inside::files::lossy;
use crate::lint::inside::files::words;
use crate::lint::inside::hits::Hits;
use crate::lint::inside::machines::Leads;
use crate::lint::inside::machines::Machines;
use crate::lint::inside::machines::is_device;

const PATH: &[u8] = b"/etc/fstab";

/// File systems without a device.
const VIRTUAL: &[&str] = &[
    "tmpfs",
    "proc",
    "sysfs",
    "devpts",
    "devtmpfs",
    "cgroup",
    "cgroup2",
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "efs",
    "overlay",
    "9p",
    "virtiofs",
    "fuse",
    "lustre",
    "none",
    "debugfs",
    "securityfs",
    "hugetlbfs",
    "mqueue",
    "bpf",
    "tracefs",
    "autofs",
    "binfmt_misc",
];

/// Applies the rules about the table.
pub(super) fn look(
    files: &Files<'_, '_>,
    machines: &Machines<'_, '_>,
    hits: &mut Hits,
) -> Result<()> {
    match files.find_itself(PATH)? {
        Some(node) if node.kind == FileKind::Regular => {}
        Some(node) => {
            let found = format!("it is a {}", node.kind.name());
            hits.add("guest-fstab-file", files.place(PATH), found, "a regular file");
        }
        None => hits.add(
            "guest-fstab-file",
            files.place(PATH),
            "no file",
            "a table, if only of the root",
        ),
    }
    for (number, line) in lines(&files.text(PATH)?.unwrap_or_default()) {
        let mut fields = words(line);
        let (Some(source), Some(on), Some(kind)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if source.starts_with(b"#") || VIRTUAL.contains(&&*lossy(kind)) {
            continue;
        }
        let (source, on) = (&unescape(source)[..], &unescape(on)[..]);
        let options = lossy(fields.next().unwrap_or_default());
        let has = |name: &str| options.split(',').any(|it| it == name);
        let waits = !(has("nofail") || has("noauto") || has("x-systemd.automount") || has("bind"));
        let place = files.line(PATH, number);
        let shown = crate::guest::escape(source);
        let leads = machines.leads(source);
        if is_device(source) {
            let found = format!("{shown}, a name that depends on the instance type");
            let instead = "UUID=, LABEL= or PARTUUID= (blkid shows them)";
            hits.add("guest-device-names", &place, found, instead);
        }
        if kind == b"swap" || on == b"/" && leads != Leads::Nowhere {
            continue;
        }
        match leads {
            Leads::Nowhere if waits => {
                let found = format!("{shown}, which is on no volume of the AMI");
                let instead = "a file system that is there, or the option nofail";
                hits.add("guest-fstab", &place, found, instead);
            }
            Leads::To(volume) if volume != machines.root && waits => {
                let device = machines.volumes[volume].device;
                let found = format!("{shown} of {device} without nofail");
                hits.add("guest-fstab-nofail", &place, found, "the option nofail");
            }
            Leads::Unknown if waits && is_device(source) => {
                let found = format!("{shown} without nofail");
                hits.add("guest-fstab-nofail", &place, found, "the option nofail");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Finds file systems of one UUID.
pub(super) fn twice(machines: &Machines<'_, '_>, hits: &mut Hits) {
    let uuid = |part: &Part<'_>| match &part.found {
        Held::System(system) => system.about().uuid.clone().filter(|uuid| !uuid.is_empty()),
        Held::Swap(swap) => Some(swap.uuid.clone()),
        _ => None,
    };
    // Both may be on one volume.
    let name = |volume: usize, part: &Part<'_>| {
        let device = machines.volumes[volume].device;
        match (&part.logical, part.number) {
            (Some(logical), _) => format!("{device}: logical volume {}", logical.name),
            (None, Some(number)) => format!("{device}: partition {number}"),
            (None, None) => format!("{device}: content"),
        }
    };
    let named = machines.parts().filter_map(|(index, part)| Some((name(index, part), uuid(part)?)));
    let all: Vec<(String, String)> = named.collect();
    for (place, (at, uuid)) in all.iter().enumerate() {
        let before = all[..place].iter().find(|(_, other)| other.eq_ignore_ascii_case(uuid));
        if let Some((other, _)) = before {
            let found = format!("a file system with the UUID {uuid} of {other}");
            let instead = "a UUID of its own: tune2fs -U random, xfs_admin -U generate";
            hits.add("guest-uuid-twice", at, found, instead);
        }
    }
}
