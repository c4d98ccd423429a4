//! Names of a volume's parts, as the user gives them.

use std::fmt;

use crate::guest::fstab::is_logical;
use crate::guest::survey::Part;

/// One of a volume's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartName {
    /// A partition, by its number in the table.
    Number(u32),
    /// A logical volume: `group/name`, or the name of its device, with `/dev/` in front or without.
    Logical(String),
}

impl PartName {
    /// Takes digits for a number, and anything else for a logical volume.
    #[must_use]
    pub fn new(name: &str) -> Self {
        match name.parse() {
            Ok(number) => Self::Number(number),
            Err(_) => Self::Logical(name.to_owned()),
        }
    }

    /// Tells whether it names a part. The number of a partition names the logical volumes on it, too.
    #[must_use]
    pub fn is(&self, part: &Part<'_>) -> bool {
        match (self, &part.logical) {
            (Self::Number(number), _) => part.number == Some(*number),
            (Self::Logical(name), Some(logical)) => {
                let device = name.strip_prefix("/dev/").unwrap_or(name);
                is_logical(device.as_bytes(), &logical.name)
            }
            (Self::Logical(_), None) => false,
        }
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "partition {number}"),
            Self::Logical(name) => write!(f, "logical volume {}", name.escape_debug()),
        }
    }
}
