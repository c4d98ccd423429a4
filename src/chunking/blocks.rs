//! Blocks of a job: read once, tested for zeros and hashed side by side, piece by piece, while they are in
//! the processor's cache.

use crate::chunking::jobs::Job;
use crate::digest::Digest;
use crate::digest::Lanes;
use crate::digest::is_zero;
use crate::error::Result;
use crate::io::PageBuffer;
use crate::io::READ_PIECE_LEN;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::work::Buffers;

/// Pieces of a block, each read at once.
const PIECES: usize = BLOCK_LEN / READ_PIECE_LEN;

/// Most blocks of any job.
pub(super) const MOST_BLOCKS: usize = 32;

static ZERO_PIECE: [u8; READ_PIECE_LEN] = [0; READ_PIECE_LEN];

/// What a job's blocks were found to be.
pub(super) enum Looked {
    /// Blocks whose state needed no reading.
    Run { kind: ExtentKind, count: u32, bytes: u64 },
    /// Blocks that were read: the ids of those that are not all zero.
    Blocks { first: BlockIndex, ids: Vec<Option<Digest>>, bytes: u64 },
}

/// One thread's buffers, which hold the blocks of its last job.
#[derive(Debug)]
pub(super) struct Looker<'a> {
    /// Whether the blocks are needed again after their digests are made.
    keeps: bool,
    buffers: &'a Buffers,
    lanes: Lanes,
    plain: PageBuffer,
    /// The blocks of a job that came with them.
    memory: Option<Vec<u8>>,
}

/// A block that holds more than zeros, and the first piece of it that does.
#[derive(Clone, Copy)]
struct Candidate {
    /// Place of the block in its job.
    number: usize,
    first_piece: usize,
}

impl<'a> Looker<'a> {
    pub(super) fn new(keeps: bool, buffers: &'a Buffers) -> Self {
        Self { keeps, buffers, lanes: Lanes::new(0), plain: PageBuffer::default(), memory: None }
    }

    /// Returns a block of the last job, if blocks are kept.
    pub(super) fn block(&self, number: usize) -> &[u8] {
        let plain = self.memory.as_deref().unwrap_or(&self.plain);
        &plain[number.strict_mul(BLOCK_LEN)..][..BLOCK_LEN]
    }

    /// Gives the memory of the last job back, if it came with it.
    pub(super) fn release(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.buffers.give(memory);
        }
    }

    pub(super) fn look(&mut self, job: Job<'_>) -> Result<Looked> {
        match job {
            Job::Run { kind, count, bytes } => Ok(Looked::Run { kind, count, bytes }),
            Job::Span { volume, first, count } => {
                let last = BlockIndex(first.0.strict_add(u32::try_from(count).expect("a few")));
                let bytes = last.offset().min(volume.size()).strict_sub(first.offset());
                let mut plain = std::mem::take(&mut self.plain);
                // Read piece by piece, a unit that is larger would be unpacked for each.
                let at_once = volume.unit_len() > READ_PIECE_LEN;
                let stride = if at_once || self.keeps { BLOCK_LEN } else { READ_PIECE_LEN };
                plain.resize(count.strict_mul(stride));
                let mut from = Some((volume, first));
                if at_once {
                    let len = usize::try_from(bytes).expect("at most 16 MiB");
                    volume.read_at(first.offset(), &mut plain[..len])?;
                    plain[len..].fill(0);
                    from = None;
                }
                let mut pieces = Pieces { plain: &mut plain, stride, from };
                let ids = self.ids(&mut pieces, count);
                self.plain = plain;
                Ok(Looked::Blocks { first, ids: ids?, bytes })
            }
            Job::Memory { mut plain, first, bytes } => {
                let count = plain.len() / BLOCK_LEN;
                let mut pieces = Pieces { plain: &mut plain, stride: BLOCK_LEN, from: None };
                let ids = self.ids(&mut pieces, count)?;
                self.memory = Some(plain);
                if !self.keeps {
                    self.release();
                }
                Ok(Looked::Blocks { first, ids, bytes })
            }
        }
    }

    /// Returns the id of each block that is not all zero.
    fn ids(&mut self, pieces: &mut Pieces<'_>, count: usize) -> Result<Vec<Option<Digest>>> {
        let mut candidates = Vec::with_capacity(count);
        for number in 0..count {
            for piece in 0..PIECES {
                pieces.fill(number, piece)?;
                if !is_zero(pieces.get(number, piece)) {
                    candidates.push(Candidate { number, first_piece: piece });
                    break;
                }
            }
        }
        let mut ids = [Digest([0; 32]); MOST_BLOCKS];
        let ids = &mut ids[..candidates.len()];
        self.digest(pieces, &candidates, ids)?;
        let mut found = vec![None; count];
        for (candidate, id) in candidates.iter().zip(ids) {
            found[candidate.number] = Some(*id);
        }
        Ok(found)
    }

    /// Hashes the candidates side by side, reading each piece just before it is hashed.
    fn digest(
        &mut self,
        pieces: &mut Pieces<'_>,
        candidates: &[Candidate],
        ids: &mut [Digest],
    ) -> Result<()> {
        self.lanes.reset(candidates.len());
        for piece in 0..PIECES {
            for candidate in candidates.iter().filter(|it| it.first_piece < piece) {
                pieces.fill(candidate.number, piece)?;
            }
            let mut side_by_side = [&ZERO_PIECE[..]; MOST_BLOCKS];
            for (lane, candidate) in side_by_side.iter_mut().zip(candidates) {
                if candidate.first_piece <= piece {
                    *lane = pieces.get(candidate.number, piece);
                }
            }
            self.lanes.update(&side_by_side[..candidates.len()]);
        }
        self.lanes.finish(ids);
        Ok(())
    }
}

/// The blocks of a job in memory: whole ones, or one piece of each at a time.
struct Pieces<'a> {
    plain: &'a mut [u8],
    /// Bytes from one block to the next: a block, or a piece.
    stride: usize,
    /// Where the bytes come from; `None` if they are there.
    from: Option<(&'a dyn ReadVolume, BlockIndex)>,
}

impl Pieces<'_> {
    fn start(&self, number: usize, piece: usize) -> usize {
        let within = if self.stride == BLOCK_LEN { piece.strict_mul(READ_PIECE_LEN) } else { 0 };
        number.strict_mul(self.stride).strict_add(within)
    }

    fn get(&self, number: usize, piece: usize) -> &[u8] {
        &self.plain[self.start(number, piece)..][..READ_PIECE_LEN]
    }

    /// Reads a piece; what lies past the end of the volume is zeros.
    fn fill(&mut self, number: usize, piece: usize) -> Result<()> {
        let Some((volume, first)) = self.from else { return Ok(()) };
        let start = self.start(number, piece);
        let target = &mut self.plain[start..][..READ_PIECE_LEN];
        let in_job = number.strict_mul(BLOCK_LEN).strict_add(piece.strict_mul(READ_PIECE_LEN));
        let at = first.offset().strict_add(u64::try_from(in_job).expect("at most 16 MiB"));
        let there = volume.size().saturating_sub(at);
        let len = usize::try_from(there).unwrap_or(usize::MAX).min(READ_PIECE_LEN);
        target[len..].fill(0);
        if len > 0 {
            volume.read_at(at, &mut target[..len])?;
        }
        Ok(())
    }
}

const _: () = assert!(BLOCK_SIZE == 524_288 && PIECES == 8, "a block is a whole number of pieces");
