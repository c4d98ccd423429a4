//! zlib streams that nothing else announces.

use flate2::Decompress;
use flate2::FlushDecompress;
use flate2::Status;

/// Bytes that are unpacked at once.
const PIECE_LEN: usize = 16 << 10;

/// Bytes of a stream's header.
pub(super) const ZLIB_HEAD_LEN: usize = 2;

/// Tells whether bytes begin with the header of a zlib stream.
pub(super) fn has_zlib_head(bytes: &[u8]) -> bool {
    let [method, flags, ..] = bytes else { return false };
    let check = u16::from_be_bytes([*method, *flags]);
    // A dictionary is never asked for in files.
    method & 0x8f == 8 && flags & 0x20 == 0 && check.is_multiple_of(31)
}

/// Tells whether bytes begin with a zlib stream: its header is sound, and so is what follows, as far as it is
/// there.
#[must_use]
pub fn is_zlib(head: &[u8]) -> bool {
    if !has_zlib_head(head) {
        return false;
    }
    let mut inflate = Decompress::new(true);
    let mut out = vec![0; PIECE_LEN];
    let mut taken = 0;
    loop {
        let before = (inflate.total_in(), inflate.total_out());
        match inflate.decompress(&head[taken..], &mut out, FlushDecompress::None) {
            Ok(Status::StreamEnd) => return true,
            Ok(_) if (inflate.total_in(), inflate.total_out()) == before => {
                return inflate.total_out() > 0;
            }
            Ok(_) => taken = usize::try_from(inflate.total_in()).unwrap_or(head.len()),
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Write;

    #[test]
    fn a_stream_is_known_whole_or_cut() {
        for level in [1, 6, 9] {
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(level));
            let plain: Vec<u8> =
                (0_u32..40_000).flat_map(|n| (n * 7 % 251).to_le_bytes()).collect();
            encoder.write_all(&plain).unwrap();
            let packed = encoder.finish().unwrap();
            assert!(is_zlib(&packed) && is_zlib(&packed[..packed.len() / 2]), "level {level}");
        }
        assert!(!is_zlib(b"") && !is_zlib(b"x") && !is_zlib(b"\x78\x9d"));
        assert!(!is_zlib(&[&b"\x78\x9c"[..], &[0; 100]].concat()));
        assert!(!is_zlib(&[&b"\x78\x9c"[..], &[0xff; 100]].concat()));
    }
}
