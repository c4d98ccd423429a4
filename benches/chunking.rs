//! Each stage of the hot path beside its limit, on one thread and on all.
//!
//! `cargo bench --bench chunking` works on content made for it, `cargo bench --bench chunking --
//! IMAGE` on data of IMAGE. `AMIKIT_BENCH_SIZE` and `AMIKIT_BENCH_ROUNDS` replace 256MiB and 5.
//! `amikit bench` is the same for people who have the program and not the code.

use std::env;
use std::fmt::Display;
use std::num::NonZero;

use amikit::internals::ops;
use amikit::internals::ops::BenchReport;
use amikit::internals::ops::BenchRequest;
use amikit::internals::pack::DEFAULT_LEVEL;
use amikit::internals::units::format_size;
use amikit::internals::units::parse_size;
use amikit::internals::work::Unwatched;
use amikit::internals::work::default_threads;

/// Returns what the environment says, or `default`.
fn setting<T, E: Display>(name: &str, default: T, parse: impl Fn(&str) -> Result<T, E>) -> T {
    match env::var(name) {
        Ok(text) => parse(&text).unwrap_or_else(|e| panic!("{name}: {e}")),
        Err(_) => default,
    }
}

fn print(report: &BenchReport) {
    println!(
        "{}, level {}, {} lanes of {}, medians of {} rounds",
        format_size(report.bytes),
        report.level,
        report.engine.lanes,
        report.engine.name,
        report.rounds
    );
    println!("{:<18} {:>7} {:>7} {:>7} {:>6}  limit", "stage", "threads", "GB/s", "limit", "ratio");
    for stage in &report.stages {
        println!(
            "{:<18} {:>7} {:>7.2} {:>7.2} {:>6.2}  {}",
            stage.name,
            stage.threads,
            stage.gigabytes_per_second,
            stage.limit_gigabytes_per_second,
            stage.ratio_to_limit,
            stage.limit_name
        );
    }
    println!();
}

fn main() {
    // Cargo itself adds `--bench`.
    let image = env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let size_bytes = setting("AMIKIT_BENCH_SIZE", 256 << 20, parse_size);
    let five = NonZero::new(5).expect("it is not 0");
    let rounds = setting("AMIKIT_BENCH_ROUNDS", five, str::parse::<NonZero<usize>>);
    let one = NonZero::<usize>::MIN;
    for threads in [one, default_threads()] {
        let request = BenchRequest {
            image: image
                .as_ref()
                .map(|path| amikit::internals::ops::VolumeRequest::new(path.as_ref())),
            size_bytes,
            rounds,
            level: DEFAULT_LEVEL,
            threads,
        };
        match ops::bench(&request, &Unwatched) {
            Ok(report) => print(&report),
            Err(error) => panic!("{error}"),
        }
        if default_threads() == one {
            break;
        }
    }
}
