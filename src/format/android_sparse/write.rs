//! From a volume to an Android sparse image: data in parallel, chunks in order.

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::android_sparse::layout::CHUNK_HEADER_LEN;
use crate::format::android_sparse::layout::ChunkHeader;
use crate::format::android_sparse::layout::ChunkKind;
use crate::format::android_sparse::layout::HEADER_LEN;
use crate::format::android_sparse::layout::Header;
use crate::format::android_sparse::layout::SIZE_GRAIN;
use crate::format::spans::spans_of;
use crate::format::tiles::tiles;
use crate::format::writer::WriteOptions;
use crate::io::WriteAt;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::Padded;
use crate::volume::ReadVolume;
use crate::work::Buffers;
use crate::work::in_order;

/// Bytes of a sparse block, the best first: consumers expect 4096, and img2simg takes no less than
/// 1024.
const BLOCK_LENS: [u32; 2] = [4096, 1024];

/// Most bytes of a RAW chunk, as in AOSP's writer; the format itself ends below 4 GiB.
const MAX_RAW_LEN: u64 = 64 << 20;

/// Writes a volume as an Android sparse image, states kept block by block.
///
/// The bytes written depend on nothing but the volume.
///
/// # Errors
///
/// `Unsupported` for 2^32 blocks and more; whatever reading and writing return.
pub fn write(
    volume: &dyn ReadVolume,
    sink: &dyn WriteAt,
    options: &WriteOptions<'_>,
) -> Result<()> {
    let volume = &Padded::to_multiple(volume, SIZE_GRAIN);
    let (block_len, block_count) = geometry(volume.size())?;
    let buffers = Buffers::default();
    let mut writer = Writer::new(sink, block_len);
    in_order(
        options.threads,
        options.watch,
        spans_of(volume, tiles(volume, block_len.into())),
        || Ok(()),
        |(), tile: Extent| {
            let mut pieces = Vec::new();
            let mut buffer = Vec::new();
            match tile.kind {
                ExtentKind::Hole => pieces.push(Piece { len: tile.len(), content: Content::Hole }),
                ExtentKind::Zero => {
                    pieces.push(Piece { len: tile.len(), content: Content::Fill([0; 4]) });
                }
                ExtentKind::Data => {
                    buffer = buffers.take();
                    buffer.resize(usize::try_from(tile.len()).expect("at most a span"), 0);
                    volume.read_at(tile.range.start, &mut buffer)?;
                    let block_len = usize::try_from(block_len).expect("a small number");
                    classify(&buffer, block_len, options.zeros_as_data, &mut pieces);
                }
            }
            Ok((tile.len(), buffer, pieces))
        },
        |(len, buffer, pieces)| {
            let mut rest = &buffer[..];
            for piece in pieces {
                if piece.content == Content::Raw {
                    let len = usize::try_from(piece.len).expect("inside the buffer");
                    let (bytes, behind) = rest.split_at(len);
                    rest = behind;
                    writer.raw(bytes)?;
                } else {
                    // The buffer holds the bytes of a fill too, unless it was not read at all.
                    let len = usize::try_from(piece.len).unwrap_or(usize::MAX).min(rest.len());
                    rest = &rest[len..];
                    writer.push(piece)?;
                }
            }
            buffers.give(buffer);
            options.watch.advance(len);
            Ok(())
        },
    )?;
    writer.finish(block_count)
}

/// Chooses the block size for a volume of `size` bytes, and counts its blocks.
fn geometry(size: u64) -> Result<(u32, u32)> {
    let block_len = BLOCK_LENS
        .into_iter()
        .find(|len| size.is_multiple_of(u64::from(*len)))
        .expect("a multiple of the smallest");
    let count = size.strict_div(block_len.into());
    let count = u32::try_from(count).map_err(|_| {
        let text = format!(
            "the volume has {count} blocks of {block_len} bytes, expected fewer than 2^32 for \
             android-sparse"
        );
        Error::new(Kind::Unsupported, text).advise("write it as raw")
    })?;
    Ok((block_len, count))
}

/// Finds the runs of whole blocks that are fills, and those that are not.
fn classify(bytes: &[u8], block_len: usize, zeros_as_data: bool, pieces: &mut Vec<Piece>) {
    let len = u64::try_from(block_len).expect("a small number");
    for block in bytes.chunks_exact(block_len) {
        let content = word_of(block)
            .filter(|word| !zeros_as_data || *word != [0; 4])
            .map_or(Content::Raw, Content::Fill);
        match pieces.last_mut() {
            Some(last) if last.content == content => last.len = last.len.strict_add(len),
            _ => pieces.push(Piece { len, content }),
        }
    }
}

/// Returns the word that fills `block`, if one does. Blocks are multiples of 4 and not empty.
fn word_of(block: &[u8]) -> Option<[u8; 4]> {
    // Equal to itself one word on: one comparison of memory, which ends at the first difference.
    let (word, behind) = block.split_first_chunk::<4>()?;
    (*behind == block[..behind.len()]).then_some(*word)
}

/// What some sparse blocks hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Raw,
    Fill([u8; 4]),
    Hole,
}

/// Some sparse blocks of one content, `len` bytes of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    len: u64,
    content: Content,
}

/// Writes chunks one after the other, each as long as its content goes on.
struct Writer<'a> {
    sink: &'a dyn WriteAt,
    block_len: u32,
    /// Byte of the output at which the next one goes.
    at: u64,
    chunk_count: u32,
    /// The chunk that may still grow, and the byte at which its header goes.
    open: Option<(u64, Piece)>,
}

impl<'a> Writer<'a> {
    fn new(sink: &'a dyn WriteAt, block_len: u32) -> Self {
        let at = u64::try_from(HEADER_LEN).expect("a small number");
        Self { sink, block_len, at, chunk_count: 0, open: None }
    }

    /// Adds blocks to the open chunk, or closes it and opens the next.
    fn push(&mut self, piece: Piece) -> Result<()> {
        if let Some((_, open)) = &mut self.open
            && open.content == piece.content
        {
            open.len = open.len.strict_add(piece.len);
            return Ok(());
        }
        self.close()?;
        self.open = Some((self.at, piece));
        self.at = self.at.strict_add(u64::try_from(CHUNK_HEADER_LEN).expect("a small number"));
        Ok(())
    }

    /// Adds blocks that are stored as they are.
    fn raw(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = match self.open {
                Some((_, Piece { len, content: Content::Raw })) => MAX_RAW_LEN.strict_sub(len),
                _ => 0,
            };
            if room == 0 {
                self.close()?;
            }
            let room = if room == 0 { MAX_RAW_LEN } else { room };
            let len = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let (part, behind) = bytes.split_at(len);
            bytes = behind;
            let len = u64::try_from(len).expect("inside the buffer");
            self.push(Piece { len, content: Content::Raw })?;
            self.sink.write_all_at(part, self.at)?;
            self.at = self.at.strict_add(len);
        }
        Ok(())
    }

    /// Writes the header of the open chunk, now that its length is known.
    fn close(&mut self) -> Result<()> {
        let Some((header_at, piece)) = self.open.take() else { return Ok(()) };
        let blocks = piece.len.strict_div(self.block_len.into());
        let (kind, payload_len) = match piece.content {
            Content::Raw => {
                (ChunkKind::Raw, u32::try_from(piece.len).expect("at most MAX_RAW_LEN"))
            }
            Content::Fill(_) => (ChunkKind::Fill, 4),
            Content::Hole => (ChunkKind::DontCare, 0),
        };
        let block_count = u32::try_from(blocks).expect("no more than the volume has");
        let mut bytes = ChunkHeader { kind, block_count, payload_len }.encode().to_vec();
        if let Content::Fill(word) = piece.content {
            bytes.extend(word);
            self.at = self.at.strict_add(4);
        }
        // A chunk has a block at least, so there are no more chunks than blocks.
        self.chunk_count = self.chunk_count.strict_add(1);
        self.sink.write_all_at(&bytes, header_at)
    }

    /// Ends the image: the file header comes last, because it counts the chunks.
    fn finish(mut self, block_count: u32) -> Result<()> {
        self.close()?;
        let header = Header {
            header_len: u16::try_from(HEADER_LEN).expect("a small number"),
            chunk_header_len: u16::try_from(CHUNK_HEADER_LEN).expect("a small number"),
            block_len: self.block_len,
            block_count,
            chunk_count: self.chunk_count,
            crc: 0,
        };
        self.sink.write_all_at(&header.encode(), 0)?;
        self.sink.set_size(self.at)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::num::NonZero;

    use crate::format::android_sparse::map::parse;
    use crate::io::testing::Memory;
    use crate::volume::Place;
    use crate::volume::RunMap;
    use crate::volume::Volume;
    use crate::work::Unwatched;

    fn written(volume: &Volume, threads: usize) -> Vec<u8> {
        let memory = Memory::default();
        let options = WriteOptions {
            threads: NonZero::new(threads).unwrap(),
            watch: &Unwatched,
            level: None,
            zeros_as_data: false,
        };
        write(volume, &memory, &options).unwrap();
        memory.into_bytes()
    }

    /// Chunks of an image: kind, blocks.
    fn chunks(bytes: &[u8]) -> Vec<(ChunkKind, u32)> {
        let header = Header::parse(bytes.first_chunk().unwrap()).unwrap();
        let mut at = HEADER_LEN;
        let mut out = Vec::new();
        for _ in 0..header.chunk_count {
            let chunk = ChunkHeader::parse(bytes[at..].first_chunk().unwrap(), &header).unwrap();
            at += CHUNK_HEADER_LEN + usize::try_from(chunk.payload_len).unwrap();
            out.push((chunk.kind, chunk.block_count));
        }
        assert_eq!(at, bytes.len());
        out
    }

    #[test]
    fn the_block_size_follows_from_the_size() {
        assert_eq!(geometry(8192).unwrap(), (4096, 2));
        assert_eq!(geometry(5120).unwrap(), (1024, 5));
        assert_eq!(geometry((1 << 44) - 4096).unwrap(), (4096, u32::MAX));
        for size in [1 << 44, (1 << 42) + 1024] {
            let error = geometry(size).unwrap_err();
            assert_eq!(error.kind(), Kind::Unsupported);
            assert!(error.to_string().contains("raw"));
        }
    }

    #[test]
    fn a_word_that_fills_a_block_is_found() {
        let mut block = b"wxyz".repeat(256);
        assert_eq!(word_of(&block), Some(*b"wxyz"));
        for at in 0..block.len() {
            block[at] ^= 1;
            assert_eq!(word_of(&block), None, "byte {at}");
            block[at] ^= 1;
        }
        assert_eq!(word_of(&[0; 1024]), Some([0; 4]));
    }

    #[test]
    fn neighbours_join_over_spans_and_raw_ends_at_64_mib() {
        let stored: Vec<u8> = (0..70_u32 << 18)
            .flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes())
            .collect();
        let mut map = RunMap::default();
        map.push(5 << 20, Place::Hole);
        map.push(70 << 20, Place::Stored { source: 0, offset: 0 });
        map.push(9 << 20, Place::Fill(*b"wxyz"));
        map.push(200 << 20, Place::Zero);
        let volume = Volume::new(map, vec![std::sync::Arc::new(stored).into()]).unwrap();
        let bytes = written(&volume, 1);
        assert_eq!(
            chunks(&bytes),
            [
                (ChunkKind::DontCare, 5 << 8),
                (ChunkKind::Raw, 64 << 8),
                (ChunkKind::Raw, 6 << 8),
                (ChunkKind::Fill, 9 << 8),
                (ChunkKind::Fill, 200 << 8),
            ]
        );
        let again = parse(&bytes, 0, Place::Hole).unwrap();
        let again =
            Volume::new(again.map, vec![std::sync::Arc::new(bytes.clone()).into()]).unwrap();
        assert_eq!(written(&again, 3), bytes);
    }

    #[test]
    fn extents_that_meet_inside_a_block_are_decided_by_the_bytes() {
        let mut map = RunMap::default();
        map.push(1000, Place::Hole);
        map.push(3096, Place::Zero);
        map.push(4096, Place::Hole);
        map.push(100, Place::Hole);
        map.push(3996, Place::Fill(*b"wxyz"));
        let volume = Volume::new(map, Vec::new()).unwrap();
        assert_eq!(
            chunks(&written(&volume, 1)),
            [(ChunkKind::Fill, 1), (ChunkKind::DontCare, 1), (ChunkKind::Raw, 1)]
        );
    }
}
