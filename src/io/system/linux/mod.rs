//! What Linux has.

mod extents;
mod map;
mod users;

pub(in crate::io) use extents::shared_ranges;
pub(in crate::io) use extents::unwritten_ranges;
pub(in crate::io) use map::Map;
pub(in crate::io) use map::catch_bus_errors;
pub(in crate::io) use users::writers_of;
