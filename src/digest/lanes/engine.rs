//! The ways to compute SHA-256, and which of them this processor has.

use std::array;
use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Instant;

use crate::digest::lanes::Block;
use crate::digest::lanes::INITIAL;
use crate::digest::lanes::State;
#[cfg(target_arch = "aarch64")]
use crate::digest::lanes::arm;
#[cfg(target_arch = "x86_64")]
use crate::digest::lanes::hybrid;
use crate::digest::lanes::portable;
#[cfg(target_arch = "x86_64")]
use crate::digest::lanes::sha_ni;
#[cfg(target_arch = "x86_64")]
use crate::digest::lanes::wide;

/// One implementation of SHA-256 over several streams. All give the same digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Stream after stream with the `sha2` crate: on any processor.
    Portable,
    /// Up to four streams side by side with the SHA instructions of x86-64.
    ShaNi,
    /// Eight streams side by side: rounds with the SHA instructions, message schedule with AVX-512.
    Hybrid,
    /// Sixteen streams side by side with AVX-512 alone.
    Wide,
    /// Two streams side by side with the SHA-2 instructions of 64-bit ARM.
    ArmPair,
    /// Up to four streams side by side with the SHA-2 instructions of 64-bit ARM.
    ArmFour,
}

/// Bytes of each stream that an engine is tried with, and how often.
const TRIED_LEN: usize = 4096;
const TRIALS: usize = 4;

impl Engine {
    /// Returns the engines that this processor can run.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Portable, Self::ShaNi, Self::Hybrid, Self::Wide, Self::ArmPair, Self::ArmFour]
            .into_iter()
            .filter(|it| it.is_available())
    }

    /// Returns what users know it as.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::ShaNi => "SHA-NI",
            Self::Hybrid => "SHA-NI with AVX-512",
            Self::Wide => "AVX-512",
            Self::ArmPair | Self::ArmFour => "SHA-2 of AArch64",
        }
    }

    /// Returns the engine that is fastest here. The first call tries them all, for some hundred
    /// microseconds, because what a processor has does not say how fast it is: `Hybrid` beats all others on
    /// a Zen 4, at 5 GB/s, and does 0.02 GB/s on a Xeon, where each SHA instruction between vector
    /// instructions waits for 70 cycles.
    #[must_use]
    pub fn best() -> Self {
        static BEST: OnceLock<Engine> = OnceLock::new();
        *BEST.get_or_init(|| {
            let piece = [[0x5a; 64]; TRIED_LEN / 64];
            let mut best = (Self::Portable, u64::MAX);
            for engine in Self::available() {
                let mut states = vec![INITIAL; engine.streams()];
                let streams = u64::try_from(engine.streams()).expect("a few");
                for _ in 0..TRIALS {
                    let begin = Instant::now();
                    engine.compress(&mut states, |_| black_box(&piece[..]));
                    let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    let took = nanos.strict_div(streams);
                    if took < best.1 {
                        best = (engine, took);
                    }
                    // Nothing makes up for this, and it would take long to be sure.
                    if took > best.1.saturating_mul(8) {
                        break;
                    }
                }
                black_box(&states);
            }
            best.0
        })
    }

    /// Tells whether this processor can run the engine.
    #[must_use]
    pub fn is_available(self) -> bool {
        // The standard library asks the processor once and keeps the answer.
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi => {
                is_x86_feature_detected!("sha")
                    && is_x86_feature_detected!("sse4.1")
                    && is_x86_feature_detected!("ssse3")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Hybrid => {
                Self::ShaNi.is_available()
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Wide => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("ssse3")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::ShaNi | Self::Hybrid | Self::Wide => false,
            // The words of a block are turned as a little-endian processor needs it.
            #[cfg(target_arch = "aarch64")]
            Self::ArmPair | Self::ArmFour => {
                cfg!(target_endian = "little")
                    && std::arch::is_aarch64_feature_detected!("neon")
                    && std::arch::is_aarch64_feature_detected!("sha2")
            }
            #[cfg(not(target_arch = "aarch64"))]
            Self::ArmPair | Self::ArmFour => false,
        }
    }

    /// Returns how many streams the engine is fastest with; it takes any count.
    #[must_use]
    pub fn streams(self) -> usize {
        match self {
            Self::Portable => 1,
            Self::ArmPair => 2,
            Self::ShaNi | Self::ArmFour => 4,
            Self::Hybrid => 8,
            Self::Wide => 16,
        }
    }

    /// Hashes `data(i)` into `states[i]`; all streams must have the same length.
    pub(super) fn compress<'a>(self, states: &mut [State], data: impl Fn(usize) -> &'a [Block]) {
        assert!(self.is_available(), "with_engine() lets no other pass");
        let mut first = 0;
        while first < states.len() {
            let rest = &mut states[first..];
            let data = |stream: usize| data(first.strict_add(stream));
            let done = self.compress_some(rest, data);
            first = first.strict_add(done);
        }
    }

    /// Hashes as many of the first streams as one call takes; returns how many.
    #[allow(unsafe_code)] // The calls into code for a processor that has what the engine needs.
    fn compress_some<'a>(self, states: &mut [State], data: impl Fn(usize) -> &'a [Block]) -> usize {
        match (self, states.len()) {
            (Self::Portable, _) => side_by_side(states, data, |[state]: &mut [_; 1], [blocks]| {
                portable::compress(state, blocks);
            }),
            // Eight streams of which three are copies still beat five on the other path.
            #[cfg(target_arch = "x86_64")]
            (Self::Hybrid, 5..) => side_by_side(states, data, |states, data| {
                // SAFETY: the processor has the target features: `compress` asked it.
                unsafe { hybrid::compress(states, data) };
            }),
            // Ten of sixteen still beat the SHA instructions, and three beat one stream without these.
            #[cfg(target_arch = "x86_64")]
            (Self::Wide, 10..) => side_by_side(states, data, |states, data| {
                // SAFETY: the processor has the target features: `compress` asked it.
                unsafe { wide::compress(states, data) };
            }),
            #[cfg(target_arch = "x86_64")]
            (Self::Wide, 3..) if !Self::ShaNi.is_available() => {
                side_by_side(states, data, |states, data| {
                    // SAFETY: as above.
                    unsafe { wide::compress(states, data) };
                })
            }
            (Self::Wide, _) if !Self::ShaNi.is_available() => {
                Self::Portable.compress_some(states, data)
            }
            #[cfg(target_arch = "x86_64")]
            (Self::ShaNi | Self::Hybrid | Self::Wide, count) => {
                /// The call for one count of streams.
                fn call<const N: usize>(states: &mut [State; N], data: [&[Block]; N]) {
                    // SAFETY: the processor has the target features: `compress` asked it, and
                    // nothing else calls this function.
                    unsafe { sha_ni::compress(states, data) };
                }
                match count {
                    1 => side_by_side(states, data, call::<1>),
                    2 => side_by_side(states, data, call::<2>),
                    3 => side_by_side(states, data, call::<3>),
                    _ => side_by_side(states, data, call::<4>),
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            (Self::ShaNi | Self::Hybrid | Self::Wide, _) => unreachable!("never available"),
            #[cfg(target_arch = "aarch64")]
            (Self::ArmPair | Self::ArmFour, count) => {
                /// The call for one count of streams.
                fn call<const N: usize>(states: &mut [State; N], data: [&[Block]; N]) {
                    // SAFETY: the processor has the target features: `compress` asked it, and
                    // nothing else calls this function.
                    unsafe { arm::compress(states, data) };
                }
                match count.min(self.streams()) {
                    1 => side_by_side(states, data, call::<1>),
                    2 => side_by_side(states, data, call::<2>),
                    3 => side_by_side(states, data, call::<3>),
                    _ => side_by_side(states, data, call::<4>),
                }
            }
            #[cfg(not(target_arch = "aarch64"))]
            (Self::ArmPair | Self::ArmFour, _) => unreachable!("never available"),
        }
    }
}

/// Runs `compress` over the first `N` streams, or over all of them and copies of the last; returns
/// how many streams that were.
fn side_by_side<'a, const N: usize>(
    states: &mut [State],
    data: impl Fn(usize) -> &'a [Block],
    compress: impl FnOnce(&mut [State; N], [&'a [Block]; N]),
) -> usize {
    let taken = states.len().min(N);
    let last = taken.strict_sub(1);
    let mut some = array::from_fn(|stream| states[stream.min(last)]);
    compress(&mut some, array::from_fn(|stream| data(stream.min(last))));
    states[..taken].copy_from_slice(&some[..taken]);
    taken
}
