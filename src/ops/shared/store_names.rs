//! What a user names in a store.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::shown;
use crate::io::Node;
use crate::layout::Catalog;
use crate::layout::Destination;
use crate::layout::Entry;
use crate::layout::is_store;
use crate::layout::not_a_store;
use crate::ops::shared::order::is_bundle;

/// Takes `STORE@NAME` apart. Other programs may have given names that amikit would not: what follows the store is the
/// name, whatever it is.
///
/// # Errors
///
/// `Invalid` for what is not a store, or has no name, `Io` if there is nothing.
pub(in crate::ops) fn split(typed: &Path) -> Result<(PathBuf, String)> {
    let bytes = typed.as_os_str().as_bytes();
    for at in (1..bytes.len()).filter(|at| bytes[*at] == b'@') {
        let store = Path::new(OsStr::from_bytes(&bytes[..at]));
        if is_store(store)? {
            let name = String::from_utf8_lossy(&bytes[at.strict_add(1)..]).into_owned();
            return Ok((store.to_owned(), name));
        }
    }
    if is_store(typed)? {
        let text = "it is a store, expected the name of an AMI in it";
        let example = format!("{}@web", shown(typed));
        return Err(Error::invalid(text).in_file(typed).advise(Advice::NameAmi { example }));
    }
    let at = bytes.iter().rposition(|byte| *byte == b'@').unwrap_or(bytes.len());
    let store = Path::new(OsStr::from_bytes(&bytes[..at]));
    if Node::at(typed)?.is_none() && Node::at(store)?.is_none() {
        return Err(Error::nothing_at(typed, "STORE@NAME"));
    }
    let what = if is_bundle(typed) { "it is a bundle" } else { "there is no such store" };
    Err(Error::invalid(format!("{what}, expected STORE@NAME")).in_file(typed))
}

/// Returns the entry of a name.
///
/// # Errors
///
/// `Invalid`, with names that there are.
pub(in crate::ops) fn entry<'a>(
    catalog: &'a Catalog,
    store: &Path,
    name: &str,
) -> Result<&'a Entry> {
    catalog.find(name).ok_or_else(|| {
        let names: Vec<&str> = catalog.entries.iter().filter_map(Entry::name).take(10).collect();
        let there = if names.is_empty() { "no names".to_owned() } else { names.join(", ") };
        let more = if catalog.entries.len() > names.len() { ", ..." } else { "" };
        Error::invalid(format!("it has nothing called {name:?}, it has {there}{more}"))
            .in_file(store)
    })
}

/// Where something is added: a store, and the name if one was typed.
pub(in crate::ops) fn target(typed: &Path) -> Result<(PathBuf, Option<String>)> {
    match Destination::parse(typed)? {
        Destination::Store { store, name } => Ok((store, Some(name))),
        Destination::Path(path) if is_store(&path)? => Ok((path, None)),
        Destination::Path(path) => Err(not_a_store(&path)),
    }
}

/// Returns what a user types for a name in a store.
pub(in crate::ops) fn typed(store: &Path, name: &str) -> PathBuf {
    let mut text = store.as_os_str().to_owned();
    text.push("@");
    text.push(name);
    text.into()
}

/// As [`typed`], and no file of that name is meant instead.
pub(in crate::ops) fn for_output(store: &Path, name: &str) -> PathBuf {
    let mut text = std::ffi::OsString::from("store:");
    text.push(typed(store, name));
    text.into()
}
