//! Rows as Apache Parquet: columns of a row group are collected, then written one after the other.

use std::io;
use std::io::Read;
use std::io::Write;
use std::sync::Arc;

use ::bytes::Bytes;
use ::parquet::basic::Compression;
use ::parquet::basic::Encoding;
use ::parquet::basic::ZstdLevel;
use ::parquet::column::reader::ColumnReader;
use ::parquet::column::reader::get_typed_column_reader;
use ::parquet::data_type::ByteArray;
use ::parquet::data_type::ByteArrayType;
use ::parquet::data_type::FixedLenByteArray;
use ::parquet::data_type::FixedLenByteArrayType;
use ::parquet::data_type::Int64Type;
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::reader::ChunkReader;
use ::parquet::file::reader::FileReader as _;
use ::parquet::file::reader::Length;
use ::parquet::file::serialized_reader::SerializedFileReader;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::ColumnPath;

use crate::error::Error;
use crate::error::Result;
use crate::io::Input;
use crate::io::OutputFile;
use crate::io::ReadAt as _;
use crate::io::WriteAt as _;
use crate::tables::holder::Holder;
use crate::tables::schema::Column;
use crate::tables::schema::ColumnKind;
use crate::tables::schema::Table;
use crate::tables::value::Value;

/// Most rows of a row group: what engines that work in vectors take in one go.
const GROUP_ROWS: usize = 122_880;

/// Who wrote the file, in the form that readers take apart: those that cannot do not believe its statistics.
const CREATED_BY: &str = "amikit version 1.0.0 (build tables)";

/// A Parquet file under way.
pub(super) struct ParquetFile {
    writer: SerializedFileWriter<Sink>,
    columns: Vec<Collected>,
    rows: usize,
}

impl std::fmt::Debug for ParquetFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetFile").field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// The values of a column that wait for the end of their row group.
struct Collected {
    column: Column,
    /// Of a column that may be null: 1 where a row has a value, 0 where it has none.
    levels: Vec<i16>,
    values: Values,
}

enum Values {
    Texts(Vec<ByteArray>),
    Integers(Vec<i64>),
    /// One after the other.
    Digests(Vec<u8>),
}

/// Where the file's bytes go. What fails stays here, because the writer knows only errors of its own.
struct Sink {
    file: OutputFile,
    at: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at).map_err(io::Error::other)?;
        let len = u64::try_from(bytes.len()).expect("memory is under 2^64 bytes");
        self.at = self.at.strict_add(len);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Finds the error of ours that an error of the library carries.
fn ours(error: ParquetError) -> Error {
    let text = error.to_string();
    if let ParquetError::External(cause) = error
        && let Ok(cause) = cause.downcast::<io::Error>()
        && let Some(inner) = cause.into_inner()
        && let Ok(ours) = inner.downcast::<Error>()
    {
        return *ours;
    }
    Error::new(crate::error::Kind::Io, format!("cannot write Parquet: {text}"))
}

fn message(table: Table) -> String {
    let columns = table.columns().iter().map(|column| {
        let need = if column.nullable { "optional" } else { "required" };
        let name = column.name;
        match column.kind {
            ColumnKind::Text => format!("{need} binary {name} (STRING);"),
            ColumnKind::Integer => format!("{need} int64 {name};"),
            ColumnKind::Digest => format!("{need} fixed_len_byte_array(32) {name};"),
        }
    });
    format!("message {} {{ {} }}", table.name(), columns.collect::<Vec<_>>().join(" "))
}

fn properties(table: Table) -> WriterProperties {
    let zstd = Compression::ZSTD(ZstdLevel::try_new(1).expect("a level of zstd"));
    let mut properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(zstd)
        .set_statistics_truncate_length(None)
        .set_column_index_truncate_length(None);
    for column in table.columns() {
        let path = ColumnPath::from(column.name);
        properties = match column.kind {
            ColumnKind::Text => properties.set_column_dictionary_enabled(path, true),
            ColumnKind::Integer => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            ColumnKind::Digest => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::PLAIN),
        };
    }
    properties.build()
}

impl ParquetFile {
    pub(super) fn new(table: Table, file: OutputFile) -> Result<Self> {
        let schema = parse_message_type(&message(table)).expect("it is well formed");
        let sink = Sink { file, at: 0 };
        let writer = SerializedFileWriter::new(sink, Arc::new(schema), Arc::new(properties(table)));
        let columns = table.columns().iter().map(|column| Collected {
            column: *column,
            levels: Vec::new(),
            values: match column.kind {
                ColumnKind::Text => Values::Texts(Vec::new()),
                ColumnKind::Integer => Values::Integers(Vec::new()),
                ColumnKind::Digest => Values::Digests(Vec::new()),
            },
        });
        Ok(Self { writer: writer.map_err(ours)?, columns: columns.collect(), rows: 0 })
    }

    pub(super) fn row(&mut self, values: &[Value<'_>]) -> Result<()> {
        for (collected, value) in self.columns.iter_mut().zip(values) {
            collected.push(*value);
        }
        self.rows = self.rows.strict_add(1);
        if self.rows == GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().map_err(ours)?;
        for collected in &mut self.columns {
            let column = group.next_column().map_err(ours)?;
            collected.write(column.expect("one for each of the schema")).map_err(ours)?;
        }
        group.close().map_err(ours)?;
        self.rows = 0;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<OutputFile> {
        self.write_group()?;
        Ok(self.writer.into_inner().map_err(ours)?.file)
    }
}

impl Collected {
    fn push(&mut self, value: Value<'_>) {
        if self.column.nullable {
            self.levels.push(i16::from(value != Value::Null));
        }
        match (&mut self.values, value) {
            (_, Value::Null) => {}
            (Values::Integers(all), Value::Integer(one)) => all.push(one),
            (Values::Digests(all), Value::Digest(one)) => all.extend_from_slice(one),
            (Values::Texts(all), Value::Text(one)) => {
                // Most columns of text say the same in row after row: that is kept once.
                let again = all.last().filter(|last| last.data() == one.as_bytes()).cloned();
                all.push(again.unwrap_or_else(|| ByteArray::from(one)));
            }
            _ => unreachable!("the writer checks values"),
        }
    }

    fn write(
        &mut self,
        mut column: ::parquet::file::writer::SerializedColumnWriter<'_>,
    ) -> Result<(), ParquetError> {
        let levels = self.column.nullable.then_some(&self.levels[..]);
        match &mut self.values {
            Values::Texts(all) => {
                column.typed::<ByteArrayType>().write_batch(all, levels, None)?;
                all.clear();
            }
            Values::Integers(all) => {
                column.typed::<Int64Type>().write_batch(all, levels, None)?;
                all.clear();
            }
            Values::Digests(all) => {
                let count = all.len() / 32;
                let whole = ByteArray::from(std::mem::take(all));
                let each = (0..count).map(|at| whole.slice(at.strict_mul(32), 32).into());
                let each: Vec<FixedLenByteArray> = each.collect();
                column.typed::<FixedLenByteArrayType>().write_batch(&each, levels, None)?;
            }
        }
        self.levels.clear();
        column.close()
    }
}

/// A file that is read.
struct Source(Arc<Input>);

/// A place in it from which bytes are read in order.
struct Reader(Vec<u8>, usize);

/// What the library reads in one go where it does not say how much it wants: page headers.
const HEAD_LEN: u64 = 64 << 10;

impl Length for Source {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Source {
    type T = Reader;

    fn get_read(&self, start: u64) -> Result<Reader, ParquetError> {
        let len = self.0.len().saturating_sub(start).min(HEAD_LEN);
        let len = usize::try_from(len).expect("64 KiB");
        Ok(Reader(self.get_bytes(start, len)?.to_vec(), 0))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let length = u64::try_from(length).expect("memory is under 2^64 bytes");
        let bytes = crate::io::read_vec(&*self.0, start, length);
        bytes.map(Bytes::from).map_err(|e| ParquetError::External(Box::new(e)))
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut rest = &self.0[self.1..];
        let len = rest.read(buf)?;
        self.1 = self.1.strict_add(len);
        Ok(len)
    }
}

/// Reads a file of the table of holders.
pub(super) fn read_holders(
    input: &Arc<Input>,
    each: &mut dyn FnMut(Holder<'_>) -> Result<()>,
) -> Result<()> {
    let corrupt = |e: ParquetError| {
        Error::corrupt(format!("it is not a Parquet file of holders: {e}")).in_file(input.path())
    };
    let other = || {
        Error::corrupt("its columns are not those of the table of holders").in_file(input.path())
    };
    let file = SerializedFileReader::new(Source(Arc::clone(input))).map_err(corrupt)?;
    for number in 0..file.num_row_groups() {
        let group = file.get_row_group(number).map_err(corrupt)?;
        if group.num_columns() != Table::Holders.columns().len() {
            return Err(other());
        }
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(usize::MAX);
        if rows > GROUP_ROWS {
            return Err(other());
        }
        let column = |at| group.get_column_reader(at).map_err(corrupt);
        let (chunk, snapshot, count) = (column(0)?, column(1)?, column(2)?);
        let (
            ColumnReader::FixedLenByteArrayColumnReader(_),
            ColumnReader::ByteArrayColumnReader(_),
            ColumnReader::Int64ColumnReader(_),
        ) = (&chunk, &snapshot, &count)
        else {
            return Err(other());
        };
        let (mut chunks, mut snapshots, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let read = get_typed_column_reader::<FixedLenByteArrayType>(chunk)
            .read_records(rows, None, None, &mut chunks)
            .and_then(|_| {
                get_typed_column_reader::<ByteArrayType>(snapshot).read_records(
                    rows,
                    None,
                    None,
                    &mut snapshots,
                )
            })
            .and_then(|_| {
                get_typed_column_reader::<Int64Type>(count).read_records(
                    rows,
                    None,
                    None,
                    &mut counts,
                )
            });
        read.map_err(corrupt)?;
        if [chunks.len(), snapshots.len(), counts.len()] != [rows; 3] {
            return Err(other());
        }
        for ((chunk, snapshot), count) in chunks.iter().zip(&snapshots).zip(&counts) {
            let chunk = <&[u8; 32]>::try_from(chunk.data()).map_err(|_| other())?;
            let snapshot = snapshot.as_utf8().map_err(corrupt)?;
            each(Holder { chunk, snapshot, count: *count })?;
        }
    }
    Ok(())
}

/// Reads the number of blocks of data from a file of the table of snapshots; `None` if it is another table.
pub(super) fn read_data_blocks(input: &Arc<Input>) -> Result<Option<u64>> {
    let read = || -> std::result::Result<Option<u64>, ParquetError> {
        let file = SerializedFileReader::new(Source(Arc::clone(input)))?;
        let columns = Table::Snapshots.columns();
        let at = columns.iter().position(|column| column.name == "data_blocks");
        let at = at.expect("a column of this table");
        if file.num_row_groups() != 1 || file.get_row_group(0)?.num_columns() != columns.len() {
            return Ok(None);
        }
        let column = file.get_row_group(0)?.get_column_reader(at)?;
        let ColumnReader::Int64ColumnReader(mut column) = column else { return Ok(None) };
        let mut found = Vec::new();
        column.read_records(1, None, None, &mut found)?;
        Ok(found.first().and_then(|count| u64::try_from(*count).ok()))
    };
    read().map_err(|e| {
        Error::corrupt(format!("it is not a Parquet file of snapshots: {e}")).in_file(input.path())
    })
}
