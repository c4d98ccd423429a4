//! `serve nbd` judged by what reads it: 100,000 random reads, and programs that make copies, files and other servers of it.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::common::Model;
use crate::common::Random;
use crate::common::installed;
use crate::common::quick_folder;
use crate::common::run_tool;
use crate::common::run_well;
use crate::common::sample;
use crate::common::unmount;
use crate::serve_nbd::Server;

/// Writes `v.raw`, and packs it whole, thin over an older volume, and both once more.
fn scene(folder: &Path, random: &mut Random) -> Vec<u8> {
    let model = Model::random(random, 60);
    let mut older = model.bytes.clone();
    for _ in 0..30 {
        let at = random.index(older.len() - 9000);
        random.fill(&mut older[at..at + 9000]);
    }
    fs::write(folder.join("old.raw"), older).unwrap();
    model.write(&folder.join("v.raw"));
    run_well(folder, "pack old.raw -o old.ami --name older");
    run_well(folder, "pack v.raw -o whole.ami --name whole");
    run_well(folder, "pack v.raw -o thin.ami --name thin --base old.ami --thin");
    model.bytes
}

#[test]
fn random_reads_equal_the_image_from_any_bundle_with_and_without_a_cache() {
    let mut random = Random::new("nbd reads");
    let folder = quick_folder();
    let bytes = scene(folder.path(), &mut random);
    // Where nothing is kept, groups are unpacked again and again.
    for (line, reads) in [
        ("whole.ami", 48_000_usize),
        ("whole.ami --cache 0", 2000),
        ("thin.ami --base old.ami", 48_000),
        ("thin.ami --base old.ami --cache 0", 2000),
    ] {
        let server = Server::start(folder.path(), line);
        let mut client = server.connect();
        assert_eq!(client.choose(""), u64::try_from(bytes.len()).unwrap());
        for number in 0..sample(reads) {
            let len = [1, 512, 4096, 4097, 70_000][random.index(5)];
            let at = random.index(bytes.len() - len);
            let (offset, count) = (u64::try_from(at).unwrap(), u32::try_from(len).unwrap());
            let read = client.read(offset, count);
            assert!(read.as_deref() == Ok(&bytes[at..at + len]), "{line}: {number}: {at} {len}");
        }
    }
}

#[test]
fn programs_make_copies_files_and_servers_of_it() {
    let mut random = Random::new("nbd programs");
    let folder = quick_folder();
    let here = folder.path();
    let bytes = scene(here, &mut random);
    for line in ["whole.ami", "thin.ami --base old.ami"] {
        let server = Server::start(here, line);
        let uri = server.listening["listening"]["exports"][0]["uri"].as_str().unwrap().to_owned();
        let copy = here.join("copy.raw");
        if installed("nbdkit") && installed("nbdcopy") {
            let _ = fs::remove_file(&copy);
            let run = format!("nbdcopy --connections=4 \"$uri\" {}", copy.display());
            run_tool(Command::new("nbdkit").args([
                "-U",
                "-",
                "nbd",
                &format!("uri={uri}"),
                "--run",
                &run,
            ]));
            assert!(fs::read(&copy).unwrap() == bytes, "{line}: nbdkit");
        }
        if installed("qemu-img") {
            let _ = fs::remove_file(&copy);
            run_tool(
                Command::new("qemu-img")
                    .args(["convert", "-f", "raw", "-O", "qcow2", &uri])
                    .arg(&copy),
            );
            let raw = here.join("v.raw");
            run_tool(Command::new("qemu-img").arg("compare").args([&copy, &raw]));
        }
        if installed("nbdfuse") {
            file_of(here, &uri, &bytes, line);
        }
    }
}

/// Reads it as a file that nbdfuse makes.
fn file_of(here: &Path, uri: &str, bytes: &[u8], line: &str) {
    let mount = here.join("mount");
    let _ = fs::create_dir(&mount);
    let file = mount.join("disk");
    let mut fuse = Command::new("nbdfuse").arg(&file).arg(uri).spawn().unwrap();
    let began = Instant::now();
    let ended = loop {
        if file.exists() {
            break false;
        }
        if fuse.try_wait().unwrap().is_some() || began.elapsed() > Duration::from_secs(20) {
            break true;
        }
        thread::sleep(Duration::from_millis(20));
    };
    if ended {
        println!("skipped: nbdfuse cannot mount here");
    } else {
        assert!(fs::read(&file).unwrap() == bytes, "{line}: nbdfuse");
        unmount(&mount);
    }
    let _ = fuse.kill();
    let _ = fuse.wait();
}
