//! The plain archive of a bundle: its parts in a row, decrypted and unpacked.

use crate::compress::MAX_WINDOW_LEN;
use crate::compress::StreamDecoder;
use crate::compress::Wrapping;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::instance_store::cipher::Decryptor;
use crate::instance_store::cipher::without_padding;
use crate::instance_store::keys::Secret;
use crate::instance_store::parts::Parts;
use crate::io::Input;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;

/// Encrypted bytes that are taken at once: whole cipher blocks.
const CIPHER_PIECE_LEN: usize = 256 << 10;

/// Reads the plain archive.
pub(super) struct Archive<'a> {
    parts: Parts<'a>,
    decryptor: Decryptor,
    decoder: StreamDecoder,
    /// The part that is being read, and the byte in it.
    part: Option<Input>,
    next_part: usize,
    at: u64,
    /// Encrypted bytes to come.
    left: u64,
    /// Decrypted bytes, from `start` on not unpacked.
    packed: Vec<u8>,
    start: usize,
}

impl<'a> Archive<'a> {
    pub(super) fn new(parts: Parts<'a>, secret: &Secret) -> Result<Self> {
        Ok(Self {
            parts,
            decryptor: Decryptor::new(secret),
            decoder: StreamDecoder::new(Wrapping::Gzip, MAX_WINDOW_LEN)?,
            part: None,
            next_part: 0,
            at: 0,
            left: parts.bundled_size(),
            packed: Vec::new(),
            start: 0,
        })
    }

    /// Fills `out` as far as the archive goes, and returns how much that was.
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            if self.start == self.packed.len() && self.left > 0 {
                self.decrypt()?;
            }
            let last = self.left == 0;
            let step = self.decoder.step(&self.packed[self.start..], last, &mut out[filled..])?;
            self.start = self.start.strict_add(step.taken);
            filled = filled.strict_add(step.given);
            let over = last && self.start == self.packed.len();
            if over && step.taken == 0 && step.given == 0 {
                break;
            }
        }
        Ok(filled)
    }

    /// Decrypts the next piece.
    fn decrypt(&mut self) -> Result<()> {
        let len = usize::try_from(self.left).unwrap_or(CIPHER_PIECE_LEN).min(CIPHER_PIECE_LEN);
        self.packed.resize(len, 0);
        self.start = 0;
        let mut filled = 0;
        while filled < len {
            let part = match &mut self.part {
                Some(part) if self.at < part.len() => part,
                part => {
                    if self.next_part == self.parts.count() {
                        return Err(Error::new(Kind::Io, "a part was truncated while it was read"));
                    }
                    let opened = self.parts.open(self.next_part)?;
                    (self.next_part, self.at) = (self.next_part.strict_add(1), 0);
                    *part = Some(opened);
                    continue;
                }
            };
            let rest = usize::try_from(part.len().strict_sub(self.at)).unwrap_or(usize::MAX);
            let take = rest.min(len.strict_sub(filled)).min(READ_PIECE_LEN);
            part.read_exact_at(&mut self.packed[filled..][..take], self.at)?;
            self.at = self.at.strict_add(u64::try_from(take).expect("a length"));
            filled = filled.strict_add(take);
        }
        self.left = self.left.strict_sub(u64::try_from(len).expect("a length"));
        self.decryptor.update(&mut self.packed);
        if self.left == 0 {
            self.packed.truncate(without_padding(&self.packed)?);
        }
        Ok(())
    }
}
