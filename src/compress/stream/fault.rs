//! What can be wrong with a compressed stream, and where in it.

use std::fmt;

use crate::compress::Damage;
use crate::compress::stream::step::Wrapping;
use crate::error::Fault;
use crate::error::Kind;

/// What is wrong with a compressed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamFault {
    /// A unit of it breaks its format, or a checksum in it does not fit.
    #[error("{unit} is damaged: {damage}{}", Found { damage: *damage, unit: *unit })]
    Damaged {
        /// In which way.
        damage: Damage,
        /// Which unit.
        unit: DamagedUnit,
    },
    /// It ends in the middle.
    #[error("the {wrapping} stream ends in the middle")]
    Cut {
        /// The format.
        wrapping: Wrapping,
    },
    /// Something else follows.
    #[error("the {wrapping} stream is followed by other bytes, expected another stream or the end")]
    Trailing {
        /// The format.
        wrapping: Wrapping,
    },
    /// It refers further back than is allowed, and so needs more memory.
    #[error(
        "the {wrapping} stream refers back over {needed} bytes, which takes that much memory, \
         expected at most {limit}"
    )]
    Window {
        /// The format.
        wrapping: Wrapping,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are allowed.
        limit: u64,
    },
    /// There is no memory for what it refers back to.
    #[error("there is no memory to unpack the {wrapping} stream")]
    Memory {
        /// The format.
        wrapping: Wrapping,
    },
    /// It was compressed against a dictionary.
    #[error("the {wrapping} frame needs the dictionary with id {id}, which is not in the file")]
    Dictionary {
        /// The format.
        wrapping: Wrapping,
        /// The dictionary's id.
        id: u32,
    },
    /// It uses an unknown filter or check here.
    #[error("the {wrapping} stream uses an unknown filter or check")]
    Options {
        /// The format.
        wrapping: Wrapping,
    },
}

impl StreamFault {
    /// Returns the byte, counted from the start of the compressed stream, at which the fault can be seen,
    /// if that is not where the decoder stopped.
    #[must_use]
    pub fn place(&self) -> Option<u64> {
        match self {
            Self::Damaged { unit, .. } => Some(unit.found),
            _ => None,
        }
    }
}

impl Fault for StreamFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Window { .. } => Kind::Limit,
            Self::Memory { .. } => Kind::Io,
            Self::Dictionary { .. } | Self::Options { .. } => Kind::Unsupported,
            Self::Damaged { .. } | Self::Cut { .. } | Self::Trailing { .. } => Kind::Corrupt,
        }
    }
}

/// The smallest part of a stream that has a checksum of its own, as far as it was read when the damage
/// was found. Bytes are counted from the start of the compressed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedUnit {
    /// The format.
    pub wrapping: Wrapping,
    /// What the format calls it.
    pub name: &'static str,
    /// Its first byte.
    pub start: u64,
    /// The first byte at which the damage can be.
    pub found: u64,
    /// The byte up to which it was read: where it is not the code that is damaged, its end.
    pub end: u64,
}

impl fmt::Display for DamagedUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wrapping, name, start, end, .. } = self;
        write!(f, "the {wrapping} {name} from byte {start} to byte {end}")
    }
}

/// Adds where the code stopped making sense, if that is known better than the unit.
struct Found {
    damage: Damage,
    unit: DamagedUnit,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DamagedUnit { start, found, .. } = self.unit;
        if self.damage == Damage::Code && found > start {
            write!(f, " from byte {found} on")?;
        }
        Ok(())
    }
}
