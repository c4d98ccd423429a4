//! Time and chance, which tests bring themselves.

use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// Longest nap between two looks at whether the user stops.
const NAP: Duration = Duration::from_millis(100);

/// Where time and chance come from.
pub trait World: Send + Sync {
    /// Returns the date and time, which anybody may set.
    fn now(&self) -> SystemTime;

    /// Returns the time since some moment; it only grows.
    fn ticks(&self) -> Duration;

    /// Waits, or less long once `stopped` says so.
    fn sleep(&self, time: Duration, stopped: &dyn Fn() -> bool);

    /// Returns any number.
    fn random(&self) -> u64;
}

impl<W: World + ?Sized> World for Arc<W> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }

    fn ticks(&self) -> Duration {
        (**self).ticks()
    }

    fn sleep(&self, time: Duration, stopped: &dyn Fn() -> bool) {
        (**self).sleep(time, stopped);
    }

    fn random(&self) -> u64 {
        (**self).random()
    }
}

/// The machine's own clock and chance.
#[derive(Debug)]
pub struct System {
    began: Instant,
}

impl Default for System {
    fn default() -> Self {
        Self { began: Instant::now() }
    }
}

impl World for System {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn ticks(&self) -> Duration {
        self.began.elapsed()
    }

    fn sleep(&self, time: Duration, stopped: &dyn Fn() -> bool) {
        let began = Instant::now();
        while !stopped() {
            match time.checked_sub(began.elapsed()) {
                Some(left) if !left.is_zero() => thread::sleep(left.min(NAP)),
                _ => return,
            }
        }
    }

    fn random(&self) -> u64 {
        // Without the system's chance all wait equally long, which is what jitter avoids and not a fault.
        getrandom::u64().unwrap_or(u64::MAX >> 1)
    }
}
