//! What a user can ask for, one verb a file: a request in, a report out. Nothing here prints.

mod apply;
mod base;
mod bench;
mod compare;
mod complete;
mod convert;
mod diff;
mod inspect;
pub mod instance_store;
mod merge;
mod open;
mod pack;
mod snapshot;
mod unpack;
mod verify;

pub use crate::format::ImageRequest;
pub use apply::Applied;
pub use apply::ApplyReport;
pub use apply::ApplyRequest;
pub use apply::ApplyTo;
pub use apply::apply;
pub use base::BaseRequest;
pub use bench::BenchReport;
pub use bench::BenchRequest;
pub use bench::HashEngine;
pub use bench::Stage;
pub use bench::bench;
pub use compare::CompareReport;
pub use compare::CompareRequest;
pub use compare::DifferentRange;
pub use compare::compare;
pub use complete::CompleteReport;
pub use complete::CompleteRequest;
pub use complete::complete;
pub use convert::ConvertReport;
pub use convert::ConvertRequest;
pub use convert::convert;
pub use diff::ChangedRange;
pub use diff::ChangedSum;
pub use diff::DiffReport;
pub use diff::DiffRequest;
pub use diff::diff;
pub use inspect::ExtentBytes;
pub use inspect::Inspected;
pub use inspect::PackContent;
pub use inspect::ReadContent;
pub use inspect::inspect;
pub use merge::MergeReport;
pub use merge::MergeRequest;
pub use merge::RebaseRequest;
pub use merge::merge;
pub use merge::rebase;
pub use open::OpenedSource;
pub use open::open_image;
pub use open::open_source;
pub use open::open_volume;
pub use pack::PackReport;
pub use pack::PackRequest;
pub use pack::VolumeReport;
pub use pack::VolumeRequest;
pub use pack::pack;
pub use snapshot::SnapshotReport;
pub use snapshot::SnapshotRequest;
pub use snapshot::snapshot;
pub use unpack::UnpackReport;
pub use unpack::UnpackRequest;
pub use unpack::unpack;
pub use verify::Against;
pub use verify::BlockRange;
pub use verify::Damage;
pub use verify::Difference;
pub use verify::Missing;
pub use verify::VerifyReport;
pub use verify::VerifyRequest;
pub use verify::verify;

/// Writes a path into a report. A name that is not UTF-8 cannot be JSON, and is told as it is shown.
fn path_text<S: serde::Serializer>(path: &std::path::Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}
