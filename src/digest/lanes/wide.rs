//! Sixteen streams with AVX-512 alone: word t of all streams shares one register.
//!
//! Where plain vector arithmetic is wide and the unit for `sha256rnds2` is not fast, this is faster than
//! the SHA instructions; and it needs none. Three-way logic and rotation are one instruction each.
//!
//! No SHA instruction stands between: on processors where vector registers are dirty above their
//! lower 128 bits, each one of those would wait some 70 cycles.

use std::arch::x86_64::*;

use crate::digest::lanes::Block;
use crate::digest::lanes::K;
use crate::digest::lanes::State;

/// Streams that [`compress`] takes.
pub(super) const STREAMS: usize = 16;

/// Hashes `data[i]` into `states[i]`.
///
/// # Panics
///
/// If the streams differ in length.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn compress(states: &mut [State; STREAMS], data: [&[Block]; STREAMS]) {
    let block_count = data[0].len();
    assert!(data.iter().all(|blocks| blocks.len() == block_count), "streams of one length");
    let mut now = [_mm512_setzero_si512(); 8];
    for (word, now) in now.iter_mut().enumerate() {
        let lanes: [u32; STREAMS] = std::array::from_fn(|stream| states[stream][word]);
        // SAFETY: the array has the 64 bytes of one unaligned load.
        *now = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
    }
    for at in 0..block_count {
        // SAFETY: `at` is below the length of each stream.
        let mut words = unsafe { words(&data, at) };
        let start = now;
        sixteen_rounds(&mut now, &words, 0);
        for group in 1..4 {
            schedule(&mut words);
            sixteen_rounds(&mut now, &words, group);
        }
        for (now, start) in now.iter_mut().zip(start) {
            *now = _mm512_add_epi32(*now, start);
        }
    }
    for (word, now) in now.into_iter().enumerate() {
        let mut lanes = [0_u32; STREAMS];
        // SAFETY: the array has the 64 bytes of one unaligned store.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), now) };
        for (state, lane) in states.iter_mut().zip(lanes) {
            state[word] = lane;
        }
    }
}

/// Loads block `at` of each stream and turns the square: register t gets word t of all streams.
///
/// # Safety
///
/// Each stream has a block `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn words(data: &[&[Block]; STREAMS], at: usize) -> [__m512i; 16] {
    let turn = _mm512_broadcast_i32x4(super::sha_ni::big_endian());
    let mut rows = [_mm512_setzero_si512(); 16];
    for (row, blocks) in rows.iter_mut().zip(data) {
        // SAFETY: the caller vouches for the block, which is the 64 bytes of one unaligned load.
        let block = unsafe { _mm512_loadu_si512(blocks.as_ptr().add(at).cast()) };
        *row = _mm512_shuffle_epi8(block, turn);
    }
    // Within each 128 bits: word 4 q + j of streams 4 g to 4 g + 3, for register 4 g + j and quarter q.
    let mut fours = [_mm512_setzero_si512(); 16];
    for (fours, rows) in fours.as_chunks_mut::<4>().0.iter_mut().zip(rows.as_chunks::<4>().0) {
        let [a, b, c, d] = *rows;
        let (ab, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        *fours = [
            _mm512_unpacklo_epi64(ab, cd),
            _mm512_unpackhi_epi64(ab, cd),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    let mut words = [_mm512_setzero_si512(); 16];
    for j in 0..4 {
        let [a, b, c, d] = [fours[j], fours[4 | j], fours[8 | j], fours[0xc | j]];
        // The even quarters, and the odd ones.
        let (ab, cd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d));
        words[j] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        words[8 | j] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
        let (ab, cd) = (_mm512_shuffle_i32x4::<0xdd>(a, b), _mm512_shuffle_i32x4::<0xdd>(c, d));
        words[4 | j] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        words[0xc | j] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
    }
    words
}

/// Makes the next 16 words of each stream.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn schedule(words: &mut [__m512i; 16]) {
    macro_rules! word {
        ($($w0:literal $w1:literal $w9:literal $w14:literal),*) => {$(
            let (early, late) = (words[$w1], words[$w14]);
            let small_0 = _mm512_ternarylogic_epi32::<XOR>(
                _mm512_ror_epi32::<7>(early),
                _mm512_ror_epi32::<18>(early),
                _mm512_srli_epi32::<3>(early),
            );
            let small_1 = _mm512_ternarylogic_epi32::<XOR>(
                _mm512_ror_epi32::<17>(late),
                _mm512_ror_epi32::<19>(late),
                _mm512_srli_epi32::<10>(late),
            );
            words[$w0] = _mm512_add_epi32(
                _mm512_add_epi32(words[$w0], words[$w9]),
                _mm512_add_epi32(small_0, small_1),
            );
        )*};
    }
    word!(
        0 1 9 14, 1 2 10 15, 2 3 11 0, 3 4 12 1, 4 5 13 2, 5 6 14 3, 6 7 15 4, 7 8 0 5,
        8 9 1 6, 9 10 2 7, 10 11 3 8, 11 12 4 9, 12 13 5 10, 13 14 6 11, 14 15 7 12, 15 0 8 13
    );
}

/// Three-way logic, as the table of its results: exclusive or, choice, majority.
const XOR: i32 = 0x96;
const CHOICE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

/// Does 16 rounds with the words and constants of group `group` of 4.
#[allow(clippy::many_single_char_names)] // The standard's own names.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn sixteen_rounds(now: &mut [__m512i; 8], words: &[__m512i; 16], group: usize) {
    let k = &K.as_chunks::<16>().0[group];
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *now;
    macro_rules! round {
        ($at:literal: $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
            let word = _mm512_add_epi32(words[$at], _mm512_set1_epi32(k[$at].cast_signed()));
            let big_1 = _mm512_ternarylogic_epi32::<XOR>(
                _mm512_ror_epi32::<6>($e),
                _mm512_ror_epi32::<11>($e),
                _mm512_ror_epi32::<25>($e),
            );
            let choice = _mm512_ternarylogic_epi32::<CHOICE>($e, $f, $g);
            $h = _mm512_add_epi32(_mm512_add_epi32($h, word), _mm512_add_epi32(big_1, choice));
            $d = _mm512_add_epi32($d, $h);
            let big_0 = _mm512_ternarylogic_epi32::<XOR>(
                _mm512_ror_epi32::<2>($a),
                _mm512_ror_epi32::<13>($a),
                _mm512_ror_epi32::<22>($a),
            );
            let majority = _mm512_ternarylogic_epi32::<MAJORITY>($a, $b, $c);
            $h = _mm512_add_epi32($h, _mm512_add_epi32(big_0, majority));
        };
    }
    macro_rules! eight_rounds {
        ($n0:literal $n1:literal $n2:literal $n3:literal
         $n4:literal $n5:literal $n6:literal $n7:literal) => {
            round!($n0: a b c d e f g h);
            round!($n1: h a b c d e f g);
            round!($n2: g h a b c d e f);
            round!($n3: f g h a b c d e);
            round!($n4: e f g h a b c d);
            round!($n5: d e f g h a b c);
            round!($n6: c d e f g h a b);
            round!($n7: b c d e f g h a);
        };
    }
    eight_rounds!(0 1 2 3 4 5 6 7);
    eight_rounds!(8 9 10 11 12 13 14 15);
    *now = [a, b, c, d, e, f, g, h];
}
