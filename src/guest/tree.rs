//! The files of a guest as it sees them itself: one root, and what its own table mounts below it.

use std::collections::VecDeque;

use crate::error::Error;
use crate::error::Result;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::Bytes;
use crate::guest::file::Content;
use crate::guest::file::FileKind;
use crate::guest::file::FileSystem;
use crate::guest::file::Node;
use crate::guest::owner::FileId;
use crate::guest::survey::Guest;
use crate::guest::survey::Part;
use crate::guest::systems::Found;

/// Most symbolic links on the way to a file, as Linux has it.
const MAX_LINKS: u32 = 40;

/// Most bytes of a file that is read for what it says: configuration, not content.
const MAX_TEXT_LEN: u64 = 1 << 20;

/// Most bytes of a symbolic link: Linux allows a page.
const MAX_LINK_LEN: u64 = 64 << 10;

/// Bytes that are copied at once.
const COPY_LEN: u64 = 1 << 20;

/// Files that show which of several file systems is the root.
const SIGNS: [&[u8]; 4] = [b"/etc/os-release", b"/usr/lib/os-release", b"/etc/fstab", b"/Windows"];

/// A file: which of the file systems it is in, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// Which file system, by its place among the tree's.
    pub system: usize,
    /// Its number there.
    pub id: FileId,
}

/// The files of a guest.
#[derive(Debug)]
pub struct Tree<'g> {
    systems: Vec<Mounted<'g>>,
    /// Directories that others are mounted on, and which.
    mounts: Vec<(Spot, usize)>,
}

#[derive(Debug)]
struct Mounted<'g> {
    system: &'g (dyn FileSystem + 'g),
    /// Place of its part among the guest's.
    part: usize,
    path: Vec<u8>,
}

impl<'g> Tree<'g> {
    /// Takes one file system alone.
    #[must_use]
    pub fn of(system: &'g (dyn FileSystem + 'g)) -> Self {
        Self { systems: vec![Mounted { system, part: 0, path: Vec::new() }], mounts: Vec::new() }
    }

    /// Takes the root file system of a guest and what its `/etc/fstab` mounts, or one partition alone.
    ///
    /// # Errors
    ///
    /// `Invalid` if there is no such partition, or no file system that can be read; whatever reading the
    /// volume returns.
    pub fn open(guest: &'g Guest<'_>, partition: Option<u32>) -> Result<Self> {
        let readable: Vec<(usize, &'g (dyn FileSystem + 'g))> = (0..)
            .zip(&guest.parts)
            .filter(|(_, part)| partition.is_none() || part.number == partition)
            .filter_map(|(index, part)| {
                let system: &'g (dyn FileSystem + 'g) = part.system()?;
                Some((index, system))
            })
            .collect();
        let of = |(part, system)| Self {
            systems: vec![Mounted { system, part, path: Vec::new() }],
            mounts: Vec::new(),
        };
        let mut best: Option<(usize, Self)> = None;
        for found in readable {
            let tree = of(found);
            let mut rank = usize::from(found.1.about().name == "vfat").strict_add(SIGNS.len());
            for (place, sign) in SIGNS.iter().enumerate() {
                if tree.try_find(sign)?.is_some() {
                    rank = place;
                    break;
                }
            }
            if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                best = Some((rank, tree));
            }
        }
        let Some((_, mut tree)) = best else { return Err(nothing(guest, partition)) };
        if partition.is_none() {
            tree.mount(guest)?;
        }
        Ok(tree)
    }

    /// Mounts what the root's table names and the volume has. What cannot be found stays away.
    fn mount(&mut self, guest: &'g Guest<'_>) -> Result<()> {
        let Some(spot) = self.try_find(b"/etc/fstab")? else { return Ok(()) };
        let text = match self.text(spot) {
            Ok(text) => text,
            Err(Failure::Fault(_)) => return Ok(()),
            Err(Failure::Error(error)) => return Err(error),
        };
        let mut lines: Vec<(Vec<u8>, usize)> = text
            .split(|byte| *byte == b'\n')
            .filter_map(|line| {
                let mut fields = line.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty());
                let (source, path) = (unescape(fields.next()?), unescape(fields.next()?));
                let usable = !source.starts_with(b"#") && path.starts_with(b"/") && path.len() > 1;
                let part = guest.parts.iter().position(|part| names_part(&source, part))?;
                usable.then_some((path, part))
            })
            .collect();
        // What is mounted below another mount needs that one first.
        lines.sort_by_key(|(path, _)| path.len());
        for (path, part) in lines {
            let Some(system) = guest.parts[part].system() else { continue };
            let Some(on) = self.try_find(&path)? else { continue };
            if self.systems.iter().any(|mounted| mounted.part == part)
                || self.node(on).is_ok_and(|node| node.kind != FileKind::Directory)
            {
                continue;
            }
            self.mounts.push((on, self.systems.len()));
            self.systems.push(Mounted { system, part, path });
        }
        Ok(())
    }

    /// Iterates over what is mounted: the place of its part among the guest's, and where.
    pub fn mounted(&self) -> impl Iterator<Item = (usize, &[u8])> + '_ {
        self.systems
            .iter()
            .map(|it| (it.part, if it.path.is_empty() { b"/" } else { &it.path[..] }))
    }

    /// Returns the file system that a file is in.
    #[must_use]
    pub fn system(&self, spot: Spot) -> &'g (dyn FileSystem + 'g) {
        self.systems[spot.system].system
    }

    /// Returns the place among the guest's of the part that a file is in.
    #[must_use]
    pub fn part(&self, spot: Spot) -> usize {
        self.systems[spot.system].part
    }

    /// Returns the root directory.
    #[must_use]
    pub fn root(&self) -> Spot {
        Spot { system: 0, id: self.systems[0].system.root() }
    }

    /// Returns the attributes of a file.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::node`].
    pub fn node(&self, spot: Spot) -> Outcome<Node> {
        self.system(spot).node(spot.id)
    }

    /// Returns the names in a directory, sorted, with what is mounted there.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::entries`].
    pub fn entries(&self, folder: Spot) -> Outcome<Vec<(Vec<u8>, Spot)>> {
        let mut found: Vec<(Vec<u8>, Spot)> = self
            .system(folder)
            .entries(folder.id)?
            .into_iter()
            .map(|entry| (entry.name, self.crossed(Spot { system: folder.system, id: entry.id })))
            .collect();
        found.sort();
        Ok(found)
    }

    /// Returns what is seen at a directory: the root of what is mounted there, or itself.
    fn crossed(&self, spot: Spot) -> Spot {
        match self.mounts.iter().rev().find(|(on, _)| *on == spot) {
            Some((_, system)) => Spot { system: *system, id: self.systems[*system].system.root() },
            None => spot,
        }
    }

    /// Finds a file by its path from the root. Symbolic links are followed inside the guest, the last one
    /// only if `follow` says so; `..` does not leave the root.
    ///
    /// # Errors
    ///
    /// A fault if there is no such file, or after 40 links.
    pub fn find(&self, path: &[u8], follow: bool) -> Outcome<Spot> {
        let split = |path: &[u8]| -> Vec<Vec<u8>> {
            path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
        };
        let mut left: VecDeque<Vec<u8>> = split(path).into();
        let mut way = vec![self.root()];
        let mut links = 0_u32;
        while let Some(name) = left.pop_front() {
            let here = *way.last().expect("the root stays");
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    way.truncate(way.len().strict_sub(1).max(1));
                    continue;
                }
                _ => {}
            }
            let Some(next) = self.named(here, &name)? else {
                return Err(Problem::Request.text("there is no such file"));
            };
            let is_last = left.iter().all(|name| name.is_empty() || name == b".");
            if self.node(next)?.kind == FileKind::Symlink && (follow || !is_last) {
                links = links.strict_add(1);
                if links > MAX_LINKS {
                    return Err(Problem::Request.text("over 40 symbolic links lead there"));
                }
                let target = self.link(next)?;
                if target.starts_with(b"/") {
                    way.truncate(1);
                }
                for name in split(&target).into_iter().rev() {
                    left.push_front(name);
                }
                continue;
            }
            way.push(next);
        }
        Ok(*way.last().expect("the root stays"))
    }

    /// Finds a file by its path, links followed; `None` if there is none that can be read.
    ///
    /// # Errors
    ///
    /// If the volume cannot be read.
    pub fn try_find(&self, path: &[u8]) -> Result<Option<Spot>> {
        match self.find(path, true) {
            Ok(spot) => Ok(Some(spot)),
            Err(Failure::Fault(_)) => Ok(None),
            Err(Failure::Error(error)) => Err(error),
        }
    }

    fn named(&self, folder: Spot, name: &[u8]) -> Outcome<Option<Spot>> {
        if self.node(folder)?.kind != FileKind::Directory {
            return Err(Problem::Request.text("a part of the path is not a directory"));
        }
        let entries = self.system(folder).entries(folder.id)?;
        let exact = entries.iter().find(|entry| entry.name == name);
        let found = exact.or_else(|| {
            // FAT and Windows have one name for both cases.
            let folds = matches!(self.system(folder).about().name, "vfat" | "ntfs");
            entries.iter().find(|entry| folds && entry.name.eq_ignore_ascii_case(name))
        });
        Ok(found.map(|entry| self.crossed(Spot { system: folder.system, id: entry.id })))
    }

    /// Returns what a symbolic link points to.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::content`].
    pub fn link(&self, spot: Spot) -> Outcome<Vec<u8>> {
        self.whole(spot, MAX_LINK_LEN)
    }

    /// Returns the content of a file of at most 1 MiB.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::content`]; a fault if it is longer.
    pub fn text(&self, spot: Spot) -> Outcome<Vec<u8>> {
        self.whole(spot, MAX_TEXT_LEN)
    }

    /// Returns the first bytes of a regular file, at most `len`.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::content`].
    pub fn head(&self, spot: Spot, len: u64) -> Outcome<Vec<u8>> {
        let mut head = Vec::new();
        self.copy(spot, 0, len, &mut |bytes| {
            head.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(head)
    }

    /// Opens a regular file to be read by position.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::content`].
    pub fn reader(&self, spot: Spot) -> Outcome<FileReader<'g>> {
        let system = self.system(spot);
        Ok(FileReader { system, content: system.content(spot.id)? })
    }

    fn whole(&self, spot: Spot, most: u64) -> Outcome<Vec<u8>> {
        if self.system(spot).content(spot.id)?.size > most {
            return Err(Problem::Limit.text("it is too long to be read whole"));
        }
        self.head(spot, most)
    }

    /// Hands over the content of a regular file or a symbolic link, from byte `start` on and at most `len`
    /// bytes of it, piece by piece; holes as zeros.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::content`]; whatever `take` returns.
    pub fn copy(
        &self,
        spot: Spot,
        start: u64,
        len: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Outcome<()> {
        let system = self.system(spot);
        let content = system.content(spot.id)?;
        let end = start.saturating_add(len).min(content.size);
        let mut buffer = Vec::new();
        let mut at = start;
        for piece in &content.pieces {
            let from = piece.start.max(at);
            let until = piece.start.saturating_add(piece.len).min(end);
            if from >= until {
                continue;
            }
            zeros(from.strict_sub(at), &mut buffer, take)?;
            at = from;
            while at < until {
                let part = until.strict_sub(at).min(COPY_LEN);
                let skip = at.strict_sub(piece.start);
                let count = usize::try_from(part).expect("at most 1 MiB");
                match &piece.bytes {
                    Bytes::At(offset) => {
                        buffer.resize(count, 0);
                        system.read(offset.strict_add(skip), &mut buffer)?;
                        take(&buffer)?;
                    }
                    Bytes::Here(bytes) => {
                        let skip = usize::try_from(skip).expect("inside memory");
                        take(&bytes[skip..skip.strict_add(count)])?;
                    }
                }
                at = at.strict_add(part);
            }
        }
        zeros(end.saturating_sub(at), &mut buffer, take)
    }
}

/// A regular file, read by position.
#[derive(Debug)]
pub struct FileReader<'g> {
    system: &'g (dyn FileSystem + 'g),
    content: Content,
}

impl FileReader<'_> {
    /// Returns the bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.content.size
    }

    /// Returns where its bytes lie.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Fills `buf` with the file's bytes from `offset` on; holes read as zeros.
    ///
    /// # Errors
    ///
    /// A fault if the file ends before that; as reading the file system.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Outcome<()> {
        let len = u64::try_from(buf.len()).unwrap_or(u64::MAX);
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.content.size) else {
            return Err(Problem::Damaged.text("a file ends before what is read of it"));
        };
        buf.fill(0);
        let pieces = &self.content.pieces;
        let first = pieces.partition_point(|it| it.start.saturating_add(it.len) <= offset);
        for piece in pieces[first..].iter().take_while(|piece| piece.start < end) {
            let from = piece.start.max(offset);
            let until = piece.start.saturating_add(piece.len).min(end);
            let skip = from.strict_sub(piece.start);
            let at = |byte: u64| usize::try_from(byte.strict_sub(offset)).expect("in the buffer");
            let part = &mut buf[at(from)..at(until)];
            match &piece.bytes {
                Bytes::At(place) => self.system.read(place.saturating_add(skip), part)?,
                Bytes::Here(bytes) => {
                    let skip = usize::try_from(skip).expect("inside memory");
                    part.copy_from_slice(&bytes[skip..][..part.len()]);
                }
            }
        }
        Ok(())
    }
}

/// Hands over zeros.
fn zeros(
    mut count: u64,
    buffer: &mut Vec<u8>,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Outcome<()> {
    while count > 0 {
        let part = count.min(COPY_LEN);
        buffer.clear();
        buffer.resize(usize::try_from(part).expect("at most 1 MiB"), 0);
        take(buffer)?;
        count = count.strict_sub(part);
    }
    Ok(())
}

fn nothing(guest: &Guest<'_>, partition: Option<u32>) -> Error {
    let held: Vec<String> = guest
        .parts
        .iter()
        .filter_map(|part| {
            let name = part.found.name()?;
            Some(part.number.map_or(name.to_owned(), |number| format!("{number} ({name})")))
        })
        .collect();
    let what = match partition {
        Some(number) => format!("partition {number} holds no file system that can be read"),
        None => "it holds no file system that can be read".to_owned(),
    };
    let error = Error::invalid(what);
    if held.is_empty() { error } else { error.advise(format!("it has {}", held.join(", "))) }
}

/// Tells whether the source of a line of `/etc/fstab`, or a kernel's `root=`, names a part.
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
fn is_logical(device: &[u8], name: &str) -> bool {
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
    fn blanks_in_a_table_are_octal() {
        assert_eq!(unescape(b"/mnt/a\\040b\\134"), b"/mnt/a b\\");
        assert_eq!(unescape(b"\\04"), b"\\04");
        assert_eq!(unescape(b"\\777"), b"\\777");
    }
}
