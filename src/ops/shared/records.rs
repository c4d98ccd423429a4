//! Records beside what they are about: files of one kind in a folder, as `docs/formats/store.md` has them.

use std::marker::PhantomData;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ami::Time;
use crate::error::Error;
use crate::error::Result;
use crate::format::Named;
use crate::io::Node;
use crate::io::SharedFolder;
use crate::layout::is_store;
use crate::ops::shared::versions;

/// Most bytes of a record: an AMI has 27 volumes in each of some dozen regions.
const MAX_LEN: u64 = 4 << 20;

/// What a record's name ends in.
const SUFFIX: &str = ".json";

/// A kind of records.
pub(in crate::ops) trait Record: Serialize + DeserializeOwned {
    /// Name of the folder in a store, and what stands behind a bundle's name in that of its folder.
    const FOLDER: &'static str;

    /// The member that says its version.
    const VERSIONED_BY: &'static str;

    /// The version that is read and written.
    const VERSION: u32;

    /// Fails if it is damaged.
    ///
    /// # Errors
    ///
    /// `Corrupt`.
    fn check(&self) -> Result<()>;

    /// Returns the name of its file, which ends in `.json`.
    fn file_name(&self) -> String;

    /// Returns when it was written, and what decides between records of the same second.
    fn order(&self) -> (Time, &str);
}

/// The records of a store, or of a bundle.
#[derive(Debug)]
pub(in crate::ops) struct Records<R> {
    folder: PathBuf,
    /// What the user calls the AMI.
    name: Option<String>,
    kind: PhantomData<R>,
}

impl<R: Record> Records<R> {
    /// Finds the records of what a user typed: those of the store, or those beside the bundle; or in a folder that is named.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say what is there.
    pub(in crate::ops) fn of(typed: &Path, named: Option<&Path>) -> Result<Self> {
        let Named { path, ami, .. } = Named::parse(typed);
        let folder = match named {
            Some(folder) => folder.to_owned(),
            None if is_store(&path)? => path.join(R::FOLDER),
            None => {
                let trimmed: PathBuf = path.components().collect();
                let mut name = trimmed.into_os_string();
                name.push(format!(".{}", R::FOLDER));
                name.into()
            }
        };
        Ok(Self { folder, name: ami, kind: PhantomData })
    }

    /// Returns the folder, made if it is not there.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(in crate::ops) fn made(&self) -> Result<&Path> {
        if Node::at(&self.folder)?.is_none() {
            let around = self.folder.parent().filter(|it| !it.as_os_str().is_empty());
            let name =
                self.folder.file_name().and_then(|it| it.to_str()).ok_or_else(|| {
                    Error::invalid("it has no name in UTF-8").in_file(&self.folder)
                })?;
            let around = SharedFolder::open(around.unwrap_or(Path::new(".")))?;
            around.make_dir(name)?;
            around.sync("")?;
        }
        Ok(&self.folder)
    }

    /// Returns what the user calls the AMI: its name in the store, or its own.
    pub(in crate::ops) fn name_of<'a>(&'a self, own: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(own)
    }

    /// Returns all records, the oldest first.
    ///
    /// # Errors
    ///
    /// `Corrupt` or `Unsupported` if one is damaged or of another version; `Io` if the system refuses.
    pub(in crate::ops) fn all(&self) -> Result<Vec<R>> {
        if Node::at(&self.folder)? != Some(Node::Folder) {
            return Ok(Vec::new());
        }
        let folder = SharedFolder::open(&self.folder)?;
        let mut found = Vec::new();
        for file in folder.files("")?.0 {
            if !file.name.ends_with(SUFFIX) {
                continue;
            }
            let path = self.folder.join(&file.name);
            // One that is gone by now was taken back by another run.
            let Some(bytes) = folder.read(&file.name, MAX_LEN)? else { continue };
            let record: R = versions::read(&bytes, "record", R::VERSIONED_BY, R::VERSION)
                .map_err(|e| e.in_file(&path))?;
            record.check().map_err(|e| e.in_file(&path))?;
            found.push(record);
        }
        found.sort_by(|a: &R, b| a.order().cmp(&b.order()));
        Ok(found)
    }

    /// Writes a record. It is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(in crate::ops) fn write(&self, record: &R) -> Result<PathBuf> {
        let folder = SharedFolder::open(self.made()?)?;
        let mut text = serde_json::to_vec_pretty(record).expect("plain data always serialises");
        text.push(b'\n');
        folder.replace(&record.file_name(), &text, || Ok(true))?;
        Ok(self.folder.join(record.file_name()))
    }

    /// Removes a record: nothing of it is there any more.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(in crate::ops) fn remove(&self, record: &R) -> Result<()> {
        let folder = SharedFolder::open(&self.folder)?;
        folder.remove(&record.file_name())?;
        folder.sync("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    use crate::digest::sha256;
    use crate::error::Kind;
    use crate::ops::shared::publications::Publication;
    use crate::ops::shared::publications::PublishedImage;
    use crate::ops::shared::publications::PublishedSnapshot;

    fn record(image_id: &str, at: &str) -> Publication {
        let root_digest = sha256(b"root");
        let snapshot = PublishedSnapshot {
            device: "/dev/xvda".to_owned(),
            snapshot_id: "snap-1".to_owned(),
            root_digest,
        };
        let image = PublishedImage {
            region: "eu-west-1".to_owned(),
            image_id: image_id.to_owned(),
            snapshots: vec![snapshot],
        };
        let at = at.parse().unwrap();
        Publication::of(sha256(b"b"), "web", "web 1", "123456789012", at, vec![image])
    }

    #[test]
    fn records_come_back_the_oldest_first_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("web.ami");
        let records = Records::of(&bundle, None).unwrap();
        assert!(records.all().unwrap().is_empty());
        let (old, new) =
            (record("ami-2", "2026-11-29T00:00:00Z"), record("ami-1", "2026-11-30T00:00:00Z"));
        let path = records.write(&new).unwrap();
        assert_eq!(path, folder.path().join("web.ami.publications/eu-west-1-ami-1.json"));
        records.write(&old).unwrap();
        fs::write(path.with_file_name("0123.journal"), "not a record").unwrap();
        assert_eq!(records.all().unwrap(), [old.clone(), new.clone()]);
        records.remove(&old).unwrap();
        assert_eq!(records.all().unwrap(), [new]);
    }

    #[test]
    fn a_record_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::<Publication>::of(Path::new("x"), Some(folder.path())).unwrap();
        let path = records.write(&record("ami-1", "2026-11-29T00:00:00Z")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for (from, to, kind) in [
            ("\"Publication\": 1", "\"Publication\": 2", Kind::Unsupported),
            ("ami-1", "ami-../x", Kind::Corrupt),
            ("snap-1", "vol-1", Kind::Corrupt),
            ("123456789012", "me", Kind::Corrupt),
            // A record's name is made of it.
            ("eu-west-1", "../../x", Kind::Corrupt),
            ("\"Name\"", "\"Names\"", Kind::Corrupt),
        ] {
            fs::write(&path, text.replace(from, to)).unwrap();
            let error = records.all().unwrap_err();
            assert_eq!((error.kind(), error.path()), (kind, Some(&*path)), "{from}");
        }
    }
}
