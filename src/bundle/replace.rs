//! What may stand under the name of a new bundle: nothing, or a bundle that amikit wrote and that nothing
//! was added to.

use std::collections::BTreeSet;
use std::path::Path;

use crate::bundle::Bundle;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::io::Node;
use crate::io::list;
use crate::layout;

/// Folders of a layout.
const FOLDERS: [&str; 2] = ["blobs", "blobs/sha256"];

fn refuse(path: &Path, text: impl Into<String>) -> Error {
    Error::invalid(text)
        .in_file(path)
        .advise("choose another name for the output, or remove it first")
}

/// Fails unless the folder at `path` is a bundle of one AMI and holds nothing else: then a new bundle may
/// take its place.
///
/// A marker such as `oci-layout` does not make a folder ours: it must open as a bundle, and each file in it
/// must be one that its documents name. A layout of several AMIs, or with manifests that refer to the
/// AMI's, is more than the bundle that would replace it.
///
/// # Errors
///
/// `Invalid` if it is anything else; `Io` if it cannot be read.
pub fn check_replaceable(path: &Path) -> Result<()> {
    if layout::is_store(path)? {
        return Err(Error::invalid("it is a store, which no bundle replaces")
            .in_file(path)
            .advise(format!("write into it with {}@NAME", shown(path))));
    }
    if Node::itself(path)? != Some(Node::Folder) || !Bundle::is_at(path)? {
        return Err(refuse(path, "it already exists and is not a bundle"));
    }
    // A part of a volume is a bundle of a snapshot alone, and a worker that runs again replaces its own.
    let bundle = Bundle::open_any(path, None).map_err(|error| match error.kind() {
        Kind::Io => error,
        _ => refuse(path, format!("it already exists and is not a sound bundle: {error}")),
    })?;
    let index = layout::read_index(&*bundle.store)?;
    if let Some(other) = index.manifests.iter().find(|it| it.digest != bundle.digest) {
        let text = format!(
            "it already exists and holds more than one manifest, as a signed AMI does: index.json names sha256:{} too",
            other.digest
        );
        return Err(refuse(path, text));
    }
    if index.manifests.len() > 1 {
        let count = index.manifests.len();
        let text = format!("it already exists, and index.json gives it {count} names, not one");
        return Err(refuse(path, text));
    }
    match strangers(path, &bundle)?.first() {
        Some(name) => {
            let text = format!("it already exists and holds {name:?}, which is not the bundle's");
            Err(refuse(path, text))
        }
        None => Ok(()),
    }
}

impl Bundle {
    /// Lists the files and folders that lie in the bundle's folder and are not the bundle's, as far as that can
    /// be said: of a layout of several AMIs, or of one that other manifests refer to, nothing is listed.
    ///
    /// # Errors
    ///
    /// As reading `index.json`; `Io` if the folder cannot be listed.
    pub fn strangers(&self) -> Result<Vec<String>> {
        let index = layout::read_index(&*self.store)?;
        let others = index.manifests.iter().any(|it| it.digest != self.digest);
        let is_folder = Node::at(self.path())? == Some(Node::Folder);
        if others || !is_folder || layout::is_store(self.path())? {
            Ok(Vec::new())
        } else {
            strangers(self.path(), self)
        }
    }
}

/// Lists what is in `path` and neither a folder of a layout nor a file of the bundle.
fn strangers(path: &Path, bundle: &Bundle) -> Result<Vec<String>> {
    let mut known: BTreeSet<String> =
        bundle.blobs().iter().map(|blob| layout::blob_name(&blob.digest)).collect();
    known.extend([layout::LAYOUT_NAME.to_owned(), layout::INDEX_NAME.to_owned()]);
    let mut found = Vec::new();
    for folder in ["", FOLDERS[0], FOLDERS[1]] {
        let at = path.join(folder);
        let fail = |e| Error::io("list", &at, e);
        let entries = match list(&at) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !folder.is_empty() => continue,
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            let name = Path::new(folder).join(&entry.name);
            let ours = name.to_str().is_some_and(|name| {
                entry.is_folder && FOLDERS.contains(&name) || entry.is_file && known.contains(name)
            });
            if !ours {
                found.push(name.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}
