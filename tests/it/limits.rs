//! Memory and time do not grow with the volume.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use amikit::internals::format::WRITERS;

use crate::common::Random;
use crate::common::amikit;
use crate::common::data_ranges;
use crate::common::installed;
use crate::common::keeps_holes;
use crate::common::run_well;
use crate::common::sample;
use crate::common::stderr;
use crate::common::step;

const MIB: u64 = 1 << 20;

/// Runs a command and returns the most memory that it had at one time, in MiB.
pub(crate) fn peak(folder: &Path, line: &str) -> u64 {
    peak_of(folder, line, 0)
}

/// As [`peak`], for a command that ends with an exit code.
pub(crate) fn peak_of(folder: &Path, line: &str, code: i32) -> u64 {
    let mut child = amikit()
        .current_dir(folder)
        .args(line.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        // The kernel keeps the mark itself, so it matters little when we look.
        let text = fs::read_to_string(&status).unwrap_or_default();
        // The first look may come before the child has a memory of its own: that is the one of this program.
        let own = text.strip_prefix("Name:\tamikit\n").unwrap_or_default();
        if let Some(rest) = own.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            peak = peak.max(rest.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
        }
        sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{line}: {}", stderr(&output));
    peak / 1024
}

#[test]
fn memory_is_bounded_by_the_threads_and_not_by_the_volume() {
    if !Path::new("/proc/self/status").exists() {
        println!("skipped: no /proc");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut random = Random::with_seed(11);
    let file = File::create(here.join("in.raw")).unwrap();
    for number in 0..300 {
        file.write_all_at(&random.bytes(1 << 20), number * MIB).unwrap();
    }
    drop(file);
    let mut failed = Vec::new();
    for count in [8, 1, 2].into_iter().take(sample(5)) {
        for (line, each) in [
            ("snapshot in.raw -o out.snap", 8),
            ("pack in.raw -o out.ami --name test", 96),
            ("pack in.raw -o out.ami --name test --level 12", 96),
            ("verify out.ami", 64),
            ("unpack out.ami -o out.raw", 64),
        ] {
            let line = format!("{line} --threads {count}");
            let (peak, most) = (peak(here, &line), 64 + each * count);
            println!("{line}: {peak} MiB of {most}");
            if peak > most {
                failed.push(format!("{line}: {peak} MiB, expected at most {most}"));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Rows that are written, and what a stream takes beside: the window that its compressor used.
#[test]
fn memory_is_bounded_in_every_format() {
    if !Path::new("/proc/self/status").exists() {
        println!("skipped: no /proc");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut random = Random::with_seed(12);
    let file = File::create(here.join("in.raw")).unwrap();
    for number in 0..16 {
        file.write_all_at(&random.bytes(1 << 20), 6 * number * MIB).unwrap();
    }
    drop(file);
    let mut lines = Vec::new();
    for format in WRITERS.iter().step_by(step()) {
        let name = format.name;
        lines.push(format!("convert in.raw out.{name} --format {name}"));
        lines.push(format!("snapshot out.{name} -o out.snap"));
        lines.push(format!("convert out.{name} back.raw --format raw"));
        lines.push(format!("compare out.{name} in.raw"));
    }
    // What a reader of xz takes is in its header, and xz takes a second for 3 MiB of this.
    fs::write(here.join("few.raw"), &fs::read(here.join("in.raw")).unwrap()[..8 << 20]).unwrap();
    for (tool, arguments, input) in [
        ("gzip", "-1", "in.raw"),
        ("xz", "-0", "few.raw"),
        ("xz", "-6", "few.raw"),
        ("zstd", "-1", "in.raw"),
    ] {
        if installed(tool) {
            let out = format!("in.{tool}{arguments}");
            let packed = File::create(here.join(&out)).unwrap();
            let raw = File::open(here.join(input)).unwrap();
            let mut command = Command::new(tool);
            let done = command.args([arguments, "-c"]).stdin(raw).stdout(packed).status().unwrap();
            assert!(done.success());
            lines.push(format!("pack {out} -o out.ami --name test"));
            lines.push(format!("convert {out} out.qcow2 --format qcow2"));
        }
    }
    if installed("tar") {
        for form in ["gnu", "pax"] {
            let form = format!("--format={form}");
            let mut command = Command::new("tar");
            let arguments = ["--sparse", &form, "-cf", "in.tar", "in.raw"];
            assert!(command.args(arguments).current_dir(here).status().unwrap().success());
            lines.push("snapshot in.tar -o out.snap".to_owned());
        }
    }
    let mut failed = Vec::new();
    for line in lines {
        let line = format!("{line} --threads 2");
        let each = if line.starts_with("pack") { 96 } else { 8 };
        let (peak, most) = (peak(here, &line), 64 + each * 2);
        println!("{line}: {peak} MiB of {most}");
        if peak > most {
            failed.push(format!("{line}: {peak} MiB, expected at most {most}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_tebibyte_of_holes_costs_next_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !keeps_holes(here) {
        return;
    }
    let size = 1 << 40;
    let file = File::create(here.join("in.raw")).unwrap();
    if let Err(error) = file.set_len(size) {
        println!("skipped: no file of 1 TiB here: {error}");
        return;
    }
    let places = [0, size / 2 + 12_288, size - 4096];
    for place in places {
        file.write_all_at(&[0xd1; 4096], place).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    let begin = Instant::now();
    let snapshot = run_well(here, "snapshot in.raw -o out.snap");
    assert!(snapshot.contains("3 data, 0 zero, 2097149 hole"), "{snapshot}");
    let map = run_well(here, "map in.raw");
    assert_eq!(map.lines().filter(|line| line.ends_with("  data")).count(), 3, "{map}");
    for form in ["out.ami", "out.tar"] {
        run_well(here, &format!("pack in.raw -o {form} --name test"));
        run_well(here, &format!("verify {form} --against in.raw"));
    }
    let bundle = run_well(here, "inspect out.ami");
    assert!(bundle.contains("volume of 1 TiB, 1024 GiB in EBS"), "{bundle}");
    run_well(here, "unpack out.ami -o out.raw");
    let stored: u64 = data_ranges(&here.join("out.raw")).iter().map(|(from, to)| to - from).sum();
    assert_eq!(stored, 3 * 524_288);
    let mut found = [0; 4096];
    let out = File::open(here.join("out.raw")).unwrap();
    for place in places {
        out.read_exact_at(&mut found, place).unwrap();
        assert!(found.iter().all(|byte| *byte == 0xd1));
    }
    assert_eq!(out.metadata().unwrap().len(), size);
    let took = begin.elapsed();
    println!("all of it took {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(peak(here, "pack in.raw -o again.ami --name test") < 80);
}
