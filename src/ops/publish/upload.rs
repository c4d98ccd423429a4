//! Blocks on their way: some threads read, many put, and each block is on its way once.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::Scope;
use std::time::Duration;

use crossbeam_channel::Receiver;
use crossbeam_channel::RecvTimeoutError;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::aws::Aws;
use crate::aws::Pending;
use crate::bundle::Snapshot;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::ops::publish::journal::Journal;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::volume::ReadVolume as _;
use crate::work::Buffers;
use crate::work::Watch;

/// Data blocks that are read together: they are decompressed in one go, and hashed side by side.
const READ_TOGETHER: usize = 8;

/// Time between two syncs of the journal.
const SYNC: Duration = Duration::from_secs(1);

/// Time between two looks at whether the user stops.
const LOOK: Duration = Duration::from_millis(100);

/// A volume that is uploaded.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) device: String,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) pending: Pending,
}

/// Blocks that follow each other and are data.
struct Reading {
    target: Arc<Target>,
    first: u32,
    digests: Vec<Digest>,
}

/// A block that was read; its buffer is used again when it is put. It has one of its own, though blocks are read together: one
/// put that takes long would keep the memory of its seven neighbours.
struct Block {
    bytes: Vec<u8>,
    pool: Arc<Buffers>,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.give_as_it_is(std::mem::take(&mut self.bytes));
    }
}

/// Where the bytes of a block are.
enum Bytes {
    Zeros,
    Read(Block),
}

struct Put {
    target: Arc<Target>,
    index: u32,
    digest: Digest,
    bytes: Bytes,
}

/// What all threads of an upload see.
#[derive(Debug, Default)]
pub(super) struct Progress {
    failed: Mutex<Option<Error>>,
    stopped: AtomicBool,
    /// Blocks that were handed over and are neither acknowledged nor given up.
    under_way: Mutex<u64>,
    fewer: Condvar,
    /// Blocks that this run has put.
    pub(super) put: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    fn fail(&self, error: Error) {
        locked(&self.failed).get_or_insert(error);
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn begin(&self, count: u64) {
        let mut under_way = locked(&self.under_way);
        *under_way = under_way.strict_add(count);
    }

    fn end(&self, count: u64) {
        let mut under_way = locked(&self.under_way);
        *under_way = under_way.strict_sub(count);
        if *under_way == 0 {
            self.fewer.notify_all();
        }
    }

    /// Returns the first failure, if there was one.
    pub(super) fn check(&self) -> Result<()> {
        match locked(&self.failed).take() {
            Some(error) => Err(error),
            None if self.is_stopped() => Err(Error::interrupted()),
            None => Ok(()),
        }
    }
}

/// The threads of an upload, which end when this is dropped.
pub(super) struct Crew<'p> {
    progress: &'p Progress,
    reads: Sender<Reading>,
    puts: Sender<Put>,
    batch: Option<Reading>,
    _ends: Sender<()>,
}

/// What the threads work with.
#[derive(Clone, Copy)]
pub(super) struct Around<'p> {
    pub(super) aws: &'p Aws<'p, 'p>,
    pub(super) region: &'p str,
    pub(super) journal: &'p Journal,
    pub(super) progress: &'p Progress,
    pub(super) watch: &'p dyn Watch,
    /// Hears once a second how many blocks this run has put.
    pub(super) hear: &'p (dyn Fn(u64) + Sync),
}

impl<'p> Crew<'p> {
    /// Starts the threads: some that read, `connections` that put, and one that syncs the journal every second.
    ///
    /// # Errors
    ///
    /// `Io` if the system cannot start one.
    pub(super) fn start<'s>(
        scope: &'s Scope<'s, 'p>,
        around: Around<'p>,
        readers: NonZero<usize>,
        connections: NonZero<usize>,
    ) -> Result<Self> {
        let (reads, take_reads) = bounded::<Reading>(readers.get());
        // What is read ahead of the puts is bounded by the buffers of the readers and this queue.
        let (puts, take_puts) = bounded::<Put>(READ_TOGETHER);
        let (ends, ended) = bounded::<()>(0);
        let pool = Arc::new(Buffers::default());
        let no_thread = |_| {
            let advice = Advice::Give { setting: Setting::Threads, example: "8".into() };
            Error::new(Kind::Io, "the system cannot start a thread").advise(advice)
        };
        for _ in 0..readers.get() {
            let (take, puts, pool) = (take_reads.clone(), puts.clone(), Arc::clone(&pool));
            let body = move || read(&take, &puts, &pool, around);
            thread::Builder::new().spawn_scoped(scope, body).map_err(no_thread)?;
        }
        for _ in 0..connections.get() {
            let take = take_puts.clone();
            let body = move || put(&take, around);
            thread::Builder::new().spawn_scoped(scope, body).map_err(no_thread)?;
        }
        let body = move || sync(&ended, around);
        thread::Builder::new().spawn_scoped(scope, body).map_err(no_thread)?;
        Ok(Self { progress: around.progress, reads, puts, batch: None, _ends: ends })
    }

    /// Hands a block over. Blocks while too many are under way.
    ///
    /// # Errors
    ///
    /// The first failure of those before.
    pub(super) fn put(
        &mut self,
        target: &Arc<Target>,
        index: u32,
        digest: Digest,
        is_zero: bool,
    ) -> Result<()> {
        if self.progress.is_stopped() {
            return self.progress.check();
        }
        let follows = self.batch.as_ref().is_some_and(|batch| {
            let count = u32::try_from(batch.digests.len()).expect("at most eight");
            batch.first.strict_add(count) == index && batch.digests.len() < READ_TOGETHER
        });
        if is_zero || !follows {
            self.read_batch();
        }
        self.progress.begin(1);
        if is_zero {
            let put = Put { target: Arc::clone(target), index, digest, bytes: Bytes::Zeros };
            self.puts.send(put).expect("the threads live as long as their queue");
            return Ok(());
        }
        let batch = self.batch.get_or_insert_with(|| Reading {
            target: Arc::clone(target),
            first: index,
            digests: Vec::with_capacity(READ_TOGETHER),
        });
        batch.digests.push(digest);
        Ok(())
    }

    fn read_batch(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.reads.send(batch).expect("the threads live as long as their queue");
        }
    }

    /// Waits until nothing is under way.
    ///
    /// # Errors
    ///
    /// The first failure; `Interrupted` on request.
    pub(super) fn settle(&mut self, watch: &dyn Watch) -> Result<()> {
        self.read_batch();
        let mut under_way = locked(&self.progress.under_way);
        while *under_way > 0 && !self.progress.is_stopped() {
            watch.check()?;
            let waited = self.progress.fewer.wait_timeout(under_way, LOOK);
            under_way = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(under_way);
        // Threads that heard it first have given blocks up.
        watch.check()?;
        self.progress.check()
    }
}

fn read(take: &Receiver<Reading>, puts: &Sender<Put>, pool: &Arc<Buffers>, around: Around<'_>) {
    let progress = around.progress;
    let mut together = Vec::new();
    for Reading { target, first, digests } in take {
        let count = u64::try_from(digests.len()).expect("at most eight");
        if progress.is_stopped() || around.watch.stopped() {
            progress.end(count);
            continue;
        }
        together.resize(digests.len().strict_mul(BLOCK_LEN), 0);
        if let Err(error) = fill(&target, first, &mut together) {
            progress.fail(error);
            progress.end(count);
            continue;
        }
        for (number, (digest, plain)) in
            digests.into_iter().zip(together.chunks_exact(BLOCK_LEN)).enumerate()
        {
            let index = first.strict_add(u32::try_from(number).expect("at most eight"));
            let mut bytes = pool.take();
            bytes.clear();
            bytes.extend_from_slice(plain);
            let bytes = Bytes::Read(Block { bytes, pool: Arc::clone(pool) });
            let put = Put { target: Arc::clone(&target), index, digest, bytes };
            if puts.send(put).is_err() {
                progress.end(1);
            }
        }
    }
}

/// Reads blocks; behind the volume's end are zeros.
fn fill(target: &Target, first: u32, bytes: &mut [u8]) -> Result<()> {
    let offset = BlockIndex(first).offset();
    let left = target.snapshot.size().saturating_sub(offset);
    let there = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    let (inside, behind) = bytes.split_at_mut(there);
    behind.fill(0);
    target.snapshot.read_at(offset, inside)
}

static ZEROS: [u8; BLOCK_LEN] = [0; BLOCK_LEN];

fn put(take: &Receiver<Put>, around: Around<'_>) {
    let progress = around.progress;
    for Put { target, index, digest, bytes } in take {
        if !progress.is_stopped() && !around.watch.stopped() {
            let bytes = match &bytes {
                Bytes::Zeros => &ZEROS[..],
                Bytes::Read(block) => block.bytes.as_slice(),
            };
            let done = around.aws.put_block(around.region, &target.pending, index, &digest, bytes);
            match done {
                Ok(()) => {
                    if let Err(error) = around.journal.acknowledge(&target.device, index) {
                        progress.fail(error);
                    }
                    progress.put.fetch_add(1, Ordering::Relaxed);
                    around.watch.advance(BLOCK_SIZE);
                }
                Err(error) => progress.fail(error),
            }
        }
        progress.end(1);
    }
}

fn sync(ended: &Receiver<()>, around: Around<'_>) {
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(SYNC) {
        if let Err(error) = around.journal.flush() {
            around.progress.fail(error);
            return;
        }
        (around.hear)(around.progress.put.load(Ordering::Relaxed));
    }
}
