//! What can be wrong with a recipe before any rule looks at it.

use std::fmt;

use crate::error::Fault;
use crate::error::Kind;

/// What is wrong with a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecipeFault {
    /// The text is no recipe.
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Character of the line, from 1.
        column: usize,
        /// What is wrong there.
        text: String,
    },
    /// The version is another one.
    Version {
        /// Version found.
        found: u32,
    },
    /// A template has no value.
    NoValue {
        /// Its name.
        name: String,
    },
    /// A brace does not belong to a template.
    Brace {
        /// The text around it.
        text: String,
    },
    /// A volume is made of an image and of a snapshot.
    TwoSources {
        /// Its device.
        device: String,
    },
    /// A volume says how to read an image, and names none.
    NoImage {
        /// Its device.
        device: String,
    },
}

impl fmt::Display for RecipeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { line, column, text } => {
                write!(f, "line {line}, column {column}: {text}")
            }
            Self::Version { found } => write!(f, "version is {found}, expected 1"),
            Self::NoValue { name } => {
                write!(f, "template {{{name}}} has no value; give it with --set {name}=VALUE")?;
                match name.as_str() {
                    "date" => f.write_str(", or today's with --date"),
                    "git" => f.write_str(", or the commit's with --git"),
                    "arch" => f.write_str(", or name the architecture"),
                    _ => Ok(()),
                }
            }
            Self::Brace { text } => {
                write!(f, "a brace in {text:?} is no template; write {{{{ or }}}} for one")
            }
            Self::TwoSources { device } => {
                write!(f, "volume {device} has image and snapshot-id, expected one of them")
            }
            Self::NoImage { device } => {
                write!(f, "volume {device} says how to read an image, expected image beside it")
            }
        }
    }
}

impl std::error::Error for RecipeFault {}

impl Fault for RecipeFault {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}
