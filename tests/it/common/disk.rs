//! File systems of their own, in a file that is mounted.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use super::installed;
use super::is_root;
use super::stderr;

/// A folder on a file system of its own, in a file.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
    mounted: bool,
}

/// What makes a file system that can share blocks between files.
pub(crate) const SHARING: [(&str, &[&str]); 2] =
    [("mkfs.xfs", &["-q", "-m", "reflink=1"]), ("mkfs.btrfs", &["-q"])];

impl Disk {
    /// Makes one that can share blocks between files; `None`, with the reason, where that cannot be.
    pub(crate) fn sharing() -> Option<Self> {
        SHARING.iter().find_map(|(program, arguments)| Self::of(program, arguments, "loop"))
    }

    /// Makes one with a program, and mounts it; `None`, with the reason, where that cannot be.
    pub(crate) fn of(program: &str, arguments: &[&str], options: &str) -> Option<Self> {
        if !is_root() || !installed(program) {
            return None;
        }
        let mut disk = Self { folder: tempfile::tempdir().unwrap(), mounted: false };
        let file = disk.folder.path().join("disk");
        fs::File::create(&file).unwrap().set_len(320 << 20).unwrap();
        let made = Command::new(program).args(arguments).arg(&file).output().unwrap();
        if !made.status.success() {
            println!("skipped: {program}: {}", stderr(&made));
            return None;
        }
        fs::create_dir(disk.path()).unwrap();
        let mut mount = Command::new("mount");
        let mount = mount.args(["-o", options]).arg(&file).arg(disk.path()).output().unwrap();
        if mount.status.success() {
            disk.mounted = true;
            return Some(disk);
        }
        println!("skipped: a file system of {program} cannot be mounted: {}", stderr(&mount));
        None
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            unmount(&self.path());
        }
    }
}

/// Unmounts what is mounted there. A process that another test is just starting has the files of all tests open for a
/// moment, and then the system calls the mount busy.
pub(crate) fn unmount(at: &Path) {
    // Who is not root may unmount what a program serves, by the others.
    let ways: [&[&str]; 3] = [&["umount"], &["fusermount3", "-u"], &["fusermount", "-u"]];
    for _ in 0..600 {
        for way in ways {
            let done = Command::new(way[0]).args(&way[1..]).arg(at).output();
            if done.is_ok_and(|it| it.status.success()) {
                return;
            }
        }
        sleep(Duration::from_millis(100));
    }
    let _ = Command::new("umount").arg("--lazy").arg(at).status();
}
