//! Which file uses which, and the circles among them.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::source::Source;

/// A module: its path from the root of the crate, whose own is empty.
type Module = Vec<String>;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Module(Module),
    /// An item, and the module that defines it.
    Item(Module, String),
}

/// Which of two that have the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Module,
    Item,
}

/// The sources of a crate, by module.
#[derive(Debug, Default)]
pub(super) struct Sources {
    modules: BTreeMap<Module, Source>,
    /// The file that each module stands in, relative to the root's folder.
    files: BTreeMap<Module, String>,
}

/// One file uses another.
pub(super) type Edge = (String, String);

impl Sources {
    /// Takes the sources of a crate by the names of their files: `lib.rs`, `room/mod.rs`, `room/file.rs`.
    pub(super) fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut sources = Self::default();
        for (file, text) in files {
            let name = file.strip_suffix(".rs").expect("a source ends in .rs");
            let name = name.strip_suffix("/mod").unwrap_or(name);
            let module = if name == "lib" {
                Vec::new()
            } else {
                name.split('/').map(str::to_owned).collect()
            };
            sources.add(&module, file, Source::read(text));
        }
        // Tests use everything, and nothing uses them.
        let tests: Vec<Module> = sources
            .modules
            .iter()
            .flat_map(|(module, source)| {
                source
                    .test_modules
                    .iter()
                    .map(|name| [&module[..], std::slice::from_ref(name)].concat())
            })
            .collect();
        let is_test = |it: &Module| tests.iter().any(|test| it.starts_with(test));
        sources.modules.retain(|module, _| !is_test(module));
        sources
    }

    fn add(&mut self, module: &Module, file: &str, mut source: Source) {
        for (name, inner) in std::mem::take(&mut source.inner) {
            self.add(&[&module[..], &[name]].concat(), file, inner);
        }
        self.files.insert(module.clone(), file.to_owned());
        let before = self.modules.insert(module.clone(), source);
        assert!(before.is_none(), "{module:?} stands in two files");
    }

    /// Follows a path that stands in a module; `None` where it leads out of the crate, or is a name
    /// that the module defines. A name may be a module and an item as well: which is wanted?
    fn find(&self, from: &Module, path: &[String], wanted: Wanted, depth: u32) -> Option<Found> {
        assert!(depth < 30, "{path:?} in {from:?} leads to itself");
        let (first, rest) = path.split_first()?;
        let of = |rest: &[String]| if rest.is_empty() { wanted } else { Wanted::Module };
        let mut at = match first.as_str() {
            // Programs, tests and benches call the crate by its name.
            "crate" | "amikit" => Vec::new(),
            "self" => from.clone(),
            "super" => from.split_last()?.1.to_vec(),
            name => match self.name(from, name, of(rest), true, depth)? {
                Found::Module(module) => module,
                item @ Found::Item(..) => return Some(item),
            },
        };
        for (index, segment) in rest.iter().enumerate() {
            if segment == "super" {
                at.pop();
                continue;
            }
            match self.name(&at, segment, of(&rest[index + 1..]), false, depth) {
                Some(Found::Module(module)) => at = module,
                Some(item) => return Some(item),
                None => return Some(Found::Item(at, segment.clone())),
            }
        }
        Some(Found::Module(at))
    }

    /// Looks for what a module, or what stands in it, knows by a name: a module below it, or what it
    /// imports.
    fn name(
        &self,
        module: &Module,
        name: &str,
        wanted: Wanted,
        inside: bool,
        depth: u32,
    ) -> Option<Found> {
        let below = [&module[..], &[name.to_owned()]].concat();
        let below = self.modules.contains_key(&below).then_some(Found::Module(below));
        if wanted == Wanted::Module && below.is_some() {
            return below;
        }
        let source = self.modules.get(module)?;
        if below.is_some() && source.defined.contains(name) {
            return Some(Found::Item(module.clone(), name.to_owned()));
        }
        let mut imports = source.imports.iter().filter(|it| inside || !it.local);
        let import = imports.find(|it| it.name == name);
        import.and_then(|it| self.find(module, &it.path, wanted, depth + 1)).or(below)
    }

    /// Returns the item that a path leads to.
    fn item(&self, from: &Module, path: &[String]) -> Option<Found> {
        self.find(from, path, Wanted::Item, 0)
    }

    fn file(&self, found: &Found) -> Option<&String> {
        match found {
            Found::Module(module) | Found::Item(module, _) => self.files.get(module),
        }
    }

    /// Returns which file uses which.
    pub(super) fn edges(&self) -> BTreeSet<Edge> {
        let mut edges = BTreeSet::new();
        for (module, source) in &self.modules {
            let mut used: Vec<Found> = Vec::new();
            for import in &source.imports {
                let found = self.item(module, &import.path);
                // The root passes the rooms on to tests whole, and uses nothing.
                let all = import.name == "*" && found.is_some();
                assert!(
                    !all || self.files[module] == "lib.rs",
                    "{module:?} imports all of {:?}",
                    import.path
                );
                // What is only passed on is not used here: a file that takes it uses the one it comes from.
                if import.passed_on && !source.words.contains(&import.name) {
                    continue;
                }
                used.extend(found);
            }
            used.extend(source.paths.iter().filter_map(|path| self.item(module, path)));
            // Of a module, the paths say what is used; by itself it is named for visibility.
            used.retain(|it| matches!(it, Found::Item(..)));
            let here = &self.files[module];
            let there = used.iter().filter_map(|found| self.file(found));
            edges.extend(there.filter(|it| *it != here).map(|it| (here.clone(), it.clone())));
        }
        edges.extend(self.calls());
        edges
    }

    /// Methods that a type has in another file than its own are used without a path: a file that
    /// knows the type and calls the name uses them.
    fn calls(&self) -> BTreeSet<Edge> {
        let mut edges = BTreeSet::new();
        for (module, source) in &self.modules {
            let here = &self.files[module];
            for (path, method) in &source.methods {
                let Some(owner @ Found::Item(..)) = self.item(module, path) else { continue };
                let home = self.file(&owner).expect("an item stands in a file");
                if home == here {
                    continue;
                }
                let callers = self.modules.keys().filter(|it| self.calls_one(it, &owner, method));
                let there = callers.map(|it| &self.files[it]).filter(|it| *it != here);
                edges.extend(there.map(|it| (it.clone(), here.clone())));
            }
        }
        edges
    }

    /// Tells whether a module knows a type and calls a method of that name.
    fn calls_one(&self, module: &Module, owner: &Found, method: &str) -> bool {
        let Found::Item(home, name) = owner else { return false };
        let source = &self.modules[module];
        let is_home = home == module;
        let is_owner = |path: &[String]| {
            self.item(module, path).as_ref() == Some(owner)
                || is_home && matches!(path, [one] if one == name || one == "Self")
        };
        let by_type = |path: &Vec<String>| {
            path.split_last().is_some_and(|(last, path)| last == method && is_owner(path))
        };
        let knows = is_home || source.imports.iter().any(|it| is_owner(&it.path));
        knows && source.calls.contains(method) || source.paths.iter().any(by_type)
    }
}

/// Returns the circles: the greatest sets of files of which each uses each, by some way.
pub(super) fn circles(edges: &BTreeSet<Edge>) -> Vec<BTreeSet<String>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in edges {
        next.entry(from).or_default().push(to);
    }
    let reached = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut left = next.get(from).cloned().unwrap_or_default();
        while let Some(file) = left.pop() {
            if seen.insert(file) {
                left.extend(next.get(file).into_iter().flatten());
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        next.keys().map(|file| (*file, reached(file))).collect();
    let mut found = BTreeSet::new();
    for (file, from_here) in &reach {
        if from_here.contains(file) {
            let back = |it: &&&str| reach.get(**it).is_some_and(|more| more.contains(file));
            found.insert(from_here.iter().filter(back).map(|it| (*it).to_owned()).collect());
        }
    }
    found.into_iter().collect()
}
