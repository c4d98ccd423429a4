//! EC2's instance-store bundles: made, taken apart, checked, told of, and turned into bundles of ours.

mod import;
mod inspect;
mod make;
mod unbundle;
mod verify;

pub use crate::ops::shared::instance_store::BundleKeys;
pub use crate::ops::shared::instance_store::InstanceStoreContent;
pub use crate::ops::shared::instance_store::Signature;
pub use import::ImportRequest;
pub use import::ImportSource;
pub use import::import;
pub use inspect::inspect;
pub use make::MakeReport;
pub use make::MakeRequest;
pub use make::make;
pub use make::make_with;
pub use unbundle::UnbundleReport;
pub use unbundle::UnbundleRequest;
pub use unbundle::unbundle;
pub use verify::VerifyReport;
pub use verify::VerifyRequest;
pub use verify::verify;
