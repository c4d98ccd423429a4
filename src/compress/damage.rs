//! In which way packed bytes are damaged.

/// In which way packed bytes are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// What they begin with is not the format's header.
    #[error("its header is not valid")]
    Header,
    /// They cannot be decoded.
    #[error("its code is not valid")]
    Code,
    /// They can be decoded, and give other bytes than were packed.
    #[error("its checksum does not match what it holds")]
    Checksum,
    /// They give more or fewer bytes than they say.
    #[error("its content is not as long as it says")]
    Length,
    /// What the end says of the parts before it is something else than they are.
    #[error("its index does not match what it holds")]
    Index,
}
