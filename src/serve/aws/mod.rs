//! A local EBS direct and EC2, over a store: `docs/formats/serve-aws.md`.

mod access;
mod adopted;
mod blocks;
mod ebs;
mod ebs_error;
mod ebs_read;
mod ec2;
mod ec2_error;
mod faults;
mod image;
mod image_changes;
mod image_copy;
mod image_list;
mod keeper;
mod offline;
mod params;
mod public_access;
mod query;
mod register;
mod server;
mod settings;
mod snapshots;
mod spool;
mod state;
mod tags;
mod tokens;
mod xml;

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::path::Path;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Hold;
use crate::io::SharedFolder;
use crate::serve::http::Answer;
use crate::serve::http::Bad;
use crate::serve::http::Connection;
use crate::serve::http::Request;
use crate::serve::listener::Listener;
use crate::serve::socket::Socket;
use crate::units::BLOCK_LEN;
use crate::work::Watch;
use crate::work::spawn;

pub use access::AccessKey;
pub use faults::Faults;
pub use keeper::Keeper;
pub use keeper::Kept;
pub use offline::answers;
pub use settings::DEFAULT_CONNECTIONS;
pub use settings::Event;
pub use settings::Served;
pub use settings::Settings;

use access::Access;
use server::FOLDER;
use server::STATE;
use server::Server;
use server::lock;
use server::stored_state;
use state::ImageState;
use state::SnapshotState;
use state::State;
use tokens::Tokens;

/// The file that is locked while a server runs.
const LOCK: &str = "serve-aws/lock";

/// Most bytes of a body that is not a block.
const MOST_BODY: usize = 512 << 10;

/// Longest time in which peers get the answers that are under way when the server is asked to stop.
const GRACE_TIME: Duration = Duration::from_secs(5);

/// How long a connection may be idle while others wait for a place.
const IDLE_TIME: Duration = Duration::from_secs(1);

/// How often the wish to stop is looked at.
const TURN: Duration = Duration::from_millis(50);

/// How often it is looked whether a place is free for a peer that waits.
const SHORT_TURN: Duration = Duration::from_millis(5);

/// Serves a store until `watch` says to stop. `ready` is called once peers can connect and all that was under way
/// before is known again.
///
/// # Errors
///
/// `Io` if the system refuses, or another server has the store; `Corrupt` if what an earlier server wrote is damaged;
/// whatever `ready` returns. No peer's failure is one of the server.
pub fn serve(
    listener: &Listener,
    store: &Path,
    keeper: &dyn Keeper,
    settings: Settings,
    watch: &dyn Watch,
    ready: &mut dyn FnMut() -> Result<()>,
    hear: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Served> {
    with_server(store, keeper, settings, watch, hear, |server| {
        ready()?;
        server.run(listener, watch)
    })
}

/// Takes a store, and all that was under way in it, while `body` serves it.
fn with_server<T>(
    store: &Path,
    keeper: &dyn Keeper,
    mut settings: Settings,
    watch: &dyn Watch,
    hear: &(dyn Fn(Event<'_>) + Sync),
    body: impl FnOnce(&Server<'_>) -> Result<T>,
) -> Result<T> {
    let folder = SharedFolder::open(store)?;
    folder.make_dir(FOLDER)?;
    let held = folder.lock(LOCK, Hold::Alone, watch)?;
    let state = match stored_state(&folder).map_err(|e| e.in_file(&store.join(STATE)))? {
        Some(state) => state,
        None => State { version: state::VERSION, ..State::default() },
    };
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|e| Error::new(Kind::Io, format!("no random numbers: {e}")))?;
    let access = Access {
        keys: std::mem::take(&mut settings.keys),
        account: settings.account.clone(),
        host: settings.host.clone(),
    };
    let faults = std::mem::take(&mut settings.faults);
    let server = Server {
        keeper,
        folder,
        _lock: held,
        access,
        tokens: Tokens::new(key),
        state: Mutex::new(state),
        spools: Mutex::default(),
        writing: Mutex::default(),
        open: Mutex::default(),
        jobs: Mutex::default(),
        work: Condvar::new(),
        nonce: AtomicU64::new(0),
        hear,
        faults: &faults,
        settings,
    };
    server.begin()?;
    body(&server)
}

/// A connection, for ending it.
struct Peer {
    socket: Socket,
    /// Since when it waits for a request; nothing while it is answered.
    idle: Arc<Mutex<Option<Instant>>>,
}

/// Closes a peer's connection and forgets it however its thread ends.
struct Leaving<'a> {
    peers: &'a Mutex<BTreeMap<u64, Peer>>,
    number: u64,
    socket: &'a Socket,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.socket.shutdown(Shutdown::Both);
        lock(self.peers).remove(&self.number);
    }
}

/// Ends the connection that has been idle longest, if one has been for a second.
fn make_room(peers: &BTreeMap<u64, Peer>) {
    let idle = peers.values().filter_map(|peer| Some(((*lock(&peer.idle))?, peer)));
    let oldest = idle.min_by_key(|(since, _)| *since);
    if let Some((since, peer)) = oldest
        && since.elapsed() > IDLE_TIME
    {
        peer.socket.shutdown(Shutdown::Both);
    }
}

/// Counts of what was served.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    calls: AtomicU64,
    refused: AtomicU64,
}

impl Server<'_> {
    /// Takes up what an earlier server left, and what was in the store before.
    fn begin(&self) -> Result<()> {
        let mut state = self.state();
        self.adopt(&mut state)?;
        let pending: Vec<(String, bool)> = state
            .snapshots
            .iter()
            .filter(|(_, snap)| snap.state == SnapshotState::Pending)
            .map(|(id, snap)| (id.clone(), snap.closed))
            .collect();
        for (id, closed) in pending {
            self.open_spool(&id)?;
            if closed {
                lock(&self.jobs).waiting.push(id);
            }
        }
        for image in state.images.values_mut() {
            if image.state == ImageState::Pending {
                image.state = ImageState::Available;
            }
        }
        self.write(&state)
    }

    fn run(&self, listener: &Listener, watch: &dyn Watch) -> Result<Served> {
        let peers: Mutex<BTreeMap<u64, Peer>> = Mutex::default();
        let counts = Counts::default();
        let ended = thread::scope(|scope| {
            let maker = spawn(scope, || self.make_snapshots())?;
            let mut number = 0_u64;
            let ended = loop {
                if watch.stopped() {
                    break Ok(());
                }
                if lock(&peers).len() >= self.settings.connections {
                    // The next ones wait in the system's queue, and for each the one that is idle longest makes room.
                    match listener.has_peer(TURN) {
                        Ok(true) => make_room(&lock(&peers)),
                        Ok(false) => continue,
                        Err(e) => {
                            break Err(Error::io("wait for a peer on", "the socket".as_ref(), e));
                        }
                    }
                    thread::sleep(SHORT_TURN);
                    continue;
                }
                let peer = match listener.accept(TURN) {
                    Ok(Some(peer)) => peer,
                    Ok(None) => continue,
                    Err(e) => {
                        break Err(Error::io("accept a connection on", "the socket".as_ref(), e));
                    }
                };
                number = number.strict_add(1);
                let Ok(kept) = peer.try_clone() else { continue };
                let at_work = Arc::new(Mutex::new(Some(Instant::now())));
                let idle = Arc::clone(&at_work);
                lock(&peers).insert(number, Peer { socket: kept, idle });
                counts.connections.fetch_add(1, Ordering::Relaxed);
                let (peers, counts) = (&peers, &counts);
                let meet = move || {
                    let _leaving = Leaving { peers, number, socket: &peer };
                    // A peer that disconnects is not an event.
                    let _ = self.meet(number, &peer, &at_work, counts);
                };
                if thread::Builder::new().spawn_scoped(scope, meet).is_err() {
                    lock(peers).remove(&number);
                }
            };
            lock(&peers).values().for_each(|peer| peer.socket.shutdown(Shutdown::Read));
            let began = Instant::now();
            while !lock(&peers).is_empty() && began.elapsed() < GRACE_TIME {
                thread::sleep(TURN);
            }
            lock(&peers).values().for_each(|peer| peer.socket.shutdown(Shutdown::Both));
            lock(&self.jobs).stopped = true;
            self.work.notify_all();
            // What is being made goes on: the next server would begin it anew.
            let _ = maker.join();
            ended
        });
        ended.map(|()| Served {
            connections: counts.connections.into_inner(),
            calls: counts.calls.into_inner(),
            refused: counts.refused.into_inner(),
        })
    }

    /// Serves one peer until it is gone.
    fn meet(
        &self,
        number: u64,
        socket: &Socket,
        at_work: &Mutex<Option<Instant>>,
        counts: &Counts,
    ) -> io::Result<()> {
        let mut connection = Connection::new(socket);
        let most = |request: &Request| if request.method == "PUT" { BLOCK_LEN } else { MOST_BODY };
        loop {
            let request = match connection.next(most) {
                Ok(request) => request,
                Err(Bad::Gone) => return Ok(()),
                Err(Bad::Refused(status, text)) => {
                    counts.refused.fetch_add(1, Ordering::Relaxed);
                    return connection.answer(&Answer::new(status, "text/plain", text), true);
                }
            };
            let began = Instant::now();
            *lock(at_work) = None;
            let (call, answer) = self.dispatch(&request);
            counts.calls.fetch_add(1, Ordering::Relaxed);
            if answer.status >= 400 {
                counts.refused.fetch_add(1, Ordering::Relaxed);
            }
            let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let status = answer.status;
            (self.hear)(Event::Called { peer: number, call, status, milliseconds });
            let last =
                request.header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
            connection.answer(&answer, last)?;
            *lock(at_work) = Some(Instant::now());
            if last {
                return Ok(());
            }
        }
    }

    fn dispatch(&self, request: &Request) -> (&'static str, Answer) {
        let id = self.request_id();
        let caller = match self.access.admit(request) {
            Ok(caller) => caller,
            Err(access::Refused(code, message)) => {
                let status = if code == "AuthFailure" { 401 } else { 403 };
                let is_rest = request.path != "/";
                let answer = if is_rest {
                    let kind = if code == "AccessDenied" { "AccessDeniedException" } else { code };
                    let kind = kind.to_owned();
                    ebs_error::EbsError { status, kind, reason: None, message }.answer()
                } else {
                    xml::error(status, code, &message, &id)
                };
                return ("-", answer.with("x-amzn-RequestId", id));
            }
        };
        let (call, answer) = match caller.service.as_str() {
            "ebs" => ebs::answer(self, &caller, request),
            "ec2" => ec2::answer(self, &caller, request, &id),
            "sts" => ec2::sts(self, &caller, request, &id),
            "s3" => ec2::s3(self, &caller, request, &id),
            other => {
                let text = format!("the service {other:?} is not served");
                ("-", xml::error(400, "InvalidAction", &text, &id))
            }
        };
        (call, answer.with("x-amzn-RequestId", id))
    }
}
