//! The tests of a recipe, run on the bundle that was built of it.

use std::num::NonZero;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde::Serialize;

use crate::bundle::Bundle;
use crate::error::Error;
use crate::error::Result;
use crate::format::WriteOptions;
use crate::format::raw;
use crate::io::Input;
use crate::io::Node;
use crate::io::ReadAt;
use crate::io::Staging;
use crate::io::Target;
use crate::io::read_vec;
use crate::lint::Finding;
use crate::lint::Level;
use crate::lint::Topic;
use crate::lint::check_ids;
use crate::ops::shared::case::Case;
use crate::ops::shared::image_output::write_image;
use crate::ops::shared::verification::Depth;
use crate::ops::shared::verification::verify_bundle;
use crate::recipe::Prepared;
use crate::recipe::Test;
use crate::work::Quiet;
use crate::work::Watch;

/// Bytes of a program's output that a report keeps: the last ones.
const OUTPUT_KEPT: u64 = 4096;

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How a test went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// What it tested.
    pub kind: &'static str,
    /// Whether it passed.
    pub passed: bool,
    /// What it found, in one sentence.
    pub result: String,
    /// Rules that are broken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The end of what a program printed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
}

impl TestReport {
    fn new(kind: &'static str, passed: bool, result: impl Into<String>) -> Self {
        Self { kind, passed, result: result.into(), findings: Vec::new(), output: String::new() }
    }
}

/// Runs one test.
pub(super) fn run_test(
    test: &Test,
    recipe: &Path,
    staging: &Staging,
    prepared: &Prepared,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<TestReport> {
    match test {
        Test::Verify { quick } => run_verify(staging.path(), *quick, threads, watch),
        Test::Lint { allow, deny_warnings } => {
            check_ids(allow)?;
            let mut case = Case::of_bundle(&Bundle::open(staging.path())?)?;
            case.upload = Some(prepared.upload.clone());
            case.distribution.clone_from(&prepared.distribution);
            let findings = case.findings(&[&prepared.allow[..], allow].concat());
            Ok(judge("lint", findings, *deny_warnings))
        }
        Test::Boot {} => {
            let case = Case::of_bundle(&Bundle::open(staging.path())?)?;
            let mut findings = case.findings(&prepared.allow);
            findings.retain(|it| it.topic == Topic::Boot);
            Ok(judge("boot", findings, false))
        }
        Test::Command { command, timeout_seconds } => {
            let folder = recipe.parent().unwrap_or(Path::new(""));
            run_command(command, *timeout_seconds, folder, staging, threads, watch)
        }
    }
}

fn run_verify(
    bundle: &Path,
    quick: bool,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<TestReport> {
    let bundle = Bundle::open(bundle)?;
    let report = verify_bundle(&bundle, Depth { quick, threads }, &Quiet(watch))?.report;
    let result = match report.damage.iter().chain(&report.unreadable).next() {
        None => format!("all bytes are sound, {} chunks of them", report.chunks),
        Some(damage) => damage.error.clone(),
    };
    Ok(TestReport::new("verify", report.sound, result))
}

fn judge(kind: &'static str, findings: Vec<Finding>, deny_warnings: bool) -> TestReport {
    let errors = findings.iter().filter(|it| it.level == Level::Error).count();
    let warnings = findings.len().strict_sub(errors);
    let passed = errors == 0 && !(deny_warnings && warnings > 0);
    let many =
        |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let result = format!("{}, {}", many(errors, "error"), many(warnings, "warning"));
    TestReport { findings, ..TestReport::new(kind, passed, result) }
}

/// Name of the variable that holds the image of a device.
fn variable(device: &str) -> String {
    format!("AMIKIT_IMAGE_{}", crate::ami::bare(device).to_ascii_uppercase())
}

/// Unpacks every volume beside the bundle; returns the paths with their devices.
fn unpack_all(
    bundle: &Bundle,
    staging: &Staging,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Vec<(String, PathBuf)>> {
    let mut images = Vec::new();
    for layer in bundle.snapshots() {
        let path = staging.beside(&format!("{}.raw", crate::ami::bare(&layer.device)));
        if Node::itself(&path)?.is_none() {
            let snapshot = bundle.snapshot(Some(&layer.device))?;
            let options =
                WriteOptions { threads, watch: &Quiet(watch), level: None, zeros_as_data: false };
            let target = Target::open(&path)?;
            write_image(&raw::WRITER, &[&snapshot], target, &options)?;
        }
        let path = std::path::absolute(&path).map_err(|e| Error::io("find", &path, e))?;
        images.push((layer.device.clone(), path));
    }
    Ok(images)
}

fn run_command(
    command: &[String],
    timeout_seconds: u64,
    folder: &Path,
    staging: &Staging,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<TestReport> {
    let [program, args @ ..] = command else {
        return Err(Error::invalid("a test of kind \"command\" names no program"));
    };
    let bundle = Bundle::open(staging.path())?;
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // Its own end only: what a test prints is not part of what amikit prints.
    let (file, log) = staging.new_file("test-output")?;
    let again = file.try_clone().map_err(|e| Error::io("write", &log, e))?;
    // A relative name with a slash is meant from the recipe's folder on.
    let path = if program.contains('/') { folder.join(program) } else { PathBuf::from(program) };
    let path = if program.contains('/') {
        std::path::absolute(&path).map_err(|e| Error::io("find", &path, e))?
    } else {
        path
    };
    #[expect(clippy::disallowed_methods, reason = "the recipe's author names the program")]
    let mut started = Command::new(&path);
    started.args(args).current_dir(folder).stdin(Stdio::null()).stdout(file).stderr(again);
    started.env("AMIKIT_BUNDLE", staging.path());
    for (device, image) in unpack_all(&bundle, staging, threads, watch)? {
        if device == bundle.ami().root_device_name {
            started.env("AMIKIT_IMAGE", &image);
        }
        started.env(variable(&device), image);
    }
    // A group of its own, so that what the program starts ends with it.
    started.process_group(0);
    let mut child = started.spawn().map_err(|e| Error::io("run", &path, e))?;
    let ended = wait(&mut child, timeout_seconds, watch);
    let output = tail(&log)?;
    let (passed, result) = match ended? {
        Some(status) => (status.success(), format!("{program} ended with {status}")),
        None => (false, format!("{program} did not end in {timeout_seconds} seconds")),
    };
    Ok(TestReport { output, ..TestReport::new("command", passed, result) })
}

/// Waits for a program; stops it, and gives `None`, when its time is over.
fn wait(child: &mut Child, seconds: u64, watch: &dyn Watch) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        let status = child.try_wait().map_err(|e| Error::io("wait for", Path::new("a test"), e))?;
        if let Some(status) = status {
            return Ok(Some(status));
        }
        let over = start.elapsed() >= Duration::from_secs(seconds);
        if over || watch.stopped() {
            let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(group) = pid {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = child.wait();
            watch.check()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

/// Returns the end of what a program printed.
fn tail(log: &Path) -> Result<String> {
    let input = Input::open(log)?;
    let len = input.len().min(OUTPUT_KEPT);
    let bytes = read_vec(&input, input.len().strict_sub(len), len)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}
