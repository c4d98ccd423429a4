//! `pack`: images to a bundle.

use std::num::NonZero;
use std::path::PathBuf;

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::Ebs;
use crate::ami::Mapping;
use crate::ami::Virtualization;
use crate::ami::check_devices;
use crate::ami::check_name;
use crate::bundle::VolumeWriter;
use crate::bundle::Writer;
use crate::chunking;
use crate::chunking::Sink;
use crate::chunking::States;
use crate::chunking::Store;
use crate::compress::Encoder;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::format::ImageRequest;
use crate::ops::open::OpenedSource;
use crate::ops::open::open_source;
use crate::ops::path_text;
use crate::ops::snapshot::SnapshotReport;
use crate::pack::KnownChunks;
use crate::units::ExtentKind;
use crate::units::ebs_gib;
use crate::work::Watch;

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
    /// Name of the AMI.
    pub name: String,
    /// Text for people.
    pub description: Option<String>,
    /// Processor architecture.
    pub architecture: Architecture,
    /// How the hypervisor runs the machine.
    pub virtualization: Virtualization,
    /// How the machine boots.
    pub boot_mode: Option<BootMode>,
    /// Device of the root volume.
    pub root_device: String,
    /// Compression level.
    pub level: i32,
    /// Bytes at which packs are closed.
    pub pack_size: u64,
    /// Threads to work on.
    pub threads: NonZero<usize>,
    /// What is done about states.
    pub states: States,
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
    /// Chunks that it was the first to need.
    pub new_chunks: u64,
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
struct BundleSink<'a> {
    volume: VolumeWriter<'a>,
    known: &'a RwLock<KnownChunks>,
}

impl Sink for BundleSink<'_> {
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        self.volume.run(kind, count)
    }

    fn data(&mut self, id: Digest, frame: Option<&[u8]>) -> Result<()> {
        self.volume.data(id, frame, self.known)
    }
}

/// Packs images into a bundle. `begin` hears the bytes of all volumes, where they are known.
///
/// # Errors
///
/// `Invalid` if EC2 would refuse the description, before anything is read; as
/// [`crate::ops::open_source`] and [`chunking::run`] for the images; `Io` if the bundle cannot be
/// written.
pub fn pack(
    request: &PackRequest,
    watch: &dyn Watch,
    begin: impl FnOnce(Option<u64>),
) -> Result<PackReport> {
    check_name(&request.name)?;
    let mut volumes: Vec<&VolumeRequest> = request.volumes.iter().collect();
    volumes.sort_by(|a, b| a.device.cmp(&b.device));
    let devices: Vec<&str> = volumes.iter().map(|volume| volume.device.as_str()).collect();
    check_devices(&devices, &request.root_device)?;
    if volumes.iter().filter(|volume| volume.image.path.as_os_str() == "-").count() > 1 {
        return Err(Error::invalid("standard input is two volumes, expected one at most"));
    }
    // A level that is none is told before the images are opened.
    Encoder::new(request.level)?;
    let mut sources: Vec<OpenedSource> =
        volumes.iter().map(|volume| open_source(&volume.image)).collect::<Result<_>>()?;
    begin(sources.iter().map(OpenedSource::size).sum());

    let mut writer = Writer::create(&request.output, request.pack_size)?;
    let known = RwLock::default();
    let options = chunking::Options {
        threads: request.threads,
        watch,
        states: request.states,
        store: Some(Store { level: request.level, known: &known }),
    };
    let mut reports = Vec::new();
    for (volume, source) in volumes.iter().zip(&mut sources) {
        let scratch = writer.scratch()?;
        let mut sink = BundleSink { volume: writer.volume(&scratch), known: &known };
        let name = source.name().to_owned();
        let size =
            chunking::run(source.blocks(), &options, &mut sink).map_err(|e| e.in_file(&name))?;
        let written = sink.volume.finish(&volume.device, size)?;
        let snapshot = SnapshotReport {
            device: Some(volume.device.clone()),
            notes: source.notes(),
            ..SnapshotReport::new(&written.summary)
        };
        reports.push(VolumeReport {
            image: volume.image.path.clone(),
            format: source.format_name(),
            snapshot,
            new_chunks: written.new_chunks,
            stored_bytes: written.stored_bytes,
        });
    }
    let ami = Ami {
        name: request.name.clone(),
        description: request.description.clone(),
        architecture: Some(request.architecture),
        virtualization_type: Some(request.virtualization),
        boot_mode: request.boot_mode,
        root_device_name: request.root_device.clone(),
        block_device_mappings: volumes
            .iter()
            .zip(&reports)
            .map(|(volume, report)| Mapping {
                device_name: volume.device.clone(),
                ebs: Some(Ebs {
                    snapshot_digest: Some(report.snapshot.root_digest),
                    volume_size: Some(ebs_gib(report.snapshot.volume_size_bytes)),
                    ..Ebs::default()
                }),
                ..Mapping::default()
            })
            .collect(),
        ..Ami::default()
    };
    let digest = writer.finish(&ami)?;
    Ok(PackReport { bundle: request.output.clone(), digest, ami, volumes: reports })
}
