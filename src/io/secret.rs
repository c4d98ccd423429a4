//! Files that nobody else may see: private keys.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::setrlimit;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::io::Opened;
use crate::io::ReadAt;
use crate::io::open;
use crate::io::read_vec;
use crate::io::system::hide_memory;
use crate::work::Watch;

/// Permissions of others than the owner.
const OTHERS: u32 = 0o077;

/// Reads a file of at most `most` bytes that its owner alone may read, or what comes through a pipe.
/// From here on the process leaves no core file, and is not to be looked into by a debugger of the same
/// user.
///
/// # Errors
///
/// `Invalid` if others may read the file; `Limit` if it is longer; `Io` if the system refuses.
pub fn read_secret(path: &Path, most: u64, watch: &dyn Watch) -> Result<Vec<u8>> {
    let opened = open(path)?;
    if let Opened::File(_) = &opened {
        let mode = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
        let mode = mode.permissions().mode();
        if mode & OTHERS != 0 {
            let text = format!("others can use this file: its mode is {:04o}", mode & 0o7777);
            let advice = format!("chmod 600 {}", shown(path));
            return Err(Error::invalid(text).in_file(path).advise(advice));
        }
    }
    forbid_core_dumps().map_err(|e| Error::io("forbid core dumps before reading", path, e))?;
    let long = || {
        let text = format!("it is over {most} bytes, expected a key");
        Error::new(Kind::Limit, text).in_file(path)
    };
    match opened {
        Opened::File(input) if input.len() > most => Err(long()),
        Opened::File(input) => read_vec(&input, 0, input.len()),
        Opened::Stream(mut stream) => {
            let room = usize::try_from(most.saturating_add(1)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; room];
            let len = stream.read_full(&mut bytes, watch)?;
            if len == room {
                return Err(long());
            }
            bytes.truncate(len);
            Ok(bytes)
        }
    }
}

/// Makes the kernel write no core file of this process, wherever it would go.
fn forbid_core_dumps() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    hide_memory()
}
