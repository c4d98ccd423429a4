//! One page that differs: whose its bytes are in both builds, and what explains each of them.

use std::cell::RefCell;
use std::ops::Range;

use crate::explain::ExtPair;
use crate::explain::Marks;
use crate::explain::TablePair;
use crate::explain::btrfs;
use crate::explain::luks;
use crate::explain::lvm;
use crate::explain::swap;
use crate::explain::verity;
use crate::explain::xfs_log;
use crate::guest::Bytes;
use crate::guest::FileId;
use crate::guest::Found;
use crate::guest::Guest;
use crate::guest::Metadata;
use crate::guest::Owner;
use crate::guest::Part;
use crate::guest::Ranges;
use crate::guest::Table;
use crate::guest::VolumeOwners;
use crate::ops::churn::file::Fate;
use crate::ops::churn::file::File;
use crate::ops::churn::pair::PartPair;
use crate::ops::churn::pair::Piece;
use crate::ops::churn::pair::Verdict;
use crate::ops::churn::systems::directory;
use crate::ops::churn::systems::elsewhere;
use crate::ops::churn::systems::ext_inodes;
use crate::ops::churn::systems::fat;
use crate::ops::churn::systems::xfs;
use crate::ops::churn::tally::Blame;
use crate::ops::churn::tally::Judged;
use crate::ops::churn::tally::Place;

/// Bytes of a sector.
const SECTOR_LEN: u64 = 512;

/// What is compared.
pub(super) struct Judge<'a, 'g> {
    pub(super) old_owners: &'a VolumeOwners,
    pub(super) new_owners: &'a VolumeOwners,
    pub(super) pairs: Vec<PartPair<'a, 'g>>,
    pub(super) tables: TablePair,
    /// The last file whose extents were asked for: pages of a file follow each other.
    pub(super) last: RefCell<Option<Extents>>,
}

/// Where the content of a file of the new build lies.
pub(super) struct Extents {
    part: usize,
    id: FileId,
    /// Ascending ranges of the volume.
    spans: Ranges,
}

impl Judge<'_, '_> {
    /// Returns a file by its place.
    pub(super) fn file(&self, place: Place) -> &File {
        let fates = self.pairs[place.part].fates.as_ref();
        &fates.expect("places come from files").files[place.file]
    }

    /// Judges a page that differs.
    pub(super) fn page(&self, page: &Range<u64>, old: &[u8], new: &[u8]) -> Judged {
        let mut judged = Judged::default();
        let cut = |range: &Range<u64>| {
            let at = |of: u64| usize::try_from(of.strict_sub(page.start)).expect("in a page");
            at(range.start)..at(range.end)
        };
        let mut end = page.start;
        for (range, part, owner) in self.new_owners.within(page.clone()) {
            end = range.end;
            let bytes = cut(&range);
            let (one, other) = (&old[bytes.clone()], &new[bytes]);
            if one == other {
                continue;
            }
            let Some(pair) = part.map(|part| &self.pairs[part]) else {
                self.outside(&range, page, (old, new), owner, &mut judged);
                continue;
            };
            let Some(offset) = pair.offset(&range) else {
                judged.real.insert(Blame::Class(owner.class()));
                continue;
            };
            let piece = Piece { range, offset, old: one, new: other };
            for verdict in self.part(pair, &piece, owner) {
                let (marks, files) = match verdict {
                    Verdict::Real(blames) => {
                        judged.real.extend(blames);
                        continue;
                    }
                    Verdict::Marks(marks) => (marks, Vec::new()),
                    Verdict::Of(marks, files) => (marks, files),
                };
                let marks = pair.settled(marks);
                judged.causes.extend(marks.causes);
                let places = files.iter().map(|file| Place { part: pair.index, file: *file });
                if marks.real && files.is_empty() {
                    judged.real.insert(Blame::Class(owner.class()));
                } else if marks.real {
                    let class = owner.class();
                    judged.real.extend(places.clone().map(|place| Blame::Record(place, class)));
                }
                if marks.layout {
                    judged.follows.entry(owner.class()).or_default().extend(places);
                }
            }
        }
        if end < page.end && judged.causes.is_empty() {
            judged.real.insert(Blame::Class(Owner::Unknown.class()));
        }
        judged
    }

    /// Judges bytes outside of partitions: tables, boot code, gaps.
    fn outside(
        &self,
        range: &Range<u64>,
        page: &Range<u64>,
        (old, new): (&[u8], &[u8]),
        owner: Owner,
        judged: &mut Judged,
    ) {
        if !matches!(owner, Owner::Table | Owner::BootCode) {
            judged.real.insert(Blame::Class(owner.class()));
            return;
        }
        // Fields are known by their places in sectors.
        let start = range.start.strict_div(SECTOR_LEN).strict_mul(SECTOR_LEN).max(page.start);
        let end = range.end.next_multiple_of(SECTOR_LEN).min(page.end);
        let at = |of: u64| usize::try_from(of.strict_sub(page.start)).expect("in a page");
        let (one, other) = (&old[at(start)..at(end)], &new[at(start)..at(end)]);
        let marks = self.tables.compare(start, one, other);
        judged.causes.extend(marks.causes);
        if marks.real {
            judged.real.insert(Blame::Class(owner.class()));
        }
        if marks.sum {
            // Entries that lie in another page are what it sums up.
            judged.causes.insert("gpt-partition-guid");
        }
    }

    /// Returns the owner in the old build of the first byte of a range.
    fn before(&self, range: &Range<u64>) -> Owner {
        let first = self.old_owners.within(range.clone()).next();
        first.map_or(Owner::Unknown, |(_, _, owner)| owner)
    }

    fn part(&self, pair: &PartPair<'_, '_>, piece: &Piece<'_>, owner: Owner) -> Vec<Verdict> {
        let class = || Verdict::Real(vec![Blame::Class(owner.class())]);
        if pair.old.is_none() {
            return vec![class()];
        }
        let one = |marks| vec![Verdict::Marks(marks)];
        match owner {
            Owner::File(id) => vec![self.content(pair, piece, id)],
            Owner::Free => vec![self.free(pair, piece)],
            Owner::Swap => one(Marks::of("free-litter")),
            Owner::Journal => match &pair.ext {
                Some(ext) => piece
                    .chunks(ext.block_len)
                    .map(|it| {
                        let offset = it.offset.saturating_sub(pair.journal);
                        Verdict::Marks(ext.journal(offset, it.old, it.new))
                    })
                    .collect(),
                None if pair.xfs.is_some() => one(xfs_log(piece.old, piece.new)),
                None => vec![class()],
            },
            Owner::Metadata(_) | Owner::OfFile(..) => match (&pair.ext, &pair.xfs, &pair.new.found)
            {
                (Some(ext), _, _) => self.ext(pair, ext, piece, owner),
                (_, Some(shape), _) => xfs(pair, shape, piece, owner),
                (_, _, Found::Swap(_)) => one(swap(piece.offset, piece.old, piece.new)),
                _ if pair.new.found.name() == Some("vfat") => vec![fat(pair, piece, owner)],
                _ => vec![class()],
            },
            Owner::Unknown => match pair.new.found.name() {
                Some("LVM2_member") => one(lvm(piece.old, piece.new)),
                Some("crypto_LUKS") => one(luks()),
                Some("DM_verity_hash") => one(verity(pair.other_salt)),
                Some("btrfs") => one(btrfs(piece.offset, piece.old, piece.new)),
                _ => vec![class()],
            },
            _ => vec![class()],
        }
    }

    /// Judges bytes that are free now.
    fn free(&self, pair: &PartPair<'_, '_>, piece: &Piece<'_>) -> Verdict {
        let is_litter = piece.new.iter().any(|byte| *byte != 0);
        let before = self.before(&piece.range);
        if is_litter || before == Owner::Free {
            return Verdict::Marks(Marks::of("free-litter"));
        }
        let id = before.file();
        let file = id.zip(pair.fates.as_ref()).and_then(|(id, fates)| fates.of_old(id));
        match file {
            // Nothing lies any more where a file lay that is gone or another one now.
            Some(file) => elsewhere(pair, Some(file), None),
            None => Verdict::Marks(Marks::of_layout()),
        }
    }

    /// Judges content of a file.
    fn content(&self, pair: &PartPair<'_, '_>, piece: &Piece<'_>, id: FileId) -> Verdict {
        let file = pair.fates.as_ref().and_then(|fates| fates.of_new(id));
        let Some(file) = file else { return Verdict::Real(vec![Blame::Class("file-data")]) };
        if let Some(cause) = file.cause() {
            return Verdict::Marks(Marks::of(cause));
        }
        match file.fate {
            Fate::Same | Fate::Attributes => {
                let fates = pair.fates.as_ref().expect("it was found there");
                let stays =
                    self.before(&piece.range).file().is_some_and(|it| fates.is_same_path(it, id));
                // What lies behind the end of a file in its last block, or was never written, is nobody's. Else it is
                // other bytes of the same file: it lies elsewhere now.
                let is_litter = stays && !self.holds_content(pair, piece, id);
                let cause = if is_litter { "free-litter" } else { "allocation-order" };
                Verdict::Marks(Marks::of(cause))
            }
            _ => Verdict::Real(vec![pair.blame(file)]),
        }
    }

    /// Tells whether bytes that differ are content of a file. If that cannot be read, they are.
    fn holds_content(&self, pair: &PartPair<'_, '_>, piece: &Piece<'_>, id: FileId) -> bool {
        let mut last = self.last.borrow_mut();
        let is_known = last.as_ref().is_some_and(|it| it.part == pair.index && it.id == id);
        if !is_known {
            let Some(spans) = spans(pair.new, id) else { return true };
            *last = Some(Extents { part: pair.index, id, spans });
        }
        let Some(extents) = &*last else { return true };
        let differs = piece.old.iter().zip(piece.new).map(|(one, other)| one != other);
        let places = (piece.range.start..).zip(differs).filter(|(_, differs)| *differs);
        let is_content = |at: u64| extents.spans.within(at..at.strict_add(1)).next().is_some();
        places.into_iter().any(|(at, _)| is_content(at))
    }

    fn ext(
        &self,
        pair: &PartPair<'_, '_>,
        ext: &ExtPair,
        piece: &Piece<'_>,
        owner: Owner,
    ) -> Vec<Verdict> {
        let sum_at_end = |it: &Piece<'_>, len: usize| {
            let end = it.new.len().saturating_sub(len);
            if it.old.get(..end) == it.new.get(..end) {
                Marks { sum: true, ..Marks::default() }
            } else {
                Marks::of_layout()
            }
        };
        let blocks = || piece.chunks(ext.block_len);
        match owner {
            Owner::Metadata(Metadata::Superblock) => {
                // The first one stands behind a boot sector.
                let chunks = piece.chunks(1024);
                let differ = pair.files_differ();
                chunks.map(|it| Verdict::Marks(ext.superblock(it.old, it.new, differ))).collect()
            }
            Owner::Metadata(Metadata::Descriptors) => {
                vec![Verdict::Marks(ext.descriptors(piece.old, piece.new))]
            }
            Owner::Metadata(Metadata::Allocator) => vec![Verdict::Marks(Marks::of_layout())],
            Owner::Metadata(Metadata::Inodes) => ext_inodes(pair, ext, piece),
            Owner::OfFile(Metadata::Directory, id) => {
                blocks().map(|it| self.ext_directory(pair, ext, &it, id)).collect()
            }
            Owner::OfFile(Metadata::Mapping | Metadata::Attributes, id) => {
                let len = if matches!(owner, Owner::OfFile(Metadata::Mapping, _)) { 4 } else { 0 };
                let file = pair.fates.as_ref().and_then(|fates| fates.of_new(id));
                let whose = || file.map(|file| file.index).into_iter().collect();
                blocks()
                    .map(|it| match file {
                        Some(file) if file.is_real() => Verdict::Real(vec![pair.blame(file)]),
                        _ if len == 0 && same_but(it.old, it.new, 0x10..0x14) => {
                            Verdict::Of(Marks { sum: true, ..Marks::default() }, whose())
                        }
                        _ => Verdict::Of(sum_at_end(&it, len), whose()),
                    })
                    .collect()
            }
            _ => blocks().map(|it| Verdict::Marks(sum_at_end(&it, 8))).collect(),
        }
    }

    fn ext_directory(
        &self,
        pair: &PartPair<'_, '_>,
        ext: &ExtPair,
        piece: &Piece<'_>,
        id: FileId,
    ) -> Verdict {
        let Some((fates, file)) = directory(pair, id) else {
            return Verdict::Real(vec![Blame::Class("directory")]);
        };
        if file.is_real() {
            return Verdict::Real(vec![pair.blame(file)]);
        }
        let before = self.before(&piece.range).file();
        let marks = if before.is_some_and(|it| fates.is_same_path(it, id)) {
            ext.directory(piece.old, piece.new, file.same_inodes)
        } else if ext.other_hash_seed && before.is_none() && file.same_inodes {
            // Names that are sorted otherwise may take another block.
            Marks::of("ext-hash-seed")
        } else {
            Marks::of_layout()
        };
        Verdict::Of(marks, vec![file.index])
    }
}

/// Returns where the content of a file lies in the volume; `None` if that cannot be read.
fn spans(part: &Part<'_>, id: FileId) -> Option<Ranges> {
    let content = part.system()?.content(id).ok()?;
    let mut all: Vec<Range<u64>> = Vec::new();
    for piece in &content.pieces {
        let range = match &piece.bytes {
            Bytes::At(at) => *at..at.saturating_add(piece.len),
            Bytes::Packed(packed) => packed.at..packed.at.saturating_add(packed.len),
            Bytes::Here(_) => continue,
        };
        all.extend(part.spans(range));
    }
    all.sort_by_key(|range| range.start);
    let mut spans = Ranges::default();
    for range in all {
        // Pieces of one file may share what is compressed together.
        let start = spans.as_slice().last().map_or(range.start, |last| range.start.max(last.end));
        if start < range.end {
            spans.push(start..range.end);
        }
    }
    Some(spans)
}

/// Tells whether two blocks differ in some bytes only.
fn same_but(old: &[u8], new: &[u8], range: Range<usize>) -> bool {
    old.len() == new.len()
        && old.get(..range.start) == new.get(..range.start)
        && old.get(range.end..) == new.get(range.end..)
}

/// Returns where the tables of two volumes lie.
pub(super) fn tables(guest: &Guest<'_>, size: u64) -> TablePair {
    TablePair { size, is_gpt: guest.layout.table == Table::Gpt }
}
