//! Numbers of headers: octal digits, or GNU's binary form. Pure.
//!
//! GNU tar, libarchive and Python's `tarfile` forgive different things here. A field is taken as a number
//! only where all three take it for the same one; everything else is refused, because an archive must
//! not hold another file for the next reader.

use crate::tar::fault::TarFault;

/// Reads a number.
///
/// # Errors
///
/// `Number`.
pub(super) fn number(field: &[u8]) -> Result<u64, TarFault> {
    if field[0] == 0x80 {
        return binary(&field[1..]);
    }
    let digits = field.trim_ascii_start_of(b" ");
    let end = digits.iter().position(|byte| !matches!(byte, b'0'..=b'7'));
    let (digits, rest) = digits.split_at(end.unwrap_or(digits.len()));
    match (digits, rest) {
        // Blanks alone are an error to GNU tar and 0 to the others.
        ([], []) => Err(TarFault::Number),
        // 0 to all of them, but for digits behind the NUL: GNU tar passes over one NUL in front. libarchive
        // takes such a field for one that may be of another kind, and does not look at it.
        ([], [0, rest @ ..]) if field[0] == 0 => {
            let next = rest.trim_ascii_start_of(b" \t\n\x0b\x0c\r").first();
            if next == Some(&0) { Ok(0) } else { Err(TarFault::Number) }
        }
        // To libarchive a file is no archive if anything but blanks and NULs stands behind the digits of its
        // first header.
        (digits, rest) if rest.iter().all(|byte| matches!(byte, b' ' | 0)) && is_end(rest) => {
            octal(digits)
        }
        _ => Err(TarFault::Number),
    }
}

/// Reads the number of a header's checksum, which libarchive takes of nothing but octal digits, blanks and
/// NULs.
///
/// # Errors
///
/// `Number`.
pub(super) fn checksum(field: &[u8]) -> Result<u64, TarFault> {
    let plain = field.iter().all(|byte| matches!(byte, b'0'..=b'7' | b' ' | 0));
    // No header adds up to nothing.
    number(field).ok().filter(|sum| plain && *sum > 0).ok_or(TarFault::Number)
}

/// Tells whether digits may end here: at the field's end, or at blanks and a NUL.
fn is_end(rest: &[u8]) -> bool {
    rest.trim_ascii_start_of(b" ").first().is_none_or(|byte| *byte == 0)
}

fn octal(digits: &[u8]) -> Result<u64, TarFault> {
    let add = |value: u64, byte: &u8| value.checked_mul(8)?.checked_add(u64::from(byte & 7));
    digits.iter().try_fold(0, add).ok_or(TarFault::Number)
}

/// Reads the binary form behind its first byte: a big-endian number.
fn binary(bytes: &[u8]) -> Result<u64, TarFault> {
    let (high, low) = bytes.split_at(bytes.len().saturating_sub(8));
    let value = low.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    if high.iter().all(|byte| *byte == 0) { Ok(value) } else { Err(TarFault::Number) }
}

trait TrimStart {
    fn trim_ascii_start_of(&self, blanks: &[u8]) -> &[u8];
}

impl TrimStart for [u8] {
    /// Returns what is behind the blanks in front.
    fn trim_ascii_start_of(&self, blanks: &[u8]) -> &[u8] {
        let start = self.iter().position(|byte| !blanks.contains(byte)).unwrap_or(self.len());
        &self[start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What GNU tar 1.34, libarchive 3.6 and Python 3.11 agree on.
    #[test]
    fn a_number_is_what_all_readers_take() {
        let cases: &[(&[u8; 12], u64)] = &[
            (b"00000001000\0", 512),
            (b"000000001000", 512),
            (b"00000001000 ", 512),
            (b"    1000 \0  ", 512),
            (b"    1000\0 \0 ", 512),
            (b"777777777777", 0o777_777_777_777),
            (b"\0\0\0\x000001000\0", 0),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", 0),
            (b"  \0\0\0\0\0\0\0\0\0\0", 0),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", 1 << 33),
        ];
        for (field, value) in cases {
            assert_eq!(number(*field), Ok(*value), "{field:?}");
        }
        let refused: &[&[u8; 12]] = &[
            // GNU tar takes 512, the others 0.
            b"\x0000001000\0\0\0",
            b"\0  00001000\0",
            b"            ",
            b"\0           ",
            b"1000x      \0",
            b"1000 7     \0",
            // libarchive: not an archive; 512, 512 and 0 to the others.
            b"    1000 \0xy",
            b"\t   1000\0\0\0\0",
            b"  \x0001000\0\0\0\0",
            b"000000\x001000\0",
            b"1000\n      \0",
            b"00000001008\0",
            b"-1         \0",
            b"0o1000     \0",
            b"\x81\0\0\0\0\0\0\0\0\0\0\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x80\0\0\x01\0\0\0\0\0\0\0\0",
        ];
        for field in refused {
            assert_eq!(number(*field), Err(TarFault::Number), "{field:?}");
        }
    }

    #[test]
    fn a_checksum_is_digits_blanks_and_nuls() {
        assert_eq!(checksum(b"012345\0 "), Ok(0o12345));
        assert_eq!(checksum(b" 12345 \0"), Ok(0o12345));
        assert_eq!(checksum(b"012345\0x"), Err(TarFault::Number));
        assert_eq!(checksum(b"\0\0\0\0\0\0\0\0"), Err(TarFault::Number));
        assert_eq!(checksum(b"\x80\0\0\0\0\0\x01\0"), Err(TarFault::Number));
    }
}
