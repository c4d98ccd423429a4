//! How results, notes and errors are printed.

use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use anstream::AutoStream;
use serde::Serialize;

use crate::error::Error;
use crate::error::Result;
use crate::error::shown;

/// Prints a line on standard error, if there is one to print on.
pub(in crate::cli) fn complain(line: &str) {
    let line = format!("amikit: {}\n", on_one_line(line));
    let _ = AutoStream::auto(io::stderr().lock()).write_all(line.as_bytes());
}

/// Prints a document on a line of standard error, in one write: others may write there too.
pub(in crate::cli) fn complain_json(document: &serde_json::Value) {
    let _ = io::stderr().lock().write_all(format!("{document}\n").as_bytes());
}

/// Shows what would end a line, or tell a terminal what to do, as what it is: names come from images and
/// bundles of others.
fn on_one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, letter| {
        if letter.is_control() {
            line.extend(letter.escape_debug());
        } else {
            line.push(letter);
        }
        line
    })
}

/// Passes a report on to standard output, line by line, and shows what would tell a terminal what to do.
struct Plain<'a>(&'a mut dyn Write);

impl Write for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(u8::is_ascii_control) {
            match piece.split_last() {
                Some((control, before)) if control.is_ascii_control() && *control != b'\n' => {
                    self.0.write_all(before)?;
                    write!(self.0, "{}", char::from(*control).escape_debug())?;
                }
                _ => self.0.write_all(piece)?,
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Exit code of a run that was done and whose answer is no.
pub(in crate::cli) const NO: u8 = 1;

/// How results are printed, and the command line that asked for them.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Output {
    pub(in crate::cli) json: bool,
    pub(in crate::cli) quiet: bool,
    /// Makes the whole command line, for what describes it.
    pub(in crate::cli) program: fn() -> clap::Command,
}

impl Output {
    /// Prints a report as JSON, with the name and version of its schema, or as text by `text`.
    pub(in crate::cli) fn report<T: Serialize>(
        self,
        schema: &'static str,
        report: &T,
        text: impl FnOnce(&T, &mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        print(|out| {
            let written = if self.json {
                let schema = format!("amikit.{schema}.v1");
                serde_json::to_writer_pretty(&mut *out, &Document { schema, report })
                    .map_err(io::Error::from)
                    .and_then(|()| writeln!(out))
            } else {
                text(report, &mut Plain(out))
            };
            written.map_err(lost)
        })
        // An output that was made has its name by now, and stays.
        .map_err(|error| error.leaving("all else was done"))
    }

    pub(in crate::cli) fn notes(self, notes: &[String]) {
        if !self.json && !self.quiet {
            for note in notes {
                complain(&format!("note: {note}"));
            }
        }
    }

    /// Says which files should have gone and are still there.
    pub(in crate::cli) fn leftovers(self, left: &[PathBuf]) {
        let text = |path: &PathBuf| format!("{} could not be removed", shown(path));
        if self.json && !self.quiet {
            for path in left {
                let document = serde_json::json!({ "schema": "amikit.note.v1", "note": {
                    "message": text(path),
                    "path": path.display().to_string(),
                }});
                complain_json(&document);
            }
        } else {
            self.notes(&left.iter().map(text).collect::<Vec<_>>());
        }
    }

    /// Prints an error, and what to do about it.
    pub(in crate::cli) fn error(self, error: &Error, advice: Option<&str>) {
        let text = match &advice {
            Some(advice) => format!("{}; {advice}", error.without_advice()),
            None => error.to_string(),
        };
        if self.json {
            let document = serde_json::json!({ "schema": "amikit.error.v1", "error": {
                "kind": error.kind().name(),
                "message": text,
                "path": error.path().map(|path| path.display().to_string()),
                "offset_bytes": error.offset(),
                "advice": advice,
            }});
            complain_json(&document);
        } else {
            complain(&format!("error: {text}"));
        }
    }
}

/// A report and which schema it follows: `amikit schema NAME` prints that.
#[derive(Serialize)]
struct Document<'a, T: Serialize> {
    schema: String,
    #[serde(flatten)]
    report: &'a T,
}

/// Calls `print` with standard output. A reader that went away is not a failure; a full disk is.
pub(in crate::cli) fn print(print: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = io::BufWriter::new(Stdout { lost: false });
    print(&mut out)?;
    out.flush().map_err(lost)
}

/// Whether standard output was closed before the program began.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Takes down whether there is a standard output. It must be called before Rust's runtime starts, which
/// opens `/dev/null` in its place: what is printed would go nowhere, and nobody would know.
#[doc(hidden)]
pub fn look_at_standard_output() {
    let there = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_ok();
    CLOSED.store(!there, Ordering::Relaxed);
}

/// Fails if there is no standard output: what a command finds out would be lost.
///
/// # Errors
///
/// `Io`.
pub(in crate::cli) fn check_standard_output() -> Result<()> {
    if CLOSED.load(Ordering::Relaxed) {
        return Err(lost(io::Error::other("it is closed")).advise("redirect it to /dev/null"));
    }
    Ok(())
}

/// Says that standard output takes no more.
pub(in crate::cli) fn lost(error: io::Error) -> Error {
    Error::io("write", Path::new("standard output"), error)
}

/// Standard output; once its reader has gone, writes go nowhere in silence.
struct Stdout {
    lost: bool,
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.lost {
            return Ok(bytes.len());
        }
        match io::stdout().lock().write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.lost = true;
                Ok(bytes.len())
            }
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match io::stdout().lock().flush() {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}
