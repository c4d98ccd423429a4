//! Stores: many AMIs in one layout, what they share stored once, and nothing lost whatever happens.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

use amikit::internals::io::Input;
use amikit::internals::ops;
use amikit::internals::ops::VolumeRequest;
use amikit::internals::pack::Pack;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::work::Unwatched;
use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;

use crate::common::Random;
use crate::common::amikit;
use crate::common::installed;
use crate::common::quick_folder;
use crate::common::rounds;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_tool;
use crate::common::run_well;
use crate::common::stderr;

/// A volume, block by block: 0 is zeros, any other byte fills the block behind a number that makes it big enough to
/// be worth storing.
type Content = Vec<u8>;

fn bytes_of(content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() * BLOCK_LEN);
    for byte in content {
        let mut block = vec![0; BLOCK_LEN];
        if *byte != 0 {
            // Hard to compress, so that sizes tell what is stored; mostly alike, so that patches are short.
            Random::with_seed(u64::from(byte >> 4)).fill(&mut block[..8192]);
            block[8192..8200].fill(*byte);
        }
        bytes.extend(block);
    }
    bytes
}

fn write(here: &Path, name: &str, content: &[u8]) {
    fs::write(here.join(name), bytes_of(content)).unwrap();
}

fn read(here: &Path, typed: &str) -> Vec<u8> {
    let opened = ops::open(&VolumeRequest::new(&here.join(typed)), &Unwatched).unwrap();
    let volume = opened.volume();
    let mut bytes = vec![0; usize::try_from(volume.size()).unwrap()];
    volume.read_at(0, &mut bytes).unwrap();
    bytes
}

fn json(here: &Path, line: &str) -> Value {
    serde_json::from_str(&run_well(here, &format!("{line} --json"))).unwrap()
}

fn document(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The blobs on disk, and their bytes.
fn blobs(store: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(store.join("blobs/sha256")).unwrap().map(Result::unwrap);
    entries
        .map(|it| (it.file_name().into_string().unwrap(), it.metadata().unwrap().len()))
        .collect()
}

/// The blobs that index.json needs, found in the simplest way.
fn needed(store: &Path) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    let hex = |value: &Value| value["digest"].as_str().unwrap()[7..].to_owned();
    for entry in document(&store.join("index.json"))["manifests"].as_array().unwrap() {
        let manifest = document(&store.join("blobs/sha256").join(hex(entry)));
        needed.insert(hex(entry));
        needed.insert(hex(&manifest["config"]));
        needed.extend(manifest["layers"].as_array().unwrap().iter().map(hex));
    }
    needed
}

/// Fails if two packs that are needed have one chunk.
fn check_once(store: &Path) {
    let mut seen: BTreeMap<_, String> = BTreeMap::new();
    for name in needed(store) {
        let input = Arc::new(Input::open(&store.join("blobs/sha256").join(&name)).unwrap());
        let len = fs::metadata(input.path()).unwrap().len();
        let Ok(pack) = Pack::open(input, 0, len) else { continue };
        for id in pack.ids().unwrap() {
            if let Some(other) = seen.insert(id, name.clone()) {
                panic!("chunk {id} is in {other} and in {name}");
            }
        }
    }
}

#[test]
fn what_amis_share_is_stored_once_and_each_is_read_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (one, two) = (vec![0x10, 0x20, 0, 0x30], vec![0x10, 0x20, 0x40, 0x30, 0x50]);
    write(here, "one.raw", &one);
    write(here, "two.raw", &two);
    run_well(here, "store init images");
    run_well(here, "pack one.raw -o images@one");
    let added = json(here, "store add images@two two.raw");
    assert_eq!((&added["kind"], &added["how"]), (&"snapshot".into(), &"packed".into()));
    assert!(added["new_bytes"].as_u64().unwrap() < added["stored_bytes"].as_u64().unwrap());
    assert_eq!(read(here, "images@one"), bytes_of(&one));
    assert_eq!(read(here, "images@two"), bytes_of(&two));
    assert_eq!(read(here, "images@one:/dev/xvda"), bytes_of(&one));
    check_once(&here.join("images"));
    let names: Vec<_> = json(here, "store list images")["amis"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {}", it["name"].as_str().unwrap(), it["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(names, ["one ami", "two snapshot"]);
    // The AMI is called as its name in the store is.
    assert_eq!(json(here, "store show images@one")["ami"]["Name"], "one");
    run_well(here, "compare images@two two.raw --states");
    run_well(here, "verify images@one");
    run_well(here, "store verify images");
    // Patches over an AMI of the store.
    let mut three = two.clone();
    three[2] = 0x41;
    write(here, "three.raw", &three);
    run_well(here, "pack three.raw --base images@two -o images@three");
    let shown = json(here, "store show images@three");
    assert!(shown["volumes"][0]["base_digest"].is_string());
    assert_eq!(read(here, "images@three"), bytes_of(&three));
    // What is removed stays for those that need it.
    run_well(here, "store remove images@one images@two");
    run_well(here, "store gc images --all");
    assert_eq!(read(here, "images@three"), bytes_of(&three));
    assert!(json(here, "store verify images")["sound"].as_bool().unwrap());
}

#[test]
fn a_store_is_not_replaced_and_names_are_those_that_clients_take() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write(here, "one.raw", &[0x10]);
    run_well(here, "store init images");
    let refused = run_badly(here, "pack one.raw -o images --name one", 2);
    assert!(refused.contains("images@NAME"), "{refused}");
    let refused = run_badly(here, "pack one.raw -o images@a__b", 2);
    assert!(refused.contains("call it a-b"), "{refused}");
    run_badly(here, "store init images", 2);
    fs::create_dir(here.join("full")).unwrap();
    fs::write(here.join("full/thesis.txt"), "x").unwrap();
    run_badly(here, "store init full", 2);
    assert!(here.join("full/thesis.txt").exists());
    run_badly(here, "store add full one.raw", 2);
    run_badly(here, "store remove images@none", 2);
    run_badly(here, "inspect images@none", 2);
    // A name of an AMI becomes one of the grammar; two that become one are told apart by hand.
    for (bundle, name) in [("a.ami", "My AMI - v1"), ("b.ami", "My-AMI-v1")] {
        let mut command = amikit();
        let args = ["pack", "one.raw", "-o", bundle, "--name", name, "--description", bundle];
        run_tool(command.current_dir(here).args(args));
    }
    assert_eq!(json(here, "store add images a.ami")["name"], "My-AMI-v1");
    let refused = run_badly(here, "store add images b.ami", 2);
    assert!(refused.contains("images@My-AMI-v1-2"), "{refused}");
    run_well(here, "store add images@other b.ami");
    run_well(here, "store add images a.ami");
    // A store that was not there is made where it is said to be one.
    run_well(here, "pack one.raw -o store:new@one");
    assert_eq!(read(here, "new@one"), bytes_of(&[0x10]));
    run_badly(here, "pack one.raw -o nowhere@one/web", 3);
}

#[test]
fn bundles_go_in_and_out_whole_and_thin() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (one, two) = (vec![0x10, 0x20, 0x30], vec![0x10, 0x21, 0x30]);
    write(here, "one.raw", &one);
    write(here, "two.raw", &two);
    run_well(here, "pack one.raw -o one.ami");
    run_well(here, "pack two.raw --base one.ami --thin -o thin.ami --name two");
    run_well(here, "pack two.raw --base one.raw --thin -o over-image.ami --name three");
    run_well(here, "store init images");
    let refused = run_badly(here, "store add images thin.ami", 2);
    assert!(refused.contains("add its base first"), "{refused}");
    // The base that the request names is read for what the bundle lacks.
    run_well(here, "store init others");
    run_badly(here, "store add others thin.ami --base two.raw", 7);
    run_well(here, "store add others@two thin.ami --base one.ami");
    assert_eq!(read(here, "others@two"), bytes_of(&two));
    let refused = run_badly(here, "store add others@two thin.ami --base one.raw", 2);
    assert!(refused.contains("add the image to the store first"), "{refused}");
    let one_digest = json(here, "store add images one.ami")["digest"].clone();
    assert_eq!(one_digest, json(here, "inspect one.ami")["digest"]);
    let added = json(here, "store add images thin.ami");
    assert_eq!(added["how"], "copied");
    // Packed against an image, it names no pack; in the store it must.
    assert_eq!(json(here, "store add images over-image.ami")["how"], "packed");
    for name in ["images@two", "images@three"] {
        assert_eq!(read(here, name), bytes_of(&two), "{name}");
    }
    run_badly(here, "pack two.raw --base images@one --thin -o images@four", 2);
    run_badly(here, "pack two.raw --base one.raw -o images@four", 2);
    run_well(here, "complete thin.ami --base one.ami -o images@whole");
    run_well(here, "store copy images@two out.ami");
    run_well(here, "store copy images@two images@again");
    assert_eq!(json(here, "inspect out.ami")["digest"], added["digest"]);
    run_well(here, "verify out.ami --against two.raw");
    let names = json(here, "store show images@two")["names"].clone();
    assert_eq!(names.as_array().unwrap().len(), 3, "{names}");
    assert_eq!(json(here, "store add images@plain one.ami --as-is")["digest"], one_digest);
    run_well(here, "store verify images");
    check_once(&here.join("images"));
}

#[test]
fn what_refers_to_an_ami_lives_as_long_and_what_is_not_ours_stays() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write(here, "one.raw", &[0x10]);
    write(here, "two.raw", &[0x20]);
    run_well(here, "store init images");
    run_well(here, "pack one.raw -o images@one");
    run_well(here, "pack two.raw -o images@two");
    let store = here.join("images");
    let put = |text: &str| {
        let digest = amikit::internals::digest::sha256(text.as_bytes()).to_string();
        fs::write(store.join("blobs/sha256").join(&digest), text).unwrap();
        (format!("sha256:{digest}"), text.len())
    };
    let (empty, _) = put("{}");
    let of = |name: &str| {
        let listed = json(here, "store list images");
        let found =
            listed["amis"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap();
        found["digest"].as_str().unwrap().to_owned()
    };
    let signature = |subject: &str| {
        put(&format!(
            r#"{{"schemaVersion":2,"artifactType":"application/x","config":{{"mediaType":"a/b","digest":"{empty}","size":2}},
            "layers":[],"subject":{{"mediaType":"a/b","digest":"{subject}","size":1}}}}"#
        ))
    };
    let first = signature(&of("one"));
    let chain = signature(&first.0);
    let mut index = document(&store.join("index.json"));
    for (digest, size) in [&first, &chain] {
        index["manifests"].as_array_mut().unwrap().push(serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
        }));
    }
    fs::write(store.join("index.json"), index.to_string()).unwrap();
    fs::write(store.join("blobs/sha256/README"), "mine").unwrap();
    assert_eq!(json(here, "store show images@one")["referrers"], serde_json::json!([first.0]));
    let kept = json(here, "store gc images --all");
    assert_eq!((&kept["freed_blobs"], &kept["strangers"]), (&0.into(), &1.into()), "{kept}");
    run_well(here, "store verify images");
    run_well(here, "store remove images@one");
    let freed = json(here, "store gc images --all");
    assert_eq!(freed["freed_referrers"].as_array().unwrap().len(), 2, "{freed}");
    let on_disk: BTreeSet<String> = blobs(&store).into_keys().collect();
    let mut expected = needed(&store);
    expected.insert("README".to_owned());
    assert_eq!(on_disk, expected);
    // A manifest that cannot be read might need anything.
    let two = of("two")[7..].to_owned();
    let saved = fs::read(store.join("blobs/sha256").join(&two)).unwrap();
    fs::write(store.join("blobs/sha256").join(&two), vec![b' '; saved.len()]).unwrap();
    run_badly(here, "store gc images --all", 7);
    assert_eq!(run(here, "store verify images").status.code(), Some(1));
}

#[test]
fn other_programs_blobs_are_not_taken_from_under_them() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write(here, "one.raw", &[0x10]);
    run_well(here, "store init images");
    run_well(here, "pack one.raw -o images@one");
    let name = "0".repeat(64);
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(here.join("images/blobs/sha256").join(&name), "coming").unwrap();
    let seen = json(here, "store gc images");
    assert_eq!((&seen["freed_blobs"], &seen["recent_blobs"]), (&0.into(), &1.into()));
    let seen = json(here, "store gc images --all --dry-run");
    assert_eq!((&seen["freed_blobs"], &seen["recent_blobs"]), (&1.into(), &0.into()));
    assert!(here.join("images/blobs/sha256").join(&name).exists());
    run_well(here, "store gc images --all");
    assert!(!here.join("images/blobs/sha256").join(&name).exists());
}

#[test]
fn skopeo_copies_into_a_store_and_out_of_it() {
    if !installed("skopeo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write(here, "one.raw", &[0x10, 0x20]);
    write(here, "two.raw", &[0x10, 0x30]);
    run_well(here, "store init images");
    run_well(here, "pack one.raw -o images@one");
    run_well(here, "pack two.raw -o images@two-2.0");
    let skopeo = |from: &str, to: &str| {
        let args = ["--insecure-policy", "copy", "--preserve-digests", from, to];
        run_tool(Command::new("skopeo").current_dir(here).args(args));
    };
    skopeo("oci:images:two-2.0", "oci:out.ami:two");
    run_well(here, "verify out.ami --against two.raw");
    skopeo("oci:out.ami:two", "oci:images:from-outside");
    assert_eq!(read(here, "images@from-outside"), bytes_of(&[0x10, 0x30]));
    // What skopeo wrote is its own: no checksum, but found, listed, kept and collected.
    let listed = json(here, "store list images");
    let outside =
        &listed["amis"].as_array().unwrap().iter().find(|it| it["name"] == "from-outside");
    assert_eq!(outside.unwrap()["kind"], "ami");
    run_well(here, "store remove images@two-2.0");
    run_well(here, "store gc images --all");
    run_well(here, "store verify images");
    assert_eq!(read(here, "images@from-outside"), bytes_of(&[0x10, 0x30]));
}

/// A store beside a plain map of names to contents.
struct Model {
    folder: tempfile::TempDir,
    amis: BTreeMap<String, Content>,
    random: Random,
    kills: bool,
    files: usize,
}

impl Model {
    fn new() -> Self {
        let folder = quick_folder();
        run_well(folder.path(), "store init images");
        let kills = installed("strace");
        Self { folder, amis: BTreeMap::new(), random: Random::new("model"), kills, files: 0 }
    }

    fn here(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn pick(&mut self) -> Option<String> {
        let count = self.amis.len();
        (count > 0).then(|| self.amis.keys().nth(self.random.index(count)).unwrap().clone())
    }

    /// Runs a command, and kills it at a call if the dice say so. Returns whether it was left alone.
    fn run(&mut self, line: &str) -> bool {
        const CALLS: [&str; 7] =
            ["renameat", "renameat2", "unlinkat", "fsync", "openat", "mkdirat", "pwrite64"];
        if !self.kills || self.random.below(3) > 0 {
            run_well(&self.here(), line);
            return true;
        }
        let call = CALLS[self.random.index(CALLS.len())];
        let inject = format!("inject={call}:signal=KILL:when={}", 1 + self.random.below(12));
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
            "-e",
            &inject,
        ]);
        command.arg(env!("CARGO_BIN_EXE_amikit")).args(line.split_whitespace());
        let output = command.current_dir(self.here()).output().unwrap();
        let killed = output.status.code().is_none_or(|code| code >= 128);
        assert!(killed || output.status.success(), "{line} ({inject}): {}", stderr(&output));
        !killed
    }

    fn step(&mut self) {
        match self.random.below(10) {
            0..=4 => self.add(),
            5 | 6 => self.remove(),
            7 => self.copy(),
            _ => {
                let all = if self.random.below(2) == 0 { " --all" } else { "" };
                self.run(&format!("store gc images{all}"));
            }
        }
    }

    fn add(&mut self) {
        let name = format!("ami-{}", self.random.below(8));
        let base = self.pick();
        let mut content = base.as_ref().map_or_else(Vec::new, |base| self.amis[base].clone());
        if content.is_empty() || self.random.below(4) == 0 {
            content = (0..=self.random.below(5)).map(|_| 0x10).collect();
        }
        for _ in 0..=self.random.below(2) {
            let at = self.random.index(content.len());
            content[at] = u8::try_from(self.random.below(64)).unwrap();
        }
        let image = format!("{}.raw", self.files);
        self.files += 1;
        write(&self.here(), &image, &content);
        let over = base.filter(|_| self.random.below(2) == 0);
        let line = match (self.random.below(2), over) {
            (0, None) => format!("pack {image} -o images@{name}"),
            (0, Some(base)) => format!("pack {image} -o images@{name} --base images@{base}"),
            (_, None) => format!("store add images@{name} {image}"),
            (_, Some(base)) => format!("store add images@{name} {image} --base {base}"),
        };
        let whole = self.run(&line);
        let before = self.amis.get(&name).cloned();
        self.settle(&name, before, Some(content), whole, &line);
        fs::remove_file(self.here().join(image)).unwrap();
    }

    fn remove(&mut self) {
        let Some(name) = self.pick() else { return };
        let line = format!("store remove images@{name}");
        let whole = self.run(&line);
        let before = self.amis.get(&name).cloned();
        self.settle(&name, before, None, whole, &line);
    }

    fn copy(&mut self) {
        let Some(from) = self.pick() else { return };
        let to = format!("ami-{}", self.random.below(8));
        let line = format!("store copy images@{from} images@{to}");
        let whole = self.run(&line);
        let (before, after) = (self.amis.get(&to).cloned(), self.amis.get(&from).cloned());
        self.settle(&to, before, after, whole, &line);
    }

    /// Takes down what a name means: the new, or after a kill the old or the new.
    fn settle(
        &mut self,
        name: &str,
        before: Option<Content>,
        after: Option<Content>,
        whole: bool,
        line: &str,
    ) {
        let index = document(&self.here().join("images/index.json"));
        let named = |it: &Value| it["annotations"]["org.opencontainers.image.ref.name"] == name;
        let there = index["manifests"].as_array().unwrap().iter().any(named);
        let found = there.then(|| read(&self.here(), &format!("images@{name}")));
        let is = |content: &Option<Content>| found == content.as_deref().map(bytes_of);
        assert!(is(&after) || !whole && is(&before), "{line}: whole {whole}");
        let now = if is(&after) { after } else { before };
        match now {
            Some(content) => drop(self.amis.insert(name.to_owned(), content)),
            None => drop(self.amis.remove(name)),
        }
    }

    fn check(&self) {
        let here = self.here();
        for (name, content) in &self.amis {
            assert!(read(&here, &format!("images@{name}")) == bytes_of(content), "{name}");
        }
        let (store, on_disk) = (here.join("images"), blobs(&here.join("images")));
        let needed = needed(&store);
        assert!(needed.iter().all(|digest| on_disk.contains_key(digest)));
        check_once(&store);
    }
}

/// Adds, removals, copies and collections in random order, some of them killed at some call: no name ever means
/// anything but what it should, and what is on disk in the end is what a walk over the documents finds.
#[test]
fn nothing_is_lost_and_nothing_stays_whatever_is_killed() {
    let mut model = Model::new();
    for _ in 0..rounds(40) {
        model.step();
        model.check();
    }
    let store = model.here().join("images");
    let (before, keep) = (blobs(&store), needed(&store));
    let lost = before.iter().filter(|(name, _)| !keep.contains(*name));
    let bytes: u64 = lost.map(|(_, len)| len).sum();
    let report = json(&model.here(), "store gc images --all");
    assert_eq!(report["freed_bytes"], bytes);
    assert_eq!(blobs(&store).into_keys().collect::<BTreeSet<_>>(), keep);
    assert!(json(&model.here(), "store verify images")["sound"].as_bool().unwrap());
    model.check();
    let names = fs::read_dir(&store).unwrap().map(|it| it.unwrap().file_name());
    let parts: Vec<_> = names.filter(|it| it.to_string_lossy().ends_with("-part")).collect();
    assert!(parts.is_empty(), "{parts:?}");
}

/// Whatever writes into a store while another run has it says so, and an interruption ends the wait.
#[test]
fn a_run_that_waits_for_another_says_so_and_can_be_interrupted() {
    let folder = quick_folder();
    let here = folder.path();
    crate::order::scene(here);
    for (lock, lines) in [
        (
            "images/amikit-store.json",
            &[
                "pack old.raw -o images@pack --name pack",
                "complete thin.ami --base base.ami -o images@whole",
                "merge thin.ami next.ami -o images@merged",
                "store add images@added other.ami",
                "store add images@bare last.raw",
                "store copy other.ami images@copy",
                "store remove images@disk",
                "store gc images",
            ][..],
        ),
        // What changes the names alone.
        ("images/amikit-store.lock", &["pack old.raw -o images@pack --name pack"]),
    ] {
        let held = fs::File::options().read(true).write(true).open(here.join(lock)).unwrap();
        held.lock().unwrap();
        let start = |line: &&str| {
            let mut command = amikit();
            command.args(line.split(' ')).current_dir(here);
            (
                line.to_string(),
                command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap(),
            )
        };
        for (line, mut child) in lines.iter().map(start).collect::<Vec<_>>() {
            let mut said = BufReader::new(child.stderr.take().unwrap());
            let mut first = String::new();
            said.read_line(&mut first).unwrap();
            let wanted = "waiting for another run of amikit that writes to images";
            assert!(first.contains(wanted), "{line}: {first}");
            rustix::process::kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(130), "{line}");
        }
    }
    let listed = run_well(here, "store list images");
    assert!(listed.contains("web") && listed.contains("disk"), "{listed}");
    for name in ["pack", "whole", "merged", "added", "bare", "copy"] {
        assert!(!listed.contains(name), "{listed}");
    }
}
