//! What several verbs use. A verb imports from here, and no verb imports another.

pub(super) mod adding;
pub(super) mod base;
pub(super) mod case;
pub(super) mod description;
pub(super) mod free;
pub(super) mod groups;
pub(super) mod guest;
pub(super) mod guest_report;
pub(super) mod image_output;
pub(super) mod instance_store;
pub(super) mod journal;
pub(super) mod judging;
pub(super) mod likeness;
pub(super) mod manifest;
pub(super) mod mapping;
pub(super) mod open;
pub(super) mod outside;
pub(super) mod packing;
pub(super) mod pages;
pub(super) mod planning;
pub(super) mod recipe;
pub(super) mod report;
pub(super) mod store_names;
pub(super) mod trust;
pub(super) mod verification;
