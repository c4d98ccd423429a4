//! One volume in parts, by many processes: what is joined is what one run makes.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Child;
use std::process::Stdio;

use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::BLOCK_SIZE;

use crate::common::Model;
use crate::common::Random;
use crate::common::amikit;
use crate::common::copy_tree;
use crate::common::quick_folder;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::tree;

/// Starts one process a line and waits for all.
fn all_at_once(here: &Path, lines: &[String]) {
    let start = |line: &String| -> Child {
        let mut command = amikit();
        command.args(line.split(' ')).current_dir(here).stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let children: Vec<Child> = lines.iter().map(start).collect();
    for (mut child, line) in children.into_iter().zip(lines) {
        assert!(child.wait().unwrap().success(), "{line}");
    }
}

#[test]
fn a_snapshot_in_seven_parts_is_that_of_one_run() {
    let folder = quick_folder();
    let here = folder.path();
    let mut random = Random::new("parts");
    // Neither the volume nor its parts end where a group or a block does.
    Model::random(&mut random, 70).write(&here.join("disk.raw"));
    let size = fs::metadata(here.join("disk.raw")).unwrap().len();
    File::options().write(true).open(here.join("disk.raw")).unwrap().set_len(size - 1000).unwrap();
    run_well(here, "snapshot disk.raw -o one.snap");
    let mut edges: Vec<u64> = (0..6).map(|_| 1 + random.below(68)).chain([0]).collect();
    edges.sort_unstable();
    edges.dedup();
    let ends = edges.iter().skip(1).map(u64::to_string).chain([String::new()]);
    let spans = edges.iter().zip(ends);
    let lines: Vec<String> = spans
        .enumerate()
        .map(|(at, (first, end))| format!("snapshot disk.raw --blocks {first}..{end} -o {at}.part"))
        .collect();
    all_at_once(here, &lines);
    let mut names: Vec<String> = (0..lines.len()).map(|at| format!("{at}.part")).collect();
    names.rotate_left(2);
    let said = run_well(here, &format!("join {} -o two.snap", names.join(" ")));
    assert!(said.contains(&format!("snapshot manifest of {} parts", lines.len())), "{said}");
    assert!(fs::read(here.join("one.snap")).unwrap() == fs::read(here.join("two.snap")).unwrap());
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = quick_folder();
    let here = folder.path();
    let fill = |byte: u8| Some(vec![byte; BLOCK_LEN]);
    Model::of(&[fill(1), fill(0), None, fill(4)], 0).write(&here.join("disk.raw"));
    Model::of(&[fill(1), fill(0), None, fill(5)], 0).write(&here.join("other.raw"));
    Model::of(&[fill(1), fill(0), None, fill(4), None], 0).write(&here.join("larger.raw"));
    for (name, image, more) in [
        ("a", "disk.raw", "--blocks 0..2"),
        ("b", "disk.raw", "--blocks 2..3"),
        ("c", "disk.raw", "--blocks 3.."),
        ("bc", "disk.raw", "--blocks 2..4"),
        ("holes", "disk.raw", "--blocks 0..2 --zeros hole"),
        ("other", "other.raw", "--blocks 2.."),
        ("larger", "larger.raw", "--blocks 2.."),
    ] {
        run_well(here, &format!("snapshot {image} {more} -o {name} -q"));
    }
    fs::copy(here.join("a"), here.join("again")).unwrap();
    run_well(here, "snapshot disk.raw -o whole.snap");
    run_well(here, "pack disk.raw --blocks 0.. --region 512MiB -o pack.ami");
    run_well(here, "pack disk.raw -o whole.ami");
    for (parts, says) in [
        ("a c", "blocks 2 to 2 are in none of the parts"),
        ("b c", "blocks 0 to 1 are in none of the parts"),
        ("a b", "blocks 3 to 3 are in none of the parts"),
        ("a a b c", "a: blocks 0 to 1 are in a too"),
        ("c again b a", "blocks 0 to 1 are in a"),
        ("a c bc", "blocks 3 to 3 are in"),
        ("a larger", "larger: it is a part of another volume than a"),
        ("a b bc", "bc: blocks 2 to 2 are in b too"),
        ("a other", "other: it is a part of another volume than a"),
        ("holes b c", "b: it was made with zeros=keep, but holes with zeros=hole"),
        ("a whole.snap", "whole.snap: it is not a part of a volume"),
        ("a whole.ami", "whole.ami: it is not a part of a volume"),
        ("a disk.raw", "disk.raw: it is not a part of a volume"),
        ("a pack.ami", "it was made with kind="),
    ] {
        let said = run_badly(here, &format!("join {parts} -o out"), 2);
        assert!(said.contains(says), "{parts}: {said}");
        assert!(!here.join("out").exists());
    }
    run_well(here, "join a bc -o out.snap");
    for (line, says) in [
        ("snapshot disk.raw --blocks 4.. -o x", "blocks 4..4 are not in the volume, which has 4"),
        ("snapshot disk.raw --blocks 2..9 -o x", "which has 4"),
        ("snapshot disk.raw --blocks 2..2 -o x", "has no blocks"),
        ("pack disk.raw --blocks 0.. -o x", "--region"),
        (
            "pack disk.raw --blocks 1.. --region 512MiB -o x",
            "are not whole regions, expected multiples of 1024",
        ),
    ] {
        let said = run_badly(here, line, 2);
        assert!(said.contains(says), "{line}: {said}");
    }
    // A part that is cut short is damaged, wherever it ends.
    let whole = fs::read(here.join("bc")).unwrap();
    for len in [8, 100, 4095, 4096, 4097, whole.len() / 2, whole.len() - 1] {
        fs::write(here.join("bc"), &whole[..len]).unwrap();
        let output =
            amikit().args(["join", "a", "bc", "-o", "cut.snap"]).current_dir(here).output();
        let output = output.unwrap();
        let (code, said) =
            (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!((4..=7).contains(&code) && said.contains("bc: "), "{len}: {code} {said}");
        assert!(!here.join("cut.snap").exists());
    }
    // Other commands do not take a part for the manifest of a smaller volume.
    let said = amikit().args(["diff", "a", "whole.snap"]).current_dir(here).output().unwrap();
    assert!(!said.status.success());
}

#[test]
fn damage_to_a_part_is_found() {
    let folder = quick_folder();
    let here = folder.path();
    let fill = |byte: u8| Some(vec![byte; BLOCK_LEN]);
    Model::of(&[fill(1), fill(2), fill(3)], 0).write(&here.join("disk.raw"));
    run_well(here, "snapshot disk.raw --blocks 0.. -o a");
    let sound = fs::read(here.join("a")).unwrap();
    for at in (0..sound.len()).step_by(61).chain([12, 16, 4092, 4096 + 4096 + 200, sound.len() - 1])
    {
        let mut bytes = sound.clone();
        bytes[at] ^= 4;
        fs::write(here.join("a"), &bytes).unwrap();
        let output = amikit().args(["join", "a", "-o", "x"]).current_dir(here).output().unwrap();
        // A minor version, and bits that may be ignored, mean nothing; the first bytes say what it is.
        let ignored = matches!(at, 10 | 11 | 4106 | 4107 | 4112..4116);
        let is_none = at < 8;
        let code = output.status.code().unwrap();
        assert!(ignored || is_none && code == 2 || (4..=7).contains(&code), "byte {at}: {code}");
    }
}

#[test]
fn packed_parts_that_do_not_fit_are_refused_by_name() {
    let folder = quick_folder();
    let here = folder.path();
    let mut random = Random::new("packed parts");
    for name in ["disk.raw", "other.raw"] {
        let file = File::create(here.join(name)).unwrap();
        file.set_len(4096 * BLOCK_SIZE).unwrap();
        for at in [0, 3, 1023, 1024, 2047, 2048, 3000, 4095] {
            let mut bytes = vec![0; 9000];
            random.fill(&mut bytes);
            file.write_all_at(&bytes, at * BLOCK_SIZE).unwrap();
        }
    }
    let options = "--region 512MiB --group 4MiB --pack-size 64MiB";
    for (name, image, blocks, more) in [
        ("a", "disk.raw", "0..2048", options.to_owned()),
        ("b", "disk.raw", "2048..3072", options.to_owned()),
        ("c", "disk.raw", "3072..", options.to_owned()),
        ("bc", "disk.raw", "2048..", options.to_owned()),
        ("level", "disk.raw", "2048..", format!("{options} --level 3")),
        ("group", "disk.raw", "2048..", options.replace("4MiB", "8MiB")),
        ("region", "disk.raw", "2048..", options.replace("512MiB", "1GiB")),
        ("size", "disk.raw", "2048..", options.replace("64MiB", "128MiB")),
        ("zeros", "disk.raw", "2048..", format!("{options} --zeros hole")),
        ("other", "other.raw", "2048..", options.to_owned()),
    ] {
        run_well(here, &format!("pack {image} --blocks {blocks} -o {name} {more}"));
    }
    copy_tree(&here.join("b"), &here.join("again"));
    run_well(here, "snapshot disk.raw --blocks 2048.. -o plain");
    for (parts, says) in [
        ("bc", "blocks 0 to 2047 are in none of the parts"),
        ("c a", "blocks 2048 to 3071 are in none of the parts"),
        ("b a", "blocks 3072 to 4095 are in none of the parts"),
        ("a b c b", "b: blocks 2048 to 3071 are in b too"),
        ("a b c again", "blocks 2048 to 3071 are in"),
        ("bc a b", "blocks 2048 to 3071 are in"),
        ("a bc c", "c: blocks 3072 to 4095 are in bc too"),
        ("a level", "level: it was made with level=3, but a with level=2"),
        ("a group", "group: it was made with group=8388608, but a with group=4194304"),
        ("a region", "region: it was made with region=1073741824, but a with region=536870912"),
        ("a size", "size: it was made with pack-size=134217728, but a with pack-size=67108864"),
        ("a zeros", "zeros: it was made with zeros=hole, but a with zeros=keep"),
        ("a other", "other: it is a part of another volume than a"),
        ("a plain", "plain: it was made with kind=snapshot, but a with kind=pack"),
    ] {
        let said = run_badly(here, &format!("join {parts} -o out --name web"), 2);
        assert!(said.contains(says), "{parts}: {said}");
        assert!(!here.join("out").exists());
    }
    // A file of a part that is cut short or gone is named, as damage.
    for (path, bytes) in tree(&here.join("bc")) {
        if !path.starts_with("blobs") {
            continue;
        }
        let damaged = here.join("bc").join(&path);
        fs::write(&damaged, &bytes[..bytes.len() - 1]).unwrap();
        for _ in 0..2 {
            let mut command = amikit();
            command.args(["join", "a", "bc", "-o", "out", "--name", "web"]).current_dir(here);
            let output = command.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            let code = output.status.code().unwrap();
            assert!((3..=7).contains(&code) && said.contains("bc"), "{path:?}: {code} {said}");
            assert!(!here.join("out").exists());
            let _ = fs::remove_file(&damaged);
        }
        fs::write(&damaged, bytes).unwrap();
    }
    run_well(here, &format!("pack disk.raw -o one --name web {options}"));
    run_well(here, "join c again a -o out --name web");
    assert!(tree(&here.join("one")) == tree(&here.join("out")));
}

/// The packs of regions are taken as they are, so a bundle that was joined is the one of one run, to the byte.
#[test]
fn a_bundle_in_parts_is_that_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut random = Random::new("packed parts");
    // 3.2 GiB: six regions and a bit, most of it holes.
    let blocks = 6 * 1024 + 400;
    let file = File::create(here.join("disk.raw")).unwrap();
    file.set_len(blocks * BLOCK_SIZE - 12_345).unwrap();
    for at in 0..blocks {
        let mut block = vec![0; BLOCK_LEN];
        match random.below(120) {
            // Some are the same in several regions, which store them all.
            0 => block[..4096].fill(1 + u8::try_from(random.below(3)).unwrap()),
            1 => random.fill(&mut block[..50_000]),
            2 => {}
            _ => continue,
        }
        let len = if at + 1 == blocks { BLOCK_LEN - 12_345 } else { BLOCK_LEN };
        file.write_all_at(&block[..len], at * BLOCK_SIZE).unwrap();
    }
    drop(file);
    let options = "--region 512MiB --group 4MiB --pack-size 64MiB";
    run_well(here, &format!("pack disk.raw -o one.ami --name web {options}"));
    let spans = ["0..1024", "1024..3072", "3072..5120", "5120.."];
    let lines: Vec<String> = spans
        .iter()
        .enumerate()
        .map(|(at, span)| format!("pack disk.raw --blocks {span} -o {at}.ami {options}"))
        .collect();
    all_at_once(here, &lines);
    run_well(here, "join 3.ami 1.ami 0.ami 2.ami -o two.ami --name web");
    assert!(tree(&here.join("one.ami")) == tree(&here.join("two.ami")));
    run_well(here, "verify two.ami");
    let said = run_badly(here, "join 0.ami 1.ami 3.ami -o three.ami", 2);
    assert!(said.contains("blocks 3072 to 5119 are in none of the parts"), "{said}");
    run_well(here, &format!("pack disk.raw --blocks 3072..5120 -o 2.ami {options} --level 5"));
    let said = run_badly(here, "join 0.ami 1.ami 2.ami 3.ami -o three.ami", 2);
    assert!(said.contains("2.ami: it was made with level=5, but 0.ami with level=2"), "{said}");
    assert!(!here.join("three.ami").exists());
}
