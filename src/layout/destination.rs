//! Where a bundle goes: to a path of its own, or under a name into a store.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::io::Node;
use crate::layout::reference::is_reference_name;
use crate::layout::reference::reference_name;
use crate::layout::shared::is_store;

/// What says that a store is meant, also one that is not there yet.
const PREFIX: &[u8] = b"store:";

/// Where a bundle goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A folder or an archive of its own.
    Path(PathBuf),
    /// Under a name into a store.
    Store {
        /// The store.
        store: PathBuf,
        /// The name.
        name: String,
    },
}

impl Destination {
    /// Takes apart what a user typed: `STORE@NAME` if that is a store, `store:STORE@NAME`, or a path. What exists as
    /// it is written is a path.
    ///
    /// # Errors
    ///
    /// `Invalid` for a name that OCI clients do not take; `Io` if the system does not say what is there.
    pub fn parse(typed: &Path) -> Result<Self> {
        let bytes = typed.as_os_str().as_bytes();
        if let Some(rest) = bytes.strip_prefix(PREFIX)
            && Node::itself(typed)?.is_none()
        {
            let Some((store, name)) = split(rest) else {
                let text = "it names a store and no AMI in it, expected store:STORE@NAME";
                return Err(Error::invalid(text).in_file(typed));
            };
            return in_store(store, name, typed);
        }
        match split(bytes) {
            Some((store, name)) if Node::itself(typed)?.is_none() && is_store(store)? => {
                in_store(store, name, typed)
            }
            _ => Ok(Self::Path(typed.to_owned())),
        }
    }
}

/// Splits at the last `@`.
fn split(bytes: &[u8]) -> Option<(&Path, &[u8])> {
    let at = bytes.iter().rposition(|byte| *byte == b'@').filter(|at| *at > 0)?;
    Some((Path::new(OsStr::from_bytes(&bytes[..at])), &bytes[at.strict_add(1)..]))
}

fn in_store(store: &Path, name: &[u8], typed: &Path) -> Result<Destination> {
    let name = String::from_utf8_lossy(name).into_owned();
    if is_reference_name(&name) {
        return Ok(Destination::Store { store: store.to_owned(), name });
    }
    let text = format!("OCI clients do not accept the name {name:?}");
    let other = reference_name(&name);
    Err(Error::invalid(text).in_file(typed).advise(format!("call it {other}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::layout::shared::MARKER;
    use crate::layout::shared::MARKER_TEXT;

    #[test]
    fn a_name_goes_into_a_store_only_if_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let here = |name: &str| dir.path().join(name);
        std::fs::create_dir(here("store")).unwrap();
        std::fs::create_dir(here("folder")).unwrap();
        std::fs::write(here("store").join(MARKER), MARKER_TEXT).unwrap();
        std::fs::write(here("store@there"), "").unwrap();
        let parse = |name: &str| Destination::parse(&here(name));
        let path = |name: &str| Destination::Path(here(name));
        let store = Destination::Store { store: here("store"), name: "web-1.2".into() };
        assert_eq!(parse("store@web-1.2").unwrap(), store);
        for plain in ["store@there", "folder@web", "store", "none@web", "@web"] {
            assert_eq!(parse(plain).unwrap(), path(plain), "{plain}");
        }
        for bad in ["store@", "store@a__b", "store@web:/dev/sdf", "store@-a"] {
            parse(bad).unwrap_err();
        }
        let typed = |name: &str| Destination::parse(Path::new(name));
        let new = Destination::Store { store: "none".into(), name: "a".into() };
        assert_eq!(typed("store:none@a").unwrap(), new);
        typed("store:none").unwrap_err();
    }
}
