//! Plans: replayed onto real volumes, refused where they would lie, small at any size.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use amikit::Unwatched;
use amikit::internals::ami::Ami;
use amikit::internals::ami::Architecture;
use amikit::internals::ami::Ebs;
use amikit::internals::ami::Mapping;
use amikit::internals::ami::Virtualization;
use amikit::internals::ami::VolumeType;
use amikit::internals::bundle::Writer;
use amikit::internals::digest::Digest;
use amikit::internals::digest::Sha256;
use amikit::internals::digest::sha256;
use amikit::internals::pack::DEFAULT_PACK_SIZE;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::BLOCK_SIZE;
use amikit::internals::units::ExtentKind;
use serde_json::Value;

use crate::common::Model;
use crate::common::Random;
use crate::common::State;
use crate::common::amikit;
use crate::common::keeps_holes;
use crate::common::run_badly;
use crate::common::run_well;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A volume as EBS has it: whole GiB of blocks, of which some were never written.
#[derive(Debug)]
struct Volume(Vec<Option<Vec<u8>>>);

impl Volume {
    fn of(model: &Model) -> Self {
        let mut blocks: Vec<Option<Vec<u8>>> = model
            .bytes
            .chunks(BLOCK_LEN)
            .zip(&model.states)
            .map(|(bytes, state)| {
                let mut block = bytes.to_vec();
                block.resize(BLOCK_LEN, 0);
                (*state != State::Hole).then_some(block)
            })
            .collect();
        blocks.resize(2048, None);
        Self(blocks)
    }

    /// Makes the calls of a plan, with the bytes of `target`, as EBS would: each block is held
    /// against its checksum, and the sums against what the calls say.
    fn replay(&mut self, plan: &[Value], target: &Volume) {
        let (mut linear, mut count) = (Sha256::new(), 0);
        for step in plan {
            match step["Step"].as_str().unwrap() {
                "PutSnapshotBlock" => {
                    let first = step["BlockIndex"].as_u64().unwrap();
                    let many = step.get("BlockCount").map_or(1, |it| it.as_u64().unwrap());
                    for index in first..first + many {
                        let index = usize::try_from(index).unwrap();
                        let bytes = target.0[index].clone().unwrap_or_else(|| vec![0; BLOCK_LEN]);
                        let digest = sha256(&bytes);
                        assert_eq!(step["Checksum"], digest.base64(), "block {index}");
                        let zero = bytes.iter().all(|byte| *byte == 0);
                        assert_eq!(step.get("Zero").is_some(), zero, "block {index}");
                        linear.update(&digest.0);
                        count += 1;
                        self.0[index] = Some(bytes);
                    }
                }
                "CompleteSnapshot" => {
                    let parameters = &step["Parameters"];
                    assert_eq!(parameters["ChangedBlocksCount"], count);
                    assert_eq!(parameters["Checksum"], linear.clone().finish().base64());
                }
                _ => {}
            }
        }
    }
}

/// Replaying a plan onto the parent's volume gives the target: bytes, and what was never written.
#[test]
fn a_plan_replayed_onto_its_parent_gives_the_target() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !keeps_holes(here) {
        return;
    }
    let mut random = Random::new("plan");
    for round in 0..8 {
        let sizes = [1 + random.index(12), 1 + random.index(12)];
        let [old, new] = sizes.map(|blocks| Model::random(&mut random, blocks));
        for (name, model) in [("old", &old), ("new", &new)] {
            model.write(&here.join(format!("{name}.raw")));
            run_well(here, &format!("pack {name}.raw --input-format raw -o {name}.ami --level 1"));
        }
        let target = Volume::of(&new);
        let whole = lines(&run_well(here, "plan new.ami --json"));
        let mut fresh = Volume(vec![None; 2048]);
        fresh.replay(&whole, &target);
        for (index, block) in target.0.iter().enumerate() {
            assert_eq!(&fresh.0[index], block, "round {round}, block {index}");
        }
        run_well(here, "snapshot old.raw --input-format raw -o old.snap");
        let plan = run_well(here, "plan new.ami --json --base old.ami=snap-0a");
        assert_eq!(run_well(here, "plan new.ami --json --base old.snap=snap-0a"), plan);
        let before = Volume::of(&old);
        let mut after = Volume::of(&old);
        after.replay(&lines(&plan), &target);
        for (index, block) in target.0.iter().enumerate() {
            match (&before.0[index], block) {
                // Nobody wrote it, then or now; or the parent did, and it must read as zeros now.
                (None, None) => assert_eq!(after.0[index], None, "round {round}, block {index}"),
                (Some(_), None) => {
                    let zeros = after.0[index].as_ref().unwrap().iter().all(|byte| *byte == 0);
                    assert!(zeros, "round {round}, block {index}");
                }
                (_, block) => assert_eq!(&after.0[index], block, "round {round}, block {index}"),
            }
        }
        let sent = lines(&run_well(here, "plan new.ami --json --holes send"));
        let mut full = Volume(vec![None; 2048]);
        full.replay(&sent, &target);
        assert!(full.0[..new.states.len()].iter().all(Option::is_some), "round {round}");
    }
}

/// The plan in a file is the plan on standard output, and the text sums it up.
#[test]
fn a_plan_goes_to_a_file_or_to_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let block = |byte| Some(vec![byte; 1000]);
    Model::of(&[block(1), block(1), block(0), block(2)], 0).write(&here.join("a.raw"));
    run_well(here, "pack a.raw -o web.ami --name abc");
    let json = run_well(here, "plan web.ami --json --region eu-central-1");
    run_well(here, "plan web.ami --region eu-central-1 -o a.jsonl");
    assert_eq!(fs::read_to_string(here.join("a.jsonl")).unwrap(), json);
    // Two equal blocks in a row are one line.
    assert_eq!(lines(&json)[2]["BlockCount"], 2);
    let text = run_well(here, "plan web.ami --region eu-central-1");
    for part in [
        "plan for the AMI \"abc\" in eu-central-1, holes: leave",
        "  PutSnapshotBlock 0 to 1: 2 blocks of data",
        "  PutSnapshotBlock 2: zeros",
        "CompleteSnapshot of /dev/xvda: 4 blocks, LINEAR ",
        "3 blocks of data and 1 of zeros",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// Holes go where they read as zeros only; a parent keeps what is not overwritten.
#[test]
fn holes_are_refused_where_they_would_lie() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !keeps_holes(here) {
        return;
    }
    Model::of(&[Some(vec![1; 1000]), None], 0).write(&here.join("a.raw"));
    run_well(here, "pack a.raw -o abc.ami");
    let told = run_badly(here, "plan abc.ami --encrypted", 2);
    assert!(told.contains("1 blocks of /dev/xvda are holes") && told.contains("--holes send"));
    run_well(here, "plan abc.ami --encrypted --holes send");
    run_badly(here, "plan abc.ami --encrypted --base abc.ami=snap-0a", 2);
    run_well(here, "plan abc.ami --encrypted --holes send --base abc.ami=snap-0a");
    fs::write(
        here.join("a.toml"),
        "version = 1\n[ami]\nname = \"abc\"\n[upload]\nregion = \"eu-central-1\"\n\
         [[distribute]]\nregions = [\"us-east-1\"]\nencrypted = true\n",
    )
    .unwrap();
    let told = run_badly(here, "plan abc.ami --recipe a.toml", 2);
    assert!(told.contains("copy to us-east-1 is encrypted"), "{told}");
    let lint = crate::common::run(here, "lint abc.ami --encrypted");
    assert_eq!(lint.status.code(), Some(1));
    for (line, code) in [
        ("plan abc.ami --base abc.ami=vol-1", 2),
        ("plan abc.ami --base missing.ami=snap-0a", 3),
        ("plan abc.ami --base abc.ami=snap-0a --base abc.ami=snap-0b", 2),
        ("plan abc.ami --copy-to us-east-1", 2),
        ("plan abc.ami --connections 0", 2),
        ("plan a.raw", 4),
    ] {
        run_badly(here, line, code);
    }
}

/// Makes a bundle of 64 TiB: a written zero in every group, and one data block in `every`-th ones,
/// `changed` of which have other content. Its chunks are nowhere: a plan needs none.
fn largest(path: &Path, every: u32, changed: u32) {
    const GROUPS: u32 = 131_072;
    let mut writer = Writer::create(path, DEFAULT_PACK_SIZE, &Unwatched).unwrap();
    let scratch = writer.scratch().unwrap();
    let mut volume = writer.volume(&scratch, None);
    for group in 0..GROUPS {
        volume.run(ExtentKind::Zero, 1).unwrap();
        if group % every == 0 {
            let content = if group / every < changed { group + GROUPS } else { group };
            volume.data(sha256(&content.to_le_bytes())).unwrap();
            volume.run(ExtentKind::Hole, 1022).unwrap();
        } else {
            volume.run(ExtentKind::Hole, 1023).unwrap();
        }
    }
    let size = u64::from(GROUPS) * 1024 * BLOCK_SIZE;
    let written = volume.finish("/dev/xvda", size).unwrap();
    // Nothing of it may stay in the bundle.
    drop(scratch);
    let ebs = Ebs {
        snapshot_digest: Some(written.summary.root),
        volume_size: Some(65_536),
        volume_type: Some(VolumeType::Gp3),
        ..Ebs::default()
    };
    let mapping =
        Mapping { device_name: "/dev/xvda".to_owned(), ebs: Some(ebs), ..Mapping::default() };
    let ami = Ami {
        name: "largest".to_owned(),
        architecture: Some(Architecture::X86_64),
        virtualization_type: Some(Virtualization::Hvm),
        root_device_name: "/dev/xvda".to_owned(),
        block_device_mappings: vec![mapping],
        ..Ami::default()
    };
    let _: Digest = writer.finish(&ami, &Unwatched).unwrap();
}

/// Runs the program and returns the most memory of its own that it had, in MiB. What it maps of the
/// two manifests is the system's to take back, and does not count.
fn own_memory(folder: &Path, line: &str) -> u64 {
    let mut command = amikit();
    command.current_dir(folder).args(line.split_whitespace()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        if let Some(rest) = text.lines().find_map(|line| line.strip_prefix("RssAnon:")) {
            most = most.max(rest.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
        }
        sleep(Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success(), "{line}");
    most / 1024
}

/// A plan for 64 TiB with 1,000 changes takes the memory of one with 10,000.
#[test]
fn a_plan_for_64_tebibytes_streams() {
    if !Path::new("/proc/self/status").exists() {
        println!("skipped: no /proc");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    largest(&here.join("old.ami"), 13, 0);
    let mut peaks = Vec::new();
    for changed in [1_000, 10_000] {
        largest(&here.join("new.ami"), 13, changed);
        let line = "plan new.ami --json --base old.ami=snap-0a";
        let plan = lines(&run_well(here, line));
        let totals = plan.last().unwrap();
        assert_eq!(totals["DataBlocks"], changed, "{totals}");
        assert_eq!(plan.len(), usize::try_from(changed).unwrap() + 7);
        peaks.push(own_memory(here, line));
    }
    println!("{peaks:?} MiB");
    assert!(peaks[0] <= 16 && peaks[1] <= peaks[0] + 4, "{peaks:?} MiB");
}
