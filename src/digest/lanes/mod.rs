//! SHA-256 of several streams at once: independent blocks fill the processor where one cannot.

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)] // Vector loads and stores.
#[allow(clippy::wildcard_imports)] // A list of intrinsics says nothing.
mod arm;
mod engine;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // Vector loads and stores, and assembly.
#[allow(clippy::cast_ptr_alignment)] // The loads and stores are of the unaligned kind.
#[allow(clippy::wildcard_imports)] // A list of intrinsics says nothing.
mod hybrid;
mod portable;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // Vector loads and stores.
#[allow(clippy::cast_ptr_alignment)] // The loads and stores are of the unaligned kind.
#[allow(clippy::wildcard_imports)] // A list of intrinsics says nothing.
mod sha_ni;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // Vector loads and stores.
#[allow(clippy::wildcard_imports)] // A list of intrinsics says nothing.
mod wide;
mod words;

#[cfg(test)]
mod tests;

use crate::digest::Digest;

pub use engine::Engine;
use words::Block;
use words::INITIAL;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use words::K;
use words::State;

/// SHA-256 of `count` streams that grow by the same length at each step.
#[derive(Clone, Debug)]
pub struct Lanes {
    engine: Engine,
    states: Vec<State>,
    /// Bytes in each stream so far.
    len: u64,
}

impl Lanes {
    /// Returns how many streams the fastest code on this processor takes at once.
    #[must_use]
    pub fn preferred() -> usize {
        Engine::best().streams()
    }

    /// Starts `count` empty streams; any count works, [`Lanes::preferred`] is fastest.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self::with_engine(Engine::best(), count)
    }

    /// Starts `count` empty streams on a certain engine: for tests and benchmarks.
    ///
    /// # Panics
    ///
    /// If this processor cannot run the engine.
    #[must_use]
    pub fn with_engine(engine: Engine, count: usize) -> Self {
        assert!(engine.is_available(), "{engine:?} on a processor that has it");
        Self { engine, states: vec![INITIAL; count], len: 0 }
    }

    /// Starts all streams again.
    pub fn reset(&mut self, count: usize) {
        self.states.clear();
        self.states.resize(count, INITIAL);
        self.len = 0;
    }

    /// Appends one piece to each stream: `pieces[i]` to stream `i`.
    ///
    /// # Panics
    ///
    /// If there is not one piece for each stream, if the pieces differ in length, or if that length
    /// is not a multiple of 64 bytes.
    pub fn update(&mut self, pieces: &[&[u8]]) {
        assert_eq!(pieces.len(), self.states.len(), "one piece for each stream");
        let Some(first) = pieces.first() else { return };
        assert!(first.len().is_multiple_of(64), "whole blocks");
        assert!(pieces.iter().all(|piece| piece.len() == first.len()), "pieces of one length");
        self.engine.compress(&mut self.states, |stream| pieces[stream].as_chunks().0);
        // Nobody has 2^61 bytes, so neither this nor the count of bits below overflows.
        self.len = u64::try_from(first.len())
            .ok()
            .and_then(|len| self.len.checked_add(len))
            .expect("2^64 bytes");
    }

    /// Ends the streams; `out[i]` becomes the digest of stream `i`. All streams are empty again.
    ///
    /// # Panics
    ///
    /// If `out` has not one place for each stream.
    pub fn finish(&mut self, out: &mut [Digest]) {
        assert_eq!(out.len(), self.states.len(), "one place for each digest");
        // Whole blocks went before, so the padding is one block, the same for all streams.
        let mut padding: Block = [0; 64];
        padding[0] = 0x80;
        padding[56..].copy_from_slice(&self.len.strict_mul(8).to_be_bytes());
        self.engine.compress(&mut self.states, |_| std::slice::from_ref(&padding));
        for (out, state) in out.iter_mut().zip(&self.states) {
            *out = digest(state);
        }
        self.reset(out.len());
    }
}

/// Writes the words as the standard does, each from its highest byte on.
fn digest(state: &State) -> Digest {
    let mut digest = Digest([0; 32]);
    for (bytes, word) in digest.0.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}
