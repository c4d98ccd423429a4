//! The house: a room uses lower floors only, and no files use each other in a circle. See
//! `docs/ARCHITECTURE.md`.
#![allow(clippy::arithmetic_side_effects)]

mod graph;
mod source;
mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use self::graph::Edge;
use self::graph::Sources;
use self::graph::circles;

/// Lowest first. Rooms on one floor do not see each other.
const FLOORS: &[&[&str]] = &[
    &["units", "error"],
    &["field", "digest", "compress", "work", "picture"],
    &["io"],
    &["tar", "signature", "http", "tables"],
    &["volume", "manifest", "pack", "ami", "layout"],
    &["format", "chunking", "delta", "bundle", "guest", "recipe", "instance_store", "registry"],
    &["lint", "explain", "calls", "store"],
    &["serve", "aws"],
    &["boot"],
    &["ops"],
    &["report"],
    &["cli"],
];

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// Tells whether a room may use another.
fn may_use(room: &str, used: &str) -> bool {
    room == used || floor_of(used) < floor_of(room) && floor_of(used).is_some()
}

/// Files that are in no room: the face of the library, the program, and pages of documentation.
const OUTSIDE: &[&str] = &["lib.rs", "main.rs", "formats.rs"];

/// Circles that are a recursion of data, each with its reason.
const RECURSION: &[(&str, &str)] = &[
    // Probing knows the table of formats. A file of an archive is an image in any of them, so its bytes are
    // probed, and so are those of a backing file whose format qcow2 does not name.
    ("format/archive.rs", "format/probe.rs"),
    ("format/qcow2/mod.rs", "format/probe.rs"),
];

/// Reads the sources below `src`, by their paths from there.
fn files() -> Vec<(String, String)> {
    fn look(folder: &Path, root: &Path, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, root, files);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    look(&root, &root, &mut files);
    files
}

/// Reads files of the library as Rust does.
fn sources(files: &[(String, String)]) -> Sources {
    let library = files.iter().filter(|(name, _)| name != "main.rs");
    Sources::new(library.map(|(name, text)| (name.as_str(), text.as_str())))
}

/// The uses of the library: of each file of it, those of its files that it uses.
static EDGES: LazyLock<BTreeSet<Edge>> = LazyLock::new(|| sources(&files()).edges());

/// Returns the room that a file stands in.
fn room_of(file: &str) -> &str {
    file.split_once('/').map_or_else(|| file.trim_end_matches(".rs"), |(room, _)| room)
}

/// Returns the uses that go up, or sideways.
fn wrong_ways(edges: &BTreeSet<Edge>) -> Vec<String> {
    let not_root = |file: &str| file != "lib.rs";
    let wrong = |(from, to): &&Edge| not_root(from) && !may_use(room_of(from), room_of(to));
    edges.iter().filter(wrong).map(|(from, to)| format!("{from} uses {to}")).collect()
}

/// Writes each circle with all that its files use of each other.
fn written(edges: &BTreeSet<Edge>) -> Vec<String> {
    circles(edges)
        .into_iter()
        .flat_map(|circle| {
            let inside =
                edges.iter().filter(move |(from, to)| circle.contains(from) && circle.contains(to));
            let lines = inside.map(|(from, to)| format!("(\"{from}\", \"{to}\"),"));
            lines.chain([String::new()]).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn rooms_use_lower_floors_only() {
    let files = files();
    for (file, _) in files.iter().filter(|(name, _)| !OUTSIDE.contains(&name.as_str())) {
        let room = room_of(file);
        assert!(floor_of(room).is_some(), "{room} has no floor: give it one");
    }
    let wrong = wrong_ways(&EDGES);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let all = &*EDGES;
    let is_recursion = |(from, to): &Edge| RECURSION.contains(&(from.as_str(), to.as_str()));
    let mut rest = all.clone();
    rest.retain(|edge| !is_recursion(edge));
    for edge in all.iter().filter(|edge| is_recursion(edge)) {
        let mut more = rest.clone();
        more.insert(edge.clone());
        assert!(circles(&more).len() > circles(&rest).len(), "{edge:?} closes no circle: drop it");
    }
    let found = written(&rest);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_import_is_a_line() {
    let mut wrong = Vec::new();
    for (file, text) in files() {
        let uses = text.lines().filter(|line| {
            let line = line.trim_start();
            line.split_once("use ")
                .is_some_and(|(before, _)| before.is_empty() || before.starts_with("pub"))
                && line.contains('{')
        });
        wrong.extend(uses.map(|line| format!("{file}: {line}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the circles of a small crate, each as its files.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let edges = Sources::new(files.iter().copied()).edges();
    circles(&edges).into_iter().map(|it| it.into_iter().collect::<Vec<_>>().join(" ")).collect()
}

/// The tests above can fail: they see an upward import, and one sideways.
#[test]
fn an_upward_import_is_seen() {
    assert!(!may_use("pack", "ops") && !may_use("bundle", "chunking") && !may_use("io", "volume"));
    assert!(may_use("ops", "bundle") && may_use("io", "error") && may_use("cli", "ops"));
    for text in [
        "use crate::ops::pack;",
        "fn f() { crate::ops::pack(); }",
        "use super::super::ops::pack;",
        "mod inside { use crate::ops::pack as other; }",
        "use crate::ops; fn f() { ops::pack(); }",
    ] {
        let files = [
            ("ops/mod.rs", "mod pack; pub use self::pack::pack;"),
            ("ops/pack.rs", "// crate::cli is only spoken of\npub fn pack() {}"),
            ("io/file.rs", text),
        ];
        assert_eq!(
            wrong_ways(&Sources::new(files).edges()),
            ["io/file.rs uses ops/pack.rs"],
            "{text}"
        );
    }
}

#[test]
fn a_circle_is_seen_by_whatever_way_it_is_closed() {
    let closed = [
        // By paths, from the root and from above, and by way of the module's own name.
        ("mod a; mod b;", "use crate::r::b::B;", "use super::a::A;"),
        ("mod a; mod b;", "use super::b; fn f() { b::f(); }", "fn f() { super::a::f(); }"),
        // Through what the room passes on, under the same name or another.
        ("mod a; mod b; pub use b::B;", "use crate::r::B;", "use crate::r::a::A;"),
        (
            "mod a; mod b; pub use b::B as C; pub use a::A;",
            "use super::C;",
            "fn f() -> super::A {}",
        ),
        // In a macro, and in a function.
        ("mod a; mod b;", "fn f() { m!(super::b::f()); }", "fn f() { use super::a::f; f(); }"),
        // By a method that the type has in another file, of a value and of the type.
        (
            "mod a; mod b;",
            "pub struct A; fn f(a: A) { a.go(); }",
            "use super::a::A; impl A { fn go(&self) {} }",
        ),
        (
            "mod a; mod b;",
            "pub struct A; fn f() { A::go(); }",
            "use super::a::A; impl A { fn go() {} }",
        ),
    ];
    for (room, a, b) in closed {
        let found =
            circles_of(&[("lib.rs", "mod r;"), ("r/mod.rs", room), ("r/a.rs", a), ("r/b.rs", b)]);
        assert_eq!(found, ["r/a.rs r/b.rs"], "{room} {a} {b}");
    }
    // A file and the room that it stands in.
    let found = circles_of(&[
        ("r/mod.rs", "mod a; pub struct R; fn f() { a::f(); }"),
        ("r/a.rs", "use super::R; pub fn f() {}"),
    ]);
    assert_eq!(found, ["r/a.rs r/mod.rs"]);
    // Three in a row.
    let found = circles_of(&[
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::c::C;"),
        ("c.rs", "use crate::a::A;"),
        ("d.rs", "use crate::a::A;"),
    ]);
    assert_eq!(found, ["a.rs b.rs c.rs"]);
}

#[test]
fn what_is_no_circle_is_not_called_one() {
    let found = circles_of(&[
        // The room passes on what its files make, and one of them uses another.
        ("r/mod.rs", "mod a; mod b; pub use a::A; pub use b::B; #[cfg(test)] mod tests;"),
        (
            "r/a.rs",
            "pub struct A { pub(in crate::r) a: u8 } #[cfg(test)] mod tests { use crate::r::B; } /// [`super::b::B`]\n",
        ),
        (
            "r/b.rs",
            "use super::A; pub struct B; impl std::fmt::Debug for B { fn go(a: A) { a.go() } }",
        ),
        ("r/tests.rs", "use super::A; use super::B;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

/// Unsafe code stands where its proofs are, and nowhere else: in two rooms, and in the program, which looks
/// at standard output before Rust's runtime does.
#[test]
fn unsafe_stands_in_two_rooms_and_the_program() {
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
    found.retain(|path| {
        let known = ["src/io/system/linux/map.rs", "src/main.rs"];
        !known.iter().any(|it| path.ends_with(it)) && !path.contains("src/digest/lanes/")
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}
