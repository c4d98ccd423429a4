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

pub(super) fn device_kind(subject: &Subject<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for it in devices(subject) {
        let members = [
            ("Ebs", it.ebs.is_some()),
            ("VirtualName", it.virtual_name.is_some()),
            ("NoDevice", it.no_device.is_some()),
        ];
        let there: Vec<&str> =
            members.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
        if there.len() != 1 {
            let what = if there.is_empty() { "nothing".to_owned() } else { there.join(" and ") };
            let instead = "exactly one of Ebs, VirtualName and NoDevice";
            found.push(Found::new(member(it, "entry"), what, instead));
        }
    }
    found
}

/// Tells whether an HVM machine takes a name.
fn is_hvm_name(name: &DeviceName<'_>) -> bool {
    let letters = name.letters.as_bytes();
    match (name.prefix, letters) {
        ("sd" | "xvd", [_]) => true,
        ("xvd", [b'a'..=b'c', _]) => true,
        ("xvd", [b'd', second]) => *second <= b'x',
        _ => false,
    }
}

pub(super) fn device_name_hvm(subject: &Subject<'_>) -> Vec<Found> {
    if !is_hvm(subject) {
        return Vec::new();
    }
    devices(subject)
        .filter(|it| !it.device_name.is_empty())
        .filter(|it| !DeviceName::parse(&it.device_name).is_some_and(|name| is_hvm_name(&name)))
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
        .filter(|it| !it.device_name.is_empty())
        .filter(|it| !DeviceName::parse(&it.device_name).is_some_and(|name| sound(&name)))
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
    if name.is_empty() || subject.is_instance_store() || subject.ami.root().is_some() {
        return Vec::new();
    }
    let there: Vec<&str> = devices(subject).map(|it| it.device_name.as_str()).collect();
    let instead = if there.is_empty() {
        format!("an entry for {name} in the mapping")
    } else {
        format!("one of {}, or an entry for {name}", there.join(", "))
    };
    vec![Found::new("RootDeviceName", format!("{name}, which is not mapped"), instead)]
}

pub(super) fn root_content(subject: &Subject<'_>) -> Vec<Found> {
    if subject.is_instance_store() {
        return Vec::new();
    }
    let Some(root) = subject.ami.root() else { return Vec::new() };
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

pub(super) fn virtual_name(subject: &Subject<'_>) -> Vec<Found> {
    let sound = |name: &str| {
        name.strip_prefix("ephemeral").is_some_and(|digits| {
            digits.parse::<u32>().is_ok_and(|number| number <= 23 && number.to_string() == digits)
        })
    };
    devices(subject)
        .filter_map(|it| Some((it, it.virtual_name.as_deref().filter(|name| !sound(name))?)))
        .map(|(it, name)| {
            Found::new(member(it, "VirtualName"), format!("{name:?}"), "ephemeral0 to ephemeral23")
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
