//! What several verbs use. A verb imports from here, and no verb imports another.

pub(super) mod base;
pub(super) mod case;
pub(super) mod open;
pub(super) mod packing;
pub(super) mod recipe;
pub(super) mod verification;
