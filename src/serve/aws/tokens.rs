//! Tokens that nobody can make up, and that expire: of blocks, and of pages of a list.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::digest::hmac;
use crate::digest::sha256;
use crate::serve::aws::access::same;

/// Bytes of the seal.
const SEAL: usize = 16;

/// What a token says: which of its kind it is, until when, and a number.
const PLAIN: usize = 24;

/// What makes and checks tokens. Its key is drawn when the server starts, so tokens end with it.
#[derive(Debug)]
pub(super) struct Tokens {
    key: [u8; 32],
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenFault {
    /// It was not made for this, or not by this server.
    Wrong,
    /// Its time is over.
    Expired,
}

impl Tokens {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Returns the key that was drawn.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Makes a token: `number` of `what`, good until `until`, in seconds since 1970. It differs for each `nonce`.
    pub(super) fn make(&self, what: &str, number: u64, until: u64, nonce: u64) -> String {
        let mut bytes =
            [&number.to_le_bytes()[..], &until.to_le_bytes(), &nonce.to_le_bytes()].concat();
        bytes.extend_from_slice(&self.seal(what, &bytes));
        STANDARD.encode(bytes)
    }

    fn seal(&self, what: &str, plain: &[u8]) -> [u8; SEAL] {
        let message = [&sha256(what.as_bytes()).0[..], plain].concat();
        *hmac(&self.key, &message).0.first_chunk().expect("32 bytes")
    }

    /// Returns the number in a token of `what`.
    pub(super) fn open(&self, what: &str, token: &str, now: u64) -> Result<u64, TokenFault> {
        let bytes = STANDARD.decode(token).map_err(|_| TokenFault::Wrong)?;
        let (plain, seal) = bytes.split_at_checked(PLAIN).ok_or(TokenFault::Wrong)?;
        if !same(seal, &self.seal(what, plain)) {
            return Err(TokenFault::Wrong);
        }
        if crate::field::u64_le(plain, 8) < now {
            return Err(TokenFault::Expired);
        }
        Ok(crate::field::u64_le(plain, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_thing_and_a_time() {
        let tokens = Tokens::new([7; 32]);
        let token = tokens.make("snap-1", 5, 100, 1);
        assert!(token.len() <= 256 && token != tokens.make("snap-1", 5, 100, 2));
        assert_eq!(tokens.open("snap-1", &token, 100), Ok(5));
        assert_eq!(tokens.open("snap-1", &token, 101), Err(TokenFault::Expired));
        assert_eq!(tokens.open("snap-2", &token, 100), Err(TokenFault::Wrong));
        assert_eq!(Tokens::new([8; 32]).open("snap-1", &token, 1), Err(TokenFault::Wrong));
        let mut other = token.clone();
        for (at, c) in token.char_indices() {
            other.replace_range(at..=at, if c == 'A' { "B" } else { "A" });
            assert_eq!(tokens.open("snap-1", &other, 100), Err(TokenFault::Wrong), "{at}");
            other.clone_from(&token);
        }
        assert_eq!(tokens.open("snap-1", "", 1), Err(TokenFault::Wrong));
    }
}
