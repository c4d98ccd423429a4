//! Where peers connect: a Unix socket, a TCP address, or a socket that the service manager has opened.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;

use crate::error::Error;
use crate::error::Result;
use crate::serve::socket::Socket;

/// The descriptor at which a service manager's sockets begin.
const FIRST_LISTEN_FD: i32 = 3;

/// Peers that the system keeps waiting. The standard library asks for 128: of a crowd the others are told nothing, and try
/// again after 1, 3, 7 and 15 s, each time against newcomers. In a queue everyone's turn comes.
const MOST_WAITING: i32 = 4096;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket of this name, of mode 0600.
    Unix(PathBuf),
    /// A TCP address; port 0 is any free one.
    Tcp(SocketAddr),
}

impl Address {
    /// Tells whether only this machine can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => match address.ip() {
                IpAddr::V4(ip) => ip.is_loopback(),
                IpAddr::V6(ip) => ip.is_loopback(),
            },
        }
    }
}

/// A socket that peers connect to. Dropped, it takes the name of its Unix socket away again.
#[derive(Debug)]
pub struct Listener {
    socket: Listening,
    address: Address,
    /// Device and inode of the Unix socket that this one made.
    made: Option<(u64, u64)>,
}

#[derive(Debug)]
enum Listening {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Listens at an address.
    ///
    /// # Errors
    ///
    /// `Invalid` if something stands at the name that is not a socket, or a socket on which a server still
    /// answers; `Io` if the system refuses.
    pub fn bind(address: Address) -> Result<Self> {
        match address {
            Address::Unix(path) => Self::bind_unix(path),
            Address::Tcp(wanted) => {
                let fail = |e| Error::io("listen on", Path::new(&wanted.to_string()), e);
                let socket = TcpListener::bind(wanted).map_err(fail)?;
                rustix::net::listen(&socket, MOST_WAITING).map_err(|e| fail(e.into()))?;
                let bound = socket.local_addr().map_err(fail)?;
                let address = Address::Tcp(bound);
                Ok(Self { socket: Listening::Tcp(socket), address, made: None })
            }
        }
    }

    fn bind_unix(path: PathBuf) -> Result<Self> {
        clear_stale(&path)?;
        let fail = |e| Error::io("listen on", &path, e);
        // Nobody may connect between the making of the socket and its mode: the mask comes first. It is the process's,
        // but nothing else makes files before the server runs.
        let mask = rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o177));
        let socket = UnixListener::bind(&path);
        rustix::process::umask(mask);
        let socket = socket.map_err(fail)?;
        rustix::net::listen(&socket, MOST_WAITING).map_err(|e| fail(e.into()))?;
        let meta = path.symlink_metadata().map_err(fail)?;
        let made = Some((meta.dev(), meta.ino()));
        Ok(Self { socket: Listening::Unix(socket), address: Address::Unix(path), made })
    }

    /// Takes a socket on which another process has called `listen`: a service manager's.
    ///
    /// # Errors
    ///
    /// `Invalid` if it is not a Unix or TCP socket.
    pub fn inherited(socket: OwnedFd) -> Result<Self> {
        let fail = |e| Error::io("use", Path::new("the inherited socket"), e);
        let socket = UnixListener::from(socket);
        if let Ok(name) = socket.local_addr() {
            let path = name.as_pathname().unwrap_or(Path::new("")).to_owned();
            let address = Address::Unix(path);
            return Ok(Self { socket: Listening::Unix(socket), address, made: None });
        }
        // What is no Unix socket, and has a TCP address, is the other kind.
        let socket = TcpListener::from(OwnedFd::from(socket));
        let address = Address::Tcp(socket.local_addr().map_err(fail)?);
        Ok(Self { socket: Listening::Tcp(socket), address, made: None })
    }

    /// Returns the socket that a service manager has opened for this process, as its variables `LISTEN_PID` and
    /// `LISTEN_FDS` say; `None` if it has opened none.
    ///
    /// # Errors
    ///
    /// `Invalid` if there are several, or if it is not a Unix or TCP socket; `Io` if the system refuses.
    pub fn activated() -> Result<Option<Self>> {
        let number =
            |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u32>().ok());
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Ok(None);
        }
        match number("LISTEN_FDS") {
            None | Some(0) => Ok(None),
            Some(1) => {
                let fail = |e: rustix::io::Errno| {
                    Error::io("use", Path::new("the inherited socket"), e.into())
                };
                // A copy, since descriptor 3 is not known to be anybody's: taking it over could close another's.
                let this = rustix::process::getpid();
                let this = rustix::process::pidfd_open(this, PidfdFlags::empty()).map_err(fail)?;
                let socket =
                    rustix::process::pidfd_getfd(this, FIRST_LISTEN_FD, PidfdGetfdFlags::empty());
                Self::inherited(socket.map_err(fail)?).map(Some)
            }
            Some(count) => {
                let text = format!("LISTEN_FDS is {count}, expected one socket");
                Err(Error::invalid(text))
            }
        }
    }

    /// Returns where it listens: with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits until a peer is in the queue, but no longer than `wait`; tells whether there is one.
    pub(super) fn has_peer(&self, wait: Duration) -> io::Result<bool> {
        self.is_ready(wait)
    }

    /// Waits for a peer, but no longer than `wait`.
    pub(super) fn accept(&self, wait: Duration) -> io::Result<Option<Socket>> {
        if !self.is_ready(wait)? {
            return Ok(None);
        }
        // Between the look and the call the peer can have gone: another one is not waited for, since the socket
        // does not block.
        let accepted = match &self.socket {
            Listening::Unix(socket) => {
                socket.set_nonblocking(true)?;
                socket.accept().and_then(|(peer, _)| {
                    peer.set_nonblocking(false)?;
                    Ok(Socket::Unix(peer))
                })
            }
            Listening::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                socket.accept().and_then(|(peer, _)| {
                    peer.set_nonblocking(false)?;
                    peer.set_nodelay(true)?;
                    Ok(Socket::Tcp(peer))
                })
            }
        };
        match accepted {
            Ok(peer) => Ok(Some(peer)),
            Err(e) if is_peers(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn is_ready(&self, wait: Duration) -> io::Result<bool> {
        let fd = self.as_fd();
        let mut polled = [PollFd::new(&fd, PollFlags::IN)];
        let wait = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        match rustix::event::poll(&mut polled, Some(&wait)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Listening::Unix(it) => it.as_fd(),
            Listening::Tcp(it) => it.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Only the socket that this one made: another server may have taken the name meanwhile.
        if let (Address::Unix(path), Some(made)) = (&self.address, self.made)
            && path.symlink_metadata().is_ok_and(|meta| (meta.dev(), meta.ino()) == made)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Tells whether a failure to accept is the peer's: it went away, or no descriptor is left until one ends.
fn is_peers(error: &io::Error) -> bool {
    use io::ErrorKind;
    let errno = error.raw_os_error();
    let no_descriptor = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    if errno.is_some_and(|errno| no_descriptor.contains(&errno)) {
        // The peer waits in the queue, and so does this, or it would turn without end.
        std::thread::sleep(Duration::from_millis(100));
        return true;
    }
    matches!(
        error.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
    ) || errno == Some(libc::EPROTO)
}

/// Removes a socket that a server has left behind; nothing else is ever removed.
fn clear_stale(path: &Path) -> Result<()> {
    let taken = |text: &str| {
        Error::invalid(text).in_file(path).advise("name another socket, or remove it first")
    };
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("look at", path, e)),
    };
    if !meta.file_type().is_socket() {
        return Err(taken("it already exists and is not a socket"));
    }
    match UnixStream::connect(path) {
        // Nobody listens: its server ended without taking it away.
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|e| Error::io("remove", path, e))
        }
        Ok(_) => Err(taken("a server is listening on it")),
        Err(e) => Err(Error::io("connect to", path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_socket_is_its_owners_alone_and_goes_with_its_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nbd.sock");
        let listener = Listener::bind(Address::Unix(path.clone())).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn only_a_dead_socket_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nbd.sock");
        let alive = Listener::bind(Address::Unix(path.clone())).unwrap();
        let error = Listener::bind(Address::Unix(path.clone())).unwrap_err();
        assert!(error.to_string().contains("a server is listening on it"), "{error}");
        drop(alive);
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead one was left");
        drop(Listener::bind(Address::Unix(path.clone())).unwrap());
        fs::write(&path, b"mine").unwrap();
        let error = Listener::bind(Address::Unix(path.clone())).unwrap_err();
        assert!(error.to_string().contains("is not a socket"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn the_name_of_another_server_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nbd.sock");
        let first = Listener::bind(Address::Unix(path.clone())).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Listener::bind(Address::Unix(path.clone())).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }

    #[test]
    fn what_others_can_reach_is_known() {
        let local = |text: &str| Address::Tcp(text.parse().unwrap()).is_local();
        assert!(local("127.0.0.1:10809") && local("[::1]:0"));
        assert!(!local("0.0.0.0:10809") && !local("192.0.2.1:1") && !local("[::]:1"));
    }
}
