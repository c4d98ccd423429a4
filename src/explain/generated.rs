//! Files that programs write again for every machine or every build: known by their names, and believed only as far
//! as their content bears it out.

use crate::explain::contents::accounts;
use crate::explain::contents::catalog;
use crate::explain::contents::fonts;
use crate::explain::contents::host_key;
use crate::explain::contents::libraries;
use crate::explain::contents::machine_id;
use crate::explain::contents::same_stanzas;
use crate::guest::matches_pattern;

/// Says whether what differs between the content of a file in the old build and in the new one means nothing.
pub(crate) type Judge = fn(Option<&[u8]>, Option<&[u8]>) -> bool;

/// What has to hold before a file of that name says nothing real where it differs, is new or is gone.
#[derive(Clone, Copy, Debug)]
pub enum Proof {
    /// Nothing: a program keeps its own records there, whatever they are.
    Place,
    /// The same of a symbolic link.
    Link,
    /// What this says of the content in the old build and the new; `None` where it has no such file.
    Content(Judge),
    /// Nothing real differs below these folders.
    IndexOf(&'static [&'static str]),
    /// Both have it, and nothing real differs below the folder that it lies in.
    IndexOfFolder,
    /// Both have it, and it unpacks to the same files.
    Initramfs,
    /// It is made of its program, which does not differ.
    Bytecode,
    /// Both have it, and it lists the same packages.
    Rpm,
}

use Proof::Bytecode;
use Proof::Content;
use Proof::IndexOf;
use Proof::IndexOfFolder;
use Proof::Initramfs;
use Proof::Link;
use Proof::Place;
use Proof::Rpm;

/// Where manuals are.
const MANUALS: &[&str] = &["/usr/share/man/", "/usr/local/share/man/", "/usr/local/man/"];

/// Patterns of paths from the root, the cause, and what has to hold.
const FILES: &[(&str, &str, Proof)] = &[
    ("/etc/machine-id", "file-machine-id", Content(machine_id)),
    ("/var/lib/dbus/machine-id", "file-machine-id", Content(machine_id)),
    ("/etc/ssh/ssh_host_*", "file-host-keys", Content(host_key)),
    ("/var/lib/systemd/random-seed", "file-random-seed", Place),
    ("/var/lib/urandom/random-seed", "file-random-seed", Place),
    ("/var/lib/random-seed", "file-random-seed", Place),
    ("/loader/random-seed", "file-random-seed", Place),
    ("/efi/loader/random-seed", "file-random-seed", Place),
    ("/boot/loader/random-seed", "file-random-seed", Place),
    ("/boot/efi/loader/random-seed", "file-random-seed", Place),
    ("/var/cache/ldconfig/aux-cache", "file-ldconfig", Content(libraries)),
    ("*.pyc", "file-bytecode", Bytecode),
    ("/var/log/*", "file-log", Place),
    ("/var/lib/systemd/catalog/database", "file-index", Content(catalog)),
    ("/var/lib/apt/lists/*", "file-package-lists", Place),
    ("/var/lib/apt/extended_states", "file-package-lists", Content(same_stanzas)),
    ("/var/cache/apt/*", "file-package-lists", Place),
    ("/var/cache/dnf/*", "file-package-lists", Place),
    ("/var/cache/yum/*", "file-package-lists", Place),
    ("/var/lib/dnf/history*", "file-package-lists", Place),
    ("/var/lib/yum/history/*", "file-package-lists", Place),
    ("/var/lib/rpm/*", "file-rpm-database", Rpm),
    ("/usr/lib/sysimage/rpm/*", "file-rpm-database", Rpm),
    ("/boot/initrd*", "file-initramfs", Initramfs),
    ("/boot/initramfs*", "file-initramfs", Initramfs),
    ("/var/lib/cloud/data/*", "file-cloud-init", Place),
    ("/var/lib/cloud/instances/*", "file-cloud-init", Place),
    ("/var/lib/cloud/sem/*", "file-cloud-init", Place),
    ("/var/lib/cloud/instance", "file-cloud-init", Link),
    ("/var/cache/fontconfig/*", "file-font-cache", Content(fonts)),
    ("/var/cache/man/*", "file-index", IndexOf(MANUALS)),
    ("*/icon-theme.cache", "file-index", IndexOfFolder),
    ("*/gschemas.compiled", "file-index", IndexOfFolder),
    ("/etc/passwd-", "file-backup", Content(accounts::<7>)),
    ("/etc/shadow-", "file-backup", Content(accounts::<9>)),
    ("/etc/group-", "file-backup", Content(accounts::<4>)),
    ("/etc/gshadow-", "file-backup", Content(accounts::<4>)),
    ("/etc/subuid-", "file-backup", Content(accounts::<3>)),
    ("/etc/subgid-", "file-backup", Content(accounts::<3>)),
    ("/var/cache/debconf/*-old", "file-backup", Place),
];

/// Names that the database of rpm has, beside which there may be others' files.
const RPM_FILES: &[&str] = &[
    "rpmdb.sqlite*",
    "Packages",
    "Packages.db",
    "Index.db",
    "__db.*",
    ".rpm.lock",
    ".dbenv.lock",
    "Basenames",
    "Conflictname",
    "Dirnames",
    "Enhancename",
    "Filetriggername",
    "Group",
    "Installtid",
    "Name",
    "Obsoletename",
    "Providename",
    "Recommendname",
    "Requirename",
    "Sha1header",
    "Sigmd5",
    "Suggestname",
    "Supplementname",
    "Transfiletriggername",
    "Triggername",
];

/// End of the names of bytecode.
const BYTECODE: &[u8] = b".pyc";

/// Returns the cause that a file can have by its path from the root of the guest, and what has to hold.
#[must_use]
pub fn generated(path: &[u8]) -> Option<(&'static str, Proof)> {
    let is = |pattern: &&str| matches_pattern(pattern.as_bytes(), path);
    let (_, cause, proof) = FILES.iter().find(|(pattern, ..)| is(pattern))?;
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let is_part = |pattern: &&str| matches_pattern(pattern.as_bytes(), name);
    let holds = !matches!(proof, Rpm) || RPM_FILES.iter().any(is_part);
    holds.then_some((cause, *proof))
}

/// Returns the folder that a file lies in, with a slash at its end.
#[must_use]
pub fn folder_of(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte == b'/');
    &path[..end.map_or(0, |at| at.strict_add(1))]
}

/// Returns the program that bytecode is made of: what it says is as real as what differs there.
#[must_use]
pub fn source_of(path: &[u8]) -> Option<Vec<u8>> {
    let path = path.strip_suffix(BYTECODE)?;
    let at = path.iter().rposition(|byte| *byte == b'/')?.strict_add(1);
    let (folder, name) = path.split_at(at);
    let Some(above) = folder.strip_suffix(b"__pycache__/") else {
        return Some([path, b".py"].concat());
    };
    // The interpreter stands behind the name, as in name.cpython-311.
    let end = name.iter().position(|byte| *byte == b'.').unwrap_or(name.len());
    Some([above, &name[..end], b".py"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::cause;

    #[test]
    fn names_of_generated_files_have_causes_of_the_table() {
        for (pattern, id, _) in FILES {
            assert_eq!(cause(id).id, *id, "{pattern}");
        }
        let of = |path: &str| generated(path.as_bytes()).map(|(cause, _)| cause);
        assert_eq!(of("/usr/lib/python3/x.pyc"), Some("file-bytecode"));
        assert_eq!(of("/var/log/apt/term.log"), Some("file-log"));
        assert_eq!(of("/loader/random-seed"), Some("file-random-seed"));
        assert_eq!(of("/var/lib/rpm/rpmdb.sqlite-wal"), Some("file-rpm-database"));
        // What lies beside what is generated, or is only called like it.
        for path in [
            "/etc/passwd",
            "/var/lib/rpm/macros",
            "/var/lib/cloud/scripts/per-boot/a.sh",
            "/var/lib/cloud/seed/nocloud/user-data",
            "/var/cache/debconf/config.dat",
            "/srv/random-seed",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn a_file_has_a_folder() {
        let folder = folder_of(b"/usr/share/icons/hicolor/icon-theme.cache");
        assert_eq!(folder, &b"/usr/share/icons/hicolor/"[..]);
        assert_eq!(folder_of(b"icon-theme.cache"), b"");
    }

    #[test]
    fn bytecode_has_a_source() {
        for (path, source) in [
            ("/a/__pycache__/x.cpython-311.pyc", Some("/a/x.py")),
            ("/a/__pycache__/x.cpython-311.opt-1.pyc", Some("/a/x.py")),
            ("/a/x.pyc", Some("/a/x.py")),
            ("/a/x.py", None),
        ] {
            assert_eq!(
                source_of(path.as_bytes()),
                source.map(|it| it.as_bytes().to_vec()),
                "{path}"
            );
        }
    }
}
