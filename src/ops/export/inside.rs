//! The tables of what is inside a volume: packages and files.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::bundle::Bundle;
use crate::bundle::SnapshotLayer;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::guest::FileId;
use crate::guest::Guest;
use crate::guest::Tree;
use crate::guest::escape;
use crate::guest::packages;
use crate::ops::shared::files::walk_files;
use crate::tables::StagedTables;
use crate::tables::Table;
use crate::tables::Value;
use crate::volume::ReadVolume;
use crate::volume::extents;
use crate::work::Watch;

/// What became of a look.
pub(super) enum Looked {
    /// Rows of both tables, and what could not be read.
    Into {
        /// Rows of files.
        files: u64,
        /// Rows of packages.
        packages: u64,
        /// What the user should hear.
        notes: Vec<String>,
    },
    /// There is nothing to look into, or not as it is.
    Refused(String),
}

/// Looks into a volume of a bundle.
///
/// # Errors
///
/// `Interrupted`, and `Io` if a table cannot be written. That the volume has no files that can be read is an answer.
pub(super) fn look_inside(
    bundle: &Bundle,
    layer: &SnapshotLayer,
    staged: &mut StagedTables<'_>,
    watch: &dyn Watch,
) -> Result<Looked> {
    let refused = |error: Error| {
        if error.kind() == Kind::Interrupted {
            return Err(error);
        }
        let place = format!("{}:{}", shown(bundle.path()), layer.device);
        Ok(Looked::Refused(format!("{place} was not looked into: {}", error.without_advice())))
    };
    let found = bundle.snapshot(Some(&layer.device)).and_then(|volume| {
        let guest = Guest::open(&volume)?;
        let tree = Tree::open(&guest, None)?;
        let installed = packages(&tree)?;
        let owned = owned_bytes(&volume, &guest, watch)?;
        Ok(Inside { layer, staged, watch }.write(&tree, &installed, &owned))
    });
    match found {
        Ok(written) => written,
        Err(error) => refused(error),
    }
}

/// Bytes of the volume that belong to a file of a part.
type Owned = BTreeMap<(usize, FileId), u64>;

fn owned_bytes(volume: &dyn ReadVolume, guest: &Guest<'_>, watch: &dyn Watch) -> Result<Owned> {
    let owners = guest.owners()?;
    let mut owned = Owned::new();
    for extent in extents(volume) {
        watch.check()?;
        for (range, part, owner) in owners.within(extent?.range) {
            if let (Some(part), Some(id)) = (part, owner.file()) {
                let bytes = owned.entry((part, id)).or_default();
                *bytes = bytes.saturating_add(range.end.strict_sub(range.start));
            }
        }
    }
    Ok(owned)
}

/// A look that has begun.
struct Inside<'a, 's> {
    layer: &'a SnapshotLayer,
    staged: &'a mut StagedTables<'s>,
    watch: &'a dyn Watch,
}

impl Inside<'_, '_> {
    fn write(
        self,
        tree: &Tree<'_>,
        installed: &crate::guest::Packages,
        owned: &Owned,
    ) -> Result<Looked> {
        let (root, name) = (self.layer.root, self.layer.root.hex());
        let mut table = self.staged.start(Table::Packages)?;
        for package in &installed.installed {
            table.row(&[
                Value::Text(&name),
                Value::Text(package.manager),
                Value::Text(&package.name),
                Value::Text(&package.architecture),
                Value::Text(&package.version),
            ])?;
        }
        let packages = self.staged.end(Table::Packages, &root, table)?;
        let mut table = self.staged.start(Table::Files)?;
        let damaged = walk_files(tree, self.watch, &mut |file| {
            let owned = owned.get(&(tree.part(file.spot), file.spot.id)).copied().unwrap_or(0);
            let (text, bytes) = match std::str::from_utf8(file.path) {
                Ok(text) => (text.to_owned(), None),
                Err(_) => (escape(file.path), Some(STANDARD.encode(file.path))),
            };
            table.row(&[
                Value::Text(&name),
                Value::Text(&text),
                bytes.as_deref().into(),
                Value::Text(file.node.kind.name()),
                Value::size(file.node.size),
                file.digest.as_ref().map_or(Value::Null, |digest| Value::Digest(&digest.0)),
                Value::size(if file.is_first { owned } else { 0 }),
                Value::Integer(file.node.mode.into()),
                Value::Integer(file.node.uid.into()),
                Value::Integer(file.node.gid.into()),
            ])
        })?;
        let mut notes: Vec<String> = installed.faults.clone();
        if damaged > 0 {
            notes.push(format!("{damaged} files are damaged, of {}", self.layer.device));
        }
        let files = self.staged.end(Table::Files, &root, table)?;
        Ok(Looked::Into { files, packages, notes })
    }
}
