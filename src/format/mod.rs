//! Image formats: which there are, which one a file is in, and how each becomes a volume and back.
//!
//! A format that is read is a row of [`FORMATS`], a way to write images one of [`WRITERS`]. Opening
//! reads an image's metadata once and returns a map of where each byte lies; no byte of an image is
//! ever turned into a path that we open.

pub mod android_sparse;
mod archive;
pub mod compressed_raw;
mod foreign;
pub mod gate;
mod head;
mod laid_down;
mod magic;
mod named;
mod open;
pub mod ova;
mod parsed;
mod probe;
pub mod qcow2;
pub mod raw;
mod reader;
mod sentence;
pub mod sidecar;
mod spans;
mod tables;
pub mod tar;
mod text;
mod tiles;
pub mod vhd;
pub mod vhdx;
pub mod vmdk;
mod writer;
mod writes;

pub use crate::format::named::Named;
pub use crate::format::open::ImageRequest;
pub use crate::format::open::Opened;
pub use crate::format::open::OpenedImage;
pub use crate::format::open::OpenedStream;
pub use crate::format::open::disks;
pub use crate::format::open::open;
pub use crate::format::open::open_in_order;
pub use crate::format::parsed::Holes;
pub use crate::format::parsed::Parsed;
pub use crate::format::reader::Content;
pub use crate::format::reader::DisksFn;
pub use crate::format::reader::Format;
pub use crate::format::reader::InOrder;
pub use crate::format::reader::OpenRequest;
pub use crate::format::reader::ProbeFn;
pub use crate::format::tables::FORMATS;
pub use crate::format::tables::WRITERS;
pub use crate::format::tables::by_name;
pub use crate::format::tables::writer_by_file_name;
pub use crate::format::tables::writer_by_name;
pub use crate::format::writer::WriteFn;
pub use crate::format::writer::WriteOptions;
pub use crate::format::writer::Writer;
