//! The treemap: who owns the bytes, as rectangles in rectangles.

use std::collections::BTreeMap;

use crate::picture::Rect;
use crate::picture::squarify;
use crate::report::document::PathFacts;
use crate::report::places::Category;

/// Size of the map.
pub(super) const ROOM: Rect = Rect { x: 0, y: 0, width: 1600, height: 900 };

/// Smallest rectangle that is divided or drawn by itself, by its edges.
const LEAST_EDGE: u64 = 12;

/// Height of the name above what a directory holds.
const HEAD: u64 = 26;

/// Smallest rectangle with a name above what it holds.
const NAMED: (u64, u64) = (90, 70);

/// Most rectangles of a page.
const MOST: usize = 500;

/// One rectangle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) rect: Rect,
    pub(super) category: Category,
    /// How deep it lies.
    pub(super) depth: usize,
    /// The whole name, for who points at it.
    pub(super) path: String,
    /// What is written on it.
    pub(super) label: String,
    pub(super) bytes: u64,
}

/// What a rectangle stands for.
#[derive(Clone, Debug)]
struct Node {
    path: String,
    label: String,
    category: Category,
    bytes: u64,
    below: Vec<Node>,
}

/// Lays out the owners: what belongs to files, by directories, and each class that belongs to none.
///
/// `folders` and `files` are the largest of each; a directory is at least as large as what is in it.
pub(super) fn tiles(
    folders: &[PathFacts],
    files: &[PathFacts],
    classes: &[(Category, &'static str, u64)],
) -> Vec<Tile> {
    let mut top: Vec<Node> = tree(folders, files).into_iter().collect();
    top.extend(classes.iter().filter(|(_, _, bytes)| *bytes > 0).map(|(category, name, bytes)| {
        let (path, label) = ((*name).to_owned(), (*name).to_owned());
        Node { path, label, category: *category, bytes: *bytes, below: Vec::new() }
    }));
    draw(top, ROOM)
}

/// Lays out what has no parts of its own.
pub(super) fn flat(owners: Vec<(Category, String, u64)>) -> Vec<Tile> {
    let node = |(category, label, bytes): (Category, String, u64)| Node {
        path: label.clone(),
        label,
        category,
        bytes,
        below: Vec::new(),
    };
    draw(owners.into_iter().filter(|owner| owner.2 > 0).map(node).collect(), ROOM)
}

fn parent(path: &str) -> Option<&str> {
    let (folder, name) = path.rsplit_once('/')?;
    match (folder, name) {
        (_, "") => None,
        ("", _) => Some("/"),
        (folder, _) => Some(folder),
    }
}

/// Makes a tree of directories and files; those whose directory is not among the largest are in what is left of the
/// next one that is.
fn tree(folders: &[PathFacts], files: &[PathFacts]) -> Option<Node> {
    let mut below: BTreeMap<&str, Vec<(&PathFacts, bool)>> = BTreeMap::new();
    for (list, is_folder) in [(folders, true), (files, false)] {
        for path in list.iter().filter(|it| it.bytes > 0) {
            if let Some(parent) = parent(&path.path) {
                below.entry(parent).or_default().push((path, is_folder));
            }
        }
    }
    let root = folders.iter().find(|it| it.path == "/" && it.bytes > 0)?;
    Some(node(root, true, &below, 0))
}

/// Deepest directory that is divided: the smallest edge stops most of them before.
const MOST_DEPTH: usize = 24;

fn node(
    of: &PathFacts,
    is_folder: bool,
    all: &BTreeMap<&str, Vec<(&PathFacts, bool)>>,
    depth: usize,
) -> Node {
    let label = of.path.rsplit_once('/').map_or(of.path.as_str(), |(_, name)| name);
    let label = if label.is_empty() { "/" } else { label };
    let below = all.get(of.path.as_str()).filter(|_| is_folder && depth < MOST_DEPTH);
    let mut below: Vec<Node> = below
        .into_iter()
        .flatten()
        .map(|(path, is_folder)| node(path, *is_folder, all, depth.strict_add(1)))
        .collect();
    let known = below.iter().fold(0_u64, |sum, it| sum.saturating_add(it.bytes));
    let rest = of.bytes.saturating_sub(known);
    if rest > 0 && !below.is_empty() {
        let path = format!("the rest of {}", of.path);
        let category = Category::Files;
        below.push(Node { path, label: "…".into(), category, bytes: rest, below: Vec::new() });
    }
    let (path, label) = (of.path.clone(), label.to_owned());
    Node { path, label, category: Category::Files, bytes: of.bytes, below }
}

/// Draws the largest rectangle next, so that a limit leaves out the smallest ones and not the last. What holds another
/// is larger, and so drawn before it.
fn draw(top: Vec<Node>, room: Rect) -> Vec<Tile> {
    let mut found = Vec::new();
    let mut left = divided(top, room, 0);
    let area = |rect: &Rect| rect.width.strict_mul(rect.height);
    while let Some(next) = (0..left.len()).max_by_key(|at| area(&left[*at].0)) {
        if found.len() >= MOST {
            break;
        }
        let (rect, depth, node) = left.swap_remove(next);
        let Node { path, label, category, bytes, below } = node;
        found.push(Tile { rect, category, depth, path, label, bytes });
        let is_named = rect.width >= NAMED.0 && rect.height >= NAMED.1;
        if !below.is_empty() && is_named {
            let inner = Rect {
                x: rect.x.strict_add(4),
                y: rect.y.strict_add(HEAD),
                width: rect.width.strict_sub(8),
                height: rect.height.strict_sub(HEAD.strict_add(4)),
            };
            left.extend(divided(below, inner, depth.strict_add(1)));
        }
    }
    found
}

/// Divides a room among nodes; those that are too small to be seen are left out.
fn divided(mut nodes: Vec<Node>, room: Rect, depth: usize) -> Vec<(Rect, usize, Node)> {
    nodes.retain(|node| node.bytes > 0);
    nodes.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    let bytes: Vec<u64> = nodes.iter().map(|node| node.bytes).collect();
    let rects = squarify(&bytes, room).into_iter();
    let placed = rects.zip(nodes).map(|(rect, node)| (rect, depth, node));
    let is_seen = |rect: &Rect| rect.width >= LEAST_EDGE / 4 && rect.height >= LEAST_EDGE / 4;
    placed.filter(|(rect, ..)| is_seen(rect)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str, bytes: u64) -> PathFacts {
        PathFacts {
            path: path.into(),
            change: None,
            bytes,
            changed_blocks: None,
            sole_blocks: None,
        }
    }

    #[test]
    fn directories_hold_what_is_in_them_and_the_rest() {
        let folders = [path("/", 100), path("/usr", 90), path("/usr/lib", 60)];
        let files = [path("/usr/lib/a", 50), path("/boot", 10)];
        let tiles =
            tiles(&folders, &files, &[(Category::Free, "free", 50), (Category::Boot, "x", 0)]);
        let named = |name: &str| tiles.iter().find(|tile| tile.path == name).unwrap();
        let area = |tile: &Tile| tile.rect.width.strict_mul(tile.rect.height);
        assert!(area(named("/")).abs_diff(area(named("free")).strict_mul(2)) < 4000);
        assert_eq!(named("/usr/lib").depth, 2);
        assert_eq!((named("/usr/lib/a").label.as_str(), named("/usr/lib/a").bytes), ("a", 50));
        assert_eq!(named("the rest of /usr").bytes, 30);
        assert_eq!(named("the rest of /usr/lib").bytes, 10);
        assert!(!tiles.iter().any(|tile| tile.path == "x" || tile.path == "the rest of /"));
        // What lies in a directory is drawn inside it.
        let (outer, inner) = (named("/usr").rect, named("/usr/lib").rect);
        assert!(inner.x > outer.x && inner.y >= outer.y.strict_add(HEAD));
        assert!(inner.x.strict_add(inner.width) < outer.x.strict_add(outer.width));
    }

    /// A directory of very many files takes no place away from larger things.
    #[test]
    fn what_is_left_out_is_the_smallest() {
        let folders = [path("/", 3_000_000), path("/many", 2_000_000), path("/var", 1_000_000)];
        let files: Vec<_> = (0..2000)
            .map(|number| path(&format!("/many/{number}"), 1000))
            .chain([path("/var/large", 900_000)])
            .collect();
        let tiles = tiles(&folders, &files, &[(Category::Free, "free", 1_000_000)]);
        assert_eq!(tiles.len(), MOST);
        for name in ["/", "/many", "/var", "/var/large", "free"] {
            assert!(tiles.iter().any(|tile| tile.path == name), "{name}");
        }
    }

    #[test]
    fn however_many_there_are_the_page_stays_small() {
        let folders: Vec<_> = std::iter::once(path("/", 2_000_000))
            .chain((0..2000).map(|number| path(&format!("/{number}"), 1000)))
            .collect();
        assert!(tiles(&folders, &[], &[]).len() <= MOST);
        assert!(tiles(&[], &[], &[]).is_empty());
    }
}
