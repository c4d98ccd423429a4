//! From the table of frames to runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::compress::Codec;
use crate::error::Error;
use crate::error::Result;
use crate::format::compressed_raw::layout::FOOTER_LEN;
use crate::format::compressed_raw::layout::Footer;
use crate::format::compressed_raw::layout::Frame;
use crate::format::compressed_raw::layout::SeekTableFault;
use crate::format::foreign::begins_skippable;
use crate::format::foreign::is_pack;
use crate::format::foreign::is_padded_lz4;
use crate::format::magic::starts_with;
use crate::io::ReadAt;
use crate::volume::MAX_RUNS;
use crate::volume::MAX_UNIT_LEN;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Source;
use crate::volume::Unit;
use crate::volume::Volume;
use crate::volume::check_size;

/// What a zstd frame begins with.
const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// Most bytes of one frame in the file.
const MAX_PACKED_LEN: u32 = 4 << 20;

/// Bytes of the table that are read at once: whole entries of either length.
const PIECE_LEN: u64 = 96 << 10;

/// Most lengths that the frames of one file have: each is a source of its own.
const MAX_LENGTHS: usize = 4096;

/// Tells whether the file begins with a zstd frame, or with one that is to be skipped: parallel
/// compressors write such ones first. LZ4 has them too, and so do our packs.
pub(super) fn probe(bytes: &dyn ReadAt) -> Result<bool> {
    if starts_with(bytes, &ZSTD_MAGIC)? {
        return Ok(true);
    }
    Ok(begins_skippable(bytes)? && !is_pack(bytes)? && !is_padded_lz4(bytes)?)
}

/// Reads the table at the end of a file; `None` if there is none, or none by which any place can be
/// read: with frames over [`MAX_UNIT_LEN`], or of too many different lengths.
///
/// # Errors
///
/// `Corrupt` or `Unsupported` if it is not a valid table or is not that of this file; `Io`.
pub(super) fn read_table(bytes: &dyn ReadAt) -> Result<Option<Vec<Frame>>> {
    let footer_len = u64::try_from(FOOTER_LEN).expect("a small number");
    let Some(footer_at) = bytes.len().checked_sub(footer_len) else { return Ok(None) };
    let mut footer = [0; FOOTER_LEN];
    bytes.read_exact_at(&mut footer, footer_at)?;
    let footer = Footer::parse(&footer).map_err(|fault| Error::from(fault).at(footer_at))?;
    let Some(footer) = footer else { return Ok(None) };
    let (found, expected) = (footer.table_len(), bytes.len());
    let Some(table_at) = expected.checked_sub(found) else {
        return Err(Error::from(SeekTableFault::Len { found, expected }).at(footer_at));
    };
    let mut head = [0; 8];
    bytes.read_exact_at(&mut head, table_at)?;
    footer.check_head(&head).map_err(|fault| Error::from(fault).at(table_at))?;
    if usize::try_from(footer.frame_count).is_ok_and(|count| count > MAX_RUNS) {
        return Ok(None);
    }
    // Cannot overflow: the table lies inside the file.
    let entries = table_at.strict_add(8)..footer_at;
    let frames = read_frames(bytes, entries, footer.entry_len)?;
    let found = frames.iter().map(|frame| u64::from(frame.packed_len)).sum();
    if found != table_at {
        let fault = SeekTableFault::Sum { found, expected: table_at };
        return Err(Error::from(fault).at(table_at));
    }
    let fits = |frame: &Frame| {
        frame.plain_len == 0
            || frame.plain_len <= MAX_UNIT_LEN && frame.packed_len <= MAX_PACKED_LEN
    };
    let mut lengths: Vec<u32> = frames.iter().map(|frame| frame.plain_len).collect();
    lengths.sort_unstable();
    lengths.dedup();
    Ok((frames.iter().all(fits) && lengths.len() <= MAX_LENGTHS).then_some(frames))
}

fn read_frames(
    bytes: &dyn ReadAt,
    entries: std::ops::Range<u64>,
    entry_len: u64,
) -> Result<Vec<Frame>> {
    let mut frames = Vec::new();
    let mut piece = Vec::new();
    let mut at = entries.start;
    let entry_len = usize::try_from(entry_len).expect("8 or 12");
    while at < entries.end {
        let len = entries.end.strict_sub(at).min(PIECE_LEN);
        piece.resize(usize::try_from(len).expect("a piece"), 0);
        bytes.read_exact_at(&mut piece, at)?;
        frames.extend(piece.chunks_exact(entry_len).map(Frame::parse));
        at = at.strict_add(len);
    }
    Ok(frames)
}

/// Makes a volume of frames, which [`read_table`] has checked.
///
/// # Errors
///
/// `Invalid` or `Limit` for its size.
pub(super) fn volume(frames: &[Frame], bytes: &Arc<dyn ReadAt>) -> Result<Volume> {
    // A sum of at most 2^22 numbers below 2^32.
    check_size(frames.iter().map(|frame| u64::from(frame.plain_len)).sum())?;
    let mut map = RunMap::default();
    let mut sources = Vec::new();
    let mut by_len = BTreeMap::new();
    let mut offset = 0_u64;
    for Frame { packed_len, plain_len } in frames {
        if *plain_len > 0 {
            let source = *by_len.entry(*plain_len).or_insert_with(|| {
                let unit = Unit { codec: Codec::Zstd, len: *plain_len };
                sources.push(Source::packed(Arc::clone(bytes), unit));
                u16::try_from(sources.len().strict_sub(1)).expect("at most MAX_LENGTHS")
            });
            let place = Place::Packed { source, offset, len: *packed_len, skip: 0 };
            map.push(u64::from(*plain_len), place);
        }
        offset = offset.strict_add(u64::from(*packed_len));
    }
    Volume::new(map, sources)
}
