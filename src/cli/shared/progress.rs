//! Progress on a terminal, what is tried again, and the wish to stop.

use std::io::IsTerminal;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::cli::shared::output::complain;
use crate::io::ignores;
use crate::work::Retry;
use crate::work::Watch;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;

/// Follows a run: draws a bar on standard error if that is a terminal, and hears signals.
#[derive(Debug)]
pub(in crate::cli) struct Follower {
    shown: bool,
    quiet: bool,
    json: bool,
    bar: Mutex<Option<ProgressBar>>,
    signal: Arc<AtomicUsize>,
}

impl Follower {
    pub(in crate::cli) fn new(quiet: bool, json: bool) -> std::io::Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in
            [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            // Who starts this with `nohup` wants it to go on when the terminal is gone.
            if number == signal_hook::consts::SIGHUP && ignores(number) {
                continue;
            }
            let value = usize::try_from(number).expect("signals have small numbers");
            signal_hook::flag::register_usize(number, Arc::clone(&signal), value)?;
        }
        // By default a file over the limit kills the process; with any handler the write fails.
        signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
        let shown = !quiet && std::io::stderr().is_terminal();
        Ok(Self { shown, quiet, json, bar: Mutex::default(), signal })
    }

    /// Starts a bar in the place of the one that there is.
    fn start(&self, what: &str, bytes: Option<u64>) {
        if !self.shown {
            return;
        }
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr_with_hz(10));
        let template = match bytes {
            Some(_) => "{msg}{bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            None => "{msg}{spinner} {bytes}, {bytes_per_sec}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is sound"));
        if !what.is_empty() {
            bar.set_message(format!("{what} "));
        }
        if let Some(before) = self.bar().replace(bar) {
            before.finish_and_clear();
        }
    }

    /// Takes the bar away.
    pub(in crate::cli) fn end(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which signal has ended what runs until one comes, as a server.
    pub(in crate::cli) fn farewell(&self) -> Vec<String> {
        let name = match i32::from(self.signal()) {
            signal_hook::consts::SIGINT => "SIGINT",
            signal_hook::consts::SIGTERM => "SIGTERM",
            signal_hook::consts::SIGHUP => "SIGHUP: its terminal or session ended",
            _ => return Vec::new(),
        };
        vec![format!("stopped by {name}")]
    }

    /// Returns the signal that was heard, or 0.
    pub(in crate::cli) fn signal(&self) -> u8 {
        u8::try_from(self.signal.load(Ordering::Relaxed)).expect("signals have small numbers")
    }
}

impl Watch for Follower {
    fn prepare(&self, what: &str, bytes: Option<u64>) {
        self.start(what, bytes);
    }

    fn begin(&self, bytes: Option<u64>) {
        self.start("", bytes);
    }

    fn advance(&self, bytes: u64) {
        // Where nothing is shown, nobody waits for anybody.
        if self.shown
            && let Some(bar) = &*self.bar()
        {
            bar.inc(bytes);
        }
    }

    fn retries(&self, retry: &Retry) {
        if self.quiet {
            return;
        }
        let say = || {
            if self.json {
                let pause = u64::try_from(retry.pause.as_millis()).unwrap_or(u64::MAX);
                let document = serde_json::json!({ "schema": "amikit.retry.v1", "retry": {
                    "call": retry.call,
                    "reason": retry.reason,
                    "attempts": retry.attempts,
                    "pause_ms": pause,
                }});
                let _ = writeln!(std::io::stderr().lock(), "{document}");
            } else {
                complain(&format!("note: {retry}"));
            }
        };
        match &*self.bar() {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    fn stopped(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }
}
