//! Who else may write to a file, as `/proc` and `/sys` have it.

use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::io::Read;
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

/// Room for the mappings of most processes, in bytes: the kernel goes through them again for each piece that is read.
const MAPS_LEN: usize = 64 << 10;

/// What follows the name of a file that has lost it, in the kernel's lists.
const DELETED: &str = " (deleted)";

/// Names the processes, other than this one, and the loop devices that may write to one of some files, which are given by
/// their devices and inodes: the place of the first such file, and who has it.
pub(in crate::io) fn writers_of(files: &[(u64, u64)]) -> Option<(usize, Vec<String>)> {
    let mut found = loop_devices_over(files);
    found.extend(processes_with(files));
    let first = found.iter().map(|(place, _)| *place).min()?;
    found.retain(|(place, _)| *place == first);
    Some((first, found.into_iter().map(|(_, name)| name).collect()))
}

/// Names the processes that have one of the files open or mapped for writing. All are looked at once, however many files
/// there are: that takes milliseconds.
fn processes_with(files: &[(u64, u64)]) -> Vec<(usize, String)> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    let mut maps = Vec::with_capacity(MAPS_LEN);
    for process in list(Path::new("/proc")).unwrap_or_default() {
        let Some(id) = process.name.to_str().filter(|id| id.bytes().all(|b| b.is_ascii_digit()))
        else {
            continue;
        };
        let path = Path::new("/proc").join(id);
        if id != own && may_write(&path, files, &mut maps).is_some() {
            found.push((path, id.to_owned()));
        }
    }
    if found.is_empty() {
        return Vec::new();
    }
    // A process that is just being started holds the files of the one that starts it, for a moment.
    thread::sleep(SECOND_LOOK);
    let mut name = |(process, id): (PathBuf, String)| {
        let place = may_write(&process, files, &mut maps)?;
        let program = fs::read_to_string(process.join("comm")).unwrap_or_default();
        Some((place, format!("process {id} ({})", program.trim_end().escape_debug())))
    };
    found.into_iter().filter_map(&mut name).collect()
}

/// Returns the place of the first of the files that the process behind a folder of `/proc` may write to. `maps` is room for
/// the list of its mappings.
fn may_write(process: &Path, files: &[(u64, u64)], maps: &mut Vec<u8>) -> Option<usize> {
    [open_in(process, files), mapped_in(process, files, maps)].into_iter().flatten().min()
}

/// Returns the place of the first of the files that the process has open for writing.
fn open_in(process: &Path, files: &[(u64, u64)]) -> Option<usize> {
    let open = list(&process.join("fd")).ok()?;
    let place = |name: &OsStr| {
        let meta = fs::metadata(process.join("fd").join(name)).ok().filter(Metadata::is_file)?;
        let place = files.iter().position(|file| *file == (meta.dev(), meta.ino()))?;
        let info = fs::read_to_string(process.join("fdinfo").join(name)).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
        (flags & ACCESS_MODE != 0).then_some(place)
    };
    open.iter().filter_map(|it| place(&it.name)).min()
}

/// Returns the place of the first of the files that the process has mapped, shared and for writing: that outlives the
/// descriptor.
fn mapped_in(process: &Path, files: &[(u64, u64)], maps: &mut Vec<u8>) -> Option<usize> {
    maps.clear();
    File::open(process.join("maps")).ok()?.read_to_end(maps).ok()?;
    let maps = maps.split(|byte| *byte == b'\n').filter(|line| Mapping::is_written(line));
    let place = |line: &[u8]| {
        // Names that are not text are of no other files.
        let line = String::from_utf8_lossy(line);
        let map = Mapping::parse(&line)?;
        files.iter().position(|file| {
            let same_device = map.device == (major(file.0), minor(file.0));
            map.inode == file.1 && (same_device || is_at(map.path, *file))
        })
    };
    maps.filter_map(place).min()
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
    /// Tells whether a line may be one of a shared mapping that can be written; most are not.
    fn is_written(line: &[u8]) -> bool {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        matches!(words.nth(1), Some([_, b'w', _, b's']))
    }

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

/// Names the loop devices that can write to one of the files, with the file's place.
fn loop_devices_over(files: &[(u64, u64)]) -> Vec<(usize, String)> {
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
        let backing = backing.strip_suffix(DELETED).unwrap_or(backing);
        let place = files.iter().position(|file| is_at(backing, *file));
        if let Some(place) = place.filter(|_| !read_only) {
            found.push((place, format!("the loop device /dev/{name}")));
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
        assert!(Mapping::is_written(line.as_bytes()));
        for other in ["rw-p", "r--s", "r-xp", "---s"] {
            let other = line.replace("rw-s", other);
            assert_eq!(Mapping::parse(&other), None, "{other}");
            assert!(!Mapping::is_written(other.as_bytes()), "{other}");
        }
        for broken in ["", "7f1c-7f1d", "7f1c-7f1d rw-s 0 fd 12", "7f1c-7f1d rw-s 0 fd:xy 12 /a"] {
            assert_eq!(Mapping::parse(broken), None, "{broken}");
        }
    }
}
