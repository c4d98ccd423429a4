//! Where in an .xz stream its decoder is, so that damage gets a name and a place.
//!
//! ```text
//! stream header    12 bytes; the low half of byte 7 says which check blocks have
//! block            header of (its first byte + 1) * 4 bytes
//!                  chunks of LZMA2: a byte that says what follows, 0 behind the last
//!                      1, 2       stored: a length of 2 bytes, less one, and as many bytes
//!                      80 to FF   coded: a length of the plain bytes of 2 bytes, one of the coded
//!                                 ones of 2 bytes, less one, a byte more from C0 on, and the code
//!                  zeros up to a multiple of 4 bytes
//!                  check
//! index            begins with a byte of 0 where a block would
//! stream footer
//! ```

/// Bytes of the stream's header.
const HEAD_LEN: u64 = 12;

/// Bytes of each kind of check.
const CHECK_LENS: [u64; 16] = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];

/// Where the decoder stopped. Bytes are counted from the start of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the stream's header.
    Head,
    /// In the header of the block that starts there, or just behind it.
    BlockHead { start: u64 },
    /// In the code of the block that starts there, in the chunk at byte `chunk`.
    Code { start: u64, chunk: u64 },
    /// Where the code of the block says that it ends. [`Walk::place`] tells what is behind that apart.
    CodeEnd { start: u64 },
    /// In the check of the block that starts there, or just behind it.
    Check { start: u64 },
    /// In the index or the footer.
    Index,
}

/// What is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The byte with the kind of check.
    Check,
    /// The rest of the stream's header.
    HeadEnd,
    /// The first byte of a block, or of the index.
    Block,
    /// The first byte of a chunk.
    Chunk,
    /// A byte of the length of a chunk's code: so many follow, and that is what came.
    Len { more: u8, len: u64, has_props: bool },
    /// Nothing that matters.
    Rest,
}

/// Goes along with a decoder.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    at: u64,
    /// Bytes until `next`.
    skip: u64,
    next: Next,
    check_len: u64,
    /// Where the code of the last block ended.
    code_end: u64,
    place: Place,
}

impl Default for Walk {
    fn default() -> Self {
        // The kind of check is the eighth byte.
        Self { at: 0, skip: 7, next: Next::Check, check_len: 0, code_end: 0, place: Place::Head }
    }
}

impl Walk {
    /// Takes what the decoder took.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.skip > 0 {
                let len = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                let skipped = u64::try_from(len).expect("a buffer");
                self.at = self.at.strict_add(skipped);
                self.skip = self.skip.strict_sub(skipped);
                bytes = &bytes[len..];
                continue;
            }
            self.byte(*first);
            self.at = self.at.strict_add(1);
            bytes = rest;
        }
    }

    /// Returns where the decoder is.
    pub(super) fn place(&self) -> Place {
        let Place::CodeEnd { start } = self.place else { return self.place };
        if self.at > self.code_end.next_multiple_of(4) {
            Place::Check { start }
        } else if self.at > self.code_end {
            Place::Code { start, chunk: self.code_end }
        } else {
            self.place
        }
    }

    fn byte(&mut self, byte: u8) {
        match self.next {
            Next::Check => {
                self.check_len = CHECK_LENS[usize::from(byte & 0x0f)];
                // The byte before the last, so that the header is not over before it is.
                (self.skip, self.next) = (HEAD_LEN.strict_sub(9), Next::HeadEnd);
            }
            Next::HeadEnd => self.next = Next::Block,
            Next::Block if byte == 0 => {
                (self.next, self.place) = (Next::Rest, Place::Index);
            }
            Next::Block => {
                self.place = Place::BlockHead { start: self.at };
                (self.skip, self.next) = (u64::from(byte).strict_mul(4).strict_add(3), Next::Chunk);
            }
            Next::Chunk => self.chunk(byte),
            Next::Len { more, len, has_props } => {
                let len = (len << 8) | u64::from(byte);
                self.next = match more {
                    0 => {
                        let props = u64::from(has_props);
                        self.skip = (len & 0xffff).strict_add(1).strict_add(props);
                        Next::Chunk
                    }
                    more => Next::Len { more: more.strict_sub(1), len, has_props },
                };
            }
            Next::Rest => {}
        }
    }

    fn chunk(&mut self, control: u8) {
        let (Place::BlockHead { start } | Place::Code { start, .. }) = self.place else {
            unreachable!("chunks stand in blocks")
        };
        self.place = Place::Code { start, chunk: self.at };
        match control {
            0 => {
                self.place = Place::CodeEnd { start };
                // The header is a multiple of 4 bytes, so the block is padded as the code is.
                self.code_end = self.at.strict_add(1);
                let padding = self.code_end.next_multiple_of(4).strict_sub(self.code_end);
                (self.skip, self.next) = (padding.strict_add(self.check_len), Next::Block);
            }
            1 | 2 => self.next = Next::Len { more: 1, len: 0, has_props: false },
            0x80.. => {
                let has_props = control >= 0xc0;
                self.next = Next::Len { more: 3, len: 0, has_props };
            }
            // The decoder does not go on.
            _ => self.next = Next::Rest,
        }
    }
}
