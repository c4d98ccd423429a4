//! `apply --in-place` writes onto nothing but the image that its journal was made for, and says that it is
//! done only of an image that it has read again (cases B-1 and B-2).
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use amikit::internals::units::BLOCK_LEN;

use crate::common::Model;
use crate::common::Random;
use crate::common::injected;
use crate::common::injected_at;
use crate::common::installed;
use crate::common::run_badly;
use crate::common::run_well;

const APPLY: &str = "apply thin.ami --to image.raw --in-place";
const JOURNAL: &str = "image.raw.amikit-journal.tar";

/// What ends an interrupted run.
const WAYS: [&str; 3] = [APPLY, "apply --to image.raw --finish", "apply --to image.raw --undo"];

/// The blocks of the old image; those of the new one differ in [`CHANGED`].
const BLOCKS: usize = 8;

/// Blocks that the delta changes: data, data to a hole, and the last one.
const CHANGED: [usize; 4] = [1, 4, 6, 7];

/// An image, a delta over it, and a run that was interrupted after it wrote the first changed block.
struct Scene {
    folder: tempfile::TempDir,
    old: Vec<u8>,
    new: Vec<u8>,
    /// What the interrupted run left.
    half: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random::with_seed(31);
        let old: Vec<u8> = (0..BLOCKS).flat_map(|_| random.bytes(BLOCK_LEN)).collect();
        let mut new = old.clone();
        for block in CHANGED {
            let bytes = if block == 4 { vec![0; BLOCK_LEN] } else { random.bytes(BLOCK_LEN) };
            new[block * BLOCK_LEN..][..BLOCK_LEN].copy_from_slice(&bytes);
        }
        let mut written = vec![true; new.len() / 4096];
        written[4 * BLOCK_LEN / 4096..5 * BLOCK_LEN / 4096].fill(false);
        let mut scene = Self { folder, old, new, half: Vec::new() };
        let here = scene.path().to_owned();
        fs::write(here.join("image.raw"), &scene.old).unwrap();
        Model::with_pages(scene.new.clone(), written).write(&here.join("new.raw"));
        run_well(&here, "pack image.raw -o old.ami --name old --level 1");
        run_well(&here, "pack new.raw --base old.ami --thin -o thin.ami --name new");
        scene.half = scene.interrupt();
        scene
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Runs the delta with a limit on the length of files that the journal keeps and the image passes.
    /// Returns what is left of the image, which is neither old nor new.
    fn interrupt(&self) -> Vec<u8> {
        // Blocks of 512 bytes. The journal has seven chunks of random bytes.
        let limit = (7 * BLOCK_LEN + BLOCK_LEN / 2) / 512;
        let line = format!("ulimit -f {limit}; exec \"$0\" {APPLY} --threads 1");
        let output = Command::new("sh")
            .args(["-c", &line, env!("CARGO_BIN_EXE_amikit")])
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("File too large") && text.contains(FINISH), "{text}");
        assert!(text.contains("image.raw may be part old, part new"), "{text}");
        assert!(self.at(JOURNAL).exists(), "{text}");
        let half = fs::read(self.at("image.raw")).unwrap();
        assert!(half != self.old && half != self.new, "the run was not stopped half way");
        half
    }

    /// Puts bytes in the image's place, runs the delta again, and expects that nothing is written.
    fn refuse(&self, bytes: &[u8], what: &str) {
        fs::write(self.at("image.raw"), bytes).unwrap();
        let journal = fs::read(self.at(JOURNAL)).unwrap();
        let text = run_badly(self.path(), APPLY, 7);
        assert!(
            text.contains("nothing was written") && text.lines().count() == 1,
            "{what}: {text}"
        );
        assert!(text.contains("put back the image"), "{what}: {text}");
        assert!(fs::read(self.at("image.raw")).unwrap() == bytes, "{what}: it was written to");
        assert!(fs::read(self.at(JOURNAL)).unwrap() == journal, "{what}: the journal changed");
    }

    /// Puts bytes in the image's place and expects that they become the new image; then goes back.
    fn finish(&self, bytes: &[u8], what: &str) {
        let journal = fs::read(self.at(JOURNAL)).unwrap();
        fs::write(self.at("image.raw"), bytes).unwrap();
        let text = run_well(self.path(), &format!("{APPLY} --json"));
        assert!(text.contains("\"resumed\""), "{what}: {text}");
        assert!(fs::read(self.at("image.raw")).unwrap() == self.new, "{what}");
        assert!(!self.at(JOURNAL).exists(), "{what}: the journal is left");
        fs::write(self.at(JOURNAL), journal).unwrap();
    }
}

/// What the message of a failure names.
const FINISH: &str = "`amikit apply --to image.raw --finish`";

fn with_byte(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
fn b1_a_journal_is_written_onto_no_other_image() {
    let scene = Scene::new();
    let half = &scene.half;
    let mut random = Random::with_seed(32);
    scene.refuse(&random.bytes(half.len()), "another image of that size");
    scene.refuse(&vec![0; half.len()], "zeros");
    for block in (0..BLOCKS).filter(|block| !CHANGED.contains(block)) {
        for at in [0, BLOCK_LEN / 2 + 7, BLOCK_LEN - 1] {
            let touched = with_byte(half, block * BLOCK_LEN + at);
            scene.refuse(&touched, &format!("block {block}, which the delta leaves alone"));
        }
    }
    for block in CHANGED {
        for (image, name) in [(&scene.old, "old"), (&scene.new, "new"), (half, "half")] {
            let touched = with_byte(image, block * BLOCK_LEN + 700);
            scene.refuse(&touched, &format!("block {block} of the {name} image, which changes"));
        }
    }
    scene.refuse(&half[..half.len() - 1], "cut by a byte");
    scene.refuse(&half[..BLOCK_LEN], "cut");
    scene.refuse(&[], "empty");
    scene.refuse(&[&half[..], &[0]].concat(), "longer");
    scene.finish(half, "the image itself, after all that");
}

#[test]
fn b1_what_an_interruption_can_leave_is_finished() {
    let scene = Scene::new();
    scene.finish(&scene.half, "as it was left");
    scene.finish(&scene.old, "the old image");
    scene.finish(&scene.new, "the new image");
    let mut random = Random::new("b1_what_an_interruption_can_leave_is_finished");
    for unit in [512, 4096, BLOCK_LEN] {
        let mut torn = scene.old.clone();
        for (torn, new) in torn.chunks_mut(unit).zip(scene.new.chunks(unit)) {
            if random.below(2) == 0 {
                torn.copy_from_slice(new);
            }
        }
        scene.finish(&torn, &format!("each {unit} bytes the old or the new ones"));
    }
}

/// Sizes and states change too: a hole, zeros, a longer image and a shorter one, with an odd end.
#[test]
fn finishing_and_undoing_give_the_size_back() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut random = Random::with_seed(33);
    let at = |name: &str| here.join(name);
    for (old_len, new_len) in [(3 * BLOCK_LEN, 5 * BLOCK_LEN + 700), (2_000_001, 700_000)] {
        let mut old = random.bytes(old_len);
        old[BLOCK_LEN..][..20_000].fill(0);
        let mut new = old.clone();
        new.resize(new_len, 7);
        new[..BLOCK_LEN].fill(0);
        fs::write(at("image.raw"), &old).unwrap();
        fs::write(at("new.raw"), &new).unwrap();
        run_well(here, "pack image.raw -o old.ami --name old --level 1");
        run_well(here, "pack new.raw --base old.ami --thin -o thin.ami --name new");
        let Some((output, _)) = injected(here, "unlink", "signal=KILL:when=1", APPLY) else {
            return;
        };
        assert!(!output.status.success() && at(JOURNAL).exists());
        let journal = fs::read(at(JOURNAL)).unwrap();
        // What a run leaves that was stopped at the new size, before its first block.
        let mut sized = old.clone();
        sized.resize(new_len, 0);
        // What an undoing run leaves that was stopped at the old size, before its first block.
        let mut unsized_ = new.clone();
        unsized_.resize(old_len, 0);
        for (bytes, what) in
            [(&old, "old"), (&new, "new"), (&sized, "new size"), (&unsized_, "old size")]
        {
            for (line, expected) in [(WAYS[1], &new), (WAYS[2], &old)] {
                fs::write(at(JOURNAL), &journal).unwrap();
                fs::write(at("image.raw"), bytes).unwrap();
                run_well(here, line);
                assert!(fs::read(at("image.raw")).unwrap() == *expected, "{what}: {line}");
                assert!(!at(JOURNAL).exists(), "{what}: {line}");
            }
        }
        for name in ["old.ami", "thin.ami"] {
            fs::remove_dir_all(at(name)).unwrap();
        }
    }
    let text = run_badly(here, "apply --to image.raw --undo", 2);
    assert!(text.contains("no in-place apply to it was interrupted"), "{text}");
}

/// A signal after the first byte of the image was written: what is there is said, and what ends it.
#[test]
fn an_interruption_says_what_the_image_is_and_what_finishes_it() {
    let scene = Scene::new();
    let image = scene.at("image.raw");
    for (calls, number, code) in [("pwrite64", 1, 130), ("fsync", 1, 130), ("fallocate", 1, 130)] {
        fs::write(&image, &scene.old).unwrap();
        let _ = fs::remove_file(scene.at(JOURNAL));
        let how = format!("signal=INT:when={number}");
        let line = format!("{APPLY} --threads 1");
        let Some((output, _)) = injected_at(scene.path(), Some(&image), calls, &how, &line) else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            continue;
        }
        assert_eq!(output.status.code(), Some(code), "{calls}: {text}");
        assert!(text.contains("stopped on request"), "{calls}: {text}");
        assert!(text.contains("image.raw may be part old, part new"), "{calls}: {text}");
        assert!(text.contains(FINISH) && text.contains("--undo`"), "{calls}: {text}");
        assert!(scene.at(JOURNAL).exists(), "{calls}");
        run_well(scene.path(), "apply --to image.raw --finish");
        assert!(fs::read(&image).unwrap() == scene.new, "{calls}");
    }
    // Before the journal is there, nothing has changed, and nothing is left.
    fs::write(&image, &scene.old).unwrap();
    let how = "signal=INT:when=2";
    let Some((output, _)) = injected_at(scene.path(), None, "pwrite64", how, APPLY) else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("image.raw is unchanged") && !text.contains("finish"), "{text}");
    assert!(fs::read(&image).unwrap() == scene.old && !scene.at(JOURNAL).exists());
}

#[test]
fn b1_a_journal_that_lacks_a_block_writes_nothing() {
    let scene = Scene::new();
    // The delta itself in the journal's place: it has patches, and not the old blocks.
    fs::remove_file(scene.at(JOURNAL)).unwrap();
    fs::write(scene.at("image.raw"), &scene.old).unwrap();
    run_well(scene.path(), "pack new.raw --base image.raw --thin -o as.tar --name other");
    fs::rename(scene.at("as.tar"), scene.at(JOURNAL)).unwrap();
    for (bytes, what) in [(&scene.half, "half"), (&scene.old, "old")] {
        fs::write(scene.at("image.raw"), bytes).unwrap();
        let output = crate::common::run(scene.path(), APPLY);
        assert!(!output.status.success(), "{what}");
        assert!(fs::read(scene.at("image.raw")).unwrap() == *bytes, "{what}");
    }
}

/// Holds a file open for writing, from another process, until it is dropped.
pub(crate) struct Holder(Child);

impl Holder {
    pub(crate) fn of(path: &Path) -> Self {
        let file = OpenOptions::new().append(true).open(path).unwrap();
        let child = Command::new("sleep").arg("60").stdout(Stdio::from(file)).spawn().unwrap();
        sleep(Duration::from_millis(50));
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn b2_an_image_in_use_is_not_changed_unless_forced() {
    let scene = Scene::new();
    let journal = fs::read(scene.at(JOURNAL)).unwrap();
    for (bytes, resumed) in [(&scene.old, false), (&scene.half, true)] {
        fs::write(scene.at("image.raw"), bytes).unwrap();
        if resumed {
            fs::write(scene.at(JOURNAL), &journal).unwrap();
        } else {
            fs::remove_file(scene.at(JOURNAL)).unwrap();
        }
        let holder = Holder::of(&scene.at("image.raw"));
        let text = run_badly(scene.path(), APPLY, 3);
        assert!(text.contains("in use") && text.contains("--force"), "{text}");
        assert!(fs::read(scene.at("image.raw")).unwrap() == *bytes, "it was changed");
        assert_eq!(scene.at(JOURNAL).exists(), resumed);
        run_well(scene.path(), &format!("{APPLY} --force"));
        assert!(fs::read(scene.at("image.raw")).unwrap() == scene.new);
        drop(holder);
    }
}

/// A write by another program after the image was written, and before the run is done, is found: then the
/// journal stays. The sync of the image is made to take long enough.
#[test]
fn b2_a_write_by_another_program_during_the_run_is_found() {
    if !installed("strace") {
        return;
    }
    let scene = Scene::new();
    let image = scene.at("image.raw");
    for resumed in [false, true] {
        if resumed {
            fs::write(&image, &scene.half).unwrap();
        } else {
            fs::remove_file(scene.at(JOURNAL)).unwrap();
            fs::write(&image, &scene.old).unwrap();
        }
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "strace.log", "-e", "trace=fsync", "-P"]).arg(&image);
        command.args(["-e", "inject=fsync:delay_enter=3000000", env!("CARGO_BIN_EXE_amikit")]);
        let mut child = command
            .args(APPLY.split(' '))
            .current_dir(scene.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Block 6 is the last but one that is written.
        let done = |bytes: &[u8]| bytes[7 * BLOCK_LEN..] == scene.new[7 * BLOCK_LEN..];
        let begin = Instant::now();
        while !done(&fs::read(&image).unwrap()) && begin.elapsed() < Duration::from_secs(20) {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            sleep(Duration::from_millis(5));
        }
        sleep(Duration::from_millis(300));
        OpenOptions::new().write(true).open(&image).unwrap().write_all_at(b"foreign", 9).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("ptrace") {
            println!("skipped: strace cannot trace here: {text}");
            return;
        }
        assert_eq!(output.status.code(), Some(7), "{text}");
        assert!(text.contains("block 0") && text.contains("another program"), "{text}");
        assert!(scene.at(JOURNAL).exists());
    }
}
