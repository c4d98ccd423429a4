//! `packages`: what is installed in a volume.

use std::fmt::Write;

use serde::Serialize;

use crate::error::Result;
use crate::guest::Package;
use crate::guest::os_release;
use crate::guest::packages as installed_in;
use crate::ops::shared::guest::InsideRequest;
use crate::ops::shared::guest::with_tree;
use crate::work::Watch;

/// A package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PackageReport {
    /// Its manager: `deb`, `rpm` or `apk`.
    pub manager: &'static str,
    /// Name.
    pub name: String,
    /// Architecture.
    pub architecture: String,
    /// Version, with epoch and release where there are any.
    pub version: String,
}

/// What is installed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PackagesReport {
    /// `ID` of the system, as `debian`.
    pub os_id: Option<String>,
    /// Its `VERSION_ID`.
    pub os_version: Option<String>,
    /// The packages, sorted.
    pub packages: Vec<PackageReport>,
    /// Databases that could not be read, and why.
    pub faults: Vec<String>,
}

/// Lists what is installed in a volume.
///
/// # Errors
///
/// As opening the volume and looking for its file systems; a database that is damaged is part of the answer.
pub fn packages(request: &InsideRequest, watch: &dyn Watch) -> Result<PackagesReport> {
    with_tree(request, watch, |tree| {
        let found = installed_in(tree)?;
        let os = os_release(tree)?.unwrap_or_default();
        Ok(PackagesReport {
            os_id: os.id,
            os_version: os.version_id,
            packages: found.installed.into_iter().map(PackageReport::from).collect(),
            faults: found.faults,
        })
    })
}

impl From<Package> for PackageReport {
    fn from(package: Package) -> Self {
        let Package { manager, name, architecture, version } = package;
        Self { manager, name, architecture, version }
    }
}

impl PackagesReport {
    /// Returns the package URL of one of the packages.
    #[must_use]
    pub fn purl(&self, package: &PackageReport) -> String {
        let encode = |text: &str| {
            text.bytes().fold(String::new(), |mut done, byte| {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    done.push(char::from(byte));
                } else {
                    write!(done, "%{byte:02X}").expect("a string takes all");
                }
                done
            })
        };
        let (name, mut version) = (encode(&package.name), &package.version[..]);
        let space = self.os_id.as_deref().map(|id| format!("{}/", encode(id))).unwrap_or_default();
        let mut qualifiers = Vec::new();
        if !package.architecture.is_empty() {
            qualifiers.push(format!("arch={}", encode(&package.architecture)));
        }
        // Of an rpm the epoch is a qualifier.
        if let ("rpm", Some((epoch, rest))) = (package.manager, version.split_once(':')) {
            qualifiers.push(format!("epoch={}", encode(epoch)));
            version = rest;
        }
        let tail = if qualifiers.is_empty() {
            String::new()
        } else {
            format!("?{}", qualifiers.join("&"))
        };
        format!("pkg:{}/{space}{name}@{}{tail}", package.manager, encode(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_url_has_its_epoch_where_the_scheme_wants_it() {
        let report = PackagesReport { os_id: Some("debian".into()), ..PackagesReport::default() };
        let mut package = PackageReport {
            manager: "deb",
            name: "libstdc++6".into(),
            architecture: "amd64".into(),
            version: "1:12.2-3".into(),
        };
        let expected = "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2-3?arch=amd64";
        assert_eq!(report.purl(&package), expected);
        package.manager = "rpm";
        let expected = "pkg:rpm/debian/libstdc%2B%2B6@12.2-3?arch=amd64&epoch=1";
        assert_eq!(report.purl(&package), expected);
    }
}
