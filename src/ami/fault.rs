//! What can be wrong with a description that a bundle holds.

use thiserror::Error;

use crate::error::Fault;
use crate::error::Kind;

/// What is wrong with a description.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AmiFault {
    /// The name has another length or characters than EC2 allows.
    #[error("AMI name is {found:?}, expected 3 to 128 of: letters, digits, space and ()[]./-'@_")]
    Name {
        /// Name found.
        found: String,
    },
    /// The description is longer than 255 characters.
    #[error("description has {found} characters, expected at most 255")]
    Description {
        /// Characters found.
        found: usize,
    },
    /// A value is none that EC2 knows.
    #[error("{of} is {found:?}, expected {expected}")]
    Value {
        /// The member.
        of: &'static str,
        /// Value found.
        found: String,
        /// Values that EC2 knows.
        expected: &'static str,
    },
    /// A member that every description has is left out.
    #[error("{what} is missing")]
    Missing {
        /// The member.
        what: &'static str,
    },
    /// A device name is none that EC2 takes.
    #[error("device name is {found:?}, expected one like /dev/xvda, /dev/sda1 or /dev/sdf")]
    DeviceName {
        /// Name found.
        found: String,
    },
    /// A device stands twice in the mapping.
    #[error("device {found} is mapped twice")]
    TwoDevices {
        /// Name found.
        found: String,
    },
    /// The root device is not in the mapping.
    #[error("root device {root} is not among the mapped devices")]
    NoRoot {
        /// Root device's name.
        root: String,
    },
    /// The mapping is empty, out of order or contradicts a snapshot.
    #[error("block device mapping: {what}")]
    Mapping {
        /// What is wrong.
        what: &'static str,
    },
    /// A time is none.
    #[error("time is {found:?}, expected one in UTC such as 2028-01-31T12:00:00Z")]
    Time {
        /// Text found.
        found: String,
    },
}

impl Fault for AmiFault {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}
