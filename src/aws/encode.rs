//! Forms, percent-encoded.

use crate::http::escaped;

/// Returns a form: pairs that are encoded, in their order.
pub(super) fn form(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name, false), escaped(value, false)))
        .collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_is_encoded() {
        let pairs = [("A.1".to_owned(), "x y/é+%".to_owned()), ("B".to_owned(), String::new())];
        assert_eq!(form(&pairs), "A.1=x%20y%2F%C3%A9%2B%25&B=");
    }
}
