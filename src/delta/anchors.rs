//! Anchors: places in bytes that are found again wherever the bytes have moved to.
//!
//! A rolling hash of the last 64 bytes marks a place when its top bits are zero. Two files that share
//! a stretch of bytes have the same anchors in it, at whatever offsets, so an anchor leads from a
//! changed file to its old self when no page of it is the same any more.

/// Bytes that decide over an anchor.
const WINDOW: usize = 64;

/// Top bits that must be zero: one place in 2,048, so two a page.
const MASK: u64 = 0x7ff << 53;

/// What each byte adds to the rolling hash.
static GEAR: [u64; 256] = gear();

#[expect(clippy::indexing_slicing, reason = "iterators are not const")]
const fn gear() -> [u64; 256] {
    let mut table = [0; 256];
    let mut state = 0_u64;
    let mut at = 0;
    while at < 256 {
        // SplitMix64: public domain, and any table of noise would do.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut noise = state;
        noise = (noise ^ (noise >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        noise = (noise ^ (noise >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = noise ^ (noise >> 31);
        at = at.strict_add(1);
    }
    table
}

/// Calls `visit` with the offset of each anchor of `bytes`, ascending, and the hash of its window.
pub(super) fn anchors(bytes: &[u8], mut visit: impl FnMut(usize, u64)) {
    let (first, rest) = bytes.split_at(bytes.len().min(WINDOW.strict_sub(1)));
    let mut hash = first.iter().fold(0_u64, |hash, byte| roll(hash, *byte));
    for (at, byte) in (first.len()..).zip(rest) {
        hash = roll(hash, *byte);
        if hash & MASK == 0 {
            // The top bits say nothing: spread the others.
            visit(at, hash.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
    }
}

fn roll(hash: u64, byte: u8) -> u64 {
    (hash << 1).wrapping_add(GEAR[usize::from(byte)])
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn noise(len: usize, mut state: u64) -> Vec<u8> {
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_le_bytes()[7]
        })
        .take(len)
        .collect()
    }

    fn all(bytes: &[u8]) -> Vec<(usize, u64)> {
        let mut found = Vec::new();
        anchors(bytes, |at, hash| found.push((at, hash)));
        found
    }

    #[test]
    fn anchors_move_with_the_bytes() {
        let bytes = noise(1 << 18, 1);
        let here = all(&bytes);
        let moved = all(&[&noise(777, 2), &bytes[..]].concat());
        assert!((90..170).contains(&here.len()), "{} anchors", here.len());
        let inside = moved.iter().filter(|(at, _)| *at >= 777 + WINDOW);
        let expected = here.iter().filter(|(at, _)| *at >= WINDOW);
        assert!(inside.map(|(at, hash)| (at - 777, *hash)).eq(expected.copied()));
    }

    #[test]
    fn few_bytes_have_no_anchor() {
        assert_eq!(all(&[]), []);
        assert_eq!(all(&noise(63, 1)), []);
    }
}
