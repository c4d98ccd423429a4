//! The gate for files that an image names: no byte of an image becomes a path that is opened, unless
//! the user said so.

use std::ffi::OsStr;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Input;
use crate::io::Node;

/// Most images below one another.
pub const MAX_DEPTH: usize = 64;

/// What the user lets an image name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Files that lie in the image's own folder may be opened by the names that it gives.
    pub beside: bool,
    /// Files that stand for those that images name, whatever the names: the first for the image
    /// that the user named, the next for that one's, and so on. An image of many files takes as
    /// many, in its own order.
    pub parents: Vec<PathBuf>,
}

impl Gate {
    /// Opens the file that an image names. `what` says what it is to it (a backing file, an extent),
    /// and `depth` how many images lie above it, 0 for what the user's own image names.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the user does not let it, naming the file and the way to let it; `Limit` if
    /// the chain is too deep; as [`Input::open`] otherwise.
    pub fn open(
        &self,
        image: &Path,
        what: &'static str,
        name: &str,
        depth: usize,
    ) -> Result<Arc<Input>> {
        if depth >= MAX_DEPTH {
            let text = format!("the chain is over {MAX_DEPTH} images deep");
            return Err(Error::new(Kind::Limit, text).in_file(image));
        }
        self.open_part(image, what, name, depth)
    }

    /// Opens the file that an image names, where one image may name many beside one another: `number`
    /// counts the files that were named before it. How many there may be is the format's to say.
    ///
    /// # Errors
    ///
    /// As [`Gate::open`], but for the chain.
    pub fn open_part(
        &self,
        image: &Path,
        what: &'static str,
        name: &str,
        number: usize,
    ) -> Result<Arc<Input>> {
        if let Some(parent) = self.parents.get(number) {
            return Input::open(parent).map(Arc::new);
        }
        let refused = |why: &str| {
            Error::new(Kind::Unsupported, format!("it names the {what} {name:?}, {why}"))
                .in_file(image)
        };
        if !self.beside {
            return Err(refused("and a file that an image names is opened only on request")
                .advise(Advice::NameBacking));
        }
        let Some(name) = plain_name(name) else {
            return Err(refused("expected a plain name in the image's own folder")
                .advise(Advice::NameParent));
        };
        let path = image.parent().unwrap_or(Path::new("")).join(name);
        // A link could lead out of the folder.
        if Node::itself(&path)? == Some(Node::Link) {
            return Err(refused("which is a link").advise(Advice::NameParent));
        }
        Input::open(&path).map(Arc::new)
    }
}

/// Returns a name that is one component and no scheme of anybody's.
fn plain_name(name: &str) -> Option<&OsStr> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(plain)), None)
            if plain == name && !name.contains([':', '\\', '\0']) =>
        {
            Some(plain)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        for good in ["base.qcow2", "a b", "..c"] {
            assert!(plain_name(good).is_some(), "{good}");
        }
        let bad = ["", ".", "..", "/etc/passwd", "../a", "a/b", "a/", "nbd://x", "json:{}", "a\\b"];
        for bad in bad {
            assert!(plain_name(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_opened_only_as_the_user_lets_it() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("top");
        std::fs::write(folder.path().join("base"), b"base").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let closed = Gate::default().open(&image, "backing file", "base", 0).unwrap_err();
        assert_eq!(closed.kind(), Kind::Unsupported);
        assert_eq!(closed.advice(), Some(&Advice::NameBacking));
        let beside = Gate { beside: true, parents: Vec::new() };
        beside.open(&image, "backing file", "base", 0).unwrap();
        assert!(beside.open(&image, "backing file", "link", 0).is_err());
        assert!(beside.open(&image, "backing file", "../base", 0).is_err());
        let named = Gate { beside: false, parents: vec![folder.path().join("base")] };
        named.open(&image, "backing file", "/any/where", 0).unwrap();
        assert!(named.open(&image, "backing file", "base", 1).is_err());
        let deep = beside.open(&image, "backing file", "base", MAX_DEPTH).unwrap_err();
        assert_eq!(deep.kind(), Kind::Limit);
    }
}
