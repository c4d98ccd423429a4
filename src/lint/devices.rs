//! Rules about the names and kinds of mapped devices.

use crate::ami::DeviceName;
use crate::ami::Mapping;
use crate::ami::Virtualization;
use crate::lint::Found;
use crate::lint::Subject;
use crate::lint::limits::MAX_ATTACHED;
use crate::lint::member;

fn devices<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a Mapping> {
    subject.ami.block_device_mappings.iter()
}

fn is_hvm(subject: &Subject<'_>) -> bool {
    subject.ami.effective_virtualization() == Virtualization::Hvm
}

/// The first free name that EC2 recommends for a volume.
fn free_name(subject: &Subject<'_>) -> String {
    ('f'..='p')
        .map(|letter| format!("sd{letter}"))
        .find(|name| !devices(subject).any(|it| it.bare_name() == name))
        .map_or_else(|| "/dev/sdf".to_owned(), |name| format!("/dev/{name}"))
}

pub(super) fn device_missing(subject: &Subject<'_>) -> Vec<Found> {
    devices(subject)
        .filter(|it| it.device_name.is_empty())
        .map(|_| {
            Found::new("BlockDeviceMappings", "an entry without DeviceName", free_name(subject))
        })
        .collect()
}

/// What an entry is: one of these, if it makes sense.
fn kinds(mapping: &Mapping) -> Vec<&'static str> {
    let members = [
        ("Ebs", mapping.ebs.is_some()),
        ("VirtualName", mapping.virtual_name.is_some()),
        ("NoDevice", mapping.no_device.is_some()),
    ];
    members.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

const ONE_KIND: &str = "exactly one of Ebs, VirtualName and NoDevice";

pub(super) fn device_kind(subject: &Subject<'_>) -> Vec<Found> {
    devices(subject)
        .filter(|it| kinds(it).is_empty())
        .map(|it| Found::new(member(it, "entry"), "nothing", ONE_KIND))
        .collect()
}

pub(super) fn device_two_kinds(subject: &Subject<'_>) -> Vec<Found> {
    devices(subject)
        .filter(|it| kinds(it).len() > 1)
        .map(|it| Found::new(member(it, "entry"), kinds(it).join(" and "), ONE_KIND))
        .collect()
}

/// Finds names that have none of the shapes of EC2's.
pub(super) fn device_name(subject: &Subject<'_>) -> Vec<Found> {
    devices(subject)
        .filter(|it| !it.device_name.is_empty() && DeviceName::parse(&it.device_name).is_none())
        .map(|it| {
            let instead = format!("a name such as {}", free_name(subject));
            Found::new(member(it, "DeviceName"), format!("{:?}", it.device_name), instead)
        })
        .collect()
}

/// Tells whether an HVM machine takes a name.
fn is_hvm_name(name: &DeviceName<'_>) -> bool {
    let letters = name.letters.as_bytes();
    match (name.prefix, letters) {
        ("sd" | "xvd", [_]) | ("xvd", [b'a'..=b'c', _]) => true,
        ("xvd", [b'd', second]) => *second <= b'x',
        _ => false,
    }
}

pub(super) fn device_name_hvm(subject: &Subject<'_>) -> Vec<Found> {
    if !is_hvm(subject) {
        return Vec::new();
    }
    devices(subject)
        .filter(|it| DeviceName::parse(&it.device_name).is_some_and(|name| !is_hvm_name(&name)))
        .map(|it| {
            let instead = format!(
                "/dev/sd and a letter, or /dev/xvd and one or two, such as {}",
                free_name(subject)
            );
            Found::new(member(it, "DeviceName"), format!("{:?}", it.device_name), instead)
        })
        .collect()
}

pub(super) fn device_digits_hvm(subject: &Subject<'_>) -> Vec<Found> {
    let digits = |it: &&Mapping| {
        DeviceName::parse(&it.device_name).is_some_and(|name| {
            let root = subject.is_root(it) && name.partition == 1;
            let allowed =
                root || (name.prefix == "sd" && name.letters == "a" && name.partition <= 2);
            name.partition != 0 && !allowed
        })
    };
    devices(subject)
        .filter(|it| is_hvm(subject) && digits(it))
        .map(|it| {
            Found::new(
                member(it, "DeviceName"),
                "a partition's number",
                format!("a name without one, such as {}", free_name(subject)),
            )
        })
        .collect()
}

pub(super) fn device_sda2(subject: &Subject<'_>) -> Vec<Found> {
    devices(subject)
        .filter(|it| is_hvm(subject) && it.bare_name() == "sda2")
        .map(|it| Found::new(member(it, "DeviceName"), "sda2 on HVM", free_name(subject)))
        .collect()
}

pub(super) fn device_name_pv(subject: &Subject<'_>) -> Vec<Found> {
    if is_hvm(subject) {
        return Vec::new();
    }
    let sound = |name: &DeviceName<'_>| {
        matches!(name.prefix, "sd" | "hd") && name.letters.len() == 1 && name.partition <= 15
    };
    devices(subject)
        .filter(|it| DeviceName::parse(&it.device_name).is_some_and(|name| !sound(&name)))
        .map(|it| {
            let instead = "/dev/sd or /dev/hd, a letter, and nothing or 1 to 15";
            Found::new(member(it, "DeviceName"), format!("{:?}", it.device_name), instead)
        })
        .collect()
}

pub(super) fn device_mixed_pv(subject: &Subject<'_>) -> Vec<Found> {
    if is_hvm(subject) {
        return Vec::new();
    }
    let whole: Vec<DeviceName<'_>> = devices(subject)
        .filter_map(|it| DeviceName::parse(&it.device_name))
        .filter(|name| name.partition == 0)
        .collect();
    devices(subject)
        .filter(|it| {
            DeviceName::parse(&it.device_name).is_some_and(|name| {
                let disk = DeviceName { partition: 0, ..name };
                name.partition != 0 && whole.contains(&disk)
            })
        })
        .map(|it| {
            let found = "a letter both with and without a number";
            Found::new(member(it, "DeviceName"), found, "another letter for one of the two")
        })
        .collect()
}

pub(super) fn device_twice(subject: &Subject<'_>) -> Vec<Found> {
    let all: Vec<&Mapping> = devices(subject).collect();
    all.iter()
        .enumerate()
        .filter(|(number, it)| {
            !it.device_name.is_empty()
                && all[..*number].iter().any(|before| before.bare_name() == it.bare_name())
        })
        .map(|(_, it)| {
            let found = "a device that is mapped before, with or without /dev/";
            Found::new(
                member(it, "DeviceName"),
                found,
                format!("each device once; {} is free", free_name(subject)),
            )
        })
        .collect()
}

pub(super) fn root_missing(subject: &Subject<'_>) -> Vec<Found> {
    if !subject.ami.root_device_name.is_empty() || subject.is_instance_store() {
        return Vec::new();
    }
    let first =
        devices(subject).find(|it| it.ebs.as_ref().is_some_and(crate::ami::Ebs::has_content));
    let instead = first.map_or("/dev/xvda", |it| &it.device_name);
    vec![Found::new("RootDeviceName", "nothing", instead)]
}

pub(super) fn root_unmapped(subject: &Subject<'_>) -> Vec<Found> {
    let name = &subject.ami.root_device_name;
    let by_disk = subject.root().filter(|_| subject.ami.root().is_none());
    let Some(root) = by_disk.filter(|_| !subject.is_instance_store()) else { return Vec::new() };
    let found = format!("{name}, and the mapping has {}", root.device_name);
    vec![Found::new("RootDeviceName", found, root.device_name.as_str())]
}

pub(super) fn root_content(subject: &Subject<'_>) -> Vec<Found> {
    let name = &subject.ami.root_device_name;
    if subject.is_instance_store() || name.is_empty() {
        return Vec::new();
    }
    let Some(root) = subject.root() else {
        let there: Vec<&str> = devices(subject).map(|it| it.device_name.as_str()).collect();
        let instead = if there.is_empty() {
            format!("an entry for {name} with a snapshot, or an image")
        } else {
            format!("one of {}, or an entry for {name}", there.join(", "))
        };
        let found = format!("{name}, which is not mapped");
        return vec![Found::new("RootDeviceName", found, instead)];
    };
    if root.ebs.as_ref().is_some_and(crate::ami::Ebs::has_content) {
        return Vec::new();
    }
    let what = if root.ebs.is_some() { "an empty volume" } else { "no EBS volume" };
    vec![Found::new(member(root, "root"), what, "an EBS volume with a snapshot, or an image")]
}

pub(super) fn root_name(subject: &Subject<'_>) -> Vec<Found> {
    let name = &subject.ami.root_device_name;
    if name.is_empty() {
        return Vec::new();
    }
    let sound = DeviceName::parse(name).is_some_and(|parts| match parts.prefix {
        _ if !is_hvm(subject) => parts.prefix != "xvd",
        "sd" | "xvd" => parts.partition <= 1 && is_hvm_name(&DeviceName { partition: 0, ..parts }),
        _ => false,
    });
    if sound {
        return Vec::new();
    }
    let instead = if is_hvm(subject) { "/dev/xvda or /dev/sda1" } else { "/dev/sda1" };
    vec![Found::new("RootDeviceName", format!("{name:?}"), instead)]
}

pub(super) fn root_prefix(subject: &Subject<'_>) -> Vec<Found> {
    let name = &subject.ami.root_device_name;
    if name.is_empty() || name.starts_with("/dev/") {
        return Vec::new();
    }
    vec![Found::new("RootDeviceName", format!("{name:?}"), format!("/dev/{name}"))]
}

/// The number of an ephemeral device, if the name is one's.
fn ephemeral_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("ephemeral")?;
    let number = digits.parse().ok()?;
    (u64::to_string(&number) == digits).then_some(number)
}

pub(super) fn virtual_name(subject: &Subject<'_>) -> Vec<Found> {
    devices(subject)
        .filter_map(|it| Some((it, it.virtual_name.as_deref()?)))
        .filter(|(_, name)| ephemeral_number(name).is_none())
        .map(|(it, name)| {
            let instead = "ephemeral0, ephemeral1 and so on";
            Found::new(member(it, "VirtualName"), format!("{name:?}"), instead)
        })
        .collect()
}

/// The highest number of an ephemeral device that an AMI of AWS's own has.
const LAST_EPHEMERAL: u64 = 25;

pub(super) fn virtual_name_number(subject: &Subject<'_>) -> Vec<Found> {
    devices(subject)
        .filter_map(|it| Some((it, it.virtual_name.as_deref()?)))
        .filter(|(_, name)| ephemeral_number(name).is_some_and(|it| it > LAST_EPHEMERAL))
        .map(|(it, name)| {
            let instead = format!("ephemeral0 to ephemeral{LAST_EPHEMERAL}: no type has more");
            Found::new(member(it, "VirtualName"), name, instead)
        })
        .collect()
}

/// Finds devices that one kernel name stands for: on Xen a guest sees /dev/sdb as xvdb.
pub(super) fn device_xen(subject: &Subject<'_>) -> Vec<Found> {
    let all: Vec<(&Mapping, DeviceName<'_>)> =
        devices(subject).filter_map(|it| Some((it, DeviceName::parse(&it.device_name)?))).collect();
    let clash = |one: &DeviceName<'_>, other: &DeviceName<'_>| {
        let same = is_hvm(subject) || one.partition == other.partition;
        one.letters == other.letters && one.prefix != other.prefix && same
    };
    all.iter()
        .enumerate()
        .filter_map(|(number, (it, name))| {
            let (before, _) = all[..number].iter().find(|(_, before)| clash(before, name))?;
            let found = format!("the device that {} is, to a guest on Xen", before.device_name);
            Some(Found::new(member(it, "DeviceName"), found, free_name(subject)))
        })
        .collect()
}

pub(super) fn virtual_name_twice(subject: &Subject<'_>) -> Vec<Found> {
    let all: Vec<&Mapping> = devices(subject).collect();
    all.iter()
        .enumerate()
        .filter_map(|(number, it)| {
            let name = it.virtual_name.as_deref()?;
            let before = all[..number].iter().any(|it| it.virtual_name.as_deref() == Some(name));
            before.then(|| {
                let found = format!("{name}, which another device has");
                Found::new(member(it, "VirtualName"), found, "each ephemeral device once")
            })
        })
        .collect()
}

pub(super) fn no_device(subject: &Subject<'_>) -> Vec<Found> {
    devices(subject)
        .filter_map(|it| Some((it, it.no_device.as_deref().filter(|text| !text.is_empty())?)))
        .map(|(it, text)| {
            Found::new(
                member(it, "NoDevice"),
                format!("{text:?}"),
                "the empty string, or no NoDevice",
            )
        })
        .collect()
}

pub(super) fn device_count(subject: &Subject<'_>) -> Vec<Found> {
    let count = subject.volumes().count();
    if count <= MAX_ATTACHED {
        return Vec::new();
    }
    let instead = format!("at most {MAX_ATTACHED}, for most Nitro instance types");
    vec![Found::new("BlockDeviceMappings", format!("{count} EBS volumes"), instead)]
}
