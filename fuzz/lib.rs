//! Fuzz targets of amikit, and the seeds that they start from.

mod limit;
pub mod targets;

use targets::PROOF;
use targets::TARGETS;

/// Runs a target once; it fails if it takes too much memory.
pub fn run(name: &str, data: &[u8]) {
    let all = TARGETS.iter().chain([&PROOF]);
    let (_, target) = all.into_iter().find(|(it, _)| *it == name).expect("it is one of them");
    limit::limited(|| target(data));
}
