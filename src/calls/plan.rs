//! The whole upload as a sequence of steps, each made when it is asked for.

use std::borrow::Cow;
use std::num::NonZero;
use std::vec;

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::Distribution;
use crate::ami::Tag;
use crate::ami::Upload;
use crate::ami::bare;
use crate::calls::ids::Id;
use crate::calls::parameters::CompleteSnapshot;
use crate::calls::parameters::StartSnapshot;
use crate::calls::puts::Base;
use crate::calls::puts::Puts;
use crate::calls::registration::Action;
use crate::calls::registration::NOT_YET_SECONDS;
use crate::calls::registration::NotYet;
use crate::calls::registration::Registration;
use crate::digest::Digest;
use crate::digest::Sha256;
use crate::digest::sha256;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::manifest::Manifest;
use crate::units::BLOCK_SIZE;
use crate::units::ebs_gib;

/// Version of the plan's format.
pub const PLAN_VERSION: u32 = 1;

/// Milliseconds that one put takes, as EBS's own guide reckons.
const PUT_MILLISECONDS: u64 = 100;

/// Minutes for which EBS waits for blocks by itself, and the most that it can be asked to.
const USUAL_TIMEOUT: u64 = 60;
const MAX_TIMEOUT: u64 = 4320;

/// Key of the tag by which everything that a plan makes is known: its value is the digest of the bundle.
pub const BUNDLE_TAG: &str = "amikit:bundle";

/// Returns a description whose AMI, snapshots and copies have the tag of a bundle from their making on: nothing without it
/// is ever taken for a publication of the bundle.
#[must_use]
pub fn marked(ami: &Ami, bundle: Digest) -> Ami {
    let mut ami = ami.clone();
    ami.tags.retain(|tag| tag.key != BUNDLE_TAG);
    ami.tags.push(Tag { key: BUNDLE_TAG.to_owned(), value: format!("sha256:{bundle}") });
    ami
}

/// Puts right after the start are answered as if there were no snapshot, for up to two minutes.
const NOT_YET: NotYet = NotYet {
    errors: &["ResourceNotFoundException", "InvalidSnapshot.NotFound"],
    seconds: NOT_YET_SECONDS,
};

/// Why an upload cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanFault {
    /// Holes would be left out where they read as garbage.
    #[error(
        "{count} blocks of {device} are holes, and {why}: omitted blocks read as garbage there"
    )]
    Holes {
        /// Device of the volume.
        device: String,
        /// Blocks that are holes.
        count: u64,
        /// Why they would.
        why: String,
    },
    /// The base is larger than the target.
    #[error("{device} has {found} GiB, expected at least the {base} GiB of its base")]
    Shrinks {
        /// Device of the volume.
        device: String,
        /// GiB of the target.
        found: u64,
        /// GiB of the base.
        base: u64,
    },
    /// A key is given beside a base.
    #[error("a key conflicts with a base, whose own key is used")]
    KeyWithBase,
    /// A copy needs the region of what it is a copy of.
    #[error("copies need the region of the AMI, which is not set")]
    NoRegion,
    /// A volume of the mapping has content that the plan does not know.
    #[error("{device} has content, but no snapshot is given for it")]
    NoVolume {
        /// Its device.
        device: String,
    },
}

impl Fault for PlanFault {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// A volume to upload.
#[derive(Clone, Copy, Debug)]
pub struct PlanVolume<'a> {
    /// Its device.
    pub device: &'a str,
    /// What its blocks are.
    pub manifest: &'a Manifest,
    /// The snapshot to start from.
    pub base: Option<Base<'a>>,
}

/// What a plan is made for.
#[derive(Clone, Debug)]
pub struct PlanRequest<'a> {
    /// The digest of the bundle.
    pub bundle: Digest,
    /// The description.
    pub ami: Cow<'a, Ami>,
    /// The volumes with content, in the order of the mapping.
    pub volumes: Vec<PlanVolume<'a>>,
    /// How snapshots are uploaded.
    pub upload: &'a Upload,
    /// Copies to make.
    pub distribution: &'a [Distribution],
    /// Puts that run side by side, for the estimate of time.
    pub connections: NonZero<u64>,
}

/// What a plan comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Totals {
    /// Snapshots that are made.
    pub snapshots: u64,
    /// Blocks that are put.
    pub blocks: u64,
    /// Blocks of data among them.
    pub data_blocks: u64,
    /// Blocks of zeros among them.
    pub zero_blocks: u64,
    /// Bytes that are put.
    pub bytes: u64,
    /// Calls of all kinds.
    pub requests: u64,
    /// Puts that run side by side in the estimate.
    pub connections: u64,
    /// Seconds that the puts take, at 100 ms each.
    pub estimated_seconds: u64,
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "Step", rename_all_fields = "PascalCase")]
#[allow(missing_docs, reason = "docs/formats/plan.md describes each member")]
pub enum Step {
    Plan {
        version: u32,
        bundle: String,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        region: Option<String>,
        holes: &'static str,
        block_size: u64,
        checksum_algorithm: &'static str,
    },
    StartSnapshot {
        #[serde(skip_serializing_if = "Option::is_none")]
        region: Option<String>,
        device: String,
        result: Id,
        not_yet: NotYet,
        parameters: StartSnapshot,
    },
    PutSnapshotBlock {
        snapshot_id: Id,
        block_index: u32,
        #[serde(skip_serializing_if = "is_one")]
        block_count: u32,
        #[serde(skip_serializing_if = "is_false")]
        zero: bool,
        checksum: String,
    },
    CompleteSnapshot {
        #[serde(skip_serializing_if = "Option::is_none")]
        region: Option<String>,
        device: String,
        parameters: CompleteSnapshot,
    },
    Totals(Totals),
    #[serde(untagged)]
    Action(Box<Action>),
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_one(count: &u32) -> bool {
    *count == 1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_false(it: &bool) -> bool {
    !it
}

impl PlanRequest<'_> {
    /// Refuses what EBS would refuse, and holes that would read as garbage.
    fn check(&self) -> Result<(), PlanFault> {
        if self.upload.region.is_none() && !self.distribution.is_empty() {
            return Err(PlanFault::NoRegion);
        }
        for mapping in self.ami.snapshots() {
            if !self.volumes.iter().any(|it| bare(it.device) == mapping.bare_name()) {
                return Err(PlanFault::NoVolume { device: mapping.device_name.clone() });
            }
        }
        let copy = self.distribution.iter().find(|copy| copy.encrypted);
        let why = match copy {
            _ if self.upload.encrypted => Some("the snapshot is encrypted".to_owned()),
            Some(copy) => Some(format!("the copy to {} is encrypted", copy.region)),
            None => None,
        };
        for volume in &self.volumes {
            if let Some(base) = volume.base {
                if self.upload.kms_key_arn.is_some() {
                    return Err(PlanFault::KeyWithBase);
                }
                let found = ebs_gib(volume.manifest.volume_size());
                let base = ebs_gib(base.manifest.volume_size());
                if found < base {
                    let device = volume.device.to_owned();
                    return Err(PlanFault::Shrinks { device, found, base });
                }
            }
            let count = volume.manifest.header().counts.hole;
            if let Some(why) = why.clone().filter(|_| count > 0 && !self.upload.send_holes) {
                return Err(PlanFault::Holes { device: volume.device.to_owned(), count, why });
            }
        }
        Ok(())
    }

    /// Returns the minutes to ask for, where EBS's own are too few: four times the estimate.
    fn timeout(&self, volume: &PlanVolume<'_>) -> Result<Option<u64>> {
        let base = volume.base.map(|base| base.manifest);
        let mut count = 0_u64;
        for put in Puts::new(volume.manifest, base, self.upload.send_holes) {
            count = count.strict_add(u64::from(put?.count));
        }
        let seconds = count.div_ceil(self.connections.get()).strict_mul(PUT_MILLISECONDS) / 1000;
        let minutes = seconds.strict_mul(4).div_ceil(60).min(MAX_TIMEOUT);
        Ok((minutes > USUAL_TIMEOUT).then_some(minutes))
    }

    fn start(&self, volume: &PlanVolume<'_>) -> Result<StartSnapshot> {
        // Beside a parent EBS refuses the member, and gives the parent's state.
        let encrypts = self.upload.encrypted && volume.base.is_none();
        let mut call = StartSnapshot {
            volume_size: ebs_gib(volume.manifest.volume_size()),
            parent_snapshot_id: volume.base.map(|base| base.snapshot_id.to_owned()),
            tags: self.upload.tags_of_snapshots(&self.ami),
            description: format!("{}: {}", self.ami.name, volume.device),
            client_token: String::new(),
            encrypted: encrypts.then_some(true),
            kms_key_arn: self.upload.kms_key_arn.clone().filter(|_| encrypts),
            timeout: self.timeout(volume)?,
        };
        // The same content under the same parameters is the same snapshot; anything else is not.
        let parameters = serde_json::to_string(&call).expect("plain data always serialises");
        let region = self.upload.region.as_deref().unwrap_or_default();
        let (root, holes) = (volume.manifest.root(), self.upload.send_holes);
        let text = format!("amikit plan {PLAN_VERSION}\n{root}\n{holes}\n{region}\n{parameters}");
        call.client_token = sha256(text.as_bytes()).hex();
        Ok(call)
    }

    /// Makes what follows when all snapshots are complete.
    fn actions(&self) -> Vec<Action> {
        let id = |it: &PlanVolume<'_>| (it.device.to_owned(), Id::of_snapshot(it.device));
        let snapshots: Vec<(String, Id)> = self.volumes.iter().map(id).collect();
        Registration {
            ami: &self.ami,
            snapshots: &snapshots,
            image: &Id::of_image(0),
            upload: self.upload,
            distribution: self.distribution,
        }
        .actions()
    }
}

/// Where in the sequence a plan is.
#[derive(Debug)]
enum Stage<'a> {
    Head,
    Start(usize),
    Blocks(usize, Box<Puts<'a>>, u64, Sha256),
    Actions(vec::IntoIter<Action>),
    End,
}

/// Iterates over the steps of an upload, in memory that does not grow with the volumes.
#[derive(Debug)]
pub struct Plan<'a> {
    request: PlanRequest<'a>,
    stage: Stage<'a>,
    totals: Totals,
}

impl<'a> Plan<'a> {
    /// Starts a plan.
    ///
    /// # Errors
    ///
    /// `Invalid` if EBS would refuse it, or if holes would read as garbage.
    pub fn new(mut request: PlanRequest<'a>) -> Result<Self> {
        if let Err(fault) = request.check() {
            let give = |setting, example: &'static str| {
                Some(Advice::Give { setting, example: example.into() })
            };
            let advice = match fault {
                PlanFault::Holes { .. } => give(Setting::Holes, "send"),
                PlanFault::Shrinks { .. } | PlanFault::KeyWithBase => {
                    Some(Advice::Omit(Setting::Base))
                }
                PlanFault::NoRegion => give(Setting::Region, "REGION"),
                PlanFault::NoVolume { .. } => None,
            };
            let error = Error::from(fault);
            return Err(match advice {
                Some(advice) => error.advise(advice),
                None => error,
            });
        }
        request.ami = Cow::Owned(marked(&request.ami, request.bundle));
        let totals = Totals { connections: request.connections.get(), ..Totals::default() };
        Ok(Self { request, stage: Stage::Head, totals })
    }

    /// Returns what the plan comes to; whole once the last step was taken.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn count(&mut self, blocks: u64, zero: bool) {
        let totals = &mut self.totals;
        totals.blocks = totals.blocks.strict_add(blocks);
        let kind = if zero { &mut totals.zero_blocks } else { &mut totals.data_blocks };
        *kind = kind.strict_add(blocks);
        totals.bytes = totals.blocks.strict_mul(BLOCK_SIZE);
        totals.requests = totals.requests.strict_add(blocks);
    }

    fn call(&mut self) {
        self.totals.requests = self.totals.requests.strict_add(1);
    }

    fn head(&self) -> Step {
        Step::Plan {
            version: PLAN_VERSION,
            bundle: format!("sha256:{}", self.request.bundle),
            name: self.request.ami.name.clone(),
            region: self.request.upload.region.clone(),
            holes: if self.request.upload.send_holes { "send" } else { "leave" },
            block_size: BLOCK_SIZE,
            checksum_algorithm: "SHA256",
        }
    }

    /// Starts the snapshot of a volume, or goes on to the calls when there is none left.
    fn start(&mut self, number: usize) -> Result<Step> {
        let Some(volume) = self.request.volumes.get(number).copied() else {
            self.stage = Stage::Actions(self.request.actions().into_iter());
            return Ok(self.next_action());
        };
        let parameters = self.request.start(&volume)?;
        let base = volume.base.map(|base| base.manifest);
        let puts = Puts::new(volume.manifest, base, self.request.upload.send_holes);
        self.stage = Stage::Blocks(number, Box::new(puts), 0, Sha256::new());
        self.totals.snapshots = self.totals.snapshots.strict_add(1);
        self.call();
        Ok(Step::StartSnapshot {
            region: self.request.upload.region.clone(),
            device: volume.device.to_owned(),
            result: Id::of_snapshot(volume.device),
            not_yet: NOT_YET,
            parameters,
        })
    }

    fn next_action(&mut self) -> Step {
        if let Stage::Actions(actions) = &mut self.stage
            && let Some(action) = actions.next()
        {
            self.call();
            return Step::Action(Box::new(action));
        }
        self.stage = Stage::End;
        let puts = self.totals.blocks.div_ceil(self.request.connections.get());
        self.totals.estimated_seconds = puts.strict_mul(PUT_MILLISECONDS).div_ceil(1000);
        Step::Totals(self.totals)
    }

    /// Takes the next block, or completes the snapshot when there is none left.
    fn block(&mut self) -> Result<Step> {
        let Stage::Blocks(number, puts, count, linear) = &mut self.stage else {
            unreachable!("only called while there are blocks")
        };
        let volume = self.request.volumes[*number];
        let snapshot_id = Id::of_snapshot(volume.device);
        if let Some(put) = puts.next().transpose()? {
            *count = count.strict_add(u64::from(put.count));
            for _ in 0..put.count {
                linear.update(&put.digest.0);
            }
            self.count(u64::from(put.count), put.is_zero());
            return Ok(Step::PutSnapshotBlock {
                snapshot_id,
                block_index: put.first.0,
                block_count: put.count,
                zero: put.is_zero(),
                checksum: put.digest.base64(),
            });
        }
        let parameters = CompleteSnapshot {
            snapshot_id,
            changed_blocks_count: *count,
            checksum: std::mem::take(linear).finish().base64(),
            checksum_algorithm: "SHA256",
            checksum_aggregation_method: "LINEAR",
        };
        let next = number.strict_add(1);
        self.stage = Stage::Start(next);
        self.call();
        let region = self.request.upload.region.clone();
        Ok(Step::CompleteSnapshot { region, device: volume.device.to_owned(), parameters })
    }
}

impl Iterator for Plan<'_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.stage {
            Stage::Head => {
                self.stage = Stage::Start(0);
                Some(Ok(self.head()))
            }
            Stage::Start(_) | Stage::Blocks(..) => {
                let step = match self.stage {
                    Stage::Start(number) => self.start(number),
                    _ => self.block(),
                };
                if step.is_err() {
                    self.stage = Stage::End;
                }
                Some(step)
            }
            Stage::Actions(_) => Some(Ok(self.next_action())),
            Stage::End => None,
        }
    }
}
