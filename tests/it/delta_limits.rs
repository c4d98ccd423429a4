//! Memory of deltas: so much a thread, and so much a page of the base, and no more.
#![allow(clippy::arithmetic_side_effects)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::common::Random;
use crate::common::run_well;
use crate::common::sample;
use crate::common::step;
use crate::limits::peak;

const MIB: u64 = 1 << 20;

#[test]
fn memory_of_deltas_is_bounded_by_threads_and_pages_of_the_base() {
    if !Path::new("/proc/self/status").exists() {
        println!("skipped: no /proc");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut random = Random::with_seed(12);
    let (old, new) =
        (File::create(here.join("old.raw")).unwrap(), File::create(here.join("new.raw")).unwrap());
    let data_mib = 200;
    for number in 0..data_mib {
        let bytes = random.bytes(1 << 20);
        old.write_all_at(&bytes, number * MIB).unwrap();
        // The new volume has all of it 3 pages further on, and some noise.
        new.write_all_at(&bytes, number * MIB + 12_288).unwrap();
        new.write_all_at(&random.bytes(5000), number * MIB + 300_000).unwrap();
    }
    drop((old, new));
    run_well(here, "pack old.raw -o old.ami --name old --level 1");
    run_well(here, "pack new.raw --base old.ami --thin -o thin.ami --name new");
    let index = 48 * data_mib * 256 / MIB;
    let mut failed = Vec::new();
    for count in [8, 1, 2].into_iter().take(sample(5)) {
        // Patches over a bundle keep decompressed groups of it.
        let groups = 256;
        for (line, each, more) in [
            ("pack new.raw --base old.ami --thin -o out.ami --name new", 96, index + groups),
            ("pack new.raw --base old.raw --thin -o out.ami --name new", 96, index),
            ("unpack thin.ami --base old.ami -o out.raw", 64, groups),
            ("unpack thin.ami --base old.raw -o out.raw", 64, 0),
            ("verify thin.ami --base old.ami", 64, groups),
            ("apply thin.ami --to old.raw -o out.raw", 64, 0),
            ("diff old.raw new.raw", 8, 0),
        ]
        .into_iter()
        .step_by(step())
        {
            let line = format!("{line} --threads {count}");
            let code = i32::from(line.starts_with("diff"));
            let peak =
                if code == 0 { peak(here, &line) } else { crate::limits::peak_of(here, &line, 1) };
            let most = 64 + each * count + more;
            println!("{line}: {peak} MiB of {most}");
            if peak > most {
                failed.push(format!("{line}: {peak} MiB, expected at most {most}"));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
