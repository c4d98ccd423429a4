//! The public interface of the library as a text that a commit shows a change of.
//!
//! `public.txt` has each name that the crate exports, with what a caller can write of it: fields, variants, methods, the traits
//! that it has. A change that takes something away, or asks more of a caller, raises the version (`docs/compatibility.md`).
//! `amikit::internals` and `amikit::cli` promise nothing, and are not in it. Types without an exported name are not either.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

mod items;

use items::Item;
use items::items;

/// Modules that promise nothing, or are documents.
const LEFT_OUT: [&str; 3] = ["internals", "cli", "formats"];

/// Items of all files of a room, by the file.
type Room = BTreeMap<PathBuf, Vec<Item>>;

fn source(path: &Path, found: &mut Room) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            source(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
        found.insert(path.to_owned(), items(&fs::read_to_string(path).unwrap()));
    }
}

struct Sources(PathBuf, BTreeMap<String, Room>);

impl Sources {
    fn room(&mut self, name: &str) -> &Room {
        let (src, rooms) = (&self.0, &mut self.1);
        rooms.entry(name.to_owned()).or_insert_with(|| {
            let mut found = Room::new();
            for path in [src.join(name), src.join(format!("{name}.rs"))] {
                if path.exists() {
                    source(&path, &mut found);
                }
            }
            assert!(!found.is_empty(), "there is no room {name}");
            found
        })
    }

    /// Lists what `pub use` of a path brings: the name that it gets, and where it is defined.
    fn exported(&mut self, path: &str) -> Vec<(String, String, String)> {
        let (path, alias) = path.split_once(" as ").map_or((path, None), |(a, b)| (a, Some(b)));
        let path = path.strip_prefix("crate::").unwrap_or_else(|| panic!("{path} is not ours"));
        let (room, rest) = path.split_once("::").unwrap();
        let name = rest.rsplit("::").next().unwrap();
        if name != "*" {
            return vec![(alias.unwrap_or(name).to_owned(), room.to_owned(), name.to_owned())];
        }
        let src = self.0.clone();
        let files = self.room(room);
        let top = [src.join(room).join("mod.rs"), src.join(format!("{room}.rs"))];
        let top = top.iter().find_map(|it| files.get(it)).unwrap().clone();
        let mut found = Vec::new();
        for item in top {
            if let Some(path) = item.text.strip_prefix("pub use ") {
                let path = path.trim_end_matches(';');
                let ours = if path.starts_with("crate::") {
                    path.to_owned()
                } else {
                    format!("crate::{room}::{path}")
                };
                found.extend(self.exported(&ours));
            } else if item.text.starts_with("pub ") && !item.name.is_empty() {
                found.push((item.name.clone(), room.to_owned(), item.name));
            }
        }
        found
    }

    /// Writes what a caller can write of a name.
    fn describe(&mut self, room: &str, name: &str, out: &mut String) {
        let items: Vec<Item> = self.room(room).values().flatten().cloned().collect();
        let defined = items.iter().filter(|it| it.name == name && it.is_public());
        let defined: Vec<&Item> = defined.collect();
        if defined.is_empty() {
            // Passed on from another room.
            let tail = format!("::{name};");
            let passed = items.iter().find_map(|it| {
                it.text.strip_prefix("pub use crate::").filter(|path| path.ends_with(&tail))
            });
            let path = passed.unwrap_or_else(|| panic!("{name} is not defined in {room}"));
            let room = path.split("::").next().unwrap().to_owned();
            return self.describe(&room, name, out);
        }
        let mut lines: Vec<String> = Vec::new();
        for item in defined {
            lines.push(item.text.clone());
            lines.extend(item.members.iter().map(|it| format!("    {it}")));
            let by = item.text.strip_prefix("pub, as ").and_then(|it| it.split(' ').next());
            for written in items.iter().filter(|it| by == Some(&*it.name)) {
                lines.extend(written.members.iter().map(|it| format!("    {it}")));
            }
        }
        let mut implemented: Vec<String> = items
            .iter()
            .filter(|it| it.of == name)
            .flat_map(|it| {
                let head = it.text.contains(" for ").then(|| it.text.clone());
                head.into_iter().chain(it.members.iter().map(|it| format!("    {it}")))
            })
            .collect();
        implemented.sort();
        lines.append(&mut implemented);
        for line in lines {
            writeln!(out, "  {line}").unwrap();
        }
    }
}

fn public() -> String {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Sources(src.clone(), BTreeMap::new());
    let mut names = BTreeMap::new();
    for (module, path) in items::exports(&fs::read_to_string(src.join("lib.rs")).unwrap()) {
        if module.split("::").any(|it| LEFT_OUT.contains(&it)) {
            continue;
        }
        for (name, room, defined) in sources.exported(&path) {
            let place =
                if module.is_empty() { "amikit".into() } else { format!("amikit::{module}") };
            names.insert(format!("{place}::{name}"), (room, defined));
        }
    }
    let mut text = String::new();
    for (name, (room, defined)) in names {
        writeln!(text, "{name}").unwrap();
        sources.describe(&room, &defined, &mut text);
    }
    text
}

#[test]
fn the_public_interface_is_the_one_that_was_looked_at() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/api/public.txt");
    let now = public();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let then = fs::read_to_string(&path).unwrap();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (then, now) = (lines(&then), lines(&now));
    if let Some(at) = then.iter().zip(&now).position(|(a, b)| a != b) {
        let name = now[..at].iter().rev().find(|it| !it.starts_with(' '));
        panic!("{name:?} was\n{}\nand is\n{}\nBLESS=1 takes it over", then[at], now[at]);
    }
    assert_eq!(then.len(), now.len(), "names were added or removed at the end");
}
