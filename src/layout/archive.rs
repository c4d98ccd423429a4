//! A layout in one archive, wherever its bytes are.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::error::Result;
use crate::io::Input;
use crate::io::Part;
use crate::layout::name::Name;
use crate::layout::store::Blob;
use crate::layout::store::BlobStore;
use crate::layout::tar;

/// A layout in one file.
#[derive(Debug)]
pub struct InArchive {
    input: Arc<Input>,
    members: BTreeMap<String, (u64, u64)>,
}

impl InArchive {
    /// Opens the layout in an archive, wherever its bytes are.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `Unsupported` or `Limit` if it is not a layout; `Io` if it cannot be read.
    pub fn open(input: Arc<Input>) -> Result<Self> {
        let mut members = BTreeMap::new();
        for member in tar::members(&input).map_err(|e| e.in_file(input.path()))? {
            let place = (member.offset, member.size);
            if members.insert(member.name.clone(), place).is_some() {
                let text = format!("the tar archive holds {:?} twice", member.name);
                return Err(Error::corrupt(text).at(member.offset).in_file(input.path()));
            }
        }
        Ok(Self { input, members })
    }
}

impl BlobStore for InArchive {
    fn path(&self) -> &Path {
        self.input.path()
    }

    fn path_of(&self, _name: Name) -> PathBuf {
        self.input.path().to_owned()
    }

    fn file(&self, name: Name) -> Result<Option<Blob>> {
        let place = self.members.get(&name.to_string());
        place.map(|&(start, len)| Part::new(Arc::clone(&self.input), start, len)).transpose()
    }
}
