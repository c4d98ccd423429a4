//! What a system has and POSIX does not ask for. The rest of this room calls it through here and no other way.

mod linux;

pub(super) use linux::LOOK_UP;
pub(super) use linux::Map;
pub(super) use linux::Named;
pub(super) use linux::SOLE_USE;
pub(super) use linux::access_lists;
pub(super) use linux::born_unnamed;
pub(super) use linux::catch_bus_errors;
pub(super) use linux::clone_file;
pub(super) use linux::exchange;
pub(super) use linux::give_access_lists;
pub(super) use linux::hide_memory;
pub(super) use linux::is_lack;
pub(super) use linux::lists_open_files;
pub(super) use linux::may_compress;
pub(super) use linux::open_direct;
pub(super) use linux::punch_hole;
pub(super) use linux::rename_new;
pub(super) use linux::shared_ranges;
pub(super) use linux::unwritten_ranges;
pub(super) use linux::writers_of;
pub(super) use linux::zero_range;
