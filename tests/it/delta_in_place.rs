//! `apply --in-place` is stopped anywhere and comes to its end when it is run again; and the other ways
//! in which an image can share its bytes with the old one.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use crate::common::Disk;
use crate::common::Model;
use crate::common::Random;
use crate::common::amikit;
use crate::common::injected;
use crate::common::keeps_holes;
use crate::common::names;
use crate::common::rounds;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::sample;
use crate::common::stderr;
use crate::delta_pairs::Happens;
use crate::delta_pairs::after;
use crate::delta_pairs::check_changed;
use crate::delta_pairs::volume;

const APPLY: &str = "apply thin.ami --to image.raw --in-place";
const JOURNAL: &str = "image.raw.amikit-journal.tar";

/// An image, and the delta that changes nearly all of it: blocks that only move, that grow out of each
/// other, zeros and holes.
struct Bench {
    folder: tempfile::TempDir,
    old: Model,
    new: Model,
}

impl Bench {
    fn new(blocks: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random::with_seed(4);
        let old = volume(&mut random, blocks);
        let moved = after(&mut random, &old, Happens::BlocksMove);
        let punched = after(&mut random, &moved, Happens::Punched);
        let new = after(&mut random, &punched, Happens::BytesInserted);
        let bench = Self { folder, old, new };
        bench.put_old();
        run_well(bench.path(), "pack image.raw -o old.ami --name old --level 1");
        bench.new.write(&bench.at("new.raw"));
        run_well(bench.path(), "pack new.raw --base old.ami --thin -o thin.ami --name new");
        bench
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn put_old(&self) {
        let _ = fs::remove_file(self.at("image.raw"));
        let _ = fs::remove_file(self.at(JOURNAL));
        self.old.write(&self.at("image.raw"));
    }

    /// Returns what a run that was killed may leave beside the image.
    fn parts(&self) -> Vec<String> {
        let mut names = names(self.path());
        names.retain(|name| name.starts_with('.'));
        names
    }

    fn is_old(&self) -> bool {
        fs::read(self.at("image.raw")).unwrap() == self.old.bytes
    }

    /// Holds what a stopped run left to the promise, runs it again, and holds the end to it. Returns
    /// whether there was a journal.
    fn check_stopped(&self, context: &str) -> bool {
        let journal = self.at(JOURNAL).exists();
        if journal {
            for line in [
                "inspect image.raw",
                "map image.raw",
                "snapshot image.raw -o x.snap",
                "diff image.raw new.raw",
                "pack image.raw -o x.ami --name test",
                "convert image.raw x.raw --format raw",
                "verify old.ami --against image.raw",
                "unpack thin.ami --base image.raw -o x.raw",
                "apply thin.ami --to image.raw -o x.raw",
            ] {
                let text = run_badly(self.path(), line, 2);
                let said = text.contains("image.raw") && text.contains("was interrupted");
                assert!(said && text.contains("--finish"), "{context}: {line}: {text}");
                assert!(names(self.path()).iter().all(|name| !name.starts_with("x.")), "{line}");
            }
        } else {
            let done = fs::read(self.at("image.raw")).unwrap() == self.new.bytes;
            assert!(done || self.is_old(), "{context}: neither old nor new, and no journal");
        }
        let line = format!("{APPLY} --json");
        let text = run_well(self.path(), &line);
        let resumed = text.contains("\"resumed\"");
        assert_eq!(resumed, journal, "{context}: {text}");
        check_changed(&self.at("image.raw"), &self.new, context);
        assert!(!self.at(JOURNAL).exists(), "{context}: the journal is left");
        assert_eq!(self.parts(), [""; 0], "{context}: something is left");
        run_well(self.path(), "inspect image.raw");
        journal
    }
}

impl Bench {
    /// Measures a run, and the part of it in which there is a journal, in microseconds: the shorter of
    /// two runs, so that a slow one does not let every kill come too late.
    fn times(&self) -> (u64, u64) {
        let measure = || {
            self.put_old();
            let begin = Instant::now();
            let mut child = amikit()
                .current_dir(self.path())
                .args(APPLY.split_whitespace())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let mut journal = None;
            while child.try_wait().unwrap().is_none() {
                if journal.is_none() && self.at(JOURNAL).exists() {
                    journal = Some(Instant::now());
                }
                sleep(Duration::from_micros(50));
            }
            let micros = |since: Instant| u64::try_from(since.elapsed().as_micros()).unwrap();
            (micros(begin), journal.map_or(0, micros))
        };
        let (one, other) = (measure(), measure());
        (one.0.min(other.0), one.1.min(other.1))
    }
}

#[test]
fn a_kill_at_any_moment_is_made_good_by_the_same_command() {
    let mut random = Random::new("a_kill_at_any_moment_is_made_good");
    let bench = Bench::new(24);
    if !keeps_holes(bench.path()) {
        return;
    }
    let (takes, second_half) = bench.times();
    let count = rounds(6);
    let (mut killed, mut journals) = (0, 0);
    for number in 0..count {
        bench.put_old();
        // Now and then a second kill hits the run that makes the first one good.
        for _ in 0..=usize::from(number % 3 == 0) {
            let mut child = amikit()
                .current_dir(bench.path())
                .args(APPLY.split_whitespace())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // Every second one is let come to the point where the image changes.
            let begin = Instant::now();
            while number % 2 == 1
                && !bench.at(JOURNAL).exists()
                && child.try_wait().unwrap().is_none()
                && begin.elapsed() < Duration::from_secs(20)
            {
                sleep(Duration::from_micros(200));
            }
            let most = if number % 2 == 1 { second_half } else { takes };
            sleep(Duration::from_micros(random.below(most.max(1))));
            child.kill().unwrap();
            killed += u32::from(child.wait().unwrap().code().is_none());
        }
        journals += u32::from(bench.check_stopped(&format!("kill {number}")));
    }
    println!("{count} rounds: {killed} runs killed, {journals} with a journal to go on from");
    assert!(killed > 0 && journals > 0, "no kill hit a run, or the second half of one");
}

/// A kill at each kind of call that changes something, first, second, and later.
#[test]
fn a_kill_at_each_call_is_made_good_by_the_same_command() {
    let bench = Bench::new(6);
    if !keeps_holes(bench.path()) {
        return;
    }
    let mut journals = 0;
    for calls in
        ["pwrite64", "fsync", "rename,renameat,renameat2", "ftruncate", "fallocate", "unlink"]
    {
        let numbers = [1, 2, 3, 5, 8, 13, 21, 34];
        for number in numbers.into_iter().take(3 + sample(5)) {
            bench.put_old();
            let how = format!("signal=KILL:when={number}");
            let line = format!("{APPLY} --threads 1");
            let Some((output, _)) = injected(bench.path(), calls, &how, &line) else { return };
            if output.status.success() {
                break;
            }
            journals += u32::from(bench.check_stopped(&format!("{calls} {number}")));
        }
    }
    println!("{journals} of them had a journal to go on from");
    assert!(journals > sample(5) - 1, "no kill hit the second half");
}

/// A call that fails before the journal is there changes nothing; one that fails after is made good.
#[test]
fn a_failing_call_leaves_the_old_image_or_a_journal() {
    let bench = Bench::new(6);
    if !keeps_holes(bench.path()) {
        return;
    }
    for (calls, error, said) in [
        ("pwrite64", "ENOSPC", "No space left"),
        ("fsync", "EIO", "Input/output error"),
        ("rename,renameat,renameat2", "EIO", "Input/output error"),
        ("ftruncate", "EFBIG", "File too large"),
        ("unlink", "EACCES", "Permission denied"),
    ] {
        let numbers = [1, 2, 3, 5, 8, 13, 21, 34];
        for number in numbers.into_iter().take(3 + sample(5)) {
            bench.put_old();
            let how = format!("error={error}:when={number}");
            let line = format!("{APPLY} --threads 1");
            let Some((output, log)) = injected(bench.path(), calls, &how, &line) else { return };
            if output.status.success() {
                check_changed(&bench.at("image.raw"), &bench.new, &how);
                break;
            }
            let context = format!("{calls} {how}");
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(3), "{context}: {text}");
            assert!(text.contains(said) && text.lines().count() == 1, "{context}: {text}");
            let failed = log.iter().find(|line| line.contains("(INJECTED)")).unwrap();
            // Before the image is touched, nothing of it may have changed.
            let touched = log.iter().any(|line| {
                line.contains("/image.raw>")
                    && !line.contains("(INJECTED)")
                    && !line.contains("fsync")
            });
            if !touched {
                assert!(bench.is_old(), "{context}: {failed}");
            }
            assert!(bench.is_old() || bench.at(JOURNAL).exists() || calls == "fsync", "{context}");
            bench.check_stopped(&context);
        }
    }
}

/// A journal tells what it leads to: another bundle cannot be applied over it, and it can itself.
#[test]
fn a_journal_is_finished_by_its_own_bundle_or_by_itself() {
    let bench = Bench::new(6);
    let here = bench.path();
    if !keeps_holes(here) {
        return;
    }
    let line = format!("{APPLY} --threads 1");
    // The image's own size is set when the journal is there.
    let how = "signal=KILL:when=1";
    let Some((output, _)) = injected(here, "unlink", how, &line) else { return };
    assert!(!output.status.success() && bench.at(JOURNAL).exists());
    fs::write(bench.at("other.raw"), vec![5; 700_000]).unwrap();
    run_well(here, "pack other.raw --base old.ami --thin -o other.ami --name other");
    let text = run_badly(here, "apply other.ami --to image.raw --in-place", 2);
    assert!(text.contains("was interrupted") && text.contains(JOURNAL), "{text}");
    let text = run_badly(here, "inspect image.raw", 2);
    let advice = text.split('`').find(|part| part.starts_with("amikit apply --to image.raw"));
    let advice = advice.unwrap_or_else(|| panic!("no command to finish it: {text}"));
    run_well(here, advice.trim_start_matches("amikit "));
    check_changed(&bench.at("image.raw"), &bench.new, "finished by the journal itself");
    assert!(!bench.at(JOURNAL).exists(), "the journal is left");
}

#[test]
fn where_files_can_share_blocks_the_new_image_shares_them() {
    let Some(disk) = Disk::sharing() else { return };
    let here = disk.path();
    let mut random = Random::with_seed(8);
    let old = volume(&mut random, 8);
    for happens in [
        Happens::SmallEdits,
        Happens::Punched,
        Happens::Zeroed,
        Happens::Grows,
        Happens::Shrinks,
        Happens::BlocksMove,
        Happens::Nothing,
    ] {
        let new = after(&mut random, &old, happens);
        old.write(&here.join("old.raw"));
        new.write(&here.join("new.raw"));
        run_well(&here, "pack old.raw -o old.ami --name old --level 1");
        run_well(&here, "pack new.raw --base old.ami --thin -o thin.ami --name new");
        let text = run_well(&here, "apply thin.ami --to old.raw -o out.raw");
        assert!(text.contains("shared with the old image"), "{happens:?}: {text}");
        check_changed(&here.join("out.raw"), &new, &format!("{happens:?}, shared"));
        check_changed(&here.join("old.raw"), &old, &format!("{happens:?}: the old image"));
        let text = run_well(&here, "apply thin.ami --to old.raw -o out.raw --json");
        assert!(text.contains("\"cloned\""), "{text}");
        for name in ["old.raw", "new.raw", "out.raw"] {
            fs::remove_file(here.join(name)).unwrap();
        }
    }
}

/// Where there is no room for the journal, nothing is changed.
#[test]
fn an_image_whose_journal_finds_no_room_stays_as_it_is() {
    let Some(disk) = Disk::sharing() else { return };
    let here = disk.path();
    let mut random = Random::with_seed(9);
    let noise = |random: &mut Random| Model::of(&[Some(random.bytes(1 << 19))], 0);
    let (mut old, mut new) = (noise(&mut random), noise(&mut random));
    old.bytes.extend(random.bytes(20 << 20));
    new.bytes.extend(random.bytes(20 << 20));
    let (old, new) = (old.settle(), new.settle());
    old.write(&here.join("image.raw"));
    new.write(&here.join("new.raw"));
    run_well(&here, "pack image.raw -o old.ami --name old --level 1");
    run_well(&here, "pack new.raw --base old.ami --thin -o thin.ami --name new");
    // What is left of the room, but for less than the journal takes.
    let stat = rustix::fs::statvfs(&here).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    let filler = fs::File::create(here.join("filler")).unwrap();
    let full = rustix::fs::fallocate(
        &filler,
        rustix::fs::FallocateFlags::empty(),
        0,
        free.saturating_sub(8 << 20),
    );
    full.unwrap();
    let output = run(&here, APPLY);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("No space left") && text.lines().count() == 1, "{text}");
    check_changed(&here.join("image.raw"), &old, "no room");
    assert!(!here.join(JOURNAL).exists());
    drop(filler);
    fs::remove_file(here.join("filler")).unwrap();
    run_well(&here, APPLY);
    check_changed(&here.join("image.raw"), &new, "room again");
}
