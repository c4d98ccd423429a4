//! What `/etc/fstab` mounts, and what it calls a part of a volume.

use crate::guest::survey::Part;
use crate::guest::systems::Found;

/// A subvolume, as a mount option names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subvolume {
    /// By its path from the top.
    Path(Vec<u8>),
    /// By its number.
    Number(u64),
}

/// A line that mounts something below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) source: Vec<u8>,
    pub(super) path: Vec<u8>,
    pub(super) subvolume: Option<Subvolume>,
    /// Place of the part that the source names; 0 until it is known.
    pub(super) part: usize,
}

impl Line {
    /// Reads a line; `None` if it mounts nothing below the root.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty());
        let (source, path) = (unescape(fields.next()?), unescape(fields.next()?));
        let options = fields.nth(1).map(unescape).unwrap_or_default();
        let usable = !source.starts_with(b"#") && path.starts_with(b"/") && path.len() > 1;
        let subvolume = options.split(|byte| *byte == b',').find_map(|option| {
            if let Some(path) = option.strip_prefix(b"subvol=") {
                return Some(Subvolume::Path(path.to_vec()));
            }
            let number = std::str::from_utf8(option.strip_prefix(b"subvolid=")?).ok()?;
            Some(Subvolume::Number(number.parse().ok()?))
        });
        usable.then_some(Self { source, path, subvolume, part: 0 })
    }
}

/// Tells whether the source of a line of `/etc/fstab`, without its octal numbers, names a part.
#[must_use]
pub fn names_part(source: &[u8], part: &Part<'_>) -> bool {
    let (label, uuid) = match &part.found {
        Found::System(system) => (&system.about().label[..], system.about().uuid.as_deref()),
        Found::Swap(swap) => (&swap.label[..], Some(&*swap.uuid)),
        _ => (&b""[..], None),
    };
    let is_uuid = |text: &[u8]| {
        uuid.is_some_and(|uuid| !uuid.is_empty() && text.eq_ignore_ascii_case(uuid.as_bytes()))
    };
    let is_part =
        |text: &[u8]| !part.uuid.is_empty() && text.eq_ignore_ascii_case(part.uuid.as_bytes());
    let is_label = |text: &[u8]| !label.is_empty() && text == label;
    let is_part_label = |text: &[u8]| !part.label.is_empty() && text == part.label.as_bytes();
    let source = source.strip_suffix(b"\"").unwrap_or(source);
    let (key, value) = match source.iter().position(|byte| *byte == b'=') {
        Some(at) => (&source[..at], &source[at.strict_add(1)..]),
        None => (&b""[..], source),
    };
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    match key {
        b"UUID" => is_uuid(value),
        b"LABEL" => is_label(value),
        b"PARTUUID" => is_part(value),
        b"PARTLABEL" => is_part_label(value),
        b"" => {
            let by = |prefix: &[u8]| value.strip_prefix(prefix);
            by(b"/dev/disk/by-uuid/").is_some_and(is_uuid)
                || by(b"/dev/disk/by-label/").is_some_and(|it| is_label(&without_hex(it)))
                || by(b"/dev/disk/by-partuuid/").is_some_and(is_part)
                || by(b"/dev/disk/by-partlabel/").is_some_and(|it| is_part_label(&without_hex(it)))
                || by(b"/dev/").is_some_and(|name| match &part.logical {
                    Some(logical) => is_logical(name, &logical.name),
                    None => device(name).is_some_and(|(_, number)| number == part.number),
                })
        }
        _ => false,
    }
}

/// Tells whether a device's name is that of a logical volume: `group/name`, or `mapper/group-name`, in which
/// hyphens of both names are doubled.
pub(super) fn is_logical(device: &[u8], name: &str) -> bool {
    let doubled = || name.replace('-', "--").replacen('/', "-", 1);
    device == name.as_bytes()
        || device.strip_prefix(b"mapper/").is_some_and(|it| it == doubled().as_bytes())
}

/// Tells whether a source is the name of a device that another disk than the first one has.
pub(super) fn is_of_another_disk(source: &[u8]) -> bool {
    let name = source.strip_prefix(b"/dev/").and_then(device);
    name.is_some_and(|(disk, _)| !FIRST_DISKS.contains(&disk))
}

/// What the kernel calls the first disk, where the root is.
const FIRST_DISKS: [&[u8]; 5] = [b"sda", b"xvda", b"vda", b"hda", b"nvme0n1"];

/// Splits the name of a device into its disk and the number of a partition, if it has one, as in `sda1`, `xvda1`
/// and `nvme0n1p1`; `None` if it is the name of something else.
fn device(name: &[u8]) -> Option<(&[u8], Option<u32>)> {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (stem, number) = name.split_at(name.len().strict_sub(digits));
    let number = std::str::from_utf8(number).ok()?.parse().ok();
    if let Some(rest) = stem.strip_prefix(b"nvme") {
        // The last number of nvme0n1 is a namespace.
        return match rest.strip_suffix(b"p") {
            Some(_) => number.map(|number| (&stem[..stem.len().strict_sub(1)], Some(number))),
            None => rest.ends_with(b"n").then_some((name, None)),
        };
    }
    let letters =
        [&b"sd"[..], b"xvd", b"vd", b"hd"].iter().find_map(|it| stem.strip_prefix(*it))?;
    let is_disk = !letters.is_empty() && letters.iter().all(u8::is_ascii_lowercase);
    is_disk.then_some((stem, number))
}

/// Undoes what `/etc/fstab` writes for blanks: `\040`.
#[must_use]
pub fn unescape(field: &[u8]) -> Vec<u8> {
    without(field, 3, &|digits| {
        let octal = digits.iter().all(|digit| (b'0'..=b'7').contains(digit));
        u8::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| octal)?, 8).ok()
    })
}

/// Undoes what udev writes in names of links for what cannot stand there: `\x20`.
fn without_hex(name: &[u8]) -> Vec<u8> {
    without(name, 3, &|digits| {
        let digits = std::str::from_utf8(digits.strip_prefix(b"x")?).ok()?;
        u8::from_str_radix(digits, 16).ok()
    })
}

/// Puts a byte in place of each backslash and `count` bytes that stand for it.
fn without(field: &[u8], count: usize, value_of: &dyn Fn(&[u8]) -> Option<u8>) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let value = behind.get(..count).filter(|_| *first == b'\\').and_then(value_of);
        plain.push(value.unwrap_or(*first));
        rest = if value.is_some() { &behind[count..] } else { behind };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::guest::Guest;
    use crate::guest::Logical;
    use crate::guest::PartitionKind;
    use crate::guest::Tree;
    use crate::guest::memory::Memory;

    fn part(number: Option<u32>, logical: Option<&str>, found: Found<'static>) -> Part<'static> {
        let logical = logical.map(|name| Logical {
            name: name.to_owned(),
            device: 0,
            pieces: std::iter::once(0..4096).collect(),
            is_shared: false,
        });
        Part {
            number,
            range: 0..4096,
            logical,
            kind: PartitionKind::Other,
            uuid: String::new(),
            label: "boot files".to_owned(),
            found,
        }
    }

    fn labelled(label: &str, file: &str) -> Found<'static> {
        let mut memory = Memory::new("ext4", "");
        memory.put(file, "");
        memory.about_mut().label = label.as_bytes().to_vec();
        Found::System(Box::new(memory))
    }

    /// Tells whether a line of the table mounts the second part of a volume.
    fn mounts(source: &str, first: Option<Part<'static>>, second: Part<'static>) -> bool {
        let mut root = Memory::new("ext4", "");
        root.put("/etc/fstab", format!("{source} /mnt auto defaults 0 2\n")).folder("/mnt");
        let number = second.logical.is_none().then_some(1);
        let logical = second.logical.is_some().then_some("vg/root");
        let root = part(number, logical, Found::System(Box::new(root)));
        let root = Part { label: String::new(), ..root };
        let parts = first.into_iter().chain([root, second]).collect();
        let guest = Guest::of_parts(parts, 4096);
        Tree::open(&guest, None).unwrap().try_find(b"/mnt/sign").unwrap().is_some()
    }

    #[test]
    fn a_part_is_found_by_every_name_that_a_table_has_for_it() {
        for (source, expected) in [
            ("LABEL=my\\040disk", true),
            ("LABEL=\"my\\040disk\"", true),
            ("/dev/disk/by-label/my\\x20disk", true),
            ("PARTLABEL=boot\\040files", true),
            ("PARTLABEL=\"boot\\040files\"", true),
            ("/dev/disk/by-partlabel/boot\\x20files", true),
            ("/dev/sda2", true),
            ("/dev/nvme0n1p2", true),
            ("LABEL=my", false),
            ("PARTLABEL=", false),
            ("/dev/sda3", false),
            // A partition of another disk.
            ("/dev/sdb2", false),
            ("/dev/nvme1n1p2", false),
        ] {
            let second = part(Some(2), None, labelled("my disk", "/sign"));
            assert_eq!(mounts(source, None, second), expected, "{source}");
        }
    }

    /// A disk without a table is a physical volume: names of logical ones do not mean the disk.
    #[test]
    fn logical_volumes_on_a_whole_disk_are_mounted() {
        for source in ["/dev/mapper/vg-home", "/dev/vg/home"] {
            let disk = part(None, None, Found::Named("LVM2_member"));
            let home = part(None, Some("vg/home"), labelled("", "/sign"));
            assert!(mounts(source, Some(disk), home), "{source}");
        }
    }

    #[test]
    fn devices_name_partitions_by_their_last_number() {
        let number = |name: &str| device(name.as_bytes()).map(|(_, number)| number);
        assert_eq!(number("sda1"), Some(Some(1)));
        assert_eq!(number("xvda128"), Some(Some(128)));
        assert_eq!(number("nvme0n1p15"), Some(Some(15)));
        assert_eq!((number("nvme0n1"), number("sda")), (Some(None), Some(None)));
        for other in ["mapper/root1", "mapper/vg-home", "fd0", "sd", "sdA1", "nvme0", "nvme0n1p"] {
            assert_eq!(number(other), None, "{other}");
        }
        for (name, expected) in [
            ("sda1", false),
            ("nvme0n1p2", false),
            ("sdb1", true),
            ("nvme1n1p1", true),
            ("vg/x", false),
        ] {
            assert_eq!(is_of_another_disk(format!("/dev/{name}").as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn lines_name_subvolumes_by_path_or_number() {
        let subvolume = |options: &str| {
            let line = format!("UUID=1 /home btrfs {options} 0 0");
            Line::parse(line.as_bytes()).unwrap().subvolume
        };
        assert_eq!(subvolume("subvol=@home,noatime"), Some(Subvolume::Path(b"@home".to_vec())));
        assert_eq!(subvolume("rw,subvolid=257"), Some(Subvolume::Number(257)));
        assert_eq!(subvolume("defaults"), None);
        assert_eq!(Line::parse(b"UUID=1 / btrfs subvol=@"), None);
        assert_eq!(Line::parse(b"# UUID=1 /home"), None);
        assert_eq!(Line::parse(b"UUID=1 /home").unwrap().subvolume, None);
    }

    #[test]
    fn blanks_in_a_table_are_octal() {
        assert_eq!(unescape(b"/mnt/a\\040b\\134"), b"/mnt/a b\\");
        assert_eq!(unescape(b"\\04"), b"\\04");
        assert_eq!(unescape(b"\\777"), b"\\777");
        assert_eq!(without_hex(b"my\\x20disk\\x5c\\x2"), b"my disk\\\\x2");
    }
}
