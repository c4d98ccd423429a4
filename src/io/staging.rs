//! Outputs that are judged before they get their name.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::io::output::Judge;
use crate::io::output::OutputDir;
use crate::io::output::sync_folder_of;
use crate::io::output::take_name;

/// A place beside an output, in which it is made and looked at first.
///
/// Dropped without a commit, it goes with all that was made in it, and the name means what it did.
#[derive(Debug)]
pub struct Staging {
    folder: OutputDir,
    inner: PathBuf,
}

impl Staging {
    /// Makes a place for the output that will be called `target`.
    ///
    /// # Errors
    ///
    /// `Io` if the folder around it cannot be written; `Invalid` if `target` is not a name.
    pub fn create(target: &Path) -> Result<Self> {
        let name = target
            .file_name()
            .ok_or_else(|| Error::invalid("the path does not end in a name").in_file(target))?;
        let folder = OutputDir::start(target, None)?;
        let inner = folder.temporary_path().join(name);
        Ok(Self { folder, inner })
    }

    /// Returns the path under which the output is to be made.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner
    }

    /// Returns the path of something else in the same place: it goes in the end.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.temporary_path().join(name)
    }

    /// Makes a file beside the output, for what is wanted while it is judged.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn new_file(&self, name: &str) -> Result<(File, PathBuf)> {
        let path = self.beside(name);
        let file = File::create(&path).map_err(|e| Error::io("write", &path, e))?;
        Ok((file, path))
    }

    /// Gives the output, which is on the disk already, its name. What had the name is removed, if
    /// `may_replace` lets it.
    ///
    /// # Errors
    ///
    /// `Io`, or whatever `may_replace` returns; then the name means what it meant before.
    pub fn commit(self, may_replace: Judge) -> Result<()> {
        let target = self.folder.target();
        take_name(&self.inner, target, Some(may_replace))?;
        sync_folder_of(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    #[test]
    fn an_output_gets_its_name_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        for text in ["old", "new"] {
            let staging = Staging::create(&target).unwrap();
            fs::create_dir(staging.path()).unwrap();
            fs::write(staging.path().join("file"), text).unwrap();
            fs::write(staging.beside("other"), text).unwrap();
            staging.commit(|_| Ok(())).unwrap();
            assert_eq!(fs::read_to_string(target.join("file")).unwrap(), text);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        let dropped = Staging::create(&target).unwrap();
        fs::write(dropped.path(), "half").unwrap();
        drop(dropped);
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
