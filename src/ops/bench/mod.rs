//! `bench`: each stage of the work beside what this machine can do at most, in the same run.
//!
//! Absolute speeds say more of a machine, and of what else runs on it, than of the code. So each
//! stage runs beside a limit, the two take turns, and the medians of the rounds are compared.

mod race;
mod sample;
mod stages;

use std::num::NonZero;

use serde::Serialize;

use crate::compress::Encoder;
use crate::digest::Engine;
use crate::error::Result;
use crate::ops::bench::stages::Workbench;
use crate::ops::shared::open::VolumeRequest;
use crate::pack::DEFAULT_LEVEL;
use crate::work::Watch;
use crate::work::default_threads;

/// Rounds where nobody says how many.
const ROUNDS: NonZero<usize> = NonZero::new(5).unwrap();

/// What is measured.
#[derive(Clone, Debug)]
pub struct BenchRequest {
    /// The image whose data is worked on; content made for it where there is none.
    pub image: Option<VolumeRequest>,
    /// Most bytes to work on.
    pub size_bytes: u64,
    /// Rounds, of which the medians count.
    pub rounds: NonZero<usize>,
    /// Compression level.
    pub level: i32,
    /// Threads of the stages that are whole operations.
    pub threads: NonZero<usize>,
}

impl BenchRequest {
    /// Asks for five rounds over content made for it, at most `size_bytes` of it, with all processors.
    #[must_use]
    pub fn new(size_bytes: u64) -> Self {
        Self {
            image: None,
            size_bytes,
            rounds: ROUNDS,
            level: DEFAULT_LEVEL,
            threads: default_threads(),
        }
    }
}

/// The code that hashes blocks side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HashEngine {
    /// Its name.
    pub name: &'static str,
    /// Streams that it hashes side by side.
    pub lanes: usize,
}

/// One stage and its limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// What was measured.
    pub name: &'static str,
    /// Threads that it ran on.
    pub threads: usize,
    /// Its median speed over plain bytes, in 10^9 bytes a second, all threads together.
    pub gigabytes_per_second: f64,
    /// What it is measured beside.
    pub limit_name: &'static str,
    /// The limit's median speed, in the same unit.
    pub limit_gigabytes_per_second: f64,
    /// The first speed divided by the second. Over 1, the stage beats the plain way to do its work.
    pub ratio_to_limit: f64,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// The code that hashes.
    pub engine: HashEngine,
    /// Threads of the stages that are whole operations.
    pub threads: usize,
    /// Compression level.
    pub level: i32,
    /// Plain bytes that each stage worked on in each round.
    pub bytes: u64,
    /// Rounds, of which the medians count.
    pub rounds: usize,
    /// The stages, in the order of the work.
    pub stages: Vec<Stage>,
}

/// Measures each stage beside its limit.
///
/// Holds up to three times `size_bytes` in memory: the plain bytes, their frames and their stream.
/// Files go into a folder of their own in the system's folder for temporary files, which is removed
/// at the end; what is said of writing is said of that file system.
///
/// # Errors
///
/// `Invalid` for a level or size out of range and for an image without data; as
/// [`crate::ops::open`] for the image; `Io` if the files cannot be written; `Interrupted` on
/// request.
pub fn bench(request: &BenchRequest, watch: &dyn Watch) -> Result<BenchReport> {
    // An invalid level is refused before anything else is done.
    Encoder::new(request.level)?;
    let plain = match &request.image {
        Some(image) => sample::of_image(image, request.size_bytes, watch)?,
        None => sample::made(request.size_bytes)?,
    };
    let bench = Workbench::new(plain, request.level, request.threads, watch)?;
    let mut races = bench.races()?;
    let mut speeds = vec![(Vec::new(), Vec::new()); races.len()];
    for round in 0..request.rounds.get() {
        for (race, (stage, limit)) in races.iter_mut().zip(&mut speeds) {
            watch.check()?;
            // Neither always finds the caches as the other left them.
            if round.is_multiple_of(2) {
                stage.push((race.stage)()?);
                limit.push((race.limit)()?);
            } else {
                limit.push((race.limit)()?);
                stage.push((race.stage)()?);
            }
        }
    }
    let stages = races.iter().zip(speeds).map(|(race, (stage, limit))| {
        let (stage, limit) = (median(stage), median(limit));
        Stage {
            name: race.name,
            threads: race.threads,
            gigabytes_per_second: stage,
            limit_name: race.limit_name,
            limit_gigabytes_per_second: limit,
            ratio_to_limit: stage / limit,
        }
    });
    Ok(BenchReport {
        engine: engine(),
        threads: request.threads.get(),
        level: request.level,
        bytes: bench.size(),
        rounds: request.rounds.get(),
        stages: stages.collect(),
    })
}

fn engine() -> HashEngine {
    let best = Engine::best();
    HashEngine { name: best.name(), lanes: best.streams() }
}

/// Returns the middle one, or the upper of two.
fn median(mut speeds: Vec<f64>) -> f64 {
    speeds.sort_by(f64::total_cmp);
    speeds[speeds.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::error::Kind;
    use crate::ops::bench::race::float;
    use crate::work::Unwatched;

    fn request() -> BenchRequest {
        BenchRequest {
            image: None,
            size_bytes: 5 << 19,
            rounds: NonZero::new(2).unwrap(),
            level: 1,
            threads: NonZero::new(2).unwrap(),
        }
    }

    #[test]
    fn each_stage_has_a_speed_and_a_limit() {
        let report = bench(&request(), &Unwatched).unwrap();
        assert_eq!((report.bytes, report.threads, report.rounds), (5 << 19, 2, 2));
        let names: Vec<_> = report.stages.iter().map(|stage| stage.name).collect();
        let expected = [
            "read",
            "zero test",
            "hash side by side",
            "compress",
            "decompress",
            "write",
            "snapshot",
            "pack",
            "unpack",
        ];
        assert_eq!(names, expected);
        for stage in report.stages {
            assert!(stage.gigabytes_per_second > 0.0, "{stage:?}");
            assert!(stage.limit_gigabytes_per_second > 0.0, "{stage:?}");
            assert!(stage.ratio_to_limit.is_finite(), "{stage:?}");
        }
    }

    #[test]
    fn a_request_that_makes_no_sense_is_refused() {
        let level = BenchRequest { level: 0, ..request() };
        let size = BenchRequest { size_bytes: 4096, ..request() };
        for wrong in [level, size] {
            assert_eq!(bench(&wrong, &Unwatched).unwrap_err().kind(), Kind::Invalid);
        }
    }

    #[test]
    fn an_image_without_data_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let wrong = BenchRequest { image: Some(VolumeRequest::new(file.path())), ..request() };
        let error = bench(&wrong, &Unwatched).unwrap_err();
        assert_eq!((error.kind(), error.path()), (Kind::Invalid, Some(file.path())));
    }

    #[test]
    fn it_stops_on_request() {
        struct Stop;
        impl Watch for Stop {
            fn stopped(&self) -> bool {
                true
            }
        }
        assert_eq!(bench(&request(), &Stop).unwrap_err().kind(), Kind::Interrupted);
    }

    #[test]
    fn floats_are_near_and_medians_in_the_middle() {
        for number in [0, 1, u64::from(u32::MAX), 1 << 32, (1 << 53) - 1] {
            assert_eq!(format!("{:.0}", float(number)), number.to_string());
        }
        assert_eq!(format!("{:.0}", median(vec![3.0, 1.0, 2.0])), "2");
        assert_eq!(format!("{:.0}", median(vec![2.0, 1.0])), "2");
    }
}
