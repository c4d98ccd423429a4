//! `compare` finds every range where two volumes differ, and nothing else.
#![allow(clippy::arithmetic_side_effects)]

use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;

use amikit::internals::ops;
use amikit::internals::ops::CompareReport;
use amikit::internals::ops::ImageRequest;
use amikit::internals::work::Unwatched;

const SIZE: u64 = 9 << 20;

/// A file of data and holes: MiB 0, 1, 4 and 7 are stored, MiB 4 as zeros.
fn image(path: &Path) -> File {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
    let file = file.unwrap();
    file.set_len(SIZE).unwrap();
    for (place, fill) in [(0, 1), (1, 2), (4, 0), (7, 3)] {
        file.write_all_at(&vec![fill; 1 << 20], place << 20).unwrap();
    }
    file
}

fn compare(left: &Path, right: &Path, states: bool) -> CompareReport {
    let request = ops::CompareRequest {
        left: ImageRequest::of(left).into(),
        right: ImageRequest::of(right).into(),
        states,
        threads: NonZero::new(3).unwrap(),
    };
    ops::compare(&request, &Unwatched).unwrap()
}

fn ranges(report: &CompareReport) -> Vec<(u64, u64, &str)> {
    report.differences.iter().map(|it| (it.start_bytes, it.end_bytes, it.what)).collect()
}

#[test]
fn equal_volumes_are_equal_in_states_too() {
    let folder = tempfile::tempdir().unwrap();
    let (left, right) = (folder.path().join("left"), folder.path().join("right"));
    drop((image(&left), image(&right)));
    let report = compare(&left, &right, true);
    assert!(report.equal && report.different_bytes == 0, "{report:?}");
}

#[test]
fn every_changed_sector_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (left, right) = (folder.path().join("left"), folder.path().join("right"));
    drop(image(&left));
    let changed = image(&right);
    // In data, over an edge of pieces, in a hole, and at the very end.
    for at in [0, 700, (128 << 10) - 1, 128 << 10, 3 << 20, SIZE - 1] {
        changed.write_all_at(&[9], at).unwrap();
    }
    drop(changed);
    let report = compare(&left, &right, false);
    let expected = [
        (0, 1024, "content"),
        ((128 << 10) - 512, (128 << 10) + 512, "content"),
        (3 << 20, (3 << 20) + 512, "content"),
        (SIZE - 512, SIZE, "content"),
    ];
    assert_eq!(ranges(&report), expected);
    assert_eq!(report.different_bytes, 1024 + 1024 + 512 + 512);
}

#[test]
fn states_differ_only_where_one_is_a_hole() {
    let folder = tempfile::tempdir().unwrap();
    let (left, right) = (folder.path().join("left"), folder.path().join("right"));
    drop(image(&left));
    // All of it written: the holes are zeros now.
    std::fs::write(&right, std::fs::read(&left).unwrap()).unwrap();
    assert!(compare(&left, &right, false).equal);
    let report = compare(&left, &right, true);
    let mib = |n: u64| n << 20;
    let expected =
        [(mib(2), mib(4), "state"), (mib(5), mib(7), "state"), (mib(8), mib(9), "state")];
    assert_eq!(ranges(&report), expected);
}

#[test]
fn a_longer_volume_differs_in_size() {
    let folder = tempfile::tempdir().unwrap();
    let (left, right) = (folder.path().join("left"), folder.path().join("right"));
    drop(image(&left));
    image(&right).set_len(SIZE + 10).unwrap();
    let report = compare(&left, &right, false);
    assert_eq!(ranges(&report), [(SIZE, SIZE + 10, "size")]);
}

#[test]
fn a_bundle_is_compared_by_its_device() {
    let folder = tempfile::tempdir().unwrap();
    let (left, bundle) = (folder.path().join("left"), folder.path().join("web.ami"));
    drop(image(&left));
    let amikit = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_amikit"))
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(amikit(&["pack", "left", "-o", "web.ami", "--map", "/dev/sdf=left"]).0, Some(0));
    assert!(compare(&bundle, &left, true).equal);
    assert_eq!(amikit(&["compare", "web.ami:/dev/sdf", "left"]).0, Some(0));
    File::options().write(true).open(&left).unwrap().write_all_at(&[7], 5).unwrap();
    let (code, text) = amikit(&["compare", "web.ami", "left"]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("bytes 0 to 512 differ in content\n"), "{text}");
}
