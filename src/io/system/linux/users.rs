//! Who else may write to a file, as `/proc` and `/sys` have it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::fs::major;
use rustix::fs::minor;

use crate::io::listing::list;

/// Bits of the open flags that say how a file was opened, and the value that means reading only.
const ACCESS_MODE: u32 = 3;

/// How long a process must have the file open to count.
const SECOND_LOOK: Duration = Duration::from_millis(20);

/// What follows the name of a file that has lost it, in the kernel's lists.
const DELETED: &str = " (deleted)";

/// Names the processes, other than this one, and the loop devices that may write to a file, which is given by its
/// device and its inode.
pub(in crate::io) fn writers_of(file: (u64, u64)) -> Vec<String> {
    let mut found = loop_devices_over(file);
    found.extend(processes_with(file));
    found
}

/// Names the processes that have a file open or mapped for writing.
fn processes_with(file: (u64, u64)) -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for process in list(Path::new("/proc")).unwrap_or_default() {
        let Some(id) = process.name.to_str().filter(|id| id.bytes().all(|b| b.is_ascii_digit()))
        else {
            continue;
        };
        let path = Path::new("/proc").join(id);
        if id != own && may_write(&path, file) {
            found.push((path, id.to_owned()));
        }
    }
    if found.is_empty() {
        return Vec::new();
    }
    // A process that is just being started holds the files of the one that starts it, for a moment.
    thread::sleep(SECOND_LOOK);
    found.retain(|(process, _)| may_write(process, file));
    let name = |(process, id): (PathBuf, String)| {
        let program = fs::read_to_string(process.join("comm")).unwrap_or_default();
        format!("process {id} ({})", program.trim_end().escape_debug())
    };
    found.into_iter().map(name).collect()
}

fn may_write(process: &Path, file: (u64, u64)) -> bool {
    has_open(process, file) || has_mapped(process, file)
}

/// Tells whether the process behind a folder of `/proc` has the file open for writing.
fn has_open(process: &Path, file: (u64, u64)) -> bool {
    let Ok(open) = list(&process.join("fd")) else { return false };
    open.into_iter().any(|it| {
        let same = fs::metadata(process.join("fd").join(&it.name))
            .is_ok_and(|meta| meta.is_file() && (meta.dev(), meta.ino()) == file);
        same && fs::read_to_string(process.join("fdinfo").join(&it.name))
            .ok()
            .and_then(|info| {
                let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
                u32::from_str_radix(flags.trim(), 8).ok()
            })
            .is_some_and(|flags| flags & ACCESS_MODE != 0)
    })
}

/// Tells whether the process behind a folder of `/proc` has the file mapped, shared and for writing: that
/// outlives the descriptor.
fn has_mapped(process: &Path, file: (u64, u64)) -> bool {
    let Ok(maps) = read_lossy(&process.join("maps")) else { return false };
    maps.lines().filter_map(Mapping::parse).any(|map| {
        let same_device = map.device == (major(file.0), minor(file.0));
        map.inode == file.1 && (same_device || is_at(map.path, file))
    })
}

/// Reads a file of the kernel's, which may have names in it that are not text.
fn read_lossy(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// A shared mapping that can be written.
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'a> {
    device: (u32, u32),
    inode: u64,
    path: &'a str,
}

impl<'a> Mapping<'a> {
    /// Reads a line of `/proc/PID/maps`: `START-END rw-s OFFSET MAJOR:MINOR INODE PATH`. `None` for one that
    /// is private, or read only.
    fn parse(line: &'a str) -> Option<Self> {
        let mut rest = line;
        let mut next = || {
            let (word, more) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = more.trim_start();
            word
        };
        let (_, rights, _, device, inode) = (next(), next(), next(), next(), next());
        let shared = rights.as_bytes().get(1) == Some(&b'w') && rights.ends_with('s');
        let (high, low) = device.split_once(':').filter(|_| shared)?;
        let number = |text| u32::from_str_radix(text, 16).ok();
        Some(Self { device: (number(high)?, number(low)?), inode: inode.parse().ok()?, path: rest })
    }
}

/// Tells whether a file has a name, as far as that can be said: some file systems show another device for it
/// than the one they are on.
fn is_at(path: &str, file: (u64, u64)) -> bool {
    fs::metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == file)
}

/// Names the loop devices that can write to a file.
fn loop_devices_over(file: (u64, u64)) -> Vec<String> {
    let folder = Path::new("/sys/block");
    let mut found = Vec::new();
    for device in list(folder).unwrap_or_default() {
        let Some(name) = device.name.to_str().filter(|name| name.starts_with("loop")) else {
            continue;
        };
        let Ok(backing) = read_lossy(&folder.join(name).join("loop/backing_file")) else {
            continue;
        };
        let read_only = fs::read(folder.join(name).join("ro")).is_ok_and(|it| it == b"1\n");
        let backing = backing.trim_end_matches('\n');
        if !read_only && is_at(backing.strip_suffix(DELETED).unwrap_or(backing), file) {
            found.push(format!("the loop device /dev/{name}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mappings_that_are_shared_and_can_be_written_count() {
        let line = "7f1c-7f1d rw-s 00000000 fd:01 1234                       /srv/a b.raw";
        let expected = Mapping { device: (0xfd, 1), inode: 1234, path: "/srv/a b.raw" };
        assert_eq!(Mapping::parse(line), Some(expected));
        for other in ["rw-p", "r--s", "r-xp", "---s"] {
            assert_eq!(Mapping::parse(&line.replace("rw-s", other)), None, "{other}");
        }
        for broken in ["", "7f1c-7f1d", "7f1c-7f1d rw-s 0 fd 12", "7f1c-7f1d rw-s 0 fd:xy 12 /a"] {
            assert_eq!(Mapping::parse(broken), None, "{broken}");
        }
    }
}
