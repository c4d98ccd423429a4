//! `publish`: the plan of an upload, sent: snapshots, the AMI, its copies. What was done is in a journal, and what came of
//! it in a record.

mod event;
mod file;
mod journal;
mod objects;
mod parameter;
mod parents;
mod proof;
mod ranges;
mod report;
mod steps;
mod upload;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::SystemTime;

use crate::ami::Time;
use crate::ami::bare;
use crate::aws::Aws;
use crate::bundle::Bundle;
use crate::calls::Totals;
use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::ops::publish::event::Heard;
pub use crate::ops::publish::event::PublishEvent;
use crate::ops::publish::journal::Head;
use crate::ops::publish::journal::Journal;
pub use crate::ops::publish::objects::ObjectsPlan;
pub use crate::ops::publish::objects::PublishObjectsRequest;
pub use crate::ops::publish::objects::is_manifest;
pub use crate::ops::publish::objects::plan_objects;
pub use crate::ops::publish::objects::publish_objects;
pub use crate::ops::publish::report::MadeImage;
pub use crate::ops::publish::report::MadeSnapshot;
pub use crate::ops::publish::report::PublishReport;
use crate::ops::publish::steps::Doer;
use crate::ops::publish::steps::Volume;
use crate::ops::publish::steps::seconds;
use crate::ops::publish::upload::Around;
use crate::ops::publish::upload::Crew;
use crate::ops::publish::upload::Progress;
use crate::ops::shared::account::AwsRequest;
use crate::ops::shared::aws::with_aws;
use crate::ops::shared::planning::OpenBase;
use crate::ops::shared::planning::plan_bundle;
use crate::ops::shared::proven::Claim;
use crate::ops::shared::proven::Witness;
use crate::ops::shared::proven::Words;
use crate::ops::shared::publications::Publication;
use crate::ops::shared::publications::PublishedImage;
use crate::ops::shared::records::Records;
use crate::ops::shared::trust::TrustRequest;
use crate::ops::shared::upload::PlanRequest;
use crate::ops::shared::upload::Prepared;
use crate::units::BLOCK_SIZE;
use crate::work::Quiet;
use crate::work::Watch;
use crate::work::default_threads;

/// Most puts that run side by side.
pub const MAX_CONNECTIONS: u32 = 256;

/// What is published, and how.
#[derive(Clone, Debug)]
pub struct PublishRequest {
    /// The upload, as `plan` plans it.
    pub plan: PlanRequest,
    /// Who has to vouch for the bundle.
    pub trust: Option<TrustRequest>,
    /// How AWS is asked.
    pub aws: AwsRequest,
    /// Folder of journals and records, in the place of that of the store or beside the bundle.
    pub records: Option<PathBuf>,
    /// Whether parents are looked for in the records.
    pub find_bases: bool,
    /// A parameter of Systems Manager that gets the id of the AMI, in each region that has one.
    pub parameter: Option<String>,
}

impl PublishRequest {
    /// Asks for the publication of a bundle.
    #[must_use]
    pub fn new(bundle: impl Into<PathBuf>) -> Self {
        Self {
            plan: PlanRequest::new(bundle),
            trust: None,
            aws: AwsRequest::default(),
            records: None,
            find_bases: true,
            parameter: None,
        }
    }
}

/// Publishes a bundle: uploads its snapshots, proves them, registers, shares and copies the AMI, and records it.
///
/// # Errors
///
/// As [`crate::verbs::plan`]; `Invalid` if AWS refuses, `Io` if it does not answer, `Mismatch` if a snapshot is not what was
/// put into it. What was done is in the journal, and the same request goes on from there.
pub fn publish(
    request: &PublishRequest,
    watch: &dyn Watch,
    hear: &(dyn Fn(&PublishEvent) + Sync),
) -> Result<PublishReport> {
    let watch: &dyn Watch = &Heard { watch, hear };
    let mut prepared = Prepared::of(&request.plan, request.trust.as_ref(), &Quiet(watch))?;
    if prepared.bundle.supplied().is_empty() && prepared.bundle.is_thin()? {
        let text = "the bundle is thin: what it was packed against has some of its blocks";
        let advice = Advice::Give { setting: Setting::Base, example: "OLD".into() };
        return Err(Error::invalid(text).in_file(&request.plan.bundle).advise(advice));
    }
    let records = Records::of(&request.plan.bundle, request.records.as_deref())?;
    let region = prepared.upload.region.clone();
    let connections = u32::try_from(request.plan.connections.get())
        .ok()
        .filter(|it| *it <= MAX_CONNECTIONS)
        .ok_or_else(|| {
            let text = format!(
                "{} connections, expected at most {MAX_CONNECTIONS}",
                request.plan.connections
            );
            Error::invalid(text)
        })?;
    let idle = usize::try_from(connections).expect("a small number");
    with_aws(&request.aws, region.as_deref(), idle, watch, |aws, region| {
        if prepared.upload.region.is_none() {
            // The rules were applied before it was known.
            prepared.upload.region = Some(region.to_owned());
            prepared.check(&request.plan)?;
        }
        let account = aws.account(region)?;
        let all = records.all()?;
        let publishing = Publishing { request, watch, hear, aws, region, account: &account };
        if let Some(name) = &request.parameter {
            let copies = prepared.distribution.iter().map(|copy| copy.region.as_str());
            parameter::check(aws, name, [region].into_iter().chain(copies))?;
        }
        if let Some(done) = publishing.was_there(&prepared, &all)? {
            return Ok(done);
        }
        let witness = Witness { aws, region, account: &account };
        settle_typed(witness, &mut prepared.bases, &all, request.find_bases)?;
        publishing.check_public(&prepared)?;
        if request.find_bases && !prepared.upload.encrypted {
            let around = parents::Around { witness, typed: &request.plan.bundle, records: &all };
            parents::find(around, &prepared.bundle, &mut prepared.bases)?;
        }
        publishing.send(&prepared, &records, connections)
    })
}

/// A publication under way.
struct Publishing<'a> {
    request: &'a PublishRequest,
    watch: &'a dyn Watch,
    hear: &'a (dyn Fn(&PublishEvent) + Sync),
    aws: &'a Aws<'a, 'a>,
    region: &'a str,
    account: &'a str,
}

impl Publishing<'_> {
    /// Returns the report of a publication that is there already, with all copies, if EC2 still has the AMI.
    fn was_there(&self, prepared: &Prepared, all: &[Publication]) -> Result<Option<PublishReport>> {
        let mut same = all.iter().rev().filter(|it| {
            it.bundle == prepared.bundle.digest()
                && it.account == self.account
                && it.images[0].region == self.region
                && prepared
                    .distribution
                    .iter()
                    .all(|copy| it.images.iter().any(|image| image.region == copy.region))
        });
        let Some(record) = same.next() else { return Ok(None) };
        let first = &record.images[0];
        let found = self.look_at(&first.region, &first.image_id, None)?;
        if !found.is_some_and(|found| is_recorded(&found, first)) {
            return Ok(None);
        }
        self.put_parameter(&record.images)?;
        Ok(Some(self.report(record, PathBuf::new(), Totals::default(), 0, BTreeMap::new(), true)))
    }

    /// Returns what EC2 says of an AMI, if it is there. Until a moment it may be too new to be known everywhere.
    fn look_at(
        &self,
        region: &str,
        image_id: &str,
        until: Option<SystemTime>,
    ) -> Result<Option<serde_json::Value>> {
        const GONE: &[&str] = &["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"];
        let parameters = serde_json::json!({ "ImageIds": [image_id] });
        let until = until.map(|until| (GONE, until));
        let found = self.aws.ec2(region, "DescribeImages", &parameters, until)?;
        let gone = found.as_ref().is_err_and(|refusal| refusal.is_one_of(GONE));
        if gone { Ok(None) } else { Ok(found?["Images"].get(0).cloned()) }
    }

    /// Opens the journal of a plan. What it says was made may be gone since: a run may die between its record and the end of
    /// its journal, and the AMI be taken back by that record, or by its owner. Then nothing goes on from there.
    fn journal(&self, folder: &std::path::Path, head: &Head) -> Result<(Journal, journal::Known)> {
        let (journal, known) = Journal::open(folder, head, self.watch)?;
        if let Some((id, until)) = known.registered(self.aws.http().now())
            && self.look_at(self.region, id, until)?.is_none()
        {
            journal.remove()?;
            return Journal::open(folder, head, self.watch);
        }
        for PublishedImage { region, image_id, .. } in known.images.iter().skip(1) {
            if self.look_at(region, image_id, None)?.is_none() {
                let text = format!("the copy {image_id} in {region} was made, and is not there");
                let advice = "deregister the AMI and its other copies, and publish it again";
                return Err(Error::new(Kind::Mismatch, text)
                    .in_file(journal.path())
                    .advise(advice));
            }
        }
        Ok((journal, known))
    }

    fn put_parameter(&self, images: &[PublishedImage]) -> Result<()> {
        let Some(name) = &self.request.parameter else { return Ok(()) };
        parameter::put(self.aws, name, images, self.hear)
    }

    fn report(
        &self,
        record: &Publication,
        path: PathBuf,
        totals: Totals,
        put_blocks: u64,
        parents: BTreeMap<String, String>,
        was_there: bool,
    ) -> PublishReport {
        PublishReport {
            bundle: self.request.plan.bundle.clone(),
            digest: record.bundle,
            account: self.account.to_owned(),
            region: self.region.to_owned(),
            image_id: record.images[0].image_id.clone(),
            images: record.images.iter().map(MadeImage::from).collect(),
            was_there,
            blocks: totals.blocks,
            put_blocks,
            location: None,
            put_objects: None,
            parents,
            record: path,
        }
    }

    /// Refuses to upload what is to be public where the account does not let AMIs be: the call that shares would be the last
    /// one, and fail.
    fn check_public(&self, prepared: &Prepared) -> Result<()> {
        let ami = prepared.bundle.ami();
        let copies = prepared.distribution.iter().filter(|copy| copy.is_public(ami));
        let own = ami.is_public().then_some(self.region);
        for region in own.into_iter().chain(copies.map(|copy| copy.region.as_str())) {
            let call = "GetImageBlockPublicAccessState";
            let state = self.aws.ec2(region, call, &serde_json::json!({}), None)?;
            // A caller who may not ask learns it from the call that shares.
            if state.is_ok_and(|it| it["ImageBlockPublicAccessState"] == "block-new-sharing") {
                let text = format!(
                    "the account blocks public AMIs in {region}, and the AMI is to be public"
                );
                let advice = Advice::CallEc2 {
                    to: "allow it",
                    call: "DisableImageBlockPublicAccess",
                    then: "or share the AMI with accounts",
                };
                return Err(Error::invalid(text).advise(advice));
            }
        }
        Ok(())
    }

    /// Makes the plan's digest and its sums.
    fn planned(&self, prepared: &Prepared) -> Result<(Digest, Totals)> {
        let mut digest = Sha256::new();
        let report = self.each_step(prepared, &mut |line| {
            digest.update(&serde_json::to_vec(line).expect("plain data always serialises"));
            digest.update(b"\n");
            Ok(())
        })?;
        Ok((digest.finish(), report))
    }

    fn each_step(
        &self,
        prepared: &Prepared,
        emit: &mut dyn FnMut(&crate::calls::Step) -> Result<()>,
    ) -> Result<Totals> {
        let Prepared { bundle, bases, upload, distribution, .. } = prepared;
        let connections = self.request.plan.connections;
        let report =
            plan_bundle(bundle, bases, upload, distribution, connections, self.watch, emit)?;
        Ok(report.totals)
    }

    fn send(
        &self,
        prepared: &Prepared,
        records: &Records<Publication>,
        connections: u32,
    ) -> Result<PublishReport> {
        let (plan, totals) = self.planned(prepared)?;
        let bundle = &prepared.bundle;
        let head = Head::new(plan, bundle.digest(), self.account, self.region);
        let folder = records.made().map_err(unwritable)?;
        for (journal, snapshot_ids) in journal::unfinished(folder, &head) {
            (self.hear)(&PublishEvent::Unfinished { journal, snapshot_ids });
        }
        let (journal, known) = self.journal(folder, &head)?;
        let parents: BTreeMap<String, String> =
            prepared.bases.iter().map(|it| (it.device.clone(), it.id().to_owned())).collect();
        (self.hear)(&PublishEvent::Planned {
            account: self.account.to_owned(),
            region: self.region.to_owned(),
            plan,
            journal: journal.path().to_owned(),
            resumed: !known.volumes.is_empty(),
            blocks: totals.blocks,
            parents: parents.clone(),
        });
        self.watch.begin(Some(totals.blocks.strict_mul(BLOCK_SIZE)));
        let progress = Progress::default();
        let path = journal.path().to_owned();
        let images = self
            .work(prepared, &journal, known, &progress, connections)
            .map_err(|error| goes_on(error, &path))?;
        self.put_parameter(&images).map_err(|error| goes_on(error, &path))?;
        let now = Time::from_unix_seconds(seconds(self.aws.http().now()));
        let now =
            now.ok_or_else(|| Error::invalid("this machine's clock is past the year 9999"))?;
        let ami = bundle.ami();
        let name = records.name_of(&ami.name);
        let record = Publication::of(bundle.digest(), name, &ami.name, self.account, now, images);
        let record_path = records.write(&record).map_err(|error| goes_on(error, &path))?;
        journal.remove()?;
        let put = progress.put.load(Ordering::Relaxed);
        Ok(self.report(&record, record_path, totals, put, parents, false))
    }

    /// Does all steps, with the threads that it takes.
    fn work(
        &self,
        prepared: &Prepared,
        journal: &Journal,
        known: journal::Known,
        progress: &Progress,
        connections: u32,
    ) -> Result<Vec<PublishedImage>> {
        let hear = |blocks| (self.hear)(&PublishEvent::Put { blocks });
        let around = Around {
            aws: self.aws,
            region: self.region,
            journal,
            progress,
            watch: self.watch,
            hear: &hear,
        };
        let volumes = volumes(&prepared.bundle, &prepared.bases)?;
        let count = NonZero::new(usize::try_from(connections).expect("a small number"));
        let count = count.ok_or_else(|| Error::invalid("no connections, expected at least one"))?;
        let done = thread::scope(|scope| -> Result<_> {
            let crew = Crew::start(scope, around, readers(count), count)?;
            let images = known.images.clone();
            let mut doer = Doer {
                aws: self.aws,
                region: self.region,
                bundle: prepared.bundle.digest(),
                send_holes: prepared.upload.send_holes,
                connections,
                volumes,
                journal,
                known,
                crew,
                watch: self.watch,
                hear: self.hear,
                ids: BTreeMap::new(),
                target: None,
                next: 0,
                images,
            };
            self.each_step(prepared, &mut |step| doer.step(step))?;
            Ok(doer.images)
        });
        // What was acknowledged last is known to the next run.
        let flushed = journal.flush();
        let images = done?;
        flushed.map(|()| images)
    }
}

/// Refuses parents that the user names and that nothing proves to be what they are said to be: the blocks that are left out
/// would be those of another volume, and a proof by samples need not see it. One that is named without its id gets that of a
/// record; where no parent is wanted, it is only what a thin bundle is over.
fn settle_typed(
    witness: Witness<'_>,
    bases: &mut Vec<OpenBase>,
    all: &[Publication],
    find_bases: bool,
) -> Result<()> {
    bases.retain(|base| base.snapshot_id.is_some() || find_bases);
    for base in bases {
        let mut words = Words::of(&base.typed)?;
        words.add(all);
        let bundle = base.bundle.as_ref().map(|(digest, device)| (*digest, device.as_str()));
        let claim = Claim { path: &base.typed, root: base.manifest.root(), bundle };
        if let Some(id) = &base.snapshot_id {
            witness.prove(id, claim, &words)?;
            continue;
        }
        let found = witness.recorded(claim, &words)?;
        if found.is_none() {
            let text =
                format!("no record says which snapshot in {} has its content", witness.region);
            let advice =
                "publish it first, name its snapshot, or ask for no parent, and all blocks are put";
            return Err(Error::invalid(text).in_file(&base.typed).advise(advice));
        }
        base.snapshot_id = found;
    }
    Ok(())
}

/// Tells whether an AMI is the one of a record: it can be launched, and has the snapshots that were recorded.
fn is_recorded(image: &serde_json::Value, recorded: &PublishedImage) -> bool {
    let mappings = image["BlockDeviceMappings"].as_array();
    let has = |id: &str| {
        let mut ids = mappings.into_iter().flatten().filter_map(|it| it.pointer("/Ebs/SnapshotId"));
        ids.any(|found| found == id)
    };
    image["State"] == "available" && recorded.snapshots.iter().all(|it| has(&it.snapshot_id))
}

/// Opens the volumes that have content.
fn volumes<'a>(bundle: &'a Bundle, bases: &'a [OpenBase]) -> Result<Vec<Volume<'a>>> {
    let open = |layer: &'a crate::bundle::SnapshotLayer| {
        let base = bases.iter().find(|it| bare(&it.device) == bare(&layer.device));
        let base = base.map(OpenBase::as_base);
        let snapshot = Arc::new(bundle.snapshot(Some(&layer.device))?);
        Ok(Volume { device: &layer.device, snapshot, base })
    };
    bundle.snapshots().iter().map(open).collect()
}

fn unwritable(error: Error) -> Error {
    error.advise("name a folder for journals and records that can be written")
}

/// Says that the journal goes on.
fn goes_on(error: Error, journal: &Path) -> Error {
    let shown = crate::error::shown(journal);
    match error.kind() {
        Kind::Interrupted | Kind::Io => error
            .leaving(format!("what was done is in {shown}: the same command goes on from there")),
        _ => error.leaving(format!("what was done is in {shown}")),
    }
}

/// Returns how many threads read what is put. Each keeps a group of 32 MiB decompressed, and one of them decompresses more
/// than 64 puts of 100 ms, as EBS's guide has them, take: 320 MB a second.
fn readers(connections: NonZero<usize>) -> NonZero<usize> {
    const OF_ONE_READER: usize = 64;
    if connections.get() <= OF_ONE_READER { NonZero::<usize>::MIN } else { default_threads() }
}
