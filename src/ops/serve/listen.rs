//! Where a server listens.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where to listen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListenOn {
    /// On the socket that a service manager has opened for this process, or else on a Unix socket in a new folder that
    /// only its owner can enter.
    #[default]
    Private,
    /// On a Unix socket of this name.
    Socket(PathBuf),
    /// On a TCP address.
    Tcp(SocketAddr),
}
