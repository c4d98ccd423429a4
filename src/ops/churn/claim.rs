//! Files whose names say that programs write them again: whether what differs in them bears that out.

use crate::explain::Proof;
use crate::explain::generated;
use crate::explain::same_bytecode;
use crate::guest::FileKind;
use crate::guest::Node;
use crate::guest::Outcome;
use crate::guest::Spot;
use crate::guest::Tree;
use crate::ops::churn::initramfs::Difference;
use crate::ops::churn::initramfs::Inside;
use crate::ops::churn::initramfs::difference;

/// Most bytes of a generated file that is compared by what it says: of 30,000 libraries the cache has 2 MiB.
const MAX_LEN: u64 = 16 << 20;

/// Bytes in front of the code in bytecode.
const BYTECODE_HEAD_LEN: u64 = 16;

/// A file in a tree.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) tree: &'a Tree<'a>,
    pub(super) spot: Spot,
    pub(super) node: Node,
}

/// What its name says of a file that differs.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim {
    /// The cause, while nothing speaks against it.
    pub(super) cause: Option<&'static str>,
    pub(super) proof: Option<Proof>,
    /// Why it is real after all.
    pub(super) note: Option<String>,
    /// What differs inside.
    pub(super) inside: Vec<Inside>,
    /// How bytecode begins that only one build has.
    pub(super) head: Vec<u8>,
}

impl Claim {
    /// Judges a file that differs by its name and its content on both sides.
    pub(super) fn of(
        path: &[u8],
        old: Option<Seen<'_>>,
        new: Option<Seen<'_>>,
    ) -> Outcome<Option<Box<Self>>> {
        let Some((cause, proof)) = generated(path) else { return Ok(None) };
        let fits = |kind: FileKind| match proof {
            Proof::Link => kind == FileKind::Symlink,
            Proof::Place => matches!(kind, FileKind::Regular | FileKind::Directory),
            _ => kind == FileKind::Regular,
        };
        let is_directory = |it: Seen<'_>| it.node.kind == FileKind::Directory;
        if !fits(FileKind::Directory) && [old, new].into_iter().flatten().all(is_directory) {
            // A folder of generated files is none itself.
            return Ok(None);
        }
        let mut claim = Self { cause: Some(cause), proof: Some(proof), ..Self::default() };
        if let Some(other) = [old, new].into_iter().flatten().find(|it| !fits(it.node.kind)) {
            claim.refuse(format!("{cause} explains no {}", other.node.kind.name()));
            return Ok(Some(Box::new(claim)));
        }
        match claim.prove(proof, old, new) {
            Err(failure) if failure.is_unsupported() => {
                claim.refuse("it cannot be read".to_owned());
            }
            other => other?,
        }
        Ok(Some(Box::new(claim)))
    }

    /// Says that a cause explains all of it.
    pub(super) fn all(cause: &'static str) -> Self {
        Self { cause: Some(cause), ..Self::default() }
    }

    /// Finds that the difference is real, and why.
    pub(super) fn refuse(&mut self, note: String) {
        if self.cause.take().is_some() {
            self.note = Some(note);
        }
    }

    fn prove(&mut self, proof: Proof, old: Option<Seen<'_>>, new: Option<Seen<'_>>) -> Outcome<()> {
        let cause = self.cause.expect("it was set");
        let more = || format!("more differs in it than {cause} explains");
        match (proof, old, new) {
            (Proof::Place | Proof::Link | Proof::IndexOf(_), ..)
            | (Proof::IndexOfFolder | Proof::Rpm, Some(_), Some(_)) => {}
            (Proof::Content(says), old, new) => match (content(old)?, content(new)?) {
                (Some(old), Some(new)) if says(old.as_deref(), new.as_deref()) => {}
                _ => self.refuse(more()),
            },
            (Proof::Bytecode, Some(old), Some(new)) => {
                match (content(Some(old))?, content(Some(new))?) {
                    (Some(Some(old)), Some(Some(new))) if same_bytecode(&old, &new) => {}
                    _ => self.refuse(more()),
                }
            }
            (Proof::Bytecode, old, new) => {
                if let Some(seen) = old.or(new) {
                    self.head = seen.tree.head(seen.spot, BYTECODE_HEAD_LEN)?;
                }
            }
            (Proof::Initramfs, Some(old), Some(new)) => {
                let (old, new) = (old.tree.reader(old.spot)?, new.tree.reader(new.spot)?);
                match difference(&old, &new)? {
                    Difference::None => {}
                    Difference::Files(inside) => {
                        self.refuse("files in it differ".to_owned());
                        self.inside = inside;
                    }
                    Difference::Packing(note) => self.refuse(note),
                    Difference::Unknown(note) => self.refuse(note.to_owned()),
                }
            }
            // It comes with a kernel or a package.
            (Proof::IndexOfFolder | Proof::Rpm | Proof::Initramfs, ..) => {
                self.refuse("only one build has it".to_owned());
            }
        }
        Ok(())
    }
}

/// Returns what a file holds: nothing where there is none, and `None` if it is too long.
#[expect(clippy::option_option, reason = "a file that is not there is not one that is too long")]
fn content(seen: Option<Seen<'_>>) -> Outcome<Option<Option<Vec<u8>>>> {
    let Some(seen) = seen else { return Ok(Some(None)) };
    if seen.node.size > MAX_LEN {
        return Ok(None);
    }
    Ok(Some(Some(seen.tree.head(seen.spot, MAX_LEN)?)))
}
