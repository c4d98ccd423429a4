//! The folder of tables: whose it is, what was exported, and how files get their names.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Folder;
use crate::io::FolderLock;
use crate::io::Hold;
use crate::io::Input;
use crate::io::Node;
use crate::io::OutputDir;
use crate::io::ReadAt as _;
use crate::io::Scratch;
use crate::io::SharedFolder;
use crate::io::StagedFiles;
use crate::io::read_vec;
use crate::tables::format::Format;
use crate::tables::schema::Table;
use crate::tables::snapshots::read_data_blocks;
use crate::tables::writer::TableWriter;
use crate::work::Watch;

/// Name of the file that says whose folder it is.
pub const MARKER: &str = "amikit-tables.json";

/// Name of the file that has the holders of all snapshots, without what it ends in.
const MERGED: &str = "merged";

/// Most bytes of the file that says whose folder it is.
const MOST_MARKER: u64 = 4096;

/// What it says.
#[derive(serde::Deserialize)]
struct Marker {
    version: u64,
    format: String,
}

/// A folder of tables that this run writes. Nobody else does meanwhile.
#[derive(Debug)]
pub struct TablesFolder {
    folder: SharedFolder,
    format: Format,
    _lock: FolderLock,
}

impl TablesFolder {
    /// Opens the folder at `path`, or makes it. Without a format it is that of the folder, or CSV for a new one.
    ///
    /// # Errors
    ///
    /// `Invalid` if something else is there, or tables of another format; `Unsupported` for a version that is not known;
    /// `Io` if the system refuses, or if another run holds it too long.
    pub fn open(path: &Path, format: Option<Format>, watch: &dyn Watch) -> Result<Self> {
        if read_marker(path)?.is_none() {
            let made = make(path, format.unwrap_or(Format::Csv));
            // Another run may have made it meanwhile.
            if made.is_err() && read_marker(path)?.is_none() {
                made?;
            }
        }
        let folder = SharedFolder::open(path)?;
        let lock = folder.lock(MARKER, Hold::Alone, watch)?;
        let found = read_marker(path)?.ok_or_else(|| not_ours(path))?;
        if let Some(asked) = format.filter(|asked| *asked != found) {
            let text = format!("its tables are {}, expected {}", found.name(), asked.name());
            let advice = "choose another folder for the tables, or leave the format out";
            return Err(Error::invalid(text).in_file(path).advise(advice));
        }
        found.check()?;
        for table in Table::ALL {
            folder.make_dir(table.name())?;
        }
        Ok(Self { folder, format: found, _lock: lock })
    }

    /// Returns the path, as the user gave it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the format of the tables.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    fn name_of(&self, id: &Digest) -> String {
        format!("{id}.{}", self.format.name())
    }

    /// Tells whether a table has the file of `id`.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say.
    pub fn has(&self, table: Table, id: &Digest) -> Result<bool> {
        let name = format!("{}/{}", table.name(), self.name_of(id));
        Ok(self.folder.len_of(&name)?.is_some())
    }

    /// Returns what a table has files of.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn ids(&self, table: Table) -> Result<BTreeSet<Digest>> {
        let (files, _) = self.folder.files(table.name())?;
        let end = format!(".{}", self.format.name());
        let ids = files.iter().filter_map(|file| Digest::from_hex(file.name.strip_suffix(&end)?));
        Ok(ids.collect())
    }

    /// Makes a place for files that get their names later.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn stage(&self) -> Result<StagedTables<'_>> {
        Ok(StagedTables { of: self, staged: self.folder.stage()?, made: BTreeSet::new() })
    }

    /// Opens the files of the table of holders one after the other: those of `snapshots`, and what was merged before.
    /// Returns how many there are apart from that.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; whatever `each` returns.
    pub fn each_holders(
        &self,
        snapshots: &BTreeSet<Digest>,
        mut each: impl FnMut(&Arc<Input>) -> Result<()>,
    ) -> Result<u64> {
        let mut runs = 0_u64;
        let merged = format!("{MERGED}.{}", self.format.name());
        let (files, _) = self.folder.files(Table::Holders.name())?;
        let folder = Folder::open(self.path())?;
        let end = format!(".{}", self.format.name());
        for file in files {
            let id = file.name.strip_suffix(&end).and_then(Digest::from_hex);
            let is_run = id.is_some_and(|id| snapshots.contains(&id));
            if !is_run && file.name != merged {
                continue;
            }
            runs = runs.strict_add(u64::from(is_run));
            let name = format!("{}/{}", Table::Holders.name(), file.name);
            if let Some(input) = folder.file(&name)? {
                each(&Arc::new(input))?;
            }
        }
        Ok(runs)
    }

    /// Hands over how many blocks of data each of these snapshots has.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the file of one is damaged; `Io` if it cannot be read; whatever `each` returns.
    pub fn each_data_blocks(
        &self,
        snapshots: &BTreeSet<Digest>,
        mut each: impl FnMut(&Digest, u64) -> Result<()>,
    ) -> Result<()> {
        let folder = Folder::open(self.path())?;
        for id in snapshots {
            let name = format!("{}/{}", Table::Snapshots.name(), self.name_of(id));
            // One that went meanwhile has no row, so it is not asked what it holds.
            if let Some(input) = folder.file(&name)? {
                each(id, read_data_blocks(self.format, &Arc::new(input))?)?;
            }
        }
        Ok(())
    }

    /// Removes what a run has left that was killed while it merged.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn sweep(&self) -> Result<()> {
        let target = self.path().join(Table::Holders.name());
        OutputDir::replacing(&target, is_folder).map(drop)
    }

    /// Puts one file in the place of all files of the table of holders, in one step. Returns its rows.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; whatever `fill` returns.
    pub fn merge_holders(
        &self,
        fill: impl FnOnce(&mut TableWriter, Scratch) -> Result<()>,
    ) -> Result<u64> {
        let target = self.path().join(Table::Holders.name());
        let new = OutputDir::replacing(&target, is_folder)?;
        let mut writer = TableWriter::new(self.format, Table::Holders, new.new_file()?)?;
        fill(&mut writer, Scratch::inside(&new)?)?;
        let (merged, rows) = writer.finish()?;
        new.put(merged, &format!("{MERGED}.{}", self.format.name()))?;
        new.commit()?;
        Ok(rows)
    }
}

/// Agrees that a folder is replaced: the one of the holders is ours, because the folder around it is.
fn is_folder(path: &Path) -> Result<()> {
    match Node::itself(path)? {
        Some(Node::Folder) | None => Ok(()),
        Some(_) => Err(Error::invalid("it is not a folder").in_file(path)),
    }
}

fn not_ours(path: &Path) -> Error {
    let text = "it is neither empty nor a folder of tables that amikit made";
    Error::invalid(text).in_file(path).advise("choose another folder for the tables")
}

/// Returns the format that the folder at `path` says it has; `None` if it says nothing, or is not there.
fn read_marker(path: &Path) -> Result<Option<Format>> {
    match Node::at(path)? {
        Some(Node::Folder) => {}
        None => return Ok(None),
        Some(_) => return Err(not_ours(path)),
    }
    let Some(marker) = Folder::file_at(path, MARKER)? else { return Ok(None) };
    let bytes = read_vec(&marker, 0, marker.len().min(MOST_MARKER))?;
    let corrupt = |text: String| Error::corrupt(text).in_file(&path.join(MARKER));
    let marker: Marker = serde_json::from_slice(&bytes)
        .map_err(|e| corrupt(format!("it does not say what tables these are: {e}")))?;
    if marker.version != 1 {
        let text = format!("the tables are of version {}, expected 1", marker.version);
        return Err(Error::new(Kind::Unsupported, text).in_file(path));
    }
    let format = Format::named(&marker.format);
    format.map(Some).ok_or_else(|| {
        let text = format!("the format of the tables is {:?}", marker.format);
        corrupt(format!("{text}, expected csv, jsonl or parquet"))
    })
}

fn make(path: &Path, format: Format) -> Result<()> {
    format.check()?;
    let folder = OutputDir::create(path)?;
    let marker = format!("{{\"version\":1,\"format\":\"{}\"}}\n", format.name());
    folder.write(MARKER, marker.as_bytes())?;
    folder.commit().map_err(|error| match error.kind() {
        Kind::Io if Node::at(path).is_ok_and(|it| it.is_some()) => not_ours(path),
        _ => error,
    })
}

/// Files of tables that have no names yet. Dropped, they go.
#[derive(Debug)]
pub struct StagedTables<'a> {
    of: &'a TablesFolder,
    staged: StagedFiles,
    made: BTreeSet<(Table, Digest)>,
}

impl StagedTables<'_> {
    /// Starts the file of `id` in a table.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn start(&self, table: Table) -> Result<TableWriter> {
        TableWriter::new(self.of.format, table, self.staged.new_file()?)
    }

    /// Ends the file of `id` in a table. Returns its rows.
    ///
    /// # Errors
    ///
    /// `Io` if it cannot be written.
    pub fn end(&mut self, table: Table, id: &Digest, writer: TableWriter) -> Result<u64> {
        let (file, rows) = writer.finish()?;
        self.staged.put(file, &self.staged_name(table, id))?;
        self.made.insert((table, *id));
        Ok(rows)
    }

    /// Starts a file without a name.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn scratch(&self) -> Result<Scratch> {
        self.staged.scratch()
    }

    fn staged_name(&self, table: Table, id: &Digest) -> String {
        format!("{}-{}", table.name(), self.of.name_of(id))
    }

    /// Gives the files that were ended their names: those that say that others are complete come last.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn commit(self) -> Result<()> {
        const ORDER: [Table; 7] = [
            Table::Blocks,
            Table::Holders,
            Table::Packages,
            Table::Files,
            Table::Chunks,
            Table::Snapshots,
            Table::Amis,
        ];
        for table in ORDER {
            let ids = self.made.iter().filter(|(of, _)| *of == table).map(|(_, id)| id);
            let names: Vec<_> =
                ids.map(|id| (self.staged_name(table, id), self.of.name_of(id))).collect();
            if !names.is_empty() {
                let names = names.iter().map(|(staged, name)| (staged.as_str(), name.as_str()));
                self.staged.move_as(&self.of.folder, table.name(), names)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    use crate::tables::Value;
    use crate::work::Unwatched;

    fn open(path: &Path, format: Option<Format>) -> Result<TablesFolder> {
        TablesFolder::open(path, format, &Unwatched)
    }

    #[test]
    fn a_folder_that_is_not_ours_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("full")).unwrap();
        fs::write(at("full/a"), "a").unwrap();
        fs::write(at("file"), "a").unwrap();
        for name in ["full", "file"] {
            let error = open(&at(name), None).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{error}");
        }
        fs::create_dir(at("empty")).unwrap();
        drop(open(&at("empty"), Some(Format::Jsonl)).unwrap());
        assert_eq!(open(&at("empty"), None).unwrap().format(), Format::Jsonl);
        let error = open(&at("empty"), Some(Format::Csv)).unwrap_err();
        assert!(error.to_string().contains("jsonl, expected csv"), "{error}");
        for (marker, kind) in [
            ("{\"version\":2,\"format\":\"csv\"}", Kind::Unsupported),
            ("{\"version\":1,\"format\":\"orc\"}", Kind::Corrupt),
            ("{}", Kind::Corrupt),
        ] {
            fs::write(at("empty").join(MARKER), marker).unwrap();
            assert_eq!(open(&at("empty"), None).unwrap_err().kind(), kind, "{marker}");
        }
    }

    #[test]
    fn files_have_names_once_all_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tables");
        let folder = open(&path, Some(Format::Csv)).unwrap();
        let id = Digest([9; 32]);
        let mut staged = folder.stage().unwrap();
        let mut writer = staged.start(Table::Holders).unwrap();
        writer.row(&[Value::Digest(&[1; 32]), Value::Text("s"), Value::Integer(2)]).unwrap();
        assert_eq!(staged.end(Table::Holders, &id, writer).unwrap(), 1);
        assert!(!folder.has(Table::Holders, &id).unwrap());
        staged.commit().unwrap();
        assert!(folder.has(Table::Holders, &id).unwrap());
        assert_eq!(folder.ids(Table::Holders).unwrap(), BTreeSet::from([id]));
        // A snapshot that is not exported has no holders yet.
        assert_eq!(folder.each_holders(&BTreeSet::new(), |_| panic!()).unwrap(), 0);
        assert_eq!(folder.each_holders(&BTreeSet::from([id]), |_| Ok(())).unwrap(), 1);
        assert_eq!(folder.merge_holders(|_, _| Ok(())).unwrap(), 0);
        assert_eq!(folder.each_holders(&BTreeSet::from([id]), |_| Ok(())).unwrap(), 0);
        assert!(path.join("holders/merged.csv").exists());
    }
}
