//! What a service says when it refuses, for people: whatever form it has.

use serde_json::Value;

use crate::http::headers::Headers;

/// Most characters that are shown.
const MOST_SHOWN: usize = 300;

/// Most errors of a list that are shown.
const MOST_ERRORS: usize = 3;

/// Returns what a refusal says, on one line; nothing if it says nothing. Understands the JSON of EBS, of registries and of
/// those who give tokens, the XML of EC2 and S3, the pages of proxies, and plain text.
#[must_use]
pub fn said(headers: &Headers, body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let found = match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => of_json(&value),
        _ if text.starts_with('<') => of_markup(text),
        _ => text.to_owned(),
    };
    let code = headers.get("x-amzn-errortype").map(|it| it.split(':').next().unwrap_or(it));
    let found = match code {
        Some(code) if !found.contains(code) => joined(code, &found),
        _ => found,
    };
    let line: Vec<&str> = found.split_whitespace().collect();
    let line: String = line.join(" ").chars().take(MOST_SHOWN).collect();
    (!line.is_empty()).then(|| line.escape_debug().to_string())
}

/// Says how a service answered: its status, and what it says.
#[must_use]
pub fn answered(status: u16, headers: &Headers, body: &[u8]) -> String {
    match said(headers, body) {
        Some(said) => format!("answered {status} ({said})"),
        None => format!("answered {status}"),
    }
}

fn joined(code: &str, message: &str) -> String {
    match (code.is_empty(), message.is_empty()) {
        (false, false) => format!("{code}: {message}"),
        _ => format!("{code}{message}"),
    }
}

fn of_json(value: &Value) -> String {
    let text = |value: &Value, names: &[&str]| {
        let found = names.iter().find_map(|name| value.get(*name)?.as_str());
        found.unwrap_or_default().to_owned()
    };
    let one = |value: &Value| match value {
        Value::String(text) => text.clone(),
        value => {
            let code = text(value, &["code", "Code", "__type", "error"]);
            let code = code.rsplit('#').next().unwrap_or_default();
            let names = ["message", "Message", "error_description", "details", "detail"];
            joined(code, &text(value, &names))
        }
    };
    match (value.get("errors"), value.get("error")) {
        (Some(Value::Array(errors)), _) => {
            let errors: Vec<_> = errors.iter().take(MOST_ERRORS).map(one).collect();
            errors.join("; ")
        }
        (_, Some(error @ Value::Object(_))) => one(error),
        _ => one(value),
    }
}

/// Reads the first of the elements that say it. Markup alone says nothing.
fn of_markup(text: &str) -> String {
    let element = |name: &str| -> Option<String> {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (inside, _) = rest.split_once(&format!("</{name}>"))?;
        let inside = quick_xml::escape::unescape(inside).map_or_else(|_| inside.into(), Into::into);
        Some(inside)
    };
    let code = element("Code").unwrap_or_default();
    match joined(&code, &element("Message").unwrap_or_default()) {
        found if !found.is_empty() => found,
        _ => element("title").or_else(|| element("h1")).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why_in_whatever_form_it_is() {
        for (kind, body, expected) in [
            ("", r#"{"Message":"no space left on device"}"#, "no space left on device"),
            (
                "InternalServerException",
                r#"{"Message":"no space"}"#,
                "InternalServerException: no space",
            ),
            ("ThrottlingException:http://x/", "", "ThrottlingException"),
            ("", r#"{"__type":"com.amazon#Throttled","message":"slow"}"#, "Throttled: slow"),
            (
                "",
                r#"{"errors":[{"code":"DENIED","message":"no"},{"message":"b"}]}"#,
                "DENIED: no; b",
            ),
            ("", r#"{"errors":["plain"]}"#, "plain"),
            ("", r#"{"error":"invalid_grant","error_description":"old"}"#, "invalid_grant: old"),
            ("", r#"{"error":{"code":"X","message":"y"}}"#, "X: y"),
            (
                "",
                "<?xml version=\"1.0\"?><Response><Errors><Error><Code>InternalError</Code>\
                 <Message>a &lt;disk&gt;\n is full</Message></Error></Errors></Response>",
                "InternalError: a <disk> is full",
            ),
            ("", "<html><head><title>502 Bad Gateway</title></head></html>", "502 Bad Gateway"),
            ("", "upstream  connect\nerror", "upstream connect error"),
            ("", "\u{1b}[2J", "\\u{1b}[2J"),
        ] {
            let mut headers = Headers::new();
            if !kind.is_empty() {
                headers.set("x-amzn-ErrorType", kind);
            }
            assert_eq!(said(&headers, body.as_bytes()).as_deref(), Some(expected), "{body}");
        }
        let none = Headers::new();
        for body in ["", " \n", "{}", "<a/>", "<html>", "[]", r#"{"errors":[]}"#] {
            assert_eq!(said(&none, body.as_bytes()), None, "{body}");
        }
        assert_eq!(said(&none, &[b'a'; 5000]).map(|it| it.len()), Some(MOST_SHOWN));
        assert_eq!(answered(503, &none, b""), "answered 503");
        assert_eq!(answered(503, &none, b"later"), "answered 503 (later)");
    }
}
