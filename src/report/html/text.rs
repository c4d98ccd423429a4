//! Text of others inside markup.

use std::fmt;
use std::fmt::Write;

/// Most bytes of markup that one text takes on the page: a path has up to 4,096, and a page has hundreds of them.
const MOST_LEN: usize = 160;

/// Text as HTML, with nothing in it that is markup, that steers a terminal, or that turns the direction of what follows.
/// A long one loses its middle.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A letter is at least a byte of markup: what is longer than all that fits need not be escaped to be cut.
        if self.0.len() <= MOST_LEN {
            let mut whole = String::new();
            escape(self.0, &mut whole)?;
            if whole.len() <= MOST_LEN {
                return f.write_str(&whole);
            }
        }
        let letters = |text: &mut dyn Iterator<Item = char>| -> Result<Vec<String>, fmt::Error> {
            let (mut found, mut len) = (Vec::new(), 0_usize);
            for letter in text {
                let mut shown = String::new();
                escape(letter.encode_utf8(&mut [0; 4]), &mut shown)?;
                len = len.strict_add(shown.len());
                if len > MOST_LEN / 2 {
                    break;
                }
                found.push(shown);
            }
            Ok(found)
        };
        let head = letters(&mut self.0.chars())?;
        let mut tail = letters(&mut self.0.chars().rev())?;
        tail.reverse();
        write!(f, "{} … {}", head.concat(), tail.concat())
    }
}

/// Writes text of any length as HTML.
pub(super) fn escape(text: &str, out: &mut dyn Write) -> fmt::Result {
    for letter in text.chars() {
        match letter {
            '&' => out.write_str("&amp;")?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '"' => out.write_str("&quot;")?,
            '\'' => out.write_str("&#39;")?,
            '\n' | '\t' => out.write_char(letter)?,
            // Invisible letters that change how others are shown.
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => {
                write!(out, "{}", letter.escape_unicode())?;
            }
            letter if letter.is_control() => write!(out, "{}", letter.escape_default())?,
            letter => out.write_char(letter)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_is_markup() {
        let name = "</script><img src=x onerror='alert(1)'>\"&\u{202e}\0";
        let shown = Text(name).to_string();
        assert_eq!(
            shown,
            "&lt;/script&gt;&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&quot;&amp;\\u{202e}\\u{0}"
        );
    }

    #[test]
    fn a_long_name_loses_its_middle_between_letters() {
        let name = format!("/start{}end", "é".repeat(4000));
        let shown = Text(&name).to_string();
        assert!(shown.len() < MOST_LEN.strict_add(10));
        assert!(shown.starts_with("/start") && shown.ends_with("end") && shown.contains(" … "));
        let marks = Text(&"<".repeat(150)).to_string();
        assert!(marks.len() < MOST_LEN.strict_add(10) && marks.replace("&lt;", "") == " … ");
    }
}
