//! How something new gets its name, and what becomes of what had it.

use std::ffi::CStr;
use std::ffi::CString;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::renameat;
use rustix::io::Errno;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::output::place::Place;
use crate::io::system::Named;
use crate::io::system::exchange;
use crate::io::system::is_lack;
use crate::io::system::rename_new;

/// Says whether what stands at a path may be replaced, by failing where it may not.
pub type Judge = fn(&Path) -> Result<()>;

/// What follows an output's name in that of the old folder, while the two change places on a file system
/// that cannot do it in one step. A sweep does not take it for a leftover.
const ASIDE: &[u8] = b".amikit-old";

/// Something new that is whole, where it is until it has its name.
#[derive(Debug)]
pub(in crate::io) struct Fresh<'a> {
    pub(in crate::io) folder: &'a File,
    pub(in crate::io) name: &'a CStr,
    pub(in crate::io) path: PathBuf,
}

/// Where what had the name is now.
#[derive(Debug)]
pub(in crate::io) enum Old {
    /// Nothing had the name.
    Nothing,
    /// Where the new one was.
    Exchanged,
    /// Beside the new one, under this name.
    Aside(CString),
}

impl Fresh<'_> {
    /// Gives it the name of `place`. What has that name already changes places with it, if `may_replace`
    /// lets it, before and after. Without one, only an empty folder is replaced.
    ///
    /// # Errors
    ///
    /// `Io`, or whatever `may_replace` returns; then the name means what it meant before.
    pub(in crate::io) fn take_name(
        &self,
        place: &Place,
        may_replace: Option<Judge>,
    ) -> Result<Old> {
        let fail = |e: Errno| Error::io("name", place.path(), e.into());
        place.check_here()?;
        let Some(may_replace) = may_replace else {
            // The system itself sees to it that no filled folder is replaced, at the very moment.
            return self.rename(place).map(|()| Old::Nothing).map_err(fail);
        };
        if place.there()?.is_none() {
            let named = match rename_new(self.named(), place.named()) {
                // A plain rename replaces no filled folder.
                Err(e) if is_lack(e) => self.rename(place),
                done => done,
            };
            return named.map(|()| Old::Nothing).map_err(fail);
        }
        may_replace(&place.path_of(place.name()))?;
        place.check_here()?;
        match exchange(self.named(), place.named()) {
            Ok(()) => {}
            Err(e) if is_lack(e) => return self.in_two_steps(place).map(Old::Aside).map_err(fail),
            Err(e) => return Err(fail(e)),
        }
        if let Err(error) = may_replace(&self.path) {
            // Something was put into it at the last moment, or nobody can say. It gets its name back.
            self.give_back(place, &Old::Exchanged)?;
            let text = "it changed while its replacement was made";
            return Err(match error.kind() {
                Kind::Io => error.shown_as(&self.path, place.path()),
                _ => Error::invalid(text).in_file(place.path()),
            });
        }
        Ok(Old::Exchanged)
    }

    /// Takes the name away again, and gives it to what had it.
    ///
    /// # Errors
    ///
    /// `Io`; then the name means the new one, or nothing.
    pub(in crate::io) fn give_back(&self, place: &Place, old: &Old) -> Result<()> {
        let back = || renameat(place.folder(), place.name(), self.folder, self.name);
        match old {
            Old::Exchanged => exchange(self.named(), place.named()),
            Old::Nothing => back(),
            Old::Aside(aside) => {
                back().and_then(|()| renameat(place.folder(), aside, place.folder(), place.name()))
            }
        }
        .map_err(|e| Error::io("give its name back to", place.path(), e.into()))
    }

    fn rename(&self, place: &Place) -> Result<(), Errno> {
        renameat(self.folder, self.name, place.folder(), place.name())
    }

    fn named(&self) -> Named<'_> {
        (self.folder, self.name)
    }

    /// Replaces what is there where it cannot be done in one step: it is put aside, and for a moment
    /// nothing has the name.
    fn in_two_steps(&self, place: &Place) -> Result<CString, Errno> {
        let (folder, aside) = (place.folder(), aside(place));
        renameat(folder, place.name(), folder, &aside)?;
        match self.rename(place) {
            Ok(()) => Ok(aside),
            Err(e) => {
                renameat(folder, &aside, folder, place.name())?;
                Err(e)
            }
        }
    }
}

fn aside(place: &Place) -> CString {
    CString::new([b".", place.name().to_bytes(), ASIDE].concat()).expect("no part has a zero byte")
}

/// Puts back what a run that was killed between the two steps of a replacement has put aside, or removes
/// it, if `may_replace` lets it, where the run came to the second.
pub(in crate::io) fn put_back(place: &Place, may_replace: Judge) {
    let aside = aside(place);
    match place.there() {
        Ok(None) => {
            let _ = renameat(place.folder(), &aside, place.folder(), place.name());
        }
        Ok(Some(_)) => {
            let path = place.path_of(&aside);
            if path.symlink_metadata().is_ok() && may_replace(&path).is_ok() {
                place.remove(&aside);
            }
        }
        Err(_) => {}
    }
}
