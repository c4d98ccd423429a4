//! `tar`: the files of a volume as an archive, with all their attributes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;

use crate::error::Error;
use crate::error::Result;
use crate::guest::Failure;
use crate::guest::FileKind;
use crate::guest::FileReader;
use crate::guest::Node;
use crate::guest::Outcome;
use crate::guest::Spot;
use crate::guest::Tree;
use crate::guest::escape;
use crate::ops::shared::guest::InsideRequest;
use crate::ops::shared::guest::with_tree;
use crate::tar;
use crate::tar::MemberKind;
use crate::tar::PaxMember;
use crate::work::Watch;

/// What gives a program more rights than its user has; left out unless all is wanted.
const SPECIAL_MODE: u32 = 0o6000;
const CAPABILITY: &[u8] = b"security.capability";

/// What is archived.
#[derive(Clone, Debug, Default)]
pub struct ArchiveRequest {
    /// Where.
    pub inside: InsideRequest,
    /// Devices too, and the bits and attributes that give a program more rights than its user has.
    pub all: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveReport {
    /// Members.
    pub members: u64,
    /// What was left out or changed, one sentence each.
    pub notes: Vec<String>,
    /// Files that were left out because this version cannot read their content.
    pub unread: u64,
}

/// Writes an archive of a file, or of a directory and all that is below it, piece by piece.
///
/// Names are relative to the guest's root. Nothing of the guest is written to the host's file system.
///
/// # Errors
///
/// As opening the volume and looking for its file systems; `Corrupt` for a file that is damaged; whatever `take` returns.
pub fn archive(
    request: &ArchiveRequest,
    watch: &dyn Watch,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<ArchiveReport> {
    with_tree(&request.inside, watch, |tree| {
        let start = tree.look_up(&request.inside.path, true)?;
        let mut writer = Writer {
            tree,
            all: request.all,
            watch,
            take,
            len: 0,
            first_names: BTreeMap::new(),
            report: ArchiveReport::default(),
            left_out: [0; 4],
            first_unread: None,
        };
        let name = relative(&request.inside.path);
        writer.below(start, name)?;
        let end = usize::try_from(tar::end_len(writer.len)).expect("a few records");
        (writer.take)(&vec![0; end])?;
        Ok(writer.finish())
    })
}

/// Returns a path without slashes at its ends, and without `.` and `..`.
fn relative(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Bytes that are copied at once.
const COPY_LEN: u64 = 1 << 20;

/// Returns where a file has data, in whole records.
fn data(reader: &FileReader<'_>) -> Vec<Range<u64>> {
    let content = reader.content();
    let pieces = content.pieces.iter().map(|it| it.start..it.start.saturating_add(it.len));
    tar::align(pieces, content.size)
}

/// What is left out, in the order of the counters.
const LEFT_OUT: [&str; 4] =
    ["sockets, which no archive holds", "devices", "setuid and setgid bits", "file capabilities"];

struct Writer<'a> {
    tree: &'a Tree<'a>,
    all: bool,
    watch: &'a dyn Watch,
    take: &'a mut dyn FnMut(&[u8]) -> Result<()>,
    len: u64,
    /// The first name of each file that has several.
    first_names: BTreeMap<Spot, Vec<u8>>,
    report: ArchiveReport,
    left_out: [u64; 4],
    /// The first file whose content cannot be read, and why.
    first_unread: Option<String>,
}

impl Writer<'_> {
    fn below(&mut self, start: Spot, name: Vec<u8>) -> Result<()> {
        let mut seen = BTreeSet::from([start]);
        let mut left = vec![(start, name)];
        while let Some((spot, name)) = left.pop() {
            self.watch.check()?;
            let inside = |failure: Failure| failure.in_path(&[b"/", &name[..]].concat());
            let node = self.tree.node(spot).map_err(inside)?;
            match self.member(spot, &node, &name) {
                // Content that is compressed or encrypted in a way that is not read: the other files are still wanted.
                Err(failure) if failure.is_unsupported() && spot != start => {
                    self.first_names.remove(&spot);
                    self.report.unread = self.report.unread.strict_add(1);
                    self.first_unread.get_or_insert_with(|| inside(failure).to_string());
                }
                other => other.map_err(inside)?,
            }
            if node.kind != FileKind::Directory {
                continue;
            }
            for (entry, spot) in self.tree.entries(spot).map_err(inside)?.into_iter().rev() {
                let path = if name.is_empty() { entry } else { [&name[..], b"/", &entry].concat() };
                let node = self.tree.node(spot);
                let node = node.map_err(|failure| failure.in_path(&[b"/", &path[..]].concat()))?;
                if node.kind == FileKind::Directory && !seen.insert(spot) {
                    let path = escape(&path);
                    return Err(Error::corrupt(format!("directory {path} has a second name")));
                }
                left.push((spot, path));
            }
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.len = self.len.strict_add(u64::try_from(bytes.len()).expect("memory"));
        (self.take)(bytes)
    }

    fn leave_out(&mut self, what: usize) {
        self.left_out[what] = self.left_out[what].strict_add(1);
    }

    fn member(&mut self, spot: Spot, node: &Node, name: &[u8]) -> Outcome<()> {
        let Some(kind) = self.kind(spot, node, name)? else { return Ok(()) };
        let mut mode = node.mode;
        if mode & SPECIAL_MODE != 0 && !self.all && kind == MemberKind::File {
            mode &= !SPECIAL_MODE;
            self.leave_out(2);
        }
        let mut attributes = Vec::new();
        if !matches!(kind, MemberKind::HardLink(_)) {
            for attribute in self.tree.system(spot).attributes(spot.id)? {
                if attribute.name == CAPABILITY && !self.all {
                    self.leave_out(3);
                } else {
                    attributes.push((attribute.name, attribute.value));
                }
            }
            attributes.sort();
        }
        let is_file = kind == MemberKind::File;
        let reader = if is_file { Some(self.tree.reader(spot)?) } else { None };
        let data = reader.as_ref().map(data).unwrap_or_default();
        let mut name = name.to_vec();
        if kind == MemberKind::Directory {
            name = if name.is_empty() { b"./".to_vec() } else { [&name[..], b"/"].concat() };
        }
        let member = PaxMember {
            name,
            kind,
            mode,
            uid: node.uid,
            gid: node.gid,
            modified: (node.modified.seconds, node.modified.nanoseconds),
            size: if is_file { node.size } else { 0 },
            data,
            attributes,
        };
        self.put(&member.head())?;
        for range in &member.data {
            let reader = reader.as_ref().expect("only files have data");
            self.copy(reader, range.clone())?;
        }
        let padding = tar::padding(tar::stored_len(&member.data));
        self.put(&vec![0; usize::try_from(padding).expect("below a record")])?;
        self.report.members = self.report.members.strict_add(1);
        Ok(())
    }

    /// Returns what a file is in the archive; `None` for what is left out.
    fn kind(&mut self, spot: Spot, node: &Node, name: &[u8]) -> Outcome<Option<MemberKind>> {
        if node.links > 1 && node.kind != FileKind::Directory {
            if let Some(first) = self.first_names.get(&spot) {
                return Ok(Some(MemberKind::HardLink(first.clone())));
            }
            let is_kept = self.all || matches!(node.kind, FileKind::Regular | FileKind::Symlink);
            if is_kept && node.kind != FileKind::Socket {
                self.first_names.insert(spot, name.to_vec());
            }
        }
        Ok(Some(match node.kind {
            FileKind::Regular => MemberKind::File,
            FileKind::Directory => MemberKind::Directory,
            FileKind::Symlink => MemberKind::Symlink(self.tree.link(spot)?),
            FileKind::Fifo => MemberKind::Fifo,
            FileKind::Socket => {
                self.leave_out(0);
                return Ok(None);
            }
            FileKind::CharDevice(..) | FileKind::BlockDevice(..) if !self.all => {
                self.leave_out(1);
                return Ok(None);
            }
            FileKind::CharDevice(major, minor) => MemberKind::CharDevice(major, minor),
            FileKind::BlockDevice(major, minor) => MemberKind::BlockDevice(major, minor),
        }))
    }

    /// Copies a range, without going through all pieces of the file for each of many.
    fn copy(&mut self, reader: &FileReader<'_>, range: Range<u64>) -> Outcome<()> {
        let mut buffer = Vec::new();
        let mut at = range.start;
        while at < range.end {
            self.watch.check()?;
            let len = range.end.strict_sub(at).min(COPY_LEN);
            buffer.resize(usize::try_from(len).expect("at most 1 MiB"), 0);
            reader.read(at, &mut buffer)?;
            self.put(&buffer)?;
            at = at.strict_add(len);
        }
        Ok(())
    }

    fn finish(mut self) -> ArchiveReport {
        for (count, what) in self.left_out.iter().zip(LEFT_OUT) {
            if *count > 0 {
                self.report.notes.push(format!("left out {count}: {what}"));
            }
        }
        if let Some(first) = &self.first_unread {
            let count = self.report.unread;
            let note =
                format!("left out {count}: files that cannot be read, {first} being the first");
            self.report.notes.push(note);
        }
        self.report
    }
}
