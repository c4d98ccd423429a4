//! QEMU as a child: its console is followed until there is a verdict, and then it ends.
#![allow(
    clippy::disallowed_methods,
    reason = "this room starts QEMU, whose path and arguments are none of an image's"
)]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process_group;

use crate::boot::console::Console;
use crate::boot::console::Verdict;
use crate::boot::machine::Machine;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::work::Wait;
use crate::work::Watch;
use crate::work::spawn;

/// Bytes of the console that are taken at once.
const PIECE_LEN: usize = 16 << 10;

/// Pieces of the console that may wait.
const WAITING: usize = 64;

/// How often the clock and the wish to stop are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Most bytes of QEMU's own messages that are kept.
const MESSAGES_LEN: u64 = 4096;

/// What a run may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until there must be a verdict.
    pub time: Duration,
    /// Until the kernel must have written a line, if that ends the run.
    pub silence: Option<Duration>,
    /// Bytes of the console that are handed on.
    pub log_bytes: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen, in one line.
    pub reason: String,
    /// How long it took.
    pub time: Duration,
    /// Bytes that the console wrote.
    pub console_bytes: u64,
    /// What QEMU itself had to say.
    pub messages: String,
    /// Whether a kernel wrote a line.
    pub has_kernel: bool,
    /// Whether QEMU was confined to the system calls that it needs.
    pub is_confined: bool,
}

/// Starts the machine, hands what its console writes to `log`, and ends it when there is a verdict.
///
/// # Errors
///
/// `Io` if QEMU cannot be started, or ends before the console wrote anything; whatever `log` returns; `Interrupted`.
pub fn run(
    program: &Path,
    machine: &Machine<'_>,
    mut console: Console,
    limits: &Limits,
    watch: &dyn Watch,
    log: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Ended> {
    let ended = run_once(program, machine, &mut console, limits, watch, log);
    match &ended {
        Err(error) if machine.is_confined && is_of_sandbox(error) => {
            let machine = Machine { is_confined: false, ..machine.clone() };
            run_once(program, &machine, &mut console, limits, watch, log)
        }
        _ => ended,
    }
}

/// Tells whether QEMU did not start because it cannot confine itself: it was built without, or the kernel lacks it.
fn is_of_sandbox(error: &Error) -> bool {
    let text = error.to_string();
    ["sandbox", "seccomp"].iter().any(|word| text.contains(word))
}

fn run_once(
    program: &Path,
    machine: &Machine<'_>,
    console: &mut Console,
    limits: &Limits,
    watch: &dyn Watch,
    log: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Ended> {
    let mut command = Command::new(program);
    command.args(machine.arguments()).process_group(0).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut running = Running(command.spawn().map_err(|e| Error::io("run", program, e))?);
    let (sender, receiver) = sync_channel(WAITING);
    let stdout = running.0.stdout.take().expect("it is piped");
    let mut stderr = running.0.stderr.take().expect("it is piped");
    thread::scope(|scope| {
        let gather = move || {
            let mut kept = Vec::new();
            // What is over the limit is read, so that it can be written, and dropped.
            let _ = (&mut stderr).take(MESSAGES_LEN).read_to_end(&mut kept);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&kept).trim().to_owned()
        };
        let passing = spawn(scope, move || pass_on(stdout, &sender));
        let messages = match passing.and_then(|_| spawn(scope, gather)) {
            Ok(messages) => messages,
            Err(error) => {
                // A thread that reads the pipe waits for its end.
                running.end();
                return Err(error);
            }
        };
        let followed = follow(console, &receiver, began, limits, watch, log);
        // Both threads end when the last one who holds the pipes does.
        drop(receiver);
        running.end();
        let messages = messages.join().unwrap_or_default();
        let (verdict, reason, console_bytes) = followed?;
        if verdict == Verdict::Stopped && console_bytes == 0 && !messages.is_empty() {
            let text = format!("the machine did not start: {messages}");
            return Err(Error::new(Kind::Io, text).in_file(program));
        }
        let (time, is_confined) = (began.elapsed(), machine.is_confined);
        let has_kernel = console.has_kernel();
        Ok(Ended { verdict, reason, time, console_bytes, messages, has_kernel, is_confined })
    })
}

/// A child whose group ends with it.
struct Running(Child);

impl Running {
    fn end(&mut self) {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            // That it has ended by itself is fine: until it is waited for, its number is nobody else's.
            let _ = kill_process_group(id, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

fn pass_on(mut stdout: ChildStdout, sender: &SyncSender<Vec<u8>>) {
    let mut buffer = vec![0; PIECE_LEN];
    loop {
        match stdout.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) if sender.send(buffer[..len].to_vec()).is_err() => return,
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Follows the console until there is a verdict.
fn follow(
    console: &mut Console,
    receiver: &Receiver<Vec<u8>>,
    began: Instant,
    limits: &Limits,
    watch: &dyn Watch,
    log: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<(Verdict, String, u64)> {
    let mut bytes = 0_u64;
    let seconds = limits.time.as_secs();
    let what = format!("{} on the console, for {seconds} s at most", console.awaited());
    let wait = |bytes: u64, is_over| {
        let found = format!("{bytes} bytes until now");
        watch.waits(&Wait { what: what.clone(), found, is_over });
    };
    loop {
        watch.check()?;
        wait(bytes, false);
        let silent = limits.silence.is_some_and(|time| began.elapsed() >= time);
        if began.elapsed() >= limits.time || silent && !console.has_kernel() {
            let (verdict, reason) = console.timeout();
            wait(bytes, true);
            return Ok((verdict, reason, bytes));
        }
        match receiver.recv_timeout(LOOK) {
            Ok(piece) => {
                let left = usize::try_from(limits.log_bytes.saturating_sub(bytes));
                let kept = &piece[..piece.len().min(left.unwrap_or(usize::MAX))];
                if !kept.is_empty() {
                    log(kept)?;
                }
                bytes = bytes.saturating_add(u64::try_from(piece.len()).expect("a piece"));
                if let Some((verdict, reason)) = console.feed(&piece) {
                    wait(bytes, true);
                    return Ok((verdict, reason, bytes));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let (verdict, reason) = console.stopped();
                wait(bytes, true);
                return Ok((verdict, reason, bytes));
            }
        }
    }
}
