//! The files that AWS's tools share: sections, and lines of names and values.
//!
//! As `configparser` reads them: `#` and `;` begin a comment at the start of a line, `=` or `:` stands behind a name, names are
//! not told apart by case, and what is indented further than the setting above it belongs to that one's value, where it is a
//! list of settings of its own.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// The settings of a section. An inner setting is called `outer.inner`.
pub(super) type Section = BTreeMap<String, Zeroizing<String>>;

/// Why a file is not one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum IniFault {
    /// A line is none of the kinds.
    #[error("line {line} is neither a section, a setting nor a comment")]
    Line {
        /// Its number, from 1 on.
        line: usize,
    },
    /// A setting comes before the first section.
    #[error("line {line} stands before the first section")]
    NoSection {
        /// Its number, from 1 on.
        line: usize,
    },
}

/// Reads a file. Sections of one name are one.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Section>, IniFault> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    let mut section: Option<String> = None;
    let mut outer: Option<String> = None;
    // That of the setting whose value may go on.
    let mut indent = 0_usize;
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let own = line.len().strict_sub(line.trim_start().len());
        let is_indented = outer.is_some() && own > indent;
        if let Some(name) = trimmed.strip_prefix('[').filter(|_| !is_indented) {
            let name = name.split_once(']').ok_or(IniFault::Line { line: number })?.0;
            let name = words(name).join(" ");
            sections.entry(name.clone()).or_default();
            (section, outer) = (Some(name), None);
            continue;
        }
        let Some(section) = &section else { return Err(IniFault::NoSection { line: number }) };
        let settings = sections.entry(section.clone()).or_default();
        let ends: &[char] = if is_indented { &['='] } else { &['=', ':'] };
        let pair = trimmed.split_once(ends).map(|(name, value)| (name.trim(), value.trim()));
        match (pair, &outer) {
            (Some((name, value)), Some(outer)) if is_indented => {
                let name = format!("{outer}.{}", name.to_ascii_lowercase());
                settings.insert(name, Zeroizing::new(value.to_owned()));
            }
            (None, Some(outer)) if is_indented => {
                let value = settings.entry(outer.clone()).or_default();
                value.push('\n');
                value.push_str(trimmed);
            }
            (Some((name, value)), _) if !name.is_empty() => {
                let name = name.to_ascii_lowercase();
                settings.insert(name.clone(), Zeroizing::new(value.to_owned()));
                (outer, indent) = (Some(name), own);
            }
            _ => return Err(IniFault::Line { line: number }),
        }
    }
    Ok(sections)
}

/// Splits a text at its blanks as a shell does: quotes keep blanks, a backslash keeps what follows it.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('\\', Some('"')) => {
                let next = letters.next().unwrap_or('\\');
                let into = word.get_or_insert_default();
                if !matches!(next, '"' | '\\') {
                    into.push('\\');
                }
                into.push(next);
            }
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            ('\\', None) => word.get_or_insert_default().extend(letters.next()),
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_awss_tools_read_it() {
        let text = "# a comment\n[default]\naws_access_key_id = A=B\n; another\n\n\
                    [profile \"dev box\"]\nRegion=eu-west-1\nservices = s\ns3 =\n  endpoint_url = http://x\n\
                    \tother = 1\nregion=eu-west-2\n[services s]\nebs =\n  endpoint_url = http://e\n";
        let found = parse(text).unwrap();
        let get = |section: &str, name: &str| found[section].get(name).map(|it| it.as_str());
        assert_eq!(get("default", "aws_access_key_id"), Some("A=B"));
        assert_eq!(get("profile dev box", "region"), Some("eu-west-2"));
        assert_eq!(get("profile dev box", "s3.endpoint_url"), Some("http://x"));
        assert_eq!(get("profile dev box", "s3.other"), Some("1"));
        assert_eq!(get("services s", "ebs.endpoint_url"), Some("http://e"));
        assert_eq!(get("services s", "none"), None);
    }

    /// Who indents all of a section means no list of settings.
    #[test]
    fn settings_may_be_indented_and_have_colons() {
        for section in [
            "[default]\n    aws_access_key_id = A\n    aws_secret_access_key = B\n    region = c\n",
            "[default]\n\taws_access_key_id=A\n\taws_secret_access_key=B\n\tregion=c\n",
            "[default]\r\naws_access_key_id: A\r\naws_secret_access_key :B\r\nregion:c\r\n",
            " [default]\n  aws_access_key_id = A\n\n# x\n  aws_secret_access_key = B\n  s3 =\n    \
             region = d\n  region = c\n",
        ] {
            let found = parse(section).unwrap();
            let get = |name: &str| found["default"].get(name).map(|it| it.as_str());
            for (name, value) in
                [("aws_access_key_id", "A"), ("aws_secret_access_key", "B"), ("region", "c")]
            {
                assert_eq!(get(name), Some(value), "{name} of {section:?}");
            }
        }
        let found = parse("[a]\nendpoint_url = http://x:1\nservices: s\n").unwrap();
        assert_eq!(found["a"]["endpoint_url"].as_str(), "http://x:1");
    }

    #[test]
    fn what_is_no_such_file_is_named_by_its_line() {
        assert_eq!(parse("a = b"), Err(IniFault::NoSection { line: 1 }));
        assert_eq!(parse("[a]\n\nnonsense"), Err(IniFault::Line { line: 3 }));
        assert_eq!(parse("[a\n"), Err(IniFault::Line { line: 1 }));
        assert_eq!(parse("[a]\n= b"), Err(IniFault::Line { line: 2 }));
    }

    #[test]
    fn words_are_those_of_a_shell() {
        for (text, expected) in [
            ("a  b", vec!["a", "b"]),
            ("'a b' \"c\\\"d\\e\" f\\ g", vec!["a b", "c\"d\\e", "f g"]),
            ("''", vec![""]),
            ("  ", vec![]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
