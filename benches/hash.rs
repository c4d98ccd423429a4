//! SHA-256 of many blocks: each engine beside the `sha2` crate, in the same run.
//!
//! `cargo bench --bench hash` hashes a buffer that stays in the cache, on one core.
//! `cargo bench --bench hash -- FILE` also reads FILE (let it be in the page cache) with positioned
//! reads of some sizes and hashes its blocks of 512 KiB, on two cores; short ends are left out.
//!
//! Rounds of all rows alternate, so that a busy machine slows them alike; medians are shown.

#![allow(clippy::arithmetic_side_effects, clippy::disallowed_methods)]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use amikit::internals::digest::Digest;
use amikit::internals::digest::Engine;
use amikit::internals::digest::Lanes;
use sha2::Digest as _;

/// Bytes of one block of a snapshot.
const BLOCK_LEN: u64 = 512 << 10;

/// Cores that read and hash a file.
const CORES: u32 = 2;

/// One row of the table: what runs, and what each round gave, in GB/s a core.
struct Row<'a> {
    name: String,
    run: Box<dyn Fn() -> f64 + 'a>,
    speeds: Vec<f64>,
}

impl<'a> Row<'a> {
    fn new(name: String, run: impl Fn() -> f64 + 'a) -> Self {
        Self { name, run: Box::new(run), speeds: Vec::new() }
    }
}

/// Runs all rows in turn, then prints each with its ratio to the first.
fn compare(title: &str, rounds: usize, mut rows: Vec<Row<'_>>) {
    for _ in 0..rounds {
        for row in &mut rows {
            let speed = (row.run)();
            row.speeds.push(speed);
        }
    }
    println!("{title:<32} {:>12} {:>8} {:>8}", "GB/s a core", "ratio", "best");
    for row in &mut rows {
        row.speeds.sort_by(f64::total_cmp);
    }
    let first = rows[0].speeds[rounds / 2];
    for row in &rows {
        let (median, best) = (row.speeds[rounds / 2], row.speeds[rounds - 1]);
        println!("{:<32} {median:>12.2} {:>8.2} {best:>8.2}", row.name, median / first);
    }
    println!();
}

/// Bytes in a second, in GB/s.
fn speed(len: u64, start: Instant) -> f64 {
    let len = f64::from(u32::try_from(len).expect("less than 4 GiB in a round"));
    len / start.elapsed().as_secs_f64() / 1e9
}

fn in_cache() {
    const PIECE_LEN: usize = 16 << 10;
    let bytes: Vec<u8> =
        (0..16 * PIECE_LEN).map(|at| u8::try_from(at * 7 / 3 % 251).expect("below 251")).collect();
    let pieces: Vec<&[u8]> = bytes.chunks_exact(PIECE_LEN).collect();
    let mut rows = vec![Row::new("sha2, 1 stream".into(), || {
        let start = Instant::now();
        black_box(sha2::Sha256::digest(&bytes));
        speed(bytes.len().try_into().expect("small"), start)
    })];
    for engine in Engine::available() {
        for streams in (1..=8).chain([10, 11, 12, 16]) {
            if engine == Engine::Portable && streams > 1 {
                continue;
            }
            let pieces = &pieces[..streams];
            rows.push(Row::new(format!("{engine:?}, {streams} streams"), move || {
                let mut lanes = Lanes::with_engine(engine, streams);
                let start = Instant::now();
                for _ in 0..16 / streams {
                    lanes.update(black_box(pieces));
                }
                let len = 16 / streams * streams * PIECE_LEN;
                let speed = speed(len.try_into().expect("small"), start);
                let mut digests = vec![Digest([0; 32]); streams];
                lanes.finish(&mut digests);
                black_box(digests);
                speed
            }));
        }
    }
    compare("hash, in the cache", 401, rows);
}

/// Reads the file as `streams` blocks at once in pieces of `piece_len`, and hashes with `engine`.
fn read_file(file: &File, len: u64, engine: Option<Engine>, streams: usize, piece_len: u64) -> f64 {
    let span = BLOCK_LEN * u64::try_from(streams).expect("few");
    let spans = len / span;
    let next = AtomicU64::new(0);
    let piece = usize::try_from(piece_len).expect("small");
    let work = || {
        let mut bytes = vec![0; piece * streams];
        let mut digests = vec![Digest([0; 32]); streams];
        let mut lanes = engine.map(|engine| Lanes::with_engine(engine, streams));
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= spans {
                break;
            }
            for at in (0..BLOCK_LEN).step_by(piece) {
                for (block, piece) in (0..).zip(bytes.chunks_exact_mut(piece)) {
                    let offset = number * span + block * BLOCK_LEN + at;
                    file.read_exact_at(piece, offset).expect("the file stays as it is");
                }
                if let Some(lanes) = &mut lanes {
                    lanes.update(&bytes.chunks_exact(piece).collect::<Vec<_>>());
                }
            }
            if let Some(lanes) = &mut lanes {
                lanes.finish(&mut digests);
            }
            black_box(&digests);
        }
    };
    let start = Instant::now();
    thread::scope(|scope| (0..CORES).for_each(|_| drop(scope.spawn(work))));
    speed(spans * span, start) / f64::from(CORES)
}

fn from_file(path: &str) {
    let file = File::open(path).expect("a file that can be read");
    let len = file.metadata().expect("a file with a length").len();
    let file = &file;
    let mut rows = vec![Row::new("hash in the cache: sha2".into(), || {
        let bytes = vec![7; 512 << 10];
        let start = Instant::now();
        black_box(sha2::Sha256::digest(&bytes));
        speed(512 << 10, start)
    })];
    let mut row = |engine: Option<Engine>, streams: usize, kib: u64| {
        let name = engine.map_or("read only".to_owned(), |engine| format!("{engine:?}"));
        rows.push(Row::new(format!("{name}, {streams} of {kib} KiB"), move || {
            read_file(file, len, engine, streams, kib << 10)
        }));
    };
    row(None, 4, 128);
    row(None, 8, 64);
    for engine in Engine::available() {
        for kib in [32, 64, 128] {
            row(Some(engine), engine.streams(), kib);
        }
    }
    compare("read and hash, warm file", 7, rows);
}

fn main() {
    in_cache();
    // Cargo itself adds `--bench`.
    if let Some(path) = std::env::args().skip(1).find(|argument| !argument.starts_with("--")) {
        from_file(&path);
    }
}
