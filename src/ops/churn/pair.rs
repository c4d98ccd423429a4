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
use crate::ops::churn::tally::Blame;
use crate::volume::ReadVolume;

/// A partition of the new build, and the one that lies there in the old.
pub(super) struct PartPair<'a, 'g> {
    /// Its place among the partitions of the new build.
    pub(super) index: usize,
    pub(super) new: &'a Part<'g>,
    pub(super) old: Option<&'a Part<'g>>,
    pub(super) fates: Option<Fates>,
    pub(super) ext: Option<ExtPair>,
    /// First byte of the journal in the volume.
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
    pub(super) old: &'b [u8],
    pub(super) new: &'b [u8],
}

impl Piece<'_> {
    /// Cuts it into pieces that end at multiples of `len`.
    pub(super) fn chunks(&self, base: u64, len: u64) -> impl Iterator<Item = Piece<'_>> {
        let len = len.max(1);
        let mut at = self.range.start;
        std::iter::from_fn(move || {
            if at >= self.range.end {
                return None;
            }
            let next = at.strict_sub(base).strict_div(len).strict_add(1).saturating_mul(len);
            let end = base.saturating_add(next).min(self.range.end);
            let cut = |of: u64| usize::try_from(of.strict_sub(self.range.start)).expect("a page");
            let (from, to) = (cut(at), cut(end));
            let piece =
                Piece { range: at..end, old: &self.old[from..to], new: &self.new[from..to] };
            at = end;
            Some(piece)
        })
        .filter(|piece| piece.old != piece.new)
    }
}

/// What explains a piece.
pub(super) enum Verdict {
    Marks(Marks),
    Real(Blame),
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
        let journal = owners
            .within(new.range.clone())
            .find(|(_, part, owner)| *part == Some(index) && *owner == Owner::Journal)
            .map_or(0, |(range, ..)| range.start);
        let mut pair =
            Self { index, new, old, fates: None, ext: None, journal, xfs: None, other_salt: false };
        let start = new.range.start;
        let both = |offset: u64, len: u64| -> Result<Option<(Vec<u8>, Vec<u8>)>> {
            let offset = start.saturating_add(offset);
            let end = offset.saturating_add(len);
            if end > volumes.0.size().min(volumes.1.size()) || len > 64 << 20 {
                return Ok(None);
            }
            let mut old = vec![0; usize::try_from(len).expect("at most 64 MiB")];
            let mut new = old.clone();
            volumes.0.read_at(offset, &mut old)?;
            volumes.1.read_at(offset, &mut new)?;
            Ok(Some((old, new)))
        };
        match new.found.name() {
            Some("ext2" | "ext3" | "ext4") if new.logical.is_none() => {
                if let Some((one, other)) = both(1024, 1024)?
                    && let Some((at, len)) = ExtPair::descriptors_at(&other)
                    && let Some((_, descriptors)) = both(at, len)?
                {
                    pair.ext = ExtPair::new(&one, &other, &descriptors);
                }
            }
            Some("xfs") if new.logical.is_none() => {
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

    /// Returns what explains that something lies elsewhere: nothing, if real differences can.
    pub(super) fn moved(&self) -> Marks {
        let Some(fates) = &self.fates else { return Marks::of_real() };
        if fates.layout_causes.is_empty() {
            return Marks::of_real();
        }
        Marks { causes: fates.layout_causes.clone(), ..Marks::default() }
    }

    /// Turns places and checksums into causes.
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
            marks.layout = false;
            marks.join(self.moved());
        }
        marks
    }
}
