//! A server without a listener: what a peer sends goes in as bytes, and its answers come out.

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use crate::error::Error;
use crate::error::Result;
use crate::serve::aws::Counts;
use crate::serve::aws::Event;
use crate::serve::aws::Keeper;
use crate::serve::aws::Settings;
use crate::serve::aws::with_server;
use crate::serve::socket::Socket;
use crate::work::Unwatched;
use crate::work::spawn;

/// Answers what one peer sends in one connection, in a store that no server has. Snapshots stay pending.
///
/// # Errors
///
/// As [`crate::serve::aws::serve`].
pub fn answers(
    store: &Path,
    keeper: &dyn Keeper,
    settings: Settings,
    sent: &[u8],
) -> Result<Vec<u8>> {
    let fail = |e| Error::io("connect to", Path::new("a pair of sockets"), e);
    let (peer, ours) = UnixStream::pair().map_err(fail)?;
    let ours = Socket::Unix(ours);
    let hear = |_: Event<'_>| {};
    with_server(store, keeper, settings, &Unwatched, &hear, |server| {
        let (counts, idle) = (Counts::default(), Mutex::new(Some(Instant::now())));
        thread::scope(|scope| {
            spawn(scope, || {
                // A peer that does not listen is no failure.
                let _ = server.meet(1, &ours, &idle, &counts);
                ours.shutdown(Shutdown::Both);
            })?;
            let give = || {
                let _ = (&peer).write_all(sent);
                let _ = peer.shutdown(Shutdown::Write);
            };
            if let Err(error) = spawn(scope, give) {
                // The other thread waits for what is sent.
                let _ = peer.shutdown(Shutdown::Both);
                return Err(error);
            }
            let mut answers = Vec::new();
            // What came until the connection ended.
            let _ = (&peer).read_to_end(&mut answers);
            Ok(answers)
        })
    })
}
