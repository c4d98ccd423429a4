//! A bundle of instance store, published: its parts and its manifest put to S3, and the AMI registered by the manifest's
//! place. What S3 has taken is in a journal; that it still has it is proved by a list of the bucket.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;

use crate::ami::Ami;
use crate::ami::ProductCode;
use crate::ami::RegisterImage;
use crate::ami::Time;
use crate::ami::Virtualization;
use crate::ami::check_name;
use crate::aws::Aws;
use crate::aws::S3Bucket;
use crate::aws::is_id;
use crate::calls::Action;
use crate::calls::Id;
use crate::calls::marked;
use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::instance_store::InstanceBundle;
use crate::io::Input;
use crate::io::ReadAt as _;
use crate::lint::Subject;
use crate::ops::publish::event::Heard;
use crate::ops::publish::event::PublishEvent;
use crate::ops::publish::file::File;
use crate::ops::publish::goes_on;
use crate::ops::publish::journal::Head;
use crate::ops::publish::journal::Journal;
use crate::ops::publish::journal::Known;
use crate::ops::publish::parameter;
use crate::ops::publish::report::MadeImage;
use crate::ops::publish::report::PublishReport;
use crate::ops::publish::steps::seconds;
use crate::ops::publish::steps::wait;
use crate::ops::publish::unwritable;
use crate::ops::shared::account::AwsRequest;
use crate::ops::shared::aws::with_aws;
use crate::ops::shared::case::refuse;
use crate::ops::shared::publications::Publication;
use crate::ops::shared::publications::PublishedImage;
use crate::ops::shared::records::Records;
use crate::work::Watch;
use crate::work::default_threads;
use crate::work::in_order;

/// Parts that are put side by side: a part has 10 MiB, so a few fill a line.
const MAX_CONNECTIONS: usize = 8;

/// A bundle of instance store, and where it goes.
#[derive(Clone, Debug)]
pub struct PublishObjectsRequest {
    /// The manifest; the parts are beside it.
    pub manifest: PathBuf,
    /// The bucket, with what keys begin with: `BUCKET/PREFIX`.
    pub bucket: String,
    /// Name of the AMI; that of the bundle where the user names none.
    pub name: Option<String>,
    /// Region of the AMI and of the bucket.
    pub region: Option<String>,
    /// Rules that are not applied.
    pub allow: Vec<String>,
    /// Parts that are put side by side; at most eight are.
    pub connections: NonZero<u64>,
    /// How AWS is asked.
    pub aws: AwsRequest,
    /// Folder of records, in the place of that beside the manifest.
    pub records: Option<PathBuf>,
    /// A parameter of Systems Manager that gets the id of the AMI.
    pub parameter: Option<String>,
}

/// What is put, and what is called then.
#[derive(Clone, Debug)]
pub struct ObjectsPlan {
    /// Places and lengths, in the order in which they are put.
    pub objects: Vec<(String, u64)>,
    /// The parameters of `RegisterImage`.
    pub register: Value,
}

/// A bundle that was checked.
struct Ready {
    bucket: S3Bucket,
    /// The parts, and the manifest as the last.
    files: Vec<File>,
    ami: Ami,
    digest: Digest,
}

impl Ready {
    /// Opens a bundle, and checks all that can be checked without a key.
    fn of(request: &PublishObjectsRequest, watch: &dyn Watch) -> Result<Self> {
        let path = &request.manifest;
        let bucket = S3Bucket::parse(&request.bucket)?;
        let input = Input::open(path)?;
        let bundle = InstanceBundle::of_input(&input, path)?;
        let manifest = bundle.manifest();
        if manifest.signature.as_deref().is_none_or(|text| text == "UNSIGNED") {
            let text = "the manifest is not signed, and EC2 takes none that is not";
            return Err(Error::invalid(text).in_file(path));
        }
        // Once for the manifest's digests, and once for S3's.
        watch.prepare("checking", Some(manifest.bundled_size.saturating_mul(2)));
        let damaged = bundle.check_parts(default_threads(), watch)?;
        if let Some(first) = damaged.first() {
            let text = format!("{}: {}", first.filename, first.problem);
            return Err(Error::corrupt(text).in_file(path));
        }
        let mut files = Vec::new();
        for (index, part) in manifest.parts.iter().enumerate() {
            files.push(File::of(part.filename.clone(), bundle.open_part(index)?, watch)?);
        }
        let name = path.file_name().and_then(|it| it.to_str());
        let plain =
            |it: &&str| it.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it));
        let name = name.filter(plain).ok_or_else(|| {
            let text =
                "EC2 finds it by its name, which may have letters, digits and '.', '_' or '-'";
            Error::invalid(text).in_file(path)
        })?;
        let manifest_file = File::of(name.to_owned(), input, watch)?;
        let digest = manifest_file.digest;
        files.push(manifest_file);
        let ami = description(request, &bundle, &bucket.place(name))?;
        let ami = marked(&ami, digest);
        refuse(&Subject::of(&ami), &request.allow).map_err(|e| e.in_file(path))?;
        Ok(Self { bucket, files, ami, digest })
    }

    fn register(&self) -> Value {
        serde_json::to_value(RegisterImage::of(&self.ami)).expect("plain data always serialises")
    }

    /// Returns the digest of all that is put and called.
    fn plan(&self) -> Digest {
        let mut digest = Sha256::new();
        for file in &self.files {
            let place = self.bucket.place(&file.name);
            digest.update(format!("{place} {} {}\n", file.input.len(), file.digest).as_bytes());
        }
        digest.update(self.register().to_string().as_bytes());
        digest.finish()
    }
}

/// Says what EC2 is to register: what the manifest says, and where it is.
fn description(
    request: &PublishObjectsRequest,
    bundle: &InstanceBundle,
    location: &str,
) -> Result<Ami> {
    let manifest = bundle.manifest();
    let machine = &manifest.machine;
    let architecture = machine.architecture.parse().map_err(|_| {
        let text = format!("EC2 has no architecture {:?}", machine.architecture);
        Error::new(Kind::Unsupported, text).in_file(&request.manifest)
    })?;
    let name = request.name.clone().unwrap_or_else(|| manifest.name.clone());
    let another = "the name comes from the manifest's unless another is given";
    check_name(&name).map_err(|fault| Error::from(fault).advise(another))?;
    let codes = machine.product_codes.iter();
    Ok(Ami {
        name,
        image_location: Some(location.to_owned()),
        architecture: Some(architecture),
        // A kernel of EC2's was only ever for paravirtual machines.
        virtualization_type: Some(match machine.kernel_id {
            Some(_) => Virtualization::Paravirtual,
            None => Virtualization::Hvm,
        }),
        kernel_id: machine.kernel_id.clone(),
        ramdisk_id: machine.ramdisk_id.clone(),
        product_codes: codes
            .map(|code| ProductCode { product_code_id: code.clone(), product_code_type: None })
            .collect(),
        ..Ami::default()
    })
}

/// Says what would be put and called. Nobody is asked.
///
/// # Errors
///
/// As [`InstanceBundle::open`]; `Corrupt` if a part is damaged; `Invalid` if EC2 would refuse the AMI.
pub fn plan_objects(request: &PublishObjectsRequest, watch: &dyn Watch) -> Result<ObjectsPlan> {
    let ready = Ready::of(request, watch)?;
    let objects = ready.files.iter().map(|it| (ready.bucket.place(&it.name), it.input.len()));
    Ok(ObjectsPlan { objects: objects.collect(), register: ready.register() })
}

/// Publishes a bundle of instance store: puts what is not in the bucket, registers the AMI, waits for it, and records it.
///
/// # Errors
///
/// As [`plan_objects`]; `Invalid` if AWS refuses, or if the bucket has other files under these names; `Io` if it does not
/// answer. The same request goes on from there.
pub fn publish_objects(
    request: &PublishObjectsRequest,
    watch: &dyn Watch,
    hear: &(dyn Fn(&PublishEvent) + Sync),
) -> Result<PublishReport> {
    let watch: &dyn Watch = &Heard { watch, hear };
    let ready = Ready::of(request, watch)?;
    let records: Records<Publication> = Records::of(&request.manifest, request.records.as_deref())?;
    let connections = usize::try_from(request.connections.get()).unwrap_or(MAX_CONNECTIONS);
    let connections = connections.min(MAX_CONNECTIONS);
    with_aws(&request.aws, request.region.as_deref(), connections, watch, |aws, region| {
        let account = aws.account(region)?;
        if let Some(name) = &request.parameter {
            parameter::check(aws, name, std::iter::once(region))?;
        }
        let putting = Putting { aws, region, ready: &ready, watch, hear };
        let before = putting.registered()?;
        let same = |it: &Publication| {
            it.account == account && before.as_ref() == Some(&it.images[0].image_id)
        };
        let is_recorded = records.all()?.iter().any(same);
        // Where the record says it all, nothing more is written.
        let journal = if is_recorded {
            None
        } else {
            let of = Head::of_files(ready.plan(), ready.digest, &account, region);
            Some(Journal::open(records.made().map_err(unwritable)?, &of, watch)?)
        };
        let publish = |journal: Option<&(Journal, Known)>| -> Result<_> {
            let (put, image_id) = match (&before, journal) {
                (None, Some((journal, known))) => {
                    (hear)(&PublishEvent::Planned {
                        account: account.clone(),
                        region: region.to_owned(),
                        plan: ready.plan(),
                        journal: journal.path().to_owned(),
                        resumed: !known.files.is_empty(),
                        blocks: 0,
                        parents: BTreeMap::new(),
                    });
                    (putting.all(connections, journal, &known.files)?, putting.register()?)
                }
                (before, _) => (0, before.clone().unwrap_or_default()),
            };
            putting.wait(&image_id)?;
            let snapshots = Vec::new();
            let images = vec![PublishedImage { region: region.to_owned(), image_id, snapshots }];
            if let Some(name) = &request.parameter {
                parameter::put(aws, name, &images, hear)?;
            }
            let now = Time::from_unix_seconds(seconds(aws.http().now()));
            let now =
                now.ok_or_else(|| Error::invalid("this machine's clock is past the year 9999"))?;
            let (digest, name) = (ready.digest, &ready.ami.name);
            if is_recorded {
                return Ok((put, images, PathBuf::new()));
            }
            let record = Publication::of(digest, name, name, &account, now, images.clone());
            Ok((put, images, records.write(&record)?))
        };
        let done = publish(journal.as_ref());
        let (put, images, path) = match &journal {
            Some((journal, _)) => done.map_err(|error| goes_on(error, journal.path()))?,
            None => done?,
        };
        if let Some((journal, _)) = journal {
            journal.remove()?;
        }
        Ok(PublishReport {
            bundle: request.manifest.clone(),
            digest: ready.digest,
            account,
            region: region.to_owned(),
            image_id: images[0].image_id.clone(),
            images: images.iter().map(MadeImage::from).collect(),
            was_there: before.is_some(),
            blocks: 0,
            put_blocks: 0,
            location: ready.ami.image_location.clone(),
            put_objects: Some(put),
            parents: BTreeMap::new(),
            record: path,
        })
    })
}

/// A publication under way.
struct Putting<'a> {
    aws: &'a Aws<'a, 'a>,
    region: &'a str,
    ready: &'a Ready,
    watch: &'a dyn Watch,
    hear: &'a (dyn Fn(&PublishEvent) + Sync),
}

impl Putting<'_> {
    /// Puts all that is not there, and returns how many files that were. The manifest is the last, so that it is never there
    /// without its parts. What an earlier run has put is not asked for: a list of the bucket proves at the end that
    /// nobody has replaced it since, and what the list does not prove is looked at as if nothing were known.
    fn all(
        &self,
        connections: usize,
        journal: &Journal,
        known: &BTreeMap<String, String>,
    ) -> Result<u64> {
        let (files, watch) = (&self.ready.files, self.watch);
        watch.begin(Some(files.iter().fold(0, |sum, it| sum.saturating_add(it.input.len()))));
        let crew = NonZero::new(connections).unwrap_or(NonZero::<usize>::MIN);
        let (manifest, parts) = files.split_last().expect("the manifest is one");
        let mut count = 0_u64;
        let mut put_all = |files: Vec<&File>| {
            let commit = |put: bool| {
                count = count.strict_add(u64::from(put));
                Ok(())
            };
            let work = |(): &mut (), file: &File| self.put(file, journal);
            in_order(crew, watch, files.into_iter().map(Ok), || Ok(()), work, commit)
        };
        let is_known = |it: &&File| known.contains_key(&it.name);
        let (old, new): (Vec<&File>, Vec<&File>) = parts.iter().partition(is_known);
        put_all(new)?;
        let named = files.iter().filter(is_known).map(|it| it.name.as_str());
        let listed = self.aws.listed(self.region, &self.ready.bucket, named)?;
        let is_proved = |file: &File| {
            let found = listed.get(file.name.as_str());
            let same = found.is_some_and(|(len, tag)| {
                *len == file.input.len() && known.get(&file.name) == Some(tag)
            });
            if same {
                self.tell(file, true);
            }
            same
        };
        put_all(old.into_iter().filter(|it| !is_proved(it)).collect())?;
        if !is_proved(manifest) {
            put_all(vec![manifest])?;
        }
        Ok(count)
    }

    fn put(&self, file: &File, journal: &Journal) -> Result<bool> {
        self.watch.check()?;
        let (put, tag) = file.put_if_missing(self.aws, self.region, &self.ready.bucket)?;
        // Without an `ETag` nothing would prove that it is still there: then it is asked for again.
        if let Some(tag) = tag {
            journal.put(&file.name, &tag)?;
        }
        self.tell(file, !put);
        Ok(put)
    }

    fn tell(&self, file: &File, was_there: bool) {
        self.watch.advance(file.input.len());
        (self.hear)(&PublishEvent::Object {
            location: self.ready.bucket.place(&file.name),
            bytes: file.input.len(),
            was_there,
        });
    }

    /// Returns the AMI that has the name already, if it is of this very bundle at this very place.
    fn registered(&self) -> Result<Option<String>> {
        let ami = &self.ready.ami;
        let by_name = json!({
            "Owners": ["self"],
            "Filters": [{ "Name": "name", "Values": [ami.name] }],
        });
        let answer = self.aws.ec2(self.region, "DescribeImages", &by_name, None)??;
        let images = answer["Images"].as_array().cloned().unwrap_or_default();
        let Some(image) = images.iter().find(|it| it["Name"] == ami.name.as_str()) else {
            return Ok(None);
        };
        let tag = ami.tags.iter().find(|it| it.key == crate::calls::BUNDLE_TAG);
        let tag = serde_json::to_value(tag).expect("plain data always serialises");
        let has_tag = image["Tags"].as_array().is_some_and(|tags| tags.contains(&tag));
        let location = image["ImageLocation"].as_str();
        match image["ImageId"].as_str().filter(|id| is_id(id, "ami-")) {
            Some(id) if has_tag && location == ami.image_location.as_deref() => {
                Ok(Some(id.to_owned()))
            }
            _ => {
                let text = format!("another AMI has the name {:?} already", ami.name);
                Err(Error::invalid(text).advise("give this one another name"))
            }
        }
    }

    fn register(&self) -> Result<String> {
        let call = "RegisterImage";
        let id = match self.aws.ec2(self.region, call, &self.ready.register(), None)? {
            Ok(answer) => answer["ImageId"].as_str().map(str::to_owned),
            // It was heard before, and its answer lost.
            Err(refusal) if refusal.code == "InvalidAMIName.Duplicate" => self.registered()?,
            Err(refusal) => return Err(refusal.into()),
        };
        let id = id.filter(|id| is_id(id, "ami-"));
        let id =
            id.ok_or_else(|| Error::new(Kind::Io, "the answer to RegisterImage has no AMI id"))?;
        (self.hear)(&PublishEvent::Made {
            region: self.region.to_owned(),
            call: call.to_owned(),
            image_id: id.clone(),
        });
        Ok(id)
    }

    fn wait(&self, image_id: &str) -> Result<()> {
        let action = Action::wait_for_image(Some(self.region), &Id::Known(image_id.to_owned()));
        let until = action.until.expect("a wait waits for a state");
        let parameters = json!({ "ImageIds": [image_id] });
        let call = ("DescribeImages", "Images");
        wait(self.aws, self.region, call, &parameters, until, self.hear)?;
        (self.hear)(&PublishEvent::Available {
            region: self.region.to_owned(),
            image_id: image_id.to_owned(),
        });
        Ok(())
    }
}

/// Tells whether what a user names is a manifest of instance store.
///
/// # Errors
///
/// `Io` if that cannot be determined.
pub fn is_manifest(path: &Path) -> Result<bool> {
    let is_file = crate::io::Node::at(path)? == Some(crate::io::Node::File);
    Ok(is_file && InstanceBundle::is_at(path)?)
}
