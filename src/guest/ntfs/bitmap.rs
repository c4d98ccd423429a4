//! What `$Bitmap` calls free.

use crate::guest::failure::Outcome;
use crate::guest::ntfs::layout::DATA;
use crate::guest::ntfs::layout::damaged;
use crate::guest::ntfs::open::BITMAP_FILE;
use crate::guest::ntfs::open::Ntfs;
use crate::guest::ranges::Ranges;

/// Bytes of the bitmap that are read at once.
const PIECE_LEN: u64 = 512 << 10;

/// Returns what the bitmap of clusters calls free.
pub(super) fn free(ntfs: &Ntfs<'_>) -> Outcome<Ranges> {
    let bitmap = ntfs.value_of(&ntfs.attributes(BITMAP_FILE)?, DATA, &[], false)?;
    let (clusters, cluster_len) = (ntfs.boot.clusters, ntfs.boot.cluster_len);
    let needed = clusters.div_ceil(8);
    if bitmap.size < needed || bitmap.written < needed {
        return Err(damaged("the bitmap of clusters is too short"));
    }
    let mut free = Ranges::default();
    let mut put = |from: u64, to: u64| {
        let to = to.min(clusters);
        if from < to {
            free.push(from.strict_mul(cluster_len)..to.strict_mul(cluster_len));
        }
    };
    let mut at = 0;
    while at < needed {
        let len = PIECE_LEN.min(needed.strict_sub(at));
        let bytes = ntfs.read(&bitmap, at, len)?;
        for (byte, place) in bytes.iter().zip(at..) {
            let first = place.strict_mul(8);
            match byte {
                0xff => {}
                0 => put(first, first.strict_add(8)),
                byte => {
                    for bit in (0_u64..8).filter(|bit| byte >> bit & 1 == 0) {
                        let cluster = first.strict_add(bit);
                        put(cluster, cluster.strict_add(1));
                    }
                }
            }
        }
        at = at.strict_add(len);
    }
    Ok(free)
}
