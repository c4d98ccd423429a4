//! Failures that are asked for, so that clients can be tested against them.

use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;

use crate::error::Error;
use crate::error::Result;

/// One kind of failure.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// The call, or `*`.
    call: String,
    /// Every so many calls of it.
    #[serde(default = "one")]
    every: u64,
    /// At most so often; without end for none.
    #[serde(default)]
    times: Option<u64>,
    /// Milliseconds to wait first.
    #[serde(default)]
    delay_ms: u64,
    /// What is answered; nothing but the delay for none.
    #[serde(default)]
    code: Option<String>,
    #[serde(default = "bad_request")]
    status: u16,
    #[serde(default)]
    message: String,
}

fn one() -> u64 {
    1
}

fn bad_request() -> u16 {
    400
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    faults: Vec<Rule>,
    hidden_after_start_seconds: u64,
    page_token_seconds: Option<u64>,
    block_token_seconds: Option<u64>,
    short_pages: bool,
    pending_ms: Option<u64>,
}

/// A failure to answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Injected {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
}

/// What fails, and how.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
    counts: Mutex<Vec<(u64, u64)>>,
    /// Seconds for which a snapshot that was just started is not there.
    pub(super) hidden_after_start: u64,
    pub(super) page_token_seconds: Option<u64>,
    pub(super) block_token_seconds: Option<u64>,
    pub(super) short_pages: bool,
    pub(super) pending_ms: Option<u64>,
}

/// Longest delay, in milliseconds.
const MOST_DELAY: u64 = 600_000;

impl Faults {
    /// Reads what a file asks for.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is not a list of faults.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fail = |e| Error::corrupt(format!("faults: {e}"));
        // An object, and not a list of its members' values.
        let object: Map<String, Value> = serde_json::from_slice(bytes).map_err(fail)?;
        let file: File = serde_json::from_value(Value::Object(object)).map_err(fail)?;
        for rule in &file.faults {
            if rule.every == 0 || rule.delay_ms > MOST_DELAY || !(400..600).contains(&rule.status) {
                let text = format!(
                    "faults: {:?}: every must be 1 or more, delay_ms at most {MOST_DELAY}, status 400 to 599",
                    rule.call
                );
                return Err(Error::corrupt(text));
            }
        }
        let counts = Mutex::new(vec![(0, 0); file.faults.len()]);
        Ok(Self {
            counts,
            hidden_after_start: file.hidden_after_start_seconds,
            page_token_seconds: file.page_token_seconds,
            block_token_seconds: file.block_token_seconds,
            short_pages: file.short_pages,
            pending_ms: file.pending_ms,
            rules: file.faults,
        })
    }

    /// Says how a call fails, if it does, and how long it waits first.
    pub(super) fn next(&self, call: &str) -> (u64, Option<Injected>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut delay = 0_u64;
        for (rule, (seen, done)) in self.rules.iter().zip(counts.iter_mut()) {
            if rule.call != "*" && rule.call != call {
                continue;
            }
            *seen = seen.wrapping_add(1);
            let over = rule.times.is_some_and(|times| *done >= times);
            if !seen.is_multiple_of(rule.every) || over {
                continue;
            }
            *done = done.wrapping_add(1);
            delay = delay.saturating_add(rule.delay_ms);
            if let Some(code) = &rule.code {
                let injected = Injected {
                    status: rule.status,
                    code: code.clone(),
                    message: rule.message.clone(),
                };
                return (delay, Some(injected));
            }
        }
        (delay.min(MOST_DELAY), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_as_often_as_is_asked() {
        let text =
            br#"{"faults":[{"call":"PutSnapshotBlock","every":3,"times":2,"code":"X","status":500},
            {"call":"*","delay_ms":5}],"page_token_seconds":0}"#;
        let faults = Faults::parse(text).unwrap();
        let fails: Vec<bool> =
            (0..12).map(|_| faults.next("PutSnapshotBlock").1.is_some()).collect();
        let third = |at: usize| at == 2 || at == 5;
        assert_eq!(fails, (0..12).map(third).collect::<Vec<_>>());
        assert_eq!(faults.next("Other"), (5, None));
        assert_eq!(faults.page_token_seconds, Some(0));
        for bad in ["", "[]", r#"{"fault":[]}"#, r#"{"faults":[{"call":"x","every":0}]}"#] {
            assert!(Faults::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
