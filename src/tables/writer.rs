//! One file of a table under way, in any format.

use crate::error::Result;
use crate::io::OutputFile;
use crate::tables::csv;
use crate::tables::format::Format;
use crate::tables::jsonl;
#[cfg(feature = "parquet")]
use crate::tables::parquet::ParquetFile;
use crate::tables::schema::ColumnKind;
use crate::tables::schema::Table;
use crate::tables::text_file::TextFile;
use crate::tables::value::Value;

/// A file of a table under way.
#[derive(Debug)]
pub struct TableWriter {
    table: Table,
    rows: u64,
    file: File,
}

#[derive(Debug)]
enum File {
    Csv(TextFile),
    Jsonl(TextFile),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetFile>),
}

impl TableWriter {
    /// Starts a file.
    ///
    /// # Errors
    ///
    /// `Unsupported` if this build does not have the format; `Io` if the file cannot be written.
    pub fn new(format: Format, table: Table, file: OutputFile) -> Result<Self> {
        format.check()?;
        let file = match format {
            Format::Csv => {
                let mut lines = TextFile::new(file);
                lines.line(|out| csv::head(table, out))?;
                File::Csv(lines)
            }
            Format::Jsonl => File::Jsonl(TextFile::new(file)),
            #[cfg(feature = "parquet")]
            Format::Parquet => File::Parquet(Box::new(ParquetFile::new(table, file)?)),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => unreachable!("it was checked"),
        };
        Ok(Self { table, rows: 0, file })
    }

    /// Adds a row.
    ///
    /// # Errors
    ///
    /// `Io` if the file cannot be written.
    ///
    /// # Panics
    ///
    /// If the values are not those of the table's columns.
    pub fn row(&mut self, values: &[Value<'_>]) -> Result<()> {
        let columns = self.table.columns();
        assert_eq!(values.len(), columns.len(), "values of a row of {}", self.table.name());
        for (column, value) in columns.iter().zip(values) {
            let fits = match value {
                Value::Null => column.nullable,
                Value::Integer(_) => column.kind == ColumnKind::Integer,
                Value::Text(_) => column.kind == ColumnKind::Text,
                Value::Digest(_) => column.kind == ColumnKind::Digest,
            };
            assert!(fits, "{value:?} in {} of {}", column.name, self.table.name());
        }
        self.rows = self.rows.strict_add(1);
        match &mut self.file {
            File::Csv(lines) => lines.line(|out| csv::row(values, out)),
            File::Jsonl(lines) => lines.line(|out| jsonl::row(self.table, values, out)),
            #[cfg(feature = "parquet")]
            File::Parquet(file) => file.row(values),
        }
    }

    /// Ends the file. Returns it with the number of its rows.
    ///
    /// # Errors
    ///
    /// `Io` if it cannot be written.
    pub fn finish(self) -> Result<(OutputFile, u64)> {
        let file = match self.file {
            File::Csv(lines) | File::Jsonl(lines) => lines.finish()?,
            #[cfg(feature = "parquet")]
            File::Parquet(file) => file.finish()?,
        };
        Ok((file, self.rows))
    }
}
