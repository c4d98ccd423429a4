//! Synthetic fleets: lineages over shared bases, with churn, seeded, so that what is shared is known.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use amikit::Digest;
use amikit::internals::io::OutputFile;
use amikit::internals::manifest::Block;
use amikit::internals::manifest::Builder;
use amikit::internals::units::BLOCK_SIZE;
use amikit::internals::units::ExtentKind;

use crate::common::Random;

/// A volume of a fleet.
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) root: Digest,
    pub(crate) blocks: Vec<Block>,
    /// Its number in the fleet.
    pub(crate) parent: Option<usize>,
}

/// What a fleet looks like.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) lineages: usize,
    /// Versions of a lineage; each is made over the one before, or over an older one.
    pub(crate) versions: usize,
    pub(crate) blocks: usize,
    /// How many of 1,000 blocks each version changes.
    pub(crate) churn: u64,
}

/// Writes the manifest of a volume.
pub(crate) fn write_manifest(path: &Path, blocks: &[Block]) -> Digest {
    let output = OutputFile::create(path).unwrap();
    let summary = {
        let mut builder = Builder::new(&output);
        for block in blocks {
            match block {
                Block::Data(digest) => builder.push_data(digest).unwrap(),
                Block::Zero => builder.push_run(ExtentKind::Zero, 1).unwrap(),
                Block::Hole => builder.push_run(ExtentKind::Hole, 1).unwrap(),
            }
        }
        builder.finish(u64::try_from(blocks.len()).unwrap() * BLOCK_SIZE).unwrap()
    };
    output.commit().unwrap();
    summary.root
}

/// Returns a chunk id out of a few for all lineages, as an operating system has them, or one of its own.
fn block(random: &mut Random, shared: u64) -> Block {
    match random.below(20) {
        0 => Block::Zero,
        1 | 2 => Block::Hole,
        3..8 => Block::Data(chunk(random.below(shared))),
        _ => Block::Data(chunk(random.next() | 1 << 63)),
    }
}

fn chunk(number: u64) -> Digest {
    amikit::internals::digest::sha256(&number.to_le_bytes())
}

impl Shape {
    /// Makes the fleet's manifests in a folder, and `lineage.csv` beside it.
    pub(crate) fn write(self, folder: &Path, lineage: &Path, random: &mut Random) -> Vec<Volume> {
        fs::create_dir_all(folder).unwrap();
        let shared = u64::try_from(self.blocks).unwrap();
        // Three bases that lineages begin with, as with the releases of a distribution.
        let bases: Vec<Vec<Block>> =
            (0..3).map(|_| (0..self.blocks).map(|_| block(random, shared)).collect()).collect();
        let mut fleet: Vec<Volume> = Vec::new();
        let mut known = BTreeMap::new();
        let mut text = "snapshot,parent\n".to_owned();
        for lineage in 0..self.lineages {
            let first = fleet.len();
            for version in 0..self.versions {
                let over = fleet.len() - first;
                let parent = match over {
                    0 => None,
                    // Now and then two versions are made over the same one.
                    _ if random.below(8) == 0 => Some(first + random.index(over)),
                    _ => Some(fleet.len() - 1),
                };
                let mut blocks = match parent {
                    Some(parent) => fleet[parent].blocks.clone(),
                    None => bases[random.index(bases.len())].clone(),
                };
                // Volumes grow.
                if random.below(10) == 0 {
                    blocks.resize(blocks.len() + self.blocks / 10, Block::Hole);
                }
                for at in &mut blocks {
                    if random.below(1000) < self.churn {
                        *at = block(random, shared);
                    }
                }
                // Each snapshot is another one, or it would be the same under two names.
                blocks[0] = Block::Data(chunk(random.next() | 1 << 63));
                let name = format!("l{lineage:03}-v{version:02}");
                let root = write_manifest(&folder.join(format!("{name}.snap")), &blocks);
                assert!(known.insert(root, name.clone()).is_none(), "{name} is twice there");
                if let Some(parent) = parent {
                    writeln!(text, "{name},{}", fleet[parent].name).unwrap();
                }
                fleet.push(Volume { name, root, blocks, parent });
            }
        }
        fs::write(lineage, text).unwrap();
        fleet
    }
}
