//! `pack`: images to a bundle.

use std::num::NonZero;
use std::path::PathBuf;

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::Ebs;
use crate::ami::Mapping;
use crate::ami::bare;
use crate::ami::check_devices;
use crate::ami::check_name;
use crate::bundle::BaseSnapshot;
use crate::bundle::VolumeWriter;
use crate::bundle::Writer;
use crate::bundle::WrittenVolume;
use crate::chunking;
use crate::chunking::Patcher;
use crate::chunking::Sink;
use crate::chunking::Source;
use crate::chunking::States;
use crate::chunking::Store;
use crate::compress::Encoder;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::format;
use crate::format::ImageRequest;
use crate::lint::Subject;
use crate::lint::VolumeFacts;
use crate::ops::path_text;
use crate::ops::shared::base::BaseRequest;
use crate::ops::shared::base::OpenedBase;
use crate::ops::shared::base::OverBase;
use crate::ops::shared::base::patching;
use crate::ops::shared::case::refuse;
use crate::ops::shared::open::OpenedSource;
use crate::ops::shared::open::open_source;
use crate::ops::snapshot::SnapshotReport;
use crate::pack::KnownChunks;
use crate::pack::Stored;
use crate::units::ExtentKind;
use crate::units::ebs_gib;
use crate::work::Watch;

use std::sync::Arc;
use std::sync::RwLock;

/// One volume of an AMI to be packed.
#[derive(Clone, Debug)]
pub struct VolumeRequest {
    /// Device of the AMI.
    pub device: String,
    /// The image.
    pub image: ImageRequest,
}

/// What a bundle is made of.
#[derive(Clone, Debug)]
pub struct PackRequest {
    /// The volumes, the root among them.
    pub volumes: Vec<VolumeRequest>,
    /// Where the bundle goes: one file if the name ends in `.tar`, else a folder.
    pub output: PathBuf,
    /// The AMI's description. Entries of volumes with content may be left out of its mapping.
    pub ami: Ami,
    /// Rules that are not applied.
    pub allow: Vec<String>,
    /// Compression level.
    pub level: i32,
    /// Bytes at which packs are closed.
    pub pack_size: u64,
    /// Threads to work on.
    pub threads: NonZero<usize>,
    /// What is done about states.
    pub states: States,
    /// What the bundle leans on.
    pub base: Option<BaseRequest>,
}

/// What was packed for one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VolumeReport {
    /// The image that it was made of.
    #[serde(serialize_with = "path_text")]
    pub image: PathBuf,
    /// The image's format.
    pub format: &'static str,
    /// What its manifest says.
    #[serde(flatten)]
    pub snapshot: SnapshotReport,
    /// Root digest of the snapshot that it leans on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_digest: Option<Digest>,
    /// Chunks that it was the first to need.
    pub new_chunks: u64,
    /// Those of them that are patches over the base.
    #[serde(skip_serializing_if = "is_nothing")]
    pub patched_chunks: u64,
    /// Stored bytes of those chunks, with the packs around them.
    pub stored_bytes: u64,
}

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackReport {
    /// The bundle.
    #[serde(serialize_with = "path_text")]
    pub bundle: PathBuf,
    /// Digest of its OCI manifest: its identity.
    pub digest: Digest,
    /// The AMI's description.
    pub ami: Ami,
    /// The volumes, ascending by device.
    pub volumes: Vec<VolumeReport>,
}

/// A bundle's volume as a sink of blocks.
pub(in crate::ops) struct BundleSink<'a> {
    pub(in crate::ops) volume: VolumeWriter<'a>,
    pub(in crate::ops) known: &'a RwLock<KnownChunks>,
}

impl Sink for BundleSink<'_> {
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        self.volume.run(kind, count)
    }

    fn data(&mut self, id: Digest, stored: Option<Stored<'_>>) -> Result<()> {
        self.volume.data(id, stored, self.known)
    }
}

/// How one volume goes into a bundle.
pub(in crate::ops) struct PackOne<'a> {
    pub(in crate::ops) device: &'a str,
    /// The snapshot that it leans on.
    pub(in crate::ops) base: Option<Arc<BaseSnapshot>>,
    /// The file that keeps the index of that.
    pub(in crate::ops) index: Option<&'a PathBuf>,
    pub(in crate::ops) level: i32,
    pub(in crate::ops) threads: NonZero<usize>,
    pub(in crate::ops) states: States,
    pub(in crate::ops) known: &'a RwLock<KnownChunks>,
}

/// Writes one volume into a bundle under way.
pub(in crate::ops) fn pack_one(
    writer: &mut Writer,
    source: Source<'_>,
    one: &PackOne<'_>,
    watch: &dyn Watch,
) -> Result<WrittenVolume> {
    let patching = match &one.base {
        Some(base) => Some(OverBase(patching(base, one.index, one.level, one.threads, watch)?)),
        None => None,
    };
    let patcher: Option<&dyn Patcher> = match &patching {
        Some(patching) => Some(patching),
        None => None,
    };
    let options = chunking::Options {
        threads: one.threads,
        watch,
        states: one.states,
        store: Some(Store { level: one.level, known: one.known, patcher }),
    };
    let root = one.base.as_ref().map(|base| base.manifest().root());
    let scratch = writer.scratch()?;
    let mut sink = BundleSink { volume: writer.volume(&scratch, root), known: one.known };
    let size = chunking::run(source, &options, &mut sink)?;
    sink.volume.finish(one.device, size)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_nothing(count: &u64) -> bool {
    *count == 0
}

/// Checks what can be told of a base before it is opened.
fn check_base(request: &PackRequest) -> Result<()> {
    let Some(base) = &request.base else { return Ok(()) };
    if request.states.zeros_as_holes {
        let text =
            "zeros are to be holes, and a hole over a base would show what the base has there";
        return Err(Error::invalid(text).advise("leave --zeros hole out, or pack without --base"));
    }
    if base.index.is_some() && request.volumes.len() > 1 {
        let text = format!("one index is named for {} volumes", request.volumes.len());
        return Err(Error::invalid(text).advise("leave --base-index out"));
    }
    Ok(())
}

/// What further disks of an image are attached as, in order: EC2's own names for data volumes.
const DATA_DEVICES: std::ops::RangeInclusive<char> = 'f'..='p';

/// Gives each disk of an image that holds several a device of its own: the first one that of the image,
/// the others the next that are free.
fn with_all_disks(volumes: &[VolumeRequest]) -> Result<Vec<VolumeRequest>> {
    let mut all = volumes.to_vec();
    let mut free = DATA_DEVICES
        .map(|letter| format!("/dev/sd{letter}"))
        .filter(|device| volumes.iter().all(|volume| volume.device != *device));
    for (number, volume) in volumes.iter().enumerate() {
        let disks = format::disks(&volume.image)?;
        if disks.len() < 2 {
            continue;
        }
        for (disk, name) in disks.iter().enumerate() {
            let mut path = volume.image.path.clone().into_os_string();
            path.push(format!(":{name}"));
            let image = ImageRequest { path: path.into(), ..volume.image.clone() };
            if disk == 0 {
                all[number].image = image;
            } else {
                let device = free.next().ok_or_else(|| {
                    Error::invalid("there are more disks than devices, expected at most 11 more")
                        .in_file(&volume.image.path)
                        .advise(
                            "name each with its device, as in --map /dev/sdq=web.ova:disk9.vmdk",
                        )
                })?;
                all.push(VolumeRequest { device, image });
            }
        }
    }
    Ok(all)
}

/// Returns the description with an entry for each of `devices`, ascending by name. Until a volume is
/// packed its root digest is not known, and zeros stand for it.
///
/// # Errors
///
/// `Invalid` if another device has content.
pub(in crate::ops) fn with_content(ami: &Ami, devices: &[&str]) -> Result<Ami> {
    let mut ami = ami.clone();
    for mapping in &ami.block_device_mappings {
        let named = devices.iter().any(|device| bare(device) == mapping.bare_name());
        if !named && mapping.ebs.as_ref().is_some_and(Ebs::has_content) {
            let device = &mapping.device_name;
            return Err(Error::invalid(format!(
                "{device} has content, and no image of it is named"
            ))
            .advise(format!("name one for it, as in {device}=FILE, or leave the device out")));
        }
    }
    for device in devices {
        let entries = &mut ami.block_device_mappings;
        let place = entries.iter().position(|it| it.bare_name() == bare(device));
        let place = place.unwrap_or_else(|| {
            entries.push(Mapping::default());
            entries.len().strict_sub(1)
        });
        (*device).clone_into(&mut entries[place].device_name);
        let ebs = entries[place].ebs.get_or_insert_default();
        ebs.snapshot_id = None;
        ebs.snapshot_digest = Some(Digest([0; 32]));
    }
    ami.block_device_mappings.sort_by(|a, b| a.device_name.cmp(&b.device_name));
    Ok(ami)
}

/// Refuses what EC2 would refuse, before a byte is read.
fn check_rules(
    ami: &Ami,
    volumes: &[VolumeRequest],
    sources: &[OpenedSource],
    allow: &[String],
) -> Result<()> {
    let facts: Vec<VolumeFacts> = volumes
        .iter()
        .zip(sources)
        .filter_map(|(volume, source)| {
            let device = volume.device.clone();
            Some(VolumeFacts { device, size: source.size()?, ..VolumeFacts::default() })
        })
        .collect();
    refuse(&Subject { volumes: &facts, ..Subject::of(ami) }, allow)
}

/// Packs images into a bundle.
///
/// # Errors
///
/// `Invalid` if EC2 would refuse the description, before anything is read; as
/// [`crate::ops::open_source`] and [`chunking::run`] for the images; `Io` if the bundle cannot be
/// written.
pub fn pack(request: &PackRequest, watch: &dyn Watch) -> Result<PackReport> {
    check_name(&request.ami.name)?;
    let mut volumes = with_all_disks(&request.volumes)?;
    volumes.sort_by(|a, b| a.device.cmp(&b.device));
    let devices: Vec<&str> = volumes.iter().map(|volume| volume.device.as_str()).collect();
    check_devices(&devices, &request.ami.root_device_name)?;
    let mut ami = with_content(&request.ami, &devices)?;
    if volumes.iter().filter(|volume| volume.image.path.as_os_str() == "-").count() > 1 {
        return Err(Error::invalid("standard input is two volumes, expected one at most"));
    }
    // A level that is none is told before the images are opened.
    Encoder::new(request.level)?;
    let mut sources: Vec<OpenedSource> =
        volumes.iter().map(|volume| open_source(&volume.image, watch)).collect::<Result<_>>()?;
    check_base(request)?;
    check_rules(&ami, &volumes, &sources, &request.allow)?;
    let mut writer = Writer::create(&request.output, request.pack_size)?;
    let base = request.base.as_ref();
    let opened = base
        .map(|base| {
            OpenedBase::open(base, &ami.root_device_name, &mut writer, request.threads, watch)
        })
        .transpose()?;
    let index_bytes = match &opened {
        Some(opened) => opened.index_bytes(&devices)?,
        None => 0,
    };
    let bytes: Option<u64> = sources.iter().map(OpenedSource::size).sum();
    watch.begin(bytes.map(|bytes| bytes.strict_add(index_bytes)));

    let known = RwLock::default();
    let mut reports = Vec::new();
    for (volume, source) in volumes.iter().zip(&mut sources) {
        let leans_on = match &opened {
            Some(opened) => opened.of_device(&volume.device)?,
            None => None,
        };
        let root = leans_on.as_ref().map(|it| it.manifest().root());
        let one = PackOne {
            device: &volume.device,
            base: leans_on,
            index: base.and_then(|base| base.index.as_ref()),
            level: request.level,
            threads: request.threads,
            states: request.states,
            known: &known,
        };
        let name = source.name().to_owned();
        let written =
            pack_one(&mut writer, source.blocks(), &one, watch).map_err(|e| e.in_file(&name))?;
        let snapshot = SnapshotReport {
            device: Some(volume.device.clone()),
            notes: source.notes(),
            ..SnapshotReport::new(&written.summary)
        };
        reports.push(VolumeReport {
            image: volume.image.path.clone(),
            format: source.format_name(),
            snapshot,
            base_digest: root,
            new_chunks: written.new_chunks,
            patched_chunks: written.patched_chunks,
            stored_bytes: written.stored_bytes,
        });
    }
    for (volume, report) in volumes.iter().zip(&reports) {
        let mapping =
            ami.block_device_mappings.iter_mut().find(|it| it.device_name == volume.device);
        let ebs = mapping.and_then(|it| it.ebs.as_mut()).expect("made for each volume");
        ebs.snapshot_digest = Some(report.snapshot.root_digest);
        ebs.volume_size.get_or_insert(ebs_gib(report.snapshot.volume_size_bytes));
    }
    let digest = writer.finish(&ami)?;
    Ok(PackReport { bundle: request.output.clone(), digest, ami, volumes: reports })
}
