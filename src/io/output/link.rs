//! Outputs whose name is a link.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::io::system::lists_open_files;

/// Most links that are followed, as in the kernel.
const MOST: usize = 40;

/// Follows links from `path` to the file or folder that they lead to. What is not there at all, and what is
/// not a link, is returned as it is.
///
/// A link in `/proc` leads to something open that may have no name, as `/dev/stdout` does: there is nothing
/// that could be replaced.
///
/// # Errors
///
/// `Invalid` if they lead to nothing, or into `/proc`; `Io` if one cannot be read.
pub(super) fn followed(path: &Path) -> Result<PathBuf> {
    let refuse = |text: &str| {
        let advice = "name the file itself, or choose another name for the output";
        Err(Error::invalid(text).in_file(path).advise(advice))
    };
    let mut at = path.to_owned();
    for count in 0..MOST {
        let meta = match fs::symlink_metadata(&at) {
            Ok(meta) => meta,
            Err(e) if is_absent(&e) && count > 0 => {
                return refuse("it is a link to a file that does not exist");
            }
            // Opening the folder around it will report what is wrong.
            Err(_) => return Ok(at),
        };
        if !meta.is_symlink() {
            return Ok(at);
        }
        let folder = at.parent().filter(|it| !it.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        if lists_open_files(folder).map_err(|e| Error::io("look at", path, e))? {
            return refuse("it is a link to an open file of a process, expected a name");
        }
        let next = fs::read_link(&at).map_err(|e| Error::io("follow the link", path, e))?;
        at = folder.join(next);
    }
    refuse("it is a link that leads through too many others")
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
