//! `unpublish`: what was published, taken back: only what a record of ours names and what has our tag.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::ami::is_account;
use crate::aws::Aws;
use crate::aws::Refusal;
use crate::calls::BUNDLE_TAG;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::ops::shared::account::AwsRequest;
use crate::ops::shared::aws::with_aws;
use crate::ops::shared::publications::Publication;
use crate::ops::shared::publications::PublishedImage;
use crate::ops::shared::records::Records;
use crate::ops::shared::report::path_text;
use crate::work::Watch;

/// How long a snapshot is still in use by an AMI that is gone.
const IN_USE_TIME: Duration = Duration::from_mins(2);

/// Codes that say so.
const IN_USE: &[&str] = &["InvalidSnapshot.InUse"];

/// Codes that say that an AMI is gone.
const IMAGE_GONE: &[&str] = &["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"];

/// Codes that say that a snapshot is gone.
const SNAPSHOT_GONE: &[&str] = &["InvalidSnapshot.NotFound"];

/// What is taken back, and whether it is done.
#[derive(Clone, Debug)]
pub struct UnpublishRequest {
    /// The bundle, or `STORE@NAME`.
    pub bundle: PathBuf,
    /// Folder of the records, in the place of that of the store or beside the bundle.
    pub records: Option<PathBuf>,
    /// The publication of this AMI alone.
    pub image_id: Option<String>,
    /// Leave so many of the newest.
    pub keep: Option<u32>,
    /// The account whose AMIs go; nothing is done without it.
    pub account: Option<String>,
    /// How AWS is asked.
    pub aws: AwsRequest,
}

impl UnpublishRequest {
    /// Asks what would be taken back of a bundle.
    #[must_use]
    pub fn new(bundle: impl Into<PathBuf>) -> Self {
        Self {
            bundle: bundle.into(),
            records: None,
            image_id: None,
            keep: None,
            account: None,
            aws: AwsRequest::default(),
        }
    }
}

/// What becomes of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It goes, or is gone.
    Goes,
    /// It was gone already.
    Gone,
    /// It stays: the reason is beside it.
    Stays,
}

/// An AMI or a snapshot of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Its region.
    pub region: String,
    /// Its id.
    pub id: String,
    /// What becomes of it.
    pub fate: Fate,
    /// Why it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A publication that is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TakenBack {
    /// What it is called.
    pub name: String,
    /// Digest of the bundle.
    pub bundle: Digest,
    /// The AMI's own name.
    pub ami_name: String,
    /// When it was published.
    pub published_at: String,
    /// AMIs and snapshots, in the order in which they go.
    pub taken: Vec<Taken>,
}

/// What was, or would be, taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnpublishReport {
    /// The bundle.
    #[serde(serialize_with = "path_text")]
    pub bundle: PathBuf,
    /// The account.
    pub account: String,
    /// Whether it was done.
    pub done: bool,
    /// The publications, the oldest first.
    pub publications: Vec<TakenBack>,
    /// Publications that stay.
    pub kept: usize,
}

/// Takes back what was published of a bundle, or says what it would take back.
///
/// # Errors
///
/// `Invalid` if nothing was published, if it was by another account, or if AWS refuses; `Io` if AWS does not answer.
pub fn unpublish(request: &UnpublishRequest, watch: &dyn Watch) -> Result<UnpublishReport> {
    let records = Records::of(&request.bundle, request.records.as_deref())?;
    let all = records.all()?;
    let of_name = |it: &&Publication| {
        let name = records.name_of(&it.name);
        it.name == name && request.image_id.as_ref().is_none_or(|id| it.images[0].image_id == *id)
    };
    let mut chosen: Vec<Publication> = all.iter().filter(of_name).cloned().collect();
    let Some(newest) = chosen.last().cloned() else {
        let text = "no record says that it was published";
        return Err(Error::invalid(text).in_file(&request.bundle));
    };
    let kept = keep_newest(&mut chosen, request.keep.unwrap_or(0));
    let Some(first) = chosen.first().cloned() else {
        return Ok(UnpublishReport {
            bundle: request.bundle.clone(),
            account: newest.account,
            done: request.account.is_some(),
            publications: Vec::new(),
            kept,
        });
    };
    if let Some(account) = &request.account
        && !is_account(account)
    {
        let text = format!("{account:?} is not an account, expected twelve digits");
        return Err(Error::invalid(text));
    }
    let region = first.images[0].region.clone();
    with_aws(&request.aws, Some(&region), 4, watch, |aws, region| {
        let account = aws.account(region)?;
        let other = chosen.iter().find(|it| it.account != account);
        if let Some(other) = other {
            let text = format!(
                "account {} published it, and the credentials are of account {account}",
                other.account
            );
            return Err(Error::invalid(text).in_file(&request.bundle));
        }
        if let Some(said) = &request.account
            && *said != account
        {
            let text =
                format!("the request names account {said}, and the credentials are of {account}");
            return Err(Error::invalid(text));
        }
        let taking = Taking { aws, account: &account, done: request.account.is_some(), watch };
        let mut publications = Vec::new();
        for record in &chosen {
            watch.check()?;
            let taken = taking.publication(record)?;
            let all_gone = taken.iter().all(|it| it.fate != Fate::Stays);
            if taking.done && all_gone {
                records.remove(record)?;
            }
            publications.push(TakenBack {
                name: record.name.clone(),
                bundle: record.bundle,
                ami_name: record.ami_name.clone(),
                published_at: record.published_at.to_string(),
                taken,
            });
        }
        Ok(UnpublishReport {
            bundle: request.bundle.clone(),
            account: account.clone(),
            done: taking.done,
            publications,
            kept,
        })
    })
}

/// Leaves out so many of the newest of each account and region, and returns how many were left out.
fn keep_newest(chosen: &mut Vec<Publication>, keep: u32) -> usize {
    let before = chosen.len();
    let mut seen: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut rest: Vec<Publication> = Vec::new();
    for record in chosen.drain(..).rev() {
        let place = (record.account.clone(), record.images[0].region.clone());
        let count = seen.entry(place).or_default();
        if *count >= keep {
            rest.push(record);
        }
        *count = count.saturating_add(1);
    }
    rest.reverse();
    *chosen = rest;
    before.saturating_sub(chosen.len())
}

/// A run that takes back, or looks at what it would.
struct Taking<'a> {
    aws: &'a Aws<'a, 'a>,
    account: &'a str,
    done: bool,
    watch: &'a dyn Watch,
}

/// What is found of an id: its description, or why it is left alone.
enum Found {
    Ours,
    Gone,
    Others(String),
}

impl Taking<'_> {
    fn publication(&self, record: &Publication) -> Result<Vec<Taken>> {
        let mut taken = Vec::new();
        // Copies first: the AMI is there as long as anything of it is.
        for image in record.images.iter().rev() {
            self.watch.check()?;
            self.image(record, image, &mut taken)?;
        }
        Ok(taken)
    }

    fn image(
        &self,
        record: &Publication,
        image: &PublishedImage,
        taken: &mut Vec<Taken>,
    ) -> Result<()> {
        let region = image.region.as_str();
        let entry = |id: &str, fate, reason| Taken {
            region: region.to_owned(),
            id: id.to_owned(),
            fate,
            reason,
        };
        // EC2 leaves out of its answer what is deprecated or disabled, unless it is asked for.
        let asked = json!({
            "ImageIds": [image.image_id],
            "IncludeDeprecated": true,
            "IncludeDisabled": true,
        });
        let found = self.found(region, "DescribeImages", &asked, record)?;
        match found {
            Found::Gone => taken.push(entry(&image.image_id, Fate::Gone, None)),
            Found::Others(why) => {
                taken.push(entry(&image.image_id, Fate::Stays, Some(why)));
                for snapshot in &image.snapshots {
                    let why = format!("{} stays", image.image_id);
                    taken.push(entry(&snapshot.snapshot_id, Fate::Stays, Some(why)));
                }
                return Ok(());
            }
            Found::Ours => {
                if self.done {
                    self.call(
                        region,
                        "DeregisterImage",
                        &json!({ "ImageId": image.image_id }),
                        IMAGE_GONE,
                    )?;
                }
                taken.push(entry(&image.image_id, Fate::Goes, None));
            }
        }
        for snapshot in &image.snapshots {
            let id = &snapshot.snapshot_id;
            let asked = json!({ "SnapshotIds": [id] });
            let found = self.found(region, "DescribeSnapshots", &asked, record)?;
            let (fate, reason) = match found {
                Found::Gone => (Fate::Gone, None),
                Found::Others(why) => (Fate::Stays, Some(why)),
                Found::Ours => {
                    if let Some(other) = self.used_by(region, id, &image.image_id)? {
                        (Fate::Stays, Some(format!("{other} uses it")))
                    } else {
                        if self.done {
                            self.call(
                                region,
                                "DeleteSnapshot",
                                &json!({ "SnapshotId": id }),
                                SNAPSHOT_GONE,
                            )?;
                        }
                        (Fate::Goes, None)
                    }
                }
            };
            taken.push(entry(id, fate, reason));
        }
        Ok(())
    }

    /// Finds out whether something is there, is the account's own, and was tagged by us at its making.
    fn found(
        &self,
        region: &str,
        call: &str,
        parameters: &Value,
        record: &Publication,
    ) -> Result<Found> {
        let answer = match self.aws.ec2(region, call, parameters, None)? {
            Ok(answer) => answer,
            Err(refusal) if refusal.is_one_of(IMAGE_GONE) || refusal.is_one_of(SNAPSHOT_GONE) => {
                return Ok(Found::Gone);
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let list = answer.get("Images").or_else(|| answer.get("Snapshots"));
        let Some(found) = list.and_then(|it| it.get(0)) else { return Ok(Found::Gone) };
        if found["OwnerId"] != self.account {
            let owner = found["OwnerId"].as_str().unwrap_or("another");
            return Ok(Found::Others(format!("account {owner} owns it")));
        }
        let tag = json!({ "Key": BUNDLE_TAG, "Value": format!("sha256:{}", record.bundle) });
        let tags = found["Tags"].as_array();
        if !tags.is_some_and(|tags| tags.contains(&tag)) {
            return Ok(Found::Others(format!(
                "it does not have the tag {BUNDLE_TAG} of the bundle"
            )));
        }
        Ok(Found::Ours)
    }

    /// Returns another AMI that uses a snapshot, also one that is deprecated or disabled.
    fn used_by(&self, region: &str, snapshot_id: &str, own: &str) -> Result<Option<String>> {
        let by_snapshot = json!({
            "Filters": [{ "Name": "block-device-mapping.snapshot-id", "Values": [snapshot_id] }],
            "IncludeDeprecated": true,
            "IncludeDisabled": true,
        });
        let answer = self.aws.ec2(region, "DescribeImages", &by_snapshot, None)??;
        let ids = answer["Images"].as_array().into_iter().flatten();
        let mut ids = ids.filter_map(|it| it["ImageId"].as_str());
        Ok(ids.find(|id| *id != own).map(str::to_owned))
    }

    /// Makes a call; what is gone by now is fine.
    fn call(
        &self,
        region: &str,
        call: &str,
        parameters: &Value,
        gone: &'static [&'static str],
    ) -> Result<()> {
        let until = self.aws.http().now().checked_add(IN_USE_TIME).map(|until| (IN_USE, until));
        match self.aws.ec2(region, call, parameters, until)? {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.is_one_of(gone) => Ok(()),
            Err(refusal) => Err(refused(refusal)),
        }
    }
}

fn refused(refusal: Refusal) -> Error {
    let is_protected = refusal.code == "OperationNotPermitted";
    let error = Error::from(refusal);
    if is_protected {
        return error.with_kind(Kind::Invalid).advise(Advice::CallEc2 {
            to: "switch the protection off",
            call: "DisableImageDeregistrationProtection",
            then: "and try again",
        });
    }
    error
}
