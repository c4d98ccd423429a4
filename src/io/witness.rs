//! What files were, to see whether anybody has touched them since.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::listing::list;

/// What tells a changed file from an unchanged one. A program can set a file's time of modification, but not
/// the time at which its inode changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    path: PathBuf,
    file: (u64, u64),
    mode: u32,
    size: u64,
    changed: (i64, i64),
}

/// What a file was, or a folder with all that is in it.
#[derive(Clone, Debug)]
pub struct Witness {
    path: PathBuf,
    states: Vec<State>,
}

impl Witness {
    /// Takes down what is at `path`.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn of(path: &Path) -> Result<Self> {
        let states = states(path).map_err(|e| Error::io("look at", path, e))?;
        Ok(Self { path: path.to_owned(), states })
    }

    /// Fails if a file was changed, added or removed.
    ///
    /// # Errors
    ///
    /// `Mismatch`, with the first such file; `Io` if the system refuses.
    pub fn check(&self) -> Result<()> {
        let now = Self::of(&self.path)?.states;
        let other = |(then, now): (&State, &State)| (then != now).then(|| then.path.clone());
        let first = self.states.iter().zip(&now).find_map(other).or_else(|| {
            let longer = if now.len() > self.states.len() { &now } else { &self.states };
            Some(longer.get(now.len().min(self.states.len()))?.path.clone())
        });
        match first {
            None => Ok(()),
            Some(path) => Err(Error::new(Kind::Mismatch, "it was changed").in_file(&path)),
        }
    }
}

/// Lists what is at a path, in the order of names.
fn states(path: &Path) -> io::Result<Vec<State>> {
    let meta = fs::symlink_metadata(path)?;
    let mut found = vec![State {
        path: path.to_owned(),
        file: (meta.dev(), meta.ino()),
        mode: meta.mode(),
        size: meta.size(),
        changed: (meta.ctime(), meta.ctime_nsec()),
    }];
    if meta.is_dir() {
        let mut inside = list(path)?;
        inside.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in inside {
            found.extend(states(&path.join(entry.name))?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_touched_added_or_removed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let inside = path.join("blobs");
        fs::create_dir_all(&inside).unwrap();
        fs::write(inside.join("b"), "one").unwrap();
        let changes: [(&str, &dyn Fn()); 3] = [
            ("b", &|| fs::write(inside.join("b"), "two").unwrap()),
            ("blobs", &|| fs::write(inside.join("c"), "").unwrap()),
            ("blobs", &|| fs::remove_file(inside.join("c")).unwrap()),
        ];
        for (name, change) in changes {
            let witness = Witness::of(&path).unwrap();
            witness.check().unwrap();
            // The clock of a file system may stand for some milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change();
            let error = witness.check().unwrap_err();
            assert!(error.path().unwrap().ends_with(name), "{error}");
        }
    }
}
