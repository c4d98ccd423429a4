//! What guards memory.

/// Most members of an archive.
pub(super) const MAX_MEMBERS: usize = 1 << 16;

/// Most bytes of PAX records, or of a long name, in front of one member.
pub(super) const MAX_RECORDS_LEN: u64 = 8 << 20;

/// Most entries of a sparse map: what a volume's map takes too.
pub(super) const MAX_SEGMENTS: usize = 4 << 20;
