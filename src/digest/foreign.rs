//! Digests that other people's formats ask for, one stream at a time.

use std::fmt;
use std::fmt::Write;

use sha1::Digest as _;

/// A digest that a format names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// 160 bits; only for formats that have no other.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Reads a name, as OpenSSL of any version writes it (`SHA256`, `SHA2-256`) and others do (`SHA-256`,
    /// `sha256`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase().replace('_', "-");
        let bits = name.strip_prefix("SHA2-").or_else(|| name.strip_prefix("SHA"))?;
        match bits.strip_prefix('-').unwrap_or(bits) {
            "1" => Some(Self::Sha1),
            "224" => Some(Self::Sha224),
            "256" => Some(Self::Sha256),
            "384" => Some(Self::Sha384),
            "512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Returns the algorithm whose digests have that many hexadecimal digits.
    #[must_use]
    pub fn of_hex_len(len: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.hex_len() == len)
    }

    /// Returns the hexadecimal digits of a digest.
    #[must_use]
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha1 => 40,
            Self::Sha224 => 56,
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "SHA-1",
            Self::Sha224 => "SHA-224",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// A digest of a stream that is being made.
#[derive(Clone, Debug)]
pub struct Hasher(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Sha1(sha1::Sha1),
    Sha224(sha2::Sha224),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Begins a digest.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha1 => Inner::Sha1(sha1::Sha1::new()),
            Algorithm::Sha224 => Inner::Sha224(sha2::Sha224::new()),
            Algorithm::Sha256 => Inner::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => Inner::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => Inner::Sha512(sha2::Sha512::new()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Inner::Sha1(sha) => sha.update(bytes),
            Inner::Sha224(sha) => sha.update(bytes),
            Inner::Sha256(sha) => sha.update(bytes),
            Inner::Sha384(sha) => sha.update(bytes),
            Inner::Sha512(sha) => sha.update(bytes),
        }
    }

    /// Returns the digest's bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            Inner::Sha1(sha) => sha.finalize().to_vec(),
            Inner::Sha224(sha) => sha.finalize().to_vec(),
            Inner::Sha256(sha) => sha.finalize().to_vec(),
            Inner::Sha384(sha) => sha.finalize().to_vec(),
            Inner::Sha512(sha) => sha.finalize().to_vec(),
        }
    }

    /// Returns the digest in lower-case hexadecimal digits.
    #[must_use]
    pub fn finish_hex(self) -> String {
        self.finish().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes all");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests of "abc", from FIPS 180-4's examples.
    #[test]
    fn the_examples_of_the_standard_come_out() {
        for (name, expected) in [
            ("SHA1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("SHA224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            (
                "SHA2-384",
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
                 8086072ba1e7cc2358baeca134c825a7",
            ),
            ("SHA256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "SHA512",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            let algorithm = Algorithm::from_name(name).unwrap();
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"a");
            hasher.update(b"bc");
            assert_eq!(hasher.finish_hex(), expected);
            assert_eq!(expected.len(), algorithm.hex_len());
            assert_eq!(Algorithm::of_hex_len(expected.len()), Some(algorithm));
        }
    }

    #[test]
    fn each_spelling_of_a_name_is_known() {
        for name in ["SHA256", "SHA2-256", "SHA-256", "sha256", "Sha_256"] {
            assert_eq!(Algorithm::from_name(name), Some(Algorithm::Sha256), "{name}");
        }
        for name in ["MD5", "SHA3-256", "SHA512/256", "SHA512-256", "256", ""] {
            assert_eq!(Algorithm::from_name(name), None, "{name}");
        }
    }
}
