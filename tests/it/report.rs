//! Pages of reports: their numbers, their size, and that nothing of a volume is markup in them.
#![allow(clippy::arithmetic_side_effects)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use amikit::Digest;
use amikit::internals::digest::sha256;
use amikit::internals::manifest::Block;
use serde_json::Value;

use crate::common::Model;
use crate::common::Random;
use crate::common::fixture;
use crate::common::fleet::write_manifest;
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

/// Fails if a page became an image or a script in a browser, or asked for anything.
fn asked_for_nothing(dom: &str, log: &Path, page: &Path) {
    assert!(!dom.contains("<img") && !dom.contains("<script"), "{dom}");
    // The name that would be an image has a relative address: a request for it would be one for another file.
    let requests = fs::read_to_string(log).unwrap_or_default();
    let ours = format!("{}", page.display());
    for rest in requests.split("file://").skip(1) {
        let url = rest.split(['"', '\\', ' ']).next().unwrap();
        assert_eq!(url, ours, "another file was asked for");
    }
    assert!(!requests.contains("://x"), "another host was asked for");
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
    asked_for_nothing(&dom, &log, &page);
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

/// A fleet of more AMIs than a page has rows, every name of them a script and as long as a page shows: a folder `fleet`
/// and `lineage.csv`. Returns a chunk that many have.
fn fleet(folder: &Path) -> Digest {
    const AMIS: usize = 640;
    fs::create_dir(folder.join("fleet")).unwrap();
    let mut random = Random::new("page of a fleet");
    let (mut before, mut lineage): (Option<Digest>, _) = (None, "snapshot,parent\n".to_owned());
    let chunk = |number: u64| sha256(&number.to_le_bytes());
    for number in 0..AMIS {
        let own = 1 + random.below(9);
        let mut blocks = vec![Block::Data(chunk(0)), Block::Zero];
        blocks.extend((0..random.below(4)).map(|_| Block::Data(chunk(1 + random.below(2000)))));
        blocks.extend((0..own).map(|_| Block::Data(chunk(random.next() | 1 << 63))));
        let name = format!("{}{}{number:03}", HOSTILE.replace('/', "∕"), "<".repeat(150));
        let root = write_manifest(&folder.join(format!("fleet/{name}.snap")), &blocks);
        if let Some(before) = before.filter(|_| number % 8 > 0) {
            writeln!(lineage, "{root},{before}").unwrap();
        }
        before = Some(root);
    }
    fs::write(folder.join("lineage.csv"), lineage).unwrap();
    chunk(0)
}

/// The sums of all rows of a table and of the one that a reader opens below it.
fn sum_of_all(page: &str, table: &str, column: usize) -> u64 {
    sum(page, table, column) + sum(page, &format!("{table}-more"), column)
}

/// Sums a number over the rows of an answer.
fn total(rows: &Value, name: &str) -> u64 {
    rows.as_array().unwrap().iter().map(|row| row[name].as_u64().unwrap()).sum()
}

/// Fails if a page of a fleet has other sums than the answers.
fn same_sums(page: &str, answers: &Value) {
    let unique = &answers["unique"];
    assert_eq!(sum_of_all(page, "unique", 0), total(unique, "bytes"));
    assert_eq!(sum_of_all(page, "unique", 1), total(unique, "stored_bytes"));
    assert_eq!(sum_of_all(page, "churn", 0), total(&answers["churn"], "bytes"));
    let held = |column| {
        let more = if page.contains("id=\"held-by-more\"") {
            sum(page, "held-by-more", column)
        } else {
            0
        };
        sum(page, "held-by", column) + more
    };
    assert_eq!(held(0), answers["shared"]["bytes"].as_u64().unwrap());
    assert_eq!(held(1), answers["shared"]["stored_bytes"].as_u64().unwrap());
}

#[test]
fn a_page_of_a_fleet_has_the_numbers_of_json_and_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let chunk = fleet(here);
    let all = "--lineage lineage.csv --ask shared,unique,churn --delete * --price-ebs 2";
    let line = format!("fleet fleet {all} --holds chunk:{chunk}");
    let answers = json(here, &format!("{line} --json"));
    let with_page = json(here, &format!("{line} --json --report page.html"));
    assert_eq!(with_page, answers, "a page changes no answer");
    let page = fs::read_to_string(here.join("page.html")).unwrap();
    inert(&page);
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    same_sums(&page, &answers);
    let freed: u64 =
        ["ebs", "store"].iter().map(|it| answers["frees"][it]["bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum(&page, "frees", 0), freed);
    let cost = answers["frees"]["ebs"]["cost"].as_f64().unwrap();
    assert!(cost > 1.0 && page.contains(&format!("<td class=\"n\">{cost:.2}</td></tr>")), "{cost}");
    // Each table has its limit, and a row for the rest: rows of a table, its head and that one.
    for (table, most) in [("unique", 500), ("churn", 500), ("holders", 300), ("gone", 300)] {
        let start = page.find(&format!("<table id=\"{table}\"")).unwrap();
        let part = &page[start..][..page[start..].find("</section>").unwrap()];
        assert_eq!(part.matches("<tr").count(), most + 3, "{table}");
        assert!(part.contains(&format!("<tr class=\"rest\"><td>{} others</td>", 640 - most)));
    }
    // The largest come first.
    let largest = answers["unique"].as_array().unwrap().iter().map(|it| &it["bytes"]);
    let largest = largest.filter_map(Value::as_u64).max().unwrap();
    let start = page.find("<table id=\"unique\"").unwrap();
    let first = page[start..].split("data-bytes=\"").nth(1).unwrap();
    assert_eq!(first.split('"').next().unwrap(), largest.to_string());
    let again = json(here, &format!("{line} --json --report again.html --threads 1"));
    assert_eq!(again, answers);
    assert!(fs::read_to_string(here.join("again.html")).unwrap() == page);
}

#[test]
fn a_report_of_a_store_or_a_folder_is_the_page_of_a_fleet() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let fill = |byte: u8| Some(vec![byte; 512 << 10]);
    Model::of(&[fill(1), fill(2), None, fill(0)], 0).write(&here.join("old.raw"));
    Model::of(&[fill(1), fill(3), None, None], 0).write(&here.join("new.raw"));
    run_well(here, "store init images");
    run_well(here, "pack old.raw -o images@old --name old");
    // The store is a fleet of one, too.
    let one = json(here, "report images -o one.html --json");
    assert_eq!(one["schema"], "amikit.fleet.v1");
    run_well(here, "pack new.raw -o images@new --name new --base images@old");
    let answers = json(here, "report images -o page.html --json");
    assert_eq!(answers, json(here, "fleet images --json"));
    let page = fs::read_to_string(here.join("page.html")).unwrap();
    inert(&page);
    let rows = |table: &str, column| sum(&page, table, column);
    assert_eq!(rows("unique", 0), total(&answers["unique"], "bytes"));
    assert_eq!(rows("unique", 1), total(&answers["unique"], "stored_bytes"));
    assert_eq!(rows("churn", 0), total(&answers["churn"], "bytes"));
    assert_eq!(rows("held-by", 1), answers["shared"]["stored_bytes"].as_u64().unwrap());
    // One of its AMIs is a volume, and two are what changed.
    let volume = json(here, "report images@old -o volume.html --json");
    assert_eq!(volume["schema"], "amikit.report.v1");
    fs::create_dir(here.join("bundles")).unwrap();
    run_well(here, "pack old.raw -o bundles/old.ami --name old");
    let answers = json(here, "report bundles -o bundles.html --json");
    assert_eq!((&answers["schema"], &answers["amis"]), (&"amikit.fleet.v1".into(), &1.into()));

    // Nothing that is read is replaced, and nothing is left of a run that fails.
    let said = run_badly(here, "report images -o images/page.html", 2);
    assert!(said.contains("it lies inside images"), "{said}");
    fs::write(here.join("lineage.csv"), "snapshot,parent\n").unwrap();
    run_badly(here, "fleet images --lineage lineage.csv --report lineage.csv", 2);
    assert_eq!(fs::read(here.join("lineage.csv")).unwrap(), b"snapshot,parent\n");
    run_badly(here, "fleet images --delete nothing --report nothing.html", 2);
    run_badly(here, "report images -o log.html --boot-log lineage.csv", 2);
    fs::create_dir(here.join("empty")).unwrap();
    run_badly(here, "report empty -o empty.html", 2);
    for name in ["nothing.html", "log.html", "empty.html", "images/page.html"] {
        assert!(!here.join(name).exists(), "{name}");
    }
}

#[test]
fn a_browser_reads_the_numbers_of_a_fleet_and_asks_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !installed("chromium") {
        return;
    }
    fleet(here);
    let line = "fleet fleet --lineage lineage.csv --json --report page.html";
    let answers = json(here, line);
    let (page, log) = (here.join("page.html"), here.join("net.json"));
    let log_option = format!("--log-net-log={}", log.display());
    let dom = String::from_utf8(chromium(here, &["--dump-dom", &log_option], &page)).unwrap();
    same_sums(&dom, &answers);
    asked_for_nothing(&dom, &log, &page);
    chromium(here, &["--screenshot=shot.png", "--window-size=400,800"], &page);
    assert!(fs::read(here.join("shot.png")).unwrap().starts_with(b"\x89PNG"), "a picture");
}
