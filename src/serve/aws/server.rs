//! The server's parts that its calls share: what it knows, its spools, its work.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use crate::bundle::Snapshot;
use crate::digest::Digest;
use crate::digest::hmac;
use crate::error::Error;
use crate::error::Result;
use crate::io::FolderLock;
use crate::io::LogFile;
use crate::io::SharedFolder;
use crate::serve::aws::access::Access;
use crate::serve::aws::blocks::Blocks;
use crate::serve::aws::faults::Faults;
use crate::serve::aws::faults::Injected;
use crate::serve::aws::keeper::Keeper;
use crate::serve::aws::settings::Event;
use crate::serve::aws::settings::Settings;
use crate::serve::aws::spool::Spool;
use crate::serve::aws::state::Snap;
use crate::serve::aws::state::SnapshotState;
use crate::serve::aws::state::State;
use crate::serve::aws::tokens::Tokens;

/// Folder of the server in a store.
pub(super) const FOLDER: &str = "serve-aws";

/// The file of what the server knows.
pub(super) const STATE: &str = "serve-aws/state.json";

/// Most bytes of it: a million snapshots.
const MOST_STATE: u64 = 1 << 30;

/// Milliseconds for which something that was made is pending at least: clients must wait for it.
const PENDING_MS: u64 = 400;

/// Most snapshots that are kept open.
const MOST_OPEN: usize = 32;

/// A volume of the store that is open: its name, its device, its blocks.
type Opened = ((String, String), Arc<Snapshot>);

pub(super) struct Server<'a> {
    pub(super) keeper: &'a dyn Keeper,
    pub(super) folder: SharedFolder,
    pub(super) _lock: FolderLock,
    pub(super) settings: Settings,
    pub(super) access: Access,
    pub(super) tokens: Tokens,
    pub(super) state: Mutex<State>,
    pub(super) spools: Mutex<BTreeMap<String, Arc<Spool>>>,
    /// Blocks that are being written.
    pub(super) writing: Mutex<BTreeSet<(String, u32)>>,
    pub(super) open: Mutex<Vec<Opened>>,
    pub(super) jobs: Mutex<Jobs>,
    pub(super) work: Condvar,
    pub(super) nonce: AtomicU64,
    pub(super) hear: &'a (dyn Fn(Event<'_>) + Sync),
    pub(super) faults: &'a Faults,
}

/// Snapshots that are to be made.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    pub(super) waiting: Vec<String>,
    pub(super) stopped: bool,
}

/// A block that is being written, by nobody else meanwhile.
pub(super) struct Alone<'a>(&'a Mutex<BTreeSet<(String, u32)>>, (String, u32));

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        lock(self.0).remove(&self.1);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server<'_> {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Tells of a call that failed, if it was the server's failure.
    pub(super) fn tell_own(&self, call: &str, status: u16, error: &str) {
        if status == 500 {
            (self.hear)(Event::Failed { call, error });
        }
    }

    /// Writes what the server knows to the disk. Where that fails the call did nothing: what the disk has is what the
    /// server knows again.
    pub(super) fn save(&self, state: &mut State) -> Result<()> {
        let error = match self.write(state) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if let Ok(Some(mut before)) = stored_state(&self.folder) {
            for (id, stored) in &mut before.snapshots {
                if let Some(known) = state.snapshots.get(id) {
                    stored.learn(known);
                }
            }
            *state = before;
        }
        Err(error)
    }

    /// Writes what the server knows to the disk.
    pub(super) fn write(&self, state: &State) -> Result<()> {
        let bytes = serde_json::to_vec(state).expect("plain data always serialises");
        self.folder.replace(STATE, &bytes, || Ok(true)).map(|_| ())
    }

    #[expect(clippy::unused_self, reason = "what the server's time is, is the server's to say")]
    pub(super) fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |it| it.as_secs())
    }

    pub(super) fn nonce(&self) -> u64 {
        self.nonce.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn random(&self) -> Digest {
        let seed = [self.nonce().to_le_bytes(), self.now().to_le_bytes()].concat();
        hmac(self.tokens.key(), &seed)
    }

    pub(super) fn new_id(&self, kind: &str) -> String {
        format!("{kind}-{}", &self.random().hex()[..17])
    }

    pub(super) fn request_id(&self) -> String {
        let hex = self.random().hex();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
    }

    pub(super) fn most_size(&self) -> u64 {
        self.settings.max_size
    }

    pub(super) fn hidden_after_start(&self) -> u64 {
        self.faults.hidden_after_start
    }

    /// Waits if that is asked for, and says how a call fails on purpose.
    pub(super) fn fault(&self, call: &str) -> Option<Injected> {
        let (delay, injected) = self.faults.next(call);
        thread::sleep(Duration::from_millis(delay));
        injected
    }

    pub(super) fn open_spool(&self, id: &str) -> Result<()> {
        let spool = Spool::open(LogFile::open(&self.folder, &spool_name(id))?)?;
        lock(&self.spools).insert(id.to_owned(), Arc::new(spool));
        Ok(())
    }

    pub(super) fn spool(&self, id: &str) -> Option<Arc<Spool>> {
        lock(&self.spools).get(id).cloned()
    }

    pub(super) fn alone(&self, id: &str, index: u32) -> Option<Alone<'_>> {
        let key = (id.to_owned(), index);
        let free = lock(&self.writing).insert(key.clone());
        free.then(|| Alone(&self.writing, key))
    }

    pub(super) fn is_busy(&self, id: &str) -> bool {
        lock(&self.writing).range((id.to_owned(), 0)..).next().is_some_and(|(it, _)| it == id)
    }

    /// Opens a volume of the store, or takes one that is open.
    pub(super) fn open(&self, stored: &(String, String)) -> Result<Arc<Snapshot>> {
        let mut open = lock(&self.open);
        if let Some(at) = open.iter().position(|(it, _)| it == stored) {
            let found = open.remove(at);
            let snapshot = Arc::clone(&found.1);
            open.push(found);
            return Ok(snapshot);
        }
        drop(open);
        let snapshot = self.keeper.open(&stored.0, &stored.1)?;
        let mut open = lock(&self.open);
        if open.len() >= MOST_OPEN {
            open.remove(0);
        }
        open.push((stored.clone(), Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// Asks for a snapshot to be made of its blocks.
    pub(super) fn finish(&self, id: &str) {
        lock(&self.jobs).waiting.push(id.to_owned());
        self.work.notify_all();
    }

    /// Makes snapshots, one after the other, until the server stops.
    pub(super) fn make_snapshots(&self) {
        loop {
            let mut jobs = lock(&self.jobs);
            let id = loop {
                if jobs.stopped {
                    return;
                }
                if !jobs.waiting.is_empty() {
                    break jobs.waiting.remove(0);
                }
                let (again, _) = self
                    .work
                    .wait_timeout(jobs, Duration::from_secs(1))
                    .unwrap_or_else(PoisonError::into_inner);
                jobs = again;
                if jobs.waiting.is_empty() {
                    drop(jobs);
                    self.give_up();
                    jobs = lock(&self.jobs);
                }
            };
            drop(jobs);
            thread::sleep(Duration::from_millis(self.faults.pending_ms.unwrap_or(PENDING_MS)));
            let error = self.make(&id).err().map(|error| error.to_string());
            (self.hear)(Event::Finished { snapshot: &id, error });
        }
    }

    /// Makes a snapshot of its blocks; what becomes of it is in the state.
    pub(super) fn make(&self, id: &str) -> Result<()> {
        let (Some(snap), Some(spool)) = (self.state().snapshots.get(id).cloned(), self.spool(id))
        else {
            return Ok(());
        };
        let made = if snap.message.is_empty() {
            self.keep(id, &snap, spool)
        } else {
            Err(Error::invalid(snap.message.clone()))
        };
        let mut state = self.state();
        if let Some(snap) = state.snapshots.get_mut(id) {
            match &made {
                Ok(root) => {
                    snap.state = SnapshotState::Completed;
                    snap.stored = Some((id.to_owned(), crate::bundle::VOLUME_DEVICE.to_owned()));
                    snap.root = Some(*root);
                }
                Err(error) => {
                    snap.state = SnapshotState::Error;
                    snap.message = error.to_string();
                }
            }
        }
        // What was made is there, whether that can be written down or not.
        self.write(&state)?;
        drop(state);
        self.drop_spool(id)?;
        made.map(|_| ())
    }

    pub(super) fn keep(&self, id: &str, snap: &Snap, spool: Arc<Spool>) -> Result<Digest> {
        let stored = match &snap.parent {
            None => None,
            Some(parent) => self.state().snapshots.get(parent).and_then(|it| it.stored.clone()),
        };
        let parent = stored.as_ref().map(|stored| self.open(stored)).transpose()?;
        let volume = Blocks {
            // Cannot overflow: at most 65,536 GiB.
            size: snap.gib.strict_mul(1 << 30),
            put: spool.blocks(),
            spool,
            parent,
        };
        let description = Some(snap.description.clone()).filter(|it| !it.is_empty());
        self.keeper.keep(id, &volume, stored.as_ref(), description)
    }

    pub(super) fn drop_spool(&self, id: &str) -> Result<()> {
        lock(&self.spools).remove(id);
        self.folder.remove(&spool_name(id))
    }

    /// Gives snapshots up that nobody wrote to in time.
    pub(super) fn give_up(&self) {
        let now = self.now();
        let mut state = self.state();
        let mut over = Vec::new();
        for (id, snap) in &mut state.snapshots {
            let is_over = have_passed(snap.timeout.saturating_mul(60), snap.touched, now);
            if snap.state == SnapshotState::Pending && !snap.closed && is_over {
                snap.state = SnapshotState::Error;
                "no block was put in time".clone_into(&mut snap.message);
                over.push(id.clone());
            }
        }
        if over.is_empty() || self.write(&state).is_err() {
            return;
        }
        drop(state);
        for id in over {
            // What stays takes up room, and is found by the next server.
            let _ = self.drop_spool(&id);
        }
    }
}

/// Tells whether so many seconds have gone by for certain. Times are kept in whole seconds, so the first one of them may have
/// begun just before it ended.
pub(super) fn have_passed(seconds: u64, since: u64, now: u64) -> bool {
    seconds == 0 || now > since.saturating_add(seconds)
}

/// Returns what a server knew when it last wrote that down; `None` in a store that had none.
pub(super) fn stored_state(folder: &SharedFolder) -> Result<Option<State>> {
    folder.read(STATE, MOST_STATE)?.map(|bytes| State::parse(&bytes)).transpose()
}

fn spool_name(id: &str) -> String {
    format!("{FOLDER}/{id}.spool")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What began at 10.999 and is looked at at 11.000 has not lasted for a second.
    #[test]
    fn a_second_has_passed_only_if_it_has_whatever_it_began_with() {
        assert!(!have_passed(1, 10, 10) && !have_passed(1, 10, 11) && have_passed(1, 10, 12));
        assert!(have_passed(0, 10, 10) && !have_passed(1, u64::MAX, u64::MAX));
    }
}
