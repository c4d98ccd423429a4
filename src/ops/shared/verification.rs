//! Whether a bundle is what it says, and every place where it is not.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Arc;

use serde::Serialize;

use crate::bundle::BaseSnapshot;
use crate::bundle::Bundle;
use crate::bundle::OpenedPacks;
use crate::bundle::SnapshotLayer;
use crate::digest::Digest;
use crate::digest::Sha256;
use crate::digest::sha256;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::GROUP_BLOCKS;
use crate::manifest::Manifest;
use crate::manifest::ManifestFault;
use crate::ops::shared::trust::Voucher;
use crate::pack::Base;
use crate::pack::ChunkReader;
use crate::pack::Chunks;
use crate::pack::Entry;
use crate::pack::Form;
use crate::pack::GroupReader;
use crate::pack::Pack;
use crate::units::BLOCK_LEN;
use crate::units::BlockIndex;
use crate::work::Watch;
use crate::work::in_order;

/// Blocks of a volume that follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockRange {
    /// Device of the AMI.
    pub device: String,
    /// First block.
    pub first_block: u32,
    /// How many there are.
    pub block_count: u32,
    /// First byte of the volume.
    pub start_bytes: u64,
    /// First byte behind them.
    pub end_bytes: u64,
}

impl BlockRange {
    pub(in crate::ops) fn new(device: &str, first: u32, count: u32, volume_size: u64) -> Self {
        let end = BlockIndex(first.strict_add(count)).offset().min(volume_size);
        Self {
            device: device.to_owned(),
            first_block: first,
            block_count: count,
            start_bytes: BlockIndex(first).offset(),
            end_bytes: end,
        }
    }

    /// Takes the block in, if it is the next one.
    fn extend(&mut self, device: &str, block: u32, volume_size: u64) -> bool {
        let next = self.first_block.strict_add(self.block_count);
        if self.device != device || next != block {
            return false;
        }
        *self = Self::new(device, self.first_block, self.block_count.strict_add(1), volume_size);
        true
    }
}

/// One thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// What it is: `index`, `chunk`, `pack`, `manifest` or `group`.
    pub what: &'static str,
    /// The chunk, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<Digest>,
    /// What is wrong, with the file and the place.
    pub error: String,
    /// The blocks that cannot be restored because of it.
    pub blocks: Vec<BlockRange>,
}

/// Blocks of a volume that are not those of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where.
    #[serde(flatten)]
    pub blocks: BlockRange,
    /// State in the bundle.
    pub bundle: &'static str,
    /// State in the image.
    pub image: &'static str,
}

/// What a thin bundle leaves to its base. It is not damage, and it was not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Root digests of the snapshots that it depends on.
    pub bases: Vec<Digest>,
    /// Digests of the packs that are left out.
    pub packs: Vec<Digest>,
    /// Chunks that only the base has, counted once for each block.
    pub base_blocks: u64,
    /// Chunks whose stored bytes were checked, but not what they make with the base's pages.
    pub patched_chunks: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Whether nothing is wrong.
    pub sound: bool,
    /// Whether stored bytes only were checked.
    pub quick: bool,
    /// The bundle's digest.
    pub digest: Digest,
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Packs looked at.
    pub packs: u64,
    /// Chunks checked.
    pub chunks: u64,
    /// Stored bytes of the packs.
    pub stored_bytes: u64,
    /// What a thin bundle leaves to its base, if nobody has named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// What the user should know although it is not damage: sentences without a full stop.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The trusted signatures, where one was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<Voucher>,
    /// Every damage found.
    pub damage: Vec<Damage>,
    /// What the system would not let us read, or what may be in there: whether it is damaged is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Damage>,
    /// Every difference to the images found.
    pub differences: Vec<Difference>,
}

/// A bundle that was looked through.
pub(in crate::ops) struct Verified {
    pub(in crate::ops) report: VerifyReport,
    /// The manifests that can be read.
    pub(in crate::ops) manifests: Vec<(SnapshotLayer, Manifest)>,
}

/// How far a bundle is looked through.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Depth {
    /// Check stored bytes only: decompress nothing.
    pub(in crate::ops) quick: bool,
    /// Threads to work on.
    pub(in crate::ops) threads: NonZero<usize>,
}

/// Looks through a bundle. Damage to snapshots and chunks is not an error: it is what the report is
/// for.
///
/// # Errors
///
/// `Interrupted` on request.
pub(in crate::ops) fn verify_bundle(
    bundle: &Bundle,
    depth: Depth,
    watch: &dyn Watch,
) -> Result<Verified> {
    verify_bundle_but(bundle, depth, &BTreeSet::new(), watch)
}

/// As [`verify_bundle`], without checking the packs of `sound` again.
///
/// # Errors
///
/// `Interrupted` on request.
pub(in crate::ops) fn verify_bundle_but(
    bundle: &Bundle,
    depth: Depth,
    sound: &BTreeSet<Digest>,
    watch: &dyn Watch,
) -> Result<Verified> {
    let stored: u64 = bundle.packs().iter().map(|pack| pack.blob.size).sum();
    watch.begin(Some(stored.saturating_mul(2)));
    let mut check = Check {
        bundle,
        depth,
        sound,
        watch,
        notes: Vec::new(),
        damage: Vec::new(),
        unreadable: Vec::new(),
        chunks: BTreeMap::new(),
        unreadable_chunks: BTreeMap::new(),
        hidden: false,
        checked: 0,
        missing: Missing::default(),
    };
    check.index();
    let opened = check.packs()?;
    let manifests = check.manifests()?;
    let checked = check.checked;
    let chunks = opened.chunks();
    for (layer, manifest) in &manifests {
        check.restorable(layer, manifest, &chunks, &opened.bases)?;
    }
    let missing = check.missing;
    let (mut damage, mut unreadable) = (check.damage, check.unreadable);
    damage.extend(check.chunks.into_values());
    unreadable.extend(check.unreadable_chunks.into_values());
    let report = VerifyReport {
        sound: damage.is_empty() && unreadable.is_empty(),
        quick: depth.quick,
        digest: bundle.digest(),
        snapshots: u64::try_from(bundle.snapshots().len()).expect("a few"),
        packs: u64::try_from(bundle.packs().len()).expect("a few"),
        chunks: checked,
        stored_bytes: stored,
        missing: (!missing.bases.is_empty()).then_some(missing),
        notes: check.notes,
        signatures: Vec::new(),
        damage,
        unreadable,
        differences: Vec::new(),
    };
    Ok(Verified { report, manifests })
}

/// A verification under way.
struct Check<'a> {
    bundle: &'a Bundle,
    depth: Depth,
    /// Packs that are known to be sound.
    sound: &'a BTreeSet<Digest>,
    watch: &'a dyn Watch,
    notes: Vec<String>,
    damage: Vec<Damage>,
    unreadable: Vec<Damage>,
    /// Chunks that are damaged or missing.
    chunks: BTreeMap<Digest, Damage>,
    /// Chunks that cannot be read.
    unreadable_chunks: BTreeMap<Digest, Damage>,
    /// Whether something that may have chunks cannot be read.
    hidden: bool,
    checked: u64,
    missing: Missing,
}

/// A part of the packs that one worker checks.
enum Job<'a> {
    /// The digest of a whole pack.
    Blob(usize),
    /// One of its groups, and the ids of its chunks.
    Group(&'a Pack, u16, &'a [Digest]),
}

/// Chunks that are damaged, and in which way.
type Damaged = Vec<(Digest, Arc<Error>)>;

/// What a worker found.
enum Found {
    Blob(usize, Result<()>),
    Chunks(u64, Damaged),
}

impl Check<'_> {
    /// Checks the one document that no digest covers.
    fn index(&mut self) {
        match self.bundle.check_index() {
            Ok(note) => self.notes.extend(note),
            Err(error) => self.add("index", &error, Vec::new()),
        }
    }

    /// Opens all packs, and says which cannot be.
    fn open(&mut self) -> OpenedPacks {
        let mut opened = match self.bundle.open_packs() {
            Ok(opened) => opened,
            Err(error) => {
                self.hidden = error.kind() == Kind::Io;
                self.add("manifest", &error, Vec::new());
                OpenedPacks::default()
            }
        };
        let packs = self.bundle.packs();
        self.missing.packs = opened.absent.iter().map(|at| packs[*at].blob.digest).collect();
        self.missing.bases = opened
            .bases
            .iter()
            .filter(|base| base.is_absent())
            .map(|base| base.manifest().root())
            .collect();
        for (_, error) in std::mem::take(&mut opened.broken) {
            self.hidden |= error.kind() == Kind::Io;
            self.add("pack", &error, Vec::new());
        }
        opened
    }

    /// Checks all packs and returns those that can be read.
    fn packs(&mut self) -> Result<OpenedPacks> {
        let opened = self.open();
        let all = self.bundle.packs();
        let unknown = |number: &usize| !self.sound.contains(&all[*number].blob.digest);
        let checked_now = || opened.packs.iter().filter(|(number, _)| unknown(number));
        let packs: Vec<&Pack> = checked_now().map(|(_, pack)| &**pack).collect();
        let there: Vec<usize> = checked_now().map(|(number, _)| *number).collect();
        let mut ids = Vec::new();
        for pack in &packs {
            ids.push(pack.ids()?);
            if pack.base().is_some_and(Base::is_absent) {
                let patched = pack.groups().iter().filter(|it| it.form == Form::Patched).count();
                let patched = u64::try_from(patched).expect("at most 65,536");
                self.missing.patched_chunks = self.missing.patched_chunks.strict_add(patched);
            }
        }
        let blobs = there.iter().map(|number| Job::Blob(*number));
        let groups = packs.iter().zip(&ids).flat_map(|(pack, ids)| {
            let mut rest = &ids[..];
            (0..).zip(pack.groups()).map(move |(number, group)| {
                let (own, behind) = rest.split_at(usize::from(group.chunks));
                rest = behind;
                Job::Group(pack, number, own)
            })
        });
        let (bundle, quick, watch) = (self.bundle, self.depth.quick, self.watch);
        let cache = &opened.cache;
        let mut blob_errors = Vec::new();
        let mut chunk_errors = Vec::new();
        let mut count_checked = 0_u64;
        in_order(
            self.depth.threads,
            watch,
            blobs.chain(groups).map(Ok),
            || Ok((GroupReader::new()?, None)),
            |(groups, chunks), job| {
                let found = match job {
                    Job::Blob(number) => {
                        let blob = &bundle.packs()[number].blob;
                        Found::Blob(number, bundle.check_blob(blob, watch))
                    }
                    Job::Group(pack, number, ids) => {
                        let count = u64::try_from(ids.len()).expect("at most 128");
                        let patched = pack.groups()[usize::from(number)].form == Form::Patched;
                        let unknown = pack.base().is_some_and(Base::is_absent);
                        let damaged = if quick || (patched && unknown) {
                            checked(groups.check_stored(pack, number), ids)
                        } else if patched {
                            let reader = chunks.get_or_insert_with(|| ChunkReader::new(cache));
                            check_patch(pack, number, ids, reader)
                        } else {
                            check_group(pack, number, ids, groups)
                        };
                        Found::Chunks(count, damaged)
                    }
                };
                Ok(found)
            },
            |found| {
                match found {
                    Found::Blob(number, result) => {
                        watch.advance(bundle.packs()[number].blob.size);
                        match result {
                            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                            Err(error) => blob_errors.push(error),
                            Ok(()) => {}
                        }
                    }
                    Found::Chunks(count, errors) => {
                        count_checked = count_checked.strict_add(count);
                        chunk_errors.extend(errors);
                    }
                }
                Ok(())
            },
        )?;
        self.checked = count_checked;
        for error in blob_errors {
            self.add("pack", &error, Vec::new());
        }
        for (id, error) in chunk_errors {
            self.chunk(id, &error);
        }
        Ok(opened)
    }

    /// Checks all manifests and returns those that can be read.
    fn manifests(&mut self) -> Result<Vec<(SnapshotLayer, Manifest)>> {
        let mut manifests = Vec::new();
        for base in self.bundle.bases() {
            if let Err(error) = self.bundle.check_blob(&base.blob, self.watch) {
                self.add("manifest", &error, Vec::new());
            }
        }
        for layer in self.bundle.snapshots() {
            self.watch.check()?;
            if let Err(error) = self.bundle.check_blob(&layer.blob, self.watch) {
                self.add("manifest", &error, Vec::new());
            }
            match self.bundle.manifest(layer) {
                Ok(manifest) => manifests.push((layer.clone(), manifest)),
                Err(error) => self.add("manifest", &error, Vec::new()),
            }
        }
        Ok(manifests)
    }

    /// Looks up every chunk that a snapshot needs, and notes the blocks of those that are lost.
    fn restorable(
        &mut self,
        layer: &SnapshotLayer,
        manifest: &Manifest,
        chunks: &Chunks,
        bases: &[Arc<BaseSnapshot>],
    ) -> Result<()> {
        let size = manifest.volume_size();
        // The aggregate of a manifest with a damaged group says nothing more.
        let mut linear = (!self.depth.quick).then(Sha256::new);
        for entry in manifest.entries() {
            self.watch.check()?;
            let entry = entry?;
            let group = if self.depth.quick {
                manifest.group(&entry)
            } else {
                manifest.verified_group(&entry)
            };
            let first = entry.group.strict_mul(GROUP_BLOCKS);
            let group = match group {
                Ok(group) => group,
                Err(error) => {
                    let count = manifest.block_count().strict_sub(first).min(GROUP_BLOCKS);
                    let blocks = vec![BlockRange::new(&layer.device, first, count, size)];
                    self.add("group", &error, blocks);
                    linear = None;
                    continue;
                }
            };
            for bit in 0..GROUP_BLOCKS {
                let block = group.block(bit);
                if let (Some(linear), Some(digest)) = (&mut linear, block.digest()) {
                    linear.update(&digest.0);
                }
                let Block::Data(id) = block else { continue };
                if !self.is_known(&id) && chunks.find(&id)?.is_none() {
                    self.in_base(id, bases)?;
                }
                if let Some(damage) = self.known_mut(&id) {
                    let block = group.index(bit).0;
                    let last = damage.blocks.last_mut();
                    if !last.is_some_and(|range| range.extend(&layer.device, block, size)) {
                        damage.blocks.push(BlockRange::new(&layer.device, block, 1, size));
                    }
                }
            }
        }
        if linear.is_some_and(|linear| linear.finish() != manifest.header().linear) {
            let error = ManifestFault::Digest { of: "LINEAR aggregate" }.into();
            self.add("manifest", &error, Vec::new());
        }
        Ok(())
    }

    /// Looks up a chunk that no pack has in what the bundle depends on.
    fn in_base(&mut self, id: Digest, bases: &[Arc<BaseSnapshot>]) -> Result<()> {
        for base in bases {
            if base.find(&id)?.is_some() {
                if base.is_absent() {
                    self.missing.base_blocks = self.missing.base_blocks.strict_add(1);
                }
                return Ok(());
            }
        }
        let error = if self.hidden {
            Error::new(Kind::Io, "no pack that can be read has the chunk")
        } else {
            Error::corrupt("no intact pack of the bundle has the chunk")
        };
        self.chunk(id, &error);
        Ok(())
    }

    fn is_known(&self, id: &Digest) -> bool {
        self.chunks.contains_key(id) || self.unreadable_chunks.contains_key(id)
    }

    fn known_mut(&mut self, id: &Digest) -> Option<&mut Damage> {
        self.chunks.get_mut(id).or_else(|| self.unreadable_chunks.get_mut(id))
    }

    /// Notes something: what the system refuses to read is not damaged for that.
    fn add(&mut self, what: &'static str, error: &Error, blocks: Vec<BlockRange>) {
        let list = match error.kind() {
            Kind::Io => &mut self.unreadable,
            _ => &mut self.damage,
        };
        list.push(Damage { what, chunk: None, error: error.to_string(), blocks });
    }

    fn chunk(&mut self, id: Digest, error: &Error) {
        let map = match error.kind() {
            Kind::Io => &mut self.unreadable_chunks,
            _ => &mut self.chunks,
        };
        let error = error.to_string();
        let damage = Damage { what: "chunk", chunk: Some(id), error, blocks: Vec::new() };
        map.entry(id).or_insert(damage);
    }
}

/// Names each chunk of a group if there was a failure: what damages a group damages all of them.
fn checked(result: Result<()>, ids: &[Digest]) -> Damaged {
    match result {
        Ok(()) => Vec::new(),
        Err(error) => {
            let error = Arc::new(error);
            ids.iter().map(|id| (*id, Arc::clone(&error))).collect()
        }
    }
}

/// Compares the chunks of a group with their ids, and returns those that are damaged.
fn check_ids(pack: &Pack, ids: &[Digest], found: &[Digest]) -> Damaged {
    let differ = ids.iter().zip(found).filter(|(id, found)| id != found);
    let differ = differ.map(|(id, found)| {
        let text = format!("the chunk's SHA-256 is {found}, expected {id}");
        (*id, Arc::new(Error::new(Kind::Mismatch, text).in_file(pack.input().path())))
    });
    differ.collect()
}

/// Checks a whole group and returns the chunks that are damaged.
fn check_group(pack: &Pack, number: u16, ids: &[Digest], reader: &mut GroupReader) -> Damaged {
    match reader.decode(pack, number).map(drop) {
        Ok(()) => check_ids(pack, ids, &reader.ids()),
        failed => checked(failed, ids),
    }
}

/// Checks a patched chunk, together with the pages of its base.
fn check_patch(pack: &Pack, number: u16, ids: &[Digest], reader: &mut ChunkReader) -> Damaged {
    let mut plain = vec![0; BLOCK_LEN];
    let entry = Entry { id: ids[0], group: number, position: 0 };
    match reader.read(pack, &entry, 0, &mut plain) {
        Ok(()) => check_ids(pack, ids, &[sha256(&plain)]),
        failed => checked(failed, ids),
    }
}
