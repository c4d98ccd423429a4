//! Digests and checksums: SHA-256 (one stream, or many blocks side by side), CRC-32,
//! CRC-32C, HMAC, hex, base64.

mod crc32c;
mod foreign;
mod hmac;
mod lanes;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use sha2::Digest as _;

pub use crc32c::crc32c;
pub use crc32c::crc32c_register;
pub use foreign::Algorithm;
pub use foreign::Hasher;
pub use hmac::hmac;
pub use lanes::Engine;
pub use lanes::Lanes;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Returns the digest as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        use fmt::Write;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes all");
            text
        })
    }

    /// Returns the digest as EBS writes checksums: standard base64, padded.
    #[must_use]
    pub fn base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads a digest as EBS writes checksums; anything else is `None`.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        Some(Self(STANDARD.decode(text).ok()?.try_into().ok()?))
    }

    /// Reads 64 lower-case hexadecimal digits; anything else is `None`.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let bytes = text.as_bytes();
        if bytes.len() != 64 {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(bytes.as_chunks::<2>().0) {
            let [high, low] = pair.map(|digit| match digit {
                b'0'..=b'9' => Some(digit.strict_sub(b'0')),
                b'a'..=b'f' => Some(digit.strict_sub(b'a').strict_add(10)),
                _ => None,
            });
            *byte = (high? << 4) | low?;
        }
        Some(Self(digest))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("sha256:{self}"))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix("sha256:").and_then(Self::from_hex).ok_or_else(|| {
            serde::de::Error::custom(format_args!(
                "digest is {text:?}, expected sha256: and 64 lower-case hexadecimal digits"
            ))
        })
    }
}

/// SHA-256 of one stream.
#[derive(Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Starts a digest of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `bytes` to the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Ends the stream.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256")
    }
}

/// Returns the SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

/// Returns the keyless `BLAKE2b` of `bytes`, of 256 bits.
#[must_use]
pub fn blake2b_256(bytes: &[u8]) -> [u8; 32] {
    blake2::Blake2b256::digest(bytes).into()
}

/// Returns the CRC-32 (IEEE 802.3, reflected, as in zlib) of `bytes`.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Takes `bytes` into the register of a CRC-32 that begins with any value, and is not inverted at the end, as
/// LVM2 has it.
#[must_use]
pub fn crc32_register(register: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!register);
    hasher.update(bytes);
    !hasher.finalize()
}

/// Bytes that are looked at before all others: a cache line, so that the rest begins on one if they do.
const FIRST_LEN: usize = 64;

/// Tells whether all of `bytes` are zero, at the speed of memory.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    match bytes.split_first_chunk::<FIRST_LEN>() {
        // If the first are zero, and each byte equals the one so many before it, all are. The C library compares
        // with the widest registers that the processor has, in a build without optimisation too.
        Some((first, rest)) => *first == [0; FIRST_LEN] && *rest == bytes[..rest.len()],
        None => bytes.iter().all(|byte| *byte == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_makes_it_no_zero() {
        let mut bytes = vec![0; 1000];
        for len in [0, 1, 63, 64, 65, 255, 256, 257, 1000] {
            assert!(is_zero(&bytes[..len]), "{len}");
        }
        for at in 0..bytes.len() {
            bytes[at] = 1;
            assert!(!is_zero(&bytes), "{at}");
            bytes[at] = 0;
        }
    }

    #[test]
    fn hex_comes_back_and_nothing_else_does() {
        let digest = sha256(b"amikit");
        assert_eq!(Digest::from_hex(&digest.hex()), Some(digest));
        let upper = digest.hex().to_uppercase();
        for wrong in ["", "00", &upper, &digest.hex()[1..], &format!("{digest}0")] {
            assert_eq!(Digest::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn crc_is_the_one_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
