//! Stored chunks: packs, and patches over a base.

use std::sync::Arc;

use amikit::internals::compress::Decoder;
use amikit::internals::digest::crc32;
use amikit::internals::digest::sha256;
use amikit::internals::error::Error;
use amikit::internals::io::Input;
use amikit::internals::pack::ChunkReader;
use amikit::internals::pack::Form;
use amikit::internals::pack::Pack;
use amikit::internals::pack::Patch;
use amikit::internals::pack::layout::ENTRY_LEN;
use amikit::internals::pack::layout::Entry;
use amikit::internals::pack::layout::FOOTER_LEN;
use amikit::internals::pack::layout::HEADER_LEN;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::PAGE_LEN;

use super::indexes::put;
use super::indexes::u32_at;
use super::indexes::u64_at;

/// Chunks that are decoded: half a mebibyte each.
const MOST_CHUNKS: u32 = 4;

/// Pages of the base that patches are applied over.
const BASE_PAGES: u64 = 1 << 20;

/// Makes checksums and the length of a pack right, ids of chunks that decode too, and their order.
pub fn mend_pack(bytes: &mut [u8]) {
    if bytes.len() < HEADER_LEN + 8 + FOOTER_LEN {
        return;
    }
    let (len, footer) = (bytes.len() as u64, bytes.len() - FOOTER_LEN);
    let index = usize::try_from(u64_at(bytes, footer + 8)).unwrap_or(usize::MAX);
    let count = u32_at(bytes, footer + 16) as usize;
    let end = count.checked_mul(ENTRY_LEN).and_then(|len| index.checked_add(len));
    if end == Some(footer) && index >= 8 {
        let mut entries = Vec::new();
        for (number, at) in (index..footer).step_by(ENTRY_LEN).enumerate() {
            let mut entry: [u8; ENTRY_LEN] = bytes[at..at + ENTRY_LEN].try_into().expect("one");
            if let Ok(parsed) = Entry::parse(&entry)
                && let Ok(start) = usize::try_from(parsed.offset)
                && let Some(stored) = bytes[start.min(footer)..footer].get(..parsed.len as usize)
            {
                put(&mut entry, 44, &crc32(stored).to_le_bytes());
                let mut plain = vec![0; BLOCK_LEN];
                let mut decoder = Decoder::new().expect("memory for one chunk");
                if number < MOST_CHUNKS as usize
                    && parsed.form == Form::Whole
                    && decoder.decode(stored, &mut plain).is_ok()
                {
                    put(&mut entry, 0, &sha256(&plain).0);
                }
            }
            entries.push(entry);
        }
        entries.sort_unstable();
        put(bytes, index, entries.as_flattened());
        let crc = crc32(&bytes[index..footer]);
        put(bytes, footer + 20, &crc.to_le_bytes());
        put(bytes, index - 4, &((count * ENTRY_LEN) as u32).to_le_bytes());
    }
    put(bytes, footer + 24, &len.to_le_bytes());
    let crc = crc32(&bytes[..HEADER_LEN]);
    put(bytes, footer + 32, &crc.to_le_bytes());
    let crc = crc32(&bytes[footer..footer + 52]);
    put(bytes, footer + 52, &crc.to_le_bytes());
}

/// Any bytes as a pack.
pub fn pack(data: &[u8]) {
    let mut bytes = data.to_vec();
    mend_pack(&mut bytes);
    let len = bytes.len() as u64;
    let Ok(pack) = Pack::open(Arc::new(Input::memory("pack", bytes)), 0, len) else { return };
    assert!(pack.stored_len() < pack.file_len());
    let mut reader = ChunkReader::new().expect("memory for one chunk");
    let (mut stored, mut plain) = (Vec::new(), vec![0; BLOCK_LEN]);
    for number in 0..pack.chunk_count().min(MOST_CHUNKS) {
        let entry = pack.entry(number).expect("the index was checked");
        assert_eq!(pack.find(&entry.id).expect("it can be read"), Some(entry));
        if pack.read_stored(&entry, &mut stored).is_ok() {
            let sound = reader.check_stored(&pack, &entry).is_ok();
            let decoded = reader.decode(&pack, &entry, &mut plain).is_ok();
            assert!(sound || !decoded, "chunk {number} is decoded and called damaged");
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
