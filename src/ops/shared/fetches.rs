//! Records of what was fetched: `docs/formats/store.md`, "Fetches".
//!
//! They are records of their own, since what was fetched was not made by amikit: nothing of it is ever taken back.

use serde::Deserialize;
use serde::Serialize;

use crate::ami::Time;
use crate::ami::is_account;
use crate::aws::check_region;
use crate::aws::is_id;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::ops::shared::publications::PublishedSnapshot;
use crate::ops::shared::records::Record;

/// Version of a record's format.
const VERSION: u32 = 1;

/// A snapshot or an AMI that was fetched, all of it and each block checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(in crate::ops) struct FetchRecord {
    fetch: u32,
    /// Digest of the bundle that it became.
    pub(in crate::ops) bundle: Digest,
    /// The account that fetched it, which need not own it.
    pub(in crate::ops) account: String,
    /// Its region.
    pub(in crate::ops) region: String,
    /// The id of the snapshot or the AMI.
    pub(in crate::ops) id: String,
    /// When it was done.
    pub(in crate::ops) fetched_at: Time,
    /// The snapshots, each with the root digest of what was in it.
    pub(in crate::ops) snapshots: Vec<PublishedSnapshot>,
}

impl FetchRecord {
    /// Makes a record of this version.
    #[must_use]
    pub(in crate::ops) fn of(
        bundle: Digest,
        account: &str,
        region: &str,
        id: &str,
        fetched_at: Time,
        snapshots: Vec<PublishedSnapshot>,
    ) -> Self {
        Self {
            fetch: VERSION,
            bundle,
            account: account.to_owned(),
            region: region.to_owned(),
            id: id.to_owned(),
            fetched_at,
            snapshots,
        }
    }
}

impl Record for FetchRecord {
    const FOLDER: &'static str = "fetches";
    const VERSIONED_BY: &'static str = "Fetch";
    const VERSION: u32 = VERSION;

    fn check(&self) -> Result<()> {
        check_region(&self.region).map_err(|fault| Error::corrupt(fault.to_string()))?;
        let sound = is_account(&self.account)
            && (is_id(&self.id, "ami-") || is_id(&self.id, "snap-"))
            && self.snapshots.iter().all(|it| is_id(&it.snapshot_id, "snap-"));
        if sound { Ok(()) } else { Err(Error::corrupt("it has an invalid account or id")) }
    }

    fn file_name(&self) -> String {
        format!("{}-{}.json", self.region, self.id)
    }

    fn order(&self) -> (Time, &str) {
        (self.fetched_at, &self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::path::Path;

    use crate::digest::sha256;
    use crate::error::Kind;
    use crate::ops::shared::records::Records;

    #[test]
    fn a_record_comes_back_and_a_damaged_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::<FetchRecord>::of(&folder.path().join("web.ami"), None).unwrap();
        let snapshot = PublishedSnapshot {
            device: "/dev/xvda".to_owned(),
            snapshot_id: "snap-1".to_owned(),
            root_digest: sha256(b"root"),
        };
        let at = "2026-11-30T00:00:00Z".parse().unwrap();
        let bundle = sha256(b"bundle");
        let fetch =
            FetchRecord::of(bundle, "123456789012", "eu-west-1", "ami-1", at, vec![snapshot]);
        let path = records.write(&fetch).unwrap();
        assert_eq!(path, folder.path().join("web.ami.fetches/eu-west-1-ami-1.json"));
        assert_eq!(records.all().unwrap(), [fetch]);
        // What takes publications back does not see it.
        assert!(!Path::new(&folder.path().join("web.ami.publications")).exists());
        let text = fs::read_to_string(&path).unwrap();
        for (from, to, kind) in [
            ("\"Fetch\": 1", "\"Fetch\": 2", Kind::Unsupported),
            ("\"Fetch\": 1", "\"Publication\": 1", Kind::Corrupt),
            ("eu-west-1", "../../etc", Kind::Corrupt),
            ("ami-1", "vol-1", Kind::Corrupt),
            ("snap-1", "snap-../x", Kind::Corrupt),
            ("123456789012", "me", Kind::Corrupt),
        ] {
            fs::write(&path, text.replace(from, to)).unwrap();
            let error = records.all().unwrap_err();
            assert_eq!((error.kind(), error.path()), (kind, Some(&*path)), "{from}");
        }
    }
}
