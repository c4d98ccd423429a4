//! What each fuzz target does with its bytes. The integration tests run the stored seeds and regressions
//! through the same functions.

mod bundle;
mod documents;
mod image;
mod indexes;
mod inside;
mod peer;
mod proof;
mod round;
mod stored;

use std::path::PathBuf;

/// A seed: its target, its name and its bytes.
pub type Seed = (&'static str, PathBuf, Vec<u8>);

/// A target: its name, which is that of its folders, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets but the one that must fail.
pub const TARGETS: &[Target] = &[
    ("walk", image::walk),
    ("inside", inside::inside),
    ("round", round::round),
    ("manifest", indexes::manifest),
    ("pack", stored::pack),
    ("patch", stored::patch),
    ("page-index", indexes::page_index),
    ("bundle", bundle::folder),
    ("archive", bundle::archive),
    ("ovf", documents::ovf),
    ("instance-store", documents::instance_store),
    ("recipe", documents::recipe),
    ("ami", documents::ami),
    ("sidecar", documents::sidecar),
    ("peer", peer::peer),
];

/// Panics at a header that only feedback finds: a run that does not find one proves nothing.
pub const PROOF: Target = ("proof", proof::proof);

/// Makes seeds that the library itself can make.
pub fn seeds() -> Vec<Seed> {
    [bundle::seeds(), round::seeds(), peer::seeds()].concat()
}

/// Makes a seed of an image of a format.
pub fn image_seed(format: &str, image: &[u8]) -> Vec<u8> {
    image::seed(format, image)
}

/// Makes a seed of a volume with something inside.
pub fn inside_seed(volume: &[u8]) -> Vec<u8> {
    inside::seed(volume)
}
