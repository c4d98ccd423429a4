//! What differs inside an initramfs, without what making it again changes: times, numbers and the order of its files, and
//! bytes of the compression.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Result;
use crate::guest::FileReader;
use crate::guest::Member;
use crate::guest::Members;
use crate::guest::initramfs;

/// Most files in one that are compared: those of distributions have up to 5,000.
const MAX_MEMBERS: usize = 100_000;

/// Most bytes of their names.
const MAX_NAMES_LEN: usize = 16 << 20;

/// A file inside that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) name: Vec<u8>,
    pub(super) what: &'static str,
}

/// What differs inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Nothing but what making it again changes.
    None,
    /// These files, by their names.
    Files(Vec<Inside>),
    /// How it is compressed.
    Packing(String),
    /// That cannot be told, and why.
    Unknown(&'static str),
}

/// Compares what two of them unpack to.
pub(super) fn difference(old: &FileReader<'_>, new: &FileReader<'_>) -> Result<Difference> {
    let (Some(old), Some(new)) = (Held::of(old)?, Held::of(new)?) else {
        return Ok(Difference::Unknown("it cannot be unpacked"));
    };
    if old.too_many || new.too_many {
        return Ok(Difference::Unknown("it holds too many files to be compared"));
    }
    let (one, other) = (old.by_name(), new.by_name());
    let names = one.keys().chain(other.keys().filter(|it| !one.contains_key(*it)));
    let mut found = Vec::new();
    for name in names {
        let what = match (one.get(name), other.get(name)) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(one), Some(other)) if one == other => continue,
            (Some(one), Some(other)) if one.content != other.content => "changed",
            _ => "metadata",
        };
        found.push(Inside { name: name.to_vec(), what });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    if found.is_empty() && old.packings != new.packings {
        let (old, new) = (old.packings.join(" and "), new.packings.join(" and "));
        return Ok(Difference::Packing(format!("it is packed as {new}, not as {old}")));
    }
    if found.is_empty() && !old.files.keys().eq(new.files.keys()) {
        let note = "other files of it are in front of what is compressed";
        return Ok(Difference::Packing(note.to_owned()));
    }
    Ok(if found.is_empty() { Difference::None } else { Difference::Files(found) })
}

/// What is the file's own: mode, owner, group, device, content.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    mode: u32,
    owner: (u32, u32),
    device: [u32; 2],
    content: Option<Digest>,
}

/// The files of one, each by whether it lies in front of all that is compressed, and its name: microcode is looked for
/// there.
#[derive(Default)]
struct Held {
    packings: Vec<&'static str>,
    files: BTreeMap<(bool, Vec<u8>), File>,
    names_len: usize,
    too_many: bool,
    /// The file whose content comes.
    open: Option<((bool, Vec<u8>), Sha256)>,
    /// Files of this archive with several names: these, and the content, which comes with one of them.
    linked: BTreeMap<[u32; 3], Linked>,
    inode: Option<[u32; 3]>,
}

#[derive(Default)]
struct Linked {
    names: Vec<(bool, Vec<u8>)>,
    content: Option<Digest>,
}

impl Held {
    fn of(file: &FileReader<'_>) -> Result<Option<Self>> {
        let mut held = Self::default();
        let whole = initramfs(file, &mut held)?;
        held.end_of_archive();
        Ok(whole.then_some(held))
    }

    /// Returns the files wherever they lie; of two of one name the one that the kernel unpacks last.
    fn by_name(&self) -> BTreeMap<&[u8], &File> {
        let files = self.files.iter().rev();
        files.map(|((_, name), file)| (&name[..], file)).collect()
    }

    fn end_of_member(&mut self) {
        let Some((key, digest)) = self.open.take() else { return };
        let content = Some(digest.finish());
        if let Some(linked) = self.inode.take().and_then(|inode| self.linked.get_mut(&inode)) {
            linked.content = content;
        }
        if let Some(file) = self.files.get_mut(&key) {
            file.content = content;
        }
    }

    fn end_of_archive(&mut self) {
        self.end_of_member();
        for linked in std::mem::take(&mut self.linked).into_values() {
            for name in linked.names {
                if let Some(file) = self.files.get_mut(&name) {
                    file.content = linked.content;
                }
            }
        }
    }
}

impl Members for Held {
    fn end(&mut self) {
        self.end_of_archive();
    }

    fn archive(&mut self, packing: &'static str) {
        self.end_of_archive();
        self.packings.push(packing);
        // Archives of microcode may be many; how many says nothing.
        self.packings.dedup();
    }

    fn member(&mut self, member: &Member<'_>) -> bool {
        self.end_of_member();
        self.names_len = self.names_len.saturating_add(member.name.len());
        if self.files.len() >= MAX_MEMBERS || self.names_len > MAX_NAMES_LEN {
            self.too_many = true;
            return false;
        }
        // A name is the same with "./" or "/" in front; the later one of two counts.
        let name = member.name.strip_prefix(b"./").unwrap_or(member.name);
        let name = name.strip_prefix(b"/").unwrap_or(name);
        let key = (self.packings.iter().all(|it| *it == "plain"), name.to_vec());
        let file = File {
            mode: member.mode,
            owner: (member.uid, member.gid),
            device: member.device,
            content: None,
        };
        self.files.insert(key.clone(), file);
        let is_directory = member.mode & 0o170_000 == 0o040_000;
        if member.links > 1 && !is_directory {
            self.linked.entry(member.inode).or_default().names.push(key.clone());
            self.inode = Some(member.inode);
        } else {
            self.inode = None;
        }
        let wanted = member.size > 0;
        if wanted {
            self.open = Some((key, Sha256::new()));
        }
        wanted
    }

    fn content(&mut self, bytes: &[u8]) {
        if let Some((_, digest)) = &mut self.open {
            digest.update(bytes);
        }
    }
}
