//! Volumes behind a socket: other programs read them while this one runs.
//!
//! Threads and plain sockets. A peer is never trusted: whatever it sends or leaves out, the others are served.
#![allow(
    clippy::disallowed_methods,
    reason = "this room opens sockets; nothing else here touches a name"
)]

pub mod aws;
mod cache;
mod http;
pub mod imds;
mod listener;
pub mod nbd;
mod socket;

pub use cache::Cached;
pub use listener::Address;
pub use listener::Listener;
