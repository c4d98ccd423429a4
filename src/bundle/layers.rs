//! The layers of a bundle: snapshots, packs, and what they lean on.

use std::sync::Arc;

use crate::bundle::BaseBytes;
use crate::bundle::BaseSnapshot;
use crate::bundle::Bundle;
use crate::bundle::annotations;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::layout::Descriptor;
use crate::layout::Name;
use crate::manifest;
use crate::manifest::Manifest;
use crate::pack;
use crate::pack::Base;
use crate::pack::Chunks;
use crate::pack::Pack;

/// Most snapshots that the layers of a bundle lean on, one on the other: each brings a manifest that
/// must be opened before the first block can be read.
pub(super) const MAX_BASES: usize = 64;

/// A snapshot layer of a bundle.
#[derive(Clone, Debug)]
pub struct SnapshotLayer {
    /// The blob.
    pub blob: Descriptor,
    /// Device of the AMI.
    pub device: String,
    /// Root digest, as annotated.
    pub root: Digest,
    /// Root digest of the snapshot that has the chunks that no pack has.
    pub base: Option<Digest>,
}

/// A pack layer of a bundle.
#[derive(Clone, Debug)]
pub struct PackLayer {
    /// The blob.
    pub blob: Descriptor,
    /// Root digest of the snapshot that its patched chunks lean on.
    pub base: Option<Digest>,
    /// Whether it is a pack of the base: a thin bundle leaves it out.
    pub of_base: bool,
}

/// A layer that is the manifest of a snapshot that others lean on.
#[derive(Clone, Debug)]
pub struct BaseLayer {
    /// The blob.
    pub blob: Descriptor,
    /// Root digest, as annotated.
    pub root: Digest,
    /// How many of the packs come before it: its chunks are in those.
    pub packs_before: usize,
}

/// All layers of a bundle, sorted by what they are.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) snapshots: Vec<SnapshotLayer>,
    pub(super) packs: Vec<PackLayer>,
    pub(super) bases: Vec<BaseLayer>,
    /// All of them as they stand in the OCI manifest.
    pub(super) in_order: Vec<Descriptor>,
}

impl Layers {
    /// Tells the layers apart, and refuses what is none of a bundle.
    pub(super) fn sort(layers: &[Descriptor]) -> Result<Self> {
        let mut sorted = Self { in_order: layers.to_vec(), ..Self::default() };
        for layer in layers {
            let blob = layer.clone();
            let base = annotations::root_of(layer, annotations::BASE)?;
            let of_base = annotations::is_of_base(&layer)?;
            match layer.media_type.as_str() {
                pack::MEDIA_TYPE => sorted.packs.push(PackLayer { blob, base, of_base }),
                manifest::MEDIA_TYPE => {
                    let root = annotations::root_of(layer, annotations::ROOT_DIGEST)?
                        .ok_or_else(|| lacks(annotations::ROOT_DIGEST))?;
                    if of_base {
                        let packs_before = sorted.packs.len();
                        sorted.bases.push(BaseLayer { blob, root, packs_before });
                    } else {
                        let device = layer.annotations.get(annotations::DEVICE).cloned();
                        let device = device.ok_or_else(|| lacks(annotations::DEVICE))?;
                        sorted.snapshots.push(SnapshotLayer { blob, device, root, base });
                    }
                }
                other => {
                    let text =
                        format!("a layer is of type {other:?}, which this amikit does not know");
                    return Err(Error::new(Kind::Unsupported, text));
                }
            }
        }
        if sorted.bases.len() > MAX_BASES {
            let text = format!(
                "the bundle leans on {} snapshots, expected at most {MAX_BASES}",
                sorted.bases.len()
            );
            return Err(Error::new(Kind::Limit, text).advise("pack the image anew, without a base"));
        }
        sorted.check_bases()?;
        Ok(sorted)
    }

    /// Checks that whatever is leaned on stands before whoever leans on it.
    fn check_bases(&self) -> Result<()> {
        let known = |root: Digest, packs_before: usize| {
            self.bases.iter().any(|base| base.root == root && base.packs_before <= packs_before)
        };
        let packs = self.packs.iter().enumerate().filter_map(|(at, pack)| Some((pack.base?, at)));
        let all = self.packs.len();
        let snapshots = self.snapshots.iter().filter_map(|it| Some((it.base?, all)));
        match packs.chain(snapshots).find(|(root, at)| !known(*root, *at)) {
            None => Ok(()),
            Some((root, _)) => Err(Error::corrupt(format!(
                "a layer leans on the snapshot sha256:{root}, which no layer before it describes"
            ))),
        }
    }
}

fn lacks(annotation: &str) -> Error {
    Error::corrupt(format!("a snapshot layer lacks the annotation {annotation}"))
}

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
}

fn as_base(base: &Arc<BaseSnapshot>) -> Arc<dyn Base> {
    Arc::<BaseSnapshot>::clone(base)
}

impl OpenedPacks {
    /// Joins the packs and what they lean on.
    #[must_use]
    pub fn chunks(&self) -> Chunks {
        let packs = self.packs.iter().map(|(_, pack)| Arc::clone(pack)).collect();
        let mut bases: Vec<_> = self.bases.iter().map(as_base).collect();
        // A chunk that two of them have is read from the one that is there.
        bases.sort_by_key(|base| base.is_absent());
        Chunks::new(packs).over(bases)
    }
}

impl Bundle {
    /// Names snapshots that the bundle may lean on. Those that it does not lean on are left aside.
    ///
    /// # Errors
    ///
    /// `Mismatch` if it leans on none of them.
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

    /// Says that a snapshot is none that the bundle leans on.
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

    /// Opens the manifest of a snapshot that the bundle leans on.
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
        let mut opened = OpenedPacks::default();
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

    /// Opens a snapshot that others lean on: as it was named, or out of the packs so far.
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

    /// Tells whether the bundle's own layers lean on a snapshot.
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
        let mut opened = self.open_packs()?;
        match opened.broken.pop() {
            Some((_, error)) => Err(error),
            None => Ok(opened.chunks()),
        }
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
