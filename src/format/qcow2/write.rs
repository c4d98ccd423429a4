//! From a volume to a qcow2 image of version 3: clusters packed in parallel, laid down in order.
//!
//! ```text
//! header | refcount table | L1 table | clusters, L2 tables and refcount blocks as they come
//! ```
//!
//! An L2 table follows the last cluster that it tells and a refcount block the last one that it
//! counts, so that one of each is in memory, whatever the size of the volume.

use std::ops::Range;

use crate::compress::Codec;
use crate::compress::Packer;
use crate::digest::is_zero;
use crate::error::Result;
use crate::field;
use crate::format::qcow2::layout::Header;
use crate::format::qcow2::layout::SECTOR_LEN;
use crate::format::qcow2::layout::ZERO_ENTRY;
use crate::format::qcow2::layout::encode_packed;
use crate::format::qcow2::layout::encode_stored;
use crate::format::spans::spans_of;
use crate::format::tiles::tiles;
use crate::format::writer::WriteOptions;
use crate::format::writes::Writes;
use crate::io::PageBuffer;
use crate::io::WriteAt;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::Padded;
use crate::volume::ReadVolume;
use crate::work::Buffers;
use crate::work::in_order;
use crate::work::in_turn;

/// Binary logarithm of a cluster's bytes: QEMU's own default.
const CLUSTER_BITS: u32 = 16;

/// Bytes of a cluster.
const CLUSTER: u64 = 1 << CLUSTER_BITS;

/// [`CLUSTER`] as a length of memory.
const CLUSTER_LEN: usize = 1 << CLUSTER_BITS;

/// Entries of an L2 table, 8 bytes each.
const TABLE_ENTRIES: u64 = CLUSTER / 8;

/// Refcounts of a refcount block, 2 bytes each.
const BLOCK_COUNTS: u64 = CLUSTER / 2;

/// Writes a volume as a qcow2 image, states kept cluster by cluster.
///
/// The bytes written depend on nothing but the volume, the codec and the level.
///
/// # Errors
///
/// `Invalid` for a level that the codec does not have; whatever reading and writing return.
pub(super) fn write(
    volume: &dyn ReadVolume,
    sink: &dyn WriteAt,
    options: &WriteOptions<'_>,
    codec: Option<Codec>,
) -> Result<()> {
    let volume = &Padded::to_multiple(volume, SECTOR_LEN);
    let size = volume.size();
    let mut image = Image::new(sink, size);
    match codec {
        Some(codec) => write_packed(volume, sink, options, codec, &mut image)?,
        None => write_plain(volume, sink, options, &mut image)?,
    }
    image.finish(size, codec.unwrap_or(Codec::Deflate))
}

/// Packs clusters side by side, and writes them in order.
fn write_packed(
    volume: &dyn ReadVolume,
    sink: &dyn WriteAt,
    options: &WriteOptions<'_>,
    codec: Codec,
    image: &mut Image<'_>,
) -> Result<()> {
    let buffers = Buffers::default();
    in_order(
        options.threads,
        options.watch,
        spans_of(volume, tiles(volume, CLUSTER)),
        || Ok((Packer::new(codec, options.level)?, PageBuffer::default())),
        |(packer, plain), span| {
            let (mut pieces, mut packed) = (Vec::new(), buffers.take());
            if !told(&span, &mut pieces) {
                read_clusters(volume, &span, plain)?;
                pack(packer, plain, options.zeros_as_data, &mut packed, &mut pieces);
            }
            Ok((span.len(), packed, pieces))
        },
        |(len, packed, pieces)| {
            let mut writes = Writes::default();
            image.add(&pieces, &mut writes)?;
            writes.write(&packed, sink)?;
            buffers.give(packed);
            options.watch.advance(len);
            Ok(())
        },
    )
}

/// Reads and writes clusters side by side; only their places are given in order.
fn write_plain(
    volume: &dyn ReadVolume,
    sink: &dyn WriteAt,
    options: &WriteOptions<'_>,
    image: &mut Image<'_>,
) -> Result<()> {
    in_turn(
        options.threads,
        options.watch,
        spans_of(volume, tiles(volume, CLUSTER)),
        || Ok(PageBuffer::default()),
        |plain, span| {
            let mut pieces = Vec::new();
            if !told(&span, &mut pieces) {
                read_clusters(volume, &span, plain)?;
                classify(plain, options, &mut pieces);
            }
            Ok((span.len(), pieces))
        },
        |(len, pieces)| {
            let mut writes = Writes::default();
            image.add(&pieces, &mut writes)?;
            Ok((len, writes))
        },
        |plain, (len, writes)| {
            writes.write(plain, sink)?;
            Ok(len)
        },
        |len| {
            options.watch.advance(len);
            Ok(())
        },
    )
}

/// Adds the clusters of a span that has no data, and tells whether it is one.
fn told(span: &Extent, pieces: &mut Vec<Piece>) -> bool {
    let count = span.len().div_ceil(CLUSTER);
    match span.kind {
        ExtentKind::Hole => pieces.push(Piece::Hole { count }),
        ExtentKind::Zero => pieces.push(Piece::Zero { count }),
        ExtentKind::Data => return false,
    }
    true
}

/// Reads the clusters of a span whole: the last of the volume goes on with zeros.
fn read_clusters(volume: &dyn ReadVolume, span: &Extent, plain: &mut PageBuffer) -> Result<()> {
    let len = usize_of(span.len());
    plain.resize(len.next_multiple_of(CLUSTER_LEN));
    plain[len..].fill(0);
    volume.read_at(span.range.start, &mut plain[..len])
}

/// What some clusters become.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Hole {
        count: u64,
    },
    Zero {
        count: u64,
    },
    /// One cluster: those bytes of the buffer.
    Stored {
        bytes: Range<usize>,
    },
    /// One cluster: those bytes of the buffer, packed.
    Packed {
        bytes: Range<usize>,
    },
}

/// Finds the clusters that are zero.
fn classify(plain: &[u8], options: &WriteOptions<'_>, pieces: &mut Vec<Piece>) {
    let mut start = 0_usize;
    for cluster in plain.chunks_exact(CLUSTER_LEN) {
        let end = start.strict_add(CLUSTER_LEN);
        pieces.push(if options.is_zero(cluster) {
            Piece::Zero { count: 1 }
        } else {
            Piece::Stored { bytes: start..end }
        });
        start = end;
    }
}

/// Packs clusters back to back into `out`; one that does not shrink is stored there.
fn pack(
    packer: &mut Packer,
    plain: &[u8],
    zeros_as_data: bool,
    out: &mut Vec<u8>,
    pieces: &mut Vec<Piece>,
) {
    for cluster in plain.chunks_exact(CLUSTER_LEN) {
        if !zeros_as_data && is_zero(cluster) {
            pieces.push(Piece::Zero { count: 1 });
            continue;
        }
        let start = out.len();
        out.resize(start.strict_add(CLUSTER_LEN).strict_sub(1), 0);
        if let Some(len) = packer.pack(cluster, &mut out[start..]) {
            out.truncate(start.strict_add(len));
            pieces.push(Piece::Packed { bytes: start..out.len() });
        } else {
            out.truncate(start);
            out.extend_from_slice(cluster);
            pieces.push(Piece::Stored { bytes: start..out.len() });
        }
    }
}

/// The image that is being written.
struct Image<'a> {
    sink: &'a dyn WriteAt,
    /// Number of the first cluster of the file that is not in use.
    next: u64,
    /// Where packed bytes may go on: from that byte up to the end of its cluster.
    open: Option<u64>,
    /// Refcounts of the clusters since the last refcount block was written.
    counts: Vec<u16>,
    /// The refcount table, as far as it is known.
    blocks: Vec<u64>,
    /// The L1 table, as far as it is known.
    l1: Vec<u64>,
    /// The L2 table that is being filled, as far as it is known.
    table: Vec<u64>,
    /// Clusters of the refcount table and of the L1 table.
    refcount_clusters: u64,
    l1_entries: u64,
}

impl<'a> Image<'a> {
    fn new(sink: &'a dyn WriteAt, size: u64) -> Self {
        let clusters = size.div_ceil(CLUSTER);
        let l1_entries = clusters.div_ceil(TABLE_ENTRIES);
        let l1_clusters = l1_entries.div_ceil(TABLE_ENTRIES);
        // No more clusters than this, before refcount blocks: packed or stored, a cluster of the
        // volume takes at most one new cluster of the file. The table itself has a few.
        let most = clusters.strict_add(l1_entries).strict_add(l1_clusters).strict_add(64);
        // Each block counts itself, and the last may be two.
        let blocks = most.div_ceil(BLOCK_COUNTS.strict_sub(1)).strict_add(2);
        let refcount_clusters = blocks.div_ceil(TABLE_ENTRIES);
        let next = refcount_clusters.strict_add(l1_clusters).strict_add(1);
        Self {
            sink,
            next,
            open: None,
            counts: vec![1; usize_of(next)],
            blocks: Vec::new(),
            l1: Vec::new(),
            table: Vec::new(),
            refcount_clusters,
            l1_entries,
        }
    }

    /// Takes the next cluster of the file and returns its first byte. The refcount block of those
    /// before it goes first where it is full.
    fn allocate(&mut self) -> Result<u64> {
        if self.next.is_multiple_of(BLOCK_COUNTS) {
            // Packed bytes never go on in a cluster whose count is written.
            self.close()?;
            let at = self.next.strict_mul(CLUSTER);
            self.put_counts(at)?;
            self.counts.push(1);
            self.next = self.next.strict_add(1);
        }
        let at = self.next.strict_mul(CLUSTER);
        self.counts.push(1);
        self.next = self.next.strict_add(1);
        Ok(at)
    }

    /// Writes the refcount block that is being filled at byte `at`.
    fn put_counts(&mut self, at: u64) -> Result<()> {
        let mut block = vec![0; CLUSTER_LEN];
        for (place, count) in block.as_chunks_mut::<2>().0.iter_mut().zip(&self.counts) {
            *place = count.to_be_bytes();
        }
        self.blocks.push(at);
        self.counts.clear();
        self.sink.write_all_at(&block, at)
    }

    /// Finds the place of `len` packed bytes and counts the clusters that they touch.
    fn allocate_packed(&mut self, len: u64) -> Result<u64> {
        let next_at = self.next.strict_mul(CLUSTER);
        if let Some(at) = self.open {
            let end = at.strict_add(len);
            let room = at.next_multiple_of(CLUSTER);
            // The open cluster may be followed by others, or by a refcount block.
            let goes_on = room == next_at && !self.next.is_multiple_of(BLOCK_COUNTS);
            if end <= room || goes_on {
                let number = at.strict_div(CLUSTER);
                let first = self.next.strict_sub(u64_of(self.counts.len()));
                let count = &mut self.counts[usize_of(number.strict_sub(first))];
                // Cannot overflow: no cluster packs to a single byte.
                *count = count.strict_add(1);
                if end > room {
                    self.allocate()?;
                }
                self.open = (!end.is_multiple_of(CLUSTER)).then_some(end);
                return Ok(at);
            }
        }
        self.close()?;
        let at = self.allocate()?;
        // Less than a cluster.
        self.open = Some(at.strict_add(len));
        Ok(at)
    }

    /// Fills the rest of the cluster in which packed bytes end: on a device, what was there before
    /// would show.
    fn close(&mut self) -> Result<()> {
        let Some(at) = self.open.take() else { return Ok(()) };
        self.sink.write_zeros_at(at.next_multiple_of(CLUSTER).strict_sub(at), at)
    }

    /// Adds an L2 entry, and writes the table when it is full.
    fn entry(&mut self, entry: u64) -> Result<()> {
        self.table.push(entry);
        if u64_of(self.table.len()) == TABLE_ENTRIES { self.put_table() } else { Ok(()) }
    }

    /// Writes the L2 table that is being filled; one of holes only is not written.
    fn put_table(&mut self) -> Result<()> {
        if self.table.iter().all(|entry| *entry == 0) {
            self.table.clear();
            self.l1.push(0);
            return Ok(());
        }
        let at = self.allocate()?;
        self.sink.write_all_at(&table_bytes(&self.table, CLUSTER_LEN), at)?;
        self.table.clear();
        self.l1.push(encode_stored(at));
        Ok(())
    }

    /// Adds `count` clusters that are holes.
    fn holes(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            if self.table.is_empty() && count >= TABLE_ENTRIES {
                self.l1.push(0);
                count = count.strict_sub(TABLE_ENTRIES);
                continue;
            }
            let room = TABLE_ENTRIES.strict_sub(u64_of(self.table.len())).min(count);
            self.table.resize(self.table.len().strict_add(usize_of(room)), 0);
            count = count.strict_sub(room);
            if u64_of(self.table.len()) == TABLE_ENTRIES {
                self.put_table()?;
            }
        }
        Ok(())
    }

    /// Gives the next clusters of the volume their places. What is to be stored goes into `writes`.
    fn add(&mut self, pieces: &[Piece], writes: &mut Writes) -> Result<()> {
        for piece in pieces {
            let (at, bytes, entry) = match piece {
                Piece::Hole { count } => {
                    self.holes(*count)?;
                    continue;
                }
                Piece::Zero { count } => {
                    for _ in 0..*count {
                        self.entry(ZERO_ENTRY)?;
                    }
                    continue;
                }
                Piece::Stored { bytes } => {
                    let at = self.allocate()?;
                    (at, bytes, encode_stored(at))
                }
                Piece::Packed { bytes } => {
                    let len = u64_of(bytes.len());
                    let at = self.allocate_packed(len)?;
                    (at, bytes, encode_packed(at, len, CLUSTER_BITS))
                }
            };
            writes.add(at, bytes.clone());
            self.entry(entry)?;
        }
        Ok(())
    }

    /// Ends the image: the last tables, and then the header, which is worth nothing before.
    fn finish(mut self, size: u64, codec: Codec) -> Result<()> {
        self.close()?;
        if !self.table.is_empty() {
            self.put_table()?;
        }
        let at = self.allocate()?;
        self.put_counts(at)?;
        let refcount_len = usize_of(self.refcount_clusters).strict_mul(CLUSTER_LEN);
        let l1_offset = self.refcount_clusters.strict_add(1).strict_mul(CLUSTER);
        let l1_len = usize_of(self.l1_entries.div_ceil(TABLE_ENTRIES)).strict_mul(CLUSTER_LEN);
        assert_eq!(u64_of(self.l1.len()), self.l1_entries, "the extents tile the volume");
        self.sink.write_all_at(&table_bytes(&self.blocks, refcount_len), CLUSTER)?;
        self.sink.write_all_at(&table_bytes(&self.l1, l1_len), l1_offset)?;
        let header = Header {
            version: 3,
            cluster_bits: CLUSTER_BITS,
            size,
            l1_entries: u32::try_from(self.l1_entries).expect("2^17 for the largest volume"),
            l1_offset,
            refcount_offset: CLUSTER,
            refcount_clusters: u32::try_from(self.refcount_clusters).expect("a small number"),
            dirty: false,
            corrupt: false,
            extended: false,
            codec,
            header_len: 112,
            backing: None,
        };
        let mut first = header.encode().to_vec();
        first.resize(CLUSTER_LEN, 0);
        self.sink.write_all_at(&first, 0)?;
        self.sink.set_size(self.next.strict_mul(CLUSTER))
    }
}

/// Returns the bytes of a table of `len` bytes that starts with those entries.
fn table_bytes(entries: &[u64], len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    assert!(entries.len() <= len.strict_div(8), "{} entries in {len} bytes", entries.len());
    for (number, entry) in entries.iter().enumerate() {
        field::put_u64_be(&mut bytes, number.strict_mul(8), *entry);
    }
    bytes
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("lengths of memory")
}

fn u64_of(len: usize) -> u64 {
    u64::try_from(len).expect("memory is under 2^64 bytes")
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// Keeps what is written in one call, by its first byte.
    #[derive(Default)]
    struct Calls(Mutex<BTreeMap<u64, Vec<u8>>>);

    impl WriteAt for Calls {
        fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
            self.0.lock().unwrap().insert(offset, bytes.to_vec());
            Ok(())
        }

        fn make_hole_at(&self, _len: u64, _offset: u64) -> Result<()> {
            unreachable!("a qcow2 file has no holes of its own")
        }

        fn set_size(&self, _size: u64) -> Result<()> {
            Ok(())
        }
    }

    /// Clusters of all kinds over the place where the first refcount block is full: each cluster of
    /// the file is counted as often as something touches it.
    #[test]
    fn each_cluster_is_counted_as_often_as_it_is_used() {
        let mut state = 0x2545_f491_u64;
        let mut below = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        for round in 0..200 {
            let calls = Calls::default();
            let mut image = Image::new(&calls, 4 << 40);
            let mut used = vec![0_u16; 2 * usize_of(BLOCK_COUNTS)];
            // As if almost a block of stored clusters had been written.
            let start = BLOCK_COUNTS - 1 - below(40);
            image.counts.resize(usize_of(start), 1);
            image.next = start;
            used[..usize_of(start)].fill(1);
            for _ in 0..100 {
                let (at, len) = if below(3) == 0 {
                    (image.allocate().unwrap(), CLUSTER)
                } else {
                    let most = if below(2) == 0 { CLUSTER - 1 } else { 900 };
                    let len = 1 + below(most);
                    (image.allocate_packed(len).unwrap(), len)
                };
                assert!(len < CLUSTER || at % CLUSTER == 0);
                for number in at / CLUSTER..=(at + len - 1) / CLUSTER {
                    used[usize_of(number)] += 1;
                }
            }
            image.close().unwrap();
            let last = image.allocate().unwrap();
            image.put_counts(last).unwrap();
            for at in &image.blocks {
                used[usize_of(at / CLUSTER)] = 1;
            }
            let calls = calls.0.lock().unwrap();
            let counts: Vec<u16> = image
                .blocks
                .iter()
                .flat_map(|at| calls[at].as_chunks::<2>().0.iter().copied())
                .map(u16::from_be_bytes)
                .collect();
            assert_eq!(counts.len(), used.len());
            let wrong =
                (counts != used).then(|| counts.iter().zip(&used).position(|(a, b)| a != b));
            assert_eq!(wrong, None, "round {round}: a cluster of {}", image.next);
        }
    }

    #[test]
    fn a_cluster_that_does_not_shrink_is_stored() {
        let mut plain = vec![0; 3 * CLUSTER_LEN];
        for (number, word) in plain[CLUSTER_LEN..].as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let number = u64_of(number + 1);
            let noise = number.wrapping_mul(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *word = noise.rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes();
        }
        plain[2 * CLUSTER_LEN..].fill(7);
        for codec in [Codec::Deflate, Codec::Zstd] {
            let mut packer = Packer::new(codec, None).unwrap();
            let (mut out, mut pieces) = (Vec::new(), Vec::new());
            pack(&mut packer, &plain, false, &mut out, &mut pieces);
            let [Piece::Zero { count: 1 }, Piece::Stored { bytes }, Piece::Packed { bytes: last }] =
                &pieces[..]
            else {
                panic!("{pieces:?}")
            };
            assert_eq!(out[bytes.clone()], plain[CLUSTER_LEN..][..CLUSTER_LEN]);
            assert!(last.len() < 1000 && last.end == out.len());
        }
    }
}
