//! Tables of a fleet: rows are what the volumes are, whatever happens to a run.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use amikit::Kind;
use amikit::Unwatched;
use amikit::Watch;
use amikit::internals::io::OutputFile;
use amikit::internals::manifest::Block;
use amikit::internals::tables::Format;
use amikit::internals::tables::Table;
use amikit::internals::tables::TableWriter;
use amikit::internals::tables::Value;
use amikit::internals::units::BLOCK_LEN;
use amikit::verbs::ExportRequest;
use amikit::verbs::export;
use serde_json::Value as Json;

use crate::common::Model;
use crate::common::Random;
use crate::common::amikit;
use crate::common::fleet::Shape;
use crate::common::fleet::Volume;
use crate::common::installed;
use crate::common::names;
use crate::common::quick_folder;
use crate::common::rounds;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_tool;
use crate::common::run_well;
use crate::common::stderr;
use crate::common::step;
use crate::common::tree;

const SHAPE: Shape = Shape { lineages: 3, versions: 4, blocks: 60, churn: 100 };

/// All rows of a table, without the lines of names, sorted.
fn rows(tables: &Path, table: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for name in names(&tables.join(table)) {
        let text = fs::read_to_string(tables.join(table).join(name)).unwrap();
        rows.extend(text.lines().skip(1).map(|it| it.split(',').map(str::to_owned).collect()));
    }
    rows.sort();
    rows
}

/// What the tables of blocks and holders must be, volume by volume.
fn expected(fleet: &[Volume]) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let (mut blocks, mut holders) = (Vec::new(), Vec::new());
    for volume in fleet {
        let mut held: BTreeMap<String, u64> = BTreeMap::new();
        for (index, block) in volume.blocks.iter().enumerate() {
            let (state, chunk) = match block {
                Block::Data(digest) => ("data", digest.hex()),
                Block::Zero => ("zero", String::new()),
                Block::Hole => continue,
            };
            if state == "data" {
                *held.entry(chunk.clone()).or_default() += 1;
            }
            let index = index.to_string();
            blocks.push(vec![volume.root.hex(), index, state.to_owned(), chunk, String::new()]);
        }
        let held = held.into_iter();
        holders
            .extend(held.map(|(chunk, count)| vec![chunk, volume.root.hex(), count.to_string()]));
    }
    blocks.sort();
    holders.sort();
    (blocks, holders)
}

#[test]
fn tables_are_what_the_manifests_are_and_grow() {
    let folder = quick_folder();
    let here = folder.path();
    let fleet =
        SHAPE.write(&here.join("fleet"), &here.join("lineage.csv"), &mut Random::new("export"));
    // A half, then all of it: what was exported is not exported again.
    fs::create_dir(here.join("half")).unwrap();
    for volume in &fleet[..6] {
        let name = format!("{}.snap", volume.name);
        fs::copy(here.join("fleet").join(&name), here.join("half").join(&name)).unwrap();
    }
    let said = run_well(here, "export half -o tables");
    assert!(said.starts_with("tables: 6 AMIs added, as csv\n"), "{said}");
    run_well(here, "export half -o tables --compact");
    assert_eq!(names(&here.join("tables/holders")), ["merged.csv"]);
    assert_eq!(rows(&here.join("tables"), "holders"), expected(&fleet[..6]).1);
    let before = tree(&here.join("tables/blocks"));
    let said = run_well(here, "export fleet -o tables --lineage lineage.csv");
    assert!(said.starts_with("tables: 6 AMIs added, 6 already there, as csv\n"), "{said}");
    let after = tree(&here.join("tables/blocks"));
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
    let (blocks, holders) = expected(&fleet);
    assert_eq!(rows(&here.join("tables"), "blocks"), blocks);
    assert_eq!(rows(&here.join("tables"), "holders"), holders);
    assert_eq!(names(&here.join("tables/holders")).len(), 7);
    let all = tree(&here.join("tables"));
    let said = run_well(here, "export fleet -o tables --lineage lineage.csv");
    assert_eq!(said, "tables: 0 AMIs added, 12 already there, as csv\n");
    assert!(tree(&here.join("tables")) == all);
    // Merged, the rows are the same, in order, and merging again changes nothing.
    for _ in 0..2 {
        run_well(here, "export -o tables --compact");
        assert_eq!(names(&here.join("tables/holders")), ["merged.csv"]);
        let text = fs::read_to_string(here.join("tables/holders/merged.csv")).unwrap();
        let found: Vec<_> = text.lines().skip(1).collect();
        assert!(found.is_sorted());
        assert_eq!(rows(&here.join("tables"), "holders"), holders);
    }
    let parents = rows(&here.join("tables"), "snapshots");
    for volume in &fleet[6..] {
        let row = parents.iter().find(|row| row[0] == volume.root.hex()).unwrap();
        let parent = volume.parent.map_or(String::new(), |at| fleet[at].root.hex());
        assert_eq!(row[1], parent, "{}", volume.name);
        assert_eq!(row[2], (volume.blocks.len() * BLOCK_LEN).to_string());
    }
    assert_eq!(rows(&here.join("tables"), "amis").len(), 12);
}

/// Files of JSON say what those of CSV say.
#[test]
fn formats_have_the_same_rows() {
    let folder = quick_folder();
    let here = folder.path();
    SHAPE.write(&here.join("fleet"), &here.join("lineage.csv"), &mut Random::new("formats"));
    for format in ["csv", "jsonl"] {
        run_well(here, &format!("export fleet -o {format} --format {format} --compact"));
    }
    for table in ["snapshots", "blocks", "holders", "amis"] {
        let columns = Table::ALL.iter().find(|it| it.name() == table).unwrap().columns();
        let mut found = Vec::new();
        for name in names(&here.join("jsonl").join(table)) {
            let text = fs::read_to_string(here.join("jsonl").join(table).join(name)).unwrap();
            for line in text.lines() {
                let row: Json = serde_json::from_str(line).unwrap();
                let value = |column: &str| match &row[column] {
                    Json::Null => String::new(),
                    Json::String(text) => text.clone(),
                    other => other.to_string(),
                };
                found.push(columns.iter().map(|it| value(it.name)).collect::<Vec<_>>());
            }
        }
        found.sort();
        assert_eq!(found, rows(&here.join("csv"), table), "{table}");
    }
}

#[test]
fn a_bundle_is_exported_with_its_packs_and_its_files() {
    let folder = quick_folder();
    let here = folder.path();
    let fill = |byte: u8| Some(vec![byte; BLOCK_LEN]);
    Model::of(&[fill(1), fill(2), None, fill(0), fill(1)], 0).write(&here.join("old.raw"));
    Model::of(&[fill(1), fill(3), None, fill(0), fill(1)], 0).write(&here.join("new.raw"));
    run_well(here, "pack old.raw -o old.ami --name old");
    run_well(here, "store init images");
    run_well(here, "store add images old.ami");
    run_well(here, "pack new.raw -o images@new --name new --base images@old");
    run_well(here, "pack new.raw -o thin.ami --name thin --base old.ami --thin");
    run_well(here, "export images thin.ami -o tables");
    let tables = here.join("tables");
    let (snapshots, chunks) = (rows(&tables, "snapshots"), rows(&tables, "chunks"));
    assert_eq!(snapshots.len(), 2);
    // What a pack stores is what its chunks take.
    let mut packs: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &chunks {
        *packs.entry(&row[0]).or_default() += row[3].parse::<u64>().unwrap();
    }
    for (pack, stored) in packs {
        let path = ["images", "thin.ami"].map(|it| here.join(it).join("blobs/sha256").join(pack));
        let path = path.iter().find(|it| it.exists()).unwrap();
        let input = std::sync::Arc::new(amikit::storage::Input::open(path).unwrap());
        let len = fs::metadata(path).unwrap().len();
        let pack = amikit::internals::pack::Pack::open(input, 0, len).unwrap();
        assert_eq!(pack.stored_len(), stored);
    }
    // Each data block of the store's AMIs has its bytes; the second one was made over the first.
    let stored = rows(&tables, "blocks");
    assert!(stored.iter().all(|row| (row[2] == "zero") == row[4].is_empty()), "{stored:?}");
    let parents: Vec<_> = snapshots.iter().filter(|row| !row[1].is_empty()).collect();
    assert_eq!(parents.len(), 1);
    assert!(snapshots.iter().any(|row| row[0] == parents[0][1] && row[1].is_empty()));
    let names: Vec<_> = rows(&tables, "amis").into_iter().map(|row| row[2].clone()).collect();
    assert_eq!(names.len(), 3);
    // Nothing in these volumes can be looked into, and that is said, and not counted as done.
    let output = run(here, "export images -o tables --inside");
    assert!(stderr(&output).contains("was not looked into"), "{}", stderr(&output));
    assert!(output.status.success() && rows(&tables, "files").is_empty());
}

#[test]
fn files_and_packages_are_those_that_the_guest_has() {
    if !installed("mkfs.ext4") {
        return;
    }
    let folder = quick_folder();
    let here = folder.path();
    fs::create_dir_all(here.join("root/var/lib/dpkg")).unwrap();
    fs::create_dir_all(here.join("root/etc/a, b")).unwrap();
    fs::write(here.join("root/etc/a, b/two"), vec![7; 300_000]).unwrap();
    fs::hard_link(here.join("root/etc/a, b/two"), here.join("root/etc/again")).unwrap();
    let status = "Package: p\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2-3\n\n";
    fs::write(here.join("root/var/lib/dpkg/status"), status).unwrap();
    run_tool(
        Command::new("mkfs.ext4").args(["-q", "-d", "root", "disk.raw", "16M"]).current_dir(here),
    );
    run_well(here, "pack disk.raw -o disk.ami");
    run_well(here, "export disk.ami -o tables --format jsonl");
    // Looked into later: only what lacks is added.
    let said = run_well(here, "export disk.ami -o tables --inside");
    assert!(
        said.contains("files") && said.contains("packages") && !said.contains("blocks"),
        "{said}"
    );
    let said = run_well(here, "export disk.ami -o tables --inside");
    assert!(said.contains("0 AMIs added, 1 already there"), "{said}");
    let read = |table: &str| {
        let name = &names(&here.join("tables").join(table))[0];
        let text = fs::read_to_string(here.join("tables").join(table).join(name)).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
        rows.collect::<Vec<_>>()
    };
    let packages = read("packages");
    assert_eq!(packages.len(), 1);
    let values = ["manager", "name", "architecture", "version"].map(|it| packages[0][it].clone());
    assert_eq!(values, ["deb", "p", "all", "1:2-3"]);
    let listed = run_well(here, "ls disk.ami / --recursive --digests --json");
    let mut listed: Vec<_> = listed
        .lines()
        .map(|line| {
            let row: Json = serde_json::from_str(line).unwrap();
            let digest = row["digest"].as_str().map(|it| it["sha256:".len()..].to_owned());
            (row["path"].to_string(), row["size_bytes"].clone(), digest, row["kind"].clone())
        })
        .collect();
    let files = read("files");
    let mut found: Vec<_> = files
        .iter()
        .map(|row| {
            let digest = row["digest"].as_str().map(str::to_owned);
            (row["path"].to_string(), row["size"].clone(), digest, row["kind"].clone())
        })
        .collect();
    listed.sort_by(|a, b| a.0.cmp(&b.0));
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, listed);
    // One of the two names has the bytes.
    let of =
        |path: &str| files.iter().find(|row| row["path"] == path).unwrap()["owned_bytes"].as_u64();
    let both = [of("/etc/a, b/two").unwrap(), of("/etc/again").unwrap()];
    assert!(both.contains(&0) && both.iter().any(|it| *it >= 300_000), "{both:?}");
}

#[test]
fn what_is_not_ours_is_refused_and_says_so() {
    let folder = quick_folder();
    let here = folder.path();
    SHAPE.write(&here.join("fleet"), &here.join("lineage.csv"), &mut Random::new("refused"));
    fs::create_dir(here.join("full")).unwrap();
    fs::write(here.join("full/notes.txt"), "mine").unwrap();
    let said = run_badly(here, "export fleet -o full", 2);
    assert!(said.contains("neither empty nor a folder of tables"), "{said}");
    assert_eq!(names(&here.join("full")), ["notes.txt"]);
    run_well(here, "export fleet -o tables --format jsonl");
    let said = run_badly(here, "export fleet -o tables --format csv", 2);
    assert!(said.contains("its tables are jsonl, expected csv"), "{said}");
    let said = run_badly(here, "export lineage.csv -o tables", 2);
    assert!(said.contains("no folder of these"), "{said}");
    let said = run_badly(here, "export fleet -o fleet/tables", 2);
    assert!(said.contains("lies inside"), "{said}");
    if cfg!(not(feature = "parquet")) {
        let said = run_badly(here, "export fleet -o other --format parquet", 5);
        assert!(said.contains("--features parquet") && !here.join("other").exists(), "{said}");
    }
}

/// Wherever a run is killed, the next one makes the folder that one run would have made.
#[test]
fn a_run_that_was_killed_is_continued() {
    let folder = quick_folder();
    let here = folder.path();
    let mut random = Random::new("killed");
    SHAPE.write(&here.join("fleet"), &here.join("lineage.csv"), &mut random);
    let line = ["export", "fleet", "-o", "tables", "--lineage", "lineage.csv", "--compact"];
    let run_whole = || {
        let done = amikit().current_dir(here).args(line).output().unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
    };
    run_whole();
    let whole = tree(&here.join("tables"));
    for _ in 0..rounds(20) {
        fs::remove_dir_all(here.join("tables")).unwrap();
        let rest: Vec<_> = names(here).into_iter().filter(|name| name.contains("part")).collect();
        assert!(rest.is_empty(), "{rest:?}");
        for _ in 0..3 {
            let mut child = amikit()
                .current_dir(here)
                .args(line)
                .arg("-q")
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            // Debug builds take some 50 ms for all of it.
            sleep(Duration::from_micros(random.below(60_000)));
            child.kill().unwrap();
            child.wait().unwrap();
            // What has a name is whole.
            let left = here.join("tables");
            for (path, bytes) in if left.exists() { tree(&left) } else { BTreeMap::new() } {
                let is_part = path.to_string_lossy().contains(".amikit-part");
                if !is_part && path.to_string_lossy().contains("blocks/") {
                    assert_eq!(whole.get(&path), Some(&bytes), "{}", path.display());
                }
            }
        }
        run_whole();
        assert!(tree(&here.join("tables")) == whole);
    }
}

/// Stops a run when it was asked so many times whether it is to stop.
struct StopsAt(AtomicU64, u64);

impl Watch for StopsAt {
    fn stopped(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) >= self.1
    }
}

/// The folder belongs to several runs: what one says that was stopped is what the folder has.
#[test]
fn a_run_that_is_stopped_says_what_the_folder_has() {
    let folder = quick_folder();
    let here = folder.path();
    SHAPE.write(&here.join("f"), &here.join("f.csv"), &mut Random::with_seed(9));
    let output = here.join("t");
    let mut request = ExportRequest::new(vec![here.join("f")], &output);
    request.compact = true;
    let all = u64::try_from(SHAPE.lineages * SHAPE.versions).unwrap();
    let (mut stop, mut said, each) =
        (0, BTreeMap::<&str, u64>::new(), u64::try_from(step()).unwrap());
    loop {
        if output.exists() {
            fs::remove_dir_all(&output).unwrap();
        }
        let Err(error) = export(&request, &StopsAt(AtomicU64::new(0), stop)) else { break };
        assert_eq!(error.kind(), Kind::Interrupted, "{error}");
        let text = error.to_string();
        let amis = output.join("amis");
        let there = if amis.exists() { names(&amis) } else { Vec::new() };
        let there = there.iter().filter(|name| !name.contains("part")).count();
        let there = u64::try_from(there).unwrap();
        let sentence = ["before it were exported", "merges their holders"]
            .into_iter()
            .find(|it| text.contains(it));
        assert!(!text.contains("not written"), "{text}");
        assert!(sentence.is_some() || there == 0, "{text}, and {there} AMIs are there");
        assert!(sentence != Some("merges their holders") || there == all, "{text}: {there}");
        *said.entry(sentence.unwrap_or_default()).or_default() += 1;
        let next = export(&request, &Unwatched).unwrap();
        assert_eq!((next.present, next.added), (there, all - there), "{text}");
        stop += each;
    }
    assert!(
        each * said["before it were exported"] > all && said["merges their holders"] > 0,
        "{said:?}"
    );
}

/// Runs of one folder wait for each other, also where each finds that there is none yet.
#[test]
fn runs_at_the_same_time_make_what_one_makes() {
    let folder = quick_folder();
    let here = folder.path();
    SHAPE.write(&here.join("fleet"), &here.join("lineage.csv"), &mut Random::new("at once"));
    let line = "export fleet --lineage lineage.csv --compact -o";
    run_well(here, &format!("{line} one"));
    let whole = tree(&here.join("one"));
    for round in 0..rounds(8) {
        if round % 2 == 1 {
            fs::create_dir(here.join("tables")).unwrap();
        }
        let start = || {
            let mut command = amikit();
            command.args(line.split(' ')).arg("tables").current_dir(here);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let children: Vec<_> = (0..4).map(|_| start()).collect();
        for child in children {
            let done = child.wait_with_output().unwrap();
            assert!(done.status.success(), "{}", stderr(&done));
        }
        assert!(tree(&here.join("tables")) == whole);
        fs::remove_dir_all(here.join("tables")).unwrap();
    }
}

/// Runs go once they are merged: one that has lost rows is not merged, however well the rest of it reads.
#[test]
fn a_run_that_lost_rows_is_not_merged() {
    let folder = quick_folder();
    let here = folder.path();
    SHAPE.write(&here.join("fleet"), &here.join("lineage.csv"), &mut Random::new("lost"));
    let formats: &[&str] =
        if cfg!(feature = "parquet") { &["csv", "jsonl", "parquet"] } else { &["csv", "jsonl"] };
    for format in formats {
        run_well(here, &format!("export fleet -o {format} --format {format}"));
        let holders = here.join(format).join("holders");
        let listed = names(&holders);
        let run = holders.join(&listed[0]);
        let whole = fs::read(&run).unwrap();
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        let mut damaged = vec![Some(Vec::new()), None];
        if *format != "parquet" {
            damaged.push(Some(lines[..lines.len() - 1].concat()));
            damaged.push(Some([&whole[..], lines[lines.len() - 1]].concat()));
        }
        for bytes in damaged {
            match &bytes {
                Some(bytes) => fs::write(&run, bytes).unwrap(),
                None => fs::remove_file(&run).unwrap(),
            }
            let said = run_badly(here, &format!("export fleet -o {format} --compact"), 4);
            assert!(said.contains("holders"), "{said}");
            let expected = listed.len() - usize::from(bytes.is_none());
            assert_eq!(names(&holders).len(), expected, "{format}: nothing was merged");
        }
        // Other runs that were merged before do not hide one that is gone.
        fs::write(&run, &whole).unwrap();
        run_well(here, &format!("export fleet -o {format} --compact"));
        let snapshots = here.join(format).join("snapshots");
        fs::write(snapshots.join(&listed[0]), "").unwrap();
        fs::write(holders.join(&listed[0]), &whole).unwrap();
        let said = run_badly(here, &format!("export fleet -o {format} --compact"), 4);
        assert!(said.contains("snapshots"), "{said}");
    }
}

/// Parquet is written where this build has it, and its holders are read again by a merge.
#[test]
fn parquet_is_small_and_can_be_merged() {
    let folder = quick_folder();
    let here = folder.path();
    if cfg!(not(feature = "parquet")) {
        println!("skipped: this build has no Parquet");
        return;
    }
    let shape = Shape { blocks: 4000, lineages: 1, versions: 2, ..SHAPE };
    let fleet = shape.write(&here.join("fleet"), &here.join("lineage.csv"), &mut Random::new("p"));
    let said = run_well(here, "export fleet -o tables --format parquet --compact");
    let rows = expected(&fleet).1.len();
    assert!(said.contains(&format!("holders merged: {rows} rows")), "{said}");
    for table in ["blocks", "holders"] {
        let bytes: u64 = tree(&here.join("tables").join(table))
            .values()
            .map(|bytes| u64::try_from(bytes.len()).unwrap())
            .sum();
        assert!(bytes / u64::try_from(rows).unwrap() <= 40, "{table}: {bytes} bytes, {rows} rows");
    }
    let said = run_well(here, "export -o tables --compact");
    assert!(!said.contains("merged"), "{said}");
}

/// A row of each table goes through each format.
#[test]
fn each_table_takes_a_row_of_each_format() {
    let folder = quick_folder();
    for format in [Format::Csv, Format::Jsonl, Format::Parquet] {
        if format.check().is_err() {
            continue;
        }
        for table in Table::ALL {
            let output = OutputFile::create(&folder.path().join(table.name())).unwrap();
            let mut writer = TableWriter::new(format, table, output).unwrap();
            for nulls in [false, true] {
                let values: Vec<Value<'_>> = table
                    .columns()
                    .iter()
                    .map(|column| match column.kind {
                        _ if nulls && column.nullable => Value::Null,
                        amikit::internals::tables::ColumnKind::Text => Value::Text("a"),
                        amikit::internals::tables::ColumnKind::Integer => Value::Integer(7),
                        amikit::internals::tables::ColumnKind::Digest => Value::Digest(&[7; 32]),
                    })
                    .collect();
                writer.row(&values).unwrap();
            }
            let (file, rows) = writer.finish().unwrap();
            file.commit().unwrap();
            assert_eq!(rows, 2, "{} as {}", table.name(), format.name());
        }
    }
}
