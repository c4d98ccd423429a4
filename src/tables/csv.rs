//! Rows as comma-separated values, RFC 4180 with lines that end in a line feed.

use crate::tables::schema::Table;
use crate::tables::value::Value;

/// Appends the line of column names.
pub(super) fn head(table: Table, out: &mut Vec<u8>) {
    for (number, column) in table.columns().iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(column.name.as_bytes());
    }
    out.push(b'\n');
}

/// Appends a row.
pub(super) fn row(values: &[Value<'_>], out: &mut Vec<u8>) {
    for (number, value) in values.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        match value {
            Value::Null => {}
            Value::Integer(integer) => out.extend_from_slice(integer.to_string().as_bytes()),
            Value::Text(text) => field(text, out),
            Value::Digest(digest) => hex(digest, out),
        }
    }
    out.push(b'\n');
}

/// Appends text, in quotes where it needs them: empty text has them, so that it is not nothing.
fn field(text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Appends 64 hexadecimal digits.
pub(super) fn hex(digest: &[u8; 32], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in digest {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[Value<'_>]) -> String {
        let mut out = Vec::new();
        row(values, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_would_break_a_line_is_in_quotes() {
        assert_eq!(line(&[Value::Text("a b"), Value::Null, Value::Integer(-3)]), "a b,,-3\n");
        assert_eq!(
            line(&[Value::Text(""), Value::Text("a,b"), Value::Text("a\"b")]),
            "\"\",\"a,b\",\"a\"\"b\"\n"
        );
        assert_eq!(line(&[Value::Text("a\nb"), Value::Text("a\rb")]), "\"a\nb\",\"a\rb\"\n");
    }

    #[test]
    fn a_digest_is_hexadecimal() {
        let mut digest = [0; 32];
        (digest[0], digest[31]) = (0xab, 0x05);
        let text = line(&[Value::Digest(&digest)]);
        assert_eq!(text, format!("{}\n", crate::digest::Digest(digest).hex()));
    }
}
