//! What is known of a package.

/// A package that is installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its manager, as package URLs name it: `deb`, `rpm` or `apk`.
    pub manager: &'static str,
    /// Name.
    pub name: String,
    /// Architecture.
    pub architecture: String,
    /// Version, with epoch and release where there are any.
    pub version: String,
}
