//! What can be wrong with a recipe before any rule looks at it.

use thiserror::Error;

use crate::error::Advice;
use crate::error::Fault;
use crate::error::Kind;

/// What is wrong with a recipe.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecipeFault {
    /// The text is not a recipe.
    #[error("line {line}, column {column}: {text}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Character of the line, from 1.
        column: usize,
        /// What is wrong there.
        text: String,
    },
    /// The version is another one.
    #[error("version is {found}, expected 1")]
    Version {
        /// Version found.
        found: i64,
    },
    /// A template has no value.
    #[error("template {{{name}}} has no value")]
    NoValue {
        /// Its name.
        name: String,
    },
    /// A brace does not belong to a template.
    #[error("a brace in {text:?} is not part of a template, expected {{{{ or }}}} for a plain one")]
    Brace {
        /// The text around it.
        text: String,
    },
    /// A volume is made of an image and of a snapshot.
    #[error("volume {device} has image and snapshot-id, expected one of them")]
    TwoSources {
        /// Its device.
        device: String,
    },
    /// A waiver has no reason.
    #[error("the waiver of {rule} has no reason, expected why the rule may be broken")]
    NoReason {
        /// The rule.
        rule: String,
    },
    /// A waiver has no day on which it ends.
    #[error("the waiver of {rule} ends on {found:?}, expected a day as 2027-06-30")]
    WaiverDay {
        /// The rule.
        rule: String,
        /// What was found.
        found: String,
    },
    /// A volume says how to read an image, and names none.
    #[error("volume {device} says how to read an image, expected image beside it")]
    NoImage {
        /// Its device.
        device: String,
    },
}

impl Fault for RecipeFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Version { .. } => Kind::Unsupported,
            _ => Kind::Invalid,
        }
    }
}

impl RecipeFault {
    /// Returns what the user can do, where that is more than to change the recipe.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::NoValue { name } => Some(Advice::FillTemplate { name: name.clone() }),
            _ => None,
        }
    }
}
