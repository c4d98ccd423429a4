//! Rows as JSON, an object a line.

use crate::tables::csv::hex;
use crate::tables::schema::Table;
use crate::tables::value::Value;

/// Appends a row.
pub(super) fn row(table: Table, values: &[Value<'_>], out: &mut Vec<u8>) {
    for (number, (column, value)) in table.columns().iter().zip(values).enumerate() {
        out.push(if number == 0 { b'{' } else { b',' });
        // Names of columns are plain words.
        out.push(b'"');
        out.extend_from_slice(column.name.as_bytes());
        out.extend_from_slice(b"\":");
        match value {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Integer(integer) => out.extend_from_slice(integer.to_string().as_bytes()),
            Value::Text(text) => {
                serde_json::to_writer(&mut *out, text).expect("memory takes all text");
            }
            Value::Digest(digest) => {
                out.push(b'"');
                hex(digest, out);
                out.push(b'"');
            }
        }
    }
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_an_object_with_all_columns() {
        let mut out = Vec::new();
        let values = [
            Value::Text("p"),
            Value::Text("a\"\n"),
            Value::Text("x"),
            Value::Text(""),
            Value::Text("1"),
        ];
        row(Table::Packages, &values, &mut out);
        let text = "{\"snapshot\":\"p\",\"manager\":\"a\\\"\\n\",\"name\":\"x\",\"architecture\":\"\",\"version\":\"1\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}
