//! Whether `index.json`, which no digest covers, is as amikit wrote it.

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::layout::entry::former_name;
use crate::layout::entry::is_as_written;
use crate::layout::index::index_bytes;
use crate::layout::index::read_index;
use crate::layout::name::Name;
use crate::layout::oci::Descriptor;
use crate::layout::store::BlobStore;

/// Most bytes in which amikit's own file is taken to have been changed: another program's differs in almost all.
const MOST_CHANGED: usize = 64;

/// Compares `index.json` with `expected`, which is what amikit would write for the manifest `digest` alone.
///
/// Other programs rewrite the file when they carry or name a bundle, in another form, and some without the
/// checksum. Then there is nothing to compare it with, and the returned sentence says so. But a file of the
/// same length with a few other bytes is amikit's, and was changed.
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
    if found == expected {
        return Ok(None);
    }
    let mut changed =
        (0..found.len().min(expected.len())).filter(|at| found[*at] != expected[*at]).peekable();
    if let Some(&at) = changed.peek()
        && found.len() == expected.len()
        && changed.take(MOST_CHANGED.strict_add(1)).count() <= MOST_CHANGED
    {
        let text = format!("index.json has {:#04x}, expected {:#04x}", found[at], expected[at]);
        let at = u64::try_from(at).expect("at most a mebibyte");
        return Err(Error::corrupt(text).at(at).in_file(&path));
    }
    let index = read_index(store)?;
    let entries = index.manifests.iter().filter(|entry| entry.digest == digest);
    let written: Vec<_> =
        entries.filter_map(|entry| Some((entry, is_as_written(entry)?))).collect();
    if written.is_empty() {
        let note = "index.json was written by another program, without amikit's checksum: a change of \
                    the names in it would not be seen";
        return Ok(Some(note.to_owned()));
    }
    let intact: Vec<_> = written.iter().filter(|(_, intact)| *intact).map(|(it, _)| *it).collect();
    if !intact.is_empty() {
        // Under its first name or under another one: a copy has one of them, `umoci tag` leaves both.
        let former = intact.iter().map(|entry| former_name(entry)).collect::<Option<Vec<_>>>();
        return Ok(former.map(|former| renamed(intact[0], former[0])));
    }
    let text = format!(
        "the entry of sha256:{digest} in index.json is not the one that its checksum is of: its name, \
         type or size was changed"
    );
    Err(Error::corrupt(text).in_file(&path))
}

/// Says that another program gave an entry its name.
pub(crate) fn renamed(entry: &Descriptor, former: &str) -> String {
    let name = entry.reference().unwrap_or("nothing");
    format!(
        "index.json calls it {name:?}; amikit wrote it as {former:?}, and another program named it"
    )
}
