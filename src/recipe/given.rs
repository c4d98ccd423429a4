//! Values that EC2 knows, as they stand in a recipe: a strange one is found beside whatever else is wrong.

use std::cell::RefCell;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use toml::Spanned;

use crate::ami::AmiFault;
use crate::ami::Oddity;
use crate::ami::Unread;

/// A text that should be one of EC2's values.
#[derive(Clone, Debug)]
pub(super) enum Given<T> {
    /// It is one.
    Known(T),
    /// It is not.
    Strange {
        /// The text.
        found: String,
        /// What it could be.
        expected: String,
    },
}

impl<'de, T: FromStr<Err = AmiFault>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.parse() {
            Ok(value) => Self::Known(value),
            Err(AmiFault::Value { expected, .. }) => {
                Self::Strange { found: text, expected: expected.to_owned() }
            }
            Err(_) => {
                let expected = "a time in UTC such as 2028-01-31T12:00:00Z".to_owned();
                Self::Strange { found: text, expected }
            }
        })
    }
}

/// A member that may be left out, with its place in the recipe.
pub(super) type Member<T> = Option<Spanned<Given<T>>>;

/// Returns line and column of a byte of `text`, both from 1.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or_default();
    let line = before.matches('\n').count().strict_add(1);
    let column = before.chars().rev().take_while(|c| *c != '\n').count().strict_add(1);
    (line, column)
}

/// What is strange in a recipe.
pub(super) struct Strange<'a> {
    text: &'a str,
    found: RefCell<Vec<Unread>>,
}

impl<'a> Strange<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, found: RefCell::default() }
    }

    /// Returns the value of a member, or puts it aside.
    #[expect(clippy::ref_option, reason = "a member is one as the recipe has it")]
    pub(super) fn take<T: Copy>(&self, name: &str, member: &Member<T>) -> Option<T> {
        let member = member.as_ref()?;
        match member.get_ref() {
            Given::Known(value) => Some(*value),
            Given::Strange { found, expected } => {
                let (line, column) = position(self.text, member.span().start);
                self.found.borrow_mut().push(Unread {
                    oddity: Oddity::Value,
                    place: format!("line {line}, column {column}: {name}"),
                    found: format!("{found:?}"),
                    expected: expected.clone(),
                });
                None
            }
        }
    }

    pub(super) fn into_vec(self) -> Vec<Unread> {
        self.found.into_inner()
    }
}
