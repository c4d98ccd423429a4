//! Fails a run that takes over 64 MiB.

use std::fs;

use peak_alloc::PeakAlloc;

/// Counts what Rust code asks for, used or not: a number in a header could ask for much of it.
#[global_allocator]
static ASKED: PeakAlloc = PeakAlloc;

/// Most bytes that a run may take.
const MOST: usize = 64 << 20;

/// Runs `run`, and fails if it asked for more than [`MOST`] bytes at any time, or if the process
/// grew by that, which counts what C libraries take too.
pub fn limited(run: impl FnOnce()) {
    let asked_before = ASKED.current_usage();
    ASKED.reset_peak_usage();
    // Sets the peak of the process to what it has now.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let taken_before = peak_of_process();
    run();
    let asked = ASKED.peak_usage().saturating_sub(asked_before);
    let taken = peak_of_process().saturating_sub(taken_before);
    assert!(asked <= MOST, "the run asked for {asked} bytes, expected {MOST} at most");
    assert!(taken <= MOST, "the process grew by {taken} bytes, expected {MOST} at most");
}

/// The most memory that this process had since it was last asked to forget, in bytes.
fn peak_of_process() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: usize = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kib << 10
}
