//! What this process was told to ignore.

use crate::io::system::ignored_signals;

/// Tells whether a signal is ignored: as when `nohup` started this process, and nothing has
/// handled it since.
#[must_use]
pub fn ignores(signal: i32) -> bool {
    let bit = signal.checked_sub(1).and_then(|it| u32::try_from(it).ok());
    bit.and_then(|it| ignored_signals().checked_shr(it)).is_some_and(|it| it & 1 == 1)
}
