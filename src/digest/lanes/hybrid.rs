//! Eight streams: the rounds with the SHA instructions, the message schedule with AVX-512 (VL).
//!
//! A processor has one unit for `sha256rnds2` and several for plain vector arithmetic. The schedule
//! instructions of SHA-NI (`sha256msg1`, `sha256msg2`) are dear, so eight streams with SHA-NI alone
//! keep the round unit busy only half the time. Here word t of all eight streams shares one 256-bit
//! register, where AVX-512 has the rotation and the three-way exclusive or that the schedule is
//! made of. Every other instruction is then a round, and the round unit never waits.
//!
//! ```text
//! group    16 rounds, and the 16 words + constants they eat: a block is four groups
//! register word t of streams 0 1 2 3 (low half), 4 5 6 7 (high half)
//! pair     words t and t + 1 side by side in 64 bits, what one sha256rnds2 eats:
//!            byte  0: stream 0, 1, 4, 5    of words t and t + 1
//!            byte 32: stream 2, 3, 6, 7
//! ```
//!
//! The schedule runs one group ahead of the rounds, through a buffer of two groups in memory: to
//! load a pair costs no arithmetic unit, to shuffle it out of a register would.
//!
//! 256-bit registers, not 512: on Zen 4 a 512-bit operation holds its unit for two cycles, now and
//! then the round unit, and the streams there wait. Sixteen streams so ran a quarter slower.

use std::arch::asm;
use std::arch::x86_64::*;

use crate::digest::lanes::Block;
use crate::digest::lanes::K;
use crate::digest::lanes::State;
use crate::digest::lanes::sha_ni::Halves;
use crate::digest::lanes::sha_ni::big_endian;
use crate::digest::lanes::sha_ni::halves;
use crate::digest::lanes::sha_ni::state;

/// Streams that [`compress`] takes.
pub(super) const STREAMS: usize = 8;

/// The eight pairs of one group for eight streams: 512 bytes.
type Group = [[__m256i; 2]; 8];

/// What lies in memory, in one piece, so that the compiler leaves it there.
struct Work {
    /// Pairs that the rounds eat, and those that the schedule makes.
    groups: [Group; 2],
    /// States of streams 0 to 3 and 4 to 7, in the middle of a block.
    now: [[Halves; 4]; 2],
    /// States at the start of the block.
    start: [[Halves; 4]; 2],
}

/// Hashes `data[i]` into `states[i]`.
///
/// # Panics
///
/// If the streams differ in length.
#[target_feature(enable = "sha,sse4.1,ssse3,avx2,avx512f,avx512vl")]
pub(super) fn compress(states: &mut [State; STREAMS], data: [&[Block]; STREAMS]) {
    let block_count = data[0].len();
    assert!(data.iter().all(|blocks| blocks.len() == block_count), "streams of one length");
    let Some(last) = block_count.checked_sub(1) else { return };

    let mut work = Work {
        groups: [[[_mm256_setzero_si256(); 2]; 8]; 2],
        now: [[[_mm_setzero_si128(); 2]; 4]; 2],
        start: [[[_mm_setzero_si128(); 2]; 4]; 2],
    };
    for (start, state) in work.start.as_flattened_mut().iter_mut().zip(&*states) {
        *start = halves(state);
    }
    work.now = work.start;

    let mut words = [_mm256_setzero_si256(); 16];
    // SAFETY: `block_count` is above 0.
    unsafe { first_group::<false>(&mut words, &mut work, &data, 0) };
    for at in 0..block_count {
        for group in 1..4 {
            later_group(&mut words, &mut work, group);
        }
        // After the last block the schedule idles: it takes the same block again.
        let next = at.strict_add(1).min(last);
        // SAFETY: `next` is at most `last`, the last block of each stream.
        unsafe { first_group::<true>(&mut words, &mut work, &data, next) };
        let now = work.now.as_flattened_mut().as_flattened_mut();
        let start = work.start.as_flattened_mut().as_flattened_mut();
        for (now, start) in now.iter_mut().zip(start) {
            *start = _mm_add_epi32(*start, *now);
            *now = *start;
        }
    }
    for (out, now) in states.iter_mut().zip(work.now.as_flattened()) {
        *out = state(*now);
    }
}

/// Loads the 16 words of block `at` of each stream into `words` and group 0 of the buffer; with
/// `ROUNDS`, does the last 16 rounds of the block before between the loads.
///
/// # Safety
///
/// Each stream has a block `at`.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3,avx2,avx512f,avx512vl")]
unsafe fn first_group<const ROUNDS: bool>(
    words: &mut [__m256i; 16],
    work: &mut Work,
    data: &[&[Block]; STREAMS],
    at: usize,
) {
    let turn = _mm256_broadcastsi128_si256(big_endian());
    let [made, eaten] = &mut work.groups;
    let mut four = work.now[0];
    // Macros, not closures: one that the compiler leaves out of line costs a quarter of the speed.
    macro_rules! words_of {
        ($quarter:literal, $stream:literal) => {{
            let (low, high) = (data[$stream], data[$stream | 4]);
            // SAFETY: the caller vouches for block `at` of each stream; a block is four times the
            // 16 bytes of one unaligned load.
            let (low, high) = unsafe {
                (
                    _mm_loadu_si128(low.as_ptr().add(at).cast::<__m128i>().add($quarter)),
                    _mm_loadu_si128(high.as_ptr().add(at).cast::<__m128i>().add($quarter)),
                )
            };
            _mm256_shuffle_epi8(_mm256_set_m128i(high, low), turn)
        }};
    }
    // Four words of each stream, turned so that each register has one word of all streams.
    macro_rules! load {
        ($quarter:literal: $w0:literal $w1:literal $w2:literal $w3:literal) => {
            let (a, b, c, d) = (
                words_of!($quarter, 0),
                words_of!($quarter, 1),
                words_of!($quarter, 2),
                words_of!($quarter, 3),
            );
            let (ab, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let (cd, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            words[$w0] = _mm256_unpacklo_epi64(ab, cd);
            words[$w1] = _mm256_unpackhi_epi64(ab, cd);
            words[$w2] = _mm256_unpacklo_epi64(ab_high, cd_high);
            words[$w3] = _mm256_unpackhi_epi64(ab_high, cd_high);
        };
    }
    macro_rules! pair {
        ($at:literal: $w0:literal $w1:literal) => {
            let w0 = _mm256_add_epi32(words[$w0], _mm256_set1_epi32(K[$w0].cast_signed()));
            let w1 = _mm256_add_epi32(words[$w1], _mm256_set1_epi32(K[$w1].cast_signed()));
            made[$at] = [_mm256_unpacklo_epi32(w0, w1), _mm256_unpackhi_epi32(w0, w1)];
        };
    }
    macro_rules! rounds {
        ($quarter:literal of $half:literal) => {
            if ROUNDS {
                four_rounds(&mut four, eaten, ($quarter, $half));
            }
        };
    }
    load!(0: 0 1 2 3);
    rounds!(0 of 0);
    pair!(0: 0 1);
    pair!(1: 2 3);
    rounds!(1 of 0);
    load!(1: 4 5 6 7);
    rounds!(2 of 0);
    pair!(2: 4 5);
    pair!(3: 6 7);
    rounds!(3 of 0);
    work.now[0] = four;
    four = work.now[1];
    load!(2: 8 9 10 11);
    rounds!(0 of 1);
    pair!(4: 8 9);
    pair!(5: 10 11);
    rounds!(1 of 1);
    load!(3: 12 13 14 15);
    rounds!(2 of 1);
    pair!(6: 12 13);
    pair!(7: 14 15);
    rounds!(3 of 1);
    work.now[1] = four;
}

/// Makes the 16 words of group `group` (1 to 3) while it does the 16 rounds of the group before.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3,avx2,avx512f,avx512vl")]
fn later_group(words: &mut [__m256i; 16], work: &mut Work, group: usize) {
    let k = &K.as_chunks::<2>().0.as_chunks::<8>().0[group];
    let [even, odd] = &mut work.groups;
    let (eaten, made) = if group == 2 { (odd, even) } else { (even, odd) };
    let mut four = work.now[0];
    macro_rules! step {
        ($pair:literal, $quarter:literal of $half:literal:
         $w0:literal $w1:literal $w2:literal $w9:literal $w10:literal $w14:literal $w15:literal) => {
            [words[$w0], words[$w1]] = four_rounds_two_words(
                &mut four,
                eaten,
                ($quarter, $half),
                [
                    words[$w0],
                    words[$w1],
                    words[$w2],
                    words[$w9],
                    words[$w10],
                    words[$w14],
                    words[$w15],
                ],
                &k[$pair],
                &mut made[$pair],
            );
        };
    }
    step!(0, 0 of 0: 0 1 2 9 10 14 15);
    step!(1, 1 of 0: 2 3 4 11 12 0 1);
    step!(2, 2 of 0: 4 5 6 13 14 2 3);
    step!(3, 3 of 0: 6 7 8 15 0 4 5);
    work.now[0] = four;
    four = work.now[1];
    step!(4, 0 of 1: 8 9 10 1 2 6 7);
    step!(5, 1 of 1: 10 11 12 3 4 8 9);
    step!(6, 2 of 1: 12 13 14 5 6 10 11);
    step!(7, 3 of 1: 14 15 0 7 8 12 13);
    work.now[1] = four;
}

/// Returns where the first pair of a step lies, for the first of its four streams.
///
/// The pairs of one more stream are 8 bytes on, those of two more 32 bytes, the next pair 64.
#[inline]
fn pairs(eaten: &Group, (quarter, half): (usize, usize)) -> *const __m128i {
    assert!(quarter < 4 && half < 2);
    // SAFETY: a quarter of the group is two pairs of registers, and half such a register is 16
    // bytes: the address is at most 16 bytes into the pair number 6 of 8.
    unsafe { eaten.as_ptr().cast::<[[__m256i; 2]; 2]>().add(quarter).cast::<__m128i>().add(half) }
}

/// Does four rounds of four streams: those of quarter `step.0` of the group, half `step.1` of the
/// streams.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3,avx2,avx512f,avx512vl")]
fn four_rounds(four: &mut [Halves; 4], eaten: &Group, step: (usize, usize)) {
    let eaten = pairs(eaten, step);
    let [[mut a0, mut b0], [mut a1, mut b1], [mut a2, mut b2], [mut a3, mut b3]] = *four;
    // SAFETY: the target features of this function cover each instruction; the eight loads end at
    // most 112 bytes after `eaten`, which `pairs` put at most 16 bytes into 128 bytes of the group;
    // nothing is written but the named registers.
    unsafe {
        asm!(
            "vmovq xmm0, [{eaten}]",
            "sha256rnds2 {b0}, {a0}, xmm0",
            "vmovq xmm0, [{eaten} + 8]",
            "sha256rnds2 {b1}, {a1}, xmm0",
            "vmovq xmm0, [{eaten} + 32]",
            "sha256rnds2 {b2}, {a2}, xmm0",
            "vmovq xmm0, [{eaten} + 40]",
            "sha256rnds2 {b3}, {a3}, xmm0",
            "vmovq xmm0, [{eaten} + 64]",
            "sha256rnds2 {a0}, {b0}, xmm0",
            "vmovq xmm0, [{eaten} + 72]",
            "sha256rnds2 {a1}, {b1}, xmm0",
            "vmovq xmm0, [{eaten} + 96]",
            "sha256rnds2 {a2}, {b2}, xmm0",
            "vmovq xmm0, [{eaten} + 104]",
            "sha256rnds2 {a3}, {b3}, xmm0",
            eaten = in(reg) eaten,
            a0 = inout(xmm_reg) a0, b0 = inout(xmm_reg) b0,
            a1 = inout(xmm_reg) a1, b1 = inout(xmm_reg) b1,
            a2 = inout(xmm_reg) a2, b2 = inout(xmm_reg) b2,
            a3 = inout(xmm_reg) a3, b3 = inout(xmm_reg) b3,
            out("xmm0") _,
            options(nostack, preserves_flags, readonly),
        );
    }
    *four = [[a0, b0], [a1, b1], [a2, b2], [a3, b3]];
}

/// As [`four_rounds`]; between the rounds, makes words t and t + 1 of all streams and their pairs.
///
/// `words` are words t - 16, t - 15, t - 14, t - 7, t - 6, t - 2 and t - 1; `k` the two constants.
///
/// In assembly because the order is the point: a compiler moves the rounds together, or keeps all
/// pairs in registers that it must then spill. The order was found by measuring.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3,avx2,avx512f,avx512vl")]
fn four_rounds_two_words(
    four: &mut [Halves; 4],
    eaten: &Group,
    step: (usize, usize),
    words: [__m256i; 7],
    k: &[u32; 2],
    made: &mut [__m256i; 2],
) -> [__m256i; 2] {
    let eaten = pairs(eaten, step);
    let [[mut a0, mut b0], [mut a1, mut b1], [mut a2, mut b2], [mut a3, mut b3]] = *four;
    let [mut w0, mut w1, w2, w9, w10, w14, w15] = words;
    // Scratch registers; with `_` for a place, `:y` names some of them by their 512 bits.
    let (t0, t1, t2, t3): (__m256i, __m256i, __m256i, __m256i);
    // SAFETY: the target features of this function cover each instruction; the eight pairs read end
    // at most 112 bytes after `eaten`, which `pairs` put at most 16 bytes into 128 bytes of the
    // group; of `k` 8 bytes are read, to `made` 64 bytes are written, each at an address aligned to
    // 32; nothing else is written but the named registers.
    unsafe {
        asm!(
            "vmovq xmm0, [{eaten}]",
            "sha256rnds2 {b0}, {a0}, xmm0",
            "vmovq xmm0, [{eaten} + 8]",
            "sha256rnds2 {b1}, {a1}, xmm0",
            "vprord {t0:y}, {w1:y}, 7",
            "vprord {t1:y}, {w1:y}, 18",
            "vpsrld {t2:y}, {w1:y}, 3",
            "vpaddd {w0:y}, {w0:y}, {w9:y}",
            "vpternlogd {t0:y}, {t1:y}, {t2:y}, 0x96",
            "vprord {t1:y}, {w14:y}, 17",
            "vprord {t2:y}, {w14:y}, 19",
            "vmovq xmm0, [{eaten} + 32]",
            "sha256rnds2 {b2}, {a2}, xmm0",
            "vmovq xmm0, [{eaten} + 40]",
            "sha256rnds2 {b3}, {a3}, xmm0",
            "vpsrld {t3:y}, {w14:y}, 10",
            "vpaddd {w0:y}, {w0:y}, {t0:y}",
            "vpternlogd {t1:y}, {t2:y}, {t3:y}, 0x96",
            "vpaddd {w0:y}, {w0:y}, {t1:y}",
            "vprord {t0:y}, {w2:y}, 7",
            "vprord {t1:y}, {w2:y}, 18",
            "vpsrld {t2:y}, {w2:y}, 3",
            "vmovq xmm0, [{eaten} + 64]",
            "sha256rnds2 {a0}, {b0}, xmm0",
            "vmovq xmm0, [{eaten} + 72]",
            "sha256rnds2 {a1}, {b1}, xmm0",
            "vpaddd {w1:y}, {w1:y}, {w10:y}",
            "vpternlogd {t0:y}, {t1:y}, {t2:y}, 0x96",
            "vprord {t1:y}, {w15:y}, 17",
            "vprord {t2:y}, {w15:y}, 19",
            "vpsrld {t3:y}, {w15:y}, 10",
            "vpaddd {w1:y}, {w1:y}, {t0:y}",
            "vpternlogd {t1:y}, {t2:y}, {t3:y}, 0x96",
            "vmovq xmm0, [{eaten} + 96]",
            "sha256rnds2 {a2}, {b2}, xmm0",
            "vmovq xmm0, [{eaten} + 104]",
            "sha256rnds2 {a3}, {b3}, xmm0",
            "vpaddd {w1:y}, {w1:y}, {t1:y}",
            "vpaddd {t0:y}, {w0:y}, dword ptr [{k}]{{1to8}}",
            "vpaddd {t1:y}, {w1:y}, dword ptr [{k} + 4]{{1to8}}",
            "vpunpckldq {t2:y}, {t0:y}, {t1:y}",
            "vpunpckhdq {t0:y}, {t0:y}, {t1:y}",
            "vmovdqa32 [{made}], {t2:y}",
            "vmovdqa32 [{made} + 32], {t0:y}",
            eaten = in(reg) eaten,
            a0 = inout(xmm_reg) a0, b0 = inout(xmm_reg) b0,
            a1 = inout(xmm_reg) a1, b1 = inout(xmm_reg) b1,
            a2 = inout(xmm_reg) a2, b2 = inout(xmm_reg) b2,
            a3 = inout(xmm_reg) a3, b3 = inout(xmm_reg) b3,
            out("xmm0") _,
            w0 = inout(zmm_reg) w0, w1 = inout(zmm_reg) w1, w2 = in(zmm_reg) w2,
            w9 = in(zmm_reg) w9, w10 = in(zmm_reg) w10,
            w14 = in(zmm_reg) w14, w15 = in(zmm_reg) w15,
            t0 = out(zmm_reg) t0,
            t1 = out(zmm_reg) t1,
            t2 = out(zmm_reg) t2,
            t3 = out(zmm_reg) t3,
            k = in(reg) k, made = in(reg) made,
            options(nostack, preserves_flags),
        );
    }
    let _ = (t0, t1, t2, t3);
    *four = [[a0, b0], [a1, b1], [a2, b2], [a3, b3]];
    [w0, w1]
}
