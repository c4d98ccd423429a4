//! What is measured on: data blocks of an image, or content made for it.

use crate::digest::is_zero;
use crate::error::Error;
use crate::error::Result;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::units::block_count;
use crate::volume::ReadVolume;
use crate::volume::extents;
use crate::work::Watch;

/// Returns how many blocks `size` bytes hold.
fn blocks_in(size: u64) -> Result<u64> {
    match size.strict_div(BLOCK_SIZE) {
        0 => {
            let text = format!("size is {size} bytes, expected one block of 512 KiB or more");
            Err(Error::invalid(text))
        }
        blocks => Ok(blocks),
    }
}

/// Reads data blocks of a volume, at most `size` bytes of them, spread over all of it:
/// the start of a disk is not like the rest.
///
/// # Errors
///
/// As [`open`]; `Invalid` if `size` is under a block, or if the image holds nothing but zeros
/// and holes.
pub(super) fn of_image(request: &VolumeRequest, size: u64, watch: &dyn Watch) -> Result<Vec<u8>> {
    let wanted = blocks_in(size)?;
    let opened = open(request, watch)?;
    of_volume(opened.volume(), wanted).map_err(|error| request.fail(error))
}

fn of_volume(volume: &dyn ReadVolume, wanted: u64) -> Result<Vec<u8>> {
    let mut count = 0_u64;
    each_data_block(volume, |_| {
        count = count.strict_add(1);
        Ok(())
    })?;
    let taken = wanted.min(count);
    let mut plain = Vec::new();
    let mut number = 0_u64;
    each_data_block(volume, |index| {
        // Both factors are below 2^46 / 2^19, so the products fit.
        let before = number.strict_mul(taken).strict_div(count);
        number = number.strict_add(1);
        if number.strict_mul(taken).strict_div(count) == before {
            return Ok(());
        }
        let start = plain.len();
        plain.resize(start.strict_add(BLOCK_LEN), 0);
        let range = index.range(volume.size());
        let len = usize::try_from(range.end.strict_sub(range.start)).expect("at most a block");
        volume.read_at(range.start, &mut plain[start..][..len])?;
        if is_zero(&plain[start..]) {
            plain.truncate(start);
        }
        Ok(())
    })?;
    if plain.is_empty() {
        let text = "it has no data, only zeros and holes: nothing to measure with";
        return Err(Error::invalid(text).advise("name another image, or none"));
    }
    Ok(plain)
}

/// Calls `take` with each block that touches an extent of data, ascending.
fn each_data_block(
    volume: &dyn ReadVolume,
    mut take: impl FnMut(BlockIndex) -> Result<()>,
) -> Result<()> {
    let mut next = 0;
    for extent in extents(volume) {
        let extent = extent?;
        if extent.kind == ExtentKind::Data {
            let first = BlockIndex::holding(extent.range.start).expect("inside the volume").0;
            let end = block_count(extent.range.end);
            (first.max(next)..end).try_for_each(|index| take(BlockIndex(index)))?;
            next = end;
        }
    }
    Ok(())
}

/// Bytes of one made file: they lie in a disk at pages, and most are small.
const FILE_LEN: usize = 32 << 10;

/// What made text consists of.
const WORDS: [&str; 32] = [
    "the ",
    "of ",
    "and ",
    "to ",
    "in ",
    "is ",
    "for ",
    "with ",
    "volume ",
    "block ",
    "kernel ",
    "module ",
    "service ",
    "network ",
    "default ",
    "option ",
    "true\n",
    "false\n",
    "0\n",
    "1\n",
    "= ",
    ": ",
    "# ",
    "/usr/lib/",
    "/etc/",
    "file ",
    "name ",
    "version ",
    ".so\n",
    "(",
    ") ",
    "\n",
];

/// What made programs start their instructions with.
const CODES: [u8; 16] = [
    0x48, 0x89, 0x8b, 0xe8, 0x0f, 0x85, 0x74, 0x75, 0x83, 0xc3, 0x41, 0x31, 0xff, 0x5d, 0x4c, 0x66,
];

/// Makes `size` bytes, rounded down to whole blocks, that are about as compressible as a root
/// volume; the same ones at each call. No block is zero, but some pages are.
///
/// # Errors
///
/// `Invalid` if `size` is under a block or over what memory holds.
pub(super) fn made(size: u64) -> Result<Vec<u8>> {
    let len = blocks_in(size)?.checked_mul(BLOCK_SIZE).and_then(|len| usize::try_from(len).ok());
    let len = len.ok_or_else(|| Error::invalid(format!("size is {size} bytes, over memory")))?;
    let mut random = Random(1);
    let mut plain = Vec::with_capacity(len);
    while plain.len() < len {
        let end = plain.len().strict_add(FILE_LEN);
        // Each block starts with a file that is not zeros.
        match random.below(16) {
            0 if !plain.len().is_multiple_of(BLOCK_LEN) => plain.resize(end, 0),
            0..=7 => text(&mut random, &mut plain, end),
            8..=13 => program(&mut random, &mut plain, end),
            _ => noise(&mut random, &mut plain, end),
        }
        plain.truncate(end);
    }
    Ok(plain)
}

/// Appends words, the first ones of the list more often, until `end` is reached.
fn text(random: &mut Random, plain: &mut Vec<u8>, end: usize) {
    while plain.len() < end {
        let word = random.below(32).min(random.below(32)).min(random.below(32));
        plain.extend_from_slice(WORDS[word].as_bytes());
    }
}

/// Appends short records with common first bytes and small numbers, until `end` is reached.
fn program(random: &mut Random, plain: &mut Vec<u8>, end: usize) {
    while plain.len() < end {
        let code = CODES[random.below(16).min(random.below(16))];
        let [register, low, high, ..] = random.next().to_le_bytes();
        match random.below(4) {
            0 => plain.extend_from_slice(&[code, register & 0x0c, low & 0x78, 0, 0, 0]),
            1 => plain.extend_from_slice(&[code, low & 0xf8, high | 0xfc, 0xff, 0xff]),
            _ => plain.extend_from_slice(&[0x48, code, 0xc0 | (register & 7)]),
        }
    }
}

/// Appends what cannot be compressed, as packed files are, until `end` is reached.
fn noise(random: &mut Random, plain: &mut Vec<u8>, end: usize) {
    while plain.len() < end {
        plain.extend_from_slice(&random.next().to_le_bytes());
    }
}

/// Numbers that look random: a counter whose bits are mixed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        for _ in 0..2 {
            mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        }
        mixed ^ (mixed >> 32)
    }

    /// Returns a number below `end`, which is a power of two up to 256.
    fn below(&mut self, end: u8) -> usize {
        let [first, ..] = self.next().to_be_bytes();
        usize::from(first & end.wrapping_sub(1))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use crate::compress::Encoder;
    use crate::error::Kind;
    use crate::volume::Place;
    use crate::volume::RunMap;
    use crate::volume::Volume;

    #[test]
    fn made_content_is_the_same_each_time_and_compresses_like_a_disk() {
        let plain = made(8 * BLOCK_SIZE + 1).unwrap();
        assert_eq!(plain.len(), 8 * BLOCK_LEN);
        assert_eq!(plain, made(8 * BLOCK_SIZE).unwrap());
        let mut frames = Vec::new();
        let mut encoder = Encoder::new(3).unwrap();
        for block in plain.chunks(BLOCK_LEN) {
            assert!(!is_zero(block));
            encoder.append(block, &mut frames);
        }
        let percent = frames.len() * 100 / plain.len();
        assert!((35..55).contains(&percent), "{percent} %");
        assert!(plain.chunks(4096).any(is_zero));
    }

    #[test]
    fn less_than_a_block_is_refused() {
        assert_eq!(made(BLOCK_SIZE - 1).unwrap_err().kind(), Kind::Invalid);
    }

    /// Ten blocks that hold their number, a hole, zeros as data, and a tail of ten bytes.
    fn volume() -> Volume {
        let mut map = RunMap::default();
        let mut stored = vec![0; BLOCK_LEN];
        for number in 1..=10 {
            map.push(BLOCK_SIZE, Place::Fill([number; 4]));
        }
        map.push(3 * BLOCK_SIZE, Place::Hole);
        map.push(BLOCK_SIZE, Place::Stored { source: 0, offset: 0 });
        map.push(10, Place::Stored { source: 0, offset: BLOCK_SIZE });
        stored.extend_from_slice(&[11; 10]);
        Volume::new(map, vec![std::sync::Arc::new(stored).into()]).unwrap()
    }

    #[test]
    fn blocks_of_a_volume_are_its_data_spread_over_it() {
        let first = |plain: Vec<u8>| plain.chunks(BLOCK_LEN).map(|b| b[0]).collect::<Vec<_>>();
        let all = of_volume(&volume(), 100).unwrap();
        assert_eq!(&all[10 * BLOCK_LEN + 9..][..2], [11, 0]);
        assert_eq!(first(all), (1..=11).collect::<Vec<_>>());
        assert_eq!(first(of_volume(&volume(), 4).unwrap()), [3, 6, 9, 11]);
        assert_eq!(first(of_volume(&volume(), 1).unwrap()), [11]);
    }

    #[test]
    fn a_volume_without_data_is_refused() {
        let mut map = RunMap::default();
        map.push(5 * BLOCK_SIZE, Place::Hole);
        map.push(5 * BLOCK_SIZE, Place::Zero);
        let volume = Volume::new(map, Vec::new()).unwrap();
        assert_eq!(of_volume(&volume, 4).unwrap_err().kind(), Kind::Invalid);
    }
}
