//! What a user types and what comes back, word for word: `tests/transcripts/*.txt`.
//!
//! A transcript starts with a comment. Then come commands, each `$ amikit ...`, split at blanks and
//! run without a shell, and below each what it printed: standard output as it is, standard error
//! with `! ` in front, and `[exit N]` where that is not 0. `< FILE` at the end gives standard input,
//! `| head -N` keeps the first lines of a long output. `BLESS=1` rewrites the files.

use std::fmt::Write;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use amikit::internals::units::BLOCK_LEN;

use crate::common::Model;
use crate::common::amikit;
use crate::common::fixture;
use crate::common::keeps_holes;
use crate::common::run_well;

/// Puts the files that transcripts speak of into `folder`.
fn prepare(folder: &Path) {
    let simg = fs::read(fixture("images/disk.simg")).unwrap();
    fs::write(folder.join("disk.simg"), &simg).unwrap();
    fs::write(folder.join("cut.simg"), &simg[..100_000]).unwrap();
    let fill = |byte| Some(vec![byte; BLOCK_LEN]);
    let mut blocks = [fill(b'A'), fill(b'B'), fill(0), None, fill(b'A'), fill(b'C')];
    Model::of(&blocks, 1000).write(&folder.join("small.raw"));
    blocks[1] = fill(b'b');
    blocks[2] = None;
    Model::of(&blocks, 1000).write(&folder.join("other.raw"));
    Model::of(&blocks[..5], 0).write(&folder.join("shorter.raw"));
    fs::write(folder.join("empty.raw"), "").unwrap();
    fs::write(folder.join("notes.txt"), "not a disk at all\n").unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    fs::write(folder.join("folder/notes.txt"), "keep me\n").unwrap();
    let qcow2 = File::open(fixture("images/x-qcow2.img.zst")).unwrap();
    fs::write(folder.join("disk.qcow2"), zstd::decode_all(qcow2).unwrap()).unwrap();

    run_well(folder, "pack small.raw -o web.ami");
    run_well(folder, "pack small.raw -o web.ami.tar");
    let tar = fs::read(folder.join("web.ami.tar")).unwrap();
    fs::write(folder.join("cut.ami.tar"), &tar[..tar.len() / 2]).unwrap();
    // One byte of the first chunk, `A`, which two blocks hold.
    run_well(folder, "pack small.raw -o damaged.ami");
    let stored = fs::read_dir(folder.join("damaged.ami/blobs/sha256")).unwrap();
    for path in stored.map(|entry| entry.unwrap().path()) {
        if fs::read(&path).unwrap().starts_with(b"P*M\x18") {
            let pack = OpenOptions::new().write(true).open(path).unwrap();
            pack.write_all_at(b"?", 45).unwrap();
        }
    }
}

/// Runs one command and returns the transcript of it.
fn transcribe(folder: &Path, line: &str) -> String {
    let (rest, head) = match line.split_once(" | head -") {
        Some((rest, count)) => (rest, count.parse().unwrap()),
        None => (line, usize::MAX),
    };
    let (words, input) = match rest.split_once(" < ") {
        Some((words, input)) => (words, Some(input)),
        None => (rest, None),
    };
    let mut words = words.split_whitespace();
    assert_eq!(words.next(), Some("amikit"), "{line}");
    let mut command = amikit();
    // The folder is named in a note.
    command.current_dir(folder).args(words).env("TMPDIR", "/var/tmp");
    if let Some(input) = input {
        command.stdin(File::open(folder.join(input)).unwrap());
    }
    let output = command.output().unwrap();
    let mut text = format!("$ {line}\n");
    for line in String::from_utf8(output.stdout).unwrap().lines().take(head) {
        writeln!(text, "{line}").unwrap();
    }
    for line in String::from_utf8(output.stderr).unwrap().lines() {
        writeln!(text, "{}", format!("! {line}").trim_end()).unwrap();
    }
    match output.status.code() {
        Some(0) => {}
        Some(code) => writeln!(text, "[exit {code}]").unwrap(),
        None => writeln!(text, "[{}]", output.status).unwrap(),
    }
    text
}

fn check(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    if !keeps_holes(folder.path()) {
        return;
    }
    prepare(folder.path());
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(format!("{name}.txt"));
    let expected = fs::read_to_string(&path).unwrap();
    let mut actual: String = expected
        .lines()
        .take_while(|line| line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    for line in expected.lines().filter_map(|line| line.strip_prefix("$ ")) {
        actual.push('\n');
        actual.push_str(&transcribe(folder.path(), line));
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &actual).unwrap();
        return;
    }
    if actual != expected {
        let differs = actual.lines().zip(expected.lines()).position(|(a, e)| a != e);
        let line = differs.unwrap_or_else(|| actual.lines().count().min(expected.lines().count()));
        panic!(
            "{}, line {}:\n  expected {:?}\n  found    {:?}\nmeant? BLESS=1",
            path.display(),
            line.strict_add(1),
            expected.lines().nth(line),
            actual.lines().nth(line)
        );
    }
}

#[test]
fn pack_says_what_its_transcript_says() {
    check("pack");
}

#[test]
fn unpack_says_what_its_transcript_says() {
    check("unpack");
}

#[test]
fn verify_says_what_its_transcript_says() {
    check("verify");
}

#[test]
fn inspect_says_what_its_transcript_says() {
    check("inspect");
}

#[test]
fn map_says_what_its_transcript_says() {
    check("map");
}

#[test]
fn snapshot_says_what_its_transcript_says() {
    check("snapshot");
}

#[test]
fn convert_says_what_its_transcript_says() {
    check("convert");
}

#[test]
fn the_rest_says_what_its_transcript_says() {
    check("program");
}
