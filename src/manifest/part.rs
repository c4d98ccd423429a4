//! Parts of a volume: the record that says what they are parts of, and the file of a part's manifest.
//!
//! The format is `docs/formats/parts.md`.

use crate::digest::Digest;
use crate::digest::crc32;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::field;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::WriteAt;
use crate::manifest::Manifest;
use crate::units::BLOCK_SIZE;
use crate::units::MAX_VOLUME_SIZE;
use crate::units::block_count;

/// First bytes of the file of a part's manifest.
pub const PART_MAGIC: [u8; 8] = *b"\x89AMJ\r\n\x1a\n";

/// Bytes before the manifest.
pub const PART_HEADER_SIZE: u64 = 4096;

/// The same, in memory.
const HEADER_LEN: usize = 4096;

/// Where the record starts.
const RECORD_AT: usize = 16;

/// Where the checksum stands, and so the end of the record.
const CRC_AT: usize = 4092;

/// What a part is a part of.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// Bytes of the whole volume.
    pub volume_size: u64,
    /// Its first block in the volume.
    pub first_block: u32,
    /// How many blocks it has.
    pub block_count: u32,
    /// Fingerprint of the whole volume.
    pub volume: Digest,
    /// All options that its bytes depend on: words `NAME=VALUE`.
    pub options: String,
}

impl Part {
    /// Returns the block behind its last one.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.first_block.saturating_add(self.block_count)
    }

    /// Returns the bytes of its own volume.
    #[must_use]
    pub fn size(&self) -> u64 {
        let start = u64::from(self.first_block).strict_mul(BLOCK_SIZE);
        let end = u64::from(self.end()).strict_mul(BLOCK_SIZE).min(self.volume_size);
        end.saturating_sub(start)
    }

    /// Fails if it is the part of no volume.
    ///
    /// # Errors
    ///
    /// `Corrupt`.
    pub fn check(&self) -> Result<()> {
        let possible = (1..=MAX_VOLUME_SIZE).contains(&self.volume_size);
        let end = self.first_block.checked_add(self.block_count);
        let inside = possible && end.is_some_and(|end| end <= block_count(self.volume_size));
        if inside && self.block_count > 0 {
            return Ok(());
        }
        let Self { first_block, block_count, volume_size, .. } = self;
        Err(Error::corrupt(format!(
            "the part has {block_count} blocks from {first_block} on, of a volume of {volume_size} bytes"
        )))
    }

    /// Writes the header of a part's manifest; that stands behind it.
    ///
    /// # Errors
    ///
    /// `Io` if it cannot be written.
    pub fn write_header(&self, out: &dyn WriteAt) -> Result<()> {
        let record = serde_json::to_vec(self).expect("a record is JSON");
        let mut header = vec![0; HEADER_LEN];
        field::put_bytes(&mut header, 0, &PART_MAGIC);
        field::put_u16_le(&mut header, 8, 1);
        let len = u32::try_from(record.len()).expect("words of options are short");
        field::put_u32_le(&mut header, 12, len);
        assert!(record.len() <= CRC_AT.strict_sub(RECORD_AT), "words of options are short");
        field::put_bytes(&mut header, RECORD_AT, &record);
        let crc = crc32(&header[..CRC_AT]);
        field::put_u32_le(&mut header, CRC_AT, crc);
        out.write_all_at(&header, 0)
    }

    /// Opens the file of a part's manifest; `None` if it is not one.
    ///
    /// # Errors
    ///
    /// `Corrupt` or `Unsupported`, with the file's name, if it is damaged; as [`Manifest::open`].
    pub fn open(input: &Input) -> Result<Option<(Self, Manifest)>> {
        let mut magic = [0; PART_MAGIC.len()];
        if input.len() < 8 {
            return Ok(None);
        }
        input.read_exact_at(&mut magic, 0)?;
        if magic != PART_MAGIC {
            return Ok(None);
        }
        if input.len() < PART_HEADER_SIZE {
            let text = format!("the part has {} bytes, expected {PART_HEADER_SIZE}", input.len());
            return Err(Error::corrupt(text).in_file(input.path()));
        }
        let mut header = vec![0; HEADER_LEN];
        input.read_exact_at(&mut header, 0)?;
        let part = Self::parse(&header).map_err(|error| error.in_file(input.path()))?;
        let len = input.len().strict_sub(PART_HEADER_SIZE);
        let manifest = Manifest::open_part(input, PART_HEADER_SIZE, len)?;
        if manifest.volume_size() == part.size() {
            return Ok(Some((part, manifest)));
        }
        let (found, expected) = (manifest.volume_size(), part.size());
        let text = format!("the part's manifest is of {found} bytes, expected {expected}");
        Err(Error::corrupt(text).in_file(input.path()))
    }

    fn parse(header: &[u8]) -> Result<Self> {
        let major = field::u16_le(header, 8);
        if major != 1 {
            let text = format!("the part is of version {major}, expected 1");
            return Err(Error::new(Kind::Unsupported, text));
        }
        let (found, expected) = (crc32(&header[..CRC_AT]), field::u32_le(header, CRC_AT));
        if found != expected {
            let text = format!(
                "checksum of the part's header is {found:#010x}, expected {expected:#010x}"
            );
            return Err(Error::corrupt(text));
        }
        let len = usize::try_from(field::u32_le(header, 12)).unwrap_or(usize::MAX);
        let record = header[RECORD_AT..CRC_AT].get(..len).ok_or_else(|| {
            Error::corrupt(format!("the part's record has {len} bytes, expected at most 4072"))
        })?;
        Self::from_json(record)
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is none.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let part: Self = serde_json::from_slice(bytes)
            .map_err(|e| Error::corrupt(format!("record of the part: {e}")))?;
        part.check()?;
        Ok(part)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use crate::manifest::Block;
    use crate::manifest::tests::encode;

    fn part() -> Part {
        Part {
            volume_size: 10 * BLOCK_SIZE - 5,
            first_block: 7,
            block_count: 3,
            volume: Digest([3; 32]),
            options: "kind=snapshot zeros=keep".to_owned(),
        }
    }

    /// The file of a part, as bytes.
    fn file(part: &Part, blocks: &[Block]) -> Vec<u8> {
        let scratch = crate::io::Scratch::create().unwrap();
        part.write_header(&scratch).unwrap();
        let mut bytes = vec![0; HEADER_LEN];
        scratch.read_back_at(&mut bytes, 0).unwrap();
        let size = u64::try_from(blocks.len()).unwrap() * BLOCK_SIZE - 5;
        bytes.extend(encode(blocks, size));
        bytes
    }

    fn open(bytes: Vec<u8>) -> Result<Option<(Part, Manifest)>> {
        Part::open(&Input::memory("p", bytes))
    }

    #[test]
    fn a_part_is_read_as_it_was_written() {
        let bytes = file(&part(), &[Block::Hole, Block::Zero, Block::Hole]);
        let (found, manifest) = open(bytes).unwrap().unwrap();
        assert_eq!(found, part());
        assert_eq!(manifest.block_count(), 3);
        assert!(open(b"something else".to_vec()).unwrap().is_none());
        assert!(open(vec![0; 5000]).unwrap().is_none());
    }

    #[test]
    fn what_breaks_the_format_is_named() {
        let sound = file(&part(), &[Block::Hole, Block::Zero, Block::Hole]);
        for (at, byte, says) in [
            (8, 2, "version 2, expected 1"),
            (20, 0, "checksum of the part's header"),
            (5000, 9, ""),
        ] {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            let error = open(bytes).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let error = open(file(&part(), &[Block::Zero])).unwrap_err().to_string();
        assert!(error.contains("the part's manifest is of"), "{error}");
        for (first_block, block_count) in [(8, 3), (0, 0), (u32::MAX, 2), (0, 11)] {
            let part = Part { first_block, block_count, ..part() };
            assert_eq!(part.check().unwrap_err().kind(), Kind::Corrupt);
        }
    }
}
