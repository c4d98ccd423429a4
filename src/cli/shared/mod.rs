//! What several commands share: arguments, output, progress, pieces of text.

pub(super) mod aws;
pub(super) mod description;
pub(super) mod inside;
pub(super) mod instance_store;
pub(super) mod misplaced;
pub(super) mod network;
pub(super) mod options;
pub(super) mod output;
pub(super) mod parts;
pub(super) mod plan_text;
pub(super) mod progress;
pub(super) mod sarif;
pub(super) mod schemas;
pub(super) mod strip;
pub(super) mod templates;
pub(super) mod text;
pub(super) mod trust;
pub(super) mod upload;
pub(super) mod volumes;
