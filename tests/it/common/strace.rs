//! Running the program under strace, with calls that fail or kill.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use crate::common::installed;
use crate::common::stderr;

/// The calls by which an output comes to be, which are logged.
const WATCHED: &str =
    "fsync,fdatasync,rename,renameat,renameat2,pwrite64,ftruncate,fallocate,unlink";

/// Runs a command with calls that fail or kill, and returns its output and the log of calls; `None`, with the
/// reason printed, where strace cannot be used.
pub(crate) fn injected(
    folder: &Path,
    calls: &str,
    how: &str,
    line: &str,
) -> Option<(Output, Vec<String>)> {
    injected_at(folder, None, calls, how, line)
}

/// As [`injected`], but only calls on one file, if there is one, fail.
pub(crate) fn injected_at(
    folder: &Path,
    file: Option<&Path>,
    calls: &str,
    how: &str,
    line: &str,
) -> Option<(Output, Vec<String>)> {
    if !installed("strace") {
        return None;
    }
    let log = folder.join("strace.log");
    let mut strace = Command::new("strace");
    if let Some(file) = file {
        strace.arg("-P").arg(file);
    }
    let output = strace
        .args(["-f", "-qq", "-y", "-o"])
        .arg(&log)
        .args(["-e", &format!("trace={WATCHED}")])
        .args(["-e", &format!("inject={calls}:{how}"), env!("CARGO_BIN_EXE_amikit")])
        .args(line.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(log);
    if text.is_empty() {
        println!("skipped: strace cannot trace here: {}", stderr(&output));
        return None;
    }
    Some((output, text.lines().map(str::to_owned).collect()))
}
