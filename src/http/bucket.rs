//! Tokens: how many requests a second a service takes, as far as its answers tell.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// Smallest share of its rate that a bucket falls to.
const LEAST_SHARE: f64 = 1.0 / 64.0;

/// Time in which a bucket that was emptied to the last share is at its full rate again.
const RECOVERY: Duration = Duration::from_secs(30);

/// Time in which further refusals count as the same one: those are the requests that were under way.
const ONE_EVENT: Duration = Duration::from_secs(1);

/// Lets a number of requests a second through, and half as many once the service calls that too many.
#[derive(Debug)]
pub struct Bucket {
    most: f64,
    burst: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// May be below zero: what is owed by those that wait.
    tokens: f64,
    rate: f64,
    last: Duration,
    throttled: Option<Duration>,
}

impl Bucket {
    /// Makes a bucket for so many requests a second, of which `burst` may come at once.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let (most, burst) = (f64::from(per_second.max(1)), f64::from(burst.max(1)));
        let state = State { tokens: burst, rate: most, last: Duration::ZERO, throttled: None };
        Self { most, burst, state: Mutex::new(state) }
    }

    /// Draws a token at time `now` and returns how long to wait before it may be used.
    #[must_use]
    pub fn take(&self, now: Duration) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.refill(&mut state, now);
        state.tokens -= 1.0;
        if state.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-state.tokens / state.rate).unwrap_or(RECOVERY)
    }

    /// Hears at time `now` that the service wants fewer requests.
    pub fn throttled(&self, now: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.refill(&mut state, now);
        if state.throttled.is_some_and(|it| now.saturating_sub(it) < ONE_EVENT) {
            return;
        }
        state.throttled = Some(now);
        state.rate = (state.rate / 2.0).max(self.most * LEAST_SHARE);
        // What was saved up would hit the service at once.
        state.tokens = state.tokens.min(0.0);
    }

    /// Returns the requests a second that are let through at time `now`.
    #[must_use]
    pub fn rate(&self, now: Duration) -> f64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.refill(&mut state, now);
        state.rate
    }

    fn refill(&self, state: &mut State, now: Duration) {
        let passed = now.saturating_sub(state.last).as_secs_f64();
        state.last = state.last.max(now);
        state.tokens = (state.tokens + passed * state.rate).min(self.burst);
        let regained = self.most * passed / RECOVERY.as_secs_f64();
        state.rate = (state.rate + regained).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_burst_passes_and_the_rest_wait_in_line() {
        let bucket = Bucket::new(10, 3);
        let waits: Vec<_> = (0..6).map(|_| bucket.take(ms(0)).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
        assert_eq!(bucket.take(ms(1000)), ms(0), "700 ms later seven more have come in");
    }

    #[test]
    fn throttling_halves_once_a_second_and_the_rate_comes_back() {
        let bucket = Bucket::new(64, 64);
        for _ in 0..10 {
            bucket.throttled(ms(0));
        }
        assert!((bucket.rate(ms(0)) - 32.0).abs() < 1e-9);
        bucket.throttled(ms(1000));
        let rate = bucket.rate(ms(1000));
        assert!((16.0..18.0).contains(&rate), "{rate}");
        for second in 2..100 {
            bucket.throttled(ms(second * 1000));
        }
        let rate = bucket.rate(ms(99_000));
        assert!((1.0..5.0).contains(&rate), "never below the least share: {rate}");
        assert!((bucket.rate(ms(99_000 + 30_000)) - 64.0).abs() < 1e-9);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_does_no_harm() {
        let bucket = Bucket::new(1, 1);
        assert_eq!(bucket.take(ms(5000)), ms(0));
        assert_eq!(bucket.take(ms(0)), ms(1000));
    }
}
