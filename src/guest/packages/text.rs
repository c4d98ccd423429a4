//! Databases that are text: of dpkg and of apk. Pure.

use crate::guest::packages::package::Package;

/// Reads paragraphs of `Key: value`; only what is installed counts.
pub(super) fn dpkg(text: &str) -> Vec<Package> {
    let mut found = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |key: &str| {
            let mut lines = paragraph.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim))
        };
        // Images without a package manager write no state.
        let is_installed = field("Status").is_none_or(|status| status.ends_with(" installed"));
        if let (Some(name), Some(version), true) =
            (field("Package"), field("Version"), is_installed)
        {
            found.push(Package {
                manager: "deb",
                name: name.to_owned(),
                architecture: field("Architecture").unwrap_or_default().to_owned(),
                version: version.to_owned(),
            });
        }
    }
    found
}

/// Reads paragraphs of `K:value`.
pub(super) fn apk(text: &str) -> Vec<Package> {
    let mut found = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |key: &str| paragraph.lines().find_map(|line| line.strip_prefix(key));
        if let (Some(name), Some(version)) = (field("P:"), field("V:")) {
            found.push(Package {
                manager: "apk",
                name: name.to_owned(),
                architecture: field("A:").unwrap_or_default().to_owned(),
                version: version.to_owned(),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        let text = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2-3\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                    Package: bare\nVersion: 7\nDescription: x\n Version: 8\n";
        let found = dpkg(text);
        let names: Vec<_> = found.iter().map(|it| (&it.name[..], &it.version[..])).collect();
        assert_eq!(names, [("a", "1:2-3"), ("bare", "7")]);
        assert_eq!(found[0].architecture, "amd64");
    }

    #[test]
    fn an_apk_database_is_read_paragraph_by_paragraph() {
        let found = apk("C:Q1\nP:musl\nV:1.2.4-r2\nA:x86_64\nS:1\n\nP:zlib\nV:1.3-r0\nA:x86_64\n");
        let shown: Vec<_> = found.iter().map(|it| format!("{} {}", it.name, it.version)).collect();
        assert_eq!(shown, ["musl 1.2.4-r2", "zlib 1.3-r0"]);
    }
}
