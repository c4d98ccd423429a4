//! Rust source as tokens: enough to follow paths, with comments, strings and lifetimes gone.
#![allow(clippy::arithmetic_side_effects)]

/// A token that matters to paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// An identifier, a keyword or a number.
    Word(String),
    /// `::`.
    Path,
    /// Any other character that is not blank.
    Sign(char),
}

impl Token {
    pub(super) fn is(&self, sign: char) -> bool {
        *self == Self::Sign(sign)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.word() == Some(word)
    }

    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Splits a source file into its tokens.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(len) = skipped(rest) {
            rest = &rest[len..];
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else if let Some(more) = rest.strip_prefix("::") {
            found.push(Token::Path);
            rest = more;
        } else {
            found.push(Token::Sign(first));
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// Returns the length of the blank, comment, literal or lifetime that `rest` begins with.
fn skipped(rest: &str) -> Option<usize> {
    let first = rest.chars().next()?;
    if first.is_whitespace() {
        return Some(first.len_utf8());
    }
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if first == '\'' {
        return Some(quoted_or_lifetime(rest));
    }
    literal(rest)
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += rest[at..].chars().next().expect("a comment ends").len_utf8();
        }
        if depth == 0 {
            return at;
        }
    }
}

/// A character such as `'a'` or `'\''`, or a lifetime, whose name is skipped with it.
fn quoted_or_lifetime(rest: &str) -> usize {
    let inner = rest[1..].chars().next().expect("something is quoted");
    if inner == '\\' {
        let escaped = 2 + rest[2..].chars().next().map_or(0, char::len_utf8);
        return escaped + rest[escaped..].find('\'').expect("a character ends") + 1;
    }
    let end = 1 + inner.len_utf8();
    if rest[end..].starts_with('\'') {
        return end + 1;
    }
    1 + rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len() - 1)
}

/// Returns the length of a string, plain or raw, of characters, bytes or C's.
fn literal(rest: &str) -> Option<usize> {
    let prefix = rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len();
    let raw = rest[..prefix].ends_with('r');
    let hashes = rest[prefix..].len() - rest[prefix..].trim_start_matches('#').len();
    let start = prefix + hashes;
    if prefix == 1 && rest.starts_with("b'") {
        return Some(1 + quoted_or_lifetime(&rest[1..]));
    }
    if prefix > 2 || (hashes > 0 && !raw) || !rest[start..].starts_with('"') {
        return None;
    }
    if raw {
        let end = format!("\"{}", "#".repeat(hashes));
        let inside = rest[start + 1..].find(&end).expect("a raw string ends");
        return Some(start + 1 + inside + end.len());
    }
    let mut escaped = false;
    let inside = rest[start + 1..]
        .find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })
        .expect("a string ends");
    Some(start + inside + 2)
}

#[test]
fn comments_strings_and_lifetimes_are_no_tokens() {
    let text = r##"
        // crate::a /* "
        /* crate::b /* nested */ crate::c */
        fn f<'a>(x: &'a str) -> u8 { g("crate::d \" \\", 'x', '\'', '"', b'\\', b"\"", r#"crate::e " "#) }
    "##;
    let words: Vec<_> =
        tokens(text).into_iter().filter_map(|it| it.word().map(str::to_owned)).collect();
    assert_eq!(words, ["fn", "f", "x", "str", "u8", "g"]);
    assert_eq!(tokens("a::b")[1], Token::Path);
}
