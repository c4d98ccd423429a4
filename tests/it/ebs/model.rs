//! EBS direct in short, as its guide and its service model have it: what each call returns, and what it leaves behind.
//!
//! It knows no file, no socket and no code of amikit. A block's content is a number here, 0 for zeros.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Blocks of a GiB.
pub(super) const BLOCKS_OF_GIB: u64 = 2048;

/// Status, exception and reason of a refusal.
pub(crate) type Refusal = (u16, &'static str, &'static str);

const NOT_FOUND: Refusal = (404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
const DENIED: Refusal = (403, "AccessDeniedException", "UNAUTHORIZED_ACCOUNT");
const CONFLICT: Refusal = (409, "ConflictException", "");

fn invalid(reason: &'static str) -> Refusal {
    (400, "ValidationException", reason)
}

/// Who asks: an account, in a region.
pub(crate) type Who = (&'static str, &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Completed,
    Error,
}

#[derive(Clone, Debug)]
struct Snap {
    owner: Who,
    state: State,
    gib: u64,
    parent: Option<String>,
    /// First snapshot of its line.
    line: String,
    /// What was put.
    put: BTreeMap<u64, u8>,
    /// What can be read: the parent's, and over it what was put.
    all: BTreeMap<u64, u8>,
    is_encrypted: bool,
    shared: BTreeSet<&'static str>,
}

/// What `StartSnapshot` is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) gib: i64,
    pub(super) parent: Option<String>,
    pub(super) token: Option<String>,
    pub(super) encrypted: Option<bool>,
    pub(super) timeout: Option<i64>,
}

/// How a token of a block or a page came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// What it was made for, `block ID INDEX`, `list ID` or `changed FIRST SECOND`.
    pub(super) of: String,
    pub(super) is_expired: bool,
    /// Where the page begins.
    pub(super) at: u64,
}

/// A block that two snapshots have otherwise, and which of them have one at all.
pub(super) type Changed = (u64, bool, bool);

/// All snapshots.
#[derive(Debug, Default)]
pub(super) struct Ebs {
    snaps: BTreeMap<String, Snap>,
    once: BTreeMap<(Who, String), (Start, String)>,
}

impl Ebs {
    fn of_form(id: &str) -> Result<(), Refusal> {
        let hex = id.strip_prefix("snap-").unwrap_or_default();
        let ok = !hex.is_empty() && hex.bytes().all(|it| b"0123456789abcdef".contains(&it));
        if ok { Ok(()) } else { Err(invalid("INVALID_SNAPSHOT_ID")) }
    }

    /// A snapshot of the region that the account has, or was given.
    fn find(&self, who: Who, id: &str) -> Result<&Snap, Refusal> {
        Self::of_form(id)?;
        let snap = self.snaps.get(id).filter(|it| it.owner.1 == who.1).ok_or(NOT_FOUND)?;
        let may = snap.owner == who || snap.shared.contains(who.0);
        if may { Ok(snap) } else { Err(DENIED) }
    }

    /// One that can be read.
    fn read(&self, who: Who, id: &str) -> Result<&Snap, Refusal> {
        let snap = self.find(who, id)?;
        let ready = snap.state == State::Completed;
        if ready { Ok(snap) } else { Err(invalid("INVALID_SNAPSHOT_ID")) }
    }

    /// One that can be written.
    fn write(&mut self, who: Who, id: &str) -> Result<&mut Snap, Refusal> {
        let snap = self.find(who, id)?;
        if snap.owner != who {
            return Err(DENIED);
        }
        if snap.state != State::Pending {
            return Err(invalid("INVALID_SNAPSHOT_ID"));
        }
        Ok(self.snaps.get_mut(id).expect("it was found"))
    }

    /// Says whether a start is refused, and which snapshot an earlier one with its token has made.
    pub(super) fn start(&self, who: Who, asked: &Start) -> Result<Option<String>, Refusal> {
        if !(1..=65_536).contains(&asked.gib) {
            return Err(invalid("INVALID_VOLUME_SIZE"));
        }
        let no_time = asked.timeout.is_some_and(|it| !(10..=4320).contains(&it));
        if no_time || asked.encrypted.is_some() && asked.parent.is_some() {
            return Err(invalid("INVALID_PARAMETER_VALUE"));
        }
        let token = asked.token.clone().map(|token| (who, token));
        if let Some((before, id)) = token.and_then(|token| self.once.get(&token)) {
            if before != asked {
                return Err(CONFLICT);
            }
            if self.snaps.contains_key(id) {
                return Ok(Some(id.clone()));
            }
        }
        if let Some(parent) = &asked.parent {
            let parent = self.find(who, parent)?;
            if parent.state != State::Completed {
                return Err(invalid("INVALID_DEPENDENCY_REQUEST"));
            }
            if i64::try_from(parent.gib).unwrap() > asked.gib {
                return Err(invalid("INVALID_VOLUME_SIZE"));
            }
        }
        Ok(None)
    }

    /// Takes in the snapshot that a start has made.
    pub(super) fn started(&mut self, who: Who, asked: &Start, id: &str) {
        let parent = asked.parent.as_ref().map(|parent| self.snaps[parent].clone());
        let snap = Snap {
            owner: who,
            state: State::Pending,
            gib: u64::try_from(asked.gib).unwrap(),
            line: parent.as_ref().map_or(id.to_owned(), |it| it.line.clone()),
            is_encrypted: asked.encrypted == Some(true)
                || parent.as_ref().is_some_and(|it| it.is_encrypted),
            all: parent.map(|it| it.all).unwrap_or_default(),
            parent: asked.parent.clone(),
            put: BTreeMap::new(),
            shared: BTreeSet::new(),
        };
        assert!(self.snaps.insert(id.to_owned(), snap).is_none(), "{id} is made twice");
        if let Some(token) = &asked.token {
            self.once.insert((who, token.clone()), (asked.clone(), id.to_owned()));
        }
    }

    /// Puts a block; `is_sound` says that length, checksum and headers are right.
    pub(super) fn put(
        &mut self,
        who: Who,
        id: &str,
        index: u64,
        content: u8,
        is_sound: Result<(), &'static str>,
    ) -> Result<(), Refusal> {
        let snap = self.write(who, id)?;
        if index >= snap.gib * BLOCKS_OF_GIB {
            return Err(invalid("INVALID_BLOCK"));
        }
        is_sound.map_err(invalid)?;
        snap.put.insert(index, content);
        Ok(())
    }

    /// What was put, for count and aggregate.
    pub(super) fn blocks_put(&self, id: &str) -> BTreeMap<u64, u8> {
        self.snaps.get(id).map(|snap| snap.put.clone()).unwrap_or_default()
    }

    /// Completes: a count or an aggregate that is wrong shows later, as the state `error`.
    pub(super) fn complete(&mut self, who: Who, id: &str, is_right: bool) -> Result<(), Refusal> {
        let snap = self.write(who, id)?;
        snap.state = if is_right { State::Completed } else { State::Error };
        snap.all.extend(snap.put.clone());
        Ok(())
    }

    pub(super) fn state(&self, id: &str) -> Option<State> {
        self.snaps.get(id).map(|snap| snap.state)
    }

    fn first_of(token: Option<&Token>, of: &str, start: u64) -> Result<u64, Refusal> {
        let Some(token) = token else { return Ok(start) };
        let good = token.of == of && !token.is_expired;
        if good { Ok(token.at) } else { Err(invalid("INVALID_PAGE_TOKEN")) }
    }

    /// Lists the blocks from one on.
    pub(super) fn list(
        &self,
        who: Who,
        id: &str,
        start: u64,
        token: Option<&Token>,
    ) -> Result<Vec<u64>, Refusal> {
        let snap = self.read(who, id)?;
        let first = Self::first_of(token, &format!("list {id}"), start)?;
        Ok(snap.all.range(first..).map(|(index, _)| *index).collect())
    }

    /// Lists what differs, from a block on.
    pub(super) fn changed(
        &self,
        who: Who,
        old: Option<&str>,
        new: &str,
        start: u64,
        token: Option<&Token>,
    ) -> Result<Vec<Changed>, Refusal> {
        let second = self.read(who, new)?;
        let first = old.map(|id| self.read(who, id)).transpose()?;
        if first.is_some_and(|first| first.line != second.line) {
            return Err(invalid("UNRELATED_SNAPSHOTS"));
        }
        let at = Self::first_of(token, &format!("changed {} {new}", old.unwrap_or("-")), start)?;
        let none = BTreeMap::new();
        let (a, b) = (first.map_or(&none, |it| &it.all), &second.all);
        let both: BTreeSet<u64> =
            a.keys().chain(b.keys()).copied().filter(|it| *it >= at).collect();
        let differ = both.into_iter().filter(|index| a.get(index) != b.get(index));
        Ok(differ.map(|it| (it, a.contains_key(&it), b.contains_key(&it))).collect())
    }

    /// Reads a block.
    pub(super) fn get(&self, who: Who, id: &str, at: u64, token: &Token) -> Result<u8, Refusal> {
        let snap = self.read(who, id)?;
        if at >= snap.gib * BLOCKS_OF_GIB {
            return Err(invalid("INVALID_BLOCK"));
        }
        let good = token.of == format!("block {id} {at}") && !token.is_expired;
        let content = snap.all.get(&at).filter(|_| good);
        content.copied().ok_or(invalid("INVALID_BLOCK_TOKEN"))
    }

    /// Shares a snapshot with an account, or no longer. What the default key encrypts is for its own account.
    pub(super) fn share(&mut self, who: Who, id: &str, with: &'static str, add: bool) -> bool {
        let Some(snap) = self.snaps.get_mut(id).filter(|it| it.owner == who) else { return false };
        if add && snap.is_encrypted {
            return false;
        }
        if add {
            snap.shared.insert(with)
        } else {
            snap.shared.remove(with)
        };
        true
    }

    /// Deletes a snapshot, unless one that is under way needs it.
    pub(super) fn delete(&mut self, who: Who, id: &str) -> bool {
        let own = self.snaps.get(id).is_some_and(|it| it.owner == who);
        let needed = |it: &Snap| it.state == State::Pending && it.parent.as_deref() == Some(id);
        own && !self.snaps.values().any(needed) && self.snaps.remove(id).is_some()
    }
}
