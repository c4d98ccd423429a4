//! Items of a source file as rustfmt writes them: what stands at the beginning of a line is an item, and what stands four
//! blanks in is a member of it.

/// An item of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Item {
    /// Its name; none of an implementation.
    pub(super) name: String,
    /// The type that an implementation is for.
    pub(super) of: String,
    /// Its head, with the attributes that matter to a caller.
    pub(super) text: String,
    /// Fields, variants, and heads of functions, as far as others see them.
    pub(super) members: Vec<String>,
}

impl Item {
    /// Tells whether more than its own crate may see it, if it is exported.
    pub(super) fn is_public(&self) -> bool {
        self.text.contains("pub ") || self.text.starts_with("pub, ")
    }
}

/// What stands before the name of an item.
const KINDS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"];

/// Attributes that matter to a caller.
const ATTRIBUTES: [&str; 4] = ["#[derive(", "#[non_exhaustive]", "#[cfg(", "#[deprecated"];

/// Lists the items of a file but for its tests.
pub(super) fn items(text: &str) -> Vec<Item> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let (mut at, mut attributes) = (0, String::new());
    while at < lines.len() {
        let line = lines[at];
        if line.is_empty() || line.starts_with([' ', '}', ')', ']']) || line.starts_with("//") {
            at += 1;
            continue;
        }
        if line.starts_with('#') {
            let (attribute, next) = joined(&lines, at, |it| it.ends_with(']'));
            if ATTRIBUTES.iter().any(|it| attribute.starts_with(it)) {
                attributes += &attribute;
                attributes.push(' ');
            }
            at = next;
            continue;
        }
        let (head, next) = joined(&lines, at, |it| it.ends_with(['{', ';', '}', '[', '(']));
        let opens = head.ends_with('{');
        let end = if opens {
            (next..lines.len()).find(|at| lines[*at] == "}").unwrap_or(lines.len())
        } else {
            next
        };
        let for_tests = attributes.contains("#[cfg(test)]");
        let body = &lines[next.min(end)..end];
        if let Some(name) = head.strip_prefix("macro_rules! ") {
            // What it writes for each name that it is given, and a constant whose name it has itself.
            let lines = body.iter().map(|it| it.trim()).filter(|it| it.starts_with("pub "));
            found.extend(lines.clone().map(|it| item("", it, &[])));
            let name = format!("{}!", name.trim_end_matches([' ', '{']));
            let members = lines.map(|it| item("", it, &[]).text).collect();
            found.push(Item { name, members, ..Item::default() });
        } else if let Some((name, "{")) = head.split_once("! ") {
            let text = format!("pub, as {name}! writes it");
            let members = members(body, |_| true);
            let first = members.first().and_then(|it| it.split(',').next()).unwrap_or_default();
            found.push(Item { name: first.to_owned(), of: String::new(), text, members });
        } else if !for_tests {
            found.push(item(&attributes, &head, body));
        }
        attributes.clear();
        at = if opens { end + 1 } else { next };
    }
    found
}

/// Joins lines from `at` on until one satisfies `last`, and returns the next place.
fn joined(lines: &[&str], at: usize, last: impl Fn(&str) -> bool) -> (String, usize) {
    let end = (at..lines.len()).find(|at| last(lines[*at])).unwrap_or(lines.len() - 1);
    let parts: Vec<_> = lines[at..=end].iter().map(|it| it.trim()).collect();
    (parts.join(" "), end + 1)
}

fn item(attributes: &str, head: &str, body: &[&str]) -> Item {
    // What a constant is counts for its callers; its type is what they write.
    let shown = head.split(" = ").next().unwrap().trim_end_matches(['{', ';', '}']).trim_end();
    let words: Vec<&str> = shown.split([' ', '(', '<', ':']).filter(|it| !it.is_empty()).collect();
    let kind = words.iter().position(|it| KINDS.contains(it));
    if head.starts_with("impl") {
        let of = implemented(shown);
        let foreign = shown.contains(" for ");
        let members = if foreign { Vec::new() } else { members(body, |it| it.starts_with("pub ")) };
        return Item { of, text: shown.to_owned(), members, ..Item::default() };
    }
    let name = kind.and_then(|at| words.get(at + 1)).map(|it| (*it).to_owned());
    let is = |what| kind.is_some_and(|at| words[at] == what);
    let members = if is("enum") || is("trait") {
        members(body, |_| true)
    } else if is("struct") {
        members(body, |it| it.starts_with("pub "))
    } else {
        Vec::new()
    };
    let text = match shown.split_once('(') {
        _ if head.starts_with("pub use ") => head.to_owned(),
        // Fields without a name that nobody else sees.
        Some((before, fields)) if is("struct") && !fields.contains("pub ") => {
            format!("{before}(..)")
        }
        _ => shown.to_owned(),
    };
    let text = format!("{attributes}{text}");
    Item { name: name.unwrap_or_default(), of: String::new(), text, members }
}

/// Returns the name of the type that an implementation is for.
fn implemented(head: &str) -> String {
    let mut rest = head.strip_prefix("impl").unwrap();
    if rest.starts_with('<') {
        let mut depth = 0;
        let end = rest.char_indices().find(|(at, c)| {
            // The head of an arrow is no bracket.
            let arrow = *c == '>' && rest[..*at].ends_with('-');
            depth += i32::from(*c == '<') - i32::from(*c == '>' && !arrow);
            depth == 0
        });
        rest = &rest[end.map_or(0, |(at, _)| at + 1)..];
    }
    let of = rest.rsplit(" for ").next().unwrap().split(" where ").next().unwrap().trim();
    let path = of.split('<').next().unwrap();
    path.rsplit("::").next().unwrap().to_owned()
}

/// Lists what stands four blanks in and is `wanted`, without the bodies of functions.
fn members(body: &[&str], wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let (mut at, mut hidden) = (0, false);
    while at < body.len() {
        let line = body[at];
        let inner = line.strip_prefix("    ").filter(|it| !it.starts_with([' ', '}', ')', ']']));
        let Some(inner) = inner.filter(|it| !it.starts_with("//") && !it.is_empty()) else {
            at += 1;
            continue;
        };
        if inner.starts_with('#') {
            let (attribute, next) = joined(body, at, |it| it.ends_with(']'));
            hidden |= attribute == "#[cfg(test)]";
            at = next;
            continue;
        }
        let is_function = inner.split_whitespace().take(5).any(|it| it == "fn");
        let (member, next) = if is_function {
            joined(body, at, |it| it.ends_with(['{', ';', '}']))
        } else {
            // A field, or a variant with fields of its own, ends at its comma.
            let end = |it: &str| {
                let level = it.len() - it.trim_start().len();
                level == 4 && it.ends_with([',', ';', '{'])
            };
            let (head, next) = joined(body, at, end);
            if head.ends_with('{') {
                let (all, next) = joined(body, at, |it| it == "    }," || it == "    }");
                (without_comments(&all, &body[at..next]), next)
            } else {
                (head, next)
            }
        };
        if wanted(inner) && !hidden {
            found.push(member.trim_end_matches(['{', ';', ',', ' ']).to_owned());
        }
        hidden = false;
        at = next;
    }
    found
}

/// Joins the lines of a variant without what is said of its fields.
fn without_comments(_all: &str, lines: &[&str]) -> String {
    let parts = lines.iter().map(|it| it.trim()).filter(|it| !it.starts_with(['/', '#']));
    parts.collect::<Vec<_>>().join(" ")
}

/// Lists the exports of a crate's root: the module in which each stands, and its path.
pub(super) fn exports(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut modules: Vec<(usize, String)> = Vec::new();
    for line in text.lines() {
        let level = line.len() - line.trim_start().len();
        let inner = line.trim();
        if inner == "}" {
            modules.retain(|(at, _)| *at < level);
        } else if let Some(name) =
            inner.strip_prefix("pub mod ").and_then(|it| it.strip_suffix(" {"))
        {
            modules.push((level, name.to_owned()));
        } else if let Some(path) = inner.strip_prefix("pub use ") {
            let names: Vec<_> = modules.iter().map(|(_, name)| name.as_str()).collect();
            found.push((names.join("::"), path.trim_end_matches(';').to_owned()));
        }
    }
    found
}

#[test]
fn items_are_read_as_rustfmt_writes_them() {
    let text = r"
//! A file.
use std::fs;

/// A thing.
#[derive(Clone)]
#[non_exhaustive]
pub struct Thing<'a> {
    /// Seen.
    pub seen: &'a str,
    hidden: u8,
}

impl<'a, F: Fn(u8) -> u8> Thing<'a> {
    /// Does it.
    pub fn does(
        &self,
        what: F,
    ) -> u8 {
        what(1)
    }

    fn private(&self) {}
}

impl std::fmt::Debug for Thing<'_> {
    fn fmt(&self) {}
}

pub enum Way {
    /// One.
    One,
    Two {
        /// Field.
        field: u8,
    },
    Three(u8),
}

pub const MOST: u8 = 3;

#[cfg(test)]
mod tests {
    pub fn none() {}
}
";
    let found = items(text);
    let of = |at: usize| (found[at].text.as_str(), found[at].members.clone());
    assert_eq!(
        of(1),
        (
            "#[derive(Clone)] #[non_exhaustive] pub struct Thing<'a>",
            vec!["pub seen: &'a str".into()]
        )
    );
    assert_eq!(found[2].of, "Thing");
    assert_eq!(found[2].members, ["pub fn does( &self, what: F, ) -> u8"]);
    assert_eq!((found[3].of.as_str(), found[3].members.len()), ("Thing", 0));
    assert_eq!(found[4].members, ["One", "Two { field: u8, }", "Three(u8)"]);
    assert_eq!((found[5].name.as_str(), found[5].text.as_str()), ("MOST", "pub const MOST: u8"));
    assert_eq!(found.len(), 6);
}
