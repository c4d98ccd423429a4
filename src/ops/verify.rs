//! `verify`: whether a bundle is what it says, and every place where it is not.

use std::num::NonZero;
use std::path::PathBuf;

use crate::bundle::Bundle;
use crate::bundle::SnapshotLayer;
use crate::chunking;
use crate::chunking::Sink;
use crate::chunking::States;
use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::Manifest;
use crate::ops::shared::likeness::base_notes;
use crate::ops::shared::likeness::states_note;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::alike;
use crate::ops::shared::open::open_in_order;
use crate::ops::shared::open::over_base;
use crate::ops::shared::order::is_bundle;
use crate::ops::shared::order::swapped;
use crate::ops::shared::trust::TrustRequest;
use crate::ops::shared::trust::open_checked;
use crate::ops::shared::verification::BlockRange;
use crate::ops::shared::verification::Depth;
use crate::ops::shared::verification::Difference;
use crate::ops::shared::verification::VerifyReport;
use crate::ops::shared::verification::verify_bundle;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::work::Watch;
use crate::work::default_threads;

/// An image that a snapshot must equal.
#[derive(Clone, Debug)]
pub struct Against {
    /// Device of the AMI; the root device where the user names none.
    pub device: Option<String>,
    /// The image.
    pub image: VolumeRequest,
}

impl Against {
    /// Holds an image against the root volume.
    #[must_use]
    pub fn new(image: VolumeRequest) -> Self {
        Self { device: None, image }
    }
}

/// What is verified, and how far.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// The bundle.
    pub bundle: PathBuf,
    /// Check stored bytes only: decompress nothing.
    pub quick: bool,
    /// What a thin bundle depends on: a bundle or an image.
    pub base: Option<VolumeRequest>,
    /// Images whose bytes snapshots must equal.
    pub against: Vec<Against>,
    /// Who has to vouch for the bundle; anyone may have made it otherwise.
    pub trust: Option<TrustRequest>,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl VerifyRequest {
    /// Asks for a look through all bytes of a bundle, with all processors.
    #[must_use]
    pub fn new(bundle: impl Into<PathBuf>) -> Self {
        let threads = default_threads();
        Self {
            bundle: bundle.into(),
            quick: false,
            base: None,
            against: Vec::new(),
            trust: None,
            threads,
        }
    }
}

/// Verifies a bundle, and images against it.
///
/// Damage to snapshots and chunks is not an error: it is what the report is for.
///
/// # Errors
///
/// As [`crate::bundle::Bundle::open`] if the bundle's documents themselves are damaged; as
/// [`open_in_order`] and [`chunking::run`] for the images; `Interrupted` on request.
pub fn verify(request: &VerifyRequest, watch: &dyn Watch) -> Result<VerifyReport> {
    let base = request.base.as_ref();
    let trusted = open_checked(&request.bundle, request.trust.as_ref(), base, watch);
    let trusted = trusted.map_err(|error| match &request.against[..] {
        [against] if !is_bundle(&request.bundle) => {
            swapped(error, &request.bundle, &against.image.typed(), is_bundle)
        }
        _ => error,
    })?;
    let bundle = over_base(trusted.bundle, base, request.threads, watch)?;
    let depth = Depth { quick: request.quick, threads: request.threads };
    let verified = verify_bundle(&bundle, depth, watch)?;
    let mut report = verified.report;
    report.signatures = trusted.vouchers;
    report.notes.extend(trusted.notes);
    report.notes.extend(base_notes(&bundle));
    report.notes.extend(strangers_note(&bundle)?);
    for against in &request.against {
        let layer = bundle.find(against.device.as_deref())?;
        let readable = verified.manifests.iter().find(|(it, _)| it.device == layer.device);
        // A manifest that cannot be read is in the report already.
        let Some((_, manifest)) = readable else { continue };
        let (mut differences, note) = compare(layer, manifest, against, request, watch)?;
        report.differences.append(&mut differences);
        report.notes.extend(note);
    }
    report.sound &= report.differences.is_empty();
    Ok(report)
}

/// Most files that a note names.
const MOST_NAMED: usize = 10;

/// Names what lies among the bundle's files and is not one of them: it does no harm, and takes up room.
fn strangers_note(bundle: &Bundle) -> Result<Option<String>> {
    let strangers = bundle.strangers()?;
    let (named, more) = strangers.split_at(strangers.len().min(MOST_NAMED));
    let named: Vec<_> = named.iter().map(|name| format!("{name:?}")).collect();
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    Ok((!named.is_empty()).then(|| {
        format!("the folder holds files that are not the bundle's: {}{more}", named.join(", "))
    }))
}

/// Verifies a bundle that is open, wherever its files are.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_opened(
    bundle: &Bundle,
    quick: bool,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<VerifyReport> {
    Ok(verify_bundle(bundle, Depth { quick, threads }, watch)?.report)
}

/// Compares a snapshot with an image, block by block. Blocks with the same bytes in another state are not
/// a difference: how many there are is a note.
fn compare(
    layer: &SnapshotLayer,
    manifest: &Manifest,
    against: &Against,
    request: &VerifyRequest,
    watch: &dyn Watch,
) -> Result<(Vec<Difference>, Option<String>)> {
    let device = &layer.device;
    let mut source = open_in_order(&alike(&against.image, layer.free), watch)?;
    let mut sink =
        CompareSink { device, manifest, next: 0, differences: Vec::new(), other_states: 0 };
    let options = chunking::Options {
        threads: request.threads,
        watch,
        states: States::default(),
        store: None,
    };
    let size = chunking::run(source.blocks(), &options, &mut sink)
        .map_err(|error| against.image.fail(error))?;
    let expected = manifest.volume_size();
    if size != expected {
        let (first, count) = (manifest.block_count(), sink.next.max(manifest.block_count()));
        let blocks = BlockRange {
            device: device.to_owned(),
            first_block: first.min(sink.next),
            block_count: count.strict_sub(first.min(sink.next)),
            start_bytes: size.min(expected),
            end_bytes: size.max(expected),
        };
        let (bundle, image) =
            if size < expected { ("there", "past the end") } else { ("past the end", "there") };
        sink.differences.push(Difference { blocks, bundle, image });
    }
    Ok((sink.differences, states_note(sink.other_states)))
}

/// A sink that holds an image's blocks against a manifest.
struct CompareSink<'a> {
    device: &'a str,
    manifest: &'a Manifest,
    next: u32,
    differences: Vec<Difference>,
    /// Blocks, all zeros, that are a hole in one and were written in the other.
    other_states: u64,
}

impl CompareSink<'_> {
    fn differ(&mut self, count: u32, bundle: &'static str, image: &'static str) {
        let size = self.manifest.volume_size();
        if let Some(last) = self.differences.last_mut()
            && (last.bundle, last.image) == (bundle, image)
            && last.blocks.first_block.strict_add(last.blocks.block_count) == self.next
        {
            let (first, before) = (last.blocks.first_block, last.blocks.block_count);
            last.blocks = BlockRange::new(self.device, first, before.strict_add(count), size);
            return;
        }
        let blocks = BlockRange::new(self.device, self.next, count, size);
        self.differences.push(Difference { blocks, bundle, image });
    }
}

impl Sink for CompareSink<'_> {
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        let end = self.next.strict_add(count);
        while self.next < end.min(self.manifest.block_count()) {
            let (stored, stop) = self.manifest.run_at(BlockIndex(self.next))?;
            let count = stop.0.min(end).strict_sub(self.next);
            if stored == ExtentKind::Data {
                self.differ(count, stored.name(), kind.name());
            } else if stored != kind {
                self.other_states = self.other_states.strict_add(count.into());
            }
            self.next = self.next.strict_add(count);
        }
        self.next = end;
        Ok(())
    }

    fn data(&mut self, id: Digest) -> Result<()> {
        if self.next < self.manifest.block_count() {
            match self.manifest.block(BlockIndex(self.next))? {
                Block::Data(stored) if stored == id => {}
                Block::Data(_) => self.differ(1, "data", "other data"),
                other => self.differ(1, other.kind().name(), "data"),
            }
        }
        self.next = self.next.strict_add(1);
        Ok(())
    }
}
