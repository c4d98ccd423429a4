//! The hot path: a volume to blocks, blocks to states and chunk ids, chunks to frames.
//!
//! Blocks are worked on side by side and handed over in order, so what comes out is the same at any
//! number of threads. Each worker copies a block once, piece by piece, into a buffer of its own, and
//! tests, hashes and compresses that copy: what was hashed is what is stored, and a piece is still
//! in the processor's cache when its digest is made.

use std::num::NonZero;
use std::sync::PoisonError;
use std::sync::RwLock;

use crate::compress::Encoder;
use crate::digest::Digest;
use crate::digest::Lanes;
use crate::digest::is_zero;
use crate::error::Result;
use crate::io::PageBuffer;
use crate::io::READ_PIECE_LEN;
use crate::io::Stream;
use crate::pack::Form;
use crate::pack::KnownChunks;
use crate::pack::Stored;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::units::MAX_VOLUME_SIZE;
use crate::units::block_count;
use crate::volume::ReadVolume;
use crate::volume::block_hint;
use crate::volume::check_size;
use crate::work::Buffers;
use crate::work::Watch;
use crate::work::in_order;

/// Pieces of a block, each read at once.
const PIECES: usize = BLOCK_LEN / READ_PIECE_LEN;

/// Most blocks of a job whose chunks are stored: two mebibytes of plain bytes a worker. Hashing is
/// a small part of that work, so more lanes would only take memory.
const MOST_STORED_BLOCKS: usize = 4;

/// Most blocks of any job.
const MOST_BLOCKS: usize = 32;

static ZERO_PIECE: [u8; READ_PIECE_LEN] = [0; READ_PIECE_LEN];

/// Where the blocks come from.
#[derive(Debug)]
pub enum Source<'a> {
    /// A volume that can be read at any place.
    Volume(&'a dyn ReadVolume),
    /// Bytes that come once and in order; it cannot tell holes, so it has none.
    Stream(&'a mut Stream),
}

/// What is done about states that a user does not want to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// Treat holes as written zeros.
    pub holes_as_zeros: bool,
    /// Treat written zeros as holes: unsafe on encrypted volumes, which read garbage there.
    pub zeros_as_holes: bool,
}

impl States {
    fn apply(self, kind: ExtentKind) -> ExtentKind {
        match kind {
            ExtentKind::Hole if self.holes_as_zeros => ExtentKind::Zero,
            ExtentKind::Zero if self.zeros_as_holes => ExtentKind::Hole,
            kept => kept,
        }
    }
}

/// How chunks are made.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Threads to work on.
    pub threads: NonZero<usize>,
    /// The follower of the run.
    pub watch: &'a dyn Watch,
    /// What is done about states.
    pub states: States,
    /// Whether and how chunks are compressed for storing.
    pub store: Option<Store<'a>>,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// How chunks are compressed for storing.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    /// Compression level.
    pub level: i32,
    /// Chunks that need no frame because they are stored already. The sink adds to it.
    pub known: &'a RwLock<KnownChunks>,
    /// The store of chunks by what they share with a base, if there is one.
    pub patcher: Option<&'a dyn Patcher>,
}

/// Stores chunks by what they share with a base.
pub trait Patcher: Sync + std::fmt::Debug {
    /// Tells whether the base has the chunk of block `index`, so that it need not be stored at all.
    ///
    /// # Errors
    ///
    /// As reading the base.
    fn has(&self, index: BlockIndex, id: &Digest) -> Result<bool>;

    /// Appends the stored form of the chunk `plain` at block `index` to `out`: the patch over the
    /// base, or what `whole` makes of it if that is not longer. The same chunk at the same place
    /// gives the same bytes.
    ///
    /// # Errors
    ///
    /// As reading the base.
    fn append(
        &self,
        index: BlockIndex,
        plain: &[u8],
        whole: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> Result<Form>;
}

/// Takes what the blocks are, in their order.
pub trait Sink {
    /// Takes `count` blocks that are all zero or all holes.
    ///
    /// # Errors
    ///
    /// Whatever stops the run.
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()>;

    /// Takes a data block: its chunk's id, and the chunk's stored form if chunks are stored and this
    /// one was not known when it was looked at.
    ///
    /// # Errors
    ///
    /// Whatever stops the run.
    fn data(&mut self, id: Digest, stored: Option<Stored<'_>>) -> Result<()>;
}

/// Cuts `source` into blocks, hands each to `sink`, and returns the volume's size in bytes.
///
/// # Errors
///
/// `Io`, `Corrupt` or `Mismatch` if the source cannot be read; `Invalid` if it is empty; `Limit`
/// over 64 TiB; `Interrupted` on request; and whatever `sink` returns.
pub fn run(source: Source<'_>, options: &Options<'_>, sink: &mut dyn Sink) -> Result<u64> {
    let buffers = Buffers::default();
    let worker = || Worker::new(options, &buffers);
    let commit = |outcome: Outcome| {
        let bytes = outcome.bytes;
        outcome.commit(options.states, sink, &buffers)?;
        options.watch.advance(bytes);
        Ok(())
    };
    match source {
        Source::Volume(volume) => {
            check_size(volume.size())?;
            let jobs = volume_jobs(volume, options.blocks_a_job());
            in_order(options.threads, options.watch, jobs, worker, Worker::work, commit)?;
            volume.check_unchanged()?;
            Ok(volume.size())
        }
        Source::Stream(stream) => {
            let mut size = 0;
            let jobs = stream_jobs(
                &mut *stream,
                options.blocks_a_job(),
                &buffers,
                &mut size,
                options.watch,
            );
            in_order(options.threads, options.watch, jobs, worker, Worker::work, commit)?;
            stream.check_unchanged()?;
            check_size(size)?;
            Ok(size)
        }
    }
}

impl Options<'_> {
    /// Returns how many blocks one job takes.
    fn blocks_a_job(&self) -> usize {
        let most = if self.store.is_some() { MOST_STORED_BLOCKS } else { MOST_BLOCKS };
        Lanes::preferred().clamp(1, most)
    }
}

/// A part of the volume that one worker takes.
enum Job<'a> {
    /// Blocks whose state needs no reading.
    Run { kind: ExtentKind, count: u32, bytes: u64 },
    /// Blocks to be read.
    Span { volume: &'a dyn ReadVolume, first: BlockIndex, count: usize },
    /// Blocks that a stream gave, padded to whole ones.
    Memory { plain: Vec<u8>, first: BlockIndex, bytes: u64 },
}

/// Cuts a volume into jobs, skipping over what need not be read.
fn volume_jobs(volume: &dyn ReadVolume, most: usize) -> impl Iterator<Item = Result<Job<'_>>> + '_ {
    let end = block_count(volume.size());
    let mut next = BlockIndex(0);
    std::iter::from_fn(move || {
        (next.0 < end).then(|| {
            let job = next_job(volume, next, end, most);
            next = match &job {
                Ok(Job::Run { count, .. }) => BlockIndex(next.0.strict_add(*count)),
                Ok(Job::Span { count, .. }) => {
                    let count = u32::try_from(*count).expect("at most 32");
                    BlockIndex(next.0.strict_add(count))
                }
                // After a failure there is no next place to look at.
                Ok(Job::Memory { .. }) | Err(_) => BlockIndex(end),
            };
            job
        })
    })
}

fn next_job(volume: &dyn ReadVolume, first: BlockIndex, end: u32, most: usize) -> Result<Job<'_>> {
    let extent = volume.extent_at(first.offset())?;
    // Blocks that the extent covers to their end; the volume's last block ends with the volume.
    let covered = if extent.range.end >= volume.size() {
        end
    } else {
        BlockIndex::holding(extent.range.end).expect("inside the volume").0
    };
    let (kind, covered) = if covered > first.0 {
        (extent.kind, covered)
    } else {
        (block_hint(volume, first)?, first.0.strict_add(1))
    };
    if kind != ExtentKind::Data {
        let count = covered.strict_sub(first.0);
        let bytes = BlockIndex(covered).offset().min(volume.size()).strict_sub(first.offset());
        return Ok(Job::Run { kind, count, bytes });
    }
    let mut count = 1;
    while count < most {
        let next = BlockIndex(first.0.strict_add(u32::try_from(count).expect("at most 32")));
        let data =
            next.0 < covered || (next.0 < end && block_hint(volume, next)? == ExtentKind::Data);
        if !data {
            break;
        }
        count = count.strict_add(1);
    }
    Ok(Job::Span { volume, first, count })
}

/// Cuts a stream into jobs and counts its bytes.
fn stream_jobs<'a>(
    stream: &'a mut Stream,
    most: usize,
    buffers: &'a Buffers,
    size: &'a mut u64,
    watch: &'a dyn Watch,
) -> impl Iterator<Item = Result<Job<'static>>> + 'a {
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut plain = buffers.take();
        plain.resize(most.strict_mul(BLOCK_LEN), 0);
        let len = match stream.read_full(&mut plain, watch) {
            Ok(len) => len,
            Err(error) => {
                ended = true;
                return Some(Err(error));
            }
        };
        ended = len < plain.len();
        if len == 0 {
            return None;
        }
        let bytes = u64::try_from(len).expect("at most 16 MiB");
        // Only the last job is not of whole blocks.
        let first = BlockIndex::holding(*size);
        *size = size.strict_add(bytes);
        if *size > MAX_VOLUME_SIZE {
            ended = true;
            return Some(check_size(*size).map(|()| unreachable!("it is over the limit")));
        }
        plain.truncate(len.next_multiple_of(BLOCK_LEN));
        plain[len..].fill(0);
        let first = first.expect("inside the largest volume");
        Some(Ok(Job::Memory { plain, first, bytes }))
    })
}

/// What a worker found a block to be.
#[derive(Clone, Copy)]
enum Found {
    Zero,
    /// The chunk's id, and the form and length of its stored bytes if it has some.
    Data {
        id: Digest,
        stored: Option<(Form, usize)>,
    },
}

/// What a worker made of a job.
struct Outcome {
    run: Option<(ExtentKind, u32)>,
    blocks: Vec<Found>,
    /// The stored bytes of the blocks, one behind the other.
    frames: Vec<u8>,
    /// Bytes of the volume that the job covers.
    bytes: u64,
}

impl Outcome {
    fn commit(self, states: States, sink: &mut dyn Sink, buffers: &Buffers) -> Result<()> {
        if let Some((kind, count)) = self.run {
            sink.run(states.apply(kind), count)?;
        }
        let mut rest = &self.frames[..];
        for block in self.blocks {
            match block {
                Found::Zero => sink.run(states.apply(ExtentKind::Zero), 1)?,
                Found::Data { id, stored } => {
                    let stored = stored.map(|(form, len)| {
                        let (bytes, behind) = rest.split_at(len);
                        rest = behind;
                        Stored { form, bytes }
                    });
                    sink.data(id, stored)?;
                }
            }
        }
        buffers.give(self.frames);
        Ok(())
    }
}

/// A block that holds more than zeros, and the first piece of it that does.
#[derive(Clone, Copy)]
struct Candidate {
    /// Place of the block in its job.
    number: usize,
    first_piece: usize,
}

/// One thread's buffers and contexts.
struct Worker<'a> {
    watch: &'a dyn Watch,
    buffers: &'a Buffers,
    encoder: Option<Encoder>,
    known: Option<&'a RwLock<KnownChunks>>,
    patcher: Option<&'a dyn Patcher>,
    lanes: Lanes,
    plain: PageBuffer,
}

impl<'a> Worker<'a> {
    fn new(options: &Options<'a>, buffers: &'a Buffers) -> Result<Self> {
        Ok(Self {
            watch: options.watch,
            buffers,
            encoder: options.store.map(|store| Encoder::new(store.level)).transpose()?,
            known: options.store.map(|store| store.known),
            patcher: options.store.and_then(|store| store.patcher),
            lanes: Lanes::new(0),
            plain: PageBuffer::default(),
        })
    }

    fn work(&mut self, job: Job<'_>) -> Result<Outcome> {
        match job {
            Job::Run { kind, count, bytes } => Ok(Outcome {
                run: Some((kind, count)),
                blocks: Vec::new(),
                frames: self.buffers.take(),
                bytes,
            }),
            Job::Span { volume, first, count } => {
                let last = BlockIndex(first.0.strict_add(u32::try_from(count).expect("a few")));
                let bytes = last.offset().min(volume.size()).strict_sub(first.offset());
                let mut plain = std::mem::take(&mut self.plain);
                // Read piece by piece, a unit that is larger would be unpacked for each.
                let at_once = volume.unit_len() > READ_PIECE_LEN;
                // Only a chunk that is stored is needed again after its digest is made.
                let whole = at_once || self.encoder.is_some();
                let stride = if whole { BLOCK_LEN } else { READ_PIECE_LEN };
                plain.resize(count.strict_mul(stride));
                let mut from = Some((volume, first));
                if at_once {
                    let len = usize::try_from(bytes).expect("at most 16 MiB");
                    volume.read_at(first.offset(), &mut plain[..len])?;
                    plain[len..].fill(0);
                    from = None;
                }
                let mut pieces = Pieces { plain: &mut plain, stride, from };
                let outcome = self.blocks(&mut pieces, first, count, bytes);
                self.plain = plain;
                outcome
            }
            Job::Memory { mut plain, first, bytes } => {
                let count = plain.len() / BLOCK_LEN;
                let mut pieces = Pieces { plain: &mut plain, stride: BLOCK_LEN, from: None };
                let outcome = self.blocks(&mut pieces, first, count, bytes);
                self.buffers.give(plain);
                outcome
            }
        }
    }

    fn blocks(
        &mut self,
        pieces: &mut Pieces<'_>,
        first: BlockIndex,
        count: usize,
        bytes: u64,
    ) -> Result<Outcome> {
        let mut blocks = vec![Found::Zero; count];
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
        let mut frames = self.buffers.take();
        for (candidate, id) in candidates.iter().zip(ids) {
            // At a high level, one block takes a good part of a second.
            self.watch.check()?;
            let number = u32::try_from(candidate.number).expect("at most 32");
            let index = BlockIndex(first.0.strict_add(number));
            let stored = match self.encoder {
                Some(_) => self.store(index, id, pieces.block(candidate.number), &mut frames)?,
                None => None,
            };
            blocks[candidate.number] = Found::Data { id: *id, stored };
        }
        Ok(Outcome { run: None, blocks, frames, bytes })
    }

    /// Appends a chunk's stored form to `frames`, if chunks are stored and this one is not known.
    fn store(
        &mut self,
        index: BlockIndex,
        id: &Digest,
        plain: &[u8],
        frames: &mut Vec<u8>,
    ) -> Result<Option<(Form, usize)>> {
        let (Some(encoder), Some(known)) = (&mut self.encoder, self.known) else { return Ok(None) };
        if known.read().unwrap_or_else(PoisonError::into_inner).contains(id) {
            return Ok(None);
        }
        let Some(patcher) = self.patcher else {
            return Ok(Some((Form::Whole, encoder.append(plain, frames))));
        };
        if patcher.has(index, id)? {
            return Ok(None);
        }
        let start = frames.len();
        let form = patcher.append(index, plain, encoder, frames)?;
        Ok(Some((form, frames.len().strict_sub(start))))
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

    fn block(&self, number: usize) -> &[u8] {
        &self.plain[number.strict_mul(BLOCK_LEN)..][..BLOCK_LEN]
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

#[cfg(test)]
mod tests;
