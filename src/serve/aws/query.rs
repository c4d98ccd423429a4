//! What EC2's calls have in common: filters, pages, attempts, moments.

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

/// Tells whether a text fits a pattern, in which `*` is anything and `?` is one character.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    // For each length of the pattern so far: which lengths of the text fit it.
    let mut fit: Vec<bool> = vec![false; text.len().strict_add(1)];
    fit[0] = true;
    for wanted in pattern {
        let mut next = vec![false; fit.len()];
        for at in 0..fit.len() {
            let before = at.checked_sub(1);
            next[at] = if wanted == '*' {
                fit[at] || before.is_some_and(|before| next[before])
            } else {
                before.is_some_and(|it| fit[it] && (wanted == '?' || text[it] == wanted))
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

    pub(super) fn unknown(&self) -> Ec2Error {
        Ec2Error::new("InvalidParameterValue", format!("The filter '{}' is invalid", self.name))
    }
}

/// Most values of a filter.
const MOST_VALUES: usize = 200;

pub(super) fn filters(params: &Params) -> Result<Vec<Filter>, Ec2Error> {
    let mut filters = Vec::new();
    for filter in params.list("Filter") {
        let name = filter.need("Name")?.to_owned();
        let values = filter.texts("Value");
        if values.len() > MOST_VALUES || values.iter().any(|it| it.len() > 1024) {
            let text = format!("The filter '{name}' has too many values, or too long ones");
            return Err(Ec2Error::new("FilterLimitExceeded", text));
        }
        filters.push(Filter { name, values });
    }
    Ok(filters)
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
            let Ok(count @ 1..=1000) = text.parse::<usize>() else {
                let text = "MaxResults must be from 5 to 1000";
                return Err(Ec2Error::new("InvalidParameterValue", text));
            };
            count.max(5)
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
        for (pattern, text) in
            [("*", ""), ("a*c", "abbc"), ("a?c", "abc"), ("ab", "ab"), ("*b*", "abc")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a?c", "ac"), ("ab", "abc"), ("a*c", "ab")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
        assert!(!fits(&"*a".repeat(100), &"b".repeat(1000)));
    }

    #[test]
    fn moments_are_ec2s() {
        assert_eq!(moment(1_700_000_000), "2023-11-14T22:13:20.000Z");
    }
}
