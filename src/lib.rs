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

/// The rooms themselves, for the tests, benches and fuzz targets of this package. Nothing here is a promise.
#[doc(hidden)]
#[allow(missing_docs, reason = "the rooms have their own")]
pub mod internals {
    pub mod ami {
        pub use crate::ami::*;
    }
    pub mod bundle {
        pub use crate::bundle::*;
    }
    pub mod calls {
        pub use crate::calls::*;
    }
    pub mod chunking {
        pub use crate::chunking::*;
    }
    pub mod compress {
        pub use crate::compress::*;
    }
    pub mod delta {
        pub use crate::delta::*;
    }
    pub mod digest {
        pub use crate::digest::*;
    }
    pub mod error {
        pub use crate::error::*;
    }
    pub mod field {
        pub use crate::field::*;
    }
    pub mod format {
        pub use crate::format::*;
    }
    pub mod guest {
        pub use crate::guest::*;
    }
    pub mod instance_store {
        pub use crate::instance_store::*;
    }
    pub mod io {
        pub use crate::io::*;
    }
    pub mod layout {
        pub use crate::layout::*;
    }
    pub mod lint {
        pub use crate::lint::*;
    }
    pub mod manifest {
        pub use crate::manifest::*;
    }
    pub mod ops {
        pub use crate::ops::*;
    }
    pub mod pack {
        pub use crate::pack::*;
    }
    pub mod recipe {
        pub use crate::recipe::*;
    }
    pub mod tar {
        pub use crate::tar::*;
    }
    pub mod units {
        pub use crate::units::*;
    }
    pub mod volume {
        pub use crate::volume::*;
    }
    pub mod work {
        pub use crate::work::*;
    }
}
