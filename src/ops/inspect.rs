//! `inspect`: what a file is, and what is in it.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::ami::Ami;
use crate::bundle::Bundle;
use crate::chunking;
use crate::chunking::Sink;
use crate::chunking::States;
use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Error;
use crate::error::Result;
use crate::format::OpenedStream;
use crate::io::Input;
use crate::io::ReadAt;
use crate::manifest::Counts;
use crate::manifest::Manifest;
use crate::manifest::Part;
use crate::manifest::zero_block_digest;
use crate::ops::shared::guest_report::GuestReport;
use crate::ops::shared::guest_report::report;
use crate::ops::shared::instance_store::InstanceStoreContent;
use crate::ops::shared::instance_store::content_of as content_of_instance_store;
use crate::ops::shared::open::Found;
use crate::ops::shared::open::OpenedVolume;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::find;
use crate::ops::shared::open::open_in_order;
use crate::ops::shared::parts::VolumePartReport;
use crate::ops::shared::report::SnapshotReport;
use crate::ops::shared::report::path_text;
use crate::pack::Pack;
use crate::units::BLOCK_SIZE;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::units::ebs_gib;
use crate::volume::extents;
use crate::work::Watch;

/// What a pack holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackContent {
    /// The pack's digest, for a pack of a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Chunks in it.
    pub chunks: u64,
    /// Groups in which they are compressed.
    pub groups: u64,
    /// Number of the region of the volume that they are of, if it was packed in regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<u32>,
    /// Bytes of the chunks when plain.
    pub plain_bytes: u64,
    /// Bytes of the pack.
    pub stored_bytes: u64,
}

/// Bytes of a volume in each kind of extent, as the format tells them without reading the content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExtentBytes {
    /// Bytes that are stored.
    pub data_bytes: u64,
    /// Bytes that the format says are zeros.
    pub zero_bytes: u64,
    /// Bytes that nobody wrote.
    pub hole_bytes: u64,
    /// Extents of all kinds.
    pub extents: u64,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Inspected {
    /// A bundle.
    Bundle {
        /// The file or folder.
        #[serde(serialize_with = "path_text")]
        path: PathBuf,
        /// Digest of the OCI manifest.
        digest: Digest,
        /// Name by which OCI tools know it.
        reference: Option<String>,
        /// The AMI's description.
        ami: Box<Ami>,
        /// Its snapshots, ascending by device.
        snapshots: Vec<SnapshotReport>,
        /// Its packs.
        packs: Vec<PackContent>,
        /// Root digests of the snapshots that it depends on.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        bases: Vec<Digest>,
        /// Packs that it leaves out because its base has them.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        absent_packs: Vec<Digest>,
    },
    /// A snapshot manifest.
    Manifest {
        /// The file.
        #[serde(serialize_with = "path_text")]
        path: PathBuf,
        /// What it says.
        #[serde(flatten)]
        snapshot: SnapshotReport,
    },
    /// The manifest of a part of a volume.
    Part {
        /// The file.
        #[serde(serialize_with = "path_text")]
        path: PathBuf,
        /// What it is a part of, and its own blocks.
        #[serde(flatten)]
        part: VolumePartReport,
    },
    /// The manifest of an instance-store bundle.
    InstanceStore(InstanceStoreContent),
    /// A pack.
    Pack {
        /// The file.
        #[serde(serialize_with = "path_text")]
        path: PathBuf,
        /// What it holds.
        #[serde(flatten)]
        content: PackContent,
    },
    /// An image.
    Image {
        /// The file.
        #[serde(serialize_with = "path_text")]
        path: PathBuf,
        /// Its format.
        format: &'static str,
        /// Bytes of the file, of all parts together; none for a volume in a bundle.
        #[serde(skip_serializing_if = "Option::is_none")]
        file_bytes: Option<u64>,
        /// Bytes of the volume.
        volume_size_bytes: u64,
        /// GiB that EBS makes of it.
        ebs_volume_size_gib: u64,
        /// Bytes of a logical sector, where the image says it.
        #[serde(skip_serializing_if = "Option::is_none")]
        logical_sector_bytes: Option<u32>,
        /// What the format says of its extents.
        #[serde(flatten)]
        content: ExtentBytes,
        /// Blocks of 512 KiB in each state and EBS's checksum, if the image was read for them.
        #[serde(skip_serializing_if = "Option::is_none")]
        read: Option<ReadContent>,
        /// What is inside the volume, where anything is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        guest: Option<Box<GuestReport>>,
        /// What the user should hear although nothing failed.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// An image that is compressed as a whole, and so is read once and in order.
    Stream {
        /// The file.
        #[serde(serialize_with = "path_text")]
        path: PathBuf,
        /// Its format.
        format: &'static str,
        /// Bytes of the file; none for a pipe.
        #[serde(skip_serializing_if = "Option::is_none")]
        file_bytes: Option<u64>,
        /// Bytes of the volume, if the image was read for them.
        #[serde(skip_serializing_if = "Option::is_none")]
        volume_size_bytes: Option<u64>,
        /// Blocks of 512 KiB in each state and EBS's checksum, if the image was read for them.
        #[serde(skip_serializing_if = "Option::is_none")]
        read: Option<ReadContent>,
        /// What the user should hear although nothing failed.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
}

/// What only reading an image tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadContent {
    /// Blocks of 512 KiB in each state.
    pub blocks: Counts,
    /// EBS's checksum of the written blocks: SHA-256, LINEAR, base64.
    pub linear_sha256_base64: String,
}

/// Tells what a file is and what is in it. With `read`, an image is read for what only its content
/// tells.
///
/// # Errors
///
/// As [`Bundle::open`], [`Manifest::open`], [`Pack::open`] and [`open_in_order`], whichever it is.
pub fn inspect(
    request: &VolumeRequest,
    read: Option<NonZero<usize>>,
    watch: &dyn Watch,
) -> Result<Inspected> {
    let path = request.image.path.clone();
    let fail = |error| request.fail(error);
    match find(request).map_err(fail)? {
        Found::Bundle(bundle) if request.image.member.is_none() && !bundle.is_bare() => {
            return inspect_bundle(&path, &bundle);
        }
        Found::InstanceStore if request.keys.key.is_none() => {
            return content_of_instance_store(&path).map(Inspected::InstanceStore);
        }
        Found::Manifest => {
            let manifest = Manifest::open(&Input::open(&path)?)?;
            let snapshot = SnapshotReport::new(&manifest.summary());
            return Ok(Inspected::Manifest { path, snapshot });
        }
        Found::Part => {
            let (part, manifest) = open_part(&path)?;
            let snapshot = SnapshotReport::new(&manifest.summary());
            return Ok(Inspected::Part { path, part: VolumePartReport::new(part, snapshot) });
        }
        Found::Pack => {
            let input = Arc::new(Input::open(&path)?);
            let len = input.len();
            let pack = Pack::open(input, 0, len)?;
            return Ok(Inspected::Pack { path, content: content_of(&pack, None) });
        }
        _ => {}
    }
    let path = request.typed();
    let opened = match open_in_order(request, watch)? {
        OpenedVolume::Stream(opened) => return inspect_stream(path, *opened, read, watch),
        opened => opened,
    };
    let volume = opened.volume().expect("what comes in order was dealt with");
    let mut content = ExtentBytes::default();
    for extent in extents(volume) {
        count(&mut content, &extent?);
    }
    let guest = report(volume, read.is_some(), watch).map_err(fail)?.map(Box::new);
    let read = match read {
        Some(threads) => {
            watch.begin(Some(volume.size()));
            let source = chunking::Source::Volume(volume);
            Some(read_content(source, threads, watch).map_err(fail)?.0)
        }
        None => None,
    };
    Ok(Inspected::Image {
        path,
        format: opened.format_name(),
        file_bytes: match &opened {
            OpenedVolume::Image(image) => Some(image.inputs.iter().map(ReadAt::len).sum()),
            _ => None,
        },
        volume_size_bytes: volume.size(),
        ebs_volume_size_gib: ebs_gib(volume.size()),
        logical_sector_bytes: opened.sector_len(),
        content,
        read,
        guest,
        notes: opened.notes(),
    })
}

fn open_part(path: &Path) -> Result<(Part, Manifest)> {
    let input = Input::open(path)?;
    Part::open(&input)?.ok_or_else(|| {
        // It began as one, and was replaced or cut since.
        Error::corrupt("the file ends in the header of a part").in_file(path)
    })
}

fn inspect_bundle(path: &Path, bundle: &Bundle) -> Result<Inspected> {
    let mut snapshots = Vec::new();
    for layer in bundle.snapshots() {
        let report = SnapshotReport::new(&bundle.manifest(layer)?.summary());
        let (device, free) = (Some(layer.device.clone()), layer.free.map(|it| it.to_string()));
        snapshots.push(SnapshotReport { device, free, ..report });
    }
    let mut packs = Vec::new();
    let mut absent_packs = Vec::new();
    let mut opened = bundle.open_packs()?;
    if let Some((_, error)) = opened.broken.pop() {
        return Err(error);
    }
    for (number, pack) in &opened.packs {
        packs.push(content_of(pack, Some(bundle.packs()[*number].blob.digest)));
    }
    for number in &opened.absent {
        absent_packs.push(bundle.packs()[*number].blob.digest);
    }
    Ok(Inspected::Bundle {
        path: path.to_owned(),
        digest: bundle.digest(),
        reference: bundle.reference().map(str::to_owned),
        ami: Box::new(bundle.ami().clone()),
        snapshots,
        packs,
        bases: bundle.bases().iter().map(|base| base.root).collect(),
        absent_packs,
    })
}

fn content_of(pack: &Pack, digest: Option<Digest>) -> PackContent {
    let chunks = u64::from(pack.chunk_count());
    PackContent {
        digest,
        chunks,
        groups: u64::try_from(pack.groups().len()).expect("at most 65,536"),
        region: (pack.region().blocks > 0).then_some(pack.region().number),
        // At most 65,536 chunks of 512 KiB.
        plain_bytes: chunks.strict_mul(BLOCK_SIZE),
        stored_bytes: pack.file_len(),
    }
}

fn count(content: &mut ExtentBytes, extent: &Extent) {
    let bytes = match extent.kind {
        ExtentKind::Data => &mut content.data_bytes,
        ExtentKind::Zero => &mut content.zero_bytes,
        ExtentKind::Hole => &mut content.hole_bytes,
    };
    // The extents tile a volume of at most 2^46 bytes.
    *bytes = bytes.strict_add(extent.len());
    content.extents = content.extents.strict_add(1);
}

/// A sink that counts and aggregates.
#[derive(Default)]
struct CountSink {
    blocks: Counts,
    linear: Sha256,
}

impl Sink for CountSink {
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        if kind == ExtentKind::Hole {
            self.blocks.hole = self.blocks.hole.strict_add(u64::from(count));
            return Ok(());
        }
        self.blocks.zero = self.blocks.zero.strict_add(u64::from(count));
        for _ in 0..count {
            self.linear.update(&zero_block_digest().0);
        }
        Ok(())
    }

    fn data(&mut self, id: Digest) -> Result<()> {
        self.blocks.data = self.blocks.data.strict_add(1);
        self.linear.update(&id.0);
        Ok(())
    }
}

/// Reads a volume, and returns what its content tells and its size in bytes.
fn read_content(
    source: chunking::Source<'_>,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<(ReadContent, u64)> {
    let mut sink = CountSink::default();
    let options = chunking::Options { threads, watch, states: States::default(), store: None };
    let size = chunking::run(source, &options, &mut sink)?;
    let linear_sha256_base64 = sink.linear.finish().base64();
    Ok((ReadContent { blocks: sink.blocks, linear_sha256_base64 }, size))
}

fn inspect_stream(
    path: PathBuf,
    mut opened: OpenedStream,
    read: Option<NonZero<usize>>,
    watch: &dyn Watch,
) -> Result<Inspected> {
    let read = match read {
        Some(threads) => {
            let source = chunking::Source::Stream(&mut opened.stream);
            Some(read_content(source, threads, watch).map_err(|e| e.in_file(&path))?)
        }
        None => None,
    };
    let (read, volume_size_bytes) = read.unzip();
    Ok(Inspected::Stream {
        path,
        format: opened.format.name,
        file_bytes: opened.inputs.first().map(ReadAt::len),
        volume_size_bytes,
        read,
        notes: opened.notes,
    })
}
