//! Progress on a terminal, what is tried again and waited for, and the wish to stop.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::cli::shared::output::complain;
use crate::cli::shared::output::complain_json;
use crate::io::ignores;
use crate::work::Retry;
use crate::work::Wait;
use crate::work::Watch;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressState;
use indicatif::ProgressStyle;

/// How long something is waited for before a line says so, where no bar shows it: most of it is there a moment later.
const FIRST_WORD: Duration = Duration::from_secs(2);

/// How often a line that waits is drawn again, so that its seconds go on.
const TICK: Duration = Duration::from_millis(250);

/// Follows a run: draws a bar on standard error if that is a terminal, and hears signals.
#[derive(Debug)]
pub(in crate::cli) struct Follower {
    shown: bool,
    quiet: bool,
    json: bool,
    bar: Mutex<Option<ProgressBar>>,
    waiting: Mutex<Option<Waiting>>,
    signal: Arc<AtomicUsize>,
}

/// What the run waits for.
#[derive(Debug)]
struct Waiting {
    what: String,
    since: Instant,
    /// Whether a line has said so.
    said: bool,
    /// The line on the terminal, in the place of the bar.
    line: Option<ProgressBar>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
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
        let (bar, waiting) = (Mutex::default(), Mutex::default());
        Ok(Self { shown, quiet, json, bar, waiting, signal })
    }

    /// Starts a bar in the place of the one that there is.
    fn start(&self, what: &str, bytes: Option<u64>) {
        if !self.shown {
            return;
        }
        self.waiting().take();
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
        self.waiting().take();
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a line that waits, in the place of the bar: what the bar shows is done, or rests.
    fn wait_line(&self, since: Instant) -> Option<ProgressBar> {
        if !self.shown {
            return None;
        }
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        let seconds = move |_: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}", since.elapsed().as_secs());
        };
        let style = ProgressStyle::with_template("{spinner} waiting for {msg}, {seconds} s");
        line.set_style(style.expect("the template is sound").with_key("seconds", seconds));
        line.enable_steady_tick(TICK);
        Some(line)
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
                complain_json(&document);
            } else {
                complain(&format!("note: {retry}"));
            }
        };
        let line = self.waiting().as_ref().and_then(|it| it.line.clone());
        match line.or_else(|| self.bar().clone()) {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    fn waits(&self, wait: &Wait) {
        let mut waiting = self.waiting();
        if waiting.as_ref().is_none_or(|it| it.what != wait.what) {
            if wait.is_over {
                return;
            }
            waiting.take();
            let since = Instant::now();
            let (what, line) = (wait.what.clone(), self.wait_line(since));
            *waiting = Some(Waiting { what, since, said: false, line });
        }
        let Some(known) = &mut *waiting else { return };
        let found = match wait.found.as_str() {
            "" => String::new(),
            found => format!(" ({found})"),
        };
        if let Some(line) = &known.line {
            line.set_message(format!("{}{found}", wait.what));
        } else if !self.quiet && !self.json {
            let time = known.since.elapsed();
            if wait.is_over && known.said {
                complain(&format!("note: waited {} s for {}", time.as_secs(), wait.what));
            } else if !wait.is_over && !known.said && time >= FIRST_WORD {
                complain(&format!("note: waiting for {}{found}", wait.what));
                known.said = true;
            }
        }
        if wait.is_over {
            waiting.take();
        }
    }

    fn stopped(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }
}
