//! What EC2's calls have in common: filters, pages, attempts, moments.

use crate::ami::is_account;
use crate::serve::aws::ec2_error::Ec2Error;
use crate::serve::aws::params::Params;
use crate::serve::aws::server::Server;
use crate::serve::aws::xml::Xml;

/// What a call returns: the elements of its answer.
pub(super) type Done = Result<Xml, Ec2Error>;

/// Ends a call that is only tried out. To be called when all else was checked.
pub(super) fn dry_run(params: &Params) -> Result<(), Ec2Error> {
    if params.flag("DryRun")? == Some(true) {
        let message = "Request would have succeeded, but DryRun flag is set.";
        return Err(Ec2Error { status: 412, ..Ec2Error::new("DryRunOperation", message) });
    }
    Ok(())
}

/// Says that a call did what it should, and nothing more.
pub(super) fn yes() -> Xml {
    let mut xml = Xml::new();
    xml.value("return", true);
    xml
}

/// A piece of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Anything,
    AnyLetter,
    Letter(char),
}

/// Reads a pattern, in which `*` is anything, `?` is one character, and what stands behind a `\` is itself.
fn pieces(pattern: &str) -> Vec<Piece> {
    let mut letters = pattern.chars();
    let mut pieces = Vec::new();
    while let Some(letter) = letters.next() {
        pieces.push(match letter {
            '*' => Piece::Anything,
            '?' => Piece::AnyLetter,
            '\\' => Piece::Letter(letters.next().unwrap_or('\\')),
            letter => Piece::Letter(letter),
        });
    }
    pieces
}

/// Tells whether a text fits a pattern.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<Piece>, Vec<char>) = (pieces(pattern), text.chars().collect());
    // For each length of the pattern so far: which lengths of the text fit it.
    let mut fit: Vec<bool> = vec![false; text.len().strict_add(1)];
    fit[0] = true;
    for wanted in pattern {
        let mut next = vec![false; fit.len()];
        for at in 0..fit.len() {
            let before = at.checked_sub(1);
            next[at] = match wanted {
                Piece::Anything => fit[at] || before.is_some_and(|before| next[before]),
                Piece::AnyLetter => before.is_some_and(|it| fit[it]),
                Piece::Letter(letter) => before.is_some_and(|it| fit[it] && text[it] == letter),
            };
        }
        fit = next;
    }
    *fit.last().expect("one more than the text has")
}

/// A filter: its name, and the values of which one must fit.
pub(super) struct Filter {
    pub(super) name: String,
    values: Vec<String>,
}

impl Filter {
    pub(super) fn fits(&self, text: &str) -> bool {
        self.values.iter().any(|pattern| fits(pattern, text))
    }

    pub(super) fn fits_any<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> bool {
        texts.into_iter().any(|text| self.fits(text))
    }

    fn unknown(&self) -> Ec2Error {
        Ec2Error::new("InvalidParameterValue", format!("The filter '{}' is invalid", self.name))
    }
}

/// Most values of a filter.
const MOST_VALUES: usize = 200;

/// Reads the filters of a request. Each name is one of `known`, or begins with one that ends in `:` or `.`: also where nothing
/// is there to filter.
pub(super) fn filters(params: &Params, known: &[&str]) -> Result<Vec<Filter>, Ec2Error> {
    let mut filters = Vec::new();
    for filter in params.list("Filter") {
        let name = filter.need("Name")?.to_owned();
        let values = filter.texts("Value");
        if values.len() > MOST_VALUES || values.iter().any(|it| it.len() > 1024) {
            let text = format!("The filter '{name}' has too many values, or too long ones");
            return Err(Ec2Error::new("FilterLimitExceeded", text));
        }
        let filter = Filter { name, values };
        let is_it = |it: &&str| {
            *it == filter.name || it.ends_with([':', '.']) && filter.name.starts_with(*it)
        };
        if !known.iter().any(is_it) {
            return Err(filter.unknown());
        }
        filters.push(filter);
    }
    Ok(filters)
}

/// Refuses a page of what is named one by one.
pub(super) fn not_named(params: &Params, named: &str) -> Result<(), Ec2Error> {
    if params.get("MaxResults").is_some() && !params.list(named).is_empty() {
        let text = format!("The parameter {named} cannot be used with the parameter MaxResults");
        return Err(Ec2Error::new("InvalidParameterCombination", text));
    }
    Ok(())
}

/// Checks what names an owner: an account, or one of EC2's words.
pub(super) fn check_owners(owners: &[String], words: &[&str]) -> Result<(), Ec2Error> {
    let known = |it: &&String| words.contains(&it.as_str()) || is_account(it);
    match owners.iter().find(|it| !known(it)) {
        Some(bad) => {
            let text = format!("Invalid user id: \"{bad}\"");
            Err(Ec2Error::new("InvalidUserID.Malformed", text))
        }
        None => Ok(()),
    }
}

/// Returns the part of a list that a request asks for, and the token of the next part.
pub(super) fn paged<T>(
    server: &Server<'_>,
    params: &Params,
    what: &str,
    all: Vec<T>,
) -> Result<(Vec<T>, Option<String>), Ec2Error> {
    /// Seconds for which a token is good.
    const TIME: u64 = 3600;
    let start = match params.get("NextToken").filter(|it| !it.is_empty()) {
        None => 0,
        Some(token) => server
            .tokens
            .open(what, token, server.now())
            .map_err(|_| Ec2Error::new("InvalidNextToken", "The token is not valid"))?,
    };
    let most = match params.get("MaxResults") {
        None => usize::MAX,
        Some(text) => {
            let expected = match text.parse::<usize>() {
                Ok(count @ 5..=1000) => Ok(count),
                Ok(0..5) => Err("a value greater than 5"),
                _ => Err("a number up to 1000"),
            };
            expected.map_err(|expected| {
                let text = format!(
                    "Value ( {text} ) for parameter maxResults is invalid. Expecting {expected}."
                );
                Ec2Error::new("InvalidParameterValue", text)
            })?
        }
    };
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let count = all.len();
    let page: Vec<T> = all.into_iter().skip(start).take(most).collect();
    let end = start.saturating_add(page.len());
    let next = (end < count).then(|| {
        let number = u64::try_from(end).unwrap_or(u64::MAX);
        server.tokens.make(what, number, server.now().saturating_add(TIME), server.nonce())
    });
    Ok((page, next))
}

/// Writes a moment as EC2 does.
pub(super) fn moment(seconds: u64) -> String {
    let time = crate::ami::Time::from_unix_seconds(seconds);
    let text = time.map(|time| time.to_string()).unwrap_or_default();
    text.strip_suffix('Z').map_or(text.clone(), |plain| format!("{plain}.000Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_ec2_has_them() {
        for (pattern, text) in [
            ("*", ""),
            ("a*c", "abbc"),
            ("a?c", "abc"),
            ("ab", "ab"),
            ("*b*", "abc"),
            (r"\*a\?\\", r"*a?\"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "a"), ("a?c", "ac"), ("ab", "abc"), ("a*c", "ab"), (r"\*", "a"), (r"a\?", "ab")]
        {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
        assert!(!fits(&"*a".repeat(100), &"b".repeat(1000)));
    }

    #[test]
    fn moments_are_ec2s() {
        assert_eq!(moment(1_700_000_000), "2023-11-14T22:13:20.000Z");
    }
}
