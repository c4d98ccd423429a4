//! The highest version counters that a store has accepted: `docs/formats/store.md`, "Counters".
//!
//! A store that knew only the versions it holds would take an old one again once the newer is removed.

use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::digest::Digest;
use crate::digest::sha256;
use crate::error::Error;
use crate::error::Result;
use crate::io::Hold;
use crate::io::Node;
use crate::io::SharedFolder;
use crate::ops::shared::versions;
use crate::work::Watch;

/// Name of the folder in a store.
const FOLDER: &str = "counters";

/// Version of the format.
const VERSION: u32 = 1;

/// Most bytes of a record: a name has at most some hundred.
const MAX_LEN: u64 = 64 << 10;

/// The highest counter of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(in crate::ops) struct CounterRecord {
    counter: u32,
    /// What the statements call the AMI.
    pub(in crate::ops) name: String,
    /// The counter.
    pub(in crate::ops) highest: u64,
    /// Digest of the AMI that had it.
    pub(in crate::ops) digest: Digest,
}

/// Returns the name of the file of a name, which may hold any characters.
fn file_name(name: &str) -> String {
    format!("{}.json", sha256(name.as_bytes()).hex())
}

/// Returns the highest counter of a name that a store has accepted.
///
/// # Errors
///
/// `Corrupt` or `Unsupported` if the record is damaged or of another version; `Io` if the system refuses.
pub(in crate::ops) fn highest(store: &Path, name: &str) -> Result<Option<CounterRecord>> {
    let path = store.join(FOLDER);
    if Node::at(&path)? != Some(Node::Folder) {
        return Ok(None);
    }
    let file = file_name(name);
    let Some(bytes) = SharedFolder::open(&path)?.read(&file, MAX_LEN)? else { return Ok(None) };
    let fail = |error: Error| error.in_file(&path.join(&file));
    let found: CounterRecord =
        versions::read(&bytes, "record of a counter", "Counter", VERSION).map_err(fail)?;
    if found.name != name {
        return Err(fail(Error::corrupt("it is about another name than its own says")));
    }
    Ok(Some(found))
}

/// Writes down a counter that a store has accepted, if it is the highest one. It is on the disk when this returns.
///
/// # Errors
///
/// As [`highest`]; `Io` if the system refuses; `Interrupted` on request.
#[cfg_attr(not(feature = "network"), allow(dead_code, reason = "only what is pulled raises it"))]
pub(in crate::ops) fn raise(
    store: &Path,
    name: &str,
    counter: u64,
    digest: Digest,
    watch: &dyn Watch,
) -> Result<()> {
    let path = store.join(FOLDER);
    if Node::at(&path)?.is_none() {
        let around = SharedFolder::open(store)?;
        around.make_dir(FOLDER)?;
        around.sync("")?;
    }
    let folder = SharedFolder::open(&path)?;
    let _lock = folder.lock("lock", Hold::Alone, watch)?;
    if highest(store, name)?.is_some_and(|it| it.highest >= counter) {
        return Ok(());
    }
    let record =
        CounterRecord { counter: VERSION, name: name.to_owned(), highest: counter, digest };
    let mut text = serde_json::to_vec_pretty(&record).expect("plain data always serialises");
    text.push(b'\n');
    folder.replace(&file_name(name), &text, || Ok(true)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::error::Kind;

    use std::fs;

    use crate::work::Unwatched;

    #[test]
    fn a_counter_only_rises_and_each_name_has_its_own() {
        let store = tempfile::tempdir().unwrap();
        let at = |name: &str| highest(store.path(), name).unwrap().map(|it| it.highest);
        assert_eq!(at("web"), None);
        for (counter, expected) in [(3, 3), (7, 7), (5, 7), (7, 7)] {
            raise(store.path(), "web", counter, sha256(b"a"), &Unwatched).unwrap();
            assert_eq!(at("web"), Some(expected));
        }
        raise(store.path(), "../web", 1, sha256(b"b"), &Unwatched).unwrap();
        assert_eq!((at("../web"), at("web"), at("other")), (Some(1), Some(7), None));
        assert_eq!(highest(store.path(), "web").unwrap().unwrap().digest, sha256(b"a"));
    }

    #[test]
    fn a_damaged_record_is_named_and_not_taken_for_none() {
        let store = tempfile::tempdir().unwrap();
        raise(store.path(), "web", 3, sha256(b"a"), &Unwatched).unwrap();
        let path = store.path().join(FOLDER).join(file_name("web"));
        let text = fs::read_to_string(&path).unwrap();
        for (from, to, kind) in [
            ("\"Counter\": 1", "\"Counter\": 2", Kind::Unsupported),
            ("\"web\"", "\"other\"", Kind::Corrupt),
            ("\"Highest\": 3", "\"Highest\": -3", Kind::Corrupt),
            ("{", "", Kind::Corrupt),
        ] {
            fs::write(&path, text.replace(from, to)).unwrap();
            let error = highest(store.path(), "web").unwrap_err();
            assert_eq!((error.kind(), error.path()), (kind, Some(&*path)), "{to}");
            assert!(raise(store.path(), "web", 9, sha256(b"b"), &Unwatched).is_err());
        }
    }
}
