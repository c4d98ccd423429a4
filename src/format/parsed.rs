//! What a format makes of an image.

use crate::volume::Volume;

/// What a format makes of an image: its volume, and what else the image says.
#[derive(Debug)]
pub struct Parsed {
    /// The volume.
    pub volume: Volume,
    /// Where its holes are.
    pub holes: Holes,
    /// Bytes of a logical sector, where the image says it.
    pub sector_len: Option<u32>,
    /// What the user should hear although nothing failed: sentences without a full stop, and without the
    /// image's name.
    pub notes: Vec<String>,
}

/// Where the holes of a volume are. It follows from the format, and not from which holes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holes {
    /// Nowhere: the format has no place for what is not there.
    Absent,
    /// In the file, where everything is: byte *n* of the volume is the byte of the file that many bytes behind this
    /// one.
    InFile(u64),
}

impl From<Volume> for Parsed {
    /// Takes a volume of which the format says nothing else.
    fn from(volume: Volume) -> Self {
        Self { volume, holes: Holes::Absent, sector_len: None, notes: Vec::new() }
    }
}
