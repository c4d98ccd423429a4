//! The floors of the building: a room uses lower floors only. See `docs/ARCHITECTURE.md`.

use std::fs;
use std::path::Path;

/// Lowest first. Rooms on one floor do not see each other.
const FLOORS: &[&[&str]] = &[
    &["units", "error"],
    &["field", "digest", "compress", "work"],
    &["io"],
    &["volume", "manifest", "pack", "tar", "ami"],
    &["format", "chunking", "delta", "bundle", "guest", "recipe", "instance_store"],
    &["lint", "calls"],
    &["ops"],
    &["cli"],
];

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// Tells whether a room may use another.
fn may_use(room: &str, used: &str) -> bool {
    room == used || floor_of(used) < floor_of(room) && floor_of(used).is_some()
}

/// Collects the rooms that a source file names.
fn rooms_used(text: &str) -> Vec<String> {
    let mut used = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for prefix in ["crate::", "amikit::"] {
            for rest in line.split(prefix).skip(1) {
                assert!(!rest.starts_with('{'), "one import a line: {line}");
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                used.push(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    }
    used
}

/// Looks through a room, or through all rooms for `None`.
fn look(dir: &Path, room: Option<&str>, wrong: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let room = room.unwrap_or(&name);
        if path.is_dir() {
            look(&path, Some(room), wrong);
            continue;
        }
        if matches!(room, "lib" | "main") {
            continue;
        }
        assert!(floor_of(room).is_some(), "{room} has no floor: give it one");
        for used in rooms_used(&fs::read_to_string(&path).unwrap()) {
            if !may_use(room, &used) {
                wrong.push(format!("{}: {room} uses {used}", path.display()));
            }
        }
    }
}

#[test]
fn rooms_use_lower_floors_only() {
    let mut wrong = Vec::new();
    look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The test above can fail: it sees an upward import, and one sideways.
#[test]
fn an_upward_import_is_seen() {
    assert_eq!(rooms_used("use crate::ops::pack;\n// crate::cli is only spoken of"), ["ops"]);
    assert!(!may_use("pack", "ops") && !may_use("bundle", "chunking") && !may_use("io", "volume"));
    assert!(may_use("ops", "bundle") && may_use("io", "error") && may_use("cli", "ops"));
}

/// Unsafe code stands where its proofs are, and nowhere else.
#[test]
fn unsafe_stands_in_two_rooms() {
    fn look(dir: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, found);
            } else if fs::read_to_string(&path).unwrap().contains("allow(unsafe_code") {
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.retain(|path| !path.ends_with("src/io/map.rs") && !path.contains("src/digest/lanes/"));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
