//! Work on many threads: jobs run side by side, results come back in the order of the jobs.
//!
//! Memory is bounded by a window of jobs, and what comes out does not depend on how many threads
//! there are or how they are scheduled.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;

/// Starts a thread of a scope: as [`thread::Scope::spawn`], which panics where the system has no thread left.
///
/// # Errors
///
/// `Io` if the system cannot start it.
pub fn spawn<'s, T: Send + 's>(
    scope: &'s thread::Scope<'s, '_>,
    body: impl FnOnce() -> T + Send + 's,
) -> Result<thread::ScopedJoinHandle<'s, T>> {
    let started = thread::Builder::new().spawn_scoped(scope, body);
    started.map_err(|e| Error::new(Kind::Io, format!("the system cannot start a thread: {e}")))
}

/// The follower of a long run: told how far it is, and asked whether to go on.
pub trait Watch: Sync {
    /// Hears that something begins which comes before the run itself: what it is, in a word, and over how
    /// many bytes, where that is known. What [`Watch::advance`] says next is about these.
    fn prepare(&self, what: &str, bytes: Option<u64>) {
        let _ = (what, bytes);
    }

    /// Hears that the run itself begins, and over how many bytes, where that is known. What
    /// [`Watch::advance`] says next is about these.
    fn begin(&self, bytes: Option<u64>) {
        let _ = bytes;
    }

    /// Hears that `bytes` more bytes of the volume are done.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Hears that something another machine did not do is tried again: what it says, and how often it was asked.
    fn retries(&self, retry: &Retry) {
        let _ = retry;
    }

    /// Hears of a wait, each time that it was looked whether it is over. What else the run does rests meanwhile.
    fn waits(&self, wait: &Wait) {
        let _ = wait;
    }

    /// Tells whether the user wants the run to stop.
    fn stopped(&self) -> bool {
        false
    }

    /// Fails if the user wants the run to stop.
    ///
    /// # Errors
    ///
    /// `Interrupted`.
    fn check(&self) -> Result<()> {
        if self.stopped() { Err(Error::interrupted()) } else { Ok(()) }
    }
}

/// What another machine, or another run, has to do before this run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What is waited for, after "waiting for": `snap-0123 in eu-west-1 to be completed`.
    pub what: String,
    /// What there is until then, as `pending`; empty where nothing can be seen.
    pub found: String,
    /// Whether there is what was waited for.
    pub is_over: bool,
}

/// What another machine did not do, and will be asked for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// What it was asked for, after "cannot": `put a block`.
    pub call: String,
    /// Which machine, and what it answered, with its own words: `https://host answered 503 (no space left on device)`.
    pub reason: String,
    /// How often it was asked until now.
    pub attempts: u32,
    /// How long until it is asked again.
    pub pause: Duration,
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, reason, attempts, pause } = self;
        let pause = pause.as_secs_f64();
        write!(f, "cannot {call} yet: {reason}; attempt {attempts} failed, next in {pause:.1} s")
    }
}

/// Nobody follows the run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {}

/// Passes the wish to stop on, and what is waited for, and keeps to itself how far the run is.
#[derive(Clone, Copy)]
pub struct Quiet<'a>(pub &'a dyn Watch);

impl Watch for Quiet<'_> {
    fn retries(&self, retry: &Retry) {
        self.0.retries(retry);
    }

    fn waits(&self, wait: &Wait) {
        self.0.waits(wait);
    }

    fn stopped(&self) -> bool {
        self.0.stopped()
    }
}

impl std::fmt::Debug for Quiet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Quiet")
    }
}

/// Where lines go that trace what a run says to other machines.
#[derive(Clone)]
pub struct Trace(Arc<dyn Fn(&str) + Send + Sync>);

impl Trace {
    /// Makes a trace of what takes a line at a time.
    pub fn new(line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(line))
    }

    /// Traces a line.
    pub fn line(&self, text: &str) {
        (self.0)(text);
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trace")
    }
}

/// Returns the threads to use where the user names no number: one a processor.
#[must_use]
pub fn default_threads() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// Buffers that are used again, so that no job allocates.
#[derive(Debug, Default)]
pub struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// Takes a buffer, with the capacity that it had in its last life; it is empty unless it was given as it is.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Gives a buffer back with its bytes: who overwrites all of it need not fill it with zeros first.
    pub fn give_as_it_is(&self, buffer: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }

    /// Gives a buffer back.
    pub fn give(&self, mut buffer: Vec<u8>) {
        // One that was never used would hide those that were, and the pool would grow with each.
        if buffer.capacity() == 0 {
            return;
        }
        buffer.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// Things that threads lend each other: each is one thread's at a time, and nobody waits.
#[derive(Debug)]
pub struct Pool<T> {
    give: Sender<T>,
    take: Receiver<T>,
}

/// Most things that wait in a pool.
const MOST_POOLED: usize = 64;

impl<T> Pool<T> {
    /// Takes one, if one is there.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.take.try_recv().ok()
    }

    /// Gives one back; it is dropped if too many wait already.
    pub fn give(&self, one: T) {
        let _ = self.give.try_send(one);
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        let (give, take) = bounded(MOST_POOLED);
        Self { give, take }
    }
}

/// How many threads work, and how far they may be ahead of what was committed.
#[derive(Clone, Copy, Debug)]
pub struct Crew {
    threads: NonZero<usize>,
    window_per_thread: usize,
    /// Jobs a thread that are drawn and that nobody has begun.
    queue_per_thread: usize,
}

impl Crew {
    /// A crew for jobs whose results are a few bytes: 16 jobs a thread may wait or run, so that nobody
    /// waits for one long job among short ones. `compare` of two images takes 0.92 of the time that
    /// it takes with two.
    #[must_use]
    pub fn far_ahead(threads: NonZero<usize>) -> Self {
        Self { threads, window_per_thread: 16, queue_per_thread: 16 }
    }

    /// A crew for jobs of which now and then one takes as long as many others: `window` jobs a thread
    /// may be under way, of which `queue` may wait to be begun.
    #[must_use]
    pub fn of(threads: NonZero<usize>, window: usize, queue: usize) -> Self {
        Self { threads, window_per_thread: window, queue_per_thread: queue }
    }

    /// Jobs that may be under way.
    fn window(self) -> usize {
        self.threads.get().saturating_mul(self.window_per_thread)
    }
}

impl From<NonZero<usize>> for Crew {
    /// Two jobs a thread: one to work on, one to go on with.
    fn from(threads: NonZero<usize>) -> Self {
        Self { threads, window_per_thread: 2, queue_per_thread: 2 }
    }
}

/// Runs `work` over `jobs` on the threads of `crew` and hands each result to `commit`, in job order.
///
/// Each thread has a state of its own, made by `state`. Jobs are drawn, and results committed, on
/// the calling thread. The first failure of a job, in job order, of `work` or of `commit`, stops
/// the run and is returned.
///
/// # Errors
///
/// Whatever `jobs`, `state`, `work` or `commit` return; `Interrupted` if `watch` says to stop.
///
/// # Panics
///
/// If `work` panics, with its panic.
pub fn in_order<J: Send, R: Send, S>(
    crew: impl Into<Crew>,
    watch: &dyn Watch,
    jobs: impl Iterator<Item = Result<J>>,
    state: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, J) -> Result<R> + Sync,
    commit: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    numbered(crew.into(), watch, jobs, state, |state, _, job| work(state, job), commit, ())
}

/// Does three things with each of `jobs`: `work` and `finish` on any thread, side by side, and between
/// them `place`, for one job at a time and in job order. Then hands each result to `commit`, as
/// [`in_order`].
///
/// That is for output that is long to write, and whose place depends on what came before it: places
/// are given in order, and the writing is not. A thread waits for its turn, so `work` should take about
/// as long for one job as for the next.
///
/// # Errors
///
/// Whatever `jobs`, `state`, `work`, `place`, `finish` or `commit` return, of the first job in order
/// that failed; `Interrupted` if `watch` says to stop.
///
/// # Panics
///
/// If one of them panics, with its panic.
#[allow(clippy::too_many_arguments, reason = "each is a step")]
pub fn in_turn<J: Send, P, Q, R: Send, S>(
    crew: impl Into<Crew>,
    watch: &dyn Watch,
    jobs: impl Iterator<Item = Result<J>>,
    state: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, J) -> Result<P> + Sync,
    place: impl FnMut(P) -> Result<Q> + Send,
    finish: impl Fn(&mut S, Q) -> Result<R> + Sync,
    commit: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    in_turn_with_room(crew, watch, jobs, state, work, || true, place, finish, commit)
}

/// As [`in_turn`], and a job's turn comes only while `room` says so. What `commit` does may make room; it
/// must never take more than the turns before have, or nobody's turn comes.
///
/// # Errors
///
/// As [`in_turn`].
///
/// # Panics
///
/// As [`in_turn`].
#[allow(clippy::too_many_arguments, reason = "each is a step")]
pub fn in_turn_with_room<J: Send, P, Q, R: Send, S>(
    crew: impl Into<Crew>,
    watch: &dyn Watch,
    jobs: impl Iterator<Item = Result<J>>,
    state: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, J) -> Result<P> + Sync,
    room: impl Fn() -> bool + Sync,
    place: impl FnMut(P) -> Result<Q> + Send,
    finish: impl Fn(&mut S, Q) -> Result<R> + Sync,
    mut commit: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let turn = Mutex::new(Turn { of: Some(0), place });
    let turns = Turns { turn, changed: Condvar::new(), room };
    let steps = |state: &mut S, number, job| {
        let placed = turns.take(number, work(state, job))?;
        finish(state, placed)
    };
    let commit = |result| {
        commit(result)?;
        turns.look_again();
        Ok(())
    };
    numbered(crew.into(), watch, jobs, state, steps, commit, EndOfTurns(&turns))
}

/// Lets the jobs of [`in_turn`] pass one after the other.
struct Turns<F, G> {
    turn: Mutex<Turn<F>>,
    changed: Condvar,
    room: G,
}

struct Turn<F> {
    /// Number of the job that is next; `None` once one has failed or nobody waits for results.
    of: Option<u64>,
    place: F,
}

impl<F, G: Fn() -> bool> Turns<F, G> {
    /// Waits for the turn of a job, and places it.
    fn take<P, Q>(&self, number: u64, worked: Result<P>) -> Result<Q>
    where
        F: FnMut(P) -> Result<Q>,
    {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        while turn.of.is_some_and(|of| of != number || !(self.room)()) {
            turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        // Of a failure behind the first one nobody hears.
        let of = turn.of.take().ok_or_else(Error::interrupted)?;
        let placed = worked.and_then(|worked| (turn.place)(worked));
        turn.of = placed.is_ok().then(|| of.strict_add(1));
        self.changed.notify_all();
        placed
    }

    /// Lets waiting threads see whether there is room now.
    fn look_again(&self) {
        // Who has just seen that there is none is waiting by the time that this has the lock.
        drop(self.turn.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Lets waiting threads go, without a turn.
    fn end(&self) {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).of = None;
        self.changed.notify_all();
    }
}

/// Ends the turns when the consumer of results leaves.
struct EndOfTurns<'a, F, G: Fn() -> bool>(&'a Turns<F, G>);

impl<F, G: Fn() -> bool> Drop for EndOfTurns<'_, F, G> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// As [`in_order`], and tells `work` the number of each job. `leaving` is dropped when no result is
/// taken any more, before the threads are waited for.
fn numbered<J: Send, R: Send, S>(
    crew: Crew,
    watch: &dyn Watch,
    mut jobs: impl Iterator<Item = Result<J>>,
    state: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, u64, J) -> Result<R> + Sync,
    mut commit: impl FnMut(R) -> Result<()>,
    leaving: impl Sized,
) -> Result<()> {
    if crew.threads.get() == 1 {
        let mut state = state()?;
        for (number, job) in (0..).zip(jobs) {
            watch.check()?;
            commit(work(&mut state, number, job?)?)?;
        }
        return watch.check();
    }
    // Jobs and results pass through these; the threads hear numbers only, so that all that runs them is
    // compiled once.
    let places: Vec<Place<J, R>> = (0..crew.window()).map(|_| Place::default()).collect();
    let place = |number: u64| {
        let len = u64::try_from(places.len()).expect("a few");
        &places[usize::try_from(number.strict_rem(len)).expect("below the window")]
    };
    let mut draw = |number| {
        let Some(job) = jobs.next() else { return Ok(false) };
        place(number).job.put(job?);
        Ok(true)
    };
    let body = |numbers: &mut Numbers<'_>| {
        let mut own: Option<S> = None;
        while let Some(number) = numbers.next() {
            let job = place(number).job.take();
            let run = AssertUnwindSafe(|| {
                let own = match &mut own {
                    Some(own) => own,
                    none => none.insert(state()?),
                };
                work(own, number, job)
            });
            let result = catch_unwind(run);
            let panicked = result.is_err();
            place(number).result.put(result);
            numbers.done(number);
            if panicked {
                break;
            }
        }
    };
    let mut commit = |number| {
        let result = place(number).result.take();
        commit(result.unwrap_or_else(|panic| resume_unwind(panic))?)
    };
    let mut leaving = Some(leaving);
    dispatch(crew, watch, &mut draw, &body, &mut commit, &mut || drop(leaving.take()))
}

/// Where a job waits for its thread, and its result for its turn.
struct Place<J, R> {
    job: Handed<J>,
    result: Handed<thread::Result<Result<R>>>,
}

impl<J, R> Default for Place<J, R> {
    fn default() -> Self {
        Self { job: Handed::default(), result: Handed::default() }
    }
}

/// What one thread leaves for another.
struct Handed<T>(Mutex<Option<T>>);

impl<T> Default for Handed<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Handed<T> {
    fn put(&self, one: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(one);
    }

    fn take(&self) -> T {
        let one = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        one.expect("its number is told after it was put there")
    }
}

/// The numbers of the jobs that one thread takes.
struct Numbers<'a> {
    take_job: &'a Receiver<u64>,
    send_result: &'a Sender<u64>,
    is_heard: bool,
}

impl Numbers<'_> {
    /// Waits for a job; `None` if there are no more, or nobody wants them.
    fn next(&mut self) -> Option<u64> {
        if self.is_heard { self.take_job.recv().ok() } else { None }
    }

    /// Tells that a job's result is in its place.
    fn done(&mut self, number: u64) {
        self.is_heard = self.send_result.send(number).is_ok();
    }
}

/// Starts the threads of `crew`, each with `body`, and tells them the numbers of jobs as long as `draw`
/// finds one; `commit` hears the numbers in order. `leave` is called before the threads are waited for.
fn dispatch(
    crew: Crew,
    watch: &dyn Watch,
    draw: &mut dyn FnMut(u64) -> Result<bool>,
    body: &(dyn Fn(&mut Numbers<'_>) + Sync),
    commit: &mut dyn FnMut(u64) -> Result<()>,
    leave: &mut dyn FnMut(),
) -> Result<()> {
    let threads = crew.threads.get();
    let (send_job, take_job) = bounded(threads.saturating_mul(crew.queue_per_thread));
    let (send_result, take_result) = bounded(crew.window());
    thread::scope(|scope| {
        // Moved in, so that an early return closes the queues and lets the threads end.
        let (send_job, take_result, _leaving) = (send_job, take_result, Leaving(leave));
        let mut started = 0_usize;
        for number in 0..threads {
            let (take_job, send_result) = (take_job.clone(), send_result.clone());
            let run = move || {
                let (take_job, send_result) = (&take_job, &send_result);
                body(&mut Numbers { take_job, send_result, is_heard: true });
            };
            let name = format!("amikit-{number}");
            // Under a limit on processes the run goes on with the threads that there are.
            if thread::Builder::new().name(name).spawn_scoped(scope, run).is_ok() {
                started = started.strict_add(1);
            }
        }
        drop((take_job, send_result));
        if started == 0 {
            let advice = Advice::Give { setting: Setting::Threads, example: "1".into() };
            return Err(Error::new(Kind::Io, "the system cannot start a thread").advise(advice));
        }
        // Which results have come that wait here; the front is job `done`.
        let mut waiting: VecDeque<bool> = VecDeque::new();
        let (mut sent, mut done, mut more) = (0_u64, 0_u64, true);
        loop {
            while more && waiting.len() < crew.window() && !send_job.is_full() {
                watch.check()?;
                more = draw(sent)?;
                if more {
                    let lost = send_job.send(sent).is_err();
                    assert!(!lost, "the threads live as long as their queue");
                    waiting.push_back(false);
                    sent = sent.strict_add(1);
                }
            }
            if waiting.is_empty() {
                return watch.check();
            }
            let number: u64 =
                take_result.recv().expect("a thread that takes a job sends its result");
            let at = usize::try_from(number.strict_sub(done)).expect("inside the window");
            waiting[at] = true;
            while waiting.front() == Some(&true) {
                waiting.pop_front();
                commit(done)?;
                done = done.strict_add(1);
            }
        }
    })
}

/// Tells when no result is taken any more.
struct Leaving<'a>(&'a mut dyn FnMut());

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering;

    use crate::error::Kind;

    fn threads(count: usize) -> NonZero<usize> {
        NonZero::new(count).unwrap()
    }

    #[test]
    fn buffers_that_were_never_used_do_not_hide_those_that_were() {
        let buffers = Buffers::default();
        buffers.give(Vec::with_capacity(1000));
        buffers.give(Vec::new());
        assert!(buffers.take().capacity() >= 1000);
        assert_eq!(buffers.take().capacity(), 0);
    }

    /// Takes longer for some jobs than for the next ones.
    fn slow_square(job: u64) -> u64 {
        thread::sleep(std::time::Duration::from_micros(job * 7919 % 300));
        job * job
    }

    #[test]
    fn results_come_in_job_order_at_any_number_of_threads() {
        for count in [1, 2, 3, 7, 16] {
            let mut seen = Vec::new();
            in_order(
                threads(count),
                &Unwatched,
                (0..500).map(Ok),
                || Ok(()),
                |(), job| Ok(slow_square(job)),
                |result| {
                    seen.push(result);
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(seen, (0..500).map(|job| job * job).collect::<Vec<_>>(), "{count} threads");
        }
    }

    #[test]
    fn the_first_failure_in_job_order_is_returned() {
        for count in [1, 2, 7] {
            let mut committed = 0;
            let failed = in_order(
                threads(count),
                &Unwatched,
                (0..500_u64).map(Ok),
                || Ok(()),
                |(), job| {
                    slow_square(job);
                    if job >= 100 { Err(Error::invalid(format!("job {job}"))) } else { Ok(()) }
                },
                |()| {
                    committed += 1;
                    Ok(())
                },
            );
            assert_eq!(failed.unwrap_err().to_string(), "job 100");
            assert_eq!(committed, 100, "{count} threads");
        }
    }

    #[test]
    fn no_more_than_the_window_is_under_way() {
        let (begun, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        in_order(
            threads(3),
            &Unwatched,
            (0..300_u64).map(|job| {
                let under_way = begun.fetch_add(1, Ordering::SeqCst) - ended.load(Ordering::SeqCst);
                assert!(under_way <= 6, "{under_way} jobs");
                Ok(job)
            }),
            || Ok(()),
            |(), job| Ok(slow_square(job)),
            |_| {
                ended.fetch_add(1, Ordering::SeqCst);
                Ok(())
            },
        )
        .unwrap();
    }

    /// Runs `in_turn` over jobs of uneven length, and returns what was placed and what was committed.
    /// `fails` tells whether a step of a job fails: 0 the work, 1 the placing, 2 the finishing, 3 the
    /// commit.
    fn turns(count: usize, fails: impl Fn(u64, u8) -> bool + Sync) -> (Result<()>, [Vec<u64>; 2]) {
        let (mut placed, mut committed) = (Vec::new(), Vec::new());
        let fails = |job, step| {
            let failed = fails(job, step);
            if failed { Err(Error::invalid(format!("job {job}, step {step}"))) } else { Ok(job) }
        };
        let run = in_turn(
            threads(count),
            &Unwatched,
            (0..300_u64).map(Ok),
            || Ok(()),
            |(), job| {
                slow_square(job);
                fails(job, 0)
            },
            |job| {
                placed.push(job);
                fails(job, 1)
            },
            |(), job| {
                slow_square(299 - job);
                fails(job, 2)
            },
            |job| {
                committed.push(job);
                fails(job, 3).map(|_| ())
            },
        );
        (run, [placed, committed])
    }

    #[test]
    fn places_are_given_in_job_order_at_any_number_of_threads() {
        for count in [1, 2, 3, 7, 16] {
            let (run, steps) = turns(count, |_, _| false);
            run.unwrap();
            for step in steps {
                assert_eq!(step, (0..300).collect::<Vec<_>>(), "{count} threads");
            }
        }
    }

    #[test]
    fn the_first_failure_of_any_step_ends_all_turns() {
        for count in [1, 2, 7] {
            for step in 0..4 {
                let (run, [_, committed]) = turns(count, |job, at| job >= 100 && at == step);
                assert_eq!(run.unwrap_err().to_string(), format!("job 100, step {step}"));
                let last = if step == 3 { 101 } else { 100 };
                assert_eq!(
                    committed,
                    (0..last).collect::<Vec<_>>(),
                    "{count} threads, step {step}"
                );
            }
            // The job that fails early in its steps comes later in order.
            let (run, _) = turns(count, |job, at| (job, at) == (101, 0) || (job, at) == (100, 2));
            assert_eq!(run.unwrap_err().to_string(), "job 100, step 2");
        }
    }

    #[test]
    fn a_panic_of_any_step_ends_all_turns() {
        for step in 0..4 {
            let run = catch_unwind(|| {
                turns(3, |job, at| {
                    assert!(job != 50 || at != step, "job 50");
                    false
                })
            });
            assert!(run.is_err(), "step {step}");
        }
    }

    #[test]
    fn jobs_are_finished_side_by_side() {
        let together = std::sync::Barrier::new(3);
        in_turn(
            threads(3),
            &Unwatched,
            (0..30).map(Ok),
            || Ok(()),
            |(), job: u64| Ok(job),
            Ok,
            |(), _| {
                // Nobody passes alone.
                together.wait();
                Ok(())
            },
            |()| Ok(()),
        )
        .unwrap();
    }

    /// A turn waits for room, which commits make, and does not keep a failing run from its end.
    #[test]
    fn a_turn_comes_only_while_there_is_room() {
        for (count, fails) in [(1, u64::MAX), (2, u64::MAX), (7, u64::MAX), (7, 100)] {
            let (taken, most) = (AtomicU64::new(0), AtomicU64::new(0));
            let run = in_turn_with_room(
                Crew::of(threads(count), 40, 2),
                &Unwatched,
                (0..300_u64).map(Ok),
                || Ok(()),
                |(), job| Ok(slow_square(job)),
                || taken.load(Ordering::SeqCst) < 4,
                |job| {
                    let now = taken.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    Ok(job)
                },
                |(), job| Ok(job),
                |job| {
                    taken.fetch_sub(1, Ordering::SeqCst);
                    if job >= fails { Err(Error::invalid("enough")) } else { Ok(()) }
                },
            );
            assert_eq!(run.is_err(), fails == 100, "{count} threads");
            assert!(most.into_inner() <= 4, "{count} threads");
        }
    }

    #[test]
    fn what_is_pooled_comes_back() {
        let pool = Pool::default();
        assert_eq!(pool.take(), None);
        (0..100).for_each(|number| pool.give(number));
        let back: Vec<i32> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(back, (0..64).collect::<Vec<_>>(), "the rest was dropped");
    }

    #[test]
    fn a_panic_of_a_thread_reaches_the_caller() {
        let run = catch_unwind(|| {
            in_order(
                threads(3),
                &Unwatched,
                (0..100_u64).map(Ok),
                || Ok(()),
                |(), job| {
                    assert!(job != 50, "job 50");
                    Ok(())
                },
                Ok,
            )
        });
        assert!(run.is_err());
    }

    #[test]
    fn a_wish_to_stop_ends_the_run() {
        struct Stop(AtomicU64);
        impl Watch for Stop {
            fn stopped(&self) -> bool {
                self.0.fetch_add(1, Ordering::SeqCst) > 20
            }
        }
        for count in [1, 4] {
            let stop = Stop(AtomicU64::new(0));
            let jobs = (0..).map(Ok);
            let run = in_order(threads(count), &stop, jobs, || Ok(()), |(), _: u64| Ok(()), Ok);
            assert_eq!(run.unwrap_err().kind(), Kind::Interrupted);
        }
    }
}
