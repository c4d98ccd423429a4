//! What proves that a snapshot of an account has the content of a volume.
//!
//! Blocks that EBS calls unchanged since a snapshot are taken from the volume that has its content, and blocks that an upload
//! leaves out are those of its parent. If the volume is not what the snapshot is, both make a wrong volume of right blocks,
//! and no checksum can tell. So nobody is believed who only names the snapshot.

use std::path::Path;

use serde_json::Value;
use serde_json::json;

use crate::ami::bare;
use crate::aws::Aws;
use crate::calls::BUNDLE_TAG;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::ops::shared::fetches::FetchRecord;
use crate::ops::shared::publications::Publication;
use crate::ops::shared::records::Records;

/// Most snapshots that EC2 is asked about for a volume, the newest first.
const MOST_LOOKED_AT: usize = 32;

/// A volume whose content a snapshot is said to have.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Claim<'a> {
    /// What the user calls it.
    pub(in crate::ops) path: &'a Path,
    /// Root digest of its manifest.
    pub(in crate::ops) root: Digest,
    /// The bundle that has it, and its device there.
    pub(in crate::ops) bundle: Option<(Digest, &'a str)>,
}

/// What records say of snapshots.
#[derive(Debug, Default)]
pub(in crate::ops) struct Words {
    publications: Vec<Publication>,
    fetches: Vec<FetchRecord>,
}

/// What a record says of a snapshot.
#[derive(Clone, Copy, Debug)]
struct Said<'a> {
    snapshot_id: &'a str,
    root: Digest,
    account: &'a str,
    /// Whether that account made the snapshot. Else it has read it.
    is_owner: bool,
}

impl Said<'_> {
    /// Tells whether the record is about this snapshot, and not about one of the same id in a service that stands for EC2.
    fn is_of(&self, snapshot: &Value, caller: &str) -> bool {
        if self.is_owner { snapshot["OwnerId"] == self.account } else { self.account == caller }
    }
}

impl Words {
    /// Reads the records of what a user typed: those of the store, or beside the bundle.
    ///
    /// # Errors
    ///
    /// As [`Records::all`].
    pub(in crate::ops) fn of(typed: &Path) -> Result<Self> {
        let publications = Records::of(typed, None)?.all()?;
        Ok(Self { publications, fetches: Records::of(typed, None)?.all()? })
    }

    /// Adds publications that stand elsewhere.
    pub(in crate::ops) fn add(&mut self, publications: &[Publication]) {
        self.publications.extend_from_slice(publications);
    }

    /// Iterates over all that is said of snapshots of a region, the newest first.
    fn said<'a>(&'a self, region: &'a str) -> impl Iterator<Item = Said<'a>> {
        let published = self.publications.iter().rev().flat_map(move |record| {
            let images = record.images.iter().filter(move |it| it.region == region);
            images.flat_map(|it| &it.snapshots).map(|it| Said {
                snapshot_id: &it.snapshot_id,
                root: it.root_digest,
                account: &record.account,
                is_owner: true,
            })
        });
        let fetched = self.fetches.iter().rev().filter(move |it| it.region == region);
        let fetched = fetched.flat_map(|record| {
            record.snapshots.iter().map(|it| Said {
                snapshot_id: &it.snapshot_id,
                root: it.root_digest,
                account: &record.account,
                is_owner: false,
            })
        });
        published.chain(fetched)
    }
}

/// Who is asked what snapshots are.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Witness<'a> {
    pub(in crate::ops) aws: &'a Aws<'a, 'a>,
    pub(in crate::ops) region: &'a str,
    /// The account that asks.
    pub(in crate::ops) account: &'a str,
}

impl Witness<'_> {
    /// Returns what EC2 says of a snapshot that is there and complete.
    ///
    /// # Errors
    ///
    /// A refusal; `Io` if there is no answer.
    pub(in crate::ops) fn snapshot(&self, snapshot_id: &str) -> Result<Option<Value>> {
        let parameters = json!({ "SnapshotIds": [snapshot_id] });
        let answer = self.aws.ec2(self.region, "DescribeSnapshots", &parameters, None)?;
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(refusal) if refusal.code == "InvalidSnapshot.NotFound" => return Ok(None),
            Err(refusal) => return Err(refusal.into()),
        };
        let found = answer["Snapshots"][0].take();
        Ok((found["State"] == "completed").then_some(found))
    }

    /// Finds a snapshot that a record says to have the content.
    ///
    /// # Errors
    ///
    /// As [`Witness::snapshot`].
    pub(in crate::ops) fn recorded(
        &self,
        claim: Claim<'_>,
        words: &Words,
    ) -> Result<Option<String>> {
        let same = words.said(self.region).filter(|it| it.root == claim.root);
        for said in same.take(MOST_LOOKED_AT) {
            if self.snapshot(said.snapshot_id)?.is_some_and(|it| said.is_of(&it, self.account)) {
                return Ok(Some(said.snapshot_id.to_owned()));
            }
        }
        Ok(None)
    }

    /// Proves that a snapshot which the user names has the content: a record says so, or an AMI of the account that was made
    /// of the bundle has it as this volume. Such an AMI is registered only after its snapshots are proved.
    ///
    /// # Errors
    ///
    /// `Mismatch` if a record says that it has another; `Invalid` if nothing says anything, or there is no such snapshot.
    pub(in crate::ops) fn prove(
        &self,
        snapshot_id: &str,
        claim: Claim<'_>,
        words: &Words,
    ) -> Result<()> {
        let Some(snapshot) = self.snapshot(snapshot_id)? else {
            let text =
                format!("{} has no complete snapshot {snapshot_id} for this account", self.region);
            return Err(Error::invalid(text).advise(Advice::Omit(Setting::Base)));
        };
        let said = || {
            let here = words.said(self.region);
            here.filter(|it| it.snapshot_id == snapshot_id && it.is_of(&snapshot, self.account))
        };
        if said().any(|it| it.root == claim.root) || self.is_in_our_image(snapshot_id, claim)? {
            return Ok(());
        }
        let error = match said().next() {
            Some(other) => {
                let text = format!(
                    "it has the root digest {}, and a record says that {snapshot_id} has {}",
                    claim.root, other.root
                );
                Error::new(Kind::Mismatch, text)
            }
            None => Error::invalid(format!("nothing proves that {snapshot_id} has its content")),
        };
        Err(error.in_file(claim.path).advise(Advice::Omit(Setting::Base)))
    }

    fn is_in_our_image(&self, snapshot_id: &str, claim: Claim<'_>) -> Result<bool> {
        let Some((bundle, device)) = claim.bundle else { return Ok(false) };
        let by_snapshot = json!({
            "Owners": ["self"],
            "Filters": [{ "Name": "block-device-mapping.snapshot-id", "Values": [snapshot_id] }],
        });
        let answer = self.aws.ec2(self.region, "DescribeImages", &by_snapshot, None)??;
        let tag = json!({ "Key": BUNDLE_TAG, "Value": format!("sha256:{bundle}") });
        let mut images = answer["Images"].as_array().into_iter().flatten();
        Ok(images.any(|image| {
            let is_ours = image["Tags"].as_array().is_some_and(|tags| tags.contains(&tag));
            let mut mappings = image["BlockDeviceMappings"].as_array().into_iter().flatten();
            is_ours
                && mappings.any(|it| {
                    let name = it["DeviceName"].as_str().map(bare);
                    let id = it.pointer("/Ebs/SnapshotId").and_then(Value::as_str);
                    name == Some(bare(device)) && id == Some(snapshot_id)
                })
        }))
    }
}
