//! The first hour: what `amikit` says alone, and what `doctor` says of the machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::common::amikit;
use crate::common::fixture;
use crate::common::run;
use crate::common::run_well;
use crate::common::stderr;

/// Runs `doctor` in a folder, with these temporary files and programs.
fn doctor(here: &Path, temporary: &Path, programs: &Path) -> Output {
    let mut command = amikit();
    command.current_dir(here).args(["doctor", "--json"]);
    command.env("TMPDIR", temporary).env("PATH", programs).output().unwrap()
}

fn rows(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    document["rows"].as_array().unwrap().clone()
}

fn row<'a>(rows: &'a [Value], what: &str) -> &'a Value {
    rows.iter().find(|row| row["what"] == what).unwrap()
}

#[test]
fn programs_are_found_in_path_and_missing_ones_have_an_advice() {
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    let without = rows(&doctor(folder.path(), folder.path(), &programs));
    for name in ["qemu", "qemu-img", "ssh-keygen"] {
        assert_eq!(row(&without, name)["available"], false, "{name}");
        let advice = row(&without, name)["advice"].as_str().unwrap();
        assert!(advice.starts_with("install the package "), "{name}: {advice}");
    }
    for name in ["qemu-img", "ssh-keygen"] {
        fs::write(programs.join(name), "").unwrap();
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let with = rows(&doctor(folder.path(), folder.path(), &programs));
    for name in ["qemu-img", "ssh-keygen"] {
        assert_eq!(row(&with, name)["available"], true, "{name}");
        assert_eq!(row(&with, name)["found"], programs.join(name).to_str().unwrap());
    }
}

/// QEMU that does not start is no KVM, and no error.
#[test]
fn qemu_that_fails_is_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("qemu-system-x86_64");
    fs::write(&program, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let rows = rows(&doctor(folder.path(), folder.path(), folder.path()));
    assert_eq!(row(&rows, "qemu")["available"], true);
    assert_eq!(row(&rows, "kvm")["available"], false);
}

#[test]
fn both_folders_are_tried_and_nothing_stays_in_them() {
    let (here, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rows = rows(&doctor(here.path(), temporary.path(), here.path()));
    for folder in [temporary.path().to_str().unwrap(), "."] {
        let of = rows.iter().filter(|row| row["folder"] == folder);
        let names: Vec<_> = of.map(|row| row["what"].as_str().unwrap()).collect();
        let all = ["free-space", "holes", "reflinks", "unnamed-files", "direct-writes"];
        assert_eq!(names, all, "{folder}");
    }
    for folder in [&here, &temporary] {
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_folder_that_is_not_there_is_a_row() {
    let here = tempfile::tempdir().unwrap();
    let missing = here.path().join("missing");
    let rows = rows(&doctor(here.path(), &missing, here.path()));
    let row = row(&rows, "files");
    assert_eq!(row["available"], false);
    assert_eq!(row["folder"], missing.to_str().unwrap());
    assert!(row["advice"].as_str().unwrap().contains("TMPDIR"), "{row}");
}

/// Each command that `amikit` alone names does what is said of it.
#[test]
fn the_commands_to_begin_with_run_as_they_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let output = run(here, "");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let text = stderr(&output);
    run_well(here, &format!("convert {} root.qcow2", fixture("images/disk.simg").display()));
    run_well(here, "pack root.qcow2 -o next.ami");
    let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("  amikit ")).collect();
    assert_eq!(lines.len(), 6, "{text}");
    for line in lines {
        let (command, _) = line.split_once("  ").unwrap();
        run_well(here, command);
    }
}

#[test]
fn no_command_is_one_json_document_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), "--json");
    assert_eq!(output.status.code(), Some(2));
    let document: Value = serde_json::from_slice(&output.stderr).unwrap();
    let said = |member: &str| document["error"][member].as_str().unwrap().to_owned();
    assert!(said("message").starts_with("no command is given"), "{document}");
    assert!(said("advice").contains("amikit help"), "{document}");
}
