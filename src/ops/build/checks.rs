//! The tests of a recipe, run on the bundle that was built of it.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;
use rustix::process::kill_process_group;
use rustix::process::waitid;
use serde::Serialize;

use crate::boot::Verdict;
use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::format::WriteOptions;
use crate::format::raw;
use crate::io::Input;
use crate::io::Node;
use crate::io::ReadAt;
use crate::io::Staging;
use crate::io::Target;
use crate::io::Witness;
use crate::io::read_vec;
use crate::lint::Audience;
use crate::lint::Finding;
use crate::lint::Level;
use crate::lint::Topic;
use crate::lint::check_ids;
use crate::ops::build::request::BuildRequest;
use crate::ops::shared::boot::BootRequest;
use crate::ops::shared::boot::start;
use crate::ops::shared::case::Case;
use crate::ops::shared::case::Look;
use crate::ops::shared::image_output::write_image;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::verification::Depth;
use crate::ops::shared::verification::verify_bundle;
use crate::recipe::Prepared;
use crate::recipe::Test;
use crate::work::Quiet;
use crate::work::Wait;
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

/// The tests of a bundle that is made and has no name yet.
pub(super) struct Tests<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) prepared: &'a Prepared,
    /// For whom the AMI is.
    pub(super) audience: Audience,
    pub(super) staging: &'a Staging,
    /// Digest of the bundle.
    pub(super) digest: Digest,
    pub(super) watch: &'a dyn Watch,
}

impl Tests<'_> {
    /// Runs the tests up to the first that fails. Tells whether all passed.
    pub(super) fn run(&self, reports: &mut Vec<TestReport>) -> Result<bool> {
        let made = self.staging.path();
        let before = Witness::of(&made)?;
        let mut foreign = false;
        for test in &self.prepared.tests {
            self.watch.check()?;
            let mut done = self.run_one(test, &made)?;
            done.result = done.result.replace(&shown(&made), &shown(&self.request.output));
            let passed = done.passed;
            reports.push(done);
            if !passed {
                return Ok(false);
            }
            foreign |= matches!(test, Test::Command { .. });
        }
        if foreign && let Err(error) = self.check_same(&made, &before) {
            if matches!(error.kind(), Kind::Interrupted | Kind::Io) {
                return Err(error);
            }
            let error = error.shown_as(&made, &self.request.output);
            let text = format!("a test changed the bundle: {error}");
            reports.push(TestReport::new("unchanged", false, text));
            return Ok(false);
        }
        Ok(true)
    }

    /// Fails if the files are not those that were packed: a program that ran had their names.
    fn check_same(&self, made: &Path, before: &Witness) -> Result<()> {
        before.check()?;
        // Times can be wrong where the clock stands for a moment. Digests cannot.
        let bundle = Bundle::open(made)?;
        if bundle.digest() != self.digest {
            return Err(Error::new(Kind::Mismatch, "it is another bundle").in_file(made));
        }
        bundle.blobs().iter().try_for_each(|blob| bundle.check_blob(blob, self.watch))
    }

    fn run_one(&self, test: &Test, made: &Path) -> Result<TestReport> {
        let Self { request, prepared, watch, .. } = self;
        match test {
            Test::Verify { quick } => run_verify(made, *quick, request, *watch),
            Test::Lint { allow, deny_warnings } => {
                check_ids(allow)?;
                let mut case = Case::of_bundle(&Bundle::open(made)?, Look::Inside)?;
                case.audience = self.audience;
                case.waivers.clone_from(&prepared.waivers);
                case.upload = Some(prepared.upload.clone());
                case.distribution.clone_from(&prepared.distribution);
                let findings = case.findings(&[&prepared.allow[..], allow].concat());
                Ok(judge("lint", findings, *deny_warnings))
            }
            Test::Boot { machine, until, timeout_seconds } => {
                let case = Case::of_bundle(&Bundle::open(made)?, Look::Outside)?;
                let mut findings = case.findings(&prepared.allow);
                findings.retain(|it| it.topic == Topic::Boot);
                let judged = judge("boot", findings, false);
                if !*machine || !judged.passed {
                    return Ok(judged);
                }
                let mut wanted = BootRequest::new(VolumeRequest::new(made));
                wanted.until.clone_from(until);
                wanted.time = Duration::from_secs(*timeout_seconds);
                wanted.relay.clone_from(&request.program);
                let report = start(&wanted, &Quiet(*watch))?;
                let passed = report.verdict == Verdict::Reached;
                let result = format!("{}: {}", report.verdict.name(), report.reason);
                Ok(TestReport {
                    findings: judged.findings,
                    ..TestReport::new("boot", passed, result)
                })
            }
            Test::Command { command, timeout_seconds } => {
                self.run_command(command, *timeout_seconds, made)
            }
        }
    }

    /// Unpacks every volume beside the bundle; returns the paths with their devices.
    fn unpack_all(&self, bundle: &Bundle) -> Result<Vec<(String, PathBuf)>> {
        let mut images = Vec::new();
        for layer in bundle.snapshots() {
            let name = format!("{}.raw", crate::ami::bare(&layer.device));
            let path = self.staging.beside(&name);
            if Node::itself(&path)?.is_none() {
                let snapshot = bundle.snapshot(Some(&layer.device))?;
                let (threads, watch) = (self.request.threads, &Quiet(self.watch));
                let options = WriteOptions { threads, watch, level: None, zeros_as_data: false };
                let target = Target::open(&path)?;
                write_image(&raw::WRITER, &[&snapshot], target, &options)
                    .map_err(|error| error.shown_as(&path, &self.request.output))?;
            }
            images.push((layer.device.clone(), absolute(&path)?));
        }
        Ok(images)
    }

    fn run_command(
        &self,
        command: &[String],
        timeout_seconds: u64,
        made: &Path,
    ) -> Result<TestReport> {
        let [program, args @ ..] = command else {
            return Err(Error::invalid("a test of kind \"command\" names no program"));
        };
        let bundle = Bundle::open(made)?;
        let folder = self.request.recipe.parent().filter(|it| !it.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        // Its own end only: what a test prints is not part of what amikit prints.
        let (file, log) = self.staging.new_file("output")?;
        let again = file.try_clone().map_err(|e| Error::io("write", Path::new("a test"), e))?;
        // A relative name with a slash is meant from the recipe's folder on.
        let path = if program.contains('/') {
            absolute(&folder.join(program))?
        } else {
            PathBuf::from(program)
        };
        #[expect(clippy::disallowed_methods, reason = "the recipe's author names the program")]
        let mut started = Command::new(&path);
        started.args(args).current_dir(folder).stdin(Stdio::null()).stdout(file).stderr(again);
        started.env("AMIKIT_BUNDLE", absolute(made)?);
        for (device, image) in self.unpack_all(&bundle)? {
            if device == bundle.ami().root_device_name {
                started.env("AMIKIT_IMAGE", &image);
            }
            started.env(variable(&device), image);
        }
        // A group of its own, so that what the program starts ends with it.
        started.process_group(0);
        let mut child = started.spawn().map_err(|e| Error::io("run", &path, e))?;
        let ended = wait(&mut child, timeout_seconds, self.watch);
        let (passed, result) = match ended? {
            Some(status) => (status.success(), format!("{program} ended with {status}")),
            None => (false, format!("{program} did not end in {timeout_seconds} seconds")),
        };
        let output = tail(&log).map_err(|error| error.shown_as(&log, Path::new("a test")))?;
        Ok(TestReport { output, ..TestReport::new("command", passed, result) })
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::io("find", path, e))
}

fn run_verify(
    made: &Path,
    quick: bool,
    request: &BuildRequest,
    watch: &dyn Watch,
) -> Result<TestReport> {
    let bundle = Bundle::open(made)?;
    let threads = request.threads;
    let report = verify_bundle(&bundle, Depth { quick, threads }, &Quiet(watch))?.report;
    // What the system does not let us read says nothing of the bundle.
    if let (true, Some(unread)) = (report.damage.is_empty(), report.unreadable.first()) {
        let text = unread.error.replace(&shown(made), &shown(&request.output));
        return Err(Error::new(Kind::Io, text));
    }
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

/// Waits for a program; stops it, and gives `None`, when its time is over. Whatever it has started in its group
/// ends with it, even if it ends by itself.
fn wait(child: &mut Child, seconds: u64, watch: &dyn Watch) -> Result<Option<ExitStatus>> {
    let fail = |e| Error::io("wait for", Path::new("a test"), e);
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
    let start = Instant::now();
    let look = |is_over| {
        let what = format!("a test program to end, for {seconds} s at most");
        watch.waits(&Wait { what, found: String::new(), is_over });
    };
    let ended = loop {
        // It is only looked at: until it is waited for, nobody else gets its number, or its group's.
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        match waitid(WaitId::Pid(id), how) {
            Ok(None) => {}
            ended => break ended,
        }
        if start.elapsed() >= Duration::from_secs(seconds) || watch.stopped() {
            break Ok(None);
        }
        look(false);
        std::thread::sleep(LOOK);
    };
    look(true);
    // That the group is empty by now is fine.
    let _ = kill_process_group(id, Signal::KILL);
    let status = child.wait().map_err(fail)?;
    watch.check()?;
    Ok(ended.map_err(|e| fail(e.into()))?.map(|_| status))
}

/// Returns the end of what a program printed.
fn tail(log: &Path) -> Result<String> {
    let input = Input::open(log)?;
    let len = input.len().min(OUTPUT_KEPT);
    let bytes = read_vec(&input, input.len().strict_sub(len), len)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}
