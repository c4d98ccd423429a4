//! What is attacked: every command, with its inputs and its outputs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use super::judge::Ended;
use super::run;

/// A command.
pub(super) struct Job {
    pub(super) line: &'static str,
    /// What it makes, and what stands there before.
    pub(super) outputs: &'static [Output],
    /// Whether it takes `--threads`.
    threads: bool,
    /// Whether its output is other bytes each time: keys are drawn.
    pub(super) random: bool,
}

pub(super) struct Output {
    pub(super) name: &'static str,
    /// What stands there before, unless nothing does; empty for what must not be there.
    old: &'static str,
}

impl Output {
    /// Tells whether the command refuses what is there already.
    pub(super) fn must_be_absent(&self) -> bool {
        self.old.is_empty()
    }
}

const fn job(line: &'static str, outputs: &'static [Output]) -> Job {
    Job { line, outputs, threads: true, random: false }
}

const fn single(line: &'static str, outputs: &'static [Output]) -> Job {
    Job { line, outputs, threads: false, random: false }
}

const FILE: &str = "keep/old.raw";
const BUNDLE: &str = "keep/old.ami";
const PAGES: &str = "keep/pages";

const fn over(name: &'static str, old: &'static str) -> Output {
    Output { name, old }
}

const IMAGE: &[Output] = &[over("out.raw", FILE)];
const AMI: &[Output] = &[over("out.ami", BUNDLE)];
const FOLDER: &[Output] = &[over("out", "")];

pub(super) const JOBS: &[Job] = &[
    job("pack new.raw -o out.ami --name new", AMI),
    job("pack new.raw -o out.tar --name new", &[over("out.tar", FILE)]),
    job("pack new.raw --base old.ami --thin -o out.ami --name new", AMI),
    job(
        "pack new.raw --base old.raw --thin --base-index out.idx -o out.ami --name new",
        &[over("out.ami", BUNDLE), over("out.idx", "")],
    ),
    job("unpack new.ami -o out.raw", IMAGE),
    job("unpack thin.ami --base old.raw -o out.raw", IMAGE),
    job("unpack new.ami -o out.ova", &[over("out.ova", FILE)]),
    job("verify new.ami", &[]),
    job("verify thin.ami --base old.ami --against new.raw", &[]),
    single("inspect new.ami", &[]),
    single("inspect new.qcow2 --json", &[]),
    job("map new.raw --bmap", &[]),
    job("map new.qcow2 --json", &[]),
    job("snapshot new.raw -o out.snap", &[over("out.snap", FILE)]),
    job("snapshot new.raw --blocks 0.. -o out.part", &[over("out.part", FILE)]),
    job("pack new.raw --blocks 0.. --region 512MiB -o out.ami", AMI),
    job("fleet old.ami new.ami --delete old", &[]),
    job("fleet old.ami new.ami --report out.html", &[over("out.html", FILE)]),
    job("export old.ami new.ami -o out --format jsonl", FOLDER),
    single("join part.ami -o out.ami --name new", AMI),
    job("convert new.raw out.qcow2", &[over("out.qcow2", FILE)]),
    job("convert new.qcow2 out.vhdx", &[over("out.vhdx", FILE)]),
    job("convert new.raw.gz out.vmdk", &[over("out.vmdk", FILE)]),
    job("convert new.ami out.raw --format raw --zeros hole", IMAGE),
    job("compare old.raw new.ami", &[]),
    job("diff old.ami new.ami", &[]),
    job("report old.ami new.ami -o out.html", &[over("out.html", FILE)]),
    job("apply thin.ami --to old.raw -o out.raw", IMAGE),
    job("apply thin.ami --to image.raw --in-place", &[over("image.raw", "old.raw")]),
    single("complete thin.ami --base old.ami -o out.ami", AMI),
    job("merge thin.ami thin2.ami --base old.ami -o out.ami", AMI),
    job("rebase thin.ami --base old.ami --onto old.ami -o out.ami", AMI),
    job("build ami.toml -o out.ami", &[over("out.ami", BUNDLE), over("out.plan.jsonl", FILE)]),
    single("plan new.ami -o out.plan", &[over("out.plan", FILE)]),
    single("register new.ami -o out", FOLDER),
    single("import new.json -o out.toml", &[over("out.toml", "")]),
    single("init out.toml", &[over("out.toml", "")]),
    single("lint ami.toml", &[]),
    single("man out", &[over("out", PAGES)]),
    single("store init out", FOLDER),
    Job {
        random: true,
        ..job(
            "instance-store bundle new.raw -o out --key user.key --cert user.crt --ec2-cert ec2.crt \
             --user 123456789012 --arch x86_64 --name disk",
            FOLDER,
        )
    },
    job("instance-store verify is/disk.manifest.xml --cert user.crt --key user.key", &[]),
    job(
        "instance-store unbundle is/disk.manifest.xml -o out.raw --key user.key --cert user.crt",
        IMAGE,
    ),
];

impl Job {
    pub(super) fn args(&self) -> impl Iterator<Item = &'static str> {
        self.line.split_whitespace()
    }

    /// Adds the number of threads, where the command takes one.
    pub(super) fn with_threads(&self, command: &mut Command, count: usize) {
        if self.threads {
            command.args(["--threads", &count.to_string()]);
        }
    }

    /// Returns the command, on one thread: calls are counted for each thread by itself.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amikit"));
        command.args(self.args());
        self.with_threads(&mut command, 1);
        command
    }

    /// Tells whether something belongs to an output.
    pub(super) fn makes(&self, path: &Path) -> bool {
        self.outputs.iter().any(|output| path.starts_with(output.name))
    }
}

/// The files of a folder by their names.
pub(super) type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// What a job does where nothing fails.
#[derive(Clone)]
pub(super) struct Reference {
    pub(super) tree: Tree,
    /// 1 where the answer is no, as of `compare`.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
}

/// A folder with the inputs of all commands.
pub(super) struct Scene {
    /// Holds the folder in which all happens, and what is printed beside it.
    #[expect(dead_code, reason = "it is removed with this")]
    outer: tempfile::TempDir,
    here: PathBuf,
    inputs: Tree,
    references: BTreeMap<&'static str, Reference>,
}

impl Scene {
    /// Makes the inputs; `None`, with a reason, where the tools are missing.
    pub(super) fn new() -> Option<Self> {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let outer = tempfile::tempdir_in(place).unwrap();
        let here = outer.path().join("here");
        fs::create_dir(&here).unwrap();
        let scene = Self { outer, here, inputs: Tree::new(), references: BTreeMap::new() };
        let here = scene.path();
        fs::create_dir(here.join("keep")).unwrap();
        scene.write_images();
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/instance-store");
        for (from, to) in [
            ("test-user.key", "user.key"),
            ("test-user.crt", "user.crt"),
            ("test-ec2.crt", "ec2.crt"),
        ] {
            fs::copy(keys.join(from), here.join(to)).unwrap();
        }
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(here.join("user.key"), private).unwrap();
        fs::create_dir(here.join(PAGES)).unwrap();
        fs::write(here.join(PAGES).join("amikit.1"), "old").unwrap();
        fs::write(here.join("ami.toml"), RECIPE).unwrap();
        fs::write(here.join("new.json"), ANSWER).unwrap();
        for line in [
            "pack old.raw -o old.ami --name old",
            "pack new.raw -o new.ami --name new",
            "pack newer.raw -o newer.ami --name newer",
            "pack new.raw --base old.ami --thin -o thin.ami --name new",
            "pack newer.raw --base new.ami --thin -o thin2.ami --name newer",
            "pack keep/old.raw -o keep/old.ami --name older",
            "pack new.raw --blocks 0.. --region 512MiB -o part.ami",
            "convert new.raw new.qcow2",
            "instance-store bundle new.raw -o is --key user.key --cert user.crt --ec2-cert ec2.crt \
             --user 123456789012 --arch x86_64 --name disk",
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_amikit"));
            let ended = run(command.args(line.split_whitespace()), here);
            assert_eq!(ended.code(), Some(0), "{line}: {}", ended.stderr);
        }
        let zipped = Command::new("gzip").args(["-k", "new.raw"]).current_dir(here).status();
        if !zipped.is_ok_and(|status| status.success()) {
            println!("skipped: gzip cannot be run");
            return None;
        }
        let inputs = tree(here);
        Some(Self { inputs, ..scene })
    }

    /// Writes images of a few blocks: data, a hole, zeros, and a tail that is not a block.
    fn write_images(&self) {
        let noise = |seed: usize, len: usize| -> Vec<u8> {
            let mut random = super::Random(u64::try_from(seed).unwrap());
            (0..len).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
        };
        let mut old = noise(1, 1_700_000);
        old[600_000..1_200_000].fill(0);
        let mut new = old.clone();
        new[10_000..12_000].copy_from_slice(&noise(2, 2000));
        new.extend(noise(3, 5000));
        let mut newer = new.clone();
        newer[1_300_000..1_300_500].copy_from_slice(&noise(4, 500));
        for (name, bytes) in
            [("old.raw", &old), ("new.raw", &new), ("newer.raw", &newer), (FILE, &noise(5, 70_000))]
        {
            fs::write(self.path().join(name), bytes).unwrap();
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.here
    }

    pub(super) fn tree(&self) -> Tree {
        tree(self.path())
    }

    /// Runs a job without any fault.
    pub(super) fn reference(&mut self, job: &'static Job) -> Reference {
        if !self.references.contains_key(job.line) {
            self.put(job, false);
            let ended = run(&mut job.command(), self.path());
            let good = ended.code() == Some(0) || ended.code() == Some(1) && job.outputs.is_empty();
            assert!(good, "{} does not do well: {}", job.line, ended.stderr);
            let (tree, code) = (self.tree(), ended.code());
            self.references.insert(job.line, Reference { tree, code, stdout: ended.stdout });
        }
        self.references[job.line].clone()
    }

    /// Puts the inputs back, and what stands where a job's outputs go: nothing if it is `fresh`.
    pub(super) fn put(&self, job: &Job, fresh: bool) {
        let here = self.path();
        for name in fs::read_dir(here).unwrap() {
            let path = name.unwrap().path();
            let relative = path.strip_prefix(here).unwrap();
            if !self.inputs.keys().any(|input| input.starts_with(relative)) {
                remove(&path);
            }
        }
        let found = self.tree();
        for (path, bytes) in &self.inputs {
            if found.get(path) != Some(bytes) {
                fs::create_dir_all(here.join(path).parent().unwrap()).unwrap();
                fs::write(here.join(path), bytes).unwrap();
            }
        }
        for path in found.keys().filter(|path| !self.inputs.contains_key(*path)) {
            if self.inputs.keys().any(|input| input.starts_with(path.iter().next().unwrap())) {
                remove(&here.join(path));
            }
        }
        for Output { name, old } in job.outputs {
            let needed = *name == "image.raw" || *old == PAGES;
            if old.is_empty() || fresh && !needed {
                continue;
            }
            copy(&here.join(old), &here.join(name));
        }
    }

    /// Runs a job once more, as a user does after a failure.
    pub(super) fn again(&self, job: &Job) -> Ended {
        run(&mut job.command(), self.path())
    }
}

fn remove(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// Reads all files below a folder.
fn tree(root: &Path) -> Tree {
    fn look(folder: &Path, root: &Path, found: &mut Tree) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = Tree::new();
    look(root, root, &mut found);
    found
}

const RECIPE: &str = r#"version = 1
[ami]
name = "built"
architecture = "x86_64"
virtualization-type = "hvm"
root-device-name = "/dev/xvda"
ena-support = true
[[volume]]
device-name = "/dev/xvda"
image = "new.raw"
volume-type = "gp3"
[[test]]
kind = "verify"
[[test]]
kind = "command"
command = ["true"]
[upload]
region = "eu-central-1"
"#;

const ANSWER: &str = r#"{"Images": [{"ImageId": "ami-0123456789abcdef0", "Name": "web", "State": "available",
"Architecture": "x86_64", "VirtualizationType": "hvm", "RootDeviceName": "/dev/xvda", "RootDeviceType": "ebs",
"ImageType": "machine", "Public": false, "OwnerId": "123456789012", "Hypervisor": "xen", "EnaSupport": true,
"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0123456789abcdef0",
"VolumeSize": 8, "VolumeType": "gp3", "DeleteOnTermination": true, "Encrypted": false}}]}]}"#;
