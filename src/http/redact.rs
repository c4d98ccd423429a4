//! What a trace shows of a request: enough to see what went wrong, nothing that opens a door.

use std::fmt::Write;

use crate::http::headers::Headers;
use crate::http::url::Url;

/// Headers whose values are shown. A list of secret ones would be one header short some day.
const SHOWN: &[&str] = &[
    "accept",
    "accept-ranges",
    "connection",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "docker-content-digest",
    "docker-distribution-api-version",
    "expect",
    "host",
    "oci-chunk-min-length",
    "oci-filters-applied",
    "oci-subject",
    "range",
    "retry-after",
    "server",
    "user-agent",
    "www-authenticate",
    "x-amz-checksum",
    "x-amz-checksum-algorithm",
    "x-amz-data-length",
    "x-amzn-errortype",
    "x-amzn-requestid",
];

/// Parameters of a query whose values are shown.
const PARAMETERS: &[&str] = &[
    "action",
    "artifacttype",
    "digest",
    "from",
    "last",
    "mount",
    "n",
    "scope",
    "service",
    "version",
];

/// Returns an address with the values of unknown parameters hidden.
pub(super) fn address(url: &Url) -> String {
    let mut out = format!("{}{}", url.origin(), url.path());
    for (i, part) in url.query().iter().flat_map(|it| it.split('&')).enumerate() {
        out.push(if i == 0 { '?' } else { '&' });
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let known = PARAMETERS.iter().any(|it| it.eq_ignore_ascii_case(name));
        out.push_str(name);
        if part.contains('=') {
            out.push('=');
            out.push_str(if known { value } else { "..." });
        }
    }
    out
}

/// Returns headers with the values of unknown ones hidden.
pub(super) fn headers(headers: &Headers) -> String {
    let mut out = String::new();
    for (name, value) in headers.iter() {
        let known = SHOWN.iter().any(|it| it.eq_ignore_ascii_case(name));
        let value = if known {
            value.escape_debug().to_string()
        } else if name.eq_ignore_ascii_case("location") {
            // Where it leads is worth seeing, and its query is not.
            let path =
                || value.split(['?', '#']).next().unwrap_or_default().escape_debug().to_string();
            // An address that is none can have a user with a password.
            let is_path = value.starts_with('/') && !value.starts_with("//");
            match Url::parse(value) {
                Ok(url) => address(&url),
                Err(_) if is_path => path(),
                Err(_) => "...".to_owned(),
            }
        } else {
            "...".to_owned()
        };
        let _ = write!(out, " {}: {value};", name.escape_debug());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown_in_whatever_header_or_parameter_it_stands() {
        let mut sent = Headers::new();
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "Set-Cookie",
            "X-Amz-Security-Token",
            "X-aws-ec2-metadata-token",
            "X-New-Secret",
        ] {
            sent.add(name, "hush");
        }
        sent.add("Location", "https://s3.example/b?X-Amz-Signature=hush&X-Amz-Credential=hush");
        sent.add("Location", "/v2/a/uploads/1?_state=hush");
        sent.add("Location", "/v2/a/uploads/1#hush");
        for odd in ["https://u:hush@h/x", "//u:hush@h/x", "u:hush@h", "hush", "ftp://hush/x"] {
            sent.add("Location", odd);
        }
        sent.add("Content-Length", "17");
        let shown = headers(&sent);
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("Content-Length: 17") && shown.contains("Authorization: ..."));
        assert!(shown.contains("https://s3.example/b?X-Amz-Signature=...&X-Amz-Credential=..."));
    }

    #[test]
    fn an_address_shows_what_is_asked_for_and_no_signature() {
        let url = "https://h/v2/a?digest=sha256:ab&_state=hush&X-Amz-Signature=hush&flag";
        assert_eq!(
            address(&Url::parse(url).unwrap()),
            "https://h/v2/a?digest=sha256:ab&_state=...&X-Amz-Signature=...&flag"
        );
    }
}
