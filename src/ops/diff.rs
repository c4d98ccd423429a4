//! `diff`: which blocks changed between two volumes, and how.

use std::num::NonZero;

use serde::Serialize;

use crate::digest::Digest;
use crate::digest::is_zero;
use crate::error::Result;
use crate::io::Input;
use crate::io::PAIR_PIECE_LEN;
use crate::io::PageBuffer;
use crate::manifest;
use crate::manifest::Block;
use crate::manifest::Change;
use crate::manifest::Manifest;
use crate::ops::shared::manifest::manifest_of;
use crate::ops::shared::open::Found;
use crate::ops::shared::open::RandomVolume;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::alike;
use crate::ops::shared::open::find;
use crate::ops::shared::open::open;
use crate::ops::shared::open::recorded_free;
use crate::ops::shared::reflinks::SameBytes;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::units::block_count;
use crate::volume::ReadVolume;
use crate::volume::block_hint;
use crate::work::Crew;
use crate::work::Watch;
use crate::work::default_threads;
use crate::work::in_order;

/// Blocks that one job of a direct comparison reads.
const JOB_BLOCKS: u32 = 8;

/// What is compared.
#[derive(Clone, Debug)]
pub struct DiffRequest {
    /// The older volume: an image, a snapshot manifest, or a bundle with `:DEVICE` behind it.
    pub old: VolumeRequest,
    /// The newer one.
    pub new: VolumeRequest,
    /// Whether the digests of changed blocks are wanted, for which images must be hashed.
    pub digests: bool,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl DiffRequest {
    /// Asks for the blocks that changed, without their digests, with all processors.
    #[must_use]
    pub fn new(old: VolumeRequest, new: VolumeRequest) -> Self {
        Self { old, new, digests: false, threads: default_threads() }
    }
}

/// Blocks that changed in the same way and follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangedRange {
    /// First block.
    pub first_block: u32,
    /// How many there are.
    pub block_count: u32,
    /// First byte of the volume.
    pub start_bytes: u64,
    /// First byte behind them.
    pub end_bytes: u64,
    /// State before: `data`, `zero` or `hole`.
    pub from: &'static str,
    /// State after.
    pub to: &'static str,
    /// SHA-256 of each block before and after, where it is written, if digests are wanted.
    #[serde(skip)]
    pub digests: Vec<[Option<Digest>; 2]>,
}

/// A changed block in the shape of EBS's `ListChangedBlocks`. A block's token is the SHA-256 of its
/// bytes, in base64; a block that only one of the snapshots has, has one token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListedBlock {
    /// Its index.
    pub block_index: u32,
    /// Its bytes before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_block_token: Option<String>,
    /// Its bytes after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_block_token: Option<String>,
}

impl ChangedRange {
    /// Lists its blocks as EBS does. None if digests were not asked for.
    pub fn listed(&self) -> impl Iterator<Item = ListedBlock> + '_ {
        (self.first_block..).zip(&self.digests).map(|(block_index, [before, after])| ListedBlock {
            block_index,
            first_block_token: before.map(|digest| digest.base64()),
            second_block_token: after.map(|digest| digest.base64()),
        })
    }
}

/// Blocks and bytes that changed in one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChangedSum {
    /// Ranges.
    pub ranges: u64,
    /// Blocks.
    pub blocks: u64,
    /// Bytes of the volume.
    pub bytes: u64,
}

impl ChangedSum {
    fn add(&mut self, range: &ChangedRange) {
        self.ranges = self.ranges.strict_add(1);
        self.blocks = self.blocks.strict_add(u64::from(range.block_count));
        self.bytes = self.bytes.strict_add(range.end_bytes.strict_sub(range.start_bytes));
    }
}

/// What was found, all in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiffReport {
    /// Whether nothing changed, the size neither.
    pub equal: bool,
    /// Bytes of the older volume.
    pub old_size_bytes: u64,
    /// Bytes of the newer volume.
    pub new_size_bytes: u64,
    /// Blocks of the newer volume with other data than before.
    pub data_to_data: ChangedSum,
    /// Blocks that are data now and were not.
    pub to_data: ChangedSum,
    /// Blocks that are written zeros now and were not.
    pub to_zero: ChangedSum,
    /// Blocks that are holes now and were not.
    pub to_hole: ChangedSum,
    /// All of them.
    pub changed: ChangedSum,
}

/// One side, open.
enum Side {
    Manifest(Box<Manifest>),
    Volume(Box<RandomVolume>),
}

impl Side {
    /// A bundle's manifest says what changed without a byte of its packs, and so without its base.
    fn open(request: &VolumeRequest, watch: &dyn Watch) -> Result<Self> {
        let manifest = match find(request).map_err(|error| request.fail(error))? {
            Found::Bundle(bundle) => {
                let layer = bundle.find(request.image.member.as_deref())?;
                if request.free.is_some() && request.free != layer.free {
                    return Ok(Self::Volume(Box::new(open(request, watch)?)));
                }
                bundle.manifest(layer)?
            }
            Found::Manifest => Manifest::open(&Input::open(&request.image.path)?)?,
            _ => return Ok(Self::Volume(Box::new(open(request, watch)?))),
        };
        Ok(Self::Manifest(Box::new(manifest)))
    }

    fn size(&self) -> u64 {
        match self {
            Self::Manifest(manifest) => manifest.volume_size(),
            Self::Volume(opened) => opened.volume().size(),
        }
    }

    /// Returns the manifest, which is made now for a volume.
    fn manifest(
        self,
        request: &VolumeRequest,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Box<Manifest>> {
        match self {
            Self::Manifest(manifest) => Ok(manifest),
            Self::Volume(opened) => {
                let made = manifest_of(opened.volume(), threads, watch);
                Ok(Box::new(made.map_err(|error| request.fail(error))?.manifest))
            }
        }
    }
}

/// Compares two volumes block by block, and hands each changed range to `found`, ascending.
///
/// # Errors
///
/// As [`open`], [`crate::bundle::Bundle::open`] and the manifests; as reading the volumes; whatever
/// `found` returns.
pub fn diff(
    request: &DiffRequest,
    watch: &dyn Watch,
    found: &mut dyn FnMut(&ChangedRange) -> Result<()>,
) -> Result<DiffReport> {
    // Where one of them leaves out free blocks, the other is read the same way.
    let (of_old, of_new) = (recorded_free(&request.old)?, recorded_free(&request.new)?);
    let old = Side::open(&alike(&request.old, of_new.filter(|_| of_old.is_none())), watch)?;
    let new = Side::open(&alike(&request.new, of_old.filter(|_| of_new.is_none())), watch)?;
    let sizes = (old.size(), new.size());
    let mut sum = Sum::new(sizes, found);
    match (old, new) {
        (Side::Volume(old), Side::Volume(new)) if !request.digests => {
            watch.begin(Some(sizes.0.max(sizes.1)));
            let (old, new) = (old.volume(), new.volume());
            direct(old, new, request.threads, watch, &mut |change| sum.change(change, Vec::new()))?;
            old.check_unchanged().map_err(|e| request.old.fail(e))?;
            new.check_unchanged().map_err(|e| request.new.fail(e))?;
        }
        (old, new) => {
            let read = |side: &Side| if let Side::Volume(_) = side { side.size() } else { 0 };
            let bytes = read(&old).strict_add(read(&new));
            if bytes > 0 {
                watch.begin(Some(bytes));
            }
            let old = old.manifest(&request.old, request.threads, watch)?;
            let new = new.manifest(&request.new, request.threads, watch)?;
            for change in manifest::changes(&old, &new) {
                watch.check()?;
                let change = change?;
                let digests =
                    if request.digests { digests(&old, &new, &change)? } else { Vec::new() };
                sum.change(change, digests)?;
            }
        }
    }
    Ok(sum.report)
}

/// Looks up the digests of changed blocks.
fn digests(old: &Manifest, new: &Manifest, change: &Change) -> Result<Vec<[Option<Digest>; 2]>> {
    let digest = |manifest: &Manifest, index: u32| -> Result<Option<Digest>> {
        let inside = index < manifest.block_count();
        let block = if inside { manifest.block(BlockIndex(index))? } else { Block::Hole };
        Ok(block.digest())
    };
    (change.first.0..change.end().0)
        .map(|index| Ok([digest(old, index)?, digest(new, index)?]))
        .collect()
}

/// The report under way.
struct Sum<'a> {
    report: DiffReport,
    found: &'a mut dyn FnMut(&ChangedRange) -> Result<()>,
}

impl<'a> Sum<'a> {
    fn new(sizes: (u64, u64), found: &'a mut dyn FnMut(&ChangedRange) -> Result<()>) -> Self {
        let none = ChangedSum::default();
        let report = DiffReport {
            equal: sizes.0 == sizes.1,
            old_size_bytes: sizes.0,
            new_size_bytes: sizes.1,
            data_to_data: none,
            to_data: none,
            to_zero: none,
            to_hole: none,
            changed: none,
        };
        Self { report, found }
    }

    fn change(&mut self, change: Change, digests: Vec<[Option<Digest>; 2]>) -> Result<()> {
        let size = self.report.old_size_bytes.max(self.report.new_size_bytes);
        let range = ChangedRange {
            first_block: change.first.0,
            block_count: change.count,
            start_bytes: change.first.offset(),
            end_bytes: change.end().offset().min(size),
            from: change.from.name(),
            to: change.to.name(),
            digests,
        };
        let report = &mut self.report;
        report.equal = false;
        report.changed.add(&range);
        match (change.from, change.to) {
            (ExtentKind::Data, ExtentKind::Data) => report.data_to_data.add(&range),
            (_, ExtentKind::Data) => report.to_data.add(&range),
            (_, ExtentKind::Zero) => report.to_zero.add(&range),
            (_, ExtentKind::Hole) => report.to_hole.add(&range),
        }
        (self.found)(&range)
    }
}

/// Blocks of both volumes that one worker looks at.
enum Job {
    /// None of them has bytes to be read.
    Run { first: u32, count: u32, kinds: [ExtentKind; 2] },
    /// Some may have.
    Read { first: u32, hints: Vec<[ExtentKind; 2]> },
}

/// Compares two volumes by their bytes and calls `found` for each change, ascending and joined.
fn direct(
    old: &dyn ReadVolume,
    new: &dyn ReadVolume,
    threads: NonZero<usize>,
    watch: &dyn Watch,
    found: &mut dyn FnMut(Change) -> Result<()>,
) -> Result<()> {
    let end = block_count(old.size()).max(block_count(new.size()));
    let same = SameBytes::of(old, new)?;
    let mut next = 0;
    let jobs = std::iter::from_fn(move || {
        (next < end).then(|| {
            let job = next_job(old, new, &same, next, end);
            next = match &job {
                Ok(Job::Run { count, .. }) => next.strict_add(*count),
                Ok(Job::Read { hints, .. }) => {
                    next.strict_add(u32::try_from(hints.len()).expect("a few"))
                }
                Err(_) => end,
            };
            job
        })
    });
    let mut last: Option<Change> = None;
    in_order(
        Crew::far_ahead(threads),
        watch,
        jobs,
        || Ok([PageBuffer::zeroed(PAIR_PIECE_LEN), PageBuffer::zeroed(PAIR_PIECE_LEN)]),
        |buffers, job| compare([old, new], buffers, &job),
        |(count, changes)| {
            watch.advance(u64::from(count).strict_mul(BLOCK_SIZE));
            for change in changes {
                match &mut last {
                    Some(last)
                        if last.end() == change.first
                            && (last.from, last.to) == (change.from, change.to) =>
                    {
                        last.count = last.count.strict_add(change.count);
                    }
                    other => {
                        if let Some(done) = other.replace(change) {
                            found(done)?;
                        }
                    }
                }
            }
            Ok(())
        },
    )?;
    last.map_or(Ok(()), found)
}

/// Returns what is known of a block without reading it; past the end of a volume it is a hole.
fn hint(volume: &dyn ReadVolume, index: u32) -> Result<ExtentKind> {
    let index = BlockIndex(index);
    if index.offset() < volume.size() { block_hint(volume, index) } else { Ok(ExtentKind::Hole) }
}

fn next_job(
    old: &dyn ReadVolume,
    new: &dyn ReadVolume,
    same: &SameBytes,
    first: u32,
    end: u32,
) -> Result<Job> {
    if let Some(behind) = same.blocks_from(BlockIndex(first)) {
        let count = behind.0.strict_sub(first);
        return Ok(Job::Run { first, count, kinds: [ExtentKind::Data; 2] });
    }
    let mut kinds = [ExtentKind::Hole; 2];
    let mut covered = end;
    for (kind, volume) in kinds.iter_mut().zip([old, new]) {
        let offset = BlockIndex(first).offset();
        if offset < volume.size() {
            let extent = volume.extent_at(offset)?;
            *kind = extent.kind;
            if extent.range.end < volume.size() {
                let whole = BlockIndex::holding(extent.range.end).expect("inside the volume").0;
                covered = covered.min(whole);
            } else {
                covered = covered.min(block_count(volume.size()));
            }
        }
    }
    if covered > first && !kinds.contains(&ExtentKind::Data) {
        return Ok(Job::Run { first, count: covered.strict_sub(first), kinds });
    }
    let mut stop = first.strict_add(JOB_BLOCKS).min(end);
    if let Some(same) = same.next_behind(BlockIndex(first).offset()).and_then(BlockIndex::holding) {
        stop = stop.min(same.0.max(first.strict_add(1)));
    }
    let hints = (first..stop)
        .map(|index| Ok([hint(old, index)?, hint(new, index)?]))
        .collect::<Result<_>>()?;
    let range = BlockIndex(first).offset()..BlockIndex(stop).offset();
    for volume in [old, new] {
        volume.will_need(range.clone());
    }
    Ok(Job::Read { first, hints })
}

/// Returns the blocks of a job and the changes in them.
fn compare(
    volumes: [&dyn ReadVolume; 2],
    buffers: &mut [PageBuffer; 2],
    job: &Job,
) -> Result<(u32, Vec<Change>)> {
    match job {
        Job::Run { first, count, kinds: [from, to] } => {
            let change = Change { first: BlockIndex(*first), count: *count, from: *from, to: *to };
            Ok((*count, if from == to { Vec::new() } else { vec![change] }))
        }
        Job::Read { first, hints } => {
            let mut changes = Vec::new();
            for (index, hints) in (*first..).zip(hints) {
                if let Some([from, to]) = compare_block(volumes, buffers, index, *hints)? {
                    changes.push(Change { first: BlockIndex(index), count: 1, from, to });
                }
            }
            Ok((u32::try_from(hints.len()).expect("a few"), changes))
        }
    }
}

/// Returns the states of a block if it changed.
fn compare_block(
    volumes: [&dyn ReadVolume; 2],
    buffers: &mut [PageBuffer; 2],
    index: u32,
    hints: [ExtentKind; 2],
) -> Result<Option<[ExtentKind; 2]>> {
    let mut equal = true;
    let mut zero = [true; 2];
    for piece in 0..BLOCK_LEN / PAIR_PIECE_LEN {
        let within = u64::try_from(piece.strict_mul(PAIR_PIECE_LEN)).expect("in a block");
        let offset = BlockIndex(index).offset().strict_add(within);
        for ((volume, hint), buffer) in volumes.iter().zip(hints).zip(buffers.iter_mut()) {
            if hint != ExtentKind::Data {
                continue;
            }
            let there = volume.size().saturating_sub(offset);
            let len = usize::try_from(there).unwrap_or(usize::MAX).min(PAIR_PIECE_LEN);
            buffer[len..].fill(0);
            if len > 0 {
                volume.read_at(offset, &mut buffer[..len])?;
            }
        }
        let [a, b] = &*buffers;
        if hints == [ExtentKind::Data; 2] && equal {
            equal = **a == **b;
            if equal {
                continue;
            }
        }
        for (side, buffer) in [a, b].into_iter().enumerate() {
            if hints[side] == ExtentKind::Data && zero[side] {
                zero[side] = is_zero(buffer);
            }
        }
        // Both are known to hold bytes, and to differ: nothing more can come of it.
        if !equal && zero == [false; 2] {
            break;
        }
    }
    if hints == [ExtentKind::Data; 2] && equal {
        return Ok(None);
    }
    // Pieces that were equal were not looked at for zeros; a block that differs later may have some.
    let mut kinds = hints;
    for side in 0..2 {
        if hints[side] == ExtentKind::Data && zero[side] {
            kinds[side] = kind_of(volumes[side], &mut buffers[side], index)?;
        }
    }
    let differs = kinds[0] != kinds[1] || kinds[0] == ExtentKind::Data;
    Ok(differs.then_some(kinds))
}

/// Tells data from zeros by all bytes of a block.
fn kind_of(volume: &dyn ReadVolume, buffer: &mut [u8], index: u32) -> Result<ExtentKind> {
    let range = BlockIndex(index).range(volume.size());
    let mut at = range.start;
    while at < range.end {
        let rest = usize::try_from(range.end.strict_sub(at)).expect("in a block");
        let piece = &mut buffer[..rest.min(PAIR_PIECE_LEN)];
        volume.read_at(at, piece)?;
        if !is_zero(piece) {
            return Ok(ExtentKind::Data);
        }
        at = at.strict_add(u64::try_from(piece.len()).expect("a piece"));
    }
    Ok(ExtentKind::Zero)
}
