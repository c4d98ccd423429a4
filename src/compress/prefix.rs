//! Frames whose content is compressed against bytes that both sides have: a prefix.
//!
//! The prefix lies in front of the content as if it had been decompressed just before (zstd calls it
//! that, too). Contexts are made again for each frame: the binding ties a context to the life of its
//! first prefix, and against the work of loading a prefix making one is small.

use zstd::zstd_safe::CCtx;
use zstd::zstd_safe::CParameter;
use zstd::zstd_safe::DCtx;

use crate::compress::FrameFault;
use crate::compress::check_frame;
use crate::compress::frame_bound;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;

/// Base-two logarithm of the window of a frame with a prefix: prefix and content lie in it, and any
/// decoder takes it.
const WINDOW_LOG: u32 = 21;

/// Most bytes of prefix and content together.
pub const MAX_PREFIXED_LEN: usize = 1 << WINDOW_LOG;

/// Appends the frame of `plain`, compressed at `level` against `prefix`, to `out`, and returns its
/// length in bytes.
///
/// # Errors
///
/// `Io` if out of memory.
///
/// # Panics
///
/// If prefix and content are over [`MAX_PREFIXED_LEN`].
pub fn append_prefixed(
    level: i32,
    prefix: &[u8],
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<usize> {
    assert!(prefix.len().strict_add(plain.len()) <= MAX_PREFIXED_LEN, "inside the window");
    let start = out.len();
    out.resize(start.strict_add(frame_bound(plain.len())), 0);
    let mut context = CCtx::try_create().ok_or_else(|| no_memory("compression"))?;
    let len = context
        .set_parameter(CParameter::CompressionLevel(level))
        .and_then(|_| context.set_parameter(CParameter::WindowLog(WINDOW_LOG)))
        .and_then(|_| context.ref_prefix(prefix))
        .and_then(|_| context.compress2(&mut out[start..], plain))
        .map_err(|_| no_memory("compression"))?;
    out.truncate(start.strict_add(len));
    Ok(len)
}

/// Fills `plain` with the content of `frame`, which must be one frame of exactly that content,
/// compressed against `prefix`.
///
/// # Errors
///
/// `Corrupt`, saying in which way the frame is not that; `plain` then holds anything. `Io` if there is
/// no memory for it. Another prefix may give other bytes and no error.
pub fn decode_prefixed(prefix: &[u8], frame: &[u8], plain: &mut [u8]) -> Result<()> {
    check_frame(frame, plain.len())?;
    let mut context = DCtx::try_create().ok_or_else(|| no_memory("decompression"))?;
    context.ref_prefix(prefix).map_err(|_| no_memory("decompression"))?;
    match context.decompress(plain, frame) {
        Ok(len) if len == plain.len() => Ok(()),
        _ => Err(FrameFault::Damaged.into()),
    }
}

fn no_memory(what: &str) -> Error {
    Error::new(Kind::Io, format!("cannot set up {what}: out of memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that do not compress by themselves.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 7_u64;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_le_bytes()[7]
        })
        .take(len)
        .collect()
    }

    #[test]
    fn what_the_prefix_has_costs_next_to_nothing() {
        let prefix = noise(1 << 20);
        let plain = [&prefix[5000..200_000], &[1; 4096], &prefix[900_000..1_000_000]].concat();
        let mut frame = Vec::new();
        append_prefixed(3, &prefix, &plain, &mut frame).unwrap();
        assert!(frame.len() < 400, "{} bytes", frame.len());
        let mut back = vec![0; plain.len()];
        decode_prefixed(&prefix, &frame, &mut back).unwrap();
        assert_eq!(back, plain);
    }

    /// A dictionary's magic at the start of a prefix means nothing.
    #[test]
    fn a_prefix_is_plain_bytes_whatever_it_starts_with() {
        let prefix = [&0xec30_a437_u32.to_le_bytes()[..], &noise(5000)].concat();
        let mut frame = Vec::new();
        append_prefixed(3, &prefix, &prefix[4..], &mut frame).unwrap();
        let mut back = vec![0; prefix.len() - 4];
        decode_prefixed(&prefix, &frame, &mut back).unwrap();
        assert_eq!(back, prefix[4..]);
    }

    #[test]
    fn a_cut_frame_and_another_size_are_refused() {
        let prefix = noise(4096);
        let mut frame = Vec::new();
        append_prefixed(3, &prefix, &prefix, &mut frame).unwrap();
        let mut back = vec![0; 4096];
        for end in 0..frame.len() {
            assert!(decode_prefixed(&prefix, &frame[..end], &mut back).is_err(), "{end}");
        }
        assert!(decode_prefixed(&prefix, &frame, &mut back[1..]).is_err());
    }
}
