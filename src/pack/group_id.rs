//! Groups among those of all packs that a process has open.

/// A group of a pack among all groups of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    /// Serial number of the pack.
    pub(super) pack: u64,
    /// Number of the group.
    pub(super) number: u16,
}
