//! A console's log as text: without what steers a terminal.

use std::path::Path;

use crate::error::Result;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::read_vec;
use crate::report::document::LogFacts;

/// Most bytes of a log that a page shows: its end.
pub const MOST_LOG_BYTES: u64 = 96 << 10;

/// Reads the end of a log.
///
/// # Errors
///
/// `Io` if the system refuses.
pub(super) fn read(path: &Path) -> Result<LogFacts> {
    let input = Input::open(path)?;
    let bytes = input.len();
    let start = bytes.saturating_sub(MOST_LOG_BYTES);
    let end = read_vec(&input, start, bytes.strict_sub(start)).map_err(|e| e.in_file(path))?;
    let text = plain(&end);
    // A line that was cut says nothing.
    let text = match text.split_once('\n') {
        Some((_, rest)) if start > 0 => rest.to_owned(),
        _ => text,
    };
    let path = path.to_string_lossy().into_owned();
    Ok(LogFacts { path, bytes, text, cut: start > 0 })
}

/// Takes escape sequences, carriage returns and other control characters out of what a terminal got.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' => match letters.next() {
                // A control sequence ends with a letter or one of a few marks.
                Some('[') => while letters.next().is_some_and(|it| !('@'..='~').contains(&it)) {},
                // The title of a window ends with a bell or another escape.
                Some(']') => {
                    while letters.next_if(|it| !matches!(it, '\x07' | '\x1b' | '\n')).is_some() {}
                }
                _ => {}
            },
            '\n' | '\t' => plain.push(letter),
            letter if letter.is_control() => {}
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_taken_out() {
        let log = b"\x1b[0;32mOK\x1b[0m\r\n\x1b]0;title\x07done\x1b[2J\x1bc \xff\x08\tend\x1b[";
        assert_eq!(plain(log), "OK\ndone \u{fffd}\tend");
        assert_eq!(plain(b"\x1b"), "");
    }
}
