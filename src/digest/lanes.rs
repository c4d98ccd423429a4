//! SHA-256 of several streams at once: independent blocks fill the processor where one cannot.

use crate::digest::Digest;

use sha2::Digest as _;

/// SHA-256 of `count` streams that grow by the same length at each step.
#[derive(Clone, Debug)]
pub struct Lanes(Vec<sha2::Sha256>);

impl Lanes {
    /// Returns how many streams the fastest code on this processor takes at once.
    #[must_use]
    pub fn preferred() -> usize {
        4
    }

    /// Starts `count` empty streams; any count works, [`Lanes::preferred`] is fastest.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(vec![sha2::Sha256::new(); count])
    }

    /// Starts all streams anew.
    pub fn reset(&mut self, count: usize) {
        self.0.clear();
        self.0.resize(count, sha2::Sha256::new());
    }

    /// Appends one piece to each stream: `pieces[i]` to stream `i`.
    ///
    /// # Panics
    ///
    /// If there is not one piece for each stream, if the pieces differ in length, or if that length
    /// is no multiple of 64 bytes.
    pub fn update(&mut self, pieces: &[&[u8]]) {
        assert_eq!(pieces.len(), self.0.len());
        for (stream, piece) in self.0.iter_mut().zip(pieces) {
            stream.update(piece);
        }
    }

    /// Ends the streams; `out[i]` becomes the digest of stream `i`.
    ///
    /// # Panics
    ///
    /// If `out` has not one place for each stream.
    pub fn finish(&mut self, out: &mut [Digest]) {
        assert_eq!(out.len(), self.0.len());
        for (stream, out) in self.0.iter_mut().zip(out) {
            *out = Digest(stream.finalize_reset().into());
        }
    }
}
