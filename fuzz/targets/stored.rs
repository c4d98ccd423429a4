//! Stored chunks: packs, and patches over a base.

use std::sync::Arc;

use amikit::internals::compress::GroupDecoder;
use amikit::internals::digest::crc32;
use amikit::internals::digest::sha256;
use amikit::internals::error::Error;
use amikit::internals::io::Input;
use amikit::internals::pack::Chunks;
use amikit::internals::pack::Form;
use amikit::internals::pack::Group;
use amikit::internals::pack::GroupReader;
use amikit::internals::pack::Pack;
use amikit::internals::pack::Patch;
use amikit::internals::pack::layout::ENTRY_LEN;
use amikit::internals::pack::layout::Entry;
use amikit::internals::pack::layout::FOOTER_LEN;
use amikit::internals::pack::layout::GROUP_LEN;
use amikit::internals::pack::layout::HEADER_LEN;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::PAGE_LEN;

use super::indexes::put;
use super::indexes::u32_at;
use super::indexes::u64_at;

/// Chunks that are read: half a mebibyte each.
const MOST_CHUNKS: u32 = 4;

/// Groups that are decompressed.
const MOST_GROUPS: usize = 2;

/// Pages of the base that patches are applied over.
const BASE_PAGES: u64 = 1 << 20;

/// Makes checksums and the length of a pack right, ids of chunks that decode too, and their order.
pub fn mend_pack(bytes: &mut [u8]) {
    if bytes.len() < HEADER_LEN + 8 + FOOTER_LEN {
        return;
    }
    let (len, footer) = (bytes.len() as u64, bytes.len() - FOOTER_LEN);
    let index = usize::try_from(u64_at(bytes, footer + 8)).unwrap_or(usize::MAX);
    let (groups, chunks) = (u32_at(bytes, footer + 16), u32_at(bytes, footer + 20));
    let tables = [(groups, GROUP_LEN), (chunks, ENTRY_LEN)]
        .map(|(count, len)| usize::try_from(count).ok().and_then(|count| count.checked_mul(len)));
    if let [Some(groups_len), Some(chunks_len)] = tables
        && let Some(entries) = index.checked_add(groups_len)
        && entries.checked_add(chunks_len) == Some(footer)
        && index >= 8
    {
        mend_tables(bytes, index, entries, footer);
        let crc = crc32(&bytes[index..footer]);
        put(bytes, footer + 40, &crc.to_le_bytes());
        put(bytes, index - 4, &((footer - index) as u32).to_le_bytes());
    }
    put(bytes, footer + 24, &len.to_le_bytes());
    let crc = crc32(&bytes[..HEADER_LEN]);
    put(bytes, footer + 44, &crc.to_le_bytes());
    let crc = crc32(&bytes[footer..footer + 52]);
    put(bytes, footer + 52, &crc.to_le_bytes());
}

/// Makes the checksums of groups right, and the ids of the chunks of the first few that decode.
fn mend_tables(bytes: &mut [u8], index: usize, entries: usize, footer: usize) {
    let (mut decoder, mut plain) = (GroupDecoder::new().expect("memory for one group"), Vec::new());
    for (number, at) in (index..entries).step_by(GROUP_LEN).enumerate() {
        let group: [u8; GROUP_LEN] = bytes[at..at + GROUP_LEN].try_into().expect("one");
        let Ok(group) = Group::parse(&group) else { continue };
        let Ok(start) = usize::try_from(group.offset) else { continue };
        let stored = bytes[start.min(footer)..footer].get(..group.len as usize);
        let Some(stored) = stored.map(<[u8]>::to_vec) else { continue };
        put(bytes, at + 12, &crc32(&stored).to_le_bytes());
        let len = usize::from(group.chunks) * BLOCK_LEN;
        let readable = number < MOST_GROUPS
            && group.form == Form::Whole
            && decoder.begin(&stored, len, &mut plain).is_ok()
            && decoder.decode(&stored, len, &mut plain, len).is_ok();
        for at in (entries..footer).step_by(ENTRY_LEN).filter(|_| readable) {
            let entry: [u8; ENTRY_LEN] = bytes[at..at + ENTRY_LEN].try_into().expect("one");
            let entry = Entry::parse(&entry);
            let chunk = plain.chunks(BLOCK_LEN).nth(usize::from(entry.position));
            if usize::from(entry.group) == number
                && let Some(chunk) = chunk
            {
                put(bytes, at, &sha256(chunk).0);
            }
        }
    }
    let mut sorted: Vec<[u8; ENTRY_LEN]> = bytes[entries..footer].as_chunks().0.to_vec();
    sorted.sort_unstable();
    put(bytes, entries, sorted.as_flattened());
}

/// Any bytes as a pack.
pub fn pack(data: &[u8]) {
    let mut bytes = data.to_vec();
    mend_pack(&mut bytes);
    let len = bytes.len() as u64;
    let Ok(pack) = Pack::open(Arc::new(Input::memory("pack", bytes)), 0, len) else { return };
    assert!(pack.stored_len() < pack.file_len());
    let chunks = Chunks::new(vec![Arc::new(pack)]);
    let pack = &chunks.packs()[0];
    let ids = pack.ids().expect("it is in memory");
    assert_eq!(ids.len(), pack.chunk_count() as usize);
    let mut groups = GroupReader::new().expect("memory for one group");
    let (mut reader, mut plain) = (chunks.reader(), vec![0; BLOCK_LEN]);
    for (number, group) in (0..).zip(pack.groups()).take(MOST_GROUPS) {
        let sound = groups.check_stored(pack, number).is_ok();
        if group.form == Form::Whole {
            let decoded = groups.decode(pack, number).is_ok();
            assert!(sound || !decoded, "group {number} is decoded and called damaged");
        }
    }
    // Twice, and backwards: what was decompressed before makes no difference.
    let count = pack.chunk_count().min(MOST_CHUNKS);
    let mut first = Vec::new();
    for number in (0..count).chain((0..count).rev()) {
        let entry = pack.entry(number).expect("the index was checked");
        assert_eq!(pack.find(&entry.id).expect("it can be read"), Some(entry));
        let read = reader.read(pack, &entry, 0, &mut plain).is_ok();
        let found = read.then(|| sha256(&plain));
        if first.len() < count as usize {
            first.push(found);
        } else {
            assert_eq!(first[number as usize], found, "chunk {number}");
        }
    }
}

/// Any bytes as a patch, over a base whose pages all differ.
pub fn patch(data: &[u8]) {
    let Ok(patch) = Patch::parse(data) else { return };
    let mut again = Vec::new();
    patch.append(&mut again);
    assert_eq!(Patch::parse(&again).as_ref(), Ok(&patch), "it is written as it was read");
    let mut read = |page: u64, buf: &mut [u8]| {
        for (page, bytes) in (page..).zip(buf.chunks_mut(PAGE_LEN)) {
            if page >= BASE_PAGES {
                return Err(Error::corrupt("the base ends"));
            }
            for word in bytes.chunks_mut(8) {
                word.copy_from_slice(&page.to_le_bytes()[..word.len()]);
            }
        }
        Ok(())
    };
    let _ = patch.apply(&mut read, &mut Vec::new(), &mut vec![0; BLOCK_LEN]);
}
