//! `export`: AMIs as tables, for engines that read such.

mod inside;
mod merge;
mod volume;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;

use serde::Serialize;

use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::ops::export::inside::Looked;
use crate::ops::export::inside::look_inside;
use crate::ops::export::merge::merge;
use crate::ops::export::volume::Packs;
use crate::ops::export::volume::write_blocks;
use crate::ops::export::volume::write_holders;
use crate::ops::export::volume::write_pack;
use crate::ops::export::volume::write_snapshot;
use crate::ops::shared::members::Member;
use crate::ops::shared::members::OpenedMember;
use crate::ops::shared::members::Parents;
use crate::ops::shared::members::find_members;
use crate::ops::shared::members::parents;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::report::path_text;
use crate::tables::Format;
use crate::tables::StagedTables;
use crate::tables::Table;
use crate::tables::TablesFolder;
use crate::tables::Value;
use crate::work::Watch;
use crate::work::default_threads;

/// What is exported, and to where.
#[derive(Clone, Debug)]
pub struct ExportRequest {
    /// Stores, bundles, snapshot manifests, and folders of these.
    pub inputs: Vec<PathBuf>,
    /// The folder of tables. It is made, or appended to.
    pub output: PathBuf,
    /// The format of the tables; that of the folder otherwise, or CSV for a new one.
    pub format: Option<Format>,
    /// Look into the volumes, for the tables of files and packages.
    pub inside: bool,
    /// Merge the holders of all snapshots afterwards.
    pub compact: bool,
    /// A file that says which snapshot was made over which.
    pub lineage: Option<PathBuf>,
    /// Threads that sort what is merged.
    pub threads: NonZero<usize>,
}

impl ExportRequest {
    /// Asks for tables of `inputs` in the folder `output`.
    #[must_use]
    pub fn new(inputs: Vec<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self {
            inputs,
            output: output.into(),
            format: None,
            inside: false,
            compact: false,
            lineage: None,
            threads: default_threads(),
        }
    }
}

/// Rows that were added to a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableRows {
    /// The table.
    pub table: &'static str,
    /// Files that were added to it.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// The folder of tables.
    #[serde(serialize_with = "path_text")]
    pub tables: PathBuf,
    /// Their format.
    pub format: &'static str,
    /// AMIs that were added.
    pub added: u64,
    /// AMIs of which everything that was asked for was there already.
    pub present: u64,
    /// What was added to each table.
    pub rows: Vec<TableRows>,
    /// Rows of the holders after they were merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_rows: Option<u64>,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Exports AMIs as tables, and appends to those that are there. An AMI that was exported before is not exported again.
///
/// # Errors
///
/// `Invalid` if an input holds no AMI, or the folder is not one of tables; `Unsupported` for a format that this build does
/// not have; as opening the AMIs; `Io` if the system refuses. What was exported before that stays, whole.
pub fn export(request: &ExportRequest, watch: &dyn Watch) -> Result<ExportReport> {
    if let Some(format) = request.format {
        format.check()?;
    }
    check_outside(&request.output, request.inputs.iter().map(PathBuf::as_path))?;
    let members = find_members(&request.inputs, watch)?;
    let parents = parents(&members, request.lineage.as_deref())?;
    let folder = TablesFolder::open(&request.output, request.format, watch)?;
    let mut run = Run {
        folder: &folder,
        parents: &parents,
        inside: request.inside,
        rows: Table::ALL.map(|table| (table, (0, 0))).into(),
        notes: Vec::new(),
        watch,
    };
    let (mut added, mut present) = (0_u64, 0_u64);
    // The folder is not this run's alone: what an interruption leaves is what it has, and never "not written".
    let whole = |error: Error| match error.kind() {
        Kind::Interrupted => {
            error.leaving("the AMIs before it were exported, and the next run goes on from there")
        }
        _ => error,
    };
    watch.begin(None);
    for member in &members {
        watch.check().map_err(whole)?;
        if run.is_exported(member)? {
            present = present.strict_add(1);
            continue;
        }
        run.member(member).map_err(|error| whole(error.in_file(member.path())))?;
        added = added.strict_add(1);
    }
    let (rows, notes) = (run.rows, run.notes);
    let merged_rows = if request.compact {
        merge(&folder, request.threads, watch).map_err(|error| match error.kind() {
            Kind::Interrupted => {
                error.leaving("the AMIs were exported, and the next run merges their holders")
            }
            _ => error,
        })?
    } else {
        None
    };
    let rows = rows.into_iter().map(|(table, (files, rows))| TableRows {
        table: table.name(),
        files,
        rows,
    });
    Ok(ExportReport {
        tables: request.output.clone(),
        format: folder.format().name(),
        added,
        present,
        rows: rows.collect(),
        merged_rows,
        notes,
    })
}

/// A run that exports AMIs one after the other.
struct Run<'a> {
    folder: &'a TablesFolder,
    parents: &'a Parents,
    inside: bool,
    /// Files and rows that were added to each table.
    rows: BTreeMap<Table, (u64, u64)>,
    notes: Vec<String>,
    watch: &'a dyn Watch,
}

impl Run<'_> {
    fn is_exported(&self, member: &Member) -> Result<bool> {
        if !self.folder.has(Table::Amis, &member.id)? {
            return Ok(false);
        }
        if self.inside && member.can_be_read() {
            for volume in &member.volumes {
                if !self.folder.has(Table::Files, &volume.root)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn member(&mut self, member: &Member) -> Result<()> {
        let opened = member.open()?;
        let mut staged = self.folder.stage()?;
        let mut done = BTreeMap::new();
        match opened {
            OpenedMember::Manifest(manifest) => {
                self.snapshot(&manifest, &Packs::new(), &mut staged, &mut done)?;
                self.amis(member, None, &mut staged, &mut done)?;
            }
            OpenedMember::Bundle(bundle) => {
                let packs = packs(&bundle)?;
                for layer in bundle.snapshots() {
                    let manifest = bundle.manifest(layer)?;
                    self.snapshot(&manifest, &packs, &mut staged, &mut done)?;
                }
                if self.inside {
                    self.inside(&bundle, &mut staged, &mut done)?;
                }
                for (digest, pack) in &packs {
                    if self.wants(Table::Chunks, digest, &done)? {
                        let rows = write_pack(digest, pack, &mut staged)?;
                        done.insert((Table::Chunks, *digest), rows);
                    }
                }
                let description = serde_json::to_string(bundle.ami()).expect("it came from JSON");
                let description = (!bundle.is_bare()).then_some(&*description);
                self.amis(member, description, &mut staged, &mut done)?;
            }
        }
        staged.commit()?;
        for ((table, _), rows) in done {
            let sum = self.rows.entry(table).or_default();
            *sum = (sum.0.strict_add(1), sum.1.saturating_add(rows));
        }
        Ok(())
    }

    /// Tells whether a table lacks the file of `id`, also among those that wait for their names.
    fn wants(&self, table: Table, id: &Digest, done: &Done) -> Result<bool> {
        Ok(!done.contains_key(&(table, *id)) && !self.folder.has(table, id)?)
    }

    fn snapshot(
        &self,
        manifest: &crate::manifest::Manifest,
        packs: &Packs,
        staged: &mut StagedTables<'_>,
        done: &mut Done,
    ) -> Result<()> {
        let root = manifest.root();
        if !self.wants(Table::Snapshots, &root, done)? {
            return Ok(());
        }
        let rows = write_blocks(manifest, packs, staged, self.watch)?;
        done.insert((Table::Blocks, root), rows);
        let rows = write_holders(manifest, staged, self.watch)?;
        done.insert((Table::Holders, root), rows);
        let rows = write_snapshot(manifest, self.parents.get(&root), staged)?;
        done.insert((Table::Snapshots, root), rows);
        Ok(())
    }

    fn inside(
        &mut self,
        bundle: &Bundle,
        staged: &mut StagedTables<'_>,
        done: &mut Done,
    ) -> Result<()> {
        for layer in bundle.snapshots() {
            if !self.wants(Table::Files, &layer.root, done)? {
                continue;
            }
            match look_inside(bundle, layer, staged, self.watch)? {
                Looked::Into { files, packages, notes } => {
                    done.insert((Table::Packages, layer.root), packages);
                    done.insert((Table::Files, layer.root), files);
                    self.notes.extend(notes);
                }
                Looked::Refused(note) => self.notes.push(note),
            }
        }
        Ok(())
    }

    fn amis(
        &self,
        member: &Member,
        description: Option<&str>,
        staged: &mut StagedTables<'_>,
        done: &mut Done,
    ) -> Result<()> {
        if !self.wants(Table::Amis, &member.id, done)? {
            return Ok(());
        }
        let id = member.id.hex();
        let mut table = staged.start(Table::Amis)?;
        for volume in &member.volumes {
            table.row(&[
                Value::Text(&id),
                Value::Text(member.kind.name()),
                Value::Text(&member.name),
                member.ami_name.as_deref().into(),
                Value::Text(&volume.device),
                Value::Text(&volume.root.hex()),
                description.into(),
            ])?;
        }
        let rows = staged.end(Table::Amis, &member.id, table)?;
        done.insert((Table::Amis, member.id), rows);
        Ok(())
    }
}

/// Files that wait for their names, and their rows.
type Done = BTreeMap<(Table, Digest), u64>;

/// Opens the packs of a bundle that are there: a thin one lacks those of its base.
fn packs(bundle: &Bundle) -> Result<Packs> {
    let mut opened = bundle.open_packs()?;
    if let Some((_, error)) = opened.broken.pop() {
        return Err(error);
    }
    let packs = opened.packs.into_iter();
    let named = packs.map(|(number, pack)| (bundle.packs()[number].blob.digest, pack));
    Ok(named.collect())
}
