//! Images over images: a fault of one of the files below names that file.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::common::Random;
use crate::common::installed;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::stderr;

/// Makes `base.qcow2`, packed, and `top.qcow2` over it with nothing of its own.
fn chain(here: &Path) {
    let file = File::create(here.join("in.raw")).unwrap();
    let mut random = Random::with_seed(3);
    for number in 0..8 {
        let mut bytes = random.bytes(32 << 10);
        bytes.resize(64 << 10, b'x');
        file.write_all_at(&bytes, number << 17).unwrap();
    }
    drop(file);
    run_well(here, "convert in.raw base.qcow2 --format qcow2-zlib");
    let mut command = Command::new("qemu-img");
    let arguments = "create -q -f qcow2 -F qcow2 -b base.qcow2 top.qcow2".split_whitespace();
    assert!(command.args(arguments).current_dir(here).status().unwrap().success());
}

#[test]
fn damage_in_a_backing_file_is_told_of_that_file() {
    if !installed("qemu-img") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    chain(here);
    run_well(here, "snapshot top.qcow2 --backing -o out.snap");
    let len = fs::metadata(here.join("base.qcow2")).unwrap().len();
    let base = OpenOptions::new().write(true).open(here.join("base.qcow2")).unwrap();
    // Packed clusters of noise fill most of the file.
    for at in (len / 2..len / 2 + 40_000).step_by(512) {
        base.write_all_at(&[0xff; 64], at).unwrap();
    }
    drop(base);
    for line in [
        "snapshot top.qcow2 --backing -o out.snap",
        "convert top.qcow2 out.raw --backing --format raw",
        "pack top.qcow2 --backing -o out.ami --name test",
    ] {
        let text = run_badly(here, line, 4);
        assert!(text.contains("error: base.qcow2: at byte"), "{line}: {text}");
    }
}

#[test]
fn a_backing_file_that_is_open_for_writing_is_in_use() {
    if !installed("qemu-img") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    chain(here);
    let mut writer = Command::new("sleep");
    let base = OpenOptions::new().append(true).open(here.join("base.qcow2")).unwrap();
    let mut writer = writer.arg("60").stdout(base).spawn().unwrap();
    let output = run(here, "snapshot top.qcow2 --backing -o out.snap");
    let forced = run(here, "snapshot top.qcow2 --backing -o out.snap --force");
    writer.kill().unwrap();
    writer.wait().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("base.qcow2: it is in use"), "{text}");
    assert_eq!(forced.status.code(), Some(0), "{}", stderr(&forced));
}
