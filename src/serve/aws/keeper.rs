//! What the server wants of the store.

use std::sync::Arc;

use crate::ami::Ami;
use crate::bundle::Snapshot;
use crate::digest::Digest;
use crate::error::Result;
use crate::instance_store::Machine;
use crate::lint::Finding;
use crate::volume::ReadVolume;

/// Something of the store that was there before the server, or that it made.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its description, with root digests; `None` for a snapshot that belongs to no AMI.
    pub ami: Option<Ami>,
    /// Its volumes: device, root digest, bytes.
    pub volumes: Vec<(String, Digest, u64)>,
    /// What a snapshot is, for people.
    pub description: Option<String>,
}

/// What the server wants of the store. Whatever it asks is done, and on disk, when a call returns.
pub trait Keeper: Send + Sync {
    /// Lists what is there.
    ///
    /// # Errors
    ///
    /// As reading the store.
    fn list(&self) -> Result<Vec<Kept>>;

    /// Opens a volume of an AMI or snapshot.
    ///
    /// # Errors
    ///
    /// As opening it.
    fn open(&self, name: &str, device: &str) -> Result<Arc<Snapshot>>;

    /// Makes a snapshot of a volume, as patches over another one where there is a base: its name and device.
    ///
    /// # Errors
    ///
    /// As packing it.
    fn keep(
        &self,
        name: &str,
        volume: &dyn ReadVolume,
        base: Option<&(String, String)>,
        description: Option<String>,
    ) -> Result<Digest>;

    /// Makes an AMI of snapshots: for each device the name and device of its content.
    ///
    /// # Errors
    ///
    /// As packing them.
    fn register(&self, name: &str, ami: &Ami, volumes: &[(String, (String, String))])
    -> Result<()>;

    /// Takes names away.
    ///
    /// # Errors
    ///
    /// As writing the store. That a name is not there is fine.
    fn remove(&self, name: &str) -> Result<()>;

    /// Looks at a bundle of EC2's own that is a folder in that of the store: its manifest and its parts. Nothing is opened, and
    /// no part read; `None` if there is no such folder.
    ///
    /// # Errors
    ///
    /// `Corrupt` and the like if EC2 would not take it; `Io`.
    fn instance_store(&self, name: &str) -> Result<Option<Machine>>;

    /// Says what EC2 would refuse in a description; contents are looked at for what only they tell.
    ///
    /// # Errors
    ///
    /// As reading the volumes.
    fn refusals(
        &self,
        ami: &Ami,
        volumes: &[(String, (String, String))],
        unread: &[crate::ami::Unread],
    ) -> Result<Vec<Finding>>;
}
