//! Kills, signals, full disks, failing calls and inputs that change: an output is whole or not there.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use amikit::internals::units::BLOCK_LEN;

use crate::common::Model;
use crate::common::Random;
use crate::common::amikit;
use crate::common::injected;
use crate::common::installed;
use crate::common::is_root;
use crate::common::names;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::sample;
use crate::common::stderr;
use crate::common::tree;
use crate::common::unmount;

/// A folder with an image to work on and what the commands make of it when nothing goes wrong.
struct Bench {
    folder: tempfile::TempDir,
}

/// A command, its output, and how long it takes.
struct Job {
    line: &'static str,
    output: &'static str,
    whole: BTreeMap<PathBuf, Vec<u8>>,
    old: BTreeMap<PathBuf, Vec<u8>>,
    takes: Duration,
}

const PACK: (&str, &str) = ("pack in.raw -o out.ami --name test", "out.ami");
const PACK_TAR: (&str, &str) = ("pack in.raw -o out.tar --name test", "out.tar");
const UNPACK: (&str, &str) = ("unpack b.ami -o out.raw", "out.raw");
const SNAPSHOT: (&str, &str) = ("snapshot in.raw -o out.snap", "out.snap");
const CONVERT: (&str, &str) = ("convert in.raw out.simg --format android-sparse", "out.simg");

impl Bench {
    /// Makes a volume of `blocks` blocks of noise, with a hole and zeros between.
    fn new(blocks: usize) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        let mut random = Random::with_seed(3);
        let blocks: Vec<_> = (0..blocks)
            .map(|number| match number % 8 {
                3 => None,
                5 => Some(Vec::new()),
                _ => Some(random.bytes(BLOCK_LEN)),
            })
            .collect();
        Model::of(&blocks, 0).write(&bench.at("in.raw"));
        run_well(bench.path(), "pack in.raw -o b.ami --name test");
        bench
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Runs a command once to learn what it makes; then something older gets the output's name.
    fn job(&self, (line, output): (&'static str, &'static str)) -> Job {
        let mut takes = Duration::MAX;
        for _ in 0..2 {
            let begin = Instant::now();
            run_well(self.path(), line);
            takes = takes.min(begin.elapsed());
        }
        let whole = tree(&self.at(output));
        self.clear(output);
        if output == "out.ami" {
            fs::write(self.at("small.raw"), vec![b'x'; BLOCK_LEN]).unwrap();
            run_well(self.path(), "pack small.raw -o out.ami --name older");
        } else {
            fs::write(self.at(output), vec![0xaa; 3 * BLOCK_LEN]).unwrap();
        }
        let old = tree(&self.at(output));
        self.clear(output);
        let job = Job { line, output, whole, old, takes };
        self.put_old(&job);
        job
    }

    fn clear(&self, name: &str) {
        let path = self.at(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }

    fn put_old(&self, job: &Job) {
        self.clear(job.output);
        for (name, bytes) in &job.old {
            let path = self.at(job.output);
            let path = if name.as_os_str().is_empty() { path } else { path.join(name) };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// Returns the temporary names that are left.
    fn parts(&self) -> Vec<String> {
        let mut names = names(self.path());
        names.retain(|name| name.starts_with('.'));
        names
    }

    /// Puts the image back, with its holes.
    fn restore(&self) {
        run_well(self.path(), "unpack b.ami -o in.raw");
    }

    fn check_old(&self, job: &Job, context: &str) {
        let kept = tree(&self.at(job.output)) == job.old;
        assert!(kept, "{}: {context}: the old output is another", job.line);
        assert_eq!(self.parts(), [""; 0], "{}: {context}: something was left", job.line);
    }

    /// Tells whether the output is the new one, whole; else it must be the old one.
    fn is_new(&self, job: &Job, context: &str) -> bool {
        let found = tree(&self.at(job.output));
        assert!(
            found == job.old || found == job.whole,
            "{}: {context}: neither old nor whole: {:?}",
            job.line,
            found.keys()
        );
        found == job.whole
    }

    fn start(&self, line: &str) -> Child {
        amikit()
            .current_dir(self.path())
            .args(line.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    // It may be over by now.
    let _ = Command::new("kill").args([name, &id]).stderr(Stdio::null()).status().unwrap();
}

/// Waits for the end of a child, at most so long.
pub(crate) fn wait(child: &mut Child, most: Duration) -> Option<std::process::ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if begin.elapsed() > most {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_output_or_the_whole_new_one() {
    let mut random = Random::new("a_kill_at_any_moment");
    let bench = Bench::new(40);
    let trials = sample(26);
    for command in [PACK, PACK_TAR, UNPACK, SNAPSHOT] {
        let job = bench.job(command);
        let (mut new, mut killed) = (0, 0);
        let most = u64::try_from(job.takes.as_micros()).unwrap() * 2;
        for trial in 0..trials {
            bench.put_old(&job);
            let mut child = bench.start(job.line);
            sleep(Duration::from_micros(random.below(most)));
            child.kill().unwrap();
            let status = child.wait().unwrap();
            killed += u32::from(status.code().is_none());
            new += u32::from(bench.is_new(&job, &format!("kill {trial}")));
            let prefix = format!(".{}.", job.output);
            for part in bench.parts() {
                assert!(part.starts_with(&prefix), "{part}");
                bench.clear(&part);
            }
        }
        println!("{}: {killed} of {trials} killed, {new} new outputs", job.line);
        run_well(bench.path(), job.line);
        assert!(bench.is_new(&job, "after all kills"));
        bench.clear(job.output);
    }
}

#[test]
fn a_run_beside_the_leftovers_of_a_killed_one_does_well() {
    let bench = Bench::new(16);
    for command in [PACK, PACK_TAR, UNPACK] {
        let job = bench.job(command);
        let mut child = bench.start(job.line);
        sleep(job.takes / 2);
        child.kill().unwrap();
        child.wait().unwrap();
        run_well(bench.path(), job.line);
        assert!(bench.is_new(&job, "beside leftovers"));
        for part in bench.parts() {
            bench.clear(&part);
        }
    }
}

#[test]
fn sigint_and_sigterm_end_a_run_soon_and_leave_nothing() {
    let mut random = Random::new("sigint_and_sigterm");
    let bench = Bench::new(64);
    for command in [PACK, PACK_TAR, UNPACK, SNAPSHOT, CONVERT] {
        let job = bench.job(command);
        let mut heard = 0;
        for trial in 0..2 + sample(6) {
            let (name, code) = [("-INT", 130), ("-TERM", 143), ("-HUP", 129)][trial % 3];
            if name == "-HUP" && amikit::internals::io::ignores(1) {
                println!("skipped: these tests were started so that SIGHUP is ignored");
                continue;
            }
            bench.put_old(&job);
            let mut child = bench.start(job.line);
            // Handlers are set a few milliseconds after the start.
            let most = u64::try_from(job.takes.as_micros()).unwrap();
            sleep(Duration::from_micros(10_000 + random.below(most)));
            signal(&child, name);
            let begin = Instant::now();
            let status = wait(&mut child, Duration::from_secs(10));
            let took = begin.elapsed();
            let status = status.unwrap_or_else(|| panic!("{}: {name} was ignored", job.line));
            assert!(took < Duration::from_millis(1500), "{}: {name} took {took:?}", job.line);
            let context = format!("{name}: {status}");
            if status.success() {
                assert!(bench.is_new(&job, &context));
                continue;
            }
            if status.code().is_none() {
                // The signal came before its handler was set.
                bench.check_old(&job, &context);
                continue;
            }
            assert_eq!(status.code(), Some(code), "{}: {context}", job.line);
            heard += 1;
            bench.check_old(&job, &context);
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text.lines().count(), 1, "{text}");
        }
        println!("{}: {heard} of 8 heard", job.line);
        bench.clear(job.output);
    }
}

/// Runs a command by the shell, with the program as `$0`.
pub(crate) fn shell(folder: &Path, script: &str) -> Output {
    Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_amikit")])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("in.raw")).unwrap();
    for number in 0..1500 {
        file.write_all_at(&[1; 4096], number * 12_288).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    for line in ["map in.raw", "map in.raw --json", "map in.raw --bmap", "completions bash"] {
        let mut child = amikit()
            .current_dir(folder.path())
            .args(line.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        drop(out);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{line}");
    }
}

#[test]
fn a_full_standard_output_is_a_failure_that_is_named() {
    let bench = Bench::new(8);
    for line in [
        "pack in.raw -o out.ami --name test",
        "unpack b.ami -o out.raw",
        "verify b.ami",
        "verify b.ami --json",
        "inspect b.ami",
        "inspect in.raw --json",
        "map in.raw",
        "map in.raw --json",
        "map in.raw --bmap",
        "snapshot in.raw -o out.snap",
        "convert in.raw out.simg --format android-sparse",
        "man .",
    ] {
        let output = shell(bench.path(), &format!("\"$0\" {line} > /dev/full"));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{line}: {text}");
        assert!(text.contains("cannot write"), "{line}: {text}");
        assert!(text.contains("No space left") && text.lines().count() == 1, "{line}: {text}");
    }
    // Without standard error there is nobody to tell; the exit code still does.
    let output = shell(bench.path(), "\"$0\" verify b.ami > /dev/full 2>&-");
    assert_eq!(output.status.code(), Some(3));
    let output = shell(bench.path(), "\"$0\" verify missing.ami 2> /dev/full");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_limit_on_file_sizes_is_a_failure_that_is_named() {
    let bench = Bench::new(8);
    for command in [PACK, PACK_TAR, UNPACK, SNAPSHOT, CONVERT] {
        let job = bench.job(command);
        let output = shell(bench.path(), &format!("ulimit -f 8; \"$0\" {}", job.line));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{}: {text}", job.line);
        assert!(text.contains("File too large") && text.contains("out."), "{text}");
        bench.check_old(&job, "under ulimit -f");
    }
}

#[test]
fn an_output_that_cannot_be_made_is_named() {
    let bench = Bench::new(4);
    for line in [
        "pack in.raw -o missing/out.ami --name test",
        "pack in.raw -o missing/out.tar --name test",
        "unpack b.ami -o missing/out.raw",
        "snapshot in.raw -o missing/out.snap",
        "convert in.raw missing/out.raw --format raw",
        "unpack b.ami -o in.raw/out.raw",
        "unpack b.ami -o /proc/out.raw",
    ] {
        let text = run_badly(bench.path(), line, 3);
        assert!(text.contains("/out."), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    assert_eq!(bench.parts(), [""; 0]);
}

#[test]
fn a_folder_that_may_not_be_written_is_named() {
    if !is_root() || !installed("setpriv") {
        return;
    }
    let bench = Bench::new(4);
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let output = shell(bench.path(), &format!("{nobody} \"$0\" --version"));
    if !output.status.success() {
        println!("skipped: nobody cannot run the program here: {}", stderr(&output));
        return;
    }
    let output = shell(bench.path(), "chmod 755 . && chmod -R a+rX .");
    assert!(output.status.success());
    for command in [PACK, PACK_TAR, UNPACK, SNAPSHOT] {
        let job = bench.job(command);
        let output = shell(bench.path(), &format!("{nobody} \"$0\" {}", job.line));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{}: {text}", job.line);
        assert!(text.contains("Permission denied") && text.contains(job.output), "{text}");
        bench.check_old(&job, "in a folder that may not be written");
    }
}

/// A small file system in memory, unmounted when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, options: &str) -> Option<Self> {
        if !is_root() {
            return None;
        }
        fs::create_dir_all(at).unwrap();
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .output()
            .unwrap();
        if !output.status.success() {
            println!("skipped: no tmpfs can be mounted: {}", stderr(&output));
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

#[test]
fn a_disk_of_any_size_too_small_is_a_failure_that_is_named() {
    let bench = Bench::new(8);
    let at = bench.at("disk");
    for options in ["size=4k", "size=64k", "size=600k", "size=2m", "nr_inodes=2", "nr_inodes=5"] {
        let Some(disk) = SmallDisk::mount(&at, options) else { return };
        for line in [
            "pack in.raw -o disk/out.ami --name test",
            "pack in.raw -o disk/out.tar --name test",
            "unpack b.ami -o disk/out.raw",
            "convert in.raw disk/out.simg --format android-sparse",
        ] {
            fs::write(at.join("old"), "x").unwrap();
            let output = run(bench.path(), line);
            let text = stderr(&output);
            if output.status.success() && options.starts_with("nr_inodes") {
                // A single file needs no more inodes than there are.
                fs::remove_file(at.join(names(&at).iter().find(|it| *it != "old").unwrap()))
                    .unwrap();
                continue;
            }
            assert_eq!(output.status.code(), Some(3), "{line} with {options}: {text}");
            assert!(text.contains("No space left") && text.contains("out."), "{text}");
            assert_eq!(names(&at), ["old"], "{line} with {options}");
        }
        drop(disk);
    }
}

#[test]
fn an_input_cut_while_it_is_read_is_never_packed_as_if_it_were_whole() {
    let mut random = Random::new("an_input_cut_while_it_is_read");
    let bench = Bench::new(64);
    for command in [PACK, SNAPSHOT, CONVERT] {
        let job = bench.job(command);
        let whole = fs::read(bench.at("in.raw")).unwrap();
        let most = u64::try_from(job.takes.as_micros()).unwrap();
        let mut refused = 0;
        for trial in 0..3 + sample(5) {
            bench.put_old(&job);
            let mut child = bench.start(job.line);
            sleep(Duration::from_micros(random.below(most)));
            let file = OpenOptions::new().write(true).open(bench.at("in.raw")).unwrap();
            let len = u64::try_from(whole.len()).unwrap();
            let len = [0, 4096 * random.below(len / 4096), random.below(len)][trial % 3];
            file.set_len(len).unwrap();
            drop(file);
            let status = wait(&mut child, Duration::from_secs(20)).expect("it hangs");
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            let context = format!("cut to {len} bytes: {status}: {text}");
            match status.code() {
                // Cut before it was opened, or after it was read.
                Some(0) if bench.at(job.output).exists() => {
                    if tree(&bench.at(job.output)) != job.whole {
                        let again = job.line.replace("out.", "again.");
                        run_well(bench.path(), &again);
                        let again = tree(&bench.at(&job.output.replace("out.", "again.")));
                        assert!(tree(&bench.at(job.output)) == again, "{context}");
                    }
                }
                // 2: cut to nothing before it was opened.
                Some(2) if len == 0 => bench.check_old(&job, &context),
                // 5: cut before it was opened, to a size that the new format cannot say.
                Some(5) if !len.is_multiple_of(1024) => bench.check_old(&job, &context),
                Some(3) => {
                    refused += 1;
                    assert!(text.contains("in.raw") && text.lines().count() == 1, "{context}");
                    bench.check_old(&job, &context);
                }
                _ => panic!("{}: {context}", job.line),
            }
            // With its holes, which a plain write would fill.
            bench.restore();
        }
        println!("{}: {refused} refused", job.line);
        bench.clear(job.output);
    }
}

#[test]
fn an_input_written_to_while_it_is_read_is_refused() {
    let mut random = Random::new("an_input_written_to");
    let bench = Bench::new(64);
    for command in [PACK_TAR, SNAPSHOT, CONVERT] {
        let job = bench.job(command);
        let mut refused = 0;
        for _ in 0..40 {
            if refused == 3 {
                break;
            }
            bench.restore();
            bench.put_old(&job);
            let mut child = bench.start(job.line);
            let most = u64::try_from(job.takes.as_micros()).unwrap();
            sleep(Duration::from_micros(most / 4 + random.below(most / 2)));
            let file = OpenOptions::new().read(true).write(true).open(bench.at("in.raw")).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, 77).unwrap();
            file.write_all_at(&byte, 77).unwrap();
            drop(file);
            let status = wait(&mut child, Duration::from_secs(20)).expect("it hangs");
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            if status.success() {
                assert!(bench.is_new(&job, "written to after the end"));
                continue;
            }
            assert_eq!(status.code(), Some(3), "{text}");
            let said = text.contains("in.raw: its contents changed while it was read")
                || text.contains("in.raw: it is in use");
            assert!(said, "{text}");
            refused += u32::from(text.contains("changed"));
            bench.check_old(&job, "input written to");
        }
        assert!(refused > 0, "{}: no write hit the run", job.line);
        bench.clear(job.output);
    }
}

#[test]
fn an_image_that_somebody_writes_is_refused_unless_forced() {
    let bench = Bench::new(4);
    let writer = OpenOptions::new().append(true).open(bench.at("in.raw")).unwrap();
    for line in [
        "pack in.raw -o out.ami --name test",
        "snapshot in.raw -o out.snap",
        "convert in.raw out.simg --format android-sparse",
        "inspect in.raw",
        "map in.raw",
        "verify b.ami --against in.raw",
    ] {
        let text = run_badly(bench.path(), line, 3);
        let process = format!("process {}", std::process::id());
        assert!(text.contains("in.raw: it is in use") && text.contains(&process), "{text}");
        assert!(text.contains("--force") && text.lines().count() == 1, "{text}");
        run_well(bench.path(), &format!("{line} --force"));
    }
    drop(writer);
    let reader = File::open(bench.at("in.raw")).unwrap();
    run_well(bench.path(), "inspect in.raw");
    drop(reader);
}

#[test]
fn a_failing_sync_write_or_rename_is_named_and_keeps_the_old_output() {
    let bench = Bench::new(6);
    let renames = "rename,renameat,renameat2";
    for command in [PACK, PACK_TAR, UNPACK, SNAPSHOT, CONVERT] {
        let job = bench.job(command);
        for (calls, error, said) in [
            ("fsync", "EIO", "Input/output error"),
            (renames, "EIO", "Input/output error"),
            ("pwrite64", "ENOSPC", "No space left"),
            ("pwrite64", "EIO", "Input/output error"),
            ("ftruncate", "EFBIG", "File too large"),
        ] {
            let numbers = [1, 2, 3, 5, 8, 13];
            for number in numbers.into_iter().take(1 + sample(5)) {
                bench.put_old(&job);
                let how = format!("error={error}:when={number}");
                let Some((output, log)) = injected(bench.path(), calls, &how, job.line) else {
                    return;
                };
                let context = format!("{calls} {how}");
                let Some(failed) = log.iter().position(|line| line.contains("(INJECTED)")) else {
                    assert!(output.status.success(), "{context}: {}", stderr(&output));
                    assert!(bench.is_new(&job, &context));
                    break;
                };
                let text = stderr(&output);
                assert_eq!(output.status.code(), Some(3), "{}: {context}: {text}", job.line);
                let named = text.contains("out.") || text.contains("cannot sync the folder");
                assert!(text.contains(said) && named, "{context}: {text}");
                assert_eq!(text.lines().count(), 1, "{context}: {text}");
                assert_eq!(bench.parts(), [""; 0], "{}: {context}", job.line);
                let line = &log[failed];
                let is_new = bench.is_new(&job, &context);
                // Only the sync of the folder around it comes after the last rename.
                assert!(!is_new || line.contains("fsync("), "{context}: {line}");
                let after = log[failed..].iter().any(|line| line.contains("rename"));
                assert!(
                    !after || calls != "fsync",
                    "{context}: a rename after a failed sync: {log:#?}"
                );
            }
        }
        bench.clear(job.output);
    }
}

#[test]
fn an_output_is_synced_before_and_its_folder_after_the_rename() {
    let bench = Bench::new(6);
    for command in [PACK, PACK_TAR, UNPACK, SNAPSHOT, CONVERT] {
        let job = bench.job(command);
        // The last call is one that never comes: nothing fails.
        let never = "error=EIO:when=60000";
        let Some((output, log)) = injected(bench.path(), "fsync", never, job.line) else { return };
        assert!(output.status.success());
        let named = format!("\"{}\"", job.output);
        let rename = log.iter().position(|line| line.contains("rename") && line.contains(&named));
        let rename = rename.unwrap_or_else(|| panic!("{}: no rename: {log:#?}", job.line));
        let folder = format!("<{}>)", fs::canonicalize(bench.path()).unwrap().display());
        let is_sync = |line: &String| line.contains("fsync(");
        assert!(log[..rename].iter().any(is_sync), "{log:#?}");
        let after: Vec<_> = log[rename + 1..].iter().filter(|line| is_sync(line)).collect();
        assert!(after.iter().any(|line| line.contains(&folder)), "{}: {after:#?}", job.line);
        // Every file of a bundle is synced under its temporary name before it gets its own.
        let written = log[..rename].iter().rposition(|line| line.contains("pwrite64(")).unwrap();
        assert!(log[written..rename].iter().any(is_sync), "{}: unsynced writes", job.line);
        bench.clear(job.output);
    }
}
