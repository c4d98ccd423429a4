//! What can be wrong with a description that a bundle holds.

use std::fmt;

use crate::error::Fault;
use crate::error::Kind;

/// What is wrong with a description.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AmiFault {
    /// The name has another length or characters than EC2 allows.
    Name {
        /// Name found.
        found: String,
    },
    /// The description is longer than 255 characters.
    Description {
        /// Characters found.
        found: usize,
    },
    /// A value is none that EC2 knows.
    Value {
        /// The member.
        of: &'static str,
        /// Value found.
        found: String,
        /// Values that EC2 knows.
        expected: &'static str,
    },
    /// A member that every description has is left out.
    Missing {
        /// The member.
        what: &'static str,
    },
    /// A device name is none that EC2 takes.
    DeviceName {
        /// Name found.
        found: String,
    },
    /// A device stands twice in the mapping.
    TwoDevices {
        /// Name found.
        found: String,
    },
    /// The root device is not in the mapping.
    NoRoot {
        /// Root device's name.
        root: String,
    },
    /// The mapping is empty, out of order or contradicts a snapshot.
    Mapping {
        /// What is wrong.
        what: &'static str,
    },
    /// A time is none.
    Time {
        /// Text found.
        found: String,
    },
}

impl fmt::Display for AmiFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { found } => write!(
                f,
                "AMI name is {found:?}, expected 3 to 128 of: letters, digits, space and \
                 ()[]./-'@_"
            ),
            Self::Description { found } => {
                write!(f, "description has {found} characters, expected at most 255")
            }
            Self::Value { of, found, expected } => {
                write!(f, "{of} is {found:?}, expected {expected}")
            }
            Self::Missing { what } => write!(f, "{what} is left out"),
            Self::DeviceName { found } => write!(
                f,
                "device name is {found:?}, expected one like /dev/xvda, /dev/sda1 or /dev/sdf"
            ),
            Self::TwoDevices { found } => write!(f, "device {found} is mapped twice"),
            Self::NoRoot { root } => {
                write!(f, "root device {root} is not among the mapped devices")
            }
            Self::Mapping { what } => write!(f, "block device mapping: {what}"),
            Self::Time { found } => {
                write!(f, "time is {found:?}, expected one in UTC such as 2028-01-31T12:00:00Z")
            }
        }
    }
}

impl std::error::Error for AmiFault {}

impl Fault for AmiFault {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}
