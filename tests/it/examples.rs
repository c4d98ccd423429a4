//! The jobs of `examples/fleet` are what their services take, and their commands do what the guide says.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;

use crate::botocore;
use crate::common::Model;
use crate::common::installed;
use crate::common::quick_folder;
use crate::common::run_tool;
use crate::common::run_well;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleet").join(name)
}

fn batch_jobs() -> Value {
    serde_json::from_slice(&fs::read(example("batch-array.json")).unwrap()).unwrap()
}

#[test]
fn the_batch_job_is_what_batch_takes() {
    let Some(python) = botocore::python() else { return };
    let jobs = batch_jobs();
    let call = |operation: &str, parameters: &Value| {
        let mut calls = String::new();
        botocore::add(&mut calls, "batch", operation, parameters);
        botocore::validate(&python, &calls)
    };
    for (operation, part) in [("RegisterJobDefinition", "jobDefinition"), ("SubmitJob", "job")] {
        call(operation, &jobs[part]).unwrap();
        let mut wrong = jobs[part].clone();
        wrong["arrayProperty"] = 1.into();
        call(operation, &wrong).unwrap_err();
    }
    // What the model does not say: limits of an array, and that the job is of the definition beside it.
    let size = jobs["job"]["arrayProperties"]["size"].as_u64().unwrap();
    assert!((2..=10_000).contains(&size));
    let definition = &jobs["jobDefinition"];
    assert_eq!(jobs["job"]["jobDefinition"], definition["jobDefinitionName"]);
    let shares = &definition["containerProperties"]["environment"][0];
    assert_eq!(shares["value"], size.to_string(), "as many shares as jobs");
}

/// Returns the Python that has Kubernetes' schemas, or says why there is none.
fn kubernetes_python() -> Option<String> {
    let named = std::env::var("AMIKIT_KUBERNETES_PYTHON").ok();
    let python = named.unwrap_or_else(|| "python3".to_owned());
    let output = Command::new(&python).args(["-c", "import kubernetes_validate, yaml"]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: {python} has no kubernetes-validate");
    None
}

/// Runs a script of Python on standard input, and returns what it prints.
fn script(python: &str, text: &str) -> Result<String, String> {
    let mut command = Command::new(python);
    command.arg("-c").arg(
        "import json, sys\nimport kubernetes_validate as k, yaml\n\
         job = yaml.safe_load(sys.stdin)\n\
         k.validate(job, k.latest_version(), strict=True)\n\
         print(json.dumps(job))",
    );
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(said(output.stdout)) } else { Err(said(output.stderr)) }
}

#[test]
fn the_kubernetes_job_is_what_kubernetes_takes_and_its_parts_join() {
    let Some(python) = kubernetes_python() else { return };
    let text = fs::read_to_string(example("kubernetes-job.yaml")).unwrap();
    for (from, to) in [("completions:", "completion:"), ("command: [", "command: 1 #")] {
        assert!(text.contains(from));
        let said = script(&python, &text.replace(from, to)).unwrap_err();
        assert!(said.contains("ValidationError"), "{said}");
    }
    let job: Value = serde_json::from_str(&script(&python, &text).unwrap()).unwrap();

    // Each pod's own command, over a volume of 61 blocks.
    let folder = quick_folder();
    let here = folder.path();
    let blocks: Vec<_> = (0..61).map(|at| (at % 3 > 0).then(|| vec![at; 512 << 10])).collect();
    Model::of(&blocks, 0).write(&here.join("disk.raw"));
    fs::create_dir(here.join("parts")).unwrap();
    let spec = &job["spec"];
    let container = &spec["template"]["spec"]["containers"][0];
    let pods = spec["completions"].as_u64().unwrap();
    assert_eq!(pods, spec["parallelism"].as_u64().unwrap());
    let command = container["args"][0].as_str().unwrap();
    for pod in 0..pods {
        let volume = here.join("disk.raw").display().to_string();
        let parts = here.join("parts").display().to_string();
        let command = command.replace("/dev/volume", &volume).replace("/parts", &parts);
        let mut shell = shell(&container["command"], &command);
        shell.env("JOB_COMPLETION_INDEX", pod.to_string());
        run_tool(shell.env("BLOCKS", 61_u64.div_ceil(pods).to_string()));
    }
    let parts = (0..pods).map(|pod| format!("parts/{pod}.part")).collect::<Vec<_>>().join(" ");
    run_well(here, &format!("join {parts} -o joined.snap"));
    run_well(here, "snapshot disk.raw -o one.snap");
    assert!(
        fs::read(here.join("joined.snap")).unwrap() == fs::read(here.join("one.snap")).unwrap()
    );
}

/// A container's command, with this build as `amikit`.
fn shell(command: &Value, script: &str) -> Command {
    let words: Vec<&str> =
        command.as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let program = Path::new(env!("CARGO_BIN_EXE_amikit")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new(words[0]);
    shell.args(&words[1..]).arg(script).env("PATH", format!("{}:{path}", program.display()));
    shell
}

#[test]
fn every_image_is_exported_by_one_job_of_the_batch_array() {
    if !installed("sh") {
        return;
    }
    let folder = quick_folder();
    let here = folder.path();
    fs::create_dir_all(here.join("images")).unwrap();
    for number in 1..=7 {
        Model::of(&[Some(vec![number; 512 << 10])], 0).write(&here.join("disk.raw"));
        run_well(here, &format!("pack disk.raw -o images/{number}.ami --name web-{number}"));
    }
    let container = &batch_jobs()["jobDefinition"]["containerProperties"];
    let command: Vec<Value> = container["command"].as_array().unwrap().clone();
    let (script, words) = command.split_last().unwrap();
    let at = |name: &str| here.join(name).display().to_string();
    let script = script.as_str().unwrap().replace("/images", &at("images"));
    let script = script.replace("/shares", &at("shares"));
    fs::create_dir(here.join("shares")).unwrap();
    for index in 0..3 {
        let mut shell = shell(&Value::Array(words.to_vec()), &script);
        shell.env("AWS_BATCH_JOB_ARRAY_INDEX", index.to_string()).env("SHARES", "3");
        run_tool(&mut shell);
    }
    // Put together by copying, as the guide says, they are the tables of all of them.
    let amis = |folder: &str| fs::read_dir(here.join(folder).join("amis")).unwrap().count();
    assert_eq!([amis("shares/0"), amis("shares/1"), amis("shares/2")], [3, 2, 2]);
    run_well(here, "export images -o all --format jsonl");
    for table in ["amis", "blocks", "chunks", "holders", "snapshots"] {
        let names = |folder: &str| {
            let listed = fs::read_dir(here.join(folder).join(table)).unwrap();
            listed.map(|it| it.unwrap().file_name()).collect::<Vec<_>>()
        };
        let mut shares: Vec<_> = (0..3).flat_map(|it| names(&format!("shares/{it}"))).collect();
        let mut all = names("all");
        shares.sort();
        all.sort();
        assert_eq!(shares, all, "{table}");
    }
}
