//! EC2 and EBS calls as data: what makes an AMI of a bundle, and the plan of an upload.
//!
//! Nothing here sends anything. The format of a plan is `docs/formats/plan.md`.

mod form;
mod ids;
mod parameters;
mod plan;
mod puts;
mod registration;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use form::EC2_VERSION;
pub use form::command;
pub use form::form;
pub use ids::Id;
pub use ids::Made;
pub use parameters::CompleteSnapshot;
pub use parameters::CopyImage;
pub use parameters::DeregisterImage;
pub use parameters::DescribeImages;
pub use parameters::DescribeSnapshots;
pub use parameters::EnableImageDeprecation;
pub use parameters::EnableImageDeregistrationProtection;
pub use parameters::LaunchPermissionModifications;
pub use parameters::ModifyImageAttribute;
pub use parameters::ModifySnapshotAttribute;
pub use parameters::StartSnapshot;
pub use plan::BUNDLE_TAG;
pub use plan::PLAN_VERSION;
pub use plan::Plan;
pub use plan::PlanFault;
pub use plan::PlanRequest;
pub use plan::PlanVolume;
pub use plan::Step;
pub use plan::Totals;
pub use plan::marked;
pub use puts::Base;
pub use puts::Put;
pub use puts::Puts;
pub use registration::Action;
pub use registration::Call;
pub use registration::FoundSnapshot;
pub use registration::NotYet;
pub use registration::Registration;
pub use registration::Until;
