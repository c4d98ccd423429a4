//! A delta finds the old self of a file by its name where its bytes do not lead to it.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::Random;
use crate::common::installed;
use crate::common::run_tool;
use crate::common::run_well;

/// Bytes between two that differ: fewer than what an anchor is found by.
const STEP: usize = 32;

/// Makes an ext4 image with `files`, whose content is that of `seed` with an address in every few bytes, as programs
/// have it that were linked at another place.
fn image(here: &Path, name: &str, files: &[(&str, u64, usize)], address: u8) {
    let root = here.join(format!("{name}.files"));
    for (path, seed, len) in files {
        let mut bytes = Random::with_seed(*seed).bytes(*len);
        for (at, place) in bytes.chunks_mut(STEP).enumerate() {
            place[0] = u8::try_from(at % 241).unwrap().wrapping_mul(address);
            place[1] = address;
        }
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let image = here.join(name);
    fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    let mut mke2fs = Command::new("mke2fs");
    run_tool(mke2fs.args(["-q", "-F", "-t", "ext4", "-d"]).arg(&root).arg(&image));
}

/// Returns the bytes that a thin bundle stores.
fn stored(here: &Path, line: &str) -> u64 {
    let report: Value = serde_json::from_str(&run_well(here, &format!("{line} --json"))).unwrap();
    report["volumes"][0]["stored_bytes"].as_u64().unwrap()
}

#[test]
fn a_changed_file_is_compressed_against_what_its_name_had_before() {
    if !installed("mke2fs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (program, len) = (7, 1 << 20);
    // What comes before it in the order of names moves it to another place.
    image(here, "old.raw", &[("boot/a", 1, 5000), ("usr/lib/so-1.9.2/prog", program, len)], 3);
    run_well(here, "pack old.raw -o old.ami --name old");
    let more = ("boot/b", 2, 900_000);
    let mut sizes = Vec::new();
    for (name, path) in [
        ("same", "usr/lib/so-1.9.2/prog"),
        ("version", "usr/lib/so-1.10/prog"),
        ("other", "usr/lib/so-1.10/other"),
    ] {
        image(here, &format!("{name}.raw"), &[("boot/a", 1, 5000), more, (path, program, len)], 5);
        for base in ["old.ami", "old.raw"] {
            let line = format!("pack {name}.raw --base {base} --thin --name new");
            let size = stored(here, &format!("{line} -o {name}.ami --threads 3"));
            run_well(here, &format!("apply {name}.ami --to old.raw -o applied.raw"));
            run_well(here, &format!("diff applied.raw {name}.raw"));
            let digest = |bundle: &str| {
                let inspected = run_well(here, &format!("inspect {bundle} --json"));
                serde_json::from_str::<Value>(&inspected).unwrap()["digest"].clone()
            };
            run_well(here, &format!("{line} -o again.ami --threads 1"));
            assert_eq!(digest("again.ami"), digest(&format!("{name}.ami")), "{name}, {base}");
            sizes.push(size);
        }
    }
    println!("{sizes:?}");
    let [same, same_image, version, version_image, other, other_image] = sizes[..] else {
        panic!()
    };
    assert!(other > 1_900_000 && other_image > 1_900_000, "{sizes:?}");
    let most = other - 500_000;
    assert!(
        same < most && same_image < most && version < most && version_image < most,
        "{sizes:?}"
    );
}
