//! Records of what was published: `docs/formats/store.md`, "Publications".

use serde::Deserialize;
use serde::Serialize;

use crate::ami::Time;
use crate::ami::is_account;
use crate::aws::check_region;
use crate::aws::is_id;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::ops::shared::records::Record;

/// Version of a record's format.
const VERSION: u32 = 1;

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
}

impl Record for Publication {
    const FOLDER: &'static str = "publications";
    const VERSIONED_BY: &'static str = "Publication";
    const VERSION: u32 = VERSION;

    fn check(&self) -> Result<()> {
        for image in &self.images {
            check_region(&image.region).map_err(|fault| Error::corrupt(fault.to_string()))?;
        }
        let snapshots = self.images.iter().flat_map(|it| &it.snapshots);
        let sound = is_account(&self.account)
            && !self.images.is_empty()
            && self.images.iter().all(|it| is_id(&it.image_id, "ami-"))
            && snapshots.into_iter().all(|it| is_id(&it.snapshot_id, "snap-"));
        if sound { Ok(()) } else { Err(Error::corrupt("it has an account or an id that is none")) }
    }

    fn file_name(&self) -> String {
        let first = &self.images[0];
        format!("{}-{}.json", first.region, first.image_id)
    }

    fn order(&self) -> (Time, &str) {
        (self.published_at, &self.images[0].image_id)
    }
}
