//! Reading the table of holders again: its runs are merged.

use std::sync::Arc;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::io::Input;
use crate::io::ReadAt as _;
use crate::tables::format::Format;
use crate::tables::holder::Holder;

/// Most bytes of a line: two digests, a count, and names in JSON.
const MOST_LINE: usize = 4096;

/// Bytes of a file that are read in one go.
const PIECE_LEN: usize = 256 << 10;

/// Reads a file of the table of holders, row by row.
///
/// # Errors
///
/// `Corrupt` if it is none; `Unsupported` if this build does not have the format; `Io` if it cannot be read; whatever
/// `each` returns.
pub fn read_holders(
    format: Format,
    input: &Arc<Input>,
    each: &mut dyn FnMut(Holder<'_>) -> Result<()>,
) -> Result<()> {
    format.check()?;
    match format {
        Format::Csv => {
            let mut is_head = true;
            lines(input, &mut |line| {
                if std::mem::take(&mut is_head) {
                    return (line == "chunk,snapshot,count").then_some(()).map(Ok);
                }
                let mut fields = line.split(',');
                let (chunk, snapshot) = (fields.next()?, fields.next()?);
                let count = fields.next()?.parse().ok()?;
                let chunk = Digest::from_hex(chunk)?;
                fields.next().is_none().then(|| each(Holder { chunk: &chunk.0, snapshot, count }))
            })
        }
        Format::Jsonl => lines(input, &mut |line| {
            let Line { chunk, snapshot, count } = serde_json::from_str(line).ok()?;
            let chunk = Digest::from_hex(chunk)?;
            Some(each(Holder { chunk: &chunk.0, snapshot, count }))
        }),
        #[cfg(feature = "parquet")]
        Format::Parquet => crate::tables::parquet::read_holders(input, each),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => unreachable!("it was checked"),
    }
}

/// A line of JSON.
#[derive(serde::Deserialize)]
struct Line<'a> {
    chunk: &'a str,
    snapshot: &'a str,
    count: i64,
}

/// Calls `each` with each line. What it answers with `None` is none of the table.
fn lines(input: &Input, each: &mut dyn FnMut(&str) -> Option<Result<()>>) -> Result<()> {
    let mut buffer: Vec<u8> = Vec::new();
    let (mut at, mut line_at) = (0_u64, 0_u64);
    let fail = |at| {
        let text = "the line is not a row of the table of holders";
        Err(Error::corrupt(text).at(at).in_file(input.path()))
    };
    loop {
        let mut start = 0;
        while let Some(len) = buffer[start..].iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&buffer[start..][..len]).ok();
            match line.and_then(&mut *each) {
                Some(done) => done?,
                None => return fail(line_at),
            }
            start = start.strict_add(len).strict_add(1);
            line_at = line_at.strict_add(u64::try_from(len).expect("in memory")).strict_add(1);
        }
        buffer.drain(..start);
        if buffer.len() > MOST_LINE {
            return fail(line_at);
        }
        let rest = usize::try_from(input.len().strict_sub(at)).unwrap_or(PIECE_LEN).min(PIECE_LEN);
        if rest == 0 {
            return if buffer.is_empty() { Ok(()) } else { fail(line_at) };
        }
        let kept = buffer.len();
        buffer.resize(kept.strict_add(rest), 0);
        input.read_exact_at(&mut buffer[kept..], at)?;
        at = at.strict_add(u64::try_from(rest).expect("at most a piece"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::error::Kind;

    fn read(format: Format, text: &str) -> Result<Vec<(u8, String, i64)>> {
        let mut rows = Vec::new();
        let input = Arc::new(Input::memory("holders", text.as_bytes().to_vec()));
        read_holders(format, &input, &mut |row| {
            rows.push((row.chunk[0], row.snapshot.to_owned(), row.count));
            Ok(())
        })?;
        Ok(rows)
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let chunk = Digest([7; 32]).hex();
        let rows = vec![(7, "s".to_owned(), 3); 9000];
        let csv = format!("chunk,snapshot,count\n{}", format!("{chunk},s,3\n").repeat(9000));
        assert_eq!(read(Format::Csv, &csv).unwrap(), rows);
        let line = format!("{{\"chunk\":\"{chunk}\",\"snapshot\":\"s\",\"count\":3}}\n");
        assert_eq!(read(Format::Jsonl, &line.repeat(9000)).unwrap(), rows);
    }

    #[test]
    fn what_is_no_row_is_damage() {
        let chunk = Digest([7; 32]).hex();
        for text in [
            "chunk,count\n".to_owned(),
            format!("chunk,snapshot,count\n{chunk},s\n"),
            format!("chunk,snapshot,count\n{chunk},s,3,4\n"),
            format!("chunk,snapshot,count\n{},s,3\n", &chunk[1..]),
            format!("chunk,snapshot,count\n{chunk},s,x\n"),
            format!("chunk,snapshot,count\n{chunk},s,3"),
            format!("chunk,snapshot,count\n{}", "x".repeat(10_000)),
        ] {
            assert_eq!(read(Format::Csv, &text).unwrap_err().kind(), Kind::Corrupt, "{text}");
        }
        assert_eq!(read(Format::Jsonl, "{}\n").unwrap_err().kind(), Kind::Corrupt);
    }
}
