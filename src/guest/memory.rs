//! A file system in memory, for tests of what reads files.

use std::collections::BTreeMap;

use crate::guest::claims::Claims;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::About;
use crate::guest::file::Attribute;
use crate::guest::file::Bytes;
use crate::guest::file::Content;
use crate::guest::file::Entry;
use crate::guest::file::FileKind;
use crate::guest::file::FileSystem;
use crate::guest::file::Node;
use crate::guest::file::Piece;
use crate::guest::file::Time;
use crate::guest::owner::FileId;
use crate::guest::ranges::Ranges;

/// A file system in memory.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    about: About,
    files: Vec<File>,
}

#[derive(Clone, Debug)]
struct File {
    kind: FileKind,
    content: Vec<u8>,
    entries: BTreeMap<Vec<u8>, usize>,
    attributes: Vec<Attribute>,
}

impl File {
    fn new(kind: FileKind, content: &[u8]) -> Self {
        let (entries, attributes) = (BTreeMap::new(), Vec::new());
        Self { kind, content: content.to_vec(), entries, attributes }
    }
}

impl Memory {
    pub(crate) fn new(name: &'static str, uuid: &str) -> Self {
        let about = About { name, uuid: Some(uuid.to_owned()), size: 4096, ..About::default() };
        Self { about, files: vec![File::new(FileKind::Directory, b"")] }
    }

    pub(crate) fn about_mut(&mut self) -> &mut About {
        &mut self.about
    }

    /// Puts a file, and the directories that lead to it.
    pub(crate) fn put(&mut self, path: &str, content: impl AsRef<[u8]>) -> &mut Self {
        self.add(path, &File::new(FileKind::Regular, content.as_ref()));
        self
    }

    pub(crate) fn folder(&mut self, path: &str) -> &mut Self {
        self.add(path, &File::new(FileKind::Directory, b""));
        self
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.add(path, &File::new(FileKind::Symlink, target.as_bytes()));
        self
    }

    pub(crate) fn attribute(&mut self, path: &str, name: &str, value: &str) -> &mut Self {
        let at = self.at(path).unwrap();
        let (name, value) = (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        self.files[at].attributes.push(Attribute { name, value });
        self
    }

    /// Removes a name.
    pub(crate) fn remove(&mut self, path: &str) -> &mut Self {
        let (folder, name) = path.rsplit_once('/').unwrap();
        let folder = self.at(folder).unwrap();
        self.files[folder].entries.remove(name.as_bytes()).unwrap();
        self
    }

    fn at(&self, path: &str) -> Option<usize> {
        let mut at = 0;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = *self.files[at].entries.get(name.as_bytes())?;
        }
        Some(at)
    }

    fn add(&mut self, path: &str, file: &File) {
        let mut at = 0;
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let new = self.files.len();
            let known = self.files[at].entries.get(name.as_bytes()).copied();
            if names.peek().is_none() {
                self.files.push(file.clone());
                self.files[at].entries.insert(name.as_bytes().to_vec(), new);
            } else if known.is_none() {
                self.files.push(File::new(FileKind::Directory, b""));
                self.files[at].entries.insert(name.as_bytes().to_vec(), new);
            }
            at = if names.peek().is_none() { new } else { known.unwrap_or(new) };
        }
    }

    fn file(&self, id: FileId) -> Outcome<&File> {
        let at = usize::try_from(id.0).unwrap();
        self.files.get(at).ok_or_else(|| Problem::Damaged.text("no such file"))
    }
}

impl FileSystem for Memory {
    fn about(&self) -> &About {
        &self.about
    }

    fn claim(&self, _: &mut Claims) -> Outcome<()> {
        Ok(())
    }

    fn free(&self) -> Outcome<Ranges> {
        Ok(Ranges::default())
    }

    fn root(&self) -> FileId {
        FileId(0)
    }

    fn node(&self, id: FileId) -> Outcome<Node> {
        let file = self.file(id)?;
        Ok(Node {
            id,
            kind: file.kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            links: 1,
            size: file.content.len().try_into().unwrap(),
            modified: Time::default(),
            accessed: None,
            changed: None,
            created: None,
            encrypted: false,
        })
    }

    fn entries(&self, folder: FileId) -> Outcome<Vec<Entry>> {
        let entries = self.file(folder)?.entries.iter();
        let entry = |(name, at): (&Vec<u8>, &usize)| Entry {
            name: name.clone(),
            id: FileId((*at).try_into().unwrap()),
        };
        Ok(entries.map(entry).collect())
    }

    fn content(&self, id: FileId) -> Outcome<Content> {
        let bytes = self.file(id)?.content.clone();
        let size = bytes.len().try_into().unwrap();
        let pieces = vec![Piece { start: 0, len: size, bytes: Bytes::Here(bytes) }];
        Ok(Content { size, pieces: if size == 0 { Vec::new() } else { pieces } })
    }

    fn attributes(&self, id: FileId) -> Outcome<Vec<Attribute>> {
        Ok(self.file(id)?.attributes.clone())
    }

    fn read(&self, _: u64, _: &mut [u8]) -> Outcome<()> {
        Err(Problem::Damaged.text("it has no bytes"))
    }
}
