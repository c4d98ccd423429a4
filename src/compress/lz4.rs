//! LZ4's legacy frames, which `lz4 -l` makes and Linux takes for an initramfs: a magic number, and blocks of up
//! to 8 MiB, each behind the length of its packed bytes.

const MAGIC: u32 = 0x184c_2102;

/// Bytes that a block unpacks to, at most.
const BLOCK_LEN: usize = 8 << 20;

/// Most bytes of a packed block: what cannot be packed grows by a 255th.
const MAX_PACKED_LEN: usize = BLOCK_LEN + BLOCK_LEN / 255 + 16;

/// Unpacks one stream, piece by piece.
#[derive(Debug, Default)]
pub struct Lz4Decoder {
    /// Bytes of the number or block at hand, as far as they came.
    packed: Vec<u8>,
    /// Bytes of the block at hand; nothing before its length is known.
    want: Option<usize>,
    plain: Vec<u8>,
    given: usize,
}

impl Lz4Decoder {
    /// Makes a decoder; 16 MiB are taken as blocks come.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Unpacks as much of `input` as `output` has room for, and returns how many bytes were taken and given.
    /// `last` says that nothing follows. `None` if the stream is damaged or cut.
    pub fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Option<(usize, usize)> {
        let len = self.plain.len().strict_sub(self.given).min(output.len());
        if len > 0 {
            let end = self.given.strict_add(len);
            output[..len].copy_from_slice(&self.plain[self.given..end]);
            self.given = end;
            return Some((0, len));
        }
        let want = self.want.unwrap_or(4);
        let part = want.strict_sub(self.packed.len()).min(input.len());
        self.packed.extend_from_slice(&input[..part]);
        if self.packed.len() < want {
            let is_cut = last && part == 0 && !(self.packed.is_empty() && self.want.is_none());
            return (!is_cut).then_some((part, 0));
        }
        if self.want.is_some() {
            self.plain.clear();
            self.given = 0;
            unpack(&self.packed, &mut self.plain)?;
            self.want = None;
        } else {
            let number = u32::from_le_bytes(*self.packed.first_chunk()?);
            match number {
                // Zeros fill a file up to a multiple of something.
                MAGIC | 0 => {}
                len => self.want = usize::try_from(len).ok().filter(|len| *len <= MAX_PACKED_LEN),
            }
            if self.want.is_none() && !matches!(number, MAGIC | 0) {
                return None;
            }
        }
        self.packed.clear();
        Some((part, 0))
    }
}

/// Unpacks a block; `None` if it breaks its format or is too long.
fn unpack(packed: &[u8], plain: &mut Vec<u8>) -> Option<()> {
    let mut rest = packed;
    loop {
        let (token, behind) = rest.split_first()?;
        rest = behind;
        let literals = length(usize::from(token >> 4), &mut rest)?;
        if literals > rest.len() || literals > BLOCK_LEN.checked_sub(plain.len())? {
            return None;
        }
        let (copied, behind) = rest.split_at(literals);
        plain.extend_from_slice(copied);
        rest = behind;
        if rest.is_empty() {
            return Some(());
        }
        let (low, behind) = rest.split_first_chunk::<2>()?;
        let back = usize::from(u16::from_le_bytes(*low));
        rest = behind;
        let len = length(usize::from(token & 15), &mut rest)?.checked_add(4)?;
        if back == 0 || len > BLOCK_LEN.checked_sub(plain.len())? {
            return None;
        }
        let mut from = plain.len().checked_sub(back)?;
        let mut left = len;
        while left > 0 {
            // What is copied may overlap what it is copied from.
            let part = left.min(plain.len().strict_sub(from));
            plain.extend_from_within(from..from.strict_add(part));
            (from, left) = (from.strict_add(part), left.strict_sub(part));
        }
    }
}

/// Reads the rest of a length.
fn length(first: usize, rest: &mut &[u8]) -> Option<usize> {
    let mut len = first;
    if first == 15 {
        loop {
            let (byte, behind) = rest.split_first()?;
            *rest = behind;
            len = len.checked_add(usize::from(*byte))?;
            if *byte != 255 {
                break;
            }
        }
    }
    Some(len)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// Packs without matches but for one of a repeated byte.
    fn frame(blocks: &[&[u8]]) -> Vec<u8> {
        let mut all = MAGIC.to_le_bytes().to_vec();
        for block in blocks {
            all.extend_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
            all.extend_from_slice(block);
        }
        all
    }

    fn decode(packed: &[u8], most: usize) -> Option<Vec<u8>> {
        let (mut decoder, mut at, mut all) = (Lz4Decoder::new(), 0, Vec::new());
        let mut output = vec![0; most];
        loop {
            let end = packed.len().min(at + most);
            let (taken, given) = decoder.step(&packed[at..end], at == packed.len(), &mut output)?;
            at += taken;
            all.extend_from_slice(&output[..given]);
            if (taken, given) == (0, 0) && at == packed.len() {
                return Some(all);
            }
        }
    }

    #[test]
    fn blocks_come_back_in_pieces_of_any_length() {
        // Literals "abc", a match of 12 bytes 3 back, literals "xy"; then 20 literals.
        let first = [0x38, b'a', b'b', b'c', 3, 0, 0x20, b'x', b'y'];
        let second = [&[0xf0, 5][..], &[7; 20]].concat();
        let packed = frame(&[&first, &second]);
        let expected = [&b"abcabcabcabcabcxy"[..], &[7; 20]].concat();
        for most in [1, 3, 100] {
            assert_eq!(decode(&packed, most).as_ref(), Some(&expected), "{most}");
        }
        assert_eq!(decode(&[&packed[..], &[0; 8]].concat(), 5), Some(expected));
    }

    #[test]
    fn what_breaks_the_format_is_refused() {
        for bad in [
            frame(&[&[0x10]]),
            frame(&[&[0x04, 1, 0, 0]]),
            frame(&[&[0x10, b'a', 0, 0, 0]]),
            frame(&[&[0x10, b'a', 2, 0, 0]]),
            [&MAGIC.to_le_bytes()[..], &u32::MAX.to_le_bytes()].concat(),
            frame(&[&[0x10, b'a']])[..9].to_vec(),
            frame(&[&[0x10, b'a']])[..6].to_vec(),
        ] {
            assert_eq!(decode(&bad, 64), None, "{bad:x?}");
        }
    }
}
