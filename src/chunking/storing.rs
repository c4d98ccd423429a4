//! Blocks to stored chunks: what is new is patched or goes into groups.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;
use std::sync::PoisonError;

use crate::chunking::blocks::Looked;
use crate::chunking::blocks::Looker;
use crate::chunking::grouping::Closed;
use crate::chunking::grouping::Grouping;
use crate::chunking::grouping::Place;
use crate::chunking::grouping::Slab;
use crate::chunking::grouping::Slabs;
use crate::chunking::grouping::region_of;
use crate::chunking::jobs::Job;
use crate::chunking::options::Options;
use crate::chunking::options::Sink;
use crate::chunking::options::Store;
use crate::compress::Encoder;
use crate::compress::GroupEncoder;
use crate::digest::Digest;
use crate::error::Result;
use crate::pack::Form;
use crate::pack::Region;
use crate::pack::Stored;
use crate::units::BLOCK_LEN;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::work::Buffers;
use crate::work::Crew;
use crate::work::Watch;
use crate::work::in_turn_with_room;

/// Groups that may be open or wait to be stored, beside one a thread.
const MORE_GROUPS: usize = 2;

/// The same over a base, whose decoded groups take memory too. Most chunks become patches there, and groups fill slowly: one
/// more makes nothing faster.
const MORE_GROUPS_OVER_A_BASE: usize = 1;

/// Jobs a thread that may be under way over a base. Their patches wait in memory for their turn while another thread
/// compresses a group, which takes as long as a few jobs.
const WINDOW_OVER_A_BASE: usize = 16;

/// Jobs a thread that are drawn and not begun: each of a stream has its bytes with it.
const QUEUED_JOBS: usize = 2;

/// What becomes of a block's chunk, as far as its worker can tell before its turn.
enum How {
    /// It is stored already, or the base has it.
    Nothing,
    /// It is a patch if it is new: these bytes of the job's.
    Patch(Range<usize>),
    /// It goes into a group if it is new.
    Whole,
}

/// What a worker made of a job before its turn.
struct Made {
    looked: Looked,
    hows: Vec<How>,
    /// The patches, one behind the other.
    patches: Vec<u8>,
}

/// What the sink is to hear of a job, in order.
enum Event {
    Run(ExtentKind, u32),
    Data(Digest),
    Patch(Region, Digest, Range<usize>),
    Group(u64, Region, Vec<Digest>),
}

/// A job in its turn.
struct Placed {
    events: Vec<Event>,
    /// Blocks of the job that go to a place in a group.
    places: Vec<(usize, Place)>,
    /// Groups that were full when they were closed.
    full: Vec<Arc<Slab>>,
    patches: Vec<u8>,
    bytes: u64,
}

/// A job that is done.
struct Done {
    events: Vec<Event>,
    frames: Vec<(u64, Vec<u8>)>,
    patches: Vec<u8>,
    bytes: u64,
}

/// Runs `jobs` and hands blocks, patches and groups to `sink`.
pub(super) fn run<'a>(
    jobs: impl Iterator<Item = Result<Job<'a>>>,
    options: &Options<'_>,
    store: &Store<'_>,
    buffers: &Buffers,
    sink: &mut dyn Sink,
) -> Result<()> {
    let chunks = usize::try_from(store.group_chunks).expect("at most 128");
    if store.region_blocks > 0 {
        store.known.write().unwrap_or_else(PoisonError::into_inner).enter(0);
    }
    let threads = affordable(options.threads, store);
    let (slabs, patches) = (Slabs::default(), Buffers::default());
    let mut grouping = Grouping::new(&slabs, store.known, chunks, store.region_blocks);
    let mut storing =
        Storing { sink, options, slabs: &slabs, patches: &patches, waiting: BTreeMap::new() };
    let (more, window) = match store.patcher {
        Some(_) => (MORE_GROUPS_OVER_A_BASE, WINDOW_OVER_A_BASE),
        None => (MORE_GROUPS, chunks.max(16)),
    };
    let most = threads.get().saturating_add(more);
    in_turn_with_room(
        Crew::of(threads, window, QUEUED_JOBS),
        options.watch,
        jobs,
        || Worker::new(options, store, &slabs, buffers, &patches),
        Worker::work,
        || slabs.alive() <= most,
        |looked| place(&mut grouping, looked),
        Worker::finish,
        |done| storing.commit(done),
    )?;
    if let Some(Closed { number, region, ids, full }) = grouping.close() {
        let slab = full.expect("all jobs are done");
        let mut encoder = GroupEncoder::new(store.level, chunks.strict_mul(BLOCK_LEN))?;
        let frame = slabs.compress(&slab, &mut encoder, options.watch)?;
        let events = vec![Event::Group(number, region, ids)];
        storing.commit(Done { events, frames: vec![frame], patches: Vec::new(), bytes: 0 })?;
    }
    Ok(())
}

/// Returns for how many threads there is address space: under a limit on it, fewer threads are better than
/// none.
fn affordable(threads: NonZero<usize>, store: &Store<'_>) -> NonZero<usize> {
    let group = usize::try_from(store.group_chunks).expect("at most 128").strict_mul(BLOCK_LEN);
    let encoder =
        usize::try_from(crate::compress::encoder_memory(store.level)).unwrap_or(usize::MAX);
    let each = group.strict_mul(2).saturating_add(encoder);
    let mut held: Vec<Vec<u8>> = Vec::new();
    // What all threads share counts as one more.
    for _ in 0..=threads.get() {
        let mut room = Vec::new();
        if room.try_reserve_exact(each).is_err() {
            break;
        }
        held.push(room);
    }
    NonZero::new(held.len().saturating_sub(1)).unwrap_or(NonZero::<usize>::MIN)
}

/// Gives the new chunks of a job their places, in the job's turn.
fn place(grouping: &mut Grouping<'_>, job: Made) -> Result<Placed> {
    let Made { looked, hows, patches } = job;
    let (mut events, mut places, mut full) = (Vec::new(), Vec::new(), Vec::new());
    let (first, ids, bytes) = match looked {
        Looked::Blocks { first, ids, bytes } => (first, ids, bytes),
        Looked::Run { kind, count, bytes } => {
            events.push(Event::Run(kind, count));
            return Ok(Placed { events, places, full, patches, bytes });
        }
    };
    let mut close = |closed: Option<Closed>, events: &mut Vec<Event>| {
        let Some(Closed { number, region, ids, full: slab }) = closed else { return };
        full.extend(slab);
        events.push(Event::Group(number, region, ids));
    };
    for (number, (id, how)) in ids.into_iter().zip(hows).enumerate() {
        let Some(id) = id else {
            events.push(Event::Run(ExtentKind::Zero, 1));
            continue;
        };
        events.push(Event::Data(id));
        let index = BlockIndex(first.0.strict_add(u32::try_from(number).expect("a few")));
        close(grouping.enter(index), &mut events);
        match how {
            How::Nothing => {}
            How::Patch(range) => {
                if grouping.is_new(&id) {
                    events.push(Event::Patch(grouping.region(), id, range));
                    close(grouping.count(), &mut events);
                }
            }
            How::Whole => {
                if grouping.is_new(&id) {
                    let (place, closed) = grouping.place(&id)?;
                    places.push((number, place));
                    close(closed, &mut events);
                    close(grouping.count(), &mut events);
                }
            }
        }
    }
    Ok(Placed { events, places, full, patches, bytes })
}

/// One thread's buffers and contexts.
struct Worker<'a> {
    watch: &'a dyn Watch,
    store: &'a Store<'a>,
    slabs: &'a Slabs,
    patches: &'a Buffers,
    looker: Looker<'a>,
    groups: GroupEncoder,
    /// For chunks alone: what a patch must be shorter than.
    single: Option<Encoder>,
}

impl<'a> Worker<'a> {
    fn new(
        options: &Options<'a>,
        store: &'a Store<'a>,
        slabs: &'a Slabs,
        buffers: &'a Buffers,
        patches: &'a Buffers,
    ) -> Result<Self> {
        let most_len =
            usize::try_from(store.group_chunks).expect("at most 128").strict_mul(BLOCK_LEN);
        Ok(Self {
            watch: options.watch,
            store,
            slabs,
            patches,
            looker: Looker::new(true, buffers),
            groups: GroupEncoder::new(store.level, most_len)?,
            single: store.patcher.map(|_| Encoder::new(store.level)).transpose()?,
        })
    }

    /// Reads and hashes a job's blocks, and makes patches of them if there is a base.
    fn work(&mut self, job: Job<'_>) -> Result<Made> {
        let looked = self.looker.look(job)?;
        let (mut hows, mut patches) = (Vec::new(), self.patches.take());
        if let Looked::Blocks { first, ids, .. } = &looked {
            hows.reserve(ids.len());
            for (number, id) in ids.iter().enumerate() {
                let index = BlockIndex(first.0.strict_add(u32::try_from(number).expect("a few")));
                hows.push(match id {
                    Some(id) => self.how(index, id, number, &mut patches)?,
                    None => How::Nothing,
                });
            }
        }
        Ok(Made { looked, hows, patches })
    }

    /// Finds out what becomes of a chunk.
    fn how(
        &mut self,
        index: BlockIndex,
        id: &Digest,
        number: usize,
        out: &mut Vec<u8>,
    ) -> Result<How> {
        let (Some(patcher), Some(single)) = (self.store.patcher, &mut self.single) else {
            return Ok(How::Whole);
        };
        // At a high level, one block takes a good part of a second.
        self.watch.check()?;
        let region = region_of(index, self.store.region_blocks);
        let known = self.store.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_known = known.has_for_good(region, id);
        drop(known);
        if is_known || patcher.has(index, id)? {
            return Ok(How::Nothing);
        }
        let start = out.len();
        let helps = patcher.append(index, self.looker.block(number), single, out)?;
        Ok(if helps { How::Patch(start..out.len()) } else { How::Whole })
    }

    /// Copies the new chunks to their places, and compresses what is full then.
    fn finish(&mut self, job: Placed) -> Result<Done> {
        let Placed { events, places, mut full, patches, bytes } = job;
        for (number, place) in places {
            if place.fill(self.looker.block(number)) {
                full.push(place.slab);
            }
        }
        self.looker.release();
        let mut frames = Vec::with_capacity(full.len());
        for slab in full {
            self.watch.check()?;
            frames.push(self.slabs.compress(&slab, &mut self.groups, self.watch)?);
        }
        Ok(Done { events, frames, patches, bytes })
    }
}

/// Hands over what is done, in order.
struct Storing<'a> {
    sink: &'a mut dyn Sink,
    options: &'a Options<'a>,
    slabs: &'a Slabs,
    patches: &'a Buffers,
    /// Frames of groups whose turn has not come.
    waiting: BTreeMap<u64, Vec<u8>>,
}

impl Storing<'_> {
    fn commit(&mut self, done: Done) -> Result<()> {
        let Done { events, frames, patches, bytes } = done;
        self.waiting.extend(frames);
        for event in events {
            match event {
                Event::Run(kind, count) => self.sink.run(self.options.states.apply(kind), count)?,
                Event::Data(id) => self.sink.data(id)?,
                Event::Patch(region, id, range) => {
                    let bytes = &patches[range];
                    self.sink.store(region, Stored { form: Form::Patched, ids: &[id], bytes })?;
                }
                Event::Group(number, region, ids) => {
                    // It was full at the latest in the job that closed it.
                    let frame = self.waiting.remove(&number).expect("it is compressed");
                    let stored = Stored { form: Form::Whole, ids: &ids, bytes: &frame };
                    self.sink.store(region, stored)?;
                    self.slabs.stored(frame);
                }
            }
        }
        self.patches.give(patches);
        self.options.watch.advance(bytes);
        Ok(())
    }
}
