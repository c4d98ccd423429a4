//! `join`: the parts of a volume as one snapshot or bundle.

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::ami::Ami;
use crate::bundle::Bundle;
use crate::bundle::FreeRecord;
use crate::bundle::Writer;
use crate::chunking::Sink;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::error::shown;
use crate::io::Input;
use crate::io::OutputFile;
use crate::io::unwritten;
use crate::lint::Subject;
use crate::lint::VolumeFacts;
use crate::manifest::Builder;
use crate::manifest::Manifest;
use crate::manifest::Part;
use crate::manifest::Summary;
use crate::ops::shared::case::refuse;
use crate::ops::shared::manifest::ManifestSink;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::packing::BundleSink;
use crate::ops::shared::packing::with_content;
use crate::ops::shared::parts::push_blocks;
use crate::ops::shared::report::SnapshotReport;
use crate::ops::shared::report::path_text;
use crate::pack::DEFAULT_PACK_SIZE;
use crate::units::block_count;
use crate::units::ebs_gib;
use crate::work::Watch;

/// Which parts are joined.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The parts, in any order.
    pub parts: Vec<PathBuf>,
    /// Where the snapshot manifest or the bundle goes.
    pub output: PathBuf,
    /// Rules of EC2's that are not applied to the description of a bundle.
    pub allow: Vec<String>,
}

impl JoinRequest {
    /// Asks for parts to be joined.
    #[must_use]
    pub fn new(parts: Vec<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self { parts, output: output.into(), allow: Vec::new() }
    }
}

/// What was joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JoinReport {
    /// The snapshot manifest, or the bundle.
    #[serde(serialize_with = "path_text")]
    pub output: PathBuf,
    /// How many parts it is made of.
    pub parts: u64,
    /// Identity of the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What the manifest says.
    pub snapshot: SnapshotReport,
}

/// A part that is there.
struct Found {
    path: PathBuf,
    part: Part,
    manifest: Manifest,
    bundle: Option<(Bundle, Option<FreeRecord>)>,
}

/// Joins the parts of a volume. `describe` is asked for the description of the AMI if they were packed.
///
/// # Errors
///
/// `Invalid` if an input is not a part, or the parts are not all parts of one volume; `Corrupt` if one is damaged; whatever
/// `describe` returns; `Io` if the output cannot be written.
pub fn join(
    request: &JoinRequest,
    describe: &dyn Fn() -> Result<Ami>,
    watch: &dyn Watch,
) -> Result<JoinReport> {
    check_outside(&request.output, request.parts.iter().map(PathBuf::as_path))?;
    let mut parts = request.parts.iter().map(|path| find(path)).collect::<Result<Vec<_>>>()?;
    parts.sort_by_key(|found| found.part.first_block);
    check(&parts)?;
    let first = parts.first().ok_or_else(|| Error::invalid("no part was given"))?;
    watch.begin(None);
    let (digest, summary, device) = if first.bundle.is_some() {
        let (digest, summary, device) =
            bundle(request, &parts, &describe()?, watch).map_err(unwritten(&request.output))?;
        (Some(digest), summary, Some(device))
    } else {
        let output = OutputFile::create(&request.output)?;
        let size = first.part.volume_size;
        let summary = output.finish(|output| {
            let mut sink = ManifestSink(Builder::new(output));
            push_all(&parts, &mut sink, watch)?;
            sink.0.finish(size)
        });
        (None, summary.map_err(unwritten(&request.output))?, None)
    };
    let count = u64::try_from(parts.len()).expect("memory is under 2^64 bytes");
    let snapshot = SnapshotReport { device, ..SnapshotReport::new(&summary) };
    Ok(JoinReport { output: request.output.clone(), parts: count, digest, snapshot })
}

/// Opens a part.
fn find(path: &Path) -> Result<Found> {
    let not_one = || {
        let text = "it is not a part of a volume, expected a snapshot manifest or a bundle of a range of its blocks";
        Error::invalid(text).advise("make parts of the image first").in_file(path)
    };
    if Bundle::is_at(path)? {
        let bundle = Bundle::open_any(path, None)?;
        let [layer] = bundle.snapshots() else { return Err(not_one()) };
        let part = layer.part().map_err(|error| error.in_file(path))?.ok_or_else(not_one)?;
        let (manifest, free) = (bundle.manifest(layer)?, layer.free);
        if manifest.volume_size() != part.size() {
            let (found, expected) = (manifest.volume_size(), part.size());
            let text = format!("the part's manifest is of {found} bytes, expected {expected}");
            return Err(Error::corrupt(text).in_file(path));
        }
        let bundle = Some((bundle, free));
        return Ok(Found { path: path.to_owned(), part, manifest, bundle });
    }
    let (part, manifest) = Part::open(&Input::open(path)?)?.ok_or_else(not_one)?;
    Ok(Found { path: path.to_owned(), part, manifest, bundle: None })
}

/// Fails if parts, in the order of their blocks, are not those of one volume and of the same options, or leave something
/// out, or have something twice.
fn check(parts: &[Found]) -> Result<()> {
    let Some(first) = parts.first() else { return Ok(()) };
    let named = |found: &Found| shown(&found.path);
    for other in parts {
        let (a, b) = (&first.part, &other.part);
        if (a.volume_size, a.volume) != (b.volume_size, b.volume) {
            let text = format!("it is a part of another volume than {}", named(first));
            return Err(Error::invalid(text).in_file(&other.path));
        }
        if a.options != b.options {
            let ours = || a.options.split(' ').map(Some).chain(std::iter::repeat(None));
            let theirs = b.options.split(' ').map(Some).chain(std::iter::repeat(None));
            let differs = ours().zip(theirs).find(|(a, b)| a != b);
            let (expected, found) = differs.unwrap_or_default();
            let (expected, found) = (expected.unwrap_or("nothing"), found.unwrap_or("nothing"));
            let text = format!("it was made with {found}, but {} with {expected}", named(first));
            return Err(Error::invalid(text).in_file(&other.path));
        }
    }
    let whole = block_count(first.part.volume_size);
    let missing = |from: u32, to: u32| {
        let last = to.saturating_sub(1);
        Err(Error::invalid(format!("blocks {from} to {last} are in none of the parts")))
    };
    let (mut next, mut before) = (0, first);
    for found in parts {
        let start = found.part.first_block;
        if start > next {
            return missing(next, start);
        }
        if start < next {
            let last = next.min(found.part.end()).saturating_sub(1);
            let text = format!("blocks {start} to {last} are in {} too", named(before));
            return Err(Error::invalid(text).in_file(&found.path));
        }
        (next, before) = (found.part.end(), found);
    }
    if next < whole { missing(next, whole) } else { Ok(()) }
}

fn push_all(parts: &[Found], sink: &mut dyn Sink, watch: &dyn Watch) -> Result<()> {
    for found in parts {
        watch.check()?;
        push_blocks(&found.manifest, sink).map_err(|error| error.in_file(&found.path))?;
    }
    Ok(())
}

fn bundle(
    request: &JoinRequest,
    parts: &[Found],
    ami: &Ami,
    watch: &dyn Watch,
) -> Result<(Digest, Summary, String)> {
    let device = ami.root_device_name.clone();
    let mut ami = with_content(ami, &[&device])?;
    ami.check_stated()?;
    let size = parts[0].part.volume_size;
    let facts = [VolumeFacts { device: device.clone(), size, ..VolumeFacts::default() }];
    refuse(&Subject { volumes: &facts, ..Subject::of(&ami) }, &request.allow)?;
    let mut writer = Writer::create(&request.output, DEFAULT_PACK_SIZE, watch)?;
    let mut free = None;
    for found in parts {
        let (bundle, of) = found.bundle.as_ref().expect("parts of the same options are alike");
        free = *of;
        writer.take_packs(bundle, watch).map_err(|error| error.in_file(&found.path))?;
    }
    let scratch = writer.scratch()?;
    let mut sink = BundleSink { volume: writer.volume(&scratch, None) };
    sink.volume.record_free(free);
    push_all(parts, &mut sink, watch)?;
    let written = sink.volume.finish(&device, size)?;
    let mapping = ami.block_device_mappings.iter_mut().find(|it| it.device_name == device);
    let ebs = mapping.and_then(|it| it.ebs.as_mut()).expect("made for the volume");
    ebs.snapshot_digest = Some(written.summary.root);
    ebs.volume_size.get_or_insert(ebs_gib(size));
    let digest = writer.finish(&ami, watch)?;
    Ok((digest, written.summary, device))
}
