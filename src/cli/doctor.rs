//! `doctor`: what this machine offers.

use std::io;
use std::io::Write;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::ops;
use crate::ops::DoctorReport;

/// Shows what this machine offers, and what to do about what it lacks
///
/// The processor, the file systems of TMPDIR and of the current folder, and the programs that some commands start.
/// Nothing that is missing is an error: the exit code is 0.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit doctor\n  TMPDIR=/mnt/large amikit doctor --json")]
pub(super) struct Doctor {}

impl Doctor {
    #[allow(clippy::unused_self, reason = "each command is called so")]
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let report = ops::doctor(follower)?;
        follower.end();
        output.report("doctor", &report, render).map(|()| 0)
    }
}

fn render(report: &DoctorReport, out: &mut dyn Write) -> io::Result<()> {
    let mut folder = None;
    for row in &report.rows {
        if row.folder.is_some() && row.folder != folder {
            writeln!(out, "     in {}:", row.folder.as_deref().unwrap_or_default())?;
        }
        folder.clone_from(&row.folder);
        let mark = if row.available { "yes" } else { "no" };
        let what = row.what.replace('-', " ");
        // What was found repeats the mark where there is no more to say.
        let found = match row.found.as_str() {
            "yes" | "no" => String::new(),
            found => format!("{found}; "),
        };
        writeln!(out, "{mark:<4} {what:<14} {found}for {}", row.purpose)?;
        if let Some(advice) = &row.advice {
            writeln!(out, "                    -> {advice}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::ops::DoctorRow;

    #[test]
    fn a_row_says_what_is_there_and_what_to_do_if_not() {
        let row = DoctorRow {
            what: "direct-writes",
            folder: Some("/tmp".to_owned()),
            available: false,
            found: "no".to_owned(),
            purpose: "speed",
            advice: Some("nothing".to_owned()),
        };
        let threads = DoctorRow {
            what: "threads",
            folder: None,
            available: true,
            found: "2".to_owned(),
            advice: None,
            ..row.clone()
        };
        let mut text = Vec::new();
        render(&DoctorReport { rows: vec![threads, row] }, &mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "yes  threads        2; for speed\n     in /tmp:\nno   direct writes  for speed\n\
             \x20                   -> nothing\n"
        );
    }
}
