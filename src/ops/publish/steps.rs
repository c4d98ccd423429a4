//! The steps of a plan, done: each once, and none again that the journal has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use serde_json::Value;

use crate::aws::Aws;
use crate::aws::Pending;
use crate::aws::Refusal;
use crate::aws::Until;
use crate::aws::is_id;
use crate::bundle::Snapshot;
use crate::calls::Action;
use crate::calls::BUNDLE_TAG;
use crate::calls::Base;
use crate::calls::CompleteSnapshot;
use crate::calls::Id;
use crate::calls::Made;
use crate::calls::NotYet;
use crate::calls::StartSnapshot;
use crate::calls::Step;
use crate::calls::Until as State;
use crate::digest::Digest;
use crate::digest::sha256;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Verb;
use crate::http::Bucket;
use crate::ops::publish::event::PublishEvent;
use crate::ops::publish::journal::Journal;
use crate::ops::publish::journal::Known;
use crate::ops::publish::journal::NOT_YET_TIME;
use crate::ops::publish::proof::Claim;
use crate::ops::publish::proof::prove;
use crate::ops::publish::upload::Crew;
use crate::ops::publish::upload::Target;
use crate::ops::shared::publications::PublishedImage;
use crate::ops::shared::publications::PublishedSnapshot;
use crate::units::BLOCK_SIZE;
use crate::work::Wait;
use crate::work::Watch;

/// Puts a second that EBS takes for one snapshot, as its quotas say.
const PUTS_PER_SECOND: u32 = 1000;

/// Longest time for which a state is waited for: copies of large AMIs take hours.
const MOST_WAIT: Duration = Duration::from_hours(24);

/// First pause between two looks at a state; each pause is twice as long as the one before, up to what the plan says.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// What a call that names something new may be refused with for a while.
const NOT_YET: &[&str] =
    &["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSnapshot.NotFound"];

/// Most snapshots that are started for a volume because EBS has given up those before.
const MOST_TOKENS: usize = 16;

/// A volume of the bundle.
#[derive(Debug)]
pub(super) struct Volume<'a> {
    pub(super) device: &'a str,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) base: Option<Base<'a>>,
}

/// What the steps are done with.
pub(super) struct Doer<'a> {
    pub(super) aws: &'a Aws<'a, 'a>,
    pub(super) region: &'a str,
    pub(super) bundle: Digest,
    pub(super) send_holes: bool,
    pub(super) connections: u32,
    pub(super) volumes: Vec<Volume<'a>>,
    pub(super) journal: &'a Journal,
    pub(super) known: Known,
    pub(super) crew: Crew<'a>,
    pub(super) watch: &'a dyn Watch,
    pub(super) hear: &'a (dyn Fn(&PublishEvent) + Sync),
    /// Ids by what stands for them in a plan.
    pub(super) ids: BTreeMap<String, String>,
    pub(super) target: Option<Arc<Target>>,
    /// Number of the next action.
    pub(super) next: usize,
    pub(super) images: Vec<PublishedImage>,
}

impl Doer<'_> {
    /// Does a step, unless it is done.
    pub(super) fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Plan { .. } | Step::Totals(_) => Ok(()),
            Step::StartSnapshot { device, not_yet, parameters, .. } => {
                self.start(device, *not_yet, parameters)
            }
            Step::PutSnapshotBlock { block_index, block_count, zero, checksum, .. } => {
                let digest = Digest::from_base64(checksum).expect("the plan's own");
                self.put(*block_index, *block_count, digest, *zero)
            }
            Step::CompleteSnapshot { device, parameters, .. } => self.complete(device, parameters),
            Step::Action(action) => self.action(action),
        }
    }

    fn start(&mut self, device: &str, not_yet: NotYet, call: &StartSnapshot) -> Result<()> {
        let before = self.known.volumes.get(device).and_then(|it| it.snapshot_id.clone());
        let (snapshot_id, is_resumed) = match before {
            Some(id) if !self.is_lost(device, &id)? => (id, true),
            lost => self.started(device, call, lost.as_deref())?,
        };
        (self.hear)(&PublishEvent::Started {
            device: device.to_owned(),
            snapshot_id: snapshot_id.clone(),
            resumed: is_resumed,
        });
        self.ids
            .insert(Made::Snapshot { device: device.to_owned() }.to_string(), snapshot_id.clone());
        let volume = self.volumes.iter().find(|it| it.device == device);
        let snapshot = Arc::clone(&volume.expect("the plan is of this bundle").snapshot);
        let pending = Pending {
            snapshot_id,
            bucket: Bucket::new(PUTS_PER_SECOND, self.connections),
            not_yet,
            since: self.aws.http().now(),
        };
        self.target = Some(Arc::new(Target { device: device.to_owned(), snapshot, pending }));
        Ok(())
    }

    /// Starts a snapshot, and tells whether it was complete already. A token gives the same snapshot for ever, also one that
    /// EBS has given up or that was deleted: then the next one is made of it.
    fn started(
        &mut self,
        device: &str,
        call: &StartSnapshot,
        lost: Option<&str>,
    ) -> Result<(String, bool)> {
        let mut call = call.clone();
        for _ in 0..MOST_TOKENS {
            let started = self.aws.start_snapshot(self.region, &call)?;
            if started.status != "error" && Some(&*started.snapshot_id) != lost {
                self.journal.started(device, &started.snapshot_id, &call.client_token)?;
                self.known.start(device, &started.snapshot_id);
                self.images.clone_from(&self.known.images);
                let is_complete = started.status == "completed";
                if is_complete {
                    // The same content under the same parameters was uploaded before.
                    self.journal.completed(device)?;
                    self.known.volumes.entry(device.to_owned()).or_default().completed = true;
                }
                return Ok((started.snapshot_id, is_complete));
            }
            call.client_token = sha256(call.client_token.as_bytes()).hex();
        }
        let text = format!("EBS gave up the snapshot of {device} {MOST_TOKENS} times");
        Err(Error::new(Kind::Io, text))
    }

    /// Tells whether the snapshot of an earlier run is of no use any more: EBS has given it up, since nothing was put for too
    /// long, or it was deleted. One that is not found may be too new to be known everywhere.
    fn is_lost(&self, device: &str, snapshot_id: &str) -> Result<bool> {
        let parameters = serde_json::json!({ "SnapshotIds": [snapshot_id] });
        let was_seen = self.known.volumes.get(device).is_some_and(|it| it.proved);
        let until = self.known.not_yet(self.aws.http().now()).filter(|_| !was_seen);
        let until = until.map(|until| (NOT_YET, until));
        let answer = self.aws.ec2(self.region, "DescribeSnapshots", &parameters, until)?;
        match answer {
            Ok(answer) => Ok(answer["Snapshots"][0]["State"] == "error"),
            Err(refusal) if refusal.code == "InvalidSnapshot.NotFound" => Ok(true),
            Err(refusal) => Err(refusal.into()),
        }
    }

    fn target(&self) -> &Arc<Target> {
        self.target.as_ref().expect("a plan starts a snapshot before it puts blocks")
    }

    fn put(&mut self, first: u32, count: u32, digest: Digest, is_zero: bool) -> Result<()> {
        let target = Arc::clone(self.target());
        let known = self.known.volumes.get(&target.device);
        if known.is_some_and(|it| it.completed) {
            return Ok(());
        }
        for index in first..first.strict_add(count) {
            if known.is_some_and(|it| it.acknowledged.has(index)) {
                self.watch.advance(BLOCK_SIZE);
                continue;
            }
            self.watch.check()?;
            self.crew.put(&target, index, digest, is_zero)?;
        }
        Ok(())
    }

    fn complete(&mut self, device: &str, call: &CompleteSnapshot) -> Result<()> {
        self.crew.settle(self.watch)?;
        let target = Arc::clone(self.target());
        if !self.known.volumes.get(device).is_some_and(|it| it.completed) {
            match self.aws.complete_snapshot(self.region, &target.pending, call)? {
                Ok(()) => {}
                // It was heard before, and its answer lost: the state and the proof decide.
                Err(refusal) if refusal.reason.as_deref() == Some("INVALID_SNAPSHOT_ID") => {}
                Err(refusal) => return Err(refusal.into()),
            }
            self.journal.completed(device)?;
        }
        (self.hear)(&PublishEvent::Completed {
            device: device.to_owned(),
            snapshot_id: target.pending.snapshot_id.clone(),
            blocks: call.changed_blocks_count,
        });
        Ok(())
    }

    fn action(&mut self, action: &Action) -> Result<()> {
        let number = self.next;
        self.next = number.strict_add(1);
        if let Some(made) = self.known.done.get(&number) {
            self.ids.extend(made.clone());
            return Ok(());
        }
        let region = action.region.as_deref().unwrap_or(self.region).to_owned();
        let parameters = serde_json::to_value(&action.parameters).expect("plain data");
        let parameters = resolved(parameters, &self.ids)?;
        let (mut made, mut images) = (BTreeMap::new(), Vec::new());
        match (action.step, action.until) {
            ("WaitForSnapshot", Some(state)) => {
                let call = ("DescribeSnapshots", "Snapshots");
                wait(self.aws, &region, call, &parameters, state, self.hear)?;
                self.prove()?;
            }
            ("WaitForImage", Some(state)) => {
                let call = ("DescribeImages", "Images");
                let answer = wait(self.aws, &region, call, &parameters, state, self.hear)?;
                let image = self.published(&region, &answer)?;
                for found in &action.snapshots {
                    let id = image.snapshots.iter().find(|it| it.device == found.device);
                    let id = id.ok_or_else(|| {
                        let text = format!(
                            "{} has no snapshot of {} in its mapping",
                            image.image_id, found.device
                        );
                        Error::new(Kind::Io, text)
                    })?;
                    made.insert(found.result.to_string(), id.snapshot_id.clone());
                }
                (self.hear)(&PublishEvent::Available {
                    region: region.clone(),
                    image_id: image.image_id.clone(),
                });
                images.push(image);
            }
            (step, _) => {
                if let Some(id) = self.call(&region, step, parameters)?
                    && let Some(result) = &action.result
                {
                    (self.hear)(&PublishEvent::Made {
                        region: region.clone(),
                        call: step.to_owned(),
                        image_id: id.clone(),
                    });
                    made.insert(result.to_string(), id);
                }
            }
        }
        self.journal.done(number, made.clone(), images.clone())?;
        self.ids.extend(made);
        self.images.extend(images);
        Ok(())
    }

    /// Makes a call, and returns the id of what it made.
    fn call(&self, region: &str, call: &str, mut parameters: Value) -> Result<Option<String>> {
        if call == "CopyImage" {
            // EC2 makes one copy for a token, however often it is asked.
            let token = sha256(parameters.to_string().as_bytes()).hex();
            parameters["ClientToken"] = Value::from(token);
        }
        let answer = match self.aws.ec2(region, call, &parameters, not_yet(self.aws))? {
            Ok(answer) => answer,
            Err(refusal)
                if call == "RegisterImage" && refusal.code == "InvalidAMIName.Duplicate" =>
            {
                return self.registered_before(region, &parameters, refusal).map(Some);
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let makes = call == "RegisterImage" || call == "CopyImage";
        match answer.get("ImageId").and_then(Value::as_str).filter(|id| is_id(id, "ami-")) {
            Some(id) if makes => Ok(Some(id.to_owned())),
            None if makes => {
                Err(Error::new(Kind::Io, format!("the answer to {call} has no AMI id")))
            }
            _ => Ok(None),
        }
    }

    /// Returns the AMI that has the name already, if a run of this plan registered it and did not hear of it.
    fn registered_before(
        &self,
        region: &str,
        parameters: &Value,
        refusal: Refusal,
    ) -> Result<String> {
        let by_name = serde_json::json!({
            "Owners": ["self"],
            "Filters": [{ "Name": "name", "Values": [parameters["Name"]] }],
        });
        let answer = self.aws.ec2(region, "DescribeImages", &by_name, None)??;
        let tag =
            serde_json::json!({ "Key": BUNDLE_TAG, "Value": format!("sha256:{}", self.bundle) });
        let snapshots = |image: &Value| -> Vec<(String, String)> {
            let mappings = image["BlockDeviceMappings"].as_array().cloned().unwrap_or_default();
            let mut all: Vec<_> = mappings
                .iter()
                .filter_map(|it| {
                    let id = it.pointer("/Ebs/SnapshotId")?.as_str()?;
                    Some((it["DeviceName"].as_str()?.to_owned(), id.to_owned()))
                })
                .collect();
            all.sort();
            all
        };
        let images = answer["Images"].as_array().cloned().unwrap_or_default();
        let same = images.iter().find(|image| {
            let tags = image["Tags"].as_array();
            tags.is_some_and(|tags| tags.contains(&tag))
                && snapshots(image) == snapshots(parameters)
        });
        let id = same.and_then(|it| it["ImageId"].as_str()).filter(|id| is_id(id, "ami-"));
        match id {
            Some(id) => Ok(id.to_owned()),
            None => Err(Error::from(refusal).advise(Advice::Use {
                verb: Verb::Unpublish,
                to: "take the other one away, or give the AMI another name in its recipe".into(),
            })),
        }
    }

    /// Proves every snapshot, before an AMI is made of it.
    fn prove(&mut self) -> Result<()> {
        for volume in &self.volumes {
            let device = volume.device.to_owned();
            if self.known.volumes.get(&device).is_some_and(|it| it.proved) {
                continue;
            }
            let key = Made::Snapshot { device: device.clone() }.to_string();
            let id = self.ids.get(&key).expect("it was started");
            let claim = Claim {
                region: self.region,
                snapshot_id: id,
                target: volume.snapshot.manifest(),
                base: volume.base,
                send_holes: self.send_holes,
            };
            let known = self.known.volumes.get(&device).map(|it| it.checked).unwrap_or_default();
            // Those of its parents come on top, and nobody knows how many they are.
            let written = claim.target.header().counts.written();
            let total = written.strict_mul(BLOCK_SIZE);
            self.watch.prepare("proving", claim.base.is_none().then_some(total));
            self.watch.advance(known.blocks.strict_mul(BLOCK_SIZE));
            let note = |checked| self.journal.checked(&device, id, checked);
            let proved = prove(self.aws, &claim, known, note)?;
            self.journal.proved(&device)?;
            (self.hear)(&PublishEvent::Proved {
                device,
                snapshot_id: id.clone(),
                blocks: proved.blocks,
                samples: proved.samples,
            });
        }
        Ok(())
    }

    /// Returns what the record has of an AMI that is available.
    fn published(&self, region: &str, answer: &Value) -> Result<PublishedImage> {
        let image = &answer["Images"][0];
        let image_id = image["ImageId"].as_str().filter(|id| is_id(id, "ami-"));
        let image_id = image_id
            .ok_or_else(|| Error::new(Kind::Io, "the answer to DescribeImages has no AMI id"))?;
        let mut snapshots = Vec::new();
        for mapping in image["BlockDeviceMappings"].as_array().into_iter().flatten() {
            let device = mapping["DeviceName"].as_str().unwrap_or_default();
            let volume = self
                .volumes
                .iter()
                .find(|it| crate::ami::bare(it.device) == crate::ami::bare(device));
            let id = mapping.pointer("/Ebs/SnapshotId").and_then(Value::as_str);
            if let (Some(volume), Some(id)) = (volume, id.filter(|id| is_id(id, "snap-"))) {
                snapshots.push(PublishedSnapshot {
                    device: volume.device.to_owned(),
                    snapshot_id: id.to_owned(),
                    root_digest: volume.snapshot.manifest().root(),
                });
            }
        }
        Ok(PublishedImage { region: region.to_owned(), image_id: image_id.to_owned(), snapshots })
    }
}

/// Returns what a call that names something new may be refused with, and until when.
fn not_yet(aws: &Aws<'_, '_>) -> Option<Until> {
    Some((NOT_YET, aws.http().now().checked_add(NOT_YET_TIME)?))
}

/// Asks until all that is described has the state, and returns the last answer.
///
/// # Errors
///
/// `Io` if it comes to a state that will never become that one, or takes too long; a refusal.
pub(super) fn wait(
    aws: &Aws<'_, '_>,
    region: &str,
    (call, list): (&str, &str),
    parameters: &Value,
    state: State,
    hear: &(dyn Fn(&PublishEvent) + Sync),
) -> Result<Value> {
    let (mut pause, mut waited) = (FIRST_LOOK, Duration::ZERO);
    let longest = Duration::from_secs(state.every_seconds);
    let ids = parameters.as_object().into_iter().flat_map(|it| it.values());
    let ids = ids.filter_map(Value::as_array).flatten().filter_map(Value::as_str);
    let ids = ids.collect::<Vec<_>>().join(", ");
    let what = format!("{ids} in {region} to be {}", state.state);
    let watch = aws.http().watch();
    loop {
        let answer = aws.ec2(region, call, parameters, not_yet(aws))??;
        let found = answer[list].as_array().cloned().unwrap_or_default();
        let is = |it: &Value| it["State"].as_str().unwrap_or_default().to_owned();
        if let Some(failed) = found.iter().find(|it| state.fails.contains(&is(it).as_str())) {
            let what = ["SnapshotId", "ImageId"].iter().find_map(|name| failed[*name].as_str());
            let why = failed["StateMessage"]
                .as_str()
                .or_else(|| failed.pointer("/StateReason/Message")?.as_str())
                .unwrap_or("AWS does not say why");
            let text = format!(
                "{} in {region} became {}: {why}",
                what.unwrap_or("what was waited for"),
                is(failed)
            );
            return Err(Error::new(Kind::Io, text));
        }
        let asked = parameters.as_object().into_iter().flat_map(|it| it.values());
        let asked = asked.filter_map(Value::as_array).map(Vec::len).sum::<usize>();
        if found.len() == asked && found.iter().all(|it| is(it) == state.state) {
            watch.waits(&Wait { what, found: String::new(), is_over: true });
            return Ok(answer);
        }
        if waited >= MOST_WAIT {
            let text = format!("{call} in {region} has not returned {} for a day", state.state);
            return Err(Error::new(Kind::Io, text));
        }
        let states: Vec<String> = found.iter().map(is).collect();
        let found = states.join(", ");
        watch.waits(&Wait { what: what.clone(), found, is_over: false });
        hear(&PublishEvent::Waiting {
            region: region.to_owned(),
            until: state.state.to_owned(),
            states,
        });
        aws.http().sleep(pause)?;
        waited = waited.saturating_add(pause);
        pause = pause.saturating_mul(2).min(longest);
    }
}

/// Puts ids in the place of what stands for them.
fn resolved(value: Value, ids: &BTreeMap<String, String>) -> Result<Value> {
    Ok(match value {
        Value::String(text) if Id::parse(&text).made().is_some() => match ids.get(&text) {
            Some(id) => Value::from(id.as_str()),
            None => return Err(Error::invalid(format!("no step gives the id {text}"))),
        },
        Value::Array(list) => {
            list.into_iter().map(|it| resolved(it, ids)).collect::<Result<_>>()?
        }
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| Ok((name, resolved(value, ids)?)))
            .collect::<Result<_>>()?,
        other => other,
    })
}

/// Returns now, in whole seconds.
pub(super) fn seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_take_the_place_of_what_stands_for_them() {
        let ids = BTreeMap::from([("${image:0}".to_owned(), "ami-1".to_owned())]);
        let value = serde_json::json!({ "A": ["${image:0}", "${x}"], "B": { "C": "${image:0}" } });
        let expected = serde_json::json!({ "A": ["ami-1", "${x}"], "B": { "C": "ami-1" } });
        assert_eq!(resolved(value, &ids).unwrap(), expected);
        assert!(resolved(serde_json::json!("${image:1}"), &ids).is_err());
    }
}
