//! `diff --files`: whose the changed pages are, held against what e2fsprogs says of each block.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::run;
use crate::common::stderr;

const PAGE: usize = 4096;
const BLOCK: usize = 512 << 10;

/// Makes an image, and a second one in which files were added, removed, renamed, copied and changed.
/// `false` if e2fsprogs is not there.
fn two_images(here: &Path, options: &str) -> bool {
    if Command::new("mke2fs").arg("-V").output().is_err() {
        println!("skipped: mke2fs is not installed");
        return false;
    }
    let root = here.join("root");
    fs::create_dir_all(root.join("etc/many")).unwrap();
    for number in 0..200_usize {
        let content: Vec<u8> =
            (0..number * 37).map(|at| u8::try_from((at * 7 + number) % 251).unwrap()).collect();
        fs::write(root.join(format!("etc/many/{number:03}")), content).unwrap();
    }
    for (name, seed) in [("kept", 3_usize), ("named", 5), ("copied", 7), ("gone", 11)] {
        let content: Vec<u8> =
            (0..90_000_usize).map(|at| u8::try_from((at * at + seed) % 253).unwrap()).collect();
        fs::write(root.join(name), content).unwrap();
    }
    fs::hard_link(root.join("kept"), root.join("twin")).unwrap();
    fs::write(here.join("more"), vec![9; 300_000]).unwrap();
    fs::copy(root.join("copied"), here.join("copy")).unwrap();
    fs::File::create(here.join("old.raw")).unwrap().set_len(24 << 20).unwrap();
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F"]).args(options.split(' ')).arg("-d").arg(&root);
    assert!(mke2fs.arg(here.join("old.raw")).status().unwrap().success());
    fs::copy(here.join("old.raw"), here.join("new.raw")).unwrap();
    debugfs(
        here,
        "write more more\nwrite copy copy\nunlink copied\nln named other-name\nunlink named\nrm gone\n\
         set_inode_field twin mode 0100600\nmkdir etc/new\nwrite more etc/new/again\n\
         rm etc/many/050\nrm etc/many/051\n",
    );
    true
}

fn debugfs(here: &Path, commands: &str) -> String {
    fs::write(here.join("commands"), commands).unwrap();
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-w", "-f", "commands", "new.raw"]).current_dir(here);
    String::from_utf8(debugfs.output().unwrap().stdout).unwrap()
}

fn entries(here: &Path) -> Vec<Value> {
    let output = run(here, "diff old.raw new.raw --files --blocks --json");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'a>(entries: &'a [Value], kind: &'static str) -> impl Iterator<Item = &'a Value> {
    entries.iter().filter(move |it| it["entry"] == kind)
}

fn sum<'a>(entries: impl Iterator<Item = &'a Value>, key: &str) -> u64 {
    entries.map(|it| it[key].as_u64().unwrap()).sum()
}

/// The numbers of the pages that differ, and how many bytes of them a delta has to carry, one page at a time.
fn slowly(old: &[u8], new: &[u8]) -> (Vec<usize>, u64) {
    let known: BTreeSet<&[u8]> = old.chunks(PAGE).collect();
    let both = old.chunks(PAGE).zip(new.chunks(PAGE)).enumerate();
    let changed: Vec<usize> = both.filter(|(_, (a, b))| a != b).map(|(page, _)| page).collect();
    let is_novel = |page: &&usize| {
        let page = &new[**page * PAGE..][..PAGE];
        page.iter().any(|byte| *byte != 0) && !known.contains(page)
    };
    let novel = changed.iter().filter(is_novel).count();
    (changed, u64::try_from(novel * PAGE).unwrap())
}

/// What `debugfs` says: the path of the file that each block of the file system belongs to, if it is a file's.
fn by_debugfs(here: &Path, blocks: &[usize]) -> BTreeMap<usize, String> {
    let list = |numbers: &[usize]| {
        numbers.iter().fold(String::new(), |text, it| text + " " + &it.to_string())
    };
    let rows = |text: String| -> Vec<(String, String)> {
        let rows = text.lines().filter_map(|line| line.split_once('\t'));
        rows.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    };
    let mut inodes = BTreeMap::new();
    for some in blocks.chunks(200) {
        for (block, inode) in rows(debugfs(here, &format!("icheck{}\n", list(some)))) {
            if let (Ok(block), Ok(inode)) = (block.parse::<usize>(), inode.parse::<usize>()) {
                // Below 11 are the file system's own files, but for its root.
                if inode == 2 || inode >= 11 {
                    inodes.insert(block, inode);
                }
            }
        }
    }
    let mut paths: BTreeMap<usize, String> = BTreeMap::from([(2, "/".to_owned())]);
    let numbers: Vec<usize> =
        inodes.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
    for (inode, path) in rows(debugfs(here, &format!("ncheck{}\n", list(&numbers)))) {
        let Ok(inode) = inode.parse::<usize>() else { continue };
        let path = path.replace("//", "/");
        let first = paths.entry(inode).or_insert_with(|| path.clone());
        *first = first.clone().min(path);
    }
    // What was unlinked and not removed has none.
    let named = inodes.into_iter();
    named.filter_map(|(block, inode)| Some((block, paths.get(&inode)?.clone()))).collect()
}

#[test]
fn every_changed_page_belongs_to_whom_debugfs_says() {
    for (options, block_len) in [("-t ext4 -b 1024", 1024), ("-t ext2 -b 4096", 4096)] {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        if !two_images(here, options) {
            return;
        }
        let entries = entries(here);
        let (old, new) =
            (fs::read(here.join("old.raw")).unwrap(), fs::read(here.join("new.raw")).unwrap());
        let (changed, novel) = slowly(&old, &new);
        let pieces: Vec<usize> = changed
            .iter()
            .flat_map(|page| (0..PAGE / block_len).map(move |at| page * (PAGE / block_len) + at))
            .collect();
        let paths = by_debugfs(here, &pieces);
        assert!(paths.len() > 100);
        // Per block of 512 KiB: bytes of each file, and whether something else changed.
        let mut expected: BTreeMap<usize, (BTreeMap<&str, usize>, bool)> = BTreeMap::new();
        for piece in &pieces {
            let (files, has_others) = expected.entry(piece * block_len / BLOCK).or_default();
            match paths.get(piece) {
                Some(path) => *files.entry(path).or_default() += block_len,
                None => *has_others = true,
            }
        }
        let mut found = BTreeMap::new();
        for block in of(&entries, "block") {
            let mut files: BTreeMap<&str, usize> = BTreeMap::new();
            let mut classes = BTreeSet::new();
            for owner in block["owners"].as_array().unwrap() {
                let bytes = usize::try_from(owner["changed_bytes"].as_u64().unwrap()).unwrap();
                match owner["path"].as_str() {
                    Some(path) => *files.entry(path).or_default() += bytes,
                    None => drop(classes.insert(owner["class"].as_str().unwrap())),
                }
            }
            assert_eq!(block["sole"], files.len() + classes.len() == 1, "{block}");
            let number = usize::try_from(block["block"].as_u64().unwrap()).unwrap();
            found.insert(number, (files, !classes.is_empty()));
        }
        assert_eq!(found, expected, "{options}");

        // The sum over all owners is what changed, whichever way it is taken.
        let report = of(&entries, "sum").next().unwrap();
        let bytes = u64::try_from(changed.len() * PAGE).unwrap();
        assert_eq!(report["changed_bytes"], bytes);
        assert_eq!(report["delta_bytes"], novel);
        assert_eq!(sum(of(&entries, "class"), "changed_bytes"), bytes);
        assert_eq!(sum(of(&entries, "class"), "old_changed_bytes"), bytes);
        assert_eq!(sum(of(&entries, "class"), "delta_bytes"), novel);
        assert_eq!(sum(of(&entries, "block"), "changed_bytes"), bytes);
        assert_eq!(report["changed_blocks"], of(&entries, "block").count());
        assert_eq!(report["file_bytes"], sum(of(&entries, "file"), "changed_bytes"));
        let keys = ["file_bytes", "unnamed_bytes", "other_bytes"];
        assert_eq!(keys.iter().map(|key| report[key].as_u64().unwrap()).sum::<u64>(), bytes);
        let root = of(&entries, "directory").find(|it| it["path"] == "/").unwrap();
        assert_eq!(root["changed_bytes"], report["file_bytes"]);
    }
}

#[test]
fn files_of_another_name_are_renamed_and_cost_a_delta_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !two_images(here, "-t ext4 -b 4096") {
        return;
    }
    let entries = entries(here);
    let file = |path: &str| of(&entries, "file").find(|it| it["path"] == path);
    for (path, old_path, changed) in
        [("/other-name", "/named", 0), ("/copy", "/copied", 90_112_u64)]
    {
        let file = file(path).unwrap();
        assert_eq!((&file["change"], &file["old_path"]), (&"renamed".into(), &old_path.into()));
        assert!(file["changed_bytes"].as_u64().unwrap() >= changed, "{file}");
        assert_eq!(file["delta_bytes"], 0, "{file}");
    }
    assert!(file("/named").is_none() && file("/copied").is_none());
    // Two new files of one content, and none of it was there before.
    assert_eq!(file("/more").unwrap()["change"], "added");
    assert_eq!(file("/etc/new/again").unwrap()["change"], "added");
    assert_eq!(file("/gone").unwrap()["change"], "removed");
    let sum = of(&entries, "sum").next().unwrap();
    assert_eq!((&sum["renamed"], &sum["removed"]), (&2.into(), &3.into()));
    let text = run(here, "diff old.raw new.raw --files --blocks");
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("renamed  /other-name, was /named\n"), "{text}");
    assert!(text.contains(", only because of "), "{text}");
}
