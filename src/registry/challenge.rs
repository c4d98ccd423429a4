//! What a registry asks for when it answers 401: the grammar of `WWW-Authenticate`.

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user and a password.
    Basic,
    /// A token that another service gives.
    Bearer {
        /// Where it is to be had.
        realm: String,
        /// For whom.
        service: Option<String>,
        /// For what.
        scope: Option<String>,
    },
}

/// Reads a header, which may ask for several things; the token comes before the password.
pub(super) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        for (scheme, parameters) in challenges(header) {
            let get = |name: &str| {
                let mut found = parameters.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
                found.next().map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = get("realm")
            {
                let (service, scope) = (get("service"), get("scope"));
                return Some(Challenge::Bearer { realm, service, scope });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

/// Splits `Scheme name=value, name="value", Scheme2 ...`.
fn challenges(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut all: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            return all;
        }
        let Some(value) = after.trim_start().strip_prefix('=') else {
            all.push((word.to_owned(), Vec::new()));
            rest = after;
            continue;
        };
        let (value, after) = value_of(value.trim_start());
        if let Some((_, parameters)) = all.last_mut() {
            parameters.push((word.to_owned(), value));
        }
        rest = after;
    }
}

/// Takes a token or a quoted string off the front.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return (value.to_owned(), after);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at.strict_add(1)..]),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            _ => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str) -> Option<Challenge> {
        parse([header].into_iter())
    }

    #[test]
    fn a_challenge_is_read_in_any_form() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.map(Into::into),
                scope: scope.map(Into::into),
            })
        };
        assert_eq!(
            of(
                r#"Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push""#
            ),
            bearer(
                "https://auth.example/token",
                Some("registry"),
                Some("repository:a/b:pull,push")
            )
        );
        assert_eq!(of("bearer  Realm = x , error=invalid_token"), bearer("x", None, None));
        assert_eq!(of(r#"Bearer realm="a\"b,c" "#), bearer("a\"b,c", None, None));
        assert_eq!(of(r#"Basic realm="r", Bearer realm="t""#), bearer("t", None, None));
        assert_eq!(of(r#"Basic realm="r, Bearer realm=t"#), Some(Challenge::Basic));
        assert_eq!(of("BASIC"), Some(Challenge::Basic));
        let both = ["Basic realm=r", "Bearer realm=t"];
        assert_eq!(parse(both.into_iter()), bearer("t", None, None));
    }

    #[test]
    fn what_asks_for_nothing_known_is_none() {
        for header in ["", "Negotiate", "Bearer", "Bearer service=x", "=", ",,,", "\"", "realm=x"] {
            assert_eq!(of(header), None, "{header}");
        }
    }
}
