//! Publishing without a network: the calls that make an AMI of a bundle, as data.
//!
//! The format of a plan is `docs/formats/plan.md`.

mod parameters;
mod plan;
mod puts;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use parameters::CompleteSnapshot;
pub use parameters::CopyImage;
pub use parameters::DeregisterImage;
pub use parameters::EnableImageDeprecation;
pub use parameters::EnableImageDeregistrationProtection;
pub use parameters::LaunchPermissionModifications;
pub use parameters::ModifyImageAttribute;
pub use parameters::StartSnapshot;
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
