//! Publishing without a network: the calls that make an AMI of a bundle, as data.
//!
//! The format of a plan is `docs/formats/plan.md`.

mod calls;
mod plan;
mod puts;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use calls::CompleteSnapshot;
pub use calls::CopyImage;
pub use calls::DeregisterImage;
pub use calls::EnableImageDeprecation;
pub use calls::EnableImageDeregistrationProtection;
pub use calls::LaunchPermissionModifications;
pub use calls::ModifyImageAttribute;
pub use calls::StartSnapshot;
pub use plan::PLAN_VERSION;
pub use plan::Plan;
pub use plan::PlanFault;
pub use plan::PlanRequest;
pub use plan::PlanVolume;
pub use plan::Step;
pub use plan::Totals;
pub use puts::Base;
pub use puts::Put;
pub use puts::Puts;
