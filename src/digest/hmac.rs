//! HMAC-SHA-256 (RFC 2104), for signatures of requests.

use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::digest::sha256;

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// Returns the HMAC-SHA-256 of a message. What is made of the key on the way is wiped.
#[must_use]
pub fn hmac(key: &[u8], message: &[u8]) -> Digest {
    let mut block = Zeroizing::new([0; BLOCK]);
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&sha256(key).0);
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |with: u8, rest: &[u8]| {
        let mut text = Zeroizing::new(block.map(|byte| byte ^ with).to_vec());
        text.extend_from_slice(rest);
        sha256(&text)
    };
    let inner = padded(0x36, message);
    padded(0x5c, &inner.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, cases 1, 2 and 6.
    #[test]
    fn hmac_is_that_of_the_rfc() {
        let cases: [(&[u8], &[u8], &str); 3] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, message, expected) in cases {
            assert_eq!(hmac(key, message).hex(), expected);
        }
    }
}
