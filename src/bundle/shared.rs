//! The packs of a store, so that no chunk is stored again that one of them has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::bundle::annotations;
use crate::bundle::layers::Layers;
use crate::digest::Digest;
use crate::error::Result;
use crate::io::ReadAt;
use crate::layout;
use crate::layout::BlobStore;
use crate::layout::Catalog;
use crate::layout::Descriptor;
use crate::layout::oci;
use crate::manifest;
use crate::pack::Pack;

/// Most bases of packs that are looked at: a manifest may name 64, and the AMI can have a base of its own.
const MOST_BASES: usize = 48;

/// Most packs that are looked at: each is mapped into memory.
const MOST_PACKS: usize = 16_384;

/// A pack, and the layers that must come before it.
#[derive(Debug)]
struct Candidate {
    pack: Pack,
    /// What the pack depends on, in order, and then the pack itself.
    layers: Vec<Descriptor>,
    used: AtomicBool,
}

/// The packs of a store.
#[derive(Debug, Default)]
pub struct SharedPacks {
    packs: Vec<Candidate>,
}

impl SharedPacks {
    /// Opens the packs that the manifests of a store name. What is not sound, or not amikit's, is passed over: its
    /// chunks are stored again.
    ///
    /// # Errors
    ///
    /// As [`Catalog::read`].
    pub fn open(store: &dyn BlobStore) -> Result<Self> {
        let (mut packs, mut known) = (Vec::new(), BTreeSet::new());
        let (mut bases, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for entry in Catalog::read(store)?.entries {
            if !seen.insert(entry.descriptor.digest) {
                continue;
            }
            let Some(layers) = layers_of(store, &entry.descriptor) else { continue };
            // Packs and manifests of bases so far, and where those of each base end.
            let (mut before, mut ends): (Vec<Descriptor>, Vec<(String, usize)>) =
                Default::default();
            for layer in layers {
                let is_pack = layer.media_type == crate::pack::MEDIA_TYPE;
                if is_pack && packs.len() < MOST_PACKS && !known.contains(&layer.digest) {
                    let needed = match layer.annotations.get(annotations::BASE) {
                        None => 0,
                        Some(base) => {
                            let end = ends.iter().rev().find(|(root, _)| root == base);
                            end.map_or(before.len(), |(_, end)| *end)
                        }
                    };
                    let needed = &before[..needed];
                    let of_it = needed.iter().filter(|it| it.media_type == manifest::MEDIA_TYPE);
                    let more: BTreeSet<Digest> =
                        bases.iter().copied().chain(of_it.map(|it| it.digest)).collect();
                    if more.len() <= MOST_BASES
                        && let Some(pack) = open_pack(store, &layer)
                    {
                        bases = more;
                        known.insert(layer.digest);
                        let layers = needed.iter().cloned().chain([layer.clone()]).collect();
                        packs.push(Candidate { pack, layers, used: AtomicBool::new(false) });
                    }
                }
                let of_base = annotations::is_of_base(&layer).unwrap_or(false);
                if is_pack || of_base {
                    let root = layer.annotations.get(annotations::ROOT_DIGEST).cloned();
                    before.push(layer);
                    ends.extend(root.map(|root| (root, before.len())));
                }
            }
        }
        Ok(Self { packs })
    }

    /// Tells whether a pack has the chunk; the AMI under way needs that pack then.
    ///
    /// # Errors
    ///
    /// `Corrupt` if an index changed under us.
    pub fn has(&self, id: &Digest) -> Result<bool> {
        // In order, with no hint: the first pack that has it is the one, whatever was asked for before.
        for candidate in &self.packs {
            if candidate.pack.find(id)?.is_some() {
                candidate.used.store(true, Ordering::Relaxed);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the layers of the packs that are needed, each after what it depends on.
    #[must_use]
    pub fn layers(&self) -> Vec<Descriptor> {
        let (mut layers, mut seen) = (Vec::new(), BTreeSet::new());
        for candidate in self.packs.iter().filter(|it| it.used.load(Ordering::Relaxed)) {
            for layer in &candidate.layers {
                if seen.insert(layer.digest) {
                    layers.push(layer.clone());
                }
            }
        }
        layers
    }
}

/// Returns the layers that a manifest names, if it is one of amikit's.
fn layers_of(store: &dyn BlobStore, entry: &Descriptor) -> Option<Vec<Descriptor>> {
    let bytes = layout::read_document(store, entry, layout::MAX_MANIFEST_LEN).ok()?;
    let manifest: oci::Manifest = serde_json::from_slice(&bytes).ok()?;
    Layers::sort(&manifest.layers).ok().map(|layers| layers.in_order)
}

fn open_pack(store: &dyn BlobStore, layer: &Descriptor) -> Option<Pack> {
    let blob = layout::open_blob(store, layer).ok()?;
    Pack::open(Arc::clone(blob.whole()), blob.start(), blob.len()).ok()
}
