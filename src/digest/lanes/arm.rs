//! One to four streams with the SHA-2 instructions of 64-bit ARM.
//!
//! `sha256h` and `sha256h2` do four rounds and the next four need their results, some 4 cycles later on
//! the processors that servers have: as on x86-64, taking the same step of several streams in turn fills the
//! gaps. Four streams are 24 of the 32 vector registers.

use std::arch::aarch64::*;

use crate::digest::lanes::Block;
use crate::digest::lanes::K;
use crate::digest::lanes::State;

/// Hashes `data[i]` into `states[i]`.
///
/// # Panics
///
/// If the streams differ in length.
#[target_feature(enable = "neon,sha2")]
pub(super) fn compress<const N: usize>(states: &mut [State; N], data: [&[Block]; N]) {
    let zero = vdupq_n_u32(0);
    let block_count = data[0].len();
    assert!(data.iter().all(|blocks| blocks.len() == block_count), "streams of one length");

    // Words A to D and words E to H, lowest word first, as the instructions want them.
    let mut now = [[zero; 2]; N];
    for (now, state) in now.iter_mut().zip(&*states) {
        // SAFETY: four words from word 0 and from word 4 of eight; the load wants the alignment of a word.
        *now = unsafe { [vld1q_u32(state.as_ptr()), vld1q_u32(state.as_ptr().add(4))] };
    }
    for at in 0..block_count {
        let start = now;
        let mut words = [[zero; 4]; N];
        for (words, blocks) in words.iter_mut().zip(&data) {
            for (i, words) in words.iter_mut().enumerate() {
                let (quarters, _) = blocks[at].as_chunks::<16>();
                // SAFETY: the load takes 16 bytes at any place, and a quarter of a block has 16.
                let raw = unsafe { vld1q_u8(quarters[i].as_ptr()) };
                *words = vreinterpretq_u32_u8(vrev32q_u8(raw));
            }
        }
        // Four rounds of all streams; from the 17th word on the schedule grows, in place.
        macro_rules! rounds {
            ($at:literal, $w0:literal $w1:literal $w2:literal $w3:literal, $grow:literal) => {
                const { assert!($at + 4 <= K.len()) };
                // SAFETY: four words from this one on are in the table: the line above says so.
                let k = unsafe { vld1q_u32(K.as_ptr().add($at)) };
                for (now, words) in now.iter_mut().zip(&mut words) {
                    if $grow {
                        let sum = vsha256su0q_u32(words[$w0], words[$w1]);
                        words[$w0] = vsha256su1q_u32(sum, words[$w2], words[$w3]);
                    }
                    let sum = vaddq_u32(words[$w0], k);
                    let [abcd, efgh] = *now;
                    *now = [vsha256hq_u32(abcd, efgh, sum), vsha256h2q_u32(efgh, abcd, sum)];
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
            *now = [vaddq_u32(now[0], start[0]), vaddq_u32(now[1], start[1])];
        }
    }
    for (out, now) in states.iter_mut().zip(now) {
        let words = out.as_mut_ptr();
        // SAFETY: both stores lie in the eight words of the state.
        unsafe {
            vst1q_u32(words, now[0]);
            vst1q_u32(words.add(4), now[1]);
        }
    }
}
