//! Which signals this process ignores, as `/proc` has it.

use std::fs;

/// The line of a process's status that has them.
const NAME: &str = "SigIgn:";

/// Returns the signals that are ignored, as a set of bits: signal 1 is the lowest. None where the system does not say.
pub(in crate::io) fn ignored_signals() -> u64 {
    fs::read_to_string("/proc/self/status").ok().and_then(|it| ignored_in(&it)).unwrap_or(0)
}

fn ignored_in(status: &str) -> Option<u64> {
    let bits = status.lines().find_map(|line| line.strip_prefix(NAME))?;
    u64::from_str_radix(bits.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_is_ignored() {
        let status =
            "Name:\tamikit\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t1\n";
        assert_eq!(ignored_in(status), Some(0x1001));
        assert_eq!(ignored_in("SigIgn:\tno\n"), None);
        assert_eq!(ignored_in("Name:\tamikit\n"), None);
        // Rust's runtime ignores SIGPIPE, which is 13.
        assert_ne!(ignored_signals() & (1 << 12), 0);
    }
}
