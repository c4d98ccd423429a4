//! The journal of an in-place apply: a thin bundle of one volume, which holds every block that changes
//! as it was and as it becomes.
//!
//! The protocol is `docs/formats/in-place.md`.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use crate::ami::Ami;
use crate::bundle::Bundle;
use crate::bundle::Snapshot;
use crate::bundle::VolumeWriter;
use crate::bundle::Writer;
use crate::chunking;
use crate::chunking::Patcher;
use crate::chunking::Source;
use crate::chunking::States;
use crate::chunking::Store;
use crate::compress::Encoder;
use crate::compress::GroupEncoder;
use crate::digest::Digest;
use crate::digest::Lanes;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::manifest;
use crate::manifest::Block;
use crate::manifest::Cursor;
use crate::manifest::Manifest;
use crate::ops::apply::changes::Delta;
use crate::ops::apply::changes::JOB_BLOCKS;
use crate::ops::apply::proof::Between;
use crate::ops::apply::proof::Sides;
use crate::ops::shared::manifest::MadeManifest;
use crate::ops::shared::packing::BundleSink;
use crate::pack::DEFAULT_PACK_SIZE;
use crate::pack::Form;
use crate::pack::KnownChunks;
use crate::pack::Region;
use crate::pack::Stored;
use crate::pack::hash_chunks;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::volume::ReadVolume;
use crate::work::Watch;
use crate::work::in_order;

/// Level at which the chunks of a journal are compressed: it is written once and read once.
const LEVEL: i32 = 1;

/// Chunks of a group of a journal: a proof reads a few of them at any place.
const GROUP_CHUNKS: u32 = 8;

/// Bytes that a disk writes whole or not at all.
const SECTOR_LEN: usize = 512;

/// A journal, open: whole, and made for the change between two snapshots.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) path: PathBuf,
    pub(super) device: String,
    /// The volume before. Only blocks that change can be read.
    pub(super) old: Snapshot,
    /// The volume after. Only blocks that change can be read.
    pub(super) new: Snapshot,
}

impl Journal {
    /// Opens the journal at `path`.
    ///
    /// # Errors
    ///
    /// As [`Bundle::open`]; `Corrupt` if a block that changes is not in it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let bundle = Bundle::open(path)?;
        let Delta { layer, old, new, .. } = Delta::find(&bundle, None)?;
        let chunks = Arc::new(bundle.chunks()?);
        let journal = Self {
            path: path.to_owned(),
            device: layer.device,
            old: Snapshot::new(old, Arc::clone(&chunks)),
            new: Snapshot::new(new, chunks),
        };
        journal.check_whole().map_err(|e| e.in_file(path))?;
        Ok(journal)
    }

    /// Returns the manifests of what is written over, and of what is written.
    pub(super) fn sides(&self) -> Sides<'_> {
        Sides { old: self.old.manifest(), new: self.new.manifest() }
    }

    /// Looks every block that changes up in the packs.
    fn check_whole(&self) -> Result<()> {
        let (mut old, mut new) = (Cursor::new(self.sides().old), Cursor::new(self.sides().new));
        for change in manifest::changes(self.sides().old, self.sides().new) {
            let change = change?;
            for index in (change.first.0..change.end().0).map(BlockIndex) {
                for block in [old.block(index)?, new.block(index)?] {
                    let Block::Data(id) = block else { continue };
                    let found = self.new.chunks().find(&id)?;
                    if !found.is_some_and(|(pack, it)| pack.group_of(&it).form == Form::Whole) {
                        let text = format!("the journal lacks the chunk {id} of block {index}");
                        return Err(Error::corrupt(text));
                    }
                }
            }
        }
        Ok(())
    }

    /// Joins the journal with the image, to say what lies between the old and the new one.
    pub(super) fn beside<'a>(&'a self, image: &'a dyn ReadVolume) -> impl Between + 'a {
        Beside { journal: self, image }
    }
}

struct Beside<'a> {
    journal: &'a Journal,
    image: &'a dyn ReadVolume,
}

impl Beside<'_> {
    /// Reads a block padded with zeros, as it is in a snapshot that may end before it.
    fn block(snapshot: &Snapshot, index: BlockIndex) -> Result<Vec<u8>> {
        let mut plain = vec![0; BLOCK_LEN];
        if let Block::Data(id) = Cursor::new(snapshot.manifest()).block(index)? {
            snapshot.chunks().read(&[id], &mut plain, &mut snapshot.chunks().reader())?;
        }
        Ok(plain)
    }
}

impl Between for Beside<'_> {
    fn is_between(&self, index: BlockIndex) -> Result<bool> {
        let found = read_padded(self.image, index, 1)?;
        let there = self.image.size().saturating_sub(index.offset());
        let len = usize::try_from(there).unwrap_or(BLOCK_LEN).min(BLOCK_LEN);
        let (old, new) =
            (Self::block(&self.journal.old, index)?, Self::block(&self.journal.new, index)?);
        let sectors = |bytes: &'_ [u8]| -> Vec<Vec<u8>> {
            bytes[..len].chunks(SECTOR_LEN).map(<[u8]>::to_vec).collect()
        };
        let (found, old, new) = (sectors(&found), sectors(&old), sectors(&new));
        Ok(found.iter().zip(&old).zip(&new).all(|((found, old), new)| found == old || found == new))
    }
}

/// Reads `count` blocks from `first` on; behind the volume there are zeros.
fn read_padded(volume: &dyn ReadVolume, first: BlockIndex, count: u32) -> Result<Vec<u8>> {
    let count = usize::try_from(count).expect("a few blocks");
    let mut plain = vec![0; count.strict_mul(BLOCK_LEN)];
    let there = volume.size().saturating_sub(first.offset());
    let len = usize::try_from(there).unwrap_or(plain.len()).min(plain.len());
    if len > 0 {
        volume.read_at(first.offset(), &mut plain[..len])?;
    }
    Ok(plain)
}

/// Stores each block that changes whole, wherever its bytes come from.
#[derive(Debug)]
struct Flat<'a> {
    old: &'a Manifest,
}

impl Patcher for Flat<'_> {
    /// A chunk that has only moved must be stored: its old place may be written over first.
    fn has(&self, index: BlockIndex, id: &Digest) -> Result<bool> {
        Ok(index.0 < self.old.block_count() && self.old.block(index)? == Block::Data(*id))
    }

    fn append(
        &self,
        _index: BlockIndex,
        _plain: &[u8],
        _whole: &mut Encoder,
        _out: &mut Vec<u8>,
    ) -> Result<bool> {
        Ok(false)
    }
}

/// The image as it is when the run begins.
pub(super) struct Standing<'a> {
    pub(super) volume: &'a dyn ReadVolume,
    /// Its manifest, where that is not the old snapshot's: the image still has blocks that the snapshot leaves out.
    pub(super) made: Option<&'a MadeManifest>,
}

/// Writes the journal at `path`: it is whole and on the disk, or not there, when this returns. `bundle` is
/// over `image`, read as the old volume.
///
/// # Errors
///
/// As reading the bundle and the image; `Io` if the journal cannot be written.
pub(super) fn write_journal(
    path: &Path,
    bundle: &Bundle,
    delta: &Delta,
    image: &Standing<'_>,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<()> {
    let snapshot = bundle.snapshot(Some(&delta.layer.device))?;
    let mut writer = Writer::create(path, DEFAULT_PACK_SIZE, watch)?;
    let old = image.made.map_or(&delta.old, |made| &made.manifest);
    let root = old.root();
    if let Some(made) = image.made {
        writer.lean_on_manifest(&made.bytes, &made.summary)?;
    } else {
        let base = bundle.bases().iter().find(|it| it.root == root);
        writer.lean_on_base_of(bundle, base.expect("it was found before"), watch)?;
    }
    let sides = Sides { old, new: &delta.new };
    let known = RwLock::default();
    let flat = Flat { old };
    let options = chunking::Options {
        threads,
        watch,
        states: States::default(),
        store: Some(Store {
            level: LEVEL,
            group_chunks: GROUP_CHUNKS,
            region_blocks: 0,
            known: &known,
            patcher: Some(&flat),
        }),
    };
    let scratch = writer.scratch()?;
    let mut sink = BundleSink { volume: writer.volume(&scratch, Some(root)) };
    let size = chunking::run(Source::Volume(&snapshot), &options, &mut sink)?;
    keep_old(sides, image.volume, &mut sink.volume, &known, threads, watch)?;
    sink.volume.finish(&delta.layer.device, size)?;
    writer.finish(&alone(bundle.ami(), &delta.layer.device), watch)?;
    Ok(())
}

/// Stores what the blocks that change were: for the proof of a block that was written in part, and for
/// undoing.
fn keep_old(
    sides: Sides<'_>,
    image: &dyn ReadVolume,
    out: &mut VolumeWriter<'_>,
    known: &RwLock<KnownChunks>,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<()> {
    let mut blocks = Cursor::new(sides.old);
    let end = sides.old.block_count();
    let jobs = manifest::changes(sides.old, sides.new).flat_map(|change| match change {
        Ok(change) => runs(change.first.0, change.end().0.min(end)).map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    });
    let jobs = jobs.map(move |job| {
        let (first, count) = job?;
        let ids = (first..first.strict_add(count)).map(|index| blocks.block(BlockIndex(index)));
        Ok((BlockIndex(first), ids.collect::<Result<Vec<_>>>()?))
    });
    in_order(
        threads,
        watch,
        jobs,
        || Ok((Lanes::new(0), GroupEncoder::new(LEVEL, BLOCK_LEN)?)),
        |(lanes, encoder), (first, blocks)| {
            old_chunks(image, first, &blocks, known, lanes, encoder)
        },
        |chunks: Vec<(Digest, Vec<u8>)>| {
            for (id, frame) in chunks {
                let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
                if !known.contains(&id) {
                    known.insert(id);
                    let group = Stored { form: Form::Whole, ids: &[id], bytes: &frame };
                    out.store(Region::default(), group)?;
                }
            }
            Ok(())
        },
    )
}

/// Cuts blocks into jobs.
fn runs(first: u32, end: u32) -> impl Iterator<Item = (u32, u32)> {
    let step = usize::try_from(JOB_BLOCKS).expect("a few");
    (first..end).step_by(step).map(move |at| (at, end.strict_sub(at).min(JOB_BLOCKS)))
}

/// Compresses the chunks of some blocks of the image that are not known yet, each checked.
fn old_chunks(
    image: &dyn ReadVolume,
    first: BlockIndex,
    blocks: &[Block],
    known: &RwLock<KnownChunks>,
    lanes: &mut Lanes,
    encoder: &mut GroupEncoder,
) -> Result<Vec<(Digest, Vec<u8>)>> {
    if !blocks.iter().any(|block| matches!(block, Block::Data(_))) {
        return Ok(Vec::new());
    }
    let plain = read_padded(image, first, u32::try_from(blocks.len()).expect("a few"))?;
    let mut found = vec![Digest([0; 32]); blocks.len()];
    hash_chunks(lanes, &plain, &mut found);
    let mut chunks = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        let Block::Data(id) = *block else { continue };
        if found[number] != id {
            return Err(Error::new(Kind::Io, "its contents changed while it was read"));
        }
        if !known.read().unwrap_or_else(PoisonError::into_inner).contains(&id) {
            let mut frame = Vec::new();
            encoder.encode(
                &plain[number.strict_mul(BLOCK_LEN)..][..BLOCK_LEN],
                &mut frame,
                &mut || Ok(()),
            )?;
            chunks.push((id, frame));
        }
    }
    Ok(chunks)
}

/// Returns the description with one device, which is the root then.
fn alone(ami: &Ami, device: &str) -> Ami {
    let mut ami = ami.clone();
    ami.block_device_mappings.retain(|mapping| mapping.device_name == device);
    device.clone_into(&mut ami.root_device_name);
    ami
}

const _: () = assert!(BLOCK_SIZE.is_multiple_of(512), "a block is whole sectors");
