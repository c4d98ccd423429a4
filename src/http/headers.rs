//! Headers of a request or an answer.

use std::fmt;

/// Headers in their order; names are compared without regard to case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Returns no headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the first value of a header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }

    /// Returns every value of a header.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(it, _)| it.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// Returns a header that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let value = self.get(name)?.trim();
        let digits = !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit());
        digits.then(|| value.parse().ok()).flatten()
    }

    /// Gives a header one value, in the place of those that it has.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.add(name, value);
    }

    /// Gives a header a further value.
    pub fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// Takes a header away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(it, _)| !it.eq_ignore_ascii_case(name));
    }

    /// Iterates over names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Names only: a value can be a secret.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_case_and_values_stay_out_of_debug() {
        let mut headers = Headers::new();
        headers.add("Authorization", "Bearer hush");
        headers.set("authorization", "Bearer hush2");
        headers.add("Range", "0-7");
        assert_eq!(headers.get("AUTHORIZATION"), Some("Bearer hush2"));
        assert_eq!(headers.iter().count(), 2);
        assert_eq!(format!("{headers:?}"), "[\"authorization\", \"Range\"]");
    }

    #[test]
    fn a_number_is_digits_and_nothing_else() {
        let number = |value: &str| {
            let mut headers = Headers::new();
            headers.add("Content-Length", value);
            headers.number("content-length")
        };
        assert_eq!(number(" 17 "), Some(17));
        for wrong in ["", "+17", "-1", "1e3", "18446744073709551616"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }
}
