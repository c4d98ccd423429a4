//! Records of what was published: `docs/formats/store.md`, "Publications".

use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::ami::Time;
use crate::ami::is_account;
use crate::aws::is_id;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::format::Named;
use crate::io::Node;
use crate::io::SharedFolder;
use crate::layout::is_store;

/// Name of the folder in a store, and what stands behind a bundle's name in that of its folder.
const FOLDER: &str = "publications";

/// Version of a record's format.
const VERSION: u32 = 1;

/// Most bytes of a record: an AMI has 27 volumes in each of some dozen regions.
const MAX_LEN: u64 = 4 << 20;

/// What a record's name ends in.
const SUFFIX: &str = ".json";

/// A snapshot of a published AMI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PublishedSnapshot {
    /// Device of the AMI.
    pub device: String,
    /// Its id.
    pub snapshot_id: String,
    /// Root digest of what is in it.
    pub root_digest: Digest,
}

/// An AMI that was registered, or a copy of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PublishedImage {
    /// Its region.
    pub region: String,
    /// Its id.
    pub image_id: String,
    /// Its snapshots.
    pub snapshots: Vec<PublishedSnapshot>,
}

/// What was published of a bundle by one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Publication {
    /// Version of the record.
    pub publication: u32,
    /// Digest of the bundle, which is in the tag of all that was made.
    pub bundle: Digest,
    /// What the user called it: the name in a store, or that of the AMI.
    pub name: String,
    /// The AMI's own name.
    pub ami_name: String,
    /// The account.
    pub account: String,
    /// When it was done.
    pub published_at: Time,
    /// The AMI, and then its copies.
    pub images: Vec<PublishedImage>,
}

impl Publication {
    /// Makes a record of this version.
    #[must_use]
    pub(in crate::ops) fn of(
        bundle: Digest,
        name: &str,
        ami_name: &str,
        account: &str,
        published_at: Time,
        images: Vec<PublishedImage>,
    ) -> Self {
        Self {
            publication: VERSION,
            bundle,
            name: name.to_owned(),
            ami_name: ami_name.to_owned(),
            account: account.to_owned(),
            published_at,
            images,
        }
    }

    fn check(&self) -> Result<()> {
        if self.publication != VERSION {
            let text = format!("the record is of version {}, expected {VERSION}", self.publication);
            return Err(Error::new(crate::error::Kind::Unsupported, text));
        }
        let snapshots = self.images.iter().flat_map(|it| &it.snapshots);
        let sound = is_account(&self.account)
            && !self.images.is_empty()
            && self.images.iter().all(|it| is_id(&it.image_id, "ami-"))
            && snapshots.into_iter().all(|it| is_id(&it.snapshot_id, "snap-"));
        if sound { Ok(()) } else { Err(Error::corrupt("it has an account or an id that is none")) }
    }

    /// Returns the name of its file.
    fn file_name(&self) -> String {
        let first = &self.images[0];
        format!("{}-{}{SUFFIX}", first.region, first.image_id)
    }
}

/// The records of a store, or of a bundle.
#[derive(Debug)]
pub(in crate::ops) struct Records {
    folder: PathBuf,
    /// What the user calls the AMI.
    name: Option<String>,
}

impl Records {
    /// Finds the records of what a user typed: those of the store, or those beside the bundle; or in a folder that is named.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say what is there.
    pub(in crate::ops) fn of(typed: &Path, named: Option<&Path>) -> Result<Self> {
        let Named { path, ami, .. } = Named::parse(typed);
        let folder = match named {
            Some(folder) => folder.to_owned(),
            None if is_store(&path)? => path.join(FOLDER),
            None => {
                let trimmed: PathBuf = path.components().collect();
                let mut name = trimmed.into_os_string();
                name.push(format!(".{FOLDER}"));
                name.into()
            }
        };
        Ok(Self { folder, name: ami })
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
    pub(in crate::ops) fn all(&self) -> Result<Vec<Publication>> {
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
            let record: Publication = serde_json::from_slice(&bytes)
                .map_err(|e| Error::corrupt(format!("record: {e}")).in_file(&path))?;
            record.check().map_err(|e| e.in_file(&path))?;
            found.push(record);
        }
        found.sort_by(|a, b| {
            (a.published_at, &a.images[0].image_id).cmp(&(b.published_at, &b.images[0].image_id))
        });
        Ok(found)
    }

    /// Writes a record. It is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(in crate::ops) fn write(&self, record: &Publication) -> Result<PathBuf> {
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
    pub(in crate::ops) fn remove(&self, record: &Publication) -> Result<()> {
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
        let records = Records::of(Path::new("x"), Some(folder.path())).unwrap();
        let path = records.write(&record("ami-1", "2026-11-29T00:00:00Z")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for (from, to, kind) in [
            ("\"Publication\": 1", "\"Publication\": 2", Kind::Unsupported),
            ("ami-1", "ami-../x", Kind::Corrupt),
            ("snap-1", "vol-1", Kind::Corrupt),
            ("123456789012", "me", Kind::Corrupt),
            ("\"Name\"", "\"Names\"", Kind::Corrupt),
        ] {
            fs::write(&path, text.replace(from, to)).unwrap();
            let error = records.all().unwrap_err();
            assert_eq!((error.kind(), error.path()), (kind, Some(&*path)), "{from}");
        }
    }
}
