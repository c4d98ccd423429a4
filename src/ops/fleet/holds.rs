//! Who holds a chunk, a file or a package.

use std::num::NonZero;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::guest::Guest;
use crate::guest::Tree;
use crate::guest::escape;
use crate::guest::packages;
use crate::manifest::Block;
use crate::manifest::GROUP_BLOCKS;
use crate::ops::fleet::nodes::Fleet;
use crate::ops::fleet::report::HolderReport;
use crate::ops::fleet::report::HoldersReport;
use crate::ops::shared::files::walk_files;
use crate::ops::shared::members::OpenedMember;
use crate::work::Watch;
use crate::work::in_order;

/// What a snapshot may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A chunk.
    Chunk(Digest),
    /// A file with this content.
    File(Digest),
    /// A package, of one version or of any.
    Package(String, Option<String>),
}

impl FromStr for Held {
    type Err = String;

    /// Reads `chunk:DIGEST`, `file:DIGEST`, `package:NAME` or `package:NAME=VERSION`.
    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || {
            format!(
                "{text:?}: expected chunk:DIGEST, file:DIGEST, package:NAME or package:NAME=VERSION"
            )
        };
        let (kind, rest) = text.split_once(':').ok_or_else(fail)?;
        let digest =
            || Digest::from_hex(rest.strip_prefix("sha256:").unwrap_or(rest)).ok_or_else(fail);
        match kind {
            "chunk" => digest().map(Self::Chunk),
            "file" => digest().map(Self::File),
            "package" if !rest.is_empty() => Ok(match rest.split_once('=') {
                Some((name, version)) => Self::Package(name.to_owned(), Some(version.to_owned())),
                None => Self::Package(rest.to_owned(), None),
            }),
            _ => Err(fail()),
        }
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Chunk(digest) => write!(f, "chunk:{digest}"),
            Self::File(digest) => write!(f, "file:{digest}"),
            Self::Package(name, None) => write!(f, "package:{name}"),
            Self::Package(name, Some(version)) => write!(f, "package:{name}={version}"),
        }
    }
}

/// What was found in a snapshot.
#[derive(Debug, Default)]
struct Found {
    count: u64,
    first_block: Option<u32>,
    names: Vec<String>,
    note: Option<String>,
}

/// Finds who holds something.
///
/// # Errors
///
/// As opening the AMIs. A volume that cannot be looked into is a note.
pub(super) fn find(
    fleet: &Fleet,
    held: &Held,
    threads: NonZero<usize>,
    watch: &dyn Watch,
    notes: &mut Vec<String>,
) -> Result<HoldersReport> {
    let mut holders = Vec::new();
    watch.begin(None);
    let look = |(): &mut (), number: usize| {
        let found = match held {
            Held::Chunk(chunk) => chunk_in(fleet, number, chunk, watch)?,
            Held::File(_) | Held::Package(..) => look_inside(fleet, number, held, watch)?,
        };
        Ok((number, found))
    };
    let jobs = (0..fleet.nodes.len()).map(Ok);
    in_order(
        threads,
        watch,
        jobs,
        || Ok(()),
        look,
        |(number, found)| {
            notes.extend(found.note);
            if found.count > 0 {
                let node = &fleet.nodes[number];
                let amis = node.members.iter().map(|member| fleet.members[*member].name.clone());
                holders.push(HolderReport {
                    snapshot: node.root,
                    amis: amis.collect(),
                    count: found.count,
                    first_block: found.first_block,
                    found: found.names,
                });
            }
            Ok(())
        },
    )?;
    Ok(HoldersReport { asked: held.to_string(), holders })
}

fn chunk_in(fleet: &Fleet, number: usize, chunk: &Digest, watch: &dyn Watch) -> Result<Found> {
    let mut found = Found::default();
    let manifest = fleet.manifest(number)?;
    for entry in manifest.entries() {
        watch.check()?;
        let group = entry.and_then(|entry| manifest.group(&entry));
        let group = group.map_err(|error| fleet.blame(number, error))?;
        // Digests alone first: that a group has the chunk is rare.
        if !group.digests().contains(&chunk.0) {
            continue;
        }
        for bit in (0..GROUP_BLOCKS).filter(|bit| group.block(*bit) == Block::Data(*chunk)) {
            found.first_block.get_or_insert(group.index(bit).0);
            found.count = found.count.strict_add(1);
        }
    }
    Ok(found)
}

fn look_inside(fleet: &Fleet, number: usize, held: &Held, watch: &dyn Watch) -> Result<Found> {
    let node = &fleet.nodes[number];
    let readable = node.members.iter().map(|at| &fleet.members[*at]).find(|it| it.can_be_read());
    let Some(member) = readable else {
        return Ok(unseen(fleet, number, "only its manifest is there"));
    };
    let opened = member.open().map_err(|error| error.in_file(member.path()))?;
    let OpenedMember::Bundle(bundle) = opened else {
        unreachable!("what can be read is a bundle");
    };
    let device = member.volumes.iter().find(|it| it.root == node.root).map(|it| &*it.device);
    let looked = bundle.snapshot(device).and_then(|volume| {
        let guest = Guest::open(&volume)?;
        let tree = Tree::open(&guest, None)?;
        in_tree(&tree, held, watch)
    });
    match looked {
        Err(error) if error.kind() == Kind::Interrupted => Err(error),
        Err(error) => Ok(unseen(fleet, number, &Error::without_advice(&error).to_string())),
        Ok(names) => {
            let count = u64::try_from(names.len()).expect("memory is under 2^64 bytes");
            Ok(Found { count, names, ..Found::default() })
        }
    }
}

/// Says why a volume was not looked into.
fn unseen(fleet: &Fleet, number: usize, why: &str) -> Found {
    let note = format!("{} was not looked into: {why}", fleet.name_of(number));
    Found { note: Some(note), ..Found::default() }
}

fn in_tree(tree: &Tree<'_>, held: &Held, watch: &dyn Watch) -> Result<Vec<String>> {
    let mut names = Vec::new();
    match held {
        Held::Chunk(_) => unreachable!("chunks are not inside"),
        Held::File(digest) => {
            walk_files(tree, watch, &mut |file| {
                if file.digest == Some(*digest) {
                    names.push(escape(file.path));
                }
                Ok(())
            })?;
        }
        Held::Package(name, version) => {
            for package in packages(tree)?.installed {
                let is_version = version.as_ref().is_none_or(|it| *it == package.version);
                if package.name == *name && is_version {
                    names.push(format!("{} {}", package.name, package.version));
                }
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_read_as_it_is_written() {
        let digest = Digest([7; 32]).hex();
        for text in [format!("chunk:{digest}"), format!("file:{digest}")] {
            assert_eq!(text.parse::<Held>().unwrap().to_string(), text);
        }
        for text in ["package:openssl", "package:openssl=1:3.0-1"] {
            assert_eq!(text.parse::<Held>().unwrap().to_string(), text);
        }
        for text in ["", "chunk:", "chunk:00", "package:", "disk:web", "openssl"] {
            assert!(text.parse::<Held>().is_err(), "{text}");
        }
    }
}
