//! From chunk headers to a map of runs, and the check of the checksums that an image may carry.

use crc32fast::Hasher;

use crate::error::Error;
use crate::error::Result;
use crate::field;
use crate::format::android_sparse::layout::CHUNK_HEADER_LEN;
use crate::format::android_sparse::layout::ChunkHeader;
use crate::format::android_sparse::layout::ChunkKind;
use crate::format::android_sparse::layout::HEADER_LEN;
use crate::format::android_sparse::layout::Header;
use crate::format::android_sparse::layout::SparseFault;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::check_size;
use crate::work::Watch;

/// Bytes that are read at once while headers are walked. A thousand FILL chunks fit, and what is
/// read in vain behind a RAW chunk's header costs less than the call itself.
const WINDOW_LEN: usize = 16 << 10;

/// A parsed image: its header, its runs, and whether it carries a checksum.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) header: Header,
    pub(super) map: RunMap,
    pub(super) has_crc: bool,
}

/// Reads the metadata of an image. Its runs point into source number `source`; `skipped` is what
/// `DONT_CARE` means: a hole, or in a part of a split set what lies below.
///
/// # Errors
///
/// `Corrupt`, `Unsupported` or `Limit` with the offset of the header that breaks the format;
/// `Invalid` for an image of no bytes; `Io` if it cannot be read.
pub(super) fn parse(bytes: &dyn ReadAt, source: u16, skipped: Place) -> Result<Parsed> {
    let mut chunks = Chunks::new(bytes)?;
    let header = chunks.header;
    check_size(header.volume_size()).map_err(|e| e.at(16))?;
    let mut map = RunMap::default();
    let mut has_crc = header.crc != 0;
    while let Some(chunk) = chunks.next()? {
        let place = match chunk.header.kind {
            ChunkKind::Raw => Place::Stored { source, offset: chunk.payload_at },
            ChunkKind::Fill if chunk.word == [0; 4] => Place::Zero,
            ChunkKind::Fill => Place::Fill(chunk.word),
            ChunkKind::DontCare => skipped,
            ChunkKind::Crc => {
                has_crc = true;
                continue;
            }
            ChunkKind::Unknown => continue,
        };
        map.push(chunk.volume_len(&header), place);
        if map.run_count() > MAX_RUNS {
            return Err(Error::from(SparseFault::Runs).at(chunk.at));
        }
    }
    Ok(Parsed { header, map, has_crc })
}

/// Checks every checksum that an image carries, reading all that it stores once.
///
/// Two values are right for a CRC: that of the volume with `DONT_CARE` as zeros, as the specification
/// has it, and the one that AOSP's writer makes, which counts one block of each FILL chunk and
/// nothing of a `DONT_CARE` chunk. Neither ever takes time for blocks that are not stored.
///
/// # Errors
///
/// `Corrupt` if a checksum is wrong; as reading the image otherwise.
pub fn check_crc(bytes: &dyn ReadAt, watch: &dyn Watch) -> Result<()> {
    let mut chunks = Chunks::new(bytes)?;
    let header = chunks.header;
    let (mut by_specification, mut by_writer) = (Hasher::new(), Hasher::new());
    let check = |found: u32, spec: &Hasher, writer: &Hasher| {
        let expected = spec.clone().finalize();
        if found == expected || found == writer.clone().finalize() {
            return Ok(());
        }
        Err(SparseFault::Crc { found, expected })
    };
    let mut piece = vec![0; READ_PIECE_LEN];
    while let Some(chunk) = chunks.next()? {
        let len = chunk.volume_len(&header);
        match chunk.header.kind {
            ChunkKind::Raw => {
                let stored = crc_of_stored(bytes, chunk.payload_at, len, &mut piece, watch)?;
                by_specification.combine(&stored);
                by_writer.combine(&stored);
            }
            ChunkKind::Fill => {
                by_specification.combine(&crc_of_fill(chunk.word, len));
                if len != 0 {
                    by_writer.combine(&crc_of_fill(chunk.word, header.block_len.into()));
                }
            }
            ChunkKind::DontCare => by_specification.combine(&crc_of_fill([0; 4], len)),
            ChunkKind::Crc => {
                check(u32::from_le_bytes(chunk.word), &by_specification, &by_writer)
                    .map_err(|fault| Error::from(fault).at(chunk.payload_at))?;
            }
            ChunkKind::Unknown => {}
        }
    }
    if header.crc != 0 {
        check(header.crc, &by_specification, &by_writer)
            .map_err(|fault| Error::from(fault).at(24))?;
    }
    Ok(())
}

/// CRC of `len` bytes of the file from `offset` on.
fn crc_of_stored(
    bytes: &dyn ReadAt,
    offset: u64,
    len: u64,
    piece: &mut [u8],
    watch: &dyn Watch,
) -> Result<Hasher> {
    let mut crc = Hasher::new();
    let (mut at, end) = (offset, offset.strict_add(len));
    while at < end {
        watch.check()?;
        let rest = usize::try_from(end.strict_sub(at)).unwrap_or(usize::MAX).min(piece.len());
        let part = &mut piece[..rest];
        bytes.read_exact_at(part, at)?;
        crc.update(part);
        at = at.strict_add(u64::try_from(rest).expect("at most a piece"));
    }
    Ok(crc)
}

/// CRC of `len` bytes of `word` over and over, in about log2(`len`) steps: each step doubles the
/// string that the power stands for. `len` is a multiple of 4.
fn crc_of_fill(word: [u8; 4], len: u64) -> Hasher {
    let mut power = Hasher::new();
    power.update(&word);
    let mut crc = Hasher::new();
    let mut words = len.strict_div(4);
    while words != 0 {
        if words % 2 == 1 {
            crc.combine(&power);
        }
        words = words.strict_div(2);
        if words != 0 {
            power.combine(&power.clone());
        }
    }
    crc
}

/// A chunk of an image, checked against the file.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    header: ChunkHeader,
    /// Byte at which its header starts.
    at: u64,
    /// Byte at which its payload starts.
    payload_at: u64,
    /// Payload of a FILL or CRC32 chunk.
    word: [u8; 4],
}

impl Chunk {
    /// Returns the bytes of the volume that the chunk stands for.
    fn volume_len(&self, header: &Header) -> u64 {
        // Cannot overflow: both factors are below 2^32.
        u64::from(self.header.block_count).strict_mul(u64::from(header.block_len))
    }
}

/// Walks the chunks of an image, checking each and, at the end, their sum.
struct Chunks<'a> {
    bytes: Window<'a>,
    header: Header,
    /// Byte at which the next chunk starts.
    at: u64,
    /// Chunks that were walked.
    done: u32,
    /// Blocks that they stand for.
    block_count: u32,
}

impl<'a> Chunks<'a> {
    fn new(bytes: &'a dyn ReadAt) -> Result<Self> {
        let len = bytes.len();
        let cut = |expected| Error::from(SparseFault::HeaderCut { len, expected }).at(0);
        let mut found = [0; HEADER_LEN];
        if len < 28 {
            return Err(cut(28));
        }
        bytes.read_exact_at(&mut found, 0)?;
        let header = Header::parse(&found).map_err(|fault| Error::from(fault).at(0))?;
        let at = u64::from(header.header_len);
        if len < at {
            return Err(cut(at));
        }
        Ok(Self { bytes: Window::new(bytes), header, at, done: 0, block_count: 0 })
    }

    /// Returns the next chunk; `None` after the last, if the sum is right.
    fn next(&mut self) -> Result<Option<Chunk>> {
        let (at, len) = (self.at, self.bytes.source.len());
        let Header { block_count, chunk_count, .. } = self.header;
        if self.done == chunk_count {
            if self.block_count != block_count {
                let fault =
                    SparseFault::TooFewBlocks { found: self.block_count, expected: block_count };
                return Err(Error::from(fault).at(16));
            }
            return Ok(None);
        }
        // Offsets stay below the file's length plus 2^33, far from 2^64.
        let payload_at = at.strict_add(self.header.chunk_header_len.into());
        let cut = |expected| {
            Error::from(SparseFault::ChunkCut { chunk: self.done, len, expected }).at(at)
        };
        if payload_at > len {
            return Err(cut(payload_at));
        }
        let found = self.bytes.read::<CHUNK_HEADER_LEN>(at)?;
        let header =
            ChunkHeader::parse(&found, &self.header).map_err(|fault| Error::from(fault).at(at))?;
        let end = payload_at.strict_add(header.payload_len.into());
        if end > len {
            return Err(cut(end));
        }
        let sum = u64::from(self.block_count).strict_add(header.block_count.into());
        self.block_count =
            u32::try_from(sum).ok().filter(|sum| *sum <= block_count).ok_or_else(|| {
                let fault = SparseFault::TooManyBlocks { found: sum, expected: block_count };
                Error::from(fault).at(at)
            })?;
        let word = match header.kind {
            ChunkKind::Fill | ChunkKind::Crc => self.bytes.read::<4>(payload_at)?,
            _ => [0; 4],
        };
        self.done = self.done.strict_add(1);
        self.at = end;
        Ok(Some(Chunk { header, at, payload_at, word }))
    }
}

/// Reads small pieces in ascending order out of larger reads: there can be millions of headers.
struct Window<'a> {
    source: &'a dyn ReadAt,
    start: u64,
    held: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(source: &'a dyn ReadAt) -> Self {
        Self { source, start: 0, held: Vec::new() }
    }

    /// Returns the `N` bytes from `at` on; the caller has checked that the source has them.
    fn read<const N: usize>(&mut self, at: u64) -> Result<[u8; N]> {
        if let Some(found) = self.find(at) {
            return Ok(found);
        }
        let rest = self.source.len().saturating_sub(at);
        let len = usize::try_from(rest).unwrap_or(WINDOW_LEN).min(WINDOW_LEN);
        self.held.resize(len, 0);
        self.start = at;
        self.source.read_exact_at(&mut self.held, at)?;
        Ok(field::array(&self.held, 0))
    }

    fn find<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let skip = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.held.get(skip..)?.first_chunk().copied()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use crate::error::Kind;
    use crate::io::testing::Counted;

    /// An image of `chunks`: kind, blocks, payload.
    fn image(block_len: u32, chunks: &[(ChunkKind, u32, &[u8])]) -> Vec<u8> {
        let header = Header {
            header_len: 28,
            chunk_header_len: 12,
            block_len,
            block_count: chunks.iter().map(|chunk| chunk.1).sum(),
            chunk_count: u32::try_from(chunks.len()).unwrap(),
            crc: 0,
        };
        let mut bytes = header.encode().to_vec();
        for &(kind, block_count, payload) in chunks {
            let payload_len = u32::try_from(payload.len()).unwrap();
            bytes.extend(ChunkHeader { kind, block_count, payload_len }.encode());
            bytes.extend(payload);
        }
        bytes
    }

    fn fault(bytes: &Vec<u8>) -> (Kind, Option<u64>) {
        let error = parse(bytes, 0, Place::Hole).map(|_| ()).unwrap_err();
        (error.kind(), error.offset())
    }

    #[test]
    fn chunks_become_runs() {
        let bytes = image(
            4,
            &[
                (ChunkKind::Raw, 2, b"abcdefgh"),
                (ChunkKind::Fill, 3, b"wxyz"),
                (ChunkKind::Fill, 1, &[0; 4]),
                (ChunkKind::DontCare, 5, b""),
                (ChunkKind::Raw, 1, b"last"),
            ],
        );
        let map = parse(&bytes, 3, Place::Backing).unwrap().map;
        let runs: Vec<_> = map.within(0..map.size()).collect();
        assert_eq!(
            runs,
            [
                (0..8, Place::Stored { source: 3, offset: 40 }),
                (8..20, Place::Fill(*b"wxyz")),
                (20..24, Place::Zero),
                (24..44, Place::Backing),
                (44..48, Place::Stored { source: 3, offset: 104 }),
            ]
        );
    }

    #[test]
    fn a_volume_over_64_tib_and_one_of_nothing_are_refused_at_once() {
        // The chunk is missing, and nobody gets as far as to see that.
        let huge = Header {
            header_len: 28,
            chunk_header_len: 12,
            block_len: 64 << 10,
            block_count: 1 << 31,
            chunk_count: 1,
            crc: 0,
        };
        assert_eq!(fault(&huge.encode().to_vec()), (Kind::Limit, Some(16)));
        let empty = Header { block_count: 0, ..huge };
        assert_eq!(fault(&empty.encode().to_vec()), (Kind::Invalid, Some(16)));
    }

    #[test]
    fn sums_and_ends_are_checked() {
        let sound = image(4, &[(ChunkKind::Fill, 1, b"aaaa"), (ChunkKind::Raw, 2, b"bbbbcccc")]);
        parse(&sound, 0, Place::Hole).unwrap();
        // total_blks one less and one more, total_chunks one more.
        for (at, byte, place) in [(16, 2, 44), (16, 4, 16), (20, 3, 64)] {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            assert_eq!(fault(&bytes), (Kind::Corrupt, Some(place)));
        }
        for len in 0..sound.len() {
            let error = parse(&sound[..len].to_vec(), 0, Place::Hole).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{len} bytes");
        }
        let mut longer = sound.clone();
        longer.extend(b"whatever");
        parse(&longer, 0, Place::Hole).unwrap();
        // A header size that the file does not have.
        let mut bytes = sound;
        bytes[9] = 1;
        assert_eq!(fault(&bytes), (Kind::Corrupt, Some(0)));
    }

    #[test]
    fn a_map_of_too_many_runs_is_refused() {
        // Alternating fills do not join; a block of 4 bytes keeps the volume small.
        let count = MAX_RUNS + 1;
        let chunks: Vec<(ChunkKind, u32, &[u8])> = (0..count)
            .map(|i| (ChunkKind::Fill, 1, if i % 2 == 0 { &b"aaaa"[..] } else { &b"bbbb"[..] }))
            .collect();
        let (kind, offset) = fault(&image(4, &chunks));
        assert_eq!(kind, Kind::Limit);
        assert_eq!(offset, Some(28 + 16 * u64::try_from(MAX_RUNS).unwrap()));
    }

    #[test]
    fn many_headers_take_few_reads() {
        let chunks: Vec<(ChunkKind, u32, &[u8])> = vec![(ChunkKind::Fill, 1, b"aaaa"); 100_000];
        let counted = Counted::new(image(4, &chunks));
        parse(&counted, 0, Place::Hole).unwrap();
        assert!(counted.reads() < 110);
    }

    /// The slow twin of `crc_of_fill`.
    #[test]
    fn crc_of_a_fill_is_that_of_its_bytes() {
        for words in (0..200).chain([1023, 1024, 1025, 99_999]) {
            for word in [[0; 4], *b"wxyz"] {
                let quick = crc_of_fill(word, 4 * words);
                assert_eq!(quick.total_len(), 4 * words);
                let slow = crc32fast::hash(&word.repeat(usize::try_from(words).unwrap()));
                assert_eq!(quick.finalize(), slow, "{words} words");
            }
        }
    }

    #[test]
    fn both_kinds_of_crc_pass_and_no_other() {
        let spec = crc32fast::hash(b"abcdwxyzwxyzwxyz\0\0\0\0");
        let writer = crc32fast::hash(b"abcdwxyz");
        let with = |crc: u32, header_crc: u32| {
            let mut bytes = image(
                4,
                &[
                    (ChunkKind::Raw, 1, b"abcd"),
                    (ChunkKind::Fill, 3, b"wxyz"),
                    (ChunkKind::DontCare, 1, b""),
                    (ChunkKind::Crc, 0, &crc.to_le_bytes()),
                ],
            );
            bytes[24..28].copy_from_slice(&header_crc.to_le_bytes());
            assert!(parse(&bytes, 0, Place::Hole).unwrap().has_crc);
            check_crc(&bytes, &crate::work::Unwatched).map_err(|e| e.offset())
        };
        for good in [spec, writer] {
            assert_eq!(with(good, 0), Ok(()));
            assert_eq!(with(good, spec), Ok(()));
            assert_eq!(with(good, writer), Ok(()));
            assert_eq!(with(good, 1), Err(Some(24)));
        }
        assert_eq!(with(spec ^ 1, 0), Err(Some(84)));
    }

    #[test]
    fn the_crc_of_terabytes_of_fill_takes_no_time() {
        let mut bytes = image(
            1 << 20,
            &[(ChunkKind::Fill, 1 << 24, b"wxyz"), (ChunkKind::DontCare, 1 << 24, b"")],
        );
        bytes[24] = 1;
        // Seconds at the least if anybody expanded it; the test's own time limit is the judge.
        assert_eq!(check_crc(&bytes, &crate::work::Unwatched).unwrap_err().offset(), Some(24));
    }
}
