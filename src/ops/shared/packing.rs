//! Volumes to a bundle.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::RwLock;

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::Ebs;
use crate::ami::Mapping;
use crate::ami::bare;
use crate::bundle::BaseSnapshot;
use crate::bundle::BaseVolume;
use crate::bundle::FreeRecord;
use crate::bundle::SharedPacks;
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
use crate::delta::BaseHints;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::guest;
use crate::layout::is_archive_name;
use crate::lint::Audience;
use crate::lint::Finding;
use crate::lint::Inside;
use crate::lint::Subject;
use crate::lint::Topic;
use crate::lint::VolumeFacts;
use crate::ops::shared::base::BaseRequest;
use crate::ops::shared::base::OpenedBase;
use crate::ops::shared::base::OverBase;
use crate::ops::shared::base::patching;
use crate::ops::shared::case::refuse;
use crate::ops::shared::groups::Groups;
use crate::ops::shared::hints::base_hints;
use crate::ops::shared::judging::inside_of;
use crate::ops::shared::likeness::states_note;
use crate::ops::shared::mapping::OpenedMapping;
use crate::ops::shared::mapping::check_names;
use crate::ops::shared::outside::check_apart;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::report::SnapshotReport;
use crate::ops::shared::report::path_text;
use crate::pack::DEFAULT_PACK_SIZE;
use crate::pack::KnownChunks;
use crate::pack::Region;
use crate::pack::Stored;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::units::ebs_gib;
use crate::work::Watch;
use crate::work::default_threads;

/// How volumes become a bundle.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// Where the bundle goes: one file if the name ends in `.tar`, else a folder.
    pub output: PathBuf,
    /// The AMI's description. Entries of volumes with content may be left out of its mapping.
    pub ami: Ami,
    /// Rules that are not applied.
    pub allow: Vec<String>,
    /// How chunks are compressed.
    pub groups: Groups,
    /// Bytes at which packs are closed.
    pub pack_size: u64,
    /// Threads to work on.
    pub threads: NonZero<usize>,
    /// What is done about states.
    pub states: States,
    /// What the bundle is packed against.
    pub base: Option<BaseRequest>,
    /// For whom the AMI is, if files of the guest are looked at before anything is packed.
    pub check_inside: Option<Audience>,
}

impl PackOptions {
    /// A bundle of its own with what `pack` does where nothing else is said.
    #[must_use]
    pub fn new(output: impl Into<PathBuf>, ami: Ami) -> Self {
        Self {
            output: output.into(),
            ami,
            allow: Vec::new(),
            groups: Groups::default(),
            pack_size: DEFAULT_PACK_SIZE,
            threads: default_threads(),
            states: States::default(),
            base: None,
            check_inside: None,
        }
    }
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
    /// Root digest of the snapshot that it depends on.
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
    /// Rules about files of the guest that warn, if those were looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

/// A bundle's volume as a sink of blocks.
pub(in crate::ops) struct BundleSink<'a> {
    pub(in crate::ops) volume: VolumeWriter<'a>,
}

impl Sink for BundleSink<'_> {
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        self.volume.run(kind, count)
    }

    fn data(&mut self, id: Digest) -> Result<()> {
        self.volume.data(id)
    }

    fn store(&mut self, region: Region, group: Stored<'_>) -> Result<()> {
        self.volume.store(region, group)
    }
}

/// What a store has need not be stored again; what changed is patched, if there is a base.
struct Sharing<'a> {
    shared: Arc<SharedPacks>,
    patching: Option<&'a OverBase>,
}

impl std::fmt::Debug for Sharing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sharing").finish_non_exhaustive()
    }
}

impl Patcher for Sharing<'_> {
    fn has(&self, index: BlockIndex, id: &Digest) -> Result<bool> {
        if let Some(patching) = self.patching
            && patching.has(index, id)?
        {
            return Ok(true);
        }
        self.shared.has(id)
    }

    fn append(
        &self,
        index: BlockIndex,
        plain: &[u8],
        whole: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        match self.patching {
            Some(patching) => patching.append(index, plain, whole, out),
            None => Ok(false),
        }
    }
}

/// How one volume goes into a bundle.
pub(in crate::ops) struct PackOne<'a> {
    pub(in crate::ops) device: &'a str,
    /// The snapshot that it depends on.
    pub(in crate::ops) base: Option<Arc<BaseSnapshot>>,
    /// The file that keeps the index of that.
    pub(in crate::ops) index: Option<&'a PathBuf>,
    pub(in crate::ops) groups: Groups,
    pub(in crate::ops) threads: NonZero<usize>,
    pub(in crate::ops) states: States,
    /// What became of the volume's free blocks.
    pub(in crate::ops) free: Option<FreeRecord>,
    pub(in crate::ops) known: &'a RwLock<KnownChunks>,
}

/// Writes one volume into a bundle under way.
pub(in crate::ops) fn pack_one(
    writer: &mut Writer,
    source: Source<'_>,
    one: &PackOne<'_>,
    watch: &dyn Watch,
) -> Result<WrittenVolume> {
    let level = one.groups.level(one.base.is_some());
    let patching = match &one.base {
        Some(base) => {
            let hints = match &source {
                Source::Volume(volume) => base_hints(&BaseVolume(base), *volume, watch)?,
                // Its files are known when it has been read, and that is too late.
                Source::Stream(_) => BaseHints::default(),
            };
            Some(OverBase(patching(base, one.index, hints, level, one.threads, watch)?))
        }
        None => None,
    };
    let sharing = writer.shared().map(|shared| Sharing { shared, patching: patching.as_ref() });
    let patcher: Option<&dyn Patcher> = match (&sharing, &patching) {
        (Some(sharing), _) => Some(sharing),
        (None, Some(patching)) => Some(patching),
        (None, None) => None,
    };
    let options = chunking::Options {
        threads: one.threads,
        watch,
        states: one.states,
        store: Some(Store {
            level,
            group_chunks: one.groups.chunks()?,
            region_blocks: one.groups.region_blocks()?,
            known: one.known,
            patcher,
        }),
    };
    let root = one.base.as_ref().map(|base| base.manifest().root());
    let scratch = writer.scratch()?;
    let mut sink = BundleSink { volume: writer.volume(&scratch, root) };
    sink.volume.record_free(one.free);
    let size = chunking::run(source, &options, &mut sink)?;
    sink.volume.finish(one.device, size)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_nothing(count: &u64) -> bool {
    *count == 0
}

/// Checks what can be known of a base before it is opened.
fn check_base(options: &PackOptions, count: usize) -> Result<()> {
    let Some(base) = &options.base else { return Ok(()) };
    if options.states.zeros_as_holes {
        let text = "zeros cannot become holes over a base: they would expose the base's data";
        return Err(Error::invalid(text).advise(Advice::Omit(Setting::Zeros)));
    }
    if base.index.is_some() && count > 1 {
        let text = format!("one page index is named for {count} volumes, expected one volume");
        return Err(Error::invalid(text).advise(Advice::Omit(Setting::BaseIndex)));
    }
    Ok(())
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
                "{device} has content, but no image is given for it"
            ))
            .advise(Advice::Give {
                setting: Setting::Map,
                example: format!("{device}=IMAGE").into(),
            }));
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

/// Refuses what EC2 would refuse, before anything is written. What comes in order is not looked into:
/// that would be to read all of it.
fn check_rules(
    ami: &Ami,
    volumes: &[OpenedMapping],
    options: &PackOptions,
) -> Result<Vec<Finding>> {
    ami.check_stated()?;
    let allow = &options.allow;
    let mut facts = Vec::with_capacity(volumes.len());
    for OpenedMapping { device, source, named, .. } in volumes {
        let Some(size) = source.size() else { continue };
        let layout = match source.volume() {
            Some(volume) => Some(guest::look(volume).map_err(|e| e.in_file(named))?),
            None => None,
        };
        facts.push(VolumeFacts { device: device.clone(), size, layout, ..VolumeFacts::default() });
    }
    let inside = match options.check_inside {
        Some(_) => Some(look_inside(ami, volumes)?),
        None => None,
    };
    let subject = Subject {
        volumes: &facts,
        inside: inside.as_ref(),
        audience: options.check_inside.unwrap_or_default(),
        ..Subject::of(ami)
    };
    let mut findings = refuse(&subject, allow)?;
    findings.retain(|it| it.topic == Topic::Guest);
    Ok(findings)
}

/// Looks at the files of the guest.
fn look_inside(ami: &Ami, volumes: &[OpenedMapping]) -> Result<Inside> {
    let mut all = Vec::with_capacity(volumes.len());
    for OpenedMapping { device, source, named, .. } in volumes {
        let Some(volume) = source.volume() else {
            let text = "it comes in order, and cannot be looked into before it is packed";
            return Err(Error::invalid(text).in_file(named).advise("unpack it to a file first"));
        };
        all.push((&**device, volume));
    }
    inside_of(&all, ami, true)
}

/// Packs volumes into a bundle.
///
/// # Errors
///
/// `Invalid` if EC2 would refuse the description, before anything is read; as [`chunking::run`] for the
/// volumes; `Io` if the bundle cannot be written.
pub(in crate::ops) fn pack_volumes(
    mut volumes: Vec<OpenedMapping>,
    options: &PackOptions,
    watch: &dyn Watch,
) -> Result<PackReport> {
    volumes.sort_by(|a, b| a.device.cmp(&b.device));
    let devices: Vec<&str> = volumes.iter().map(|volume| volume.device.as_str()).collect();
    check_names(&options.ami, &devices, options.groups)?;
    let mut ami = with_content(&options.ami, &devices)?;
    check_base(options, volumes.len())?;
    let warnings = check_rules(&ami, &volumes, options)?;
    let base = options.base.as_ref();
    check_output(&volumes, options)?;
    let mut writer = Writer::create(&options.output, options.pack_size, watch)?;
    let opened = base
        .map(|base| {
            OpenedBase::open(base, &ami.root_device_name, &mut writer, options.threads, watch)
        })
        .transpose()?;
    let index_bytes = match &opened {
        Some(opened) => opened.index_bytes(&devices)?,
        None => 0,
    };
    let bytes: Option<u64> = volumes.iter().map(|volume| volume.source.size()).sum();
    watch.begin(bytes.map(|bytes| bytes.strict_add(index_bytes)));

    let known = RwLock::default();
    let mut reports = Vec::new();
    for volume in &mut volumes {
        let based_on = match &opened {
            Some(opened) => opened.of_device(&volume.device)?,
            None => None,
        };
        let index = base.and_then(|base| base.index.as_ref());
        reports.push(pack_volume(volume, &mut writer, based_on, index, &known, options, watch)?);
    }
    for report in &reports {
        let device = report.snapshot.device.as_ref();
        let mapping =
            ami.block_device_mappings.iter_mut().find(|it| Some(&it.device_name) == device);
        let ebs = mapping.and_then(|it| it.ebs.as_mut()).expect("made for each volume");
        ebs.snapshot_digest = Some(report.snapshot.root_digest);
        ebs.volume_size.get_or_insert(ebs_gib(report.snapshot.volume_size_bytes));
    }
    let digest = writer.finish(&ami, watch)?;
    Ok(PackReport { bundle: options.output.clone(), digest, ami, volumes: reports, warnings })
}

/// Fails if the bundle would destroy what it is made of.
fn check_output(volumes: &[OpenedMapping], options: &PackOptions) -> Result<()> {
    let base = options.base.iter().map(|base| base.image.image.path.as_path());
    let named = volumes.iter().map(|volume| volume.named.as_path());
    check_outside(&options.output, named.chain(base))?;
    if !is_archive_name(&options.output) {
        // Only a bundle is replaced by a folder.
        return Ok(());
    }
    volumes.iter().try_for_each(|it| check_apart(&options.output, it.source.inputs()))
}

fn pack_volume(
    volume: &mut OpenedMapping,
    writer: &mut Writer,
    base: Option<Arc<BaseSnapshot>>,
    index: Option<&PathBuf>,
    known: &RwLock<KnownChunks>,
    options: &PackOptions,
    watch: &dyn Watch,
) -> Result<VolumeReport> {
    let base_digest = base.as_ref().map(|it| it.manifest().root());
    let base_note = base.as_ref().and_then(|it| states_note(it.other_states()));
    let one = PackOne {
        device: &volume.device,
        base,
        index,
        groups: options.groups,
        threads: options.groups.threads(options.threads),
        states: options.states,
        free: volume.free,
        known,
    };
    let (name, format) = (volume.source.name().to_owned(), volume.source.format_name());
    let mut notes = volume.source.notes();
    notes.extend(base_note);
    let written = pack_one(writer, volume.source.blocks(), &one, watch)
        .map_err(|e| e.in_file(&name).of_input(&volume.device))?;
    let device = Some(volume.device.clone());
    let free = volume.free.map(|record| record.to_string());
    let snapshot = SnapshotReport { device, free, notes, ..SnapshotReport::new(&written.summary) };
    Ok(VolumeReport {
        image: volume.named.clone(),
        format,
        snapshot,
        base_digest,
        new_chunks: written.new_chunks,
        patched_chunks: written.patched_chunks,
        stored_bytes: written.stored_bytes,
    })
}
