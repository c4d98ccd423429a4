//! `store ...`: many AMIs and snapshots in one layout.

mod copy;
mod gc;
mod init;
mod list;
mod remove;
mod show;
mod verify;

pub use crate::ops::shared::adding::AddReport;
pub use crate::ops::shared::adding::AddRequest;
pub use crate::ops::shared::adding::How;
pub use crate::ops::shared::adding::add;
pub use copy::CopyReport;
pub use copy::CopyRequest;
pub use copy::copy;
pub use gc::GcReport;
pub use gc::GcRequest;
pub use gc::gc;
pub use init::InitReport;
pub use init::init;
pub use list::ListReport;
pub use list::ListedAmi;
pub use list::list;
pub use remove::RemoveReport;
pub use remove::RemoveRequest;
pub use remove::RemovedName;
pub use remove::remove;
pub use show::ShowReport;
pub use show::ShownBlob;
pub use show::ShownVolume;
pub use show::show;
pub use verify::StoreDamage;
pub use verify::VerifyReport;
pub use verify::VerifyRequest;
pub use verify::verify;
