//! Pages of reports: their numbers, their size, and that nothing of a volume is markup in them.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::common::Model;
use crate::common::fixture;
use crate::common::installed;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_tool;
use crate::common::run_well;

/// A name that would be a script, if it were markup.
const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\"'&.txt";

fn json(folder: &Path, line: &str) -> Value {
    let output = run(folder, line);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{line}: {e}: {output:?}"))
}

/// The sums of all rows of a table that have exact bytes in column `column` of these.
fn sum(page: &str, table: &str, column: usize) -> u64 {
    let start =
        page.find(&format!("<table id=\"{table}\"")).unwrap_or_else(|| panic!("no {table}"));
    let body = &page[start..][..page[start..].find("</table>").unwrap()];
    let numbers = body.split("<tr").skip(2).filter_map(|row| {
        let cell = row.split("data-bytes=\"").nth(column + 1)?;
        cell.split('"').next()?.parse::<u64>().ok()
    });
    numbers.sum()
}

/// An ext4 of 4 MiB with some files, one with a hostile name; `None` where it cannot be made.
fn volumes(folder: &Path) -> Option<()> {
    if !installed("mke2fs") {
        return None;
    }
    for (name, text) in [("old", "one"), ("new", "other")] {
        let tree = folder.join(format!("{name}-tree"));
        fs::create_dir_all(tree.join("etc")).unwrap();
        fs::write(tree.join("etc/os-release"), "PRETTY_NAME=\"<b>Bold</b> 1\"\nID=x\n").unwrap();
        fs::write(tree.join("big"), text.repeat(100_000)).unwrap();
        // A slash would be a folder.
        fs::write(tree.join(HOSTILE.replace('/', "∕")), "x".repeat(9000)).unwrap();
        fs::create_dir(tree.join("<script>")).unwrap();
        fs::write(tree.join("<script>/alert(2)<!--"), text.repeat(2000)).unwrap();
        let image = folder.join(format!("{name}.raw"));
        let mut command = Command::new("mke2fs");
        command.args(["-q", "-t", "ext4", "-L", "<i>label", "-U", "clear", "-d"]);
        command.arg(&tree).arg(&image).arg("4M").env("E2FSPROGS_FAKE_TIME", "1700000000");
        run_tool(&mut command);
    }
    Some(())
}

#[test]
fn a_page_has_the_numbers_of_json_and_those_have_the_numbers_of_the_other_commands() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if volumes(here).is_none() {
        return;
    }
    let report = json(here, "report old.raw -o old.html --json");
    let page = fs::read_to_string(here.join("old.html")).unwrap();
    assert_eq!(report["page_bytes"], page.len());
    let inspected = json(here, "inspect old.raw --json");
    for name in ["data_bytes", "zero_bytes", "hole_bytes"] {
        assert_eq!(report["volume"][name], inspected[name], "{name}");
    }
    assert_eq!(
        report["partitions"][0]["used_bytes"],
        inspected["guest"]["partitions"][0]["used_bytes"]
    );
    let classes = report["classes"].as_array().unwrap();
    let total = |name: &str| classes.iter().map(|it| it[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((total("bytes"), sum(&page, "classes", 0)), (4 << 20, 4 << 20));
    assert_eq!(total("stored_bytes"), report["volume"]["data_bytes"].as_u64().unwrap());
    assert_eq!(sum(&page, "classes", 1), total("stored_bytes"));
    // Files and directories' own blocks are what the root directory has.
    let root = &report["directories"]["rows"][0];
    assert_eq!(root["path"], "/");
    let files = report["files"]["rows"].as_array().unwrap();
    let of_files: u64 = files.iter().map(|it| it["bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum(&page, "files", 0), of_files);
    assert!(of_files < root["bytes"].as_u64().unwrap());

    let report = json(here, "report old.raw new.raw -o delta.html --json");
    let page = fs::read_to_string(here.join("delta.html")).unwrap();
    let changes = &report["changes"];
    let lines = run(here, "diff old.raw new.raw --files --json").stdout;
    let lines = String::from_utf8(lines).unwrap();
    let entries: Vec<Value> = lines.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let last = entries.last().unwrap();
    for name in ["changed_pages", "changed_bytes", "changed_blocks", "changed", "moved"] {
        assert_eq!(changes["pages"][name], last[name], "{name}");
    }
    let wanted: Vec<_> = entries.iter().filter(|it| it["entry"] == "class").collect();
    for (mine, theirs) in changes["classes"].as_array().unwrap().iter().zip(&wanted) {
        assert_eq!(mine["changed_bytes"], theirs["changed_bytes"]);
    }
    let now: u64 = wanted.iter().map(|it| it["changed_bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum(&page, "changed-classes", 1), now);
    let lines = String::from_utf8(run(here, "diff old.raw new.raw --json").stdout).unwrap();
    let sums: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(changes["blocks"]["changed"], sums["sum"]["changed"]);
}

#[test]
fn the_same_input_gives_the_same_bytes_at_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if volumes(here).is_none() {
        return;
    }
    for (threads, name) in [("1", "a.html"), ("3", "b.html")] {
        run_well(here, &format!("report old.raw new.raw -o {name} --threads {threads}"));
    }
    let read = |name: &str| fs::read(here.join(name)).unwrap();
    assert!(read("a.html") == read("b.html"));
    // Packed, it is the same volume; only its name and what it is of differ.
    run_well(here, "pack old.raw -o old.ami --name old-one");
    run_well(here, "pack new.raw -o thin.ami --name new-one --base old.ami --thin");
    let bundles = json(here, "report old.ami thin.ami --base new=old.ami -o c.html --json");
    let images = json(here, "report old.raw new.raw -o d.html --json");
    assert_eq!(bundles["changes"]["pages"], images["changes"]["pages"]);
    assert_eq!(bundles["files"], images["files"]);
    assert_eq!(bundles["ami"]["name"], "new-one");
    // Without its base only its manifest speaks.
    let alone = json(here, "report old.ami thin.ami -o e.html --json");
    assert_eq!(alone["changes"]["blocks"], bundles["changes"]["blocks"]);
    assert!(alone["changes"]["pages"].is_null() && alone["notes"].to_string().contains("thin"));
}

#[test]
fn nothing_of_a_volume_is_markup() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if volumes(here).is_none() {
        return;
    }
    fs::write(here.join("log"), format!("\x1b[1m{HOSTILE}\r\n<script>alert(3)</script>\n"))
        .unwrap();
    run_well(here, "report old.raw -o page.html --boot-log log");
    let page = fs::read_to_string(here.join("page.html")).unwrap();
    inert(&page);
    assert!(page.contains("&lt;script&gt;alert(3)&lt;/script&gt;"), "the log is there");
    assert!(page.contains("onerror=alert(1)&gt;&quot;&#39;&amp;.txt"), "the name is there");
}

/// Fails if there is any element or attribute that a page of ours does not have.
fn inert(page: &str) {
    const TAGS: &[&str] = &[
        "!DOCTYPE", "body", "dd", "defs", "details", "div", "dl", "dt", "g", "h1", "h2", "head",
        "header", "html", "li", "main", "meta", "p", "path", "pattern", "pre", "rect", "section",
        "span", "style", "summary", "svg", "table", "tbody", "td", "text", "th", "thead", "title",
        "tr", "ul",
    ];
    for piece in page.split('<').skip(1) {
        let tag = piece.trim_start_matches('/');
        let end = tag.find(|c: char| !c.is_ascii_alphanumeric() && c != '!').unwrap();
        assert!(TAGS.contains(&&tag[..end]), "<{tag}");
        let attributes = &piece[..piece.find('>').unwrap()];
        for word in ["onerror", "onload", "href", "src=", "style="] {
            let names = attributes.split('"').step_by(2).collect::<String>();
            assert!(!names.contains(word), "<{attributes}");
        }
    }
}

#[test]
fn the_largest_volume_makes_a_small_page() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let image = fs::File::create(here.join("large.raw")).unwrap();
    // A file system may refuse such a file; a manifest can name such a volume.
    if image.set_len(16 << 40).is_err() {
        println!("skipped: no sparse file of 16 TiB here");
        return;
    }
    let report = json(here, "report large.raw -o page.html --json");
    assert!(report["page_bytes"].as_u64().unwrap() < 100_000);
    assert_eq!(report["volume"]["hole_bytes"], 16_u64 << 40);
}

#[test]
fn mistakes_are_refused_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    Model::of(&[None], 100).write(&here.join("small.raw"));
    let before = fs::read(here.join("small.raw")).unwrap();
    run_badly(here, "report small.raw -o small.raw", 2);
    run_badly(here, "report - -o page.html", 2);
    run_badly(here, "report missing.raw -o page.html", 3);
    run_badly(here, "report small.raw -o page.html --boot-log missing", 3);
    run_badly(here, "report small.raw", 2);
    assert_eq!(fs::read(here.join("small.raw")).unwrap(), before);
    assert!(!here.join("page.html").exists());
}

/// Starts Debian's Chromium on a page, and returns what it prints.
fn chromium(folder: &Path, more: &[&str], page: &Path) -> Vec<u8> {
    let profile = tempfile::tempdir_in(folder).unwrap();
    let mut command = Command::new("timeout");
    command.args([
        "60",
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
    ]);
    command.args(["--no-first-run", "--disable-background-networking", "--disable-sync"]);
    command.args(["--disable-component-update", "--hide-scrollbars"]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).args(more);
    run_tool(command.current_dir(folder).arg(format!("file://{}", page.display())))
}

/// The page in a browser: its own reading of the numbers, and no request, not even for the image of a hostile name.
#[test]
fn a_browser_reads_the_same_numbers_and_asks_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !installed("chromium") || volumes(here).is_none() {
        return;
    }
    let report = json(here, "report old.raw new.raw -o page.html --json");
    let page: PathBuf = here.join("page.html");
    let log = here.join("net.json");
    let log_option = format!("--log-net-log={}", log.display());
    let dom = chromium(here, &["--dump-dom", &log_option], &page);
    let dom = String::from_utf8(dom).unwrap();
    // What the browser made of it has the tables as they were written, and nothing that was hidden in names.
    let classes = report["changes"]["classes"].as_array().unwrap();
    let now: u64 = classes.iter().map(|it| it["changed_bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum(&dom, "changed-classes", 1), now);
    assert!(!dom.contains("<img") && !dom.contains("<script"), "{dom}");
    // The name that would be an image has a relative address: a request for it would be one for another file.
    let requests = fs::read_to_string(&log).unwrap_or_default();
    let ours = format!("{}", page.display());
    for rest in requests.split("file://").skip(1) {
        let url = rest.split(['"', '\\', ' ']).next().unwrap();
        assert_eq!(url, ours, "another file was asked for");
    }
    assert!(!requests.contains("://x"), "another host was asked for");
    chromium(here, &["--screenshot=shot.png", "--window-size=400,800"], &page);
    assert!(fs::read(here.join("shot.png")).unwrap().starts_with(b"\x89PNG"), "a picture");
}

#[test]
fn the_page_of_a_disk_shows_its_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let image = fixture("images/disk.simg");
    let line = format!("report {} -o disk.html --json", image.display());
    let report = json(folder.path(), &line);
    let page = fs::read_to_string(folder.path().join("disk.html")).unwrap();
    inert(&page);
    let parts = report["partitions"].as_array().unwrap();
    assert!(parts.len() >= 2 && parts.iter().any(|it| it["file_system"] == "ext4"), "{report}");
    let sizes: u64 = parts.iter().map(|it| it["size_bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum(&page, "partitions", 1), sizes);
}
