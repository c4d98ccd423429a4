//! The volumes of a machine, and what names of devices lead to.

use crate::guest::Found as Held;
use crate::guest::Guest;
use crate::guest::Part;
use crate::guest::names_part;
use crate::lint::inside::files::lossy;

/// A volume that is looked into.
#[derive(Clone, Copy, Debug)]
pub struct InsideVolume<'g> {
    /// Its device in the mapping.
    pub device: &'g str,
    /// What it holds.
    pub guest: &'g Guest<'g>,
}

/// All volumes of a mapping, as far as they were looked at.
#[derive(Clone, Copy)]
pub(super) struct Machines<'a, 'g> {
    pub(super) volumes: &'a [InsideVolume<'g>],
    /// Which of them is the root.
    pub(super) root: usize,
    /// Whether there is no other volume with content.
    pub(super) all_known: bool,
}

/// Where a name of a device leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// To a part of this volume.
    To(usize),
    /// To nothing that is there.
    Nowhere,
    /// It cannot be told.
    Unknown,
}

impl<'g> Machines<'_, 'g> {
    pub(super) fn parts(&self) -> impl Iterator<Item = (usize, &Part<'g>)> {
        let each = self.volumes.iter().enumerate();
        each.flat_map(|(index, volume)| volume.guest.parts.iter().map(move |part| (index, part)))
    }

    /// Finds what a UUID, a label or a path of a device names.
    pub(super) fn leads(&self, source: &[u8]) -> Leads {
        let lower = source.to_ascii_lowercase();
        let starts = |all: &[&str]| all.iter().any(|it| lower.starts_with(it.as_bytes()));
        if let Some((volume, _)) = self.parts().find(|(_, part)| names_part(source, part)) {
            return if is_device(source) { self.of_device(source) } else { Leads::To(volume) };
        }
        let by_table = starts(&[
            "partuuid=",
            "partlabel=",
            "/dev/disk/by-partuuid/",
            "/dev/disk/by-partlabel/",
        ]);
        let by_system = starts(&["uuid=", "label=", "/dev/disk/by-uuid/", "/dev/disk/by-label/"]);
        let is_read = |(_, part): (usize, &Part<'_>)| {
            matches!(part.found, Held::System(_) | Held::Swap(_) | Held::Nothing)
                || matches!(part.found, Held::Named("LVM2_member"))
        };
        let is_plain = !source.contains(&b'$') && !lower.windows(10).any(|it| it == b"/partnroff");
        if !self.all_known || !is_plain {
            Leads::Unknown
        } else if by_table || by_system && self.parts().all(is_read) {
            Leads::Nowhere
        } else {
            Leads::Unknown
        }
    }

    /// Finds the volume that a device's name is meant for: the letter of the mapping's.
    fn of_device(&self, source: &[u8]) -> Leads {
        let disk = |name: &str| {
            let name = name.trim_start_matches("/dev/");
            let name = ["xvd", "sd", "vd", "hd"].iter().find_map(|it| name.strip_prefix(it))?;
            Some(name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned())
        };
        let Some(wanted) = disk(&lossy(source)) else { return Leads::Unknown };
        let place = self.volumes.iter().position(|it| disk(it.device).as_ref() == Some(&wanted));
        place.map_or(Leads::Unknown, Leads::To)
    }
}

/// Tells whether a device is named by the order in which the kernel found it.
pub(super) fn is_device(source: &[u8]) -> bool {
    let Some(name) = source.strip_prefix(b"/dev/") else { return false };
    let after = |prefix: &[u8], is: fn(&u8) -> bool| {
        name.strip_prefix(prefix).and_then(<[u8]>::first).is_some_and(is)
    };
    [&b"sd"[..], b"xvd", b"hd", b"vd"].iter().any(|it| after(it, u8::is_ascii_lowercase))
        || after(b"nvme", u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_depend_on_the_instance_are_known() {
        for name in ["/dev/sda1", "/dev/xvdf", "/dev/nvme1n1", "/dev/vda"] {
            assert!(is_device(name.as_bytes()), "{name}");
        }
        for name in ["/dev/mapper/x", "UUID=1", "/dev/disk/by-uuid/1", "/dev/sd", "tmpfs"] {
            assert!(!is_device(name.as_bytes()), "{name}");
        }
    }
}
