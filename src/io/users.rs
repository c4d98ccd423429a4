//! Who else has a file open for writing: an image that a machine still runs on must not be packed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::io::Input;

/// Bits of the open flags that say how a file was opened, and the value that means reading only.
const ACCESS_MODE: u32 = 3;

/// How long a process must have the file open to count.
const SECOND_LOOK: Duration = Duration::from_millis(20);

/// Names the processes, other than this one, that have `input` open for writing.
///
/// This asks `/proc`, so it sees the processes that the user may look into; an empty answer does
/// not prove that nobody writes. [`check_unchanged`](crate::io::ReadAt::check_unchanged) finds
/// those who did.
#[must_use]
pub fn writers_of(input: &Input) -> Vec<String> {
    let Some(inode) = input.inode() else { return Vec::new() };
    let own = std::process::id().to_string();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(id) = name.to_str().filter(|id| id.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        if id != own && writes(&process.path(), inode) {
            found.push((process.path(), id.to_owned()));
        }
    }
    if found.is_empty() {
        return Vec::new();
    }
    // A process that is just being started holds the files of the one that starts it, for a moment.
    thread::sleep(SECOND_LOOK);
    found.retain(|(process, _)| writes(process, inode));
    let name = |(process, id): (PathBuf, String)| {
        let program = fs::read_to_string(process.join("comm")).unwrap_or_default();
        format!("process {id} ({})", program.trim_end().escape_debug())
    };
    found.into_iter().map(name).collect()
}

/// Tells whether the process behind a folder of `/proc` has the file open for writing.
fn writes(process: &Path, inode: (u64, u64)) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else { return false };
    files.flatten().any(|file| {
        let same = fs::metadata(file.path())
            .is_ok_and(|meta| meta.is_file() && (meta.dev(), meta.ino()) == inode);
        same && fs::read_to_string(process.join("fdinfo").join(file.file_name()))
            .ok()
            .and_then(|info| {
                let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
                u32::from_str_radix(flags.trim(), 8).ok()
            })
            .is_some_and(|flags| flags & ACCESS_MODE != 0)
    })
}
