//! Documents of ours that say in a member which version they are of.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;

/// Reads a document, `what` for messages, whose `member` is its version, at most `newest`. That is looked at first: a newer
/// version may have members that this one does not know.
///
/// # Errors
///
/// `Unsupported` if it is of another version; `Corrupt` if it is none.
pub(in crate::ops) fn read<T: DeserializeOwned>(
    bytes: &[u8],
    what: &str,
    member: &str,
    newest: u32,
) -> Result<T> {
    let fail = |error: serde_json::Error| Error::corrupt(format!("{what}: {error}"));
    let document: Value = serde_json::from_slice(bytes).map_err(fail)?;
    match document.get(member) {
        Some(Value::Number(found))
            if !found.as_u64().is_some_and(|it| (1..=u64::from(newest)).contains(&it)) =>
        {
            let expected = if newest == 1 { "1".to_owned() } else { format!("1 to {newest}") };
            let text = format!("the {what} is of version {found}, expected {expected}");
            Err(Error::new(Kind::Unsupported, text))
        }
        _ => serde_json::from_slice(bytes).map_err(fail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document {
        version: u32,
    }

    #[test]
    fn another_version_is_named_whatever_else_it_has() {
        let read = |text: &str| read::<Document>(text.as_bytes(), "record", "version", 1);
        assert_eq!(read(r#"{"version":1}"#).unwrap().version, 1);
        for text in [r#"{"version":2}"#, r#"{"new":[1],"version":2}"#, r#"{"version":1e9}"#] {
            let error = read(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Unsupported, "{text}");
            assert!(error.to_string().contains("expected 1"), "{error}");
        }
        let read_two =
            |text: &str| super::read::<Document>(text.as_bytes(), "record", "version", 2);
        assert_eq!(read_two(r#"{"version":1}"#).unwrap().version, 1);
        assert_eq!(read_two(r#"{"version":2}"#).unwrap().version, 2);
        for text in [r#"{"version":0}"#, r#"{"version":3,"new":1}"#] {
            assert_eq!(read_two(text).unwrap_err().kind(), Kind::Unsupported, "{text}");
        }
        for text in ["", "[]", "{}", r#"{"version":"2"}"#, r#"{"version":1,"new":1}"#] {
            assert_eq!(read(text).unwrap_err().kind(), Kind::Corrupt, "{text}");
        }
    }
}
