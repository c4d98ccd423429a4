//! amikit packs, compares, checks and ships Amazon Machine Images, offline.
//!
//! The rooms of this crate stand on floors, and a room uses lower floors only; see
//! `docs/ARCHITECTURE.md`.

pub mod ami;
pub mod bundle;
pub mod calls;
pub mod chunking;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod compress;
pub mod delta;
pub mod digest;
pub mod error;
pub mod field;
pub mod format;
pub mod guest;
pub mod instance_store;
pub mod io;
pub mod layout;
pub mod lint;
pub mod manifest;
pub mod ops;
pub mod pack;
pub mod recipe;
pub mod tar;
pub mod units;
pub mod volume;
pub mod work;
