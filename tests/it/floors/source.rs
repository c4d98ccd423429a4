//! What one source file says of names: what it imports, passes on, defines and uses.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeSet;

use super::tokens::Token;
use super::tokens::tokens;

/// A name that a `use` brings into a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Import {
    /// `*` where all names come.
    pub(super) name: String,
    pub(super) path: Vec<String>,
    /// Others may take the name from here.
    pub(super) passed_on: bool,
    /// It stands in a function, and no other module sees the name.
    pub(super) local: bool,
}

/// A source file, or a module inside of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    pub(super) imports: Vec<Import>,
    /// Items that stand in the module itself.
    pub(super) defined: BTreeSet<String>,
    /// Paths of two segments or more, outside of imports.
    pub(super) paths: BTreeSet<Vec<String>>,
    /// Words outside of imports.
    pub(super) words: BTreeSet<String>,
    /// Methods called by name: `.name(`.
    pub(super) calls: BTreeSet<String>,
    /// Types that have inherent methods here, and the methods.
    pub(super) methods: Vec<(Vec<String>, String)>,
    /// Modules that stand in this file, in braces.
    pub(super) inner: Vec<(String, Source)>,
    /// Modules that stand in files of their own, and are compiled for tests alone.
    pub(super) test_modules: Vec<String>,
}

/// What stands before the name of an item.
const ITEMS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];

impl Source {
    pub(super) fn read(text: &str) -> Self {
        let tokens = tokens(text);
        let mut reader = Reader { tokens: &tokens, at: 0 };
        reader.module()
    }
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn word(&self, ahead: usize) -> Option<&str> {
        self.peek(ahead)?.word()
    }

    fn sign(&self, ahead: usize, sign: char) -> bool {
        self.peek(ahead).is_some_and(|it| it.is(sign))
    }

    /// Reads a module up to its closing brace, or the end.
    fn module(&mut self) -> Source {
        let mut source = Source::default();
        let (mut depth, mut passed_on, mut for_tests) = (0, false, false);
        // Where a statement or item may begin.
        let mut begins = true;
        while let Some(token) = self.peek(0).cloned() {
            if token.is('{') {
                depth += 1;
            } else if token.is('}') {
                if depth == 0 {
                    self.at += 1;
                    return source;
                }
                depth -= 1;
            } else if token.is('#') && self.sign(1, '[') {
                for_tests |= self.attribute(&mut source);
                continue;
            } else if begins && token.is_word("pub") {
                passed_on = true;
                self.at += 1;
                self.skip_parentheses();
                continue;
            } else if begins && token.is_word("use") {
                self.at += 1;
                let how = Import { passed_on, local: depth > 0, ..Import::default() };
                self.import(&mut Vec::new(), &how, &mut source.imports);
                (passed_on, for_tests) = (false, false);
                continue;
            } else if begins && token.is_word("mod") {
                let name = self.word(1).expect("a module has a name").to_owned();
                let inline = self.sign(2, '{');
                self.at += 3;
                if inline {
                    let inner = self.module();
                    if !for_tests {
                        source.inner.push((name, inner));
                    }
                } else if for_tests {
                    source.test_modules.push(name);
                }
                (passed_on, for_tests) = (false, false);
                continue;
            } else if begins && token.is_word("impl") {
                self.implementation(&mut source);
            }
            if depth == 0
                && token.word().is_some_and(|it| ITEMS.contains(&it))
                && let Some(name) = self.word(1)
            {
                source.defined.insert(name.to_owned());
            }
            begins = token.is('{') || token.is('}') || token.is(';') || token.is_word("unsafe");
            if begins && for_tests && !token.is_word("unsafe") {
                for_tests = false;
            }
            passed_on &= !begins;
            self.used(&mut source);
        }
        source
    }

    /// Skips an attribute, whose paths count as well, and tells whether it is `#[cfg(test)]`.
    fn attribute(&mut self, source: &mut Source) -> bool {
        let begin = self.at;
        let mut depth = 0;
        self.at += 1;
        loop {
            depth += i32::from(self.sign(0, '[')) - i32::from(self.sign(0, ']'));
            self.used(source);
            if depth == 0 {
                break;
            }
        }
        let words = self.tokens[begin..self.at].iter().filter_map(Token::word);
        words.eq(["cfg", "test"])
    }

    /// Takes the token, or the path, that comes next.
    fn used(&mut self, source: &mut Source) {
        let Some(word) = self.word(0) else {
            self.at += 1;
            return;
        };
        let mut path = vec![word.to_owned()];
        let behind = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let called = behind.is_some_and(|it| it.is('.'));
        // A path that begins with `::` is of another crate; `<T as Trait>::Name` is found at `Trait`.
        let follows = behind == Some(&Token::Path);
        self.at += 1;
        while self.peek(0) == Some(&Token::Path) && self.word(1).is_some() {
            path.push(self.word(1).unwrap_or_default().to_owned());
            self.at += 2;
        }
        if called {
            source.calls.insert(path.swap_remove(0));
        } else if !follows {
            source.words.insert(path[0].clone());
            if path.len() > 1 {
                source.paths.insert(path);
            }
        }
    }

    /// Reads what stands behind `use`, up to and with its semicolon.
    fn import(&mut self, before: &mut Vec<String>, how: &Import, into: &mut Vec<Import>) {
        let kept = before.len();
        loop {
            if self.sign(0, '{') {
                self.at += 1;
                while !self.sign(0, '}') {
                    self.import(before, how, into);
                }
                self.at += 1;
                break;
            }
            if self.sign(0, '*') {
                self.at += 1;
                into.push(Import { name: "*".to_owned(), path: before.clone(), ..how.clone() });
                break;
            }
            if self.peek(0) == Some(&Token::Path) {
                // `::name` is of another crate: nothing here has an empty name.
                before.push(String::new());
            } else {
                before.push(self.word(0).expect("an import is made of words").to_owned());
                self.at += 1;
            }
            if self.peek(0) == Some(&Token::Path) {
                self.at += 1;
                continue;
            }
            let mut path = before.clone();
            if path.last().is_some_and(|last| last == "self") {
                path.pop();
            }
            let mut name = path.last().cloned().unwrap_or_default();
            if self.peek(0).is_some_and(|it| it.is_word("as")) {
                self.word(1).unwrap_or("_").clone_into(&mut name);
                self.at += 2;
            }
            into.push(Import { name, path, ..how.clone() });
            break;
        }
        before.truncate(kept);
        if self.sign(0, ',') || (kept == 0 && self.sign(0, ';')) {
            self.at += 1;
        }
    }

    fn skip_parentheses(&mut self) {
        if self.sign(0, '(') {
            while !self.sign(0, ')') {
                self.at += 1;
            }
            self.at += 1;
        }
    }

    /// Looks at an `impl`, without taking it: whose methods does it define?
    fn implementation(&self, source: &mut Source) {
        let rest = &self.tokens[self.at + 1..];
        let Some(open) = rest.iter().position(|it| it.is('{')) else { return };
        let mut depth = 0;
        let mut path = Vec::new();
        for (index, token) in rest[..open].iter().enumerate() {
            // An arrow, of a bound that is a function, closes nothing.
            let arrow = index > 0 && rest[index - 1].is('-');
            depth += i32::from(token.is('<')) - i32::from(token.is('>') && !arrow);
            match token {
                Token::Word(word) if word == "for" || word == "where" => break,
                Token::Word(word) if depth == 0 => path.push(word.clone()),
                _ => {}
            }
        }
        if rest[..open].iter().any(|it| it.is_word("for")) || path.is_empty() {
            return;
        }
        let mut depth = 0;
        for (index, token) in rest[open..].iter().enumerate() {
            depth += i32::from(token.is('{')) - i32::from(token.is('}'));
            if depth == 0 {
                break;
            }
            if depth == 1
                && token.is_word("fn")
                && let Some(name) = rest.get(open + index + 1).and_then(Token::word)
            {
                source.methods.push((path.clone(), name.to_owned()));
            }
        }
    }
}

#[test]
fn a_source_says_what_it_imports_and_uses() {
    let source = Source::read(
        "use crate::a::B; pub(crate) use self::c::{D, e::{self, F as G}}; use ::x::Y;
         mod d; #[cfg(test)] mod tests; #[cfg(test)] mod t { use crate::never; }
         mod inside { use super::H; }
         impl<T: P> crate::a::B<T> where T: Q { pub fn go(&self) { a.run(); i::j::<T>(K::L); } }
         impl M for N { fn other() {} } impl<F: Fn(u8) -> W> V<F> { fn call() {} }
         fn f(x: impl O) { use crate::late::R; }",
    );
    let imports: Vec<_> = source
        .imports
        .iter()
        .map(|it| {
            format!("{}={}{}", it.name, it.path.join("::"), if it.passed_on { "!" } else { "" })
        })
        .collect();
    assert_eq!(
        imports,
        [
            "B=crate::a::B",
            "D=self::c::D!",
            "e=self::c::e!",
            "G=self::c::e::F!",
            "Y=::x::Y",
            "R=crate::late::R"
        ]
    );
    let paths: Vec<_> = source.paths.iter().map(|it| it.join("::")).collect();
    assert_eq!(paths, ["K::L", "crate::a::B", "i::j"]);
    assert!(source.calls.contains("run") && source.words.contains("O"));
    assert_eq!(
        source.methods,
        [
            (["crate", "a", "B"].map(str::to_owned).to_vec(), "go".to_owned()),
            (vec!["V".to_owned()], "call".to_owned())
        ]
    );
    assert!(source.imports[5].local && !source.imports[4].local);
    assert!(source.defined.contains("f") && !source.defined.contains("go"));
    assert_eq!(source.test_modules, ["tests"]);
    assert_eq!(source.inner.len(), 1);
    assert_eq!(source.inner[0].1.imports[0].name, "H");
}
