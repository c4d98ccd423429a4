//! Tables of a fleet: their columns, the files that they stand in, and the folder of these.
//!
//! The format is `docs/formats/tables.md`. Rows go through one at a time: nothing here grows with a table.

mod csv;
mod folder;
mod format;
mod holder;
mod holders;
mod jsonl;
#[cfg(feature = "parquet")]
mod parquet;
mod schema;
mod snapshots;
mod sorter;
mod text_file;
mod value;
mod writer;

pub use folder::MARKER;
pub use folder::StagedTables;
pub use folder::TablesFolder;
pub use format::Format;
pub use holder::Holder;
pub use holders::read_holders;
pub use schema::Column;
pub use schema::ColumnKind;
pub use schema::Table;
pub use sorter::Sorted;
pub use sorter::Sorter;
pub use value::Value;
pub use writer::TableWriter;
