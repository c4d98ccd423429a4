//! The header of a zstd frame (RFC 8878, 3.1.1.1). Pure: no I/O, no allocation.
//!
//! ```text
//! 0  4       magic                 0xFD2FB528
//! 4  1       descriptor            bits 7, 6: bytes of the content size; bit 5: no window;
//!                                  bit 3: 0; bit 2: a checksum follows; bits 1, 0: bytes of the id
//! 5  0, 1    window                bits 7 to 3: exponent above 10; bits 2 to 0: eighths more
//!    0 to 4  dictionary id
//!    0 to 8  content size          of 2 bytes: less 256
//! ```

/// Most bytes of a header.
pub(super) const MAX_HEAD_LEN: usize = 18;

/// What a frame begins with.
const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// What a frame that is skipped begins with, but for its lowest four bits.
const SKIPPED: [u8; 4] = 0x184d_2a50_u32.to_le_bytes();

/// The smallest window.
const MIN_WINDOW_LEN: u64 = 1 << 10;

/// What the first bytes of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameHead {
    /// It is a frame with content.
    Frame(Frame),
    /// It is skipped: so many bytes follow.
    Skipped { len: u64 },
}

/// The header of a frame with content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes back that it may refer to.
    pub(super) window_len: u64,
    /// Its dictionary, if it names one.
    pub(super) dictionary: Option<u32>,
    /// Bytes that are in it, if it says so.
    pub(super) content_len: Option<u64>,
    /// Whether a checksum follows its last block.
    pub(super) has_checksum: bool,
}

/// What first bytes lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacking {
    /// More of them: so many in all, at least.
    Bytes(usize),
    /// They do not begin as a frame does.
    Magic,
    /// They are not the header of a frame.
    Sense,
}

impl FrameHead {
    /// Reads a header of exactly as many bytes as it has.
    ///
    /// # Errors
    ///
    /// Says how many bytes to come back with, or that none will do.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Lacking> {
        let known = bytes.len().min(MAGIC.len());
        let (first, rest) = (bytes.first().copied().unwrap_or(SKIPPED[0]), bytes.get(1..known));
        let is_frame = bytes[..known] == MAGIC[..known];
        let is_skipped =
            first & 0xf0 == SKIPPED[0] && rest.is_none_or(|rest| *rest == SKIPPED[1..=rest.len()]);
        if !is_frame && !is_skipped {
            return Err(Lacking::Magic);
        }
        if bytes.len() < 5 {
            return Err(Lacking::Bytes(5));
        }
        if is_skipped {
            return match bytes.len() {
                ..8 => Err(Lacking::Bytes(8)),
                _ => Ok(Self::Skipped {
                    len: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]).into(),
                }),
            };
        }
        let descriptor = bytes[4];
        let is_single = descriptor & 0x20 != 0;
        let window_at = 5_usize;
        let id_at = if is_single { window_at } else { window_at.strict_add(1) };
        let id_len = [0_usize, 1, 2, 4][usize::from(descriptor & 3)];
        let size_at = id_at.strict_add(id_len);
        let size_len = match descriptor >> 6 {
            0 => usize::from(is_single),
            bits => 1_usize << bits,
        };
        let len = size_at.strict_add(size_len);
        if bytes.len() < len {
            return Err(Lacking::Bytes(len));
        }
        if descriptor & 8 != 0 {
            return Err(Lacking::Sense);
        }
        let number = |at: usize, len: usize| {
            let mut bytes_of = [0; 8];
            bytes_of[..len].copy_from_slice(&bytes[at..at.strict_add(len)]);
            u64::from_le_bytes(bytes_of)
        };
        let content_len = match size_len {
            0 => None,
            2 => Some(number(size_at, 2).strict_add(256)),
            len => Some(number(size_at, len)),
        };
        let window_len = match content_len {
            Some(len) if is_single => len,
            _ => window_of(bytes[window_at]),
        };
        let dictionary = u32::try_from(number(id_at, id_len)).expect("at most 4 bytes");
        Ok(Self::Frame(Frame {
            window_len,
            dictionary: (dictionary != 0).then_some(dictionary),
            content_len,
            has_checksum: descriptor & 4 != 0,
        }))
    }
}

impl Frame {
    /// Returns the header of the same frame without a content size.
    ///
    /// `None` if the window is larger than a header can say.
    pub(super) fn without_content_len(&self) -> Option<[u8; 6]> {
        let window = (0..=u8::MAX).find(|byte| window_of(*byte) >= self.window_len)?;
        let descriptor = if self.has_checksum { 4 } else { 0 };
        Some([MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], descriptor, window])
    }
}

/// Returns the window that a byte says.
fn window_of(byte: u8) -> u64 {
    let base = MIN_WINDOW_LEN << (byte >> 3);
    // Cannot overflow: 15 * 2^38 at most.
    base.strict_add((base / 8).strict_mul(u64::from(byte & 7)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use zstd::zstd_safe::CCtx;
    use zstd::zstd_safe::CParameter;

    fn frame(plain: &[u8], parameters: &[CParameter]) -> Vec<u8> {
        let mut context = CCtx::create();
        for parameter in parameters {
            context.set_parameter(*parameter).unwrap();
        }
        let mut out = vec![0; zstd::zstd_safe::compress_bound(plain.len())];
        let len = context.compress2(&mut out[..], plain).unwrap();
        out.truncate(len);
        out
    }

    /// Each way in which zstd itself writes sizes and windows.
    #[test]
    fn headers_of_zstd_are_read() {
        for len in [0, 1, 255, 256, 257, 65_535, 65_536, 70_000, 300_000] {
            for (has_size, has_checksum) in [(true, false), (false, true)] {
                let parameters = [
                    CParameter::ContentSizeFlag(has_size),
                    CParameter::ChecksumFlag(has_checksum),
                    CParameter::WindowLog(17),
                ];
                let bytes = frame(&vec![7; len], &parameters);
                let mut head_len = 0;
                let head = loop {
                    match FrameHead::parse(&bytes[..head_len]) {
                        Err(Lacking::Bytes(more)) => head_len = more,
                        Ok(FrameHead::Frame(head)) => break head,
                        other => panic!("{len}: {other:?}"),
                    }
                };
                let size = u64::try_from(len).unwrap();
                assert_eq!(head.content_len, has_size.then_some(size));
                assert!(head.has_checksum == has_checksum && head.dictionary.is_none());
                assert!(head.window_len <= 1 << 17, "{len}: {}", head.window_len);
                // What we make of it is one that says the same and no size.
                let plain = head.without_content_len().unwrap();
                let Ok(FrameHead::Frame(again)) = FrameHead::parse(&plain) else { panic!("{len}") };
                let window_len = again.window_len;
                assert!(window_len >= head.window_len && again.content_len.is_none());
                assert!(window_len <= head.window_len.max(1 << 10).strict_mul(9) / 8);
            }
        }
    }

    #[test]
    fn what_is_not_a_header_is_told_as_early_as_can_be() {
        let parse = |bytes: &[u8]| FrameHead::parse(bytes);
        assert_eq!(parse(&[]), Err(Lacking::Bytes(5)));
        assert_eq!(parse(&[0x28, 0xb5]), Err(Lacking::Bytes(5)));
        assert_eq!(parse(&[0x28, 0xb4]), Err(Lacking::Magic));
        assert_eq!(parse(&[0x5f, 0x2a, 0x4d]), Err(Lacking::Bytes(5)));
        assert_eq!(parse(&[0x60]), Err(Lacking::Magic));
        assert_eq!(parse(&[0x51, 0x2a, 0x4d, 0x18, 9]), Err(Lacking::Bytes(8)));
        let skipped = [0x51, 0x2a, 0x4d, 0x18, 9, 1, 0, 0];
        assert_eq!(parse(&skipped), Ok(FrameHead::Skipped { len: 265 }));
        // A reserved bit.
        assert_eq!(parse(&[0x28, 0xb5, 0x2f, 0xfd, 8, 0]), Err(Lacking::Sense));
    }

    #[test]
    fn a_dictionary_has_its_id_and_a_window_its_eighths() {
        let bytes = [0x28, 0xb5, 0x2f, 0xfd, 3, 0x89, 1, 2, 3, 4];
        let Ok(FrameHead::Frame(head)) = FrameHead::parse(&bytes) else { panic!() };
        assert_eq!(head.dictionary, Some(0x0403_0201));
        assert_eq!(head.window_len, (1 << 27) / 8 * 9);
        assert_eq!((head.content_len, head.has_checksum), (None, false));
        // An id of 0 is none.
        let bytes = [0x28, 0xb5, 0x2f, 0xfd, 1, 0, 0];
        let Ok(FrameHead::Frame(head)) = FrameHead::parse(&bytes) else { panic!() };
        assert_eq!(head.dictionary, None);
    }
}
