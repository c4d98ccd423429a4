//! How results, notes and errors are printed.

use std::io;
use std::io::Write;
use std::path::Path;

use anstream::AutoStream;
use serde::Serialize;

use crate::error::Error;
use crate::error::Result;

/// Prints a line on standard error, if there is one to print on.
pub(in crate::cli) fn complain(line: &str) {
    let _ = writeln!(AutoStream::auto(io::stderr().lock()), "amikit: {line}");
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
                text(report, out)
            };
            written.map_err(lost)
        })
    }

    pub(in crate::cli) fn notes(self, notes: &[String]) {
        if !self.json && !self.quiet {
            for note in notes {
                complain(&format!("note: {note}"));
            }
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
            let _ = writeln!(io::stderr().lock(), "{document}");
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

/// Says that standard output takes no more.
pub(in crate::cli) fn lost(error: io::Error) -> Error {
    Error::io("write to", Path::new("standard output"), error)
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
