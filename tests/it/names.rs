//! What the name of an output says of its format, and what becomes of a size that a format cannot say.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;

use amikit::internals::format::WRITERS;

use crate::common::Random;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::stderr;
use crate::common::step;

/// An image of whole sectors, in a bundle too.
fn image(folder: &Path, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut random = Random::new("names");
    bytes[..len / 2].fill_with(|| random.next().to_le_bytes()[0]);
    bytes[len - 1] = 1;
    fs::write(folder.join("in.raw"), &bytes).unwrap();
    bytes
}

fn format_of(folder: &Path, name: &str) -> String {
    let report = run_well(folder, &format!("inspect {name} --json"));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    report["format"].as_str().unwrap().to_owned()
}

#[test]
fn an_output_is_in_the_format_that_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let bytes = image(folder, 3 << 20);
    run_well(folder, "pack in.raw -o web.ami");
    let mut suffixes = 0;
    for format in WRITERS {
        for suffix in format.suffixes {
            suffixes += 1;
            if suffixes % step() != 0 {
                continue;
            }
            for name in [format!("a.{suffix}"), format!("a.b.{}", suffix.to_uppercase())] {
                run_well(folder, &format!("convert in.raw {name}"));
                assert_eq!(format_of(folder, &name), format.format.name, "{name}");
                run_well(folder, &format!("convert {name} back --format raw"));
                assert!(fs::read(folder.join("back")).unwrap() == bytes, "{name}");
                fs::remove_file(folder.join(&name)).unwrap();
                run_well(folder, &format!("unpack web.ami -o {name}"));
                assert_eq!(format_of(folder, &name), format.format.name, "{name}");
            }
        }
    }
    assert!(suffixes >= 10, "{suffixes} suffixes");
}

#[test]
fn a_name_that_says_no_format_asks_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    image(folder, 1 << 20);
    for name in ["out", "out.", "raw", ".raw.bak", "out.zst", "out.tar"] {
        let line = run_badly(folder, &format!("convert in.raw {name}"), 2);
        assert!(line.contains(name) && line.contains("expected .raw, .img"), "{line}");
        assert!(line.contains("--format"), "{line}");
        assert!(!folder.join(name).exists(), "{name}");
    }
    // A bundle has volumes, and those are raw.
    run_well(folder, "pack in.raw -o web.ami");
    run_well(folder, "unpack web.ami -o out");
    assert_eq!(format_of(folder, "out"), "raw");
}

#[test]
fn a_size_that_a_format_cannot_say_is_filled_up_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let bytes = image(folder, (1 << 20) + 700);
    run_well(folder, "pack in.raw -o web.ami");
    for format in WRITERS {
        let mut expected = bytes.clone();
        expected.resize(bytes.len().next_multiple_of(format.size_grain.try_into().unwrap()), 0);
        for line in ["convert in.raw", "unpack web.ami -o"] {
            let output = run(folder, &format!("{line} out --format {}", format.name));
            let notes = stderr(&output);
            assert_eq!(output.status.code(), Some(0), "{}: {notes}", format.name);
            let told = format!("padded with zeros to {} bytes", expected.len());
            assert_eq!(notes.contains(&told), format.size_grain > 1, "{}: {notes}", format.name);
            run_well(folder, "convert out back --format raw");
            assert!(fs::read(folder.join("back")).unwrap() == expected, "{}", format.name);
        }
    }
}
