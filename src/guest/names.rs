//! How labels and UUIDs of file systems are written.

use std::ops::Range;

/// Writes a UUID as `blkid` does.
pub(super) fn uuid(bytes: &[u8; 16]) -> String {
    let digits = |range: Range<usize>| {
        bytes[range].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    };
    [digits(0..4), digits(4..6), digits(6..8), digits(8..10), digits(10..16)].join("-")
}

/// Returns the bytes before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_five_groups_and_a_label_ends_at_the_first_nul() {
        let bytes = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
        assert_eq!(uuid(&bytes), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(until_nul(b"root\0x\0"), b"root");
        assert_eq!(until_nul(b"twelve-bytes"), b"twelve-bytes");
    }
}
