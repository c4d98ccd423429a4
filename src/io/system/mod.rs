//! What a system has and POSIX does not ask for. The rest of this room calls it through here and no other way.
//!
//! The twins have the same functions. `--cfg amikit_plain_io` chooses the plain one on Linux too, for tests.

#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
mod linux;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
mod plain;

#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
use linux as chosen;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
use plain as chosen;

pub(super) use chosen::LOOK_UP;
pub(super) use chosen::Map;
pub(super) use chosen::Named;
pub(super) use chosen::SOLE_USE;
pub(super) use chosen::access_lists;
pub(super) use chosen::born_unnamed;
pub(super) use chosen::catch_bus_errors;
pub(super) use chosen::clone_file;
pub(super) use chosen::exchange;
pub(super) use chosen::give_access_lists;
pub(super) use chosen::hide_memory;
pub(super) use chosen::ignored_signals;
pub(super) use chosen::is_lack;
pub(super) use chosen::lists_open_files;
pub(super) use chosen::may_compress;
pub(super) use chosen::open_direct;
pub(super) use chosen::punch_hole;
pub(super) use chosen::rename_new;
pub(super) use chosen::shared_ranges;
pub(super) use chosen::unwritten_ranges;
pub(super) use chosen::will_need;
pub(super) use chosen::writers_of;
pub(super) use chosen::zero_range;
