//! `apply --in-place`, `--finish` and `--undo` are killed at every system call, and the image is swapped,
//! touched, cut or held open before it is made good: `docs/formats/in-place.md` says what must come of it.
//!
//! A run takes a sample of the calls, spread over their kinds; `AMIKIT_ROUNDS=100000` takes all of them.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use amikit::internals::units::BLOCK_LEN;

use crate::common::Random;
use crate::common::installed;
use crate::common::names;
use crate::common::rounds;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::sample;
use crate::common::stderr;
use crate::in_place_proof::Holder;

const APPLY: &str = "apply thin.ami --to image.raw --in-place";
const FINISH: &str = "apply --to image.raw --finish";
const UNDO: &str = "apply --to image.raw --undo";
const JOURNAL: &str = "image.raw.amikit-journal.tar";

/// An image of six blocks and a half, and a delta that changes blocks 1, 3 and 5, and makes it longer.
struct Scene {
    folder: tempfile::TempDir,
    old: Vec<u8>,
    new: Vec<u8>,
    /// The journal of a run that was killed before it removed it.
    journal: Vec<u8>,
}

/// A block that the delta leaves alone.
const KEPT: usize = 2;

impl Scene {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let mut random = Random::with_seed(41);
        let old = random.bytes(6 * BLOCK_LEN + BLOCK_LEN / 2);
        let mut new = old.clone();
        for block in [1, 3, 5] {
            let bytes = if block == 3 { vec![0; BLOCK_LEN] } else { random.bytes(BLOCK_LEN) };
            new[block * BLOCK_LEN..][..BLOCK_LEN].copy_from_slice(&bytes);
        }
        new.extend(random.bytes(3000));
        fs::write(here.join("image.raw"), &old).unwrap();
        fs::write(here.join("new.raw"), &new).unwrap();
        run_well(here, "pack image.raw -o old.ami --name old --level 1");
        run_well(here, "pack new.raw --base old.ami --thin -o thin.ami --name new");
        let mut scene = Self { folder, old, new, journal: Vec::new() };
        scene.run(APPLY, Some(("unlink", 1)))?;
        scene.journal = fs::read(scene.at(JOURNAL)).unwrap();
        Some(scene)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn image(&self) -> Vec<u8> {
        fs::read(self.at("image.raw")).unwrap()
    }

    fn put(&self, image: &[u8], journal: bool) {
        for name in names(self.path()) {
            if name.starts_with('.') {
                fs::remove_file(self.at(&name)).unwrap();
            }
        }
        fs::write(self.at("image.raw"), image).unwrap();
        if journal {
            fs::write(self.at(JOURNAL), &self.journal).unwrap();
        } else {
            let _ = fs::remove_file(self.at(JOURNAL));
        }
    }

    /// Runs a command under strace, and kills it at a call if one is named. Returns how often each thread
    /// made each call, as the highest count; `None` where strace cannot be used.
    fn run(&self, line: &str, kill: Option<(&str, usize)>) -> Option<BTreeMap<String, usize>> {
        if !installed("strace") {
            return None;
        }
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "strace.log"]);
        if let Some((call, number)) = kill {
            strace.args(["-e", &format!("trace={call}")]);
            strace.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]);
        }
        let output = strace
            .arg(env!("CARGO_BIN_EXE_amikit"))
            .args(line.split(' '))
            .args(["--threads", "1"])
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let log = fs::read_to_string(self.at("strace.log")).unwrap_or_default();
        let _ = fs::remove_file(self.at("strace.log"));
        if stderr(&output).contains("ptrace") {
            println!("skipped: strace cannot trace here: {}", stderr(&output));
            return None;
        }
        assert!(output.status.code() != Some(134), "{line}: {}", stderr(&output));
        let mut threads: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for line in log.lines() {
            let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
            let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
            if call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                *threads.entry((thread, call)).or_default() += 1;
            }
        }
        let mut most = BTreeMap::new();
        for ((_, call), count) in threads {
            let known: &mut usize = most.entry(call.to_owned()).or_default();
            *known = count.max(*known);
        }
        Some(most)
    }

    /// Lists the calls of a command to kill it at, as the call and its number: `most` of them, and at least
    /// one of each kind, for most calls only look for processes that have the image open.
    fn calls(&self, line: &str, random: &mut Random, most: usize) -> Vec<(String, usize)> {
        let mut counts = self.run(line, None).expect("strace was there before");
        counts.retain(|call, _| !matches!(call.as_str(), "execve" | "exit_group"));
        let all: usize = counts.values().sum();
        let mut calls: Vec<(String, usize)> = Vec::new();
        if most >= all {
            for (call, count) in counts {
                calls.extend((1..=count).map(|number| (call.clone(), number)));
            }
        } else {
            let kinds: Vec<(String, usize)> = counts.into_iter().collect();
            for _ in 0..most {
                let (call, count) = &kinds[random.index(kinds.len())];
                calls.push((call.clone(), 1 + random.index(*count)));
            }
        }
        println!("{line}: {} of {all} calls", calls.len());
        calls
    }

    /// Expects that all three ways to go on refuse what stands under the image's name, and write nothing.
    fn refused(&self, image: &[u8], code: i32, context: &str) {
        fs::write(self.at("image.raw"), image).unwrap();
        let journal = fs::read(self.at(JOURNAL)).unwrap();
        for line in [APPLY, FINISH, UNDO] {
            run_badly(self.path(), line, code);
            assert!(self.image() == image, "{context}: {line}: the image was written to");
            assert!(fs::read(self.at(JOURNAL)).unwrap() == journal, "{context}: {line}");
        }
    }

    /// Puts something else in the image's place, does something to it, or holds it open; then puts it back.
    fn interfere(&self, random: &mut Random, context: &str) {
        let image = self.image();
        match random.below(6) {
            0 => self.refused(&random.bytes(image.len()), 7, &format!("{context}, swapped")),
            1 => {
                let mut touched = image.clone();
                touched[KEPT * BLOCK_LEN + random.index(BLOCK_LEN)] ^= 4;
                self.refused(&touched, 7, &format!("{context}, touched"));
            }
            2 => {
                let cut = random.index(6 * BLOCK_LEN);
                self.refused(&image[..cut], 7, &format!("{context}, cut"));
            }
            3 => {
                let longer = [&image[..], &[0; 5000]].concat();
                self.refused(&longer, 7, &format!("{context}, longer"));
            }
            4 => {
                let _holder = Holder::of(&self.at("image.raw"));
                self.refused(&image, 3, &format!("{context}, held open"));
            }
            _ => {}
        }
        fs::write(self.at("image.raw"), image).unwrap();
    }

    /// Holds what a kill left to the protocol, and ends it in one of the ways that there are. Returns
    /// whether there was a journal.
    fn make_good(&self, random: &mut Random, context: &str) -> bool {
        let journal = self.at(JOURNAL).exists();
        let mut ways = vec![(APPLY, &self.new)];
        if journal {
            self.interfere(random, context);
            ways.extend([(FINISH, &self.new), (UNDO, &self.old)]);
        } else {
            let image = self.image();
            assert!(image == self.old || image == self.new, "{context}: half changed, no journal");
        }
        let (line, expected) = ways[random.index(ways.len())];
        run_well(self.path(), line);
        assert!(self.image() == *expected, "{context}: {line}");
        let left: Vec<String> =
            names(self.path()).into_iter().filter(|name| name.contains("amikit")).collect();
        assert_eq!(left, [""; 0], "{context}: {line}");
        journal
    }
}

#[test]
fn a_kill_at_any_call_is_made_good_whatever_happened_to_the_image() {
    let Some(scene) = Scene::new() else { return };
    let mut random = Random::new("a_kill_at_any_call_is_made_good");
    let half = [&scene.new[..4 * BLOCK_LEN], &scene.old[4 * BLOCK_LEN..]].concat();
    let (mut kills, mut journals) = (0, 0);
    for (line, image, journal) in [
        (APPLY, &scene.old, false),
        (APPLY, &half, true),
        (FINISH, &half, true),
        (UNDO, &half, true),
    ] {
        scene.put(image, journal);
        let calls = scene.calls(line, &mut random, rounds(sample(25)));
        for (call, number) in calls {
            scene.put(image, journal);
            scene.run(line, Some((&call, number)));
            kills += 1;
            journals +=
                usize::from(scene.make_good(&mut random, &format!("{line}: {call} {number}")));
        }
    }
    println!("{kills} kills, {journals} of them left a journal");
    assert!(journals > 3, "no kill hit the second half");
}
