//! Volumes as network block devices: `docs/formats/nbd.md`.

mod export;
mod handshake;
mod layout;
mod transmission;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::error::Error;
use crate::error::Result;
use crate::serve::listener::Listener;
use crate::serve::socket::Socket;
use crate::work::Watch;

pub use export::Export;

/// Most connections at a time, unless the caller says otherwise.
pub const DEFAULT_CONNECTIONS: usize = 128;

/// Most peers that have not chosen an export yet. The oldest of them makes room for a new one: a client chooses within
/// milliseconds, where the machine has time for it.
const MAX_HANDSHAKES: usize = 512;

/// Time that a peer has to choose an export before it makes room. On a busy machine peers are let in faster than they are
/// listened to, and those that are waiting in the system's queue lose nothing: a full one of silent peers is gone through in 4 s.
const LEAST_HANDSHAKE_TIME: Duration = Duration::from_millis(500);

/// Longest time to choose an export.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Longest time that the rest of a request may take, and that an answer may wait to be taken.
const STALL_TIME: Duration = Duration::from_secs(30);

/// Longest time in which peers get the answers that are under way when the server is asked to stop.
const GRACE_TIME: Duration = Duration::from_secs(5);

/// How often the wish to stop is looked at.
const TURN: Duration = Duration::from_millis(100);

/// How often it is looked whether the last peers are gone.
const SHORT_TURN: Duration = Duration::from_millis(10);

/// What happens to peers, for a log.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A peer chose an export.
    Connected {
        /// Number of the connection.
        peer: u64,
        /// The export's name.
        export: &'a str,
    },
    /// A peer is gone.
    Disconnected {
        /// Number of the connection.
        peer: u64,
        /// Why, unless it said so itself.
        reason: Option<String>,
    },
    /// A volume could not be read; the peer was told.
    Failed {
        /// Number of the connection.
        peer: u64,
        /// The export's name.
        export: &'a str,
        /// What failed.
        error: &'a Error,
    },
}

/// What was served until the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Served {
    /// Connections that chose an export.
    pub connections: u64,
    /// Reads that failed.
    pub failed_reads: u64,
}

/// Serves exports until `watch` says to stop; peers then get the answers that are under way.
///
/// # Errors
///
/// `Io` if the system refuses further connections. No peer's failure is one of the server.
pub fn serve(
    listener: &Listener,
    exports: &[Export],
    connections: usize,
    watch: &dyn Watch,
    hear: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Served> {
    let server = Server { exports, hear, peers: Mutex::default(), served: Counts::default() };
    let ended = thread::scope(|scope| {
        let mut number = 0_u64;
        let ended = loop {
            if watch.stopped() {
                break Ok(());
            }
            if !server.peers().has_room() {
                thread::sleep(SHORT_TURN);
                continue;
            }
            if server.peers().serving.len() >= connections {
                // The next ones wait in the system's queue.
                thread::sleep(TURN);
                continue;
            }
            let peer = match listener.accept(TURN) {
                Ok(Some(peer)) => peer,
                Ok(None) => continue,
                Err(e) => break Err(Error::io("accept a connection on", "the socket".as_ref(), e)),
            };
            number = number.strict_add(1);
            let Ok(kept) = peer.try_clone() else { continue };
            server.peers().begin(number, kept);
            let server = &server;
            let spawned = thread::Builder::new().spawn_scoped(scope, move || {
                let _leaving = Leaving { server, number, socket: &peer };
                server.meet(number, &peer);
            });
            if spawned.is_err() {
                // No thread is left; the peer sees its connection close.
                server.peers().end(number);
            }
        };
        server.see_off();
        ended
    });
    ended.map(|()| Served {
        connections: server.served.connections.into_inner(),
        failed_reads: server.served.failed_reads.into_inner(),
    })
}

/// Closes a peer's connection and forgets it however its thread ends: the client of one that panics would wait, and its
/// place would be taken, until the server ends.
struct Leaving<'a> {
    server: &'a Server<'a>,
    number: u64,
    socket: &'a Socket,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.socket.shutdown(Shutdown::Both);
        self.server.peers().end(self.number);
    }
}

struct Server<'a> {
    exports: &'a [Export],
    hear: &'a (dyn Fn(Event<'_>) + Sync),
    peers: Mutex<Peers>,
    served: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    failed_reads: AtomicU64,
}

/// The sockets of all peers, to end them by.
#[derive(Debug, Default)]
struct Peers {
    /// Each with the moment at which it was let in, in this order.
    choosing: VecDeque<(u64, Socket, Instant)>,
    serving: BTreeMap<u64, Socket>,
}

impl Peers {
    /// Tells whether another peer can choose: nobody has to make room, or the oldest has had its time.
    fn has_room(&self) -> bool {
        self.choosing.len() < MAX_HANDSHAKES
            || self.choosing.front().is_some_and(|it| it.2.elapsed() >= LEAST_HANDSHAKE_TIME)
    }

    fn begin(&mut self, number: u64, socket: Socket) {
        if self.choosing.len() >= MAX_HANDSHAKES
            && let Some((_, oldest, _)) = self.choosing.pop_front()
        {
            oldest.shutdown(Shutdown::Both);
        }
        self.choosing.push_back((number, socket, Instant::now()));
    }

    /// Moves a peer to those that are served; `false` if it had to make room.
    fn chose(&mut self, number: u64) -> bool {
        let at = self.choosing.iter().position(|(it, ..)| *it == number);
        match at.and_then(|at| self.choosing.remove(at)) {
            Some((_, socket, _)) => self.serving.insert(number, socket).is_none(),
            None => false,
        }
    }

    fn end(&mut self, number: u64) {
        self.choosing.retain(|(it, ..)| *it != number);
        self.serving.remove(&number);
    }

    fn shutdown(&self, how: Shutdown) {
        let choosing = self.choosing.iter().map(|(_, socket, _)| socket);
        choosing.for_each(|socket| socket.shutdown(Shutdown::Both));
        self.serving.values().for_each(|socket| socket.shutdown(how));
    }
}

impl Server<'_> {
    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one peer until it is gone.
    fn meet(&self, number: u64, socket: &Socket) {
        let until = Instant::now().checked_add(HANDSHAKE_TIME).expect("a few seconds from now");
        let mut timed = Timed { socket, until };
        let chosen = match handshake::shake(&mut timed, self.exports, until) {
            Ok(Some(chosen)) if self.peers().chose(number) => chosen,
            // Who only asks what there is, or sends what is no handshake, is not worth a line.
            _ => return,
        };
        let export = chosen.export.name.as_str();
        self.served.connections.fetch_add(1, Ordering::Relaxed);
        (self.hear)(Event::Connected { peer: number, export });
        // A volume never changes for a peer: one whose image was written to is not served to new ones.
        if let Err(error) = chosen.export.volume.check_unchanged() {
            (self.hear)(Event::Failed { peer: number, export, error: &error });
            (self.hear)(Event::Disconnected { peer: number, reason: Some(error.to_string()) });
            return socket.shutdown(Shutdown::Both);
        }
        let failed = |error: &Error| {
            self.served.failed_reads.fetch_add(1, Ordering::Relaxed);
            (self.hear)(Event::Failed { peer: number, export, error });
        };
        let done = transmission::answer(chosen, timed, wait, Answers(socket), &failed);
        socket.shutdown(Shutdown::Both);
        let reason = done.err().map(|error| error.to_string());
        (self.hear)(Event::Disconnected { peer: number, reason });
    }

    /// Lets peers have the answers that are under way, then ends every connection.
    fn see_off(&self) {
        self.peers().shutdown(Shutdown::Read);
        let began = Instant::now();
        while !self.peers().serving.is_empty() && began.elapsed() < GRACE_TIME {
            thread::sleep(SHORT_TURN);
        }
        self.peers().shutdown(Shutdown::Both);
    }
}

/// A stream on which nothing may take longer than until a moment, in however many pieces it comes.
struct Timed<'a> {
    socket: &'a Socket,
    until: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.set_timeouts(Some(self.left()?), STALL_TIME)?;
        (&mut &*self.socket).read(buf)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let left = self.left()?;
        self.socket.set_timeouts(Some(left), left)?;
        (&mut &*self.socket).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits as long as it takes for the first byte of a request; the rest must follow soon.
fn wait(timed: &mut Timed<'_>, first: &mut u8) -> io::Result<bool> {
    timed.socket.set_timeouts(None, STALL_TIME)?;
    let mut byte = [0];
    loop {
        match (&mut &*timed.socket).read(&mut byte) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    *first = byte[0];
    timed.until = Instant::now().checked_add(STALL_TIME).expect("half a minute from now");
    Ok(true)
}

/// The way back to the peer.
struct Answers<'a>(&'a Socket);

impl Write for Answers<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&mut &*self.0).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
