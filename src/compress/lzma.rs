//! The format of `xz --format=lzma`: one stream without checksums, as old initramfs have it.

use std::fmt;

use liblzma::stream::Action;
use liblzma::stream::Status;
use liblzma::stream::Stream;

use crate::compress::stream::MOST_WINDOW_LEN;

/// Memory beside what a stream may refer back to.
const OWN_MEMORY: u64 = 1 << 20;

/// Unpacks one stream, piece by piece.
pub struct LzmaDecoder {
    inner: Stream,
    is_over: bool,
}

impl LzmaDecoder {
    /// Makes a decoder of streams that refer back over at most `max_window` bytes; `None` if out of memory.
    #[must_use]
    pub fn new(max_window: u64) -> Option<Self> {
        let memory = max_window.min(MOST_WINDOW_LEN).strict_add(OWN_MEMORY);
        let inner = Stream::new_lzma_decoder(memory).ok()?;
        Some(Self { inner, is_over: false })
    }

    /// Unpacks as much of `input` as `output` has room for, and returns how many bytes were taken and given.
    /// `last` says that nothing follows. `None` if the stream is damaged, cut, or needs more memory.
    pub fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Option<(usize, usize)> {
        if self.is_over {
            return Some((0, 0));
        }
        let (taken, given) = (self.inner.total_in(), self.inner.total_out());
        let action = if last { Action::Finish } else { Action::Run };
        let status = self.inner.process(input, output, action).ok()?;
        self.is_over = status == Status::StreamEnd;
        let count = |now: u64, then: u64| usize::try_from(now.strict_sub(then)).ok();
        let step = (count(self.inner.total_in(), taken)?, count(self.inner.total_out(), given)?);
        let is_cut = last && step == (0, 0) && !self.is_over;
        (!is_cut).then_some(step)
    }
}

impl fmt::Debug for LzmaDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LzmaDecoder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use liblzma::stream::LzmaOptions;

    #[test]
    fn a_stream_comes_back_and_a_cut_one_does_not() {
        let plain: Vec<u8> = (0_u32..5000).flat_map(|it| (it % 77).to_le_bytes()).collect();
        let options = LzmaOptions::new_preset(0).unwrap();
        let mut encoder = Stream::new_lzma_encoder(&options).unwrap();
        let mut packed = Vec::with_capacity(1 << 20);
        encoder.process_vec(&plain, &mut packed, Action::Finish).unwrap();
        let decode = |packed: &[u8]| {
            let (mut decoder, mut all) = (LzmaDecoder::new(8 << 20).unwrap(), Vec::new());
            let (mut rest, mut output) = (packed, [0; 1000]);
            loop {
                let (taken, given) = decoder.step(rest, rest.is_empty(), &mut output)?;
                rest = &rest[taken..];
                all.extend_from_slice(&output[..given]);
                if (taken, given) == (0, 0) {
                    return Some(all);
                }
            }
        };
        assert_eq!(decode(&packed), Some(plain));
        assert_eq!(decode(&packed[..packed.len() / 2]), None);
    }
}
