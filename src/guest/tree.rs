//! The files of a guest as it sees them itself: one root, and what its own table mounts below it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::error::Error;
use crate::error::Result;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::fault::GuestFault;
use crate::guest::file::Bytes;
use crate::guest::file::Content;
use crate::guest::file::FileKind;
use crate::guest::file::FileSystem;
use crate::guest::file::Node;
use crate::guest::file::Packed;
use crate::guest::fstab::Line;
use crate::guest::fstab::Subvolume;
use crate::guest::fstab::is_of_another_disk;
use crate::guest::fstab::names_part;
use crate::guest::owner::FileId;
use crate::guest::part_name::PartName;
use crate::guest::path::Reason;
use crate::guest::path::Stop;
use crate::guest::path::nearest;
use crate::guest::path::split;
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
    /// The directory that is seen: the root, or that of a subvolume.
    root: FileId,
    path: Vec<u8>,
}

/// Most subvolumes that are looked at for the root of a system.
const MAX_ROOTS: usize = 64;

impl<'g> Tree<'g> {
    /// Takes one file system alone.
    #[must_use]
    pub fn of(system: &'g (dyn FileSystem + 'g)) -> Self {
        Self::alone(system, 0, system.root())
    }

    fn alone(system: &'g (dyn FileSystem + 'g), part: usize, root: FileId) -> Self {
        Self { systems: vec![Mounted { system, part, root, path: Vec::new() }], mounts: Vec::new() }
    }

    /// Takes the root file system of a guest and what its `/etc/fstab` mounts, or one part alone.
    ///
    /// # Errors
    ///
    /// `Invalid` if there is no such part, or no file system that can be read; whatever reading the
    /// volume returns.
    pub fn open(guest: &'g Guest<'_>, wanted: Option<&PartName>) -> Result<Self> {
        let readable: Vec<(usize, &'g (dyn FileSystem + 'g))> = (0..)
            .zip(&guest.parts)
            .filter(|(_, part)| wanted.is_none_or(|wanted| wanted.is(part)))
            .filter_map(|(index, part)| {
                let system: &'g (dyn FileSystem + 'g) = part.system()?;
                Some((index, system))
            })
            .collect();
        let mut best: Option<(usize, Self)> = None;
        for (part, system) in readable {
            // A system may be in a subvolume that only its boot loader names. If one part is asked for, it is shown as
            // a mount shows it.
            let roots = if wanted.is_none() { system.roots() } else { vec![system.root()] };
            for root in roots.into_iter().take(MAX_ROOTS) {
                let tree = Self::alone(system, part, root);
                let mut rank = usize::from(system.about().name == "vfat").strict_add(SIGNS.len());
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
        }
        let Some((rank, mut tree)) = best else { return Err(nothing(guest, wanted)) };
        if wanted.is_none() {
            // What is left of a volume does not stand for all of it.
            if rank >= SIGNS.len()
                && let Some(lost) = lost(guest)
            {
                let text = format!("{lost}; it may be the root, of which no other part has a sign");
                return Err(Error::invalid(text).advise("name the partition that is meant"));
            }
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
        let mut lines: Vec<Line> = text
            .split(|byte| *byte == b'\n')
            .filter_map(|line| {
                let line = Line::parse(line).filter(|line| !is_of_another_disk(&line.source))?;
                let part = guest.parts.iter().position(|part| names_part(&line.source, part))?;
                Some(Line { part, ..line })
            })
            .collect();
        // What is mounted below another mount needs that one first.
        lines.sort_by_key(|line| line.path.len());
        for Line { path, part, subvolume, .. } in lines {
            let Some(system) = guest.parts[part].system() else { continue };
            let Some(on) = self.try_find(&path)? else { continue };
            let Some(root) = seen_root(system, subvolume.as_ref())? else { continue };
            if self.systems.iter().any(|mounted| mounted.part == part && mounted.root == root)
                || self.node(on).is_ok_and(|node| node.kind != FileKind::Directory)
            {
                continue;
            }
            self.mounts.push((on, self.systems.len()));
            self.systems.push(Mounted { system, part, root, path });
        }
        Ok(())
    }

    /// Iterates over what is mounted: the place of its part among the guest's, and where.
    pub fn mounted(&self) -> impl Iterator<Item = (usize, &[u8])> + '_ {
        self.systems
            .iter()
            .map(|it| (it.part, if it.path.is_empty() { b"/" } else { &it.path[..] }))
    }

    /// Iterates over the directories of a part that are mounted: their numbers, and where.
    pub fn mounts_of(&self, part: usize) -> impl Iterator<Item = (FileId, &[u8])> + '_ {
        self.systems
            .iter()
            .filter(move |it| it.part == part)
            .map(|it| (it.root, if it.path.is_empty() { b"/" } else { &it.path[..] }))
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
        Spot { system: 0, id: self.systems[0].root }
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
            Some((_, system)) => Spot { system: *system, id: self.systems[*system].root },
            None => spot,
        }
    }

    /// Finds a file by its path from the root. Symbolic links are followed inside the guest, the last one
    /// only if `follow` says so; `..` does not leave the root.
    ///
    /// # Errors
    ///
    /// `Invalid` if there is no such file, or after 40 links: it names the path, the part of it that is
    /// missing, and what there is.
    pub fn look_up(&self, path: &[u8], follow: bool) -> Result<Spot> {
        self.walk(path, follow).map_err(|stop| stop.explained(path))
    }

    fn walk(&self, path: &[u8], follow: bool) -> std::result::Result<Spot, Stop> {
        let mut left: VecDeque<Vec<u8>> = split(path).into();
        let mut way = vec![(self.root(), Vec::new())];
        let mut links = 0_u32;
        while let Some(name) = left.pop_front() {
            let (here, folder) = way.last().expect("the root stays");
            let stop = |reason| Stop { folder: folder.clone(), name: name.clone(), reason };
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    way.truncate(way.len().strict_sub(1).max(1));
                    continue;
                }
                _ => {}
            }
            let next = self.named(*here, &name).map_err(stop)?;
            let kind = self.node(next).map_err(|failure| stop(failure.into()))?.kind;
            let is_last = left.iter().all(|name| name.is_empty() || name == b".");
            if kind == FileKind::Symlink && (follow || !is_last) {
                links = links.strict_add(1);
                if links > MAX_LINKS {
                    return Err(stop(Reason::Links));
                }
                let target = self.link(next).map_err(|failure| stop(failure.into()))?;
                if target.starts_with(b"/") {
                    way.truncate(1);
                }
                for name in split(&target).into_iter().rev() {
                    left.push_front(name);
                }
                continue;
            }
            let path = [&folder[..], b"/", &name].concat();
            way.push((next, path));
        }
        Ok(way.last().expect("the root stays").0)
    }

    /// Finds a file by its path, links followed; `None` if there is none that can be read.
    ///
    /// # Errors
    ///
    /// If the volume cannot be read.
    pub fn try_find(&self, path: &[u8]) -> Result<Option<Spot>> {
        self.found(path, true)
    }

    /// Finds a file by its path, which may be a link itself; `None` if there is none that can be read.
    ///
    /// # Errors
    ///
    /// If the volume cannot be read.
    pub fn try_find_itself(&self, path: &[u8]) -> Result<Option<Spot>> {
        self.found(path, false)
    }

    fn found(&self, path: &[u8], follow: bool) -> Result<Option<Spot>> {
        match self.walk(path, follow) {
            Ok(spot) => Ok(Some(spot)),
            Err(Stop { reason: Reason::Failure(Failure::Error(error)), .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Finds a file that is known to be there.
    pub(super) fn find(&self, path: &[u8]) -> Outcome<Spot> {
        self.try_find(path)?.ok_or_else(|| Problem::Damaged.text("it cannot be reached any more"))
    }

    fn named(&self, folder: Spot, name: &[u8]) -> std::result::Result<Spot, Reason> {
        let kind = self.node(folder)?.kind;
        if kind != FileKind::Directory {
            return Err(Reason::Kind(kind));
        }
        let entries = self.system(folder).entries(folder.id)?;
        let exact = entries.iter().find(|entry| entry.name == name);
        let found = exact.or_else(|| {
            // FAT and Windows have one name for both cases.
            let folds = matches!(self.system(folder).about().name, "vfat" | "ntfs");
            entries.iter().find(|entry| folds && entry.name.eq_ignore_ascii_case(name))
        });
        match found {
            Some(entry) => Ok(self.crossed(Spot { system: folder.system, id: entry.id })),
            None => Err(Reason::Missing { nearest: nearest(name, &entries) }),
        }
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
        Ok(FileReader { system, content: system.content(spot.id)?, last: Mutex::default() })
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
                    Bytes::Packed(packed) => {
                        take(within(
                            &system.unpack(packed)?,
                            packed.skip.saturating_add(skip),
                            count,
                        )?)?;
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
    /// The piece that was unpacked last, and where it lies.
    last: Mutex<Option<(u64, Arc<Vec<u8>>)>>,
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
                Bytes::Packed(packed) => {
                    let plain = self.unpacked(packed)?;
                    let count = part.len();
                    part.copy_from_slice(within(&plain, packed.skip.saturating_add(skip), count)?);
                }
            }
        }
        Ok(())
    }

    /// Unpacks a piece, unless it is the one that was read last.
    fn unpacked(&self, packed: &Packed) -> Outcome<Arc<Vec<u8>>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, plain)) = &*last
            && *at == packed.at
        {
            return Ok(Arc::clone(plain));
        }
        let plain = Arc::new(self.system.unpack(packed)?);
        *last = Some((packed.at, Arc::clone(&plain)));
        Ok(plain)
    }
}

/// Returns some of the bytes of a piece that was unpacked.
fn within(plain: &[u8], skip: u64, count: usize) -> Outcome<&[u8]> {
    let skip = usize::try_from(skip).ok();
    let found = skip.and_then(|skip| plain.get(skip..skip.checked_add(count)?));
    found.ok_or_else(|| Problem::Damaged.text("compressed bytes hold less than they should"))
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

/// Returns the directory that a mount shows of a file system; `None` if it has no such subvolume.
fn seen_root(
    system: &(dyn FileSystem + '_),
    subvolume: Option<&Subvolume>,
) -> Result<Option<FileId>> {
    match subvolume {
        None => Ok(Some(system.root())),
        Some(Subvolume::Number(id)) => Ok(system.subvolume(*id)),
        Some(Subvolume::Path(path)) => {
            let found = Tree::alone(system, 0, system.top()).try_find(path)?;
            Ok(found.map(|spot| spot.id))
        }
    }
}

/// Returns what a part of the volume is called that is cut off or cannot be read, with the reason.
fn lost(guest: &Guest<'_>) -> Option<String> {
    let cut_off = guest.layout.faults.iter().find_map(|fault| match fault {
        GuestFault::PartitionRange { .. } => Some(fault.to_string()),
        _ => None,
    });
    let broken = || {
        let broken = guest.parts.iter().find(|it| matches!(it.found, Found::Broken { .. }))?;
        Some(format!("it has {}", held(broken)?))
    };
    cut_off.or_else(broken)
}

/// Returns what a part is called, and what it holds; `None` if that is nothing.
fn held(part: &Part<'_>) -> Option<String> {
    let name = match &part.found {
        Found::Broken { name, fault } => format!("{name}: {fault}"),
        found => found.name()?.to_owned(),
    };
    Some(match (&part.logical, part.number) {
        (Some(logical), _) => format!("{} ({name})", logical.name),
        (None, Some(number)) => format!("{number} ({name})"),
        (None, None) => name,
    })
}

fn nothing(guest: &Guest<'_>, wanted: Option<&PartName>) -> Error {
    let held: Vec<String> = guest.parts.iter().filter_map(held).collect();
    let what = match wanted {
        Some(wanted) if !guest.parts.iter().any(|part| wanted.is(part)) => {
            format!("there is no {wanted}")
        }
        Some(wanted) => format!("{wanted} holds no file system that can be read"),
        None => "it holds no file system that can be read".to_owned(),
    };
    let error = Error::invalid(what);
    if held.is_empty() { error } else { error.advise(format!("it has {}", held.join(", "))) }
}
