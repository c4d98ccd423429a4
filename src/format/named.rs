//! What a user can type for a volume, an AMI or an image: one grammar.
//!
//! ```text
//! PATH               a file or a folder
//! PATH:INSIDE        a member of an archive, or a device of a bundle
//! PATH@AMI           one of several AMIs in an OCI layout, by its name
//! PATH@AMI:DEVICE    a device of it
//! -                  standard input
//! ```
//!
//! What exists as it is written wins; else the longest part of it that exists is the path.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use std::ffi::OsStr;

use crate::io::Node;

/// The name of an AMI in a layout: runs of letters and digits, joined by single separators.
fn is_ami_name(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .split(|byte| matches!(byte, b'.' | b'_' | b'-'))
            .all(|run| !run.is_empty() && run.iter().all(u8::is_ascii_alphanumeric))
}

/// What was typed, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The file or folder; `-` for standard input.
    pub path: PathBuf,
    /// The name of an AMI in it.
    pub ami: Option<String>,
    /// A member of the archive, or a device of the bundle.
    pub inside: Option<String>,
}

impl Named {
    /// Takes a name apart, by what there is in the file system.
    #[must_use]
    pub fn parse(typed: &Path) -> Self {
        let whole = || Self { path: typed.to_owned(), ami: None, inside: None };
        if typed.as_os_str() == "-" || exists(typed) {
            return whole();
        }
        let bytes = typed.as_os_str().as_bytes();
        for at in (1..bytes.len()).rev() {
            if !matches!(bytes[at], b':' | b'@') {
                continue;
            }
            let path = Path::new(OsStr::from_bytes(&bytes[..at]));
            let Ok(rest) = std::str::from_utf8(&bytes[at.strict_add(1)..]) else { continue };
            if rest.is_empty() || !exists(path) {
                continue;
            }
            let path = path.to_owned();
            if bytes[at] == b':' {
                return Self { path, ami: None, inside: Some(rest.to_owned()) };
            }
            let (ami, inside) = match rest.split_once(':') {
                Some((ami, inside)) => (ami, Some(inside.to_owned())),
                None => (rest, None),
            };
            if is_ami_name(ami.as_bytes()) {
                return Self { path, ami: Some(ami.to_owned()), inside };
            }
        }
        whole()
    }

    /// Tells whether it is standard input.
    #[must_use]
    pub fn is_standard_input(&self) -> bool {
        self.path.as_os_str() == "-"
    }
}

/// Tells whether there is something of that name, a broken link too: then it is meant. So it is where the
/// system does not say: opening it tells why.
fn exists(path: &Path) -> bool {
    !matches!(Node::itself(path), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str, ami: Option<&str>, inside: Option<&str>) -> Named {
        Named { path: path.into(), ami: ami.map(str::to_owned), inside: inside.map(str::to_owned) }
    }

    /// Each form, beside what exists as it is written.
    #[test]
    fn what_exists_wins_and_else_the_longest_part_that_does() {
        let folder = tempfile::tempdir().unwrap();
        let here = |name: &str| folder.path().join(name);
        let text = |name: &str| here(name).to_str().unwrap().to_owned();
        for name in ["a", "a:b", "whole:x@y:z", "store"] {
            std::fs::write(here(name), b"").unwrap();
        }
        let cases = [
            ("a", named(&text("a"), None, None)),
            ("a:b", named(&text("a:b"), None, None)),
            ("a:c", named(&text("a"), None, Some("c"))),
            ("a:b:/dev/sdf", named(&text("a:b"), None, Some("/dev/sdf"))),
            ("a:./c/d:e", named(&text("a"), None, Some("./c/d:e"))),
            ("whole:x@y:z", named(&text("whole:x@y:z"), None, None)),
            ("store@web-1.2", named(&text("store"), Some("web-1.2"), None)),
            ("store@web:/dev/sdf", named(&text("store"), Some("web"), Some("/dev/sdf"))),
            ("store@a--b", named(&text("store@a--b"), None, None)),
            ("none:x", named(&text("none:x"), None, None)),
            ("a:", named(&text("a:"), None, None)),
        ];
        for (typed, expected) in cases {
            assert_eq!(Named::parse(&here(typed)), expected, "{typed}");
        }
        assert!(Named::parse(Path::new("-")).is_standard_input());
    }
}
