//! Questions about a fleet: the answers are those of a count of everything, and of the queries of `examples/fleet`.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use amikit::Digest;
use amikit::internals::manifest::Block;
use amikit::internals::ops;
use amikit::internals::ops::FleetReport;
use amikit::internals::ops::FleetRequest;
use amikit::internals::ops::Held;
use amikit::internals::ops::Questions;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::BLOCK_SIZE;
use amikit::internals::work::Unwatched;
use serde_json::Value;

use crate::common::Model;
use crate::common::Random;
use crate::common::fleet::Shape;
use crate::common::fleet::Volume;
use crate::common::fleet::write_manifest;
use crate::common::installed;
use crate::common::quick_folder;
use crate::common::run_badly;
use crate::common::run_tool;
use crate::common::run_well;
use crate::common::sample;
use crate::common::threads;

/// 1,000 manifests.
const SHAPE: Shape = Shape { lineages: 50, versions: 20, blocks: 50, churn: 60 };

fn ask(here: &Path, questions: Questions, count: usize) -> FleetReport {
    let request = FleetRequest {
        lineage: Some(here.join("lineage.csv")),
        questions,
        threads: threads(count),
        ..FleetRequest::new(vec![here.join("fleet")])
    };
    ops::fleet(&request, &Unwatched, &mut |_| ()).unwrap()
}

/// What EBS keeps, block by block, as an upload makes it: each block of a snapshot is one that was put for it, or the one
/// that its parent refers to.
struct Ebs {
    /// Which block each snapshot refers to at each place.
    refers: Vec<BTreeMap<usize, usize>>,
    /// Blocks of data and of zeros that were put for each snapshot.
    puts: Vec<(u64, u64)>,
}

impl Ebs {
    fn of(fleet: &[Volume]) -> Self {
        let (mut refers, mut puts): (Vec<BTreeMap<usize, usize>>, _) = (Vec::new(), Vec::new());
        let mut next = 0;
        for volume in fleet {
            let old = volume.parent.map(|at| &fleet[at].blocks[..]).unwrap_or_default();
            let mut own = volume.parent.map(|at| refers[at].clone()).unwrap_or_default();
            let mut count = (0, 0);
            for at in 0..volume.blocks.len().max(old.len()) {
                let block = |blocks: &[Block]| blocks.get(at).copied().unwrap_or(Block::Hole);
                // docs/formats/plan.md, row by row.
                let put = match (block(&volume.blocks), block(old)) {
                    (Block::Data(new), Block::Data(old)) if new == old => false,
                    (Block::Zero, Block::Zero) | (Block::Hole, Block::Zero | Block::Hole) => false,
                    (Block::Data(_) | Block::Zero, _) | (Block::Hole, Block::Data(_)) => true,
                };
                if put {
                    own.insert(at, next);
                    next += 1;
                    match block(&volume.blocks) {
                        Block::Data(_) => count.0 += 1,
                        _ => count.1 += 1,
                    }
                }
            }
            refers.push(own);
            puts.push(count);
        }
        Self { refers, puts }
    }

    /// Blocks that are gone once these snapshots are.
    fn freed(&self, gone: &BTreeSet<usize>) -> u64 {
        let all = |with: &dyn Fn(usize) -> bool| -> BTreeSet<usize> {
            let kept = self.refers.iter().enumerate().filter(|(at, _)| with(*at));
            kept.flat_map(|(_, refers)| refers.values().copied()).collect()
        };
        let (before, after) = (all(&|_| true), all(&|at| !gone.contains(&at)));
        u64::try_from(before.len() - after.len()).unwrap()
    }
}

fn chunks(volume: &Volume) -> BTreeSet<Digest> {
    let data = volume.blocks.iter().filter_map(|block| match block {
        Block::Data(digest) => Some(*digest),
        _ => None,
    });
    data.collect()
}

/// Chunks that nobody holds once these snapshots are gone.
fn freed_chunks(fleet: &[Volume], gone: &BTreeSet<usize>) -> u64 {
    let (dead, alive): (Vec<_>, Vec<_>) =
        fleet.iter().enumerate().partition(|(at, _)| gone.contains(at));
    let alive: BTreeSet<Digest> = alive.into_iter().flat_map(|(_, it)| chunks(it)).collect();
    let dead: BTreeSet<Digest> = dead.into_iter().flat_map(|(_, it)| chunks(it)).collect();
    u64::try_from(dead.difference(&alive).count()).unwrap()
}

#[test]
fn a_thousand_manifests_are_answered_as_counting_everything_does() {
    let folder = quick_folder();
    let here = folder.path();
    let shape = Shape { lineages: sample(SHAPE.lineages), ..SHAPE };
    let mut random = Random::new("fleet");
    let fleet = shape.write(&here.join("fleet"), &here.join("lineage.csv"), &mut random);
    let gone: BTreeSet<usize> =
        (0..fleet.len()).filter(|_| random.below(3) == 0).chain([0]).collect();
    let mut held: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
    for (at, volume) in fleet.iter().enumerate() {
        for chunk in chunks(volume) {
            held.entry(chunk).or_default().push(at);
        }
    }
    let popular = held.iter().max_by_key(|(_, holders)| holders.len()).unwrap();
    let questions = Questions {
        shared: true,
        unique: true,
        churn: true,
        delete: gone.iter().map(|at| fleet[*at].name.clone()).collect(),
        holds: Some(Held::Chunk(*popular.0)),
    };
    let report = ask(here, questions.clone(), 3);
    assert_eq!(report, ask(here, questions, 1), "at one thread and at three");

    let mut by_count: BTreeMap<u64, u64> = BTreeMap::new();
    for holders in held.values() {
        *by_count.entry(u64::try_from(holders.len()).unwrap()).or_default() += 1;
    }
    let shared = report.shared.unwrap();
    let found: BTreeMap<u64, u64> =
        shared.held_by.iter().map(|it| (it.snapshots, it.chunks)).collect();
    assert_eq!(found, by_count);
    assert_eq!(shared.chunks, u64::try_from(held.len()).unwrap());
    assert_eq!((shared.unstored_chunks, shared.stored_bytes), (shared.chunks, 0));

    let mut alone: BTreeMap<&str, u64> = fleet.iter().map(|it| (&*it.name, 0)).collect();
    for holders in held.values().filter(|it| it.len() == 1) {
        *alone.get_mut(&*fleet[holders[0]].name).unwrap() += 1;
    }
    let unique = report.unique.unwrap();
    let found: BTreeMap<&str, u64> = unique.iter().map(|it| (&*it.name, it.chunks)).collect();
    assert_eq!(found, alone);

    let ebs = Ebs::of(&fleet);
    let by_root: BTreeMap<Digest, usize> =
        fleet.iter().enumerate().map(|(at, it)| (it.root, at)).collect();
    let churn = report.churn.unwrap();
    assert_eq!(churn.len(), fleet.len());
    for row in &churn {
        let at = by_root[&row.snapshot];
        let parent = fleet[at].parent;
        assert_eq!((row.data_blocks, row.zero_blocks), ebs.puts[at], "{}", row.name);
        assert_eq!(row.parent, parent.map(|at| fleet[at].root));
        let old = parent.map(|at| chunks(&fleet[at])).unwrap_or_default();
        let new = chunks(&fleet[at]).difference(&old).count();
        assert_eq!(row.new_chunks, u64::try_from(new).unwrap(), "{}", row.name);
    }
    let frees = report.frees.unwrap();
    assert_eq!(frees.snapshots, u64::try_from(gone.len()).unwrap());
    assert_eq!(frees.ebs.blocks, ebs.freed(&gone));
    assert_eq!(frees.store.blocks, freed_chunks(&fleet, &gone));
    assert_eq!(frees.ebs.bytes, frees.ebs.blocks * BLOCK_SIZE);

    let holders = report.holders.unwrap().holders;
    let found: BTreeSet<Digest> = holders.iter().map(|it| it.snapshot).collect();
    assert_eq!(found, popular.1.iter().map(|at| fleet[*at].root).collect());
    for holder in &holders {
        let blocks = &fleet[by_root[&holder.snapshot]].blocks;
        let places = || (0_u32..).zip(blocks).filter(|(_, it)| **it == Block::Data(*popular.0));
        assert_eq!(holder.first_block, places().next().map(|(at, _)| at));
        assert_eq!(holder.count, u64::try_from(places().count()).unwrap());
    }
}

/// A chain of six, and a tree of six: in whatever order they are deleted, each step frees what it frees in EBS and in a
/// store.
#[test]
fn every_order_of_deleting_six_frees_what_is_freed() {
    for parents in [
        [None, Some(0), Some(1), Some(2), Some(3), Some(4)],
        [None, Some(0), Some(0), Some(1), Some(1), None],
    ] {
        let folder = quick_folder();
        let here = folder.path();
        let mut random = Random::with_seed(6);
        fs::create_dir(here.join("fleet")).unwrap();
        let mut fleet: Vec<Volume> = Vec::new();
        let mut lineage = String::new();
        for (number, parent) in parents.into_iter().enumerate() {
            // Over two groups of a manifest; the second one is all holes in some.
            let mut blocks = match parent {
                Some(parent) => fleet[parent].blocks.clone(),
                None => vec![Block::Hole; 1100],
            };
            for at in (0..12).chain(1050..1056) {
                let few = Digest([u8::try_from(random.below(9)).unwrap() + 1; 32]);
                match random.below(8) {
                    0 => blocks[at] = Block::Hole,
                    1 => blocks[at] = Block::Zero,
                    2..5 => blocks[at] = Block::Data(few),
                    _ => {}
                }
            }
            if number == 2 {
                blocks[1024..].fill(Block::Hole);
            }
            blocks[13] = Block::Data(Digest([100 + u8::try_from(number).unwrap(); 32]));
            let name = format!("v{number}");
            let root = write_manifest(&here.join(format!("fleet/{name}.snap")), &blocks);
            if let Some(parent) = parent {
                writeln!(lineage, "{name},v{parent}").unwrap();
            }
            fleet.push(Volume { name, root, blocks, parent });
        }
        fs::write(here.join("lineage.csv"), lineage).unwrap();
        let mut answers = BTreeMap::new();
        for set in 1..64_u32 {
            let gone: BTreeSet<usize> = (0..6).filter(|at| set >> at & 1 == 1).collect();
            let delete = gone.iter().map(|at| fleet[*at].name.clone()).collect();
            let report = ask(here, Questions { delete, ..Questions::default() }, 2).frees.unwrap();
            answers.insert(gone, (report.ebs.blocks, report.store.blocks));
        }
        answers.insert(BTreeSet::new(), (0, 0));
        let ebs = Ebs::of(&fleet);
        for order in orders(&[0, 1, 2, 3, 4, 5]) {
            // Who refers to what, as blocks and chunks go one snapshot after the other.
            let mut refers: BTreeMap<usize, &BTreeMap<usize, usize>> =
                ebs.refers.iter().enumerate().collect();
            let mut holds: BTreeMap<usize, BTreeSet<Digest>> =
                fleet.iter().map(chunks).enumerate().collect();
            let mut gone = BTreeSet::new();
            for next in order {
                let before = answers[&gone];
                gone.insert(next);
                let after = answers[&gone];
                let (blocks, held) = (refers.remove(&next).unwrap(), holds.remove(&next).unwrap());
                let left: BTreeSet<usize> =
                    refers.values().flat_map(|it| it.values().copied()).collect();
                let left_held: BTreeSet<Digest> = holds.values().flatten().copied().collect();
                let freed = blocks.values().filter(|it| !left.contains(it)).count();
                let freed_chunks = held.difference(&left_held).count();
                let step = (after.0 - before.0, after.1 - before.1);
                let expected = (freed.try_into().unwrap(), freed_chunks.try_into().unwrap());
                assert_eq!(step, expected, "{next} after {gone:?}, {parents:?}");
            }
        }
    }
}

fn orders(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let first = |at: usize| {
        let rest: Vec<usize> = of.iter().copied().filter(|it| *it != of[at]).collect();
        orders(&rest).into_iter().map(move |order| [vec![of[at]], order].concat())
    };
    (0..of.len()).flat_map(first).collect()
}

fn json(here: &Path, line: &str) -> Value {
    serde_json::from_str(&run_well(here, &format!("{line} --json"))).unwrap()
}

#[test]
fn of_a_store_it_says_what_packs_store_and_prices_are_given() {
    let folder = quick_folder();
    let here = folder.path();
    let fill = |byte: u8| Some(vec![byte; BLOCK_LEN]);
    Model::of(&[fill(1), fill(2), None, fill(0), fill(1)], 0).write(&here.join("old.raw"));
    Model::of(&[fill(1), fill(3), None, None, fill(1)], 0).write(&here.join("new.raw"));
    run_well(here, "store init images");
    run_well(here, "pack old.raw -o images@old --name old");
    run_well(here, "pack new.raw -o images@new --name new --base images@old");
    let all = json(here, "fleet images");
    assert_eq!((&all["amis"], &all["snapshots"]), (&2.into(), &2.into()));
    // Blocks 1, 2 and 1; then 1 and 3, with 3 in place of 2: three chunks, one of them in both.
    assert_eq!(all["shared"]["chunks"], 3);
    let counts: Vec<_> = all["shared"]["held_by"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["chunks"].clone())
        .collect();
    assert_eq!(counts, [2, 1]);
    assert_eq!(all["unique"][0]["chunks"], 1);
    let churn = all["churn"].as_array().unwrap();
    let of = |name: &str| churn.iter().find(|it| it["name"] == name).unwrap();
    assert_eq!((&of("old")["data_blocks"], &of("old")["zero_blocks"]), (&3.into(), &1.into()));
    // A zero block of the old one is left to a hole: it reads as zeros.
    assert_eq!((&of("new")["data_blocks"], &of("new")["zero_blocks"]), (&1.into(), &0.into()));
    assert_eq!(of("new")["parent"], of("old")["snapshot"]);

    let line = "fleet images --delete * --price-ebs 0.05 --price-store 0.02";
    let frees = json(here, line)["frees"].clone();
    assert_eq!((&frees["ebs"]["blocks"], &frees["store"]["blocks"]), (&5.into(), &3.into()));
    assert_eq!(frees["store"]["stored_bytes"], all["shared"]["stored_bytes"]);
    assert!(frees["ebs"]["cost"].as_f64().unwrap() > 0.0001, "{frees}");
    let text = run_well(here, "fleet images --delete old --price-ebs 0.05");
    assert!(text.contains("deleting 1 AMI deletes 1 snapshot\n"), "{text}");
    let said = run_badly(here, "fleet images --delete nothing", 2);
    assert!(said.contains("there is no AMI \"nothing\" in the fleet"), "{said}");
    let said = run_badly(here, "fleet images --price-ebs five", 2);
    assert!(said.contains("expected a number like 0.05"), "{said}");
    let said = run_badly(here, "fleet old.raw", 2);
    assert!(said.contains("it is not a store, a bundle or a snapshot manifest"), "{said}");
}

/// Of thousands of files, the one that is damaged is named, by whichever question reads it; and what a pack stores that
/// cannot be read is not counted as if nothing did.
#[test]
fn what_is_damaged_is_named() {
    let folder = quick_folder();
    let here = folder.path();
    let shape = Shape { lineages: 1, versions: 4, blocks: 60, churn: 100 };
    let mut random = Random::with_seed(4);
    let fleet = shape.write(&here.join("fleet"), &here.join("lineage.csv"), &mut random);
    let file = here.join(format!("fleet/{}.snap", fleet[2].name));
    let whole = fs::read(&file).unwrap();
    // A byte of the one group, which the checks of the header and of the table do not read.
    let mut damaged = whole.clone();
    damaged[4096 + 200] ^= 1;
    fs::write(&file, damaged).unwrap();
    let chunk = chunks(&fleet[2]).into_iter().next().unwrap();
    for line in [
        "fleet fleet --ask shared",
        "fleet fleet --ask churn --lineage lineage.csv",
        "fleet fleet --delete l000-v00 --lineage lineage.csv",
        &format!("fleet fleet --holds chunk:{chunk}"),
        "fleet fleet --report page.html",
        "export fleet -o tables",
    ] {
        let said = run_badly(here, line, 4);
        assert!(said.contains(&format!("{}.snap: ", fleet[2].name)), "{line}: {said}");
    }
    assert!(!here.join("page.html").exists());
    fs::write(&file, whole).unwrap();

    Model::of(&[Some(vec![1; BLOCK_LEN])], 0).write(&here.join("disk.raw"));
    run_well(here, "pack disk.raw -o fleet/web.ami --name web");
    let packs = fs::read_dir(here.join("fleet/web.ami/blobs/sha256")).unwrap();
    let packs = packs.map(|it| it.unwrap().path());
    let magic = b"\x89AMP\r\n\x1a\n";
    let pack = packs.filter(|it| fs::read(it).unwrap().ends_with(magic)).last().unwrap();
    fs::remove_file(pack).unwrap();
    let said = run_badly(here, "fleet fleet --ask shared", 4);
    assert!(said.contains("web.ami"), "{said}");
}

#[test]
fn files_and_packages_are_found_where_they_are() {
    if !installed("mkfs.ext4") {
        return;
    }
    let folder = quick_folder();
    let here = folder.path();
    fs::create_dir_all(here.join("root/var/lib/dpkg")).unwrap();
    for (name, version) in [("old", "1"), ("new", "2")] {
        let status = format!(
            "Package: p\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n\n"
        );
        fs::write(here.join("root/var/lib/dpkg/status"), status).unwrap();
        fs::write(here.join("root/both"), "the same").unwrap();
        let image = format!("{name}.raw");
        run_tool(
            Command::new("mkfs.ext4").args(["-q", "-d", "root", &image, "8M"]).current_dir(here),
        );
        run_well(here, &format!("pack {image} -o {name}.ami --name {name}"));
    }
    let holders = |what: &str| {
        let found = json(here, &format!("fleet old.ami new.ami --holds {what}"));
        let holders = found["holders"]["holders"].as_array().unwrap().clone();
        let mut amis: Vec<_> = holders
            .iter()
            .map(|it| (it["amis"][0].as_str().unwrap().to_owned(), it["found"].clone()))
            .collect();
        amis.sort_by(|a, b| a.0.cmp(&b.0));
        amis
    };
    let digest = amikit::internals::digest::sha256(b"the same").hex();
    let both = [
        ("new".to_owned(), serde_json::json!(["/both"])),
        ("old".to_owned(), serde_json::json!(["/both"])),
    ];
    assert_eq!(holders(&format!("file:{digest}")), both);
    assert_eq!(holders("package:p").len(), 2);
    assert_eq!(holders("package:p=2"), [("new".to_owned(), serde_json::json!(["p 2"]))]);
    assert!(holders("package:q").is_empty());
}

/// A Python that has `duckdb`, or says that there is none.
fn duckdb() -> Option<PathBuf> {
    let python = std::env::var_os("AMIKIT_DUCKDB_PYTHON").unwrap_or_else(|| "python3".into());
    let tried = Command::new(&python).args(["-c", "import duckdb"]).output();
    if tried.is_ok_and(|it| it.status.success()) {
        return Some(python.into());
    }
    println!("skipped: DuckDB is not installed (AMIKIT_DUCKDB_PYTHON names a Python that has it)");
    None
}

/// An engine, asked by the queries of `examples/fleet`, says what `fleet` says.
#[test]
fn duckdb_gives_the_same_answers() {
    let Some(python) = duckdb() else { return };
    let folder = quick_folder();
    let here = folder.path();
    let shape = Shape { lineages: sample(SHAPE.lineages), ..SHAPE };
    let mut random = Random::new("duckdb");
    let fleet = shape.write(&here.join("fleet"), &here.join("lineage.csv"), &mut random);
    // And a store, with what packs store.
    let fill = |byte: u8| Some(vec![byte; BLOCK_LEN]);
    Model::of(&[fill(1), fill(2), fill(0), fill(1)], 0).write(&here.join("old.raw"));
    Model::of(&[fill(1), fill(3), None, fill(1)], 0).write(&here.join("new.raw"));
    run_well(here, "store init images");
    run_well(here, "pack old.raw -o images@old --name old");
    run_well(here, "pack new.raw -o images@new --name new --base images@old");
    let formats = if cfg!(feature = "parquet") {
        &["csv", "jsonl", "parquet"][..]
    } else {
        &["csv", "jsonl"]
    };
    let popular = chunks(&fleet[0]).into_iter().next().unwrap().hex();
    let gone: Vec<&str> = fleet.iter().step_by(3).map(|it| &*it.name).chain(["old"]).collect();
    let delete: Vec<String> = gone.iter().map(|it| format!("--delete {it}")).collect();
    let delete = delete.join(" ");
    let inputs = "fleet images --lineage lineage.csv";
    let all = json(here, &format!("fleet {inputs}"));
    let frees = json(here, &format!("fleet {inputs} {delete}"))["frees"].clone();
    let holders = json(here, &format!("fleet {inputs} --holds chunk:{popular}"))["holders"].clone();
    for format in formats {
        run_well(here, &format!("export {inputs} -o {format} --format {format} --compact"));
        let rows = |question: &str| -> Vec<Value> {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleet/ask.py");
            let mut command = Command::new(&python);
            command.arg(script).args([format, "--threads", "2"]).current_dir(here);
            let text = run_tool(command.args(question.split(' ')));
            let text = String::from_utf8(text).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        assert_eq!(Value::Array(rows("shared")), all["shared"]["held_by"], "{format}");
        let bare = |it: &Value| it.as_str().map(|it| it.trim_start_matches("sha256:").to_owned());
        let key = |it: &Value, keys: &[&str]| -> Vec<String> {
            keys.iter().map(|key| bare(&it[key]).unwrap_or_else(|| it[key].to_string())).collect()
        };
        let same = |rows: &[Value], ours: &Value, keys: &[&str]| {
            let sorted = |rows: &[Value]| {
                let mut rows: Vec<_> = rows.iter().map(|it| key(it, keys)).collect();
                rows.sort();
                rows
            };
            assert_eq!(sorted(rows), sorted(ours.as_array().unwrap()), "{format}");
        };
        same(&rows("unique"), &all["unique"], &["ami", "name", "chunks", "bytes", "stored_bytes"]);
        let keys = ["snapshot", "parent", "data_blocks", "zero_blocks", "new_chunks"];
        same(&rows("churn"), &all["churn"], &keys);
        let found = &rows(&format!("frees {delete}"))[0];
        assert_eq!(found["ebs_blocks"], frees["ebs"]["blocks"], "{format}");
        assert_eq!(found["store_chunks"], frees["store"]["blocks"], "{format}");
        assert_eq!(found["store_bytes"], frees["store"]["stored_bytes"], "{format}");
        let found = rows(&format!("holders --chunk {popular}"));
        let ours: u64 = holders["holders"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["count"].as_u64().unwrap())
            .sum();
        assert_eq!(found.iter().map(|it| it["blocks"].as_u64().unwrap()).sum::<u64>(), ours);
        assert_eq!(found.len(), holders["holders"].as_array().unwrap().len());
    }
}

/// The module of the wheel runs the program, and nothing else.
#[test]
fn the_python_module_gives_what_the_program_prints() {
    if !installed("python3") {
        return;
    }
    let folder = quick_folder();
    let here = folder.path();
    fs::write(here.join("disk.raw"), vec![7; BLOCK_LEN]).unwrap();
    let script = "import amikit, json
print(json.dumps(amikit.run('inspect', 'disk.raw')))
print(json.dumps(list(amikit.lines('diff', 'disk.raw', 'disk.raw'))))
try:
    amikit.run('inspect', 'missing.raw')
except amikit.Error as error:
    print(json.dumps([error.code, error.error['kind']]))
";
    let printed = run_tool(
        Command::new("python3")
            .args(["-c", script])
            .current_dir(here)
            .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("AMIKIT", env!("CARGO_BIN_EXE_amikit")),
    );
    let printed = String::from_utf8(printed).unwrap();
    let printed: Vec<Value> = printed.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(printed[0], json(here, "inspect disk.raw"));
    let diff = run_well(here, "diff disk.raw disk.raw --json");
    let diff: Vec<Value> = diff.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(printed[1], Value::Array(diff));
    assert_eq!(printed[2], serde_json::json!([3, "io"]));
}

/// Rows that lack what the first one has, and have what it lacks, in batches of one schema.
#[test]
fn arrow_batches_have_every_field_in_one_schema() {
    let python = std::env::var("AMIKIT_DUCKDB_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&python).args(["-c", "import pyarrow"]).output();
    if !output.is_ok_and(|output| output.status.success()) {
        println!(
            "skipped: pyarrow is not installed (AMIKIT_DUCKDB_PYTHON names a Python that has it)"
        );
        return;
    }
    let folder = quick_folder();
    let here = folder.path();
    let fill = |byte: u8| Some(vec![byte; BLOCK_LEN]);
    Model::of(&[fill(1), None, fill(2)], 0).write(&here.join("disk.raw"));
    Model::of(&[fill(1), None, fill(3)], 0).write(&here.join("new.raw"));
    fs::copy(crate::common::fixture("images/disk.simg"), here.join("disk.simg")).unwrap();
    let script = "import amikit, json, pyarrow
for line in ['map disk.raw', 'diff disk.raw new.raw', 'inspect disk.raw', 'ls --recursive disk.simg /']:
    rows = list(amikit.lines(*line.split()))
    batches = list(amikit.batches(*line.split(), size=2))
    table = pyarrow.Table.from_batches(batches)
    def bare(it):
        if isinstance(it, dict):
            return {name: bare(value) for name, value in it.items() if value is not None}
        return [bare(value) for value in it] if isinstance(it, list) else it
    assert bare(table.to_pylist()) == bare(rows), (line, bare(table.to_pylist()), rows)
    print(len(batches), len(rows))
for batch in amikit.batches('ls', '--recursive', 'disk.simg', '/'):
    assert batch.schema.field('size_bytes').type == pyarrow.uint64()
amikit.run('pack', 'disk.raw', '-o', 'disk.ami', '--name', 'web')
try:
    list(amikit.batches('plan', 'disk.ami'))
except TypeError as error:
    print(error)
";
    let printed = run_tool(
        Command::new(python)
            .args(["-c", script])
            .current_dir(here)
            .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("AMIKIT", env!("CARGO_BIN_EXE_amikit")),
    );
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.starts_with("2 3\n1 2\n1 1\n"), "{printed}");
    assert!(printed.contains("take these by lines()"), "{printed}");
}
