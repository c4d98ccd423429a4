//! What README and `docs/guide` show is what happens: their blocks are run, in order, in one folder each.
//!
//! A `console` block holds commands, each after `$ `, and below each what it printed on both streams and
//! `[exit N]` where that is not 0; all of it is compared. The lines of an `sh` block are commands
//! that must succeed, or answer no (exit code 1). A `bash` block is not run: it needs a network, an account or an installation.
//! `amikit` is the program under test; `fixtures` and `examples` are there. `BLESS=1` rewrites the pages.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use crate::common::installed;
use crate::common::keeps_holes;
use crate::oci::Registry;

/// Where the registry of the page about them is.
const REGISTRY: &str = "localhost:5000";

/// A folder for one page, with the program in `bin`.
fn prepare(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["fixtures", "examples"] {
        symlink(root.join(name), folder.join(name)).unwrap();
    }
    fs::create_dir(folder.join(".bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_amikit"), folder.join(".bin/amikit")).unwrap();
}

/// Runs a line and returns what it printed and its exit code.
fn shell(folder: &Path, registry: &str, line: &str) -> (String, Option<i32>) {
    // What the reader types in a clone of the repository.
    let line = line.replace("cargo run --release -- ", "amikit ").replace(REGISTRY, registry);
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{line}")])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", folder.join(".bin").display()))
        .env("TMPDIR", "/var/tmp")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    (printed.replace(registry, REGISTRY), output.status.code())
}

/// Runs the blocks of a page and returns the page as it should be.
fn replay(folder: &Path, registry: &str, page: &str) -> String {
    let mut actual = String::new();
    let mut block = None;
    for line in page.lines() {
        let fence = line.strip_prefix("```");
        match (block, fence) {
            (None, language) => block = language,
            (Some(_), Some(_)) => block = None,
            (Some("console"), None) => {
                let Some(command) = line.strip_prefix("$ ") else { continue };
                let (printed, code) = shell(folder, registry, command);
                writeln!(actual, "{line}").unwrap();
                if !printed.is_empty() {
                    writeln!(actual, "{}", printed.trim_end_matches('\n')).unwrap();
                }
                if code != Some(0) {
                    writeln!(actual, "[exit {}]", code.unwrap()).unwrap();
                }
                continue;
            }
            (Some("sh"), None) => {
                let (printed, code) = shell(folder, registry, line);
                assert!(matches!(code, Some(0 | 1)), "{line}\n{printed}");
            }
            (Some(_), None) => {}
        }
        writeln!(actual, "{line}").unwrap();
    }
    actual
}

fn check(path: &Path) {
    let folder = tempfile::tempdir().unwrap();
    if !keeps_holes(folder.path()) {
        return;
    }
    prepare(folder.path());
    let expected = fs::read_to_string(path).unwrap();
    // A registry of the page's own, at whatever port is free.
    let mut registry = None;
    if expected.contains(REGISTRY) {
        if !cfg!(feature = "network") {
            eprintln!("skipped: {} needs the feature network", path.display());
            return;
        }
        if !installed("docker-registry") {
            return;
        }
        registry = Some(Registry::start(&folder.path().join(".bin")));
    }
    let host = registry.as_ref().map_or(REGISTRY.to_owned(), |it| format!("127.0.0.1:{}", it.port));
    let actual = replay(folder.path(), &host, &expected);
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, &actual).unwrap();
        return;
    }
    let differs = actual.lines().zip(expected.lines()).position(|(a, e)| a != e);
    let line = differs.unwrap_or_else(|| actual.lines().count().min(expected.lines().count()));
    assert!(
        actual == expected,
        "{}, line {}:\n  expected {:?}\n  found    {:?}\nmeant? BLESS=1",
        path.display(),
        line.strict_add(1),
        expected.lines().nth(line),
        actual.lines().nth(line)
    );
}

#[test]
fn readme_shows_what_happens() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
}

#[test]
fn guide_shows_what_happens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide");
    let mut pages: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    assert!(pages.len() >= 7, "{pages:?}");
    for page in pages {
        check(&page);
    }
}
