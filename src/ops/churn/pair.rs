//! A partition in both builds, and pieces of its pages.

use std::ops::Range;

use crate::error::Result;
use crate::explain::ExtPair;
use crate::explain::Marks;
use crate::field;
use crate::guest::Guest;
use crate::guest::Owner;
use crate::guest::Part;
use crate::guest::VolumeOwners;
use crate::ops::churn::fates::Fates;
use crate::ops::churn::file::File;
use crate::ops::churn::tally::Blame;
use crate::ops::churn::tally::Place;
use crate::volume::ReadVolume;

/// A partition of the new build, and the one that lies there in the old.
pub(super) struct PartPair<'a, 'g> {
    /// Its place among the partitions of the new build.
    pub(super) index: usize,
    pub(super) new: &'a Part<'g>,
    pub(super) old: Option<&'a Part<'g>>,
    pub(super) fates: Option<Fates>,
    pub(super) ext: Option<ExtPair>,
    /// First byte of the journal in the partition.
    pub(super) journal: u64,
    /// Bytes of a block and of an inode of XFS, and its own inodes.
    pub(super) xfs: Option<XfsShape>,
    /// Whether the salt or UUID of dm-verity differs.
    pub(super) other_salt: bool,
}

/// What XFS says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct XfsShape {
    pub(super) block_len: usize,
    pub(super) inode_len: usize,
    pub(super) own: [u64; 3],
}

/// Both versions of a piece of a page.
pub(super) struct Piece<'b> {
    /// Bytes of the volume.
    pub(super) range: Range<u64>,
    /// Its first byte in the partition.
    pub(super) offset: u64,
    pub(super) old: &'b [u8],
    pub(super) new: &'b [u8],
}

impl Piece<'_> {
    /// Cuts it into pieces that end at multiples of `len` bytes of the partition.
    pub(super) fn chunks(&self, len: u64) -> impl Iterator<Item = Piece<'_>> {
        let len = len.max(1);
        let whole = self.range.end.strict_sub(self.range.start);
        let mut at = 0_u64;
        std::iter::from_fn(move || {
            if at >= whole {
                return None;
            }
            let offset = self.offset.saturating_add(at);
            let left = len.strict_sub(offset.strict_rem(len));
            let end = at.saturating_add(left).min(whole);
            let cut = |of: u64| usize::try_from(of).expect("a page");
            let (from, to) = (cut(at), cut(end));
            let start = self.range.start;
            let range = start.strict_add(at)..start.strict_add(end);
            let piece = Piece { range, offset, old: &self.old[from..to], new: &self.new[from..to] };
            at = end;
            Some(piece)
        })
        .filter(|piece| piece.old != piece.new)
    }
}

/// What explains a piece.
pub(super) enum Verdict {
    Marks(Marks),
    /// The same of what a file system keeps of some files, by their places among the files.
    Of(Marks, Vec<usize>),
    Real(Vec<Blame>),
}

impl<'a, 'g> PartPair<'a, 'g> {
    /// Pairs a partition with the one of the old build that lies where it lies.
    pub(super) fn new(
        index: usize,
        guests: (&'a Guest<'g>, &'a Guest<'g>),
        volumes: (&dyn ReadVolume, &dyn ReadVolume),
        owners: &VolumeOwners,
    ) -> Result<Self> {
        let new = &guests.1.parts[index];
        let kind = |part: &Part<'_>| part.found.name();
        let old = guests.0.parts.iter().find(|part| part.is_where(new) && kind(part) == kind(new));
        let mut pair = Self {
            index,
            new,
            old,
            fates: None,
            ext: None,
            journal: 0,
            xfs: None,
            other_salt: false,
        };
        let whole = new.range.end.saturating_sub(new.range.start);
        let spans = new.spans(0..whole);
        let journal = spans.iter().find_map(|span| {
            let mut all = owners.within(span.clone());
            let is_it = |part, owner| part == Some(index) && owner == Owner::Journal;
            all.find(|(_, part, owner)| is_it(*part, *owner)).map(|(range, ..)| range)
        });
        pair.journal = journal.and_then(|range| pair.offset(&range)).unwrap_or_default();
        let both = |offset: u64, len: u64| -> Result<Option<(Vec<u8>, Vec<u8>)>> {
            let end = offset.saturating_add(len);
            let least = volumes.0.size().min(volumes.1.size());
            let spans = new.spans(offset..end);
            let is_there = spans.iter().all(|span| span.end <= least);
            if !is_there || len > 64 << 20 || end > whole {
                return Ok(None);
            }
            let mut old = vec![0; usize::try_from(len).expect("at most 64 MiB")];
            let mut new = old.clone();
            let mut at = 0_usize;
            for span in spans {
                let len = span.end.strict_sub(span.start);
                let end = at.strict_add(usize::try_from(len).expect("at most 64 MiB"));
                volumes.0.read_at(span.start, &mut old[at..end])?;
                volumes.1.read_at(span.start, &mut new[at..end])?;
                at = end;
            }
            Ok(Some((old, new)))
        };
        match new.found.name() {
            Some("ext2" | "ext3" | "ext4") => {
                if let Some((one, other)) = both(1024, 1024)?
                    && let Some((at, len)) = ExtPair::descriptors_at(&other)
                    && let Some((_, descriptors)) = both(at, len)?
                {
                    pair.ext = ExtPair::new(&one, &other, &descriptors);
                }
            }
            Some("xfs") => {
                if let Some((_, head)) = both(0, 512)? {
                    let u64_at = |at| field::u64_be(&head, at);
                    let block_len = usize::try_from(field::u32_be(&head, 4)).unwrap_or(4096);
                    let inode_len = usize::from(field::u16_be(&head, 104));
                    let own = [u64_at(56), u64_at(64), u64_at(72)];
                    pair.xfs = Some(XfsShape { block_len, inode_len, own });
                }
            }
            Some("DM_verity_hash") => {
                if let Some((one, other)) = both(0, 512)? {
                    // UUID and salt.
                    pair.other_salt = one[16..32] != other[16..32] || one[80..] != other[80..];
                }
            }
            _ => {}
        }
        Ok(pair)
    }

    /// Returns where bytes of the volume lie in the partition; `None` if not one behind the other.
    pub(super) fn offset(&self, range: &Range<u64>) -> Option<u64> {
        let whole = std::slice::from_ref(&self.new.range);
        let pieces = self.new.logical.as_ref().map_or(whole, |logical| &logical.pieces[..]);
        let mut at = 0_u64;
        for piece in pieces {
            if piece.start <= range.start && range.end <= piece.end {
                return at.checked_add(range.start.strict_sub(piece.start));
            }
            at = at.checked_add(piece.end.strict_sub(piece.start))?;
        }
        None
    }

    /// Tells whether something real differs among the files, or may do so.
    pub(super) fn files_differ(&self) -> bool {
        self.fates.as_ref().is_none_or(|fates| fates.layout_causes.is_empty())
    }

    /// Says that a file is real.
    pub(super) fn blame(&self, file: &File) -> Blame {
        Blame::File(Place { part: self.index, file: file.index })
    }

    /// Turns places and checksums into causes; what is left of places follows from real differences.
    pub(super) fn settled(&self, mut marks: Marks) -> Marks {
        if marks.sum {
            marks.sum = false;
            if self.ext.as_ref().is_some_and(|ext| ext.other_seed) {
                marks.causes.insert("ext-uuid");
            } else if marks.causes.is_empty() && !marks.real {
                marks.layout = true;
            }
        }
        if marks.layout {
            match &self.fates {
                // What became of the files is not known.
                None => (marks.layout, marks.real) = (false, true),
                Some(fates) if fates.layout_causes.is_empty() => {}
                Some(fates) => {
                    marks.layout = false;
                    marks.causes.extend(&fates.layout_causes);
                }
            }
        }
        marks
    }
}
