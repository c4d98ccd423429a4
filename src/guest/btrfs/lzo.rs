//! LZO1X as Btrfs stores it. Pure. The stream is what the kernel's `Documentation/staging/lzo.rst` describes.
//!
//! ```text
//! 0 4 bytes of all   then segments: 4 bytes of it, and its stream; it unpacks to a sector at most.
//! No length lies across the end of a sector: where fewer than four bytes are left, it is in the next one.
//! ```

use crate::field;

/// Bytes of a length.
const LENGTH_LEN: usize = 4;

/// Farthest distances of the shorter copies.
const SHORT_DISTANCE: usize = 0x800;
const LONG_DISTANCE: usize = 0x4000;

/// Returns what an extent holds, at most `room` bytes; `None` if it is damaged.
pub(super) fn segments(bytes: &[u8], sector: usize, room: usize) -> Option<Vec<u8>> {
    let number = |at: usize| {
        let bytes = bytes.get(at..at.checked_add(LENGTH_LEN)?)?;
        usize::try_from(field::u32_le(bytes, 0)).ok()
    };
    let end = number(0).filter(|end| *end <= bytes.len())?;
    let mut plain = Vec::new();
    let mut at = LENGTH_LEN;
    while at < end {
        let left = sector.checked_sub(at.checked_rem(sector)?)?;
        if left < LENGTH_LEN {
            at = at.checked_add(left)?;
            if at >= end {
                break;
            }
        }
        let len = number(at)?;
        let start = at.checked_add(LENGTH_LEN)?;
        at = start.checked_add(len)?;
        let stream = bytes.get(start..at).filter(|_| at <= end)?;
        let before = plain.len();
        unpack(stream, &mut plain, before.checked_add(sector)?.min(room))?;
    }
    Some(plain)
}

/// A stream that is read a byte at a time.
struct Stream<'a>(&'a [u8]);

impl<'a> Stream<'a> {
    fn byte(&mut self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first))
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(first)
    }

    /// Reads on where a count is over what its bits can say: zeros are 255 each.
    fn count(&mut self, bits: usize, most: usize) -> Option<usize> {
        if bits != 0 {
            return Some(bits);
        }
        let mut count = most;
        loop {
            match self.byte()? {
                0 => count = count.checked_add(255)?,
                last => return count.checked_add(last),
            }
        }
    }

    /// Reads two bytes: a distance, and how many literals follow.
    fn distance(&mut self) -> Option<(usize, usize)> {
        let (low, high) = (self.byte()?, self.byte()?);
        let both = high << 8 | low;
        Some((both >> 2, both & 3))
    }
}

/// What came before an instruction, which says how small ones are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// No literals.
    Nothing,
    /// One to three, told by the instruction before.
    Few,
    /// Four and more.
    Run,
}

/// Appends what a stream holds; `None` if it is damaged, refers to what was before it, or is longer than `limit`.
fn unpack(stream: &[u8], plain: &mut Vec<u8>, limit: usize) -> Option<()> {
    let base = plain.len();
    let mut stream = Stream(stream);
    let literals = |count: usize, stream: &mut Stream<'_>, plain: &mut Vec<u8>| {
        let bytes = stream.bytes(count)?;
        (plain.len().checked_add(count)? <= limit).then(|| plain.extend_from_slice(bytes))
    };
    let mut after = After::Nothing;
    // A first byte of over 17 is a run of literals.
    if let Some(first) = stream.0.first().map(|it| usize::from(*it))
        && let Some(count) = first.checked_sub(17).filter(|count| *count > 0)
    {
        stream.byte()?;
        literals(count, &mut stream, plain)?;
        after = if count < 4 { After::Few } else { After::Run };
    }
    loop {
        let code = stream.byte()?;
        let (len, distance, next) = match (code, after) {
            (0..16, After::Nothing) => {
                let count = stream.count(code, 15)?.checked_add(3)?;
                literals(count, &mut stream, plain)?;
                after = After::Run;
                continue;
            }
            (0..16, After::Few) => {
                let far = stream.byte()? << 2;
                (2, far.checked_add(code >> 2)?.checked_add(1)?, code & 3)
            }
            (0..16, After::Run) => {
                let far = (stream.byte()? << 2).checked_add(code >> 2)?;
                (3, far.checked_add(SHORT_DISTANCE)?.checked_add(1)?, code & 3)
            }
            (16..32, _) => {
                let len = stream.count(code & 7, 7)?.checked_add(2)?;
                let (low, next) = stream.distance()?;
                let far = ((code & 8) << 11).checked_add(low)?;
                if far == 0 {
                    return (len == 3 && stream.0.is_empty()).then_some(());
                }
                (len, far.checked_add(LONG_DISTANCE)?, next)
            }
            (32..64, _) => {
                let len = stream.count(code & 31, 31)?.checked_add(2)?;
                let (far, next) = stream.distance()?;
                (len, far.checked_add(1)?, next)
            }
            (_, _) => {
                let far = (stream.byte()? << 3).checked_add(code >> 2 & 7)?;
                ((code >> 5).checked_add(1)?, far.checked_add(1)?, code & 3)
            }
        };
        let start = plain.len().checked_sub(distance).filter(|start| *start >= base)?;
        if plain.len().checked_add(len)? > limit {
            return None;
        }
        // A copy may reach into what it writes.
        for at in start..start.checked_add(len)? {
            plain.push(plain[at]);
        }
        literals(next, &mut stream, plain)?;
        after = if next == 0 { After::Nothing } else { After::Few };
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// What `lzop` and the kernel end every stream with.
    const END: [u8; 3] = [17, 0, 0];

    fn plain(stream: &[u8]) -> Option<Vec<u8>> {
        let mut plain = Vec::new();
        unpack(stream, &mut plain, 4096).map(|()| plain)
    }

    #[test]
    fn literals_and_copies_are_put_together() {
        assert_eq!(plain(&END).unwrap(), b"");
        // Five literals by the first byte; then three more of one byte before.
        let stream = [&[17 + 5][..], b"abcde", &[32 + 1, 0, 0], &END].concat();
        assert_eq!(plain(&stream).unwrap(), b"abcdeeee");
        // Four bytes from three before, and one literal behind them.
        let stream = [&[17 + 4][..], b"abcd", &[64 + 32 + (2 << 2) + 1, 0], b"x", &END].concat();
        assert_eq!(plain(&stream).unwrap(), b"abcdbcdbx");
        // A run of 18 and more literals, whose count goes on in further bytes.
        let many = [b'm'; 15 + 3 + 255 + 9];
        assert_eq!(plain(&[&[0, 0, 9][..], &many, &END].concat()).unwrap(), many);
    }

    #[test]
    fn streams_that_end_early_or_reach_too_far_are_refused() {
        let sound = [&[17 + 5][..], b"abcde", &[32 + 1, 0, 0], &END].concat();
        for len in 0..sound.len() {
            assert_eq!(plain(&sound[..len]), None, "{len}");
        }
        assert_eq!(plain(&[&[17 + 5][..], b"abcde", &[32 + 1, 5 << 2, 0], &END].concat()), None);
        let mut long = Vec::new();
        assert_eq!(unpack(&sound, &mut long, 7), None);
        assert_eq!(segments(&[9, 0, 0, 0, 200, 0, 0, 0, 1], 4096, 4096), None);
        assert_eq!(segments(&[200, 0, 0, 0], 4096, 4096), None);
    }
}
