//! Files that programs write again for every machine or every build, known by their names.

use crate::guest::matches_pattern;

/// When a file of that name says nothing of what is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Whenever it differs, is new or is gone: a machine writes it by itself.
    Always,
    /// If both builds have it: it comes with a kernel, a package or a program.
    InBoth,
}

use When::Always;
use When::InBoth;

/// Patterns of paths from the root, the cause, and when it is one.
const FILES: &[(&str, &str, When)] = &[
    ("/etc/machine-id", "file-machine-id", Always),
    ("/var/lib/dbus/machine-id", "file-machine-id", Always),
    ("/etc/ssh/ssh_host_*", "file-host-keys", Always),
    ("*/random-seed", "file-random-seed", Always),
    ("/var/cache/ldconfig/aux-cache", "file-ldconfig", Always),
    ("*.pyc", "file-bytecode", Always),
    ("/var/log/*", "file-log", Always),
    ("/var/lib/systemd/catalog/database", "file-font-cache", Always),
    ("/var/lib/apt/lists/*", "file-package-lists", Always),
    ("/var/lib/apt/extended_states", "file-package-lists", Always),
    ("/var/cache/apt/*", "file-package-lists", Always),
    ("/var/cache/dnf/*", "file-package-lists", Always),
    ("/var/cache/yum/*", "file-package-lists", Always),
    ("/var/lib/dnf/history*", "file-package-lists", Always),
    ("/var/lib/yum/history/*", "file-package-lists", Always),
    ("/var/cache/debconf/*", "file-package-lists", Always),
    ("/var/lib/rpm/*", "file-rpm-database", InBoth),
    ("/usr/lib/sysimage/rpm/*", "file-rpm-database", InBoth),
    ("/boot/initrd*", "file-initramfs", InBoth),
    ("/boot/initramfs*", "file-initramfs", InBoth),
    ("/var/lib/cloud/*", "file-cloud-init", Always),
    ("/var/cache/fontconfig/*", "file-font-cache", Always),
    ("/var/cache/man/*", "file-font-cache", Always),
    ("*/icon-theme.cache", "file-font-cache", InBoth),
    ("*/gschemas.compiled", "file-font-cache", InBoth),
    ("/etc/passwd-", "file-backup", Always),
    ("/etc/shadow-", "file-backup", Always),
    ("/etc/group-", "file-backup", Always),
    ("/etc/gshadow-", "file-backup", Always),
    ("/etc/subuid-", "file-backup", Always),
    ("/etc/subgid-", "file-backup", Always),
];

/// End of the names of bytecode.
const BYTECODE: &[u8] = b".pyc";

/// Returns the cause of a file that differs, if its name says that it always does. Paths are from the root of
/// the file system; on an EFI system partition they are the same. `is_in_both` says that the file is neither new nor
/// gone.
#[must_use]
pub fn generated(path: &[u8], is_in_both: bool) -> Option<&'static str> {
    let is = |pattern: &&str| matches_pattern(pattern.as_bytes(), path);
    let (_, cause, when) = FILES.iter().find(|(pattern, ..)| is(pattern))?;
    (is_in_both || *when == When::Always).then_some(cause)
}

/// Names of indexes of the folder that they lie in.
const INDEXES: [&[u8]; 2] = [b"icon-theme.cache", b"gschemas.compiled"];

/// Returns the folder that a file is the index of, with a slash at its end: what the index says is as real as what differs
/// below.
#[must_use]
pub fn folder_of(path: &[u8]) -> Option<&[u8]> {
    let at = path.iter().rposition(|byte| *byte == b'/')?.strict_add(1);
    let (folder, name) = path.split_at(at);
    INDEXES.contains(&name).then_some(folder)
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
        assert_eq!(generated(b"/usr/lib/python3/x.pyc", true), Some("file-bytecode"));
        assert_eq!(generated(b"/var/log/apt/term.log", true), Some("file-log"));
        assert_eq!(generated(b"/loader/random-seed", true), Some("file-random-seed"));
        assert_eq!(generated(b"/etc/passwd", true), None);
    }
    #[test]
    fn what_comes_with_a_kernel_or_a_package_is_no_cause_where_it_is_new() {
        for path in ["/boot/initrd.img-6.1", "/var/lib/rpm/rpmdb.sqlite"] {
            assert!(generated(path.as_bytes(), true).is_some(), "{path}");
            assert_eq!(generated(path.as_bytes(), false), None, "{path}");
        }
        assert_eq!(generated(b"/var/log/btmp", false), Some("file-log"));
    }

    #[test]
    fn an_index_has_a_folder() {
        let folder = folder_of(b"/usr/share/icons/hicolor/icon-theme.cache");
        assert_eq!(folder, Some(&b"/usr/share/icons/hicolor/"[..]));
        assert_eq!(folder_of(b"/usr/share/icons/hicolor/x.png"), None);
        assert_eq!(folder_of(b"icon-theme.cache"), None);
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
