//! What peers choose from.

use std::sync::Arc;

use crate::volume::ReadVolume;

/// A volume and the name under which peers find it.
#[derive(Clone, Debug)]
pub struct Export {
    /// The name; the default export's is empty.
    pub name: String,
    /// A human-readable description, where a client asks for one.
    pub description: String,
    /// The volume.
    pub volume: Arc<dyn ReadVolume>,
}
