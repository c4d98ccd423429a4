//! Which calls a command makes, and a run in which one of them fails or kills.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::Random;
use super::run;
use super::scene::Job;
use super::scene::Scene;

/// Calls that can fail, each with ways in which the system lets it.
const FAILING: &[(&str, &[&str])] = &[
    ("openat", &["EIO", "EACCES", "EMFILE", "ENOMEM"]),
    ("open", &["EIO", "EACCES", "EMFILE"]),
    ("read", &["EIO"]),
    ("pread64", &["EIO"]),
    ("write", &["EIO", "ENOSPC", "EDQUOT"]),
    ("pwrite64", &["EIO", "ENOSPC", "EDQUOT", "EFBIG"]),
    ("writev", &["EIO", "ENOSPC"]),
    ("fsync", &["EIO", "ENOSPC"]),
    ("fdatasync", &["EIO"]),
    ("ftruncate", &["EIO", "ENOSPC"]),
    ("fallocate", &["EIO", "ENOSPC", "EOPNOTSUPP"]),
    ("rename", &["EIO", "ENOSPC"]),
    ("renameat", &["EIO", "ENOSPC"]),
    ("renameat2", &["EIO", "ENOSPC", "EINVAL", "ENOSYS"]),
    ("linkat", &["EIO"]),
    ("unlink", &["EIO", "EACCES"]),
    ("unlinkat", &["EIO", "EACCES"]),
    ("rmdir", &["EIO"]),
    ("mkdir", &["EIO", "ENOSPC"]),
    ("mkdirat", &["EIO", "ENOSPC"]),
    ("close", &["EIO"]),
    ("lseek", &["EIO"]),
    ("fstat", &["EIO"]),
    ("statx", &["EIO", "EACCES"]),
    ("newfstatat", &["EIO", "EACCES"]),
    ("fstatfs", &["EIO"]),
    ("statfs", &["EIO"]),
    ("getdents64", &["EIO"]),
    ("flock", &["EIO", "ENOLCK", "EAGAIN"]),
    ("fchmod", &["EPERM"]),
    ("fchown", &["EPERM"]),
    ("fgetxattr", &["EIO", "EOPNOTSUPP"]),
    ("fsetxattr", &["EIO", "ENOSPC"]),
    ("getrandom", &["EIO", "ENOSYS"]),
    ("ioctl", &["EIO", "ENOTTY"]),
    ("mmap", &["ENOMEM"]),
    ("munmap", &["ENOMEM"]),
    ("clone3", &["EAGAIN", "ENOMEM"]),
    ("poll", &["EIO"]),
    ("readlink", &["EIO"]),
    ("fcntl", &["EMFILE"]),
    ("dup", &["EMFILE"]),
    ("copy_file_range", &["EIO", "ENOSPC"]),
    ("socket", &["EMFILE", "ENOBUFS"]),
    ("connect", &["ECONNREFUSED", "ENETUNREACH", "EACCES"]),
    ("sendto", &["ECONNRESET", "EPIPE", "ENOBUFS"]),
    ("recvfrom", &["ECONNRESET", "EIO"]),
    ("setsockopt", &["ENOBUFS"]),
];

/// Calls that a process does not survive, or that the loader and the runtime make: they are not ours.
const NOT_OURS: &[&str] = &["execve", "exit_group", "exit", "rt_sigreturn", "brk", "arch_prctl"];

/// How often a command makes each call, on the thread that makes it most often.
pub(super) struct Calls {
    counts: BTreeMap<String, usize>,
    /// Calls that come before the program's own: loading it.
    loading: BTreeMap<String, usize>,
}

impl Calls {
    /// Counts the calls of a job; `None`, with a reason, where nothing can be traced.
    pub(super) fn of(scene: &Scene, job: &Job) -> Option<Self> {
        scene.put(job, false);
        Self::of_command(scene.path(), &job.command())
    }

    /// Counts the calls of a command in a folder.
    pub(super) fn of_command(folder: &Path, command: &Command) -> Option<Self> {
        let counts = count(folder, command)?;
        let mut first = Command::new(env!("CARGO_BIN_EXE_amikit"));
        first.arg("--version");
        let loading = count(folder, &first)?;
        Some(Self { counts, loading })
    }

    /// Picks a call, and which one of them: kinds are picked first, for most calls are of few kinds.
    pub(super) fn pick(&self, random: &mut Random) -> (String, usize) {
        let kinds: Vec<_> =
            self.counts.iter().filter(|(call, _)| !NOT_OURS.contains(&call.as_str())).collect();
        let (call, count) = *random.pick(&kinds);
        (call.clone(), 1 + random.below(*count))
    }

    /// Picks a call that can fail, with the ways in which it does, and which one of them.
    pub(super) fn pick_failing(
        &self,
        random: &mut Random,
    ) -> (&'static str, &'static [&'static str], usize) {
        let loading = |call: &str| self.loading.get(call).copied().unwrap_or(0);
        let kinds: Vec<_> = FAILING
            .iter()
            .filter_map(|(call, errors)| {
                let own = self.counts.get(*call)?.checked_sub(loading(call))?;
                (own > 0).then_some((*call, *errors, own))
            })
            .collect();
        let (call, errors, own) = *random.pick(&kinds);
        (call, errors, loading(call) + 1 + random.below(own))
    }
}

/// Runs a command under strace, and counts its calls.
fn count(folder: &Path, command: &Command) -> Option<BTreeMap<String, usize>> {
    let log = folder.join("../strace.log");
    let mut strace = traced(command, &[]);
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed");
        return None;
    }
    let ended = run(&mut strace, folder);
    if ended.stderr.contains("ptrace") {
        println!("skipped: strace cannot trace here: {}", ended.stderr);
        return None;
    }
    let text = fs::read_to_string(&log).unwrap_or_default();
    let mut threads: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            *threads.entry((thread, call)).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((_, call), count) in threads {
        let known = most.entry(call.to_owned()).or_default();
        *known = count.max(*known);
    }
    Some(most)
}

/// Returns a job under strace, with something injected into a call.
pub(super) fn injected(job: &Job, inject: &str) -> Command {
    under_strace(&job.command(), inject)
}

/// Returns a command under strace, with something injected into a call.
pub(super) fn under_strace(own: &Command, inject: &str) -> Command {
    let (call, _) = inject.split_once(':').expect("a call is named");
    traced(own, &["-e", &format!("trace={call}"), "-e", &format!("inject={inject}")])
}

/// Returns a command under strace, with its own environment.
fn traced(own: &Command, more: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace.args(["-f", "-qq", "-o", "../strace.log"]).args(more);
    strace.arg(own.get_program()).args(own.get_args());
    strace
}
