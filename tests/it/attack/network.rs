//! The verbs that send: calls that fail and kills in `push`, `pull`, `publish` and `fetch`, at any call, and a run after it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::Random;
use super::judge::Ended;
use super::rounds;
use super::run;
use super::trace::Calls;
use super::trace::under_strace;
use crate::common::installed;
use crate::common::names;
use crate::common::quick_folder;
use crate::common::run_well;
use crate::oci::Registry;
use crate::publish::client;
use crate::publish::say_in;
use crate::publish::versions;
use crate::publish::well;
use crate::serve_aws::Server;

/// A registry and an EC2 of our own, and what goes there and comes from there.
struct World {
    folder: tempfile::TempDir,
    registry: Registry,
    server: Server,
    /// Id of an AMI that is there to be fetched.
    image: String,
}

/// What is done; `#` is a number of its own for each trial.
const JOBS: &[&str] = &[
    "push old.ami HOST/web#:v1",
    "pull HOST/web:v1 -o back.ami",
    "pull HOST/web:v1 -o pulled@web",
    "publish old.ami --copy-to us-east-1",
    "fetch IMAGE -o back.ami",
];

impl World {
    fn new() -> Option<Self> {
        if !installed("docker-registry") || !installed("strace") {
            return None;
        }
        let folder = quick_folder();
        let here = folder.path().join("work");
        fs::create_dir(&here).unwrap();
        let registry = Registry::start(folder.path());
        let [model, there, _] = versions(8);
        for (name, model) in [("old", &model), ("there", &there)] {
            model.write(&here.join("disk.raw"));
            run_well(&here, &format!("pack disk.raw -o {name}.ami --name {name}"));
        }
        for store in ["images", "pulled"] {
            run_well(&here, &format!("store init {store}"));
        }
        let server = Server::start_quietly(&here, "");
        run_well(&here, &format!("push old.ami 127.0.0.1:{}/web:v1", registry.port));
        let text = well(&here, &server.url, "publish there.ami --json");
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let image = last["published"]["image_id"].as_str().unwrap().to_owned();
        well(&here, &server.url, &format!("fetch {image} -o fetched.ami"));
        Some(Self { folder, registry, server, image })
    }

    fn here(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn command(&self, job: &str, number: usize) -> Command {
        let line = job
            .replace("HOST", &format!("127.0.0.1:{}", self.registry.port))
            .replace('#', &number.to_string())
            .replace("IMAGE", &self.image);
        client(&self.here(), &self.server.url, &line)
    }

    /// Takes away what a job made.
    fn reset(&self, job: &str) {
        let here = self.here();
        let _ = fs::remove_dir_all(here.join("back.ami"));
        if job.contains("pulled@web") {
            let _ = fs::remove_dir_all(here.join("pulled"));
            run_well(&here, "store init pulled");
        }
        if job.starts_with("publish") {
            let line = format!("unpublish old.ami --yes {}", crate::publish::ACCOUNT);
            let _ = client(&here, &self.server.url, &line).output().unwrap();
        }
    }

    /// What must hold of what is there: all of it, or nothing under the name.
    fn check(&self, job: &str, number: usize, is_done: bool) -> Result<(), String> {
        let here = self.here();
        match job.split(' ').next().unwrap() {
            "push" => {
                let port = self.registry.port;
                let line = format!("pull 127.0.0.1:{port}/web{number}:v1 -o seen.ami");
                let found = client(&here, &self.server.url, &line).output().unwrap();
                let verdict = self.whole("seen.ami", Some("old.ami"), is_done);
                assert_eq!(found.status.success(), here.join("seen.ami").exists());
                let _ = fs::remove_dir_all(here.join("seen.ami"));
                verdict
            }
            "publish" => self.published(is_done),
            "fetch" => self.whole("back.ami", Some("fetched.ami"), is_done),
            _ if job.contains("back.ami") => self.whole("back.ami", Some("old.ami"), is_done),
            _ => self.whole("pulled@web", None, is_done),
        }
    }

    /// Fails if a bundle is there in part, or has other blobs than a sound one, or is not there although it should be.
    fn whole(&self, name: &str, like: Option<&str>, is_done: bool) -> Result<(), String> {
        let here = self.here();
        let there = match name.split_once('@') {
            Some((store, name)) => {
                let listed = run_well(&here, &format!("store list {store} --json"));
                listed.contains(&format!("\"name\": \"{name}\""))
            }
            None => here.join(name).exists(),
        };
        if !there {
            return if is_done { Err(format!("there is no {name}")) } else { Ok(()) };
        }
        run_well(&here, &format!("verify {name}"));
        let blobs = |bundle: &str| names(&here.join(bundle).join("blobs/sha256"));
        match like.filter(|like| blobs(like) != blobs(name)) {
            Some(_) => Err(format!("{name} has other blobs")),
            None => Ok(()),
        }
    }

    /// Fails if EC2 has more than it should: an AMI a region, and a snapshot a volume.
    fn published(&self, is_done: bool) -> Result<(), String> {
        let count = |region: &str, asked: &str, element: &str| {
            let asked = format!("Action={asked}&Version=2016-11-15&Owner.1=self");
            say_in(&self.server, region, &asked).matches(element).count()
        };
        let by_name = "DescribeImages&Filter.1.Name=name&Filter.1.Value.1=old";
        for region in ["eu-central-1", "us-east-1"] {
            let images = count(region, by_name, "<imageId>");
            if images > 1 || is_done && images == 0 {
                return Err(format!("{images} AMIs in {region}"));
            }
        }
        // One more is that of the AMI that is fetched.
        match count("eu-central-1", "DescribeSnapshots", "<snapshotId>") {
            0..=2 => Ok(()),
            snapshots => Err(format!("{snapshots} snapshots of two volumes")),
        }
    }
}

/// Makes trials of every job in turn.
fn attack(test: &str, fault: impl Fn(&mut Random, &Calls) -> String) {
    let mut random = Random::new(test);
    let Some(world) = World::new() else { return };
    let here = world.here();
    let source = tree(&here.join("old.ami"));
    let mut known: Vec<Calls> = Vec::new();
    for (number, job) in JOBS.iter().enumerate() {
        let Some(calls) = Calls::of_command(&here, &world.command(job, 1000 + number)) else {
            return;
        };
        world.reset(job);
        known.push(calls);
    }
    let mut flagged = Vec::new();
    let mut codes = std::collections::BTreeMap::<Option<i32>, usize>::new();
    for number in 0..rounds().max(JOBS.len()) {
        let job = JOBS[number % JOBS.len()];
        let inject = fault(&mut random, &known[number % JOBS.len()]);
        let ended = run(&mut under_strace(&world.command(job, number), &inject), &here);
        *codes.entry(ended.code()).or_default() += 1;
        let mut verdict = named(&ended).and_then(|done| world.check(job, number, done));
        if verdict.is_ok() {
            let after = run(&mut world.command(job, number), &here);
            verdict = if after.code() == Some(0) {
                world.check(job, number, true)
            } else {
                Err(format!("a run after it: {:?} {}", after.code(), after.stderr))
            };
        }
        let left: Vec<String> =
            names(&here).into_iter().filter(|it| it.ends_with("amikit-part")).collect();
        if verdict.is_ok() && !left.is_empty() {
            verdict = Err(format!("{left:?} stays"));
        }
        if let Err(why) = verdict {
            flagged.push(format!("{job}: {inject}: {:?}: {why}\n{}", ended.code(), ended.stderr));
        }
        world.reset(job);
    }
    println!("{test}: exit codes {codes:?}");
    assert!(flagged.is_empty(), "{} flagged:\n{}", flagged.len(), flagged.join("\n"));
    assert_eq!(tree(&here.join("old.ami")), source, "the source changed");
}

/// Tells whether a run did what it should; fails if it did not, and did not say why.
fn named(ended: &Ended) -> Result<bool, String> {
    let Some(status) = ended.status else { return Err("it hangs".to_owned()) };
    if ended.stderr.contains("panicked") {
        return Err("it panics".to_owned());
    }
    match status.code() {
        Some(0) => Ok(true),
        // strace ends as its child does.
        None | Some(137) => Ok(false),
        Some(2..=7) if ended.stderr.contains("amikit: error: ") => Ok(false),
        code => Err(format!("it ends with {code:?}")),
    }
}

/// All files below a folder with their bytes.
fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_call_that_fails_while_something_is_sent_is_named_and_the_next_run_does_well() {
    attack("failing calls of the network", |random, calls| {
        let (call, errors, number) = calls.pick_failing(random);
        format!("{call}:error={}:when={number}", random.pick(errors))
    });
}

#[test]
fn a_kill_while_something_is_sent_leaves_nothing_half_and_the_next_run_does_well() {
    attack("kills of the network", |random, calls| {
        let (call, number) = calls.pick(random);
        format!("{call}:signal=KILL:when={number}")
    });
}
