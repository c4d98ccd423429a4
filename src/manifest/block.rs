//! What one block of a snapshot is.

use std::sync::OnceLock;

use crate::digest::Digest;
use crate::digest::sha256;
use crate::units::BLOCK_LEN;
use crate::units::ExtentKind;

/// Returns the digest of a block of zeros: that of every zero block.
#[must_use]
pub fn zero_block_digest() -> Digest {
    static DIGEST: OnceLock<Digest> = OnceLock::new();
    *DIGEST.get_or_init(|| sha256(&vec![0; BLOCK_LEN]))
}

/// What a block of a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Its bytes are the chunk of this id.
    Data(Digest),
    /// Written zeros.
    Zero,
    /// Nobody ever wrote.
    Hole,
}

impl Block {
    /// Returns the digest that a written block has in EBS's eyes.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Data(digest) => Some(*digest),
            Self::Zero => Some(zero_block_digest()),
            Self::Hole => None,
        }
    }

    /// Returns the block's state.
    #[must_use]
    pub fn kind(&self) -> ExtentKind {
        match self {
            Self::Data(_) => ExtentKind::Data,
            Self::Zero => ExtentKind::Zero,
            Self::Hole => ExtentKind::Hole,
        }
    }
}
