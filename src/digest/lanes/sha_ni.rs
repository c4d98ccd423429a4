//! One to four streams with the SHA instructions of x86-64 (SHA-NI).
//!
//! `sha256rnds2` does two rounds and its result is needed by the next one, 4 cycles later: one
//! stream leaves the unit idle most of the time. Taking the same step of several streams in turn
//! fills the gaps; the registers end at four.

use std::arch::x86_64::*;

use crate::digest::lanes::Block;
use crate::digest::lanes::K;
use crate::digest::lanes::State;

/// A state as `sha256rnds2` wants it: words A, B, E, F and words C, D, G, H, highest word first.
pub(super) type Halves = [__m128i; 2];

/// Reorders a state for `sha256rnds2`.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
pub(super) fn halves(state: &State) -> Halves {
    let [low, high] = [0, 1].map(|half| {
        // SAFETY: four words from word 0 or word 4 of eight; an unaligned load needs no more.
        unsafe { _mm_loadu_si128(state.as_ptr().cast::<__m128i>().add(half)) }
    });
    let cdab = _mm_shuffle_epi32::<0xb1>(low);
    let efgh = _mm_shuffle_epi32::<0x1b>(high);
    [_mm_alignr_epi8::<8>(cdab, efgh), _mm_blend_epi16::<0xf0>(efgh, cdab)]
}

/// Undoes [`halves`].
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
pub(super) fn state([abef, cdgh]: Halves) -> State {
    let feba = _mm_shuffle_epi32::<0x1b>(abef);
    let dchg = _mm_shuffle_epi32::<0xb1>(cdgh);
    let mut state = [0; 8];
    let words = state.as_mut_ptr().cast::<__m128i>();
    // SAFETY: both unaligned stores lie in the eight words of `state`.
    unsafe {
        _mm_storeu_si128(words, _mm_blend_epi16::<0xf0>(feba, dchg));
        _mm_storeu_si128(words.add(1), _mm_alignr_epi8::<8>(dchg, feba));
    }
    state
}

/// Returns the `vpshufb` pattern that turns four big-endian words.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn big_endian() -> __m128i {
    _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203)
}

/// Hashes `data[i]` into `states[i]`.
///
/// # Panics
///
/// If the streams differ in length.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn compress<const N: usize>(states: &mut [State; N], data: [&[Block]; N]) {
    let zero = _mm_setzero_si128();
    let turn = big_endian();
    let block_count = data[0].len();
    assert!(data.iter().all(|blocks| blocks.len() == block_count), "streams of one length");

    let mut now = [[zero; 2]; N];
    for (now, state) in now.iter_mut().zip(&*states) {
        *now = halves(state);
    }
    for at in 0..block_count {
        let start = now;
        let mut words = [[zero; 4]; N];
        for (words, blocks) in words.iter_mut().zip(&data) {
            for (i, words) in words.iter_mut().enumerate() {
                // SAFETY: `at` is below the length of each stream, and a block is four times the
                // 16 bytes of one unaligned load.
                let raw =
                    unsafe { _mm_loadu_si128(blocks.as_ptr().add(at).cast::<__m128i>().add(i)) };
                *words = _mm_shuffle_epi8(raw, turn);
            }
        }
        // Four rounds of all streams; from the 17th word on the schedule grows, in place.
        macro_rules! rounds {
            ($at:literal, $w0:literal $w1:literal $w2:literal $w3:literal, $grow:literal) => {
                let k = _mm_setr_epi32(
                    K[$at].cast_signed(),
                    K[$at + 1].cast_signed(),
                    K[$at + 2].cast_signed(),
                    K[$at + 3].cast_signed(),
                );
                for (now, words) in now.iter_mut().zip(&mut words) {
                    if $grow {
                        let sum = _mm_add_epi32(
                            _mm_sha256msg1_epu32(words[$w0], words[$w1]),
                            _mm_alignr_epi8::<4>(words[$w3], words[$w2]),
                        );
                        words[$w0] = _mm_sha256msg2_epu32(sum, words[$w3]);
                    }
                    let sum = _mm_add_epi32(words[$w0], k);
                    now[1] = _mm_sha256rnds2_epu32(now[1], now[0], sum);
                    let sum = _mm_shuffle_epi32::<0x0e>(sum);
                    now[0] = _mm_sha256rnds2_epu32(now[0], now[1], sum);
                }
            };
        }
        rounds!(0, 0 1 2 3, false);
        rounds!(4, 1 2 3 0, false);
        rounds!(8, 2 3 0 1, false);
        rounds!(12, 3 0 1 2, false);
        rounds!(16, 0 1 2 3, true);
        rounds!(20, 1 2 3 0, true);
        rounds!(24, 2 3 0 1, true);
        rounds!(28, 3 0 1 2, true);
        rounds!(32, 0 1 2 3, true);
        rounds!(36, 1 2 3 0, true);
        rounds!(40, 2 3 0 1, true);
        rounds!(44, 3 0 1 2, true);
        rounds!(48, 0 1 2 3, true);
        rounds!(52, 1 2 3 0, true);
        rounds!(56, 2 3 0 1, true);
        rounds!(60, 3 0 1 2, true);
        for (now, start) in now.iter_mut().zip(start) {
            *now = [_mm_add_epi32(now[0], start[0]), _mm_add_epi32(now[1], start[1])];
        }
    }
    for (out, now) in states.iter_mut().zip(now) {
        *out = state(now);
    }
}
