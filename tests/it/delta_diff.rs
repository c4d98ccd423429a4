//! `diff` against a slow twin that looks at each block, for every pair of kinds.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;

use amikit::internals::digest::sha256;
use amikit::internals::io::OutputFile;
use amikit::internals::manifest::Builder;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::BLOCK_SIZE;
use amikit::internals::units::ExtentKind;
use base64::Engine as _;
use serde_json::Value;

use crate::common::Model;
use crate::common::Random;
use crate::common::State;
use crate::common::amikit;
use crate::common::keeps_holes;
use crate::common::quick_folder;
use crate::common::rounds;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::stderr;
use crate::common::step;
use crate::delta_pairs::ALL;
use crate::delta_pairs::pair;

/// A changed block: its number, and its state before and after.
type Changed = (u64, State, State);

fn block(model: &Model, index: usize) -> Option<Vec<u8>> {
    let bytes = model.bytes.chunks(BLOCK_LEN).nth(index)?;
    let mut block = vec![0; BLOCK_LEN];
    block[..bytes.len()].copy_from_slice(bytes);
    Some(block)
}

/// Compares block by block; past the end of a volume there is a hole.
fn model_diff(old: &Model, new: &Model) -> Vec<Changed> {
    let count = old.states.len().max(new.states.len());
    let state = |model: &Model, index| model.states.get(index).copied().unwrap_or(State::Hole);
    (0..count)
        .filter(|&index| {
            let states = (state(old, index), state(new, index));
            states.0 != states.1
                || (states.0 == State::Data && block(old, index) != block(new, index))
        })
        .map(|index| (u64::try_from(index).unwrap(), state(old, index), state(new, index)))
        .collect()
}

fn name(state: State) -> &'static str {
    match state {
        State::Data => "data",
        State::Zero => "zero",
        State::Hole => "hole",
    }
}

/// Takes the ranges of `--json` apart, and holds each to what a range must be.
fn parse_lines(text: &str, context: &str) -> (Vec<Changed>, Value) {
    let mut changed: Vec<Changed> = Vec::new();
    let mut sum = Value::Null;
    let mut last_end = 0;
    let mut last_kind = (String::new(), String::new());
    for line in text.lines() {
        assert!(sum.is_null(), "{context}: a line behind the sum: {line}");
        let value: Value = serde_json::from_str(line).unwrap();
        let Some(range) = value.get("range") else {
            sum = value["sum"].clone();
            continue;
        };
        let number = |name: &str| range[name].as_u64().unwrap();
        let (first, count) = (number("first_block"), number("block_count"));
        let state = |name: &str| match range[name].as_str().unwrap() {
            "data" => State::Data,
            "zero" => State::Zero,
            "hole" => State::Hole,
            other => panic!("{other}"),
        };
        let kind = (range["from"].to_string(), range["to"].to_string());
        assert!(count > 0 && first >= last_end, "{context}: {line}");
        assert!(
            first > last_end || kind != last_kind || first == 0,
            "{context}: not joined: {line}"
        );
        assert_eq!(number("start_bytes"), first * BLOCK_SIZE, "{context}");
        assert!(number("end_bytes") > (first + count - 1) * BLOCK_SIZE, "{context}: {line}");
        assert!(number("end_bytes") <= (first + count) * BLOCK_SIZE, "{context}: {line}");
        changed.extend((first..first + count).map(|index| (index, state("from"), state("to"))));
        (last_end, last_kind) = (first + count, kind);
    }
    assert!(!sum.is_null(), "{context}: no sum");
    (changed, sum)
}

fn check_sum(sum: &Value, old: &Model, new: &Model, changed: &[Changed], context: &str) {
    let count = |wanted: &dyn Fn(State, State) -> bool| {
        u64::try_from(changed.iter().filter(|(_, from, to)| wanted(*from, *to)).count()).unwrap()
    };
    let data = State::Data;
    for (name, blocks) in [
        ("data_to_data", count(&|from, to| from == data && to == data)),
        ("to_data", count(&|from, to| from != data && to == data)),
        ("to_zero", count(&|_, to| to == State::Zero)),
        ("to_hole", count(&|_, to| to == State::Hole)),
        ("changed", count(&|_, _| true)),
    ] {
        assert_eq!(sum[name]["blocks"], blocks, "{context}: {name}: {sum}");
    }
    assert_eq!(sum["equal"], changed.is_empty() && old.size() == new.size(), "{context}");
    assert_eq!(sum["old_size_bytes"], old.size(), "{context}");
    assert_eq!(sum["new_size_bytes"], new.size(), "{context}");
    let size = old.size().max(new.size());
    let bytes: u64 =
        changed.iter().map(|(at, ..)| ((at + 1) * BLOCK_SIZE).min(size) - at * BLOCK_SIZE).sum();
    assert_eq!(sum["changed"]["bytes"], bytes, "{context}");
}

/// The token that EBS would give if it named contents: what a written block hashes to.
fn token(model: &Model, index: u64) -> Value {
    let index = usize::try_from(index).unwrap();
    match model.states.get(index) {
        None | Some(State::Hole) => Value::Null,
        Some(_) => {
            let digest = sha256(&block(model, index).unwrap());
            base64::engine::general_purpose::STANDARD.encode(digest.0).into()
        }
    }
}

fn check_ebs(text: &str, old: &Model, new: &Model, changed: &[Changed], context: &str) {
    let value: Value = serde_json::from_str(text).unwrap();
    let blocks = value["ChangedBlocks"].as_array().unwrap();
    assert_eq!(blocks.len(), changed.len(), "{context}");
    for (found, (index, ..)) in blocks.iter().zip(changed) {
        assert_eq!(found["BlockIndex"], *index, "{context}");
        for (key, model) in [("FirstBlockToken", old), ("SecondBlockToken", new)] {
            let found = found.get(key).cloned().unwrap_or(Value::Null);
            assert_eq!(found, token(model, *index), "{context}: {key} of block {index}");
        }
        let known = ["BlockIndex", "FirstBlockToken", "SecondBlockToken"];
        assert!(found.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())));
    }
    assert_eq!(value["BlockSize"], BLOCK_SIZE);
    assert_eq!(value["VolumeSize"], new.size().div_ceil(1 << 30));
}

/// Holds the lines for people to the model: one for each range, in numbers.
fn check_table(text: &str, changed: &[Changed], context: &str) {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("blocks ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (first, last): (u64, u64) =
            (words[1].parse().unwrap(), words[3].trim_end_matches(',').parse().unwrap());
        let what = line.rsplit_once(": ").unwrap().1.to_owned();
        found.extend((first..=last).map(|index| (index, what.clone())));
    }
    let expected: Vec<(u64, String)> = changed
        .iter()
        .map(|(index, from, to)| (*index, format!("{} to {}", name(*from), name(*to))))
        .collect();
    assert_eq!(found, expected, "{context}: {text}");
}

fn write_kinds(here: &Path, name: &str, model: &Model) -> Vec<String> {
    model.write(&here.join(format!("{name}.raw")));
    fs::write(here.join("other.raw"), b"another volume\xff").unwrap();
    run_well(here, &format!("snapshot {name}.raw -o {name}.snap"));
    run_well(
        here,
        &format!(
            "pack other.raw --root-device /dev/sda1 --map /dev/sdf={name}.raw -o {name}2.ami --name test"
        ),
    );
    run_well(here, &format!("pack {name}.raw -o {name}.tar --name test"));
    ["raw", "snap", "tar"]
        .iter()
        .map(|form| format!("{name}.{form}"))
        .chain([format!("{name}2.ami:/dev/sdf")])
        .collect()
}

#[test]
fn what_changed_is_what_a_look_at_each_block_finds() {
    let mut random = Random::new("what_changed_is_what");
    for number in (0..rounds(ALL.len())).step_by(step()) {
        let happens = ALL[number % ALL.len()];
        let folder = quick_folder();
        let here = folder.path();
        if !keeps_holes(here) {
            return;
        }
        let blocks = 1 + random.index(8);
        let (old, new) = pair(&mut random, blocks, happens);
        let changed = model_diff(&old, &new);
        let (olds, news) = (write_kinds(here, "old", &old), write_kinds(here, "new", &new));
        let code = i32::from(!(changed.is_empty() && old.size() == new.size()));
        for (at, left) in olds.iter().enumerate() {
            for (to, right) in news.iter().enumerate() {
                let threads = 1 + random.below(4);
                let line = format!("diff {left} {right} --threads {threads}");
                let context = format!("{happens:?}: {line}");
                let output = run(here, &format!("{line} --json"));
                assert_eq!(output.status.code(), Some(code), "{context}: {}", stderr(&output));
                let text = String::from_utf8(output.stdout).unwrap();
                let (found, sum) = parse_lines(&text, &context);
                assert_eq!(found, changed, "{context}");
                check_sum(&sum, &old, &new, &changed, &context);
                // The other two forms, for some of the pairs.
                if (at + to + number) % 4 == 0 {
                    let output = run(here, &line);
                    assert_eq!(output.status.code(), Some(code), "{context}");
                    check_table(&String::from_utf8(output.stdout).unwrap(), &changed, &context);
                    let output = run(here, &format!("{line} --as ebs"));
                    assert_eq!(output.status.code(), Some(code), "{context}");
                    let text = String::from_utf8(output.stdout).unwrap();
                    check_ebs(&text, &old, &new, &changed, &context);
                }
            }
        }
    }
}

#[test]
fn a_diff_that_cannot_be_made_has_the_exit_code_of_its_reason() {
    let folder = quick_folder();
    let here = folder.path();
    let model = Model::of(&[Some(vec![1; BLOCK_LEN]), Some(vec![2; BLOCK_LEN])], 0);
    write_kinds(here, "old", &model);
    let snap = fs::read(here.join("old.snap")).unwrap();
    fs::write(here.join("cut.snap"), &snap[..snap.len() - 1]).unwrap();
    let mut flipped = snap.clone();
    let last = flipped.len() - 40;
    flipped[last] ^= 1;
    fs::write(here.join("flipped.snap"), &flipped).unwrap();
    fs::copy(crate::common::fixture("images/x-vdi.img"), here.join("x.vdi")).unwrap();
    for (line, code) in [
        ("diff gone.raw old.raw", 3),
        ("diff old.raw gone.raw", 3),
        ("diff cut.snap old.raw", 4),
        ("diff old.snap cut.snap", 4),
        ("diff old2.ami:/dev/sdz old.raw", 2),
        ("diff - old.raw", 2),
        ("diff x.vdi old.raw", 5),
    ] {
        let text = run_badly(here, line, code);
        assert_eq!(text.lines().count(), 1, "{line}: {text}");
    }
    // Whatever was flipped: no diff that says equal.
    let output = run(here, "diff flipped.snap old.raw");
    assert!(!output.status.success(), "{}", stderr(&output));
}

/// A pipe that is closed early, as `head` does, ends the run without a word of panic.
#[test]
fn a_diff_into_a_closed_pipe_ends_quietly() {
    let folder = quick_folder();
    let here = folder.path();
    let blocks: Vec<_> = (0..2000).map(|at| (at % 2 == 0).then(|| vec![1; 4096])).collect();
    let holes = Model::of(&[None], 0);
    holes.write(&here.join("old.raw"));
    let file = fs::File::create(here.join("new.raw")).unwrap();
    for (at, block) in (0_u64..).zip(&blocks) {
        if let Some(block) = block {
            std::os::unix::fs::FileExt::write_all_at(&file, block, at * BLOCK_SIZE).unwrap();
        }
    }
    file.set_len(2000 * BLOCK_SIZE).unwrap();
    drop(file);
    for rest in ["", " --json", " --as ebs"] {
        let mut child = amikit()
            .current_dir(here)
            .args(format!("diff old.raw new.raw{rest}").split_whitespace())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let text = stderr(&output);
        assert!(!text.contains("panic"), "{rest}: {text}");
        assert_ne!(output.status.code(), Some(0), "{rest}: nobody saw what changed");
    }
}

/// Two volumes of 64 TiB with 1,000 changed blocks between them, as manifests.
#[test]
fn two_manifests_of_64_tib_are_compared_in_little_memory() {
    let folder = quick_folder();
    let here = folder.path();
    let mut random = Random::with_seed(64);
    let count: u32 = 1 << 27;
    let mut places: Vec<u32> =
        (0..3000).map(|_| u32::try_from(random.below(count.into())).unwrap()).collect();
    places.sort_unstable();
    places.dedup();
    places.truncate(2000);
    assert_eq!(places.len(), 2000);
    // Every second place changes: in turn from data, to data, from zeros, to a hole.
    for new in [false, true] {
        let name = if new { "new.snap" } else { "old.snap" };
        let out = OutputFile::create(&here.join(name)).unwrap();
        let mut builder = Builder::new(&out);
        for (number, place) in (0_u32..).zip(&places) {
            let gap = place - builder.next().0;
            if gap > 0 {
                builder.push_run(ExtentKind::Hole, gap).unwrap();
            }
            let changed = new && number % 2 == 1;
            match (number % 8, changed) {
                (1, false) | (3, true) => builder.push_run(ExtentKind::Zero, 1).unwrap(),
                (5, true) | (7, false) => builder.push_run(ExtentKind::Hole, 1).unwrap(),
                _ => builder
                    .push_data(&sha256(&[number.to_le_bytes(), [u8::from(changed); 4]].concat()))
                    .unwrap(),
            }
        }
        let gap = count - builder.next().0;
        builder.push_run(ExtentKind::Hole, gap).unwrap();
        builder.finish(u64::from(count) * BLOCK_SIZE).unwrap();
        out.commit().unwrap();
    }
    let output = run(here, "diff old.snap new.snap --json");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let (found, sum) = parse_lines(&text, "64 TiB");
    let expected: Vec<u64> = places.iter().skip(1).step_by(2).map(|at| u64::from(*at)).collect();
    assert_eq!(found.iter().map(|it| it.0).collect::<Vec<_>>(), expected);
    assert_eq!(sum["changed"]["blocks"], 1000);
    assert_eq!(sum["to_zero"]["blocks"], 250);
    assert_eq!(sum["to_hole"]["blocks"], 250);
    let peak = crate::limits::peak_of(here, "diff old.snap new.snap --json", 1);
    println!("peak of the diff: {peak} MiB");
    assert!(peak <= 64, "{peak} MiB");
}
