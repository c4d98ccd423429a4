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

/// Tells whether the source of a line of `/etc/fstab` names a part.
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
    let source = source.strip_suffix(b"\"").unwrap_or(source);
    let (key, value) = match source.iter().position(|byte| *byte == b'=') {
        Some(at) => (&source[..at], &source[at.strict_add(1)..]),
        None => (&b""[..], source),
    };
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    match key {
        b"UUID" => is_uuid(value),
        b"LABEL" => !label.is_empty() && value == label,
        b"PARTUUID" => is_part(value),
        b"" => {
            let by = |prefix: &[u8]| value.strip_prefix(prefix);
            by(b"/dev/disk/by-uuid/").is_some_and(is_uuid)
                || by(b"/dev/disk/by-label/").is_some_and(|it| !label.is_empty() && it == label)
                || by(b"/dev/disk/by-partuuid/").is_some_and(is_part)
                || by(b"/dev/").is_some_and(|name| match &part.logical {
                    Some(logical) => is_logical(name, &logical.name),
                    None => device_number(name) == part.number,
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

/// Returns the number at the end of a device's name, as in `sda1`, `xvda1` and `nvme0n1p1`.
fn device_number(name: &[u8]) -> Option<u32> {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (stem, number) = name.split_at(name.len().strict_sub(digits));
    let known = [&b"sd"[..], b"xvd", b"vd", b"hd", b"nvme"].iter().any(|it| stem.starts_with(it));
    // The last number of nvme0n1 is a namespace.
    let whole = stem.starts_with(b"nvme") && !stem.ends_with(b"p");
    (known && !whole).then(|| std::str::from_utf8(number).ok()?.parse().ok()).flatten()
}

/// Undoes what `/etc/fstab` writes for blanks: `\040`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind
            .get(..3)
            .filter(|it| *first == b'\\' && it.iter().all(|d| (b'0'..=b'7').contains(d)));
        let value = octal.and_then(|it| u8::from_str_radix(std::str::from_utf8(it).ok()?, 8).ok());
        plain.push(value.unwrap_or(*first));
        rest = if value.is_some() { &behind[3..] } else { behind };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_name_partitions_by_their_last_number() {
        let number = |name: &str| device_number(name.as_bytes());
        assert_eq!(number("sda1"), Some(1));
        assert_eq!(number("xvda128"), Some(128));
        assert_eq!(number("nvme0n1p15"), Some(15));
        assert_eq!(number("nvme0n1"), None);
        assert_eq!(number("mapper/root1"), None);
        assert_eq!(number("sda"), None);
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
    }
}
