//! Bytes of LVM2: the label of a physical volume, and where its metadata lies. Pure.
//!
//! ```text
//! label (one of the first four sectors, little-endian): 0 8 LABELONE, 8 8 its sector, 16 4 crc of what follows,
//!   20 4 offset of the header, 24 8 "LVM2 001"
//! header: 0 32 UUID, 32 8 bytes of the volume; pairs of offset and length: data areas, a pair of zeros, metadata
//!   areas, a pair of zeros
//! metadata area (a sector): 0 4 crc of what follows, 4 16 magic, 20 4 version 1, 24 8 own offset, 32 8 length;
//!   from 40 on { 8 offset, 8 length, 4 crc, 4 flags (1: not used) }, to a zero offset
//! the text that is in force, in the area: a circle behind its first sector
//! ```

use crate::digest::crc32_register;
use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Problem;

pub(super) const SECTOR_LEN: u64 = 512;
const SECTOR: usize = 512;

/// Sectors that a label may be in.
pub(super) const LABEL_SECTORS: u64 = 4;

/// What checksums begin with.
const CRC_START: u32 = 0xf597_a6cf;

const AREA_MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";

/// Most bytes of a text: 1 MiB is what tools make room for.
const MAX_TEXT_LEN: u64 = 4 << 20;

pub(super) fn damaged(text: &'static str) -> Failure {
    Problem::Damaged.text(text)
}

/// Returns the checksum of some bytes.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    crc32_register(CRC_START, bytes)
}

/// A physical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) uuid: [u8; 32],
    /// Metadata areas: offset and length.
    pub(super) areas: Vec<(u64, u64)>,
}

/// Tells whether a sector is a label.
pub(super) fn is_label(sector: &[u8]) -> bool {
    &sector[..8] == b"LABELONE" && &sector[24..32] == b"LVM2 001"
}

impl Label {
    /// Reads the label in sector `number`.
    pub(super) fn parse(sector: &[u8], number: u64) -> Result<Self, Failure> {
        if field::u64_le(sector, 8) != number || field::u32_le(sector, 16) != sum(&sector[20..]) {
            return Err(damaged("the label of a physical volume is impossible"));
        }
        let broken = || damaged("the header of a physical volume is impossible");
        let at = usize::try_from(field::u32_le(sector, 20)).unwrap_or(usize::MAX);
        let header = sector.get(at..).filter(|it| it.len() >= 40).ok_or_else(broken)?;
        let mut pairs = header[40..]
            .chunks_exact(16)
            .map(|pair| (field::u64_le(pair, 0), field::u64_le(pair, 8)));
        // Data areas come first; where each volume's data are, the text says.
        pairs.by_ref().find(|(offset, _)| *offset == 0).ok_or_else(broken)?;
        let areas: Vec<_> = pairs.take_while(|(offset, _)| *offset != 0).collect();
        Ok(Self { uuid: field::array(header, 0), areas })
    }
}

/// A text in a metadata area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) sum: u32,
}

/// Reads the header of a metadata area at `offset`; `None` if no text is in force there.
pub(super) fn area(sector: &[u8], offset: u64, len: u64) -> Result<Option<Place>, Failure> {
    let is_right = field::u32_le(sector, 0) == sum(&sector[4..SECTOR])
        && &sector[4..20] == AREA_MAGIC
        && field::u32_le(sector, 20) == 1
        && field::u64_le(sector, 24) == offset
        && field::u64_le(sector, 32) == len;
    if !is_right {
        return Err(damaged("the header of a metadata area is impossible"));
    }
    let place = Place {
        offset: field::u64_le(sector, 40),
        len: field::u64_le(sector, 48),
        sum: field::u32_le(sector, 56),
    };
    if place.offset == 0 || field::u32_le(sector, 60) & 1 != 0 {
        return Ok(None);
    }
    let room = len.checked_sub(SECTOR_LEN);
    if room.is_none_or(|room| place.len > room) || !(SECTOR_LEN..len).contains(&place.offset) {
        return Err(damaged("the text of a metadata area lies outside it"));
    }
    if place.len > MAX_TEXT_LEN {
        return Err(Problem::Limit.text("the metadata of a volume group are over 4 MiB long"));
    }
    Ok(Some(place))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn sealed(mut sector: Vec<u8>) -> Vec<u8> {
        let value = sum(&sector[20..]);
        field::put_u32_le(&mut sector, 16, value);
        sector
    }

    #[test]
    fn a_label_names_its_metadata_areas() {
        let mut sector = vec![0; SECTOR];
        sector[..8].copy_from_slice(b"LABELONE");
        sector[8] = 1;
        sector[20] = 32;
        sector[24..32].copy_from_slice(b"LVM2 001");
        sector[32..64].copy_from_slice(&[b'u'; 32]);
        field::put_u64_le(&mut sector, 72, 1 << 20);
        field::put_u64_le(&mut sector, 104, 4096);
        field::put_u64_le(&mut sector, 112, 1_044_480);
        let good = sealed(sector.clone());
        assert!(is_label(&good));
        let label = Label::parse(&good, 1).unwrap();
        assert_eq!((label.uuid, label.areas), ([b'u'; 32], vec![(4096, 1_044_480)]));
        assert!(Label::parse(&good, 2).is_err());
        assert!(Label::parse(&sector, 1).is_err());
        sector[20] = 0xf0;
        sector[21] = 1;
        assert!(Label::parse(&sealed(sector), 1).is_err());
    }
}
