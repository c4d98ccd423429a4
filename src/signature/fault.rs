//! What can be wrong with a signature, a statement or a key.

use crate::error::Fault;
use crate::error::Kind;
use crate::signature::namespace::NAMESPACE;

/// What is wrong with a signature, a statement or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureFault {
    /// A field ends after the bytes do.
    #[error("a field of it is cut short")]
    Cut,
    /// Something stands behind the last field.
    #[error("bytes follow its last field")]
    Trailing,
    /// There is no key of a form that is read.
    #[error("it is not a key, expected one of OpenSSH's: a private key, or a line of a .pub file")]
    Key,
    /// The key is of another algorithm.
    #[error(
        "the key is not ssh-ed25519 or sk-ssh-ed25519@openssh.com, the only types that are taken"
    )]
    KeyType,
    /// The point has small order: anyone can sign for it.
    #[error("the key is a point of small order, which is not safe")]
    WeakKey,
    /// It is not the file of a signature.
    #[error("it is not an SSH signature, expected the form that ssh-keygen -Y sign writes")]
    Armor,
    /// A later version of the form.
    #[error("version of the SSH signature is {found}, expected 1")]
    Version {
        /// The version.
        found: u32,
    },
    /// The signature was made for another purpose.
    #[error("the signature has another namespace, expected {NAMESPACE}")]
    Namespace,
    /// The reserved string is not empty.
    #[error("the reserved field is not empty")]
    Reserved,
    /// The statement is hashed by an algorithm that is not taken.
    #[error("the hash algorithm is not sha512 or sha256")]
    Hash,
    /// The key did not sign these bytes.
    #[error("the signature does not match the statement")]
    Wrong,
    /// Nobody touched the hardware key.
    #[error("the hardware key signed without its owner being present")]
    NotPresent,
    /// A later version of the statement.
    #[error("the statement is of another version, expected amikit.statement.v1")]
    Schema,
    /// It is not a statement in its one form.
    #[error("it is not a statement in its canonical form")]
    Statement,
}

impl Fault for SignatureFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Cut | Self::Trailing | Self::Armor | Self::Statement => Kind::Corrupt,
            Self::Version { .. } | Self::Schema | Self::Hash | Self::KeyType => Kind::Unsupported,
            Self::Key => Kind::Invalid,
            Self::WeakKey | Self::Namespace | Self::Reserved | Self::Wrong | Self::NotPresent => {
                Kind::Mismatch
            }
        }
    }
}
