//! Files of amikit's own that are looked into where they lie: manifests and page indexes. Their checksums
//! and digests are made right, or every change would end at the first of them.

use amikit::internals::delta::PageIndex;
use amikit::internals::digest::Digest;
use amikit::internals::digest::crc32;
use amikit::internals::digest::sha256;
use amikit::internals::io::Input;
use amikit::internals::manifest::Manifest;
use amikit::internals::manifest::changes;
use amikit::internals::manifest::layout::ENTRY_LEN;
use amikit::internals::manifest::layout::Entry;
use amikit::internals::manifest::layout::HEADER_LEN;
use amikit::internals::manifest::layout::Root;
use amikit::internals::units::BlockIndex;

/// Runs and blocks that are looked at: a volume can have millions.
const MOST: usize = 1000;

pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// Makes checksums, digests and the length of a manifest right, as far as its table can be read.
pub fn mend_manifest(bytes: &mut [u8]) {
    if bytes.len() < HEADER_LEN {
        return;
    }
    let len = bytes.len() as u64;
    put(bytes, 72, &len.to_le_bytes());
    let table = usize::try_from(u64_at(bytes, 64)).unwrap_or(usize::MAX);
    let count = u32_at(bytes, 28) as usize;
    let mut root = Root::new(u64_at(bytes, 32));
    let end = count.checked_mul(ENTRY_LEN).and_then(|len| table.checked_add(len));
    if let Some(end) = end.filter(|end| *end <= bytes.len() && table >= HEADER_LEN) {
        for at in (table..end).step_by(ENTRY_LEN) {
            let entry = bytes[at..at + ENTRY_LEN].try_into().expect("an entry");
            let Ok(entry) = Entry::parse(&entry) else { continue };
            let start = usize::try_from(entry.offset).unwrap_or(usize::MAX);
            let inside = start.checked_add(entry.group_len()).filter(|end| *end <= bytes.len());
            if let Some(end) = inside {
                let group = bytes[start..end].to_vec();
                put(bytes, at + 16, &crc32(&group).to_le_bytes());
                put(bytes, at + 32, &sha256(&group).0);
            }
            let digest: [u8; 32] = bytes[at + 32..at + 64].try_into().expect("a digest");
            root.group(entry.group, &Digest(digest));
        }
        let crc = crc32(&bytes[table..end]);
        put(bytes, 144, &crc.to_le_bytes());
    }
    put(bytes, 80, &root.finish().0);
    let crc = crc32(&bytes[..HEADER_LEN - 4]);
    put(bytes, HEADER_LEN - 4, &crc.to_le_bytes());
}

/// Any bytes as a snapshot manifest.
pub fn manifest(data: &[u8]) {
    let mut bytes = data.to_vec();
    mend_manifest(&mut bytes);
    let Ok(manifest) = Manifest::open(&Input::memory("manifest", bytes)) else { return };
    for entry in manifest.entries() {
        let entry = entry.expect("the table was checked");
        let _ = manifest.group(&entry);
        let _ = manifest.verified_group(&entry);
    }
    let mut next = BlockIndex(0);
    for _ in 0..MOST {
        if next.0 >= manifest.block_count() {
            break;
        }
        let Ok((kind, end)) = manifest.run_at(next) else { break };
        assert!(end > next && end.0 <= manifest.block_count());
        let block = manifest.block(next).expect("its run could be read");
        assert_eq!(block.kind(), kind);
        next = end;
    }
    if manifest.verify().is_ok() {
        assert!(changes(&manifest, &manifest).next().is_none(), "it differs from itself");
    }
}

/// Any bytes as the page index of a base.
pub fn page_index(data: &[u8]) {
    const HEADER: usize = 80;
    let mut bytes = data.to_vec();
    if bytes.len() < HEADER {
        return;
    }
    let crc = crc32(&bytes[HEADER..]);
    put(&mut bytes, 56, &crc.to_le_bytes());
    let crc = crc32(&bytes[..HEADER - 4]);
    put(&mut bytes, HEADER - 4, &crc.to_le_bytes());
    let root = Digest(bytes[24..56].try_into().expect("a digest"));
    if let Ok(index) = PageIndex::open(&Input::memory("index", bytes), root) {
        let len = index.len();
        assert_eq!(len == 0, index.is_empty());
    }
}
