//! `merge` and `rebase`: thin bundles to thin bundles.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::RwLock;

use serde::Serialize;

use crate::bundle::BaseBytes;
use crate::bundle::BaseSnapshot;
use crate::bundle::Bundle;
use crate::bundle::SnapshotLayer;
use crate::bundle::VolumeWriter;
use crate::bundle::Writer;
use crate::chunking::Source;
use crate::chunking::States;
use crate::compress::DEFAULT_LEVEL;
use crate::compress::Encoder;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::io::unwritten;
use crate::manifest::Block;
use crate::manifest::Manifest;
use crate::ops::shared::base::BaseRequest;
use crate::ops::shared::base::OpenedBase;
use crate::ops::shared::likeness::base_notes;
use crate::ops::shared::likeness::states_note;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open_bundle;
use crate::ops::shared::open::open_typed_bundle;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::packing::PackOne;
use crate::ops::shared::packing::pack_one;
use crate::ops::shared::report::path_text;
use crate::pack::ChunkReader;
use crate::pack::Chunks;
use crate::pack::DEFAULT_PACK_SIZE;
use crate::pack::Entry;
use crate::pack::Form;
use crate::pack::KnownChunks;
use crate::pack::Pack;
use crate::pack::Page;
use crate::pack::Patch;
use crate::pack::Stored;
use crate::pack::patch;
use crate::pack::patch::MAX_READS;
use crate::pack::patch::Step;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_PAGES;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
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
    /// Compression level of chunks that are stored again.
    pub level: i32,
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
            level: DEFAULT_LEVEL,
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
    /// Compression level.
    pub level: i32,
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
            level: DEFAULT_LEVEL,
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
    Encoder::new(request.level)?;
    let base = request.base.iter().map(|base| base.image.path.as_path());
    let read = [request.first.as_path(), request.second.as_path()];
    check_outside(&request.output, base.chain(read))?;
    let first = open_bundle(&request.first, request.base.as_ref(), request.threads, &Quiet(watch))?;
    let second = open_typed_bundle(&request.second)?;
    let mut pairs = Vec::new();
    let mut size = 0_u64;
    for layer in second.snapshots() {
        let middle = middle(&first, &second, layer)?;
        size = size.strict_add(second.manifest(layer)?.volume_size());
        pairs.push((layer.clone(), middle));
    }
    watch.begin(Some(size));
    let mut writer = Writer::create(&request.output, DEFAULT_PACK_SIZE)?;
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
                level: request.level,
                threads: request.threads,
                states: States::default(),
                free: layer.free,
                known: &known,
            };
            pack_one(&mut writer, Source::Volume(&snapshot), &one, watch)?
        } else {
            let scratch = writer.scratch()?;
            let mut joiner = Joiner {
                volume: writer.volume(&scratch, Some(base.manifest().root())),
                known: &known,
                middle: first.manifest(middle)?,
                base,
                first: first.chunks()?,
                second: second.chunks()?,
                reader: ChunkReader::new()?,
                encoder: Encoder::new(request.level)?,
            };
            joiner.join(&second.manifest(layer)?, watch)?;
            joiner.volume.record_free(layer.free);
            joiner.volume.finish(&layer.device, second.manifest(layer)?.volume_size())?
        };
        report.add(written.new_chunks, written.patched_chunks, written.stored_bytes);
    }
    report.finish(writer.finish(second.ami())?)
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
    Encoder::new(request.level)?;
    let bases = request.base.iter().chain([&request.onto.image]);
    let read = bases.map(|base| base.image.path.as_path()).chain([request.bundle.as_path()]);
    check_outside(&request.output, read)?;
    let bundle =
        open_bundle(&request.bundle, request.base.as_ref(), request.threads, &Quiet(watch))?;
    let mut size = 0_u64;
    for layer in bundle.snapshots() {
        size = size.strict_add(bundle.manifest(layer)?.volume_size());
    }
    let mut writer = Writer::create(&request.output, DEFAULT_PACK_SIZE)?;
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
            level: request.level,
            threads: request.threads,
            states: States::default(),
            free: layer.free,
            known: &known,
        };
        let written = pack_one(&mut writer, Source::Volume(&snapshot), &one, watch)?;
        report.add(written.new_chunks, written.patched_chunks, written.stored_bytes);
    }
    report.finish(writer.finish(bundle.ami())?)
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

/// A volume of two thin bundles, joined without their base: chunks are taken over as they are
/// stored, and patches over the middle become patches over the base where all they do is copy.
struct Joiner<'a> {
    volume: VolumeWriter<'a>,
    known: &'a RwLock<KnownChunks>,
    /// What the first leads to, and the second depends on.
    middle: Manifest,
    base: Arc<BaseSnapshot>,
    first: Chunks,
    second: Chunks,
    reader: ChunkReader,
    encoder: Encoder,
}

impl Joiner<'_> {
    fn join(&mut self, manifest: &Manifest, watch: &dyn Watch) -> Result<()> {
        let mut next = BlockIndex(0);
        while next.0 < manifest.block_count() {
            watch.check()?;
            let (kind, end) = manifest.run_at(next)?;
            if let Block::Data(_) = manifest.block(next)? {
                for index in next.0..end.0 {
                    let Block::Data(id) = manifest.block(BlockIndex(index))? else {
                        unreachable!("the run is of data")
                    };
                    self.chunk(&id)?;
                }
            } else {
                self.volume.run(kind, end.0.strict_sub(next.0))?;
            }
            watch.advance(u64::from(end.0.strict_sub(next.0)).strict_mul(BLOCK_SIZE));
            next = end;
        }
        Ok(())
    }

    fn chunk(&mut self, id: &Digest) -> Result<()> {
        if self.base.find(id)?.is_some() {
            return self.volume.data(*id, None, self.known);
        }
        let mut stored = Vec::new();
        if let Some((pack, entry)) = self.first.find(id)?
            && fits(pack, &entry, self.base.manifest())
        {
            pack.read_stored(&entry, &mut stored)?;
            let stored = Stored { form: entry.form, bytes: &stored };
            return self.volume.data(*id, Some(stored), self.known);
        }
        let form = self.of_second(id, &mut stored)?;
        self.volume.data(*id, Some(Stored { form, bytes: &stored }), self.known)
    }

    /// Fills `stored` with a chunk that cannot be taken over from the first bundle.
    fn of_second(&mut self, id: &Digest, stored: &mut Vec<u8>) -> Result<Form> {
        if let Some((pack, entry)) = self.second.find(id)? {
            pack.read_stored(&entry, stored)?;
            if entry.form == Form::Whole {
                return Ok(Form::Whole);
            }
            if fits(pack, &entry, &self.middle)
                && let Some(composed) = self.compose(&Patch::parse(stored)?)?
            {
                *stored = composed;
                return Ok(Form::Patched);
            }
        }
        let mut plain = vec![0; BLOCK_LEN];
        self.second.read(&[*id], &mut plain, &mut self.reader)?;
        stored.clear();
        self.encoder.append(&plain, stored);
        Ok(Form::Whole)
    }

    /// Returns the patch over the base that does what `patch` does over the middle, if that can be
    /// said without any bytes.
    fn compose(&self, patch: &Patch<'_>) -> Result<Option<Vec<u8>>> {
        let mut pages: Vec<Option<Page>> = Vec::new();
        for step in &patch.steps {
            match *step {
                Step::Literal { .. } => return Ok(None),
                Step::Zero { count } => {
                    pages.extend(std::iter::repeat_n(None, usize::try_from(count).expect("128")));
                }
                Step::Copy { page, count } => {
                    for page in page..page.strict_add(u64::from(count)) {
                        match self.trace(page)? {
                            Origin::Base(page) => pages.push(Some(page)),
                            Origin::Zero => pages.push(None),
                            Origin::New => return Ok(None),
                        }
                    }
                }
            }
        }
        let blocks: BTreeSet<u64> =
            pages.iter().flatten().map(|page| page.strict_div(BLOCK_PAGES)).collect();
        // Each of these blocks was counted by the patch, with what it depends on in turn.
        let reads = u8::try_from(blocks.len()).unwrap_or(u8::MAX).max(patch.reads);
        if !(1..=MAX_READS).contains(&reads) {
            return Ok(None);
        }
        let mut steps = Vec::new();
        for page in pages {
            let next = match page {
                None => Step::Zero { count: 1 },
                Some(page) => Step::Copy { page, count: 1 },
            };
            patch::push(&mut steps, next);
        }
        let mut out = Vec::new();
        Patch { reads, steps, prefix: Vec::new(), frame: &[] }.append(&mut out);
        Ok(Some(out))
    }

    /// Follows a page of the middle to the base.
    fn trace(&self, page: Page) -> Result<Origin> {
        let block = page.strict_div(BLOCK_PAGES);
        let within = page.strict_rem(BLOCK_PAGES);
        let index = BlockIndex(u32::try_from(block).map_err(|_| no_such_page(page))?);
        if index.0 >= self.middle.block_count() {
            return Err(no_such_page(page));
        }
        let Block::Data(id) = self.middle.block(index)? else { return Ok(Origin::Zero) };
        if let Some(there) = self.base.find(&id)? {
            let first = u64::from(there.0).strict_mul(BLOCK_PAGES);
            return Ok(Origin::Base(first.strict_add(within)));
        }
        let Some((pack, entry)) = self.first.find(&id)? else {
            return Err(Error::corrupt(format!("chunk {id} is in neither bundle")));
        };
        if entry.form == Form::Whole || !fits(pack, &entry, self.base.manifest()) {
            return Ok(Origin::New);
        }
        let mut stored = Vec::new();
        pack.read_stored(&entry, &mut stored)?;
        let mut at = 0_u64;
        for step in Patch::parse(&stored)?.steps {
            let (count, found) = match step {
                Step::Zero { count } => (count, Origin::Zero),
                Step::Literal { count } => (count, Origin::New),
                Step::Copy { page, count } => {
                    (count, Origin::Base(page.strict_add(within.saturating_sub(at))))
                }
            };
            at = at.strict_add(u64::from(count));
            if within < at {
                return Ok(found);
            }
        }
        unreachable!("the steps of a patch make a whole chunk")
    }
}

/// Tells whether a chunk's stored bytes mean the same over `base` as in their own pack, which may
/// depend on the base of another volume.
fn fits(pack: &Pack, entry: &Entry, base: &Manifest) -> bool {
    entry.form == Form::Whole || pack.base().is_some_and(|own| own.root() == base.root())
}

/// Where a page of the middle comes from.
#[derive(Clone, Copy)]
enum Origin {
    Zero,
    Base(Page),
    /// The first bundle brings it.
    New,
}

fn no_such_page(page: Page) -> Error {
    Error::corrupt(format!("a patch names page {page}, which its base does not have"))
}
