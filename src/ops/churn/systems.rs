//! Inodes, directories and metadata of each file system, by what became of the files that they belong to.

use crate::explain::ExtPair;
use crate::explain::Marks;
use crate::explain::fat_directory;
use crate::explain::fat_superblock;
use crate::explain::xfs_block;
use crate::explain::xfs_inode;
use crate::field;
use crate::guest::FileId;
use crate::guest::Metadata;
use crate::guest::Owner;
use crate::ops::churn::fates::Fates;
use crate::ops::churn::file::File;
use crate::ops::churn::pair::PartPair;
use crate::ops::churn::pair::Piece;
use crate::ops::churn::pair::Verdict;
use crate::ops::churn::pair::XfsShape;
use crate::ops::churn::tally::Blame;
use crate::units::PAGE_LEN;

/// Bytes of a sector.
const SECTOR_LEN: u64 = 512;

/// Last inode of ext that belongs to the file system and has no name.
const LAST_NAMELESS: u64 = 10;

pub(super) fn ext_inodes(
    pair: &PartPair<'_, '_>,
    ext: &ExtPair,
    piece: &Piece<'_>,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    // Tables begin at blocks, and inodes are powers of two.
    for it in piece.chunks(ext.inode_len) {
        let found = ext.inode_at(it.offset);
        let Some((number, _)) = found else {
            verdicts.push(Verdict::Marks(Marks::of_real()));
            continue;
        };
        let id = FileId(number);
        let fates = pair.fates.as_ref();
        let (old, new) =
            (fates.and_then(|fates| fates.of_old(id)), fates.and_then(|fates| fates.of_new(id)));
        let same = fates.is_some_and(|fates| fates.is_same_path(id, id));
        let marks = || ExtPair::inode(number, it.old, it.new);
        verdicts.push(match (old, new) {
            (None, None) if number <= LAST_NAMELESS => Verdict::Marks(marks()),
            (None, None) => Verdict::Marks(Marks::of("stale-inodes")),
            (Some(_), Some(file)) if same => inode(pair, file, marks()),
            // Another file has the number now.
            (old, new) => elsewhere(pair, old, new),
        });
    }
    verdicts
}

pub(super) fn xfs(
    pair: &PartPair<'_, '_>,
    shape: &XfsShape,
    piece: &Piece<'_>,
    owner: Owner,
) -> Vec<Verdict> {
    let size = |len: usize| u64::try_from(len).expect("a block");
    // Trees of inodes are called the same as what they lead to.
    let first = piece.chunks(size(shape.inode_len)).next();
    if owner == Owner::Metadata(Metadata::Inodes)
        && first.is_some_and(|it| it.new.starts_with(b"IN"))
    {
        let inodes = piece.chunks(size(shape.inode_len));
        return inodes.map(|it| xfs_inodes(pair, shape, &it)).collect();
    }
    // Headers of allocation groups take a sector each.
    let is_head = |it: &Piece<'_>| {
        [&b"XFSB"[..], b"XAGF", b"XAGI", b"XAFL"].iter().any(|magic| it.new.starts_with(magic))
    };
    let by_sector = piece.chunks(SECTOR_LEN).any(|it| is_head(&it));
    let len = if by_sector { SECTOR_LEN } else { size(shape.block_len.min(PAGE_LEN)) };
    let file = owner.file().and_then(|id| directory(pair, id));
    piece
        .chunks(len)
        .map(|it| {
            let mut marks = xfs_block(it.old, it.new);
            match &file {
                Some((_, file)) if file.is_real() => return Verdict::Real(vec![pair.blame(file)]),
                Some(_) if marks.real => (marks.real, marks.layout) = (false, true),
                _ => {}
            }
            if let Some((_, file)) = &file {
                return Verdict::Of(marks, vec![file.index]);
            }
            if marks.real && owner == Owner::Metadata(Metadata::Allocator) {
                (marks.real, marks.layout) = (false, true);
            }
            Verdict::Marks(marks)
        })
        .collect()
}

pub(super) fn fat(pair: &PartPair<'_, '_>, piece: &Piece<'_>, owner: Owner) -> Verdict {
    match owner {
        Owner::Metadata(Metadata::Superblock) => {
            let offset = piece.offset;
            Verdict::Marks(fat_superblock(offset, piece.old, piece.new))
        }
        Owner::Metadata(Metadata::Allocator) => Verdict::Marks(Marks::of_layout()),
        Owner::OfFile(Metadata::Directory, id) => {
            let mut marks = fat_directory(piece.old, piece.new);
            match directory(pair, id) {
                Some((_, file)) if file.is_real() => Verdict::Real(vec![pair.blame(file)]),
                Some((fates, file)) => {
                    // Sizes of files that differ stand in their directories.
                    if marks.real && !fates.layout_causes.is_empty() {
                        (marks.real, marks.layout) = (false, true);
                    }
                    Verdict::Of(marks, vec![file.index])
                }
                None => Verdict::Marks(marks),
            }
        }
        other => Verdict::Real(vec![Blame::Class(other.class())]),
    }
}

pub(super) fn directory<'p>(
    pair: &'p PartPair<'_, '_>,
    id: FileId,
) -> Option<(&'p Fates, &'p File)> {
    let fates = pair.fates.as_ref()?;
    Some((fates, fates.of_new(id)?))
}

pub(super) fn xfs_inodes(pair: &PartPair<'_, '_>, shape: &XfsShape, it: &Piece<'_>) -> Verdict {
    let has_magic = |bytes: &[u8]| bytes.len() >= 176 && bytes.starts_with(b"IN");
    if !has_magic(it.old) || !has_magic(it.new) {
        return Verdict::Marks(Marks::of_layout());
    }
    let number = field::u64_be(it.new, 152);
    let id = FileId(number);
    let Some(fates) = &pair.fates else { return Verdict::Marks(Marks::of_real()) };
    let is_own = shape.own.contains(&number);
    match (fates.of_old(id), fates.of_new(id)) {
        (None, None) if is_own => Verdict::Marks(xfs_inode(it.old, it.new, true, true)),
        // Those that are not in use have no names.
        (None, None) => {
            let marks = xfs_inode(it.old, it.new, true, false);
            Verdict::Marks(if marks.real { Marks::of("stale-inodes") } else { marks })
        }
        (Some(_), Some(file)) if fates.is_same_path(id, id) => {
            let same = !file.is_real();
            inode(pair, file, xfs_inode(it.old, it.new, is_own, same))
        }
        (old, new) => elsewhere(pair, old, new),
    }
}

/// Judges an inode of one file by what became of that.
pub(super) fn inode(pair: &PartPair<'_, '_>, file: &File, mut marks: Marks) -> Verdict {
    if let Some(cause) = file.cause() {
        return Verdict::Marks(Marks::of(cause));
    }
    if file.is_real() {
        return Verdict::Real(vec![pair.blame(file)]);
    }
    if file.is_directory && marks.real {
        // How many blocks its names take depends on their order.
        (marks.real, marks.layout) = (false, true);
    }
    Verdict::Of(marks, vec![file.index])
}

/// Judges what another file takes now.
pub(super) fn elsewhere(
    pair: &PartPair<'_, '_>,
    old: Option<&File>,
    new: Option<&File>,
) -> Verdict {
    let files = || [new, old].into_iter().flatten();
    if files().any(File::is_real) {
        return Verdict::Real(files().filter(|it| it.is_real()).map(|it| pair.blame(it)).collect());
    }
    match files().find_map(File::cause) {
        Some(cause) => Verdict::Marks(Marks::of(cause)),
        None => Verdict::Of(Marks::of_layout(), files().map(|file| file.index).collect()),
    }
}
