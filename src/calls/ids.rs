//! Ids that calls name: known ones, and those that an earlier call gives.

use std::fmt;

use serde::Serialize;
use serde::Serializer;

/// Something that a call makes, and that has an id from then on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Made {
    /// The snapshot of a device's volume.
    Snapshot {
        /// The device.
        device: String,
    },
    /// An AMI.
    Image {
        /// 0 for the one that is registered; its copies are numbered from 1 on.
        number: usize,
    },
    /// A snapshot that EC2 makes for a copy of the AMI.
    Copied {
        /// Number of the copy.
        number: usize,
        /// The device.
        device: String,
    },
}

/// An id, or what it is the id of as long as nobody knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// EC2's own, such as `snap-0123`.
    Known(String),
    /// That of something that an earlier call makes.
    Of(Made),
}

impl Id {
    /// Returns the id of the volume of a device, which is to be uploaded.
    #[must_use]
    pub fn of_snapshot(device: &str) -> Self {
        Self::Of(Made::Snapshot { device: device.to_owned() })
    }

    /// Returns the id of an AMI that is to be made.
    #[must_use]
    pub fn of_image(number: usize) -> Self {
        Self::Of(Made::Image { number })
    }

    /// Returns what the id is of, if nobody knows it.
    #[must_use]
    pub fn made(&self) -> Option<&Made> {
        match self {
            Self::Known(_) => None,
            Self::Of(made) => Some(made),
        }
    }

    /// Reads an id as it is written: a text that is not a placeholder is known.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Made::parse(text).map_or_else(|| Self::Known(text.to_owned()), Self::Of)
    }
}

impl Made {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.strip_prefix("${")?.strip_suffix('}')?.split_once(':')?;
        match kind {
            "image" => Some(Self::Image { number: rest.parse().ok()? }),
            "snapshot" => Some(match rest.split_once(':') {
                Some((number, device)) => {
                    Self::Copied { number: number.parse().ok()?, device: device.to_owned() }
                }
                None => Self::Snapshot { device: rest.to_owned() },
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot { device } => write!(f, "${{snapshot:{device}}}"),
            Self::Image { number } => write!(f, "${{image:{number}}}"),
            Self::Copied { number, device } => write!(f, "${{snapshot:{number}:{device}}}"),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(id) => f.write_str(id),
            Self::Of(made) => made.fmt(f),
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let copied = Made::Copied { number: 2, device: "/dev/xvda".to_owned() };
        for (id, text) in [
            (Id::Known("snap-0a".to_owned()), "snap-0a"),
            (Id::of_snapshot("/dev/xvda"), "${snapshot:/dev/xvda}"),
            (Id::of_image(0), "${image:0}"),
            (Id::Of(copied), "${snapshot:2:/dev/xvda}"),
        ] {
            assert_eq!(id.to_string(), text);
            assert_eq!(Id::parse(text), id);
        }
        for text in ["", "${image:x}", "${volume:1}", "${image:0", "image:0"] {
            assert_eq!(Id::parse(text), Id::Known(text.to_owned()), "{text}");
        }
    }
}
