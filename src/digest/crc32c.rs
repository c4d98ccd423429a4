//! CRC-32C (Castagnoli), as VHDX and ext4 have it over their metadata.
//!
//! Eight tables take eight bytes a step. Nobody sums more than a few MiB with it, so there
//! is not a routine for special instructions.

/// The polynomial, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[k][byte]`: what `byte` does to the sum when `k` bytes follow it.
static TABLES: [[u32; 256]; 8] = tables();

#[allow(clippy::arithmetic_side_effects, reason = "indexes of constant loops")]
#[allow(clippy::as_conversions, clippy::cast_possible_truncation, reason = "from is not const")]
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut follow = 1;
    while follow < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[follow - 1][byte];
            tables[follow][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        follow += 1;
    }
    tables
}

/// Returns the CRC-32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    !crc32c_register(u32::MAX, bytes)
}

/// Takes `bytes` into the register of a CRC-32C that begins with any value, and is not inverted at
/// the end: ext4 sums this way, with an UUID in front.
#[must_use]
pub fn crc32c_register(register: u32, bytes: &[u8]) -> u32 {
    let [last, seventh, sixth, fifth, fourth, third, second, first] = &TABLES;
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut sum = register;
    // Written out: folded, it is as fast where it is optimised, and an eighth of that in a build for tests.
    for [a, b, c, d, e, f, g, h] in eights {
        let [i, j, k, l] = sum.to_le_bytes();
        sum = first[usize::from(a ^ i)]
            ^ second[usize::from(b ^ j)]
            ^ third[usize::from(c ^ k)]
            ^ fourth[usize::from(d ^ l)]
            ^ fifth[usize::from(*e)]
            ^ sixth[usize::from(*f)]
            ^ seventh[usize::from(*g)]
            ^ last[usize::from(*h)];
    }
    for byte in rest {
        let [low, ..] = sum.to_le_bytes();
        sum = (sum >> 8) ^ last[usize::from(low ^ byte)];
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow twin: bit by bit.
    fn slow(bytes: &[u8]) -> u32 {
        let mut sum = u32::MAX;
        for byte in bytes {
            sum ^= u32::from(*byte);
            for _ in 0..8 {
                sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
            }
        }
        !sum
    }

    /// RFC 3720, appendix B.4, and the check value of the catalogues.
    #[test]
    fn known_sums() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
    }

    #[test]
    fn a_register_takes_bytes_piece_by_piece() {
        let bytes: Vec<u8> = (0..100).collect();
        for cut in 0..bytes.len() {
            let register = crc32c_register(u32::MAX, &bytes[..cut]);
            assert_eq!(!crc32c_register(register, &bytes[cut..]), crc32c(&bytes));
        }
    }

    #[test]
    fn every_length_and_start_equals_bit_by_bit() {
        let bytes: Vec<u8> = (0..=255_u8).map(|byte| byte.wrapping_mul(167)).collect();
        for start in 0..9 {
            for end in start..bytes.len() {
                assert_eq!(crc32c(&bytes[start..end]), slow(&bytes[start..end]), "{start}..{end}");
            }
        }
    }
}
