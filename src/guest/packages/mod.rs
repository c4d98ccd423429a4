//! Which packages a guest has installed, by the databases of its package managers.

mod bdb;
mod package;
mod rpm;
mod sqlite;
mod text;

use crate::error::Result;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::FileKind;
use crate::guest::tree::Tree;

pub use package::Package;

/// Most bytes of a database that is read whole: 60,000 packages of common length.
const MAX_TEXT_LEN: u64 = 64 << 20;

/// The packages of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// Sorted, each once.
    pub installed: Vec<Package>,
    /// Databases that could not be read, and why.
    pub faults: Vec<String>,
}

/// A database: where it is, and how it is read.
type Database = (&'static [u8], fn(&Tree<'_>, &[u8]) -> Outcome<Vec<Package>>);

/// All databases; of those that are links to each other, packages are counted once.
const DATABASES: [Database; 9] = [
    (b"/var/lib/dpkg/status", dpkg),
    (b"/var/lib/dpkg/status.d", dpkg_folder),
    (b"/lib/apk/db/installed", apk),
    (b"/usr/lib/apk/db/installed", apk),
    (b"/usr/lib/sysimage/rpm/rpmdb.sqlite", rpm_sqlite),
    (b"/var/lib/rpm/rpmdb.sqlite", rpm_sqlite),
    (b"/usr/lib/sysimage/rpm/Packages.db", rpm_ndb),
    (b"/var/lib/rpm/Packages.db", rpm_ndb),
    (b"/var/lib/rpm/Packages", rpm_bdb),
];

/// Finds the packages of a guest.
///
/// # Errors
///
/// If the volume cannot be read; a database that is damaged is part of the answer.
pub fn packages(tree: &Tree<'_>) -> Result<Packages> {
    let mut found = Packages::default();
    for (path, read) in DATABASES {
        if tree.try_find(path)?.is_none() {
            continue;
        }
        match read(tree, path) {
            Ok(packages) => found.installed.extend(packages),
            Err(Failure::Fault(fault)) => {
                found.faults.push(format!("{}: {fault}", String::from_utf8_lossy(path)));
            }
            Err(Failure::Error(error)) => return Err(error),
        }
    }
    found.installed.sort();
    found.installed.dedup();
    Ok(found)
}

/// Databases of rpm.
const RPM_DATABASES: [(&[u8], rpm::Read); 5] = [
    (b"/usr/lib/sysimage/rpm/rpmdb.sqlite", rpm::sqlite),
    (b"/var/lib/rpm/rpmdb.sqlite", rpm::sqlite),
    (b"/usr/lib/sysimage/rpm/Packages.db", rpm::ndb),
    (b"/var/lib/rpm/Packages.db", rpm::ndb),
    (b"/var/lib/rpm/Packages", rpm::bdb),
];

/// Finds out what is installed by rpm, down to each byte that came with a package: name, version and the digest of its
/// header. `None` if that cannot be told of all.
///
/// # Errors
///
/// If the volume cannot be read.
pub fn rpm_identities(tree: &Tree<'_>) -> Result<Option<Vec<[String; 3]>>> {
    let mut found = Vec::new();
    for (path, read) in RPM_DATABASES {
        if tree.try_find(path)?.is_none() {
            continue;
        }
        match rpm::identities(read, tree, path) {
            Ok(identities) => found.extend(identities),
            Err(Failure::Fault(_)) => return Ok(None),
            Err(Failure::Error(error)) => return Err(error),
        }
    }
    found.sort();
    found.dedup();
    Ok(Some(found))
}

fn rpm_sqlite(tree: &Tree<'_>, path: &[u8]) -> Outcome<Vec<Package>> {
    rpm::from(rpm::sqlite, tree, path)
}

fn rpm_ndb(tree: &Tree<'_>, path: &[u8]) -> Outcome<Vec<Package>> {
    rpm::from(rpm::ndb, tree, path)
}

fn rpm_bdb(tree: &Tree<'_>, path: &[u8]) -> Outcome<Vec<Package>> {
    rpm::from(rpm::bdb, tree, path)
}

fn whole(tree: &Tree<'_>, path: &[u8]) -> Outcome<String> {
    let spot = tree.find(path)?;
    if tree.node(spot)?.size > MAX_TEXT_LEN {
        return Err(Problem::Limit.text("it is longer than 64 MiB"));
    }
    Ok(String::from_utf8_lossy(&tree.head(spot, MAX_TEXT_LEN)?).into_owned())
}

fn dpkg(tree: &Tree<'_>, path: &[u8]) -> Outcome<Vec<Package>> {
    Ok(text::dpkg(&whole(tree, path)?))
}

/// Images without a package manager have a file for each package.
fn dpkg_folder(tree: &Tree<'_>, path: &[u8]) -> Outcome<Vec<Package>> {
    let folder = tree.find(path)?;
    let mut found = Vec::new();
    for (name, spot) in tree.entries(folder)? {
        if name.ends_with(b".md5sums") || tree.node(spot)?.kind != FileKind::Regular {
            continue;
        }
        found.extend(text::dpkg(&String::from_utf8_lossy(&tree.text(spot)?)));
    }
    Ok(found)
}

fn apk(tree: &Tree<'_>, path: &[u8]) -> Outcome<Vec<Package>> {
    Ok(text::apk(&whole(tree, path)?))
}
