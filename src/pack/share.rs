//! What a chunk takes of the group that it is compressed with.

use crate::pack::layout::Entry;
use crate::pack::layout::Group;

/// Returns the bytes of a group that are counted for one of its chunks: all chunks of a group add up to its stored bytes.
#[must_use]
pub fn stored_share(group: &Group, entry: &Entry) -> u32 {
    let chunks = u32::from(group.chunks.max(1));
    let more = u32::from(u32::from(entry.position) < group.len.strict_rem(chunks));
    group.len.strict_div(chunks).saturating_add(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::digest::Digest;
    use crate::pack::layout::Form;

    #[test]
    fn shares_of_a_group_add_up_to_it() {
        for (len, chunks) in [(1, 1), (7, 3), (2, 3), (1 << 20, 64), (u32::MAX, 128)] {
            let group = Group { offset: 32, len, crc: 0, chunks, form: Form::Whole };
            let share = |position| {
                let entry = Entry { id: Digest([0; 32]), group: 0, position };
                u64::from(stored_share(&group, &entry))
            };
            assert_eq!((0..chunks).map(share).sum::<u64>(), u64::from(len));
            assert!(share(0).strict_sub(share(chunks.strict_sub(1))) <= 1);
        }
    }
}
