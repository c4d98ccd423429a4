//! Joining two thin bundles without their base: what is stored is taken over.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use crate::bundle::BaseBytes;
use crate::bundle::BaseSnapshot;
use crate::bundle::VolumeWriter;
use crate::bundle::WrittenVolume;
use crate::compress::GroupEncoder;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::Manifest;
use crate::ops::shared::groups::Groups;
use crate::pack::ChunkReader;
use crate::pack::Chunks;
use crate::pack::Entry;
use crate::pack::Form;
use crate::pack::GroupId;
use crate::pack::KnownChunks;
use crate::pack::Pack;
use crate::pack::Page;
use crate::pack::Patch;
use crate::pack::Region;
use crate::pack::Stored;
use crate::pack::patch;
use crate::pack::patch::MAX_READS;
use crate::pack::patch::Step;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_PAGES;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::work::Watch;

/// A volume of two thin bundles, joined without their base: patches are taken over as they are stored, and
/// so are groups whose chunks are all needed; patches over the middle become patches over the base where
/// all they do is copy. What remains is decompressed and grouped again.
pub(super) struct Joiner<'a> {
    volume: VolumeWriter<'a>,
    known: &'a RwLock<KnownChunks>,
    /// What the first leads to, and the second depends on.
    middle: Manifest,
    base: Arc<BaseSnapshot>,
    first: Chunks,
    second: Chunks,
    reader: ChunkReader,
    /// The chunks of groups that were looked into.
    groups: BTreeMap<GroupId, Vec<Digest>>,
    again: Again,
}

/// Chunks that are grouped again.
struct Again {
    encoder: GroupEncoder,
    chunks: usize,
    ids: Vec<Digest>,
    plain: Vec<u8>,
    frame: Vec<u8>,
}

impl Again {
    /// Adds a chunk.
    fn push(&mut self, id: Digest, plain: &[u8], volume: &mut VolumeWriter<'_>) -> Result<()> {
        self.ids.push(id);
        self.plain.extend_from_slice(plain);
        if self.ids.len() == self.chunks { self.flush(volume) } else { Ok(()) }
    }

    /// Stores the chunks so far as a group.
    fn flush(&mut self, volume: &mut VolumeWriter<'_>) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        self.encoder.encode(&self.plain, &mut self.frame, &mut || Ok(()))?;
        let group = Stored { form: Form::Whole, ids: &self.ids, bytes: &self.frame };
        volume.store(Region::default(), group)?;
        self.ids.clear();
        self.plain.clear();
        Ok(())
    }
}

impl<'a> Joiner<'a> {
    /// Joins `chunks`, those of the first bundle and of the second.
    pub(super) fn new(
        volume: VolumeWriter<'a>,
        known: &'a RwLock<KnownChunks>,
        middle: Manifest,
        base: Arc<BaseSnapshot>,
        chunks: [Chunks; 2],
        groups: Groups,
    ) -> Result<Self> {
        let [first, second] = chunks;
        let reader = second.reader();
        let chunks = usize::try_from(groups.chunks()?).expect("at most 128");
        let encoder = GroupEncoder::new(groups.level(true), chunks.strict_mul(BLOCK_LEN))?;
        let (ids, plain, frame) = (Vec::new(), Vec::new(), Vec::new());
        let again = Again { encoder, chunks, ids, plain, frame };
        let groups = BTreeMap::new();
        Ok(Self { volume, known, middle, base, first, second, reader, groups, again })
    }

    /// Writes the volume that `manifest` describes.
    pub(super) fn join(
        mut self,
        manifest: Manifest,
        device: &str,
        watch: &dyn Watch,
    ) -> Result<WrittenVolume> {
        let size = manifest.volume_size();
        // Only to look chunks up: nothing is read from it.
        let target = BaseSnapshot::new(manifest, BaseBytes::Absent);
        let manifest = target.manifest();
        let mut next = BlockIndex(0);
        while next.0 < manifest.block_count() {
            watch.check()?;
            let (kind, end) = manifest.run_at(next)?;
            if let Block::Data(_) = manifest.block(next)? {
                for index in next.0..end.0 {
                    let Block::Data(id) = manifest.block(BlockIndex(index))? else {
                        unreachable!("the run is of data")
                    };
                    self.chunk(&id, &target)?;
                }
            } else {
                self.volume.run(kind, end.0.strict_sub(next.0))?;
            }
            watch.advance(u64::from(end.0.strict_sub(next.0)).strict_mul(BLOCK_SIZE));
            next = end;
        }
        self.again.flush(&mut self.volume)?;
        self.volume.finish(device, size)
    }

    fn is_known(&self, id: &Digest) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    fn remember(&self, id: Digest) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn chunk(&mut self, id: &Digest, target: &BaseSnapshot) -> Result<()> {
        self.volume.data(*id)?;
        if self.is_known(id) || self.base.find(id)?.is_some() {
            return Ok(());
        }
        let found = self.first.find(id)?;
        if let Some((pack, entry)) = found.filter(|(pack, it)| fits(pack, it, self.base.manifest()))
        {
            if self.take(&Arc::clone(pack), &entry, target)? {
                return Ok(());
            }
        } else if let Some((pack, entry)) = self.second.find(id)? {
            if pack.group_of(&entry).form == Form::Whole {
                if self.take(&Arc::clone(pack), &entry, target)? {
                    return Ok(());
                }
            } else if fits(pack, &entry, &self.middle) {
                let mut stored = Vec::new();
                pack.read_stored(entry.group, &mut stored)?;
                if let Some(composed) = self.compose(&Patch::parse(&stored)?)? {
                    return self.patch(*id, &composed);
                }
            }
        }
        let mut plain = vec![0; BLOCK_LEN];
        self.second.read(&[*id], &mut plain, &mut self.reader)?;
        self.remember(*id);
        self.again.push(*id, &plain, &mut self.volume)
    }

    fn patch(&mut self, id: Digest, bytes: &[u8]) -> Result<()> {
        self.remember(id);
        self.volume.store(Region::default(), Stored { form: Form::Patched, ids: &[id], bytes })
    }

    /// Takes a patch over, or a group if all of its chunks are needed and new; returns `false` if not.
    fn take(&mut self, pack: &Pack, entry: &Entry, target: &BaseSnapshot) -> Result<bool> {
        let mut stored = Vec::new();
        if pack.group_of(entry).form == Form::Patched {
            pack.read_stored(entry.group, &mut stored)?;
            return self.patch(entry.id, &stored).map(|()| true);
        }
        let group = pack.group_id(entry.group);
        if !self.groups.contains_key(&group) {
            let all = pack.ids()?;
            let mut rest = &all[..];
            for (number, group) in (0..).zip(pack.groups()) {
                let (own, behind) = rest.split_at(usize::from(group.chunks));
                rest = behind;
                self.groups.insert(pack.group_id(number), own.to_vec());
            }
        }
        let ids = self.groups[&group].clone();
        for id in &ids {
            if target.find(id)?.is_none() || self.is_known(id) || self.base.find(id)?.is_some() {
                return Ok(false);
            }
        }
        pack.read_stored(entry.group, &mut stored)?;
        for id in &ids {
            self.remember(*id);
        }
        let group = Stored { form: Form::Whole, ids: &ids, bytes: &stored };
        self.volume.store(Region::default(), group).map(|()| true)
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
        // All of the base's groups are among those that the patch counted.
        let groups = patch.groups;
        Patch { reads, groups, steps, prefix: Vec::new(), frame: &[] }.append(&mut out);
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
        let whole = pack.group_of(&entry).form == Form::Whole;
        if whole || !fits(pack, &entry, self.base.manifest()) {
            return Ok(Origin::New);
        }
        let mut stored = Vec::new();
        pack.read_stored(entry.group, &mut stored)?;
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
    pack.group_of(entry).form == Form::Whole
        || pack.base().is_some_and(|own| own.root() == base.root())
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
