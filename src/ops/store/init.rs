//! `store init`: an empty store.

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Result;
use crate::layout::SharedLayout;
use crate::ops::shared::report::path_text;

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InitReport {
    /// The store.
    #[serde(serialize_with = "path_text")]
    pub store: PathBuf,
}

/// Makes an empty store.
///
/// # Errors
///
/// `Invalid` if something other than an empty folder has the name; `Io` if the system refuses.
pub fn init(store: &Path) -> Result<InitReport> {
    SharedLayout::init(store)?;
    Ok(InitReport { store: store.to_owned() })
}
