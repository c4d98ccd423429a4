//! Answers of EC2's query protocol.

use crate::ami::Tag;
use crate::serve::http::Answer;

/// Namespace of EC2's answers.
const EC2: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// A document under way: elements in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Xml(String);

/// Escapes text; characters that no XML can have become a replacement.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

impl Xml {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds an element with text.
    pub(super) fn text(&mut self, name: &str, value: impl AsRef<str>) -> &mut Self {
        let text = escaped(value.as_ref());
        self.0.extend(["<", name, ">", &text, "</", name, ">"]);
        self
    }

    /// Adds an element with a value that prints as it is: a number or a truth.
    pub(super) fn value(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.text(name, value.to_string())
    }

    /// Adds an element if there is a value.
    pub(super) fn maybe<T: std::fmt::Display>(
        &mut self,
        name: &str,
        value: Option<T>,
    ) -> &mut Self {
        if let Some(value) = value {
            self.value(name, value);
        }
        self
    }

    /// Adds an element with others in it.
    pub(super) fn inside(&mut self, name: &str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.0.extend(["<", name, ">"]);
        fill(self);
        self.0.extend(["</", name, ">"]);
        self
    }

    /// Adds a list.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.inside(name, |xml| {
            for item in items {
                xml.inside("item", |xml| fill(xml, item));
            }
        })
    }

    pub(super) fn tags(&mut self, tags: &[Tag]) -> &mut Self {
        if tags.is_empty() {
            return self;
        }
        self.list("tagSet", tags, |xml, tag| {
            xml.text("key", &tag.key).text("value", &tag.value);
        })
    }

    /// Makes the answer of a call of EC2's.
    pub(super) fn answer(&self, call: &str, request_id: &str) -> Answer {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{call}Response xmlns=\"{EC2}\"><requestId>{request_id}</requestId>{}</{call}Response>",
            self.0
        );
        Answer::new(200, "text/xml;charset=UTF-8", body)
    }

    /// Makes the answer of a call of STS's.
    pub(super) fn sts(&self, call: &str, request_id: &str) -> Answer {
        let body = format!(
            "<{call}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{call}Result>{}</{call}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{call}Response>",
            self.0
        );
        Answer::new(200, "text/xml", body)
    }
}

/// Makes S3's answer of a list of no buckets, and of whose they would be.
pub(super) fn no_buckets(owner: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListAllMyBucketsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>{}</ID></Owner><Buckets></Buckets></ListAllMyBucketsResult>",
        escaped(owner)
    );
    Answer::new(200, "application/xml", body)
}

/// Makes S3's answer to a call that fails.
pub(super) fn s3_error(status: u16, code: &str, message: &str, request_id: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message><RequestId>{request_id}</RequestId></Error>",
        escaped(code),
        escaped(message)
    );
    Answer::new(status, "application/xml", body)
}

/// Makes EC2's answer to a call that fails.
pub(super) fn error(status: u16, code: &str, message: &str, request_id: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>",
        escaped(code),
        escaped(message)
    );
    Answer::new(status, "text/xml;charset=UTF-8", body)
}

/// Makes STS's answer to a call that fails.
pub(super) fn sts_error(status: u16, code: &str, message: &str, request_id: &str) -> Answer {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        escaped(code),
        escaped(message)
    );
    Answer::new(status, "text/xml", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text_whatever_is_in_it() {
        let mut xml = Xml::new();
        xml.text("a", "<b>&\"\u{1}\n").list("set", [1, 2], |xml, n| {
            xml.value("n", n);
        });
        assert_eq!(
            xml.0,
            "<a>&lt;b&gt;&amp;&quot;\u{fffd}\n</a><set><item><n>1</n></item><item><n>2</n></item></set>"
        );
    }
}
