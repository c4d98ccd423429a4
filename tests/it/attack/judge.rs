//! What must hold after a trial.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::process::ExitStatus;

use super::run;
use super::scene::Job;
use super::scene::Output;
use super::scene::Reference;
use super::scene::Scene;
use super::scene::Tree;

/// How a run ended.
pub(super) struct Ended {
    /// `None` if it did not.
    pub(super) status: Option<ExitStatus>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ended {
    pub(super) fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }
}

/// A trial that is over.
pub(super) struct Case<'a> {
    pub(super) scene: &'a Scene,
    pub(super) job: &'a Job,
    /// All files before it.
    pub(super) before: &'a Tree,
    /// A run without any fault.
    pub(super) reference: &'a Reference,
    pub(super) ended: &'a Ended,
}

/// What outputs are after a trial.
#[derive(PartialEq)]
enum Found {
    Old,
    New,
}

type Verdict = Result<(), String>;

/// What a failure leaves on purpose: the error says so.
const SAID: &[&str] = &["the output is complete", "all else was done", "is done, and only"];

impl Case<'_> {
    /// Fails if a process was ended by itself, by a panic, or not at all.
    fn check_ended(&self) -> Verdict {
        let Some(status) = self.ended.status else { return Err("it hangs".into()) };
        if let Some(signal) = status.signal() {
            return Err(format!("it died of signal {signal}"));
        }
        let bad = ["panicked", "a bug in amikit", "RUST_BACKTRACE"];
        match bad.iter().find(|it| self.ended.stderr.contains(**it)) {
            Some(it) => Err(format!("it says {it:?}")),
            None => Ok(()),
        }
    }

    /// Compares all that is there with what was, and with what should come of it.
    fn look(&self) -> Result<Found, String> {
        let now = self.scene.tree();
        let notes = &self.ended.stderr;
        let part = |tree: &Tree, ours: bool| -> Tree {
            let it = tree.iter().filter(|(path, _)| self.job.makes(path) == ours);
            it.map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
        };
        let mut others = part(&now, false);
        // What could not be removed is named in a note.
        let is_noted = |path: &Path| {
            let mut parts = path.iter().map(|part| part.to_string_lossy());
            let part = parts.find(|part| part.contains(".amikit-"));
            part.is_some_and(|part| notes.contains(&*part) && notes.contains("note"))
        };
        others.retain(|path, _| !is_noted(path));
        let expected = part(self.before, false);
        if let Some(path) = others.keys().find(|path| !expected.contains_key(*path)) {
            return Err(format!("{} was left", path.display()));
        }
        if let Some((path, _)) = expected.iter().find(|(path, it)| others.get(*path) != Some(it)) {
            return Err(format!("{} was touched", path.display()));
        }
        let (mut found, old, new) =
            (part(&now, true), part(self.before, true), part(&self.reference.tree, true));
        found.retain(|path, _| !is_noted(path));
        if found == old {
            return Ok(Found::Old);
        }
        if found == new || self.job.random && !found.is_empty() && self.is_sound() {
            return Ok(Found::New);
        }
        // Of several outputs each by itself is whole.
        let torn = found.keys().chain(old.keys()).chain(new.keys()).find(|path| {
            let it = found.get(*path);
            it != old.get(*path) && it != new.get(*path)
        });
        match torn {
            Some(path) => Err(format!("{} is torn", path.display())),
            // Pages in a folder of others, an index that is kept for the next run, and tables that the next run goes on
            // from: each is whole.
            None if self.job.line.starts_with("man ")
                || self.job.line.contains("--base-index")
                || grows(self) =>
            {
                Ok(Found::Old)
            }
            None => Err("the outputs do not belong together".into()),
        }
    }

    /// Tells whether an instance-store bundle, whose bytes are others each time, is sound.
    fn is_sound(&self) -> bool {
        let mut verify = Command::new(env!("CARGO_BIN_EXE_amikit"));
        let line = "instance-store verify out/disk.manifest.xml --cert user.crt --key user.key";
        let ended = run(verify.args(line.split_whitespace()), self.scene.path());
        ended.code() == Some(0)
    }

    /// Fails if an error is not one line that names a file of the user's.
    fn check_error(&self) -> Verdict {
        let text = &self.ended.stderr;
        if text.is_empty() && self.ended.stdout.contains("unreadable") {
            return Ok(());
        }
        let begin =
            if self.job.line.contains("--json") { "\"message\":\"" } else { "amikit: error: " };
        let errors: Vec<&str> =
            text.lines().filter_map(|line| Some(line.split_once(begin)?.1)).collect();
        let [error] = errors[..] else { return Err("it does not say one error".into()) };
        if error.contains(".amikit-part") || error.contains("/proc/self") {
            return Err("the error names a temporary file".into());
        }
        let named = error.split_once(": ").is_some_and(|(place, _)| {
            let inside = place.split(':').next().unwrap_or(place);
            let plain = inside.trim_end_matches(" (unpacked)");
            let known = self.before.keys().chain(self.reference.tree.keys());
            let mut names = known.flat_map(|path| path.ancestors().map(Path::to_owned));
            plain.starts_with("standard ")
                || Path::new(plain).iter().next().is_some_and(|first| {
                    self.scene.path().join(first).exists() || Path::new(first).has_root()
                })
                || names.any(|name| name == Path::new(plain))
                || ["out", "/tmp", "/var/tmp", "."].contains(&plain)
                || plain.starts_with("out")
                || plain.ends_with("amikit-journal.tar")
                || ["a test", "this process", "true"].contains(&plain)
        });
        if named { Ok(()) } else { Err("the error names no file".into()) }
    }
}

/// A call failed: either nobody needed it, or it is a refusal of the system, and nothing has changed.
pub(super) fn of_failure(case: &Case<'_>) -> Verdict {
    case.check_ended()?;
    match case.ended.code() {
        code if code == case.reference.code => done(case),
        Some(3) => {
            case.check_error()?;
            undone(case)
        }
        code => Err(format!("exit code {code:?}, expected 0 or 3")),
    }
}

/// Nothing failed.
pub(super) fn of_success(case: &Case<'_>) -> Verdict {
    case.check_ended()?;
    match case.ended.code() {
        code if code == case.reference.code => done(case),
        code => Err(format!("exit code {code:?}")),
    }
}

/// Memory was short: as a failing call, and a limit may be named.
pub(super) fn of_limit(case: &Case<'_>) -> Verdict {
    case.check_ended()?;
    match case.ended.code() {
        code if code == case.reference.code => done(case),
        Some(3 | 6) => {
            case.check_error()?;
            undone(case)
        }
        code => Err(format!("exit code {code:?}, expected 0, 3 or 6")),
    }
}

fn done(case: &Case<'_>) -> Verdict {
    if case.job.outputs.is_empty() && case.ended.stdout != case.reference.stdout {
        return Err("the answer is another one".into());
    }
    if case.look()? == Found::Old && !case.job.outputs.is_empty() && !same_before(case) {
        return Err("success, and the output is the old one".into());
    }
    Ok(())
}

fn same_before(case: &Case<'_>) -> bool {
    let ours = |tree: &Tree| {
        tree.iter()
            .filter(|(path, _)| case.job.makes(path))
            .map(|(path, bytes)| (path.clone(), bytes.clone()))
            .collect::<Tree>()
    };
    ours(case.before) == ours(&case.reference.tree)
}

fn undone(case: &Case<'_>) -> Verdict {
    let error = &case.ended.stderr;
    if in_place(case) {
        return made_good(case);
    }
    match case.look() {
        Ok(Found::Old) => Ok(()),
        Ok(Found::New)
            if same_before(case) || grows(case) || SAID.iter().any(|it| error.contains(it)) =>
        {
            Ok(())
        }
        Ok(Found::New) => Err("failed, and the output is the new one".into()),
        // One of two outputs has its name, and the error says that it could not be taken back.
        Err(why) if error.contains("cannot give its name back") => {
            if why.contains("torn") {
                Err(why)
            } else {
                Ok(())
            }
        }
        Err(why) => Err(why),
    }
}

/// Tells whether what was done before a failure stays, as AMIs that were exported.
fn grows(case: &Case<'_>) -> bool {
    case.job.line.starts_with("export ")
}

/// Tells whether an image is changed where it stands: then a journal is what makes it whole.
fn in_place(case: &Case<'_>) -> bool {
    case.job.line.contains("--in-place")
}

fn made_good(case: &Case<'_>) -> Verdict {
    let again = case.scene.again(case.job);
    if again.code() != case.reference.code {
        return Err(format!("a run after it ends with {:?}: {}", again.code(), again.stderr));
    }
    let now = case.scene.tree();
    match now.iter().find(|(path, it)| case.reference.tree.get(*path) != Some(it)) {
        Some((path, _)) => Err(format!("after a second run {} is wrong", path.display())),
        None => Ok(()),
    }
}

/// It was killed: outputs are old or new, what else is left goes with the next run, which does well.
pub(super) fn of_kill(case: &Case<'_>) -> Verdict {
    if case.ended.status.is_none() {
        return Err("it hangs".into());
    }
    if !in_place(case) {
        let now = case.scene.tree();
        for (path, bytes) in &now {
            let first = path.iter().next().unwrap_or_default().to_string_lossy();
            let temporary = first.starts_with('.') && first.contains(".amikit-");
            let inside = path.to_string_lossy().contains(".amikit-");
            let known = [case.before.get(path), case.reference.tree.get(path)];
            if !(temporary || inside || known.contains(&Some(bytes)) || case.job.random) {
                return Err(format!("{} is neither old nor new", path.display()));
            }
        }
        let plan = Path::new("out.plan.jsonl");
        let bundle = Path::new("out.ami/index.json");
        let is_new = |path: &Path| now.get(path) == case.reference.tree.get(path);
        if case.job.line.starts_with("build") && is_new(plan) && !is_new(bundle) {
            return Err("the plan is new and the bundle is old".into());
        }
    }
    // What must not be there, as the folder of `register`, was made: it goes before the next run.
    if case.job.outputs.iter().any(Output::must_be_absent)
        && let Ok(Found::New) = case.look()
    {
        return Ok(());
    }
    made_good_or_random(case)
}

fn made_good_or_random(case: &Case<'_>) -> Verdict {
    if !case.job.random {
        return made_good(case);
    }
    let again = case.scene.again(case.job);
    let filled = again.code() == Some(2);
    if (again.code() == Some(0) || filled) && case.is_sound() {
        return Ok(());
    }
    Err(format!("a run after it ends with {:?}: {}", again.code(), again.stderr))
}
