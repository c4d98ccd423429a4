//! Reading EC2's JSON member by member: what is strange is put aside with its place, and reading goes on.
//!
//! A live service answers with members and values that no program has seen yet, and a person's call has
//! slips of the pen. Neither may hide what else is there.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::str::FromStr;

use serde_json::Map;
use serde_json::Value;

use crate::ami::AmiFault;

/// Why something could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// A value that EC2's model does not have for the member.
    Value,
    /// A member that EC2's model does not have there.
    Member,
    /// An empty text, which is not a value.
    Empty,
    /// Tags for a kind of resource that the call does not make.
    Resource,
}

/// Something in a document that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Why.
    pub oddity: Oddity,
    /// Where it is, as in `BlockDeviceMappings[1].Ebs.VolumeType`.
    pub place: String,
    /// What is there.
    pub found: String,
    /// What could be there.
    pub expected: String,
}

/// Longest value that is shown of something strange.
const SHOWN_LEN: usize = 60;

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_LEN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What was put aside while a document was read.
#[derive(Debug, Default)]
pub(super) struct Aside(RefCell<Vec<Unread>>);

impl Aside {
    pub(super) fn push(&self, oddity: Oddity, place: String, found: String, expected: &str) {
        self.0.borrow_mut().push(Unread { oddity, place, found, expected: expected.to_owned() });
    }

    pub(super) fn into_vec(self) -> Vec<Unread> {
        self.0.into_inner()
    }
}

/// The members of one object.
pub(super) struct Members<'a> {
    place: String,
    object: &'a Map<String, Value>,
    aside: &'a Aside,
    seen: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Members<'a> {
    /// Takes an object; `place` is empty for the outermost one.
    pub(super) fn new(place: &str, object: &'a Map<String, Value>, aside: &'a Aside) -> Self {
        Self { place: place.to_owned(), object, aside, seen: RefCell::default() }
    }

    pub(super) fn place_of(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    fn get(&self, name: &'static str) -> Option<&'a Value> {
        self.seen.borrow_mut().insert(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn strange(&self, name: &str, value: &Value, expected: &str) {
        self.aside.push(Oddity::Value, self.place_of(name), shown(value), expected);
    }

    /// Reads a text, which may be empty.
    pub(super) fn any_text(&self, name: &'static str) -> Option<String> {
        let value = self.get(name)?;
        if value.is_string() {
            return value.as_str().map(str::to_owned);
        }
        self.strange(name, value, "a text");
        None
    }

    /// Reads a text. An empty one is put aside.
    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        let text = self.any_text(name)?;
        if text.is_empty() {
            let expected = "a value, or no such member";
            self.aside.push(Oddity::Empty, self.place_of(name), "\"\"".to_owned(), expected);
            return None;
        }
        Some(text)
    }

    /// Reads one of the values that EC2 knows.
    pub(super) fn value<T: FromStr<Err = AmiFault>>(&self, name: &'static str) -> Option<T> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(fault) => {
                let expected = match fault {
                    AmiFault::Value { expected, .. } => expected.to_owned(),
                    other => other.to_string(),
                };
                self.strange(name, &Value::String(text), &expected);
                None
            }
        }
    }

    pub(super) fn number(&self, name: &'static str) -> Option<u64> {
        let value = self.get(name)?;
        let number = value.as_u64();
        if number.is_none() {
            self.strange(name, value, "a whole number");
        }
        number
    }

    pub(super) fn flag(&self, name: &'static str) -> Option<bool> {
        let value = self.get(name)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.strange(name, value, "true or false");
        }
        flag
    }

    fn array(&self, name: &'static str) -> &'a [Value] {
        match self.get(name) {
            Some(Value::Array(list)) => list,
            Some(value) => {
                self.strange(name, value, "a list");
                &[]
            }
            None => &[],
        }
    }

    /// Reads a list of texts.
    pub(super) fn texts(&self, name: &'static str) -> Vec<String> {
        let mut texts = Vec::new();
        for (number, value) in self.array(name).iter().enumerate() {
            match value {
                Value::String(text) if !text.is_empty() => texts.push(text.clone()),
                other => self.strange(&format!("{name}[{number}]"), other, "a text"),
            }
        }
        texts
    }

    /// Reads a list of objects; whatever `each` does not ask for is put aside.
    pub(super) fn list<R>(&self, name: &'static str, each: impl Fn(&Members<'_>) -> R) -> Vec<R> {
        let mut found = Vec::new();
        for (number, value) in self.array(name).iter().enumerate() {
            let entry = format!("{name}[{number}]");
            match value {
                Value::Object(object) => {
                    let members = Members::new(&self.place_of(&entry), object, self.aside);
                    found.push(each(&members));
                    members.finish();
                }
                other => self.strange(&entry, other, "an object"),
            }
        }
        found
    }

    /// Reads an object; whatever `each` does not ask for is put aside.
    pub(super) fn object<R>(
        &self,
        name: &'static str,
        each: impl FnOnce(&Members<'_>) -> R,
    ) -> Option<R> {
        match self.get(name)? {
            Value::Object(object) => {
                let members = Members::new(&self.place_of(name), object, self.aside);
                let found = each(&members);
                members.finish();
                Some(found)
            }
            other => {
                self.strange(name, other, "an object");
                None
            }
        }
    }

    /// Says that members are known and of no use here.
    pub(super) fn pass_over(&self, names: &[&'static str]) {
        self.seen.borrow_mut().extend(names);
    }

    pub(super) fn put_aside(&self, oddity: Oddity, name: &str, found: &str, expected: &str) {
        self.aside.push(oddity, self.place_of(name), found.to_owned(), expected);
    }

    /// Puts aside what nobody asked for.
    pub(super) fn finish(&self) {
        let seen = self.seen.borrow();
        for (name, value) in self.object {
            if !seen.contains(name.as_str()) && !value.is_null() {
                let place = self.place_of(name);
                self.aside.push(Oddity::Member, place, shown(value), "a member that EC2 has there");
            }
        }
    }
}
