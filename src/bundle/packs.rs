//! The packs of a bundle, and what they depend on.

use std::sync::Arc;

use crate::bundle::BaseBytes;
use crate::bundle::BaseLayer;
use crate::bundle::BaseSnapshot;
use crate::bundle::Bundle;
use crate::bundle::Snapshot;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::layout::Name;
use crate::manifest::Manifest;
use crate::pack::Base;
use crate::pack::Chunks;
use crate::pack::GroupCache;
use crate::pack::Pack;

/// The packs of a bundle, as far as they could be opened.
#[derive(Debug, Default)]
pub struct OpenedPacks {
    /// Packs, with their numbers among the bundle's.
    pub packs: Vec<(usize, Arc<Pack>)>,
    /// Numbers of the packs that are left out because the base has them.
    pub absent: Vec<usize>,
    /// Packs that are not sound.
    pub broken: Vec<(usize, Error)>,
    /// What chunks are looked for in that no pack has.
    pub bases: Vec<Arc<BaseSnapshot>>,
    /// The groups that are decompressed, of all these packs.
    pub cache: Arc<GroupCache>,
}

fn as_base(base: &Arc<BaseSnapshot>) -> Arc<dyn Base> {
    Arc::<BaseSnapshot>::clone(base)
}

/// Joins packs that are all sound.
fn sound(mut opened: OpenedPacks) -> Result<Chunks> {
    match opened.broken.pop() {
        Some((_, error)) => Err(error),
        None => Ok(opened.chunks()),
    }
}

impl OpenedPacks {
    /// Joins the packs and what they depend on.
    #[must_use]
    pub fn chunks(&self) -> Chunks {
        let packs = self.packs.iter().map(|(_, pack)| Arc::clone(pack)).collect();
        let mut bases: Vec<_> = self.bases.iter().map(as_base).collect();
        // A chunk that two of them have is read from the one that is there.
        bases.sort_by_key(|base| base.is_absent());
        Chunks::new(packs).over(bases).sharing(Arc::clone(&self.cache))
    }
}

impl Bundle {
    /// Opens the snapshot of `device`, or of the root device, as a volume.
    ///
    /// # Errors
    ///
    /// As [`Bundle::find`], [`Bundle::manifest`] and [`Bundle::pack`].
    pub fn snapshot(&self, device: Option<&str>) -> Result<Snapshot> {
        let manifest = self.manifest(self.find(device)?)?;
        Ok(Snapshot::new(manifest, Arc::new(self.chunks()?)))
    }

    /// As [`Bundle::snapshot`], with decompressed groups in a cache that others use too: each cache has room of its own.
    ///
    /// # Errors
    ///
    /// As [`Bundle::snapshot`].
    pub(crate) fn snapshot_sharing(
        &self,
        device: Option<&str>,
        cache: &Arc<GroupCache>,
    ) -> Result<Snapshot> {
        let manifest = self.manifest(self.find(device)?)?;
        let chunks = sound(self.open_packs_with(Arc::clone(cache))?)?;
        Ok(Snapshot::new(manifest, Arc::new(chunks)))
    }

    /// Names snapshots that the bundle may depend on. Those that it does not depend on are left aside.
    ///
    /// # Errors
    ///
    /// `Mismatch` if it depends on none of them.
    pub fn over(mut self, bases: Vec<Arc<BaseSnapshot>>) -> Result<Self> {
        let needed = |root: Digest| self.layers.bases.iter().any(|base| base.root == root);
        let named: Vec<Digest> = bases.iter().map(|base| base.manifest().root()).collect();
        let fit: Vec<_> = bases.into_iter().filter(|it| needed(it.manifest().root())).collect();
        if fit.is_empty() {
            return Err(self.wrong_base(&named));
        }
        self.supplied = fit;
        Ok(self)
    }

    /// Returns the snapshots that were named as what the bundle depends on.
    #[must_use]
    pub fn supplied(&self) -> &[Arc<BaseSnapshot>] {
        &self.supplied
    }

    /// Says that a snapshot is none that the bundle depends on.
    #[must_use]
    pub fn wrong_base(&self, named: &[Digest]) -> Error {
        let list = |roots: &mut dyn Iterator<Item = Digest>| {
            roots.map(|root| format!("sha256:{root}")).collect::<Vec<_>>().join(", ")
        };
        let found = list(&mut named.iter().copied());
        if self.layers.bases.is_empty() {
            return Error::invalid("the bundle needs no base")
                .in_file(self.path())
                .advise(Advice::Omit(Setting::Base));
        }
        let expected = list(&mut self.layers.bases.iter().map(|base| base.root));
        let text = format!("the base's root digest is {found}, expected {expected}");
        Error::new(Kind::Mismatch, text)
            .in_file(self.path())
            .advise("name the bundle or image that this bundle was packed against")
    }

    /// Opens the manifest of a snapshot that the bundle depends on.
    ///
    /// # Errors
    ///
    /// As [`Bundle::manifest`].
    pub fn base_manifest(&self, layer: &BaseLayer) -> Result<Manifest> {
        self.manifest_of(&layer.blob, layer.root)
    }

    /// Opens all packs, and says of each that cannot be opened why.
    ///
    /// # Errors
    ///
    /// As [`Bundle::manifest`], for the manifests of bases.
    pub fn open_packs(&self) -> Result<OpenedPacks> {
        self.open_packs_with(Arc::default())
    }

    fn open_packs_with(&self, cache: Arc<GroupCache>) -> Result<OpenedPacks> {
        let mut opened = OpenedPacks { cache, ..OpenedPacks::default() };
        let mut bases: Vec<Arc<BaseSnapshot>> = Vec::new();
        let mut layers = self.layers.bases.iter().peekable();
        for (number, pack) in self.layers.packs.iter().enumerate() {
            while let Some(layer) = layers.next_if(|base| base.packs_before <= number) {
                self.open_base(layer, &mut bases, &mut opened)?;
            }
            if pack.of_base && self.store.file(Name::Blob(pack.blob.digest))?.is_none() {
                opened.absent.push(number);
                continue;
            }
            let base = pack.base.and_then(|root| {
                bases.iter().find(|base| base.manifest().root() == root).map(Arc::clone)
            });
            match self.pack(&pack.blob) {
                Ok(open) => {
                    opened.packs.push((number, Arc::new(open.over(base.as_ref().map(as_base)))));
                }
                Err(error) => opened.broken.push((number, error)),
            }
        }
        for layer in layers {
            self.open_base(layer, &mut bases, &mut opened)?;
        }
        Ok(opened)
    }

    /// Opens a snapshot that others depend on: as it was named, or out of the packs so far.
    fn open_base(
        &self,
        layer: &BaseLayer,
        bases: &mut Vec<Arc<BaseSnapshot>>,
        opened: &mut OpenedPacks,
    ) -> Result<()> {
        // Two releases of a chain can be the same snapshot.
        if bases.iter().any(|base| base.manifest().root() == layer.root) {
            return Ok(());
        }
        if let Some(base) = self.supplied.iter().find(|base| base.manifest().root() == layer.root) {
            bases.push(Arc::clone(base));
            opened.bases.push(Arc::clone(base));
            return Ok(());
        }
        let manifest = self.manifest_of(&layer.blob, layer.root)?;
        let stored = opened.absent.is_empty() && layer.packs_before > 0;
        let bytes = if stored || manifest.header().counts.data == 0 {
            BaseBytes::Packs(opened.chunks())
        } else {
            BaseBytes::Absent
        };
        let absent = matches!(bytes, BaseBytes::Absent);
        let base = Arc::new(BaseSnapshot::new(manifest, bytes));
        // The bases of a base are needed by its packs, which are left out as well.
        if absent && self.needs(layer.root) {
            opened.bases.push(Arc::clone(&base));
        }
        bases.push(base);
        Ok(())
    }

    /// Tells whether the bundle's own layers depend on a snapshot.
    fn needs(&self, root: Digest) -> bool {
        let packs = self.layers.packs.iter().filter(|pack| !pack.of_base).map(|pack| pack.base);
        let snapshots = self.layers.snapshots.iter().map(|snapshot| snapshot.base);
        packs.chain(snapshots).any(|base| base == Some(root))
    }

    /// Opens all packs.
    ///
    /// # Errors
    ///
    /// As [`Bundle::pack`] and [`Bundle::manifest`].
    pub fn chunks(&self) -> Result<Chunks> {
        sound(self.open_packs()?)
    }

    /// Tells whether the bundle leaves out packs or chunks that its base has.
    ///
    /// # Errors
    ///
    /// As [`Bundle::open_packs`].
    pub fn is_thin(&self) -> Result<bool> {
        let opened = self.open_packs()?;
        Ok(opened.bases.iter().any(|base| base.is_absent()) || !opened.absent.is_empty())
    }
}
