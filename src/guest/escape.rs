//! Names of a guest as they are shown: bytes that are not text, or that would move a terminal's cursor, are
//! escaped.

use std::fmt::Write;

/// Returns a name on one line: control characters, marks that turn the direction of text, backslashes and
/// bytes that are not UTF-8 are escaped, as `\n`, `\u{202e}`, `\\` and `\xff`.
#[must_use]
pub fn escape(name: &[u8]) -> String {
    let mut shown = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() {
                shown.extend(c.escape_default());
            } else if turns(c) {
                shown.extend(c.escape_unicode());
            } else {
                shown.push(c);
            }
        }
        for byte in chunk.invalid() {
            write!(shown, "\\x{byte:02x}").expect("a string takes all");
        }
    }
    shown
}

/// Tells whether a character has no width of its own and changes how others are shown.
fn turns(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Tells whether a name matches a pattern: `*` stands for any bytes, `?` for one, `[a-z]` for one of some,
/// `[!a-z]` for one of the others, and `\` takes the next byte as it is.
#[must_use]
pub fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
    // Where the last star is, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    let (mut at, mut in_name) = (0_usize, 0_usize);
    while in_name < name.len() {
        if pattern.get(at) == Some(&b'*') {
            at = at.strict_add(1);
            star = Some((at, in_name));
            continue;
        }
        let taken = pattern.get(at..).and_then(|rest| take_one(rest, name[in_name]));
        match (taken, star) {
            (Some(len), _) => {
                at = at.strict_add(len);
                in_name = in_name.strict_add(1);
            }
            (None, Some((behind, from))) => {
                let from = from.strict_add(1);
                star = Some((behind, from));
                (at, in_name) = (behind, from);
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Returns how many bytes of a pattern stand for `byte`; `None` if they stand for another one.
fn take_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', rest @ ..] => {
            let inverted = matches!(rest.first(), Some(b'!' | b'^'));
            let set = &rest[usize::from(inverted)..];
            // A bracket right at the start is one of the set.
            let end = set.iter().skip(1).position(|it| *it == b']').map(|end| end.strict_add(1));
            let Some(end) = end else { return (byte == b'[').then_some(1) };
            let mut found = false;
            let mut left = &set[..end];
            while let Some((first, behind)) = left.split_first() {
                if let [b'-', last, more @ ..] = behind {
                    found |= (first..=last).contains(&&byte);
                    left = more;
                } else {
                    found |= *first == byte;
                    left = behind;
                }
            }
            (found != inverted).then(|| end.strict_add(2).strict_add(usize::from(inverted)))
        }
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_moves_the_cursor_or_looks_like_another() {
        assert_eq!(escape(b"plain n\xc3\xa4me"), "plain näme");
        assert_eq!(escape(b"a\nb\x1b[31m\\"), "a\\nb\\u{1b}[31m\\\\");
        assert_eq!(escape(b"\xff\xfe"), "\\xff\\xfe");
        assert_eq!(escape("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(escape("c\u{9b}".as_bytes()), "c\\u{9b}");
    }

    #[test]
    fn patterns_match_as_a_shell_has_it() {
        let all = |pattern: &str, name: &str| matches_pattern(pattern.as_bytes(), name.as_bytes());
        assert!(all("*.service", "ssh.service") && !all("*.service", "ssh.socket"));
        assert!(all("a?c", "abc") && !all("a?c", "ac"));
        assert!(all("[a-c]x", "bx") && !all("[a-c]x", "dx"));
        assert!(all("[!a-c]x", "dx") && !all("[!a-c]x", "ax"));
        assert!(all("[]]", "]") && all("[", "[") && all("\\*", "*") && !all("\\*", "a"));
        assert!(all("*a*b*", "xxaxxbxx") && !all("*a*b*", "xxbxxaxx"));
        assert!(all("", "") && all("**", "") && !all("", "a"));
        let name = "a".repeat(200);
        assert!(!all(&format!("{}b", "*a".repeat(40)), &name));
    }
}
