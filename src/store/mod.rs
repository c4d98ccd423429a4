//! What a store holds, what keeps what in it, and what can be deleted.
//!
//! The format is `docs/formats/store.md`.

mod live;
mod needs;

pub use live::Live;
pub use needs::Needs;
pub use needs::needs_of;
