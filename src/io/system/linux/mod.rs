//! What Linux has.

mod extents;
mod files;
mod map;
mod signals;
mod users;

pub(in crate::io) use extents::shared_ranges;
pub(in crate::io) use extents::unwritten_ranges;
pub(in crate::io) use files::LOOK_UP;
pub(in crate::io) use files::Named;
pub(in crate::io) use files::SOLE_USE;
pub(in crate::io) use files::access_lists;
pub(in crate::io) use files::born_unnamed;
pub(in crate::io) use files::clone_file;
pub(in crate::io) use files::exchange;
pub(in crate::io) use files::give_access_lists;
pub(in crate::io) use files::hide_memory;
pub(in crate::io) use files::is_lack;
pub(in crate::io) use files::lists_open_files;
pub(in crate::io) use files::may_compress;
pub(in crate::io) use files::open_direct;
pub(in crate::io) use files::punch_hole;
pub(in crate::io) use files::rename_new;
pub(in crate::io) use files::will_need;
pub(in crate::io) use files::zero_range;
pub(in crate::io) use map::Map;
pub(in crate::io) use map::catch_bus_errors;
pub(in crate::io) use signals::ignored_signals;
pub(in crate::io) use users::writers_of;
