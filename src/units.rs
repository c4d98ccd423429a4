//! Sizes, places and kinds that every room shares.

use std::fmt;
use std::ops::Range;

/// Bytes of a block: the only size that the EBS direct APIs accept.
pub const BLOCK_SIZE: u64 = 524_288;

/// [`BLOCK_SIZE`] as a length of memory.
pub const BLOCK_LEN: usize = 524_288;

/// Bytes of a page: the grain at which file systems lay out files.
pub const PAGE_SIZE: u64 = 4096;

/// [`PAGE_SIZE`] as a length of memory.
pub const PAGE_LEN: usize = 4096;

/// Pages of a block.
pub const BLOCK_PAGES: u64 = BLOCK_SIZE / PAGE_SIZE;

/// Largest volume in bytes: EBS ends at 64 TiB.
pub const MAX_VOLUME_SIZE: u64 = 64 << 40;

/// Blocks of the largest volume.
pub const MAX_BLOCK_COUNT: u32 = 1 << 27;

/// Bytes of a GiB, the unit in which EBS sizes volumes.
pub const GIB: u64 = 1 << 30;

/// Number of a 512 KiB block of a volume, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockIndex(pub u32);

impl BlockIndex {
    /// Returns the byte of the volume at which the block starts.
    #[must_use]
    pub fn offset(self) -> u64 {
        // Cannot overflow: 2^32 times 2^19.
        u64::from(self.0).strict_mul(BLOCK_SIZE)
    }

    /// Returns the block's bytes, cut at the end of a volume of `size` bytes.
    #[must_use]
    pub fn range(self, size: u64) -> Range<u64> {
        let start = self.offset();
        start..start.strict_add(BLOCK_SIZE).min(size.max(start))
    }

    /// Returns the block that holds byte `offset`, or `None` past the largest volume.
    #[must_use]
    pub fn holding(offset: u64) -> Option<Self> {
        u32::try_from(offset.strict_div(BLOCK_SIZE)).ok().map(Self)
    }
}

impl fmt::Display for BlockIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns how many blocks a volume of `size` bytes has; the last may be part of one.
///
/// # Panics
///
/// If `size` is over [`MAX_VOLUME_SIZE`]: the caller that learns a size checks it.
#[must_use]
pub fn block_count(size: u64) -> u32 {
    assert!(size <= MAX_VOLUME_SIZE, "a volume of {size} bytes was let in");
    u32::try_from(size.div_ceil(BLOCK_SIZE)).expect("2^46 / 2^19 fits")
}

/// Returns the GiB that EBS makes of a volume of `size` bytes: rounded up, at least 1.
#[must_use]
pub fn ebs_gib(size: u64) -> u64 {
    size.div_ceil(GIB).max(1)
}

/// What a byte range of a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtentKind {
    /// Stored bytes; they may happen to be zeros.
    Data,
    /// Written zeros.
    Zero,
    /// Nobody ever wrote here; reads as zeros.
    Hole,
}

impl ExtentKind {
    /// Returns the kind's stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Zero => "zero",
            Self::Hole => "hole",
        }
    }
}

impl fmt::Display for ExtentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A half-open byte range of a volume that is of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of the volume, `start..end`.
    pub range: Range<u64>,
    /// What they are.
    pub kind: ExtentKind,
}

impl Extent {
    /// Returns the extent's length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Tells whether the extent holds no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
}

/// Reads a size or length as people write it: `4096`, `512K`, `8MiB`, `1G`; units are powers of 1,024.
///
/// # Errors
///
/// A sentence that says what was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let shift = match unit {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => {
            return Err(format!("unit is {unit:?}, expected K, M, G or T (or KiB, MiB, GiB, TiB)"));
        }
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("size is {text:?}, expected digits and then a unit, as in 64MiB"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is over 2^64 bytes"))
}

/// Says a number of bytes as people read it: `2.07 GiB`, exact below 1 KiB.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let whole = bytes.strict_div(unit);
            let rest = bytes.strict_rem(unit);
            if rest == 0 {
                return format!("{whole} {name}");
            }
            // rest < unit <= 2^40, so a hundred times it fits.
            let hundredths = rest.strict_mul(100).strict_div(unit);
            return format!("{whole}.{hundredths:02} {name}");
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_of_one_byte_has_one_block() {
        assert_eq!(block_count(0), 0);
        assert_eq!(block_count(1), 1);
        assert_eq!(block_count(BLOCK_SIZE), 1);
        assert_eq!(block_count(BLOCK_SIZE + 1), 2);
        assert_eq!(block_count(MAX_VOLUME_SIZE), MAX_BLOCK_COUNT);
    }

    #[test]
    fn the_last_block_is_cut_at_the_end() {
        assert_eq!(BlockIndex(1).range(BLOCK_SIZE + 10), BLOCK_SIZE..BLOCK_SIZE + 10);
        assert!(BlockIndex(2).range(BLOCK_SIZE + 10).is_empty());
    }

    #[test]
    fn sizes_are_read_and_said() {
        assert_eq!(parse_size("8GiB"), Ok(8 << 30));
        assert_eq!(parse_size("512K"), Ok(512 << 10));
        assert_eq!(parse_size("7"), Ok(7));
        assert!(parse_size("1GB").is_err() && parse_size("").is_err() && parse_size("-1").is_err());
        assert!(parse_size("99999999999T").is_err());
        assert_eq!(format_size(1023), "1023 B");
        assert_eq!(format_size(1536), "1.50 KiB");
        assert_eq!(format_size(8 << 30), "8 GiB");
    }

    #[test]
    fn ebs_rounds_up_to_a_gib() {
        assert_eq!(ebs_gib(0), 1);
        assert_eq!(ebs_gib(GIB), 1);
        assert_eq!(ebs_gib(GIB + 1), 2);
    }
}
