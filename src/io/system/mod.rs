//! What a system has and POSIX does not ask for. The rest of this room calls it through here and no other way.
//!
//! The twins have the same functions. `--cfg amikit_plain_io` chooses the plain one on Linux too, for tests.

#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
mod linux;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
mod plain;

#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::LOOK_UP;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::Map;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::Named;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::SOLE_USE;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::access_lists;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::born_unnamed;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::catch_bus_errors;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::clone_file;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::exchange;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::give_access_lists;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::hide_memory;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::is_lack;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::lists_open_files;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::may_compress;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::open_direct;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::punch_hole;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::rename_new;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::shared_ranges;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::unwritten_ranges;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::writers_of;
#[cfg(all(target_os = "linux", not(amikit_plain_io)))]
pub(super) use linux::zero_range;

#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::LOOK_UP;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::Map;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::Named;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::SOLE_USE;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::access_lists;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::born_unnamed;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::catch_bus_errors;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::clone_file;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::exchange;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::give_access_lists;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::hide_memory;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::is_lack;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::lists_open_files;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::may_compress;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::open_direct;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::punch_hole;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::rename_new;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::shared_ranges;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::unwritten_ranges;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::writers_of;
#[cfg(not(all(target_os = "linux", not(amikit_plain_io))))]
pub(super) use plain::zero_range;
