//! A connection, whichever kind of socket it comes through.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connected peer.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Unix(it) => it.try_clone().map(Self::Unix),
            Self::Tcp(it) => it.try_clone().map(Self::Tcp),
        }
    }

    /// Ends what comes in, or both directions.
    pub(super) fn shutdown(&self, how: Shutdown) {
        // A peer that is gone already needs no more.
        let _ = match self {
            Self::Unix(it) => it.shutdown(how),
            Self::Tcp(it) => it.shutdown(how),
        };
    }

    /// Makes it block, with limits on how long a read and a write may wait; no limit for a read that is `None`.
    pub(super) fn set_timeouts(&self, read: Option<Duration>, write: Duration) -> io::Result<()> {
        match self {
            Self::Unix(it) => {
                it.set_read_timeout(read)?;
                it.set_write_timeout(Some(write))
            }
            Self::Tcp(it) => {
                it.set_read_timeout(read)?;
                it.set_write_timeout(Some(write))
            }
        }
    }
}

impl Read for &Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(it) => (&mut &*it).read(buf),
            Socket::Tcp(it) => (&mut &*it).read(buf),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(it) => (&mut &*it).write(buf),
            Socket::Tcp(it) => (&mut &*it).write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
