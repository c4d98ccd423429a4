//! Files that programs write again for every machine or every build, known by their names.

use crate::guest::matches_pattern;

/// Patterns of paths from the root, and the cause.
const FILES: &[(&str, &str)] = &[
    ("/etc/machine-id", "file-machine-id"),
    ("/var/lib/dbus/machine-id", "file-machine-id"),
    ("/etc/ssh/ssh_host_*", "file-host-keys"),
    ("*/random-seed", "file-random-seed"),
    ("/var/cache/ldconfig/aux-cache", "file-ldconfig"),
    ("*.pyc", "file-bytecode"),
    ("/var/log/*", "file-log"),
    ("/var/lib/systemd/catalog/database", "file-font-cache"),
    ("/var/lib/apt/lists/*", "file-package-lists"),
    ("/var/lib/apt/extended_states", "file-package-lists"),
    ("/var/cache/apt/*", "file-package-lists"),
    ("/var/cache/dnf/*", "file-package-lists"),
    ("/var/cache/yum/*", "file-package-lists"),
    ("/var/lib/dnf/history*", "file-package-lists"),
    ("/var/lib/yum/history/*", "file-package-lists"),
    ("/var/cache/debconf/*", "file-package-lists"),
    ("/var/lib/rpm/*", "file-rpm-database"),
    ("/usr/lib/sysimage/rpm/*", "file-rpm-database"),
    ("/boot/initrd*", "file-initramfs"),
    ("/boot/initramfs*", "file-initramfs"),
    ("/var/lib/cloud/*", "file-cloud-init"),
    ("/var/cache/fontconfig/*", "file-font-cache"),
    ("/var/cache/man/*", "file-font-cache"),
    ("*/icon-theme.cache", "file-font-cache"),
    ("*/gschemas.compiled", "file-font-cache"),
    ("/etc/passwd-", "file-backup"),
    ("/etc/shadow-", "file-backup"),
    ("/etc/group-", "file-backup"),
    ("/etc/gshadow-", "file-backup"),
    ("/etc/subuid-", "file-backup"),
    ("/etc/subgid-", "file-backup"),
];

/// Returns the cause of a file that differs, if its name says that it always does. Paths are from the root of
/// the file system; on an EFI system partition they are the same.
#[must_use]
pub fn generated(path: &[u8]) -> Option<&'static str> {
    let is = |pattern: &&str| matches_pattern(pattern.as_bytes(), path);
    FILES.iter().find(|(pattern, _)| is(pattern)).map(|(_, cause)| *cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::cause;

    #[test]
    fn names_of_generated_files_have_causes_of_the_table() {
        for (pattern, id) in FILES {
            assert_eq!(cause(id).id, *id, "{pattern}");
        }
        assert_eq!(generated(b"/usr/lib/python3/x.pyc"), Some("file-bytecode"));
        assert_eq!(generated(b"/var/log/apt/term.log"), Some("file-log"));
        assert_eq!(generated(b"/loader/random-seed"), Some("file-random-seed"));
        assert_eq!(generated(b"/etc/passwd"), None);
    }
}
