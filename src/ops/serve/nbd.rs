//! `serve nbd`: volumes as network block devices.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;

use crate::error::Error;
use crate::error::Result;
use crate::ops::serve::listen::ListenOn;
use crate::ops::shared::exports::exports;
use crate::ops::shared::open::VolumeRequest;
use crate::serve::Address;
use crate::serve::Listener;
use crate::serve::nbd;
use crate::serve::nbd::DEFAULT_CONNECTIONS;
use crate::serve::nbd::Event;
use crate::serve::nbd::Served;
use crate::work::Watch;

/// Bytes of unpacked blocks that are kept for each volume, unless the request says otherwise.
pub const DEFAULT_CACHE: u64 = 4 << 30;

/// What to serve as network block devices.
#[derive(Clone, Debug)]
pub struct NbdRequest {
    /// The volume; a bundle stands for all of its volumes.
    pub volume: VolumeRequest,
    /// Where to listen.
    pub listen: ListenOn,
    /// Bytes of unpacked blocks to keep, in a file without a name, for each volume that is stored packed.
    pub cache: u64,
    /// Most connections at a time.
    pub connections: usize,
}

impl NbdRequest {
    /// Asks for a volume on a private socket.
    #[must_use]
    pub fn new(volume: VolumeRequest) -> Self {
        Self {
            volume,
            listen: ListenOn::default(),
            cache: DEFAULT_CACHE,
            connections: DEFAULT_CONNECTIONS,
        }
    }
}

/// What is served, and where: known before the first peer connects.
#[derive(Clone, Debug, Serialize)]
pub struct Listening {
    /// Each export, the default one first.
    pub exports: Vec<ListedExport>,
    /// Whether only this machine can connect.
    pub local: bool,
    /// What the user should hear although nothing failed.
    pub notes: Vec<String>,
}

/// An export and how a client names it.
#[derive(Clone, Debug, Serialize)]
pub struct ListedExport {
    /// Its name, empty for the default one.
    pub name: String,
    /// The NBD URI.
    pub uri: String,
    /// Bytes of the volume.
    pub size_bytes: u64,
    /// What it is.
    pub description: String,
}

/// Serves a volume, or all of a bundle's, as network block devices, until `watch` says to stop.
///
/// `ready` hears where, once peers can connect; `hear` hears what becomes of them.
///
/// # Errors
///
/// As [`crate::ops::open`]; `Invalid` if the socket's name is taken; `Io` if the system refuses, or if an image was changed
/// meanwhile; whatever `ready` returns.
pub fn nbd(
    request: &NbdRequest,
    watch: &dyn Watch,
    ready: &mut dyn FnMut(&Listening) -> Result<()>,
    hear: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Served> {
    let mut notes = Vec::new();
    let exports = exports(&request.volume, request.cache, watch, &mut notes)?;
    // Removed, with the socket in it, when this returns.
    let only_owner = Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().prefix("amikit-").permissions(only_owner).tempdir();
    let listener = match &request.listen {
        ListenOn::Socket(path) => Listener::bind(Address::Unix(path.clone()))?,
        ListenOn::Tcp(address) => Listener::bind(Address::Tcp(*address))?,
        ListenOn::Private => {
            if let Some(listener) = Listener::activated()? {
                listener
            } else {
                let folder = folder.as_ref().map_err(|e| {
                    let error = std::io::Error::new(e.kind(), e.to_string());
                    Error::io("make a folder in", &std::env::temp_dir(), error)
                })?;
                Listener::bind(Address::Unix(folder.path().join("nbd.sock")))?
            }
        }
    };
    let listed = exports.iter().map(|export| ListedExport {
        name: export.name.clone(),
        uri: uri(listener.address(), &export.name),
        size_bytes: export.volume.size(),
        description: export.description.clone(),
    });
    let local = listener.address().is_local();
    ready(&Listening { exports: listed.collect(), local, notes })?;
    let served = nbd::serve(&listener, &exports, request.connections, watch, hear)?;
    exports.iter().try_for_each(|export| export.volume.check_unchanged())?;
    Ok(served)
}

/// Returns the URI of an export, as the NBD project defines it.
fn uri(address: &Address, name: &str) -> String {
    let name = percent_encoded(name.as_bytes());
    match address {
        Address::Tcp(address) => format!("nbd://{address}/{name}"),
        Address::Unix(path) => format!("nbd+unix:///{name}?socket={}", path_of(path)),
    }
}

fn path_of(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    // Clients have folders of their own: the name must mean the same in all of them.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    percent_encoded(path.as_os_str().as_bytes())
}

fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(*byte));
            }
            _ => {
                text.push('%');
                for half in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(u32::from(half), 16).expect("four bits");
                    text.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_escapes_what_is_not_plain() {
        let unix = |path: &str| uri(&Address::Unix(path.into()), "");
        assert_eq!(unix("/run/a b&c.sock"), "nbd+unix:///?socket=/run/a%20b%26c.sock");
        let tcp = Address::Tcp("[::1]:10809".parse().unwrap());
        assert_eq!(uri(&tcp, "sd f"), "nbd://[::1]:10809/sd%20f");
    }
}
