//! Two ways to do the same work, side by side.

use std::time::Instant;

use crate::error::Result;

/// A stage beside its limit: two ways to work on the same bytes, each returning its speed in GB/s.
pub(super) struct Race<'a> {
    pub(super) name: &'static str,
    pub(super) threads: usize,
    pub(super) stage: Box<dyn FnMut() -> Result<f64> + 'a>,
    pub(super) limit_name: &'static str,
    pub(super) limit: Box<dyn FnMut() -> Result<f64> + 'a>,
}

/// Does some work on `bytes` plain bytes and returns its speed in GB/s.
pub(super) fn speed(bytes: u64, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    let seconds = start.elapsed().as_secs_f64();
    // A clock that stood still must not make a speed that is not a number.
    Ok(float(bytes) / seconds.max(1e-9) / 1e9)
}

/// Returns the nearest number that a float has.
pub(super) fn float(number: u64) -> f64 {
    let low = u32::try_from(number & u64::from(u32::MAX)).expect("32 bits");
    let high = u32::try_from(number >> 32).expect("32 bits");
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}
