//! What a new file or folder takes over from the one that it replaces: mode, owner, access lists.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::Stat;
use rustix::fs::Uid;
use rustix::fs::fchmod;
use rustix::fs::fchown;
use rustix::fs::fstat;

use crate::io::system::access_lists;
use crate::io::system::give_access_lists;

/// Who may use a file or folder.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    mode: Mode,
    owner: Uid,
    group: Gid,
    lists: Vec<(&'static str, Vec<u8>)>,
}

impl Kept {
    /// Takes down who may use something; its access lists only if it can be opened.
    pub(super) fn of(stat: &Stat, open: Option<&File>) -> Self {
        let lists = open.map(access_lists).unwrap_or_default();
        // Bits that run a file as its owner are not for new contents.
        let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
        Self { mode, owner: Uid::from_raw(stat.st_uid), group: Gid::from_raw(stat.st_gid), lists }
    }

    /// Leaves out what is not for the owner alone.
    pub(super) fn private(self) -> Self {
        Self { mode: Mode::RUSR | Mode::WUSR, lists: Vec::new(), ..self }
    }

    /// Gives it to another file, as far as the system lets us: only root gives a file away.
    pub(super) fn give(&self, to: impl AsFd) {
        self.give_owner(&to);
        let mut mode = self.mode;
        if fstat(&to).is_ok_and(|now| Gid::from_raw(now.st_gid) != self.group) {
            // What the old group might do is not for whatever group the file has instead.
            let others = Mode::from_raw_mode((mode.bits() & 0o007) << 3);
            mode &= Mode::RWXU | Mode::RWXO | others;
        }
        let _ = fchmod(&to, mode);
        give_access_lists(&to, &self.lists);
    }

    /// Gives another file the owner and the group, where they are others.
    pub(super) fn give_owner(&self, to: impl AsFd) {
        let Ok(now) = fstat(&to) else { return };
        if (now.st_uid, now.st_gid) == (self.owner.as_raw(), self.group.as_raw()) {
            return;
        }
        if fchown(&to, Some(self.owner), Some(self.group)).is_err() {
            let _ = fchown(&to, None, Some(self.group));
        }
    }
}
