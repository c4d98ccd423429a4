//! The layers of a bundle: snapshots, packs, and what they depend on.

use crate::bundle::annotations;
use crate::bundle::free::FreeRecord;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::layout::Descriptor;
use crate::manifest;
use crate::manifest::Part;

/// Most snapshots that the layers of a bundle depend on, one on the other: each brings a manifest that
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
    /// What became of free blocks.
    pub free: Option<FreeRecord>,
}

impl SnapshotLayer {
    /// Returns what the snapshot is a part of, if it is one.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the record is none.
    pub fn part(&self) -> Result<Option<Part>> {
        let record = self.blob.annotations.get(annotations::PART);
        record.map(|record| Part::from_json(record.as_bytes())).transpose()
    }
}

/// A pack layer of a bundle.
#[derive(Clone, Debug)]
pub struct PackLayer {
    /// The blob.
    pub blob: Descriptor,
    /// Root digest of the snapshot that its patched chunks depend on.
    pub base: Option<Digest>,
    /// Whether it is a pack of the base: a thin bundle leaves it out.
    pub of_base: bool,
}

/// A layer that is the manifest of a snapshot that others depend on.
#[derive(Clone, Debug)]
pub struct BaseLayer {
    /// The blob.
    pub blob: Descriptor,
    /// Root digest, as annotated.
    pub root: Digest,
    /// How many of the packs come before it: its chunks are in those.
    pub packs_before: usize,
    /// What became of its free blocks.
    pub free: Option<FreeRecord>,
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
            let of_base = annotations::is_of_base(layer)?;
            let free = annotations::free_of(layer)?;
            match layer.media_type.as_str() {
                crate::pack::MEDIA_TYPE => sorted.packs.push(PackLayer { blob, base, of_base }),
                manifest::MEDIA_TYPE => {
                    let root = annotations::root_of(layer, annotations::ROOT_DIGEST)?
                        .ok_or_else(|| lacks(annotations::ROOT_DIGEST))?;
                    if of_base {
                        let packs_before = sorted.packs.len();
                        sorted.bases.push(BaseLayer { blob, root, packs_before, free });
                    } else {
                        let device = layer.annotations.get(annotations::DEVICE).cloned();
                        let device = device.ok_or_else(|| lacks(annotations::DEVICE))?;
                        sorted.snapshots.push(SnapshotLayer { blob, device, root, base, free });
                    }
                }
                other => {
                    let text =
                        format!("a layer has the type {other:?}, which this version does not know");
                    return Err(Error::new(Kind::Unsupported, text));
                }
            }
        }
        if sorted.bases.len() > MAX_BASES {
            let text = format!(
                "the bundle depends on {} snapshots, expected at most {MAX_BASES}",
                sorted.bases.len()
            );
            return Err(Error::new(Kind::Limit, text).advise("pack the image again without a base"));
        }
        sorted.check_bases()?;
        Ok(sorted)
    }

    /// Checks that each layer comes after the layers that it depends on.
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
                "a layer depends on the snapshot sha256:{root}, which no earlier layer describes"
            ))),
        }
    }
}

fn lacks(annotation: &str) -> Error {
    Error::corrupt(format!("a snapshot layer lacks the annotation {annotation}"))
}
