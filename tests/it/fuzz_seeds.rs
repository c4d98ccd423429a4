//! The fuzz targets over their stored seeds, and over what fuzzing once found: no run panics.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::common::Random;
use crate::common::rounds;
use crate::common::sample;

#[allow(unreachable_pub, reason = "of the fuzzing crate, which is another")]
#[allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]
#[path = "../../fuzz/targets/mod.rs"]
mod targets;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

#[test]
fn seeds_and_regressions_pass() {
    for (target, run) in targets::TARGETS {
        for (kind, needed) in [("seeds", true), ("regressions", false)] {
            let folder = fuzz().join(kind).join(target);
            assert!(folder.is_dir() || !needed, "{target} has no seeds");
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                println!("{target}: {}", path.display());
                run(&fs::read(path).unwrap());
            }
        }
    }
}

/// What the fuzzer does for hours, without its feedback: requests that are changed, cut and run together. `AMIKIT_ROUNDS`
/// says how many.
#[test]
fn changed_requests_of_a_peer_are_answered_or_refused() {
    let mut random = Random::new("requests");
    let files = fs::read_dir(fuzz().join("seeds/peer")).unwrap();
    let mut seeds: Vec<Vec<u8>> = files.map(|it| fs::read(it.unwrap().path()).unwrap()).collect();
    seeds.sort();
    let (_, run) = targets::TARGETS.iter().find(|(it, _)| *it == "peer").unwrap();
    for _ in 0..rounds(sample(2000)) {
        let mut bytes = Vec::new();
        for _ in 0..=random.below(3) {
            let mut seed = seeds[random.index(seeds.len())].clone();
            for _ in 0..random.below(8) {
                let at = random.index(seed.len());
                match random.below(4) {
                    0 => seed[at] = u8::try_from(random.below(256)).unwrap(),
                    1 => drop(seed.splice(at..at, *b"%00")),
                    2 => drop(seed.drain(at..(at + random.index(20)).min(seed.len()))),
                    _ => {
                        // A word of another request in its place.
                        let other = &seeds[random.index(seeds.len())];
                        let from = random.index(other.len());
                        let word = other[from..(from + random.index(40)).min(other.len())].to_vec();
                        drop(seed.splice(at..(at + word.len()).min(seed.len()), word));
                    }
                }
            }
            bytes.extend(seed);
        }
        let copy = bytes.clone();
        let done = std::panic::catch_unwind(move || run(&copy));
        if let Err(panic) = done {
            println!("{}", bytes.escape_ascii());
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn seeds_can_be_made_anew() {
    for (target, name, bytes) in targets::seeds() {
        println!("{target}: {}", name.display());
        let (_, run) = targets::TARGETS.iter().find(|(it, _)| *it == target).unwrap();
        run(&bytes);
        let stored = fuzz().join("seeds").join(target).join(name);
        assert!(stored.is_file(), "run make_seeds");
        if std::env::var_os("BLESS").is_some() {
            fs::write(stored, &bytes).unwrap();
        }
    }
    let image = targets::image_seed("raw", &[1; 5000]);
    assert!(image.starts_with(b"raw in pieces\n"));
    assert_eq!(targets::inside_seed(&[1; 1024])[..4], [0, 0, 2, 0]);
}

/// The target by which fuzzing proves that it sees anything: nothing ordinary sets it off.
#[test]
fn the_proof_waits_for_a_header() {
    let (name, run) = targets::PROOF;
    assert_eq!(name, "proof");
    run(&[0; 28]);
    run(b"short");
    let sound = amikit::internals::format::android_sparse::layout::Header {
        header_len: 28,
        chunk_header_len: 12,
        block_len: 4096,
        block_count: 1,
        chunk_count: 1,
        crc: 0,
    };
    assert!(std::panic::catch_unwind(|| run(&sound.encode())).is_err());
}
