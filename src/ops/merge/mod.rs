//! `merge` and `rebase`: thin bundles to thin bundles.

mod join;

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::RwLock;

use serde::Serialize;

use crate::bundle::BaseBytes;
use crate::bundle::BaseSnapshot;
use crate::bundle::Bundle;
use crate::bundle::SnapshotLayer;
use crate::bundle::Writer;
use crate::chunking::Source;
use crate::chunking::States;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Verb;
use crate::error::shown;
use crate::io::unwritten;
use crate::ops::merge::join::Joiner;
use crate::ops::shared::base::BaseRequest;
use crate::ops::shared::base::OpenedBase;
use crate::ops::shared::groups::Groups;
use crate::ops::shared::likeness::base_notes;
use crate::ops::shared::likeness::states_note;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open_bundle;
use crate::ops::shared::open::open_typed_bundle;
use crate::ops::shared::order::swapped;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::packing::PackOne;
use crate::ops::shared::packing::pack_one;
use crate::ops::shared::report::path_text;
use crate::pack::DEFAULT_PACK_SIZE;
use crate::work::Quiet;
use crate::work::Watch;
use crate::work::default_threads;

/// Two thin bundles, the second one packed against what the first one leads to.
#[derive(Clone, Debug)]
pub struct MergeRequest {
    /// The first.
    pub first: PathBuf,
    /// The second.
    pub second: PathBuf,
    /// What the first depends on, for chunks that cannot be joined without.
    pub base: Option<VolumeRequest>,
    /// Where the joined bundle goes.
    pub output: PathBuf,
    /// How chunks are compressed that are stored again.
    pub groups: Groups,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl MergeRequest {
    /// Asks for one thin bundle of two, with all processors.
    #[must_use]
    pub fn new(
        first: impl Into<PathBuf>,
        second: impl Into<PathBuf>,
        output: impl Into<PathBuf>,
    ) -> Self {
        Self {
            first: first.into(),
            second: second.into(),
            base: None,
            output: output.into(),
            groups: Groups::default(),
            threads: default_threads(),
        }
    }
}

/// A thin bundle that is to depend on something else.
#[derive(Clone, Debug)]
pub struct RebaseRequest {
    /// The bundle, thin or whole.
    pub bundle: PathBuf,
    /// What it depends on, if it is thin.
    pub base: Option<VolumeRequest>,
    /// What it is to depend on.
    pub onto: BaseRequest,
    /// Where the new bundle goes.
    pub output: PathBuf,
    /// How chunks are compressed.
    pub groups: Groups,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl RebaseRequest {
    /// Asks for the bundle over another base, with all processors.
    #[must_use]
    pub fn new(bundle: impl Into<PathBuf>, onto: BaseRequest, output: impl Into<PathBuf>) -> Self {
        Self {
            bundle: bundle.into(),
            base: None,
            onto,
            output: output.into(),
            groups: Groups::default(),
            threads: default_threads(),
        }
    }
}

/// What was joined or put onto another base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MergeReport {
    /// The new bundle.
    #[serde(serialize_with = "path_text")]
    pub bundle: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Root digests of what it depends on.
    pub bases: Vec<Digest>,
    /// Chunks in it.
    pub chunks: u64,
    /// Those of them that are patches.
    pub patched_chunks: u64,
    /// Bytes of its own packs.
    pub stored_bytes: u64,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Joins two thin bundles to one that leads from the first one's base to the second one's volumes.
///
/// # Errors
///
/// `Mismatch` if the second was not packed against what the first leads to; `Invalid`, with what to
/// do, if a chunk cannot be joined without the base and there is none; as [`Bundle::open`] and
/// reading the bundles.
pub fn merge(request: &MergeRequest, watch: &dyn Watch) -> Result<MergeReport> {
    merge_into(request, watch).map_err(unwritten(&request.output))
}

fn merge_into(request: &MergeRequest, watch: &dyn Watch) -> Result<MergeReport> {
    request.groups.check()?;
    let base = request.base.iter().map(|base| base.image.path.as_path());
    let read = [request.first.as_path(), request.second.as_path()];
    check_outside(&request.output, base.chain(read))?;
    let first = open_bundle(&request.first, request.base.as_ref(), request.threads, &Quiet(watch))
        .map_err(|error| in_order(error, request))?;
    let second = open_typed_bundle(&request.second)?;
    let mut pairs = Vec::new();
    let mut size = 0_u64;
    for layer in second.snapshots() {
        let middle = middle(&first, &second, layer).map_err(|error| in_order(error, request))?;
        size = size.strict_add(second.manifest(layer)?.volume_size());
        pairs.push((layer.clone(), middle));
    }
    watch.begin(Some(size));
    let mut writer = Writer::create(&request.output, DEFAULT_PACK_SIZE, watch)?;
    writer.lean_on_bases_of(&first, watch)?;
    let mut report = Report::new(request.output.clone(), &first);
    let known = RwLock::default();
    for (layer, middle) in &pairs {
        let chunks = first.chunks()?;
        let manifest = first.manifest(middle)?;
        let over = Arc::new(BaseSnapshot::new(manifest, BaseBytes::Packs(chunks)));
        let second = open_typed_bundle(&request.second)?.over(vec![over])?;
        let base = base_of(&first, middle)?;
        let written = if request.base.is_some() {
            let snapshot = second.snapshot(Some(&layer.device))?;
            let one = PackOne {
                device: &layer.device,
                base: Some(base),
                index: None,
                groups: request.groups,
                threads: request.groups.threads(request.threads),
                states: States::default(),
                free: layer.free,
                known: &known,
            };
            pack_one(&mut writer, Source::Volume(&snapshot), &one, watch)?
        } else {
            let scratch = writer.scratch()?;
            let mut volume = writer.volume(&scratch, Some(base.manifest().root()));
            volume.record_free(layer.free);
            let manifest = second.manifest(layer)?;
            let middle = first.manifest(middle)?;
            let chunks = [first.chunks()?, second.chunks()?];
            let joiner = Joiner::new(volume, &known, middle, base, chunks, request.groups)?;
            joiner.join(manifest, &layer.device, watch)?
        };
        report.add(written.new_chunks, written.patched_chunks, written.stored_bytes);
    }
    report.finish(writer.finish(second.ami(), watch)?)
}

/// Returns the snapshot of `first` that the volume of `second` depends on.
fn middle(first: &Bundle, second: &Bundle, layer: &SnapshotLayer) -> Result<SnapshotLayer> {
    let found = first.snapshots().iter().find(|it| Some(it.root) == layer.base);
    found.cloned().ok_or_else(|| {
        let leads: Vec<_> =
            first.snapshots().iter().map(|it| format!("sha256:{}", it.root)).collect();
        let text = match layer.base {
            Some(base) => format!(
                "the volume of {} is packed against the snapshot sha256:{base}, expected the result of {}: {}",
                layer.device,
                shown(first.path()),
                leads.join(", ")
            ),
            None => format!("the volume of {} is packed against no base", layer.device),
        };
        Error::new(Kind::Mismatch, text).in_file(second.path())
    })
}

/// Adds to the refusal of one of the two that they are in the wrong order, if the first was packed against the second; or that
/// the second is whole, and so makes the first one whole.
fn in_order(error: Error, request: &MergeRequest) -> Error {
    if !matches!(error.kind(), Kind::Invalid | Kind::Mismatch) {
        return error;
    }
    let open = |path: &Path| open_typed_bundle(path).ok();
    let Some((first, second)) = open(&request.first).zip(open(&request.second)) else {
        return error;
    };
    let is_over = is_over(&first, &second);
    if is_over && second.bases().is_empty() {
        let to = "make the first one whole with the second, which is whole";
        return error.advise(Advice::Use { verb: Verb::Complete, to: to.into() });
    }
    swapped(error, &request.second, &request.first, |_| is_over)
}

/// Tells whether a bundle was packed against a snapshot of another one.
fn is_over(bundle: &Bundle, base: &Bundle) -> bool {
    let roots: Vec<Digest> = base.snapshots().iter().map(|it| it.root).collect();
    bundle.bases().iter().any(|it| roots.contains(&it.root))
}

/// Returns what a snapshot of a thin bundle depends on.
fn base_of(bundle: &Bundle, layer: &SnapshotLayer) -> Result<Arc<BaseSnapshot>> {
    let root = layer.base.ok_or_else(|| {
        let text = format!("the volume of {} is packed against no base", layer.device);
        Error::invalid(text)
            .in_file(bundle.path())
            .advise("a bundle that is not thin needs no merging: use the second with its base")
    })?;
    let opened = bundle.open_packs()?;
    let base = opened.bases.into_iter().find(|base| base.manifest().root() == root);
    if let (None, Some(layer)) = (&base, bundle.bases().iter().find(|it| it.root == root)) {
        // Nothing is left out for a base without any data, and nothing of it is ever read.
        let manifest = bundle.base_manifest(layer)?;
        if manifest.header().counts.data == 0 {
            return Ok(Arc::new(BaseSnapshot::new(manifest, BaseBytes::Absent)));
        }
    }
    base.ok_or_else(|| {
        Error::invalid("it is a whole bundle, expected a thin one").in_file(bundle.path())
    })
}

/// Puts a bundle onto another base: its volumes are the same, its digest is not.
///
/// # Errors
///
/// As opening the bundles and reading them; `Io` if the new bundle cannot be written.
pub fn rebase(request: &RebaseRequest, watch: &dyn Watch) -> Result<MergeReport> {
    rebase_into(request, watch).map_err(unwritten(&request.output))
}

fn rebase_into(request: &RebaseRequest, watch: &dyn Watch) -> Result<MergeReport> {
    request.groups.check()?;
    let bases = request.base.iter().chain([&request.onto.image]);
    let read = bases.map(|base| base.image.path.as_path()).chain([request.bundle.as_path()]);
    check_outside(&request.output, read)?;
    let bundle =
        open_bundle(&request.bundle, request.base.as_ref(), request.threads, &Quiet(watch))
            .map_err(|error| in_place(error, request))?;
    let mut size = 0_u64;
    for layer in bundle.snapshots() {
        size = size.strict_add(bundle.manifest(layer)?.volume_size());
    }
    let mut writer = Writer::create(&request.output, DEFAULT_PACK_SIZE, watch)?;
    let root = &bundle.ami().root_device_name;
    let onto = OpenedBase::open(&request.onto, root, &mut writer, request.threads, watch)?;
    let devices: Vec<&str> = bundle.snapshots().iter().map(|it| it.device.as_str()).collect();
    watch.begin(Some(size.strict_add(onto.index_bytes(&devices)?)));
    let mut report = Report::new(request.output.clone(), &bundle);
    report.report.bases.clear();
    let known = RwLock::default();
    for layer in bundle.snapshots() {
        let snapshot = bundle.snapshot(Some(&layer.device))?;
        let base = onto.of_device(&layer.device)?;
        if let Some(base) = &base {
            report.report.bases.push(base.manifest().root());
            report.report.notes.extend(states_note(base.other_states()));
        }
        let one = PackOne {
            device: &layer.device,
            base,
            index: request.onto.index.as_ref(),
            groups: request.groups,
            threads: request.groups.threads(request.threads),
            states: States::default(),
            free: layer.free,
            known: &known,
        };
        let written = pack_one(&mut writer, Source::Volume(&snapshot), &one, watch)?;
        report.add(written.new_chunks, written.patched_chunks, written.stored_bytes);
    }
    report.finish(writer.finish(bundle.ami(), watch)?)
}

/// Adds to the refusal of a bundle over its base which two of the three names are in the wrong order, if two are.
fn in_place(error: Error, request: &RebaseRequest) -> Error {
    let open = |path: &Path| open_typed_bundle(path).ok();
    let Some(base) = &request.base else { return error };
    if !matches!(error.kind(), Kind::Invalid | Kind::Mismatch) {
        return error;
    }
    let (bundle, base, onto) = (&request.bundle, &base.typed(), &request.onto.image.typed());
    let over = |one: &Path, other: &Path| {
        open(one).zip(open(other)).is_some_and(|(one, other)| is_over(&one, &other))
    };
    // What cannot be opened at all is no better in the other place.
    if error.kind() == Kind::Mismatch && over(bundle, onto) {
        return swapped(error, base, onto, |_| true);
    }
    swapped(error, bundle, base, |base| over(base, bundle))
}

/// A report under way.
struct Report {
    report: MergeReport,
}

impl Report {
    fn new(bundle: PathBuf, leans_like: &Bundle) -> Self {
        let bases = leans_like.bases().iter().map(|base| base.root).collect();
        let digest = Digest([0; 32]);
        let report = MergeReport {
            bundle,
            digest,
            bases,
            chunks: 0,
            patched_chunks: 0,
            stored_bytes: 0,
            notes: base_notes(leans_like),
        };
        Self { report }
    }

    fn add(&mut self, chunks: u64, patched: u64, bytes: u64) {
        let report = &mut self.report;
        report.chunks = report.chunks.strict_add(chunks);
        report.patched_chunks = report.patched_chunks.strict_add(patched);
        report.stored_bytes = report.stored_bytes.strict_add(bytes);
    }

    #[expect(clippy::unnecessary_wraps, reason = "the last step of functions that can fail")]
    fn finish(self, digest: Digest) -> Result<MergeReport> {
        Ok(MergeReport { digest, ..self.report })
    }
}
