//! Whether `index.json`, which no digest covers, is as amikit wrote it.

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::layout::entry::is_as_written;
use crate::layout::index::index_bytes;
use crate::layout::index::read_index;
use crate::layout::name::Name;
use crate::layout::store::BlobStore;

/// Compares `index.json` with `expected`, which is what amikit would write for the manifest `digest` alone.
///
/// Other programs rewrite the file when they carry or name a bundle, in another form and mostly without the
/// checksum. Then there is nothing to compare it with, and the returned sentence says so. But none of them
/// keeps its length: a file of that length with other bytes is amikit's, and was changed.
///
/// # Errors
///
/// `Corrupt` if it changed since amikit wrote it; as [`read_index`].
pub(crate) fn check_index(
    store: &dyn BlobStore,
    digest: Digest,
    expected: &[u8],
) -> Result<Option<String>> {
    let path = store.path_of(Name::Index);
    let found = index_bytes(store)?;
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if found.len() == expected.len() {
        let Some(at) = differs else { return Ok(None) };
        let text = format!("index.json has {:#04x}, expected {:#04x}", found[at], expected[at]);
        let at = u64::try_from(at).expect("at most a mebibyte");
        return Err(Error::corrupt(text).at(at).in_file(&path));
    }
    let index = read_index(store)?;
    let entries = index.manifests.iter().filter(|entry| entry.digest == digest);
    let mut written = entries.filter_map(is_as_written).peekable();
    if written.peek().is_none() {
        let note = "index.json was written by another program, without amikit's checksum: a change of \
                    the names in it would not be seen";
        return Ok(Some(note.to_owned()));
    }
    if written.any(|intact| intact) {
        return Ok(None);
    }
    let text = format!(
        "the entry of sha256:{digest} in index.json is not the one that its checksum is of: its name, \
         type or size was changed"
    );
    Err(Error::corrupt(text).in_file(&path))
}
