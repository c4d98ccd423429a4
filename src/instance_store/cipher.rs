//! AES-128-CBC with PKCS#7 padding, over a stream.

use std::fmt;

use aes::Aes128;
use cbc::cipher::Array;
use cbc::cipher::BlockModeDecrypt;
use cbc::cipher::BlockModeEncrypt;
use cbc::cipher::KeyIvInit;
use cbc::cipher::consts::U16;

use crate::instance_store::fault::PayloadFault;
use crate::instance_store::keys::Secret;

/// Bytes of a cipher block.
pub(super) const CIPHER_BLOCK_LEN: usize = 16;

/// Encrypts a stream.
pub(super) struct Encryptor {
    cipher: cbc::Encryptor<Aes128>,
    /// Plain bytes that are not a whole block yet.
    rest: Vec<u8>,
}

impl Encryptor {
    pub(super) fn new(secret: &Secret) -> Self {
        let cipher = cbc::Encryptor::new(&secret.key.into(), &secret.iv.into());
        Self { cipher, rest: Vec::new() }
    }

    /// Encrypts the whole blocks of what is left over and `plain`, and returns them.
    pub(super) fn update(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(plain);
        self.rest = bytes.split_off(bytes.len().strict_sub(bytes.len() % CIPHER_BLOCK_LEN));
        self.blocks(bytes)
    }

    /// Pads what is left over, and returns the last block.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.rest);
        let pad = CIPHER_BLOCK_LEN.strict_sub(bytes.len());
        bytes.resize(CIPHER_BLOCK_LEN, u8::try_from(pad).expect("at most a block"));
        self.blocks(bytes)
    }

    fn blocks(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let (blocks, rest) = Array::<u8, U16>::slice_as_chunks_mut(&mut bytes);
        assert!(rest.is_empty(), "whole blocks");
        self.cipher.encrypt_blocks(blocks);
        bytes
    }
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encryptor")
    }
}

/// Decrypts a stream.
pub(super) struct Decryptor(cbc::Decryptor<Aes128>);

impl Decryptor {
    pub(super) fn new(secret: &Secret) -> Self {
        Self(cbc::Decryptor::new(&secret.key.into(), &secret.iv.into()))
    }

    /// Decrypts whole blocks where they stand.
    pub(super) fn update(&mut self, bytes: &mut [u8]) {
        let (blocks, rest) = Array::<u8, U16>::slice_as_chunks_mut(bytes);
        assert!(rest.is_empty(), "whole blocks");
        self.0.decrypt_blocks(blocks);
    }
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decryptor")
    }
}

/// Returns how many of the last plain bytes are not padding.
pub(super) fn without_padding(plain: &[u8]) -> Result<usize, PayloadFault> {
    let pad = plain.last().map_or(0, |byte| usize::from(*byte));
    let len = plain.len().checked_sub(pad).ok_or(PayloadFault::Padding)?;
    let sound = (1..=CIPHER_BLOCK_LEN).contains(&pad);
    if sound && plain[len..].iter().all(|byte| usize::from(*byte) == pad) {
        Ok(len)
    } else {
        Err(PayloadFault::Padding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST SP 800-38A, F.2.1: two blocks of CBC-AES128.
    #[test]
    fn the_example_of_the_standard_comes_out_in_any_pieces() {
        let secret = Secret {
            key: *b"\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\x3c",
            iv: *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
        };
        let plain = b"\x6b\xc1\xbe\xe2\x2e\x40\x9f\x96\xe9\x3d\x7e\x11\x73\x93\x17\x2a\
                      \xae\x2d\x8a\x57\x1e\x03\xac\x9c\x9e\xb7\x6f\xac\x45\xaf\x8e\x51";
        let expected = b"\x76\x49\xab\xac\x81\x19\xb2\x46\xce\xe9\x8e\x9b\x12\xe9\x19\x7d\
                         \x50\x86\xcb\x9b\x50\x72\x19\xee\x95\xdb\x11\x3a\x91\x76\x78\xb2";
        for cut in 0..=plain.len() {
            let mut encryptor = Encryptor::new(&secret);
            let mut bytes = encryptor.update(&plain[..cut]);
            bytes.extend(encryptor.update(&plain[cut..]));
            bytes.extend(encryptor.finish());
            assert_eq!((&bytes[..32], bytes.len()), (&expected[..], 48));
            let mut decryptor = Decryptor::new(&secret);
            decryptor.update(&mut bytes[..16]);
            decryptor.update(&mut bytes[16..]);
            assert_eq!(without_padding(&bytes), Ok(32));
            assert_eq!(&bytes[..32], plain);
        }
    }

    #[test]
    fn padding_that_nobody_makes_is_refused() {
        for bad in [&[0; 16][..], &[17; 32], &[2; 1], &[3, 2, 3, 3][..3], &[1, 2], &[]] {
            assert_eq!(without_padding(bad), Err(PayloadFault::Padding), "{bad:?}");
        }
        assert_eq!((without_padding(&[16; 16]), without_padding(&[9, 1])), (Ok(0), Ok(1)));
    }
}
