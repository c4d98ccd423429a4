//! What `amikit snapshot` of an image that is not in the page cache is measured beside: the same bytes, read and thrown away.
//!
//! `cargo bench --bench cold_limit -- IMAGE AMIKIT [ROUNDS]`, as root, on Linux. In each round the page cache is dropped before
//! each of these, and then they read the data extents of IMAGE: reads that bypass the cache, by several numbers of threads;
//! reads through the cache on as many threads as there are processors, with the disk told ahead what will be read, which is the
//! most that a program that leaves the image in the cache can do; and AMIKIT, a program, as `amikit snapshot`. It prints medians.
#![allow(clippy::disallowed_methods)]

use std::env;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use amikit::ExtentKind;
use amikit::Unwatched;
use amikit::VolumeRequest;
use amikit::extents;
use amikit::internals::error::Result;
use amikit::internals::io::PageBuffer;
use amikit::internals::work::default_threads;
use amikit::open;
use rustix::fs::Advice;
use rustix::fs::OFlags;
use rustix::fs::fadvise;

/// Threads that read past the cache, and bytes of a read of theirs.
const DIRECT: [(usize, u64); 5] =
    [(4, 1 << 20), (8, 1 << 20), (8, 2 << 20), (16, 1 << 20), (32, 1 << 20)];

/// Bytes of a read through the cache, which is copied while it is in the processor's.
const CACHED: u64 = 64 << 10;

/// How far ahead the disk is told, and in what pieces.
const AHEAD: u64 = 128 << 20;
const TOLD: u64 = 16 << 20;

/// The data of an image, in pieces of at most `most` bytes.
fn pieces(image: &Path, most: u64) -> Result<Vec<(u64, u64)>> {
    let volume = open(&VolumeRequest::new(image), &Unwatched)?;
    let mut pieces = Vec::new();
    for extent in extents(volume.volume()) {
        let extent = extent?;
        if extent.kind == ExtentKind::Data {
            let range = extent.range;
            let starts = (range.start..range.end).step_by(usize::try_from(most).expect("a piece"));
            pieces.extend(starts.map(|start| (start, most.min(range.end.strict_sub(start)))));
        }
    }
    Ok(pieces)
}

/// Reads all pieces on so many threads; `before` hears which one is next.
fn read_all(file: &File, pieces: &[(u64, u64)], threads: usize, before: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = PageBuffer::default();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((start, len)) = pieces.get(number) else { break };
                    before(number);
                    // What bypasses the cache is read in whole pages.
                    buffer.resize(usize::try_from(*len).expect("a piece").next_multiple_of(4096));
                    let mut done = 0;
                    while done < *len {
                        let from = usize::try_from(done).expect("a piece");
                        let at = start.strict_add(done);
                        let read = file.read_at(&mut buffer[from..], at).expect("a file to read");
                        assert!(read > 0, "the image became shorter");
                        done = done.strict_add(u64::try_from(read).expect("a piece"));
                    }
                }
            });
        }
    });
}

fn direct(image: &Path, (threads, len): (usize, u64)) -> Result<f64> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).expect("a small flag");
    let pieces = pieces(image, len)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(image);
    let file = file.expect("a file system with reads past the cache");
    let start = Instant::now();
    read_all(&file, &pieces, threads, &|_| ());
    Ok(start.elapsed().as_secs_f64())
}

fn cached(image: &Path) -> Result<f64> {
    let (pieces, file) = (pieces(image, CACHED)?, File::open(image).expect("a file to read"));
    let start = Instant::now();
    let told = AtomicUsize::new(0);
    let whole = usize::try_from(TOLD / CACHED).expect("a few");
    let ahead = usize::try_from(AHEAD / CACHED).expect("a few");
    let tell = |number: usize| {
        while told.load(Ordering::Relaxed) < number.strict_add(ahead).min(pieces.len()) {
            let first = told.fetch_add(whole, Ordering::Relaxed);
            for (start, len) in pieces.iter().skip(first).take(whole) {
                let len = std::num::NonZero::new(*len);
                fadvise(&file, *start, len, Advice::WillNeed).expect("a file to read");
            }
        }
    };
    read_all(&file, &pieces, default_threads().get(), &tell);
    Ok(start.elapsed().as_secs_f64())
}

fn snapshot(image: &Path, amikit: &Path) -> f64 {
    let made = env::temp_dir().join(format!("cold_limit.{}.snap", std::process::id()));
    let start = Instant::now();
    let mut command = Command::new(amikit);
    let output = command.arg("snapshot").arg(image).arg("-o").arg(&made).output();
    let (output, seconds) = (output.expect("a program to run"), start.elapsed().as_secs_f64());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_file(&made).expect("what was made");
    seconds
}

fn median(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    let (first, last) = (times[0], times[times.len().strict_sub(1)]);
    format!("{:.2} s ({first:.2} to {last:.2})", times[times.len() / 2])
}

fn run(image: &Path, amikit: &Path, rounds: usize) -> Result<()> {
    let drop_cache = || {
        std::fs::write("/proc/sys/vm/drop_caches", "3").expect("root's right to drop the cache");
    };
    let (mut best, mut through, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut fastest = f64::INFINITY;
        for how in DIRECT {
            drop_cache();
            fastest = fastest.min(direct(image, how)?);
        }
        best.push(fastest);
        drop_cache();
        through.push(cached(image)?);
        drop_cache();
        ours.push(snapshot(image, amikit));
    }
    println!("past the cache, the best of {}: {}", DIRECT.len(), median(&mut best));
    println!("through the cache: {}", median(&mut through));
    println!("amikit snapshot: {}", median(&mut ours));
    Ok(())
}

fn main() {
    // Cargo itself adds `--bench`.
    let arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (image, amikit, rounds) = match arguments[..] {
        [image, amikit] => (image, amikit, "5"),
        [image, amikit, rounds] => (image, amikit, rounds),
        _ => {
            // `cargo bench` runs every benchmark, and there is no image to run this one on.
            println!("cold_limit: -- IMAGE AMIKIT [ROUNDS], as root");
            return;
        }
    };
    let rounds = rounds.parse().expect("a number of rounds");
    run(Path::new(image), Path::new(amikit), rounds).unwrap_or_else(|error| panic!("{error}"));
}
