//! What is packed comes out again: every byte, and for each block whether it was ever written.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use amikit::internals::units::BLOCK_LEN;

use crate::common::Model;
use crate::common::Random;
use crate::common::State;
use crate::common::amikit;
use crate::common::check_raw;
use crate::common::installed;
use crate::common::is_root;
use crate::common::keeps_holes;
use crate::common::names;
use crate::common::run_well;
use crate::common::sample;
use crate::common::stderr;
use crate::common::tree;

#[test]
fn any_volume_comes_back_with_its_holes_at_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !keeps_holes(here) {
        return;
    }
    let mut random = Random::new("any_volume_comes_back");
    for round in 0..=sample(5) {
        let blocks = 1 + random.index(24);
        let model = Model::random(&mut random, blocks);
        let image = here.join("in.raw");
        model.write(&image);
        for form in ["b.ami", "b.ami.tar"] {
            let mut first = None;
            for count in [1, 2, 3, 7] {
                run_well(here, &format!("pack in.raw -o {form} --name test --threads {count}"));
                let files = tree(&here.join(form));
                assert!(
                    first.get_or_insert_with(|| files.clone()) == &files,
                    "round {round}: {form} differs at {count} threads"
                );
            }
            for count in [1, 3] {
                run_well(here, &format!("unpack {form} -o out.raw --threads {count}"));
                check_raw(&here.join("out.raw"), &model);
            }
            run_well(here, &format!("verify {form} --against in.raw"));
        }
        fs::remove_file(here.join("out.raw")).unwrap();
    }
    let left = names(here);
    assert_eq!(left, ["b.ami", "b.ami.tar", "in.raw"], "something was left behind");
}

#[test]
fn the_states_of_a_snapshot_are_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !keeps_holes(here) {
        return;
    }
    let mut random = Random::new("the_states_of_a_snapshot");
    for _ in 0..4 {
        let model = Model::random(&mut random, 30);
        model.write(&here.join("in.raw"));
        let report = run_well(here, "snapshot in.raw -o in.snap --json");
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        for (name, state) in [("data", State::Data), ("zero", State::Zero), ("hole", State::Hole)] {
            let count = model.states.iter().filter(|it| **it == state).count();
            assert_eq!(report["blocks"][name], count, "{name} blocks");
        }
        assert_eq!(report["volume_size_bytes"], model.size());
    }
}

#[test]
fn each_volume_of_a_bundle_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !keeps_holes(here) {
        return;
    }
    let mut random = Random::new("each_volume_of_a_bundle");
    let models: Vec<Model> = (0..3).map(|_| Model::random(&mut random, 9)).collect();
    for (number, model) in models.iter().enumerate() {
        model.write(&here.join(format!("{number}.raw")));
    }
    // The last is the first again: equal snapshots of two devices.
    for form in ["b.ami", "b.tar"] {
        run_well(
            here,
            &format!(
                "pack 0.raw --map /dev/sdf=1.raw --map /dev/sdb=2.raw --map /dev/sdz=0.raw -o {form} \
                 --name test --pack-size 1MiB"
            ),
        );
        for (device, number) in [("xvda", 0), ("/dev/sdf", 1), ("/dev/sdb", 2), ("sdz", 0)] {
            run_well(here, &format!("unpack {form} {device} -o out.raw"));
            check_raw(&here.join("out.raw"), &models[number]);
        }
        run_well(
            here,
            &format!(
                "verify {form} --against 0.raw --against /dev/sdf=1.raw --against /dev/sdb=2.raw"
            ),
        );
    }
}

#[test]
fn any_tail_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !keeps_holes(here) {
        return;
    }
    for tail in [1, 511, 512, 513, 4095, 4096, 4097, BLOCK_LEN - 1] {
        for last in [Some(vec![9; 1]), Some(Vec::new()), None] {
            let model = Model::of(&[Some(vec![1; BLOCK_LEN]), last], tail);
            model.write(&here.join("in.raw"));
            run_well(here, "pack in.raw -o b.ami --name test");
            run_well(here, "unpack b.ami -o out.raw");
            check_raw(&here.join("out.raw"), &model);
        }
    }
}

#[test]
fn a_pipe_equals_the_file_with_its_holes_as_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut random = Random::new("a_pipe_equals_the_file");
    for count in [1, 2, 5] {
        let model = Model::random(&mut random, 12);
        model.write(&here.join("in.raw"));
        run_well(here, "pack in.raw -o file.ami --name test --holes zero");
        let mut child = amikit()
            .current_dir(here)
            .args([
                "pack",
                "-",
                "-o",
                "pipe.ami",
                "--name",
                "test",
                "--threads",
                &count.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // Odd pieces, so that no read of the other side is whole.
        for piece in model.bytes.chunks(99_991) {
            pipe.write_all(piece).unwrap();
        }
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(tree(&here.join("file.ami")) == tree(&here.join("pipe.ami")), "{count} threads");
    }
}

#[test]
fn android_sparse_images_keep_states_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !keeps_holes(here) {
        return;
    }
    let mut random = Random::new("android_sparse");
    let blocks: Vec<_> = (0..12)
        .map(|_| match random.below(3) {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(random.bytes(BLOCK_LEN)),
        })
        .chain([Some(vec![3; 9])])
        .collect();
    let model = Model::of(&blocks, 0);
    model.write(&here.join("in.raw"));
    run_well(here, "pack in.raw -o raw.ami --name test");
    run_well(here, "unpack raw.ami -o out.simg --format android-sparse");
    run_well(here, "pack out.simg -o sparse.ami --name test");
    assert!(tree(&here.join("raw.ami")) == tree(&here.join("sparse.ami")));
    run_well(here, "convert out.simg out.raw --format raw");
    check_raw(&here.join("out.raw"), &model);
    run_well(here, "convert in.raw again.simg --format android-sparse");
    run_well(here, "verify raw.ami --against again.simg");
}

#[test]
fn the_fixture_disk_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::copy(crate::common::fixture("images/disk.simg"), here.join("disk.simg")).unwrap();
    run_well(here, "pack disk.simg -o b.ami.tar --name test");
    run_well(here, "verify b.ami.tar --against disk.simg");
    run_well(here, "unpack b.ami.tar -o out.raw");
    run_well(here, "convert disk.simg direct.raw --format raw");
    assert!(fs::read(here.join("out.raw")).unwrap() == fs::read(here.join("direct.raw")).unwrap());
}

#[test]
fn small_packs_are_many_and_hold_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut random = Random::with_seed(7);
    let blocks: Vec<_> = (0..12).map(|_| Some(random.bytes(BLOCK_LEN))).collect();
    let model = Model::of(&blocks, 0);
    model.write(&here.join("in.raw"));
    let mut counts = Vec::new();
    for count in [1, 4] {
        let line = format!(
            "pack in.raw -o b.ami --name test --pack-size 1MiB --group 512KiB --threads {count}"
        );
        run_well(here, &line);
        counts.push(tree(&here.join("b.ami")));
    }
    assert!(counts[0] == counts[1]);
    let report: serde_json::Value =
        serde_json::from_str(&run_well(here, "inspect b.ami --json")).unwrap();
    let packs = report["packs"].as_array().unwrap();
    // Incompressible chunks of a little over 512 KiB: one a pack.
    assert_eq!(packs.len(), 12);
    // The size is that of the groups; header, index and footer come on top.
    assert!(packs.iter().all(|pack| pack["stored_bytes"].as_u64().unwrap() < (1 << 20) + 4096));
    run_well(here, "unpack b.ami -o out.raw");
    check_raw(&here.join("out.raw"), &model);
}

#[test]
fn nothing_old_shows_through_a_file_that_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !keeps_holes(here) {
        return;
    }
    let mut random = Random::new("nothing_old_shows_through_a_file");
    let model = Model::random(&mut random, 10);
    model.write(&here.join("in.raw"));
    run_well(here, "pack in.raw -o b.ami --name test");
    fs::write(here.join("out.raw"), vec![0xaa; model.bytes.len() + 3 * BLOCK_LEN]).unwrap();
    run_well(here, "unpack b.ami -o out.raw");
    check_raw(&here.join("out.raw"), &model);
}

/// A loop device, detached when it is dropped.
struct Loop(PathBuf);

impl Loop {
    fn attach(file: &Path) -> Option<Self> {
        if !is_root() || !installed("losetup") {
            return None;
        }
        let output = Command::new("losetup").args(["-f", "--show"]).arg(file).output().unwrap();
        if !output.status.success() {
            println!("skipped: no loop device: {}", stderr(&output));
            return None;
        }
        let path = String::from_utf8(output.stdout).unwrap();
        let device = Self(PathBuf::from(path.trim()));
        let found = fs::metadata(&device.0).is_ok_and(|meta| meta.file_type().is_block_device());
        if !found {
            println!("skipped: {} is no block device here", device.0.display());
            return None;
        }
        Some(device)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

#[test]
fn nothing_old_shows_through_a_block_device() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut random = Random::new("nothing_old_shows_through_a_block_device");
    let model = Model::random(&mut random, 10);
    model.write(&here.join("in.raw"));
    run_well(here, "pack in.raw -o b.ami --name test");
    let len = model.bytes.len().next_multiple_of(4096) + BLOCK_LEN;
    fs::write(here.join("disk"), vec![0xaa; len]).unwrap();
    let Some(device) = Loop::attach(&here.join("disk")) else { return };
    let path = device.0.to_str().unwrap().to_owned();
    run_well(here, &format!("unpack b.ami -o {path}"));
    let mut found = vec![0; len];
    File::open(&path).unwrap().read_exact_at(&mut found, 0).unwrap();
    let differs = found.iter().zip(&model.bytes).position(|(a, b)| a != b);
    assert_eq!(differs, None, "byte of the device");
    let behind = &found[model.bytes.len()..];
    assert!(behind.iter().all(|byte| *byte == 0xaa), "bytes past the volume were written");

    // A device that is too small is refused before a byte of it is written.
    fs::write(here.join("small"), vec![0xaa; BLOCK_LEN]).unwrap();
    let Some(small) = Loop::attach(&here.join("small")) else { return };
    let path = small.0.to_str().unwrap().to_owned();
    let text = crate::common::run_badly(here, &format!("unpack b.ami -o {path}"), 2);
    assert!(text.contains("the device has 524288 bytes") && text.contains(&path), "{text}");
    let mut found = vec![0; BLOCK_LEN];
    File::open(&path).unwrap().read_exact_at(&mut found, 0).unwrap();
    assert!(found.iter().all(|byte| *byte == 0xaa));
}

#[test]
fn folder_time_zone_language_and_umask_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut random = Random::new("folder_time_zone_language");
    let model = Model::random(&mut random, 10);
    model.write(&here.join("in.raw"));
    fs::create_dir(here.join("elsewhere")).unwrap();
    let mut seen = Vec::new();
    for (number, (cwd, zone, language, mask)) in [
        (".", "UTC", "C", "022"),
        ("elsewhere", "Pacific/Chatham", "de_DE.UTF-8", "000"),
        (".", "America/St_Johns", "tr_TR.UTF-8", "077"),
    ]
    .into_iter()
    .enumerate()
    {
        for suffix in ["ami", "tar"] {
            let output = here.join(format!("{number}.{suffix}"));
            let status = Command::new("sh")
                .args(["-c", "umask $1; shift; exec \"$@\"", "sh", mask])
                .arg(env!("CARGO_BIN_EXE_amikit"))
                .args(["pack", "--quiet", "--name", "test", "-o"])
                .args([&output, &here.join("in.raw")])
                .current_dir(here.join(cwd))
                .env("TZ", zone)
                .env("LANG", language)
                .env("LC_ALL", language)
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert!(status.success());
            seen.push(tree(&output));
        }
    }
    for pair in seen.chunks(2) {
        assert!(pair[0] == seen[0] && pair[1] == seen[1]);
    }
}

#[test]
fn an_output_gets_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    Model::of(&[Some(vec![1])], 0).write(&here.join("in.raw"));
    for (mask, file_mode, folder_mode) in [("022", 0o644, 0o755), ("027", 0o640, 0o750)] {
        let script = format!(
            "umask {mask}; rm -rf b.ami b.tar out.raw; \"$0\" pack in.raw -o b.ami --name test && \
             \"$0\" pack in.raw -o b.tar --name test && \"$0\" unpack b.ami -o out.raw"
        );
        let status = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_amikit")])
            .current_dir(here)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let mode = |name: &str| fs::metadata(here.join(name)).unwrap().permissions().mode() & 0o777;
        for name in ["b.tar", "out.raw", "b.ami/index.json", "b.ami/oci-layout"] {
            assert_eq!(mode(name), file_mode, "{name} under umask {mask}");
        }
        for name in ["b.ami", "b.ami/blobs", "b.ami/blobs/sha256"] {
            assert_eq!(mode(name), folder_mode, "{name} under umask {mask}");
        }
    }
}
