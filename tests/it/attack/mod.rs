//! The attack: failing calls, kills, short reads and writes and limits on memory, in every command, at any call.
//!
//! A run takes a sample, whose seed is printed. `AMIKIT_ROUNDS=3000 cargo test --test it attack::` makes that many
//! trials of each kind, and `AMIKIT_SEED` repeats a sample.
#![allow(clippy::arithmetic_side_effects)]

mod judge;
#[cfg(feature = "network")]
mod network;
mod scene;
mod shim;
mod trace;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use judge::Case;
use judge::Ended;
use scene::JOBS;
use scene::Job;
use scene::Scene;
use trace::Calls;

/// Longest run: those without a fault take a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// Trials of each kind in a run of all tests.
const USUAL: usize = 8;

/// Random numbers (splitmix64).
struct Random(u64);

impl Random {
    /// Takes the seed of the environment, or one of the clock, and prints it.
    fn new(test: &str) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let given = std::env::var("AMIKIT_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(now.subsec_nanos()));
        println!("{test}: AMIKIT_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(count).unwrap()).unwrap()
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

fn rounds() -> usize {
    std::env::var("AMIKIT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(USUAL)
}

/// Runs a command to its end, or for so long.
fn run(command: &mut Command, folder: &Path) -> Ended {
    let (out, err) = (folder.join("../stdout"), folder.join("../stderr"));
    let open = |path: &Path| std::fs::File::create(path).unwrap();
    let mut child = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(open(&out))
        .stderr(open(&err))
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let mut wait = Duration::from_micros(500);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if begin.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(Duration::from_millis(10));
    };
    let text = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    Ended { status, stdout: text(&out), stderr: text(&err) }
}

/// What happens to a run.
type Fault<'a> = &'a dyn Fn(&mut Random, &Job, &Calls) -> (String, Command);

/// Makes trials, each of a job that is picked at random, and reports all that are flagged at once.
fn attack(test: &str, fault: Fault<'_>, judge: fn(&Case<'_>) -> Result<(), String>) {
    let mut random = Random::new(test);
    let Some(mut scene) = Scene::new() else { return };
    let mut known: BTreeMap<&str, Calls> = BTreeMap::new();
    let mut flagged = Vec::new();
    let mut codes: BTreeMap<Option<i32>, usize> = BTreeMap::new();
    for number in 0..rounds() {
        // Each job in turn, so that a sample has all of them.
        let job = &JOBS[(number + random.below(2) * 7) % JOBS.len()];
        let reference = scene.reference(job);
        if !known.contains_key(job.line) {
            let Some(calls) = Calls::of(&scene, job) else { return };
            known.insert(job.line, calls);
        }
        let fresh = random.below(3) == 0;
        scene.put(job, fresh);
        let (what, mut command) = fault(&mut random, job, &known[job.line]);
        let before = scene.tree();
        let ended = run(&mut command, scene.path());
        *codes.entry(ended.code()).or_default() += 1;
        let case =
            Case { scene: &scene, job, before: &before, reference: &reference, ended: &ended };
        if let Err(why) = judge(&case) {
            let said = ended.stderr.trim_end();
            flagged.push(format!("{}: {what}: {:?}: {why}\n    {said}", job.line, ended.code()));
        }
    }
    println!("{test}: exit codes {codes:?}");
    assert!(flagged.is_empty(), "{} flagged:\n{}", flagged.len(), flagged.join("\n"));
}

#[test]
fn a_call_that_fails_is_named_and_leaves_no_trace() {
    let fault = |random: &mut Random, job: &Job, calls: &Calls| {
        let (call, errors, number) = calls.pick_failing(random);
        let error = *random.pick(errors);
        // If no write succeeds any more, nobody can be told why.
        let more = if random.below(3) == 0 && call != "write" { "+" } else { "" };
        let inject = format!("{call}:error={error}:when={number}{more}");
        (inject.clone(), trace::injected(job, &inject))
    };
    attack("failing calls", &fault, judge::of_failure);
}

#[test]
fn a_kill_leaves_the_old_or_the_new_and_a_run_after_it_does_well() {
    let fault = |random: &mut Random, job: &Job, calls: &Calls| {
        let (call, number) = calls.pick(random);
        let inject = format!("{call}:signal=KILL:when={number}");
        (inject.clone(), trace::injected(job, &inject))
    };
    attack("kills", &fault, judge::of_kill);
}

#[test]
fn short_reads_and_writes_and_interruptions_change_nothing() {
    let Some(shim) = shim::Shim::new() else { return };
    let fault = |random: &mut Random, job: &Job, _: &Calls| {
        let seed = random.below(1 << 30);
        (format!("AMIKIT_SHIM={seed}"), shim.command(job, seed))
    };
    attack("short reads and writes", &fault, judge::of_success);
}

#[test]
fn a_limit_on_memory_is_a_success_or_a_failure_that_is_named() {
    let fault = |random: &mut Random, job: &Job, _: &Calls| {
        let threads = 1 + random.below(3);
        // From what a thread may take on, which documents promise.
        let mebibytes = 64 + 96 * threads + random.below(400);
        let script = format!("ulimit -v {}; exec \"$0\" \"$@\"", mebibytes << 10);
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_amikit")]).args(job.args());
        job.with_threads(&mut command, threads);
        (format!("{mebibytes} MiB, {threads} threads"), command)
    };
    attack("memory", &fault, judge::of_limit);
}
