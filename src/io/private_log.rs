//! A file of lines for its owner alone: what is traced.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::error::Error;
use crate::error::Result;

/// A file that lines are added to, by any number of threads. It is there as soon as it is made: who follows a run
/// wants to see its lines.
#[derive(Debug)]
pub struct PrivateLog(Mutex<File>);

impl PrivateLog {
    /// Makes the file, for its owner alone, or goes on at the end of the one that is there. A link is not followed.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn create(path: &Path) -> Result<Self> {
        let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).custom_flags(flags);
        let file = options.open(path).map_err(|e| Error::io("open", path, e))?;
        Ok(Self(Mutex::new(file)))
    }

    /// Adds a line. What cannot be traced fails nothing.
    pub fn line(&self, text: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(format!("{text}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn lines_are_added_and_nobody_else_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        for line in ["one", "two"] {
            PrivateLog::create(&path).unwrap().line(line);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        PrivateLog::create(&link).unwrap_err();
    }
}
