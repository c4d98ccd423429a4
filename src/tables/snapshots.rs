//! Reading the table of snapshots again: it says how much the holders of each must have.

use std::sync::Arc;

use crate::error::Error;
use crate::error::Result;
use crate::io::Input;
use crate::io::ReadAt as _;
use crate::io::read_vec;
use crate::tables::format::Format;

/// Most bytes of a file of the table: a row has some 300.
const MOST_LEN: u64 = 4096;

/// A row as JSON, as far as it is read.
#[derive(serde::Deserialize)]
struct Row {
    data_blocks: u64,
}

/// Returns how many blocks of data a snapshot has, by its file in the table of snapshots.
///
/// # Errors
///
/// `Corrupt` if it is none; `Unsupported` if this build does not have the format; `Io` if it cannot be read.
pub(super) fn read_data_blocks(format: Format, input: &Arc<Input>) -> Result<u64> {
    format.check()?;
    let bytes = || read_vec(&**input, 0, input.len().min(MOST_LEN));
    let found = match format {
        Format::Csv => std::str::from_utf8(&bytes()?).ok().and_then(data_blocks),
        Format::Jsonl => serde_json::from_slice(&bytes()?).ok().map(|row: Row| row.data_blocks),
        #[cfg(feature = "parquet")]
        Format::Parquet => crate::tables::parquet::read_data_blocks(input)?,
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => unreachable!("it was checked"),
    };
    found.ok_or_else(|| {
        Error::corrupt("it is not a row of the table of snapshots").in_file(input.path())
    })
}

/// Finds the number in a line of names and a row; the fields before it have no commas.
fn data_blocks(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let at = lines.next()?.split(',').position(|name| name == "data_blocks")?;
    lines.next()?.split(',').nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::error::Kind;

    #[test]
    fn a_row_says_how_many_blocks_have_data() {
        let read = |format, text: &str| {
            read_data_blocks(format, &Arc::new(Input::memory("row", text.as_bytes().to_vec())))
        };
        let csv = "snapshot,parent,volume_size,data_blocks,zero_blocks\nab,,9,7,1\n";
        assert_eq!(read(Format::Csv, csv).unwrap(), 7);
        let json = "{\"snapshot\":\"ab\",\"parent\":null,\"data_blocks\":7,\"zero_blocks\":1}\n";
        assert_eq!(read(Format::Jsonl, json).unwrap(), 7);
        for (format, text) in [
            (Format::Csv, ""),
            (Format::Csv, "snapshot,data_blocks\n"),
            (Format::Csv, "snapshot,data_blocks\nab,x\n"),
            (Format::Jsonl, ""),
            (Format::Jsonl, "{\"data_blocks\":-1}\n"),
        ] {
            assert_eq!(read(format, text).unwrap_err().kind(), Kind::Corrupt, "{text:?}");
        }
    }
}
