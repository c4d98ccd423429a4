//! `fetch`: a snapshot or an AMI of an account back to a bundle.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Serialize;
use serde_json::Value;

use crate::ami::Ami;
use crate::ami::LaunchPermission;
use crate::aws::Aws;
use crate::aws::ListedBlock;
use crate::aws::is_id;
use crate::bundle::VOLUME_DEVICE;
use crate::calls::BUNDLE_TAG;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::io::Scratch;
use crate::io::WriteAt as _;
use crate::layout::Destination;
use crate::lint::RULES;
use crate::manifest::zero_block_digest;
use crate::ops::shared::account::AwsRequest;
use crate::ops::shared::adding::AddRequest;
use crate::ops::shared::adding::add_opened;
use crate::ops::shared::aws::with_aws;
use crate::ops::shared::base::BaseRequest;
use crate::ops::shared::description::with_defaults;
use crate::ops::shared::groups::Groups;
use crate::ops::shared::mapping::OpenedMapping;
use crate::ops::shared::open::Found;
use crate::ops::shared::open::OpenedVolume;
use crate::ops::shared::open::RandomVolume;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::find;
use crate::ops::shared::open::open;
use crate::ops::shared::packing::PackOptions;
use crate::ops::shared::packing::pack_volumes;
use crate::ops::shared::publications::Publication;
use crate::ops::shared::recipe::now;
use crate::ops::shared::records::Records;
use crate::ops::shared::report::path_text;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Volume;
use crate::work::Quiet;
use crate::work::Watch;
use crate::work::default_threads;
use crate::work::in_order;

/// Bytes of a GiB.
const GIB: u64 = 1 << 30;

/// What is fetched, and where to.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The id of a snapshot or an AMI.
    pub id: String,
    /// The bundle, or `STORE@NAME`.
    pub output: PathBuf,
    /// Region, over that of the environment and the profile.
    pub region: Option<String>,
    /// How AWS is asked.
    pub aws: AwsRequest,
    /// What was fetched or published before: only what differs from it is read.
    pub base: Option<PathBuf>,
    /// The snapshot that the base is, where no record says it.
    pub base_id: Option<String>,
    /// Leave the packs of the base out.
    pub thin: bool,
    /// Take over who may launch the AMI, how long it is offered and how it is protected, also of another owner.
    pub keep_permissions: bool,
    /// Reads that run side by side.
    pub connections: NonZero<usize>,
    /// How chunks are compressed.
    pub groups: Groups,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl FetchRequest {
    /// Asks for a snapshot or an AMI, all of it.
    #[must_use]
    pub fn new(id: impl Into<String>, output: impl Into<PathBuf>) -> Self {
        Self {
            id: id.into(),
            output: output.into(),
            region: None,
            aws: AwsRequest::default(),
            base: None,
            base_id: None,
            thin: false,
            keep_permissions: false,
            connections: NonZero::new(64).expect("it is not 0"),
            groups: Groups::default(),
            threads: default_threads(),
        }
    }
}

/// A volume that was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FetchedVolume {
    /// Device of the AMI.
    pub device: String,
    /// The snapshot.
    pub snapshot_id: String,
    /// The snapshot whose blocks the base had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_id: Option<String>,
    /// Blocks that were read from EBS.
    pub read_blocks: u64,
    /// Blocks that the base had.
    pub base_blocks: u64,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FetchReport {
    /// The snapshot or AMI.
    pub id: String,
    /// Its region.
    pub region: String,
    /// The bundle.
    #[serde(serialize_with = "path_text")]
    pub output: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Its volumes.
    pub volumes: Vec<FetchedVolume>,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Fetches a snapshot or an AMI into a bundle or a store.
///
/// # Errors
///
/// `Invalid` if AWS refuses or the id is of neither; `Mismatch` if a block is not what EBS says; `Io` if AWS does not
/// answer, or the output cannot be written.
pub fn fetch(request: &FetchRequest, watch: &dyn Watch) -> Result<FetchReport> {
    let is_image = is_id(&request.id, "ami-");
    if !is_image && !is_id(&request.id, "snap-") {
        let text = format!(
            "{:?} is neither the id of a snapshot nor of an AMI: snap-... or ami-...",
            request.id
        );
        return Err(Error::invalid(text));
    }
    let connections = request.connections.get();
    with_aws(&request.aws, request.region.as_deref(), connections, watch, |aws, region| {
        let fetching = Fetching { request, watch, aws, region };
        if is_image { fetching.image() } else { fetching.snapshot() }
    })
}

/// A run of `fetch`.
struct Fetching<'a> {
    request: &'a FetchRequest,
    watch: &'a dyn Watch,
    aws: &'a Aws<'a, 'a>,
    region: &'a str,
}

/// What a volume is read over.
struct OverBase {
    volume: RandomVolume,
    snapshot_id: String,
}

impl Fetching<'_> {
    fn snapshot(&self) -> Result<FetchReport> {
        let id = self.request.id.clone();
        if let Destination::Store { .. } = Destination::parse(&self.request.output)? {
            let base = self.base(None)?;
            let (mapping, fetched) = self.volume(VOLUME_DEVICE, &id, base.as_ref())?;
            let add = AddRequest {
                base: self.request.base.clone(),
                description: Some(format!("{id} in {}", self.region)),
                groups: self.request.groups,
                threads: self.request.threads,
                ..AddRequest::new(VolumeRequest::new(Path::new(&id)), &self.request.output)
            };
            let added = add_opened(mapping, &add, self.watch)?;
            return Ok(self.report(added.digest, vec![fetched], added.notes));
        }
        let ami = with_defaults(Ami { name: id.clone(), ..Ami::default() }, false);
        let base = self.base(None)?;
        let (mapping, fetched) = self.volume(&ami.root_device_name, &id, base.as_ref())?;
        let note = "a snapshot says nothing of its AMI: architecture and boot mode are those of `amikit pack`";
        self.pack(ami, vec![mapping], vec![fetched], vec![note.to_owned()])
    }

    fn image(&self) -> Result<FetchReport> {
        let described = self.aws.describe_image(self.region, &self.request.id)?;
        let owner = described.ami.provenance.as_ref().and_then(|it| it.owner_id.clone());
        let (mut ami, left_out) = described.into_wishes(self.request.keep_permissions, now());
        ami.tags.retain(|tag| tag.key != BUNDLE_TAG);
        let mut notes: Vec<String> = left_out
            .iter()
            .filter_map(|it| match it {
                crate::ami::LeftOut::NotInAnswer { .. } => None,
                other => Some(format!("not taken over: {}", said(other))),
            })
            .collect();
        let account = self.aws.account(self.region)?;
        if owner.as_deref() == Some(account.as_str()) {
            self.add_attributes(&mut ami)?;
        } else {
            notes.push("only its owner is told who may launch it, and its UEFI data".to_owned());
        }
        let (mut mappings, mut fetched) = (Vec::new(), Vec::new());
        let volumes: Vec<(String, String)> = ami
            .block_device_mappings
            .iter_mut()
            .filter_map(|it| Some((it.device_name.clone(), it.ebs.as_mut()?.snapshot_id.take()?)))
            .collect();
        for (device, id) in volumes {
            if !is_id(&id, "snap-") {
                let text = format!("{id:?} of {device} is not the id of a snapshot");
                return Err(Error::invalid(text));
            }
            let base = self.base(Some(&device))?;
            let (mapping, volume) = self.volume(&device, &id, base.as_ref())?;
            mappings.push(mapping);
            fetched.push(volume);
        }
        if mappings.is_empty() {
            let text = format!("{} has no volume with content", self.request.id);
            return Err(Error::invalid(text));
        }
        self.pack(ami, mappings, fetched, notes)
    }

    /// Adds what EC2 tells an owner alone.
    fn add_attributes(&self, ami: &mut Ami) -> Result<()> {
        let ask = |attribute: &str| {
            let parameters =
                serde_json::json!({ "ImageId": self.request.id, "Attribute": attribute });
            self.aws.ec2(self.region, "DescribeImageAttribute", &parameters, None)
        };
        let answer = ask("launchPermission")??;
        for entry in answer["LaunchPermissions"].as_array().into_iter().flatten() {
            let permission: Option<LaunchPermission> = serde_json::from_value(entry.clone()).ok();
            if let Some(permission) = permission
                && !ami.launch_permissions.contains(&permission)
                && (!permission.is_public() || self.request.keep_permissions)
            {
                ami.launch_permissions.push(permission);
            }
        }
        let answer = ask("uefiData")??;
        let data = answer.pointer("/UefiData/Value").and_then(Value::as_str);
        ami.uefi_data = data.filter(|it| !it.is_empty()).map(str::to_owned);
        Ok(())
    }

    /// Opens what a device is read over, if the request names a base that has it.
    fn base(&self, device: Option<&str>) -> Result<Option<OverBase>> {
        let Some(typed) = &self.request.base else { return Ok(None) };
        let mut request = VolumeRequest::new(typed);
        if request.image.member.is_none() {
            request.image.member = device.map(str::to_owned);
        }
        let known = match &self.request.base_id {
            // An id that is typed is that of one volume: the root's.
            Some(id) => Some(id.clone()),
            None => match find(&request).map_err(|error| request.fail(error))? {
                // Only the snapshot that has just this content may be what the blocks are read over.
                Found::Bundle(bundle) => {
                    let root = bundle.find(request.image.member.as_deref())?.root;
                    self.recorded(&Records::of(typed, None)?.all()?, root)
                }
                _ => None,
            },
        };
        let Some(snapshot_id) = known else {
            let text = "no record says which snapshot in this region the base is";
            let advice = "name it behind the base, as in old.ami=snap-0123";
            return Err(Error::invalid(text).in_file(typed).advise(advice));
        };
        let volume = open(&request, &Quiet(self.watch))?;
        Ok(Some(OverBase { volume, snapshot_id }))
    }

    fn recorded(&self, all: &[Publication], root: Digest) -> Option<String> {
        let images = all.iter().rev().flat_map(|it| &it.images);
        let mut snapshots =
            images.filter(|it| it.region == self.region).flat_map(|it| &it.snapshots);
        snapshots.find(|it| it.root_digest == root).map(|it| it.snapshot_id.clone())
    }

    /// Reads a snapshot into a file without a name, as many blocks at a time as there are connections.
    fn volume(
        &self,
        device: &str,
        snapshot_id: &str,
        base: Option<&OverBase>,
    ) -> Result<(OpenedMapping, FetchedVolume)> {
        let name = PathBuf::from(snapshot_id);
        let scratch = Scratch::create()?;
        let read = Blocks::default();
        let first = base.map(|it| it.snapshot_id.as_str());
        let pages = RefCell::new(Pages { gib: 0, page: None, ended: false, waiting: Vec::new() });
        self.watch.begin(None);
        let jobs = std::iter::from_fn(|| {
            let mut pages = pages.borrow_mut();
            pages.next(self.aws, self.region, snapshot_id, first).transpose()
        });
        let fetch = |block: ListedBlock| {
            // A block that only the base has is a hole here.
            let Some(token) = block.block_token else { return Ok((block.block_index, None)) };
            let (bytes, digest) =
                self.aws.get_block(self.region, snapshot_id, block.block_index, &token)?;
            let is_zero = digest == zero_block_digest();
            if !is_zero {
                scratch.write_all_at(&bytes, BlockIndex(block.block_index).offset())?;
            }
            self.watch.advance(BLOCK_SIZE);
            Ok((block.block_index, Some(is_zero)))
        };
        in_order(
            self.request.connections,
            self.watch,
            jobs,
            || Ok(()),
            |(), block| fetch(block),
            |(index, kind)| {
                read.add(index, kind);
                Ok(())
            },
        )?;
        let gib = pages.into_inner().gib;
        let size = gib.checked_mul(GIB).filter(|it| *it > 0).ok_or_else(|| {
            Error::invalid(format!("{snapshot_id} has {gib} GiB, expected a volume's size"))
        })?;
        let mut kinds = read.into_inner();
        let read_blocks = u64::try_from(kinds.values().flatten().count()).expect("memory");
        let base_blocks = match base {
            Some(base) => self.copy_base(base, &scratch, &mut kinds)?,
            None => 0,
        };
        let volume = laid_down(scratch, &kinds, size, &name)?;
        let mapping = OpenedMapping {
            device: device.to_owned(),
            named: name.clone(),
            source: OpenedVolume::unsealed(&name, volume, Vec::new()),
            free: None,
        };
        let fetched = FetchedVolume {
            device: device.to_owned(),
            snapshot_id: snapshot_id.to_owned(),
            base_id: first.map(str::to_owned),
            read_blocks,
            base_blocks,
            volume_size_bytes: size,
        };
        Ok((mapping, fetched))
    }

    /// Copies the blocks that EBS did not name as changed.
    fn copy_base(
        &self,
        base: &OverBase,
        scratch: &Scratch,
        kinds: &mut BTreeMap<u32, Option<bool>>,
    ) -> Result<u64> {
        let volume = base.volume.volume();
        let mut buffer = vec![0; crate::units::BLOCK_LEN];
        let mut count = 0_u64;
        for number in 0..crate::units::block_count(volume.size()) {
            if kinds.contains_key(&number) {
                continue;
            }
            self.watch.check()?;
            let index = BlockIndex(number);
            let kind = crate::volume::block_hint(volume, index)?;
            if kind == ExtentKind::Hole {
                continue;
            }
            let range = index.range(volume.size());
            let len = usize::try_from(range.end.strict_sub(range.start)).expect("a block");
            buffer.fill(0);
            volume.read_at(range.start, &mut buffer[..len])?;
            let is_zero = buffer.iter().all(|byte| *byte == 0);
            if !is_zero {
                scratch.write_all_at(&buffer, range.start)?;
            }
            kinds.insert(number, Some(is_zero));
            count = count.strict_add(1);
        }
        Ok(count)
    }

    fn pack(
        &self,
        ami: Ami,
        mappings: Vec<OpenedMapping>,
        fetched: Vec<FetchedVolume>,
        notes: Vec<String>,
    ) -> Result<FetchReport> {
        let request = self.request;
        let base = request.base.as_ref().map(|typed| BaseRequest {
            thin: request.thin,
            ..BaseRequest::new(VolumeRequest::new(typed))
        });
        let options = PackOptions {
            // It is an AMI already: what it breaks was allowed when it was made.
            allow: RULES.iter().map(|rule| rule.id.to_owned()).collect(),
            groups: request.groups,
            threads: request.threads,
            base,
            ..PackOptions::new(&request.output, ami)
        };
        let packed = pack_volumes(mappings, &options, self.watch)?;
        Ok(self.report(packed.digest, fetched, notes))
    }

    fn report(
        &self,
        digest: Digest,
        volumes: Vec<FetchedVolume>,
        notes: Vec<String>,
    ) -> FetchReport {
        FetchReport {
            id: self.request.id.clone(),
            region: self.region.to_owned(),
            output: self.request.output.clone(),
            digest,
            volumes,
            notes,
        }
    }
}

/// Says what is not taken over of an AMI.
fn said(left_out: &crate::ami::LeftOut) -> String {
    use crate::ami::LeftOut;
    match left_out {
        LeftOut::Public => "it is public".to_owned(),
        LeftOut::Deprecation { time, .. } => format!("it is deprecated from {time} on"),
        LeftOut::Protection(_) => "it is protected against being deregistered".to_owned(),
        LeftOut::Tag { key } => format!("the tag {key}, which only AWS gives"),
        LeftOut::Encrypted { device } => format!("the snapshot of {device} is encrypted"),
        LeftOut::LaunchOnly { device, member, .. } => format!("{member} of {device}"),
        LeftOut::Unread(unread) => unread.place.clone(),
        LeftOut::NotInAnswer { .. } => String::new(),
    }
}

/// The pages of a list, asked for as they are needed.
struct Pages {
    gib: u64,
    page: Option<String>,
    ended: bool,
    /// Blocks of the page, the last one first.
    waiting: Vec<ListedBlock>,
}

impl Pages {
    fn next(
        &mut self,
        aws: &Aws<'_, '_>,
        region: &str,
        snapshot_id: &str,
        first: Option<&str>,
    ) -> Result<Option<ListedBlock>> {
        while self.waiting.is_empty() && !self.ended {
            let found = aws.list_blocks(region, snapshot_id, first, self.page.as_deref())?;
            self.gib = found.volume_gib;
            self.ended = found.next.is_none();
            self.page = found.next;
            self.waiting = found.blocks;
            self.waiting.reverse();
        }
        Ok(self.waiting.pop())
    }
}

/// Blocks that were read: whether they are zeros; nothing for a hole.
#[derive(Default)]
struct Blocks(Mutex<BTreeMap<u32, Option<bool>>>);

impl Blocks {
    fn add(&self, index: u32, kind: Option<bool>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(index, kind);
    }

    fn into_inner(self) -> BTreeMap<u32, Option<bool>> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a volume of blocks in a file.
fn laid_down(
    scratch: Scratch,
    kinds: &BTreeMap<u32, Option<bool>>,
    size: u64,
    name: &Path,
) -> Result<Volume> {
    let input = scratch.into_sparse_input(size, name)?;
    let mut map = RunMap::default();
    let mut at = 0_u64;
    for (index, kind) in kinds {
        let range = BlockIndex(*index).range(size);
        let Some(is_zero) = kind else { continue };
        if BlockIndex(*index).offset() >= size {
            let text = format!("block {index} is past the end of the volume of {size} bytes");
            return Err(Error::corrupt(text).in_file(name));
        }
        if range.start > at {
            map.push(range.start.strict_sub(at), Place::Hole);
        }
        let len = range.end.strict_sub(range.start);
        let stored = Place::Stored { source: 0, offset: range.start };
        map.push(len, if *is_zero { Place::Zero } else { stored });
        at = range.end;
    }
    if at < size {
        map.push(size.strict_sub(at), Place::Hole);
    }
    Volume::new(map, vec![Arc::new(input).into()])
}
