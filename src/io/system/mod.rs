//! What a system has and POSIX does not ask for. The rest of this room calls it through here and no other way.

mod linux;

pub(super) use linux::Map;
pub(super) use linux::catch_bus_errors;
pub(super) use linux::shared_ranges;
pub(super) use linux::unwritten_ranges;
pub(super) use linux::writers_of;
