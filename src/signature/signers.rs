//! Files of allowed signers, as `ssh-keygen` reads them (ssh-keygen(1), ALLOWED SIGNERS).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::signature::keys::ED25519;
use crate::signature::keys::PublicKey;
use crate::signature::keys::SK_ED25519;
use crate::signature::namespace::NAMESPACE;

/// Most bytes of a file of allowed signers.
pub const MAX_SIGNERS_LEN: u64 = 1 << 20;

/// What is wrong with a line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignersFault {
    /// The file is not text.
    #[error("it is not UTF-8 text")]
    Text,
    /// A field is missing.
    #[error("expected principals, options if any, a type of key and the key")]
    Fields,
    /// A quotation mark has no partner.
    #[error("a quotation mark is not closed")]
    Quote,
    /// The line allows what an authority certifies.
    #[error(
        "certificates are not supported: expected a line for each key instead of cert-authority"
    )]
    Authority,
    /// An option is not known, and may narrow what the line allows.
    #[error("an option is not known, expected namespaces=, valid-after= or valid-before=")]
    Option,
    /// A time is not one.
    #[error("a time is not YYYYMMDD[Z] or YYYYMMDDHHMM[SS][Z]")]
    Time,
    /// The key is not one of its type.
    #[error("the key is not one of the type in front of it")]
    Key,
}

/// Why a key of the file is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejected {
    /// The file does not have the key.
    Unknown,
    /// Not for AMIs.
    Namespace,
    /// It is valid later on.
    NotYet,
    /// It was valid before.
    Expired,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    principals: String,
    /// Patterns of namespaces; any if there is none.
    namespaces: Option<String>,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
    key: PublicKey,
}

/// Who may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signers {
    lines: Vec<Line>,
}

impl Signers {
    /// Reads a file; times without `Z` are in `zone`.
    ///
    /// # Errors
    ///
    /// The number of the line, from 1 on, and what is wrong with it.
    pub fn parse(bytes: &[u8], zone: &TimeZone) -> Result<Self, (usize, SignersFault)> {
        let text = std::str::from_utf8(bytes).map_err(|_| (1, SignersFault::Text))?;
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            lines.extend(parse_line(line, zone).map_err(|fault| (number, fault))?);
        }
        Ok(Self { lines })
    }

    /// Tells whether no key of a type that is read is in the file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns the principals that the key stands for at a time.
    ///
    /// # Errors
    ///
    /// Why it stands for none.
    pub fn principals(&self, key: &PublicKey, now: Timestamp) -> Result<&str, Rejected> {
        let mut why = Rejected::Unknown;
        for line in self.lines.iter().filter(|line| line.key == *key) {
            let found = match line {
                Line { namespaces: Some(list), .. } if !listed(list, NAMESPACE) => {
                    Rejected::Namespace
                }
                Line { after: Some(after), .. } if now < *after => Rejected::NotYet,
                Line { before: Some(before), .. } if now > *before => Rejected::Expired,
                _ => return Ok(&line.principals),
            };
            why = why.max(found);
        }
        Err(why)
    }
}

/// Takes a word off a line; inside quotation marks white space is part of it.
fn word(line: &str) -> Result<(&str, &str), SignersFault> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, char) in line.char_indices() {
        match char {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' if !quoted => return Ok((&line[..at], line[at..].trim_ascii_start())),
            _ => {}
        }
        escaped = char == '\\' && !escaped;
    }
    if quoted { Err(SignersFault::Quote) } else { Ok((line, "")) }
}

/// Tells whether a word is a type of key; options are none of these.
fn is_type(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"].iter().any(|prefix| word.starts_with(prefix))
}

fn parse_line(line: &str, zone: &TimeZone) -> Result<Option<Line>, SignersFault> {
    let (principals, rest) = word(line)?;
    let (mut options, mut rest) = ("", rest);
    let (mut kind, mut behind) = word(rest)?;
    if !is_type(kind) {
        options = kind;
        rest = behind;
        (kind, behind) = word(rest)?;
    }
    let (packed, _comment) = word(behind)?;
    if principals.is_empty() || !is_type(kind) || packed.is_empty() {
        return Err(SignersFault::Fields);
    }
    let (mut namespaces, mut after, mut before) = (None, None, None);
    for option in split_options(options) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = unquoted(value);
        match name.to_ascii_lowercase().as_str() {
            "cert-authority" => return Err(SignersFault::Authority),
            "namespaces" => namespaces = Some(value),
            "valid-after" => after = Some(time(&value, zone)?),
            "valid-before" => before = Some(time(&value, zone)?),
            _ => return Err(SignersFault::Option),
        }
    }
    if kind != ED25519 && kind != SK_ED25519 {
        return Ok(None);
    }
    let key = PublicKey::parse_line(&format!("{kind} {packed}")).map_err(|_| SignersFault::Key)?;
    let principals = unquoted(principals);
    Ok(Some(Line { principals, namespaces, after, before, key }))
}

/// Splits options at the commas outside quotation marks.
fn split_options(options: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (at, char) in options.char_indices() {
        match char {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                found.push(&options[start..at]);
                start = at.strict_add(1);
            }
            _ => {}
        }
    }
    found.push(&options[start..]);
    found.retain(|option| !option.is_empty());
    found
}

fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.map_or_else(|| text.to_owned(), |inner| inner.replace("\\\"", "\""))
}

fn time(text: &str, zone: &TimeZone) -> Result<Timestamp, SignersFault> {
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, &TimeZone::UTC),
        None => (text, zone),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SignersFault::Time);
    }
    // What is left out is 0: a day without a time begins at midnight.
    if ![8, 12, 14].contains(&digits.len()) {
        return Err(SignersFault::Time);
    }
    let civil = DateTime::strptime("%Y%m%d%H%M%S", format!("{digits:0<14}"));
    let civil = civil.map_err(|_| SignersFault::Time)?;
    zone.to_timestamp(civil).map_err(|_| SignersFault::Time)
}

/// Tells whether a name is in a list of patterns; one with `!` that fits excludes it.
fn listed(list: &str, name: &str) -> bool {
    let mut found = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if fits(pattern.as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => found |= fits(pattern.as_bytes(), name.as_bytes()),
        }
    }
    found
}

/// Matches `*` for any characters and `?` for one, in time of the product of both lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    // Which ends of the name the pattern so far can reach.
    let mut reached = vec![false; name.len().strict_add(1)];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; reached.len()];
        if *part == b'*' {
            let mut any = false;
            for (here, to) in reached.iter().zip(&mut next) {
                any |= here;
                *to = any;
            }
        } else {
            for (at, byte) in name.iter().enumerate() {
                let one = *part == b'?' || part == byte;
                next[at.strict_add(1)] = reached[at] && one;
            }
        }
        reached = next;
    }
    reached.last().is_some_and(|end| *end)
}
